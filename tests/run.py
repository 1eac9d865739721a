#!/usr/bin/env python3
"""Runs test programs side by side and adds up what they say.

A program that writes TAP (cmocka's programs, the black-box tests) counts with each of its tests; any other program
is one test, passed when it exits 0. A program that crashes, hangs, or stops short of its plan is a failed test too.
Prints a line per program, then every failed test with its log, every skipped test with its reason, and the sum.

With --again N, up to N failed tests are run once more, alone. One that passes then counts as passed, and is shown as
UNSTEADY, with what it said when it failed: the machine may have stood still, or there is a race, which is to be found. When
more than N failed, all of them have.

  run.py [-j N] [-t SECONDS] [-o FILE] [--again N] NAME COMMAND...    each COMMAND is one word, split as a shell does
  run.py --sum FILE...                                    adds what -o wrote
"""
import argparse
import concurrent.futures
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

TEST = re.compile(r"(not )?ok\b\s*\d*\s*(?:- )?(.*)")
PLAN = re.compile(r"1\.\.(\d+)")
SKIP = re.compile(r"#\s*skip\b:?\s*(.*)", re.IGNORECASE)


class Outcome:
    """What one program did: lists of (test, text)."""

    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped, self.seconds = name, [], [], [], 0.0
        self.unsteady = []

    def counts(self):
        return len(self.passed), len(self.failed), len(self.skipped)


def say(counts):
    return "%d passed, %d failed, %d skipped" % tuple(counts)


def read_tap(outcome, output):
    """Fills OUTCOME; returns whether there was any TAP and how many tests the plans missed."""
    planned = seen = 0
    any_plan = False
    log, last = [], None
    for line in output.splitlines():
        if plan := PLAN.fullmatch(line.strip()):
            any_plan = True
            planned += int(plan[1])
        elif test := TEST.match(line):
            seen += 1
            skip = SKIP.search(test[2])
            name = test[2].partition("#")[0].strip() or test[2].strip("# ")
            if skip:
                last = None
                outcome.skipped.append((name, skip[1]))
            elif test[1]:
                last = log
                outcome.failed.append((name, log))
            else:
                last = None
                outcome.passed.append((name, ""))
            log = []
        elif line.startswith("#") and last is not None:
            last.append(line)
        else:
            log.append(line)
    return any_plan or seen > 0, planned - seen if any_plan else 0


def run(command, timeout):
    words = shlex.split(command)
    outcome = Outcome(" ".join(os.path.basename(w) for w in words if not w.startswith("-")))
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            status = "still running after %d s" % timeout
        out.seek(0)
        output = out.read().decode(errors="backslashreplace")
    outcome.seconds = time.monotonic() - began
    is_tap, missing = read_tap(outcome, output)
    tail = output.splitlines()[-200:]
    if not is_tap:
        (outcome.passed if status == 0 else outcome.failed).append((command, tail))
    elif missing > 0 or (status != 0 and not outcome.failed):
        outcome.failed.append(("%s ended with %s, %d tests short" % (command, status, missing), tail))
    return outcome


def test_name(text):
    """Without the time that it took."""
    return re.sub(r" \([0-9.]+ s\)$", "", text)


def run_again(command, outcome, timeout):
    """Each failed test alone; a program that takes no names, and one that ended in another way, as a whole."""
    names = [test_name(test) for test, _ in outcome.failed]
    takes_names = ".py" in command and all(re.fullmatch(r"[\w.]+", name) for name in names)
    for words in (names if takes_names else [""]):
        if run("%s %s" % (command, words), timeout).failed:
            return
    outcome.unsteady, outcome.failed = outcome.failed, []
    outcome.passed += outcome.unsteady


def report(name, outcomes):
    for o in outcomes:
        for test, log in o.unsteady:
            print("\nUNSTEADY %s: %s: %s: failed, and passed when it was run again, alone" % (name, o.name, test))
            print("".join("    %s\n" % line for line in log), end="")
    for o in outcomes:
        for test, log in o.failed:
            print("\nFAILED %s: %s: %s" % (name, o.name, test))
            print("".join("    %s\n" % line for line in log), end="")
    for o in outcomes:
        for test, why in o.skipped:
            print("SKIPPED %s: %s: %s: %s" % (name, o.name, test, why))


def add(counts):
    return [sum(column) for column in zip((0, 0, 0), *counts)]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-j", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-t", type=int, default=600)
    parser.add_argument("-o")
    parser.add_argument("--again", type=int, default=0)
    parser.add_argument("--sum", action="store_true")
    parser.add_argument("name")
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()

    if args.sum:
        files = [args.name] + args.command
        total = add([int(n) for n in open(f).read().split()] for f in files)
        print(say(total))
        return 1 if total[1] else 0

    if args.o and os.path.exists(args.o):
        os.unlink(args.o)
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
        for o in pool.map(lambda command: run(command, args.t), args.command):
            outcomes.append(o)
            print("%-6s %s: %s (%.1f s)" % ("FAIL" if o.failed else "ok", o.name, say(o.counts()), o.seconds),
                  flush=True)
    if 0 < sum(len(o.failed) for o in outcomes) <= args.again:
        for command, o in zip(args.command, outcomes):
            if o.failed:
                run_again(command, o, args.t)
    report(args.name, outcomes)
    total = add(o.counts() for o in outcomes)
    unsteady = sum(len(o.unsteady) for o in outcomes)
    print("%s: %s%s" % (args.name, say(total), " (%d of them only when run again)" % unsteady if unsteady else ""), flush=True)
    if args.o:
        os.makedirs(os.path.dirname(args.o), exist_ok=True)
        with open(args.o, "w") as f:
            print(*total, file=f)
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
