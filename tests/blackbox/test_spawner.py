"""The spawner as a process: it dies and comes back, it stays while its programs run, it stops."""
import contextlib
import ctypes
import os
import re
import signal
import socket

import sockdtest
from sockdtest import children, command_line, open_sockets, process_state
from test_programs import HELLO, ProgramTest, quoted

PTRACE_SEIZE = 0x4206

class SpawnerTest(ProgramTest):
    def kill_spawner(self, number=signal.SIGKILL):
        """Returns the pid of the next one, when it is there."""
        self.expect_log("spawner .*replaced", "spawner .*next try", "connections? w.*lost with the spawner")
        old = self.spawner()
        os.kill(old, number)
        new = self.wait_for(lambda: self.spawner() not in (0, old) and self.spawner())
        self.expect_fd_change()
        return new

    def running(self, pid):
        return "read -r line" in command_line(pid)

    def conf(self, keys="", top="", command=HELLO):
        return self.service('handler = "program"; command = [ "/bin/sh", "-c", %s ]; %s' % (quoted(command), keys),
                            top, "it")

    def test_without_a_service_that_needs_one_there_is_none(self):
        self.serve('handler = "echo";')
        self.assertEqual(self.spawner(), 0)
        self.assertNotIn("spawner", self.ctl("status").stdout)

    def test_the_status_names_it(self):
        self.shell(HELLO)
        self.assertIn("[pid %d]" % self.spawner(), re.search("^spawner.*", self.ctl("status").stdout, re.M)[0])

    def test_its_lines_in_the_log_say_whose_they_are(self):
        self.shell("echo words >&2")
        self.converse(b"")
        self.wait_log(r"\[%d spawner\] it: \[pid \d+\] words$" % self.spawner())

    def test_a_spawner_that_is_killed_is_replaced_and_programs_live_on(self):
        self.shell(HELLO + "; echo went on", top="workers = 2;")
        client, pid = self.hello()
        self.kill_spawner()
        self.assertTrue(self.running(pid))
        self.hello()
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"went on\n")
        self.assertEqual(self.status()["verdict"], "well")

    def test_a_spawner_that_hangs_is_replaced(self):
        self.expect_log("was silent for")
        self.expect_core()
        self.shell(HELLO, top='worker_timeout = "1s";')
        self.kill_spawner(signal.SIGSTOP)
        self.hello()

    def test_connections_wait_while_there_is_no_spawner(self):
        self.shell("cat", top="workers = 2;")
        for _ in range(5):
            self.kill_spawner()
            self.assertEqual(self.converse(b"x"), b"x")

    def test_a_worker_that_is_replaced_has_a_spawner_again(self):
        self.expect_log("worker .*replaced", "worker .*next try")
        self.shell("cat", top="workers = 1;")
        worker = self.status()["workers"][0]["pid"]
        os.kill(worker, signal.SIGKILL)
        self.wait_for(lambda: self.status()["workers"][0]["pid"] not in (0, worker))
        self.assertEqual(self.converse(b"x"), b"x")
        self.expect_fd_change()

    def test_a_program_outlives_the_death_of_its_worker(self):
        self.expect_log("worker .*replaced", "worker .*next try")
        self.shell(HELLO + "; echo went on", top="workers = 1;")
        client, _ = self.hello()
        os.kill(self.status()["workers"][0]["pid"], signal.SIGKILL)
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"went on\n")
        self.expect_fd_change()

    def test_programs_stay_with_the_old_spawner_at_a_reload(self):
        self.start(self.conf())
        client, pid = self.hello()
        old = self.spawner()
        self.assertEqual(self.reload(self.conf(command="echo new")).returncode, 0)
        self.assertEqual(self.receive_all(self.connect()), b"new\n")
        self.assertEqual(children(old), [pid])
        self.assertEqual(len(self.status()["generations"]), 2)
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"")
        self.wait_for(lambda: len(self.status()["generations"]) == 1)

    def test_a_spawner_that_dies_last_is_not_missed(self):
        """It is to be started again after a pause, for the workers that leave; then these have left."""
        self.expect_log("spawner .* before its first job; next try in")
        two = ('workers = 1; services: { late: { host = "$addr"; port = $port; handler = "plugin"; plugin = "%s"; };'
               ' it: { host = "$addr"; port = $port1; handler = "program"; command = "/bin/cat"; }; };'
               % os.path.join(sockdtest.BUILD, "tests", "plugins", "late.so"))
        self.start(two)
        client = self.connect()
        client.sendall(b"60000 x\n")
        self.wait_counter("in_hand", 1, service="late")
        old = self.spawner()
        self.assertEqual(self.reload(two).returncode, 0)
        self.assertEqual(len(self.status()["generations"]), 2)
        os.kill(old, signal.SIGKILL)
        self.wait_log("spawner .* before its first job; next try in")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.wait_for(lambda: len(self.status()["generations"]) == 1)
        self.let_pass(0.3 * sockdtest.SLOW, "the time in which a new spawner would come")
        self.assertEqual(len(children(self.sockd.pid)), 2)
        self.expect_fd_change()

    def trace(self, pid):
        """As a debugger does from now on, until let_go(): the end of the process is told to us first."""
        if ctypes.CDLL(None).ptrace(PTRACE_SEIZE, pid, None, None) < 0:
            self.skipTest("this machine does not allow ptrace")
        self.addCleanup(self.let_go, pid)

    def let_go(self, pid):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def test_a_program_that_is_traced_has_ended_when_its_tracer_lets_go(self):
        self.shell(HELLO)
        client, pid = self.hello()
        spawner = self.spawner()
        self.trace(pid)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.receive_all(client), b"")
        self.wait_for(lambda: process_state(pid) == "Z")
        self.hello()
        self.assertEqual(self.spawner(), spawner)
        self.assertEqual(self.numbers()["programs"], 2)
        self.let_go(pid)
        self.wait_for(lambda: self.numbers()["programs"] == 1)

    def test_max_programs_counts_those_of_the_old_generation(self):
        keys = 'max_programs = 1; log = "connections"; '
        self.start(self.conf(keys))
        first, pid = self.hello()
        self.assertEqual(self.reload(self.conf(keys + "max_connections = 7;")).returncode, 0)
        second = self.connect()
        self.wait_for(lambda: self.numbers()["programs"] == 1)
        first.close()
        other = int(self.read_line(second))
        self.wait_log(r"program \[pid %d\] started" % other)
        said = [line for line in self.sockd.log if "program [pid" in line]
        self.assertEqual([re.search(r"\[pid (\d+)\] (started|exited)", line).groups() for line in said],
                         [(str(pid), "started"), (str(pid), "exited"), (str(other), "started")])

    def test_a_stop_lets_a_program_finish(self):
        self.shell(HELLO + "; echo went on")
        client, _ = self.hello()
        self.sockd.signal(signal.SIGTERM)
        self.wait_log("stopping: 1 connection")
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"went on\n")
        self.assertEqual(self.sockd.wait(), 0)

    def test_G12_a_stop_that_takes_too_long_ends_programs(self):
        self.expect_log("have not ended in time")
        self.shell("trap '' TERM; " + HELLO, top='drain_timeout = "200ms";')
        client, pid = self.hello()
        self.sockd.signal(signal.SIGTERM)
        self.assertEqual(self.receive_all(client), b"")
        self.assertEqual(self.sockd.wait(), 0)
        self.assertEqual(command_line(pid), "")

    def test_a_second_stop_ends_programs_at_once(self):
        self.expect_log("worker .* was ended by signal 9")
        self.shell("trap '' TERM; " + HELLO)
        client, pid = self.hello()
        self.sockd.signal(signal.SIGTERM)
        self.wait_log("stopping: 1 connection")
        self.sockd.signal(signal.SIGTERM)
        self.assertEqual(self.receive_all(client), b"")
        self.sockd.wait()
        self.wait_for(lambda: command_line(pid) == "")

    def test_a_stop_lets_a_program_finish_whose_spawner_died(self):
        self.shell(HELLO + "; echo went on")
        client, _ = self.hello()
        self.kill_spawner()
        other, _ = self.hello()
        other.sendall(b"\n")
        self.assertEqual(self.receive_all(other), b"went on\n")
        self.sockd.signal(signal.SIGTERM)
        self.wait_log("stopping")
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"went on\n")
        self.assertEqual(self.sockd.wait(), 0)

    def test_G12_a_stop_that_takes_too_long_ends_what_dead_spawners_left(self):
        self.expect_log("2 processes of a spawner that died have not ended in time")
        self.shell("trap '' TERM; " + HELLO + "; sleep 1000", top='drain_timeout = "200ms";')
        left = []
        for _ in range(2):
            left.append(self.hello())
            self.kill_spawner()
        self.sockd.signal(signal.SIGTERM)
        for client, _ in left:
            self.assertEqual(self.receive_all(client), b"")
        self.assertEqual(self.sockd.wait(), 0)
        for _, pid in left:
            self.assertEqual(command_line(pid), "")

    def test_a_second_stop_ends_what_a_dead_spawner_left_at_once(self):
        self.expect_log("worker .* was ended by signal 9")
        self.shell("trap '' TERM; " + HELLO)
        client, pid = self.hello()
        self.kill_spawner()
        self.sockd.signal(signal.SIGTERM)
        self.wait_log("stopping")
        self.sockd.signal(signal.SIGTERM)
        self.assertEqual(self.receive_all(client), b"")
        self.sockd.wait()
        self.assertEqual(command_line(pid), "")

    def test_a_stop_ends_a_helper_that_changed_its_user_when_its_spawner_died(self):
        self.expect_log("1 process of a spawner that died", "degraded", "helper 1")
        self.need("setpriv")
        if os.getuid() != 0:
            self.skipTest("only root can change a user")
        self.serve('handler = "helper"; framing = "line"; helpers = 1; command = [ "setpriv", "--reuid=65534",'
                   ' "--clear-groups", "/bin/sh", "-c",'
                   ' "while read -r line; do echo $$$$; [ $$line = hang ] && sleep 1000; done" ];',
                   'drain_timeout = "200ms";', name="it")
        client = self.connect()
        client.sendall(b"hang\n")
        old = int(self.read_line(client))
        self.kill_spawner()
        self.assertNotEqual(int(self.converse(b"x\n")), old)
        self.assertNotEqual(command_line(old), "")
        self.assertEqual(self.stop(), 0)
        self.assertEqual(command_line(old), "")

    def test_a_stop_does_not_wait_for_the_tracer_of_what_a_dead_spawner_left(self):
        self.shell(HELLO)
        client, pid = self.hello()
        self.kill_spawner()
        self.trace(pid)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.receive_all(client), b"")
        self.wait_for(lambda: process_state(pid) == "Z")
        self.assertEqual(self.stop(), 0)
        self.let_go(pid)

    def test_what_left_its_session_survives_the_spawner_and_a_stop(self):
        self.expect_log("left a process behind")
        self.shell("setsid sh -c 'echo $$; exec sleep 1000' & read -r line")
        client, pid = self.hello()
        client.sendall(b"\n")
        self.wait_log("left a process behind")
        self.kill_spawner()
        self.assertEqual(self.stop(), 0)
        self.assertIn("sleep", command_line(pid))
        os.kill(pid, signal.SIGKILL)

    def test_in_one_process_programs_work_too(self):
        self.start(self.conf(command="cat"), args=["--single-process"])
        self.assertEqual(self.converse(b"x"), b"x")

    def test_the_spawner_has_no_terminal_and_no_listener(self):
        self.shell(HELLO)
        pid = self.spawner()
        self.assertEqual(os.getsid(pid), pid)
        with open("/proc/net/tcp") as f:
            listening = {"socket:[%s]" % line.split()[9] for line in f if line.split()[3] == "0A"}
        self.assertFalse(open_sockets(pid) & listening)


if __name__ == "__main__":
    sockdtest.main()
