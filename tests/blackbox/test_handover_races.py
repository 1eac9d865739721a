"""Hand-overs at bad moments: nobody is cut but by the death of who had taken him. Rows A1, A19, B1, B3 and B7."""
import os
import resource
import select
import signal
import socket
import threading

import sockdtest
from sockdtest import SockdTest

# Unfinished requests last as long as the test, on any machine.
ECHO = 'handler = "echo"; request_timeout = "1h"; '
TWO = "workers = 2;"


class RaceTest(SockdTest):
    def halves(self, n, **where):
        """N connections that have sent half a line."""
        clients = [self.connect(**where) for _ in range(n)]
        for i, client in enumerate(clients):
            client.sendall(b"half %d, " % i)
        self.wait_counter("bytes_in", sum(len(b"half %d, " % i) for i in range(n)))
        return clients

    def finish(self, clients):
        """Sends the other halves; returns how many were not answered."""
        lost = 0
        for i, client in enumerate(clients):
            line = b"half %d, rest\n" % i
            try:
                client.sendall(b"rest\n")
                if (got := self.receive(client, len(line))) != line:
                    self.assertEqual(got, b"")
                    lost += 1
            except ConnectionError:
                lost += 1
        return lost

    def watched(self, pid):
        """The descriptors in the only epoll(7) set of a process."""
        epoll, = [fd for fd, file in sockdtest.open_files(pid).items() if file == "anon_inode:[eventpoll]"]
        with open("/proc/%d/fdinfo/%d" % (pid, epoll)) as f:
            return {int(line.split()[1]) for line in f if line.startswith("tfd:")}


class MomentTest(RaceTest):
    def serve_all(self, clients, reply):
        """Each has the REPLY, and leaves: it is room for another."""
        while clients:
            for client in select.select(clients, [], [], sockdtest.TIMEOUT)[0]:
                self.assertEqual(self.receive(client, len(reply)), reply)
                clients.remove(client)
                client.close()

    def test_B1_bytes_that_come_while_a_connection_travels_are_served_once_and_in_order(self):
        self.serve(ECHO, top=TWO)
        done, failures, lines = threading.Event(), [], []

        def stream():
            with socket.create_connection((self.addr, self.port()), sockdtest.TIMEOUT) as client:
                sent, got, n = b"", b"", 0
                while not done.is_set():
                    batch = b"".join(b"line %d\n" % i for i in range(n, n + 50))
                    n += 50
                    for i in range(0, len(batch), 37):  # lines are cut anywhere
                        client.sendall(batch[i:i + 37])
                    sent, got = batch, self.receive(client, len(batch))
                    if got != sent:
                        failures.append((sent, got))
                        return
                lines.append(n)

        threads = [threading.Thread(target=stream) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(60):
            self.reload_to(ECHO + 'max_request = "%dk";' % (65 + n % 2), top=TWO)
        done.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(lines), 4)

    def test_B1_two_hand_overs_quickly_after_each_other(self):
        self.serve(ECHO, top="workers = 1;")
        clients = self.halves(50)
        for n in range(5):
            pid, = (w["pid"] for w in self.status()["workers"])
            os.kill(pid, signal.SIGSTOP)  # it hears of both at once, and hands over to a generation that hands over itself
            for more in (1, 2):
                self.reload_to(ECHO + 'max_request = "%dk";' % (64 + 2 * n + more), top="workers = 1;")
            os.kill(pid, signal.SIGCONT)
            self.wait_for_one_generation()
        self.assertEqual(self.finish(clients), 0)

    def test_B1_a_generation_that_is_taken_back_gets_nobody(self):
        self.write("probe.sh", "#!/bin/sh\nwhile ! read -r go <$dir/fifo; do :; done; exit 3\n", 0o755)
        os.mkfifo(os.path.join(self.dir, "fifo"))
        self.serve(ECHO, top=TWO)
        self.expect_log("status 3", "reload failed")
        clients = self.halves(50)
        bad = self.service(ECHO).replace("services:\n{", 'services:\n{ bad: { host = "$addr"; port = $port1; '
                                         'handler = "helper"; helper_probe = "x"; command = [ "$dir/probe.sh" ]; helpers = 1; };')
        for _ in range(3):
            self.write("sockd.conf", bad)
            answer = self.reload_later()
            self.wait_for(lambda: len(self.status()["generations"]) == 2)
            more = self.halves(5)  # some of them meet the workers that will be taken back
            with open(os.path.join(self.dir, "fifo"), "w") as fifo:
                fifo.write("go\n")
            self.assertRegex(answer(), r"\A1 \d+\nreload failed, generation 1 goes on serving: service bad: .* status 3")
            self.assertEqual(self.finish(more), 0)
            self.wait_for(lambda: all(g["state"] == "serving" or not g["connections"] for g in self.status()["generations"]))
        self.assertEqual(self.finish(clients), 0)

    def test_A1_B1_a_worker_that_dies_in_a_hand_over_costs_those_that_it_had_taken(self):
        """What it had not taken waits in the inbox for the one that replaces it."""
        self.serve(ECHO, top="workers = 1;")
        self.expect_log("was ended by signal 9")
        clients = self.halves(200)
        # Each worker of the new generation, at the 40th descriptor that it waits for.
        with self.strace(self.sockd.pid, "trace=epoll_ctl", "inject=epoll_ctl:signal=SIGKILL:when=40", follow=True):
            self.reload_to(ECHO + 'max_request = "128k";', top="workers = 1;")
            self.wait_log("was ended by signal 9")
        self.wait_for_one_generation()
        self.wait_for(lambda: len(self.pids()) == 1)
        lost = self.finish(clients)
        deaths = sum("was ended by signal 9" in line for line in self.sockd.log)
        self.assertGreater(lost, 0)
        self.assertLessEqual(lost, 40 * deaths)
        self.assertLess(lost, 200)

    def test_B1_hand_over_into_little_memory_waits_for_room(self):
        """Two workers hand over to one, which cannot hold all of it at once, and would end the largest."""
        top = 'workers = %d; max_memory = "4m";'
        self.serve(ECHO + 'framing = "netstring";', top=top % 2)
        text = b"60000:" + b"x" * 60000 + b","
        clients = []
        for _ in range(90):  # one after another, so that both workers get about half
            clients.append(self.connect())
            clients[-1].sendall(b"1:x,")
            self.assertEqual(self.receive(clients[-1], 4), b"1:x,")
        for client in clients:
            client.sendall(text[:50000])
        self.wait_counter("bytes_in", 90 * 50004)
        self.reload_to(ECHO + 'framing = "netstring"; max_request = "65k";', top=top % 1)
        self.wait_for(lambda: self.status()["workers"][0]["connections"] >= 60)
        for client in clients:
            client.sendall(text[50000:])
        for client in clients:
            self.assertEqual(self.receive(client, len(text)), text)
        self.wait_for_one_generation()

    def test_B1_hand_over_to_few_descriptors_waits_for_room(self):
        """Two workers hand over to one, which cannot have all of them open at once."""
        self.serve(ECHO, top=TWO, shell='ulimit -n 200; exec "$@"')
        clients = []
        for _ in range(230):  # one after another, so that both workers get about half
            clients.append(self.connect())
            clients[-1].sendall(b"one\nhalf ")
            self.assertEqual(self.receive(clients[-1], 4), b"one\n")
        self.reload_to(ECHO + 'max_request = "65k";', top="workers = 1;")
        self.wait_for(lambda: self.status()["workers"][0]["connections"] >= 100)
        for client in clients:
            client.sendall(b"line\n")
        self.serve_all(clients, b"half line\n")
        self.wait_for_one_generation()

    def test_B1_a_worker_that_has_left_does_not_join_again(self):
        """It takes what waited at a limit as it leaves, and a program's connection is out of its hands at once: there is
        room again. Whoever came back then would be woken for others, of whom it knows nothing."""
        conf = """
workers = 1; host = "$addr";
services:
{
  stays: { port = $port; handler = "echo"; framing = "%s"; };
  program: { port = $port1; handler = "program"; command = "cat"; max_connections = %d; };
};
"""
        self.start(conf % ("line", 3))
        old = next(pid for pid in self.pids() if sockdtest.process_name(pid) == "sockd-worker-1")
        stays = self.connect()
        clients = []
        for n in 1, 2, 3:
            clients.append(self.connect(self.port(1)))
            self.wait_counter("programs", n, service="program")
        clients.append(self.connect(self.port(1)))
        self.wait_counter("paused_limit", 1, service="program")
        self.stop_process(old)
        clients.pop(0).close()
        self.wait_counter("programs", lambda n: n == 2, service="program")
        # What another framing has begun, it ends; and there is no room for the fourth but with the old worker.
        self.assertEqual(self.reload(conf % ("block", 1)).returncode, 0)
        os.kill(old, signal.SIGCONT)
        self.wait_counter("programs", 3, service="program")
        for client in clients:
            client.close()
        self.assertEqual(self.watched(old) - set(sockdtest.open_files(old)), set())
        for _ in range(5):
            self.assertEqual(self.converse(b"new", port=self.port(1)), b"new")
        stays.sendall(b"x\n")
        self.assertEqual(self.receive(stays, 2), b"x\n")
        stays.close()
        self.wait_for_one_generation()

    def test_B1_hand_over_to_many_helpers_waits_for_room(self):
        """Connections come before the helpers, which need descriptors too."""
        helpers = 'handler = "helper"; helpers = %d; command = "/bin/cat"; max_connections = 315; '
        self.serve(helpers % 1, top="workers = 1;", shell='ulimit -n 400; exec "$@"')  # 336 for the worker
        clients = [self.connect() for _ in range(315)]
        self.wait_counter("connections", 315)
        self.assertEqual([line for line in self.sockd.log if "cannot be reached" in line], [])
        self.reload_to(helpers % 50, top="workers = 1;")
        self.wait_for(lambda: self.status()["workers"][0]["connections"] >= 200)
        for client in clients:
            client.sendall(b"line\n")
        self.serve_all(clients, b"line\n")
        self.wait_for_one_generation()
        self.wait_log("max_connections of all services, 315, cannot be reached: the limit is 336 descriptors for each worker "
                      r"\(LimitNOFILE=\), and workers = 1; helpers take 100$")

    def test_B1_a_connection_that_is_lost_for_want_of_a_descriptor_is_told_and_counted(self):
        self.serve(ECHO, top="workers = 1;")
        old, = self.pids()
        clients = [self.connect() for _ in range(30)]
        self.wait_counter("connections", 30)
        self.stop_process(old)
        self.reload_to(ECHO + 'max_request = "65k";', top="workers = 1;")
        new, = [pid for pid in self.pids() if pid != old]
        taken = sockdtest.open_files(new)
        soft, hard = resource.prlimit(new, resource.RLIMIT_NOFILE)
        lowest = next(fd for fd in range(1000) if fd not in taken)
        resource.prlimit(new, resource.RLIMIT_NOFILE, (lowest + 1, hard))
        os.kill(old, signal.SIGCONT)
        self.expect_log("a connection that was handed over is lost: no descriptor came", "more lines about hand-overs suppressed")
        self.wait_log(r"error: echo: 127\.\S+: a connection that was handed over is lost: no descriptor came$")
        self.wait_log("19 more lines about hand-overs suppressed")
        resource.prlimit(new, resource.RLIMIT_NOFILE, (soft, hard))
        self.wait_for_one_generation()
        self.assertEqual((self.counter("ended_error"), self.counter("connections")), (29, 1))
        for client in clients:
            client.close()


class StopTest(RaceTest):
    def test_A19_term_while_a_generation_starts_wins(self):
        self.write("deaf.sh", "#!/bin/sh\nexec sleep 1000\n", 0o755)
        self.serve(ECHO)
        client, = self.halves(1)
        self.expect_log("reload given up: sockd is stopping")
        self.write("sockd.conf", self.service('handler = "helper"; command = [ "$dir/deaf.sh" ]; helper_probe = "x";'))
        answer = self.reload_later()
        self.wait_for(lambda: len(self.status()["generations"]) == 2)
        self.sockd.signal(signal.SIGTERM)
        self.assertRegex(answer(), r"\A1 \d+\nreload given up: sockd is stopping\n\Z")
        self.assertEqual(self.finish([client]), 0)
        self.assertEqual(self.sockd.wait(), 0)

    def test_H10_a_reload_and_a_stop_at_once_each_get_a_true_result(self):
        for n in range(5):
            self.serve(ECHO)
            self.expect_log("reload given up: sockd is stopping", "no reload: sockd is stopping")
            self.write("sockd.conf", self.service(ECHO + 'max_request = "%dk";' % (70 + n)))
            answers = [self.reload_later() for _ in range(3)]
            stop = self.unix("control.sock")
            stop.sendall(b"stop\n")
            for answer in answers:
                text = answer()
                self.assertRegex(text, r"\A0 \d+\ngeneration \d+: |\A1 \d+\n(reload given up: )?sockd is stopping")
            self.assertRegex(self.receive_all(stop).decode(), r"\A0 ")
            self.assertEqual(self.sockd.wait(), 0)


class SlotTest(RaceTest):
    """B7: no worker twice, none missing, whatever happens to workers while a generation comes."""

    def check_slots(self, n):
        def settled():
            workers = self.status()["workers"]
            return (sorted(w["number"] for w in workers) == list(range(1, n + 1)) and all(w["pid"] for w in workers)
                    and len(self.status()["generations"]) == 1 and sorted(w["pid"] for w in workers) == sorted(self.pids()))
        self.wait_for(settled, what="exactly %d workers" % n)

    def test_B7_a_reload_while_workers_are_killed_loses_and_doubles_no_slot(self):
        self.serve(ECHO, top="workers = 3;")
        self.expect_log("was ended by signal 9", "reload failed", "lines? about processes that died suppressed")
        for n in range(20):
            answer = self.reload_later()
            for pid in self.pids()[:1 + n % 3]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            answer()
            self.assertEqual(self.reload().returncode, 0)
        self.check_slots(3)
        self.assertEqual(self.converse(b"well\n"), b"well\n")

    def test_B7_a_reload_while_workers_are_in_back_off(self):
        self.serve(ECHO, top="workers = 3;")
        self.expect_log("was ended by signal 9", "cannot start worker")
        # They die before their first job: each is tried again after a pause, and the pause is still on in the reload.
        for n in range(3):
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self.wait_log("before its first job; next try in", since=0)
            self.reload_to(ECHO + 'max_request = "%dk";' % (70 + n), top="workers = %d;" % (3 - n))
            self.check_slots(3 - n)

    def test_B7_a_reload_while_the_watchdog_ends_a_worker(self):
        top = 'workers = 2; worker_timeout = "2s";'
        self.serve(ECHO, top=top)
        self.expect_log("was silent for", "was ended by signal")
        self.expect_core()
        for n in range(2):
            pid = self.pids()[n % 2]
            os.kill(pid, signal.SIGSTOP)
            self.wait_log(r"\[pid %d\] was silent" % pid)
            self.reload_to(ECHO + 'max_request = "%dk";' % (70 + n), top=top)
            self.check_slots(2)
            self.assertEqual(self.converse(b"well\n"), b"well\n")


if __name__ == "__main__":
    sockdtest.main()
