"""Servers that are measured: how each is started on a port of 127.0.0.1, and the processor time that it took.

A server is a context manager. All its processes run on the processors that it is given, and end with it.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
from sockdtest import Daemon, descendants, next_number  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
ASYNCIO = """
import asyncio, sys

async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line)
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()

asyncio.run(main())
"""
SOCKETSERVER = """
import socketserver, sys

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 1024

Server(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""
PREFORK = """
package Echo;
use base "Net::Server::PreFork";
sub process_request { $| = 1; while (<STDIN>) { print } }
Echo->run(host => "127.0.0.1", port => $ARGV[0], min_servers => 66, max_servers => 80, min_spare_servers => 1,
          max_spare_servers => 70, max_requests => 1000000, listen => 1024, log_level => 0);
"""
NGINX = """
worker_processes 1; daemon off; pid %(dir)s/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 100000000;
  client_body_temp_path %(dir)s/a; proxy_temp_path %(dir)s/b; fastcgi_temp_path %(dir)s/c; uwsgi_temp_path %(dir)s/d;
  scgi_temp_path %(dir)s/e;
  server { listen 127.0.0.1:%(port)d backlog=4096; location / { return 200; } }
}
"""


@contextlib.contextmanager
def pinned(cpus):
    """What this thread starts runs on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_of(pid):
    """Processor time of a process, all its threads, in seconds: its clock is exact, see clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def cpu_of_the_dead(pid):
    """Of the children that it has reaped, in ticks."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICK


def is_bound(protocol, port, state):
    with open("/proc/net/" + protocol) as f:
        sockets = [line.split() for line in f]
    return any(words[1].endswith(":%04X" % port) and words[3] == state for words in sockets)


def wait_for_listener(process, port):
    """Until the port is bound; the kernel tells nobody, so we look."""
    while process.poll() is None:
        if is_bound("tcp", port, "0A") or is_bound("udp", port, "07"):
            return
    raise SystemExit("%s ended with %d" % (" ".join(process.args), process.returncode))


class Server:
    def __init__(self, name, cpus):
        self.name, self.cpus, self.port = name, cpus, 2048 + next_number() * 16 % 28000

    def pids(self):
        """Those whose time counts."""
        return [self.process.pid, *descendants(self.process.pid)]

    def cpu(self):
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += cpu_of(pid) + cpu_of_the_dead(pid)
        return total

    def command(self):
        """What is run, and what it reads on standard input."""
        raise NotImplementedError

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="sockd-bench-")
        os.chmod(self.dir, 0o755)
        self.process = subprocess.Popen(["taskset", "-c", self.cpus, *self.command()], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for_listener(self.process, self.port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Command(Server):
    """A server that is one command; the words may name %(port)d and %(dir)s."""

    def __init__(self, name, cpus, *words, files=None):
        super().__init__(name, cpus)
        self.words, self.files = words, files or {}

    def command(self):
        values = {"port": self.port, "dir": self.dir}
        for name, text in self.files.items():
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text % values if name == "nginx.conf" else text)
        return [word % values for word in self.words]


class Sockd(Server):
    """One service, `bench`; its time is that of its workers."""

    def __init__(self, build, cpus, keys='handler = "echo";', workers=1, more=""):
        super().__init__("sockd", cpus)
        self.build, self.keys, self.workers, self.more = os.path.abspath(build), keys, workers, more

    def conf(self):
        return 'workers = %d;\nservices: { bench: { host = "127.0.0.1"; port = %d; %s }; %s };\n' % (
            self.workers, self.port, self.keys, self.more)

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="sockd-bench-")
        with open(os.path.join(self.dir, "sockd.conf"), "w") as f:
            f.write(self.conf())
        with pinned(self.cpus):
            self.daemon = Daemon([self.build + "/sockd", "-f", "sockd.conf", "--control",
                                  os.path.join(self.dir, "control.sock")], self.dir, {})
        try:
            self.daemon.wait_notify("^READY=1$")
        except AssertionError:
            raise SystemExit("sockd does not start: " + "\n".join(self.daemon.log)) from None
        self.seconds_to_ready = time.monotonic() - self.daemon.began
        return self

    def pids(self):
        return [worker["pid"] for worker in self.status()["workers"]]

    def status(self):
        done = subprocess.run([self.build + "/sockctl", "--control", os.path.join(self.dir, "control.sock"), "status",
                               "--json"], capture_output=True, text=True)
        return json.loads(done.stdout)

    def __exit__(self, *_):
        self.daemon.process.terminate()
        self.daemon.wait()
        self.daemon.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def bare_epoll(build, cpus, processes=1):
    return Command("bare epoll loop", cpus, build + "/tests/bench/bare_epoll", "-w", str(processes), "%(port)d")


def bare_udp(build, cpus):
    return Command("bare recvmmsg loop", cpus, build + "/tests/bench/bare_udp", "%(port)d")


def redis(cpus):
    return Command("Redis PING", cpus, "redis-server", "--port", "%(port)d", "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "no", "--dir", "%(dir)s")


def peers(build, cpus):
    """All that stand in the table, in its order, each as (server, options of sockctl bench, message)."""
    echo = ["--size", "63"]
    pong = ["-F", r"delimiter:\r\n", "--expect", "+PONG", "PING"]
    http = ["-F", r"delimiter:\r\n\r\n", "-e", r"GET / HTTP/1.1\r\nHost: localhost"]
    return [
        (lambda: Sockd(build, cpus), echo),
        (lambda: bare_epoll(build, cpus), echo),
        (lambda: Command("bare io_uring loop", cpus, build + "/tests/bench/bare_uring", "%(port)d"), echo),
        (lambda: redis(cpus), pong),
        (lambda: Command("nginx, `return 200`", cpus, "nginx", "-p", "%(dir)s", "-c", "%(dir)s/nginx.conf",
                         files={"nginx.conf": NGINX}), http),
        (lambda: Command("Python asyncio", cpus, sys.executable, "-c", ASYNCIO.replace("%", "%%"), "%(port)d"), echo),
        (lambda: Command("Python socketserver", cpus, sys.executable, "-c", SOCKETSERVER, "%(port)d"), echo),
        (lambda: Command("Perl Net::Server::PreFork", cpus, "perl", "-e", PREFORK, "%(port)d"), echo),
        (lambda: Command("tcpserver, cat", cpus, "tcpserver", "-H", "-R", "-l0", "-c", "200", "-b", "1024", "127.0.0.1",
                         "%(port)d", "cat"), echo),
        (lambda: Command("socat, cat", cpus, "socat",
                         "TCP-LISTEN:%(port)d,bind=127.0.0.1,reuseaddr,fork,backlog=1024", "EXEC:cat"), echo),
    ]
