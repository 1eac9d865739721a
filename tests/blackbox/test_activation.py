"""Socket activation: sockets that systemd opened, and environments that lie. Row B13 of the catalogue."""
import os
import signal
import socket
import sys

import sockdtest
from sockdtest import SockdTest, describe_fds, open_sockets

ECHO = 'handler = "echo";'


class ActivationTest(SockdTest):
    def listener(self, port=None, addr=None, backlog=16):
        return self.keep(socket.create_server((addr or self.addr, port or self.port()), backlog=backlog))

    def unix_listener(self, name, kind=socket.SOCK_STREAM):
        sock = self.keep(socket.socket(socket.AF_UNIX, kind))
        sock.bind("\0" + name[1:] if name[0] == "@" else os.path.join(self.dir, name))
        if kind == socket.SOCK_STREAM:
            sock.listen(16)
        return sock

    def fail_with(self, status, conf, listen, *patterns):
        """Starts with inherited sockets and expects an end with STATUS and log lines that match."""
        self.start(conf, listen=listen, expect_ready=False)
        self.expect_log(*patterns)
        self.sockd.expected_status = status
        for pattern in patterns:
            self.wait_log(pattern)
        self.assertEqual(self.sockd.wait(), status)


class InheritTest(ActivationTest):
    def test_a_socket_belongs_to_the_service_of_its_name(self):
        one, two = self.listener(), self.listener(self.port(1))
        conf = ('services: { one: { host = "$addr"; port = $port; handler = "echo"; };\n'
                '  two: { host = "$addr"; port = $port1; handler = "daytime"; }; };')
        self.start(conf, listen=[("two", two), ("one", one)])
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.assertNotEqual(self.converse(b"", port=self.port(1)), b"")

    def test_a_lone_unnamed_socket_belongs_to_a_lone_service(self):
        for name in ("", "unknown", "sockd.socket"):
            with self.subTest(name):
                sock = self.listener()
                self.start(self.service(ECHO), listen=[(name, sock)])
                self.assertEqual(self.converse(b"x\n"), b"x\n")
                self.assertEqual(self.stop(), 0)
                sock.close()

    def test_a_service_that_inherited_a_socket_binds_none_itself(self):
        self.keep(socket.create_server((self.addr, self.port(1))))  # would be in the way
        host = 'host = [ "%s", "%s" ]; %s' % (self.addr, "127.0.0.1", ECHO)
        self.start(self.service(host), listen=[("echo", self.listener())])
        self.assertEqual(self.status()["services"]["echo"]["listeners"], ["tcp %s:%d" % (self.addr, self.port())])

    def test_connections_that_waited_before_the_start_are_served(self):
        sock = self.listener()
        clients = [self.connect() for _ in range(10)]
        for n, client in enumerate(clients):
            client.sendall(b"%d\n" % n)
        self.start(self.service(ECHO), listen=[("echo", sock)])
        for n, client in enumerate(clients):
            self.assertEqual(client.recv(10), b"%d\n" % n)

    def test_B11_what_waits_while_no_daemon_runs_is_served_by_the_next(self):
        sock = self.listener()
        self.start(self.service(ECHO), listen=[("echo", sock)])
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.sockd.signal(signal.SIGTERM)
        self.assertEqual(self.sockd.wait(), 0)
        client = self.connect()
        client.sendall(b"between\n")
        self.start(self.service(ECHO), listen=[("echo", sock)])
        self.assertEqual(client.recv(10), b"between\n")

    def test_an_inherited_socket_stays_the_same_over_a_reload(self):
        self.start(self.service(ECHO), listen=[("echo", self.listener())])
        self.assertEqual(self.reload(self.service('handler = "echo"; max_request = "1k";')).returncode, 0)
        self.assertEqual(self.converse(b"x\n"), b"x\n")

    def test_a_reload_that_moves_a_service_away_from_its_inherited_socket_is_rolled_back(self):
        self.start(self.service(ECHO), listen=[("echo", self.listener())])
        self.expect_log("none of those that the configuration names", "reload failed")
        done = self.reload(self.service('port = $port1; handler = "echo";'))
        self.assertEqual(done.returncode, 1)
        self.assertIn("the socket that systemd handed over, %s port %d, is none of those" % (self.addr, self.port()),
                      done.stderr)
        self.assertEqual(self.converse(b"x\n"), b"x\n")

    def test_all_transports_are_inherited_and_the_files_stay(self):
        udp = self.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind((self.addr, self.port()))
        listen = [("echo", udp), ("stream", self.unix_listener("s.sock")),
                  ("gram", self.unix_listener("g.sock", socket.SOCK_DGRAM)), ("abstract", self.unix_listener(self.abstract()))]
        self.start('services: { echo: { transport = "udp"; host = "$addr"; port = $port; handler = "echo"; };\n'
                   '  stream: { transport = "unix"; path = "$dir/s.sock"; handler = "echo"; };\n'
                   '  gram: { transport = "unixgram"; path = "$dir/g.sock"; handler = "echo"; };\n'
                   '  abstract: { transport = "unix"; path = "%s"; handler = "echo"; }; };' % self.abstract(), listen=listen)
        client = self.udp()
        client.send(b"datagram")
        self.assertEqual(client.recv(100), b"datagram")
        for path in ("s.sock", self.abstract()):
            client = self.unix(path)
            client.sendall(b"x\n")
            self.assertEqual(client.recv(10), b"x\n")
        client = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        client.bind(os.path.join(self.dir, "client.sock"))
        client.sendto(b"gram", os.path.join(self.dir, "g.sock"))
        self.assertEqual(client.recv(10), b"gram")
        self.assertEqual(self.stop(), 0)
        for name in ("s.sock", "g.sock"):
            self.assertTrue(os.path.exists(os.path.join(self.dir, name)))

    def abstract(self):
        return "@sockd-test-%d" % self.port()

    def test_a_dual_stack_socket_serves_a_service_on_every_address(self):
        if not socket.has_dualstack_ipv6():
            self.skipTest("this machine has no IPv6")
        sock = self.keep(socket.create_server(("::", self.port()), family=socket.AF_INET6, dualstack_ipv6=True))
        self.start(self.service('host = "*"; handler = "echo";'), listen=[("echo", sock)])
        self.assertEqual(self.converse(b"x\n", addr=self.addr), b"x\n")
        self.assertEqual(self.converse(b"x\n", addr="::1"), b"x\n")

    def test_systemd_socket_activate_starts_it_at_the_first_connection(self):
        self.start(self.service(ECHO), socket_activate=["--fdname=echo", "-l", "%s:%d" % (self.addr, self.port())],
                   expect_ready=False)
        self.wait_for(self.connects, what="systemd-socket-activate to listen")
        self.wait_notify("^READY=1$")
        self.assertEqual(self.converse(b"x\n"), b"x\n")

    def connects(self):
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def test_a_worker_holds_the_inherited_listener_and_its_channel_alone(self):
        self.start(self.service(ECHO, top="workers = 1;"), listen=[("echo", self.listener())])
        pid, = self.pids()
        self.assertEqual(len(open_sockets(pid)), 2, describe_fds(pid))


class HostileTest(ActivationTest):
    def test_B13_a_name_that_no_service_has_is_an_error(self):
        self.fail_with(78, self.service(ECHO), [("nobody", self.listener())],
                       'socket activation: descriptor 3 is for "nobody", and there is no such service')

    def test_B13_unnamed_sockets_of_several_services_are_an_error(self):
        conf = ('services: { one: { host = "$addr"; port = $port; handler = "echo"; };\n'
                '  two: { host = "$addr"; port = $port1; handler = "echo"; }; };')
        self.fail_with(78, conf, [("unknown", self.listener())],
                       "descriptor 3 has no service's name .*; set FileDescriptorName=")

    def test_B13_a_name_with_odd_bytes_is_escaped(self):
        self.fail_with(78, self.service(ECHO), [("a\x1b[31m\nb", self.listener())], r"descriptor 3 is for \"a\\x1b\[31m\\nb\"")

    def test_B13_a_socket_of_another_type_is_an_error(self):
        seqpacket = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        seqpacket.bind(os.path.join(self.dir, "x"))
        seqpacket.listen(1)
        self.fail_with(78, self.service(ECHO), [("echo", seqpacket)],
                       "echo: cannot use the inherited descriptor 3: no transport of sockd has sockets of this type")

    def test_B13_a_connection_instead_of_a_listener_is_an_error(self):
        pair = [self.keep(sock) for sock in socket.socketpair()]
        self.fail_with(78, self.service(ECHO), [("echo", pair[0])], "inherited descriptor 3: .* does not listen")

    def test_B13_a_file_is_no_socket(self):
        with open(self.write("file", "")) as f:
            self.fail_with(78, self.service(ECHO), [("echo", f)], "inherited descriptor 3: it is not a socket")

    def test_B13_a_socket_at_another_address_is_an_error(self):
        self.fail_with(78, self.service(ECHO), [("echo", self.listener(self.port(1)))],
                       "echo: the socket that systemd handed over, %s port %d, is none of those" % (self.addr, self.port(1)))

    def test_B13_a_socket_for_a_service_that_is_not_enabled_is_an_error(self):
        conf = ('services: { echo: { enabled = false; host = "$addr"; port = $port; handler = "echo"; };\n'
                '  two: { host = "$addr"; port = $port1; handler = "echo"; }; };')
        self.fail_with(78, conf, [("echo", self.listener())],
                       "descriptor 3 is for the service echo, which is not enabled")

    def test_B13_the_same_socket_twice_is_an_error(self):
        sock = self.listener()
        self.fail_with(78, self.service(ECHO), [("echo", sock), ("echo", sock)], "descriptor 4: it was handed over twice")

    def start_with(self, **env):
        """Starts sockd with LISTEN variables that are filled in as they stand; "PID" is its own pid."""
        code = ("import os, sys\n"
                "os.environ.update((k, v.replace('PID', str(os.getpid()))) for k, v in (a.split('=', 1) for a in sys.argv[2:]))\n"
                "os.execv(sys.argv[1], [sys.argv[1], '-f', 'sockd.conf', '--control', 'control.sock'])\n")
        self.write("sockd.conf", self.service(ECHO))
        command = [sys.executable, "-c", code, os.path.join(sockdtest.BUILD, "sockd"), *("%s=%s" % pair for pair in env.items())]
        self.sockd = sockdtest.Daemon(command, self.dir, {})
        self.sockd.fd_baseline = {}
        self.daemons.append(self.sockd)

    def test_B13_variables_for_another_process_are_ignored_with_a_warning(self):
        self.start_with(LISTEN_PID="1", LISTEN_FDS="3")
        self.expect_log("LISTEN_FDS is meant for another process")
        self.wait_notify("^READY=1$")
        self.wait_log("LISTEN_FDS is meant for another process")
        self.assertEqual(self.converse(b"x\n"), b"x\n")

    def test_B13_a_descriptor_that_is_not_open_is_an_error(self):
        for number in ("1", "7", "1000000"):
            with self.subTest(number):
                self.start_with(LISTEN_PID="PID", LISTEN_FDS=number)
                self.expect_log("LISTEN_FDS promises")
                self.sockd.expected_status = 78
                self.wait_log("the sockets that LISTEN_FDS promises cannot be taken: Bad file descriptor")
                self.assertEqual(self.sockd.wait(), 78)

    def test_B13_a_number_that_is_none_is_an_error(self):
        for number in ("x", "-1", "99999999999999999999", ""):
            with self.subTest(number):
                self.start_with(LISTEN_PID="PID", LISTEN_FDS=number)
                self.expect_log("LISTEN_FDS promises")
                self.sockd.expected_status = 78
                self.wait_log("the sockets that LISTEN_FDS promises cannot be taken: ")
                self.assertEqual(self.sockd.wait(), 78)


if __name__ == "__main__":
    sockdtest.main()
