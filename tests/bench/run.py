#!/usr/bin/env python3
"""sockd beside its peers, and its goals: a table on the terminal, or written down.

  run.py --install                  installs the peers from Debian
  run.py BUILD [--seconds S] [--pairs N] [--part peers|goals] [--only WORDS] [--write]

The load runs on the first processor, the server on the last. Peers that are not installed are left out. The servers that
are compared run side by side and are measured in turn, in four rounds of S/4 seconds (S is 2), and that N times (5), each
time with servers anew; a figure is the median over all rounds. So what else the machine does meets all alike. --write makes
RESULTS.md and results.svg beside this file, and the part of README.md that shows them; --only takes the goals, and peers,
whose text contains WORDS. Of goals alone, with --only, --write puts their rows in place of those that stand there.
"""
import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys

import plot
from goals import AT_MOST, GOALS
from measure import ROUNDS, Bench, median
from servers import peers

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ["liburing-dev", "redis-server", "nginx-light", "perl", "libnet-server-perl", "ucspi-tcp", "socat", "util-linux"]


def install():
    print("The peers are the Debian packages %s. Installing redis-server and nginx may start them as services too; the "
          "measurement starts its own." % " ".join(PACKAGES), flush=True)
    subprocess.run([os.path.join(HERE, "..", "..", ".ci", "deps"), *PACKAGES], check=True)


def is_installed(server):
    return shutil.which(server.words[0]) is not None if hasattr(server, "words") else True


def measure_peer(bench, server, args):
    """One round of it, in each of the three ways."""
    found = {}
    for way, how, more in (("one", {}, []), ("many", {"depth": 16}, []), ("fresh", {"connections": 16}, ["--new-connections"])):
        report = bench.round(server, *args, *more, **how)
        found[way], found[way + "_cpu"] = report["requests_per_second"], report["cpu_us"]
        found["failed"] = found.get("failed", 0) + report["failed"]
    print("%-26s %9.0f/s %8.2f us   %9.0f/s %8.2f us   %7.0f/s%s"
          % (server.name, *[found[k] for k in ("one", "one_cpu", "many", "many_cpu", "fresh")],
             "   %d failed" % found["failed"] if found["failed"] else ""), flush=True)
    return found


def run_peers(bench, only):
    """Rows of the table: a dict each, with the medians."""
    names, contenders = [], []
    for start, args in peers(bench.build, bench.server_cpu):
        server = start()
        if only and only not in server.name:
            continue
        if is_installed(server):
            names.append(server.name)
            contenders.append((start, lambda server, args=args: measure_peer(bench, server, args)))
        else:
            print("%s is not installed and is left out" % server.name)
    rounds = bench.in_turn(*contenders)
    return [dict({key: median(r[i][key] for r in rounds) for key in rounds[0][i]}, name=name)
            for i, name in enumerate(names)]


def run_goals(bench, only):
    rows = []
    for what, sense, goal, measure in GOALS:
        if only and only not in what:
            continue
        try:
            value = measure(bench)
        except FileNotFoundError as e:
            print("%-78s left out: %s is not installed" % (what, e.filename))
            continue
        reached = value <= goal if sense == AT_MOST else value >= goal
        rows.append((what, "%s %g" % (sense, goal), value, reached))
        print("%-78s %-14s %8.3f %s" % (what, rows[-1][1], value, "" if reached else "MISSED"), flush=True)
    return rows


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    return "%s, %d processors, Linux %s" % (model, os.cpu_count(), platform.release().split("-")[0])


def versions(build):
    """Of all that was measured, as Debian names it."""
    own = subprocess.run([build + "/sockd", "--version"], capture_output=True, text=True).stdout.strip()
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package} ${Version}\n", "gcc", "libc6", "python3",
                           *PACKAGES], capture_output=True, text=True)
    return ", ".join([own, *[line[3:] for line in done.stdout.splitlines() if line.startswith("ii ")]])


def number(value):
    return "{:,.0f}".format(value)


def table(rows):
    return ["| server | one in flight | CPU each | 16 in flight | CPU each | a connection per request |",
            "|---|--:|--:|--:|--:|--:|",
            *["| %s | %s/s | %.2f us | %s/s | %.2f us | %s/s |" % (
                r["name"], number(r["one"]), r["one_cpu"], number(r["many"]), r["many_cpu"], number(r["fresh"]))
              for r in rows]]


def goal_row(what, goal, value, reached):
    mark = "" if reached else "**"
    return "| %s | %s | %s%.2f%s |" % (what, goal, mark, value, mark)


def rewrite(goals):
    """The rows of GOALS alone."""
    path = os.path.join(HERE, "RESULTS.md")
    new = {what: goal_row(what, *rest) for what, *rest in goals}
    with open(path) as f:
        lines = f.read().splitlines()
    with open(path, "w") as f:
        f.write("\n".join(new.get(line[2:].partition(" | ")[0], line) for line in lines) + "\n")
    print("written: %d rows of tests/bench/RESULTS.md" % len(new))


def write(rows, goals, bench):
    heading = "%s, on %s" % (datetime.date.today().isoformat(), machine())
    lines = ["# Measured", "", heading + ". The load on one processor, the server on another; servers that are compared run "
             "side by side and are measured in turn, in rounds of %g seconds; medians." % (bench.seconds / ROUNDS),
             "", "`make bench` measures anew; it is written by `tests/bench/run.py`.", "",
             "Versions: " + versions(bench.build) + ".", ""]
    if rows:
        lines += ["64 connections, 64-byte lines that come back; Redis answers PING, nginx an empty page over kept-alive HTTP.", "",
                  "![requests per second and processor time](results.svg)", "", *table(rows)]
        with open(os.path.join(HERE, "results.svg"), "w") as f:
            f.write(plot.draw(rows, heading))
    if goals:
        lines += ["", "| what | goal | measured |", "|---|---|--:|"]
        lines += [goal_row(*goal) for goal in goals]
        lines += ["", "In bold: not reached."]
    with open(os.path.join(HERE, "RESULTS.md"), "w") as f:
        f.write("\n".join(lines) + "\n")
    if rows:
        write_readme(rows, heading)
    print("written: tests/bench/RESULTS.md" + (", tests/bench/results.svg, README.md" if rows else ""))


def write_readme(rows, heading):
    """Between two marks that nobody sees."""
    path = os.path.join(HERE, "..", "..", "README.md")
    with open(path) as f:
        before, begin, rest = f.read().partition("<!-- measured -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    if not begin or not end:
        return
    lines = ["![requests per second and processor time of sockd and its peers](tests/bench/results.svg)", "",
             heading + ":", "", *table(rows)]
    with open(path, "w") as f:
        f.write(before + begin + "\n".join(lines) + "\n" + end + after)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", nargs="?")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--part", choices=["peers", "goals"])
    args = parser.parse_args()

    if args.install:
        install()
        return
    if not args.build:
        parser.error("where are the programs?")
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        sys.exit("this takes two processors, one for the load and one for the server")
    bench = Bench(args.build, cpus, args.seconds, args.pairs)
    rows = run_peers(bench, args.only) if args.part != "goals" else []
    goals = run_goals(bench, args.only) if args.part != "peers" else []
    if args.write and args.only and not rows:
        rewrite(goals)
    elif args.write:
        write(rows, goals, bench)


if __name__ == "__main__":
    main()
