"""sockctl against plain servers: sockets of this test's own, and a web server from Debian."""
import contextlib
import fcntl
import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time

import sockdtest
from sockdtest import BUILD, TIMEOUT, SockdTest

SOCKCTL = os.path.join(BUILD, "sockctl")
NOBODY = 65534


class Server:
    """Serves COUNT connections, one after another, in a thread; what went wrong there is raised by join()."""

    def __init__(self, listener, serve, count):
        self.listener, self.failure = listener, None
        self.thread = threading.Thread(target=self._run, args=(serve, count), daemon=True)
        self.thread.start()

    def _run(self, serve, count):
        try:
            for _ in range(count):
                sock = self.listener.accept()[0]
                with sock:
                    sock.settimeout(TIMEOUT)
                    serve(sock)
        except Exception as e:
            self.failure = e

    def join(self):
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive(), "the server did not end"
        if self.failure:
            raise self.failure


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


class ClientTest(SockdTest):
    def setUp(self):
        super().setUp()
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            server.listener.close()
        super().tearDown()

    def listen(self, family=socket.AF_INET, address=None, kind=socket.SOCK_STREAM):
        sock = self.keep(socket.socket(family, kind))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address or (self.addr, self.port()))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def serve_with(self, serve, count=1, **where):
        """Starts a server that calls SERVE with each connection."""
        server = Server(self.listen(**where), serve, count)
        self.servers.append(server)
        return server

    def serve_datagrams(self, serve, count=1, **where):
        """Starts a server that answers COUNT datagrams with what SERVE returns for them; None is no answer."""
        sock = self.listen(kind=socket.SOCK_DGRAM, **where)

        def run():
            for _ in range(count):
                data, peer = sock.recvfrom(65536)
                reply = serve(data)
                if reply is not None:
                    sock.sendto(reply, peer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def sockctl(self, *args, **options):
        return self.run_program("sockctl", *args, **options)

    def ask(self, *args, **options):
        """sockctl with the address and the port of this test."""
        return self.sockctl("-H", self.addr, "-p", self.port(), *args, **options)

    def assert_done(self, done, stdout, status=0, stderr=""):
        self.assertEqual((done.stdout, done.stderr, done.returncode), (stdout, stderr, status))

    def assert_refused(self, done, pattern, stdout="", status=1):
        """It said why in one line."""
        self.assertEqual((done.returncode, done.stdout), (status, stdout), done.stderr)
        self.assertRegex(done.stderr, r"\Asockctl: [^\n]*%s[^\n]*\n\Z" % pattern)


class SendTest(ClientTest):
    def collect(self, received):
        """A server that takes everything, and then sends it back."""
        def serve(sock):
            received.append(self.receive_all(sock))
            sock.sendall(received[-1])
        return serve

    def test_send_prints_the_reply_and_a_newline(self):
        self.serve_with(echo)
        self.assert_done(self.ask("send", "I am your hero!!!"), "I am your hero!!!\n")

    def test_each_argument_is_a_request_and_then_the_sending_side_ends(self):
        received = []
        self.serve_with(self.collect(received))
        self.assert_done(self.ask("send", "one", "", "three"), "one\n\nthree\n")
        self.assertEqual(received, [b"one\n\nthree\n"])

    def test_options_may_stand_after_the_command(self):
        self.serve_with(echo)
        self.assert_done(self.sockctl("send", "a", "-p", self.port(), "b", "-H", self.addr), "a\nb\n")

    def test_after_two_dashes_all_is_message(self):
        self.serve_with(echo)
        self.assert_done(self.ask("send", "--", "-p", "--help"), "-p\n--help\n")

    def test_a_line_of_the_input_is_a_request_and_keeps_its_end(self):
        received = []
        self.serve_with(self.collect(received))
        self.assert_done(self.ask("send", input=b"one\ntwo\r\nrest"), "one\ntwo\nrest\n")
        self.assertEqual(received, [b"one\ntwo\r\nrest\n"])

    def test_requests_come_from_a_file(self):
        self.serve_with(echo)
        self.assert_done(self.ask("send", "-f", self.write("requests", "one\ntwo\n")), "one\ntwo\n")

    def test_no_request_is_no_failure(self):
        self.serve_with(echo)
        self.assert_done(self.ask("send"), "")

    def test_a_reply_without_terminator_at_the_end_is_printed(self):
        self.serve_with(lambda sock: (self.receive_all(sock), sock.sendall(b"whole\nrest")))
        self.assert_done(self.ask("send", "a", "b"), "whole\nrest\n")

    def test_missing_replies_are_counted_and_fail(self):
        self.serve_with(lambda sock: (self.receive_all(sock), sock.sendall(b"only\n")), count=2)
        self.assert_refused(self.ask("send", "a", "b", "c"), "after 1 of 3 replies", "only\n")
        self.assert_done(self.ask("-q", "send", "a", "b", "c"), "only\n", 1)

    def test_a_server_that_says_more_than_asked_is_read_as_far_as_asked(self):
        self.serve_with(lambda sock: sock.sendall(b"220 hello\n250 fine\n221 bye\n"))
        self.assert_done(self.ask("send", "a", "b"), "220 hello\n250 fine\n")

    def test_a_large_input_cannot_stand_still(self):
        lines = b"".join(b"%07d %s\n" % (i, b"x" * (i % 300)) for i in range(50000))

        def serve(sock):
            with sock.makefile("rb") as f:
                for line in f:
                    sock.sendall(line)

        self.serve_with(serve)
        done = self.ask("send", input=lines)
        self.assertEqual((done.stdout_bytes == lines, done.stderr, done.returncode), (True, "", 0))

    def test_many_words_are_all_sent(self):
        words = ["%05d%s" % (i, "x" * 95) for i in range(10000)]  # more than the high-water mark
        self.serve_with(echo)
        done = self.ask("send", *words)
        self.assertEqual((done.stdout.split() == words, done.stderr, done.returncode), (True, "", 0))

    def test_a_reply_is_printed_while_the_next_is_awaited(self):
        go = threading.Event()

        def serve(sock):
            sock.sendall(b"one\n")
            go.wait(TIMEOUT)
            sock.sendall(b"two\n")

        self.serve_with(serve)
        with subprocess.Popen([SOCKCTL, "-H", self.addr, "-p", str(self.port()), "send", "a", "b"],
                              stdout=subprocess.PIPE) as process:
            self.assertEqual(os.read(process.stdout.fileno(), 100), b"one\n")
            go.set()
            self.assertEqual(os.read(process.stdout.fileno(), 100), b"two\n")

    def test_with_framing_close_all_of_the_input_is_the_request(self):
        received = []

        def serve(sock):
            received.append(self.receive_all(sock))
            sock.sendall(b"a page\nwithout an end")

        self.serve_with(serve)
        self.assert_done(self.ask("-F", "close", "send", input="GET /\n\n"), "a page\nwithout an end")
        self.assertEqual(received, [b"GET /\n\n"])

    def test_arguments_are_framed_and_replies_unframed(self):
        for framing, wire in (("netstring", b"3:one,3:two,"), ("length:u16be", b"\0\3one\0\3two"),
                              (r"delimiter:\0", b"one\0two\0"), ("fixed:3", b"onetwo"),
                              ("content-length", None)):
            with self.subTest(framing):
                received = []
                server = self.serve_with(self.collect(received))
                self.assert_done(self.ask("-F", framing, "send", "one", "two"), "onetwo")
                server.join()
                server.listener.close()
                if wire:
                    self.assertEqual(received, [wire])

    def test_input_in_a_framing_is_sent_as_it_stands(self):
        received = []
        self.serve_with(self.collect(received))
        self.assert_done(self.ask("-F", "netstring", "send", input="3:one,3:two,"), "onetwo")
        self.assertEqual(received, [b"3:one,3:two,"])

    def test_input_that_breaks_its_framing_is_sent_all_the_same(self):
        received = []

        def serve(sock):
            received.append(self.receive_all(sock))
            sock.sendall(b"3:why,")

        self.serve_with(serve)
        self.assert_done(self.ask("-F", "netstring", "send", input="nonsense"), "why")
        self.assertEqual(received, [b"nonsense"])

    def test_each_line_is_framed_when_that_is_asked_for(self):
        received = []
        self.serve_with(self.collect(received))
        self.assert_done(self.ask("-F", "netstring", "--each-line", "send", input="one\ntwo\n"), "onetwo")
        self.assertEqual(received, [b"3:one,3:two,"])

    def test_escapes_in_and_hexadecimal_out(self):
        received = []
        self.serve_with(self.collect(received))
        done = self.ask("-F", "netstring", "-e", "-x", "send", r"a\n\0\x7f", "b")
        self.assert_done(done, "610a007f\n62\n")
        self.assertEqual(received, [b"4:a\n\0\x7f,1:b,"])

    def test_a_reply_outside_the_framing_is_told(self):
        self.serve_with(lambda sock: (self.receive_all(sock), sock.sendall(b"hello\n")))
        self.assert_refused(self.ask("-F", "netstring", "send", "a"), "is no message of framing netstring")

    def test_a_reply_that_is_cut_off_is_told(self):
        self.serve_with(lambda sock: (self.receive_all(sock), sock.sendall(b"9:hel")))
        self.assert_refused(self.ask("-F", "netstring", "send", "a"), "ended inside a reply")

    def test_a_silent_server_is_given_up(self):
        hold = threading.Event()
        self.serve_with(lambda sock: hold.wait(TIMEOUT))
        self.assert_refused(self.ask("-w", "200ms", "send", "a"), r"within 200ms \(0 of 1 replies came\)")
        hold.set()

    def test_the_reset_of_a_connection_is_told(self):
        def serve(sock):
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        self.serve_with(serve)
        self.assert_refused(self.ask("send", "hello"), "after 0 of 1 replies: Connection reset by peer")

    def test_an_input_that_cannot_be_read_is_named(self):
        self.assert_refused(self.ask("send", "-f", "none"), "cannot read none: No such file or directory", status=2)
        self.assert_refused(self.ask("send", "-f", self.dir), "cannot read %s: Is a directory" % self.dir, status=2)
        directory = os.open(self.dir, os.O_RDONLY)
        done = subprocess.run([SOCKCTL, "-H", self.addr, "-p", str(self.port()), "send"], stdin=directory, capture_output=True,
                              text=True, timeout=TIMEOUT)
        os.close(directory)
        self.assert_refused(done, "cannot read standard input: Is a directory", status=2)
        self.serve_with(echo)
        self.assert_refused(self.ask("send", "-f", "/proc/self/mem"), "cannot read /proc/self/mem: Input/output error")

    def test_an_address_where_nobody_listens_is_one_line(self):
        self.assert_refused(self.ask("send", "a"), "cannot connect to %s port %d: Connection refused; is sockd "
                            "running" % (re.escape(self.addr), self.port()))

    def test_all_addresses_of_a_name_are_tried(self):
        self.serve_with(echo, address=("127.0.0.1", self.port()))
        self.assert_done(self.sockctl("-p", self.port(), "send", "a"), "a\n")

    def test_a_name_or_a_port_that_is_not_there_is_one_line(self):
        self.assert_refused(self.sockctl("-p", "no-such-port", "send", "a"), "there is no port named no-such-port")
        self.assert_refused(self.sockctl("-H", "[::1]", "-p", "7", "send", "a"),
                            r'"\[::1\]" is no host; write an IPv6 address without brackets', status=2)
        self.assert_refused(self.sockctl("-4", "-H", "::1", "-p", "7", "send", "a"), "cannot find ::1: ")

    def test_ipv6(self):
        try:
            self.serve_with(echo, family=socket.AF_INET6, address=("::1", self.port()))
        except OSError:
            self.skipTest("this machine has no IPv6")
        self.assert_done(self.sockctl("-6", "-H", "::1", "-p", self.port(), "send", "a"), "a\n")

    def test_help_and_version_that_do_not_fit_on_a_full_disk_are_told(self):
        """The help is longer than the buffer, so that nothing of it is left when it is flushed."""
        for option in "--help", "--version":
            with self.subTest(option), open("/dev/full", "w") as full:
                done = subprocess.run([SOCKCTL, option], stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
                self.assertEqual((done.returncode, done.stderr),
                                 (1, "sockctl: cannot write to standard output: No space left on device\n"))

    def test_standard_output_that_is_full_is_told(self):
        self.serve_with(echo)
        with open("/dev/full", "w") as full:
            done = subprocess.run([SOCKCTL, "-H", self.addr, "-p", str(self.port()), "send", "a"], stdout=full,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "sockctl: cannot write to standard output: No space left on device\n"))


class DatagramTest(ClientTest):
    def test_each_request_is_a_datagram(self):
        received = []
        self.serve_datagrams(lambda data: received.append(data) or data.upper(), count=3)
        self.assert_done(self.ask("-u", "send", "one", "two", "three"), "ONE\nTWO\nTHREE\n")
        self.assertEqual(received, [b"one", b"two", b"three"])

    def test_each_line_of_the_input_is_a_datagram(self):
        self.serve_datagrams(bytes.upper, count=2)
        self.assert_done(self.ask("-u", "send", input="one\ntwo\n"), "ONE\nTWO\n")

    def test_with_framing_close_the_input_is_one_datagram(self):
        self.serve_datagrams(bytes.upper)
        self.assert_done(self.ask("-u", "-F", "close", "send", input="one\ntwo\n"), "ONE\nTWO\n")

    def test_a_missing_reply_fails_and_the_next_request_is_still_sent(self):
        self.serve_datagrams(lambda data: None if data == b"one" else data, count=2)
        self.assert_refused(self.ask("-u", "-w", "2s", "send", "one", "two"), "no reply", "two\n")

    def test_a_port_where_nobody_listens_is_told_at_once(self):
        self.assert_refused(self.ask("-u", "send", "one"), "cannot reach .*Connection refused")

    def test_the_reply_of_a_unix_datagram_finds_its_way(self):
        path = os.path.join(self.dir, "gram.sock")
        self.serve_datagrams(bytes.upper, family=socket.AF_UNIX, address=path)
        self.assert_done(self.sockctl("-u", "-U", path, "send", "one"), "ONE\n")


class UnixTest(ClientTest):
    def test_a_unix_socket(self):
        path = os.path.join(self.dir, "stream.sock")
        self.serve_with(echo, family=socket.AF_UNIX, address=path)
        self.assert_done(self.sockctl("-U", path, "send", "one"), "one\n")

    def test_an_abstract_unix_socket(self):
        name = "sockdtest-%d" % self.port()
        self.serve_with(echo, family=socket.AF_UNIX, address="\0" + name)
        self.assert_done(self.sockctl("-U", "@" + name, "send", "one"), "one\n")

    def test_a_socket_that_is_not_there_is_one_line(self):
        self.assert_refused(self.sockctl("-U", "%s/none" % self.dir, "send", "a"),
                            "none: No such file or directory; is sockd running")


class ServiceTest(ClientTest):
    def configure(self, keys):
        return self.write("sockd.conf", self.service(keys, name="price"))

    def test_a_service_gives_address_and_framing(self):
        conf = self.configure('framing = "netstring"; handler = "echo";')
        received = []
        self.serve_with(lambda sock: (received.append(self.receive_all(sock)), sock.sendall(b"2:ok,")))
        self.assert_done(self.sockctl("--config", conf, "-s", "price", "send", "a"), "ok")
        self.assertEqual(received, [b"1:a,"])

    def test_what_is_said_wins_over_the_service(self):
        conf = self.configure('port = $port1; framing = "netstring"; handler = "echo";')
        self.serve_with(echo)
        done = self.sockctl("--config", conf, "-s", "price", "-p", self.port(), "-F", "line", "send", "a")
        self.assert_done(done, "a\n")

    def test_a_service_on_every_address_is_asked_here(self):
        conf = self.configure('host = "*"; handler = "echo";')
        self.serve_with(echo, address=("127.0.0.1", self.port()))
        self.assert_done(self.sockctl("--config", conf, "-s", "price", "send", "a"), "a\n")

    def test_a_service_with_datagrams_only_is_asked_with_datagrams(self):
        conf = self.configure('transport = "udp"; handler = "echo";')
        self.serve_datagrams(bytes.upper)
        self.assert_done(self.sockctl("--config", conf, "-s", "price", "send", "a"), "A\n")

    def test_a_service_that_is_not_configured_is_misuse(self):
        conf = self.configure('handler = "echo";')
        self.assert_refused(self.sockctl("--config", conf, "-s", "prize", "send", "a"), "did you mean price", status=2)

    def test_a_configuration_that_cannot_be_read_is_told(self):
        done = self.sockctl("--config", self.dir + "/none.conf", "-s", "price", "send", "a")
        self.assert_refused(done, "none.conf.*No such file", status=2)

    def test_an_instance_has_a_configuration_of_its_own(self):
        done = self.sockctl("-i", "not-there", "-s", "price", "send", "a")
        self.assert_refused(done, "/etc/sockd-not-there.conf.*No such file", status=2)


class MisuseTest(ClientTest):
    def test_misuse_is_one_line_that_says_where_help_is(self):
        for words in ([], ["sned"], ["--prot", "1", "send"], ["-p"], ["send", "-p"], ["-p", "70000", "send", "a"],
                      ["-F", "lin", "send", "a"], ["-w", "soon", "send", "a"], ["ping", "-x"], ["status", "now"],
                      ["send", "-U", "/x", "-H", "y", "a"], ["send", "-F", "close", "a", "b"], ["send", "-4", "-6", "a"],
                      ["send", "-F", "fixed:3", "four"], ["send", "-e", r"\q"], ["send", "-f", "/dev/null", "a"],
                      ["pipe", "-u"], ["send", "a\nb"], ["-i", "../x", "status"], ["send", "-U", "x" * 200, "a"],
                      ["-Z"], ["--nothing-like-it"], ["--control"], ["--json=1", "status"], ["ping", "-e", r"\q"],
                      ["ping", "-F", "fixed:3", "four"], ["bench", "-e", r"\q"], ["bench", "--size", "3", "four"],
                      ["-i", "../x", "-s", "a", "send"]):
            with self.subTest(words):
                done = self.sockctl(*words)
                self.assert_refused(done, "see sockctl --help", status=2)

    def test_misuse_names_the_option_and_what_it_needs(self):
        for words, text in ((["-Z"], "there is no option -Z"), (["--nothing-like-it"], "no option --nothing-like-it"),
                            (["-p"], "-p needs PORT"), (["-H", "", "send", "x"], "-H needs HOST, and it is empty"),
                            (["-U", "", "send", "x"], "-U needs PATH, and it is empty"),
                            (["-p", "", "send", "x"], "port"), (["--control"], "--control needs PATH"),
                            (["--json=1", "status"], "--json takes no value"),
                            (["ping", "-F", "fixed:3", "four"], "framing fixed:3 cannot carry this message"),
                            (["bench", "--size", "3", "four"], "--size cannot stand with a message")):
            with self.subTest(words):
                self.assert_refused(self.sockctl(*words), text, status=2)

    def test_an_option_that_would_say_nothing_is_misuse(self):
        for words, text in ((["-i", "web", "send", "a"], "-i means nothing to send without -s"),
                            (["--config", "/x", "ping"], "--config means nothing to ping without -s"),
                            (["--control", "/x", "send", "a"], "--control means nothing to send"),
                            (["-U", "/x", "-4", "send", "a"], "-4 means nothing with -U"),
                            (["-i", "a", "--control", "/x", "status"], "-i cannot stand with --control"),
                            (["-i", "a", "--config", "/x", "-s", "a", "send"], "-i cannot stand with --config"),
                            (["--config", "/x", "status"], "--config means nothing to status"),
                            (["bench", "--verify", "--expect", "a"], "--verify cannot stand with --expect"),
                            (["drain"], "drain needs SERVICE"), (["kill"], "kill needs CONNECTION")):
            with self.subTest(words):
                self.assert_refused(self.sockctl(*words), text, status=2)

    def test_a_word_that_is_nearly_right_is_suggested(self):
        self.assertIn("did you mean send?", self.sockctl("sned").stderr)
        self.assertIn("did you mean --port?", self.sockctl("--prot", "1").stderr)
        self.assertIn('did you mean "line"?', self.sockctl("-F", "lin", "send").stderr)

    def test_help_of_a_command_is_what_it_understands(self):
        for command, word, others in (("status", "--json", ("--host", "netstring", "reload")), ("send", "netstring", ("--json",)),
                                      ("pipe", "--host", ("--framing",))):
            text = self.sockctl(command, "--help").stdout
            self.assertIn("usage: sockctl [options] %s [options]" % command, text)
            self.assertIn(word, text)
            for other in others:
                self.assertNotIn(other, text)

    def test_help_names_every_command(self):
        done = self.sockctl("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("send", "pipe", "shell", "ping", "status", "reload", "check", "stop", "--each-line", "netstring"):
            self.assertIn(word, done.stdout)


class PipeTest(ClientTest):
    DATA = random.Random(1).randbytes(4 << 20)

    def test_bytes_go_both_ways_unchanged(self):
        self.serve_with(echo)
        done = self.ask("pipe", input=self.DATA)
        self.assertEqual((done.stdout_bytes == self.DATA, done.stderr, done.returncode), (True, "", 0))

    def test_pipe_stays_until_the_server_is_done(self):
        self.serve_with(lambda sock: sock.sendall(self.receive_all(sock)[::-1]))
        done = self.ask("pipe", input=self.DATA)
        self.assertEqual((done.stdout_bytes == self.DATA[::-1], done.returncode), (True, 0))

    def test_pipe_ends_with_the_server_while_its_input_is_open(self):
        self.serve_with(lambda sock: sock.sendall(b"bye"))
        process = subprocess.Popen([SOCKCTL, "-H", self.addr, "-p", str(self.port()), "pipe"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.read(), b"bye")
        self.assertEqual(process.wait(TIMEOUT), 0)
        process.stdin.close()
        process.stdout.close()

    def test_a_side_that_does_not_read_holds_up_only_its_own(self):
        taken = threading.Event()

        def serve(sock):
            sender = threading.Thread(target=sock.sendall, args=(self.DATA,))
            sender.start()
            received = self.receive_all(sock)
            if received == self.DATA:
                taken.set()
            sender.join()

        self.serve_with(serve)
        process = subprocess.Popen([SOCKCTL, "-H", self.addr, "-p", str(self.port()), "pipe"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        process.stdin.write(self.DATA)
        process.stdin.close()
        self.assertTrue(taken.wait(TIMEOUT))  # though nobody has read its output yet
        self.assertEqual(process.stdout.read() == self.DATA, True)
        self.assertEqual(process.wait(TIMEOUT), 0)
        process.stdout.close()

    def test_a_server_that_takes_only_a_part_is_told(self):
        def serve(sock):
            sock.recv(1000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        self.serve_with(serve)
        self.assert_refused(self.ask("pipe", input=self.DATA), "connection")

    def test_the_reset_of_a_connection_is_told(self):
        def serve(sock):
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        self.serve_with(serve)
        self.assert_refused(self.ask("pipe", input="a\n"), "the connection to %s port %d failed: Connection reset by peer"
                            % (re.escape(self.addr), self.port()))

    def test_standard_output_that_is_full_is_told(self):
        self.serve_with(echo)
        with open("/dev/full", "w") as full:
            done = subprocess.run([SOCKCTL, "-H", self.addr, "-p", str(self.port()), "pipe"], input="a\n", stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "sockctl: cannot write to standard output: No space left on device\n"))


class PingTest(ClientTest):
    def test_ping_measures_and_sums_up(self):
        self.serve_with(echo)
        done = self.ask("ping", "-n", 3, "--interval", "1ms")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        for i, line in enumerate(lines[:3], 1):
            self.assertRegex(line, r"^4 bytes from %s:%d: seq=%d time=[0-9.]+ ms$" % (re.escape(self.addr), self.port(), i))
        self.assertRegex(lines[3], r"^3 requests, 3 replies; min/avg/max [0-9.]+/[0-9.]+/[0-9.]+ ms$")

    def test_quiet_ping_prints_the_summary_alone(self):
        self.serve_with(echo)
        self.assertRegex(self.ask("ping", "-q", "-n", 2, "--interval", "0").stdout, r"\A2 requests, 2 replies;[^\n]*\n\Z")

    def test_a_missing_reply_fails_and_the_next_has_a_new_connection(self):
        answers = [False, True]

        def serve(sock):
            data = sock.recv(100)
            if answers.pop(0):
                sock.sendall(data)
            self.receive_all(sock)

        self.serve_with(serve, count=2)
        done = self.ask("-w", "2s", "ping", "-n", 2, "--interval", "1ms")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"seq=2 .*\n2 requests, 1 replies;")
        self.assertIn("no reply to request 1", done.stderr)

    def test_what_came_instead_of_a_reply_is_told(self):
        def garbage(sock):
            sock.recv(100)
            sock.sendall(b"no netstring")
            self.receive_all(sock)

        def reset(sock):
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        for serve, text in ((garbage, "the reply to request 1 is no message of framing netstring"),
                            (lambda sock: sock.recv(100), "ended the connection instead of a reply to request 1"),
                            (reset, "request 1")):
            with self.subTest(text):
                server = self.serve_with(serve)
                done = self.ask("-F", "netstring", "ping", "-n", 1)
                self.assert_refused(done, text, stdout="1 requests, 0 replies\n")
                server.listener.close()

    def test_a_server_that_closes_after_each_reply_is_asked_anew(self):
        # The reply and the end leave together, so the client sees both before it asks again.
        self.serve_with(lambda sock: sock.send(sock.recv(100), socket.MSG_MORE), count=3)
        done = self.ask("ping", "-n", 3, "--interval", "1ms")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_ping_of_framing_close_opens_a_connection_each(self):
        self.serve_with(lambda sock: sock.sendall(self.receive_all(sock)), count=2)
        done = self.ask("-F", "close", "ping", "hello", "-n", 2, "--interval", "1ms")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("5 bytes from", done.stdout)

    def test_ping_with_datagrams(self):
        self.serve_datagrams(bytes.upper, count=2)
        self.assertEqual(self.ask("-u", "ping", "-n", 2, "--interval", "1ms").returncode, 0)

    def test_an_interrupted_ping_still_sums_up(self):
        self.serve_with(echo)
        process = subprocess.Popen([SOCKCTL, "-H", self.addr, "-p", str(self.port()), "ping", "-n", "9", "--interval",
                                    "1h"], stdout=subprocess.PIPE)
        self.assertIn(b"seq=1", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        self.assertRegex(process.stdout.read(), rb"\A1 requests, 1 replies;")
        self.assertEqual(process.wait(TIMEOUT), 0)
        process.stdout.close()


class Terminal:
    """sockctl at a terminal."""

    def __init__(self, directory, *args):
        self.fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x18\0\x64\0\0\0\0\0")
        env = dict(os.environ, TERM="xterm", LC_ALL="C.UTF-8", XDG_STATE_HOME=directory, HOME=directory)
        self.process = subprocess.Popen([SOCKCTL, *map(str, args)], stdin=slave, stdout=slave, stderr=slave, env=env,
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.shown = b""

    def read_until(self, pattern):
        """Waits until what is shown matches; what came before is forgotten."""
        until = time.monotonic() + TIMEOUT
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            if not select.select([self.fd], [], [], max(0, until - time.monotonic()))[0]:
                raise AssertionError("no %r in %r" % (pattern, self.shown))
            try:
                self.shown += os.read(self.fd, 65536)
            except OSError:
                raise AssertionError("no %r in %r at the end" % (pattern, self.shown)) from None
        self.shown = self.shown[found.end():]

    def type(self, keys):
        os.write(self.fd, keys)

    def wait(self):
        with contextlib.suppress(OSError):
            while os.read(self.fd, 65536):
                pass
        return self.process.wait(TIMEOUT)


class ShellTest(ClientTest):
    def shell(self, *args):
        terminal = Terminal(self.dir, "-H", self.addr, "-p", self.port(), *args, "shell")
        self.addCleanup(os.close, terminal.fd)
        self.addCleanup(terminal.process.kill)
        return terminal

    def prompt(self):
        return b"%s:%d> " % (re.escape(self.addr.encode()), self.port())

    def test_a_conversation_with_editing_and_history(self):
        self.serve_with(lambda sock: [sock.sendall(data.upper()) for data in iter(lambda: sock.recv(100), b"")])
        shell = self.shell()
        shell.read_until(self.prompt())
        shell.type("grüßw\x7f\n".encode())
        shell.read_until("\r\nGRüß\r\n".encode())
        shell.read_until(self.prompt())
        shell.type(b"\x1b[A\n")  # the line before
        shell.read_until("\r\nGRüß\r\n".encode())
        shell.read_until(self.prompt())
        shell.type(b"\x04")
        self.assertEqual(shell.wait(), 0)
        with open(os.path.join(self.dir, "sockctl_history")) as f:
            self.assertEqual(len(f.read().splitlines()), 3)
        self.assertEqual(os.stat(os.path.join(self.dir, "sockctl_history")).st_mode & 0o777, 0o600)

    def test_the_history_outlives_the_shell(self):
        for keys in (b"remember me\n", b"\x1b[A\n"):
            server = self.serve_with(echo)
            shell = self.shell()
            shell.read_until(self.prompt())
            shell.type(keys)
            shell.read_until(rb"\r\nremember me\r\n")
            shell.read_until(self.prompt())
            shell.type(b"\x04")
            self.assertEqual(shell.wait(), 0)
            server.join()
            server.listener.close()

    def test_a_server_that_leaves_is_told(self):
        self.serve_with(lambda sock: sock.sendall(sock.recv(100)))
        shell = self.shell()
        shell.read_until(self.prompt())
        shell.type(b"quit\n")
        shell.read_until(rb"\r\nquit\r\n")
        shell.read_until(rb"ended the connection")
        self.assertEqual(shell.wait(), 0)

    def test_what_the_server_says_unasked_is_shown(self):
        go = threading.Event()

        def serve(sock):
            go.wait(TIMEOUT)
            sock.sendall(b"news\n")
            self.receive_all(sock)

        self.serve_with(serve)
        shell = self.shell("-w", "200ms")
        shell.read_until(self.prompt())
        go.set()
        shell.read_until(rb"news\r\n")
        shell.read_until(self.prompt())
        shell.type(b"ask\n")  # the news were no reply to it
        shell.read_until(rb"no reply within 200ms")
        shell.read_until(self.prompt())
        shell.type(b"\x04")
        self.assertEqual(shell.wait(), 0)

    def test_without_a_terminal_lines_are_requests(self):
        self.serve_with(echo)
        self.assert_done(self.ask("shell", input="one\ntwo\n"), "one\ntwo\n")


class SteerTest(ClientTest):
    def daemon(self, answer, path=None):
        """A control socket that answers; returns the list of what it was told."""
        told = []

        def serve(sock):
            with sock.makefile("rb") as f:
                told.append(f.readline())
            sock.sendall(answer)

        self.serve_with(serve, family=socket.AF_UNIX, address=path or os.path.join(self.dir, "control.sock"))
        return told

    def test_status_is_printed_and_its_code_is_the_exit_status(self):
        told = self.daemon(b"1 12\ndegraded: x\n")
        self.assert_done(self.ctl("status"), "degraded: x\n", 1)
        self.assertEqual(told, [b"status\n"])

    def test_json_is_asked_for(self):
        told = self.daemon(b"0 3\n{}\n")
        self.assert_done(self.ctl("status", "--json"), "{}\n")
        self.assertEqual(told, [b"status --json\n"])

    def test_a_failed_reload_says_why_on_standard_error(self):
        self.daemon(b"1 15\nno such thing.\n")
        self.assert_done(self.ctl("reload"), "", 1, "no such thing.\n")

    def test_an_answer_in_pieces_is_whole(self):
        def serve(sock):
            self.receive(sock, len(b"check\n"))
            for byte in b"0 5\nfine\n":
                sock.sendall(bytes([byte]))

        self.serve_with(serve, family=socket.AF_UNIX, address=os.path.join(self.dir, "control.sock"))
        self.assert_done(self.ctl("check"), "fine\n")

    def test_a_short_answer_is_no_answer(self):
        for answer in (b"", b"0", b"0 10\nfine\n", b"nonsense\n", b"0 1\nfine\n", b"999 5\nfine\n"):
            with self.subTest(answer):
                self.daemon(answer)
                self.assert_refused(self.ctl("reload"), "ended before it answered")
                self.servers.pop().listener.close()
                os.unlink(os.path.join(self.dir, "control.sock"))

    def test_a_daemon_that_does_not_run_is_told_with_the_place(self):
        for command, status in (("status", 3), ("reload", 1), ("stop", 1), ("check", 1)):
            done = self.ctl(command)
            self.assert_done(done, "", status, "sockctl: sockd is not running (no socket at %s/control.sock)\n" % self.dir)

    def test_a_socket_that_a_dead_daemon_left_is_no_daemon(self):
        self.listen(socket.AF_UNIX, os.path.join(self.dir, "control.sock")).close()
        self.assert_refused(self.ctl("status"), "is not running", status=3)

    def test_a_silent_daemon_is_given_up(self):
        hold = threading.Event()
        self.serve_with(lambda sock: hold.wait(TIMEOUT), count=2, family=socket.AF_UNIX,
                        address=os.path.join(self.dir, "control.sock"))
        self.assert_refused(self.ctl("-w", "100ms", "status"), "did not answer within 100ms")
        hold.set()

    def test_only_what_is_answered_when_it_is_done_waits_for_ever(self):
        hold = threading.Event()
        self.serve_with(lambda sock: hold.wait(3 * TIMEOUT), count=2, family=socket.AF_UNIX,
                        address=os.path.join(self.dir, "control.sock"))
        reload = subprocess.Popen([SOCKCTL, "--control", os.path.join(self.dir, "control.sock"), "reload"],
                                  stderr=subprocess.PIPE, text=True)
        self.assert_refused(self.ctl("stop"), "did not answer within 10s")
        self.assertIsNone(reload.poll())
        hold.set()
        self.assertIn("ended before it answered", reload.communicate(timeout=TIMEOUT)[1])

    def test_the_runtime_directory_is_looked_at_first(self):
        self.daemon(b"0 5\nfine\n")
        done = self.sockctl("status", env={"RUNTIME_DIRECTORY": self.dir + ":/other"})
        self.assert_done(done, "fine\n")

    def as_nobody(self, *args, env=None):
        """Runs a copy of sockctl: the tree may lie where nobody else comes, as below /root."""
        os.chmod(self.dir, 0o755)
        program = shutil.copy(SOCKCTL, self.dir)
        options = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        env = dict({"PATH": os.environ["PATH"], "GCOV_ERROR_FILE": "/dev/null"}, **(env or {}))
        return subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env,
                              timeout=TIMEOUT, **options)

    def test_a_user_has_a_daemon_of_his_own(self):
        os.mkdir(self.dir + "/sockd")
        self.daemon(b"0 5\nmine\n", path=self.dir + "/sockd/control.sock")
        os.chmod(self.dir + "/sockd/control.sock", 0o777)
        done = self.as_nobody("status", env={"XDG_RUNTIME_DIR": self.dir})
        self.assert_done(done, "mine\n")

    def test_a_socket_without_permission_is_told(self):
        self.daemon(b"0 0\n")
        os.chmod(self.dir + "/control.sock", 0)
        for command, status in (("status", 4), ("reload", 1)):
            done = self.as_nobody("--control", self.dir + "/control.sock", command)
            self.assert_refused(done, "no permission for %s/control.sock" % self.dir, status=status)


class WebServerTest(ClientTest):
    NGINX = """
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log stderr;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    server {
        listen $addr:$port;
        location / { root $dir/www; }
    }
}
"""

    def start_nginx(self):
        self.need("nginx")
        conf = self.write("nginx.conf", self.NGINX)
        process = subprocess.Popen(["nginx", "-e", "stderr", "-p", self.dir, "-c", conf], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)

        def listens():
            self.assertIsNone(process.poll(), "nginx ended")
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((self.addr, self.port())).close()
                return True

        self.wait_for(listens)
        return process

    def test_a_page_of_a_web_server_is_fetched(self):
        page = "".join("line %d of a page\n" % i for i in range(20000))
        self.write("www/index.html", page)
        os.chmod(self.dir, 0o755)
        process = self.start_nginx()
        try:
            done = self.ask("-F", "close", "send", input="GET /index.html HTTP/1.0\r\n\r\n")
        finally:
            process.terminate()
            process.wait(TIMEOUT)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        self.assertTrue(head.startswith("HTTP/1.1 200 OK\nServer: nginx"), head)
        self.assertEqual(body == page, True)


if __name__ == "__main__":
    sockdtest.main()
