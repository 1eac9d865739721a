"""A reload cuts nobody: connections go on in the new generation. Rows B1 and B6.

The whole of row B1, 200,000 connections over at least 100 reloads, is tests/soak/reload.py; here is a sample of it.
"""
import os
import signal
import socket
import threading
import time

import sockdtest
from sockdtest import SockdTest, count_fds

ECHO = 'handler = "echo"; '
# Unfinished requests that last as long as the test, on any machine.
PATIENT = ECHO + 'request_timeout = "1h"; '


class HandoverTest(SockdTest):
    def ask(self, sock, line):
        sock.sendall(line + b"\n")
        self.assertEqual(self.receive(sock, len(line) + 1), line + b"\n")

    def test_an_idle_connection_goes_on_and_the_old_generation_ends(self):
        self.serve(ECHO, top="workers = 2;")
        clients = [self.connect() for _ in range(20)]
        for n, client in enumerate(clients):
            self.ask(client, b"before %d" % n)
        self.reload_to(ECHO + 'max_request = "128k";', top="workers = 2;")
        self.wait_for_one_generation()
        for n, client in enumerate(clients):
            self.ask(client, b"after %d" % n)
        self.assertEqual(self.counter("connections"), 20)
        self.assertEqual(self.counter("accepted"), 20)

    def test_connections_of_few_helpers_go_on_where_these_are(self):
        keys = 'handler = "helper"; command = "/bin/cat"; helpers = %d; '
        self.serve(keys % 1, top="workers = 3;")
        clients = []
        for n in range(8):
            clients.append(self.connect())
            for client in clients:
                self.ask(client, b"before")
            self.reload_to(keys % (1 + n % 4) + 'max_request = "%dk";' % (100 + n), top="workers = 3;")
            self.wait_for_one_generation()
        for client in clients:
            self.ask(client, b"after")
        self.assertEqual(self.counter("connections"), 8)

    def test_a_thousand_services_are_handed_over_and_removed(self):
        def conf(n, more=""):
            return 'workers = 1; services: { %s };' % " ".join(
                's%d: { transport = "unix"; path = "$dir/%d"; handler = "echo"; %s };' % (i, i, more) for i in range(n))
        self.start(conf(1000))
        clients = [self.unix(str(n)) for n in (0, 1, 500, 998, 999)]
        for client in clients:
            self.ask(client, b"before")
        self.assertEqual(self.reload(conf(1000, 'max_request = "80k";')).returncode, 0)
        self.wait_for_one_generation()
        self.assertEqual(self.reload(conf(1)).returncode, 0)
        for client in clients:
            self.ask(client, b"after")

    def start_many(self):
        """More services than a channel holds words."""
        self.start("workers = 1;\nservices:\n{\n%s};\n" % "".join(
            '  s%d: { path = "$dir/%d.sock"; transport = "unix"; handler = "echo"; max_connections = 10; };\n' % (i, i)
            for i in range(600)))

    def test_a_worker_that_is_slow_to_hear_of_a_stop_with_many_services_finishes_what_it_has(self):
        self.start_many()
        client = self.unix("300.sock")
        client.sendall(b"unfin")
        self.wait_counter("bytes_in", 5, service="s300")
        worker, = self.pids()
        os.kill(worker, signal.SIGSTOP)
        self.expect_fd_change()
        self.sockd.signal(signal.SIGTERM)
        self.wait_log("stopping: 1 connection")
        os.kill(worker, signal.SIGCONT)
        client.sendall(b"ished\n")
        self.assertEqual(self.receive(client, 11), b"unfinished\n")
        self.assertEqual(self.sockd.wait(), 0)

    def test_a_worker_that_is_slow_to_hear_of_many_services_cuts_nobody(self):
        self.start_many()
        clients = [self.unix("%d.sock" % n) for n in (0, 300, 599)]
        for client in clients:
            self.ask(client, b"before")
        worker, = self.pids()
        os.kill(worker, signal.SIGSTOP)
        reload = threading.Thread(target=self.reload)
        reload.start()
        self.wait_for(lambda: self.status()["generation"] == 2)
        os.kill(worker, signal.SIGCONT)
        reload.join()
        self.wait_for_one_generation()
        for client in clients:
            self.ask(client, b"after")

    def test_half_a_message_travels(self):
        self.serve(ECHO + 'framing = "netstring"; max_request = "1m";')
        for size in (1, 4000, 40000):
            client = self.connect()
            text = b"%d:%s," % (size, b"x" * size)
            client.sendall(text[:-size // 2])
            self.wait_counter("bytes_in", 1)
            self.reload_to(ECHO + 'framing = "netstring"; max_request = "%d";' % (2000000 + size))
            self.wait_for_one_generation()
            client.sendall(text[-size // 2:])
            self.assertEqual(self.receive(client, len(text)), text)

    def test_a_message_too_long_to_travel_is_finished_where_it_is(self):
        self.serve(ECHO + 'framing = "netstring"; max_request = "1m";')
        client = self.connect()
        text = b"500000:" + b"x" * 500000 + b","
        client.sendall(text[:300000])
        self.wait_for(lambda: self.counter("connections") == 1)
        self.reload_to(ECHO + 'framing = "netstring"; max_request = "2m";')
        client.sendall(text[300000:])
        self.assertEqual(self.receive(client, len(text)), text)
        self.wait_for_one_generation()
        client.sendall(b"2:ok,")
        self.assertEqual(self.receive(client, 5), b"2:ok,")

    def test_a_half_closed_client_gets_its_reply(self):
        self.serve(ECHO + 'framing = "close";')
        client = self.connect()
        client.sendall(b"all of it")
        self.wait_counter("connections", 1)
        self.reload_to(ECHO + 'framing = "close"; max_request = "128k";')
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.receive_all(client), b"all of it")

    def test_another_framing_lets_old_connections_end_as_they_began(self):
        self.serve(ECHO)
        client = self.connect()
        self.ask(client, b"a line")
        self.reload_to(ECHO + 'framing = "netstring";')
        self.ask(client, b"still a line")
        self.assertEqual(self.converse(b"3:new,"), b"3:new,")
        client.close()
        self.wait_for_one_generation()

    def test_a_removed_service_serves_on_until_its_clients_leave(self):
        self.serve(ECHO)
        client = self.connect()
        self.ask(client, b"one")
        self.reload_to('port = $port1; ' + ECHO, name="other")
        self.ask(client, b"two")
        client.close()
        self.wait_for_one_generation()

    def test_timeouts_run_on_over_reloads(self):
        self.serve(ECHO + 'request_timeout = "3s";')
        self.sockd.wait_log("generation 1")
        self.expect_log("request_timeout")
        client = self.connect()
        began = time.monotonic()
        client.sendall(b"unfinished")
        ended = threading.Event()
        threading.Thread(target=lambda: (client.recv(1), ended.set()), daemon=True).start()
        n = 0
        while not ended.wait(0.1):
            n += 1
            self.reload_to(ECHO + 'request_timeout = "3s"; max_request = "%dk";' % (64 + n))
            self.assertLess(time.monotonic() - began, 10 * sockdtest.SLOW)
        self.assertGreater(n, 1)

    def test_the_number_of_one_source_travels(self):
        self.expect_log("refused")
        self.serve(ECHO + "max_connections_per_source = 2;", top="workers = 2;")
        clients = [self.connect(), self.connect()]
        for client in clients:
            self.ask(client, b"in")
        self.reload_to(ECHO + 'max_connections_per_source = 2; max_request = "128k";', top="workers = 2;")
        self.wait_for_one_generation()
        self.assertEqual(self.connect().recv(1), b"")
        clients[0].close()
        self.wait_for(lambda: self.counter("connections") == 1)
        self.ask(self.connect(), b"in again")

    def test_B6_100_reloads_with_sessions_that_never_end(self):
        self.serve(ECHO, top="workers = 2;")
        clients = [self.connect() for _ in range(10)]
        for client in clients:
            self.ask(client, b"here")
        fds = count_fds(self.sockd.pid)
        for n in range(100):
            self.reload_to(ECHO + 'max_request = "%dk";' % (65 + n % 2), top="workers = 2;")
        self.wait_for_one_generation()
        for client in clients:
            self.ask(client, b"still here")
        self.assertLessEqual(abs(count_fds(self.sockd.pid) - fds), 2)

    def test_B1_reloads_under_load_cut_nobody(self):
        self.serve(PATIENT, top="workers = 2;")
        lasting = [self.connect() for _ in range(8)]
        for n, client in enumerate(lasting):
            client.sendall(b"half %d" % n)
        done, failures, served = threading.Event(), [], [0, 0]

        def load(me):
            while not done.is_set():
                try:
                    with socket.create_connection((self.addr, self.port())) as client:
                        client.sendall(b"request\n")
                        reply = self.receive(client, 8)
                        served[me] += 1
                        if reply != b"request\n":
                            failures.append(reply)
                except OSError as error:
                    failures.append(error)

        threads = [threading.Thread(target=load, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for n in range(40):
            self.reload_to(PATIENT + 'max_request = "%dk";' % (65 + n % 2), top="workers = 2;")
        done.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(min(served), 0)
        for n, client in enumerate(lasting):
            client.sendall(b", rest\n")
            self.assertEqual(self.receive(client, 13), b"half %d, rest\n" % n)


if __name__ == "__main__":
    sockdtest.main()
