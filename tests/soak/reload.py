#!/usr/bin/env python3
"""Reloads that change the configuration, under load and beside connections that last: nobody is cut. Rows B1, B4, B6.

  reload.py BUILD [--connections N] [--reloads N] [--seconds S] [--rate R] [--seed N]

Short connections come from tests/soak/clients.c, at R per second or what the machine gives. Beside them last: idle ones,
ones in a request, ones with half a message sent, half-closed ones, programs in conversation; and datagrams are sent. Each
reload changes something: a service comes or goes, a timeout, a backlog, the number of helpers or workers, a helper's
command, the level of the log; some are bad and must change nothing. It ends when both numbers are reached, or after S
seconds. Exit status 1: a connection was refused, reset, truncated, or got what was not its own; more than four
generations lived; the master grew; something was left at the end; a number was not reached.
"""
import asyncio
import collections
import json
import os
import re
import socket
import subprocess
import sys
import time

from soak import Soak, counts, main
from sockdtest import SLOW, children, command_line, count_fds, next_number

PATIENCE = 30 * SLOW
GENERATIONS_MAX = 4
SETTLED = 10  # reloads until the master is as large as it gets
LOAD = ["echo", "echo", "strings", "plain", "json"]
REPLY = "import os, sys, time\nfor line in sys.stdin.buffer:\n    %sos.write(1, line)\n"
HELPERS = {
    "plain.py": REPLY % "",
    # "slow MS TAG"
    "slow.py": REPLY % "time.sleep(int(line.split()[1]) / 1000)\n    ",
    "json.py": """import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "request" in message:
        print(json.dumps({"id": message["id"], "reply": message["request"]}), flush=True)
""",
    "broken.py": "import sys\nsys.exit('no model')\n",
}
NETSTRING = {"strings"}
COMING = ["echo", "strings", "plain"]  # what a service that comes is like


def command(name, version=0):
    return '[ "%s", "-IS", "%s", "%d" ]' % (sys.executable, name, version)


def helper(name, helpers, **more):
    return dict(handler='"helper"', command=command(name), helpers=helpers, **more)


class Model:
    """The configuration as it is wished for, and what can be changed in it."""

    def __init__(self, address, port, directory):
        self.dir, self.port = directory, port
        self.top = {"directory": '"%s"' % directory, "workers": 2, "log_level": '"info"', "request_timeout": '"10m"'}
        stream = {"transport": '[ "tcp", "unix" ]'}
        self.services = {
            "echo": dict(handler='"echo"', path='"%s/echo.sock"' % directory, **stream),
            "strings": dict(handler='"echo"', framing='"netstring"'),
            "plain": helper("plain.py", 2),
            "json": helper("json.py", 1, helper_protocol='"json"'),
            "slow": helper("slow.py", 6, helper_pipeline=1),
            "close": dict(handler='"echo"', framing='"close"'),
            "cat": dict(handler='"program"', command='"cat"'),
            "udp": dict(handler='"echo"', transport='"udp"'),
        }
        self.ports = {name: port + n for n, name in enumerate(self.services)}
        self.address = address
        for name, service in self.services.items():
            service.update(host='"%s"' % address, port=self.ports[name])

    def text(self, top="", service=""):
        lines = ["%s = %s;" % item for item in self.top.items()] + [top, "services:", "{"]
        for name, keys in self.services.items():
            lines.append("  %s: { %s };" % (name, " ".join("%s = %s;" % item for item in keys.items())))
        return "\n".join(lines + [service, "};"]) + "\n"

    def coming(self):
        return [name for name in self.services if name.startswith("come")]

    def come(self, rng, number):
        """A new service; returns its name."""
        name, like = "come%d" % number, rng.choice(COMING)
        port = next(p for p in range(self.port + 9, self.port + 14) if p not in self.ports.values())
        self.services[name] = dict(self.services[like], port=port, transport='"tcp"')
        self.services[name].pop("path", None)
        self.ports[name] = port
        return name

    def go(self, name):
        del self.services[name], self.ports[name]

    def change(self, rng):
        """Changes something; returns the word for it."""
        what = rng.choice(["timeout", "backlog", "helpers", "workers", "command", "log_level", "max_request"])
        any_one = self.services[rng.choice(["echo", "strings", "plain", "json", "close"])]
        if what == "timeout":
            any_one["idle_timeout"] = '"%dm"' % rng.randrange(10, 100)
            self.services["slow"]["handler_timeout"] = '"%ds"' % rng.randrange(30, 100)
        elif what == "backlog":
            self.services[rng.choice(["echo", "strings"])]["backlog"] = rng.randrange(1024, 9000)
        elif what == "helpers":
            self.services[rng.choice(["plain", "json"])]["helpers"] = rng.randrange(0, 5)
        elif what == "workers":
            self.top["workers"] = rng.randrange(1, 4)
        elif what == "command":
            name = rng.choice(["plain", "json"])
            self.services[name]["command"] = command(name + ".py", rng.randrange(1000))
        elif what == "log_level":
            self.top["log_level"] = '"%s"' % rng.choice(["debug", "info", "notice"])
        else:
            any_one["max_request"] = '"%dk"' % rng.randrange(64, 1000)
        return what

    def bad(self, rng, taken):
        """A configuration that must fail, its name, and what must be said."""
        where = r"sockd.conf:\d+: "
        return rng.choice([
            ("syntax", self.text(top="workers = ;"), where),
            ("key", self.text(top="wokers = 2;"), where + '.*"?wokers'),
            ("value", self.text(service='  bad: { port = 99999; handler = "echo"; };'), where + r"services\.bad\.port"),
            ("taken", self.text(service='  bad: { host = "%s"; port = %d; handler = "echo"; };' % taken),
             "bad: cannot listen on .*in use"),
            ("helper", self.text(service='  bad: { host = "%s"; port = %d; handler = "helper"; command = %s; '
                                         'helper_probe = "you"; };'
                                 % (self.address, self.port + 15, command("broken.py"))), "bad: .*(no model|status 1)"),
            ("command", self.text(service='  bad: { port = %d; handler = "helper"; command = "/no/such"; };'
                                  % (self.port + 15)), where + r"services\.bad\.command"),
        ])


class Talk:
    """One connection, its words, and what comes back."""

    def __init__(self, soak, kind, name):
        self.soak, self.kind, self.name = soak, kind, name
        self.asked, self.began = 0, time.monotonic()

    async def open(self):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.bind(("127.78.1.%d" % (1 + self.soak.random.randrange(250)), 0))
        await asyncio.get_running_loop().sock_connect(self.sock, (self.soak.model.address, self.soak.model.ports[self.name]))
        self.reader, self.writer = await asyncio.open_connection(sock=self.sock)
        return self

    def text(self, word="x"):
        """A message that nobody else sends, with its framing."""
        self.asked += 1
        text = "%s %s-%s-%d.%d" % (word, self.kind, self.name, id(self), self.asked)
        if self.name in NETSTRING:
            return b"%d:%s," % (len(text), text.encode())
        return text.encode() + b"\n"

    def send(self, data):
        self.writer.write(data)

    async def get(self, right):
        try:
            got = await asyncio.wait_for(self.reader.readexactly(len(right)), PATIENCE)
        except asyncio.IncompleteReadError as e:
            raise Cut("%s of %s: truncated, %r of %r" % (self.kind, self.name, e.partial, right))
        except asyncio.TimeoutError:
            raise Cut("%s of %s: waits for ever for %r" % (self.kind, self.name, right))
        except ConnectionError as e:
            raise Cut("%s of %s: %r for %r" % (self.kind, self.name, e, right))
        if got != right:
            raise Cut("%s of %s: %r for %r" % (self.kind, self.name, got, right))
        self.soak.done[self.kind] += 1

    async def ask(self, word="x"):
        text = self.text(word)
        self.send(text)
        await self.get(text)

    async def get_end(self):
        """The other side's, after ours."""
        if rest := await asyncio.wait_for(self.reader.read(), PATIENCE):
            raise Cut("%s of %s: %r behind the last reply" % (self.kind, self.name, rest))

    def close(self):
        self.writer.close()


class Cut(Exception):
    pass


class ReloadSoak(Soak):
    def __init__(self, args):
        super().__init__(args)
        self.done, self.changes = collections.Counter(), collections.Counter()
        self.reloads = self.most_generations = self.most_fds = self.number = 0
        self.over = False
        self.times, self.served = [], collections.Counter()
        # A bad reload says so; what broken.py wrote stands in the log. Helpers are busy all the time where the machine is
        # slower than the load.
        self.expected_log = [re.compile(p) for p in (
            "reload failed", r"sockd.conf:\d+", "bad: ", "service bad", "cannot listen on", "no model",
            "reload waits: ", r"(all (\d+ )?helpers|the helper)( of a worker)?( is)? busy")]

    def conf(self):
        number = next_number()
        for name, text in HELPERS.items():
            self.write(name, text)
        address = "127.200.%d.%d" % (number // 250 % 250, 1 + number % 250)
        self.taken = socket.create_server((address, 2048 + number * 16 % 28000 + 14))
        self.model = Model(address, 2048 + number * 16 % 28000, self.dir)
        self.first = self.model.text()
        return self.first

    # Those who last.

    async def next_reloads(self, n):
        """Waits until N more reloads are done, or all is over."""
        until = self.reloads + n
        while self.reloads < until and not self.over:
            await self.ticked.wait()

    async def idle(self, name, rests):
        """Says something now and then; with RESTS only at the beginning and at the end."""
        talk = await Talk(self, "idle", name).open()
        await talk.ask()
        while not self.over:
            await self.next_reloads(1000000 if rests else self.random.randrange(1, 12))
            await talk.ask()
        talk.close()

    async def half(self, name):
        """Half a message, some reloads, the other half."""
        talk = await Talk(self, "half", name).open()
        while not self.over:
            text = talk.text()
            cut = self.random.randrange(1, len(text))
            talk.send(text[:cut])
            await self.next_reloads(self.random.randrange(1, 4))
            talk.send(text[cut:])
            await talk.get(text)
        talk.close()

    async def asking(self):
        """Always in a request, which takes as long as some reloads."""
        talk = await Talk(self, "asking", "slow").open()
        while not self.over:
            await talk.ask("slow %d" % self.random.randrange(1, 1500))
        talk.close()

    async def half_closed(self, name):
        """Some requests, and the end of our side; the replies come over reloads."""
        while not self.over:
            talk = await Talk(self, "half-closed", name).open()
            texts = [talk.text("slow %d" % self.random.randrange(1, 500)) for _ in range(3)]
            if name == "close":
                talk.send(texts[0])
                await self.next_reloads(1)
                talk.send(b"".join(texts[1:]))
            else:
                talk.send(b"".join(texts))
            talk.writer.write_eof()
            await talk.get(b"".join(texts))
            await talk.get_end()
            talk.close()

    async def program(self, turns):
        """A conversation with a program of TURNS turns; 0: as long as all lasts."""
        while not self.over:
            talk = await Talk(self, "program", "cat").open()
            n = 0
            while not self.over and (turns == 0 or n < turns):
                await talk.ask()
                n += 1
                if turns == 0:
                    await self.next_reloads(self.random.randrange(1, 4))
            talk.writer.write_eof()
            await talk.get_end()
            talk.close()
            if turns:
                await self.next_reloads(1)

    async def datagrams(self):
        """One after the other; the network here loses none."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((self.model.address, self.model.ports["udp"]))
            n = 0
            while not self.over:
                n += 1
                text = b"datagram %d" % n
                await loop.sock_sendall(sock, text)
                try:
                    got = await asyncio.wait_for(loop.sock_recv(sock, 1000), PATIENCE)
                except asyncio.TimeoutError:
                    raise Cut("no answer to %r" % text)
                if got != text:
                    raise Cut("datagram %r for %r" % (got, text))
                self.done["datagram"] += 1
                await asyncio.sleep(0.005)

    async def held(self, task):
        """Whatever ends TASK early is told."""
        try:
            await task
        except (Cut, OSError, asyncio.TimeoutError) as e:
            self.wrong.append("%s after %d reloads: %r" % (task.__name__, self.reloads, e))

    # The load.

    async def tell_clients(self, words):
        self.clients.stdin.write(words.encode() + b"\n")
        await self.clients.stdin.drain()
        line = await asyncio.wait_for(self.answers.get(), PATIENCE)
        self.connections = int(line.split()[1])

    async def read_clients(self):
        while line := (await self.clients.stdout.readline()).decode(errors="backslashreplace").rstrip():
            if line.startswith("failure"):
                self.wrong.append("after %d reloads, %s" % (self.reloads, line))
            elif line.startswith("connections="):
                self.load = dict(word.split("=") for word in line.split())
            else:
                await self.answers.put(line)

    async def start_clients(self):
        self.answers, self.load = asyncio.Queue(), {}
        self.clients = await asyncio.create_subprocess_exec(
            self.args.build + "/tests/soak/clients", "-r", str(self.args.rate), "-s", str(self.args.seed),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        reader = asyncio.create_task(self.read_clients())
        for name in LOAD:
            await self.load_on(name)
        await self.tell_clients("+ line %s/echo.sock" % self.dir)
        return reader

    def target(self, name):
        return "%s:%d" % (self.model.address, self.model.ports[name])

    async def load_on(self, name):
        framing = "netstring" if "netstring" in self.model.services[name].get("framing", "") else "line"
        await self.tell_clients("+ %s %s" % (framing, self.target(name)))

    # The reloads.

    async def status(self):
        return json.loads((await self.ask("status", "--json"))[1])

    async def check_status(self, number, ok):
        status = await self.status()
        self.most_generations = max(self.most_generations, len(status["generations"]))
        if (status["generation"], status["last_reload"]["ok"]) != (number, ok):
            self.wrong.append("after %d reloads: generation %d instead of %d, last reload %s"
                              % (self.reloads, status["generation"], number, status["last_reload"]))
        for name in ("echo", "strings", "slow"):
            if (n := status["services"][name]["accepted"]) < self.served[name]:
                self.wrong.append("%s: accepted went back from %d to %d" % (name, self.served[name], n))
            self.served[name] = status["services"][name]["accepted"]

    async def reload(self):
        began = time.monotonic()
        result = await self.ask("reload")
        self.times.append(time.monotonic() - began)
        return result

    async def good_reload(self):
        came = went = None
        coming = self.model.coming()
        self.number += 1
        if self.random.random() < 0.5 and len(coming) < 4:
            came = self.model.come(self.random, self.number)
        elif coming and self.random.random() < 0.7:
            went = self.random.choice(coming)
            await self.tell_clients("- " + self.target(went))
            self.model.go(went)
        what = ["come"] * bool(came) + ["go"] * bool(went) + [
            self.model.change(self.random) for _ in range(self.random.randrange(0 if came or went else 1, 3))]
        self.changes.update(what)
        self.write("sockd.conf", self.model.text())
        code, text = await self.reload()
        if code != 0:
            self.wrong.append("reload %d (%s): %s" % (self.reloads, ", ".join(what), text))
            return
        self.generation = int(re.match(r"generation (\d+): ", text)[1])
        await self.check_status(self.generation, True)
        if came:
            await self.load_on(came)

    async def bad_reload(self):
        what, text, why = self.model.bad(self.random, self.taken.getsockname())
        self.changes["bad " + what] += 1
        self.write("sockd.conf", text)
        code, text = await self.reload()
        if code != 1 or not re.search(why, text) or "generation %d goes on serving" % self.generation not in text:
            self.wrong.append("reload %d, bad %s: %d %s" % (self.reloads, what, code, text))
        await self.check_status(self.generation, False)

    def is_done(self):
        enough = self.reloads >= self.args.reloads and self.connections >= self.args.connections
        return enough or time.monotonic() > self.until or self.wrong

    async def reload_on_and_on(self):
        while not self.is_done():
            if self.random.random() < 0.125:
                await self.bad_reload()
            else:
                await self.good_reload()
            await self.tell_clients("?")
            self.reloads += 1
            self.ticked.set()
            self.ticked = asyncio.Event()
            self.most_fds = max(self.most_fds, count_fds(self.daemon.pid))
            if self.reloads == SETTLED:
                self.before_kb = self.memory()

    def memory(self):
        """Of the master, its own, in kB."""
        with open("/proc/%d/status" % self.daemon.pid) as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1])

    async def wait_for_one_generation(self):
        until = time.monotonic() + PATIENCE
        while len((status := await self.status())["generations"]) > 1:
            if time.monotonic() > until:
                self.wrong.append("generations are left: %s" % status["generations"])
                return
            await asyncio.sleep(0.05)

    async def soak(self):
        self.ticked, self.generation = asyncio.Event(), 1
        self.before_fds, self.before_kb = count_fds(self.daemon.pid), self.memory()
        self.began, self.until = time.monotonic(), time.monotonic() + self.args.seconds
        lasting = [self.program(0) for _ in range(4)] + [self.program(5) for _ in range(2)] + [self.asking() for _ in range(4)]
        for name in ("echo", "strings", "plain", "json"):
            lasting += [self.idle(name, rests) for rests in (True, True, False, False, False)]
            lasting += [self.half(name) for _ in range(3)]
        lasting += [self.half_closed(name) for name in ("slow", "slow", "close", "close", "strings")] + [self.datagrams()]
        # Before the first reload, so that programs of the first generation last to the end.
        lasting = [asyncio.create_task(self.held(task)) for task in lasting]
        reader = await self.start_clients()
        await self.reload_on_and_on()
        self.seconds = time.monotonic() - self.began
        self.over = True
        self.ticked.set()
        self.clients.stdin.close()
        await asyncio.gather(reader, *lasting)
        await self.clients.wait()
        await self.check_drained()

    async def check_drained(self):
        """All that is gone, and under the first configuration the master is what it was at first."""
        self.write("sockd.conf", self.first)
        code, text = await self.reload()
        if code != 0:
            self.wrong.append("last reload: " + text)
        await self.wait_for_one_generation()
        for name, service in (await self.status())["services"].items():
            if service["connections"]:
                self.wrong.append("%s: %d connections are left" % (name, service["connections"]))
        self.after_fds, self.after_kb = count_fds(self.daemon.pid), self.memory()
        if self.after_fds != self.before_fds:
            self.wrong.append("the master had %d descriptors, and has %d" % (self.before_fds, self.after_fds))
        # AddressSanitizer keeps what was freed.
        settled = self.reloads >= SETTLED and "asan" not in self.args.build
        if settled and self.after_kb > self.before_kb * 1.2 + 500:
            self.wrong.append("the master had %d kB, and has %d" % (self.before_kb, self.after_kb))

    def check_end(self):
        if self.most_generations > GENERATIONS_MAX:
            self.wrong.append("%d generations lived" % self.most_generations)
        left = [command_line(pid) for pid in children(os.getpid()) if pid != self.daemon.pid]
        if left := [line for line in left if line]:
            self.wrong.append("left over: " + ", ".join(left))

    def reached(self):
        return {"connections": self.connections, "reloads": self.reloads}

    def figures(self):
        times = sorted(self.times) or [0]
        rate = self.connections / self.seconds
        return ("%d connections (%.0f a second, %s messages) over %d reloads in %.0f s; a reload took %.2f s, at most %.2f; "
                "at most %d generations; master %d descriptors, at most %d, in the end %d; %d kB, in the end %d; "
                "lasting: %s; changes: %s" % (
                    self.connections, rate, self.load.get("messages"), self.reloads, self.seconds, times[len(times) // 2],
                    times[-1], self.most_generations, self.before_fds, self.most_fds, self.after_fds,
                    self.before_kb, self.after_kb, counts(self.done), counts(self.changes)))


if __name__ == "__main__":
    main(ReloadSoak, __doc__, connections=200000, reloads=100, rate=5000.0)
