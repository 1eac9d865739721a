"""Plug-ins, well-behaved and wild: the catalogue's rows A2, A3, A6, A7, C15 and G13. They are in tests/plugins."""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

import sockdtest
from sockdtest import SockdTest, open_sockets

PLUGINS = os.path.join(sockdtest.BUILD, "tests", "plugins")
ASAN = os.path.exists(os.path.join(sockdtest.BUILD, "sockd")) and b"__asan_init" in open(
    os.path.join(sockdtest.BUILD, "sockd"), "rb").read()
# A process that is meant to die does so as it would without a sanitizer, which would report it, and count what it had.
DIE = {"ASAN_OPTIONS": "handle_segv=0:handle_abort=0:detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", "")}
# ASan cannot follow exceptions of a C++ library that is loaded later than itself.
CPLUSPLUS = {"LD_PRELOAD": "libasan.so.8 libstdc++.so.6"} if ASAN else {}
SHELVED = "degraded: plug-in .*; the service is shelved meanwhile"
DEATH = r"worker \d \[pid \d+\] (exited with status|was ended by signal) "


def plugin(name):
    return os.path.join(PLUGINS, name + ".so")


class PluginTest(SockdTest):
    def keys(self, name, keys=""):
        return 'handler = "plugin"; plugin = "%s"; %s' % (plugin(name), keys)

    def ask(self, client, line):
        client.sendall(line + b"\n")
        return self.read_line(client)

    @staticmethod
    def read_line(client):
        line = b""
        while not line.endswith(b"\n") and (more := client.recv(1)):
            line += more
        return line[:-1]

    def is_cut(self, client, line):
        """Sends LINE; True when the connection ends without a byte."""
        with contextlib.suppress(ConnectionResetError):
            return self.ask(client, line) == b""
        return True

    def verdict(self):
        done = self.ctl("status", "-q")
        return self.ctl("status").stdout.splitlines()[0], done.returncode

    def wait_well(self):
        self.wait_for(lambda: self.ctl("status").returncode == 0, what="status to be well")


class AnswersTest(PluginTest):
    def test_a_function_answers(self):
        self.serve(self.keys("wild"))
        client = self.connect()
        self.assertEqual(self.ask(client, b"hello"), b"HELLO")
        self.assertEqual(self.ask(client, b""), b"")
        self.assertEqual(self.counter("replies"), 2)

    def test_requests_of_one_read_are_answered_in_order(self):
        self.serve(self.keys("wild"))
        lines = [b"line %d\n" % n for n in range(5000)]
        self.assertEqual(self.converse(b"".join(lines)), b"".join(lines).upper())

    def test_a_datagram_is_answered(self):
        self.serve(self.keys("wild", 'transport = [ "udp", "unixgram" ]; host = "$addr"; port = $port; path = "$dir/g";'))
        client = self.udp()
        client.send(b"hello")
        self.assertEqual(client.recv(100), b"HELLO")
        local = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        local.bind(self.dir + "/client")
        local.connect(self.dir + "/g")
        local.send(b"hello")
        self.assertEqual(local.recv(100), b"HELLO")

    def test_any_framing_serves(self):
        self.serve(self.keys("wild", 'framing = "netstring";'))
        self.assertEqual(self.converse(b"3:a\nb,0:,"), b"3:A\nB,0:,")

    def test_the_addresses_and_the_service_are_told(self):
        self.serve(self.keys("wild"), name="who")
        client = self.connect()
        self.assertEqual(self.ask(client, b"addresses").decode(),
                         "%s:%d asks who at %s:%d" % (*client.getsockname(), *client.getpeername()))

    def test_silence_sends_nothing(self):
        self.serve(self.keys("wild"))
        self.assertEqual(self.converse(b"a\nsilence\nb\n"), b"A\nB\n")
        self.assertEqual(self.counter("silences"), 1)

    def test_a_failure_is_logged_on_one_line_and_answered_with_error_reply(self):
        self.serve(self.keys("wild", 'error_reply = "sorry";'))
        client = self.connect()
        self.assertEqual(self.ask(client, b"fail"), b"sorry")
        self.assertEqual(self.ask(client, b"next"), b"NEXT")
        self.wait_log(r"echo: [0-9.]+:\d+: a \\\\ and\\na line of its own$")
        self.assertEqual(self.counter("failed_handler"), 1)

    def test_a_flood_of_failures_is_cut_in_the_log(self):
        daemon = self.serve(self.keys("wild", 'error_reply = "sorry";'), top="workers = 1;")
        self.expect_log("more lines? suppressed")
        self.assertEqual(self.converse(b"fail\n" * 1000), b"sorry\n" * 1000)
        self.assertLess(len([line for line in daemon.log if "a line of its own" in line]), 200)

    def test_without_error_reply_a_failure_ends_the_connection_after_what_is_owed(self):
        self.serve(self.keys("wild"))
        self.assertEqual(self.converse(b"a\nfail\nb\n"), b"A\n")

    def test_what_it_logs_is_one_line_with_its_name(self):
        self.serve(self.keys("wild"))
        self.assertEqual(self.ask(self.connect(), b"log"), b"logged")
        self.wait_log(r"echo: wild: a word\\nfrom the plug-in$")

    def test_a_request_that_is_neither_answered_nor_could_be_cancelled_fails(self):
        self.serve(self.keys("wild", 'error_reply = "sorry";'))
        client = self.connect()
        self.assertEqual(self.ask(client, b"never"), b"sorry")
        self.assertEqual(self.ask(client, b"next"), b"NEXT")
        self.wait_log("not answered inside `handle`")

    def test_a_reply_over_max_reply_is_a_failure_however_long(self):
        self.serve(self.keys("wild", 'error_reply = "sorry"; max_reply = 8; transport = [ "tcp", "udp" ];'))
        client = self.connect()
        self.assertEqual(self.ask(client, b"12345678"), b"12345678")
        for line in b"123456789", b"huge":
            self.assertEqual(self.ask(client, line), b"sorry")
        self.assertEqual(self.ask(client, b"empty"), b"")
        datagrams = self.udp()
        for datagram in b"123456789", b"huge", b"empty", b"last":
            datagrams.send(datagram)
        self.assertEqual(datagrams.recv(100), b"LAST")
        self.assertEqual(self.counter("failed_reply"), 4)

    def test_services_have_instances_of_their_own(self):
        self.start("services: { a: { %s host = \"$addr\"; port = $port; };\n b: { %s host = \"$addr\"; port = $port1; }; };"
                   % (self.keys("wild"), self.keys("wild")))
        for n, name in enumerate("ab"):
            self.assertIn(b" asks %s at " % name.encode(), self.ask(self.connect(port=self.port(n)), b"addresses"))

    def test_B9_a_file_that_is_written_over_changes_no_worker_that_has_it(self):
        """As cp does it: the same inode is cut to nothing, filled with nonsense, and then with another plug-in."""
        path = os.path.join(self.dir, "p.so")
        shutil.copy(plugin("wild"), path)
        conf = self.service('handler = "plugin"; plugin = "$dir/p.so";', top="workers = 2;")
        self.start(conf)
        clients = [self.connect() for _ in range(8)]
        inode, pids = os.stat(path).st_ino, self.pids()
        with open(plugin("larger"), "rb") as f:
            other = f.read()
        for content in (b"", b"\xcc" * os.path.getsize(path), other):
            with open(path, "wb") as f:
                f.write(content)
            for client in clients:
                self.assertEqual(self.ask(client, b"hello"), b"HELLO")
        self.assertEqual((os.stat(path).st_ino, self.pids()), (inode, pids))
        # A reload loads what is there then.
        self.assertEqual(self.reload().returncode, 0)
        self.wait_for(lambda: not set(self.pids()) & set(pids))
        self.assertEqual(self.ask(self.connect(), b"hello"), b"larger")

    def test_one_that_needs_a_library_beside_itself_is_loaded_from_its_place(self):
        """A copy in memory has nothing beside it."""
        self.need("cc")
        self.write("beside.c", "int beside(void) { return 0; }")
        self.write("near.c", """#include <sockd-plugin.h>
int beside(void);
static const struct sockd_host *host;
static int init(const struct sockd_host *h, struct sockd_service *s, const char *o, void **c)
{ (void)s; (void)o; (void)c; host = h; return beside(); }
static void handle(void *c, struct sockd_request *r) { (void)c; host->reply(r, "near", 4); }
const struct sockd_plugin sockd_plugin = { sizeof(struct sockd_plugin), SOCKD_PLUGIN_ABI, "near", init, handle, 0 };
""")
        for words in (("beside.c", "-o", "libbeside.so"),
                      ("near.c", "-o", "near.so", "-L.", "-lbeside", "-Wl,-rpath,$ORIGIN", "-I" + os.path.join(sockdtest.ROOT, "src"))):
            subprocess.run(["cc", "-shared", "-fPIC", *words], cwd=self.dir, check=True)
        self.serve('handler = "plugin"; plugin = "$dir/near.so";')
        self.assertEqual(self.ask(self.connect(), b"hello"), b"near")

    def test_a_reload_runs_the_new_file_under_the_same_name(self):
        path = os.path.join(self.dir, "p.so")
        conf = self.service('handler = "plugin"; plugin = "$dir/p.so";')
        for name, answer in ("wild", b"HELLO"), ("larger", b"larger"):
            os.symlink(plugin(name), path + ".new")
            os.rename(path + ".new", path)
            if self.daemons:
                self.assertEqual(self.reload().returncode, 0)
            else:
                self.start(conf)
            self.assertEqual(self.converse(b"hello\n"), answer + b"\n")

    def test_single_process_serves_with_a_plug_in(self):
        self.serve(self.keys("wild"), args=["--single-process"])
        self.assertEqual(self.converse(b"hello\n"), b"HELLO\n")

    def test_a_plug_in_in_c_plus_plus(self):
        self.serve(self.keys("throws"), env=CPLUSPLUS)
        self.assertEqual(self.converse(b"hello\n"), b"caught hello\n")


class LateTest(PluginTest):
    def late(self, keys=""):
        """A request "go TEXT" is answered when there is a file "go"."""
        return self.keys("late", 'plugin_options = "$dir/go"; ' + keys)

    def test_a_late_reply_holds_up_nobody_else(self):
        self.serve(self.late(), top="workers = 1;")
        slow, quick = self.connect(), self.connect()
        slow.sendall(b"go slow\n")
        self.wait_counter("in_hand", 1)
        self.assertEqual(self.ask(quick, b"5 quick"), b"quick")
        self.assertEqual(self.counter("in_hand"), 1)
        self.write("go", "")
        self.assertEqual(self.read_line(slow), b"slow")

    def test_replies_of_a_connection_keep_their_order(self):
        self.serve(self.keys("late"), top="workers = 1;")
        self.assertEqual(self.converse(b"30 first\n1 second\n15 third\n"), b"first\nsecond\nthird\n")

    def test_many_at_once(self):
        self.serve(self.keys("late"))
        clients = [self.connect() for _ in range(100)]
        for n, client in enumerate(clients):
            client.sendall(b"%d reply %d\n" % (n % 7, n))
        for n, client in enumerate(clients):
            self.assertEqual(self.read_line(client), b"reply %d" % n)

    def test_a_failure_that_comes_late(self):
        self.serve(self.keys("late", 'error_reply = "sorry";'))
        self.assertEqual(self.converse(b"5\n"), b"sorry\n")
        self.wait_log("no text$")

    def test_a_client_that_leaves_is_forgotten(self):
        self.serve(self.keys("late"))
        client = self.connect()
        client.sendall(b"60000 x\n")
        self.wait_counter("in_hand", 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.wait_log("echo: late: forgets one")
        self.wait_counter("in_hand", lambda n: n == 0)
        self.assertEqual(self.counter("cancelled"), 1)

    def test_a_client_that_half_closed_gets_its_late_reply(self):
        self.serve(self.keys("late"))
        self.assertEqual(self.converse(b"50 x\n"), b"x\n")

    def test_handler_timeout_fails_the_request_and_the_connection_goes_on(self):
        self.serve(self.keys("late", 'handler_timeout = "100ms"; error_reply = "sorry";'))
        client = self.connect()
        self.assertEqual(self.ask(client, b"60000 x"), b"sorry")
        self.wait_log(r"127\.[0-9.]+:\d+: a request of 7 bytes failed: handler_timeout passed$")
        self.wait_log("echo: late: forgets one")
        self.assertEqual(self.ask(client, b"now y"), b"y")
        self.assertEqual(self.counter("failed_timeout"), 1)

    def test_handler_timeout_without_error_reply_ends_the_connection(self):
        self.serve(self.keys("late", 'handler_timeout = "100ms";'))
        self.assertEqual(self.converse(b"now y\n60000 x\nnow z\n"), b"y\n")
        self.wait_log(r"closed: handler_timeout: no reply; ")
        self.assertEqual([line for line in self.sockd.log if "a request of" in line], [])

    def test_H7_a_reply_that_is_heard_of_together_with_its_timeout_counts(self):
        """After a pause of the machine both are there at once, and what has arrived goes first."""
        self.serve(self.keys("late", 'handler_timeout = "1500ms"; error_reply = "sorry";'), top="workers = 1;")
        worker = self.pids()[0]
        client = self.connect()
        client.sendall(b"1000 x\n")
        self.wait_counter("in_hand", 1)
        self.stop_process(worker)
        self.let_pass(2, "the timeout")
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(self.read_line(client), b"x")
        self.assertEqual(self.ask(client, b"1 y"), b"y")
        self.assertEqual(self.pids(), [worker])
        self.assertEqual(self.counter("failed_timeout"), 0)

    def test_D9_a_drain_outlives_a_client_that_is_gone_when_it_is_its_turn(self):
        """The first of two connections makes room for its words by sending the reply of the second, which is reset."""
        self.serve(self.keys("late", 'error_reply = "sorry"; max_request = 16;'), top="workers = 1;")
        worker = self.pids()[0]
        first, second = self.connect(), self.connect()
        self.assertEqual(self.ask(first, b"1 a"), b"a")
        second.sendall(b"1000 x\n")
        self.wait_counter("in_hand", 1)
        self.stop_process(worker)
        self.let_pass(1.5, "the time of the plug-in, whose reply is there then")
        self.assertEqual(self.ctl("drain", "echo").returncode, 0)
        first.sendall(b"x" * 100)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        second.close()
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(self.receive_all(first), b"sorry\n")
        self.wait_counter("connections", lambda n: n == 0)
        self.assertEqual(self.pids(), [worker])

    def test_a_datagram_is_answered_late_and_in_any_order(self):
        self.serve(self.late('transport = "udp";'), top="workers = 1;")
        client = self.udp()
        client.send(b"go second")
        client.send(b"1 first")
        self.assertEqual(client.recv(100), b"first")
        self.write("go", "")
        self.assertEqual(client.recv(100), b"second")

    def test_handler_timeout_of_a_datagram_is_silent(self):
        self.serve(self.keys("late", 'transport = "udp"; handler_timeout = "100ms";'))
        client = self.udp()
        client.send(b"60000 x")
        self.wait_log("echo: late: forgets one")
        self.wait_log(r"echo: 127\.[0-9.]+:\d+: a request of 7 bytes failed: handler_timeout passed$")
        self.wait_counter("failed_timeout", 1)
        self.assertEqual(self.counter("in_hand"), 0)
        client.send(b"now y")
        self.assertEqual(client.recv(100), b"y")

    def test_a_stop_waits_for_late_replies_and_fini_is_the_last_call(self):
        daemon = self.serve(self.late(), top="workers = 1;")
        client = self.connect()
        client.sendall(b"go x\n")
        self.wait_counter("in_hand", 1)
        daemon.signal(signal.SIGTERM)
        daemon.wait_log("stopping: 1 connection is open")
        self.write("go", "")
        self.assertEqual(self.receive_all(client), b"x\n")
        self.assertEqual(daemon.wait(), 0)
        self.assertTrue(any(re.search("echo: late: ends$", line) for line in daemon.log))

    def test_a_stop_that_takes_too_long_cancels_what_is_in_hand(self):
        daemon = self.serve(self.keys("late", 'transport = [ "tcp", "udp" ];'), top='workers = 1; drain_timeout = "200ms";')
        client, datagrams = self.connect(), self.udp()
        client.sendall(b"60000 x\n")
        datagrams.send(b"60000 x")
        self.wait_counter("in_hand", 2)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(self.receive_all(client), b"")
        self.assertEqual(daemon.wait(), 0)
        self.assertEqual(len([line for line in daemon.log if "late: forgets one" in line]), 2)
        self.assertTrue(any(re.search("echo: late: ends$", line) for line in daemon.log))

    def test_a_reload_lets_late_replies_come(self):
        conf = self.service(self.late('transport = [ "tcp", "udp" ];'))
        self.start(conf)
        client, datagrams = self.connect(), self.udp()
        client.sendall(b"go x\n")
        datagrams.send(b"go y")
        self.wait_counter("in_hand", 2)
        self.assertEqual(self.reload(conf.replace("late.so", "wild.so").replace("$dir/go", "")).returncode, 0)
        self.assertEqual(self.converse(b"new\n"), b"NEW\n")
        self.write("go", "")
        self.assertEqual(self.read_line(client), b"x")
        self.assertEqual(datagrams.recv(100), b"y")


class UnusableTest(PluginTest):
    """G13: what is found when a plug-in is loaded, by `sockd --check`, by a reload and at the start."""

    FAULTS = [
        ("no_symbol", "it exports no sockd_plugin"),
        ("undefined", "cannot be loaded: .*a_function_that_nobody_has"),
        ("abi_7", "it was made for ABI 7, and this is 1: compile it anew"),
        ("too_small", r"its sockd_plugin.size is not sizeof\(struct sockd_plugin\)"),
        ("nameless", "its sockd_plugin has no name or no handle"),
    ]

    def check(self, keys, env=None):
        path = self.write("sockd.conf", "services:\n{\n  up: { port = 7;\n    handler = \"plugin\";\n    %s };\n};\n" % keys)
        done = self.run_sockd("--check", "-f", path, env=env)
        return done.returncode, done.stdout + done.stderr

    def test_G13_check_says_what_is_wrong_with_each(self):
        for name, fault in self.FAULTS:
            status, said = self.check('plugin = "%s";' % plugin(name))
            self.assertEqual(status, 78)
            self.assertRegex(said, r"(?m)^sockd: \S+/sockd.conf:5: services\.up\.plugin: %s" % fault)
            self.assertEqual(said.count("\n"), 1)

    def test_G13_check_is_well_with_those_that_can_be_used(self):
        for name in "wild", "late", "larger", "throws":
            if not (ASAN and name == "throws"):
                self.assertEqual(self.check('plugin = "%s";' % plugin(name))[0], 0)

    def test_G13_check_of_a_file_that_is_none(self):
        self.write("text.so", "no shared object")
        for path, fault in ("/nowhere.so", "/nowhere.so: No such file or directory"), \
                           ("$dir/text.so", "cannot be loaded: .*"), ("$dir", "cannot be loaded: .*"):
            status, said = self.check('plugin = "%s";' % path)
            self.assertEqual(status, 78)
            self.assertRegex(said, r"(?m)^sockd: \S+/sockd.conf:5: services\.up\.plugin: %s$" % fault)

    def test_G13_a_plug_in_that_crashes_or_exits_while_it_is_loaded_hurts_no_check(self):
        for what, fault in ("abort", r"was ended by signal 6 \(Aborted\)"), ("exit", "exited with status 0"):
            status, said = self.check('plugin = "%s";' % plugin("at_load"), env=dict(DIE, AT_LOAD=what))
            self.assertEqual(status, 78)
            self.assertRegex(said, r"services\.up\.plugin: the process that loaded it %s$" % fault)

    def test_G13_a_plug_in_that_hangs_while_it_is_loaded_is_given_up(self):
        status, said = self.check('plugin = "%s";' % plugin("at_load"), env={"AT_LOAD": "hang"})
        self.assertEqual(status, 78)
        self.assertRegex(said, r"services\.up\.plugin: is not loaded within 5 seconds$")

    def test_check_loads_no_plug_in_of_a_disabled_service(self):
        status, _ = self.check('plugin = "%s"; enabled = false; }; echo: { port = 7; handler = "echo";' % plugin("no_symbol"))
        self.assertEqual(status, 0)

    def test_G13_a_reload_with_an_unusable_one_fails_with_the_reason_and_the_old_serves(self):
        conf = self.service(self.keys("wild"))
        self.start(conf)
        client = self.connect()
        self.assertEqual(self.ask(client, b"old"), b"OLD")
        self.expect_log("reload failed", "leaves, so it is not replaced")
        for name, fault in self.FAULTS:
            done = self.reload(conf.replace("wild.so", name + ".so"))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout + done.stderr, "service echo: plug-in .*/%s.so: %s" % (name, fault))
            self.assertEqual(self.ask(client, b"still"), b"STILL")
            self.assertEqual(self.converse(b"new\n"), b"NEW\n")
        self.assertEqual(self.ctl("status").returncode, 0)

    @staticmethod
    def blame(how, death=None, service="echo"):
        """What a reload says of a plug-in that ends its worker HOW."""
        return (r"goes on serving: worker \d \[pid \d+\] %s; service %s: plug-in \S+/wild\.so: the process that tried it %s\n"
                % (death or how, service, how))

    def test_G13_a_reload_with_an_init_that_fails_or_crashes_leaves_the_old_serving(self):
        conf = self.service(self.keys("wild"))
        self.start(conf, env=DIE)
        self.expect_log("reload failed", "leaves, so it is not replaced", "was silent for", DEATH)
        self.expect_core()
        for options, reason in ("error", "service echo: plug-in .*/wild.so: init failed: Transport endpoint is not connected"), \
                               ("abort", self.blame(r"was ended by signal 6 \(Aborted\)")), \
                               ("exit", self.blame("exited with status 0")):
            done = self.reload(conf.replace("plugin =", 'plugin_options = "%s /nowhere"; plugin =' % options))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout + done.stderr, reason)
            self.assertEqual(self.converse(b"old\n"), b"OLD\n")

    def test_G13_a_reload_with_an_init_that_never_returns_ends_with_worker_timeout(self):
        conf = self.service(self.keys("wild"), top='workers = 1; worker_timeout = "500ms";')
        self.start(conf, env=DIE)
        self.expect_log("reload failed", "leaves, so it is not replaced", "was silent for", DEATH)
        self.expect_core()
        done = self.reload(conf.replace("plugin =", 'plugin_options = "loop /nowhere"; plugin ='))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, self.blame("did not come to an end within worker_timeout",
                                                 r"was ended by signal 6 \(Aborted\) after worker_timeout"))
        self.assertEqual(self.converse(b"old\n"), b"OLD\n")

    def test_G13_of_several_plug_ins_a_reload_names_the_one_at_fault(self):
        services = """workers = 2; host = "$addr"; services: { echo: { port = $port; handler = "echo"; };
          first: { port = $port1; %s }; second: { port = $port2; %s }; };"""
        well = self.keys("wild")
        self.start(services % (well, well), env=DIE)
        self.expect_log("reload failed", "leaves, so it is not replaced", DEATH)
        self.expect_core()
        done = self.reload(services % (well, self.keys("wild", 'plugin_options = "abort /nowhere";')))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, self.blame(r"was ended by signal 6 \(Aborted\)", service="second"))
        self.assertEqual(self.ctl("status").returncode, 0)
        self.assertEqual(self.reload(services % (well, well)).returncode, 0)

    def test_G13_a_reload_says_of_which_plug_ins_none_ends_its_process_when_it_is_tried_alone(self):
        """The init of the worker ends it, and that of the trial, which finds the file, does not."""
        path = self.write("once.c", """#include <sockd-plugin.h>
#include <fcntl.h>
#include <stdlib.h>
static int init(const struct sockd_host *h, struct sockd_service *s, const char *o, void **c)
{ (void)h; (void)s; (void)c; if (*o && open(o, O_CREAT | O_EXCL | O_WRONLY, 0600) >= 0) abort(); return 0; }
static void handle(void *c, struct sockd_request *r) { (void)c; (void)r; }
const struct sockd_plugin sockd_plugin = { sizeof(struct sockd_plugin), SOCKD_PLUGIN_ABI, "once", init, handle, 0 };
""")
        self.need("cc")
        subprocess.run(["cc", "-shared", "-fPIC", path, "-o", self.dir + "/once.so", "-I" + os.path.join(sockdtest.ROOT, "src")],
                       check=True)
        conf = self.service('handler = "plugin"; plugin = "$dir/once.so";', top="workers = 1;")
        self.start(conf, env=DIE)
        self.expect_log("reload failed")
        self.expect_core()
        done = self.reload(conf.replace("plugin =", 'plugin_options = "$dir/file"; plugin ='))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"worker 1 \[pid \d+\] was ended by signal 6 \(Aborted\); each plug-in, tried alone, went well$")

    def test_an_init_that_fails_at_the_start_is_degraded_and_the_others_serve(self):
        self.expect_log(" up: ")
        self.start('workers = 2; services: { up: { %s host = "$addr"; port = $port; };'
                   ' echo: { handler = "echo"; host = "$addr"; port = $port1; }; };'
                   % self.keys("wild", 'plugin_options = "error $dir/now"; error_reply = "sorry";'))
        self.expect_fd_change()  # the copy of the file, when it is loaded at last
        self.assertEqual(self.converse(b"x\n", port=self.port(1)), b"x\n")
        self.assertEqual(self.converse(b"x\n"), b"sorry\n")
        status = self.ctl("status")
        self.assertEqual(status.returncode, 1)
        self.assertRegex(status.stdout, "^degraded .*up: plug-in .*wild.so: init failed: Transport endpoint is not connected")
        self.write("now", "")
        self.wait_well()
        self.wait_log(" up: well again after ")
        self.assertEqual(self.converse(b"x\n"), b"X\n")


class InstalledTest(PluginTest):
    """What an author has: the header, the pkg-config file and the manual page, after `make install`."""

    STRICT = "-Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes"

    def install(self):
        for program in "make", "cc", "pkg-config":
            self.need(program)
        self.run_make(sockdtest.ROOT, "install-dev", "prefix=%s/usr" % self.dir)

    def run_make(self, directory, *args):
        env = {"PATH": os.environ["PATH"], "PKG_CONFIG_PATH": os.path.join(self.dir, "usr/share/pkgconfig")}
        done = subprocess.run(["make", "-s", "-C", directory, *args], env=env, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def start_as_installed(self, text, port):
        """Starts sockd with the service file TEXT, but for the directory of plug-ins and the port."""
        self.assertIn("port = %d;" % port, text)
        text = text.replace("port = %d;" % port, 'host = "$addr"; port = $port;')
        self.write("sockd.d/it.conf", text.replace("/usr/local/lib/sockd/", "$dir/ex/"))
        self.start("workers = 1;")

    def test_the_example_compiles_outside_the_tree_and_serves(self):
        self.install()
        shutil.copytree(os.path.join(sockdtest.ROOT, "etc/examples/plugin"), self.dir + "/ex")
        self.run_make(self.dir + "/ex", "CFLAGS=-std=c99 " + self.STRICT)
        with open(self.dir + "/ex/upper.conf") as f:
            self.start_as_installed(f.read(), 50007)
        self.assertEqual(self.converse(b"hello\nyou\n"), b"HELLO\nYOU\n")
        self.stop()
        self.assertTrue(any(line.endswith("it: upper: 2 requests answered") for line in self.sockd.log))

    def test_the_example_of_the_manual_page_compiles_and_serves(self):
        self.install()
        with open(os.path.join(sockdtest.ROOT, "src/sockd-plugin.3")) as f:
            page = f.read().partition(".Sh EXAMPLES")[2]
        source, service = re.findall(r"\.Bd -literal.*\n((?:[^.].*\n|\n)+)\.Ed", page)
        self.write("ex/prefix.c", source.replace("\\e", "\\"))
        with open(os.path.join(sockdtest.ROOT, "etc/examples/plugin/Makefile")) as f:
            self.write("ex/Makefile", f.read().replace("upper", "prefix").replace("$", "$$"))
        self.run_make(self.dir + "/ex", "CFLAGS=" + self.STRICT)
        self.start_as_installed(service, 50008)
        self.assertEqual(self.converse(b"hello\n"), b"you said: hello\n")


class WildTest(PluginTest):
    """What crashes, loops or runs wild costs the worker, and nobody else."""

    def serve_wild(self, keys="", top='workers = 2; worker_timeout = "1s";', **options):
        self.expect_log(DEATH, "was silent for")
        self.expect_core()
        self.expect_fd_change()
        return self.serve(self.keys("wild", keys), top, env=DIE, **options)

    def other_worker(self, client):
        """A connection that another worker than that of CLIENT has, from many that are tried."""
        mine = self.worker_of(client)
        for _ in range(200):
            other = self.connect()
            self.ask(other, b"x")
            if self.worker_of(other) != mine:
                return other
        return self.fail("all connections are with one worker")

    def worker_of(self, client):
        """The pid of the worker that has CLIENT open, by the inode of its socket."""
        host, port = client.getsockname()
        ours = "%08X:%04X" % (int.from_bytes(socket.inet_aton(host), sys.byteorder), port)
        with open("/proc/net/tcp") as f:
            inodes = {row[9] for row in map(str.split, f) if row[2] == ours}
        (worker,) = [pid for pid in self.pids() if open_sockets(pid) & {"socket:[%s]" % inode for inode in inodes}]
        return worker

    def assert_costs_one_worker(self, word, death):
        daemon = self.serve_wild()
        victim = self.connect()
        self.ask(victim, b"x")
        other = self.other_worker(victim)
        before, since = set(self.pids()), len(daemon.log)
        self.assertTrue(self.is_cut(victim, word))
        self.wait_log(r"worker \d \[pid \d+\] %s; replaced at once" % death, since=since)
        self.assertEqual(self.ask(other, b"still"), b"STILL")
        self.assertEqual(self.converse(b"new\n"), b"NEW\n")
        self.wait_for(lambda: len(self.pids()) == 2)
        self.assertEqual(len(before & set(self.pids())), 1)
        self.wait_well()
        self.assertEqual(len([line for line in daemon.log[since:] if re.search(DEATH, line)]), 1)

    def test_G13_exit_costs_the_worker(self):
        self.assert_costs_one_worker(b"exit", "exited with status 0")

    def test_G13_one_that_closes_all_descriptors_costs_the_worker_with_what_it_has_in_hand(self):
        self.expect_log("cannot go on: Bad file descriptor")
        self.serve_wild(top="workers = 1;")
        half, idle, deadly = (self.connect() for _ in range(3))
        self.assertEqual(self.ask(idle, b"x"), b"X")
        half.sendall(b"half a request")
        self.assertTrue(self.is_cut(deadly, b"close"))
        self.wait_log("cannot go on: Bad file descriptor")
        self.wait_log(r"worker 1 \[pid \d+\] exited with status 71; replaced at once")
        self.assertEqual(self.receive_all(half), b"")
        self.assertEqual(self.converse(b"new\n"), b"NEW\n")

    def test_G13_the_end_of_the_main_thread_costs_the_worker(self):
        self.assert_costs_one_worker(b"end thread", "exited with status 0")

    def test_G13_abort_costs_the_worker(self):
        self.assert_costs_one_worker(b"abort", "was ended by signal 6 .*")

    @unittest.skipIf(ASAN, "ASan has a longjmp of its own, without the check")
    def test_G13_longjmp_over_us_costs_the_worker(self):
        self.assert_costs_one_worker(b"longjmp", "(was ended by signal|exited with status) .*")

    def test_G13_a_reply_that_is_given_twice_costs_the_worker(self):
        self.serve_wild()
        self.expect_log("a plug-in ended a request that it did not have")
        self.assertTrue(self.is_cut(self.connect(), b"twice"))
        self.wait_log("was ended by signal 6")
        self.assertEqual(self.converse(b"new\n"), b"NEW\n")

    def test_G13_an_exception_that_is_not_caught_costs_the_worker(self):
        self.expect_log(DEATH)
        self.expect_core()
        self.expect_fd_change()
        self.serve(self.keys("throws"), env=CPLUSPLUS)
        self.assertTrue(self.is_cut(self.connect(), b"throw"))
        self.wait_log("was ended by signal 6")
        self.assertEqual(self.converse(b"new\n"), b"caught new\n")

    def test_G13_a_child_that_comes_back_from_fork_ends_and_answers_nobody(self):
        self.serve_wild(top="workers = 1;")
        self.expect_log("wild forked, which a plug-in must not; the child is ended")
        client = self.connect()
        self.assertEqual(self.ask(client, b"fork late"), b"it ended")
        for _ in range(20):
            self.assertEqual(self.ask(client, b"fork"), b"forked")
        self.assertEqual(self.ask(client, b"x"), b"X")
        self.assertEqual(self.counter("replies"), 22)

    def test_G13_a_changed_signal_mask_changes_nothing(self):
        conf = self.service(self.keys("wild"), top="workers = 1;")
        self.start(conf)
        client = self.connect()
        self.assertEqual(self.ask(client, b"mask"), b"masked")
        self.assertEqual(self.ask(client, b"x"), b"X")
        self.assertEqual(self.reload(conf).returncode, 0)
        self.assertEqual(self.converse(b"x\n"), b"X\n")

    def test_A3_a_crash_costs_the_worker_and_the_request_is_tried_nowhere_else(self):
        self.assert_costs_one_worker(b"crash", r"was ended by signal 11 \(Segmentation fault\)")

    def test_A3_one_that_repeats_its_deadly_request_shuts_out_nobody(self):
        self.serve_wild()
        for n in range(20):
            with self.connect() as killer:
                self.assertTrue(self.is_cut(killer, b"crash"))
            self.assertEqual(self.converse(b"%d x\n" % n), b"%d X\n" % n)
        self.wait_well()

    def deaths_told(self):
        """How often a worker died, by the log: the lines, and those that were suppressed."""
        told = [line for line in self.sockd.log if re.search(DEATH, line)]
        more = re.findall(r"(\d+) more lines? about processes that died suppressed in", "\n".join(self.sockd.log))
        return len(told), sum(map(int, more))

    def kill_until(self, until, deaths, word=b"crash"):
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection((self.addr, self.port())) as client:
                client.sendall(word + b"\n")
                deaths.append(client)
                client.recv(16)

    def test_A3_others_are_served_while_one_repeats_its_deadly_request_without_a_pause(self):
        """A death cuts what its worker had open, and nothing else fails: all others are answered. That is four of five at least,
        measured 86 % with 260 deaths a second, and 98 % with 100, where each writes a core."""
        self.expect_log("suppressed", "died 100 times within a second")
        self.serve_wild()
        answered, cut, failed, deaths = [], [], [], []
        until = time.monotonic() + 3

        def honest():
            while time.monotonic() < until:
                began = time.monotonic()
                try:
                    with socket.create_connection((self.addr, self.port()), sockdtest.TIMEOUT) as client:
                        client.sendall(b"x\n")
                        (answered if client.recv(16) == b"X\n" else cut).append(time.monotonic() - began)
                except ConnectionResetError:
                    cut.append(time.monotonic() - began)
                except OSError as e:
                    failed.append(e)

        threads = [threading.Thread(target=honest) for _ in range(4)]
        threads.append(threading.Thread(target=self.kill_until, args=(until, deaths)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        figures = "%d answered, %d cut, %d failed, %d deaths, slowest %.3f s" % (
            len(answered), len(cut), len(failed), len(deaths), max(answered))
        self.assertEqual(failed, [], figures)
        self.assertGreater(len(deaths), 10, figures)
        self.assertGreater(len(answered), 4 * len(cut), figures)
        self.assertLess(max(answered), sockdtest.SLOW, figures)
        self.wait_well()

    def test_A3_a_client_that_is_deadly_all_the_time_bounds_itself_and_the_log(self):
        self.expect_log("suppressed", "died 100 times within a second")
        daemon = self.serve_wild()
        deaths = []
        began = time.monotonic()
        self.kill_until(began + 2, deaths, b"exit")
        seconds = time.monotonic() - began
        self.wait_well()
        self.stop()
        told, suppressed = self.deaths_told()
        self.assertEqual(told + suppressed, len(deaths))
        self.assertLessEqual(told, 20 * (seconds + 1))
        self.assertGreater(suppressed, 0)
        # Two workers, each 100 times in a second and then every 20 ms; a second may have begun before and end after.
        bounded = [line for line in daemon.log if "died 100 times within a second" in line]
        self.assertLessEqual(len(deaths), 2 * (seconds + 1) * (150 if bounded else 100))

    def test_A7_an_endless_call_is_ended_by_worker_timeout_and_tried_nowhere_else(self):
        self.assert_costs_one_worker(b"loop", "was ended by signal 6 .*")

    def test_A7_one_that_blocked_its_signals_is_killed(self):
        self.assert_costs_one_worker(b"loop deaf", "was ended by signal 9 .*")

    def test_A6_a_stopped_worker_is_replaced_and_strands_nobody(self):
        self.serve_wild(top='workers = 3; worker_timeout = "1s";')
        stopped = self.pids()[0]
        self.stop_process(stopped)
        clients = [self.connect() for _ in range(60)]
        for client in clients:
            client.sendall(b"x\n")
        for client in clients:
            self.assertEqual(self.read_line(client), b"X")
        self.wait_log(r"\[pid %d\] was silent for [0-9.]+ s; ended" % stopped, timeout=3)
        self.wait_log(r"\[pid %d\] was ended by signal" % stopped)
        self.wait_for(lambda: len(self.pids()) == 3 and stopped not in self.pids())
        self.wait_well()

    def start_with_others(self, options, reason=r"was ended by signal 6 \(Aborted\)", top='workers = 2; worker_timeout = "1s";'):
        """A plug-in whose start ends its process until there is a file, between two services that are well."""
        self.expect_log(DEATH, SHELVED)
        self.expect_core()
        conf = """%s host = "$addr";
        services: { before: { port = $port1; handler = "echo"; };
          wild: { port = $port; handler = "plugin"; plugin = "%s"; plugin_options = "%s $dir/now"; };
          after: { port = $port2; handler = "echo"; }; };""" % (top, plugin("wild"), options)
        daemon = self.start(conf, env=DIE, expect_ready=False)
        self.expect_fd_change()
        daemon.wait_log(r"wild: degraded: plug-in \S+/wild\.so: the process that tried it %s; the service is shelved"
                        % reason)
        daemon.wait_notify("^READY=1$")
        return daemon

    def assert_others_are_served(self):
        for port in self.port(1), self.port(2):
            self.assertEqual(self.converse(b"others\n", port=port), b"others\n")

    def assert_shelved_until_it_is_well(self, options, reason):
        daemon = self.start_with_others(options, reason)
        self.assert_others_are_served()
        self.assertRegex(self.ctl("status").stdout, "^degraded since .*wild: plug-in .* is shelved meanwhile")
        client = self.connect()
        client.sendall(b"waited\n")
        workers = [worker["pid"] for worker in self.status()["workers"]]
        self.write("now", "")
        self.assertEqual(self.read_line(client), b"WAITED")
        daemon.wait_log(" wild: well again after ")
        self.wait_well()
        self.assertEqual([worker["pid"] for worker in self.status()["workers"]], workers)
        for _ in range(20):
            self.assertEqual(self.converse(b"x\n"), b"X\n")

    def test_A2_abort_in_init_shelves_its_service_alone_until_it_is_well(self):
        self.assert_shelved_until_it_is_well("abort", r"was ended by signal 6 \(Aborted\)")

    def test_A2_exit_in_init_shelves_its_service_alone_until_it_is_well(self):
        self.assert_shelved_until_it_is_well("exit", r"exited with status 0")

    def test_A2_an_init_that_never_returns_shelves_its_service_alone(self):
        self.expect_log("was silent for")
        self.start_with_others("loop", "did not come to an end within worker_timeout")
        self.assert_others_are_served()

    def test_A2_what_is_shelved_is_tried_again_with_growing_pauses(self):
        daemon = self.start_with_others("abort", top='workers = 2; log_level = "debug";')
        for number in range(1, 5):
            self.wait_for(lambda: len(self.pauses()) >= number)
        # A quarter is left to chance; two digits are told.
        for number, pause in enumerate(self.pauses()[:4]):
            self.assertTrue(0.069 <= pause / 2 ** number <= 0.101, self.pauses())
        self.assertEqual(len([line for line in daemon.log if "is shelved" in line]), 1)

    def pauses(self):
        found = [re.search(r"wild: tried again in ([0-9.]+) s", line) for line in self.sockd.log]
        return [float(match[1]) for match in found if match]

    def test_A2_what_is_drained_while_it_is_shelved_is_drained_when_it_is_well(self):
        daemon = self.start_with_others("abort")
        self.ctl("drain", "wild")
        self.write("now", "")
        daemon.wait_log(" wild: well again after ")
        for _ in range(5):
            self.assertEqual(self.receive_all(self.connect()), b"")
        self.ctl("resume", "wild")
        self.assertEqual(self.converse(b"x\n"), b"X\n")

    def test_A2_what_is_resumed_while_it_is_shelved_serves_when_it_is_well(self):
        daemon = self.start_with_others("abort", top="workers = 1;")
        self.expect_log("was ended by signal 9")
        self.ctl("drain", "wild")
        first = self.status()["workers"][0]["pid"]
        os.kill(first, signal.SIGKILL)
        self.wait_for(lambda: self.status()["workers"][0]["pid"] not in (0, first))
        self.ctl("resume", "wild")
        self.write("now", "")
        daemon.wait_log(" wild: well again after ")
        self.assertEqual(self.converse(b"x\n"), b"X\n")

    def test_A2_a_plug_in_that_begins_to_abort_is_shelved_when_its_worker_is_replaced(self):
        self.write("now", "")
        self.expect_log(DEATH, SHELVED)
        self.expect_core()
        daemon = self.serve(self.keys("wild", 'plugin_options = "abort $dir/now";'), top="workers = 1;", env=DIE)
        self.expect_fd_change()
        os.unlink(self.dir + "/now")
        self.assertTrue(self.is_cut(self.connect(), b"abort"))
        daemon.wait_log("the service is shelved meanwhile")
        client = self.connect()
        client.sendall(b"waited\n")
        self.write("now", "")
        self.assertEqual(self.read_line(client), b"WAITED")
        self.wait_well()

    def test_A2_a_reload_without_the_plug_in_is_well(self):
        daemon = self.start_with_others("abort")
        self.assertEqual(self.reload(self.service('handler = "echo";')).returncode, 0)
        self.assertEqual(self.converse(b"x\n"), b"x\n")
        self.wait_well()
        self.assertFalse([line for line in daemon.log if "well again" in line])

    def test_A2_what_is_shelved_comes_back_after_an_upgrade_too(self):
        daemon = self.start_with_others("abort")
        self.expect_log("cannot|did not start|reload failed")
        self.assertIn("but the new generation did not start", self.ctl("upgrade").stderr)
        self.assert_others_are_served()
        self.assertRegex(self.ctl("status").stdout, "^degraded since .*wild: plug-in .* is shelved meanwhile")
        client = self.connect()
        client.sendall(b"waited\n")
        self.write("now", "")
        self.assertEqual(self.read_line(client), b"WAITED")
        daemon.wait_log(" wild: well again after ")

    def test_C15_one_that_writes_over_all_counters_reaches_only_its_own(self):
        self.serve_wild()
        victim = self.connect()
        self.ask(victim, b"x")
        other = self.other_worker(victim)
        self.assertEqual(self.ask(victim, b"scribble"), b"2 mappings, 1 written, 0 cut")
        status = self.ctl("status", "--json")
        self.assertIn(status.returncode, (0, 1))
        self.assertEqual(self.ask(other, b"still"), b"STILL")
        self.assertTrue(self.is_cut(victim, b"abort"))
        self.wait_log("was ended by signal 6")
        for client in self._sockets:
            if client is not other:
                client.close()
        self.wait_counter("connections", lambda n: n == 1)
        self.assertEqual(self.ask(other, b"still"), b"STILL")
        self.assertEqual(self.converse(b"new\n"), b"NEW\n")


if __name__ == "__main__":
    sockdtest.main()
