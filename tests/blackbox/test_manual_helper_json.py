"""The examples of the json protocol in sockd-helper(7) do what the page says."""
import os
import re
import shutil
import unittest

import sockdtest
from sockdtest import SockdTest

PAGE = os.path.join(sockdtest.ROOT, "src/sockd-helper.7")


def example(start):
    """The literal block in the section on json that begins with START, as a reader of the page would copy it."""
    with open(PAGE) as f:
        section = f.read().partition(".Sh THE JSON PROTOCOL\n")[2].partition("\n.Sh ")[0]
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", section, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if block.startswith(start)).replace("\\e", "\\").replace("\\(dq", '"')


class ManualJsonTest(SockdTest):
    def serve_example(self, start, keys=""):
        self.write("helper", "", 0o755)
        with open(os.path.join(self.dir, "helper"), "w") as f:
            f.write(example(start))
        return self.serve('handler = "helper"; helper_protocol = "json"; helpers = 1; command = "$dir/helper"; ' + keys)

    @staticmethod
    def say(client, line):
        client.sendall(line + b"\n")

    @staticmethod
    def read_line(client):
        line = b""
        while not line.endswith(b"\n") and (more := client.recv(1)):
            line += more
        return line

    def ask(self, client, line):
        self.say(client, line)
        return self.read_line(client)

    def test_the_example_in_python_keeps_values_for_all_clients(self):
        self.serve_example("#!/usr/bin/python3\nimport asyncio", 'error_reply = "no";')
        one, two = self.connect(), self.connect()
        self.assertEqual(self.ask(one, b"set colour red"), b"ok\n")
        self.assertEqual(self.ask(two, b"get colour"), b"red\n")
        self.say(two, b"wait 0.5")
        self.assertEqual(self.ask(one, b"set colour blue"), b"ok\n")
        self.assertEqual(self.read_line(two), b"changed colour blue\n")
        self.assertEqual(self.read_line(two), b"waited\n")
        self.assertEqual(self.ask(one, b"what"), b"no\n")
        self.assertEqual(self.ask(one, b"wait x"), b"no\n")
        self.assertEqual(self.ask(one, b"\xff"), b"no\n")
        self.say(one, b"quit")
        self.assertEqual(self.receive_all(one), b"bye\n")

    @unittest.skipUnless(shutil.which("jq"), "jq is not installed: the example in the shell was NOT run")
    def test_the_example_in_the_shell_answers_in_capitals(self):
        self.serve_example("#!/bin/sh\n", 'error_reply = "no";')
        self.assertEqual(self.converse(b"hello\n\xff\nlast"), b"HELLO\nno\nLAST")


if __name__ == "__main__":
    sockdtest.main()
