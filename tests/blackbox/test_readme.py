"""What README.md shows is what happens: its sessions are run, line by line."""
import os
import re
import socket
import subprocess

import sockdtest
from sockdtest import BUILD, ROOT, TIMEOUT, Daemon, SockdTest


def blocks():
    """The indented blocks of README.md, as lists of lines."""
    with open(os.path.join(ROOT, "README.md")) as f:
        text = f.read()
    return [re.sub(r"(?m)^    ", "", block).splitlines() for block in re.findall(r"(?m)(?:^    .*\n)+", text)]


def session(wanted):
    """The commands of the one block with a line WANTED, each with the lines that it prints."""
    found = [block for block in blocks() if wanted in block]
    assert len(found) == 1, "%d blocks with %r" % (len(found), wanted)
    commands = []
    for line in found[0]:
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return commands


class ReadmeTest(SockdTest):
    def run_line(self, command, printed):
        """Runs a line of a session, and compares what it prints."""
        env = dict(os.environ, PATH=BUILD + ":" + os.environ["PATH"])
        done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT,
                              text=True, env=env, cwd=self.dir)
        self.assertEqual(done.returncode, 0, "%s: %s" % (command, done.stderr))
        if printed is not None:
            self.assertEqual(done.stdout.splitlines(), printed, command)
        return done.stdout

    def first_screen(self):
        """The file, the command line and its first line; then the client's, for this test's port."""
        (cat, script), (command, printed) = session("$ sockd -p 7000 -- ./upper.sh")
        self.assertEqual(cat, "cat upper.sh")
        self.assertEqual(len(script), 3)
        self.write("upper.sh", "")
        with open(os.path.join(self.dir, "upper.sh"), "w") as f:
            f.write("\n".join(script) + "\n")
        os.chmod(os.path.join(self.dir, "upper.sh"), 0o755)
        return command, printed

    def ours(self, text):
        return text.replace("7000", str(self.port()))

    def test_the_first_screen(self):
        command, printed = self.first_screen()
        words = self.ours(command).split()
        self.sockd = Daemon([os.path.join(BUILD, words[0]), *words[1:]], self.dir, {})
        self.sockd.fd_baseline = {}
        self.daemons.append(self.sockd)
        self.sockd.wait_notify("^READY=1$")
        self.assertEqual(len(printed), 1)
        self.wait_log("^" + re.escape(self.ours(printed[0])) + "$")
        for line, answer in session("$ sockctl -p 7000 send hello"):
            self.run_line(self.ours(line), answer)

    def test_the_file_of_four_lines(self):
        self.first_screen()
        (_, lines), = session("$ cat /etc/sockd.d/upper.conf")
        self.assertEqual(len(lines), 4)
        text = "\n".join(lines).replace("/usr/local/bin", self.dir)
        self.write("sockd.d/upper.conf", self.ours(text) + "\n")
        self.start("")
        for line, answer in session("$ sockctl -p 7000 send hello"):
            self.run_line(self.ours(line), answer)

    def test_the_session_with_the_shipped_configuration(self):
        with open(os.path.join(ROOT, "etc/sockd.conf")) as f:
            conf = f.read().replace('"localhost"', '"$addr"').replace("50000", "$port")
        self.start(conf)
        where = "-H %s -p %d " % (self.addr, self.port())

        def here(command):
            command = re.sub("sockctl (send|pipe)", "sockctl " + where + r"\1", command)
            command = re.sub("sockctl (status|reload)", r"sockctl --control control.sock \1", command)
            return command.replace("build/release/", "").replace("etc/sockd.conf", "sockd.conf")

        for command, printed in session("$ build/release/sockctl send hello"):
            if not printed:
                self.assertIn("well", self.run_line(here(command), None))
            else:
                self.run_line(here(command), printed)
        (service,) = [block for block in blocks() if "bin:" in block]
        text = "\n".join(service).replace('"localhost"', '"$addr"').replace("50001", "$port1")
        self.write("sockd.conf", conf.rstrip().removesuffix("};") + text + "\n};\n")
        self.expect_fd_change()
        for command, _ in session("$ build/release/sockctl reload"):
            self.run_line(here(command), None)
        self.assertEqual(self.converse(b"5:hello,", port=self.port(1)), b"")

    def test_programs_without_a_file_as_the_table_has_them(self):
        with open(os.path.join(ROOT, "README.md")) as f:
            lines = re.findall(r"`(sockd [^`]*--program -- \./x)`", f.read())
        self.assertEqual(len(lines), 2)
        self.write("x", "#!/bin/sh\necho \"$$PROTO\"\nexec cat\n", 0o755)
        for line in lines:
            command = self.ours(line).replace("'*'", self.addr).replace("sockd ", "exec %s/sockd " % BUILD, 1)
            self.sockd = Daemon(["sh", "-c", command], self.dir, {})
            self.sockd.fd_baseline = {}
            self.daemons.append(self.sockd)
            self.sockd.wait_notify("^READY=1$")
            addr = self.addr if self.addr in command else "localhost"
            done = self.run_program("sockctl", "-H", addr, "-4", "-p", self.port(), "pipe", input="hello\n")
            self.assertEqual((done.returncode, done.stdout), (0, "TCP\nhello\n"), done.stderr)
            self.stop()

    X = '#!/bin/sh\nenv | grep -E "^(PROTO|TCP|REMOTE_ADDR)"\nexec cat\n'

    def said(self, port):
        """What the program says of its connection, and what it gives back; without what each connection has its own."""
        done = self.run_program("sockctl", "-H", self.addr, "-p", port, "pipe", input="hello\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        return {line for line in done.stdout.splitlines() if not re.match("TCPREMOTEPORT|TCPCONNNUM", line)}

    def beside(self, *command):
        """The same program below what the table says it comes from, on our next port."""
        self.need(command[0])
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              cwd=self.dir) as peer:
            try:
                self.wait_for(lambda: self.is_open(self.port(1)))
                return self.said(self.port(1))
            finally:
                peer.kill()

    def is_open(self, port):
        with socket.socket() as sock:
            return sock.connect_ex((self.addr, port)) == 0

    def test_a_program_finds_the_same_below_what_the_table_names(self):
        self.write("x", self.X.replace("$", "$$"), 0o755)
        self.serve('handler = "program"; command = "$dir/x";')
        ours, port = self.said(self.port()), str(self.port(1))
        local = {"TCPLOCALPORT=%d" % self.port(): "TCPLOCALPORT=" + port}
        ours = {local.get(line, line) for line in ours}
        theirs = self.beside("tcpserver", "-H", "-R", "-l0", self.addr, port, "./x")
        self.assertLessEqual({line for line in ours if not line.startswith("REMOTE_ADDR")}, theirs | {"hello"})
        self.assertIn("hello", theirs)
        for peer in (("systemd-socket-activate", "-l", "%s:%s" % (self.addr, port), "-a", "--inetd", "./x"),
                     ("socat", "TCP-LISTEN:%s,bind=%s,fork,reuseaddr" % (port, self.addr), "EXEC:./x")):
            self.assertEqual(self.beside(*peer), {"hello"}, peer)


if __name__ == "__main__":
    sockdtest.main()
