"""The fd store of the service manager: sockets that sockd bound itself, kept over a restart."""
import os
import socket
import stat

import sockdtest
from sockdtest import SockdTest

STORE = {"FDSTORE": "16"}


class StoreTest(SockdTest):
    def stored(self, address, backlog=16):
        """A socket as an earlier sockd left it in the store."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
        self.addCleanup(listener.close)
        return listener

    def test_a_socket_of_its_own_is_handed_over_by_name(self):
        daemon = self.serve('handler = "echo";', env=STORE)
        daemon.wait_notify("^FDSTORE=1\nFDNAME=sockd-echo-0\nFDPOLL=0$")

    def test_without_a_store_nothing_is_handed_over(self):
        daemon = self.serve('handler = "echo";')
        self.assertEqual([n for n in daemon.notifications if "FDSTORE" in n], [])

    def test_a_stored_socket_goes_on_with_those_who_wait(self):
        listener = self.stored((self.addr, self.port()))
        client = socket.create_connection((self.addr, self.port()))
        client.sendall(b"waited\n")
        self.serve('handler = "echo";', env=STORE, listen=[("sockd-echo-0", listener)])
        client.settimeout(sockdtest.TIMEOUT)
        self.assertEqual(client.recv(100), b"waited\n")
        client.close()

    def test_a_stored_socket_is_no_socket_activation(self):
        """A service that systemd handed a socket to binds no others; one with a stored socket does."""
        listener = self.stored((self.addr, self.port()))
        self.serve('handler = "echo"; transport = [ "tcp", "unix" ]; host = "$addr"; port = $port; path = "$dir/s";', env=STORE,
                   listen=[("sockd-echo-0", listener)])
        self.assertEqual(self.converse(b"a\n"), b"a\n")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.path.join(self.dir, "s"))
            client.sendall(b"b\n")
            self.assertEqual(client.recv(10), b"b\n")

    def test_a_stored_socket_that_nobody_wants_is_closed_and_forgotten(self):
        listener = self.stored((self.addr, self.port(1)))
        daemon = self.serve('handler = "echo";', env=STORE, listen=[("sockd-old-3", listener)])
        daemon.wait_notify("^FDSTOREREMOVE=1\nFDNAME=sockd-old-3$")
        listener.close()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection((self.addr, self.port(1)))

    def test_a_stored_socket_in_the_way_of_the_configuration_is_given_up(self):
        """From one address to every address, which exclude each other on a port; here the test is the service manager."""
        for transport in "tcp", "udp":
            with self.subTest(transport):
                listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
                if transport == "tcp":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self.addr, self.port()))
                if transport == "tcp":
                    listener.listen(16)
                daemon = self.serve('handler = "echo"; host = "0.0.0.0"; transport = "%s";' % transport, env=STORE,
                                    listen=[("sockd-echo-0", listener)], expect_ready=False)
                daemon.wait_notify("^FDSTOREREMOVE=1\nFDNAME=sockd-echo-0$")
                listener.close()
                daemon.wait_notify("^READY=1$")
                daemon.wait_notify("^FDSTORE=1\nFDNAME=sockd-echo-0")
                client = self.udp() if transport == "udp" else self.connect()
                client.sendall(b"a\n")
                self.assertEqual(client.recv(10), b"a\n")
                self.assertEqual(self.stop(), 0)

    def test_a_stored_socket_file_in_the_way_of_another_kind_is_given_up(self):
        path = os.path.join(self.dir, "s")
        listener = self.stored(path)
        daemon = self.serve('handler = "echo"; transport = "unixgram"; path = "$dir/s";', env=STORE,
                            listen=[("sockd-echo-0", listener)], expect_ready=False)
        daemon.wait_notify("^FDSTOREREMOVE=1\nFDNAME=sockd-echo-0$")
        listener.close()
        daemon.wait_notify("^READY=1$")
        self.assertEqual(self.status()["services"]["echo"]["listeners"], ["unixgram " + path])

    def test_a_service_that_a_reload_removes_is_forgotten(self):
        daemon = self.serve('handler = "echo";', env=STORE)
        daemon.wait_notify("FDNAME=sockd-echo-0")
        self.write("sockd.conf", self.service('handler = "echo"; port = $port1;', name="other"))
        self.assertEqual(self.ctl("reload").returncode, 0)
        daemon.wait_notify("^FDSTORE=1\nFDNAME=sockd-other-0")
        daemon.wait_notify("^FDSTOREREMOVE=1\nFDNAME=sockd-echo-0$")

    def test_the_file_of_a_stored_unix_socket_stays_and_works_on(self):
        path = os.path.join(self.dir, "s")
        listener = self.stored(path)
        os.chmod(path, 0o600)
        inode = os.stat(path).st_ino
        self.serve('handler = "echo"; transport = "unix"; path = "$dir/s"; mode = "0660";', env=STORE,
                   listen=[("sockd-echo-0", listener)])
        listener.close()
        self.assertEqual((os.stat(path).st_ino, stat.S_IMODE(os.stat(path).st_mode)), (inode, 0o660))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"x\n")
            self.assertEqual(client.recv(10), b"x\n")
        self.stop()
        self.assertEqual(os.stat(path).st_ino, inode)

    def test_a_stored_unix_socket_whose_file_is_gone_is_bound_anew(self):
        path = os.path.join(self.dir, "s")
        listener = self.stored(path)
        os.unlink(path)
        daemon = self.serve('handler = "echo"; transport = "unix"; path = "$dir/s";', env=STORE,
                            listen=[("sockd-echo-0", listener)])
        daemon.wait_notify("^FDSTOREREMOVE=1\nFDNAME=sockd-echo-0$")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"x\n")
            self.assertEqual(client.recv(10), b"x\n")

    def test_who_waits_at_a_stored_socket_when_sockd_stops_is_not_taken(self):
        """So the next start can serve him: here the test itself holds the socket, as the store would."""
        listener = self.stored((self.addr, self.port()))
        self.serve('handler = "echo"; max_connections = 1;', top="workers = 1;", env=STORE, listen=[("sockd-echo-0", listener)])
        self.expect_fd_change()
        first = socket.create_connection((self.addr, self.port()))  # not self.connect(): stop() closes those
        first.sendall(b"1\n")
        self.assertEqual(first.recv(10), b"1\n")
        second = socket.create_connection((self.addr, self.port()))
        second.sendall(b"2\n")
        self.stop()
        listener.setblocking(False)
        accepted, _ = listener.accept()
        accepted.setblocking(True)
        self.assertEqual(accepted.recv(10), b"2\n")
        for s in (first, second, accepted):
            s.close()


if __name__ == "__main__":
    sockdtest.main()
