"""What bash completes for sockctl, in a real bash with the file that is installed."""
import os
import pty
import re
import select
import subprocess

import sockdtest
from sockdtest import BUILD, ROOT, SockdTest

SCRIPT = ('source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sockctl; '
          '[ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\\n" "${COMPREPLY[@]}"')


class CompletionTest(SockdTest):
    def complete(self, *words):
        env = dict(os.environ, PATH=BUILD + ":" + os.environ["PATH"], RUNTIME_DIRECTORY=self.dir)
        done = subprocess.run(["/bin/bash", "-c", SCRIPT, os.path.join(ROOT, "etc/sockctl.bash-completion"), "sockctl",
                               *words], capture_output=True, text=True, env=env, cwd=self.dir, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def help(self):
        return self.run_program("sockctl", "--help").stdout

    def serve_two(self):
        self.start('services:\n{\n  echo: { host = "$addr"; port = $port; handler = "echo"; };\n'
                   '  json: { host = "$addr"; port = $port1; handler = "echo"; };\n};\n')

    def test_every_command_and_option_of_the_help_is_known(self):
        text, _, options = self.help().partition("\noptions:\n")
        commands = re.findall(r"(?m)^  ([a-z-]+) ", text)
        self.assertIn("top", commands)
        self.assertEqual(self.complete(""), commands)
        self.assertEqual(self.complete("re"), ["restart", "reload", "resume"])
        options = re.findall(r"(?m)^  (?:(-.), |    )(--[a-z0-9-]+)", options)
        self.assertEqual(self.complete("-"), [name for pair in options for name in pair if name])
        self.assertEqual(self.complete("top", "--int"), ["--interval"])

    def test_services_are_those_of_the_daemon(self):
        self.serve_two()
        control = os.path.join(self.dir, "control.sock")
        for words in (["drain"], ["resume"], ["send", "-s"], ["-q", "-w", "1s", "drain"], ["send", "hello", "-s"],
                      ["--control", control, "drain"], ["--control", "=", control, "drain"], ["-qw", "1s", "drain"]):
            with self.subTest(words):
                self.assertEqual(self.complete(*words, ""), ["echo", "json"])
        self.assertEqual(self.complete("drain", "e"), ["echo"])
        self.assertEqual(self.complete("drain", "echo", ""), [])
        for words in ["--control", "/nowhere", "drain"], ["--control", "=", "/nowhere", "drain"], ["-i", "none", "drain"], \
                ["-inone", "drain"], ["-qi", "none", "drain"], ["--instance", "=", "none", "drain"]:
            self.assertEqual(self.complete(*words, ""), [], words)

    def test_a_service_without_helpers_is_not_offered_where_helpers_are_meant(self):
        self.start('services:\n{\n  echo: { host = "$addr"; port = $port; handler = "echo"; };\n'
                   '  upper: { host = "$addr"; port = $port1; handler = "helper"; command = "/bin/cat"; };\n};\n')
        for command, names in ("restart", ["upper"]), ("helpers", ["upper"]), ("drain", ["echo", "upper"]):
            self.assertEqual(self.complete(command, ""), names)

    def test_an_option_that_the_command_refuses_is_not_offered(self):
        self.assertEqual(self.complete("status", "--"), ["--timeout", "--control", "--instance", "--json", "--quiet", "--help", "--version"])
        self.assertNotIn("--json", self.complete("send", "--"))
        self.assertIn("--each-line", self.complete("-F", "line", "send", "--"))

    def test_connections_are_those_of_the_daemon(self):
        self.serve_two()
        client = self.connect()
        client.sendall(b"x\n")
        self.assertEqual(client.recv(10), b"x\n")
        found, = self.complete("kill", "")
        self.assertRegex(found, r"^1\.\d+\.\d+$")

    def test_words_are_known_where_they_are_a_choice(self):
        self.assertEqual(self.complete("log-level", "d"), ["debug", "default"])
        self.assertIn("netstring", self.complete("-F", ""))
        self.assertEqual(self.complete("--framing", "=", "nets"), ["netstring"])
        self.assertIn("line", self.complete("send", "--framing", "="))
        self.assertEqual(self.complete("-qF", "nets"), ["netstring"])

    def type(self, keys):
        """The words of a command that is typed with KEYS into a bash at a terminal."""
        ours, theirs = pty.openpty()
        env = dict(os.environ, PATH=BUILD + ":" + os.environ["PATH"], TERM="dumb", PS1="")
        bash = subprocess.Popen(["/bin/bash", "--norc", "--noprofile", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=env,
                                cwd=self.dir, start_new_session=True)
        os.close(theirs)
        os.write(ours, b"source %s; typed() { printf '<%%s>' \"$@\" END; }; complete -F _sockctl typed\ntyped %s\n"
                 % (os.path.join(ROOT, "etc/sockctl.bash-completion").encode(), keys))
        said = b""
        while b"<END>" not in said and select.select([ours], [], [], sockdtest.TIMEOUT)[0]:
            said += os.read(ours, 4096)
        os.close(ours)
        bash.wait(sockdtest.TIMEOUT)
        return re.findall(r"<([^<>%]*)>", said.decode())[:-1]  # and not its echo

    def test_a_framing_that_is_no_word_yet_is_left_open(self):
        self.assertEqual(self.complete("-F", "len"), ["length:"])
        self.assertEqual(self.complete("-F", "length", ":"), [])
        self.assertLessEqual({"line", "delimiter:", "fixed:", "content-length"}, set(self.complete("-F", "")))
        self.assertEqual(self.type(b"-F len\tu8 sen\thello"), ["-F", "length:u8", "send", "hello"])
        self.assertEqual(self.type(b"--framing=fi\t3 -F nets\tsend"), ["--framing=fixed:3", "-F", "netstring", "send"])

    def test_the_value_of_an_option_is_no_command(self):
        for words in (["--framing", "=", "line"], ["-qF", "line"], ["-Fline"], ["-F", "length", ":", "u32be"],
                      ["--framing", "=", "length", ":", "u32be"], ["-H", "::", "1"], ["--host", "=", "::", "1"]):
            with self.subTest(words):
                self.assertEqual(self.complete(*words, "se"), ["send", "services"])

    def test_a_value_that_is_free_is_not_guessed(self):
        for option in ("-p", "-w", "-n", "-c", "-d", "-P", "-R", "--size", "--interval", "--expect"):
            self.assertEqual(self.complete("bench", option, ""), [], option)
        self.assertEqual(self.complete("-q", "relo"), ["reload"])
        self.write("of-mine", "")
        self.assertEqual(self.complete("send", "-f", "of"), ["of-mine"])
        self.assertEqual(self.complete("send", "--file", "=", "of"), ["of-mine"])
        self.write("a:mine", "")
        self.assertEqual(self.complete("send", "-f", "a", ":", "mi"), ["mine"])


if __name__ == "__main__":
    sockdtest.main()
