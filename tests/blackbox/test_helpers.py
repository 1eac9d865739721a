"""The handler "helper" with real processes: shell loops, Python loops, and what they do wrong (rows G1 to G6, A12)."""
import json
import os
import re
import signal
import socket
import sys
import threading
import time

import sockdtest
from sockdtest import SockdTest, command_line, count_fds, descendants

SHELL_UPPER = """#!/bin/sh
while read -r line; do
    echo "$line" | tr a-z A-Z
done
"""

PYTHON_UPPER = """#!%s
import sys
for line in sys.stdin:
    print(line.upper(), end="", flush=True)
""" % sys.executable

# What a request says is done: each test uses a few of the words.
ACTOR = """#!%s
import os, sys, time
def out(data):
    os.write(1, data)
for line in sys.stdin.buffer:
    word, _, rest = line.strip().partition(b" ")
    if word == b"exit":
        os._exit(int(rest))
    elif word == b"half":
        out(b"half a rep")
        os._exit(0)
    elif word == b"reply-and-exit":
        os.write(2, b"last words " + rest + b"\\n")
        out(rest + b"\\n")
        os._exit(0)
    elif word == b"late":
        time.sleep(float(rest.split()[0]))
        out(line)
    elif word == b"until":
        open(rest).close()
        out(line)
    elif word == b"never":
        time.sleep(1000)
    elif word == b"hold":
        os.write(2, b"has read it\\n")
        time.sleep(1000)
    elif word == b"twice":
        out(line + line)
    elif word == b"much":
        out(b"x" * int(rest) + b"\\n")
    elif word == b"binary":
        out(bytes(range(256)))
    elif word == b"forever":
        while True:
            out(b"y\\n" * 10000)
    elif word == b"pid":
        out(b"%%d\\n" %% os.getpid())
    else:
        out(line.upper())
""" % sys.executable

ENDED = r"helper \d+ \[pid \d+\] .*(replaced at once|next try in)|degraded: helper \d+ "
# The line about a request of so many bytes, with its client and the cause.
FAILED = r"echo: 127\.[0-9.]+:\d+: a request of %d bytes failed: %s$"


class HelpersTest(SockdTest):
    def serve_helper(self, script, keys="", workers=1, **options):
        """SCRIPT as the helper of the service "echo"."""
        self.write("helper", script, 0o755)
        return self.serve('handler = "helper"; command = "$dir/helper"; ' + keys, top="workers = %d;" % workers,
                          **options)

    def helpers(self):
        """The pids of the helpers."""
        return [pid for pid in descendants(self.sockd.pid) if self.dir + "/helper" in command_line(pid)]

    def ask(self, request, end=True, **where):
        """One line on a connection of its own, and all that comes back."""
        if end:
            return self.converse(request + b"\n", **where)
        client = self.connect(**where)
        client.sendall(request + b"\n")
        return client

    def occupy(self):
        """A client whose request keeps a helper busy until release() is called with it."""
        os.mkfifo(self.dir + "/gate")
        client = self.ask(b"until %s/gate" % self.dir.encode(), end=False)
        self.wait_counter("helpers_busy", 1)
        return client

    def release(self, client):
        with open(self.dir + "/gate", "w"):
            self.assertEqual(client.recv(1000), b"until %s/gate\n" % self.dir.encode())

    def failures(self):
        return [line for line in self.sockd.log if "a request of" in line]

    # What a helper is.

    def test_a_shell_loop_is_a_helper(self):
        self.serve_helper(SHELL_UPPER)
        self.assertEqual(self.converse(b"hello\nsecond line\r\n\nlast"), b"HELLO\nSECOND LINE\r\n\nLAST")

    def test_five_lines_of_python_are_a_helper(self):
        self.serve_helper(PYTHON_UPPER)
        self.assertEqual(self.converse(b"hello\nsecond line\r\n\nlast"), b"HELLO\nSECOND LINE\r\n\nLAST")
        self.assertEqual(self.counter("replies"), 4)

    def test_many_clients_each_get_their_own_replies(self):
        self.expect_log("helpers? .*busy")  # where it takes 5 s
        self.serve_helper(PYTHON_UPPER, "helpers = 3;", workers=2)
        failures = []

        def client(number):
            with socket.create_connection((self.addr, self.port()), sockdtest.TIMEOUT) as sock:
                file = sock.makefile("rwb")
                for i in range(50):
                    file.write(b"client %d says %d\n" % (number, i))
                    file.flush()
                    reply = file.readline()
                    if reply != b"CLIENT %d SAYS %d\n" % (number, i):
                        failures.append(reply)
                file.close()

        self.run_all([threading.Thread(target=client, args=(n,)) for n in range(40)])
        self.assertEqual(failures, [])
        self.assertEqual(self.counter("replies"), 2000)

    def run_all(self, threads):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(sockdtest.TIMEOUT * 3)
            self.assertFalse(thread.is_alive(), "a client hangs")

    def test_the_helper_gets_a_clean_process(self):
        self.serve_helper("""#!%s
import os, sys
for line in sys.stdin:
    what = line.strip()
    if what == "env":
        print(" ".join(sorted("%%s=%%s" %% item for item in os.environ.items())), flush=True)
    elif what == "fds":
        print(" ".join(os.readlink("/proc/self/fd/%%d" %% fd).split(":")[0] for fd in range(3)), flush=True)
    elif what == "open":
        print(len(os.listdir("/proc/self/fd")), flush=True)
    elif what == "stdin":
        print(open("/dev/stdin") and "opened", os.getcwd(), flush=True)
""" % sys.executable, 'environment = [ "COLOUR=red", "SAUCE" ]; directory = "$dir";',
                          env={"SAUCE": "green", "SECRET": "x"})
        env = dict(word.split("=", 1) for word in self.ask(b"env").decode().split())
        self.assertEqual(env["SOCKD_SERVICE"], "echo")
        self.assertEqual(env["SOCKD_FRAMING"], "line")
        self.assertEqual(env["PYTHONUNBUFFERED"], "1")
        self.assertEqual((env["COLOUR"], env["SAUCE"]), ("red", "green"))
        for name in "SECRET", "NOTIFY_SOCKET", "TCPREMOTEIP", "REMOTE_ADDR":
            self.assertNotIn(name, env)
        self.assertEqual(self.ask(b"fds"), b"pipe pipe pipe\n")
        self.assertEqual(self.ask(b"open"), b"4\n")  # the list itself is the fourth
        self.assertEqual(self.ask(b"stdin"), b"opened %s\n" % os.path.realpath(self.dir).encode())

    # helpers

    def test_one_helper_is_exactly_one_process_over_two_workers(self):
        self.serve_helper(ACTOR, "helpers = 1;", workers=2)
        self.assertEqual(len(self.helpers()), 1)
        self.assertEqual({self.ask(b"pid") for _ in range(40)}, {b"%d\n" % self.helpers()[0]})

    def test_helpers_is_their_number_over_all_workers(self):
        self.serve_helper(ACTOR, "helpers = 5;", workers=2)
        self.assertEqual(len(self.helpers()), 5)
        self.assertEqual(self.counter("helpers"), 5)

    def test_by_default_each_worker_has_a_helper(self):
        self.serve_helper(ACTOR, workers=2)
        self.assertEqual(len(self.helpers()), 2)

    # helper_framing

    def test_lines_serve_a_netstring_service(self):
        self.serve_helper(SHELL_UPPER, 'framing = "netstring"; helper_framing = "line";')
        self.assertEqual(self.converse(b"5:hello,3:you,"), b"5:HELLO,3:YOU,")

    def test_what_the_helpers_framing_cannot_carry_fails_alone(self):
        self.serve_helper(SHELL_UPPER, 'framing = "netstring"; helper_framing = "line"; error_reply = "no";')
        self.assertEqual(self.converse(b"3:a\nb,3:you,"), b"2:no,3:YOU,")
        self.wait_log("a request of 3 bytes cannot be given to a helper: it does not fit helper_framing")
        self.assertEqual(self.counter("failed_handler"), 1)

    NETSTRING_UPPER = """#!%s
import os, sys
data = sys.stdin.buffer
while length := b"".join(iter(lambda: data.read(1), b":")):
    body = data.read(int(length) + 1)[:-1].upper()
    os.write(1, b"%%d:%%s," %% (len(body), body))
""" % sys.executable

    def test_close_becomes_netstrings(self):
        self.serve_helper(self.NETSTRING_UPPER, 'framing = "close";')
        self.assertEqual(self.converse(b"all\nof it"), b"ALL\nOF IT")

    def test_datagrams_become_netstrings(self):
        self.serve_helper(self.NETSTRING_UPPER, 'transport = "udp";')
        client = self.udp()
        for datagram in b"hello\n", b"\0\xff,:", b"x" * 1000:
            client.send(datagram)
            self.assertEqual(client.recv(65536), datagram.upper())

    def test_datagrams_of_a_mixed_service_travel_in_its_framing(self):
        self.serve_helper(SHELL_UPPER, 'transport = [ "tcp", "udp" ];')
        self.assertEqual(self.ask(b"stream"), b"STREAM\n")
        client = self.udp()
        client.send(b"datagram")
        self.assertEqual(client.recv(100), b"DATAGRAM")

    def test_a_reply_that_no_datagram_holds_is_logged(self):
        self.serve_helper("""#!/usr/bin/python3
import sys
sys.stdin.buffer.read(4)
sys.stdout.buffer.write(b"70000:" + b"x" * 70000 + b",")
sys.stdout.flush()
sys.stdin.read()
""", 'transport = "udp"; max_reply = "128k";')
        self.udp().send(b"x")
        self.wait_log("a reply of 70000 bytes is too long for a datagram$")
        self.assertEqual(self.counter("failed_reply"), 1)

    def test_unix_datagrams(self):
        self.write("helper", self.NETSTRING_UPPER, 0o755)
        self.serve('transport = "unixgram"; path = "$dir/s"; handler = "helper"; command = "$dir/helper";')
        client = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        client.bind(self.dir + "/client")
        client.connect(self.dir + "/s")
        client.send(b"hello")
        self.assertEqual(client.recv(100), b"HELLO")

    # Limits of time and number.

    def test_helper_queue_bounds_who_waits(self):
        self.serve_helper(ACTOR, 'helper_queue = 2; error_reply = "full";')
        first = self.occupy()
        waiting = [self.ask(b"a", end=False), self.ask(b"b", end=False)]
        self.wait_counter("queue", 2)
        self.assertEqual(self.ask(b"c"), b"full\n")
        self.wait_log(FAILED % (1, "helper_queue is full"))
        self.assertEqual(self.counter("failed_queue"), 1)
        self.release(first)
        self.assertEqual([client.recv(100) for client in waiting], [b"A\n", b"B\n"])

    def test_an_overload_that_lasts_is_the_verdict_until_it_is_over(self):
        self.serve_helper(ACTOR, 'helpers = 1; helper_pipeline = 1; queue_timeout = "1m"; handler_timeout = "1m";',
                          workers=2)
        self.expect_log("the helper is busy for")
        first = self.occupy()
        second = self.ask(b"a", end=False)
        self.assertEqual(self.status()["verdict"], "well")
        busy = r"the helper is busy for ([5-9]|\d\d)\.\d s; 1 request waits, oldest ([5-9]|\d\d)\.\d s"
        self.wait_log(busy)
        self.assertRegex(self.ctl("status").stdout, r"\Adegraded since [-0-9: ]+: echo: " + busy)
        self.assertEqual(self.status()["services"]["echo"]["state"], "degraded")
        self.assertRegex(self.ctl("services").stdout, r"\necho: " + busy)
        self.release(first)
        self.assertEqual(second.recv(100), b"A\n")
        self.wait_log("helpers free again after")
        self.assertEqual(self.status()["verdict"], "well")

    def test_queue_timeout_ends_that_request_alone(self):
        self.serve_helper(ACTOR, 'queue_timeout = "100ms"; error_reply = "waited"; helper_pipeline = 1;')
        first = self.occupy()
        self.assertEqual(self.ask(b"abc"), b"waited\n")
        self.wait_log(FAILED % (3, "queue_timeout passed"))
        self.assertEqual(self.counter("failed_queue_timeout"), 1)
        self.release(first)
        self.assertEqual(self.ask(b"b"), b"B\n")

    def test_queue_timeout_bounds_the_wait_in_the_input_of_a_helper(self):
        self.serve_helper(ACTOR, 'queue_timeout = "300ms"; error_reply = "waited"; helper_pipeline = 4;')
        first = self.occupy()
        behind = [self.ask(b"%d" % n, end=False) for n in range(3)]
        self.assertEqual([client.recv(100) for client in behind], [b"waited\n"] * 3)
        self.wait_for(lambda: len(self.failures()) == 3, what="a line for each")
        self.assertEqual(self.counter("failed_queue_timeout"), 3)
        self.release(first)
        self.assertEqual(self.ask(b"b"), b"B\n")

    def test_queue_timeout_bounds_the_wait_for_a_helper_that_never_reads(self):
        self.serve_helper("#!/bin/sh\nexec sleep 1000\n",
                          'queue_timeout = "300ms"; handler_timeout = 0; error_reply = "waited";')
        self.assertEqual(self.ask(b"a"), b"waited\n")
        self.assertEqual(self.ask(b"b"), b"waited\n")
        self.assertEqual(self.counter("failed_queue_timeout"), 2)
        self.assertEqual(self.counter("helper_deaths"), 0)

    def test_handler_timeout_kills_the_helper(self):
        self.expect_log("did not reply within handler_timeout")
        self.serve_helper(ACTOR, 'handler_timeout = "200ms"; error_reply = "late";')
        self.assertEqual(self.ask(b"x"), b"X\n")
        pid = self.helpers()[0]
        self.assertEqual(self.ask(b"never"), b"late\n")
        self.wait_log(r"helper 1 \[pid %d\] did not reply within handler_timeout and was ended; replaced at once" % pid)
        self.wait_log(FAILED % (5, "handler_timeout passed"))
        self.assertEqual(self.ask(b"y"), b"Y\n")
        self.assertNotIn(pid, self.helpers())
        self.assertEqual(self.counter("failed_timeout"), 1)
        self.assertEqual(self.counter("helper_deaths"), 1)

    def test_helper_pipeline_is_how_many_are_in_hand(self):
        self.serve_helper("""#!/bin/sh
while read -r a && read -r b && read -r c; do echo "$a"; echo "$b"; echo "$c"; done
""", "helper_pipeline = 3;")
        clients = [self.ask(b"%d" % n, end=False) for n in range(3)]
        self.assertEqual([client.recv(100) for client in clients], [b"0\n", b"1\n", b"2\n"])

    def test_max_reply_kills(self):
        self.expect_log(ENDED)
        self.serve_helper(ACTOR, 'max_reply = 1000; error_reply = "long";')
        self.assertEqual(len(self.ask(b"much 1000")), 1001)
        self.assertEqual(self.ask(b"much 1001"), b"long\n")
        self.wait_log("wrote a reply over max_reply and was ended")
        self.assertEqual(self.counter("failed_reply"), 1)

    def test_helper_max_requests_recycles_without_a_loss(self):
        self.serve_helper(ACTOR, "helper_max_requests = 10;")
        pids = [self.ask(b"pid") for _ in range(60)]
        self.assertNotIn(b"", pids)
        self.assertIn(len(set(pids)), (5, 6, 7))
        self.assertEqual(self.counter("helper_deaths"), 0)

    def test_one_way_helpers_answer_nobody_and_write_to_the_log(self):
        self.serve_helper("""#!/bin/sh
while read -r line; do echo "got $line"; done
""", "one_way = true;")
        self.assertEqual(self.converse(b"one\ntwo\n"), b"")
        self.wait_log(r"echo: helper 1 \[pid \d+\] says: got one")
        self.wait_log("says: got two")
        self.assertEqual(self.counter("silences"), 2)

    def test_one_way_datagrams_are_all_written(self):
        self.serve_helper("""#!/bin/sh
n=0
while read -r line; do n=$((n + 1)); [ "$line" = end ] && echo "$n lines"; done
""", 'transport = "udp"; one_way = true; helper_framing = "line";')
        client = self.udp()
        for n in range(100):
            client.send(b"line %d" % n)
        self.wait_counter("silences", 100)
        client.send(b"end")
        self.wait_log("says: 101 lines")

    # Start, probe, reload.

    PROBED = """#!%s
import sys, time
print("loading", file=sys.stderr)
for line in sys.stdin:
    if line == "probe\\n":
        time.sleep(DELAY)
    print(line.upper(), end="", flush=True)
""" % sys.executable

    def test_helper_probe_comes_first(self):
        self.serve_helper(self.PROBED.replace("DELAY", "0.1"), 'helper_probe = "probe";')
        self.assertEqual(self.ask(b"x"), b"X\n")
        self.assertEqual(self.counter("requests"), 1)

    def test_a_probe_that_is_answered_too_late_degrades_the_first_start(self):
        self.expect_log(ENDED)
        self.serve_helper(self.PROBED.replace("DELAY", "1000"), 'helper_probe = "probe"; helper_start_timeout = "100ms";')
        self.wait_for(lambda: self.status()["verdict"] == "degraded")
        self.assertIn("did not answer helper_probe within helper_start_timeout", self.status()["why"])

    def helper_conf(self, script, keys=""):
        self.write("helper2", script, 0o755)
        return self.service('handler = "helper"; command = "$dir/helper2"; ' + keys, "workers = 1;")

    def test_a_reload_with_a_helper_that_cannot_start_keeps_the_old_one(self):
        self.expect_log("helper 1", "reload", "keeping", "No module named x")
        self.serve_helper(PYTHON_UPPER)
        before = self.helpers()
        done = self.reload(self.helper_conf("#!/bin/sh\necho 'No module named x' >&2\nexit 1\n"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("helper 1 exited with status 1: No module named x", done.stderr)
        self.assertEqual(self.ask(b"still here"), b"STILL HERE\n")
        self.assertEqual(self.helpers(), before)
        self.assertEqual(self.status()["verdict"], "well")

    def test_a_reload_with_an_unanswered_probe_keeps_the_old_one(self):
        self.expect_log("helper_probe", "reload", "keeping")
        self.serve_helper(PYTHON_UPPER)
        done = self.reload(self.helper_conf(self.PROBED.replace("DELAY", "1000"),
                                            'helper_probe = "probe"; helper_start_timeout = "3s";'))
        self.assertEqual(done.returncode, 1)
        self.assertIn("did not answer helper_probe within helper_start_timeout and was ended; its last line: loading", done.stderr)
        self.assertEqual(self.ask(b"still here"), b"STILL HERE\n")

    def test_a_reload_to_another_helper_loses_no_request(self):
        self.serve_helper(PYTHON_UPPER)
        client = self.connect()
        client.sendall(b"a\n")
        self.assertEqual(client.recv(10), b"A\n")
        done = self.reload(self.helper_conf("#!/bin/sh\nwhile read -r line; do echo \"new $line\"; done\n"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.ask(b"b"), b"new b\n")
        client.sendall(b"c\n")
        self.assertIn(client.recv(10), (b"C\n", b"new c\n"))
        client.close()
        self.wait_for(lambda: not self.helpers() or all("helper2" in command_line(pid) for pid in self.helpers()))

    # Rows of the catalogue.

    def test_G1_requests_of_a_helper_that_exits_fail_and_the_next_are_served(self):
        self.expect_log(ENDED)
        self.serve_helper(ACTOR, 'error_reply = "sorry";')
        self.assertEqual(self.ask(b"x"), b"X\n")
        for request, why in (b"exit 3", "exited with status 3"), (b"half", "exited with status 0"):
            self.assertEqual(self.ask(request), b"sorry\n")
            self.wait_log(why + "; replaced at once|" + why + "; next try")
            self.assertEqual(self.ask(b"x"), b"X\n")
        # Between two requests: nobody notices.
        os.kill(self.helpers()[0], signal.SIGKILL)
        self.wait_log(r"was ended by signal 9 \(Killed\); replaced at once")
        self.assertEqual(self.ask(b"y"), b"Y\n")
        self.assertEqual(self.counter("failed_handler"), 2)
        self.assertEqual(self.counter("helper_deaths"), 3)

    def test_G1_what_a_helper_had_not_read_when_it_died_goes_to_the_next(self):
        self.expect_log(ENDED)
        self.serve_helper(ACTOR, 'error_reply = "sorry";')
        self.stop_process(self.helpers()[0])
        client = self.ask(b"written and not read", end=False)
        self.wait_counter("helpers_busy", 1)
        os.kill(self.helpers()[0], signal.SIGKILL)
        self.assertEqual(client.recv(100), b"WRITTEN AND NOT READ\n")
        self.assertEqual(self.counter("failed_handler"), 0)

    def test_G1_what_a_helper_had_not_read_when_it_was_killed_goes_to_the_next(self):
        self.expect_log(ENDED)
        self.serve_helper("""#!/bin/sh
while read -r line; do
    [ "$line" = never ] && sleep 1000
    echo "$line"
done
""", 'helper_pipeline = 8; handler_timeout = "500ms"; error_reply = "sorry";')
        self.assertEqual(self.ask(b"x"), b"x\n")
        clients = [self.ask(request, end=False) for request in (b"never", b"0", b"1", b"2")]
        self.assertEqual([client.recv(100) for client in clients], [b"sorry\n", b"0\n", b"1\n", b"2\n"])
        self.assertEqual((self.counter("failed_timeout"), self.counter("failed_handler")), (1, 0))

    def test_G1_without_an_error_reply_the_connection_ends(self):
        self.expect_log(ENDED)
        self.serve_helper(ACTOR)
        self.assertEqual(self.converse(b"x\nexit 1\nnever seen\n"), b"X\n")

    def test_a_failure_that_is_logged_already_is_not_logged_again(self):
        self.expect_log(ENDED)
        deaf = self.write("deaf", "#!/bin/sh\nexec sleep 1000\n", 0o755)
        self.serve_helper(ACTOR, 'error_reply = "sorry";')
        self.assertEqual(self.ask(b"exit 1"), b"sorry\n")
        self.wait_log("helper 1 .* exited with status 1; replaced at once")
        self.reload_to('handler = "helper"; command = "%s"; queue_timeout = "100ms";' % deaf, top="workers = 1;")
        self.assertEqual(self.ask(b"a"), b"")
        self.wait_log("closed: queue_timeout: no helper was free; ")
        self.assertEqual(self.failures(), [])

    def test_a_datagram_that_fails_is_logged(self):
        self.serve_helper("#!/bin/sh\nexec sleep 1000\n", 'transport = "udp"; queue_timeout = "100ms";')
        self.udp().send(b"ab")
        self.wait_log(FAILED % (2, "queue_timeout passed"))
        self.assertEqual(self.counter("failed_queue_timeout"), 1)

    def test_G2_a_late_reply_never_reaches_the_next_client(self):
        self.expect_log(ENDED, "helpers? .*busy", "no helper works for")  # where it takes 5 s
        self.serve_helper(ACTOR, 'handler_timeout = "100ms"; helpers = 2;', workers=2)
        wrong, served = [], []

        def client(number):
            for i in range(6):
                tag = b"TAG%dX%d" % (number, i)
                late = (number + i) % 4 == 0
                with socket.create_connection((self.addr, self.port()), sockdtest.TIMEOUT * 3) as sock:
                    sock.sendall((b"late 0.13 " if late else b"") + tag + b"\n")
                    sock.shutdown(socket.SHUT_WR)
                    reply = self.receive_all(sock)
                if reply and reply.split()[-1] != tag:
                    wrong.append((tag, reply))
                elif reply:
                    served.append(tag)

        self.run_all([threading.Thread(target=client, args=(n,)) for n in range(8)])
        self.assertEqual(wrong, [])
        self.assertTrue(served)

    def test_G3_garbage_reaches_nobody_else(self):
        self.expect_log(ENDED)
        self.serve_helper(ACTOR, 'handler_timeout = "300ms"; max_reply = 10000; error_reply = "sorry"; helper_pipeline = 1;')
        self.assertEqual(self.ask(b"x"), b"X\n")
        for request, replies in ((b"much 20000", b"sorry\n"), (b"twice", b"twice\n")):
            self.assertEqual(self.ask(request), replies)
            self.assertEqual(self.ask(b"after " + request), b"AFTER " + request.upper() + b"\n")
        for request in b"binary", b"forever":
            self.ask(request)  # this client gets what its helper says, or the apology
            self.assertEqual(self.ask(b"after " + request), b"AFTER " + request.upper() + b"\n")
        self.assertEqual(self.counter("helpers"), 1)

    def test_G3_garbage_in_a_framing_with_lengths_kills(self):
        self.expect_log(ENDED)
        self.serve_helper("""#!/bin/sh
read -r line
echo "no netstring"
cat > /dev/null
""", 'framing = "netstring"; error_reply = "no";')
        self.assertEqual(self.converse(b"2:a\n,"), b"2:no,")
        self.wait_log(r"wrote what is no reply in its framing \(no netstring\\n\) and was ended")

    def test_what_a_helper_says_before_it_is_asked_is_quoted(self):
        self.expect_log(ENDED)
        self.serve_helper("""#!/bin/sh
if mkdir "$dir/once" 2> /dev/null; then
    read -r line
    printf 'HELLO\\nStarting up...\\33[2J\\n'
fi
while read -r line; do echo "$line"; done
""", "helper_pipeline = 1;")
        self.assertEqual(self.ask(b"hello"), b"HELLO\n")
        self.wait_log(r"wrote without being asked \(Starting up\.\.\.\\x1b\[2J\) and was ended")
        self.assertEqual(self.ask(b"again"), b"again\n")

    def test_G4_a_megabyte_goes_both_ways(self):
        self.serve_helper(ACTOR, 'max_request = "2m"; max_reply = "2m";')
        data = b"abcdefgh" * (1 << 17)
        client = self.connect()
        threading.Thread(target=client.sendall, args=(data + b"\n",)).start()
        self.assertEqual(self.receive(client, len(data) + 1), data.upper() + b"\n")

    def test_G4_messages_larger_than_all_pipes_pass_when_both_sides_read_late(self):
        # It writes while it reads, and the clients read when all is sent.
        self.serve_helper("""#!%s
import os
while data := os.read(0, 65536):
    os.write(1, data)
""" % sys.executable, 'framing = "fixed:1048576"; max_request = "2m"; max_reply = "2m"; helpers = 1;')
        helper = self.helpers()[0]
        self.stop_process(helper)
        messages = [os.urandom(1 << 20) for _ in range(3)]
        clients = [self.connect() for _ in messages]
        for client, message in zip(clients, messages):
            client.sendall(message)
        self.wait_counter("helpers_busy", 1)
        os.kill(helper, signal.SIGCONT)
        for client, message in reversed(list(zip(clients, messages))):
            self.assertTrue(self.receive(client, len(message)) == message, "another's bytes, or a part of them")

    def test_G4_a_helper_that_reads_nothing_blocks_nobody(self):
        self.expect_log(ENDED)
        self.write("deaf", "#!/bin/sh\nexec sleep 1000\n", 0o755)
        self.write("helper", ACTOR, 0o755)
        self.start('workers = 1; handler = "helper"; host = "$addr"; max_request = "2m"; services: {'
                   ' deaf: { port = $port1; command = "$dir/deaf"; handler_timeout = "500ms"; helper_start_timeout = "4s"; };'
                   ' echo: { port = $port; command = "$dir/helper"; }; };')
        deaf = self.connect(port=self.port(1))
        sender = threading.Thread(target=deaf.sendall, args=(b"x" * (1 << 20) + b"\n",))
        sender.start()
        self.wait_counter("helpers_busy", 1, service="deaf")
        self.assertEqual(self.ask(b"not blocked"), b"NOT BLOCKED\n")
        self.assertEqual(self.receive_all(deaf), b"")
        sender.join()
        self.assertEqual(self.counter("failed_timeout", "deaf"), 1)

    def test_G5_what_a_helper_says_at_once_is_logged_with_its_pid(self):
        """Many at once, so that some have spoken before the spawner has heard that they run."""
        self.expect_log(ENDED, "suppressed")
        self.serve_helper("#!/bin/sh\necho words >&2\nexit 3\n", "helpers = 48;")
        said = r"\[pid (\d+)\] words$"
        self.wait_for(lambda: len(re.findall(said, "\n".join(self.sockd.log), re.M)) >= 90)
        self.assertNotIn("0", re.findall(said, "\n".join(self.sockd.log), re.M))

    def test_the_end_of_a_helper_is_heard_of_while_its_child_holds_its_pipes(self):
        self.expect_log(ENDED)
        self.serve_helper("#!/bin/sh\nread -r line\n(trap '' TERM; exec sleep 1000) &\necho words >&2\nexit 3\n",
                          'handler_timeout = "500ms"; error_reply = "sorry"; helpers = 1;')
        for _ in range(2):
            since = len(self.sockd.log)
            self.assertEqual(self.ask(b"x"), b"sorry\n")
            self.wait_log(r"helper 1 \[pid \d+\] exited with status 3: words; (next try|replaced)", since=since)
        self.assertEqual(self.counter("failed_timeout"), 0)

    def test_G5_a_flood_on_standard_error_is_bounded_and_safe(self):
        self.expect_log("suppressed")
        self.serve_helper("""#!/bin/sh
printf 'colour \\033[31m and bell \\007\\n' >&2
yes "flood" >&2 &
while read -r line; do echo "$line"; done
kill $!
""", 'error_reply = "sorry";')
        self.wait_log(r"echo: \[pid \d+\] colour \\x1b\[31m and bell \\x07")
        self.wait_log(r"\d+ more lines? suppressed")
        for n in range(20):
            self.assertEqual(self.ask(b"%d" % n), b"%d\n" % n)
        seconds = {line[:19] for line in self.sockd.log if "flood" in line}
        lines = [line for line in self.sockd.log if "flood" in line]
        self.assertLessEqual(len(lines), 60 * (len(seconds) + 1))

    def test_G6_a_crash_loop_is_degraded_and_never_fatal(self):
        self.expect_log(ENDED)
        self.start('workers = 1; host = "$addr"; services: {'
                   ' broken: { port = $port1; handler = "helper"; command = "/bin/false"; queue_timeout = "100ms";'
                   ' error_reply = "sorry"; };'
                   ' echo: { port = $port; handler = "echo"; }; };')
        self.wait_log("helper 1 .*exited with status 1; next try in")
        self.assertEqual(self.ask(b"x", port=self.port(1)), b"sorry\n")
        self.assertEqual(self.ask(b"x"), b"x\n")
        self.wait_for(lambda: self.counter("helper_deaths", "broken") >= 3)
        status = self.status()
        self.assertEqual(status["verdict"], "degraded")
        self.assertIn("broken: helper 1 exited with status 1", status["why"])
        self.assertEqual(status["services"]["broken"]["failed_queue_timeout"], 1)
        self.assertLess(self.counter("helper_deaths", "broken"), 20)

    def test_G6_a_crash_loop_that_ends_is_well_again(self):
        self.expect_log(ENDED)
        self.serve_helper("#!/bin/sh\n[ -e $dir/mended ] || exit 1\nwhile read -r line; do echo \"$line\"; done\n")
        self.expect_fd_change()
        self.wait_for(lambda: self.status()["verdict"] == "degraded")
        self.write("mended", "")
        self.wait_for(lambda: self.status()["verdict"] == "well")
        self.assertEqual(self.ask(b"x"), b"x\n")

    def test_G6_a_deadly_request_starves_nobody(self):
        self.expect_log(ENDED, "more lines? (about helpers )?suppressed")
        self.serve_helper("#!/bin/sh\nwhile read -r line; do [ $line = die ] && exit 1; echo $line; done\n",
                          'helpers = 2; error_reply = "sorry";')
        self.expect_fd_change()
        for n in range(8):
            self.assertEqual(self.ask(b"die"), b"sorry\n")
        began = time.monotonic()
        self.assertEqual(self.ask(b"x"), b"x\n")
        self.assertLess(time.monotonic() - began, 1 * sockdtest.SLOW)
        self.assertEqual(self.counter("failed_handler"), 8)

    def test_G6_a_helper_that_dies_of_every_request_is_degraded(self):
        self.expect_log(ENDED)
        self.serve_helper("#!/bin/sh\nread -r line; exit 1\n", 'error_reply = "sorry";')
        self.expect_fd_change()
        for n in range(3):
            self.assertEqual(self.ask(b"x"), b"sorry\n")
        self.wait_log("degraded: helper 1 exited with status 1")
        self.wait_counter("helpers", 1)
        status = self.status()
        self.assertEqual((status["verdict"], status["why"]), ("degraded", "echo: helper 1 exited with status 1"))

    def test_A12_last_bytes_of_a_helper_that_exits_are_kept(self):
        self.expect_log(ENDED, "more lines? (about helpers )?suppressed")
        self.serve_helper(ACTOR, "helpers = 2;", env={"MALLOC_PERTURB_": "165"})
        for n in range(60):
            self.assertEqual(self.ask(b"reply-and-exit %d" % n), b"%d\n" % n)
        for n in 0, 1, 2:
            self.wait_log(r"echo: \[pid \d+\] last words %d" % n)
        self.assertEqual(self.counter("failed_handler"), 0)

    # sockctl.

    def test_sockctl_helpers_tells_their_figures(self):
        self.serve_helper(ACTOR, "helpers = 3;", workers=2)
        client = self.occupy()
        done = self.ctl("helpers", "--json", "echo")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)["echo"]
        self.assertEqual((found["wanted"], found["helpers"], found["busy"], found["starts"]), (3, 3, 1, 3))
        self.assertEqual([worker["wanted"] for worker in found["workers"]], [2, 1])
        text = self.ctl("helpers").stdout
        self.assertIn("echo: 3 of 3 helpers work, 1 busy, 0 requests wait; 3 started, 0 died\n", text)
        self.assertRegex(text, r"worker 2 \[pid \d+\]: 1 of 1 helpers work")
        self.release(client)

    def test_sockctl_helpers_knows_who_has_none(self):
        self.start(self.service('handler = "echo";').replace("\n};", '\n  off: { port = $port1; handler = "echo"; enabled = false; };\n};'))
        self.assertEqual(self.ctl("helpers").stdout, "no service has helpers\n")
        for name, why in ("echo", "echo has no helpers\n"), ("ecko", "there is no service ecko; did you mean echo?\n"), \
                         ("off", "off is disabled\n"), ("x", "there is no service x\n"):
            for command in "helpers", "restart":
                done = self.ctl(command, name)
                self.assertEqual((done.returncode, done.stderr), (1, why))
        self.assertEqual(self.ctl("restart").returncode, 2)
        self.assertEqual(self.ctl("restart", "a", "b").returncode, 2)

    def test_sockctl_restart_replaces_all_helpers_without_a_loss(self):
        self.serve_helper(ACTOR, "helpers = 3;", workers=2)
        before = set(self.helpers())
        failures, over = [], threading.Event()

        def client():
            while not over.is_set():
                if self.ask(b"x") != b"X\n":
                    failures.append("a request got no reply")

        thread = threading.Thread(target=client)
        thread.start()
        self.assertEqual(self.ctl("restart", "echo").stdout, "echo: helpers are replaced, one after another\n")
        self.wait_for(lambda: len(self.helpers()) == 3 and not before & set(self.helpers()))
        over.set()
        thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.counter("helper_deaths"), 0)
        self.assertEqual(self.counter("failed_handler"), 0)

    def test_sockctl_restart_replaces_those_of_one_worker_after_another(self):
        self.serve_helper("#!/bin/sh\nsleep 0.5\nwhile read -r line; do echo $line; done\n",
                          'helper_probe = "p";', workers=3)
        before, working = set(self.helpers()), set()
        self.assertEqual(self.ctl("restart", "echo").returncode, 0)

        def replaced():
            figures = self.status()["services"]["echo"]
            working.add(figures["helpers"])
            return figures["helpers"] == 3 and figures["helper_starts"] == 6

        self.wait_for(replaced)
        self.assertLessEqual(working, {2, 3})
        self.assertFalse(before & set(self.helpers()))

    def test_sockctl_restart_ends_where_a_helper_does_not_come_back(self):
        self.expect_log(ENDED, "do not work again")
        self.serve_helper(SHELL_UPPER, 'queue_timeout = "200ms"; error_reply = "sorry";', workers=2)
        before = set(self.helpers())
        self.write("helper", "#!/bin/sh\necho out of order >&2\nexit 1\n", 0o755)
        self.assertEqual(self.ctl("restart", "echo").returncode, 0)
        self.wait_log("helpers of worker 2 do not work again, so no more are replaced by sockctl restart: "
                      "helper 2 exited with status 1: out of order")
        self.assertEqual(self.counter("helpers"), 1)
        self.assertEqual(len(before & set(self.helpers())), 1)
        # Before long all clients are the other worker's.
        self.wait_for(lambda: all(self.ask(b"x") == b"X\n" for _ in range(20)))
        self.write("helper", SHELL_UPPER, 0o755)
        self.assertEqual(self.ctl("restart", "echo").returncode, 0)
        self.wait_for(lambda: len(self.helpers()) == 2 and not before & set(self.helpers()))

    def test_sockctl_restart_of_what_cannot_be_executed_changes_nothing(self):
        self.serve_helper(SHELL_UPPER)
        before = self.helpers()
        os.rename(self.dir + "/helper", self.dir + "/away")
        answer = self.ctl("restart", "echo")
        self.assertEqual(answer.returncode, 1)
        self.assertIn("echo: helpers are not replaced: %s/helper: No such file or directory\n" % self.dir, answer.stderr)
        self.assertEqual(self.helpers(), before)
        self.assertEqual(self.ask(b"x"), b"X\n")

    # Processes that die around them.

    def test_helpers_of_a_dead_worker_end_and_come_back(self):
        self.expect_log("worker 1 .* was ended by signal 9")
        self.serve_helper(ACTOR)
        self.expect_fd_change()
        before = self.helpers()
        worker = self.status()["workers"][0]["pid"]
        os.kill(worker, signal.SIGKILL)
        self.wait_for(lambda: len(self.helpers()) == 1 and self.helpers() != before)
        self.assertEqual(self.ask(b"x"), b"X\n")
        self.assertNotIn(before[0], self.helpers())

    def spawner(self):
        workers = [worker["pid"] for worker in self.status()["workers"]]
        return [pid for pid in self.sockd.workers() if pid not in workers][0]

    def test_helpers_of_a_dead_spawner_come_back_and_who_waits_is_served(self):
        self.expect_log("spawner")
        self.serve_helper(ACTOR, 'helper_pipeline = 1; error_reply = "sorry";')
        self.expect_fd_change()
        written = self.ask(b"hold", end=False)
        self.wait_log("has read it")  # until then it may go to another helper
        waiting = self.ask(b"waiting", end=False)
        self.wait_counter("queue", 1)
        before = self.helpers()
        os.kill(self.spawner(), signal.SIGKILL)
        self.assertEqual(written.recv(100), b"sorry\n")
        self.assertEqual(waiting.recv(100), b"WAITING\n")
        self.wait_for(lambda: before[0] not in self.helpers())

    def test_A15_a_helper_that_cannot_be_forked_is_tried_again(self):
        self.expect_log(ENDED, "cannot make a process for .*; next try in")
        self.serve_helper(ACTOR)
        self.expect_fd_change()
        with self.strace(self.spawner(), "trace=clone,clone3,fork,vfork",
                         "inject=clone,clone3,fork,vfork:error=EAGAIN:when=1", follow=True):
            os.kill(self.helpers()[0], signal.SIGKILL)
            self.wait_log("helper 1 .*Resource temporarily unavailable; next try in")
            self.assertEqual(self.ask(b"x"), b"X\n")

    def test_output_that_is_buffered_gets_a_hint(self):
        self.expect_log(ENDED)
        self.serve('handler = "helper"; command = [ "/usr/bin/tr", "a-z", "A-Z" ]; handler_timeout = "100ms";',
                   top="workers = 1;")
        self.assertEqual(self.ask(b"x"), b"")
        self.wait_log(r"did not reply within handler_timeout and was ended \(is its output buffered\?")

    def test_a_helper_that_is_stopped_costs_its_requests_only(self):
        self.expect_log(ENDED)
        self.serve_helper(ACTOR, 'helpers = 2; handler_timeout = "2s"; error_reply = "late";')
        self.assertEqual(self.ask(b"x"), b"X\n")
        self.stop_process(self.helpers()[0])
        replies = [self.ask(b"x%d" % n) for n in range(10)]
        self.assertLessEqual(replies.count(b"late\n"), 1)
        self.assertGreaterEqual(len([r for r in replies if re.fullmatch(rb"X\d\n", r)]), 9)

    def test_no_descriptor_is_left_of_helpers_that_die(self):
        self.expect_log(ENDED)
        self.serve_helper(ACTOR)
        worker = self.status()["workers"][0]["pid"]
        self.assertEqual(self.ask(b"x"), b"X\n")
        before = count_fds(worker)
        for n in range(20):
            self.assertEqual(self.ask(b"reply-and-exit %d" % n), b"%d\n" % n)
        self.assertEqual(self.ask(b"x"), b"X\n")
        self.wait_for(lambda: count_fds(worker) <= before)


if __name__ == "__main__":
    sockdtest.main()
