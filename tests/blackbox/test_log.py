"""The log: whatever clients send, one event is one line (H4), floods are cut short (H5), and it never blocks (C12); and
a pause of the whole machine (H7), as far as timeouts are concerned; that of the master is in test_master.py.
"""
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import sockdtest
from sockdtest import SockdTest

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[\d+( worker \d+| spawner| exporter)?\] [ -~]+")

# Every byte, and what terminals, journals and printf() would take for their own.
HOSTILE = (bytes(range(256)), b"\x1b[31mred\x1b[0m", b"\r2026-01-01 00:00:00.000 [1] stopping", b"MESSAGE=forged",
           b"%n%n%s%s%999999d", "\u202egnal\u202c \u0085\u2028".encode(), b"\0\0\0", b"\xff\xfe")

# Becomes sockd, with its standard error as the journal's stream.
BECOME = """
import os, sys
st = os.fstat(2)
os.environ["JOURNAL_STREAM"] = "%d:%d" % (st.st_dev, st.st_ino)
os.execv(sys.argv[1], sys.argv[1:])
"""
# In a mount namespace of its own, where the journal listens in the test's directory.
JOURNAL = ('mount -t tmpfs none /run; mkdir -p /run/systemd/journal; mount --bind "$1" /run/systemd/journal; shift;'
           ' exec "$@"')


def kinds_of_event():
    """What the headers say of each MESSAGE_ID: {id: (name, event, fields)}."""
    found = {}
    for header in "log_ids.h", "base/log.h", "base/log_limit.h":
        with open(os.path.join(sockdtest.ROOT, "src", header)) as f:
            text = f.read()
        for words, name, number in re.findall(r'/\* ((?:(?!\*/).)*?)\. \*/\n#define (LOG_ID_\w+)\s+"(\w+)"', text, re.S):
            event, _, fields = re.sub(r"\s*\n \* ", " ", words).partition("; with ")
            found[number] = (name, event, {"SOCKD_" + field for field in fields.split(", ") if field})
    return found


def parse_journal(datagram):
    """The fields of one entry; systemd.io/JOURNAL_NATIVE_PROTOCOL."""
    fields = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(datagram[:8], "little")
            value, end, datagram = datagram[8:8 + length], datagram[8 + length:9 + length], datagram[9 + length:]
            assert end == b"\n"
        fields[name.decode()] = value.decode()
    return fields


class KindsTest(SockdTest):
    def test_the_manual_lists_every_kind_of_event_with_its_fields(self):
        with open(os.path.join(sockdtest.ROOT, "src/sockd.8")) as f:
            text = f.read().partition(".Ss Kinds of event")[2].partition(".Ss Reload")[0]
        listed = {}
        for number, event, fields in re.findall(r"^\.It ([0-9a-f]{32})\n([^.].*?)[.:](?:\n\.Ev (.*) \.)?$", text, re.M):
            listed[number] = (event, set(fields.split(" , ") if fields else ()))
        kinds = {number: (event[0].upper() + event[1:], fields) for number, (_, event, fields) in kinds_of_event().items()}
        self.assertEqual(listed, kinds)

    def test_every_line_that_is_not_for_debugging_is_of_a_kind_and_every_kind_is_used(self):
        sources = {}
        for directory, _, names in os.walk(os.path.join(sockdtest.ROOT, "src")):
            for name in names:
                if name.endswith(".c"):
                    with open(os.path.join(directory, name)) as f:
                        sources[name] = f.read()
        for name, text in sources.items():
            self.assertEqual(re.findall(r"\blog_(?:error|warning|notice|info)\(|\blog_write\([^;&]*, NULL,", text), [], name)
        used = {name for text in sources.values() for name in re.findall(r"\bLOG_ID_\w+", text)}
        self.assertEqual(used, {name for name, _, _ in kinds_of_event().values()})


class LogTest(SockdTest):
    def assert_lines_are_whole(self, sockd):
        for line in sockd.log:
            self.assertRegex(line, LINE)
            self.assertIsNotNone(LINE.fullmatch(line), line)

    def test_H4_nothing_that_a_client_sends_makes_or_breaks_a_line(self):
        self.serve('handler = "echo"; framing = "netstring"; max_request = 1000; log = "requests";', top="workers = 1;")
        for data in HOSTILE:
            request = b"%d:%s," % (len(data), data)
            self.assertEqual(self.converse(request), request)
            self.converse(data)
        self.wait_counter("connections", lambda n: n == 0)
        self.stop()
        self.assert_lines_are_whole(self.sockd)
        lines = [line.partition("] echo: ")[2] for line in self.sockd.log if "] echo: " in line]
        n = len(HOSTILE)
        self.assertEqual(len([line for line in lines if line.endswith(": connected")]), 2 * n)
        self.assertEqual(len([line for line in lines if ": closed: " in line]), 2 * n)
        self.assertEqual(len([line for line in lines if ": request of " in line]), n)
        self.assertEqual(len(lines), 5 * n)

    def test_H4_nothing_in_a_configuration_does_either(self):
        self.serve('handler = "echo";')
        self.expect_log("error")
        for data in HOSTILE[1:]:
            text = data.replace(b"\0", b"").replace(b"\\", b"").replace(b'"', b"").decode(errors="surrogateescape")
            with open(os.path.join(self.dir, "sockd.conf"), "w", errors="surrogateescape") as f:
                f.write('services: { echo: { port = 1; handler = "%s"; }; };' % text)
            done = self.ctl("reload")
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr + done.stdout, r"^[ -~\n]+$")
        self.stop()
        self.assert_lines_are_whole(self.sockd)

    def test_H5_a_flood_of_events_is_cut_short_and_counted(self):
        self.serve('handler = "echo"; deny = "127.9.9.9";', top="workers = 2;")
        self.expect_log("more lines? suppressed")
        began, n = time.monotonic(), 2000
        for _ in range(n):
            self.assertEqual(self.receive_all(self.connect(source="127.9.9.9")), b"")
        seconds = time.monotonic() - began
        self.assertEqual(self.counter("refused_denied"), n)
        self.stop()
        told = [line for line in self.sockd.log if "refused: not in allow" in line]
        counts = [int(m[1]) for line in self.sockd.log if (m := re.search(r"echo: (\d+) more lines? suppressed in [0-9.]+ s$", line))]
        self.assertEqual(len(told) + sum(counts), n)
        self.assertLessEqual(len(told), 2 * 50 * (seconds + 1))
        first = self.sockd.log.index(told[0])
        self.assertEqual(self.sockd.log[first:first + 50], told[:50])

    def start_logging_to(self, stderr, conf, before=()):
        """A daemon whose log goes elsewhere; returns the process."""
        process = subprocess.Popen([*before, os.path.join(sockdtest.BUILD, "sockd"), "-f", self.write("sockd.conf", conf),
                                    "--control", os.path.join(self.dir, "control.sock")], stdin=subprocess.DEVNULL,
                                   stderr=stderr)
        self.addCleanup(process.wait, sockdtest.TIMEOUT)
        self.wait_for(lambda: self.ctl("status").returncode == 0, what="sockd to serve")
        return process

    def start_unread(self, top="workers = 1;"):
        process = self.start_logging_to(subprocess.PIPE, self.service(
            'handler = "echo"; log = "requests"; framing = "netstring";', top))
        self.addCleanup(process.stderr.close)
        return process

    def assert_load_is_served(self):
        """Every request of many, on connections of its own for some, is answered."""
        for words in ("-n", "5000", "-c", "8"), ("-n", "300", "-c", "4", "--new-connections"):
            done = self.run_program("sockctl", "-H", self.addr, "-p", self.port(), "-F", "netstring", "bench", "--json",
                                    "--verify", *words)
            report = json.loads(done.stdout)
            self.assertEqual((done.returncode, report["failed"], report["requests"]), (0, 0, int(words[1])), done.stdout)

    def test_C12_a_log_that_nobody_reads_blocks_nothing_and_what_was_lost_is_told(self):
        process = self.start_unread()
        for _ in range(3):
            self.assert_load_is_served()
        first = process.stderr.read(1)
        self.assertEqual(first, b"2")
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read().decode()
        self.assertEqual(process.wait(sockdtest.TIMEOUT), 0)
        for line in ("2" + rest).splitlines():
            self.assertIsNotNone(LINE.fullmatch(line), line)

    def test_C12_lines_that_an_unread_pipe_lost_are_counted_exactly_and_told_when_it_flows_again(self):
        process = self.start_unread('workers = 1; worker_timeout = "1s";')
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        started = process.stderr.readline()
        self.assertIn(b"generation 1: ", started)
        with self.connect() as client:
            for _ in range(47):  # fewer than are suppressed
                client.sendall(b"1:x,")
                self.assertEqual(self.receive(client, 4), b"1:x,")
            # Nothing else happens: that it is read is enough.
            told, lost = 0, None
            while lost is None:
                line = process.stderr.readline().decode().rstrip("\n")
                self.assertIsNotNone(LINE.fullmatch(line), line)
                told += "] echo: " in line
                lost = re.search(r"worker 1\] warning: (\d+) log lines? (?:was|were) lost: ", line)
        self.assertEqual(told + int(lost[1]), 1 + 47)
        self.assertGreater(told, 10)
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read().decode()
        self.assertNotIn("lost", rest)
        self.assertEqual(process.wait(sockdtest.TIMEOUT), 0)

    def test_C12_a_log_whose_reader_is_gone_ends_nothing(self):
        process = self.start_unread()
        process.stderr.close()
        self.assert_load_is_served()
        self.assertEqual(self.ctl("reload").returncode, 0)
        self.assert_load_is_served()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(sockdtest.TIMEOUT), 0)

    def test_C10_a_full_disk_costs_lines_and_no_request_and_their_number_is_told_when_there_is_room(self):
        if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            self.skipTest("only root may mount a small file system")
        disk = os.path.join(self.dir, "disk")
        os.mkdir(disk)
        mount = ('mount -t tmpfs -o size=64k none "$1"; head -c 48k /dev/zero > "$1/filler"; exec 2>>"$1/log"; shift;'
                 ' exec "$@"')
        process = self.start_logging_to(None, self.service(
            'handler = "echo"; log = "requests"; framing = "netstring";', 'workers = 1; worker_timeout = "1s";'),
            ["unshare", "-m", "sh", "-ec", mount, "sh", disk])
        inside = "/proc/%d/root%s/" % (process.pid, disk)

        def log():
            with open(inside + "log") as f:
                return f.read()

        def is_full():
            self.assert_load_is_served()
            return len(log()) == 16 * 1024

        self.wait_for(is_full, timeout=30, what="the disk to be full")
        for _ in range(3):
            self.assert_load_is_served()
        self.assertEqual(self.ctl("reload").returncode, 0)
        self.assert_load_is_served()
        os.unlink(inside + "filler")
        # The master tells those of the worker that the reload replaced, the other worker its own.
        self.wait_for(lambda: re.search(r"\[%d\] warning: \d+ log lines were lost: " % process.pid, log()))
        self.wait_for(lambda: re.search(r"worker 1\] warning: \d+ log lines were lost: ", log()))
        self.assert_load_is_served()
        # No path leads to the log when the process is gone.
        with open(inside + "log") as f:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(sockdtest.TIMEOUT), 0)
            text = f.read()
        cut = [line for line in text.splitlines() if not LINE.fullmatch(line)]
        self.assertLessEqual(len(cut), 3, cut)  # a line that did not fit whole, of each process
        self.assertRegex(text, r"\] stopped\n$")

    def test_H7_after_a_pause_what_has_come_is_served_before_anything_is_late(self):
        self.serve('handler = "echo"; idle_timeout = "2s"; request_timeout = "2s";', top="workers = 1;")
        worker = self.pids()[0]
        half, idle, gone = self.connect(), self.connect(), self.connect()
        for client in half, idle, gone:
            client.sendall(b"hello\n")
            self.assertEqual(self.receive(client, 6), b"hello\n")
        half.sendall(b"ha")
        self.counter("connections")
        self.stop_process(worker)
        half.sendall(b"lf\n")
        idle.sendall(b"awake\n")
        self.let_pass(2.2, "the pause itself")
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(self.receive(half, 5), b"half\n")
        self.assertEqual(self.receive(idle, 6), b"awake\n")
        self.assertEqual(self.receive_all(gone), b"")
        self.wait_counter("ended_idle", 1)
        self.assertEqual(self.counter("ended_request"), 0)


class JournalTest(SockdTest):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root may put another journal into place")
        self.need("unshare")
        super().setUp()
        os.mkdir(os.path.join(self.dir, "journal"))
        self.journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.journal.bind(os.path.join(self.dir, "journal/socket"))
        self.found, self.collector = [], threading.Thread(target=self.collect)
        self.collector.start()
        self.addCleanup(self.journal.close)
        self.addCleanup(self.entries)
        if subprocess.run(self.in_journal(["true"]), capture_output=True).returncode != 0:
            self.tearDown()
            self.skipTest("this machine allows no mount namespace")

    def in_journal(self, command):
        return ["unshare", "-m", "sh", "-ec", JOURNAL, "sh", os.path.join(self.dir, "journal"), *command]

    def collect(self):
        while data := self.journal.recv(1 << 20):
            self.found.append(parse_journal(data))

    def entries(self):
        """All that came; there is no journal any more."""
        self.journal.shutdown(socket.SHUT_RDWR)
        self.collector.join()
        return self.found

    def start_in_journal(self, conf):
        conf = self.write("sockd.conf", conf)
        self.sockd = sockdtest.Daemon(
            self.in_journal([sys.executable, "-c", BECOME, os.path.join(sockdtest.BUILD, "sockd"), "-f", conf,
                             "--control", os.path.join(self.dir, "control.sock")]), self.dir, {})
        self.sockd.fd_baseline = {}
        self.daemons.append(self.sockd)
        self.wait_notify("^READY=1$")

    def test_H4_the_journal_gets_one_entry_for_each_event_with_its_fields(self):
        self.start_in_journal(self.service('handler = "echo"; log = "requests";', "workers = 1;"))
        client = self.connect()
        peer = "%s:%d" % client.getsockname()
        client.sendall(b"MESSAGE=forged\nPRIORITY=0\n")
        self.assertEqual(self.receive(client, 26), b"MESSAGE=forged\nPRIORITY=0\n")
        self.assertEqual(self.sockd.log, [])
        self.stop()
        entries = self.entries()
        for entry in entries:
            self.assertEqual(entry["SYSLOG_IDENTIFIER"], "sockd")
            self.assertIn(entry["PRIORITY"], "3456")
            self.assertRegex(entry["MESSAGE"], r"^[ -~]+$")
        told = [entry for entry in entries if entry.get("SOCKD_PEER") == peer][:3]
        self.assertEqual([entry["MESSAGE"].rpartition(": ")[2] for entry in told],
                         ["connected", "request of 14 bytes, reply of 14", "request of 10 bytes, reply of 10"])
        for entry in told:
            self.assertEqual((entry["SOCKD_SERVICE"], entry["SOCKD_WORKER"], entry["SOCKD_GENERATION"]), ("echo", "1", "1"))

    def test_every_entry_is_of_a_kind_and_has_the_fields_that_the_manual_promises(self):
        self.write("helper", "#!/bin/sh\nread -r line; echo no >&2; exit 1\n", 0o755)
        self.write("program", "#!/bin/sh\nread -r line; echo out; echo err >&2; exit 2\n", 0o755)
        conf = """workers = 1; host = "$addr"; log = "requests"; services: {
            echo: { port = $port; handler = "echo"; max_request = 5; deny = "127.9.9.9"; };
            ask: { port = $port1; handler = "helper"; command = "$dir/helper"; };
            run: { port = $port2; handler = "program"; command = "$dir/program"; }; };"""
        self.expect_fd_change()
        self.start_in_journal(conf)
        self.assertEqual(self.converse(b"hello\n"), b"hello\n")
        self.assertEqual(self.converse(b"too long\n"), b"")
        self.assertEqual(self.receive_all(self.connect(source="127.9.9.9")), b"")
        self.assertEqual(self.converse(b"x\n", port=self.port(1)), b"")
        self.assertEqual(self.converse(b"x\n", port=self.port(2)), b"out\n")
        self.assertEqual(self.reload().returncode, 0)
        self.assertEqual(self.reload("services: { x: { } };").returncode, 1)
        self.assertEqual(self.ctl("log-level", "info").returncode, 0)
        self.wait_for_one_generation()
        os.kill(self.status()["workers"][0]["pid"], signal.SIGKILL)
        self.wait_for(lambda: any("was ended by signal 9" in entry["MESSAGE"] for entry in self.found))
        self.wait_for(lambda: self.status()["verdict"] == "well")
        self.stop()
        kinds, found = kinds_of_event(), {}
        for entry in self.entries():
            name, _, fields = kinds[entry["MESSAGE_ID"]]
            found[name] = entry
            self.assertLessEqual(fields, set(entry), entry)
        self.assertLessEqual(
            {"LOG_ID_" + name for name in ("STARTED", "CONNECTED", "CLOSED", "REQUEST", "REFUSED", "STDERR", "HELPER_ENDED",
                                           "PROGRAM_STARTED", "PROGRAM_ENDED", "RELOADED", "RELOAD_FAILED", "CONFIGURATION",
                                           "CONTROL", "PROCESS_DIED", "STOPPING", "STOPPED")}, set(found))
        died = found["LOG_ID_PROCESS_DIED"]
        self.assertEqual((died["SOCKD_WORKER"], died["SOCKD_GENERATION"]), ("1", "2"), died)
        self.assertRegex(found["LOG_ID_CONTROL"]["SOCKD_PEER"], r"^uid \d+ pid \d+$")
        self.assertIn(found["LOG_ID_STDERR"]["SOCKD_GENERATION"], "12")


if __name__ == "__main__":
    sockdtest.main()
