#!/usr/bin/env python3
"""Mutated configurations, each reloaded: whatever it is, the running service never notices. Row B2.

  mutations.py BUILD [--mutations N] [--seconds S] [--seed N]

A good configuration with several services is changed in its bytes, lines, keys, values, types or structure, put in
place, and reloaded. The service "anchor" has a file of its own, which is not changed, and no key is left to a default:
one connection to it stays open all the time, new ones come all the time, all converse. `sockd --check` says what the
file is worth: when it has errors, the reload must fail with the same errors, each with its file and line, and the
generation must stay; when it has none, the reload must succeed, or fail for what only an address or a process can show.

It ends after N mutations, or after S seconds. Exit status 1: something was not as it should be, or there were fewer.
"""
import asyncio
import collections
import json
import os
import re
import subprocess
import sys
import time

from soak import Soak, counts, main
from sockdtest import SLOW, next_number

PATIENCE = 30 * SLOW
GOOD = """# comment
workers = 1;
log_level = "notice";
drain_timeout = "5s";
worker_timeout = "1m";
max_memory = "64m";
idle_timeout = "10m";

services:
{
  echo: { host = "%(host)s"; port = %(port1)d; framing = "line"; handler = "echo"; max_request = "64k";
    error_reply = "sorry"; };
  policy:
  {
    transport = [ "tcp", "unix" ];
    host = [ "%(host)s", "localhost" ];
    port = %(port2)d;
    path = "%(dir)s/policy.sock";
    mode = "0600";
    backlog = 128;
    framing = "length:u16be,offset=2,adjust=-2,whole";
    handler = "helper";
    command = [ "/bin/cat" ];
    environment = [ "A=b", "LANG" ];
    helpers = 1;
    allow = [ "127.0.0.0/8", "::1" ];
    deny = "192.0.2.1";
  };
  datagrams: { transport = "udp"; host = "%(host)s"; port = %(port3)d; handler = "echo"; max_reply_ratio = 1; };
  program: { host = "%(host)s"; port = %(port4)d; handler = "program"; command = "cat"; max_programs = 4; };
};
"""
VALUES = ["0", "-1", "1", "99999", "2147483648", "9223372036854775807L", "0x7fffffff", "1.5", "true", '""', '"x"', '"0"',
          '"10s"', '"64k"', '"-5m"', "[ ]", "( )", "{ }", '[ "a", 1 ]', '( { a = 1; } )', '"%s"' % ("y" * 10000), '"\\x00"',
          '"\\xff\\n"', '"line"', '"echo"', '"helper"', '"udp"']
BYTES = [0, 7, 9, 10, 13, 34, 35, 40, 41, 44, 58, 59, 61, 64, 91, 92, 93, 123, 125, 127, 128, 255]
STRUCTURES = ["{", "}", "(", ")", "[", "]", ";", '"', "#", "/*", "*/", "@include \"sockd.conf\"\n", "@include \".\"\n",
              "(" * 5000, "services: { };", "services = 5;", "x: { };", "\0"]
# What `--check` cannot know.
AT_RUN_TIME = re.compile("cannot listen on|cannot look up|helper|cannot set|cannot build|no such group|worker")


class Mutator:
    """One change, or a few, of a text, by chance."""

    def __init__(self, rng, keys):
        self.rng, self.keys = rng, keys

    def mutate(self, text):
        for _ in range(self.rng.choice([1, 1, 1, 2, 5])):
            kind = self.rng.choice(["byte", "line", "key", "value", "type", "structure"])
            text = getattr(self, kind)(text)
        return kind, text

    def byte(self, text):
        at, what = self.rng.randrange(len(text) + 1), self.rng.randrange(3)
        byte = chr(self.rng.choice(BYTES + [self.rng.randrange(256)]))
        return text[:at] + (byte if what < 2 else "") + text[at + (what > 0):]

    def line(self, text):
        lines = text.splitlines(True) or [""]
        a, b = self.rng.randrange(len(lines)), self.rng.randrange(len(lines))
        what = self.rng.randrange(4)
        if what == 0:
            del lines[a]
        elif what == 1:
            lines.insert(b, lines[a])
        elif what == 2:
            lines[a], lines[b] = lines[b], lines[a]
        else:
            del lines[a:]
        return "".join(lines)

    def replace_one(self, pattern, new, text):
        found = list(re.finditer(pattern, text))
        if not found:
            return text
        one = self.rng.choice(found)
        return text[:one.start()] + new(one[0]) + text[one.end():]

    def key(self, text):
        def new(old):
            at = self.rng.randrange(len(old))
            return self.rng.choice([self.rng.choice(self.keys), old[:at] + old[at + 1:], old + "s", old.upper()])
        return self.replace_one(r"\b[a-z_]+(?= *[=:])", new, text)

    def value(self, text):
        return self.replace_one(r"(?<== )[^;\n]+(?=;)", lambda old: self.rng.choice(VALUES), text)

    def type(self, text):
        def new(old):
            return self.rng.choice([old.strip('"'), '"%s"' % old, "[ %s ]" % old, "( %s )" % old, "{ a = %s; }" % old])
        return self.replace_one(r"(?<== )[^;\n]+(?=;)", new, text)

    def structure(self, text):
        what = self.rng.choice(STRUCTURES)
        if self.rng.random() < 0.5:
            at = self.rng.randrange(len(text) + 1)
            return text[:at] + what + text[at:]
        return self.replace_one(r"[{}()\[\];]", lambda old: what, text)


class MutationSoak(Soak):
    expected_log = None  # whatever a configuration brings about

    def __init__(self, args):
        super().__init__(args)
        self.outcomes, self.done = collections.Counter(), 0

    def conf(self):
        number = next_number()
        self.port = 2048 + number * 16 % 28000
        self.host = "127.201.%d.%d" % (number // 250 % 250, 1 + number % 250)
        names = dict({"port%d" % n: self.port + n for n in range(1, 5)}, host=self.host, dir=self.dir)
        os.mkdir(os.path.join(self.dir, "sockd.d"))
        self.good = GOOD % names
        self.write("sockd.d/anchor.conf", 'host = "%s"; port = %d; handler = "echo";\n' % (self.host, self.port))
        self.write("sockd.conf", self.good)
        shown = self.sockd("--show-config").stdout
        self.write("sockd.d/anchor.conf", self.anchor_of(shown) + "\n")
        self.keys = sorted(set(re.findall(r"^ *([a-z_]+) =", shown, re.MULTILINE)))
        return self.good

    @staticmethod
    def anchor_of(shown):
        """Each of its keys with its value."""
        body = re.search(r"^    anchor:\n    \{\n(.*?)^    \};", shown, re.MULTILINE | re.DOTALL)[1]
        return re.sub(r" *#.*", "", body)

    def sockd(self, option):
        return subprocess.run([self.args.build + "/sockd", "-f", "sockd.conf", option], cwd=self.dir,
                              capture_output=True, text=True, errors="backslashreplace", timeout=PATIENCE)

    # The service that must not notice.

    async def converse(self, reader, writer):
        self.asked += 1
        text = b"line %d\n" % self.asked
        writer.write(text)
        got = await asyncio.wait_for(reader.readline(), PATIENCE)
        if got != text:
            self.wrong.append("%s: %r for %r" % (self.what, got, text))

    async def open(self):
        return await asyncio.open_connection(self.host, self.port)

    async def come_and_go(self):
        while not self.over:
            reader, writer = await self.open()
            await self.converse(reader, writer)
            writer.close()
            self.outcomes["connections"] += 1

    # The mutations.

    def is_tame(self, shown):
        """Within what is tested here: the anchor is what it was, few processes, and nothing that ends connections."""
        def number(key):
            return [int(n) for n in re.findall(r"^ *%s = (\d+);" % key, shown, re.MULTILINE)]
        return (self.anchor_of(shown) == self.anchor and max(number("helpers") + number("workers")) <= 8
                and number("reload_drain_timeout") == [0] and not re.search(r'max_memory = "?\d+k?"?;', shown))

    async def check_one(self, text):
        """Installs TEXT and reloads; returns what came of it, None: it was not tried."""
        with open(os.path.join(self.dir, "new.conf"), "w", encoding="latin-1") as f:
            f.write(text)
        os.rename(os.path.join(self.dir, "new.conf"), os.path.join(self.dir, "sockd.conf"))
        check = self.sockd("--check")
        if check.returncode not in (0, 78):
            self.wrong.append("%s: --check: %d %s" % (self.what, check.returncode, check.stderr))
        if check.returncode == 0 and not self.is_tame(self.sockd("--show-config").stdout):
            return None
        code, answer = await asyncio.wait_for(self.ask("reload"), PATIENCE)
        status = json.loads((await self.ask("status", "--json"))[1])
        if status["last_reload"]["ok"] != (code == 0):
            self.wrong.append("%s: last_reload is %s" % (self.what, status["last_reload"]))
        if code == 0:
            self.generation = int(re.match(r"generation (\d+): ", answer)[1])
        elif code != 1 or "generation %d goes on serving" % self.generation not in answer:
            self.wrong.append("%s: reload: %d %s" % (self.what, code, answer))
        if status["generation"] != self.generation:
            self.wrong.append("%s: generation %d serves" % (self.what, status["generation"]))
        return self.judge(check, code, answer)

    def judge(self, check, code, answer):
        said = [line.removeprefix("sockd: ") for line in check.stderr.splitlines()]
        errors = {line for line in said if re.match(r"\S+:\d+: ", line)}
        if check.returncode == 0 and code == 0:
            return "valid"
        if check.returncode == 0 and AT_RUN_TIME.search(answer):
            return "failed at run time"
        if check.returncode == 78 and code == 1 and errors and errors <= set(answer.splitlines()):
            return "invalid"
        self.wrong.append("%s: --check says %d, %s; reload says %d, %s" % (self.what, check.returncode, check.stderr, code,
                                                                          answer))
        return "wrong"

    async def mutate(self):
        mutator = Mutator(self.random, self.keys)
        until = time.monotonic() + self.args.seconds
        while self.done < self.args.mutations and time.monotonic() < until and not self.wrong:
            kind, text = mutator.mutate(self.good)
            self.what = "mutation %d (%s)" % (self.done, kind)
            outcome = await self.check_one(text)
            self.outcomes[outcome or "not tried"] += 1
            self.done += outcome is not None
            await self.converse(*self.lasting)

    async def soak(self):
        self.anchor = self.anchor_of(self.sockd("--show-config").stdout)
        self.what, self.asked, self.generation, self.over = "at first", 0, 1, False
        self.lasting = await self.open()
        load = [asyncio.create_task(self.come_and_go()) for _ in range(2)]
        try:
            await self.mutate()
        finally:
            self.over = True
        for result in await asyncio.gather(*load, return_exceptions=True):
            if result:
                self.wrong.append("a new connection: %r" % result)
        self.lasting[1].close()

    def reached(self):
        return {"mutations": self.done}

    def figures(self):
        return counts(self.outcomes)


if __name__ == "__main__":
    main(MutationSoak, __doc__, mutations=1000)
