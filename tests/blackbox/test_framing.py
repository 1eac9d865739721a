"""All framings over real sockets, with everything that section E of the catalogue of faults can say in each.

A row is a framing with max_request = 64, what a client sends, and what it gets from echo. A good row is followed by the
client's end of input; behind a bad one the client only waits, so that the end is the daemon's doing. Each row is
sent whole and byte by byte, and bad ones also behind a good message, whose reply must come first.

Not here: the penalty for a source, which sockd does not have; and work that is linear in the input, which
tests/fuzz/fuzz_frame.c holds. Of what section E wants fuzzed the environment of sd_listen_fds has no target, since its
numbers mean descriptors of the process itself: its rows are in tests/unit/test_sd.c and test_activation.py.
"""
import socket

import sockdtest
from sockdtest import SockdTest

MAX = 64
FULL = b"f" * MAX
OVER = b"o" * (MAX + 1)

SAME = object()  # the reply is what was sent
MALFORMED, TOO_LONG = "failed_malformed", "failed_too_long"


def netstring(data):
    return b"%d:%s," % (len(data), data)


def content(data):
    return b"Content-Length: %d\r\n\r\n%s" % (len(data), data)


# framing: (a good message, [(input, reply or what it counts as)])
FRAMINGS = {
    "line": (b"good\n", [
        (b"\n", SAME), (b"\r\n", SAME), (b"\n\r\n\n", SAME), (b"a\rb\n", SAME), (b"\r", SAME), (b"a\r\r\n", SAME),
        (b"a\0b\n", SAME), (b"\xff\xfe\x80\n", SAME), (bytes(range(11, 75)) + b"\n", SAME),
        (b"no newline", SAME), (b"", SAME), (b"one\ntwo", SAME),
        (FULL + b"\n", SAME), (FULL + b"\r\n", SAME), (FULL, SAME), (FULL[1:] + b"\r", SAME),
        (OVER + b"\n", TOO_LONG), (OVER, TOO_LONG), (OVER + b"\r\n", TOO_LONG), (FULL + b"\rx", TOO_LONG)]),
    r"delimiter:\\0": (b"good\0", [
        (b"\0", SAME), (b"\0\0", SAME), (b"a\nb\0", SAME), (FULL + b"\0", SAME), (b"", SAME),
        (b"rest", b"rest\0"), (FULL, FULL + b"\0"), (OVER, TOO_LONG), (OVER + b"\0", TOO_LONG)]),
    "delimiter:==": (b"good==", [
        (b"a=b==", SAME), (b"====", SAME), (FULL + b"==", SAME), (FULL + b"=x", TOO_LONG), (OVER + b"==", TOO_LONG)]),
    "block": (b"a=good\n\n", [
        (b"\n", b"\n"), (b"a=1\nb=2\n\n", SAME), (b"a=1\r\n\r\n", SAME), (b"a\0\n\n", SAME),
        (b"x" * 63 + b"\n\n", SAME), (b"", SAME),
        (b"a=1\n", MALFORMED), (b"a=1", MALFORMED), (b"x" * 64 + b"\n\n", TOO_LONG), (b"a\n" * 33, TOO_LONG)]),
    "netstring": (b"4:good,", [
        (b"0:,", SAME), (netstring(FULL), SAME), (b"6:3:abc,,", SAME), (b"7:3:abc,,", MALFORMED),
        (netstring(b"\n\0,:\xff"), SAME), (b"", SAME),
        (b"00:,", MALFORMED), (b"01:a,", MALFORMED), (b":,", MALFORMED), (b",", MALFORMED), (b"a", MALFORMED),
        (b"-1:a,", MALFORMED), (b"+1:a,", MALFORMED), (b" 1:a,", MALFORMED), (b"1 :a,", MALFORMED),
        (b"1;a,", MALFORMED), (b"1:a;", MALFORMED), (b"1:ab", MALFORMED), (b"1:", MALFORMED), (b"1", MALFORMED),
        (netstring(OVER), TOO_LONG), (b"65", TOO_LONG), (b"99999999999999999999:", TOO_LONG),
        (b"18446744073709551616:,", TOO_LONG)]),
    "length:u8": (b"\4good", [(b"\0", SAME), (b"\x40" + FULL, SAME), (b"\x41", TOO_LONG), (b"\xff", TOO_LONG),
                              (b"\2a", MALFORMED)]),
    "length:u16be": (b"\0\4good", [
        (b"\0\0", SAME), (b"\0\x40" + FULL, SAME), (b"", SAME), (b"\0\1\n", SAME),
        (b"\0", MALFORMED), (b"\0\1", MALFORMED), (b"\0\2a", MALFORMED),
        (b"\0\x41", TOO_LONG), (b"\x80\0", TOO_LONG), (b"\xff\xff", TOO_LONG)]),
    "length:u16le": (b"\4\0good", [(b"\x40\0" + FULL, SAME), (b"\0\1", TOO_LONG), (b"\x41\0", TOO_LONG)]),
    "length:u24be": (b"\0\0\4good", [(b"\0\0\0", SAME), (b"\1\0\0", TOO_LONG), (b"\0\0", MALFORMED)]),
    "length:u32be": (b"\0\0\0\4good", [
        (b"\0\0\0\0", SAME), (b"\0\0\0\x40" + FULL, SAME), (b"\0\0\0\x41", TOO_LONG), (b"\x7f\xff\xff\xff", TOO_LONG),
        (b"\xff\xff\xff\xff", TOO_LONG), (b"\x80\0\0\0", TOO_LONG), (b"\0\0\0", MALFORMED)]),
    "length:u32le": (b"\4\0\0\0good", [(b"\0\0\0\0", SAME), (b"\0\0\0\1", TOO_LONG)]),
    "length:u64be": (b"\0\0\0\0\0\0\0\4good", [(b"\xff" * 8, TOO_LONG), (b"\x80" + b"\0" * 7, TOO_LONG)]),
    "length:u64le": (b"\4\0\0\0\0\0\0\0good", [(b"\0" * 7 + b"\x80", TOO_LONG)]),
    "length:varint": (b"\4good", [
        (b"\0", SAME), (b"\x81\0a", b"\1a"), (b"\x40" + FULL, SAME), (b"\x41", TOO_LONG), (b"\x80\1", TOO_LONG),
        (b"\xff" * 9 + b"\1", TOO_LONG), (b"\xff" * 9 + b"\2", MALFORMED), (b"\x80" * 10, MALFORMED),
        (b"\x80", MALFORMED)]),
    "length:u16be,offset=4": (b"head\0\4good", [
        (b"head\0\0", SAME), (b"head\0\x3a" + b"x" * 58, SAME), (b"head\0\x3b", TOO_LONG), (b"head", MALFORMED),
        (b"head\0\1", MALFORMED)]),
    "length:u16be,whole": (b"\0\6good", [(b"\0\2", SAME), (b"\0\1", MALFORMED), (b"\0\0", MALFORMED),
                                         (b"\0\x43", TOO_LONG)]),
    "length:u8,adjust=-1": (b"\5good", [(b"\1", SAME), (b"\0", MALFORMED), (b"\x42", TOO_LONG)]),
    "content-length": (content(b"good"), [
        (content(b""), SAME), (content(FULL), SAME), (content(OVER), TOO_LONG),
        (b"content-LENGTH:2\nX-Other: y\n\nab", content(b"ab")), (b"Content-Length: \t2 \r\n\r\nab", content(b"ab")),
        (b"\r\n", MALFORMED), (b"X: y\r\n\r\n", MALFORMED), (b"no colon\r\n", MALFORMED),
        (b"Content-Length: \r\n", MALFORMED), (b"Content-Length: -1\r\n", MALFORMED),
        (b"Content-Length: 0x2\r\n", MALFORMED), (b"Content-Length: 1 1\r\n", MALFORMED),
        (b"Content-Length: 1\r\nContent-Length: 1\r\n", MALFORMED), (b"Content-Length : 1\r\n", MALFORMED),
        (b"Content-Length: 99999999999999999999999\r\n", TOO_LONG), (b"Content-Length: 5\r\n\r\nabc", MALFORMED),
        (b"x" * 8192, MALFORMED)]),
    "fixed:4": (b"good", [(b"a\n\0\xff", SAME), (b"12345678", SAME), (b"", SAME), (b"abc", MALFORMED)]),
    "close": (None, [(b"", SAME), (FULL, SAME), (b"\n\0\xff", SAME), (OVER, TOO_LONG)]),
}

# Each has its service; as many as a test has ports.
NAMES = list(FRAMINGS)


class FramingTest(SockdTest):
    def serve_framings(self, names, keys=""):
        self.start('workers = 1; host = "$addr"; handler = "echo"; max_request = %d; max_connections = 1000; log = "none"; %s'
                   "services: { %s };"
                   % (MAX, keys, " ".join('f%d: { port = $port%d; framing = "%s"; };' % (n, n, name)
                                          for n, name in enumerate(names))))

    def exchange(self, n, data, pieces, end):
        client = self.connect(self.port(n))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for i in range(0, len(data), pieces):
                client.send(data[i:i + pieces])
            if end:
                client.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # it was refused before its last byte
        got = self.receive_all(client)
        client.close()
        return got

    def check_row(self, n, good, data, verdict):
        """Returns how often a bad row was sent."""
        if verdict not in (MALFORMED, TOO_LONG):
            expected = data if verdict is SAME else verdict
            for pieces in 1, max(1, len(data)):
                self.assertEqual(self.exchange(n, data, pieces, True), expected)
            return 0
        # A message that only its end makes malformed needs the end.
        end = verdict is MALFORMED
        self.assertEqual(self.exchange(n, data, len(data), end), b"")
        if len(data) < 100:
            self.assertEqual(self.exchange(n, data, 1, end), b"")
        if good:
            self.assertEqual(self.exchange(n, good + data, len(good + data), end), good)
        return 1 + (len(data) < 100) + bool(good)

    def check_framings(self, names):
        self.serve_framings(names)
        for n, name in enumerate(names):
            good, rows = FRAMINGS[name]
            bad = {MALFORMED: 0, TOO_LONG: 0}
            for data, verdict in rows:
                with self.subTest(name, data=data[:80], verdict=verdict if isinstance(verdict, str) else "good"):
                    times = self.check_row(n, good, data, verdict)
                    if times:
                        bad[verdict] += times
            with self.subTest(name):
                for why, times in bad.items():
                    self.wait_counter(why, times, "f%d" % n)
                    self.assertEqual(self.counter(why, "f%d" % n), times)

    def test_E_every_framing_takes_what_is_right_and_refuses_what_is_wrong_1(self):
        self.check_framings(NAMES[:10])

    def test_E_every_framing_takes_what_is_right_and_refuses_what_is_wrong_2(self):
        self.check_framings(NAMES[10:])

    def test_E_a_bad_message_ends_the_connection_at_once_where_it_shows(self):
        """Without waiting for the client's end, or for the rest that it announced."""
        early = {"netstring": b"5:abcdef", "length:u16be": b"\0\x41", "length:varint": b"\xff" * 9 + b"\2",
                 "content-length": b"no colon\r\n", "line": OVER, "block": b"a\n" * 33, r"delimiter:\\0": OVER,
                 "close": OVER, "length:u16be,whole": b"\0\0"}
        self.serve_framings(list(early))
        for n, (name, data) in enumerate(early.items()):
            with self.subTest(name):
                self.assertEqual(self.exchange(n, data, len(data), False), b"")

    def test_E_error_reply_comes_in_the_framing_behind_the_replies_that_are_owed(self):
        rows = {"line": (b"a\n", OVER, b"a\nsorry\n"), "netstring": (b"1:a,", b"x", b"1:a,5:sorry,"),
                "length:u16be": (b"\0\1a", b"\xff\xff", b"\0\1a\0\5sorry"), "block": (b"a\n\n", OVER, b"a\n\nsorry\n\n"),
                "content-length": (content(b"a"), b"\r\n", content(b"a") + content(b"sorry")),
                r"delimiter:\\0": (b"a\0", OVER, b"a\0sorry\0"), "close": (b"", OVER, b"sorry"),
                # It does not fit, as a warning says: then the end alone says it.
                "length:u16be,offset=4": (b"head\0\1a", b"head\xff\xff", b"head\0\1a")}
        self.expect_log(r"f7\.error_reply: cannot be sent")
        self.serve_framings(list(rows), 'error_reply = "sorry";')
        for n, (name, (good, bad, reply)) in enumerate(rows.items()):
            with self.subTest(name):
                self.assertEqual(self.exchange(n, good + bad, len(good + bad), False), reply)

    def test_E_endless_input_without_a_message_is_not_read_for_long(self):
        self.serve('handler = "echo"; framing = "line"; max_request = "64k";')
        client = self.connect()
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            while True:
                client.sendall(b"x" * 65536)
        self.wait_counter("failed_too_long", 1)
        self.assertLess(self.counter("bytes_in"), 3 * 65536)

    def test_E_no_unfinished_message_reaches_the_handler(self):
        self.serve_framings(["netstring", "fixed:4", "length:u16be", "content-length", "block"])
        for n, data in enumerate((b"5:1234", b"123", b"\0\5abcd", content(b"good")[:-1], b"a=b\n")):
            self.exchange(n, data, len(data), True)
        for n in range(5):
            self.assertEqual(self.counter("requests", "f%d" % n), 0)

    def test_E_datagrams_of_every_size(self):
        self.serve('transport = "udp"; handler = "echo";')
        client = self.udp()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for size in 1, 1472, 1473, 9000, 65507:
            client.send(b"x" * size)
            self.assertEqual(client.recv(70000), b"x" * size)
        client.send(b"")  # an empty reply sends nothing
        client.send(b"after")
        self.assertEqual(client.recv(100), b"after")
        self.assertEqual(self.counter("requests"), 7)


if __name__ == "__main__":
    sockdtest.main()
