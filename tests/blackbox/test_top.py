"""sockctl top, at a terminal and elsewhere."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading

import sockdtest
from sockdtest import BUILD, SockdTest
from terminal import Terminal

ECHO = 'handler = "echo";'
SOCKCTL = os.path.join(BUILD, "sockctl")


class TopTest(SockdTest):
    def top(self, *args, **options):
        """A top at a terminal, which is closed at the end."""
        command = [SOCKCTL, "--control", os.path.join(self.dir, "control.sock"), "top", *args]
        terminal = Terminal(command, **options)
        self.addCleanup(terminal.close)
        return terminal

    def assert_ended(self, terminal, status):
        self.assertEqual(terminal.end(), status)
        self.assertTrue(terminal.is_as_before(), terminal.screen.modes)

    @contextlib.contextmanager
    def load(self):
        """Clients come one after another, with 20 requests each, as long as the with statement lasts."""
        over = threading.Event()

        def work():
            while not over.is_set():
                with self.connect() as client:
                    for _ in range(20):
                        client.sendall(b"x\n")
                        self.assertEqual(self.receive(client, 2), b"x\n")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def many(self, n):
        services = "".join('  s%03d-%s: { path = "$dir/%d.sock"; transport = "unix"; handler = "echo"; };\n'
                           % (i, "x" * (i % 50), i) for i in range(n))
        return self.start("workers = 1;\nservices:\n{\n%s};\n" % services)


class LiveTest(TopTest):
    def test_the_picture_has_the_verdict_first_and_follows_the_work(self):
        self.serve(ECHO, top="workers = 2;")
        top = self.top("--interval", "200ms")
        text = top.wait(r"worker 2 ")
        self.assertRegex(text, r"\Awell since [-0-9: ]+: 1 service, 0 connections\nsockd \S+, generation 1, up ")
        self.assertRegex(text, r"(?m)^SERVICE +REQ/S +P50 +P99 +ERR/S +WAIT HELPERS +CONN +NEW/S$")
        self.assertRegex(text, r"(?m)^PROCESS +PID +CPU +CONN  PROCESS +PID +CPU +CONN$")
        self.assertRegex(text, r"q quit  s sort: requests .*\Z")
        client = self.connect()
        client.sendall(b"x\n")
        with self.load():  # each picture is of the last interval alone
            top.wait(r"^requests +[1-9][0-9.]*k?/s  p99 +[<0-9.]+ ms")
        top.wait(r"^connections +1  ")
        top.type(b"q")
        self.assert_ended(top, 0)

    def test_keys_sort_pause_and_refresh(self):
        self.serve(ECHO)
        top = self.top("--interval", "1h")
        top.wait("s sort: requests")
        for order in ("latency", "waiting", "connections", "name", "requests"):
            top.type(b"s")
            top.wait("s sort: %s" % order)
        client = self.connect()
        client.sendall(b"x\n")
        self.wait_counter("connections", lambda n: n == 1)
        top.type(b" ")  # the interval is long
        top.wait(r"1 connection$")
        top.type(b"p")
        top.wait(r"\(paused\)")
        client.close()
        self.wait_counter("connections", lambda n: n == 0)
        top.type(b"\x1b[1;5A\x1bOQ\x1b")  # none of these is a key of ours
        top.type(b"p")
        top.wait(r"0 connections$")
        top.type(b"q")
        self.assert_ended(top, 0)

    def test_the_terminal_is_as_before_however_it_ends(self):
        self.serve(ECHO)
        for end, status in (("q", 0), ("\x03", 0), (signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM),
                            (signal.SIGHUP, -signal.SIGHUP), ("\x1c", -signal.SIGQUIT)):
            with self.subTest(end):
                top = self.top()
                top.wait("^echo ")
                self.assertFalse(top.is_as_before())
                self.assertIn("?1049", top.screen.modes)
                if isinstance(end, str):
                    top.type(end.encode())
                else:
                    top.process.send_signal(end)
                self.expect_core()
                self.assert_ended(top, status)

    def test_it_may_be_suspended_and_brought_back(self):
        self.serve(ECHO)
        script = '"$0" --control control.sock top --interval 1h; echo stopped; read -r x; fg; echo "ended with $?"'
        terminal = Terminal(["/bin/bash", "-m", "-c", "cd %s; %s" % (self.dir, script), SOCKCTL])
        self.addCleanup(terminal.close)
        terminal.wait("^echo ")
        terminal.type(b"\x1a")
        terminal.wait("^stopped$")
        self.assertTrue(terminal.is_as_before(), terminal.screen.modes)
        terminal.screen.clear()
        terminal.type(b"\n")
        terminal.wait("^echo ")
        self.assertFalse(terminal.is_as_before())
        terminal.type(b"q")
        terminal.wait("ended with 0$")
        self.assert_ended(terminal, 0)

    def test_one_that_was_stopped_from_outside_draws_itself_again(self):
        self.serve(ECHO)
        top = self.top("--interval", "1h")
        top.wait("^echo ")
        top.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, top.process.pid, os.WSTOPPED)
        top.screen.clear()
        top.process.send_signal(signal.SIGCONT)
        top.wait("^echo ")
        top.type(b"q")
        self.assert_ended(top, 0)

    def test_a_new_size_is_drawn_at_once(self):
        self.serve(ECHO)
        top = self.top("--interval", "1h")
        top.wait("^echo ")
        for width, height in ((120, 40), (40, 10), (20, 5), (7, 2), (1, 1), (200, 60), (80, 24)):
            top.screen.resize(width, height)
            top.set_size(width, height)
            top.wait(lambda text: text.split("\n")[0] == "well since"[:width] or re.match("well since .*(~|service)", text)
                     or (width < 10 and text.startswith("well since"[:width - 1])))
            if height >= 8:
                top.wait("q quit")
        top.wait(r"every 1h\Z")
        top.type(b"q")
        self.assert_ended(top, 0)

    def test_200_services_are_cut_to_the_height_and_names_to_the_width(self):
        self.many(200)
        for width, height in ((80, 24), (40, 10), (20, 5)):
            with self.subTest(width):
                top = self.top("--interval", "100ms", width=width, height=height)
                text = top.wait(r"^\d+ more$")
                shown = len(re.findall(r"(?m)^s\d\d\d", text))
                self.assertGreaterEqual(shown, 1)
                self.assertIn("\n%d more" % (200 - shown), text)
                top.type(b"q")
                self.assert_ended(top, 0)

    def test_a_daemon_that_goes_is_said_so_and_found_again(self):
        self.serve(ECHO)
        top = self.top("--interval", "200ms")
        top.wait("^echo ")
        self.stop()
        top.wait(r"\Ano answer for [0-9.]+ s: sockd is not running \(no socket at ")
        self.serve(ECHO)
        top.wait(r"\Awell since ")
        self.assertEqual(self.reload().returncode, 0)
        top.wait(r"generation 2")
        top.type(b"q")
        self.assert_ended(top, 0)

    def test_one_that_does_not_answer_holds_up_no_key(self):
        self.serve(ECHO)
        top = self.top("--interval", "100ms", "-w", "1h")
        top.wait("^echo ")
        os.kill(self.sockd.pid, signal.SIGSTOP)
        try:
            top.type(b"s")
            top.wait("sort: latency")
            top.type(b"q")
            self.assert_ended(top, 0)
        finally:
            os.kill(self.sockd.pid, signal.SIGCONT)

    def test_one_that_does_not_answer_in_time_is_said_so(self):
        self.serve(ECHO)
        top = self.top("--interval", "100ms", "-w", "200ms")
        top.wait("^echo ")
        os.kill(self.sockd.pid, signal.SIGSTOP)
        try:
            top.wait(r"\Ano answer for .*: the daemon did not answer within 200ms")
        finally:
            os.kill(self.sockd.pid, signal.SIGCONT)
        top.wait(r"\Awell since ")
        top.type(b"q")
        self.assert_ended(top, 0)

    def test_a_degraded_service_stands_first_with_the_reason(self):
        self.start('services:\n{\n  a: { host = "$addr"; port = $port; handler = "echo"; };\n'
                   '  z: { host = "$addr"; port = $port1; handler = "helper"; helpers = 2;\n'
                   '       command = [ "/bin/sh", "-c", "exit 3" ]; };\n};\n')
        self.expect_log("helper . exited", "no helper", "degraded", "z: ")
        top = self.top("--interval", "100ms")
        top.wait(r"\Adegraded since .*: z: ")
        self.assertRegex(top.wait("^z .* 0/0 "), r"(?ms)^SERVICE.*^z .*^a ")
        top.type(b"q")
        self.assert_ended(top, 1)

    def test_bytes_of_strangers_cannot_break_the_terminal(self):
        answer = {"verdict": "well\x1b]0;x\x07", "why": "x\x1b[2J\n\r\x9b1m\u202e" + "\u4e16" * 100, "since": 1,
                  "version": "\x1b[31m", "pid": 1, "generation": 1, "clock_ms": 5, "duration_bounds_us": [100],
                  "services": {"a\x1b[5mb\x07\x7f\u00fc\u4e16": {"state": "serves\x1b", "requests": -5, "durations": ["x"]},
                               "y" * 5000: 7}, "workers": [7, {"pid": -1}], "generations": "no"}
        self.serve_answers(json.dumps(answer))
        top = self.top("--interval", "100ms", width=200)
        text = top.wait("^a")
        self.assertIn("well\\x1b]0;x\\x07 since", text)
        self.assertIn("a\\x1b[5mb\\x07", text)
        top.type(b"q")
        self.assert_ended(top, 0)

    def serve_answers(self, text):
        """A control socket that says the same to everybody."""
        path = os.path.join(self.dir, "control.sock")
        listener = self.keep(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen()
        data = text.encode()

        def serve():
            while True:
                try:
                    with listener.accept()[0] as client:
                        client.recv(100)
                        client.sendall(b"0 %d\n%s" % (len(data), data))
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()

    def test_without_colours_when_they_are_not_wanted(self):
        self.serve(ECHO)
        for env, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
            top = self.top("--interval", "100ms", env=env)
            seen = []
            top.screen.obey, obey = lambda *words: (seen.append(words), obey(*words)), top.screen.obey
            top.wait("^echo ")
            self.assertEqual(("1;32", "m") in seen, colours)
            top.type(b"q")
            self.assert_ended(top, 0)


class OnceTest(TopTest):
    def test_without_a_terminal_one_sample_is_printed(self):
        self.serve(ECHO, top="workers = 2;")
        done = self.ctl("top", "--interval", "100ms")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertNotIn("\x1b", done.stdout)
        self.assertRegex(done.stdout, r"\Awell since .*\nsockd ")
        self.assertRegex(done.stdout, r"(?m)^echo +serves +0 +- +- +0 ")
        self.assertRegex(done.stdout, r"(?m)^worker 2 +\d+ +\d+ % +0$")
        self.assertRegex(done.stdout, r"(?m)^master +%d +\d+ %% +-\n\Z" % self.sockd.pid)
        self.assertFalse(re.search(r"(?m) $", done.stdout), done.stdout)

    def test_all_services_are_in_it(self):
        self.many(200)
        done = self.ctl("top", "--interval", "100ms")
        self.assertEqual(len(re.findall(r"(?m)^s\d\d\d", done.stdout)), 200)

    def test_the_processes_are_those_of_the_newest_generation_and_older_ones_are_counted(self):
        self.serve('handler = "program"; command = [ "/bin/cat" ];', top="workers = 2;")
        client = self.connect()
        client.sendall(b"x\n")
        self.assertEqual(self.receive(client, 2), b"x\n")
        self.assertEqual(self.reload().returncode, 0)
        self.assertRegex(self.ctl("top", "--interval", "100ms").stdout, r"(?m)^sockd .*, generation 2 \(1 older leaves\), up ")
        listed = {p["pid"] for p in json.loads(self.ctl("top", "--json", "--interval", "100ms").stdout)["processes"]}
        workers = json.loads(self.ctl("workers", "--json").stdout)["workers"]
        self.assertEqual(listed, {w["pid"] for w in workers if w["generation"] == 2} | {self.sockd.pid})
        self.assertIn(1, {w["generation"] for w in workers})

    def test_a_full_disk_is_told_however_long_the_picture(self):
        self.many(100)
        for words in (), ("--json",):
            with self.subTest(words), open("/dev/full", "w") as full:
                done = subprocess.run([SOCKCTL, "--control", self.dir + "/control.sock", "top", "--interval", "100ms", *words],
                                      stdout=full, stderr=subprocess.PIPE, text=True, timeout=sockdtest.TIMEOUT)
                self.assertEqual((done.returncode, done.stderr),
                                 (1, "sockctl: cannot write to standard output: No space left on device\n"))

    def test_json_has_names_that_stay(self):
        self.serve('handler = "helper"; helpers = 2; command = [ "/bin/cat", "-u" ];', top="workers = 1;")
        with self.load():
            self.wait_counter("requests", 1)
            done = self.ctl("top", "--json", "--interval", "300ms")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        top = json.loads(done.stdout)
        self.assertEqual(set(top), {"verdict", "why", "since", "version", "pid", "generation", "uptime_ms", "seconds",
                                    "all", "services", "processes"})
        self.assertEqual((top["verdict"], top["pid"], top["generation"]), ("well", self.sockd.pid, 1))
        self.assertGreaterEqual(top["seconds"], 0.3)
        figures = {"connections", "in_hand", "queue", "helpers", "helpers_busy", "helpers_wanted", "p50_ms", "p99_ms",
                   "connections_per_second", "requests_per_second", "failed_per_second", "refused_per_second",
                   "bytes_in_per_second", "bytes_out_per_second"}
        self.assertEqual(set(top["all"]), figures)
        service, = top["services"]
        self.assertEqual(set(service), figures | {"name", "state", "why"})
        self.assertEqual((service["name"], service["helpers"], service["helpers_wanted"]), ("echo", 2, 2))
        self.assertGreater(service["requests_per_second"], 0)
        self.assertAlmostEqual(service["bytes_in_per_second"], 2 * service["requests_per_second"], delta=20)
        self.assertGreater(service["p99_ms"], 0)
        self.assertLessEqual(service["p50_ms"], service["p99_ms"])
        self.assertEqual([p["kind"] for p in top["processes"]], ["worker", "spawner", "master"])
        self.assertEqual(set(top["processes"][0]), {"kind", "number", "pid", "connections", "cpu_percent"})

    def test_exit_statuses_are_those_of_status(self):
        done = self.ctl("top")
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("sockd is not running", done.stderr)
        done = self.ctl("top", "--interval", "5ms")
        self.assertEqual(done.returncode, 2)
        self.assertIn("100 ms at least", done.stderr)
        self.serve(ECHO)
        self.assertEqual(self.ctl("-q", "top", "--interval", "100ms").returncode, 0)


if __name__ == "__main__":
    sockdtest.main()
