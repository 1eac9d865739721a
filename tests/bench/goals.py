"""The goals: each is a ratio or a figure that a run must reach, and how it is measured.

A goal is a function that takes a Bench and returns what was measured; GOALS is the table.
"""
import contextlib
import os
import resource
import socket
import statistics

import helper
import programs
from servers import Sockd, bare_epoll, bare_udp, redis

ECHO = ["--size", "63"]
IDLE = 15000
IDLE_PER_SOURCE = 5000
MANY_PAIRS = 11  # of what swings much


def ours(bench, *args, **keys):
    return lambda: Sockd(bench.build, bench.server_cpu, *args, **keys)


def bare(bench):
    return lambda: bare_epoll(bench.build, bench.server_cpu)


def cpu_ratio(bench, connections, depth):
    return bench.ratio(ours(bench), bare(bench), lambda s: bench.load(s, connections, depth)["cpu_us"])


def one_in_flight(bench):
    return cpu_ratio(bench, 64, 1)


def thousand_connections(bench):
    return cpu_ratio(bench, 1000, 1)


def sixteen_in_flight(bench):
    return cpu_ratio(bench, 64, 16)


def beside_redis(bench):
    rounds = bench.in_turn(
        (ours(bench), lambda s: bench.rate(s, *ECHO, depth=16)),
        (lambda: redis(bench.server_cpu), lambda s: bench.rate(s, "-F", r"delimiter:\r\n", "PING", depth=16)))
    return statistics.median(a / b for a, b in rounds)


def connection_per_request(bench):
    return bench.ratio(ours(bench), bare(bench), lambda s: bench.rate(s, *ECHO, "--new-connections"))


def tail_ratio(bench, server, beside):
    """The p99 of SERVER to that of BESIDE, at half the rate that BESIDE can do; both run all the time."""
    most = bench.rate(beside, *ECHO)
    pairs = [bench.tails((server, beside), most / 2, *ECHO) for _ in range(MANY_PAIRS)]
    return statistics.median(a / b for a, b in pairs)


def tail_at_half_load(bench):
    with ours(bench)() as server, bare(bench)() as beside:
        return tail_ratio(bench, server, beside)


def large_messages(bench):
    keys = 'framing = "netstring"; max_request = "2m"; max_reply = "2m"; handler = "echo";'
    return bench.ratio(ours(bench, keys), bare(bench),
                       lambda s: bench.rate(s, "-F", "netstring", "--size", "1m", connections=8))


def datagrams(bench):
    keys = 'transport = "udp"; handler = "echo";'
    return bench.ratio(ours(bench, keys), lambda: bare_udp(bench.build, bench.server_cpu),
                       lambda s: bench.rate(s, "-u", "--size", "64"))


def client_ratio(bench, depth):
    """What sockctl bench itself takes for a request, to what the plain load program takes, against a bare loop."""
    def measure(server):
        report = bench.run(server, *ECHO, "--verify", depth=depth)
        return report["client_cpu_seconds"] / report["requests"] * 1e6 / bench.load(server, depth=depth)["own_us"]

    return statistics.median(found for found, in bench.in_turn((bare(bench), measure)))


def client_one_in_flight(bench):
    return client_ratio(bench, 1)


def client_sixteen_in_flight(bench):
    return client_ratio(bench, 16)


def resident(pid):
    """What a process holds of its own in memory, in bytes."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        fields = dict(line.split(":", 1) for line in f if ":" in line)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("Private_Dirty", "Private_Clean"))


@contextlib.contextmanager
def idle_connections(server, n):
    """N connections, from several addresses, that all were served once, so that they are known to be open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    opened = []
    try:
        for i in range(n):
            sock = socket.socket()
            opened.append(sock)
            sock.bind(("127.0.0.%d" % (2 + i // IDLE_PER_SOURCE), 0))
            sock.connect(("127.0.0.1", server.port))
        for sock in opened:
            sock.sendall(b"x\n")
        for sock in opened:
            sock.recv(16)
        yield
    finally:
        for sock in opened:
            sock.close()


ROOMY = 'max_connections = 16000; handler = "echo";'


def idle_memory(bench):
    with ours(bench, ROOMY)() as server:
        bench.run(server, *ECHO, seconds=0.2)
        pid = server.pids()[0]
        before = resident(pid)
        with idle_connections(server, IDLE):
            return (resident(pid) - before) / IDLE


def tail_with_idle(bench):
    """Two servers alike, but for the idle connections that one holds."""
    with ours(bench, ROOMY)() as server, ours(bench, ROOMY)() as beside, idle_connections(server, IDLE):
        return tail_ratio(bench, server, beside)


def connections_of(pid):
    n = 0
    for name in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(OSError):
            n += os.readlink("/proc/%d/fd/%s" % (pid, name)).startswith("socket:")
    return n


def balance(bench):
    """Connections one by one, each after the one before was served."""
    found = []
    for _ in range(bench.pairs):
        with Sockd(bench.build, bench.all_cpus, workers=2) as server:
            pids = server.pids()
            before = [connections_of(pid) for pid in pids]
            socks = []
            for _ in range(64):
                sock = socket.create_connection(("127.0.0.1", server.port))
                sock.sendall(b"x\n")
                sock.recv(16)
                socks.append(sock)
            counts = [connections_of(pid) - n for pid, n in zip(pids, before)]
            found.append(max(counts) / max(min(counts), 1))
            for sock in socks:
                sock.close()
    return statistics.median(found)


def two_workers(bench):
    """The gain of a second process, in relation to the bare loop's own, with the load on the same two processors."""
    def measure(server):
        return bench.rate(server, *ECHO, "--processes", "2", cpus=bench.all_cpus)

    starts = [lambda n=n: Sockd(bench.build, bench.all_cpus, workers=n) for n in (2, 1)]
    starts += [lambda n=n: bare_epoll(bench.build, bench.all_cpus, n) for n in (2, 1)]
    rounds = bench.in_turn(*[(start, measure) for start in starts], pairs=max(bench.pairs, MANY_PAIRS))
    return statistics.median(us_2 / us_1 / (them_2 / them_1) for us_2, us_1, them_2, them_1 in rounds)


def start_to_ready(bench):
    def milliseconds():
        with Sockd(bench.build, bench.all_cpus, workers=0) as server:
            more = ";\n".join('s%d: { host = "127.0.0.1"; port = %d; handler = "echo"; }' % (i, server.port + i)
                              for i in range(1, 10))
        with Sockd(bench.build, bench.all_cpus, workers=0, more=more) as server:
            return server.seconds_to_ready * 1000

    return statistics.median(milliseconds() for _ in range(max(bench.pairs, 5)))


AT_MOST, AT_LEAST = "at most", "at least"

# what, the goal, how it is measured
GOALS = [
    ("echo, 64 connections, one in flight: CPU per request / bare epoll loop", AT_MOST, 1.05, one_in_flight),
    ("the same, 1,000 connections", AT_MOST, 1.05, thousand_connections),
    ("echo, 16 in flight: CPU per request / bare epoll loop", AT_MOST, 1.20, sixteen_in_flight),
    ("echo, 16 in flight: requests/s / Redis PING", AT_LEAST, 1.7, beside_redis),
    ("a connection per request: connections/s / bare epoll loop", AT_LEAST, 0.95, connection_per_request),
    ("p99 at half the bare loop's rate (open loop) / bare epoll loop", AT_MOST, 1.25, tail_at_half_load),
    ("echo of 1 MiB netstrings: bytes/s / bare epoll loop", AT_LEAST, 0.9, large_messages),
    ("UDP echo: datagrams/s / bare recvmmsg loop", AT_LEAST, 0.95, datagrams),
    ("15,000 idle connections: bytes of memory for each", AT_MOST, 300, idle_memory),
    ("p99 of 64 active connections with 15,000 idle ones / without", AT_MOST, 1.25, tail_with_idle),
    ("two workers, 64 connections one by one: most / least loaded", AT_MOST, 1.5, balance),
    ("two workers / one worker, requests/s, in relation to the bare loop's own gain", AT_LEAST, 1.0, two_workers),
    ("start to READY with ten services, in ms", AT_MOST, 10, start_to_ready),
    ("sockctl bench, one in flight: its CPU per request / a bare epoll client's", AT_MOST, 1.3, client_one_in_flight),
    ("sockctl bench, 16 in flight: the same", AT_MOST, 1.3, client_sixteen_in_flight),
    ("Python helper, one in flight: requests/s / asyncio", AT_LEAST, 1, helper.one_in_flight),
    ("Python helper, 16 in flight: requests/s / asyncio", AT_LEAST, 2, helper.sixteen_in_flight),
    ("a program per connection, 16 at a time: connections/s / tcpserver", AT_LEAST, 0.95, programs.sixteen_at_a_time),
    ("the same work by a helper, a connection for each line: connections/s / tcpserver", AT_LEAST, 5,
     programs.sixteen_at_a_time_to_a_helper),
]
