"""What the soaks share: a directory, a daemon, a seed that is printed, and a verdict that says how to replay.

A soak is a class with conf(), the configuration, soak(), a coroutine that does its worst and collects what went wrong in
self.wrong, and reached(), how much is done of what each of its options asks for; main() runs it. It ends when all of that
is done, and at the latest after --seconds. Exit status 1: something went wrong, or not all was done by then.
"""
import argparse
import asyncio
import ctypes
import os
import random
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
import sockdtest  # noqa: E402
from sockdtest import COMPLAINT, MACHINE, SANITIZER, Daemon  # noqa: E402

TOLD = 10  # of each kind of trouble


class Soak:
    expected_log = ()  # patterns of errors and warnings that are no failure; None: any
    wrapper, env = (), {}  # words before the daemon's, which become it; its environment

    def __init__(self, args):
        self.args = args
        self.random = random.Random(args.seed)
        self.wrong = []

    def write(self, name, text):
        """At once: the daemon sees the old file or the new one."""
        path = os.path.join(self.dir, name)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)
        return path

    async def ask(self, *words):
        """What `sockctl WORDS` asks; returns its exit status and the text."""
        reader, writer = await asyncio.open_unix_connection(self.daemon.control)
        writer.write(" ".join(words).encode() + b"\n")
        answer = (await reader.read()).decode(errors="backslashreplace")
        writer.close()
        while answer.startswith("# "):  # what the answer waited for
            answer = answer.partition("\n")[2]
        head, _, text = answer.partition("\n")
        return int(head.split()[0]), text

    def unexpected_log(self):
        def is_trouble(line):
            if SANITIZER.search(line):
                return True
            return (self.expected_log is not None and COMPLAINT.search(line)
                    and not any(p.search(line) for p in (MACHINE, *self.expected_log)))
        return [line for line in self.daemon.log if is_trouble(line)]

    def run(self):
        ctypes.CDLL(None).prctl(sockdtest.PR_SET_CHILD_SUBREAPER, 1)
        self.dir = tempfile.mkdtemp(prefix="sockd-soak-")
        self.write("sockd.conf", self.conf())
        self.daemon = Daemon([*self.wrapper, self.args.build + "/sockd", "-f", "sockd.conf", "--control",
                              os.path.join(self.dir, "control.sock")], self.dir, self.env)
        try:
            self.daemon.wait_notify("^READY=1$")
            asyncio.run(self.soak())
            self.daemon.process.terminate()
            if (status := self.daemon.wait(60)) != 0:
                self.wrong.append("sockd ended with %d" % status)
            self.check_end()
            self.check_goals()
        finally:
            if self.daemon.process.poll() is None:
                self.daemon.process.kill()
                self.daemon.wait()
            self.daemon.close()
        return self.verdict()

    def check_end(self):
        """When the daemon is gone."""

    def check_goals(self):
        """One that ended early since something is wrong says that."""
        done = {} if self.wrong else self.reached()
        missed = ["%d %s of %d" % (n, name, goal) for name, n in done.items() if n < (goal := getattr(self.args, name))]
        if missed:
            self.wrong.append("only %s in %g s" % (", ".join(missed), self.args.seconds))

    def verdict(self):
        log = self.unexpected_log()
        for trouble in self.wrong[:TOLD] + log[:TOLD]:
            print("# " + trouble)
        print("# seed %d: %s" % (self.args.seed, self.figures()))
        if self.wrong or log:
            print("# replay with --seed %d; the log of sockd is in %s" % (self.args.seed, self.dir))
            with open(os.path.join(self.dir, "log"), "w") as f:
                f.write("\n".join(self.daemon.log))
            return 1
        shutil.rmtree(self.dir, ignore_errors=True)
        return 0


def main(soak, usage, **options):
    """Runs SOAK with the options of all soaks, and OPTIONS, each with its default."""
    parser = argparse.ArgumentParser(usage=usage)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    for name, default in options.items():
        parser.add_argument("--" + name, type=type(default), default=default)
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    print("# seed %d" % args.seed, flush=True)
    sys.exit(soak(args).run())


def counts(counter):
    return ", ".join("%s %d" % item for item in sorted(counter.items()))
