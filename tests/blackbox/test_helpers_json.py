"""The json protocol of helpers: answers by number in any order, binary, messages unasked, clients that left (G1 to G6)."""
import json
import os
import resource
import signal
import socket
import struct
import sys

import sockdtest
from sockdtest import SockdTest, command_line, descendants, process_name

# What a request says is done: each test uses a few of the words. Words that are kept are answered by "now".
ACTOR = """#!%s
import base64, json, os, sys

def answer(id, **members):
    print(json.dumps(dict(members, id=id)), flush=True)

kept, known, closed = [], [], []
for line in sys.stdin:
    m = json.loads(line)
    if "closed" in m:
        closed.append(m["closed"])
        continue
    id, connection = m["id"], m.get("connection")
    if connection and connection not in known:
        known.append(connection)
    if "request64" in m:
        data = base64.b64decode(m["request64"])
        answer(id, reply64=base64.b64encode(data[::-1]).decode())
        continue
    word, _, rest = m["request"].partition(" ")
    if word == "keep":
        kept.append((id, rest))
    elif word == "now":
        for other, text in reversed(kept):
            answer(other, reply=text)
        kept.clear()
        answer(id, reply=rest)
    elif word == "silent":
        answer(id)
    elif word == "bye":
        answer(id, reply="bye", close=True)
    elif word == "shut":
        answer(id, close=True)
    elif word == "error":
        answer(id, error=rest)
    elif word == "all":
        for c in known:
            print(json.dumps({"connection": c, "push": rest}), flush=True)
        answer(id)
    elif word == "flood":
        target = known[0]
        for i in range(int(rest)):
            print(json.dumps({"connection": target, "push": "x" * 1000}), flush=True)
        answer(id, reply="done")
    elif word == "what":
        answer(id, reply=json.dumps(m))
    elif word == "closed":
        answer(id, reply=json.dumps(closed))
    elif word == "pid":
        answer(id, reply=str(os.getpid()))
    elif word == "garbage":
        print(rest, flush=True)
    elif word == "die":
        os.kill(os.getpid(), 9)
    else:
        answer(id, reply=m["request"].upper())
""" % sys.executable

KEYS = 'handler = "helper"; helper_protocol = "json"; command = "$dir/helper"; helpers = 1; '
DEATH = r"helper 1 \[pid \d+\] |degraded: helper 1 "


class JsonTest(SockdTest):
    def serve_json(self, keys="", script=ACTOR, **options):
        self.write("helper", script, 0o755)
        return self.serve(KEYS + keys, top="workers = 1;", **options)

    def helper(self):
        """The pid of the only helper."""
        return next(pid for pid in descendants(self.sockd.pid) if self.dir + "/helper" in command_line(pid))

    def worker(self):
        return next(pid for pid in self.pids() if "worker" in process_name(pid))

    @staticmethod
    def read_line(client):
        line = b""
        while not line.endswith(b"\n") and (more := client.recv(1)):
            line += more
        return line

    def ask(self, client, line):
        client.sendall(line + b"\n")
        return self.read_line(client)

    def keep(self, sock):
        sock = super().keep(sock)
        if sock.family != socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    @staticmethod
    def vanish(client):
        """Leaves with a reset; a client that only ends its side still waits for its reply."""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def wait_in_hand(self, n):
        self.wait_counter("in_hand", lambda found: found == n)

    # Requests and their answers.

    def test_a_reply_comes_back(self):
        self.serve_json()
        self.assertEqual(self.converse(b"hello\nsecond line\r\nlast"), b"HELLO\nSECOND LINE\r\nLAST")

    def test_answers_in_any_order_reach_their_clients(self):
        self.serve_json()
        clients = [self.connect() for _ in range(20)]
        for n, client in enumerate(clients):
            client.sendall(b"keep for client %d\n" % n)
        self.wait_in_hand(20)
        self.assertEqual(self.ask(self.connect(), b"now go"), b"go\n")
        for n, client in enumerate(clients):
            self.assertEqual(self.read_line(client), b"for client %d\n" % n)
        self.assertEqual(self.counter("replies"), 21)

    def test_a_request_says_whose_it_is(self):
        self.serve_json()
        one, two = self.connect(), self.connect()
        first, second, other = (json.loads(self.ask(c, b"what")) for c in (one, one, two))
        host, port = one.getsockname()
        self.assertEqual(first["service"], "echo")
        self.assertEqual(first["transport"], "tcp")
        self.assertEqual(first["peer"], "%s:%d" % (host, port))
        self.assertEqual(first["local"], "%s:%d" % (self.addr, self.port()))
        self.assertEqual(first["request"], "what")
        self.assertEqual(first["connection"], second["connection"])
        self.assertNotEqual(first["connection"], other["connection"])
        self.assertEqual(len({first["id"], second["id"], other["id"]}), 3)

    def test_bytes_that_are_no_text_travel_as_base64(self):
        self.serve_json('framing = "length:u16be";')
        client = self.connect()
        for data in (bytes(range(256)), b"\xff", b"\xc0\x80", os.urandom(5000) + b"\xff"):
            client.sendall(len(data).to_bytes(2, "big") + data)
            self.assertEqual(self.receive(client, 2 + len(data))[2:], data[::-1])

    def test_text_travels_as_text_whatever_it_holds(self):
        self.serve_json('framing = "length:u16be";')
        client = self.connect()
        for text in ("", "\0", "a\nb\r\n", '"\\', "\u00e9\u20ac\U0001f600", "\x7f\x01\u2028"):
            data = ("now " + text).encode()
            client.sendall(len(data).to_bytes(2, "big") + data)
            self.assertEqual(self.receive(client, 2 + len(text.encode()))[2:].decode(), text)

    def test_silence_sends_nothing(self):
        self.serve_json()
        self.assertEqual(self.converse(b"silent\nhello\nsilent\n"), b"HELLO\n")
        self.assertEqual(self.counter("silences"), 2)

    def test_close_ends_the_connection_after_the_reply(self):
        self.serve_json()
        client = self.connect()
        client.sendall(b"hello\nbye\nnever seen\n")
        self.assertEqual(self.receive_all(client), b"HELLO\nbye\n")
        client = self.connect()
        client.sendall(b"shut\n")
        self.assertEqual(self.receive_all(client), b"")

    def test_an_error_is_logged_and_ends_the_connection(self):
        self.serve_json()
        client = self.connect()
        client.sendall(b"error no such\tthing\n")
        self.assertEqual(self.receive_all(client), b"")
        self.wait_log(r"no such\\tthing")
        self.assertEqual(self.counter("failed_handler"), 1)

    def test_an_error_sends_error_reply(self):
        self.serve_json('error_reply = "sorry";')
        self.assertEqual(self.converse(b"error why\nhello\n"), b"sorry\nHELLO\n")

    def test_a_reply_over_max_reply_fails_that_request_alone(self):
        self.serve_json('max_reply = "1k"; error_reply = "sorry"; max_request = "64k";')
        pid = self.ask(self.connect(), b"pid")
        self.assertEqual(self.converse(b"now " + b"x" * 2000 + b"\npid\n"), b"sorry\n" + pid)
        self.assertEqual(self.counter("failed_reply"), 1)

    # Messages unasked.

    def test_a_message_unasked_reaches_all_who_spoke(self):
        self.serve_json()
        clients = [self.connect() for _ in range(5)]
        for client in clients:
            self.assertEqual(self.ask(client, b"hello"), b"HELLO\n")
        clients[0].sendall(b"all news\n")
        for client in clients:
            self.assertEqual(self.read_line(client), b"news\n")

    def test_a_message_comes_while_a_request_is_in_hand_and_before_its_reply(self):
        self.serve_json()
        waiting, other = self.connect(), self.connect()
        waiting.sendall(b"keep my reply\n")
        self.wait_in_hand(1)
        other.sendall(b"all news\n")
        self.assertEqual(self.read_line(other), b"news\n")
        self.assertEqual(self.read_line(waiting), b"news\n")
        self.assertEqual(self.ask(other, b"now x"), b"x\n")
        self.assertEqual(self.read_line(waiting), b"my reply\n")

    def test_a_message_comes_amid_an_unfinished_request(self):
        self.serve_json()
        slow, other = self.connect(), self.connect()
        self.assertEqual(self.ask(slow, b"hello"), b"HELLO\n")
        slow.sendall(b"half a req")
        self.wait_counter("bytes_in", 16)
        other.sendall(b"all news\n")
        self.assertEqual(self.read_line(slow), b"news\n")
        slow.sendall(b"uest\n")
        self.assertEqual(self.read_line(slow), b"HALF A REQUEST\n")

    def test_a_message_to_a_client_that_left_goes_nowhere(self):
        self.serve_json()
        gone = self.connect()
        self.ask(gone, b"hello")
        gone.close()
        self.wait_counter("connections", lambda n: n == 0)
        self.assertEqual(self.converse(b"all news\nhello\n"), b"news\nHELLO\n")

    def test_a_message_that_does_not_fit_the_framing_is_logged_and_sent_to_nobody(self):
        self.expect_log("pushed 4 bytes that do not fit the framing$")
        self.serve_json('framing = "fixed:8";')
        client = self.connect()
        client.sendall(b"all news")
        self.wait_log("pushed 4 bytes that do not fit the framing$")
        client.sendall(b"new word")
        self.assertEqual(self.receive(client, 8), b"NEW WORD")
        client.sendall(b"now some")
        self.wait_log("a reply of 4 bytes does not fit the framing$")

    def test_a_message_over_max_reply_is_logged_and_sent_to_nobody(self):
        self.expect_log("pushed 9 bytes that are over max_reply$")
        self.serve_json("max_reply = 8;")
        client = self.connect()
        client.sendall(b"all long news\n")
        self.wait_log("pushed 9 bytes that are over max_reply$")
        self.assertEqual(self.ask(client, b"hello"), b"HELLO\n")

    def test_a_client_that_takes_nothing_is_ended_before_it_fills_the_memory(self):
        self.serve_json('max_reply = "256k";')
        stuck, other = self.connect(), self.connect()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.assertEqual(self.ask(stuck, b"hello"), b"HELLO\n")
        self.assertEqual(self.ask(other, b"flood 20000"), b"done\n")
        self.assertEqual(self.counter("ended_send"), 1)
        self.assertEqual(self.ask(other, b"hello"), b"HELLO\n")

    def test_a_client_that_takes_all_gets_all(self):
        self.serve_json('max_reply = "1m";')
        eager, other = self.connect(), self.connect()
        self.assertEqual(self.ask(eager, b"hello"), b"HELLO\n")
        for _ in range(20):
            other.sendall(b"flood 50\n")
            self.assertEqual(self.receive(eager, 50 * 1001), (b"x" * 1000 + b"\n") * 50)
            self.assertEqual(self.read_line(other), b"done\n")

    # Clients that leave.

    def test_the_helper_is_told_who_left(self):
        self.serve_json()
        gone, stays, mute = self.connect(), self.connect(), self.connect()
        number = json.loads(self.ask(gone, b"what"))["connection"]
        mute.close()  # it never spoke: nobody knows it
        gone.close()
        self.wait_for(lambda: json.loads(self.ask(stays, b"closed")) == [number], what="the helper to be told")

    def test_an_answer_to_a_client_that_left_reaches_nobody(self):
        self.serve_json()
        gone = self.connect()
        gone.sendall(b"keep secret\n")
        self.wait_in_hand(1)
        self.vanish(gone)
        self.wait_in_hand(0)
        self.assertEqual(self.converse(b"now go\nhello\n"), b"go\nHELLO\n")
        self.assertEqual(self.counter("cancelled"), 1)

    # What goes wrong.

    def test_G2_an_answer_that_is_too_late_reaches_nobody(self):
        self.serve_json('handler_timeout = "3s"; error_reply = "sorry";')
        late, other = self.connect(), self.connect()
        pid = self.ask(other, b"pid")
        late.sendall(b"keep secret\n")
        self.wait_in_hand(1)
        self.assertEqual(self.ask(other, b"hello"), b"HELLO\n")
        self.assertEqual(self.read_line(late), b"sorry\n")
        self.assertEqual(self.counter("failed_timeout"), 1)
        self.assertEqual(self.ask(late, b"hello"), b"HELLO\n")
        self.assertEqual(self.ask(other, b"now go"), b"go\n")
        self.assertEqual(self.ask(late, b"hello"), b"HELLO\n")
        self.assertEqual(self.ask(other, b"pid"), pid)

    def test_G2_a_helper_that_answers_nothing_in_time_is_replaced(self):
        self.expect_log(DEATH)
        self.serve_json('handler_timeout = "500ms"; error_reply = "sorry";')
        client = self.connect()
        pid = self.ask(client, b"pid")
        self.assertEqual(self.ask(client, b"keep it"), b"sorry\n")
        self.assertNotEqual(self.ask(client, b"pid"), pid)

    def test_G4_requests_to_a_helper_that_never_reads_end_with_queue_timeout(self):
        self.expect_log(DEATH)
        self.serve_json('handler_timeout = "200ms"; queue_timeout = "300ms"; helper_start_timeout = "20s"; '
                        'error_reply = "sorry";', script="#!/bin/sh\nexec sleep 1000\n")
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            client.sendall(b"hello\n")
        for client in clients:
            self.assertEqual(self.read_line(client), b"sorry\n")
        self.assertEqual(self.counter("failed_queue_timeout"), 3)

    def test_G4_a_helper_that_reads_and_answers_nothing_after_a_slow_start_is_replaced(self):
        self.expect_log(DEATH)
        os.mkfifo(os.path.join(self.dir, "fifo"))
        self.serve_json('handler_timeout = "300ms"; queue_timeout = "1m"; error_reply = "sorry";',
                        script="#!/bin/sh\nread -r go <$dir/fifo\nread -r line\nexec sleep 1000\n")
        client = self.connect()
        client.sendall(b"hello\n")
        self.wait_in_hand(1)
        self.let_pass(1, "handler_timeout")
        with open(os.path.join(self.dir, "fifo"), "w") as fifo:
            fifo.write("go\n")
        self.assertEqual(self.read_line(client), b"sorry\n")
        self.wait_log("did not reply within handler_timeout and was ended")

    def test_C1_a_helper_whose_pipes_found_no_descriptor_is_asked_for_again(self):
        self.expect_log(DEATH, "helper 1 started when")
        self.serve_json(script=ACTOR + "import signal\nsignal.pause()\n")  # the end of its input does not end it
        client, worker = self.connect(), self.worker()
        pid = self.ask(client, b"pid")
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, hard))
        os.kill(int(pid), signal.SIGKILL)
        self.wait_log("helper 1 started when the worker had no descriptor free and was ended; next try in")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(self.ask(client, b"hello"), b"HELLO\n")

    def test_G3_garbage_ends_the_helper_and_not_the_service(self):
        self.expect_log(DEATH)
        self.serve_json('error_reply = "sorry";')
        for line in (b"hello", b"[]", b"{", b'{"id":0}', b'{"id":999999}', b'{"reply":"x"}', b'{"id":"1"}',
                     b'{"id":1,"reply64":"*"}', b'{"id":1,"reply":1}', b'{"connection":1}', b""):
            client = self.connect()
            pid = self.ask(client, b"pid")
            self.assertEqual(self.ask(client, b"garbage " + line), b"sorry\n", line)
            self.assertNotEqual(self.ask(client, b"pid"), pid)
        self.wait_log(r"wrote a line that is no JSON object \(hello\) and was ended; replaced at once")

    def test_G1_answers_that_a_killed_helper_owes_are_failures_and_the_service_goes_on(self):
        self.expect_log(DEATH)
        self.serve_json('error_reply = "sorry";')
        clients = [self.connect() for _ in range(10)]
        for client in clients:
            client.sendall(b"keep it\n")
        self.wait_in_hand(10)
        pid = self.ask(self.connect(), b"pid")  # it has read them: what it had not would go to the next
        os.kill(int(pid), signal.SIGKILL)
        for client in clients:
            self.assertEqual(self.read_line(client), b"sorry\n")
        for client in clients:
            self.assertEqual(self.ask(client, b"hello"), b"HELLO\n")
        self.assertEqual(self.counter("failed_handler"), 10)

    # Other services.

    def test_datagrams_are_requests_without_a_connection(self):
        self.serve_json('transport = "udp"; max_reply_ratio = 0;')
        self.expect_log("max_reply_ratio")
        client = self.udp()
        client.send(b"what")
        m = json.loads(client.recv(65536))
        self.assertEqual(m["transport"], "udp")
        self.assertNotIn("connection", m)
        self.assertEqual(m["peer"], "%s:%d" % client.getsockname())
        client.send(b"\xff\xfe")
        self.assertEqual(client.recv(100), b"\xfe\xff")
        for line in (b"silent", b"shut", b"error why", b"bye"):
            client.send(line)
        self.assertEqual(client.recv(100), b"bye")
        self.assertEqual(self.counter("silences"), 2)

    def test_a_mixed_service_tells_its_transports_apart(self):
        self.serve_json('transport = [ "udp", "tcp" ]; max_reply_ratio = 0;')
        self.expect_log("max_reply_ratio")
        client = self.udp()
        client.send(b"what")
        self.assertEqual(json.loads(client.recv(65536))["transport"], "udp")
        self.assertEqual(json.loads(self.ask(self.connect(), b"what"))["transport"], "tcp")

    def test_unix_clients_have_an_identity(self):
        self.serve_json('transport = "unix"; path = "$dir/s";')
        m = json.loads(self.ask(self.unix("s"), b"what"))
        self.assertEqual(m["transport"], "unix")
        self.assertIn("%d" % os.getuid(), m["peer"])

    def test_a_one_way_helper_is_told_and_not_asked(self):
        self.serve_json('one_way = true;', script="""#!/bin/sh
while read -r line; do echo "$line"; done
""")
        self.assertEqual(self.converse(b"hello\n"), b"")
        self.wait_log(r'says: .*"request":"hello"')
        self.assertEqual(self.counter("silences"), 1)

    def test_a_probe_comes_from_nobody(self):
        self.write("helper", ACTOR, 0o755)
        self.serve(KEYS + 'helper_probe = "what";', top="workers = 1;")
        self.assertEqual(self.converse(b"hello\n"), b"HELLO\n")

    def test_helper_framing_makes_no_sense_in_json(self):
        path = self.write("bad.conf", self.service(KEYS + 'helper_framing = "line";'))
        done = self.run_sockd("-t", "-f", path)
        self.assertEqual(done.returncode, 78)
        self.assertIn("helper_protocol", done.stderr)

    # Reloads.

    def test_at_a_reload_the_old_helper_is_told_and_the_new_one_knows_a_new_connection(self):
        self.serve_json()
        idle, busy = self.connect(), self.connect()
        number = json.loads(self.ask(idle, b"what"))["connection"]
        pid = self.ask(idle, b"pid")
        busy.sendall(b"keep reply of the old\n")
        self.wait_in_hand(1)
        helper = self.helper()
        done = self.reload(self.service(KEYS + 'max_request = "100k";', top="workers = 1;"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotEqual(self.ask(idle, b"pid"), pid)
        self.assertEqual(json.loads(self.ask(idle, b"closed")), [])
        self.assertEqual(int(pid), helper)
        self.assertGreater(json.loads(self.ask(idle, b"what"))["connection"], 0)
        self.assertGreater(number, 0)
        # The old helper still owes a reply; it may take its time, and nothing of it is lost.
        self.assertTrue(os.path.exists("/proc/%d" % helper))
        self.vanish(busy)
        self.wait_for(lambda: not os.path.exists("/proc/%d" % helper), what="the old helper to end")

    def test_the_old_helper_hears_that_a_connection_moved(self):
        self.serve_json(script="""#!%s
import json, sys
kept = None
for line in sys.stdin:
    m = json.loads(line)
    if "closed" in m:
        if kept is None:
            continue
        print(json.dumps({"id": kept, "reply": "closed %%d" %% m["closed"]}), flush=True)
    elif m["request"] == "keep":
        kept = m["id"]
    else:
        print(json.dumps({"id": m["id"], "reply": str(m["connection"])}), flush=True)
""" % sys.executable)
        idle, busy = self.connect(), self.connect()
        number = self.ask(idle, b"who")
        busy.sendall(b"keep\n")
        self.wait_in_hand(1)
        done = self.reload(self.service(KEYS + 'max_request = "100k";', top="workers = 1;"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.read_line(busy), b"closed " + number)
        self.assertGreater(int(self.ask(busy, b"who")), 0)
        self.assertGreater(int(self.ask(idle, b"who")), 0)

    def test_reloads_under_messages_lose_none(self):
        self.serve_json()
        client = self.connect()
        for n in range(10):
            client.sendall(b"all %d\nhello\n" % n)
            done = self.reload(self.service(KEYS + 'max_request = "%dk";' % (100 + n), top="workers = 1;"))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.read_line(client), b"%d\n" % n)
            self.assertEqual(self.read_line(client), b"HELLO\n")


if __name__ == "__main__":
    sockdtest.main()
