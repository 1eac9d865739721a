"""Reloads: the new generation beside the old one, committed or rolled back whole. Rows A11, B and H10."""
import array
import fcntl
import grp
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import termios
import threading
import time

import sockdtest
from sockdtest import SLOW, SockdTest

HUP, STOP, CONT, TERM = signal.SIGHUP, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM
ECHO = 'handler = "echo";'
WITHOUT_CHOWN = 'exec setpriv --bounding-set=-chown --clear-groups "$@"'


def two_services(first, second, top=""):
    host = 'host = "$addr"; handler = "echo"; '
    return top + "\nservices:\n{\n  first: { port = $port; %s };\n  second: { port = $port1; %s };\n};\n" % (
        host + first, host + second)


class ReloadTest(SockdTest):
    def inode(self, port):
        """Of the socket that listens on PORT, as the kernel lists it."""
        with open("/proc/net/tcp") as f:
            for line in f.readlines()[1:]:
                words = line.split()
                address, hex_port = words[1].split(":")
                if int(hex_port, 16) == port and words[3] == "0A" and address == self.hex_addr():
                    return words[9]
        return None

    def hex_addr(self):
        return "".join("%02X" % int(part) for part in reversed(self.addr.split(".")))

    def refused(self, port):
        try:
            self.connect(port).close()
        except ConnectionError:
            return True
        return False

    def hold_generations(self, n):
        """N reloads, each to another framing, so that the connection of each generation stays there; returns them."""
        framings = ["line", "netstring", "length:u8", "length:u16be", "fixed:7"]
        self.serve('handler = "echo"; framing = "%s";' % framings[0], top="workers = 1;")
        clients = []
        for framing in framings[1:n + 1]:
            clients.append(self.connect())
            self.wait_for(lambda: self.status()["workers"][0]["connections"] == 1)
            done = self.reload("workers = 1;" + self.service('handler = "echo"; framing = "%s";' % framing))
            self.assertEqual(done.returncode, 0, done.stderr)
        return clients

    def listening_workers(self):
        return {w["pid"] for w in self.status()["workers"]}

    def generations(self):
        return {g["number"]: g["state"] for g in self.status()["generations"]}


class CommitTest(ReloadTest):
    def test_a_reload_is_told_in_one_line_to_the_caller_and_to_the_log(self):
        self.serve(ECHO)
        done = self.reload(self.service('handler = "echo"; max_request = "128k";'))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\Ageneration 2: echo: max_request 64k -> 128k \([0-9.]+ s\)\n\Z")
        self.wait_log(re.escape(done.stdout.strip()))
        status = self.status()
        self.assertEqual((status["generation"], status["last_reload"]["ok"]), (2, True))
        self.assertIn("max_request", status["last_reload"]["message"])

    def test_what_a_reload_complains_of_is_told_as_what_it_is(self):
        self.serve(ECHO)
        amplifier = 'handler = "echo"; transport = "udp"; max_reply_ratio = 0;'
        self.expect_log("amplifier")
        done = self.reload(self.service(amplifier))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\Ageneration 2: .*\nwarning: .*max_reply_ratio.*amplifier.*\n\Z")
        self.expect_log("reload failed", "max_request")
        done = self.reload(self.service(amplifier + ' max_request = "much";'))
        self.assertRegex(done.stderr, r"\Areload failed, .*: 1 error\n(?!warning).*max_request: .*\nwarning: .*amplifier.*\n\Z")

    def test_hup_is_the_same_as_sockctl_reload(self):
        self.serve(ECHO)
        self.expect_fd_change()
        self.write("sockd.conf", self.service('handler = "echo"; max_request = "128k";'))
        self.sockd.signal(HUP)
        self.wait_log(r"generation 2: echo: max_request 64k -> 128k")

    def test_the_service_manager_hears_reloading_and_ready_before_the_caller_has_the_answer(self):
        self.serve(ECHO)
        since = len(self.sockd.notifications)
        self.assertEqual(self.reload().returncode, 0)
        self.wait_notify(r"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z", since=since)
        self.wait_notify("^READY=1$", since=since)

    def test_who_connects_after_the_answer_meets_the_new_generation(self):
        framings = {"line": (b"x\n", b"x\n"), "netstring": (b"1:x,", b"1:x,")}
        self.serve('handler = "echo"; framing = "line";', top="workers = 4;")
        for _ in range(10):
            for framing in ("netstring", "line"):
                conf = self.service('handler = "echo"; framing = "%s";' % framing, top="workers = 4;")
                self.assertEqual(self.reload(conf).returncode, 0)
                data, reply = framings[framing]
                self.assertEqual(self.converse(data), reply)

    def test_B4_a_listener_that_stays_is_the_same_socket(self):
        self.serve(ECHO)
        before = self.inode(self.port())
        self.assertTrue(before)
        self.assertEqual(self.reload(self.service('handler = "echo"; max_request = "1k";')).returncode, 0)
        self.assertEqual(self.inode(self.port()), before)

    def test_B4_listeners_come_and_go_with_their_services(self):
        self.start(two_services("", ""))
        first = self.inode(self.port())
        done = self.reload(self.service(ECHO, name="first"))
        self.assertIn("second removed", done.stdout)
        self.wait_for(lambda: self.refused(self.port(1)), what="the removed listener to be closed")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        done = self.reload(two_services("", ""))
        self.assertIn("second added", done.stdout)
        self.assertEqual(self.converse(b"x\n", port=self.port(1)), b"x\n")
        self.assertEqual(self.inode(self.port()), first)

    def test_B4_backlog_mode_and_group_of_a_kept_listener_are_changed(self):
        keys = 'transport = [ "tcp", "unix" ]; path = "$dir/s.sock"; host = "$addr"; port = $port; handler = "echo"; '
        other = self.other_group()
        self.serve(keys + 'mode = "0600"; backlog = 10;')
        self.assertEqual((self.mode("s.sock"), self.group("s.sock")), (0o600, os.getegid()))
        self.assertEqual(self.backlog(), 10)
        keys += 'mode = "0666"; backlog = 20; group = "%s";' % other.gr_name
        self.assertEqual(self.reload(self.service(keys)).returncode, 0)
        self.assertEqual((self.mode("s.sock"), self.group("s.sock")), (0o666, other.gr_gid))
        self.assertEqual(self.backlog(), 20)
        self.stop()
        self.serve(keys)
        self.assertEqual((self.mode("s.sock"), self.group("s.sock")), (0o666, other.gr_gid))

    def other_group(self):
        """One that sockd may give to a file, and that it has not anyway."""
        root = os.getuid() == 0
        for group in grp.getgrall():
            if group.gr_gid != os.getegid() and (root or group.gr_gid in os.getgroups()):
                return group
        return self.skipTest("this user has no other group")

    def test_B4_a_group_that_the_daemon_may_not_give_fails_the_reload_and_changes_nothing(self):
        keys = 'transport = [ "tcp", "unix" ]; path = "$dir/s.sock"; host = "$addr"; port = $port; handler = "echo"; '
        group = self.strange_group()
        self.serve(keys + 'mode = "0600";', shell=WITHOUT_CHOWN)
        self.expect_log("cannot give unix .* to group", "reload failed")
        done = self.reload(self.service(keys + 'mode = "0666"; group = "%s";' % group))
        self.assertEqual(done.returncode, 1)
        self.assertIn("echo: cannot give unix %s/s.sock to group \"%s\": the user of the daemon must be in that group "
                      "(SupplementaryGroups=%s in a drop-in of the unit), or be root\n" % (self.dir, group, group), done.stderr)
        st = os.stat(os.path.join(self.dir, "s.sock"))
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_gid), (0o600, os.getgid()))
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.status()["generation"], 1)

    def test_B4_a_mode_that_cannot_be_set_is_told(self):
        keys = 'transport = [ "tcp", "unix" ]; path = "$dir/s.sock"; host = "$addr"; port = $port; handler = "echo"; '
        self.serve(keys + 'mode = "0600";')
        self.expect_log("mode and group of unix .* are not as configured")
        os.unlink(os.path.join(self.dir, "s.sock"))
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(os.path.join(self.dir, "s.sock"))
            done = self.reload(self.service(keys + 'mode = "0666";'))
        self.assertIn("echo: mode and group of unix %s/s.sock are not as configured: another file has its name\n" % self.dir,
                      done.stdout)

    def test_B4_a_group_goes_with_its_line(self):
        group = self.strange_group()
        keys = 'transport = "unix"; path = "$dir/s.sock"; handler = "echo"; '
        self.serve(keys + 'group = "%s";' % group)
        self.assertEqual(grp.getgrgid(self.group("s.sock")).gr_name, group)
        self.reload_to(keys)
        self.assertEqual(os.stat(os.path.join(self.dir, "s.sock")).st_gid, os.getgid())
        self.reload_to(keys + 'group = "%s";' % group)
        self.assertEqual(grp.getgrgid(self.group("s.sock")).gr_name, group)

    def strange_group(self):
        """The name of a group that we are not in; and a daemon that is started WITHOUT_CHOWN may not give files to it."""
        if os.getuid() != 0:
            self.skipTest("needs root, to take a right of root away")
        self.need("setpriv")
        return next(g.gr_name for g in grp.getgrall() if g.gr_gid != os.getgid())

    def mode(self, name):
        return stat.S_IMODE(os.stat(os.path.join(self.dir, name)).st_mode)

    def group(self, name):
        return os.stat(os.path.join(self.dir, name)).st_gid

    def backlog(self):
        self.need("ss")
        out = subprocess.run(["ss", "-Hltn", "src", "%s:%d" % (self.addr, self.port())], capture_output=True, text=True)
        return int(out.stdout.split()[2])

    def test_B1_reloads_under_load_refuse_reset_and_truncate_nothing(self):
        self.serve(ECHO, top="workers = 2;")
        failures, stop, served = [], threading.Event(), [0]

        def short():
            while not stop.is_set():
                try:
                    if self.converse(b"one\ntwo\nthree") != b"one\ntwo\nthree":
                        failures.append("truncated")
                except OSError as e:
                    failures.append(repr(e))
                served[0] += 1

        def long():
            with self.connect() as sock:
                for n in range(1000000):
                    if stop.is_set():
                        return
                    sock.sendall(b"%d\n" % n)
                    if sock.recv(100) != b"%d\n" % n:
                        failures.append("long: truncated")
                        return

        threads = [threading.Thread(target=f) for f in (short, short, long)]
        for thread in threads:
            thread.start()
        try:
            for n in range(20):
                if n % 3 == 2:  # the long one keeps an old generation
                    stop.set()
                    for thread in threads:
                        thread.join()
                    stop.clear()
                    threads = [threading.Thread(target=f) for f in (short, short, long)]
                    for thread in threads:
                        thread.start()
                done = self.reload(self.service('handler = "echo"; max_request = "%dk";' % (n + 1)))
                self.assertEqual(done.returncode, 0, done.stderr)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(served[0], 20)

    def test_a_connection_that_stays_behind_is_served_on_until_it_ends(self):
        client, = self.hold_generations(1)
        client.sendall(b"one\nunfin")
        self.assertEqual(self.receive(client, 4), b"one\n")
        self.assertEqual(self.generations(), {1: "retiring", 2: "serving"})
        client.sendall(b"ished\n")
        self.assertEqual(self.receive(client, 11), b"unfinished\n")
        client.close()
        self.wait_for(lambda: self.generations() == {2: "serving"}, what="the old generation to end")
        self.assertEqual(len(self.pids()), len(self.status()["workers"]))

    def test_reload_drain_timeout_ends_the_old_generation(self):
        self.serve(ECHO)
        client = self.connect()
        client.sendall(b"x\n")
        self.assertEqual(client.recv(10), b"x\n")
        conf = self.service('handler = "echo"; framing = "netstring";', top='reload_drain_timeout = "300ms";')
        self.assertEqual(self.reload(conf).returncode, 0)
        self.assertEqual(client.recv(10), b"")
        self.wait_for(lambda: self.generations() == {2: "serving"}, what="the old generation to end")

    def test_B4_who_comes_to_a_removed_listener_before_its_worker_leaves_is_served(self):
        """Once before the worker is told to leave, and once behind that: then nothing but its last look at the queue
        finds the client."""
        for told_first in (False, True):
            self.start(two_services("", "", top="workers = 1;"))
            pid, = self.pids()
            self.stop_process(pid)
            if told_first:
                self.assertEqual(self.reload("workers = 1;" + self.service(ECHO, name="first")).returncode, 0)
            client = self.connect(self.port(1))
            client.sendall(b"waiting\n")
            if not told_first:
                self.assertEqual(self.reload("workers = 1;" + self.service(ECHO, name="first")).returncode, 0)
            os.kill(pid, CONT)
            self.assertEqual(client.recv(10), b"waiting\n")
            self.stop()

    def test_B4_what_waits_at_a_limit_of_a_removed_listener_is_turned_away_and_not_reset(self):
        self.expect_log("refused: the listener is removed, and a limit reached")
        for keys, said in (("max_connections = 1;", b""), ('max_connections = 1; overload_reply = "full\\n";', b"full\n")):
            self.start(two_services("", keys, top="workers = 2;"))
            served = self.connect(self.port(1))
            served.sendall(b"in\n")
            self.assertEqual(self.receive(served, 3), b"in\n")
            waiting = [self.connect(self.port(1)) for _ in range(20)]
            for client in waiting:
                client.sendall(b"waiting\n")
            self.assertEqual(self.reload("workers = 2;" + self.service(ECHO, name="first")).returncode, 0)
            for client in waiting:
                self.assertEqual(self.receive_all(client), said)
            served.sendall(b"still in\n")
            self.assertEqual(self.receive(served, 9), b"still in\n")
            self.stop()

    def test_B6_a_fifth_generation_waits_and_says_for_whom(self):
        clients = self.hold_generations(3)
        self.assertEqual(list(self.generations()), [1, 2, 3, 4])
        answer = self.reload_later()
        why = "reload waits: 4 generations live; generation 1 has 1 connection open"
        self.wait_log(why + "$")
        self.assertEqual(list(self.generations()), [1, 2, 3, 4])
        self.assertRegex(self.ctl("status").stdout, r"(?m)^reload +since \d\d:\d\d: %s$" % why)
        self.assertEqual(self.status()["waiting_reload"]["message"], why)
        later = subprocess.Popen([os.path.join(sockdtest.BUILD, "sockctl"), "--control", os.path.join(self.dir, "control.sock"),
                                  "reload"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(later.stderr.readline(), "sockctl: %s\n" % why)
        clients[0].close()
        self.assertRegex(answer(), r"\A# %s\n0 \d+\ngeneration 5: nothing changed" % why)
        self.assertIn("generation 6: nothing changed", later.communicate(timeout=sockdtest.TIMEOUT)[0])
        self.assertIsNone(self.status()["waiting_reload"])
        self.assertEqual(self.generations()[6], "serving")
        self.assertNotIn(1, self.generations())

    def test_A19_term_ends_a_reload_that_waits(self):
        self.hold_generations(3)
        self.expect_log("reload given up: sockd is stopping")
        answer = self.reload_later()
        self.wait_log("reload waits: ")
        self.sockd.signal(TERM)
        self.assertRegex(answer(), r"\A# reload waits: .*\n1 \d+\nreload given up: sockd is stopping\n\Z")
        self.assertEqual(self.sockd.wait(), 0)

    def test_B7_reloads_in_quick_succession_neither_hide_one_that_is_stopped_nor_blame_another(self):
        self.serve(ECHO, top='worker_timeout = "1s"; workers = 1;')
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            client.sendall(b"old\n")
            self.assertEqual(self.receive(client, 4), b"old\n")
        top, n = 'worker_timeout = "1s"; workers = 1;', 0
        until = time.monotonic() + 1.5 * sockdtest.SLOW
        while time.monotonic() < until:  # generation 1 stays, for its framing
            n += 1
            conf = self.service('handler = "echo"; framing = "netstring"; max_request = "%dk";' % (100 + n), top=top)
            self.assertEqual(self.reload(conf).returncode, 0)
        self.expect_log("was silent for", "was ended by signal")
        self.expect_core()
        pid, = self.listening_workers()
        self.stop_process(pid)
        stopped = re.compile(r"\[pid %d\] was silent" % pid)
        while not any(stopped.search(line) for line in self.sockd.log):
            n += 1
            conf = self.service('handler = "echo"; framing = "netstring"; max_request = "%dk";' % (100 + n), top=top)
            self.assertEqual(self.reload(conf).returncode, 0)
        for client in clients:
            client.sendall(b"still\n")
            self.assertEqual(self.receive(client, 6), b"still\n")
        self.assertEqual([line for line in self.sockd.log if "silent" in line and not stopped.search(line)], [])

    def test_counters_survive_reloads(self):
        self.serve(ECHO)
        for n in range(1, 4):
            self.assertEqual(self.converse(b"x\n"), b"x\n")
            self.assertEqual(self.reload().returncode, 0)
            self.wait_for(lambda: len(self.generations()) == 1)
            self.assertEqual(self.status()["services"]["echo"]["requests"], n)

    def test_descriptors_of_the_master_stay_constant_over_reloads(self):
        self.serve(ECHO)
        self.assertEqual(self.reload().returncode, 0)
        self.wait_for(lambda: len(self.generations()) == 1)
        before = sockdtest.count_fds(self.sockd.pid)
        for _ in range(10):
            self.assertEqual(self.reload().returncode, 0)
        self.wait_for(lambda: len(self.generations()) == 1)
        self.wait_for(lambda: sockdtest.count_fds(self.sockd.pid) <= before, what="descriptors to be closed")


class TurnTest(ReloadTest):
    """One reload runs, and one more waits for all who asked meanwhile."""

    TOP = 'log_level = "warning"; workers = 2;'  # each SIGHUP would be a line

    def setUp(self):
        super().setUp()
        self.write("gate.sh", "#!/bin/sh\nread -r go <$dir/fifo\nwhile read -r line; do echo \"$$line\"; done\n", 0o755)
        os.mkfifo(os.path.join(self.dir, "fifo"))

    def install(self, max_request, gate=False):
        """Puts a configuration into place, at once: a reload may be reading. One with a gate starts when it is open."""
        conf = self.service('handler = "echo"; max_request = "%s";' % max_request, top=self.TOP)
        if gate:
            conf = conf.replace("services:\n{", 'services:\n{\n  gate: { host = "$addr"; port = $port1; '
                                'handler = "helper"; command = "$dir/gate.sh"; helpers = 1; helper_probe = "x"; '
                                'helper_start_timeout = "1h"; };')
        os.rename(self.write("next.conf", conf), os.path.join(self.dir, "sockd.conf"))

    def ask(self, word="reload"):
        """As reload_later(), and the daemon has heard it."""
        asker = self.unix("control.sock")
        asker.sendall(word.encode() + b"\n")
        unread = array.array("i", [1])

        def is_heard():
            fcntl.ioctl(asker, termios.TIOCOUTQ, unread)
            return unread[0] == 0

        self.wait_for(is_heard, what="the daemon to read")
        return lambda: self.receive_all(asker).decode()

    def start_and_run_into_the_gate(self, ask):
        """From here on a reload, to 65k, runs until open_gate(). Returns what ASK does."""
        self.serve('handler = "echo"; max_request = "64k";', top=self.TOP)
        self.expect_fd_change()
        self.install("65k", gate=True)
        asked = ask()
        self.wait_for(lambda: self.generations() == {1: "serving", 2: "starting"}, what="the reload to run")
        return asked

    def open_gate(self):
        self.assertEqual(self.generations(), {1: "serving", 2: "starting"})
        with open(os.path.join(self.dir, "fifo"), "w") as fifo:
            fifo.write("go\n")

    def wait_for_rest(self):
        """Until nothing runs or waits: what waits begins in the moment in which another ends. Returns the status."""
        def is_at_rest():
            status = self.status()
            return [g["state"] for g in status["generations"]] == ["serving"] and status
        return self.wait_for(is_at_rest, what="the last reload to end")

    def test_H10_each_gets_the_result_of_a_load_that_began_after_the_asking(self):
        first = self.start_and_run_into_the_gate(self.ask)
        self.install("nonsense")
        while_bad = [self.ask() for _ in range(4)]
        self.install("66k")
        while_good = [self.ask() for _ in range(4)]
        self.open_gate()
        self.assertRegex(first(), r"\A0 \d+\ngeneration 2: gate added; echo: max_request 64k -> 65k \(")
        answers = {answer() for answer in while_bad + while_good}
        self.assertEqual(len(answers), 1)
        self.assertRegex(answers.pop(), r"\A0 \d+\ngeneration 3: echo: max_request 65k -> 66k; gate removed \(")
        self.assertEqual(self.wait_for_rest()["generation"], 3)

    def test_H10_a_failure_is_told_to_those_whose_load_it_was(self):
        self.expect_log(r"sockd.conf:\d+: ", "reload failed")
        first = self.start_and_run_into_the_gate(self.ask)
        self.install("66k")
        while_good = self.ask()
        self.install("nonsense")
        while_bad = self.ask()
        self.open_gate()
        self.assertRegex(first(), r"\A0 \d+\ngeneration 2: ")
        failure = while_bad()
        self.assertRegex(failure, r"\A1 \d+\nreload failed, generation 2 goes on serving: 1 error\n"
                                  r"\S*sockd.conf:\d+: services.echo.max_request: expects a size")
        self.assertEqual(while_good(), failure)
        self.install("66k")
        self.assertRegex(self.ask()(), r"\A0 \d+\ngeneration \d+: echo: max_request 65k -> 66k; gate removed \(")

    def test_H10_a_stop_is_told_to_those_whose_reload_it_ends(self):
        self.expect_log("reload given up: sockd is stopping")
        first = self.start_and_run_into_the_gate(self.ask)
        second, stop = self.ask(), self.ask("stop")
        self.assertRegex(first(), r"\A1 \d+\nreload given up: sockd is stopping\n\Z")
        self.assertRegex(second(), r"\A1 \d+\nsockd is stopping\n\Z")
        self.assertEqual(stop(), "0 9\nstopping\n")
        self.assertEqual(self.sockd.wait(), 0)

    def storm(self, signals, after_each=lambda: None):
        """Of HUP, CHLD and USR1."""
        pid = self.sockd.pid
        for _ in range(signals // 3):
            for number in (HUP, signal.SIGCHLD, signal.SIGUSR1):
                os.kill(pid, number)
                after_each()

    def wait_until_heard(self):
        """Of a signal that waits the kernel drops all others of its kind, so that few of a storm are read."""
        until = time.monotonic() + sockdtest.TIMEOUT
        pending = True
        while pending:
            self.assertLess(time.monotonic(), until, "the signal waits")
            os.sched_yield()
            with open("/proc/%d/status" % self.sockd.pid) as f:
                pending = int(re.search(r"ShdPnd:\s+(\w+)", f.read())[1], 16)

    def test_A11_a_storm_of_signals_while_a_reload_runs_is_one_more(self):
        self.start_and_run_into_the_gate(lambda: self.sockd.signal(HUP))
        before = self.status()["cpu_us"]
        self.storm(100000)
        self.assertLess(self.status()["cpu_us"] - before, 100000 * 10 * SLOW)
        before = self.status()["cpu_us"]
        self.storm(300, self.wait_until_heard)
        self.assertLess(self.status()["cpu_us"] - before, 300 * 200 * SLOW)
        self.install("66k")
        self.open_gate()
        self.assertEqual(self.wait_for_rest()["generation"], 3)
        self.assertIn("max_request 65k -> 66k", self.status()["last_reload"]["message"])

    def test_A11_a_storm_of_signals_is_few_reloads_and_a_true_end(self):
        self.serve('handler = "echo"; max_request = "64k";', top=self.TOP)
        self.expect_fd_change()
        self.storm(100000)
        after_storm = self.status()
        self.install("3k")
        self.sockd.signal(HUP)
        self.wait_for(lambda: 'max_request = "3k"' in self.ctl("config").stdout, what="the last change")
        status = self.wait_for_rest()
        # After the storm nothing is left but the one that ran, the one that waited, and the last.
        self.assertLessEqual(status["generation"] - after_storm["generation"], 3)
        self.assertLess(status["cpu_us"] - after_storm["cpu_us"], 500000 * SLOW)
        self.assertLess(status["generation"], 100000 / 3 / 10)
        self.assertEqual(status["verdict"], "well")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.expect_log("reload given up: sockd is stopping", "no reload: sockd is stopping")
        self.storm(10000)
        self.sockd.signal(TERM)
        self.assertEqual(self.sockd.wait(), 0)


class RollbackTest(ReloadTest):
    def check_old_one_serves(self, why):
        status = self.status()
        self.assertEqual((status["verdict"], status["generation"]), ("well", 1))
        self.assertFalse(status["last_reload"]["ok"])
        self.assertRegex(status["last_reload"]["message"], why)
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.generations()[1], "serving")

    def test_B2_a_bad_file_keeps_the_old_one_serving_and_says_where(self):
        self.serve(ECHO)
        self.expect_log(r"sockd.conf:\d+: ", "reload failed")
        done = self.reload(self.service('handler = "echo"; framing = "lin"; mox_request = 3;'))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"\Areload failed, generation 1 goes on serving: 2 errors\n")
        self.assertRegex(done.stderr, r"sockd.conf:\d+: services.echo.framing: .*did you mean \"line\"")
        self.assertRegex(done.stderr, r"sockd.conf:\d+: .*\"?mox_request\"?.* did you mean \"max_request\"")
        self.check_old_one_serves("2 errors")

    def test_B2_a_file_that_is_gone_keeps_the_old_one_serving(self):
        self.serve(ECHO)
        self.expect_log("sockd.conf", "reload failed")
        os.unlink(os.path.join(self.dir, "sockd.conf"))
        self.assertEqual(self.reload().returncode, 1)
        self.check_old_one_serves("1 error")

    def test_H8_what_is_no_configuration_keeps_the_old_one_serving(self):
        """What a slip of the hand, or somebody who may write there, puts in its place."""
        path = os.path.join(self.dir, "sockd.conf")
        text = self.service(ECHO)

        def binary():
            with open(path, "wb") as f:
                f.write(b"\x7fELF\0\0\0\0")

        def huge():
            self.write("sockd.conf", "#")
            os.truncate(path, 1 << 40)  # a hole

        for put, said in ((lambda: os.mkfifo(path), "is no regular file"), (lambda: os.mkdir(path), "is no regular file"),
                          (lambda: os.symlink("/dev/zero", path), "is no regular file"),
                          (lambda: os.symlink("sockd.conf", path), "cannot be read: Too many levels of symbolic links"),
                          (huge, "is larger than 1048576 bytes"), (binary, "a NUL byte; this is no text file")):
            with self.subTest(said):
                self.start(text) if not self.daemons else self.assertEqual(self.reload(text).returncode, 0)
                self.expect_log(said, "reload failed")
                generation = self.status()["generation"]
                os.unlink(path)
                put()
                done = self.reload()
                self.assertEqual(done.returncode, 1)
                self.assertIn(said, done.stderr)
                self.assertEqual((self.status()["verdict"], self.status()["generation"]), ("well", generation))
                self.assertEqual(self.converse(b"x\n"), b"x\n")
                os.rmdir(path) if os.path.isdir(path) else os.unlink(path)

    def test_H8_a_file_of_a_stranger_is_told_and_serves(self):
        if os.getuid() != 0:
            self.skipTest("needs root, to give a file away")
        self.serve(ECHO)
        self.expect_log("its owner, uid 12345, is neither root nor the user that sockd runs as")
        os.chown(os.path.join(self.dir, "sockd.conf"), 12345, -1)
        done = self.reload()
        self.assertEqual(done.returncode, 0)
        self.assertIn("sockd.conf: its owner, uid 12345, is neither root nor the user that sockd runs as\n", done.stdout)

    def test_B3_a_port_that_is_taken_rolls_back_all_of_it(self):
        taken = self.keep(socket.create_server((self.addr, self.port(1))))
        self.serve(ECHO)
        self.expect_log("cannot listen on", "reload failed")
        done = self.reload(two_services("", "") + "")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "second: cannot listen on %s port %d: Address already in use" % (self.addr, self.port(1)))
        self.check_old_one_serves("1 error")
        taken.close()
        self.assertEqual(self.reload().returncode, 0)
        self.assertEqual(self.converse(b"x\n", port=self.port(1)), b"x\n")

    def test_B3_nothing_is_changed_by_what_is_rolled_back(self):
        self.keep(socket.create_server((self.addr, self.port(1))))
        keys = 'transport = "unix"; path = "$dir/s.sock"; handler = "echo"; '
        self.serve(keys + 'mode = "0600";')
        self.expect_log("cannot listen on", "reload failed")
        both = self.service(keys + 'mode = "0666";').replace(
            "services:\n{", 'services:\n{\n  new: { transport = "unix"; path = "$dir/new.sock"; handler = "echo"; };\n'
            '  other: { host = "$addr"; port = $port1; handler = "echo"; };')
        self.assertEqual(self.reload(both).returncode, 1)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.dir, "s.sock")).st_mode), 0o600)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "new.sock")))

    def test_B3_a_worker_that_cannot_start_rolls_back(self):
        if SANITIZED:
            self.skipTest("a limit of the address space and a sanitizer do not go together")
        self.serve(ECHO)
        self.expect_log("reload failed", "worker")
        with open("/proc/%d/statm" % self.sockd.pid) as f:
            size = int(f.read().split()[0]) * resource.getpagesize()
        # Enough for the master to go on, too little for a worker's page of counters and its buffers.
        _, hard = resource.prlimit(self.sockd.pid, resource.RLIMIT_AS)
        resource.prlimit(self.sockd.pid, resource.RLIMIT_AS, (size + 400 * 1024, hard))
        done = self.reload(self.service('handler = "echo"; max_request = "1k";'))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr, r"reload failed, generation 1 goes on serving: worker \d+ \[pid \d+\] exited with status 71")
        self.wait_for(lambda: list(self.generations()) == [1])
        self.check_old_one_serves("status 71")
        resource.prlimit(self.sockd.pid, resource.RLIMIT_AS, (hard, hard))
        self.assertEqual(self.reload().returncode, 0)

    def test_a_host_that_cannot_be_looked_up_rolls_back(self):
        self.serve(ECHO)
        self.expect_log("cannot look up host", "reload failed")
        done = self.reload(self.service('host = "no-such-host.invalid"; handler = "echo";'))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, 'echo: cannot look up host "no-such-host.invalid": ')
        self.check_old_one_serves('1 error: echo: cannot look up host "no-such-host.invalid": ')


SANITIZED = "asan" in sockdtest.BUILD

if __name__ == "__main__":
    sockdtest.main()
