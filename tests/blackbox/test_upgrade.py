"""Upgrade in place: the master becomes the program on disk, keeps its pid, and cuts nobody. Row B9; B8 needs a package, and
is in tests/system/scenarios.py."""
import errno
import os
import re
import shutil
import signal
import socket
import threading
import urllib.request

import sockdtest
from sockdtest import BUILD, SockdTest, children, count_fds, open_sockets

# What is unfinished or in hand outlives the upgrades on a slow machine too.
ECHO = 'handler = "echo"; request_timeout = "5m"; '
HELPER = 'host = "$addr"; port = $port1; handler = "helper"; helpers = 2; handler_timeout = "5m"; '
# Answers when somebody has the pipe "go" open for writing.
SLOW = """#!/usr/bin/python3 -u
import sys
for line in sys.stdin:
    if line == "slow\\n":
        open("$dir/go").close()
    print(line, end="", flush=True)
"""


class Load:
    """Clients that connect, ask and leave, one after another, in two threads; every answer must be right."""

    def __init__(self, address):
        self.address, self.errors, self.answers, self._over = address, [], 0, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(2)]

    def _run(self, number):
        n = 0
        while not self._over.is_set():
            n += 1
            line = b"client %d.%d\n" % (number, n)
            try:
                # From many addresses: one has no more than 28,000 ports in a minute.
                source = ("127.9.%d.%d" % (number, 1 + n % 250), 0)
                with socket.create_connection(self.address, timeout=sockdtest.TIMEOUT, source_address=source) as sock:
                    sock.sendall(line)
                    sock.shutdown(socket.SHUT_WR)
                    got = SockdTest.receive_all(sock)
                if got != line:
                    self.errors.append("%r instead of %r" % (got, line))
                self.answers += 1
            except OSError as e:
                self.errors.append(repr(e))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args):
        self._over.set()
        for thread in self._threads:
            thread.join()


class UpgradeTest(SockdTest):
    def setUp(self):
        super().setUp()
        self.binary = os.path.join(self.dir, "sockd")
        shutil.copy(os.path.join(BUILD, "sockd"), self.binary)

    def write_slow(self):
        self.write("slow.py", SLOW, 0o755)
        os.mkfifo(os.path.join(self.dir, "go"))

    def go(self):
        """From here on each line "slow" is answered."""
        self.addCleanup(os.close, os.open(os.path.join(self.dir, "go"), os.O_RDWR))

    def start_copy(self, conf, **options):
        """The daemon of a file of the test's own, which can be replaced."""
        build, sockdtest.BUILD = sockdtest.BUILD, self.dir
        try:
            daemon = self.start(conf, **options)
        finally:
            sockdtest.BUILD = build
        self.expect_fd_change()
        return daemon

    def replace(self, source=None, text=None):
        """Another program takes the place of the file, as dpkg does it."""
        new = self.binary + ".new"
        if text is None:
            shutil.copy(source or os.path.join(BUILD, "sockd"), new)
        else:
            with open(new, "w") as f:
                f.write(text)
        os.chmod(new, 0o755)
        os.rename(new, self.binary)

    def replace_patched(self, *pairs):
        """The program itself, with words of as many letters exchanged for others."""
        with open(os.path.join(BUILD, "sockd"), "rb") as f:
            program = f.read()
        words = {b"\0%s\0" % a.encode(): b"\0%s\0" % b.encode() for a, b in pairs}
        if words:
            program = re.sub(b"|".join(map(re.escape, words)), lambda found: words[found[0]], program)
        with open(self.binary + ".new", "wb") as f:
            f.write(program)
        os.chmod(self.binary + ".new", 0o755)
        os.rename(self.binary + ".new", self.binary)

    def upgrade(self):
        return self.ctl("upgrade")

    def check_upgrade(self, before, after):
        done = self.upgrade()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^upgraded: \S+ -> \S+, generation %d -> %d \(.* s\)\n$" % (before, after))

    def check_refused(self, why):
        self.expect_log("no upgrade")
        before = self.status()
        done = self.upgrade()
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr, r"no upgrade, sockd \S+ goes on: .*" + why)
        after = self.status()
        self.assertEqual([g["number"] for g in before["generations"]], [g["number"] for g in after["generations"]])
        self.assertEqual(self.converse(b"still here\n"), b"still here\n")

    def ask(self, sock, line):
        sock.sendall(line + b"\n")
        self.assertEqual(self.receive(sock, len(line) + 1), line + b"\n")

    def test_ten_upgrades_under_load_cut_nobody(self):
        self.write_slow()
        conf = self.service(ECHO, top="workers = 2;").replace(
            "services:\n{", 'services:\n{ slow: { ' + HELPER + 'command = [ "$dir/slow.py" ]; };')
        self.start_copy(conf)
        pid = self.sockd.pid
        idle, half, asking = self.connect(), self.connect(), self.connect(port=self.port(1))
        self.ask(idle, b"idle")
        half.sendall(b"half a ")
        asking.sendall(b"slow\n")
        self.wait_counter("in_hand", 1, service="slow")
        fds = None
        with Load((self.addr, self.port())) as load:
            for n in range(1, 11):
                if n == 10:
                    self.go()
                    self.assertEqual(self.receive(asking, 5), b"slow\n")
                self.replace()
                self.check_upgrade(n, n + 1)
                self.ask(idle, b"after %d" % n)
                if n > 1:
                    half.sendall(b"and ")
                # Generation 1 stays, for the request in hand.
                self.wait_for(lambda: len(self.status()["generations"]) == (2 if n < 10 else 1))
                # The connection of a sockctl that has just left may be among them for a moment.
                fds = fds or count_fds(pid)
                self.wait_for(lambda: count_fds(pid) <= fds, what="as few descriptors as before")
        self.assertEqual(load.errors, [])
        self.assertGreater(load.answers, 20)
        half.sendall(b"half\n")
        line = b"half a " + 9 * b"and " + b"half\n"
        self.assertEqual(self.receive(half, len(line)), line)
        self.ask(asking, b"quick")
        self.assertEqual(self.status()["pid"], pid)
        self.assertEqual(os.readlink("/proc/%d/exe" % pid), self.binary)

    def test_counters_and_reloads_are_counted_on(self):
        self.start_copy(self.service(ECHO))
        for n in range(5):
            self.converse(b"%d\n" % n)
        self.assertEqual(self.ctl("reload").returncode, 0)
        before = self.status()
        self.check_upgrade(2, 3)
        self.wait_for_one_generation()
        after = self.status()
        self.assertEqual(after["services"]["echo"]["accepted"], 5)
        self.assertEqual(after["services"]["echo"]["requests"], before["services"]["echo"]["requests"])

    def test_counters_kept_in_another_way_are_counted_on_by_name(self):
        """The new program has one counter more and one less, and keeps others at other places."""
        self.write_slow()
        keys = HELPER.replace("$port1", "$port") + 'command = [ "$dir/slow.py" ]; '
        self.start_copy(self.service(keys, 'workers = 1; metrics = { host = "$addr"; port = $port1; };'))
        for n in range(5):
            self.converse(b"%d\n" % n)
        slow = self.connect()
        slow.sendall(b"slow\n")
        self.wait_counter("in_hand", 1)
        other = (("bytes_in", "silences"), ("silences", "bytes_in"), ("datagrams_kernel", "datagrams_kurnel"))
        before = self.status()["services"]["echo"]
        for n, pairs in enumerate((other, (), other, other), 1):
            with self.subTest(n):
                self.replace_patched(*pairs)
                self.check_upgrade(n, n + 1)
                after = self.status()["services"]["echo"]
                self.assertEqual("datagrams_kurnel" in after, bool(pairs))
                for name in ("accepted", "requests", "replies", "bytes_in", "bytes_out", "silences", "connections", "in_hand"):
                    self.assertEqual(after[name], before[name], name)
        with urllib.request.urlopen("http://%s:%d/metrics" % (self.addr, self.port(1)), timeout=sockdtest.TIMEOUT) as f:
            self.assertIn('sockd_request_duration_seconds_count{service="echo"} 5\n', f.read().decode())
        # The oldest worker counts on where no program has looked since.
        self.go()
        self.assertEqual(self.receive(slow, 5), b"slow\n")
        self.wait_counter("replies", 6)
        self.wait_counter("bytes_out", lambda n: n == before["bytes_out"] + 5)
        slow.close()
        self.wait_for_one_generation()
        self.assertEqual((self.counter("replies"), self.counter("connections")), (6, 0))
        self.assertNotIn("sockd-stats", "".join(sockdtest.open_files(children(self.sockd.pid)[0]).values()))

    def test_scrapes_are_answered_throughout(self):
        """The exporter becomes the new program too, and its port is open all the while."""
        self.start_copy(self.service(ECHO, 'metrics = { host = "$addr"; port = $port1; };'))
        url = "http://%s:%d/metrics" % (self.addr, self.port(1))
        over, errors, scrapes = threading.Event(), [], []

        def scrape():
            while not over.is_set():
                try:
                    with urllib.request.urlopen(url, timeout=sockdtest.TIMEOUT) as reply:
                        scrapes.append(re.search(r"(?m)^sockd_generation (\d+)", reply.read().decode())[1])
                except (OSError, TypeError) as e:
                    errors.append(repr(e))

        thread = threading.Thread(target=scrape)
        thread.start()
        try:
            for n in range(1, 4):
                old = self.exporter()
                self.replace()
                self.check_upgrade(n, n + 1)
                self.wait_for(lambda: self.exporter() not in (None, old))
                seen = len(scrapes)
                self.wait_for(lambda: len(scrapes) > seen + 2)
        finally:
            over.set()
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(scrapes[-1], "4")

    def exporter(self):
        return next((p for p in children(self.sockd.pid) if sockdtest.process_name(p) == "sockd-exporter"), None)

    def test_an_exporter_of_the_old_program_serves_when_the_new_generation_does_not_start(self):
        conf = self.service(ECHO, 'metrics = { host = "$addr"; port = $port1; };')
        self.start_copy(conf)
        self.expect_log("upgraded: .* but", "reload failed", "cannot listen", "Address already in use")
        taken = self.keep(socket.socket())
        taken.bind((self.addr, self.port(2)))
        taken.listen()
        self.write("sockd.conf", conf.replace("port = $port1", "port = $port2"))
        self.assertEqual(self.upgrade().returncode, 1)
        with urllib.request.urlopen("http://%s:%d/metrics" % (self.addr, self.port(1)), timeout=sockdtest.TIMEOUT) as reply:
            self.assertIn("sockd_generation 1\n", reply.read().decode())
        self.write("sockd.conf", self.service(ECHO))
        self.check_upgrade(1, 2)
        self.wait_for(lambda: not self.exporter())

    def test_what_the_service_manager_is_to_let_go_is_told_by_the_new_program(self):
        conf = self.service(ECHO)
        path = os.path.join(self.dir, "manager.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(sockdtest.TIMEOUT)
            manager.bind(path)
            self.start_copy(conf.replace("services:\n{", 'services:\n{ old: { host = "$addr"; port = $port1; handler = "echo"; };'),
                            env={"NOTIFY_SOCKET": path, "FDSTORE": "8"}, expect_ready=False)
            for sign in (b"FDNAME=sockd-old", b"READY=1"):
                while sign not in manager.recv(4096):
                    pass
            # From here on it has no room.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.setblocking(False)
                with self.assertRaises(BlockingIOError):
                    while True:
                        other.sendto(b"x", path)
            self.assertEqual(self.reload(conf).returncode, 0)
            self.check_upgrade(2, 3)
            while manager.recv(4096) != b"FDSTOREREMOVE=1\nFDNAME=sockd-old-0":
                pass

    def test_connections_in_every_state_live_through_it(self):
        """Two upgrades, and a reload, with a connection in each state; under load."""
        self.write_slow()
        conf = self.service(ECHO, top="workers = 2;").replace("services:\n{", """services:\n{
            slow: { host = "$addr"; port = $port1; handler = "helper"; helpers = 2; command = [ "$dir/slow.py" ];
                    handler_timeout = "5m"; };
            cat: { host = "$addr"; port = $port2; handler = "program"; command = [ "cat" ]; };
            net: { host = "$addr"; port = $port3; framing = "netstring"; %s };
            close: { host = "$addr"; port = $port4; framing = "close"; %s };
            local: { transport = "unix"; path = "$dir/local.sock"; handler = "echo"; };""" % (ECHO, ECHO))
        self.start_copy(conf)
        idle, half, local = self.connect(), self.connect(), self.unix("local.sock")
        asking, ended, queued = (self.connect(port=self.port(1)) for _ in range(3))
        cat, net, whole = (self.connect(port=self.port(n)) for n in (2, 3, 4))
        for sock in (idle, local, cat):
            self.ask(sock, b"before")
        half.sendall(b"one\nhalf a ")
        self.assertEqual(self.receive(half, 4), b"one\n")
        net.sendall(b"11:half a ")
        whole.sendall(b"all ")
        asking.sendall(b"slow\n")
        ended.sendall(b"slow\n")
        ended.shutdown(socket.SHUT_WR)
        queued.sendall(b"slow\nquick\n")
        self.wait_counter("requests", 3, service="slow")
        with Load((self.addr, self.port())) as load:
            self.replace()
            self.check_upgrade(1, 2)
            self.assertEqual(self.reload(conf).returncode, 0)
            self.replace()
            self.check_upgrade(3, 4)
            for sock in (idle, local, cat):
                self.ask(sock, b"after")
            half.sendall(b"line\n")
            self.assertEqual(self.receive(half, 12), b"half a line\n")
            net.sendall(b"text,")
            self.assertEqual(self.receive(net, 15), b"11:half a text,")
            whole.sendall(b"of it")
            whole.shutdown(socket.SHUT_WR)
            self.assertEqual(self.receive_all(whole), b"all of it")
            self.go()
            self.assertEqual(self.receive_all(ended), b"slow\n")
            self.assertEqual(self.receive(queued, 11), b"slow\nquick\n")
            self.assertEqual(self.receive(asking, 5), b"slow\n")
            self.ask(asking, b"once more")
            cat.shutdown(socket.SHUT_WR)
            self.assertEqual(self.receive_all(cat), b"")
        self.assertEqual(load.errors, [])
        self.wait_for_one_generation()

    def fill_with_generations(self):
        """Four live, of which three have a request in hand until there is a file "go"; returns their clients."""
        self.write_slow()
        conf = self.service(HELPER.replace("$port1", "$port") + 'command = [ "$dir/slow.py" ]; ', "workers = 1;")
        self.start_copy(conf)
        clients = []
        for n in range(1, 4):
            clients.append(self.connect())
            clients[-1].sendall(b"slow\n")
            self.wait_counter("requests", n)
            self.assertEqual(self.reload(conf).returncode, 0)
        return clients

    def test_an_upgrade_while_four_generations_live_is_done_when_there_is_room(self):
        clients = self.fill_with_generations()
        self.replace()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.upgrade()))
        thread.start()
        self.wait_log("reload waits: 4 generations live")
        self.assertEqual(self.converse(b"quick\n"), b"quick\n")
        self.go()
        for sock in clients:
            self.assertEqual(self.receive(sock, 5), b"slow\n")
        thread.join()
        self.assertRegex(answers[0].stdout, r"^upgraded: .* generation 4 -> 5 ")

    def test_an_upgrade_while_a_reload_waits_says_so(self):
        clients = self.fill_with_generations()
        self.sockd.signal(signal.SIGHUP)
        self.wait_log("reload waits: 4 generations live")
        self.check_refused("a reload is under way")
        self.go()
        for sock in clients:
            self.assertEqual(self.receive(sock, 5), b"slow\n")
        self.wait_log("generation 5: ")
        self.wait_for_one_generation()
        self.check_upgrade(5, 6)

    def test_usr2_upgrades_and_the_service_manager_hears_of_a_reload(self):
        daemon = self.start_copy(self.service(ECHO), env={"WATCHDOG_USEC": "500000"})
        self.replace()
        since = len(daemon.notifications)
        daemon.signal(signal.SIGUSR2)
        daemon.wait_notify("^RELOADING=1$", since=since)
        daemon.wait_log("upgraded: ")
        daemon.wait_notify("^READY=1$", since=since)
        daemon.wait_notify("^WATCHDOG=1$", since=len(daemon.notifications))
        self.assertEqual(self.status()["pid"], daemon.pid)

    def test_a_program_that_fails_is_refused(self):
        self.start_copy(self.service(ECHO))
        client = self.connect()
        for what, why in ((dict(source="/bin/false"), "/sockd exited with status 1"),
                          (dict(source="/bin/true"), "/sockd exited with status 0, and did not say that it takes over"),
                          (dict(text="#!/bin/sh\necho broken; exit 3\n"), "broken"),
                          (dict(text="#!/bin/sh\nkill -KILL $$\n"), "/sockd was ended by signal 9"),
                          (dict(text="no program\n"), "/sockd: (Exec format error|Permission denied)")):
            with self.subTest(why=why):
                self.replace(**what)
                self.check_refused(why)
        self.ask(client, b"never noticed")
        self.replace()
        self.check_upgrade(1, 2)
        self.ask(client, b"not now either")

    def test_B9_the_program_is_not_written_over_and_another_in_its_place_waits_for_the_upgrade(self):
        self.start_copy(self.service(ECHO, top="workers = 1;"))
        client, pids = self.connect(), self.pids()
        with self.assertRaises(OSError) as raised:
            open(self.binary, "r+b").close()
        self.assertEqual(raised.exception.errno, errno.ETXTBSY)
        self.replace(source="/bin/false")
        # Workers that are started now are still of the old program.
        self.expect_log("was ended by signal 9")
        self.ask(client, b"before")
        os.kill(pids[0], signal.SIGKILL)
        self.wait_log("was ended by signal 9")
        self.assertEqual(self.converse(b"new worker\n"), b"new worker\n")
        self.check_refused("exited with status 1")
        self.replace()
        self.check_upgrade(1, 2)

    def test_a_program_that_is_gone_is_refused(self):
        self.start_copy(self.service(ECHO))
        os.unlink(self.binary)
        self.check_refused("/sockd: No such file")

    def test_a_program_that_hangs_is_refused(self):
        self.start_copy(self.service(ECHO))
        self.replace(text="#!/bin/sh\ntouch $PWD/hangs; sleep 1000 & wait\n")
        self.check_refused("did not answer within 10 s")
        self.assertTrue(os.path.exists(os.path.join(self.dir, "hangs")))

    def test_a_program_that_knows_another_state_is_refused(self):
        self.start_copy(self.service(ECHO))
        # As if the first line of a state were another one.
        self.replace_patched(("sockd-upgrade ", "sockd-upgradf "))
        self.check_refused("no state of sockd")

    def test_a_bad_configuration_is_refused(self):
        self.start_copy(self.service(ECHO))
        self.write("sockd.conf", self.service(ECHO + 'framing = "lin";'))
        self.check_refused(r'sockd.conf:\d+: services.echo.framing')
        self.write("sockd.conf", self.service(ECHO))
        self.check_upgrade(1, 2)

    def test_a_generation_that_does_not_start_leaves_the_old_one_serving(self):
        self.start_copy(self.service(ECHO))
        self.expect_log("upgraded: .* but", "reload failed", "cannot listen", "Address already in use")
        client = self.connect()
        taken = self.keep(socket.socket())
        taken.bind((self.addr, self.port(2)))
        taken.listen()
        self.write("sockd.conf", self.service(ECHO).replace(
            "services:\n{", 'services:\n{ more: { host = "$addr"; port = $port2; handler = "echo"; };'))
        pid = self.sockd.pid
        done = self.upgrade()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "but the new generation did not start\n.*generation 1 goes on serving")
        self.ask(client, b"served on")
        self.assertEqual(self.converse(b"new\n"), b"new\n")
        # Under the new master the old workers are replaced as ever.
        self.expect_log("was ended by signal 9")
        victim = next(p for p in children(pid))
        os.kill(victim, signal.SIGKILL)
        self.wait_log(r"\[pid %d\] was ended by signal 9" % victim)
        self.wait_for(lambda: victim not in children(pid))
        self.assertEqual(self.converse(b"again\n"), b"again\n")
        self.write("sockd.conf", self.service(ECHO))
        self.check_upgrade(1, 2)

    def start_without_a_new_generation(self):
        """A new program whose generation cannot start: the old one goes on serving."""
        self.expect_log("upgraded: .* but", "reload failed", "cannot listen", "Address already in use")
        taken = self.keep(socket.socket())
        taken.bind((self.addr, self.port(2)))
        taken.listen()
        with open(os.path.join(self.dir, "sockd.conf")) as f:
            self.write("sockd.conf", f.read().replace(
                "services:\n{", 'services:\n{ more: { host = "$addr"; port = $port2; handler = "echo"; };'))
        self.assertIn("but the new generation did not start", self.upgrade().stderr)

    def test_a_worker_that_did_not_start_is_back_after_a_time_that_is_known(self):
        self.start_copy(self.service(ECHO, top="workers = 1;"))
        self.expect_log("before its first job")
        for _ in range(5):
            worker = self.wait_for(lambda: self.status()["workers"][0]["pid"])
            os.kill(worker, signal.SIGKILL)
            self.wait_log(r"\[pid %d\] was ended by signal 9 .* before its first job" % worker)
        known = len(self.sockd.log)
        self.start_without_a_new_generation()
        self.wait_log(r"worker 1 .* serves again after [0-9.]+ s; ", since=known)

    def test_a_spawner_of_a_generation_that_leaves_is_started_by_the_new_program(self):
        """Its workers may have requests that only helpers can answer."""
        helper = 'handler = "helper"; helpers = 1; command = "/bin/cat"; framing = "%s"; '
        self.start_copy(self.service(helper % "line", top="workers = 1;"))
        self.expect_log("was ended by signal 9", "cannot start the spawner", "cannot start spawner", "helper")
        client = self.connect()
        self.ask(client, b"before")
        spawner = self.status()["spawner"]
        self.reload_to(helper % "netstring", top="workers = 1;")  # what another framing has begun, it ends
        with self.strace(self.sockd.pid, "inject=clone,clone3,fork,vfork:error=EAGAIN:when=1..5"):
            os.kill(spawner, signal.SIGKILL)
            self.wait_log(r"cannot start spawner: .*; next try in 1\.\d+ s")
        self.check_upgrade(2, 3)
        self.ask(client, b"after")
        client.close()

    def test_listeners_of_all_kinds_and_the_control_socket_stay_the_same(self):
        conf = """services: {
          tcp: { host = "$addr"; port = $port; handler = "echo"; transport = [ "tcp", "udp" ]; max_reply_ratio = 0; };
          unix: { transport = "unix"; path = "$dir/echo.sock"; handler = "echo"; };
          abstract: { transport = "unix"; path = "@sockd-$port"; handler = "echo"; };
        };"""
        self.expect_log("max_reply_ratio")
        self.start_copy(conf)
        files = [os.stat(os.path.join(self.dir, name)).st_ino for name in ("echo.sock", "control.sock")]
        before = open_sockets(self.sockd.pid)
        self.check_upgrade(1, 2)
        self.assertGreaterEqual(len(before & open_sockets(self.sockd.pid)), 5)
        self.assertEqual(files, [os.stat(os.path.join(self.dir, name)).st_ino for name in ("echo.sock", "control.sock")])
        for sock in (self.connect(), self.unix("echo.sock"), self.unix("@sockd-%d" % self.port())):
            self.ask(sock, b"hello")
        udp = self.udp()
        udp.send(b"hello")
        self.assertEqual(udp.recv(100), b"hello")

    def test_sockets_of_the_service_manager_stay(self):
        listener = self.keep(socket.socket())
        listener.bind((self.addr, self.port()))
        listener.listen()
        self.start_copy(self.service(ECHO), listen=[("echo", listener)])
        self.check_upgrade(1, 2)
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")
        self.wait_for_one_generation()
        self.check_upgrade(2, 3)
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")

    def test_a_stop_after_an_upgrade_is_as_before(self):
        self.start_copy(self.service(ECHO))
        self.check_upgrade(1, 2)
        self.sockd.signal(signal.SIGTERM)
        self.assertEqual(self.sockd.wait(), 0)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "control.sock")))

    def test_what_an_administrator_set_outlives_an_upgrade(self):
        self.start_copy(self.service(ECHO))
        self.assertEqual(self.ctl("drain", "echo").returncode, 0)
        self.assertEqual(self.ctl("log-level", "debug").returncode, 0)
        self.check_upgrade(1, 2)
        status = self.status()
        self.assertTrue(status["services"]["echo"]["drained"])
        self.assertEqual(status["log_level"], "debug")
        self.assertEqual(self.ctl("resume", "echo").returncode, 0)
        self.assertEqual(self.converse(b"again\n"), b"again\n")

    def test_a_single_process_says_why_it_cannot(self):
        self.start_copy(self.service(ECHO), args=["--single-process"])
        self.check_refused("a single process")

    def test_nothing_is_left_open_to_children(self):
        self.write("fds.sh", "#!/bin/sh\nls -l /proc/self/fd >&2; while read -r l; do echo \"$$l\"; done\n", 0o755)
        self.start_copy(self.service('handler = "helper"; command = [ "$dir/fds.sh" ]; helpers = 1;'))
        self.wait_late_starters()
        counts = lambda: sorted(count_fds(pid) or 0 for pid in children(self.sockd.pid))
        before = counts()
        self.check_upgrade(1, 2)
        self.wait_for_one_generation()
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")
        self.wait_for(lambda: counts() == before)


if __name__ == "__main__":
    sockdtest.main()
