"""The exporter: what it serves, to whom and how much, that it outlives workers, reloads and its own death, and that
Prometheus likes what it says."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request

import sockdtest
from sockdtest import TIMEOUT, SockdTest, children, process_name

TOP = 'workers = 2; metrics = { host = "$addr"; port = $port1; };'


def parse(text):
    """Each sample of the text format, by its name with labels."""
    return {name: float(value) for name, _, value in
            (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")}


class MetricsTest(SockdTest):
    def url(self, path="/metrics", port=1):
        return "http://%s:%d%s" % (self.addr, self.port(port), path)

    def fetch(self, path="/metrics", port=1, method="GET"):
        request = urllib.request.Request(self.url(path, port), method=method)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            self.assertEqual(reply.status, 200)
            return reply.read().decode()

    def fails(self, code, path="/metrics", method="GET"):
        with self.assertRaises(urllib.error.HTTPError) as raised:
            self.fetch(path, method=method)
        raised.exception.close()
        self.assertEqual(raised.exception.code, code)

    def exporters(self):
        return [pid for pid in children(self.sockd.pid) if process_name(pid) == "sockd-exporter"]

    def wait_exporter(self, but=None):
        return self.wait_for(lambda: [pid for pid in self.exporters() if pid != but])[0]


class ExporterTest(MetricsTest):
    def test_metrics_are_those_of_sockctl(self):
        self.serve('handler = "echo";', top=TOP)
        self.converse(b"one\ntwo\n")
        found = parse(self.fetch())
        self.assertEqual(found['sockd_requests_total{service="echo",outcome="replied"}'], 2)
        self.assertEqual(found['sockd_connections_accepted_total{service="echo"}'], 1)
        self.assertEqual(found, parse(self.ctl("metrics").stdout))

    def test_paths_and_methods(self):
        self.serve('handler = "echo";', top=TOP)
        self.assertIn("/metrics", self.fetch("/"))
        self.assertEqual(self.fetch(method="HEAD"), "")
        self.fails(404, "/else")
        self.fails(404, "/metrics/")
        self.fails(405, method="POST")

    def test_type_of_the_text_is_that_of_the_format(self):
        self.serve('handler = "echo";', top=TOP)
        with urllib.request.urlopen(self.url(), timeout=TIMEOUT) as reply:
            self.assertEqual(reply.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")

    def test_nonsense_is_answered_or_closed_and_the_next_is_served(self):
        self.serve('handler = "echo";', top=TOP)
        for nonsense in (b"\0" * 100, b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"x" * 100000):
            sock = self.connect(port=self.port(1))
            sock.sendall(nonsense)
            sock.close()
            self.assertIn("sockd_build_info", self.fetch())

    def test_connections_are_bounded_and_the_next_waits_its_turn(self):
        self.serve('handler = "echo";', top=TOP)
        exporter = self.exporters()[0]
        idle = [self.connect(port=self.port(1)) for _ in range(20)]
        self.assertLess(len(os.listdir("/proc/%d/fd" % exporter)), 40)
        done = []
        waiter = threading.Thread(target=lambda: done.append(self.fetch()))
        waiter.start()
        for sock in idle:
            sock.close()
        waiter.join(TIMEOUT)
        self.assertIn("sockd_build_info", done[0])

    def assert_rests(self, pid):
        """A process that waits for an event, and is woken by none, does not run."""
        def ran():
            with open("/proc/%d/schedstat" % pid) as f:
                return int(f.read().split()[0]) / 1e9

        before = ran()
        self.let_pass(0.5, "time in which a process can work or rest")
        self.assertLess(ran() - before, 0.1)

    def test_a_connection_over_the_bound_waits_without_costing_a_processor(self):
        self.serve('handler = "echo";', top=TOP)
        exporter = self.exporters()[0]
        sockets = len(sockdtest.open_sockets(exporter))
        idle = [self.connect(port=self.port(1)) for _ in range(17)]
        self.wait_for(lambda: len(sockdtest.open_sockets(exporter)) == sockets + 16, what="16 to be accepted")
        self.assert_rests(exporter)
        idle[0].close()
        idle[16].sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assertIn(b"/metrics", self.receive_all(idle[16]))

    def test_a_connection_without_a_descriptor_waits_without_costing_a_processor(self):
        self.serve('handler = "echo";', top=TOP)
        self.fetch()
        exporter = self.exporters()[0]
        soft, hard = resource.prlimit(exporter, resource.RLIMIT_NOFILE)
        resource.prlimit(exporter, resource.RLIMIT_NOFILE, (0, hard))
        waiting = self.connect(port=self.port(1))
        waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assert_rests(exporter)
        resource.prlimit(exporter, resource.RLIMIT_NOFILE, (soft, hard))
        self.assertIn(b"/metrics", self.receive_all(waiting))

    def test_scrapers_that_are_slow_have_their_time_and_the_others_are_served(self):
        self.serve('handler = "echo";', top=TOP)
        slow = [self.connect(port=self.port(1)) for _ in range(40)]
        for n, sock in enumerate(slow):
            sock.sendall((b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"GET /met", b"")[n % 3])
        # Behind 40 who have five seconds each, sixteen at a time.
        with urllib.request.urlopen(self.url(), timeout=4 * TIMEOUT) as reply:
            self.assertIn("sockd_build_info", reply.read().decode())
        for sock in slow[:16]:
            try:
                self.assertNotIn(b"200 OK", self.receive_all(sock))
            except ConnectionResetError:
                pass
        self.assertEqual(self.ctl("status").returncode, 0)

    def test_exporter_holds_no_rights_and_nothing_of_the_services(self):
        self.serve('handler = "echo";', top=TOP)
        self.fetch()
        with open("/proc/%d/status" % self.exporters()[0]) as f:
            status = f.read()
        self.assertRegex(status, r"CapEff:\s+0+\n")
        self.assertRegex(status, r"CapPrm:\s+0+\n")
        self.assertRegex(status, r"NoNewPrivs:\s+1\n")
        with open("/proc/%d/maps" % self.exporters()[0]) as f:
            self.assertNotIn("sockd-stats", f.read())

    def test_every_address_of_the_host_is_served(self):
        self.serve('handler = "echo";', top='metrics = { host = [ "$addr", "127.0.0.1" ]; port = $port1; };')
        self.addr = "127.0.0.1"
        self.assertIn("sockd_build_info", self.fetch())

    def test_single_process_has_an_exporter_too(self):
        self.serve('handler = "echo";', top=TOP, args=["--single-process"])
        self.assertIn("sockd_build_info", self.fetch())


class DurationTest(MetricsTest):
    def duration(self, what):
        name, _, label = what.partition(" ")
        return parse(self.fetch())['sockd_request_duration_seconds_%s{service="echo"%s}' % (name, label)]

    def bucket(self, bound):
        return self.duration('bucket ,le="%s"' % bound)

    def test_requests_answered_at_once_are_in_the_first_bucket(self):
        self.serve('handler = "echo";', top=TOP)
        self.converse(b"one\ntwo\nthree\n")
        self.assertEqual(self.bucket("0.0001"), 3)
        self.assertEqual(self.duration("count"), 3)
        self.assertEqual(self.duration("sum"), 0)

    def test_requests_that_a_helper_holds_are_timed(self):
        self.serve('handler = "helper"; command = [ "sh", "-c", "while read -r l; do sleep $$l; echo $$l; done" ]; '
                   'helpers = 1;', top=TOP)
        self.converse(b"0.15\n0.15\n")
        self.assertEqual(self.bucket("0.1"), 0)
        self.assertEqual(self.bucket("+Inf"), 2)
        self.assertGreaterEqual(self.duration("sum"), 0.3)

    def test_datagrams_are_counted_too(self):
        self.serve('handler = "echo"; transport = "udp";', top=TOP)
        client = self.udp()
        client.send(b"one")
        client.recv(100)
        self.wait_for(lambda: self.bucket("0.0001") == 1)


class LifeTest(MetricsTest):
    def test_killed_exporter_is_replaced_at_once(self):
        self.serve('handler = "echo";', top=TOP)
        self.expect_log("exporter .* was ended by signal 9")
        self.fetch()
        first = self.exporters()[0]
        os.kill(first, signal.SIGKILL)
        self.wait_log(r"exporter \[pid %d\] was ended by signal 9 \(Killed\); replaced at once" % first)
        self.assertIn("sockd_build_info", self.fetch())

    def test_silent_exporter_is_ended_and_replaced(self):
        self.serve('handler = "echo";', top=TOP + 'worker_timeout = "1s";')
        self.expect_log("exporter .* was silent", "exporter .* was ended by signal")
        self.expect_core()
        self.fetch()
        self.stop_process(self.exporters()[0])
        self.wait_log(r"exporter \[pid \d+\] was silent")
        self.wait_log("exporter .* was ended by signal")
        self.assertIn("sockd_build_info", self.fetch())

    def test_stopped_master_is_told_as_unavailable(self):
        self.serve('handler = "echo";', top=TOP)
        self.stop_process(self.sockd.pid)
        try:
            self.fails(503)
        finally:
            self.sockd.signal(signal.SIGCONT)
        self.assertIn("sockd_build_info", self.fetch())

    def test_reload_starts_moves_keeps_and_stops_the_exporter(self):
        echo = 'handler = "echo";'
        self.serve(echo)
        self.assertEqual(self.exporters(), [])
        self.assertEqual(self.reload(self.service(echo, TOP)).returncode, 0)
        first = self.wait_exporter()
        self.assertIn("sockd_build_info", self.fetch())
        self.assertEqual(self.reload().returncode, 0)
        self.assertIn("sockd_generation 3", self.fetch())
        self.assertEqual(self.exporters(), [first])
        done = self.reload(self.service(echo, TOP.replace("$port1", "$port2")))
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"metrics .*port = %d.* -> .*port = %d" % (self.port(1), self.port(2)))
        self.assertIn("sockd_build_info", self.fetch(port=2))
        with self.assertRaises(OSError):
            self.fetch(port=1)
        self.assertEqual(self.reload(self.service(echo)).returncode, 0)
        self.wait_for(lambda: not self.exporters())
        with self.assertRaises(OSError):
            self.fetch(port=2)

    def test_reload_with_a_port_that_is_taken_changes_nothing(self):
        echo = 'handler = "echo";'
        self.serve(echo, top=TOP)
        self.expect_log("reload failed", "cannot listen", "metrics")
        taken = self.keep(socket.socket())
        taken.bind((self.addr, self.port(2)))
        taken.listen()
        done = self.reload(self.service(echo, TOP.replace("$port1", "$port2")))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout + done.stderr, r"metrics: .*port %d.*in use" % self.port(2))
        self.assertIn("sockd_generation 1", self.fetch())

    def test_start_with_a_port_that_is_taken_ends_with_71(self):
        taken = self.keep(socket.socket())
        taken.bind((self.addr, self.port(1)))
        taken.listen()
        self.expect_log("metrics")
        self.serve('handler = "echo";', top=TOP, expect_ready=False).expected_status = 71
        self.assertEqual(self.sockd.wait(), 71)

    def test_counters_never_go_back_while_workers_die_and_configurations_change(self):
        keys = 'handler = "echo"; log = "none";'
        self.serve(keys, top=TOP)
        self.expect_log("was ended by signal 9")
        done, went_back, scrapes = threading.Event(), [], []

        def scrape():
            last = {}
            while not done.is_set():
                now = parse(self.fetch())
                for name, value in now.items():
                    if re.search("_(total|bucket|sum|count)(?![a-z_])", name) and value < last.get(name, 0):
                        went_back.append((name, last[name], value))
                last = now
                scrapes.append(now)

        def load():
            while not done.is_set():
                try:
                    self.converse(b"x\n" * 20)
                except OSError:
                    pass

        threads = [threading.Thread(target=run) for run in (scrape, load, load)]
        for thread in threads:
            thread.start()
        try:
            for i in range(6):
                worker = self.wait_for(lambda: [w["pid"] for w in self.status()["workers"] if w["ready"]])[0]
                os.kill(worker, signal.SIGKILL)
                self.wait_log(r"pid %d\] was ended" % worker)
                seen = len(scrapes)
                self.wait_for(lambda: len(scrapes) > seen + 2)
                if i % 2:
                    self.assertEqual(self.reload(self.service(keys + "max_request = %d;" % (1000 + i), TOP)).returncode, 0)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        self.assertEqual(went_back, [])
        self.assertGreater(len(scrapes), 10)


class ConfigurationTest(MetricsTest):
    def check(self, value):
        path = self.write("sockd.conf", self.service('handler = "echo";', "metrics = %s;" % value))
        return self.run_sockd("-t", "-f", path)

    def test_mistakes_are_told(self):
        for value, words in (
                ("9550", "expects a group"),
                ('{ host = "x"; }', "needs a port"),
                ('{ port = 9550; hots = "x"; }', 'unknown key "hots"; did you mean "host"?'),
                ("{ port = 70000; }", "70000 is no port"),
                ('{ port = "nonesuch"; }', "is no port"),
                ("{ port = 1; host = 7; }", "expects")):
            done = self.check(value)
            self.assertEqual(done.returncode, 78, value)
            self.assertIn("metrics: ", done.stderr)
            self.assertIn(words, done.stderr)

    def test_host_is_localhost_unless_said(self):
        path = self.write("sockd.conf", self.service('handler = "echo";', "metrics = { port = 9550; };"))
        self.assertIn('metrics = { host = "localhost"; port = 9550; };', self.run_sockd("-T", "-f", path).stdout)


class PrometheusTest(MetricsTest):
    def test_promtool_finds_nothing_to_criticize(self):
        self.need("promtool")
        self.serve('handler = "echo";', top=TOP)
        self.converse(b"one\n")
        done = subprocess.run(["promtool", "check", "metrics"], input=self.fetch(), capture_output=True, text=True,
                              timeout=TIMEOUT)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def ask_prometheus(self, path):
        try:
            with urllib.request.urlopen(self.url(path, port=3), timeout=TIMEOUT) as reply:
                return json.load(reply)["data"]
        except OSError:
            return None

    def test_prometheus_scrapes_it(self):
        self.need("prometheus")
        self.serve('handler = "echo";', top=TOP)
        self.converse(b"one\ntwo\n")
        conf = self.write("prometheus.yml", """
global: { scrape_interval: 200ms, scrape_timeout: 200ms }
scrape_configs:
  - job_name: sockd
    static_configs: [ { targets: [ "$addr:$port1" ] } ]
""")
        with open(os.path.join(self.dir, "prometheus.log"), "wb") as log:
            prometheus = subprocess.Popen(
                ["prometheus", "--config.file=" + conf, "--web.listen-address=%s:%d" % (self.addr, self.port(3)),
                 "--storage.tsdb.path=" + os.path.join(self.dir, "tsdb")], stdout=log, stderr=log)
        try:
            def is_up():
                data = self.ask_prometheus("/api/v1/targets")
                return data and data["activeTargets"] and data["activeTargets"][0]["health"] == "up"

            self.wait_for(is_up, timeout=30, what="prometheus to have scraped")
            # What it has scraped can be asked for a moment later.
            query = "/api/v1/query?query=sockd_requests_total%7Boutcome%3D%22replied%22%7D"
            found = self.wait_for(lambda: (self.ask_prometheus(query) or {}).get("result"), what="the figures")
            self.assertEqual(found[0]["value"][1], "2")
        finally:
            prometheus.terminate()
            prometheus.wait(TIMEOUT)


if __name__ == "__main__":
    sockdtest.main()
