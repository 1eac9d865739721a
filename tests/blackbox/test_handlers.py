"""The built-in handlers over every transport: echo (RFC 862), discard (RFC 863), daytime (RFC 867)."""
import re
import socket

import sockdtest
from sockdtest import SockdTest

DAYTIME = re.compile(rb"\w+day, \w+ \d\d, \d{4} \d\d:\d\d:\d\d-[\w+-]+")


class HandlersTest(SockdTest):
    def serve_all(self, handler, keys=""):
        """The service "inet" over TCP and UDP, "local" and "localgram" over Unix sockets."""
        self.start('workers = 1; handler = "%s"; %s services: {'
                   ' inet: { transport = [ "tcp", "udp" ]; host = "$addr"; port = $port; };'
                   ' local: { transport = "unix"; path = "$dir/s"; };'
                   ' localgram: { transport = "unixgram"; path = "$dir/g"; };'
                   " };" % (handler, keys))

    def streams(self):
        return self.connect(), self.unix("s")

    def datagram_sockets(self):
        local = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        local.bind(self.dir + "/client")
        local.connect(self.dir + "/g")
        return self.udp(), local

    def test_echo_answers_each_request_with_itself(self):
        self.serve_all("echo")
        for client in self.streams():
            for line in b"hello\n", b"\n", b"\0\xff\n":
                client.sendall(line)
                self.assertEqual(self.receive(client, len(line)), line)
        for client in self.datagram_sockets():
            for datagram in b"hello\n", b"\0", b"x" * 9000:
                client.send(datagram)
                self.assertEqual(client.recv(65536), datagram)

    def test_discard_answers_nothing_and_reads_on(self):
        self.serve_all("discard")
        for client in self.streams():
            client.sendall(b"hello\n" * 100000)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(self.receive_all(client), b"")
        for client in self.datagram_sockets():
            client.send(b"hello")
        for service, requests in ("inet", 100001), ("local", 100000), ("localgram", 1):
            self.wait_counter("silences", requests, service)
            self.assertEqual(self.counter("replies", service), 0)
            self.assertEqual(self.counter("bytes_out", service), 0)
            self.assertEqual(self.counter("datagrams_out", service), 0)

    def test_daytime_speaks_first_and_ends(self):
        self.serve_all("daytime", "max_reply_ratio = 100;")
        for client in self.streams():
            self.assertRegex(self.receive_all(client), rb"^%s\r\n$" % DAYTIME.pattern)
        for client in self.datagram_sockets():
            client.send(b"?")
            self.assertRegex(client.recv(100), rb"^%s$" % DAYTIME.pattern)

    def test_daytime_is_told_also_to_who_has_said_something_or_ended_his_side(self):
        self.serve_all("daytime", "max_reply_ratio = 100;")
        for client in self.streams():
            client.sendall(b"what time is it?\n")
            client.shutdown(socket.SHUT_WR)
            self.assertRegex(self.receive_all(client), rb"^%s\r\n$" % DAYTIME.pattern)

    def test_daytime_in_another_framing(self):
        self.serve('handler = "daytime"; framing = "netstring";')
        self.assertRegex(self.receive_all(self.connect()), rb"^\d+:%s,$" % DAYTIME.pattern)

    def test_daytime_is_no_amplifier_by_default(self):
        self.expect_log("max_reply_ratio: is 1, and only a datagram as long as the date")
        self.serve('transport = "udp"; handler = "daytime";')
        client = self.udp()
        client.send(b"?")
        client.send(b"?" * 100)
        self.assertRegex(client.recv(200), DAYTIME)
        self.assertEqual(self.counter("datagrams_ratio"), 1)
        self.wait_counter("datagrams_out", 1)
        self.wait_log("warning: .*max_reply_ratio: is 1")


if __name__ == "__main__":
    sockdtest.main()
