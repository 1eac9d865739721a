"""Listening: every form of host, port, path and transport, and what is said when it cannot be."""
import grp
import os
import socket
import stat
import subprocess

import sockdtest
from netns import NamespaceTest
from sockdtest import SockdTest

ECHO = 'handler = "echo";'


class ListenTest(SockdTest):
    def listeners(self, service="echo"):
        return self.status()["services"][service]["listeners"]

    def need_ipv6(self):
        try:
            socket.create_server(("::1", self.port(15)), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("this machine has no IPv6")

    def serves(self, **where):
        self.assertEqual(self.converse(b"x\n", **where), b"x\n")

    def fail_to_start(self, conf, status, *patterns):
        path = self.write("sockd.conf", conf)
        done = self.run_sockd("-f", path, "--control", os.path.join(self.dir, "control.sock"))
        self.assertEqual(done.returncode, status, done.stderr)
        for pattern in patterns:
            self.assertRegex(done.stderr, pattern)
        return done.stderr


class InetTest(ListenTest):
    def test_a_name_stands_for_all_its_addresses(self):
        self.need_ipv6()
        try:
            addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)}
        except socket.gaierror:
            self.skipTest("this machine knows no localhost")
        self.serve('host = "localhost"; handler = "echo";')
        self.assertEqual(len(self.listeners()), len(addresses))
        for addr in addresses:
            self.serves(addr=addr)

    def test_localhost_is_the_default(self):
        self.start('services: { echo: { port = $port; handler = "echo"; }; };')
        self.serves(addr="127.0.0.1")

    def test_a_list_of_hosts(self):
        self.serve('host = [ "$addr", "127.0.0.1", "localhost" ]; handler = "echo";')
        self.assertEqual(len(set(self.listeners())), len(self.listeners()))
        self.serves()
        self.serves(addr="127.0.0.1")

    def test_ipv6_alone_is_not_ipv4(self):
        self.need_ipv6()
        self.serve('host = "::1"; handler = "echo";')
        self.assertEqual(self.listeners(), ["tcp [::1]:%d" % self.port()])
        self.serves(addr="::1")
        with self.assertRaises(ConnectionRefusedError):
            self.connect(addr="127.0.0.1")

    def test_D15_a_star_and_an_empty_host_are_every_address_of_both_families_apart(self):
        self.need_ipv6()
        for host in ("*", ""):
            with self.subTest(host):
                self.serve('host = "%s"; handler = "echo";' % host)
                self.assertEqual(sorted(self.listeners()), ["tcp 0.0.0.0:%d" % self.port(), "tcp [::]:%d" % self.port()])
                self.serves()
                self.serves(addr="::1")
                self.assertEqual(self.stop(), 0)

    def test_D15_a_wildcard_of_each_family_can_be_its_own_service(self):
        self.need_ipv6()
        self.start('services: { four: { host = "0.0.0.0"; port = $port; handler = "echo"; };\n'
                   '  six: { host = "::"; port = $port; handler = "daytime"; }; };')
        self.serves()
        self.assertNotEqual(self.converse(b"", addr="::1"), b"")

    def test_a_port_may_be_a_service_name(self):
        try:
            socket.getservbyname("daytime")
        except OSError:
            self.skipTest("this machine has no /etc/services (package netbase)")
        stderr = self.fail_to_start('services: { e: { host = "192.0.2.1"; port = "daytime"; handler = "echo"; }; };', 71)
        self.assertIn("192.0.2.1 port 13", stderr)

    def test_udp_and_tcp_share_a_port(self):
        self.serve('transport = [ "udp", "tcp" ]; handler = "echo";')
        self.assertEqual(sorted(self.listeners()), ["%s %s:%d" % (t, self.addr, self.port()) for t in ("tcp", "udp")])
        client = self.udp()
        client.send(b"datagram")
        self.assertEqual(client.recv(100), b"datagram")
        self.serves()

    def test_options_that_every_connection_inherits(self):
        self.serve(ECHO)
        client = self.connect()
        client.sendall(b"x\n")
        self.assertEqual(client.recv(10), b"x\n")
        self.need("ss")
        out = self.run_ss("-tnoi", "sport = :%d" % self.port())
        self.assertIn("timer:(keepalive,", out)

    def run_ss(self, *args):
        return subprocess.run(["ss", "-H", *args], capture_output=True, text=True, check=True).stdout

    def test_a_restart_does_not_wait_for_old_connections(self):
        for _ in range(3):
            self.serve(ECHO)
            client = self.connect()
            client.sendall(b"x\n")
            self.assertEqual(client.recv(10), b"x\n")
            self.sockd.signal(15)  # the daemon closes first: TIME_WAIT is on its side
            self.assertEqual(client.recv(10), b"")
            self.assertEqual(self.sockd.wait(), 0)


class UnixTest(ListenTest):
    def unix_service(self, keys="", transport="unix", path="$dir/s.sock"):
        return 'services: { echo: { transport = "%s"; path = "%s"; handler = "echo"; %s }; };' % (transport, path, keys)

    def path(self, name="s.sock"):
        return os.path.join(self.dir, name)

    def serves_unix(self, path="s.sock"):
        client = self.unix(path)
        client.sendall(b"x\n")
        self.assertEqual(client.recv(10), b"x\n")

    def test_a_path_has_the_mode_and_the_group_that_were_asked_for(self):
        group = grp.getgrgid(os.getgid()).gr_name
        self.start(self.unix_service('mode = "0606"; group = "%s";' % group))
        st = os.stat(self.path())
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_gid), (0o606, os.getgid()))
        self.serves_unix()
        self.assertEqual(self.stop(), 0)
        self.assertFalse(os.path.exists(self.path()))

    def test_a_group_that_the_daemon_may_not_give_a_file_to(self):
        """Starting again does not mend it, so it is an error of the configuration."""
        if os.getuid() != 0:
            self.skipTest("needs root, to take a right of root away")
        self.need("setpriv")
        group = next(g.gr_name for g in grp.getgrall() if g.gr_gid != os.getgid())
        path = self.write("sockd.conf", self.unix_service('group = "%s";' % group))
        command = ["setpriv", "--bounding-set=-chown", "--clear-groups", os.path.join(sockdtest.BUILD, "sockd"), "-f", path,
                   "--control", self.path("control.sock")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=sockdtest.TIMEOUT)
        self.assertEqual(done.returncode, 78)
        self.assertIn('echo: cannot give unix %s to group "%s": the user of the daemon must be in that group '
                      "(SupplementaryGroups=%s in a drop-in of the unit), or be root" % (self.path(), group, group), done.stderr)
        self.assertFalse(os.path.exists(self.path()))

    def test_0660_is_the_default_mode(self):
        self.start(self.unix_service())
        self.assertEqual(stat.S_IMODE(os.stat(self.path()).st_mode), 0o660)

    def test_an_abstract_name(self):
        name = "@sockd-test-%d" % self.port()
        self.start(self.unix_service(path=name))
        self.assertEqual(self.listeners(), ["unix " + name])
        self.serves_unix(name)

    def test_datagrams(self):
        self.start(self.unix_service(transport="unixgram"))
        client = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        client.bind(self.path("client.sock"))
        client.sendto(b"gram", self.path())
        self.assertEqual(client.recv(100), b"gram")

    def test_a_stale_file_is_replaced(self):
        for transport, kind in (("unix", socket.SOCK_STREAM), ("unixgram", socket.SOCK_DGRAM)):
            with self.subTest(transport):
                with socket.socket(socket.AF_UNIX, kind) as stale:
                    stale.bind(self.path())
                inode = os.stat(self.path()).st_ino
                self.start(self.unix_service(transport=transport))
                self.assertTrue(os.path.exists(self.path()))
                self.assertEqual(self.listeners(), ["%s %s" % (transport, self.path())])
                self.assertEqual(self.stop(), 0)
                self.assertFalse(os.path.exists(self.path()), inode)

    def test_A22_a_live_socket_is_refused_and_never_removed(self):
        for transport, kind in (("unix", socket.SOCK_STREAM), ("unixgram", socket.SOCK_DGRAM)):
            with self.subTest(transport), socket.socket(socket.AF_UNIX, kind) as live:
                live.bind(self.path())
                if kind == socket.SOCK_STREAM:
                    live.listen(4)
                inode = os.stat(self.path()).st_ino
                self.fail_to_start(self.unix_service(transport=transport), 71,
                                   "echo: cannot listen on %s .*: Address already in use; another process answers" % transport)
                self.assertEqual(os.stat(self.path()).st_ino, inode)
                os.unlink(self.path())

    def test_a_file_that_is_no_socket_is_left_alone(self):
        self.write("s.sock", "precious")
        self.fail_to_start(self.unix_service(), 71, "echo: cannot listen on unix .*: File exists; it is not a socket")
        with open(self.path()) as f:
            self.assertEqual(f.read(), "precious")

    def test_a_directory_that_is_not_there(self):
        self.fail_to_start(self.unix_service(path="$dir/none/s.sock"), 71, "No such file or directory; the directory must exist")

    def test_a_file_that_was_replaced_by_another_daemon_is_not_removed(self):
        self.start(self.unix_service())
        os.unlink(self.path())
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path())
            self.assertEqual(self.stop(), 0)
            self.assertTrue(os.path.exists(self.path()))


class FailureTest(ListenTest):
    def test_all_listeners_are_tried_and_all_errors_are_told(self):
        taken = [self.keep(socket.create_server((self.addr, self.port(n)))) for n in (0, 1)]
        self.assertEqual(len(taken), 2)
        services = "".join('  s%d: { host = "$addr"; port = $port%d; handler = "echo"; };\n' % (n, n) for n in range(3))
        stderr = self.fail_to_start("services: {\n%s};" % services, 71)
        for n in (0, 1):
            self.assertIn("s%d: cannot listen on %s port %d: Address already in use; another program has this port, as "
                          "a listener or for a connection (see ss -tanp)" % (n, self.addr, self.port(n)), stderr)
        self.assertNotIn("s2: ", stderr)

    def test_a_port_that_an_outgoing_connection_has(self):
        server = self.keep(socket.create_server((self.addr, self.port(1))))
        self.keep(socket.create_connection(server.getsockname(), source_address=(self.addr, self.port())))
        self.fail_to_start(self.service('handler = "echo";'), 71,
                           r"echo: cannot listen on %s port %d: .* or for a connection \(see ss" % (self.addr, self.port()))

    def test_a_udp_port_that_is_taken(self):
        self.udp(port=0, source=(self.addr, self.port()))
        self.fail_to_start(self.service('transport = "udp"; handler = "echo";'), 71,
                           r"echo: cannot listen on %s port %d \(udp\): Address already in use; .*ss -uanp" % (self.addr, self.port()))

    def test_an_address_that_no_interface_has(self):
        self.fail_to_start(self.service('host = "192.0.2.1"; handler = "echo";'), 71,
                           "Cannot assign requested address; no interface of this machine has this address")

    def test_a_host_that_cannot_be_looked_up(self):
        self.fail_to_start(self.service('host = "no-such-host.invalid"; handler = "echo";'), 71,
                           'echo: cannot look up host "no-such-host.invalid": ')

    def test_two_services_on_one_address_that_a_name_hides(self):
        self.fail_to_start('services: { one: { host = "127.0.0.1"; port = $port; handler = "echo"; };\n'
                           '  two: { host = "localhost"; port = $port; handler = "echo"; }; };', 71,
                           "two: cannot listen on 127.0.0.1 port %d: service one does already" % self.port())

    def test_two_services_on_one_socket_file_that_a_link_hides(self):
        os.symlink(".", os.path.join(self.dir, "link"))
        for transport in "unix", "unixgram":
            self.fail_to_start('services: { one: { transport = "unix"; path = "$dir/s.sock"; handler = "echo"; };\n'
                               '  two: { transport = "%s"; path = "$dir/link/s.sock"; handler = "echo"; }; };' % transport, 71,
                               "two: cannot listen on %s .*/link/s.sock: service one does already, on unix .*/s.sock\n" % transport)

    def test_an_address_of_its_own_beside_every_address_that_a_name_hides(self):
        self.fail_to_start('services: { one: { host = "0.0.0.0"; port = $port; handler = "echo"; };\n'
                           '  two: { host = "localhost"; port = $port; handler = "echo"; }; };', 71,
                           "two: cannot listen on 127.0.0.1 port %d: service one does already, on 0.0.0.0 port %d\n"
                           % (self.port(), self.port()))

    def test_the_control_socket_is_no_service(self):
        for path in "$dir/control.sock", "$dir/./control.sock":
            self.fail_to_start('services: { e: { transport = "unix"; path = "%s"; handler = "echo"; }; };' % path, 78,
                               "e: cannot listen on unix .*control.sock: it is the control socket of this sockd")

    def test_from_one_address_to_every_address_needs_a_step_between(self):
        self.serve(ECHO)
        self.expect_log("cannot listen on 0.0.0.0", "reload failed")
        every = self.service('host = "0.0.0.0"; handler = "echo";')
        done = self.reload(every)
        self.assertEqual(done.returncode, 1)
        self.assertIn("echo: cannot listen on 0.0.0.0 port %d: sockd itself still listens on %s port %d; reload without that "
                      "first, or restart\n" % (self.port(), self.addr, self.port()), done.stderr)
        self.serves()
        self.assertEqual(self.reload(self.service("port = $port1; " + ECHO)).returncode, 0)
        self.assertEqual(self.reload(every).returncode, 0)
        self.serves()

    def test_what_was_opened_before_a_failure_is_closed_and_removed(self):
        self.keep(socket.create_server((self.addr, self.port())))
        self.fail_to_start('services: { a: { transport = "unix"; path = "$dir/a.sock"; handler = "echo"; };\n'
                           '  b: { host = "$addr"; port = $port; handler = "echo"; }; };', 71, "b: cannot listen")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "a.sock")))


class WithoutIpv6Test(NamespaceTest):
    def test_an_address_of_a_family_that_the_machine_lacks_is_left_out_with_a_notice(self):
        self.new_namespace()
        self.sysctl("ipv6/conf/all/disable_ipv6", 1)
        self.serve('host = [ "127.0.0.1", "::1" ]; handler = "echo";')
        self.wait_log(r"\] echo: ::1 port %d is left out: this machine has no IPv6" % self.port())
        self.assertEqual(self.converse(b"x\n", addr="127.0.0.1"), b"x\n")

    def test_a_service_that_has_no_address_left_is_an_error(self):
        self.new_namespace()
        self.sysctl("ipv6/conf/all/disable_ipv6", 1)
        path = self.write("sockd.conf", self.service('host = "::1"; handler = "echo";'))
        done = self.run_sockd("-f", path, "--control", os.path.join(self.dir, "control.sock"))
        self.assertEqual(done.returncode, 71)
        self.assertIn("echo: cannot listen: this machine has none of its addresses", done.stderr)


if __name__ == "__main__":
    sockdtest.main()
