#!/usr/bin/env python3
"""What programs and helpers are given, looked at 10,000 times while all around them is killed and reloaded (row G8).

  programs.py BUILD [--samples N] [--seconds S] [--seed N] [--clients N]

sockd starts in as dirty a world as can be made: strange variables, descriptors, signals ignored, blocked and pending, a
terminal, another umask and directory, few descriptors, and (as root) an ambient capability and a low oom_score_adj. Each
client connects to a service of its choice, whose program or helper is tests/soak/probe.c, and holds all that this says
against what the service was promised. Meanwhile workers and spawners are killed, and reloads change the environment. A
helper answers one request, so that the next is answered by a new process.

It ends after N samples or S seconds, whichever comes first. Exit status 1: a sample that is not exactly as it should be,
a client that nobody answers, too many that were cut, or fewer samples.
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
from sockdtest import SLOW, next_number, process_name

# Becomes the daemon, in a world that nobody should inherit.
DIRT = """
import ctypes, fcntl, os, resource, signal, sys, termios
libc = ctypes.CDLL(None)
for n in range(7):
    os.set_inheritable(os.open("/dev/zero", os.O_RDONLY), True)
ours, terminal = os.openpty()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for fd in ours, terminal:
    os.set_inheritable(fd, True)
for n in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGWINCH, signal.SIGQUIT, 32, 33, 40):
    if n in (32, 33):
        libc.syscall(13, n, (ctypes.c_ulong * 4)(1, 0, 0, 0), None, 8)  # rt_sigaction: libc hides these two
    else:
        signal.signal(n, signal.SIG_IGN)
blocked = {signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, 41, 42}
signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
os.kill(os.getpid(), signal.SIGALRM)
os.kill(os.getpid(), 41)
os.umask(0o077)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
if os.geteuid() == 0:
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    data[2] |= 1 << 10
    libc.capset(header, data)
    libc.prctl(47, 2, 10, 0, 0)  # PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE
    try:
        with open("/proc/self/oom_score_adj", "w") as f:
            f.write("-500")
    except PermissionError:
        pass  # a container may keep even root from it
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
SOFT = 300
ENV = {"LANG": "C.UTF-8", "TZ": "UTC", "LC_TIME": "C", "PASSED": "p q", "SECRET": "1", "WATCHDOG_USEC": "600000000",
       "JOURNAL_STREAM": "8:1234", "INVOCATION_ID": "x", "IFS": "/", "TCPREMOTEIP": "192.0.2.1",
       "SOCKD_SERVICE": "no"}

CONF = """workers = 2; error_reply = "sorry";
services:
{
  tcp: { host = "127.0.0.1"; port = %(port)d; handler = "program"; command = "%(probe)s"; directory = "%(dir)s/sub";
         environment = [ "GEN=%(gen)d", "OWN=a b", "PASSED", "NOT_THERE" ]; };
  unix: { transport = "unix"; path = "%(dir)s/s"; handler = "program"; command = "%(probe)s";
          environment = [ "PATH=/only", "GEN=%(gen)d", "UNIXREMOTEPID=mine" ]; };
  lines: { host = "127.0.0.1"; port = %(lines)d; handler = "helper"; command = [ "%(probe)s", "helper" ]; helpers = 4;
           helper_max_requests = 1; environment = [ "GEN=%(gen)d", "HELPER=1" ]; directory = "%(dir)s"; };
  strings: { host = "127.0.0.1"; port = %(strings)d; framing = "netstring"; helper_framing = "line"; handler = "helper";
             command = [ "%(probe)s", "helper" ]; helpers = 4; helper_max_requests = 1; max_request = 100;
             environment = [ "GEN=%(gen)d", "PYTHONUNBUFFERED=no" ]; };
};
"""
HELPERS = {"lines": b"x\n", "strings": b"1:x,"}
DIRECTORY = {"tcp": "sub", "lines": ""}
NUMBER = re.compile(r"\d+$")


class World:
    """What each service was promised."""

    def __init__(self, directory, master):
        self.dir = directory
        with open("/proc/%d/limits" % master) as f:
            self.limits = {name.strip(): value.split() for name, value in (
                line.split("  ", 1) for line in f if not line.startswith("Limit "))}
        self.limits["Max open files"][0] = str(SOFT)
        with open("/proc/%d/oom_score_adj" % master) as f:
            self.oom = str(max(int(f.read()), 0))
        with open("/proc/self/status") as f:
            mine = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        zero = "0" * 16
        every = mine["CapBnd"] if os.geteuid() == 0 else zero
        self.status = {"Umask": "0022", "Threads": "1", "TracerPid": "0", "SigPnd": zero, "ShdPnd": zero, "SigBlk": zero,
                       "SigIgn": zero, "SigCgt": zero, "CapInh": zero, "CapAmb": zero, "CapPrm": every, "CapEff": every,
                       "CapBnd": mine["CapBnd"], "NoNewPrivs": mine["NoNewPrivs"], "Seccomp": mine["Seccomp"],
                       "Uid": mine["Uid"], "Gid": mine["Gid"], "Groups": mine["Groups"]}

    def environment(self, service, name, gen):
        """NAME: of the client's socket."""
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": "UTC", "LC_TIME": "C", "SOCKD_SERVICE": service,
               "GEN": str(gen)}
        if service in HELPERS:
            env.update(SOCKD_FRAMING="line", PYTHONUNBUFFERED="1")
        if service == "tcp":
            (ours, our_port), (theirs, their_port) = name
            env.update(PROTO="TCP", TCPREMOTEIP=ours, TCPREMOTEPORT=str(our_port), TCPLOCALIP=theirs,
                       TCPLOCALPORT=str(their_port), TCPCONNNUM=NUMBER, REMOTE_ADDR=ours, REMOTE_PORT=str(our_port),
                       REMOTE_HOST=ours)
        own = {"tcp": {"OWN": "a b", "PASSED": "p q"}, "lines": {"HELPER": "1"}, "strings": {"PYTHONUNBUFFERED": "no"},
               "unix": {"PATH": "/only", "PROTO": "UNIX", "UNIXLOCALPATH": self.dir + "/s",
                        "UNIXLOCALUID": str(os.geteuid()), "UNIXLOCALGID": str(os.getegid()), "UNIXLOCALPID": NUMBER,
                        "UNIXREMOTEEUID": str(os.geteuid()), "UNIXREMOTEEGID": str(os.getegid()),
                        "UNIXREMOTEPID": "mine"}}
        return dict(env, **own[service])

    def place(self, service, pid):
        directory = os.path.join(self.dir, DIRECTORY[service]).rstrip("/") if service in DIRECTORY else "/"
        return {"cwd": directory, "pgid": pid, "is_session_leader": "0", "has_terminal": "0", "alarm": "0",
                "nice": str(os.getpriority(os.PRIO_PROCESS, 0)), "securebits": "0", "dumpable": "1",
                "no_new_privs": "0", "timer_slack": "50000", "pdeathsig": "9" if service in HELPERS else "0",
                "oom_score_adj": self.oom}

    def faults(self, service, got, name, gens):
        """What is not as it should be, as a list of texts; GENS: the generations that may have answered."""
        groups = {kind: {} for kind in ("env", "fd", "flags", "status", "limit", "")}
        for key, value in got.items():
            kind, _, rest = key.rpartition(".") if key.count(".") == 1 else ("", "", key)
            groups[kind][rest] = value
        pid = groups[""].pop("pid")
        gen = groups["env"].get("GEN", "")
        pipe, stream = re.compile(r"pipe:\[\d+\]$"), re.compile(r"socket:\[\d+\]$")
        first = pipe if service in HELPERS else stream
        wanted = {"env": self.environment(service, name, gen), "fd": {"0": first, "1": first, "2": pipe},
                  "flags": {"0": "0", "1": "0", "2": "0"}, "": self.place(service, pid)}
        found = [fault for kind, what in wanted.items() for fault in differences(kind, what, groups[kind])]
        status = {key: groups["status"].get(key, "none").strip() for key in self.status}
        found += differences("status", {key: value.strip() for key, value in self.status.items()}, status)
        limits = {key: value.split() for key, value in groups["limit"].items() if key != "Limit"}
        found += differences("limit", self.limits, limits)
        if not gen.isdigit() or int(gen) not in gens:
            found.append("GEN=%s, and generations %s serve" % (gen, gens))
        if service not in HELPERS and groups["fd"].get("0") != groups["fd"].get("1"):
            found.append("0 and 1 are not the same socket")
        return found


def differences(kind, wanted, got):
    for key in sorted(set(wanted) | set(got)):
        want, have = wanted.get(key), got.get(key)
        if not (want.match(have or "") if isinstance(want, re.Pattern) else want == have):
            yield "%s %s is %r and not %r" % (kind, key, have, want)


class ProgramSoak(Soak):
    expected_log = None
    wrapper, env = (sys.executable, "-c", DIRT, str(SOFT)), ENV

    def __init__(self, args):
        super().__init__(args)
        self.outcomes, self.done, self.kinds = (collections.Counter() for _ in range(3))
        self.helpers = set()
        self.port = 2048 + next_number() * 16 % 28000
        self.generation = self.committed = 0

    def conf(self):
        """Of the next generation."""
        self.generation += 1
        os.makedirs(os.path.join(self.dir, "sub"), exist_ok=True)
        return CONF % {"dir": self.dir, "gen": self.generation, "probe": self.args.build + "/tests/soak/probe",
                       "port": self.port, "lines": self.port + 1, "strings": self.port + 2}

    # The clients.

    async def open(self, service):
        if service == "unix":
            return await asyncio.open_unix_connection(self.dir + "/s", limit=1 << 20)
        port = self.port + ["tcp", "lines", "strings"].index(service)
        return await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)

    async def converse(self, service):
        """The line of a sample, and the names of both ends."""
        reader, writer = await self.open(service)
        try:
            sock = writer.get_extra_info("socket")
            name = sock.getsockname(), sock.getpeername()
            if service in HELPERS:
                writer.write(HELPERS[service])
            writer.write_eof()
            return await asyncio.wait_for(reader.read(-1), 60 * SLOW), name
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def sample(self, service):
        since = self.committed
        try:
            data, name = await self.converse(service)
        except (asyncio.TimeoutError, ConnectionRefusedError) as e:
            self.wrong.append("%s: nobody answers: %r" % (service, e))
            return
        except OSError:
            data, name = b"", None
        text = data.decode(errors="backslashreplace")
        if service == "strings":
            text = text.partition(":")[2].replace(",", "\n") if "sorry" in text else text.partition(":")[2][:-1] + "\n"
        if not text.startswith("sample\1") or not text.endswith("\n"):
            self.outcomes["sorry" if "sorry" in text else "cut"] += 1
            return
        got = dict(field.split("=", 1) for field in text[:-1].split("\1")[1:])
        if service in HELPERS:
            self.helpers.add(got["pid"])
        faults = self.world.faults(service, got, name, range(since, self.generation + 1))
        self.wrong += ["%s: %s" % (service, fault) for fault in faults]
        self.outcomes["sampled"] += 1
        self.kinds[service] += 1
        if self.outcomes["sampled"] >= self.mark:
            self.marked.set()

    def over(self):
        return self.outcomes["sampled"] >= self.args.samples or time.monotonic() > self.until or self.wrong

    async def client(self, number):
        rng = random.Random("%d client %d" % (self.args.seed, number))
        while not self.over():
            await self.sample(rng.choice(["tcp", "tcp", "unix", "lines", "strings"]))

    # What is done around them.

    async def harm(self):
        what = self.random.choices(["worker", "spawner", "reload"], [4, 2, 3])[0]
        self.done[what] += 1
        if what == "reload":
            self.write("sockd.conf", self.conf())
            if (await self.ask("reload"))[0] == 0:
                self.committed = self.generation
            return
        pids = [pid for pid in self.daemon.workers() if process_name(pid).startswith("sockd-" + what)]
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)

    async def villain(self):
        while True:
            self.mark = self.outcomes["sampled"] + self.random.randrange(10, 120)
            self.marked.clear()
            await self.marked.wait()
            await self.harm()

    async def soak(self):
        self.world = World(self.dir, self.daemon.pid)
        self.committed = self.generation
        self.until = time.monotonic() + self.args.seconds
        self.marked, self.mark = asyncio.Event(), 0
        villain = asyncio.create_task(self.villain())
        await asyncio.gather(*(self.client(n) for n in range(self.args.clients)))
        villain.cancel()
        if self.outcomes["sampled"] < self.outcomes["cut"] + self.outcomes["sorry"]:
            self.wrong.append("more were cut than answered")

    def reached(self):
        return {"samples": self.outcomes["sampled"]}

    def figures(self):
        return "%s; %s, from %d helpers; %s" % (counts(self.outcomes), counts(self.kinds), len(self.helpers),
                                                counts(self.done))


if __name__ == "__main__":
    main(ProgramSoak, __doc__, samples=10000, clients=32)
