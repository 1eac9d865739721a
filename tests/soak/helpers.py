#!/usr/bin/env python3
"""Tagged requests to helpers that are killed, stopped, slow, mute, and that babble: no reply at the wrong client, no hang.

  helpers.py BUILD [--requests N] [--seconds S] [--seed N] [--clients N]

A client sends a line with a tag of its own, and takes nothing but that line in upper case, the apology of sockd, or the
end of its connection. The seed decides what every client asks for and what is done to the processes, and is printed; the
machine decides the order. It ends after N requests or S seconds, whichever comes first. Exit status 1: a wrong reply, a
client that waited longer than every timeout of the service together, or fewer requests.

What a helper is asked to do wrong is what the plain protocol can recognise: replies that are late, unfinished, without
end, over max_reply; and, where it has one request in hand, bytes behind the reply. (A helper that has several in hand
could only be taken at its word: such bytes would belong to the next reply. sockd-helper(7) says so.)
"""
import asyncio
import collections
import contextlib
import os
import random
import re
import signal
import sys
import time

from soak import Soak, counts, main
from sockdtest import SANITIZER, SLOW, command_line, descendants, next_number

HELPER = """
import json, os, sys, time
for line in sys.stdin if sys.argv[1:] == ["json"] else []:
    message = json.loads(line)
    what, _, tag = message.get("request", "").partition(" ")
    if what == "slow":
        time.sleep(0.02)
    elif what in ("exit", "half", "last"):
        os._exit(1)
    if "id" in message and what != "mute":
        answer = json.dumps({"id": message["id"], "reply": message["request"].upper()})
        os.write(1, answer.encode() + b"\\n")
for line in sys.stdin.buffer:
    what, tag = line.split()
    good = line.upper()
    if what == b"late":
        time.sleep(0.7)
    elif what == b"slow":
        time.sleep(0.02)
    elif what == b"mute":
        time.sleep(1000)
    elif what == b"exit":
        os._exit(1)
    elif what == b"half":
        os.write(1, good[:-3])
        os._exit(0)
    elif what == b"last":
        os.write(1, good)
        os._exit(0)
    elif what == b"much":
        os.write(1, b"x" * 5000)
    elif what == b"endless":
        with open(os.devnull):
            while True:
                os.write(1, b"y" * 65536)
    elif what == b"more":
        good += b"AND MORE\\n"
    elif what == b"babble":
        good += b"no line"
    elif what == b"deaf":
        os.close(0)
        time.sleep(0.05)
        os.write(1, good)
        time.sleep(1000)
    os.write(1, good)
"""

# What a client asks for, and how often in a million.
ASKED = [("plain", 985000), ("slow", 6000), ("last", 3000), ("late", 1000), ("exit", 1500), ("half", 1500), ("much", 700),
         ("mute", 150), ("endless", 150), ("deaf", 300)]
BABBLE = [("more", 700), ("babble", 700)]  # only where one request is in hand

CONF = """workers = 2; host = "127.0.0.1"; handler = "helper"; command = [ "%(python)s", "-IS", "%(dir)s/helper.py" ];
error_reply = "sorry"; handler_timeout = "%(timeout)dms"; queue_timeout = "%(queue)dms"; max_reply = 1000;
services:
{
  deep: { port = %(deep)d; helpers = 4; };
  single: { port = %(single)d; helpers = 4; helper_pipeline = 1; helper_max_requests = 500; };
  strings: { port = %(strings)d; framing = "netstring"; helper_framing = "line"; helpers = 3; helper_pipeline = 8; };
  objects: { port = %(objects)d; helpers = 1; helper_max_requests = 200; helper_protocol = "json";
    command = [ "%(python)s", "-IS", "%(dir)s/helper.py", "json" ]; };
};
"""
HANDLER_MS, QUEUE_MS = 500, 3000
WORKER_ENDED = re.compile(r" worker \d+ (?!.*helper).*was ended")


class HelperSoak(Soak):
    def __init__(self, args):
        super().__init__(args)
        self.left = args.requests
        self.outcomes = collections.Counter()
        self.done = collections.Counter()
        # All timeouts together, and what a machine may be late; no request takes longer.
        self.patience = (HANDLER_MS + QUEUE_MS) / 1000 * SLOW + 20
        first = 2048 + next_number() * 16 % 28000
        self.ports = {"deep": first, "single": first + 1, "strings": first + 2, "objects": first + 3}

    def conf(self):
        self.write("helper.py", HELPER)
        return CONF % dict(self.ports, python=sys.executable, dir=self.dir, timeout=HANDLER_MS * SLOW,
                           queue=QUEUE_MS * SLOW)

    def unexpected_log(self):
        # Helpers may die as they like; a worker may not.
        return [line for line in self.daemon.log if SANITIZER.search(line) or WORKER_ENDED.search(line)]

    # The clients.

    def chosen(self, rng, service):
        asked = ASKED + BABBLE if service == "single" else ASKED
        return rng.choices([word for word, _ in asked], [often for _, often in asked])[0]

    def request(self, service, what, tag):
        """The bytes to send, and the bytes that are the right reply."""
        line = "%s %s" % (what, tag)
        if service == "strings":
            return ("%d:%s," % (len(line), line)).encode(), line.upper().encode()
        return (line + "\n").encode(), line.upper().encode()

    @staticmethod
    async def reply(service, reader):
        """One message without its framing; None at the end of the connection."""
        try:
            if service != "strings":
                line = await reader.readuntil(b"\n")
                return line[:-1]
            length = int((await reader.readuntil(b":"))[:-1])
            return (await reader.readexactly(length + 1))[:-1]
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def converse(self, service, rng, number):
        """One connection with some requests, a few of them pipelined; a client may leave in the middle."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[service])
        try:
            for _ in range(rng.randrange(1, 60)):
                batch = [self.request(service, self.chosen(rng, service), "t%dx%d" % (number, rng.getrandbits(40)))
                         for _ in range(rng.choice([1, 1, 1, 1, 4, 16]))]
                self.left -= len(batch)
                writer.write(b"".join(sent for sent, _ in batch))
                if rng.random() < 0.005:
                    self.outcomes["left"] += len(batch)
                    return
                for i, (sent, right) in enumerate(batch):
                    got = await asyncio.wait_for(self.reply(service, reader), self.patience * len(batch))
                    if not self.judge(service, sent, right, got):
                        self.outcomes["ended"] += len(batch) - i - 1
                        return
                if self.over():
                    return
        except asyncio.TimeoutError:
            self.wrong.append("%s: a client of request %r waits for ever" % (service, sent))
        except ConnectionError:
            self.outcomes["reset"] += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def judge(self, service, sent, right, got):
        """True when the connection goes on."""
        if got == right:
            self.outcomes["answered"] += 1
        elif got == b"sorry":
            self.outcomes["sorry"] += 1
        elif got is None:
            self.outcomes["ended"] += 1
        else:
            self.wrong.append("%s: %r got %r" % (service, sent, got))
        if sum(self.outcomes.values()) >= self.mark:
            self.marked.set()
        return got is not None

    def over(self):
        return self.left <= 0 or time.monotonic() > self.until or self.wrong

    async def client(self, number):
        rng = random.Random("%d client %d" % (self.args.seed, number))
        while not self.over():
            await self.converse(rng.choice(list(self.ports)), rng, number)

    # What is done to the processes.

    def helpers(self):
        return [pid for pid in descendants(self.daemon.pid) if self.dir + "/helper.py" in command_line(pid)]

    def harm(self):
        pids = self.helpers()
        if not pids:
            return
        pid, what = self.random.choice(pids), self.random.choices(["kill", "stop", "term", "burst"], [5, 3, 2, 1])[0]
        self.done[what] += 1
        with contextlib.suppress(ProcessLookupError):
            if what == "kill":
                os.kill(pid, signal.SIGKILL)
            elif what == "term":
                os.kill(pid, signal.SIGTERM)
            elif what == "stop":
                os.kill(pid, signal.SIGSTOP)
            elif what == "burst":
                for each in pids:
                    os.kill(each, signal.SIGKILL)

    async def steer(self, *words):
        self.done[words[0]] += 1
        await self.ask(*words)

    async def villain(self):
        """Does something whenever so many more requests are over."""
        while True:
            self.mark = sum(self.outcomes.values()) + self.random.randrange(100, 3000)
            self.marked.clear()
            await self.marked.wait()
            self.harm()
            if self.random.random() < 0.05:
                await self.steer("restart", self.random.choice(list(self.ports)))
            if self.random.random() < 0.02:
                await self.steer("reload")

    async def soak(self):
        self.until = time.monotonic() + self.args.seconds
        self.marked, self.mark = asyncio.Event(), 0
        villain = asyncio.create_task(self.villain())
        # Each client ends with its connection, or after its patience.
        await asyncio.gather(*(self.client(n) for n in range(self.args.clients)))
        villain.cancel()
        if self.outcomes and not self.outcomes["answered"]:
            self.wrong.append("nothing was answered")

    def reached(self):
        return {"requests": self.args.requests - self.left}

    def figures(self):
        return "%d requests: %s; %s" % (sum(self.outcomes.values()), counts(self.outcomes), counts(self.done))


if __name__ == "__main__":
    main(HelperSoak, __doc__, requests=1000000, clients=48)
