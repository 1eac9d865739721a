"""sockctl bench against sockd and against servers that misbehave."""
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import threading
import time

import sockdtest
from sockdtest import BUILD, TIMEOUT, SockdTest

FRAMINGS = ["line", r"delimiter:\0", "block", "netstring", "length:u16be", "length:varint", "content-length", "fixed:64",
            "close"]
ERRORS = ["connect", "timeout", "closed", "network", "malformed", "mismatch"]


class BenchTest(SockdTest):
    def setUp(self):
        super().setUp()
        self.listeners = []

    def tearDown(self):
        for sock in self.listeners:
            sock.close()
        super().tearDown()

    def serve_with(self, serve):
        """A server that calls SERVE with each connection, in a thread of its own."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.addr, self.port()))
        sock.listen(128)
        self.listeners.append(sock)

        def converse(client):
            with client:
                client.settimeout(TIMEOUT)
                try:
                    serve(client)
                except OSError:
                    pass

        def run():
            while True:
                try:
                    client = sock.accept()[0]
                except OSError:
                    return
                threading.Thread(target=converse, args=(client,), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()

    def bench(self, *args, status=0, **where):
        """Runs it with --json, and returns the object."""
        if not where:
            where = {"H": self.addr, "p": self.port()}
        done = self.run_program("sockctl", *[word for k, v in where.items() for word in ("-" + k, v)], "bench", "--json",
                                *args)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout)

    def assert_errors(self, report, **errors):
        self.assertEqual(report["errors"], dict.fromkeys(ERRORS, 0) | errors)
        self.assertEqual(report["failed"], sum(errors.values()))


class EchoTest(BenchTest):
    def test_each_request_is_counted_once_in_every_framing(self):
        for framing in FRAMINGS:
            with self.subTest(framing):
                self.serve('framing = "%s"; handler = "echo"; max_connections = 100;' % framing.replace("\\", "\\\\"))
                report = self.bench("-F", framing, "-n", 300, "-c", 7, "--verify")
                self.assertEqual(report["requests"], 300)
                self.assert_errors(report)
                self.assertEqual(self.counter("requests"), 300)
                # A worker counts what it has sent: the client may have it before.
                self.assertEqual(self.wait_counter("bytes_out", report["bytes_in"]), report["bytes_in"])
                self.assertEqual(report["bytes_out"], self.counter("bytes_in"))
                self.stop()

    def test_pipelined_requests_keep_their_order_and_their_count(self):
        self.serve('handler = "echo";')
        report = self.bench("-n", 5000, "-c", 5, "-P", 33, "--verify")
        self.assertEqual((report["requests"], report["failed"], report["pipeline"]), (5000, 0, 33))
        self.assertEqual(self.counter("requests"), 5000)

    def test_a_connection_per_request(self):
        self.serve('handler = "echo";')
        before = self.counter("accepted")
        report = self.bench("-n", 200, "-c", 5, "--new-connections", "--verify")
        self.assertEqual((report["requests"], report["failed"]), (200, 0))
        # One more is the first look at the server.
        self.assertEqual(self.counter("accepted") - before, 201)

    def test_datagrams_and_unix_sockets(self):
        path = os.path.join(self.dir, "echo")
        for transport, keys, where, words in (
                ("udp", "", {"H": self.addr, "p": self.port()}, ["-u"]),
                ("unix", 'path = "$dir/echo";', {"U": path}, []),
                ("unixgram", 'path = "$dir/echo";', {"U": path}, ["-u"])):
            with self.subTest(transport):
                self.serve('transport = "%s"; %s handler = "echo";' % (transport, keys))
                report = self.bench(*words, "-n", 500, "-c", 3, "-P", 2, "--verify", **where)
                self.assertEqual((report["requests"], report["failed"]), (500, 0))
                self.assertEqual(report["transport"], transport)
                self.stop()

    def test_large_messages_arrive_whole(self):
        self.serve('framing = "netstring"; handler = "echo"; max_request = "1m"; max_reply = "1m";')
        report = self.bench("-F", "netstring", "-n", 40, "-c", 4, "-P", 3, "--size", "1m", "--verify")
        self.assertEqual((report["requests"], report["failed"]), (40, 0))
        self.assertEqual(report["bytes_in"], 40 * ((1 << 20) + len("1048576:,")))

    def test_several_processes_are_one_load(self):
        self.serve('handler = "echo";')
        report = self.bench("-n", 1001, "-c", 7, "--processes", 3)
        self.assertEqual((report["requests"], report["failed"], report["processes"]), (1001, 0, 3))
        self.assertEqual(self.counter("requests"), 1001)

    def test_the_warm_up_is_not_counted(self):
        self.serve('handler = "echo";')
        report = self.bench("-n", 100, "-c", 2, "--warm-up", "100ms")
        self.assertEqual((report["requests"], report["failed"]), (100, 0))
        self.assertGreater(self.counter("requests"), 100)

    def test_a_duration_ends_it(self):
        self.serve('handler = "echo";')
        report = self.bench("-c", 2, "-d", "300ms", "--warm-up", 0)
        self.assertGreater(report["requests"], 0)
        self.assertGreaterEqual(report["seconds"], 0.3)

    def test_a_planned_rate_is_kept(self):
        self.serve('handler = "echo";')
        report = self.bench("-c", 10, "-R", 1000, "-d", "500ms", "--warm-up", 0)
        self.assertEqual((report["requests"], report["failed"]), (500, 0))

    def test_a_planned_rate_of_new_connections_is_kept(self):
        self.serve('handler = "echo";')
        before = self.counter("accepted")
        report = self.bench("-c", 10, "-R", 200, "-d", "500ms", "--warm-up", 0, "--new-connections", "--verify")
        self.assertEqual((report["requests"], report["failed"]), (100, 0))
        self.assertEqual(self.counter("accepted") - before, 101)

    def test_the_report_for_people_has_all_figures(self):
        self.serve('handler = "echo";')
        done = self.run_program("sockctl", "-H", self.addr, "-p", self.port(), "bench", "-n", 1000)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("requests/s", "MB/s", "0 failed", "min", "mean", "p50", "p90", "p99", "p99.9", "max", "###"):
            self.assertIn(word, done.stdout)

    def test_quantiles_and_histogram_agree_with_the_count(self):
        self.serve('handler = "echo";')
        report = self.bench("-n", 777)
        self.assertEqual(sum(row["count"] for row in report["histogram"]), 777)
        latency = report["latency_us"]
        order = [latency[k] for k in ("min", "p50", "p90", "p99", "p99_9", "max")]
        self.assertEqual(order, sorted(order))
        self.assertTrue(latency["min"] <= latency["mean"] <= latency["max"])


class FailureTest(BenchTest):
    def test_nobody_listens(self):
        done = self.run_program("sockctl", "-H", self.addr, "-p", self.port(), "bench", "-n", 10)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("cannot connect", done.stderr)

    def test_a_reply_that_is_not_the_request_fails_with_verify_alone(self):
        def shout(client):
            while data := client.recv(4096):
                client.sendall(data.upper())

        self.serve_with(shout)
        self.assert_errors(self.bench("-n", 20, "-c", 2))
        self.assert_errors(self.bench("-n", 20, "-c", 2, "--verify", status=1), mismatch=20)
        self.assert_errors(self.bench("-n", 20, "-c", 2, "--expect", "HI", "hi"))

    def test_a_server_that_ends_the_connection_instead(self):
        self.serve_with(lambda client: client.recv(4096))
        self.assert_errors(self.bench("-n", 6, "-c", 2, status=1), closed=6)

    def test_a_reply_cut_short_is_none(self):
        def cut(client):
            client.recv(4096)
            client.sendall(b"10:hell")

        self.serve_with(cut)
        self.assert_errors(self.bench("-F", "netstring", "-n", 4, "-c", 1, status=1), closed=4)

    def test_a_server_that_resets_the_connection(self):
        def reset(client):
            client.recv(4096)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        self.serve_with(reset)
        self.assert_errors(self.bench("-n", 6, "-c", 2, status=1), network=6)
        self.assert_errors(self.bench("-n", 6, "-c", 2, "--new-connections", status=1), network=6)

    def test_of_pipelined_requests_those_without_a_reply_fail(self):
        def answer_two(client):
            data = b""
            while data.count(b"\n") < 4:
                data += client.recv(4096)
            client.sendall(b"one\ntwo\n")

        self.serve_with(answer_two)
        report = self.bench("-n", 4, "-c", 1, "-P", 4, "--size", 8, status=1)
        self.assertEqual(report["requests"], 2)
        self.assert_errors(report, closed=2)

    def test_a_reply_that_nobody_asked_for(self):
        def babble(client):
            while client.recv(4096):
                client.sendall(b"one\ntwo\n")

        self.serve_with(babble)
        report = self.bench("-n", 4, "-c", 1, status=1)
        self.assertEqual(report["requests"], 4)
        self.assertGreater(report["errors"]["malformed"], 0)

    def test_a_datagram_with_other_bytes_is_not_the_reply(self):
        sock = self.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((self.addr, self.port()))
        sock.settimeout(TIMEOUT)

        def shout():
            for _ in range(10):
                data, peer = sock.recvfrom(4096)
                sock.sendto(data.upper(), peer)

        thread = threading.Thread(target=shout)
        thread.start()
        self.assert_errors(self.bench("-u", "-n", 10, "-c", 2, "--verify", status=1), mismatch=10)
        thread.join()

    def test_a_reply_that_breaks_the_framing(self):
        def babble(client):
            client.recv(4096)
            client.sendall(b"hello")
            client.recv(4096)

        self.serve_with(babble)
        self.assert_errors(self.bench("-F", "netstring", "-n", 4, "-c", 1, status=1), malformed=4)

    def test_a_server_that_is_silent(self):
        self.serve_with(lambda client: self.receive_all(client))
        self.assert_errors(self.bench("-w", "100ms", "-n", 4, "-c", 2, status=1), timeout=4)

    def test_a_lost_datagram_is_a_failed_request(self):
        sock = self.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((self.addr, self.port()))
        self.assert_errors(self.bench("-u", "-w", "100ms", "-n", 2, "-c", 2, status=1), timeout=2)

    def test_a_planned_rate_does_not_hide_a_stall(self):
        """The server answers each connection once in 250 ms; what was planned meanwhile waited."""
        paused = threading.Event()

        def stall(client):
            while data := client.recv(65536):
                paused.wait(0.25)
                client.sendall(data)

        self.serve_with(stall)
        closed = self.bench("-c", 1, "-d", "1s", "--warm-up", 0)
        planned = self.bench("-c", 1, "-P", 1000, "-R", 100, "-d", "1s", "--warm-up", 0)
        self.assertEqual(planned["requests"], 100)
        self.assertLessEqual(closed["requests"], 5)
        self.assertGreater(planned["latency_us"]["max"], 250000)
        self.assertGreater(planned["latency_us"]["max"], planned["latency_us"]["min"] + 100000)

    def test_what_is_never_answered_fails_also_when_planned(self):
        self.serve_with(lambda client: self.receive_all(client))
        report = self.bench("-c", 1, "-R", 100, "-d", "100ms", "--warm-up", 0, "-w", "200ms", status=1)
        self.assertEqual((report["requests"], report["failed"], report["errors"]["timeout"]), (0, 10, 10))

    def test_misuse_is_told(self):
        for words, why in ((["-P", 2, "--new-connections"], "-P means nothing"),
                           (["-F", "fixed:4", "12345"], "cannot carry"),
                           (["--size", 5, "hello"], "--size cannot stand"),
                           (["-u", "--new-connections"], "means nothing to datagrams"),
                           (["-c", 0], "no number of connections")):
            with self.subTest(words):
                done = self.run_program("sockctl", "bench", *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(why, done.stderr)


class TerminalTest(BenchTest):
    def run_on_terminal(self, *args):
        """Starts it with a terminal as standard error; returns the process and the terminal's other side."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen([os.path.join(BUILD, "sockctl"), "-H", self.addr, "-p", str(self.port()), "bench", *args],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True)
        os.close(theirs)
        return process, ours

    def test_progress_is_shown_on_a_terminal_and_an_interrupt_leads_to_the_report(self):
        self.serve('handler = "echo";')
        process, terminal = self.run_on_terminal("-c", "2", "-d", "1m", "--warm-up", "0")
        shown = b""
        until = time.monotonic() + TIMEOUT
        while b"requests/s" not in shown and time.monotonic() < until:
            shown += os.read(terminal, 4096)
        self.assertRegex(shown, rb"\r +\d+\.\d s +\d+ requests/s  0 failed")
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=TIMEOUT)[0]
        os.close(terminal)
        self.assertEqual(process.returncode, 0)
        self.assertIn("0 failed", out)


if __name__ == "__main__":
    sockdtest.main()
