"""Programs: a process for each connection. Rows G5, G7 to G12, A12, A13, A15 to A18 and A20 of the catalogue.

G10 (the order of setgroups, setgid and setuid) has no test, since sockd changes no user: there is no such step. A14 (a number
that is used again) has none for programs, but one for workers in test_master.py: a program and its group are signalled by the
pidfd of its leader.
"""
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import sys
import threading
import time

import sockdtest
from sockdtest import SockdTest, children, command_line, process_state

# Says all that it has got, as JSON, before it has changed anything itself.
PROBE = """#!%s -IS
import json, os, resource
def read(name):
    with open("/proc/self/" + name, "rb") as f:
        return f.read().decode(errors="backslashreplace")
fds = {}
for n in os.listdir("/proc/self/fd"):
    try:
        fds[n] = os.readlink("/proc/self/fd/" + n)
    except OSError:
        pass  # the descriptor that listed them
print(json.dumps({
    "fds": fds, "blocking": [os.get_blocking(n) for n in (0, 1)],
    "status": dict(line.split(":\\t", 1) for line in read("status").splitlines() if ":\\t" in line),
    "environ": dict(v.split("=", 1) for v in read("environ").split("\\0") if v),
    "soft": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "cwd": os.getcwd(), "oom": int(read("oom_score_adj")),
    "pid": os.getpid(), "pgid": os.getpgid(0), "tty": int(read("stat").rpartition(")")[2].split()[4]),
}))
""" % sys.executable

# Says its pid, and lives until it gets a line or the end.
HELLO = "echo $$; read -r line"

# Told of a state that lasts, where the machine is slow.
LONG = "max_programs .* reached for"


def quoted(word):
    """As a string of libconfig, with nothing to fill in."""
    return '"%s"' % word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")


class ProgramTest(SockdTest):
    def program(self, *command, keys="", **options):
        """Serves a command; every spawner and worker has answered once, so that descriptors can be counted."""
        words = ", ".join(quoted(word) for word in command)
        daemon = self.serve('handler = "program"; command = [ %s ]; %s' % (words, keys), name="it", **options)
        self.wait_for(lambda: self.numbers()["connections"] == 0)
        return daemon

    def shell(self, script, keys="", **options):
        return self.program("/bin/sh", "-c", script, keys=keys, **options)

    def probe(self, keys="", env=None):
        """What the program says of itself."""
        self.write("probe", PROBE, 0o755)
        self.program(os.path.join(self.dir, "probe"), keys=keys, env=env)
        return json.loads(self.converse(b""))

    def numbers(self):
        return self.status()["services"]["it"]

    def wait_number(self, name, value):
        self.wait_for(lambda: self.numbers()[name] == value, what="%s = %d" % (name, value))

    def spawner(self):
        return self.status()["spawner"]

    def hello(self, **where):
        """A connection, and the pid of its program."""
        client = self.connect(**where)
        return client, int(self.read_line(client))

    def read_line(self, client):
        line = b""
        while not line.endswith(b"\n") and (byte := client.recv(1)):
            line += byte
        return line.decode().strip()


class WhatItGets(ProgramTest):
    def test_G8_a_program_has_three_descriptors_and_nothing_that_was_left_by_accident(self):
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        got = self.probe(env={"SECRET": "1", "WATCHDOG_USEC": "1000000000", "TZ": "UTC", "LC_TIME": "C"})
        self.assertEqual(sorted(got["fds"]), ["0", "1", "2"])
        self.assertRegex(got["fds"]["0"], "^socket:")
        self.assertEqual(got["fds"]["0"], got["fds"]["1"])
        self.assertRegex(got["fds"]["2"], "^pipe:")
        self.assertEqual(got["blocking"], [True, True])
        for mask in ("SigBlk", "SigPnd", "ShdPnd", "CapInh", "CapAmb"):
            self.assertEqual(int(got["status"][mask], 16), 0, mask)
        # What Python itself ignores is not what it was given.
        python_ignores = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
        self.assertEqual(int(got["status"]["SigIgn"], 16) & ~python_ignores, 0)
        self.assertEqual(got["status"]["Umask"].strip(), "0022")
        self.assertEqual(got["soft"], resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.assertEqual((got["cwd"], got["pid"], got["tty"]), ("/", got["pgid"], 0))
        self.assertEqual(set(got["environ"]) - {"LC_CTYPE"},
                         {"PATH", "LANG", "TZ", "LC_TIME", "PROTO", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP",
                          "TCPLOCALPORT", "TCPCONNNUM", "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_HOST", "SOCKD_SERVICE"})

    def test_G8_no_signal_is_ignored_when_the_shell_asks(self):
        self.shell("grep ^SigIgn /proc/self/status")
        self.assertEqual(self.converse(b"").split()[1], b"0" * 16)

    def test_G9_the_environment_has_addresses_and_numbers_only(self):
        got = self.probe(keys='environment = [ "OWN=a b", "SECRET", "NONE", "REMOTE_HOST=mine" ];',
                         env={"SECRET": "x=y"})["environ"]
        self.assertEqual(got["TCPLOCALIP"], self.addr)
        self.assertEqual(got["TCPLOCALPORT"], str(self.port()))
        self.assertEqual(got["TCPREMOTEIP"], got["REMOTE_ADDR"])
        self.assertRegex(got["TCPREMOTEIP"], r"^127\.0\.0\.1$|^127\.")
        self.assertEqual(got["TCPREMOTEPORT"], got["REMOTE_PORT"])
        self.assertEqual((got["PROTO"], got["SOCKD_SERVICE"]), ("TCP", "it"))
        self.assertEqual((got["OWN"], got["SECRET"], got["REMOTE_HOST"]), ("a b", "x=y", "mine"))
        self.assertNotIn("NONE", got)

    def test_over_IPv6_the_variables_are_those_of_ucspi_tcp6(self):
        self.write("probe", PROBE, 0o755)
        self.program(os.path.join(self.dir, "probe"), keys='host = "::1";')
        got = json.loads(self.converse(b"", addr="::1"))["environ"]
        self.assertEqual((got["PROTO"], got["TCP6REMOTEIP"], got["TCPREMOTEIP"]), ("TCP6", "::1", "::1"))

    def test_over_a_unix_socket_the_variables_are_those_of_ucspi_unix(self):
        self.write("probe", PROBE, 0o755)
        self.program(os.path.join(self.dir, "probe"), keys='transport = "unix"; path = "$dir/s";')
        got = json.loads(self.receive_all(self.unix("s")))["environ"]
        self.assertEqual((got["PROTO"], got["UNIXLOCALPATH"]), ("UNIX", os.path.join(self.dir, "s")))
        self.assertEqual((got["UNIXREMOTEPID"], got["UNIXREMOTEEUID"]), (str(os.getpid()), str(os.getuid())))
        self.assertNotIn("TCPREMOTEIP", got)

    def test_the_directory_is_the_one_of_the_configuration(self):
        self.write("sub/say", "#!/bin/sh\npwd\n", 0o755)
        self.program("sub/say", keys='directory = "$dir";')
        self.assertEqual(self.converse(b"").decode().strip(), self.dir)

    def test_A20_a_program_is_no_safer_from_the_oom_killer_than_the_daemon_and_others(self):
        """A daemon whose score is lowered shows more, but to lower one takes CAP_SYS_RESOURCE; to raise it takes nothing."""
        def set_score(score):
            with open("/proc/self/oom_score_adj", "w") as f:
                f.write(str(score))

        with open("/proc/self/oom_score_adj") as f:
            self.addCleanup(set_score, int(f.read()))
        try:
            set_score(-500)
            expected = 0
        except PermissionError:
            set_score(300)
            expected = 300
        self.assertEqual(self.probe()["oom"], expected)


class TheConversation(ProgramTest):
    def test_cat_gives_back_what_it_gets_and_both_sides_may_end_first(self):
        self.program("cat")
        data = os.urandom(300000)
        client = self.connect()
        thread = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        thread.start()
        self.assertEqual(self.receive_all(client), data)
        thread.join()

    def test_a_program_may_end_its_side_and_read_on(self):
        script = ("import os, socket; s = socket.socket(fileno=0); s.sendall(b'go on'); s.shutdown(socket.SHUT_WR)\n"
                  "data = b''\nwhile more := s.recv(100): data += more\n"
                  "open('%s/got', 'wb').write(data)" % self.dir)
        self.write("end.py", script)
        self.program(sys.executable, os.path.join(self.dir, "end.py"))
        client = self.connect()
        self.assertEqual(self.receive_all(client), b"go on")
        client.sendall(b"to the end")
        client.shutdown(socket.SHUT_WR)
        self.wait_for(lambda: os.path.exists(self.dir + "/got") and os.path.getsize(self.dir + "/got") == 10)

    def test_no_process_of_sockd_keeps_the_connection(self):
        self.shell("exec 0<&- 1>&-; exec sleep 1000")
        client = self.connect()
        self.assertEqual(self.receive_all(client), b"")
        os.kill(self.the_program(), signal.SIGKILL)

    def the_program(self):
        return self.wait_for(lambda: children(self.spawner()))[0]

    def test_a_UCSPI_script_runs_unchanged(self):
        self.shell('echo "you are $TCPREMOTEIP"; read -r l; echo "you said $l"')
        self.assertEqual(self.converse(b"hi\n"), b"you are %s\nyou said hi\n" % self.peer().encode())

    def peer(self):
        with self.connect() as s:
            return s.getsockname()[0]

    def test_micro_httpd_serves_a_file(self):
        server = shutil.which("micro_httpd", path=os.environ["PATH"] + ":/usr/sbin") or \
            shutil.which("micro-httpd", path=os.environ["PATH"] + ":/usr/sbin")
        if not server:
            self.skipTest("micro-httpd is not installed")
        self.write("www/hello.txt", "hello from a file\n")
        self.program(server, os.path.join(self.dir, "www"))
        page = self.converse(b"GET /hello.txt HTTP/1.0\r\n\r\n")
        self.assertRegex(page, rb"^HTTP/1\.[01] 200")
        self.assertIn(b"hello from a file", page)


class ItsEnd(ProgramTest):
    def test_the_end_of_a_program_is_logged_with_status_and_time(self):
        self.shell("read -r n; exit $n", keys='log = "connections";')
        self.converse(b"0\n")
        self.wait_log(r"it: 127\.\S+: program \[pid \d+\] exited with status 0 after \d")

    def test_only_a_failure_is_logged_without_being_asked(self):
        self.shell("read -r n; exit $n")
        self.converse(b"0\n")
        self.converse(b"3\n")
        self.wait_log(r"program \[pid \d+\] exited with status 3 after \d")
        self.assertFalse([line for line in self.sockd.log if "status 0" in line])
        self.wait_number("programs_failed", 1)

    def test_G12_a_program_that_ignores_TERM_is_killed_at_session_timeout(self):
        self.shell("trap '' TERM; echo $$; while :; do sleep 1000; done", keys='session_timeout = "2s";')
        client, pid = self.hello()
        self.assertEqual(self.receive_all(client), b"")
        self.wait_log(r"program \[pid %d\] was ended by signal 9 .*session_timeout" % pid)
        self.wait_number("ended_session", 1)

    def test_G12_a_stopped_program_is_ended_too(self):
        self.shell("echo $$; kill -STOP $$", keys='session_timeout = "2s";')
        client, pid = self.hello()
        self.assertEqual(self.receive_all(client), b"")
        self.wait_log(r"program \[pid %d\] was ended by signal 15 .*session_timeout" % pid)

    def test_G12_a_program_that_does_not_hear_that_its_client_left_ends_at_session_timeout(self):
        self.shell("echo $$; exec sleep 1000", keys='session_timeout = "2s";')
        began = time.monotonic()
        client, pid = self.hello()
        client.close()
        self.wait_log(r"program \[pid %d\] was ended by signal 15 .*session_timeout" % pid)
        self.assertGreaterEqual(time.monotonic() - began, 1.9)
        self.wait_number("programs", 0)
        self.assertIsNone(process_state(pid))

    def test_A17_a_program_that_is_stopped_is_not_dead(self):
        self.shell(HELLO + "; echo went on")
        client, pid = self.hello()
        self.stop_process(pid)
        self.assertEqual(self.numbers()["programs"], 1)
        os.kill(pid, signal.SIGCONT)
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"went on\n")

    def test_A18_what_a_program_leaves_in_its_group_ends_with_it(self):
        self.shell("sleep 1000 & echo $!")
        client, pid = self.hello()
        self.assertEqual(self.receive_all(client), b"")
        self.wait_for(lambda: not command_line(pid))
        self.wait_number("programs", 0)

    def test_A18_a_grandchild_that_ignores_TERM_is_killed(self):
        self.shell("(trap '' TERM; echo ready; sleep 1000; sleep 1000) & read -r line")
        client = self.connect()
        self.assertEqual(self.read_line(client), "ready")
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"")
        self.wait_number("programs", 0)

    # One that ignores TERM, says its pid, and does not hold the standard error.
    DEAF = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' 2>/dev/null & read -r line"

    def test_A18_a_grandchild_that_ignores_TERM_and_has_no_standard_error_is_killed(self):
        self.shell(self.DEAF, keys="max_programs = 2;")
        deaf = []
        for _ in range(5):
            client, pid = self.hello()
            deaf.append(pid)
            client.sendall(b"\n")
            self.assertLessEqual(sum(process_state(pid) is not None for pid in deaf), 2)
        for pid in deaf:
            self.wait_for(lambda pid=pid: not process_state(pid))
        self.wait_number("programs", 0)

    def test_A18_a_stop_waits_for_a_grandchild_and_kills_it(self):
        self.shell(self.DEAF)
        client, pid = self.hello()
        client.sendall(b"\n")
        self.assertEqual(self.stop(), 0)
        self.assertIsNone(process_state(pid))

    def test_A18_a_grandchild_has_a_moment_to_end(self):
        self.shell("(trap 'sleep 0.3; echo done; exit' TERM; echo $$; while :; do sleep 0.1; done) 2>/dev/null &"
                   " read -r line")
        client, _ = self.hello()
        client.sendall(b"\n")
        self.assertEqual(self.receive_all(client), b"done\n")
        self.wait_number("programs", 0)

    def test_A18_at_session_timeout_a_grandchild_has_a_moment_to_end_too(self):
        self.shell("(trap 'sleep 0.3; echo done; exit' TERM; echo $$; while :; do sleep 0.1; done) 2>/dev/null &"
                   " read -r line", keys='session_timeout = "1s";')
        client, _ = self.hello()
        self.assertEqual(self.receive_all(client), b"done\n")
        self.wait_number("programs", 0)

    def test_A18_a_grandchild_in_a_session_of_its_own_takes_no_slot(self):
        self.expect_log("left a process behind in a process group of its own")
        self.need("setsid")
        self.shell("setsid sh -c 'echo $$; exec sleep 1000' & read -r line", keys="max_programs = 1;")
        client, pid = self.hello()
        client.sendall(b"\n")
        self.wait_log("left a process behind")
        self.wait_number("programs", 0)
        _, other = self.hello()
        os.kill(pid, signal.SIGKILL)
        os.kill(other, signal.SIGKILL)

    def test_A18_a_program_has_ended_as_soon_as_nobody_holds_its_standard_error(self):
        """Ten in turn in the only slot, each of which would hold it for a second if the end were not seen."""
        self.need("setsid")
        self.shell("echo $$; setsid sh -c 'echo $$; exec sleep 1000' & read -r line", keys="max_programs = 1;")
        began = time.monotonic()
        for _ in range(10):
            client, pid = self.hello()
            grandchild = int(self.read_line(client))
            client.sendall(b"\n")
            self.wait_for(lambda: not process_state(pid))
            os.kill(grandchild, signal.SIGKILL)
            self.assertEqual(self.receive_all(client), b"")
        self.wait_number("programs", 0)
        self.assertLess(time.monotonic() - began, 5 * sockdtest.SLOW)

    def test_A12_the_last_words_of_a_program_are_logged(self):
        self.shell('read -r n; echo "last words $n" >&2; exit 0')
        for n in range(40):
            self.converse(b"%d\n" % n)
        for n in range(40):
            self.wait_log(r"it: \[pid \d+\] last words %d$" % n)

    def test_A13_after_a_flood_of_short_programs_no_zombie_is_left(self):
        """As many as there are in ten seconds, while the spawner is stopped and goes on again and again."""
        self.program("true")
        spawner = self.spawner()
        served, failed = [], []
        until = time.monotonic() + 10

        def flood():
            while time.monotonic() < until:
                try:
                    with socket.create_connection((self.addr, self.port()), sockdtest.TIMEOUT) as client:
                        served.append(client.recv(1))
                except OSError as e:
                    failed.append(e)

        threads = [threading.Thread(target=flood) for _ in range(16)]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            before = len(served)
            self.stop_process(spawner)
            self.wait_for(lambda: all(process_state(pid) == "Z" for pid in children(spawner)))
            os.kill(spawner, signal.SIGCONT)
            self.wait_for(lambda before=before: len(served) > before + 100 or time.monotonic() >= until)
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        self.assertEqual(set(served), {b""})
        self.assertGreater(len(served), 1000 / sockdtest.SLOW)
        self.wait_number("programs", 0)
        self.assertEqual(self.numbers()["programs_started"], len(served))
        self.assertEqual(children(spawner), [])
        self.assertEqual([pid for pid in children(self.sockd.pid) if process_state(pid) == "Z"], [])

    def test_A16_an_orphan_that_comes_to_the_master_is_reaped(self):
        self.shell("setsid sh -c 'echo $$; exec sleep 1000' 2>/dev/null & read -r line")
        client, pid = self.hello()
        client.sendall(b"\n")
        self.wait_for(lambda: pid in children(self.sockd.pid))
        os.kill(pid, signal.SIGKILL)
        self.wait_for(lambda: pid not in children(self.sockd.pid))

    def test_A20_a_program_without_memory_dies_alone(self):
        self.shell("read -r n; [ $n = 1 ] || { echo fine; exit; }; ulimit -v 200000; exec %s -c 'b = bytearray(1 << 30)'"
                   % sys.executable)
        self.assertEqual(self.converse(b"1\n"), b"")
        self.wait_log(r"\[pid \d+\] MemoryError|exited with status")
        self.assertEqual(self.converse(b"2\n"), b"fine\n")


class TheBounds(ProgramTest):
    def running(self):
        return len(children(self.spawner()))

    def test_G7_never_more_than_max_programs_run_and_the_rest_waits(self):
        self.expect_log(LONG)
        self.shell(HELLO, keys="max_programs = 3;", top="workers = 2;")
        clients = [self.connect() for _ in range(20)]
        self.wait_for(lambda: self.running() == 3)
        for _ in range(20):
            self.assertLessEqual(self.running(), 3)
            first = next(c for c in clients if self.readable(clients, c))
            self.read_line(first)
            first.sendall(b"\n")
            self.assertEqual(self.receive_all(first), b"")
            clients.remove(first)
        self.wait_number("programs_started", 20)

    def test_G7_of_a_thousand_at_once_never_more_than_max_programs_run(self):
        self.expect_log(LONG)
        self.shell(HELLO, keys="max_programs = 50; max_connections = 2000; backlog = 2000;", top="workers = 2;")
        spawner, most = self.spawner(), 0
        clients = select.poll()
        waiting = {}
        for _ in range(1000):
            client = self.connect()
            waiting[client.fileno()] = client
            clients.register(client, select.POLLIN)
        self.wait_for(lambda: len(children(spawner)) == 50)
        while waiting:
            for fd, _ in clients.poll(1000 * sockdtest.TIMEOUT)[:25]:
                client = waiting.pop(fd)
                clients.unregister(fd)
                self.read_line(client)
                client.sendall(b"\n")
                self.assertEqual(self.receive_all(client), b"")
                client.close()
            most = max(most, len(children(spawner)))
        self.assertLessEqual(most, 50)
        self.wait_number("programs", 0)
        self.assertEqual(self.numbers()["programs_started"], 1000)

    def readable(self, clients, client):
        return client in select.select(clients, [], [], sockdtest.TIMEOUT)[0]

    def test_G7_at_max_programs_others_are_refused_if_that_is_said(self):
        self.expect_log(LONG)
        self.shell(HELLO, keys='max_programs = 3; overload = "refuse"; overload_reply = "busy\\n";')
        clients = [self.hello()[0] for _ in range(3)]
        self.assertEqual(self.receive_all(self.connect()), b"busy\n")
        self.wait_number("refused_limit", 1)
        self.wait_log("refused: max_programs")
        clients[0].close()
        self.wait_number("programs", 2)
        self.hello()

    def test_C1_more_programs_than_there_are_descriptors_for_wait(self):
        """The spawner needs two for each; a client that came when it had none was closed on."""
        self.expect_log("no descriptor is free for")
        self.program("cat", keys="max_programs = 400;", top="workers = 2;", shell='ulimit -n 256; exec "$@"')
        clients = [self.connect() for _ in range(300)]
        for client in clients:
            client.sendall(b"x\n")
        self.wait_log(r"warning: it: no descriptor is free for [5-7](\.\d+)? s")
        self.assertGreater(self.running(), 80)
        while clients:  # each that leaves is room for another
            for client in select.select(clients, [], [], sockdtest.TIMEOUT)[0]:
                self.assertEqual(client.recv(10), b"x\n")
                clients.remove(client)
                client.close()
        self.wait_log(r"\] it: descriptors free again after")
        self.wait_number("programs", 0)
        self.assertEqual((self.numbers()["programs_started"], self.numbers()["programs_failed"]), (300, 0))
        self.wait_log(r"warning: max_programs of all services, 400, cannot be reached: the limit is 192 descriptors for the "
                      r"spawner \(LimitNOFILE=\), and each program takes two$")
        self.assertEqual([line for line in self.sockd.log if "cannot" in line and "max_programs" not in line], [])

    def test_C1_a_connection_that_the_spawner_cannot_take_is_told_and_others_wait(self):
        self.expect_log("a connection is lost: no descriptor came", "no descriptor is free for")
        self.program("cat", top="workers = 1;")
        spawner = self.spawner()
        taken = sockdtest.open_files(spawner)
        soft, hard = resource.prlimit(spawner, resource.RLIMIT_NOFILE)
        lowest = next(fd for fd in range(1000) if fd not in taken)
        resource.prlimit(spawner, resource.RLIMIT_NOFILE, (lowest, hard))
        self.assertEqual(self.connect().recv(1), b"")
        self.wait_log(r"error: it: 127\.\S+: a connection is lost: no descriptor came$")
        clients = [self.connect() for _ in range(20)]
        for client in clients:
            client.sendall(b"x\n")
        self.wait_for(lambda: self.numbers()["paused_descriptors"] > 0)
        resource.prlimit(spawner, resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            self.assertEqual(client.recv(10), b"x\n")
        self.assertEqual((self.numbers()["programs_started"], self.numbers()["programs_failed"]), (20, 1))

    def test_the_connections_of_a_source_count_while_their_programs_run(self):
        self.shell(HELLO, keys="max_connections_per_source = 2;")
        first, _ = self.hello()
        self.hello()
        self.assertEqual(self.receive_all(self.connect()), b"")
        self.wait_number("refused_source", 1)
        first.close()
        self.wait_number("programs", 1)
        self.hello()

    def test_G7_in_one_instant_no_more_are_let_in_and_none_is_refused_in_error(self):
        self.expect_log("suppressed", LONG)
        self.shell(HELLO, keys='max_programs = 5; overload = "refuse"; overload_reply = "busy\\n";',
                   top="workers = 4;")
        for _ in range(5):
            clients = [self.connect() for _ in range(20)]
            said = [self.read_line(client) for client in clients]
            self.assertEqual(said.count("busy"), 15, said)
            for client in clients:
                client.close()
            self.wait_number("programs", 0)

    def test_A15_without_a_process_to_be_had_the_connection_waits(self):
        if os.getuid() != 0:
            self.skipTest("needs root, to run sockd as a user without other processes")
        self.need("setpriv")
        self.need("prlimit")
        self.expect_log("cannot make a process for")
        os.chmod(self.dir, 0o777)
        binary = shutil.copy(os.path.join(sockdtest.BUILD, "sockd"), self.dir)
        conf = self.write("own.conf", self.service(
            'handler = "program"; command = [ "/bin/sh", "-c", %s ];' % quoted(HELLO), "workers = 1;", "it"))
        user = str(200000 + os.getpid() % 100000)
        daemon = self.sockd = sockdtest.Daemon(
            # The master, a worker, the spawner with four threads, and two programs.
            ["prlimit", "--nproc=9:9", "setpriv", "--reuid", user, "--regid", user, "--clear-groups", binary, "-f", conf, "--control",
             os.path.join(self.dir, "control.sock")], self.dir, {"ASAN_OPTIONS": "detect_leaks=0"})  # takes a process too
        os.chmod(os.path.join(self.dir, "notify.sock"), 0o777)
        self.daemons.append(daemon)
        daemon.fd_baseline = {}
        daemon.wait_log("generation 1")
        first, _ = self.hello()
        self.hello()
        client = self.connect()
        self.wait_log("cannot make a process for /bin/sh: .*; tried again")
        self.assertEqual(self.numbers()["programs"], 3)
        first.close()
        self.assertRegex(self.read_line(client), r"^\d+$")

    def test_G5_a_flood_of_standard_error_is_bounded_escaped_and_counted(self):
        self.expect_log("suppressed")
        self.shell(r"i=0; while [ $i -lt 3000 ]; do printf 'line %d \033[31m\tx\n' $i; i=$((i+1)); done >&2")
        self.converse(b"")
        self.wait_number("programs", 0)
        lines = lambda: [line for line in self.sockd.log if re.search(r"\[pid \d+\] line \d+ ", line)]
        lost = lambda: sum(int(m[1]) for line in self.sockd.log
                           if (m := re.search(r"(\d+) more lines? suppressed", line)))
        self.wait_for(lambda: len(lines()) + lost() == 3000)
        self.assertLessEqual(len(lines()), 500)
        self.assertRegex(lines()[0], r"line 0 \\x1b\[31m\\tx$")

    def test_G5_a_line_without_an_end_is_cut(self):
        self.shell("head -c 100000 /dev/zero | tr '\\0' x >&2; echo done")
        self.assertEqual(self.converse(b""), b"done\n")
        line = self.wait_log(r"\] x+\.\.\.$")[0]
        self.assertLess(len(line), 1100)


class BadCommands(ProgramTest):
    def check(self, keys):
        path = self.write("sockd.conf", self.service('handler = "program"; ' + keys, name="it"))
        done = self.run_sockd("--check", "-f", path)
        self.assertEqual(done.returncode, 78)
        return done.stderr

    def test_G11_what_cannot_be_executed_is_told_by_the_check(self):
        self.write("plain", "#!/bin/sh\n")
        self.write("script", "#!/no/such/interpreter\n", 0o755)
        self.write("dos", "#!/bin/sh\r\necho\r\n", 0o755)
        self.write("empty", "", 0o755)
        for keys, words in (
                ('command = "$dir/none";', "command: .*none: No such file or directory"),
                ('command = "no-such-command-anywhere";', "No such file or directory in any directory of PATH"),
                ('command = "./none";', r'command: \./none: No such file or directory below directory "/"$'),
                ('command = "a/none"; directory = "$dir";', 'a/none: No such file or directory below directory "%s"$' % self.dir),
                ('command = "plain/none"; directory = "$dir";', 'none: Not a directory below directory "%s"$' % self.dir),
                ('command = "./script"; directory = "$dir";', "its interpreter /no/such/interpreter: No such file or directory$"),
                ('command = "$dir/plain";', "plain: Permission denied"),
                ('command = "$dir";', "Is a directory"),
                ('command = "$dir/script";', "its interpreter /no/such/interpreter: No such file"),
                ('command = "$dir/empty";', "empty: is empty"),
                ('command = "$dir/dos";', "dos: its first line ends in CR LF; save it with Unix line ends"),
                ('command = "/bin/cat"; directory = "$dir/none";', "directory: .*none: No such file or directory"),
                ('command = "/bin/cat"; directory = "$dir/plain";', "directory: .*plain: Not a directory"),
                ('command = [ ];', "command: expects"),
                ('command = "cat -u";', "no shell splits it"),
                ('command = "cat"; environment = [ "=x" ];', "does not begin with the name"),
                ('command = "cat"; environment = [ "NOTIFY_SOCKET" ];', "never handed on"),
                ('command = "cat"; environment = [ "FDSTORE=1" ];', "FDSTORE is about sockd itself"),
                ('command = "cat"; transport = "udp";', "a program needs connections"),
                ('command = "cat"; framing = "line";', 'framing: means nothing for handler "program"'),
                ('max_programs = 1;', "needs a command")):
            with self.subTest(keys):
                self.assertRegex(self.check(keys), words)

    def test_G11_what_only_binfmt_misc_could_execute_is_a_warning(self):
        for text in ("echo hello\n", "#!", "#! \n", "\x7fEL"):
            with self.subTest(text):
                self.write("bare", text, 0o755)
                path = self.write("sockd.conf", self.service('handler = "program"; command = "$dir/bare";', name="it"))
                done = self.run_sockd("--check", "-f", path)
                self.assertEqual(done.returncode, 0)
                self.assertRegex(done.stderr, r"warning: \S+: services.it.command: \S+/bare: is neither a program nor a "
                                              "script, which begins with #!; only where binfmt_misc knows it can it be executed")

    def test_G11_a_search_ends_at_what_the_kernel_cannot_execute(self):
        self.write("a/it", "", 0o755)
        self.write("b/it", "#!/bin/sh\n", 0o755)
        path = self.write("sockd.conf", self.service('handler = "program"; command = "it";'))
        for directories, status in ("ba", 0), ("ab", 78):
            with self.subTest(directories):
                done = self.run_sockd("--check", "-f", path,
                                      env={"PATH": ":".join(os.path.join(self.dir, name) for name in directories)})
                self.assertEqual(done.returncode, status)
        self.assertIn("/a/it: is empty", done.stderr)

    def test_G11_a_reload_with_a_missing_command_keeps_serving(self):
        self.program("cat")
        self.expect_log("none: No such file")
        self.expect_log("reload failed")
        done = self.reload(self.service('handler = "program"; command = "$dir/none";', name="it"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("No such file or directory", done.stdout + done.stderr)
        self.assertEqual(self.converse(b"x"), b"x")

    def test_G11_the_reason_is_told_for_each_connection(self):
        self.expect_log("closed: cannot execute")
        path = self.write("say", "#!/bin/sh\necho hello\n", 0o755)
        self.program(path)
        self.assertEqual(self.converse(b""), b"hello\n")
        self.write("say", "#!/no/such/interpreter\n", 0o755)
        self.assertEqual(self.converse(b""), b"")
        self.wait_log(r"127\.\S+: closed: cannot execute .*say: No such file or directory")
        os.unlink(path)
        os.mkdir(path)
        self.assertEqual(self.converse(b""), b"")
        self.wait_log("closed: cannot execute .*say: Permission denied")
        self.wait_number("programs_failed", 2)
        os.rmdir(path)
        self.write("say", "#!/bin/sh\necho again\n", 0o755)
        self.assertEqual(self.converse(b""), b"again\n")

    def test_G11_a_directory_that_is_gone_is_told_for_each_connection(self):
        self.expect_log("closed: cannot enter the directory")
        os.mkdir(self.dir + "/gone")
        self.program("/bin/pwd", keys='directory = "$dir/gone";')
        self.assertEqual(self.converse(b""), self.dir.encode() + b"/gone\n")
        os.rmdir(self.dir + "/gone")
        self.assertEqual(self.converse(b""), b"")
        self.wait_log(r"127\.\S+: closed: cannot enter the directory \S+/gone: No such file or directory")
        os.mkdir(self.dir + "/gone")
        self.assertEqual(self.converse(b""), self.dir.encode() + b"/gone\n")


class OneLiner(ProgramTest):
    def one_liner(self, *args, env=None, before=()):
        command = [*before, os.path.join(sockdtest.BUILD, "sockd"), "-p", str(self.port()), "-H", self.addr, *args]
        daemon = self.sockd = sockdtest.Daemon(command, self.dir, env or {})
        daemon.fd_baseline = {}
        self.daemons.append(daemon)
        daemon.wait_notify("^READY=1$")
        return daemon

    def test_a_program_is_served_in_the_callers_directory_and_environment(self):
        self.write("say.sh", "#!/bin/sh\necho $OWN $PWD\n", 0o755)
        daemon = self.one_liner("--program", "--", "./say.sh", env={"OWN": "mine"})
        self.assertEqual(self.converse(b"").decode(), "mine %s\n" % self.dir)
        self.assertRegex(daemon.log[0], r"^listening on %s:%d \(program\); try: sockctl -H %s -p %d -F close send hello$"
                         % (self.addr, self.port(), self.addr, self.port()))
        self.assertFalse(os.path.exists(os.path.join(self.dir, "control.sock")))

    def test_a_script_answers_lines(self):
        self.write("upper.sh", '#!/bin/sh\nwhile read -r l; do echo "$l" | tr a-z A-Z; done\n', 0o755)
        daemon = self.one_liner("--", "./upper.sh")
        self.assertEqual(self.converse(b"hello\nyou\n"), b"HELLO\nYOU\n")
        self.assertRegex(daemon.log[0], r"\(line\); try: sockctl -H \S+ -p \d+ send hello$")

    def test_the_line_that_says_how_to_reach_it_is_all_of_standard_output(self):
        """What the log has to say before, as here of a control socket, is on standard error."""
        self.expect_log("no control socket")
        out = os.path.join(self.dir, "out")
        self.one_liner("--control", self.dir + "/none/control.sock", "--", "cat", before=["sh", "-c", 'exec "$@" >%s' % out, "sh"])
        self.wait_log("no control socket")
        self.assertEqual(self.stop(), 0)
        with open(out) as f:
            self.assertRegex(f.read(), r"\Alistening on \S+ \(line\); try: sockctl .*\n\Z")

    def test_few_descriptors_are_no_word_about_a_limit_that_nobody_wrote(self):
        self.need("prlimit")
        daemon = self.one_liner("--", "cat", before=["prlimit", "--nofile=1000:1000"])
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")
        self.assertRegex(daemon.log[0], "^listening on ")

    def test_misuse_is_one_line_and_64(self):
        for args in (["-p", "1"], ["-H", "x"], ["cat"], ["-p", "1", "--program", "--helpers", "2", "--", "cat"],
                     ["-p", "1", "-f", "x", "--", "cat"]):
            done = self.run_sockd(*args)
            self.assertEqual(done.returncode, 64, args)
            self.assertEqual(done.stderr.count("\n"), 1, args)

    def test_it_is_checked_and_shown_as_a_file_is(self):
        line = ["-p", str(self.port()), "-H", self.addr, "--helpers", "2", "--", "cat", "-u"]
        done = self.run_sockd("-t", *line)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "command line: well\n", ""))
        done = self.run_sockd("-T", *line)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.start(done.stdout.replace("$", "$$"))
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")
        for option in "-t", "-T":
            done = self.run_sockd(option, "-p", "99999", "--", "cat")
            self.assertEqual((done.returncode, done.stdout), (64, ""))
            self.assertEqual(done.stderr, "sockd: command line: port: 99999 is no port; ports are 1 to 65535\n")

    def test_what_is_wrong_with_a_command_line_is_told_without_the_file_it_stands_for(self):
        self.write("plain.sh", "#!/bin/sh\n")
        for args, said in ((["-p", "99999", "--", "cat"], r"command line: port: 99999 is no port; ports are 1 to 65535"),
                           (["-p", "1", "--", "./plain.sh"], r"command line: command: ./plain.sh: Permission denied"),
                           (["-p", "1", "-F", "lin", "--", "cat"], r'command line: framing: "lin" is no framing; .*')):
            done = self.run_sockd(*args)
            self.assertEqual(done.returncode, 64, args)
            self.assertRegex(done.stderr, r"^\S+ \S+ \[\d+\] error: %s\n$" % said)


if __name__ == "__main__":
    sockdtest.main()
