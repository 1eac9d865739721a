"""What the scenarios use, inside the container: commands, units, configurations, clients and load.

Nothing here sleeps for a fixed time but wait_until(), which looks again every few milliseconds.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import traceback

OUT = "/out"
CONF = "/etc/sockd.conf"
DROP_IN = "/etc/systemd/system/%s.d/test.conf"
ECHO = ("localhost", 50000)
SERVICES = "services: { %s };\n"
# The service of the shipped file, with room for more keys.
SERVICE = '%s: { host = "localhost"; port = %d; framing = "line"; handler = "echo"; %s };'


class Failure(AssertionError):
    pass


class Skip(Exception):
    """What this machine cannot do, with the reason."""


def check(condition, *words):
    if not condition:
        raise Failure(" ".join(str(w) for w in words) or "not so")


def run(*command, status=0, timeout=180, env=None, input=None):
    """Runs a command and returns what it printed, on both outputs; STATUS None: whatever it exits with."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, text=True,
                          errors="backslashreplace", input=input, env=dict(os.environ, **(env or {})))
    if status is not None:
        check(done.returncode == status, "%s: exit status %d: %s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def status_of(*command, **options):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
                          **options).returncode


def wait_until(condition, what, timeout=30):
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise Failure("in vain for %g s: %s" % (timeout, what))
        time.sleep(0.01)


# Units.

def systemctl(*words, status=0):
    return run("systemctl", *words, status=status)


def show(prop, unit="sockd.service"):
    return systemctl("show", "--value", "-p", prop, unit).strip()


def main_pid(unit="sockd.service"):
    return int(show("MainPID", unit))


def is_active(unit="sockd.service"):
    return show("ActiveState", unit) == "active"


def drop_in(text, unit="sockd.service"):
    path = DROP_IN % unit
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    systemctl("daemon-reload")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


def configure(*services, top="", path=CONF):
    write(path, top + SERVICES % " ".join(services))


def service(name="echo", port=50000, keys=""):
    return SERVICE % (name, port, keys)


def ours():
    return [u.split()[0] for u in systemctl("list-units", "--all", "--plain", "--no-legend", "sockd*", "greet*")
            .splitlines()]


# What an administrator would put there, and the package does not own.
LEFT_BY_SCENARIOS = "/usr/local/lib/sockd", "/usr/local/bin/show", "/etc/sockd-aliases"


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def reset():
    """As after the installation, but with nothing running."""
    units = ours()
    if units:
        systemctl("stop", *sorted(units, key=lambda u: not u.endswith(".socket")), status=None)
        systemctl("reset-failed", *units, status=None)
    for name in os.listdir("/etc/systemd/system"):
        if name.startswith(("sockd", "greet")):
            remove(os.path.join("/etc/systemd/system", name))
    for name in os.listdir("/etc/sockd.d") if os.path.isdir("/etc/sockd.d") else ():
        os.unlink("/etc/sockd.d/" + name)
    for path in LEFT_BY_SCENARIOS:
        remove(path)
    systemctl("daemon-reload")
    if os.path.isdir("/etc/sockd.d"):
        configure(service())


def journal(unit="sockd.service", since=None):
    """The journal of a unit since a cursor; sockd's own records and those of systemd about it."""
    run("journalctl", "--sync", status=None)
    more = ["--after-cursor", since] if since else []
    lines = run("journalctl", "-u", unit, "-o", "json", "--all", *more, status=None).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def cursor():
    run("journalctl", "--sync", status=None)
    return re.search("cursor: (.*)", run("journalctl", "-n", "0", "--show-cursor")).group(1).strip()


def text_of(records):
    return "\n".join(str(r.get("MESSAGE")) for r in records)


# The daemon.

def status(*instance):
    """What `sockctl status --json` says."""
    done = subprocess.run(["sockctl", *instance, "status", "--json"], stdout=subprocess.PIPE, timeout=20)
    check(done.returncode in (0, 1), "sockctl status: exit status", done.returncode)
    return json.loads(done.stdout)


def workers(*instance):
    return [w["pid"] for w in status(*instance)["workers"]]


def counter(name, service="echo"):
    return status()["services"][service][name]


def alive(pid):
    return os.path.exists("/proc/%d" % pid)


def in_cgroup(unit="sockd.service"):
    """The processes of a unit."""
    pids = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and unit in open("/proc/%s/cgroup" % name).read():
                pids.append(int(name))
    return pids


def listener_inode(port):
    """The inode of the socket that listens on 127.0.0.1:PORT."""
    for line in open("/proc/net/tcp"):
        words = line.split()
        if words[1:2] == ["0100007F:%04X" % port] and words[3] == "0A":
            return int(words[9])
    return None


def has_inode(pid, inode):
    for fd in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(OSError):
            if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == "socket:[%d]" % inode:
                return True
    return False


# Clients.

def connect(address=ECHO, timeout=30):
    """ADDRESS: (host, port), or the path of a Unix socket."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(address)
        return sock
    return socket.create_connection(("127.0.0.1", address[1]), timeout)


def ask(sock, text="hello"):
    line = text.encode() + b"\n"
    sock.sendall(line)
    answer = b""
    while not answer.endswith(b"\n"):
        data = sock.recv(65536)
        if not data:
            break
        answer += data
    return answer.decode().rstrip("\n")


def talk(address=ECHO, text="hello", timeout=30):
    with connect(address, timeout) as sock:
        return ask(sock, text)


def check_talks(address=ECHO):
    check(talk(address) == "hello", "no echo at", address)


class Load:
    """Clients that connect, ask once and leave, again and again, while the with statement lasts."""

    def __init__(self, *addresses, clients=4):
        self.addresses, self.answered, self.refused, self.errors, self.slowest = addresses or (ECHO,), 0, 0, [], 0.0
        self._lock, self._end = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(i,)) for i in range(clients)]

    def _client(self, number):
        turn = number
        while not self._end.is_set():
            turn += 1
            began = time.monotonic()
            try:
                answer = talk(self.addresses[turn % len(self.addresses)], "request %d" % turn)
                error = None if answer == "request %d" % turn else "answer %r" % answer
            except ConnectionRefusedError:
                error = "refused"
            except OSError as e:
                error = repr(e)
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - began)
                if error == "refused":
                    self.refused += 1
                elif error:
                    self.errors.append(error)
                else:
                    self.answered += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_answers(20)
        return self

    def wait_answers(self, more):
        """Waits until so many more requests were answered."""
        least = self.answered + more
        wait_until(lambda: self.answered >= least, "%d more answers (%s)" % (more, self))

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()

    def __str__(self):
        return "%d answered, %d refused, %d failed %s, slowest %.2f s" % (
            self.answered, self.refused, len(self.errors), self.errors[:3], self.slowest)

    def check_none_refused(self):
        check(self.refused == 0, self)

    def check_all_answered(self):
        check(self.refused == 0 and not self.errors, self)


class Waiting:
    """A service of one connection that is taken, and clients that wait behind it in the listener's queue."""

    KEYS = "max_connections = 1;"

    def __init__(self, n=5, address=ECHO):
        self.first = connect(address)
        check(ask(self.first) == "hello")
        # A request that is not complete is in hand: a stop waits for it, and the others stay where they are.
        self.first.sendall(b"half")
        self.waiting = [connect(address) for _ in range(n)]
        for i, sock in enumerate(self.waiting):
            sock.sendall(b"waited %d\n" % i)

    def check_served(self):
        self.first.close()
        for i, sock in enumerate(self.waiting):
            answer = sock.recv(100)
            check(answer == b"waited %d\n" % i, "client %d of those who waited got %r" % (i, answer))
            sock.close()


def stop_process(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()[0] == "T", "stopped")


def run_scenarios(scenarios, write_line):
    """Runs them in their order, and writes TAP."""
    write_line("1..%d" % len(scenarios))
    for number, scenario in enumerate(scenarios, 1):
        began = time.monotonic()
        verdict, words = "ok", []
        since = cursor()
        try:
            scenario()
        except Skip as e:
            words = [" # SKIP %s" % e]
        except Exception:
            verdict = "not ok"
            words = ["\n# " + line for line in traceback.format_exc().splitlines()]
            log = run("journalctl", "--after-cursor", since, "-o", "short-monotonic", "--no-hostname", status=None)
            words += ["\n#   " + line for line in log.splitlines()[-40:]]
        with contextlib.suppress(Exception):
            reset()
        took = "" if words and "SKIP" in words[0] else " (%.1f s)" % (time.monotonic() - began)
        write_line("%s %d - %s%s%s" % (verdict, number, scenario.__name__, took, "".join(words)))
