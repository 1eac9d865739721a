"""The harness of the black-box tests: real processes, real sockets, and no sleeps but where time itself is what a test
is about (let_pass).

    class EchoTest(SockdTest):
        def test_a_line_comes_back(self):
            self.serve('handler = "echo";')
            client = self.connect()
            client.sendall(b"hello\\n")
            self.assertEqual(client.recv(100), b"hello\\n")

    if __name__ == "__main__":
        sockdtest.main()

Each test has a loopback address and a block of ports of its own, so that tests run side by side. After each test the
daemon is stopped, and the test fails when it did not exit with 0, left a process behind, leaked a descriptor, dumped
core, or logged an error, a warning or a sanitizer's report that the test did not announce with expect_log().

The daemon is $SOCKD_BUILD/sockd (build/release); $SOCKD_SLOW multiplies all timeouts, for sanitizers and valgrind.
A test file writes TAP; names of tests can be given as arguments.
"""
import contextlib
import ctypes
import fcntl
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SOCKD_BUILD", "build/release"))
SLOW = float(os.environ.get("SOCKD_SLOW", "1"))
# For a process that ends while it is traced, where LeakSanitizer does not work.
NO_LEAK_CHECK = {"ASAN_OPTIONS": "detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", "")}
TIMEOUT = 10 * SLOW
PORTS = 16  # of each test

SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error:|Assertion .* failed|assert")
# Says something of the machine's limits, not of the test.
MACHINE = re.compile(r"max_(connections|programs) of all services, \d+, cannot be reached")
COMPLAINT = re.compile(r"^([-0-9]+ [0-9:.]+ \[\d+( worker \d+| spawner| exporter)?\] )?(error|warning): ")

PR_SET_CHILD_SUBREAPER = 36


def children(pid):
    """The living and dead children of a process, as a list of pids."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open("/proc/%s/stat" % name) as f:
                if int(f.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
    return sorted(found)


def descendants(pid):
    found = children(pid)
    for child in list(found):
        found += descendants(child)
    return found


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def process_name(pid):
    try:
        with open("/proc/%d/comm" % pid) as f:
            return f.read().strip()
    except OSError:
        return ""


def process_state(pid):
    """As ps(1) has it: "T" when it is stopped; None when it is gone."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


def count_fds(pid):
    """How many descriptors a process has open; None when it is gone."""
    try:
        return len(os.listdir("/proc/%d/fd" % pid))
    except OSError:
        return None


def open_files(pid):
    """What each descriptor of a process is, by its number; those closed meanwhile are left out."""
    found = {}
    with contextlib.suppress(OSError):
        for fd in sorted(os.listdir("/proc/%d/fd" % pid), key=int):
            with contextlib.suppress(OSError):
                found[int(fd)] = os.readlink("/proc/%d/fd/%s" % (pid, fd))
    return found


def open_sockets(pid):
    return {file for file in open_files(pid).values() if file.startswith("socket:")}


def describe_fds(pid):
    return " ".join("%d=%s" % item for item in open_files(pid).items())


def next_number():
    """A number that no other test on this machine gets, for a long time: a counter under a lock."""
    path = os.path.join(tempfile.gettempdir(), "sockdtest-%d" % os.getuid())
    with open(path, "a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        number = int(f.read() or 0)
        f.truncate(0)
        f.write(str(number + 1))
    return number


class Daemon:
    """One sockd that was started: its log and its notifications as they come, and its end."""

    def __init__(self, command, directory, env, inherit=()):
        self.dir, self.control = directory, os.path.join(directory, "control.sock")
        self.log, self.notifications = [], []
        self.expected_status = 0
        self._ended = False
        self._changed = threading.Condition()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify_path = os.path.join(directory, "notify.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(notify_path)
        self._notify.bind(notify_path)
        env = dict({"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "NOTIFY_SOCKET": notify_path}, **env)
        for name in os.environ:
            if name.endswith("SAN_OPTIONS"):
                env.setdefault(name, os.environ[name])
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, cwd=directory, env=env, start_new_session=True,
                                        pass_fds=inherit, preexec_fn=allow_core)
        self.began = time.monotonic()  # the exec has succeeded
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        out, rest = self.process.stdout.fileno(), b""
        poll = select.poll()
        poll.register(out, select.POLLIN)
        poll.register(self._notify, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == out:
                    data = os.read(out, 65536)
                    *lines, rest = (rest + data).split(b"\n")
                    if not data and rest:
                        lines.append(rest)
                    self._add(self.log, [line.decode(errors="backslashreplace") for line in lines])
                    if not data:
                        self._end()
                        return
                else:
                    self._add(self.notifications, [self._notify.recv(65536).decode()])

    def _end(self):
        """What it said last may wait behind the end of its log."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._add(self.notifications, [self._notify.recv(65536, socket.MSG_DONTWAIT).decode()])
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _add(self, where, items):
        with self._changed:
            where += items
            self._changed.notify_all()

    def _wait(self, where, find, since, timeout, what):
        until = time.monotonic() + (TIMEOUT if timeout is None else timeout * SLOW)
        with self._changed:
            while True:
                for item in where[since:]:
                    if found := find(item):
                        return found
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError("no %s: %s" % (what, "sockd ended" if self._ended else "timed out"))
                self._changed.wait(left)

    def wait_log(self, pattern, timeout=None, since=0):
        """Waits for a line of the log that matches; returns the match. SINCE: len(log) at an earlier moment."""
        return self._wait(self.log, re.compile(pattern).search, since, timeout, "log line %r" % pattern)

    def wait_notify(self, pattern, timeout=None, since=0):
        """Waits for a datagram to NOTIFY_SOCKET with a matching line; returns the datagram's text."""
        match = re.compile(pattern, re.MULTILINE)
        return self._wait(self.notifications, lambda text: text if match.search(text) else None, since, timeout,
                          "notification %r" % pattern)

    def workers(self):
        return children(self.pid)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=None):
        """Waits for its end and for the last of its log; returns the exit status, or -SIGNAL."""
        status = self.process.wait(TIMEOUT if timeout is None else timeout * SLOW)
        self._reader.join(TIMEOUT)
        return status

    def close(self):
        self.process.stdout.close()
        self._notify.close()


class Clock:
    """Time without that in which the machine stood still, or let nobody here run: while the with statement lasts, a
    thread looks at the time each 10 ms, and what it is late by does not count."""

    TICK, LATE = 0.01, 0.05

    def __enter__(self):
        self._lost, self._last, self._over = 0, time.monotonic(), threading.Event()
        self._lock, self._thread = threading.Lock(), threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *args):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(self.TICK):
            with self._lock:
                self._lost += self._late()
                self._last = time.monotonic()

    def _late(self):
        late = time.monotonic() - self._last - self.TICK
        return late if late > self.LATE else 0

    def seconds(self):
        with self._lock:
            return time.monotonic() - self._lost - self._late()


def allow_core():
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


# Puts the sockets into place as systemd does and becomes the daemon.
ACTIVATE = """
import os, sys
fds, names, command = [int(n) for n in sys.argv[1].split(",")], sys.argv[2], sys.argv[3:]
high = [os.dup(fd) for fd in fds]
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(high)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.closerange(3 + len(fds), 200)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


class SockdTest(unittest.TestCase):
    """A test with a directory, a loopback address and ports of its own, and any number of daemons."""

    def setUp(self):
        number = next_number()
        self.addr = "127.%d.%d.%d" % (1 + number // 62500 % 250, number // 250 % 250, 1 + number % 250)
        self._first_port = 2048 + number * PORTS % 28000
        self.dir = tempfile.mkdtemp(prefix="sockd-")
        self.daemons, self.sockd = [], None
        self._sockets, self._expected, self._unchecked_fds = [], [], False
        self._core_expected = False
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._strangers = set(children(os.getpid()))

    # What a test starts.

    def port(self, n=0):
        """The N-th port of this test."""
        assert n < PORTS
        return self._first_port + n

    def write(self, name, text, mode=0o644):
        """Writes a file into the test's directory; $addr, $port, $port1 ... and $dir are filled in. Returns its path."""
        values = {"addr": self.addr, "port": self.port(), "dir": self.dir}
        values.update(("port%d" % n, self.port(n)) for n in range(PORTS))
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # What may be executed just now, or would be before it may, comes at once and whole.
        new = path + ".new" if mode & 0o111 else path
        with open(new, "w") as f:
            f.write(string.Template(text).safe_substitute(values))
        os.chmod(new, mode)
        os.rename(new, path)
        return path

    def start(self, conf, args=(), env=None, expect_ready=True, strace=None, socket_activate=None, listen=None,
              shell=None):
        """Starts sockd on a configuration and waits until it says READY=1. Returns the Daemon, also as self.sockd.

        strace: an expression, as inject=accept4:error=EMFILE:when=3+5 or a list of them; its output is in DIR/strace.
                It sees the loading of the program too; strace() is for calls that this would spoil.
        socket_activate: the options of systemd-socket-activate, which starts sockd at the first connection.
        listen: a list of (name, socket) that sockd inherits as from systemd.
        shell: what a shell does, in which exec "$@" is sockd.
        """
        command = [os.path.join(BUILD, "sockd"), "-f", self.write("sockd.conf", conf),
                   "--control", os.path.join(self.dir, "control.sock"), *args]
        env, inherit = dict(env or {}), ()
        if listen:
            inherit = tuple(s.fileno() for _, s in listen)
            command = [sys.executable, "-c", ACTIVATE, ",".join(str(fd) for fd in inherit),
                       ":".join(name for name, _ in listen), *command]
        if socket_activate:
            self.need("systemd-socket-activate")
            command = ["systemd-socket-activate", "-E", "NOTIFY_SOCKET", *socket_activate, *command]
        if shell:
            command = ["/bin/sh", "-c", shell, "sh", *command]
        if strace:
            self.need_strace()
            expressions = [strace] if isinstance(strace, str) else strace
            # -D: the daemon is our child, and strace a grandchild; leak checks do not work under it.
            command = ["strace", "-D", "-f", "-o", os.path.join(self.dir, "strace"),
                       *(word for e in expressions for word in ("-e", e)), *command]
            env.update(NO_LEAK_CHECK)
        daemon = self.sockd = Daemon(command, self.dir, env, inherit)
        self.daemons.append(daemon)
        daemon.fd_baseline = {}
        if expect_ready:
            daemon.wait_notify("^READY=1$")
            self.take_fd_baseline()
        return daemon

    def serve(self, keys, top="", name="echo", **options):
        """Starts sockd with one service, by default on self.addr and self.port()."""
        return self.start(self.service(keys, top, name), **options)

    def service(self, keys, top="", name="echo"):
        """The text of a configuration with one service."""
        if not re.search(r"\b(host|path) *=", keys):
            keys = 'host = "$addr"; ' + keys
        if not re.search(r"\b(port|path) *=", keys):
            keys = "port = $port; " + keys
        return "%s\nservices:\n{\n  %s: { %s };\n};\n" % (top, name, keys)

    @contextlib.contextmanager
    def strace(self, pid, *expressions, follow=False):
        """Attaches strace to one running process, with FOLLOW to those that it forks from then on too, for as long as the
        with statement lasts."""
        self.need_strace()
        command = ["strace", *["-f"] * follow, "-o", os.path.join(self.dir, "strace.%d" % pid), "-p", str(pid)]
        with subprocess.Popen(command + [word for e in expressions for word in ("-e", e)], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE) as process:
            try:
                line = process.stderr.readline()
                self.assertIn(b"attached", line)
                yield
            finally:
                process.send_signal(signal.SIGINT)

    def run_sockd(self, *args, env=None):
        """Runs sockd to its end; returns the CompletedProcess with text in stdout and stderr."""
        return self.run_program("sockd", *args, env=env)

    def ctl(self, *args, input=None, env=None, control=None):
        """Runs sockctl with this test's control socket; returns the CompletedProcess with text in stdout and stderr."""
        control = control or os.path.join(self.dir, "control.sock")
        return self.run_program("sockctl", "--control", control, *args, input=input, env=env)

    def run_program(self, name, *args, input=None, env=None):
        env = dict(os.environ, LC_ALL="C.UTF-8", **(env or {}))
        if isinstance(input, str):
            input = input.encode()
        done = subprocess.run([os.path.join(BUILD, name), *map(str, args)], input=b"" if input is None else input,
                              capture_output=True, timeout=TIMEOUT * 2, env=env, cwd=self.dir)
        done.stdout_bytes = done.stdout
        done.stdout = done.stdout.decode(errors="backslashreplace")
        done.stderr = done.stderr.decode(errors="backslashreplace")
        if SANITIZER.search(done.stderr):
            self.fail("%s %s: %s" % (name, " ".join(map(str, args)), done.stderr))
        return done

    def status(self):
        """What `sockctl status --json` says."""
        done = self.ctl("status", "--json")
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)

    def counter(self, name, service="echo"):
        """A counter or gauge of a service, over all workers."""
        return self.status()["services"][service][name]

    def wait_counter(self, name, least, service="echo"):
        """Waits until a counter is LEAST or more, and returns it; for a gauge, give a predicate instead."""
        wanted = least if callable(least) else lambda n: n >= least
        found = []

        def look():
            found[:] = [self.counter(name, service)]
            return wanted(found[0])

        self.wait_for(look, what="counter %s" % name)
        return found[0]

    def reload(self, conf=None):
        """Puts another configuration in place, if there is one, and runs `sockctl reload`."""
        if conf is not None:
            self.write("sockd.conf", conf)
        self._unchecked_fds = True
        return self.ctl("reload")

    def reload_to(self, keys, **options):
        """Reloads to a service with these keys, which must succeed."""
        done = self.reload(self.service(keys, **options))
        self.assertEqual(done.returncode, 0, done.stderr)

    def reload_later(self):
        """Asks for a reload; returns a function that waits for the answer of the control socket."""
        self.expect_fd_change()
        asker = self.unix("control.sock")
        asker.sendall(b"reload\n")
        return lambda: self.receive_all(asker).decode()

    def wait_for_one_generation(self):
        self.wait_for(lambda: len(self.status()["generations"]) == 1, what="the old generation to end")

    # Clients.

    def keep(self, sock):
        """Closes SOCK before the daemon is looked at in the end."""
        sock.settimeout(TIMEOUT)
        self._sockets.append(sock)
        return sock

    def connect(self, port=None, addr=None, source=None):
        addr = addr or self.addr
        sock = self.keep(socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET))
        if source:
            sock.bind((source, 0))
        sock.connect((addr, port or self.port()))
        return sock

    def udp(self, port=None, addr=None, source=None):
        """A datagram socket that is connected, or only bound to SOURCE when PORT is 0."""
        addr = addr or self.addr
        sock = self.keep(socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_DGRAM))
        if source:
            sock.bind(source if isinstance(source, tuple) else (source, 0))
        if port != 0:
            sock.connect((addr, port or self.port()))
        return sock

    def unix(self, path, kind=socket.SOCK_STREAM):
        """A connection to a Unix socket, below the test's directory unless the path is absolute; "@x" is abstract."""
        sock = self.keep(socket.socket(socket.AF_UNIX, kind))
        sock.connect("\0" + path[1:] if path[0] == "@" else os.path.join(self.dir, path))
        return sock

    @staticmethod
    def receive_all(sock):
        """All that comes until the other side ends."""
        data = b""
        while more := sock.recv(65536):
            data += more
        return data

    @staticmethod
    def receive(sock, length):
        """Exactly LENGTH bytes, or fewer at the end."""
        data = b""
        while len(data) < length and (more := sock.recv(length - len(data))):
            data += more
        return data

    def fill(self, client, data):
        """Sends DATA again and again and reads nothing, until the daemon waits for CLIENT, its only connection, and no
        more goes into any buffer."""
        client.setblocking(False)
        rest = b""

        def is_waited_for():
            nonlocal rest
            with contextlib.suppress(BlockingIOError):
                while True:
                    rest = (rest or data)[client.send(rest or data):]
            found = json.loads(self.ctl("connections", "--json").stdout)["connections"]
            return [c["waits_for"] for c in found] == ["client"] and found[0]["wait_ms"] >= 200

        self.wait_for(is_waited_for, what="the daemon to wait for the client")
        client.settimeout(TIMEOUT)

    def converse(self, data, **where):
        """Sends DATA, ends our side, and returns all that comes back."""
        with self.connect(**where) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return self.receive_all(sock)

    # What a test waits for, or says of itself.

    def wait_log(self, pattern, timeout=None, since=0):
        return self.sockd.wait_log(pattern, timeout, since)

    def wait_notify(self, pattern, timeout=None, since=0):
        return self.sockd.wait_notify(pattern, timeout, since)

    def wait_for(self, predicate, timeout=None, what=None):
        """Waits until PREDICATE() is true and returns it. Only for a state outside that no event tells of."""
        until = time.monotonic() + (TIMEOUT if timeout is None else timeout * SLOW)
        pause = threading.Event()
        while not (value := predicate()):
            if time.monotonic() > until:
                self.fail("waited in vain for %s" % (what or predicate))
            pause.wait(0.01)
        return value

    def let_pass(self, seconds, what):
        """Time passes, since that is what the test needs: no event tells of WHAT."""
        threading.Event().wait(seconds)

    def pids(self):
        """The workers."""
        return self.sockd.workers()

    def expect_log(self, *patterns):
        """Errors and warnings that match are no failure of this test."""
        self._expected += patterns

    def expect_core(self):
        """A worker is ended with a signal that dumps core."""
        self._core_expected = True

    def take_fd_baseline(self):
        """Descriptors are counted from here on, not from the start: listeners have changed."""
        self._unchecked_fds = False
        self.wait_late_starters()
        self.sockd.fd_baseline = {pid: count_fds(pid) for pid in [self.sockd.pid, *self.pids()]}

    def wait_late_starters(self):
        """READY waits for the workers; the spawner and the exporter may still be opening what they need."""
        pids, unnamed = self.pids(), process_name(self.sockd.pid)
        self.wait_for(lambda: unnamed not in [process_name(pid) for pid in pids], what="all to name themselves")
        names = {pid: process_name(pid) for pid in pids}
        # The spawner: a socket for each worker, which may be inside the master, and the master's. The exporter: its loop, and
        # its library's.
        sockets = max(1, len([name for name in names.values() if name not in ("sockd-exporter", "sockd-spawner")])) + 1
        needed = {"sockd-spawner": ("=socket:", sockets), "sockd-exporter": ("=anon_inode:[eventpoll]", 2)}
        for pid, name in names.items():
            kind, number = needed.get(name, ("", 0))
            self.wait_for(lambda: describe_fds(pid).count(kind) >= number, what="%s to open its files" % name)

    def expect_fd_change(self):
        """Descriptors are not counted in this test."""
        self._unchecked_fds = True

    def stop_process(self, pid):
        """Sends SIGSTOP, which takes effect a little later, and waits for that."""
        os.kill(pid, signal.SIGSTOP)
        self.wait_for(lambda: process_state(pid) in ("T", "t"), what="pid %d to stop" % pid)

    def need(self, program):
        if not shutil.which(program):
            self.skipTest("%s is not installed" % program)

    def need_strace(self):
        self.need("strace")
        if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
            self.skipTest("this machine does not allow strace")

    # The end.

    def stop(self, number=signal.SIGTERM, timeout=None):
        """Ends the daemon, after its descriptors were counted; returns the exit status."""
        for sock in self._sockets:
            sock.close()
        self._check_fds(self.sockd)
        self.sockd.signal(number)
        return self.sockd.wait(timeout)

    def tearDown(self):
        failures = []

        def check(step, *args):
            try:
                step(*args)
            except Exception as e:  # each is told, none hides another
                failures.append("%s" % e)

        for sock in self._sockets:
            sock.close()
        for daemon in self.daemons:
            check(self._end, daemon)
        check(self._check_processes)
        for daemon in self.daemons:
            check(self._check_log, daemon)
            daemon.close()
        check(self._check_cores)
        shutil.rmtree(self.dir, ignore_errors=True)
        if failures:
            self.fail("at the end of the test:\n" + "\n".join(failures))

    def _end(self, daemon):
        if daemon.process.poll() is None:
            try:
                self._check_fds(daemon)
            finally:
                daemon.signal(signal.SIGTERM)
        try:
            status = daemon.wait()
        except subprocess.TimeoutExpired:
            daemon.signal(signal.SIGKILL)
            daemon.wait()
            raise AssertionError("sockd did not end after TERM") from None
        self.assertEqual(status, daemon.expected_status, "exit status of sockd")

    def _check_fds(self, daemon):
        if self._unchecked_fds:
            return
        for pid, before in daemon.fd_baseline.items():
            if before is None or not os.path.exists("/proc/%d" % pid):
                continue
            try:
                self.wait_for(lambda: (count_fds(pid) or 0) <= before)
            except AssertionError:
                raise AssertionError("pid %d leaked descriptors, %d at the start and now %s"
                                     % (pid, before, describe_fds(pid))) from None

    def _check_processes(self):
        mine = os.getpid()
        try:
            self.wait_for(lambda: not reap(self._strangers), what="all processes to end")
        except AssertionError:
            left = [pid for pid in descendants(mine) if pid not in self._strangers]
            lines = ["pid %d: %s" % (pid, command_line(pid)) for pid in left]
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.wait_for(lambda: not reap(self._strangers), what="killed processes to end")
            raise AssertionError("left over: " + ", ".join(lines)) from None

    def _check_log(self, daemon):
        def complaint(line):
            if SANITIZER.search(line):
                return True
            return COMPLAINT.search(line) and not any(re.search(p, line) for p in [MACHINE, *self._expected])

        lines = [line for line in daemon.log if complaint(line)]
        if lines:
            self.fail("unexpected lines in the log:\n" + "\n".join(lines))

    def _check_cores(self):
        cores = [name for name in os.listdir(self.dir) if re.fullmatch(r"core(\.\d+)?", name)]
        if cores and not self._core_expected:
            self.fail("core files: " + ", ".join(cores))

    def log_text(self):
        return "".join("  sockd %d | %s\n" % (d.pid, line) for d in self.daemons for line in d.log)


def reap(strangers):
    """Takes in dead children that were handed to us, and returns the living ones."""
    living = []
    for pid in children(os.getpid()):
        if pid not in strangers:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    living.append(pid)
    return living


class TapResult(unittest.TestResult):
    """Writes each test as a line of TAP, with the tracebacks and the daemon's log behind a failed one."""

    def startTestRun(self):
        self.number, self.subfailed = 0, False

    def startTest(self, test):
        super().startTest(test)
        self.began, self.trouble, self.skip = time.monotonic(), [], None

    def addError(self, test, err):
        super().addError(test, err)
        self.trouble.append(self._exc_info_to_string(err, test))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.trouble.append("%s\n%s" % (subtest, self._exc_info_to_string(err, test)))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skip = reason

    def stopTest(self, test):
        super().stopTest(test)
        self.number += 1
        name = ".".join(test.id().split(".")[-2:])
        seconds = time.monotonic() - self.began
        if self.trouble:
            print("not ok %d - %s (%.2f s)" % (self.number, name, seconds))
            text = "\n".join(self.trouble) + (test.log_text() if hasattr(test, "daemons") else "")
            print("".join("# %s\n" % line for line in text.splitlines()), end="")
        elif self.skip is not None:
            print("ok %d - %s # SKIP %s" % (self.number, name, self.skip.replace("\n", " ")))
        else:
            print("ok %d - %s (%.2f s)" % (self.number, name, seconds))
        sys.stdout.flush()


class TapRunner:
    def run(self, suite):
        result = TapResult()
        print("1..%d" % suite.countTestCases(), flush=True)
        result.startTestRun()
        suite(result)
        return result


def main():
    unittest.main(module="__main__", testRunner=TapRunner())
