"""Steering a daemon that serves: who is connected, draining, killing, the level of the log, and what the kernel dropped."""
import array
import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import termios
import threading
import time

import sockdtest
from sockdtest import SLOW, Clock, SockdTest, count_fds

ECHO = 'handler = "echo";'
CLIENTS_MAX = 16  # of the control socket, at once
LARGE = 700000    # more than a Unix socket holds


class SteerTest(SockdTest):
    def say(self, *words):
        """Runs a command that must work; returns what it printed."""
        done = self.ctl(*words)
        self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        return done.stdout

    def refuse(self, *words, code=1):
        done = self.ctl(*words)
        self.assertEqual((done.returncode, done.stdout), (code, ""), words)
        return done.stderr

    def connections(self):
        return json.loads(self.say("connections", "--json"))["connections"]

    def wait_connections(self, found):
        """Waits until the connections, as a list, satisfy FOUND; returns them."""
        last = []

        def look():
            last[:] = self.connections()
            return found(last)

        self.wait_for(look, what="connections")
        return last

    def ask_as(self, uid, line):
        """In a child, since an identity is of a whole process."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setuid(uid)
                client = self.unix("control.sock")
                client.sendall(line)
                theirs.sendall(self.receive_all(client))
            finally:
                os._exit(0)
        theirs.close()
        os.waitpid(pid, 0)
        with ours:
            return self.receive_all(ours)

    def asks(self, client, data=b"x\n"):
        client.sendall(data)
        self.assertEqual(self.receive(client, len(data)), data)


class ViewTest(SteerTest):
    def test_services_say_how_each_is(self):
        self.serve(ECHO)
        self.assertRegex(self.say("services"), r"\A1 service, 0 degraded, 0 drained\n\nSERVICE +STATE ")
        self.assertRegex(self.say("services"), r"(?m)^echo +serves +0 +0 +0  echo +line +tcp %s:%d$"
                         % (self.addr, self.port()))
        service, = json.loads(self.say("services", "--json"))["services"]
        self.assertLessEqual({"name", "state", "handler", "framing", "why", "listeners", "connections", "requests",
                              "in_hand"}, set(service))
        self.assertEqual((service["name"], service["state"], service["framing"]), ("echo", "serves", "line"))
        self.assertEqual(service["listeners"], [{"address": "tcp %s:%d" % (self.addr, self.port()), "kernel_drops": 0}])

    def test_a_program_has_no_framing(self):
        self.serve('handler = "program"; command = [ "/bin/cat" ];')
        self.assertRegex(self.say("services"), r"(?m)^echo +serves +0 +0 +0  program +- +tcp ")
        service, = json.loads(self.say("services", "--json"))["services"]
        self.assertIsNone(service["framing"])

    def test_workers_of_all_generations_are_listed(self):
        self.serve('handler = "program"; command = [ "/bin/cat" ];', top="workers = 2;")
        self.asks(self.connect())
        self.assertEqual(self.reload().returncode, 0)
        workers = json.loads(self.say("workers", "--json"))["workers"]
        self.assertEqual({w["generation"] for w in workers}, {1, 2})
        new = [(w["kind"], w["number"], w["state"]) for w in workers if w["generation"] == 2]
        self.assertEqual(sorted(new), [("spawner", 0, "serves"), ("worker", 1, "serves"), ("worker", 2, "serves")])
        self.assertRegex(self.say("workers"), r"\AGENERATION +WORKER +PID ")

    def test_config_is_the_one_that_serves_and_loads_again(self):
        self.serve(ECHO)
        self.write("sockd.conf", self.service('handler = "discard";'))
        text = self.say("config")
        self.assertIn('handler = "echo"', text)
        done = self.run_sockd("-t", "-f", self.write("again.conf", text))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_values_of_the_environment_are_for_those_who_may_change_it(self):
        conf = self.service('handler = "program"; command = "/bin/cat"; environment = [ "TOKEN=s3cret", "LANG" ];')
        self.start(conf)
        self.assertIn('environment = [ "TOKEN=s3cret", "LANG" ]', self.say("config"))
        self.assertEqual(self.reload(conf.replace("s3cret", "s3cond")).returncode, 0)
        self.wait_log("echo: environment changed")
        self.assertEqual(self.reload(conf.replace("s3cret", "s3cond; PIN=s3c")).returncode, 0)
        self.assertNotIn("s3c", self.say("status") + "".join(self.sockd.log))
        if os.geteuid() != 0:
            self.skipTest("only root can be somebody else")
        os.chmod(self.dir, 0o755)
        os.chmod(self.sockd.control, 0o666)
        for line in (b"config\n", b"config --json\n", b"status --json\n"):
            answer = self.ask_as(65534, line)
            self.assertNotIn(b"s3c", answer)
        self.assertIn(b'environment = [ "TOKEN=***", "LANG" ]', self.ask_as(65534, b"config\n"))

    def test_a_full_disk_is_told_however_long_the_answer(self):
        """Of one that is longer than the buffer nothing is left when it is flushed."""
        self.serve(ECHO)
        for word in "metrics", "services":
            with self.subTest(word), open("/dev/full", "w") as full:
                done = subprocess.run([os.path.join(sockdtest.BUILD, "sockctl"), "--control", self.dir + "/control.sock", word],
                                      stdout=full, stderr=subprocess.PIPE, text=True, timeout=sockdtest.TIMEOUT)
                self.assertEqual((done.returncode, done.stderr),
                                 (1, "sockctl: cannot write to standard output: No space left on device\n"))

    def test_commands_say_how_they_are_used(self):
        self.serve(ECHO)
        self.assertEqual(self.refuse("drain", code=2), "sockctl: drain needs SERVICE; see sockctl --help\n")
        with self.unix("control.sock") as client:
            client.sendall(b"drain\n")
            self.assertEqual(self.receive_all(client), b"2 21\nusage: drain SERVICE\n")
        self.assertIn("did you mean echo?", self.refuse("drain", "ecko"))
        self.assertIn("debug, info", self.refuse("log-level", "loud", code=2))
        self.assertIn("such as 1.2.17", self.refuse("kill", "echo", code=2))


class VerdictTest(SteerTest):
    def test_a_handler_that_comes_up_and_dies_again_and_again_is_one_trouble(self):
        """It lives for longer than what counts as up, and for less than what proves anything."""
        self.expect_log("helper 1 .* exited with status 5", "degraded: ")
        self.serve('handler = "helper"; command = [ "/bin/bash", "-c", "read -r -t 0.4 x; exit 5" ];',
                   top="workers = 1;")
        self.wait_counter("helper_deaths", lambda n: n >= 4)
        edges = [line for line in self.sockd.log if re.search("degraded: |well again", line)]
        self.assertEqual(len(edges), 1, edges)
        self.assertRegex(self.ctl("status").stdout, r"\Adegraded since .*: echo: helper 1 exited with status 5; ")

    def test_the_verdict_counts_the_services_that_are_not_well_and_each_says_why(self):
        self.expect_log("helper 1 .* exited with status 1", "degraded: ")
        dead = '{ host = "$addr"; port = $port%s; handler = "helper"; command = "/bin/false"; };'
        self.start("workers = 1;\nservices: { a: %s b: %s c: { host = \"$addr\"; port = $port2; %s }; };"
                   % (dead % "", dead % "1", ECHO))
        self.wait_for(lambda: all(s["why"] for n, s in self.status()["services"].items() if n != "c"))
        text = self.ctl("status").stdout
        self.assertRegex(text, r"\Adegraded since .*: a: helper 1 exited with status 1 \(and 1 more service\); ")
        self.assertEqual(text.count("\n  degraded: helper 1 exited with status 1\n"), 2)


class ConnectionsTest(SteerTest):
    def test_each_says_what_it_waits_for_and_the_longest_wait_is_first(self):
        conf = ('workers = 2; drain_timeout = "100ms";\nservices:\n{\n'
                '  echo: { host = "$addr"; port = $port; handler = "echo"; };\n'
                '  cat: { host = "$addr"; port = $port1; handler = "program"; command = [ "/bin/cat" ]; };\n'
                '  slow: { host = "$addr"; port = $port2; handler = "helper"; helpers = 2;\n'
                '          command = [ "/bin/sh", "-c", "read -r x; read -r y; sleep 1000" ]; };\n};\n')
        self.start(conf)
        idle, half, program, handled = (self.connect(port=self.port(n)) for n in (0, 0, 1, 2))
        self.asks(idle)
        half.sendall(b"abc\nhal")
        self.assertEqual(half.recv(10), b"abc\n")
        self.asks(program)
        handled.sendall(b"question\n")
        self.expect_fd_change()
        self.expect_log("helper . .* was ended by signal 15")  # the stop does not wait for it
        found = self.wait_connections(lambda all: {c["waits_for"] for c in all}
                                      == {"idle", "message", "program", "handler"})
        kinds = {c["waits_for"]: c for c in found}
        self.assertEqual({c["waits_for"]: c["service"] for c in found},
                         {"idle": "echo", "message": "echo", "program": "cat", "handler": "slow"})
        self.assertEqual(kinds["idle"]["peer"], "%s:%d" % idle.getsockname())
        self.assertEqual((kinds["message"]["requests"], kinds["message"]["bytes_in"]), (1, 7))
        self.assertRegex(kinds["idle"]["id"], r"^1\.[12]\.\d+$")
        self.assertRegex(kinds["program"]["id"], r"^1\.0\.\d+$")
        waits = [c["wait_ms"] for c in found]
        self.assertEqual(waits, sorted(waits, reverse=True))
        text = self.say("connections")
        self.assertRegex(text, r"\A4 connections; the longest wait is ")
        self.assertRegex(text, r"(?m)^1\.[12]\.\d+ +echo +127.0.0.1:\d+ +.* the rest of a message ")

    def test_a_request_that_waits_for_a_helper_is_told_from_one_in_its_hands(self):
        self.serve('handler = "helper"; helpers = 1; helper_pipeline = 1; command = [ "/bin/sh", "-c", '
                   '"read -r x; sleep 1000" ];', top='workers = 1; drain_timeout = "100ms";')
        self.expect_fd_change()
        self.expect_log("helper . .* was ended by signal 15")
        first = self.connect()
        first.sendall(b"one\n")
        self.wait_connections(lambda all: [c["waits_for"] for c in all] == ["handler"])
        second = self.connect()
        second.sendall(b"two\n")
        found = self.wait_connections(lambda all: [c["waits_for"] for c in all] == ["handler", "queue"])
        self.assertEqual([c["peer"] for c in found], ["%s:%d" % c.getsockname() for c in (first, second)])
        self.assertRegex(self.say("connections"), r"(?m) the handler .*\n.* a helper to be free ")

    def test_a_client_that_takes_nothing_is_waited_for(self):
        self.serve(ECHO + ' framing = "length:u32be"; max_request = "8m"; max_reply = "8m";')
        self.fill(self.connect(), (4 << 20).to_bytes(4, "big") + b"x" * (4 << 20))
        self.assertEqual([c["waits_for"] for c in self.connections()], ["client"])

    def test_a_worker_that_does_not_answer_is_left_out_and_said_so(self):
        self.serve(ECHO, top="workers = 1;")
        self.asks(self.connect())
        worker = self.status()["workers"][0]["pid"]
        self.stop_process(worker)
        try:
            answer = json.loads(self.say("connections", "--json"))
            self.assertEqual((answer["missing"], answer["connections"]), (["1.1"], []))
            self.assertIn("worker 1 of generation 1 did not answer within 1 s", self.say("connections"))
            self.assertIn("does not answer", self.refuse("kill", "1.1.1"))
        finally:
            os.kill(worker, signal.SIGCONT)
        self.wait_connections(lambda all: len(all) == 1)

    def test_those_of_a_generation_that_leaves_are_listed_too(self):
        self.serve('handler = "program"; command = [ "/bin/cat" ];')
        old = self.connect()
        self.asks(old)
        self.assertEqual(self.reload().returncode, 0)
        new = self.connect()
        self.asks(new)
        found = self.wait_connections(lambda all: len(all) == 2)
        self.assertEqual([c["id"].split(".")[:2] for c in found], [["1", "0"], ["2", "0"]])

    def test_many_are_listed_within_bounds(self):
        self.serve(ECHO, top="workers = 2;")
        clients = [self.connect() for _ in range(300)]
        for client in clients:
            self.asks(client)
        self.assertEqual(len({c["id"] for c in self.connections()}), 300)

    def test_one_that_leaves_while_it_is_answered_hurts_nobody(self):
        self.serve(ECHO)
        for _ in range(100):
            client = self.unix("control.sock")
            client.sendall(b"connections\n")
            client.close()
        self.assertEqual(self.connections(), [])


class KillTest(SteerTest):
    def test_a_connection_is_ended_and_no_other(self):
        self.serve(ECHO)
        first, other = self.connect(), self.connect()
        self.asks(first)
        self.asks(other)
        ids = {c["peer"]: c["id"] for c in self.connections()}
        wanted = ids["%s:%d" % first.getsockname()]
        self.assertIn("connection %s of echo" % wanted, self.say("kill", wanted))
        self.assertEqual(first.recv(10), b"")
        self.asks(other)
        self.wait_counter("ended_killed", 1)
        self.assertIn("there is no connection " + wanted, self.refuse("kill", wanted))
        self.wait_log("echo: uid %d pid .*: connection %s of .* ended by sockctl" % (os.getuid(), wanted))

    def test_one_in_a_request_is_ended(self):
        self.serve('handler = "helper"; command = [ "/bin/sh", "-c", "read -r x; sleep 1000" ];')
        client = self.connect()
        client.sendall(b"x\n")
        found = self.wait_connections(lambda all: [c["waits_for"] for c in all] == ["handler"])
        self.say("kill", found[0]["id"])
        self.assertEqual(client.recv(10), b"")
        self.wait_counter("cancelled", 1)

    def test_a_program_is_ended(self):
        self.serve('handler = "program"; command = [ "/bin/cat" ];')
        client = self.connect()
        self.asks(client)
        self.say("kill", self.connections()[0]["id"])
        self.assertEqual(client.recv(10), b"")
        self.wait_connections(lambda all: not all)


class DrainTest(SteerTest):
    def test_what_comes_is_closed_and_what_is_idle_ends(self):
        self.serve(ECHO, top="workers = 2;")
        idle, young = self.connect(), self.connect()
        self.asks(idle)
        self.say("drain", "echo")
        self.assertEqual(idle.recv(10), b"")
        self.assertEqual(young.recv(10), b"")
        with self.connect() as late:
            self.assertEqual(late.recv(10), b"")  # and no reset
        self.wait_counter("refused_drained", 1)
        self.assertTrue(self.status()["services"]["echo"]["drained"])
        self.assertRegex(self.say("status"), r"(?m)^echo on tcp .*: drained$")
        self.assertRegex(self.say("services"), r"(?m)^echo +drained ")
        self.assertEqual(self.say("drain", "echo"), "echo is already drained\n")
        self.assertEqual(self.say("resume", "echo"), "echo is resumed\n")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.say("resume", "echo"), "echo is not drained\n")

    def test_a_request_in_hand_is_finished(self):
        fifo = os.path.join(self.dir, "go")
        os.mkfifo(fifo)
        self.serve('handler = "helper"; command = [ "/bin/sh", "-c", "read -r x; read -r y <%s; echo $x; '
                   'while read -r x; do echo $x; done" ];' % fifo, top="workers = 1;")
        client = self.connect()
        client.sendall(b"precious\n")
        self.wait_counter("in_hand", lambda n: n == 1)
        self.say("drain", "echo")
        with open(fifo, "w") as go:
            go.write("\n")
        self.assertEqual(self.receive_all(client), b"precious\n")

    def test_an_unfinished_message_may_be_finished(self):
        self.serve(ECHO)
        client = self.connect()
        self.asks(client)
        client.sendall(b"hal")
        self.wait_connections(lambda all: [c["waits_for"] for c in all] == ["message"])
        self.say("drain", "echo")
        client.sendall(b"f\n")
        self.assertEqual(self.receive_all(client), b"half\n")

    def test_others_are_not_touched(self):
        self.start('services:\n{\n  echo: { host = "$addr"; port = $port; handler = "echo"; };\n'
                   '  other: { host = "$addr"; port = $port1; handler = "echo"; };\n};\n')
        client = self.connect(port=self.port(1))
        self.asks(client)
        self.say("drain", "echo")
        self.asks(client)
        self.assertEqual(self.converse(b"x\n", port=self.port(1)), b"x\n")

    def test_a_service_may_have_the_name_of_a_word_of_ours(self):
        self.serve(ECHO, name="json")
        self.assertIn("json is drained", self.say("drain", "json"))
        self.assertEqual(self.say("resume", "json"), "json is resumed\n")

    def test_it_survives_a_reload_and_the_death_of_a_worker(self):
        self.serve(ECHO, top="workers = 1;")
        self.say("drain", "echo")
        self.assertEqual(self.reload(self.service(ECHO + ' max_request = "1k";', top="workers = 1;")).returncode, 0)
        self.assertEqual(self.connect().recv(10), b"")
        self.expect_log("replaced at once|next try in")
        pid = self.status()["workers"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        self.wait_for(lambda: self.status()["workers"][0]["pid"] not in (0, pid), what="another worker")
        self.assertEqual(self.connect().recv(10), b"")
        self.say("resume", "echo")
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.reload().returncode, 0)
        self.assertEqual(self.converse(b"x\n"), b"x\n")

    def test_a_service_that_was_removed_comes_back_undrained(self):
        both = ('services:\n{\n  echo: { host = "$addr"; port = $port; handler = "echo"; };\n'
                '  other: { host = "$addr"; port = $port1; handler = "echo"; };\n};\n')
        self.start(both)
        self.say("drain", "other")
        self.assertEqual(self.reload(self.service(ECHO)).returncode, 0)
        self.assertEqual(self.reload(both).returncode, 0)
        self.assertEqual(self.converse(b"x\n", port=self.port(1)), b"x\n")

    def test_datagrams_are_dropped_while_it_lasts(self):
        self.serve(ECHO + ' transport = "udp";')
        self.say("drain", "echo")
        client = self.udp()
        client.send(b"lost")
        self.wait_counter("datagrams_drained", 1)
        self.say("resume", "echo")
        client.send(b"found")
        self.assertEqual(client.recv(10), b"found")

    def test_others_may_not(self):
        if os.geteuid() != 0:
            self.skipTest("only root can be somebody else")
        self.serve(ECHO)
        os.chmod(self.dir, 0o755)
        os.chmod(self.sockd.control, 0o666)
        for line in (b"drain echo\n", b"resume echo\n", b"kill 1.1.1\n", b"log-level debug\n"):
            self.assertIn(b"not permitted", self.ask_as(65534, line))
        for line in (b"services\n", b"workers\n", b"connections\n", b"config\n", b"metrics\n"):
            self.assertRegex(self.ask_as(65534, line), rb"\A0 ")


class LogLevelTest(SteerTest):
    def test_it_is_of_all_processes_and_survives_a_reload(self):
        self.serve(ECHO + ' log = "connections";')
        self.converse(b"x\n")
        self.wait_log("closed: ")
        self.assertEqual(self.say("log-level", "notice"), "log level notice\n")
        self.assertEqual(self.status()["log_level"], "notice")
        since = len(self.sockd.log)
        self.converse(b"x\n")
        self.assertEqual(self.reload().returncode, 0)
        self.converse(b"x\n")
        self.wait_counter("accepted", 3)
        self.wait_counter("connections", lambda n: n == 0)
        self.assertFalse([line for line in self.sockd.log[since:] if "closed: " in line])
        self.say("log-level", "info")
        self.converse(b"x\n")
        self.wait_log("closed: ", since=since)


    def test_default_is_what_is_configured_and_follows_a_reload(self):
        self.serve(ECHO + ' log = "connections";', top='log_level = "notice";')
        self.say("log-level", "debug")
        self.assertEqual(self.say("log-level", "default"), "log level notice, as configured\n")
        self.assertEqual(self.status()["log_level"], "notice")
        since = len(self.sockd.log)
        self.converse(b"x\n")
        self.wait_counter("connections", lambda n: n == 0)
        self.assertFalse([line for line in self.sockd.log[since:] if "closed: " in line])
        conf = self.service(ECHO + ' log = "connections";', top='log_level = "info";')
        self.assertEqual(self.reload(conf).returncode, 0)
        self.converse(b"x\n")
        self.wait_log("closed: ", since=since)

    def test_default_is_what_the_command_line_said(self):
        self.serve(ECHO, args=["--log-level", "warning"])
        self.say("log-level", "debug")
        self.assertEqual(self.say("log-level", "default"), "log level warning, as configured\n")

    def test_each_change_that_one_of_its_levels_shows_is_logged(self):
        self.serve(ECHO, top='log_level = "info";')
        for level, change in (("warning", "warning"), ("notice", "notice"), ("error", "error"), ("default", "info, as configured")):
            since = len(self.sockd.log)
            self.say("log-level", level)
            self.wait_log("log level %s, by sockctl" % change, since=since)


class KernelDropsTest(SteerTest):
    def test_datagrams_that_the_kernel_drops_are_counted_and_never_go_back(self):
        conf = self.service(ECHO + ' transport = "udp";', top="workers = 1;")
        self.start(conf)
        worker = self.status()["workers"][0]["pid"]
        self.stop_process(worker)
        client = self.udp()
        for _ in range(2000):
            client.send(b"x" * 1000)
        dropped = self.counter("datagrams_kernel")
        self.assertGreater(dropped, 0)
        self.assertIn('sockd_datagrams_dropped_total{service="echo",reason="kernel"} %d\n' % dropped,
                      self.say("metrics"))
        listener, = json.loads(self.say("services", "--json"))["services"][0]["listeners"]
        self.assertEqual(listener["kernel_drops"], dropped)
        self.assertIn("dropped by the kernel", self.say("status"))
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(self.reload(conf.replace("$port", "$port1")).returncode, 0)
        self.assertGreaterEqual(self.counter("datagrams_kernel"), dropped)


class BoundTest(SteerTest):
    def waited(self):
        """Seconds for which the master and we were ready to run, and others ran: the kernel's own account of it."""
        total = 0
        for pid in (self.sockd.pid, os.getpid()):
            with contextlib.suppress(OSError), open("/proc/%d/schedstat" % pid) as f:
                total += int(f.read().split()[1]) / 1e9
        return total

    def ask(self):
        client = self.unix("control.sock")
        client.sendall(b"status --json\n")
        self.assertRegex(self.receive_all(client), rb"\A0 \d+\n\{")
        client.close()

    def time_to_ask(self, clock):
        """Seconds until the status is whole, without those in which other processes had the processors."""
        began, waited, ran = time.monotonic(), self.waited(), clock.seconds()
        self.ask()
        return min(time.monotonic() - began - (self.waited() - waited), clock.seconds() - ran)

    @staticmethod
    def unread(client):
        """How many bytes wait in its socket."""
        size = array.array("i", [0])
        fcntl.ioctl(client, termios.FIONREAD, size)
        return size[0]

    def test_H1_a_thousand_clients_that_stall_keep_nobody_out_and_cost_nobody_time(self):
        """They say nothing, half a word, or ask for more than a socket holds and never read it."""
        self.serve(ECHO + ' error_reply = "%s";' % ("x" * LARGE))
        self.expect_fd_change()
        before, stalled, times = count_fds(self.sockd.pid), [], []
        with Clock() as clock:
            for i in range(1000):
                stalled.append(self.unix("control.sock"))
                stalled[-1].sendall((b"", b"stat", b"config\n")[i % 3])
                if i % 20 == 19:
                    times.append(self.time_to_ask(clock))
        parts = [n for n in map(self.unread, stalled) if n > 1000]  # of an answer, and the daemon had the rest
        self.assertIn(max(parts), range(LARGE))
        self.assertLess(sorted(times)[len(times) // 2], 0.1 * SLOW)
        self.assertLessEqual(count_fds(self.sockd.pid), before + CLIENTS_MAX)
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertEqual(self.ctl("status").returncode, 0)

    def test_H1_clients_that_wait_for_an_answer_keep_nobody_out(self):
        """What they wait for is a generation of before; the fifth has no place beside it."""
        self.serve(ECHO, top="workers = 1;")
        for framing in "netstring", "fixed:7", "length:u8":
            self.connect()
            self.wait_for(lambda: self.status()["workers"][0]["connections"] == 1)
            self.assertEqual(self.reload("workers = 1;" + self.service(ECHO + 'framing = "%s";' % framing)).returncode, 0)
        waiting = [self.reload_later() for _ in range(12)]
        self.wait_log("reload waits: ")
        for _ in range(8):
            self.ask()
        self.assertRegex(self.reload_later()(), r"\A1 \d+\nmany clients wait for a reload already; try again\n\Z")
        self.assertEqual(self.ctl("kill", min(c["id"] for c in self.connections())).returncode, 0)
        for answer in waiting:
            self.assertRegex(answer(), r"\A(# reload waits: .*\n)*0 \d+\ngeneration ")

    def test_H1_not_too_many_wait_for_an_answer(self):
        """A worker that is stopped answers nobody who asks for its connections."""
        self.serve(ECHO, top="workers = 1;")
        worker, = self.status()["workers"]
        os.kill(worker["pid"], signal.SIGSTOP)
        self.wait_for(lambda: sockdtest.process_state(worker["pid"]) == "T")
        refusal = b"1 55\ntoo many clients wait for an answer already; try again\n"

        def ask_seventeen():
            clients = []
            for _ in range(17):
                clients.append(self.unix("control.sock"))
                clients[-1].sendall(b"connections\n")
            self.ask()
            answers = [self.receive_all(client) for client in clients]
            self.assertNotIn(refusal, answers[:16])
            return answers[16] == refusal  # unless the others were answered already, after a second

        self.wait_for(ask_seventeen, what="one too many")
        os.kill(worker["pid"], signal.SIGCONT)

    def test_C1_without_a_free_descriptor_the_next_look_is_soon(self):
        self.serve(ECHO)
        with self.strace(self.sockd.pid, "inject=accept4:error=EMFILE:when=1"), Clock() as clock:
            client = self.unix("control.sock")
            client.sendall(b"status\n")
            self.wait_for(lambda: "EMFILE" in self.traced())
            began = clock.seconds()
            self.assertRegex(self.receive_all(client), rb"\A0 ")
            self.assertLess(clock.seconds() - began, 0.5 * SLOW)

    def traced(self):
        with open(os.path.join(self.dir, "strace.%d" % self.sockd.pid)) as f:
            return f.read()

    def test_status_comes_within_100_ms_under_load(self):
        self.serve(ECHO, top="workers = 2;")
        load = threading.Thread(target=self.run_program, args=(
            "sockctl", "-H", self.addr, "-p", self.port(), "bench", "-c", 200, "-P", 16, "-d", "3s"))
        load.start()
        try:
            self.wait_counter("requests", 1000)
            with Clock() as clock:
                times = sorted(self.time_to_ask(clock) for _ in range(50))
        finally:
            load.join()
        self.assertLess(times[-1], 0.1 * SLOW)


if __name__ == "__main__":
    sockdtest.main()
