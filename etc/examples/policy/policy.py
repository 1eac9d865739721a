#!/usr/bin/python3
"""Refuses mail from some domains, and puts off mail of a stranger once (greylisting). See policy.conf.

Who sends from an address to a recipient for the first time is asked to come again after GREYLIST_DELAY seconds: a mail
server does, much of what sends spam does not. Mail from REFUSED_DOMAINS is refused. All other mail is left to the
restrictions that follow. What was asked is remembered until the helper ends, for the last 100,000 of them.
"""
import math
import os
import sys
import time

DELAY = float(os.environ.get("GREYLIST_DELAY", "60"))
REFUSED = os.environ.get("REFUSED_DOMAINS", "").lower().split()
REMEMBERED = 100000

first_seen = {}


def action(request):
    sender = request.get("sender", "").lower()
    if sender.rpartition("@")[2] in REFUSED:
        return "REJECT mail from there is not taken here"
    who = request.get("client_address"), sender, request.get("recipient", "").lower()
    now = time.monotonic()
    if who not in first_seen:
        if len(first_seen) >= REMEMBERED:
            del first_seen[next(iter(first_seen))]
        first_seen[who] = now
    elif now - first_seen[who] >= DELAY:
        return "DUNNO"
    return "DEFER_IF_PERMIT greylisted, please try again in %d seconds" % math.ceil(first_seen[who] + DELAY - now)


# What clients of Postfix say of themselves can be any bytes.
sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")
attributes = {}
for line in sys.stdin:
    name, _, value = line.rstrip("\n").partition("=")
    if name:
        attributes[name] = value
    else:
        print("action=%s\n" % action(attributes), flush=True)
        attributes = {}
