"""The master: its processes, its signals, its end. Rows A and H of the catalogue that are about them."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import sockdtest
from sockdtest import SLOW, Clock, SockdTest, children, open_files, process_state
from terminal import Terminal

KILL, STOP, CONT, TERM, HUP, INT = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM, signal.SIGHUP,
                                    signal.SIGINT)
ECHO = 'handler = "echo";'

# A worker falls silent and is aborted; as soon as it is reaped its number is given to a stranger, which then sees out
# what the master had planned for it: the kill a second later, a reload, a stop.
A14 = r"""
import json, os, re, select, signal, subprocess, sys
build, directory = sys.argv[1:]
control = directory + "/control.sock"
daemon = subprocess.Popen([build + "/sockd", "-f", directory + "/sockd.conf", "--control", control], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/")
def wait_for(pattern):
    for line in daemon.stdout:
        sys.stderr.write(line)
        if found := re.search(pattern, line):
            return found
    sys.exit("the daemon ended")
def ctl(*words):
    return subprocess.run([build + "/sockctl", "--control", control, *words], check=True, capture_output=True, text=True).stdout
wait_for("generation 1: ")
worker = json.loads(ctl("status", "--json"))["workers"][0]["pid"]
os.kill(worker, signal.SIGSTOP)
wait_for(r"pid %d\] was silent" % worker)
os.kill(worker, signal.SIGCONT)
wait_for(r"pid %d\] was ended by signal" % worker)
for _ in range(100):
    # Whoever starts a process meanwhile may be quicker.
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(worker - 1))
    stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    if stranger.pid == worker:
        break
    stranger.communicate()
else:
    sys.exit("no stranger got the number")
poll = select.poll()
poll.register(os.pidfd_open(stranger.pid), select.POLLIN)
def check():
    if poll.poll(1500):
        sys.exit("the stranger was ended: %r" % stranger.wait())
check()
ctl("reload")
ctl("stop")
daemon.communicate()
check()
print("the stranger lives")
stranger.communicate()
"""


class MasterTest(SockdTest):
    def worker(self, number):
        """The pid of the worker with this number; 0 while there is none."""
        return {w["number"]: w["pid"] for w in self.status()["workers"]}[number]

    def wait_workers(self, n):
        self.wait_for(lambda: sum(w["ready"] for w in self.status()["workers"]) == n, what="%d ready workers" % n)

    def make_all_work(self, n):
        """Each of N workers gets a connection: the others are stopped meanwhile."""
        pids = self.pids()
        for pid in pids:
            others = [other for other in pids if other != pid]
            for other in others:
                self.stop_process(other)
            self.assertEqual(self.converse(b"x\n"), b"x\n")
            for other in others:
                os.kill(other, CONT)


class StartTest(MasterTest):
    def test_ready_is_told_when_all_workers_serve(self):
        self.serve(ECHO, top="workers = 3;")
        self.assertEqual([w["ready"] for w in self.status()["workers"]], [True] * 3)
        self.wait_log(r"generation 1: echo on %s:%d; 3 workers" % (self.addr, self.port()))

    def test_workers_0_is_one_per_usable_processor(self):
        self.serve(ECHO, args=["--log-level", "info"], top="workers = 0;")
        self.assertIn(len(self.pids()), range(1, len(os.sched_getaffinity(0)) + 1))

    def test_an_unusable_command_line_is_64_and_one_line(self):
        for args in (["--nonsense"], ["-x"], ["extra"], ["-f"], ["--log-level", "loud"], ["--check=1"], ["-t", "-T"],
                     ["-t", "--single-process"], ["-t", "--control", "x"], ["-T", "--log-level", "debug"]):
            with self.subTest(args):
                done = self.run_sockd(*args)
                self.assertEqual((done.returncode, done.stdout), (64, ""))
                self.assertRegex(done.stderr, r"\Asockd: [^\n]+\n\Z")

    def test_an_option_that_cannot_be_used_is_named(self):
        for args, text in ((["--prot", "3"], "there is no option --prot; did you mean --port?"),
                           (["--prot=3"], "there is no option --prot; did you mean --port?"),
                           (["--nonsense"], "there is no option --nonsense "), (["-x"], "there is no option -x "),
                           (["--check=1"], "--check takes no argument "), (["--program=1"], "--program takes no argument "),
                           (["--control"], "--control needs an argument "),
                           (["-f", ""], "--config needs the name of a file "), (["-t", "-f", ""], "--config needs ")):
            with self.subTest(args):
                self.assertTrue(self.run_sockd(*args).stderr.startswith("sockd: " + text))

    def test_help_names_every_option(self):
        done = self.run_sockd("--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--config", "--check", "--show-config", "--single-process", "--control", "--log-level", "--version"):
            self.assertIn(option, done.stdout)

    def test_each_option_of_the_help_is_understood_by_its_letter_and_its_name(self):
        _, *rows = self.run_sockd("--help").stdout.splitlines()
        found = [re.match(r"  (?:(-\w), |    )(--[a-z-]+)( [A-Z]+)?", row).groups() for row in rows]
        for letter, name, argument in found:
            for option in filter(None, (letter, name)):
                with self.subTest(option):
                    if argument:
                        self.assertEqual(self.run_sockd(option).stderr, "sockd: %s needs an argument (see sockd --help)\n" % option)
                    else:
                        self.assertIn("there is no option --nonsense", self.run_sockd(option, "--nonsense").stderr)

    def test_a_bad_configuration_is_78_with_every_error(self):
        path = self.write("bad.conf", 'services: { a: { port = "x y"; framing = "lin"; handler = "echo"; }; };\n')
        for args in (["-f", path], ["-t", "-f", path]):
            with self.subTest(args):
                done = self.run_sockd(*args)
                self.assertEqual(done.returncode, 78)
                self.assertRegex(done.stderr, r"bad.conf:1: services.a.framing: .*did you mean")
                self.assertRegex(done.stderr, r"bad.conf:1: services.a.port: ")

    def test_a_file_that_is_not_there_is_78(self):
        done = self.run_sockd("-f", "none.conf")
        self.assertEqual(done.returncode, 78)
        self.assertIn("none.conf", done.stderr)

    LIVE_HOST = ('transport = [ "tcp", "unix", "udp" ]; path = "$dir/s.sock"; host = "$addr"; port = $port; '
                 'handler = "echo";')

    def check_live_host(self, run, *command):
        """`sockd -t` on the file that serves."""
        done = run(*command, "-t", "-f", os.path.join(self.dir, "sockd.conf"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def socket_files(self):
        found = [os.stat(os.path.join(self.dir, name)) for name in ("s.sock", "control.sock")]
        return [(status.st_ino, status.st_mode, status.st_ctime_ns) for status in found]

    def test_B5_a_check_on_a_live_host_takes_nothing_from_who_serves(self):
        self.serve(self.LIVE_HOST, top='workers = 1; worker_timeout = "1h";')
        worker, before = self.pids()[0], self.socket_files()
        self.stop_process(worker)  # what comes waits in the backlogs
        try:
            clients = [self.connect() for _ in range(20)] + [self.unix("s.sock") for _ in range(20)] + [self.udp()]
            for client in clients:
                client.sendall(b"waiting\n")
            for _ in range(5):
                self.check_live_host(self.run_sockd)
                self.assertEqual(self.socket_files(), before)
            clients += [self.connect(), self.unix("s.sock")]
            for client in clients[-2:]:
                client.sendall(b"waiting\n")
        finally:
            os.kill(worker, CONT)
        for client in clients:
            self.assertEqual(self.receive(client, 8), b"waiting\n")

    def test_B5_a_check_never_binds_listens_or_unlinks(self):
        self.need_strace()
        self.serve(self.LIVE_HOST)
        trace, env = os.path.join(self.dir, "trace"), dict(os.environ, **sockdtest.NO_LEAK_CHECK)
        self.check_live_host(lambda *words: subprocess.run(words, capture_output=True, text=True, env=env), "strace",
                             "-f", "-o", trace, "-e", "trace=bind,listen,unlink,unlinkat,rename,renameat,renameat2",
                             os.path.join(sockdtest.BUILD, "sockd"))
        with open(trace) as f:
            self.assertRegex(f.read(), r"\A\d+ +\+\+\+ exited with 0 \+\+\+\n\Z")

    def test_show_config_loads_again_to_the_same(self):
        first = self.run_sockd("-T", "-f", self.write("a.conf", self.service(ECHO)))
        self.assertEqual(first.returncode, 0, first.stderr)
        second = self.run_sockd("-T", "-f", self.write("b.conf", first.stdout))
        self.assertEqual(second.stdout.replace("b.conf", "a.conf"), first.stdout)

    def test_a_full_disk_is_74_and_told(self):
        """Of what is longer than the buffer nothing is left when it is flushed."""
        path = self.write("sockd.conf", self.service(ECHO))
        services = "".join("s%d: { port = %d; %s };" % (n, 1000 + n, ECHO) for n in range(100))
        long = self.write("long.conf", "services: { %s };" % services)
        for words in ("-T", "-f", path), ("-T", "-f", long), ("-t", "-f", path), ("--help",), ("--version",):
            with self.subTest(words), open("/dev/full", "w") as full:
                done = subprocess.run([os.path.join(sockdtest.BUILD, "sockd"), *words], stdout=full, stderr=subprocess.PIPE,
                                      text=True)
                self.assertEqual((done.returncode, done.stderr),
                                 (74, "sockd: cannot write to standard output: No space left on device\n"))

    def test_A21_started_with_standard_descriptors_closed_no_socket_lands_there(self):
        self.write("sockd.conf", self.service(ECHO))
        command = "exec '%s/sockd' -f sockd.conf --control control.sock <&- >&- 2>&-" % sockdtest.BUILD
        self.sockd = sockdtest.Daemon(["sh", "-c", command], self.dir, {})
        self.sockd.fd_baseline = {}
        self.daemons.append(self.sockd)
        self.wait_for(lambda: self.ctl("status").returncode == 0, what="sockd to serve")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        for pid in [self.sockd.pid, *self.pids()]:
            for fd in (0, 1, 2):
                self.assertEqual(os.readlink("/proc/%d/fd/%d" % (pid, fd)), "/dev/null")

    def test_A22_a_second_start_says_why_it_ends_and_hurts_not_the_first(self):
        keys = 'path = "$dir/s.sock"; transport = [ "tcp", "unix" ]; port = $port; host = "$addr"; handler = "echo";'
        first = self.serve(keys)
        second = self.run_sockd("-f", os.path.join(self.dir, "sockd.conf"), "--control", first.control)
        self.assertEqual(second.returncode, 71)
        self.assertRegex(second.stderr, "another sockd answers on the control socket")
        self.assertRegex(second.stderr, r"echo: cannot listen on %s port %d: Address already in use; "
                                        r"another program has this port" % (self.addr, self.port()))
        self.assertRegex(second.stderr, "echo: cannot listen on unix .*/s.sock: Address already in use; another process")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        client = self.unix("s.sock")
        client.sendall(b"y\n")
        self.assertEqual(client.recv(10), b"y\n")
        self.assertEqual(self.ctl("status").returncode, 0)

    def test_A22_files_that_a_killed_daemon_left_are_replaced(self):
        conf = self.service('path = "$dir/s.sock"; transport = "unix"; handler = "echo";', top="workers = 1;")
        first = self.start(conf)
        self.expect_log("the master is gone")
        first.expected_status = -KILL
        first.signal(KILL)
        first.wait()
        self.assertTrue(os.path.exists(os.path.join(self.dir, "s.sock")))
        self.wait_for(lambda: not self.answers("s.sock"), what="the workers to leave")
        self.start(conf)
        self.assertTrue(self.answers("s.sock"))
        self.assertEqual([name for name in os.listdir(self.dir) if name.startswith(".")], [])
        self.assertEqual(self.stop(), 0)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "s.sock")))
        self.assertFalse(os.path.exists(os.path.join(self.dir, "control.sock")))

    def answers(self, path):
        try:
            client = self.unix(path)
            client.sendall(b"x\n")
            return client.recv(10) == b"x\n"
        except ConnectionError:  # a reset or a broken pipe, too, where the listener is being closed
            return False

    def test_single_process_serves_reloads_and_stops(self):
        self.serve(ECHO, args=["--single-process"])
        self.assertEqual(self.pids(), [])
        client = self.connect()
        client.sendall(b"one\n")
        self.assertEqual(client.recv(10), b"one\n")
        done = self.reload(self.service('handler = "echo"; max_request = "1k";'))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.converse(b"new\n"), b"new\n")
        client.sendall(b"two\n")
        self.assertEqual(client.recv(10), b"two\n")
        self.assertEqual(self.stop(), 0)

    def test_the_log_level_of_the_command_line_wins(self):
        self.serve(ECHO, args=["--log-level", "debug"], top='log_level = "error";')
        self.wait_log("generation 1: ")
        self.assertEqual(self.reload().returncode, 0)
        self.wait_log("generation 2: ")


class WorkerTest(MasterTest):
    def test_a_worker_that_had_worked_is_replaced_at_once(self):
        self.serve(ECHO, top="workers = 1;")
        self.expect_log("was ended by signal 9")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        pid, = self.pids()
        os.kill(pid, KILL)
        self.wait_log(r"worker 1 \[pid %d\] was ended by signal 9 \(Killed\); replaced at once" % pid)
        self.assertEqual(self.converse(b"y\n"), b"y\n")
        self.assertNotEqual(self.pids(), [pid])

    def test_a_worker_that_died_before_its_first_job_is_replaced_after_growing_pauses(self):
        self.serve(ECHO, top="workers = 1;")
        self.expect_log("before its first job")
        pauses = []
        for _ in range(4):
            pid, = self.wait_for(lambda: self.ready_pids())
            os.kill(pid, KILL)
            match = self.wait_log(r"\[pid %d\] was ended by signal 9 \(Killed\) before its first job; "
                                  r"next try in ([0-9.]+) s" % pid)
            pauses.append(float(match[1]))
        self.assertLessEqual(pauses[0], 0.1)
        self.assertGreater(pauses[3], 2 * pauses[0])
        self.wait_for(lambda: self.ready_pids())
        self.wait_log("worker 1 .* serves again")

    def ready_pids(self):
        return [w["pid"] for w in self.status()["workers"] if w["ready"]]

    def test_status_is_degraded_while_a_worker_dies_at_start_and_well_after(self):
        self.serve(ECHO, top="workers = 1;")
        self.expect_log("before its first job")
        while (done := self.ctl("status")).returncode == 0:
            for pid in self.ready_pids():
                os.kill(pid, KILL)
                self.wait_log(r"\[pid %d\] was ended" % pid)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"\Adegraded since .*: worker 1 dies at start, ")
        self.wait_for(lambda: self.ctl("status").returncode == 0, what="the verdict well")

    def test_A1_queued_connections_survive_a_killed_worker(self):
        self.serve(ECHO, top="workers = 2;")
        self.expect_log("was ended by signal 9")
        self.make_all_work(2)
        for _ in range(10):
            clients = [self.connect() for _ in range(10)]
            os.kill(self.pids()[0], KILL)
            served = 0
            for n, client in enumerate(clients):
                try:
                    client.sendall(b"%d\n" % n)
                    served += client.recv(10) == b"%d\n" % n
                except ConnectionError:
                    pass  # it was the dead worker's
            late = self.connect()
            late.sendall(b"late\n")
            self.assertEqual(late.recv(10), b"late\n")
            self.wait_workers(2)
        self.assertGreaterEqual(self.status()["services"]["echo"]["accepted"], 12)

    def kill_all_while_clients_wait(self):
        """Kills the workers, who are stopped, so that none accepts who comes before; the clients then get their replies.
        Returns the pids."""
        pids = self.pids()
        for pid in pids:
            self.stop_process(pid)
        clients = [self.connect() for _ in range(20)]
        for n, client in enumerate(clients):
            client.sendall(b"%d\n" % n)
        for pid in pids:
            os.kill(pid, KILL)
        for n, client in enumerate(clients):
            self.assertEqual(client.recv(10), b"%d\n" % n)
        self.wait_workers(len(pids))
        return pids

    def test_A4_all_workers_dead_at_once_are_replaced_at_once_if_they_had_worked(self):
        self.serve(ECHO, top="workers = 3;")
        self.expect_log("was ended by signal 9")
        self.make_all_work(3)
        for pid in self.kill_all_while_clients_wait():
            self.wait_log(r"\[pid %d\] was ended by signal 9 \(Killed\); replaced at once$" % pid)

    def test_A4_all_workers_dead_at_once_before_their_first_job_are_replaced_after_a_pause(self):
        self.serve(ECHO, top="workers = 3;")
        self.expect_log("was ended by signal 9")
        for pid in self.kill_all_while_clients_wait():
            self.wait_log(r"\[pid %d\] was ended by signal 9 \(Killed\) before its first job; next try in 0\.\d+ s$" % pid)

    def test_A6_a_worker_that_is_silent_is_replaced(self):
        self.serve(ECHO, top='workers = 2; worker_timeout = "1s";')
        self.expect_log("was silent for", "was ended by signal")
        self.make_all_work(2)
        pid = self.worker(2)
        self.stop_process(pid)
        clients = [self.connect() for _ in range(5)]
        for client in clients:
            client.sendall(b"x\n")
            self.assertEqual(client.recv(10), b"x\n")
        self.wait_log(r"worker 2 \[pid %d\] was silent for [0-9.]+ s; ended" % pid)
        self.wait_log(r"worker 2 \[pid %d\] was ended by signal (6|9)" % pid)
        self.wait_workers(2)

    def test_A9_a_killed_master_leaves_workers_that_finish_and_a_free_port(self):
        conf = self.service('handler = "echo"; framing = "line";', top='workers = 2; drain_timeout = "30s";')
        first = self.start(conf)
        self.expect_log("the master is gone")
        first.expected_status = -KILL
        first.signal(KILL)
        self.wait_for(lambda: not self.connects(), what="the port to be free")
        self.start(conf)
        self.assertEqual(self.converse(b"x\n"), b"x\n")

    def test_A9_what_is_in_hand_when_the_master_is_killed_is_answered(self):
        self.write("slow.sh", "#!/bin/sh\nwhile read -r line; do read -r go <$dir/go; echo \"$$line\"; done\n", 0o755)
        os.mkfifo(os.path.join(self.dir, "go"))
        self.serve('handler = "helper"; helpers = 1; command = "$dir/slow.sh";')
        self.expect_log("the master is gone")
        self.sockd.expected_status = -KILL
        asking = self.connect()
        asking.sendall(b"in hand\n")
        self.wait_counter("in_hand", 1)
        self.sockd.signal(KILL)
        self.wait_for(lambda: not self.connects(), what="the port to be free")
        with open(os.path.join(self.dir, "go"), "w") as go:
            go.write("go\n")
        self.assertEqual(self.receive_all(asking), b"in hand\n")

    def test_A14_a_stranger_with_the_number_of_a_dead_worker_is_never_signalled(self):
        """In a namespace of processes, where the next number can be chosen."""
        self.write("sockd.conf", self.service('handler = "echo";', top='workers = 1; worker_timeout = "1s";'))
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if subprocess.run([*command, "sh", "-c", "echo 100 >/proc/sys/kernel/ns_last_pid"], capture_output=True).returncode != 0:
            self.skipTest("this takes root and namespaces of processes")
        done = subprocess.run([*command, sys.executable, "-c", A14, sockdtest.BUILD, self.dir], capture_output=True, text=True,
                              timeout=6 * sockdtest.TIMEOUT)
        self.assertEqual((done.returncode, done.stdout), (0, "the stranger lives\n"), done.stderr)

    def connects(self):
        try:
            self.connect().close()
        except ConnectionError:
            return False
        return True

    def test_A10_a_master_that_was_stopped_blames_no_worker(self):
        # The idle connection ends long after worker_timeout: the workers go on, and their time is the test's clock.
        self.serve('handler = "echo"; idle_timeout = "3s";', top='workers = 2; worker_timeout = "1s";')
        pids = self.pids()
        client = self.connect()
        self.stop_process(self.sockd.pid)
        self.assertEqual(client.recv(10), b"")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.sockd.signal(CONT)
        self.assertEqual(self.ctl("status").returncode, 0)
        watched = self.connect()
        self.assertEqual(watched.recv(10), b"")
        self.assertEqual(self.pids(), pids)

    def test_H7_all_processes_stopped_and_continued_go_on_as_they_are(self):
        self.serve('handler = "echo"; idle_timeout = "3s";', top='workers = 2; worker_timeout = "1s";')
        pids = self.pids()
        # A second daemon is the clock.
        clock = self.start(self.service('handler = "echo"; idle_timeout = "3s"; port = $port1;'),
                           args=["--control", os.path.join(self.dir, "clock.sock")])
        tree = [self.daemons[0].pid, *pids]
        for pid in tree:
            self.stop_process(pid)
        queued = self.connect()
        queued.sendall(b"queued\n")
        self.assertEqual(self.connect(self.port(1)).recv(10), b"")
        for pid in tree:
            os.kill(pid, CONT)
        self.assertEqual(queued.recv(10), b"queued\n")
        self.assertEqual(self.connect(self.port(1)).recv(10), b"")
        self.assertEqual(sockdtest.children(self.daemons[0].pid), pids)
        self.assertIs(self.sockd, clock)

    def test_A15_a_fork_that_fails_is_tried_again(self):
        self.serve(ECHO, top="workers = 1;", strace="inject=clone,clone3,fork,vfork:error=EAGAIN:when=2")
        self.expect_log("was ended by signal 9", "cannot start worker")
        self.expect_fd_change()
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        os.kill(self.pids()[0], KILL)
        self.wait_log("cannot start worker 1: Resource temporarily unavailable; next try in ")
        self.assertEqual(self.converse(b"y\n"), b"y\n")

    def test_A16_an_unknown_child_that_the_shell_left_is_reaped_and_told_at_debug(self):
        daemon = self.serve('handler = "echo";', args=["--log-level", "debug"], shell='sleep 1000 & echo left $!; exec "$@"')
        left = int(daemon.wait_log("^left ([0-9]+)$")[1])
        self.assertIn(left, children(daemon.pid))
        os.kill(left, signal.SIGKILL)
        daemon.wait_log(r"debug: the unknown child %d was ended by signal 9 \(Killed\)$" % left)
        self.assertNotIn(left, children(daemon.pid))
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.status()["verdict"], "well")

    def test_A16_it_is_silent_without_debug(self):
        daemon = self.serve('handler = "echo";', shell='sleep 1000 & echo left $!; exec "$@"')
        left = int(daemon.wait_log("^left ([0-9]+)$")[1])
        os.kill(left, signal.SIGKILL)
        self.wait_for(lambda: left not in children(daemon.pid))
        self.assertFalse([line for line in daemon.log if "unknown child" in line])

    def test_A17_a_worker_that_a_debugger_holds_is_not_dead(self):
        self.serve('handler = "echo";', top="workers = 1;")
        worker = self.pids()[0]
        with self.strace(worker):
            self.stop_process(worker)
            self.wait_for(lambda: process_state(worker) in "Tt", what="the worker to stop")
            os.kill(worker, CONT)
            self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.pids(), [worker])

    def test_a_SIGCHLD_that_was_ignored_hides_no_death(self):
        self.expect_log("worker 1 .* was ended by signal 9")
        self.serve('handler = "echo";', top="workers = 1;", shell='exec env --ignore-signal=CHLD "$@"')
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.expect_fd_change()
        os.kill(self.pids()[0], signal.SIGKILL)
        self.wait_log("replaced at once")
        self.assertEqual(self.converse(b"x\n"), b"x\n")

    def test_a_worker_has_nothing_open_that_is_not_its_own(self):
        self.serve(ECHO, top="workers = 2;")
        for pid in self.pids():
            kinds = list(open_files(pid).values())
            # standard descriptors, the log, one listener, the channel, an epoll
            self.assertLessEqual(len(kinds), 7, kinds)
            self.assertEqual(sum("eventpoll" in kind for kind in kinds), 1, kinds)
            self.assertFalse([kind for kind in kinds if "signalfd" in kind or "pidfd" in kind], kinds)


class StopTest(MasterTest):
    def test_term_and_int_end_it_and_close_idle_connections(self):
        for number in (TERM, INT):
            with self.subTest(number):
                self.serve(ECHO)
                client = self.connect()
                client.sendall(b"x\n")
                self.assertEqual(client.recv(10), b"x\n")
                self.sockd.signal(number)
                self.assertEqual(client.recv(10), b"")
                self.assertEqual(self.sockd.wait(), 0)
                self.wait_notify("^STOPPING=1$")
                with self.assertRaises(ConnectionRefusedError):
                    self.connect()

    def test_what_the_terminal_says_is_blamed_on_no_user(self):
        """The kernel sends the signal of Ctrl-C itself: its sender would be root, and process 0."""
        conf = self.write("sockd.conf", self.service(ECHO))
        terminal = Terminal([os.path.join(sockdtest.BUILD, "sockd"), "-f", conf, "--control", self.dir + "/control.sock"],
                            width=200)
        self.addCleanup(terminal.close)
        terminal.wait("generation 1: ")
        terminal.type(b"\x03")
        self.assertRegex(terminal.wait(r"\] stopped$"), r"(?m)\[\d+\] stop by SIGINT, from the terminal$")
        self.assertEqual(terminal.end(), 0)

    def test_the_first_request_of_a_new_connection_is_answered_though_it_comes_after_term(self):
        while True:
            self.serve(ECHO)
            self.expect_fd_change()
            began = time.monotonic()
            client = self.connect()
            self.wait_counter("connections", 1)
            self.sockd.signal(TERM)
            self.wait_notify("^STOPPING=1$")
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x\n")
            if time.monotonic() - began < 0.5:
                break
            self.sockd.wait()  # it was not new any more
        self.assertEqual(client.recv(10), b"x\n")
        self.assertEqual(client.recv(10), b"")
        self.assertEqual(self.sockd.wait(), 0)

    def test_term_waits_for_nobody_who_has_his_last_reply_and_does_not_close(self):
        self.serve('handler = "echo"; max_requests_per_connection = 1;')
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            client.sendall(b"last\n")
            self.assertEqual(self.receive_all(client), b"last\n")
        self.assertEqual(self.counter("connections"), 3)
        with Clock() as clock:
            began = clock.seconds()
            self.sockd.signal(TERM)
            self.assertEqual(self.sockd.wait(), 0)
            self.assertLess(clock.seconds() - began, 3 * SLOW)  # and not the 5 s for which they may linger

    def slow_reader(self):
        """A client with replies in hand that it does not read."""
        client = self.keep(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((self.addr, self.port()))
        self.fill(client, (b"x" * 1023 + b"\n") * 64)
        return client

    def waits(self):
        """What each connection waits for."""
        found = json.loads(self.ctl("connections", "--json").stdout)["connections"]
        return sorted(c["waits_for"] for c in found)

    def test_B10_idle_is_closed_at_once_and_what_is_in_hand_at_drain_timeout(self):
        self.serve(ECHO, top='drain_timeout = "1s"; workers = 2;')
        self.slow_reader()
        half, idle = self.connect(), self.connect()
        for client in (half, idle):
            client.sendall(b"x\n")
            self.assertEqual(self.receive(client, 2), b"x\n")
        half.sendall(b"half a requ")
        self.wait_for(lambda: self.waits() == ["client", "idle", "message"])
        with Clock() as clock:
            began, real = clock.seconds(), time.monotonic()
            self.sockd.signal(TERM)
            self.wait_log("stopping: 3 connections are open; what is in hand has 1.0 s to finish$")
            self.assertEqual(idle.recv(10), b"")
            idle_took = clock.seconds() - began
            self.assertEqual(half.recv(10), b"")
            self.assertEqual(self.sockd.wait(), 0)
            self.assertLess(clock.seconds() - began, 1 + 1 * SLOW)
        self.assertGreaterEqual(time.monotonic() - real, 0.95)
        self.assertLess(idle_took, 0.9)

    def test_a_stop_promises_idle_connections_no_time(self):
        self.serve(ECHO)
        clients = [self.connect(), self.connect()]
        self.wait_counter("connections", 2)
        self.sockd.signal(TERM)
        self.wait_log("stopping: 2 connections are open; what is in hand has 25 s to finish$")
        self.assertEqual([client.recv(1) for client in clients], [b"", b""])
        self.assertEqual(self.sockd.wait(), 0)

    def test_a_worker_of_many_listeners_is_told_to_leave_in_few_words(self):
        self.start("workers = 1;\nservices:\n{\n%s};\n" % "".join(
            '  s%d: { path = "$dir/%d.sock"; transport = "unix"; handler = "echo"; max_connections = 10; };\n' % (i, i)
            for i in range(600)))
        worker, = self.pids()
        os.kill(worker, signal.SIGSTOP)
        self.sockd.signal(signal.SIGTERM)
        self.wait_log("stopping")
        self.wait_for(lambda: self.ctl("status").returncode == 1)
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(self.sockd.wait(), 0)  # and no word of a worker that did not read

    def test_A19_a_second_term_stops_at_once(self):
        self.serve(ECHO, top='drain_timeout = "10m";')
        self.expect_log("was ended by signal 9")
        self.slow_reader()
        self.sockd.signal(TERM)
        self.wait_log("stopping: ")
        self.assertRegex(self.ctl("status").stdout, "^stopping since .*: 1 connection to finish;")
        self.sockd.signal(TERM)
        self.wait_log("stopping at once")
        self.assertEqual(self.sockd.wait(), 0)

    def test_A19_hup_while_stopping_changes_nothing(self):
        self.serve(ECHO, top='drain_timeout = "10m";')
        self.expect_log("no reload: sockd is stopping")
        client = self.slow_reader()
        self.sockd.signal(TERM)
        self.wait_log("stopping: ")
        self.sockd.signal(HUP)
        self.wait_log("no reload: sockd is stopping")
        client.close()
        self.assertEqual(self.sockd.wait(), 0)

    def test_signals_that_mean_nothing_here_end_nothing(self):
        self.serve(ECHO)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1):
            self.sockd.signal(number)
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.ctl("status").returncode, 0)

    def test_the_service_manager_hears_states_and_figures(self):
        self.serve(ECHO, top="workers = 1;")
        self.wait_notify("^STATUS=generation 1: 1 worker, 0 connections, 0 requests$")
        self.converse(b"x\n")
        self.wait_notify("^STATUS=generation 1: 1 worker, 0 connections, 1 request$")
        self.assertEqual(self.stop(), 0)
        self.wait_notify("^STOPPING=1$")

    def test_the_watchdog_is_fed(self):
        self.serve(ECHO, env={"WATCHDOG_USEC": "200000"})
        self.wait_notify("^WATCHDOG=1$")
        self.wait_notify("^WATCHDOG=1$", since=len(self.sockd.notifications))


if __name__ == "__main__":
    sockdtest.main()
