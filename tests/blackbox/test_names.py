"""Names of hosts at a reload: a name server that takes its time holds up nobody but the one who asked."""
import os
import signal
import socket
import struct
import subprocess
import threading

import sockdtest
from sockdtest import SockdTest

ECHO = 'handler = "echo";'
# The resolver of the daemon asks our server, once, and waits for as long as the C library may.
RESOLVER = "nameserver %s\noptions timeout:30 attempts:1\n"
IN_PLACE = 'exec unshare -m sh -ec \'mount --bind "$0" /etc/resolv.conf; exec "$@"\' %s "$@"'
A, OK, NO_SUCH_NAME = 1, 0, 3


class NameServer:
    """Answers what it is asked when it is told to. RFC 1035, section 4."""

    def __init__(self, addr):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((addr, 53))
        self.queries = []

    def wait(self):
        """For a query; returns the name that it asks for."""
        query, peer = self.socket.recvfrom(512)
        self.queries.append((query, peer))
        return query[12:-5].decode("latin-1")

    def answer(self, code, addr=None):
        """All queries from now on until close(), those that have come first."""
        def work():
            for query, peer in self.queries:
                self.reply(query, peer, code, addr)
            while True:
                query, peer = self.socket.recvfrom(512)
                if not query:
                    return
                self.reply(query, peer, code, addr)
        self.thread = threading.Thread(target=work)
        self.thread.start()

    def reply(self, query, peer, code, addr):
        end = query.index(b"\0", 12) + 5
        records = []
        if addr and query[end - 4:end - 2] == struct.pack("!H", A):
            records = [struct.pack("!HHHIH", 0xc00c, A, 1, 60, 4) + socket.inet_aton(addr)]
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        self.socket.sendto(head + query[12:end] + b"".join(records), peer)

    def close(self):
        if hasattr(self, "thread"):
            self.socket.sendto(b"", self.socket.getsockname())
            self.thread.join()
        self.socket.close()


class NamesTest(SockdTest):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root may put another name server into place")
        self.need("unshare")
        super().setUp()
        if subprocess.run(["unshare", "-m", "mount", "--bind", "/etc/passwd", "/etc/resolv.conf"],
                          capture_output=True).returncode != 0:
            self.tearDown()
            self.skipTest("this machine allows no mount namespace, or has no /etc/resolv.conf")
        self.server = NameServer(self.addr)
        self.addCleanup(self.server.close)
        self.resolver = self.write("resolv.conf", RESOLVER % self.addr)

    def serve_and_ask(self):
        """The daemon serves, and a reload waits for the name server; returns who asked for it."""
        self.serve(ECHO, shell=IN_PLACE % self.resolver)
        self.write("sockd.conf", self.service('host = "there.example"; ' + ECHO))
        asker = self.reload_later()
        self.assertIn("example", self.server.wait())
        return asker

    def assert_serves(self):
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")

    def test_a_silent_server_stops_nothing_and_its_answer_is_used(self):
        asker = self.serve_and_ask()
        status = self.status()
        self.assertEqual((status["verdict"], status["generation"]), ("well", 1))
        os.kill(status["workers"][0]["pid"], signal.SIGKILL)
        self.expect_log("was ended by signal 9")
        self.wait_for(lambda: (worker := self.status()["workers"][0])["ready"] and
                      worker["pid"] != status["workers"][0]["pid"])
        self.assert_serves()
        self.server.answer(OK, "127.0.0.1")
        self.assertRegex(asker(), r"\A0 \d+\ngeneration 2: ")
        with self.connect(addr="127.0.0.1") as client:
            client.sendall(b"there\n")
            self.assertEqual(self.receive(client, 6), b"there\n")

    def test_a_name_that_nobody_knows_rolls_back(self):
        asker = self.serve_and_ask()
        self.expect_log('cannot look up host "there.example"', "reload failed")
        self.server.answer(NO_SUCH_NAME)
        self.assertIn('echo: cannot look up host "there.example": Name or service not known', asker())
        self.assert_serves()

    def test_a_stop_does_not_wait_for_a_name(self):
        asker = self.serve_and_ask()
        self.expect_log("reload given up: sockd is stopping")
        self.sockd.process.send_signal(signal.SIGTERM)
        self.assertRegex(asker(), r"\A1 \d+\nreload given up: ")
        self.assertEqual(self.sockd.wait(), 0)

    def test_who_looks_up_may_die(self):
        asker = self.serve_and_ask()
        self.expect_log('cannot look up host "there.example"', "reload failed")
        child, = [pid for pid in sockdtest.children(self.sockd.pid) if sockdtest.process_name(pid) == "sockd-names"]
        os.kill(child, signal.SIGKILL)
        self.assertIn("Temporary failure in name resolution", asker())
        self.assert_serves()


if __name__ == "__main__":
    sockdtest.main()
