"""The services of etc/examples, each with its real counterpart: Postfix, curl, Chromium, clangd, and a client
of JSON-RPC."""
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import png
import sockdtest
from postfix import Postfix
from sockdtest import ROOT, TIMEOUT, SockdTest

EXAMPLES = os.path.join(ROOT, "etc", "examples")


class PortTest(unittest.TestCase):
    def test_what_is_shipped_may_serve_beside_each_other(self):
        """Every example and all that /etc/sockd.conf has to be uncommented: no port is there twice, and a file speaks of no
        port but its own."""
        with open(os.path.join(ROOT, "etc", "sockd.conf")) as f:
            taken = re.findall(r"(?m)^ *#? *port = (\d+);", f.read())
        self.assertGreater(len(taken), 4)
        for path in glob.glob(os.path.join(EXAMPLES, "*", "*.conf")):
            with open(path) as f:
                text = f.read()
            own, = re.findall(r"(?m)^port = (\d+);", text)
            self.assertEqual(set(re.findall(r"\b50\d{3}\b", text)), {own}, path)
            taken.append(own)
        self.assertEqual(sorted(taken), sorted(set(taken)))


class ExampleTest(SockdTest):
    def serve_example(self, name, *changes):
        """Serves the file as it is, but for this test's address and port, where its handler lies, and CHANGES."""
        directory = os.path.join(EXAMPLES, name)
        with open(os.path.join(directory, name + ".conf")) as f:
            text = f.read()
        example_host = "localhost" if 'host = "localhost"' in text else "127.0.0.1"
        for old, new in ('host = "%s"' % example_host, 'host = "%s"' % self.addr), \
                        ("/usr/local/lib/sockd/", directory + "/"), *changes:
            self.assertTrue(old in text or old.startswith("/usr/local"), "%r in %s.conf" % (old, name))
            text = text.replace(old, new)
        lines = [line for line in text.splitlines() if not line.startswith("port =")]
        self.assertEqual(len(lines) + 1, len(text.splitlines()))
        # As in /etc/sockd.d beside /etc/sockd.conf.
        path = self.write("sockd.d/%s.conf" % name, "")
        with open(path, "w") as f:
            f.write("\n".join([*lines, "port = %d;" % self.port(), ""]))
        return self.start("workers = 2;")

    def send(self, framing, message):
        done = self.run_program("sockctl", "-H", self.addr, "-p", self.port(), "-F", framing, "send", message)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class PolicyTest(ExampleTest):
    RESTRICTIONS = """
relay_domains = example.org
relay_transport = discard:
smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service inet:{addr}:%d
"""

    def serve_policy(self, delay):
        self.serve_example("policy", ("GREYLIST_DELAY=60", "GREYLIST_DELAY=%d" % delay))

    def recipient(self, postfix, sender, recipient="somebody@example.org"):
        """What Postfix says to a recipient on a connection of its own."""
        with postfix.smtp() as smtp:
            smtp.ehlo()
            smtp.mail(sender)
            status, text = smtp.rcpt(recipient)
        return status, text.decode()

    def test_postfix_refuses_defers_and_takes_mail_as_the_policy_says(self):
        self.serve_policy(delay=0)
        with Postfix(self, self.port(1), self.RESTRICTIONS % self.port()) as postfix:
            status, text = self.recipient(postfix, "somebody@spam.example")
            self.assertEqual(status, 554, text)
            self.assertIn("mail from there is not taken here", text)
            status, text = self.recipient(postfix, "friend@example.net")
            self.assertEqual(status, 450, text)
            self.assertIn("greylisted, please try again", text)
            self.assertEqual(self.recipient(postfix, "friend@example.net")[0], 250)
            # Another recipient is another matter.
            self.assertEqual(self.recipient(postfix, "friend@example.net", "other@example.org")[0], 450)
        self.assertEqual(self.counter("requests", "policy"), 4)

    def test_postfix_asks_many_times_on_one_connection(self):
        self.serve_policy(delay=0)
        with Postfix(self, self.port(1), self.RESTRICTIONS % self.port()) as postfix, postfix.smtp() as smtp:
            smtp.ehlo()
            for expected in 450, 250:
                for n in range(20):
                    smtp.rset()
                    smtp.mail("friend%d@example.net" % n)
                    self.assertEqual(smtp.rcpt("somebody@example.org")[0], expected)
            self.assertEqual(self.counter("accepted", "policy"), 1)

    def test_postfix_defers_when_the_policy_cannot_answer(self):
        self.expect_log("helper")
        self.write("broken", "#!/bin/sh\nread -r line\n", 0o755)
        self.serve_example("policy", ("/usr/local/lib/sockd/policy.py", self.dir + "/broken"),
                           (os.path.join(EXAMPLES, "policy/policy.py"), self.dir + "/broken"))
        with Postfix(self, self.port(1), self.RESTRICTIONS % self.port()) as postfix:
            status, text = self.recipient(postfix, "friend@example.net")
            self.assertEqual(status, 450, text)
            self.assertIn("no policy at the moment", text)

    def test_policy_waits_for_the_delay(self):
        self.serve_policy(delay=60)
        for _ in range(2):
            reply = self.send("block", "request=smtpd_access_policy\nclient_address=192.0.2.1\nsender=a@example.net")
            self.assertRegex(reply, r"^action=DEFER_IF_PERMIT greylisted, please try again in (5\d|60) seconds\n")

    def test_policy_takes_any_bytes(self):
        self.serve_policy(delay=0)
        request = b"sender=\xff\xfe@example.net\nhelo_name=\r\nccert_subject==\x00=\n\n"
        self.assertRegex(self.converse(request), rb"^action=DEFER_IF_PERMIT .*\n\n$")
        self.assertEqual(self.converse(request), b"action=DUNNO\n\n")


class SocketmapTest(ExampleTest):
    def serve_aliases(self):
        self.write("aliases", "info@example.org friend@example.net\nall@example.org a@example.net, b@example.net\n")
        self.serve_example("socketmap", ("ALIASES=/etc/sockd-aliases", "ALIASES=%s/aliases" % self.dir))
        return "socketmap:inet:%s:%d:" % (self.addr, self.port())

    def postmap(self, key, table):
        self.need("postmap")
        # Any configuration does; the one of the system may not be there.
        path = self.write("postmap/main.cf", "compatibility_level = 3.6\ninet_interfaces = loopback-only\n")
        os.utime(path, (0, 0))
        return subprocess.run(["postmap", "-c", os.path.join(self.dir, "postmap"), "-q", key, table],
                              capture_output=True, timeout=TIMEOUT, text=True)

    def test_postmap_finds_what_is_there_and_nothing_else(self):
        table = self.serve_aliases()
        done = self.postmap("info@example.org", table + "aliases")
        self.assertEqual((done.returncode, done.stdout), (0, "friend@example.net\n"), done.stderr)
        self.assertEqual(self.postmap("all@example.org", table + "aliases").stdout, "a@example.net, b@example.net\n")
        done = self.postmap("nobody@example.org", table + "aliases")
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(self.send("netstring", "other info@example.org"), "PERM there is no map of this name")

    def test_postfix_takes_mail_for_addresses_of_the_map(self):
        table = self.serve_aliases()
        main = "virtual_alias_domains = example.org\nvirtual_alias_maps = %saliases\n" % table
        with Postfix(self, self.port(1), main) as postfix:
            with postfix.smtp() as smtp:
                smtp.sendmail("friend@example.net", "info@example.org", "Subject: hello\r\n\r\nhello\r\n")
                smtp.mail("friend@example.net")
                status, text = smtp.rcpt("nobody@example.org")
            self.assertEqual(status, 550, text)
            self.assertIn(b"User unknown in virtual alias table", text)
            # The mail goes where the map says.
            self.wait_for(lambda: "to=<friend@example.net>, orig_to=<info@example.org>" in postfix.log(),
                          what="delivery in the log of Postfix")

    def test_a_changed_file_needs_no_reload(self):
        self.serve_aliases()
        self.assertEqual(self.send("netstring", "aliases new@example.org"), "NOTFOUND ")
        self.write("aliases", "new@example.org somebody\n")
        self.assertEqual(self.send("netstring", "aliases new@example.org"), "OK somebody")
        os.unlink(os.path.join(self.dir, "aliases"))
        self.assertEqual(self.send("netstring", "aliases new@example.org"), "TEMP the aliases cannot be read")


PAGE = """<!DOCTYPE html>
<title>sockd</title>
<link rel="stylesheet" href="style.css">
<h1>Served by micro-httpd</h1>
<p>a process for each connection, behind sockd</p>
<img src="picture.png">
"""
STYLE = "html { background: rgb(32, 64, 128); color: white; font-family: sans-serif; margin: 40px }\n"
ORANGE = (240, 160, 0)


class WebTest(ExampleTest):
    def serve_pages(self):
        self.need("micro-httpd")
        self.write("html/index.html", PAGE)
        self.write("html/style.css", STYLE)
        with open(os.path.join(self.dir, "html/picture.png"), "wb") as f:
            f.write(png.write(200, 100, ORANGE))
        self.serve_example("web", ("/var/www/html", self.dir + "/html"))
        return "http://%s:%d/" % (self.addr, self.port())

    def curl(self, *args):
        self.need("curl")
        return subprocess.run(["curl", "-sS", "--noproxy", "*", *args], capture_output=True, timeout=TIMEOUT, text=True)

    def test_curl_gets_the_page(self):
        url = self.serve_pages()
        done = self.curl("-i", url)
        self.assertEqual(done.returncode, 0, done.stderr)
        head, _, body = done.stdout.partition("\n\n")
        self.assertRegex(head, "^HTTP/1.[01] 200 Ok")
        self.assertEqual(body, PAGE)
        self.assertEqual(self.curl("-o", "/dev/null", "-w", "%{http_code}", url + "nothing").stdout, "404")

    def test_curl_gets_many_pages_side_by_side(self):
        url = self.serve_pages()
        done = self.curl("--parallel", "--parallel-max", "16", *100 * [url + "style.css"])
        self.assertEqual((done.returncode, done.stdout), (0, STYLE * 100), done.stderr)
        self.assertEqual(self.counter("accepted", "web"), 100)

    def test_chromium_shows_the_page_with_its_style_and_its_picture(self):
        self.need("chromium")
        url = self.serve_pages()
        home = tempfile.mkdtemp(dir=self.dir)
        shot = os.path.join(self.dir, "page.png")
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage", "--no-proxy-server", "--user-data-dir=" + os.path.join(home, "profile"),
             "--window-size=480,360", "--screenshot=" + shot, url],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT * 6, env=dict(os.environ, HOME=home))
        self.assertTrue(os.path.exists(shot), done.stderr)
        if keep := os.environ.get("SOCKD_SCREENSHOT"):
            shutil.copy(shot, keep)
        with open(shot, "rb") as f:
            pixels = [pixel for row in png.read(f.read()) for pixel in row]
        self.assertEqual(pixels[0], (32, 64, 128))
        self.assertGreaterEqual(pixels.count(ORANGE), 200 * 100)
        self.assertGreater(pixels.count((255, 255, 255)), 500)  # the text
        self.assertGreaterEqual(self.counter("accepted", "web"), 3)


class LanguageServerTest(ExampleTest):
    """JSON-RPC as LSP has it."""

    def serve_clangd(self):
        self.need("clangd")
        self.serve_example("clangd")

    def tell(self, client, method, params, number=None):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            message["id"] = number
        body = json.dumps(message).encode()
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def hear(self, stream, wanted):
        """The next message for which WANTED(message)."""
        while True:
            length = 0
            while (line := stream.readline()) != b"\r\n":
                self.assertTrue(line, "clangd ended")
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            message = json.loads(stream.read(length))
            if wanted(message):
                return message

    def editor(self):
        client = self.connect()
        client.settimeout(TIMEOUT * 6)  # it is large, and may have to be read from a disk
        stream = client.makefile("rb")
        self.addCleanup(stream.close)
        self.tell(client, "initialize", {"processId": None, "rootUri": None, "capabilities": {}}, 1)
        answer = self.hear(stream, lambda m: m.get("id") == 1)
        self.assertEqual(answer["result"]["serverInfo"]["name"], "clangd")
        self.tell(client, "initialized", {})
        return client, stream

    def test_two_editors_have_a_clangd_each(self):
        self.serve_clangd()
        editors = [self.editor(), self.editor()]
        self.assertEqual(self.counter("programs", "clangd"), 2)
        # The same name, but another text at each.
        uri = "file://%s/a.c" % self.dir
        for (client, stream), text in zip(editors, ("int f(void) { return x; }\n", "int g(void) { return 1; }\n")):
            self.tell(client, "textDocument/didOpen",
                      {"textDocument": {"uri": uri, "languageId": "c", "version": 1, "text": text}})
        found = []
        for client, stream in editors:
            told = self.hear(stream, lambda m: m.get("method") == "textDocument/publishDiagnostics")
            found.append([d["message"] for d in told["params"]["diagnostics"]])
        self.assertEqual(len(found[0]), 1)
        self.assertIn("undeclared identifier 'x'", found[0][0])
        self.assertEqual(found[1], [])
        for client, stream in editors:
            self.tell(client, "shutdown", None, 2)
            self.assertIsNone(self.hear(stream, lambda m: m.get("id") == 2)["result"])
            self.tell(client, "exit", None)
            self.assertEqual(stream.read(), b"")
        self.wait_counter("programs", lambda n: n == 0, "clangd")

    def test_an_editor_that_just_leaves_ends_its_clangd(self):
        self.expect_log("clangd.* (status|signal)")
        self.serve_clangd()
        client, stream = self.editor()
        stream.close()
        client.close()
        self.wait_counter("programs", lambda n: n == 0, "clangd")


# Two clients of aiorpcx, which is Debian's and so for Debian's Python: one hears what the other does.
BOARD_CLIENTS = """
import asyncio, sys
import aiorpcx

async def main(host, port):
    heard = asyncio.Queue()

    class Listener(aiorpcx.RPCSession):
        async def handle_request(self, request):
            await heard.put((request.method, request.args))

    async with aiorpcx.connect_rs(host, port, session_factory=Listener) as listener, \\
               aiorpcx.connect_rs(host, port) as writer:
        print(await listener.send_request("subscribe"))
        for n in range(100):
            assert await writer.send_request("put", ["door", n]) is True
        for n in range(100):
            assert await heard.get() == ("changed", ["door", n])
        print(await listener.send_request("get", ["door"]))
        await writer.send_notification("put", ["window", "shut \\u00e9"])
        print(await heard.get())
        for method in "get", "fly":
            try:
                await writer.send_request(method)
            except aiorpcx.RPCError as e:
                print(e.code)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


class BoardTest(ExampleTest):
    def line(self, client, text):
        client.sendall(text.encode() + b"\n")
        return json.loads(client.makefile("rb").readline())

    def test_clients_of_a_library_share_one_server_and_hear_of_each_other(self):
        python = "/usr/bin/python3"
        if subprocess.run([python, "-c", "import aiorpcx"], capture_output=True).returncode != 0:
            self.skipTest("python3-aiorpcx is not installed")
        self.serve_example("board")
        done = subprocess.run([python, "-c", BOARD_CLIENTS, self.addr, str(self.port())], capture_output=True,
                              timeout=TIMEOUT * 3, text=True, env=dict(os.environ, LC_ALL="C.UTF-8"))
        self.assertEqual(done.stdout.splitlines(), ["{}", "99", "('changed', ['window', 'shut \u00e9'])", "-32602",
                                                    "-32601"], done.stderr)
        self.assertEqual(self.counter("helpers", "board"), 1)

    def test_a_subscriber_that_left_costs_nobody_anything(self):
        self.serve_example("board")
        gone, writer = self.connect(), self.connect()
        self.assertEqual(self.line(gone, '{"id":1,"method":"subscribe"}')["result"], {})
        gone.close()
        self.wait_counter("connections", lambda n: n == 1, "board")
        for n in range(20):
            self.assertIs(self.line(writer, '{"id":%d,"method":"put","params":["a",%d]}' % (n, n))["result"], True)
        self.assertEqual(self.line(writer, '{"id":1,"method":"get","params":{"name":"a"}}')["result"], 19)

    def test_what_is_no_request_gets_an_error(self):
        self.serve_example("board")
        client = self.connect()
        for text in "", "{", "[]", "1", '{"id":1,"method":[]}', '{"id":1,"method":"get","params":[[]]}', "[" * 5000:
            self.assertIn("error", self.line(client, text), text[:40])


if __name__ == "__main__":
    sockdtest.main()
