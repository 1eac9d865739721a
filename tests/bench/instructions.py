#!/usr/bin/env python3
"""Instructions that sockd executes for a request of the echo, counted by callgrind: a number that no other load on the
machine changes. What it is for is to notice when a change makes the way of a request longer.

  instructions.py BUILD            compares with instructions.json; exits 1 when a count has grown by more than 5 %
  instructions.py BUILD --record   writes instructions.json anew

The difference between a run with 2 N and one with N requests leaves start and end out. System calls count as nothing.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
from sockdtest import Daemon, next_number  # noqa: E402

RECORD = os.path.join(HERE, "instructions.json")
MAY_GROW = 1.05
REQUESTS = 3200
CONF = """workers = 1;
services: { echo: { host = "127.0.0.1"; port = %d; %s handler = "echo"; }; };
"""
# name: keys of the service, options of sockctl bench
CASES = {
    "line, one in flight": ("", ["--size", "63"]),
    "line, 16 in flight": ("", ["--size", "63", "-P", "16"]),
    "netstring, one in flight": ('framing = "netstring";', ["-F", "netstring"]),
    "datagram": ('transport = "udp";', ["-u"]),
}


def count(build, keys, args, requests):
    """All that one run executes."""
    port = 2048 + next_number() * 16 % 28000
    with tempfile.TemporaryDirectory(prefix="sockd-instructions-") as directory:
        with open(os.path.join(directory, "sockd.conf"), "w") as f:
            f.write(CONF % (port, keys))
        daemon = Daemon(["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=" + os.path.join(directory, "out"),
                         build + "/sockd", "-f", "sockd.conf", "--single-process", "--control",
                         os.path.join(directory, "control.sock")], directory, {})
        try:
            daemon.wait_notify("^READY=1$", timeout=60)
            subprocess.run([build + "/sockctl", "-H", "127.0.0.1", "-p", str(port), "bench", "-q", "-c", "1", "-n",
                            str(requests), "-w", "60s", "--verify", *args], check=True, stdout=subprocess.DEVNULL)
        finally:
            daemon.process.terminate()
            daemon.wait(60)
            daemon.close()
        with open(os.path.join(directory, "out")) as f:
            return int(re.search(r"^(?:totals|summary): (\d+)", f.read(), re.MULTILINE)[1])


def measure(build):
    found = {}
    for name, (keys, args) in CASES.items():
        found[name] = round((count(build, keys, args, 2 * REQUESTS) - count(build, keys, args, REQUESTS)) / REQUESTS)
        print("%-26s %5d instructions" % (name, found[name]), flush=True)
    return found


def compare(found):
    """How many have grown too much."""
    grown = 0
    with open(RECORD) as f:
        recorded = json.load(f)
    for name, n in found.items():
        was = recorded.get(name, 0)
        if n > was * MAY_GROW:
            grown += 1
            print("%s: %d, was %d: more than 5 %% longer; if that is meant, see --record" % (name, n, was))
        elif n * MAY_GROW < was:
            print("%s: %d, was %d: shorter; --record keeps it so" % (name, n, was))
    return grown


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        print("1..0 # SKIP valgrind is not installed")
        return 0
    found = measure(os.path.abspath(args.build))
    if args.record:
        with open(RECORD, "w") as f:
            json.dump(found, f, indent=2)
            f.write("\n")
        return 0
    return 1 if compare(found) else 0


if __name__ == "__main__":
    sys.exit(main())
