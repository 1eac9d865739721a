"""States that last are told twice, at both edges, with their length and what they cost; and status agrees with the log."""
import os
import re
import resource
import socket
import threading

import sockdtest
from sockdtest import SockdTest

# Answers "wait" when somebody has the pipe "go" open for writing.
HELPER = """#!/usr/bin/python3
import sys
for line in sys.stdin:
    if line == "wait\\n":
        open("$dir/go").close()
    print("done", flush=True)
"""

CONF = """
workers = 1; host = "$addr";
services:
{
  price: { port = $port; handler = "helper"; command = "$dir/helper"; helpers = 2; helper_pipeline = 1;
           helper_queue = 3; error_reply = "full"; queue_timeout = "5m"; handler_timeout = "5m"; };
  wait: { port = $port1; handler = "echo"; max_connections = 2; };
  refuse: { port = $port2; handler = "echo"; max_connections = 1; overload = "refuse"; };
  rate: { port = $port3; handler = "echo"; max_connection_rate = 5; };
  source: { port = $port4; handler = "echo"; max_connections_per_source = 1; };
  well: { port = $port5; handler = "echo"; };
};
"""


class ShortageTest(SockdTest):
    def keep_busy(self, over, port, seconds=0.2):
        """Connects again and again, and lets each go."""
        def run():
            while not over.wait(seconds):
                sock = socket.socket()
                sock.settimeout(sockdtest.TIMEOUT)
                try:
                    sock.connect((self.addr, self.port(port)))
                    sock.close()
                except OSError:
                    pass

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def told(self, service, pattern):
        return [line for line in self.sockd.log if re.search(r"\] (warning: )?%s: %s" % (service, pattern), line)]

    def number(self, pattern):
        """The number in the line that matches."""
        return int(self.wait_log(pattern)[1])

    def test_states_that_last_are_told_at_both_edges_and_are_the_verdict(self):
        self.write("helper", HELPER, 0o755)
        os.mkfifo(os.path.join(self.dir, "go"))
        self.expect_log("for [0-9.]+ s(;|$)", "suppressed")
        self.start(CONF)
        over = threading.Event()
        # Two helpers work, three requests wait, and two are refused.
        asking = [self.connect() for _ in range(7)]
        for client in asking[:2]:
            client.sendall(b"wait\n")
        self.wait_counter("helpers_busy", 2, service="price")
        for client in asking[2:5]:
            client.sendall(b"0\n")
        self.wait_counter("queue", 3, service="price")
        for client in asking[5:]:
            client.sendall(b"0\n")
            self.assertEqual(client.recv(100), b"full\n")
        holding = [self.connect(self.port(1)) for _ in range(5)]  # two are served
        only = self.connect(self.port(2))
        only.sendall(b"x\n")
        self.assertEqual(only.recv(100), b"x\n")
        mine = self.connect(self.port(4))
        threads = [self.keep_busy(over, 2), self.keep_busy(over, 3, 0.1), self.keep_busy(over, 4)]
        try:
            self.wait_log(r"warning: price: all 2 helpers busy for [5-7](\.\d+)? s; 3 requests wait, oldest [0-9.]+ s; 2 requests refused$")
            self.wait_log(r"warning: wait: max_connections \(2\) reached for [5-7](\.\d+)? s; 3 connections wait$")
            self.wait_log(r"warning: refuse: max_connections \(1\) reached for [5-7](\.\d+)? s; \d+ connections refused$")
            self.wait_log(r"warning: rate: max_connection_rate \(5\) reached for [5-7](\.\d+)? s; \d+ connections? waits?$")
            self.wait_log(r"\] source: sources over their limit for [5-7](\.\d+)? s; \d+ connections or datagrams refused$")
            status = self.status()
            self.assertEqual(status["verdict"], "degraded")
            degraded = {name for name, service in status["services"].items() if service["state"] == "degraded"}
            self.assertEqual(degraded, {"price", "wait", "refuse", "rate"})
            self.assertRegex(status["services"]["wait"]["why"], r"^max_connections \(2\) reached for [0-9.]+ s; 3 connections wait$")
            self.assertRegex(status["why"], r"^price: all 2 helpers busy for [0-9.]+ s; 3 requests wait")
        finally:
            over.set()
            for thread in threads:
                thread.join()
            self.addCleanup(os.close, os.open(os.path.join(self.dir, "go"), os.O_RDWR))
        for client in holding + [only, mine]:
            client.close()
        self.wait_log(r"\] price: helpers free again after [0-9.]+ s; 2 requests refused; at most 3 waited at once$")
        self.wait_log(r"\] wait: limit no longer reached after [0-9.]+ s; at most 3 waited at once$")
        refused = self.number(r"\] refuse: limit no longer reached after [0-9.]+ s; (\d+) connections refused")
        self.wait_log(r"\] rate: max_connection_rate no longer reached after")
        turned_away = self.number(r"\] source: no source is over its limit any more after [0-9.]+ s; (\d+) connections or")
        services = self.status()["services"]
        self.assertEqual(refused, services["refuse"]["refused_limit"])
        self.assertEqual(turned_away, services["source"]["refused_source"])
        self.wait_for(lambda: self.status()["verdict"] == "well")
        self.assertEqual(self.told("well", ""), [])
        for service in ("price", "wait", "refuse", "rate", "source"):
            lines = [line for line in self.told(service, "") if not re.search("refused: |failed: |suppressed", line)]
            self.assertEqual(len(lines), 2, lines)

    def test_a_limit_that_keeps_nobody_waiting_is_no_shortage(self):
        self.expect_log("waited: max_connections")
        self.start("""
workers = 1; host = "$addr";
services:
{
  waited: { port = $port; handler = "echo"; max_connections = 1; };
  full: { port = $port1; handler = "echo"; max_connections = 1; };
  program: { port = $port2; handler = "program"; command = "cat"; max_programs = 1; };
  rate: { port = $port3; handler = "echo"; max_connection_rate = 1; };
};
""")
        for n in 1, 2, 3:
            client = self.connect(self.port(n))
            client.sendall(b"x\n")
            self.assertEqual(client.recv(100), b"x\n")
        # The worker has paused for as long as it takes to tell of the one at which somebody waits.
        self.connect()
        waiting = self.connect()
        self.wait_log(r"warning: waited: max_connections \(1\) reached for [5-7](\.\d+)? s; 1 connection waits$")
        services = self.status()["services"]
        for service, pauses in ("full", "paused_limit"), ("program", "paused_limit"), ("rate", "paused_rate"):
            self.assertEqual((services[service]["state"], services[service][pauses]), ("serves", 0), service)
        self.assertGreater(services["waited"]["paused_limit"], 50)
        waiting.close()

    def lowest_free(self, pid):
        taken = sockdtest.open_files(pid)
        return next(fd for fd in range(1000) if fd not in taken)

    def test_C1_a_lack_of_descriptors_is_told_with_its_cause_and_when_it_is_over(self):
        self.expect_log("no descriptor is free")
        self.serve('handler = "echo";', top="workers = 1;")
        worker = self.pids()[0]
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        free = self.lowest_free(worker)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (free + 1, hard))
        last = self.connect()
        last.sendall(b"x\n")
        self.assertEqual(last.recv(100), b"x\n")
        self.assertEqual((self.counter("paused_descriptors"), self.counter("accept_errors")), (0, 0))
        waiting = self.connect()
        waiting.sendall(b"x\n")
        self.wait_log(r"worker 1\] echo: cannot accept: Too many open files; tried again every 50 ms$")
        self.wait_log(r"warning: echo: no descriptor is free for [5-7](\.\d+)? s; 1 connection waits$")
        self.assertRegex(self.status()["why"], r"^echo: no descriptor is free for ")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(waiting.recv(100), b"x\n")
        self.wait_log(r"\] echo: descriptors free again after [0-9.]+ s; at most 1 waited at once$")
        self.assertEqual(len([line for line in self.sockd.log if "cannot accept" in line]), 1)

    def test_C8_clients_that_are_not_read_for_want_of_memory_are_told_of(self):
        self.expect_log("max_memory")
        self.serve('handler = "echo"; max_request = "256k"; request_timeout = "5m";', top='workers = 1; max_memory = "1m";')
        clients = [self.connect() for _ in range(30)]
        for client in clients:
            client.sendall(b"x" * 60000)  # the largest are ended, one after another
        self.wait_log(r"warning: echo: max_memory \(1m\) reached: clients are not read for [5-7](\.\d+)? s; \d+ connections ended$")
        self.assertRegex(self.status()["why"], r"^echo: max_memory ")
        for client in clients:
            client.close()
        ended = int(self.wait_log(r"\] echo: clients are read again after [0-9.]+ s; (\d+) connections ended$")[1])
        self.assertEqual(ended, self.counter("ended_memory"))


if __name__ == "__main__":
    sockdtest.main()
