#!/usr/bin/env python3
"""What is asked of each manual page: man.py PAGE... Writes TAP.

mandoc finds no fault; groff neither, which says of a table that it is too wide for 80 columns; and no heading has a
word that mdoc(7) takes for a macro: ".Ss In a debugger" reads "<a> debugger".
"""
import re
import shutil
import subprocess
import sys

# Those that mdoc(7) calls within a line.
CALLED = set("Ac Ad An Ao Ap Aq Ar At Bc Bo Bq Brc Bro Brq Bsx Bx Bk Cd Cm Dc Do Dq Dv Dx Ec Em En Eo Er Es Ev Fa Fc Fl "
             "Fn Fo Fr Ft Fx Ic In Lb Li Lk Ms Mt Nm No Ns Nx Oc Oo Op Ot Ox Pa Pc Pf Po Pq Qc Ql Qo Qq Sc So Sq Sx Sy "
             "Ta Tn Ux Va Vt Xc Xo Xr".split())


def mandoc(page):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def groff(page):
    done = subprocess.run(["groff", "-k", "-mdoc", "-Tutf8", "-ww", page], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr.splitlines()


def headings(page):
    with open(page, encoding="utf-8") as f:
        return ["%s:%d: %s is a macro; write \\&%s" % (page, number, word, word)
                for number, line in enumerate(f, 1) if re.match(r"\.S[hs] ", line)
                for word in line.split()[1:] if word in CALLED]


def main(pages):
    checks = (mandoc, groff, headings)
    print("1..%d" % (len(pages) * len(checks)))
    failed = 0
    for page in pages:
        for check in checks:
            if check is groff and not shutil.which("groff"):
                print("ok - groff %s # SKIP there is no groff" % page)
                continue
            wrong = check(page)
            failed += bool(wrong)
            print("%sok - %s %s" % ("not " if wrong else "", check.__name__, page))
            for line in wrong:
                print("# " + line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
