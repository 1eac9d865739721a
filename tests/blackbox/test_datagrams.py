"""Datagrams, and what they are abused for: rows F1 to F11 of the catalogue of faults, and the keys of UDP.

Not tested here: of F5 a flood of 500,000 packets a second, which this client cannot send; of F9 fragments and
offloading, which are the kernel's. What one wake-up may take (F5), a zero checksum (F9) and senders that no socket can
have (F3) are in tests/unit/test_dgram.c and test_addr.c, the drops of the kernel in test_steer.py.
"""
import json
import os
import re
import signal
import socket
import threading
import time

import sockdtest
from netns import NamespaceTest, udp_packet
from sockdtest import ROOT, SLOW, SockdTest


class Datagrams:
    def ask(self, client, data=b"hello"):
        client.send(data)
        self.assertEqual(client.recv(65536), data)

    def assert_silence(self, client):
        """Nothing came, when the daemon has seen all: a counter proves that, or another client who was answered."""
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.recv(1)
        client.settimeout(sockdtest.TIMEOUT)

    def unixgram(self, name, path="s"):
        sock = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        if name:
            sock.bind(os.path.join(self.dir, name))
        sock.connect(os.path.join(self.dir, path))
        return sock


class DatagramTest(Datagrams, SockdTest):
    def test_many_clients_each_get_their_own(self):
        self.serve('transport = "udp"; handler = "echo";', top="workers = 2;")
        clients = [self.udp() for _ in range(50)]
        for _ in range(5):
            for n, client in enumerate(clients):
                client.send(b"client %d" % n)
            for n, client in enumerate(clients):
                self.assertEqual(client.recv(100), b"client %d" % n)
        self.assertEqual(self.counter("datagrams_in"), 250)
        self.wait_counter("datagrams_out", 250)

    def test_one_service_over_udp_and_tcp(self):
        self.serve('transport = [ "udp", "tcp" ]; framing = "length:u16be"; handler = "echo";')
        self.ask(self.udp(), b"plain")
        self.assertEqual(self.converse(b"\0\5plain"), b"\0\5plain")

    def test_F2_low_ports_and_port_0_are_dropped(self):
        if os.geteuid() != 0:
            self.skipTest("only root has low ports")
        self.serve('transport = "udp"; handler = "echo";', top="workers = 1;")
        low = self.udp(source=(self.addr, 1000))
        low.send(b"from below")
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(udp_packet((self.addr, 0), (self.addr, self.port()), b"from nowhere"), (self.addr, 0))
        self.ask(self.udp())
        self.assert_silence(low)
        self.assertEqual(self.counter("datagrams_bad_sender"), 2)
        self.stop()
        self.serve('transport = "udp"; handler = "echo"; low_ports = true;', top="workers = 1;")
        self.ask(self.udp(source=(self.addr, 1001)))

    def test_F2_our_own_ports_are_never_answered(self):
        """Of any service of ours, whatever the address: two services could talk to each other for ever."""
        self.start('workers = 1; host = "$addr"; transport = "udp"; handler = "echo"; low_ports = true;'
                   " services: { echo: { port = $port; }; other: { port = $port1; }; };")
        own = self.udp(source=("127.9.9.9", self.port()))
        other = self.udp(source=("127.9.9.9", self.port(1)))
        for client in own, other:
            client.send(b"reply to yourself")
        self.ask(self.udp())
        for client in own, other:
            self.assert_silence(client)
        self.assertEqual(self.counter("datagrams_bad_sender"), 2)

    def test_a_single_byte_gets_the_date_with_the_ratio_of_the_manual(self):
        with open(os.path.join(ROOT, "etc/sockd.conf.5")) as f:
            ratio, = re.findall(r"(?m)^max_reply_ratio = (\d+);", f.read())
        self.assertGreaterEqual(int(ratio), len("Wednesday, September 30, 2026 23:59:59-+0530"))
        self.serve('transport = "udp"; handler = "daytime"; max_reply_ratio = %s;' % ratio)
        client = self.udp()
        client.send(b"x")
        self.assertRegex(client.recv(100), rb"^\w+day, \w+ \d")

    def test_F4_a_reply_is_no_longer_than_max_reply_ratio_allows(self):
        for ratio, replies in (1, [False, True]), (30, [True, True]), (0, [True, True]):
            with self.subTest(ratio):
                if ratio == 0:
                    self.expect_log("lets anybody turn the service into an amplifier")
                self.serve('transport = "udp"; handler = "daytime"; max_reply_ratio = %d;' % ratio, top="workers = 1;")
                client = self.udp()
                client.send(b"??")
                client.send(b"?" * 70)
                for _ in range(replies.count(True)):
                    self.assertIn(b"day, ", client.recv(100))
                self.assert_silence(client)
                self.assertEqual(self.counter("datagrams_ratio"), replies.count(False))
                self.stop()
        self.wait_log("warning: .*max_reply_ratio.*amplifier")

    def test_F5_a_flood_of_datagrams_does_not_hold_up_streams(self):
        self.expect_log("datagrams come faster than they are read, for ")  # where it lasts for 5 s
        self.serve('transport = [ "udp", "tcp" ]; handler = "echo";', top="workers = 1;")
        done, flood = threading.Event(), self.udp()

        def send():
            while not done.is_set():
                for _ in range(100):
                    try:
                        flood.send(b"x" * 200)
                    except OSError:
                        pass

        thread = threading.Thread(target=send)
        thread.start()
        try:
            self.wait_counter("datagrams_in", 1000)
            client, times = self.connect(), []
            for _ in range(50):
                began = time.monotonic()
                client.sendall(b"ping\n")
                self.assertEqual(self.receive(client, 5), b"ping\n")
                times.append(time.monotonic() - began)
        finally:
            done.set()
            thread.join()
        self.assertLess(sorted(times)[25], 0.05 * SLOW)

    def test_F6_an_error_is_never_answered(self):
        self.serve('transport = [ "udp", "tcp" ]; handler = "echo"; max_request = 10; max_reply = 5;'
                   ' error_reply = "sorry";', top="workers = 1;")
        client = self.udp()
        client.send(b"x" * 11)  # too long
        client.send(b"x" * 6)   # its reply would be
        self.ask(self.udp())
        self.assert_silence(client)
        self.assertEqual(self.counter("datagrams_too_long"), 1)
        self.assertEqual(self.counter("failed_reply"), 1)
        self.wait_log("a reply of 6 bytes is over max_reply$")
        self.assertEqual(self.converse(b"x" * 11), b"sorry\n")

    def test_F7_a_reply_leaves_from_the_address_that_was_asked(self):
        self.serve('transport = "udp"; host = "*"; handler = "echo";', top="workers = 1;")
        clients = [self.udp(addr=addr) for addr in ("127.0.0.1", "127.9.9.9", self.addr, "::1")]
        for client in clients:  # connected: a reply from elsewhere would not reach them
            self.ask(client)
        self.stop_process(self.pids()[0])  # and all in one batch
        for n, client in enumerate(clients):
            client.send(b"%d" % n)
        os.kill(self.pids()[0], signal.SIGCONT)
        for n, client in enumerate(clients):
            self.assertEqual(client.recv(10), b"%d" % n)

    def test_F8_an_unreachable_sender_costs_the_next_client_nothing(self):
        self.serve('transport = "udp"; handler = "echo";', top="workers = 1;")
        client = self.udp()
        for _ in range(20):
            gone = self.udp()
            gone.send(b"who is gone before the reply comes")
            gone.close()
            self.ask(client)
        self.assertEqual(self.counter("requests"), 40)

    def test_F9_a_truncated_datagram_is_no_message(self):
        self.serve('transport = "unixgram"; path = "$dir/s"; handler = "echo"; max_request = "1m"; max_reply = "1m";',
                   top="workers = 1;")
        client = self.unixgram("c")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.send(b"x" * 65537)
        self.ask(client, b"y" * 60000)
        self.assertEqual(self.counter("datagrams_too_long"), 1)
        self.assertEqual(self.counter("requests"), 1)

    def test_F10_a_unix_peer_that_does_not_read_is_not_waited_for(self):
        self.serve('transport = "unixgram"; path = "$dir/s"; handler = "echo";', top="workers = 1;")
        silent, other = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)), self.unixgram("other")
        silent.bind(os.path.join(self.dir, "silent"))
        for n in range(2000):
            silent.sendto(b"x" * 1000, os.path.join(self.dir, "s"))
            if n % 100 == 0:
                self.ask(other)
        self.assertGreater(self.counter("datagrams_unsent"), 1000)

    def test_F10_a_connected_unix_peer_that_does_not_read_costs_other_services_nothing(self):
        """For it the kernel has no limit but our own send buffer, so meanwhile this service's replies are dropped."""
        self.serve('transport = [ "unixgram", "tcp" ]; path = "$dir/s"; host = "$addr"; port = $port; handler = "echo";',
                   top="workers = 1;")
        silent, other = self.unixgram("silent"), self.unixgram("other")
        for n in range(1000):
            silent.send(b"x" * 1000)
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")
        self.wait_counter("datagrams_unsent", 100)
        silent.close()
        self.ask(other)

    def test_F10_a_nameless_unix_peer_gets_no_reply(self):
        self.serve('transport = "unixgram"; path = "$dir/s"; handler = "echo";', top="workers = 1;")
        self.unixgram(None).send(b"hello")
        self.ask(self.unixgram("c"))
        self.assertEqual(self.counter("datagrams_unsent"), 1)

    def test_a_unixgram_in_the_abstract_name_space(self):
        self.serve('transport = "unixgram"; path = "@sockdtest-$port"; handler = "echo";')
        client = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        client.bind("\0sockdtest-%d-client" % self.port())
        client.connect("\0sockdtest-%d" % self.port())
        self.ask(client)

    def test_F11_queued_datagrams_survive_their_worker(self):
        self.serve('transport = "udp"; handler = "echo";', top="workers = 1;")
        self.ask(self.udp())  # it has worked, so it is replaced at once
        self.expect_log("was ended by signal 9")
        worker, client = self.pids()[0], self.udp()
        self.stop_process(worker)
        for n in range(10):
            client.send(b"%d" % n)
        os.kill(worker, signal.SIGKILL)
        self.assertEqual([client.recv(10) for _ in range(10)], [b"%d" % n for n in range(10)])

    def test_allow_and_deny(self):
        self.serve('transport = "udp"; handler = "echo"; allow = "127.9.0.0/16"; deny = "127.9.9.0/24";',
                   top="workers = 1;")
        denied = self.udp(source="127.9.9.9"), self.udp(source="127.8.0.1")
        for client in denied:
            client.send(b"please")
        self.ask(self.udp(source="127.9.1.1"))
        for client in denied:
            self.assert_silence(client)
        self.assertEqual(self.counter("refused_denied"), 2)

    def test_loopback_has_no_rate(self):
        self.serve('transport = "udp"; handler = "echo"; max_datagrams_per_source = 5;')
        client = self.udp()
        for _ in range(50):
            self.ask(client)

    def test_requests_are_logged(self):
        self.serve('transport = "udp"; handler = "echo"; log = "requests";')
        client = self.udp()
        self.ask(client)
        self.wait_log(r"echo: %s:%d: datagram of 5 bytes, reply of 5$" % client.getsockname())


class NamespaceDatagramTest(Datagrams, NamespaceTest):
    def serve_at(self, addr, keys="", port=0):
        return self.start(self.service('host = "%s"; port = %d; transport = "udp"; handler = "echo"; %s'
                                       % (addr, self.port(port), keys), "workers = 1;"))

    def test_max_datagrams_per_source_drops_what_is_over_it(self):
        self.new_namespace()
        for addr in "192.0.2.1", "192.0.2.2":
            self.ip("addr", "add", addr + "/24", "dev", "lo")
        self.serve_at("192.0.2.1", "max_datagrams_per_source = 10;")
        greedy, other = self.udp(addr="192.0.2.1"), self.udp(addr="192.0.2.1", source="192.0.2.2")
        began = time.monotonic()
        for _ in range(50):
            greedy.send(b"x")
        self.ask(other)
        refused = self.counter("refused_source")
        self.assertGreaterEqual(refused, 50 - 10 * self.seconds_since(began))
        self.assertLessEqual(refused, 50 - 10)
        for _ in range(self.counter("requests") - 1):
            self.assertEqual(greedy.recv(10), b"x")
        self.assert_silence(greedy)

    def seconds_since(self, began):
        """How many seconds of the daemon's clock have begun: each has a rate of its own."""
        return int(time.monotonic() - began) + 2

    def loop_between(self, one_port, other_port):
        """Two echo services on two machines, and a packet to one that says it came from the other; returns their control
        sockets."""
        one, other = self.new_namespace(), self.new_namespace()
        self.join(one, other, "192.0.2.1/24", "192.0.2.2/24")
        self.enter(one)
        first = self.serve_at("192.0.2.1", port=one_port)
        text = self.write("second.conf", self.service('host = "192.0.2.2"; port = %d; transport = "udp"; handler = "echo";'
                                                      % self.port(other_port), "workers = 1;"))
        self.enter(other)
        second_dir = os.path.join(self.dir, "second")
        os.mkdir(second_dir)
        second = sockdtest.Daemon([os.path.join(sockdtest.BUILD, "sockd"), "-f", text, "--control",
                                   os.path.join(second_dir, "control.sock")], second_dir, {})
        second.fd_baseline = {}
        self.daemons.append(second)
        second.wait_notify("^READY=1$")
        self.ask(self.udp(addr="192.0.2.1", port=self.port(one_port)))  # now each knows where the other lives
        self.send_raw(udp_packet(("192.0.2.2", self.port(other_port)), ("192.0.2.1", self.port(one_port)), b"loop",
                                 with_checksum=True), "192.0.2.1")
        self.enter(one)
        self.sockd = first
        return first.control, second.control

    def test_F1_a_loop_between_two_daemons_dies_of_the_rate(self):
        began = time.monotonic()
        controls = self.loop_between(0, 1)

        def refused(control):
            return json.loads(self.ctl("status", "--json", control=control).stdout)["services"]["echo"]["refused_source"]

        self.wait_for(lambda: any(map(refused, controls)), what="the rate to be over")
        count = self.counter("datagrams_in")
        self.assertEqual(sum(map(refused, controls)), 1)  # there is but one datagram
        self.assertGreater(count, 64 - 2)
        self.assertLessEqual(count, 64 * self.seconds_since(began) + 2)

    def test_F1_a_loop_between_two_daemons_on_one_port_dies_at_once(self):
        self.loop_between(0, 0)
        self.wait_counter("datagrams_bad_sender", 1)
        self.assertEqual(self.counter("datagrams_in"), 2)

    def test_F3_impossible_sources_are_not_answered(self):
        """Some the kernel drops itself, and to some it would send nothing; all that counts is that nothing leaves."""
        one, other = self.new_namespace(), self.new_namespace()
        self.join(one, other, "192.0.2.1/24", "192.0.2.2/24")
        self.enter(one)
        self.serve_at("*")
        self.enter(other)
        honest = self.udp(addr="192.0.2.1")
        self.ask(honest)
        for source in ("224.0.0.1", "255.255.255.255", "192.0.2.255", "0.0.0.0", "0.1.2.3", "127.0.0.1", "240.0.0.1",
                       "192.0.2.1"):
            self.send_raw(udp_packet((source, 4000), ("192.0.2.1", self.port()), b"lie", with_checksum=True),
                          "192.0.2.1")
        self.ask(honest)
        self.enter(one)
        self.wait_counter("datagrams_out", 2)
        self.assertEqual(self.counter("datagrams_out"), 2)


if __name__ == "__main__":
    sockdtest.main()
