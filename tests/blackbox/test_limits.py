"""Limits and timeouts of streams, counted over all workers; who is let in; what is logged of a service.

request_timeout under a trickle, idle_timeout before the first byte and send_timeout of a silent client stand with their
rows of the catalogue (D2, D3, D4) in test_streams.py, the keys of datagrams in test_datagrams.py, what max_request does
in each framing in test_framing.py.
"""
import contextlib
import os
import re
import signal
import socket
import struct
import threading
import time

import sockdtest
from netns import NamespaceTest
from sockdtest import SLOW, SockdTest


class Limits:
    def ask(self, client, line=b"hello\n"):
        """A request that is answered: the connection was accepted."""
        client.sendall(line)
        self.assertEqual(self.receive(client, len(line)), line)
        return client

    def assert_waits(self, client):
        """Nothing was done about it, when the daemon has done all else: status is asked, and every worker waits."""
        self.counter("connections")
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.recv(1)
        client.settimeout(sockdtest.TIMEOUT)

    def assert_refused(self, client, words=b""):
        self.assertEqual(self.receive_all(client), words)

    def cpu_seconds(self, pid):
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class ConnectionLimitsTest(Limits, SockdTest):
    def test_max_connections_wait_in_the_backlog_over_all_workers(self):
        self.serve('handler = "echo"; max_connections = 3;', top="workers = 2;")
        clients = [self.ask(self.connect()) for _ in range(3)]
        late = [self.connect() for _ in range(2)]
        for client in late:
            client.sendall(b"late\n")
            self.assert_waits(client)
        self.assertEqual(self.counter("connections"), 3)
        for n in range(2):
            clients[n].close()
            self.assertEqual(self.receive(late[n], 5), b"late\n")
        self.assertEqual(self.counter("accepted"), 5)

    def test_overload_refuse_says_so_and_serves_again_when_there_is_room(self):
        self.serve(r'handler = "echo"; max_connections = 2; overload = "refuse"; overload_reply = "busy\\r\\n";',
                   top="workers = 2;")
        clients = [self.ask(self.connect()) for _ in range(2)]
        for _ in range(5):
            self.assert_refused(self.connect(), b"busy\r\n")
        self.assertEqual(self.counter("refused_limit"), 5)
        self.assertEqual(self.counter("connections"), 2)
        clients[0].close()
        self.wait_counter("connections", lambda n: n == 1)
        self.ask(self.connect())

    def test_refusal_without_words_is_an_end_and_hears_the_client_out(self):
        self.serve('handler = "echo"; max_connections = 1; overload = "refuse";')
        self.ask(self.connect())
        self.assert_refused(self.connect())

    def test_the_words_of_a_refusal_survive_what_the_client_said_first(self):
        self.serve('handler = "echo"; max_connections = 1; overload = "refuse"; overload_reply = "busy";',
                   top="workers = 1;")
        self.ask(self.connect())
        worker = self.pids()[0]
        self.stop_process(worker)
        client = self.connect()
        client.sendall(b"x" * 20000)
        os.kill(worker, signal.SIGCONT)
        self.assert_refused(client, b"busy")

    def test_max_connections_per_source_refuses_that_source_alone(self):
        self.serve('handler = "echo"; max_connections_per_source = 2; overload_reply = "yours are too many";',
                   top="workers = 2;")
        greedy = [self.ask(self.connect(source="127.9.9.1")) for _ in range(2)]
        for _ in range(5):
            self.assert_refused(self.connect(source="127.9.9.1"), b"yours are too many")
            self.ask(self.connect(source="127.9.9.2")).close()
        self.assertEqual(self.counter("refused_source"), 5)
        greedy[0].close()
        self.wait_counter("connections", lambda n: n == 1)
        self.ask(self.connect(source="127.9.9.1"))
        self.assert_refused(self.connect(source="127.9.9.1"), b"yours are too many")

    def test_C16_a_connection_that_cannot_be_kept_is_not_counted_for_its_source(self):
        self.serve('handler = "echo"; max_connections_per_source = 2;', top="workers = 1;")
        with self.strace(self.pids()[0], "trace=epoll_ctl", "inject=epoll_ctl:error=ENOSPC:when=1..4"):
            for _ in range(4):
                self.assertEqual(self.receive_all(self.connect()), b"")
        self.ask(self.connect())
        self.ask(self.connect())
        self.assert_refused(self.connect())
        self.assertEqual(self.counter("refused_source"), 1)

    def test_a_source_on_a_unix_socket_is_a_uid(self):
        if os.geteuid() != 0:
            self.skipTest("only root can be two users")
        self.serve('transport = "unix"; path = "@sockdtest-$port"; handler = "echo"; max_connections_per_source = 1;')
        path = "@sockdtest-%d" % self.port()
        self.ask(self.unix(path))
        self.assert_refused(self.unix(path))
        os.seteuid(65534)
        try:
            self.ask(self.unix(path))
            self.assert_refused(self.unix(path))
        finally:
            os.seteuid(0)

    def test_max_connection_rate_pauses_and_never_refuses(self):
        for overload in "wait", "refuse":
            with self.subTest(overload):
                self.serve('handler = "echo"; max_connection_rate = 10; overload = "%s";' % overload, top="workers = 2;")
                began = time.monotonic()
                clients = [self.connect() for _ in range(15)]
                for client in clients:
                    client.sendall(b"hello\n")
                for client in clients[:8]:
                    self.assertEqual(self.receive(client, 6), b"hello\n")
                accepted = self.counter("accepted")
                # Two workers may take one each in one instant.
                self.assertLessEqual(accepted, 11 + 10 * (time.monotonic() - began))
                for client in clients[8:]:
                    self.assertEqual(self.receive(client, 6), b"hello\n")
                self.assertGreater(time.monotonic() - began, 0.3)
                self.assertEqual(self.counter("refused_limit"), 0)
                self.stop()

    def test_max_requests_per_connection_closes_politely(self):
        self.serve('handler = "echo"; max_requests_per_connection = 2;')
        self.assertEqual(self.converse(b"one\ntwo\nthree\n"), b"one\ntwo\n")
        client = self.ask(self.ask(self.connect()))
        self.assert_refused(client)
        self.assertEqual(self.converse(b"one\n"), b"one\n")
        self.assertEqual(self.counter("requests"), 5)

    def test_max_reply(self):
        self.serve('handler = "echo"; max_reply = 5; error_reply = "sorry";')
        self.assertEqual(self.converse(b"12345\n123456\n1\n"), b"12345\nsorry\n1\n")
        self.wait_log("a reply of 6 bytes is over max_reply$")
        self.stop()
        self.serve('handler = "echo"; max_reply = 5;')
        self.assertEqual(self.converse(b"12345\n123456\n1\n"), b"12345\n")
        self.assertEqual(self.counter("failed_reply"), 1)


class TimeoutsTest(Limits, SockdTest):
    def pace(self, client, seconds):
        """Gives the daemon time to end the connection wrongly; True when it did not."""
        client.settimeout(seconds)
        try:
            return client.recv(1, socket.MSG_PEEK) != b""
        except TimeoutError:
            return True
        finally:
            client.settimeout(sockdtest.TIMEOUT)

    def assert_ended_about(self, wanted, began):
        """After WANTED seconds. BEGAN: before what made the daemon's clock start."""
        seconds = time.monotonic() - began
        self.assertGreater(seconds, wanted - 0.05)
        self.assertLess(seconds, wanted + 2 * SLOW)

    def test_idle_timeout_counts_from_the_last_request(self):
        self.serve('handler = "echo"; idle_timeout = "2s"; request_timeout = "10s";')
        client = self.connect()
        for _ in range(5):
            self.ask(client)
            self.assertTrue(self.pace(client, 0.5))
        began = time.monotonic()
        self.ask(client)
        self.assertEqual(self.receive_all(client), b"")
        self.assert_ended_about(2, began)
        self.wait_counter("ended_idle", 1)

    def test_request_timeout_ends_an_unfinished_request_and_no_idle_client(self):
        self.serve('handler = "echo"; request_timeout = "200ms";')
        idle, half = self.connect(), self.connect()
        self.ask(half)
        began = time.monotonic()
        half.sendall(b"half")
        self.assertEqual(self.receive_all(half), b"")
        self.assert_ended_about(0.2, began)
        self.wait_counter("ended_request", 1)
        self.ask(idle)

    def test_session_timeout_ends_busy_clients_too(self):
        self.serve('handler = "echo"; session_timeout = "300ms";')
        began = time.monotonic()
        client = self.connect()
        with contextlib.suppress(ConnectionError):  # a request may cross its end
            while self.pace(client, 0.02):
                client.sendall(b"x\n")
                if self.receive(client, 2) != b"x\n":
                    break
        self.assert_ended_about(0.3, began)
        self.wait_counter("ended_session", 1)

    def test_send_timeout_spares_a_client_that_takes_little_at_a_time(self):
        self.serve('handler = "echo"; framing = "close"; max_request = "16m"; max_reply = "16m"; send_timeout = "2s";')
        client = self.connect()
        client.sendall(b"x" * (12 << 20))
        client.shutdown(socket.SHUT_WR)
        got = 0
        for _ in range(24):
            got += len(self.receive(client, 50000))
            self.let_pass(0.1, "what it does not take")
        self.assertEqual(self.counter("ended_send"), 0)
        self.assertEqual(got + len(self.receive_all(client)), 12 << 20)

    def test_timeouts_of_0_never_come(self):
        self.serve('handler = "echo"; idle_timeout = 0; request_timeout = 0; send_timeout = 0; session_timeout = 0;')
        client = self.connect()
        client.sendall(b"half")
        self.assertTrue(self.pace(client, 0.1))
        client.sendall(b"\n")
        self.assertEqual(self.receive(client, 5), b"half\n")


class AccessTest(Limits, SockdTest):
    def check(self, keys, served=(), refused=(), **options):
        self.serve('handler = "echo"; ' + keys, **options)
        for source in served:
            with self.subTest(keys, served=source):
                self.ask(self.connect(source=source))
        for source in refused:
            with self.subTest(keys, refused=source):
                self.assert_refused(self.connect(source=source))
        self.assertEqual(self.counter("refused_denied"), len(refused))
        self.stop()

    def test_deny_refuses_and_allow_refuses_all_others(self):
        self.check('deny = [ "127.9.1.0/24", "127.9.2.1" ];', ["127.9.0.1", "127.9.2.2"], ["127.9.1.9", "127.9.2.1"])
        self.check('allow = [ "127.9.1.0/24" ];', ["127.9.1.1"], ["127.9.2.1"])
        self.check('allow = "127.9.0.0/16"; deny = "127.9.9.0/24";', ["127.9.1.1"], ["127.9.9.1", "127.8.1.1"])

    def test_a_mapped_network_is_an_IPv4_network(self):
        self.check('deny = [ "::ffff:127.9.1.0/120" ];', ["127.9.2.1"], ["127.9.1.1"])
        self.check('allow = [ "::ffff:127.9.1.1" ];', ["127.9.1.1"], ["127.9.1.2"])

    def test_IPv6(self):
        self.serve('handler = "echo"; host = [ "::1", "$addr" ]; deny = [ "::1" ];')
        self.assert_refused(self.connect(addr="::1"))
        self.ask(self.connect())

    def test_networks_say_nothing_of_unix_peers(self):
        self.serve('transport = [ "tcp", "unix" ]; host = "$addr"; port = $port; path = "$dir/s"; handler = "echo";'
                   ' allow = "127.9.9.9";')
        self.ask(self.unix("s"))
        self.assert_refused(self.connect())


class ServiceLogTest(Limits, SockdTest):
    def lines(self, level):
        """What is logged at LEVEL of a connection with two requests, and of a bad one."""
        self.serve('handler = "echo"; max_request = 10; log = "%s";' % level)
        client = self.ask(self.ask(self.connect()), b"again\n")
        peer = "%s:%d" % client.getsockname()
        client.close()
        bad = self.connect()
        bad_peer = "%s:%d" % bad.getsockname()
        bad.sendall(b"x" * 11)
        self.assert_refused(bad)
        bad.close()
        self.wait_counter("connections", lambda n: n == 0)
        self.stop()
        log = [line.partition("] echo: ")[2] for line in self.sockd.log if "] echo: " in line]
        return [line.replace(peer, "PEER").replace(bad_peer, "BAD") for line in log]

    def test_log_none(self):
        self.assertEqual(self.lines("none"), [])

    def test_log_errors(self):
        lines = self.lines("errors")
        self.assertEqual(len(lines), 1)
        self.assertRegex(lines[0], "^BAD: closed: message over max_request; 0 requests, 11 bytes in, 0 out, ")

    def test_log_connections(self):
        lines = sorted(self.lines("connections"))
        self.assertEqual(len(lines), 4)
        self.assertRegex(lines[0], "^BAD: closed: message over max_request")
        self.assertEqual(lines[1], "BAD: connected")
        self.assertRegex(lines[2], "^PEER: closed: the client ended it; 2 requests, 12 bytes in, 12 out, ")
        self.assertEqual(lines[3], "PEER: connected")

    def test_log_requests(self):
        lines = self.lines("requests")
        self.assertEqual(len(lines), 6)
        self.assertIn("PEER: request of 5 bytes, reply of 5", lines)

    def test_log_level_hides_what_is_less_urgent(self):
        for level, told in ("info", True), ("notice", False), ("error", False):
            with self.subTest(level):
                self.serve('handler = "echo"; log = "connections";', top='log_level = "%s";' % level)
                self.converse(b"hello\n")
                self.wait_counter("connections", lambda n: n == 0)
                self.stop()
                self.assertEqual(any("connected" in line for line in self.sockd.log), told)

    def test_refusals_are_told_with_their_reason(self):
        self.serve('handler = "echo"; max_connections = 1; overload = "refuse"; deny = "127.9.9.9";')
        self.ask(self.connect())
        self.assert_refused(self.connect())
        self.assert_refused(self.connect(source="127.9.9.9"))
        self.wait_log(r"echo: 127\.0\.0\.1:\d+: refused: max_connections$")
        self.wait_log(r"echo: 127\.9\.9\.9:\d+: refused: not in allow, or in deny$")


class MemoryTest(Limits, SockdTest):
    def reset(self, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def fill(self, n, connect=None):
        """Clients that each have sent a long request, or as much of it as is read."""
        def send(client):
            client.settimeout(1)
            with contextlib.suppress(OSError):  # it is read no more, or ended
                client.sendall(b"x" * 200000)
            client.settimeout(sockdtest.TIMEOUT)

        clients = [(connect or self.connect)() for _ in range(n)]
        threads = [threading.Thread(target=send, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return clients

    def test_C8_max_memory_bounds_the_buffers_and_ends_the_largest(self):
        self.expect_log("max_memory .* reached: .* for ")  # where it lasts for 5 s
        self.serve('handler = "echo"; max_request = "256k";', top='workers = 1; max_memory = "1m";')
        worker = self.pids()[0]
        before = self.resident(worker)
        clients = self.fill(12)
        small = self.connect()
        for _ in range(100):
            self.ask(small)
        self.wait_counter("ended_memory", 1)
        self.ask(small)
        self.assertLess(self.resident(worker) - before, 4 << 20 if SLOW == 1 else 40 << 20)
        ended = self.counter("ended_memory")
        self.assertLess(ended, 12)
        self.assertEqual(self.pids(), [worker])
        for client in clients:
            self.reset(client)
        self.wait_counter("connections", lambda n: n == 1)
        self.assertEqual(self.converse(b"y" * 200000), b"y" * 200000)

    def resident(self, pid):
        with open("/proc/%d/status" % pid) as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) * 1024

    def test_C8_small_requests_are_served_while_memory_is_short(self):
        self.expect_log("max_memory .* reached: .* for ")
        self.serve('handler = "echo"; max_request = "256k"; request_timeout = "30s";',
                   top='workers = 1; max_memory = "1m";')
        clients = self.fill(12)
        for _ in range(20):
            self.assertEqual(self.converse(b"one\ntwo\n"), b"one\ntwo\n")
        for client in clients:
            self.reset(client)

    def test_C9_a_client_that_takes_nothing_costs_no_processor_when_memory_is_free_again(self):
        """Its replies are long, so they do not all leave while its requests are still looked at in the kernel."""
        self.expect_log("max_memory .* reached: .* for ")
        self.serve('transport = "unix"; path = "$dir/s"; handler = "echo"; max_request = "256k"; max_reply = 1;'
                   ' error_reply = "%s"; log = "none";' % ("z" * 200), top='workers = 1; max_memory = "1m";')
        worker = self.pids()[0]
        clients = self.fill(12, lambda: self.unix("s"))
        silent = self.unix("s")
        silent.sendall(b"ab\n" * 20000)
        self.wait_counter("failed_reply", 1)
        for client in clients:
            client.close()
        self.wait_counter("connections", lambda n: n == 1)
        self.let_pass(0.15 * SLOW, "the timer that looks after memory")
        before = self.cpu_seconds(worker)
        self.let_pass(0.2, "what it would burn")
        self.assertLess(self.cpu_seconds(worker) - before, 0.1)
        self.assertEqual(self.receive(silent, 201 * 20000), (b"z" * 200 + b"\n") * 20000)


class NamespaceLimitsTest(Limits, NamespaceTest):
    def test_an_IPv6_source_is_a_64_bit_network(self):
        self.new_namespace()
        for addr in "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1":
            self.ip("-6", "addr", "add", addr + "/64", "dev", "lo", "nodad")
        self.serve('host = "::"; handler = "echo"; max_connections_per_source = 1;', top="workers = 2;")
        self.ask(self.connect(addr="2001:db8:0:1::1", source="2001:db8:0:1::1"))
        self.assert_refused(self.connect(addr="2001:db8:0:1::1", source="2001:db8:0:1:ffff::2"))
        self.ask(self.connect(addr="2001:db8:0:1::1", source="2001:db8:0:2::1"))
        self.assertEqual(self.counter("refused_source"), 1)


if __name__ == "__main__":
    sockdtest.main()
