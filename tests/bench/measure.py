"""One measurement: a load on one processor, a server on another; and servers in turn, with their medians."""
import contextlib
import json
import statistics
import subprocess

ROUNDS = 4      # of servers in turn, while they run
WARM_UP = 0.1   # seconds
WINDOW = 0.02   # seconds


def measure_all(servers, backwards):
    """One round of (server, function that measures it)."""
    found = [measure(server) for server, measure in (reversed(servers) if backwards else servers)]
    return found[::-1] if backwards else found


class Bench:
    """Where things are, and how long a run takes."""

    def __init__(self, build, cpus, seconds, pairs):
        self.build, self.seconds, self.pairs = build, seconds, pairs
        self.load_cpu, self.server_cpu = str(cpus[0]), str(cpus[-1])
        self.all_cpus = "%s,%s" % (self.load_cpu, self.server_cpu)

    def run(self, server, *args, connections=64, depth=1, seconds=None, cpus=None, warm_up=WARM_UP):
        """sockctl bench on SERVER: its report, and cpu_us, what the server took for a request."""
        seconds = seconds or self.seconds
        command = ["taskset", "-c", cpus or self.load_cpu, self.build + "/sockctl", "-H", "127.0.0.1", "-p",
                   str(server.port), "bench", "--json", "-q", "-c", str(connections), "-P", str(depth), "-d",
                   "%dms" % (seconds * 1000), "--warm-up", "%dms" % (warm_up * 1000), *args]
        before = server.cpu()
        done = subprocess.run(command, capture_output=True, text=True)
        took = server.cpu() - before
        if done.returncode not in (0, 1) or not done.stdout:
            raise SystemExit("%s: %s" % (" ".join(command), done.stderr))
        report = json.loads(done.stdout)
        # Requests of the warm-up are not counted; they cost what the others cost.
        report["cpu_us"] = took / max(report["requests"], 1) * seconds / (seconds + warm_up) * 1e6
        return report

    def round(self, server, *args, **how):
        """One of several runs."""
        return self.run(server, *args, seconds=self.seconds / ROUNDS, **how)

    def rate(self, server, *args, **how):
        return self.round(server, *args, **how)["requests_per_second"]

    def in_turn(self, *contenders, pairs=None):
        """Each contender is a (function that makes a server, function that measures it). All servers run, and are measured
        in turn in short rounds, every other one backwards, so that a machine that is slow for seconds, or becomes slower,
        does so for all; and that several times, each with servers anew. A list of rounds, each a list of what was measured."""
        rounds = []
        for _ in range(pairs or self.pairs):
            with contextlib.ExitStack() as stack:
                servers = [(stack.enter_context(start()), measure) for start, measure in contenders]
                for server, measure in servers:
                    measure(server)  # warms it up
                rounds += [measure_all(servers, backwards=i % 2 == 1) for i in range(ROUNDS)]
        return rounds

    def ratio(self, ours, theirs, measure):
        """What MEASURE finds of our server, to what it finds of theirs: the median over all rounds."""
        return statistics.median(a / b for a, b in self.in_turn((ours, measure), (theirs, measure)))

    def tails(self, servers, rate, *args):
        """The p99 of each of SERVERS at a planned rate: the median of the p99s of many short windows, which the servers
        have in turn. A host that takes the processor away for milliseconds, which is no server's doing, spoils some
        windows, but not the median."""
        found = [[] for _ in servers]
        for _ in range(max(5, round(self.seconds / WINDOW / 2))):
            for server, p99s in zip(servers, found):
                p99s.append(self.run(server, *args, "-R", "%d" % rate, seconds=WINDOW,
                                     warm_up=WINDOW / 2)["latency_us"]["p99"])
        return [statistics.median(p99s) for p99s in found]

    def load(self, server, connections=64, depth=1):
        """The plain load program, which looks at the server's clock only while all connections are at work: cpu_us and
        own_us, what the server and the load itself took for a request."""
        pid = server.pids()[0]
        out = subprocess.run([self.build + "/tests/bench/load", "-C", self.load_cpu, "-c", str(connections), "-P", str(depth),
                              "-s", "64", "-w", "0.1", "-d", str(self.seconds / ROUNDS), "-p", str(pid), str(server.port)],
                             check=True, capture_output=True, text=True).stdout
        return {key: float(value) for key, value in (word.split("=") for word in out.split())}


def median(values):
    return statistics.median(values)
