"""What a running daemon makes of the files: which services there are, and where their keys come from. What is an error,
and how it is told, is in tests/unit/test_conf.c and test_master.py.
"""
import sockdtest
from sockdtest import SockdTest


class ConfTest(SockdTest):
    def test_a_service_that_is_not_enabled_is_not_served(self):
        self.start('host = "$addr"; handler = "echo"; services:'
                   " { on: { port = $port; }; off: { port = $port1; enabled = false; }; };")
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")
        with self.assertRaises(ConnectionRefusedError):
            self.connect(self.port(1))
        self.assertEqual(list(self.status()["services"]), ["on"])

    def test_a_file_of_the_directory_is_a_service_of_its_name(self):
        self.write("sockd.d/mine.conf", 'port = $port1; handler = "echo";')
        self.write("sockd.d/.hidden.conf", "nonsense")
        self.write("sockd.d/README", "nonsense")
        self.start('host = "$addr"; services: { main: { port = $port; handler = "echo"; }; };')
        for n in 0, 1:
            self.assertEqual(self.converse(b"hello\n", port=self.port(n)), b"hello\n")
        self.assertEqual(sorted(self.status()["services"]), ["main", "mine"])

    def test_a_service_key_at_top_level_is_the_default_for_all_services(self):
        self.write("sockd.d/other.conf", "port = $port1;")
        self.write("sockd.d/own.conf", 'port = $port2; framing = "line";')
        self.start('host = "$addr"; handler = "echo"; framing = "netstring"; services: { main: { port = $port; }; };')
        for n, message in enumerate((b"1:a,", b"1:a,", b"1:a\n")):
            self.assertEqual(self.converse(message, port=self.port(n)), message)


if __name__ == "__main__":
    sockdtest.main()
