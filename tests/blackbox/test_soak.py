"""Seeded samples of the soaks, which `make soak` runs at length. Rows B1, B2 and G8."""
import os
import re
import shutil
import subprocess
import sys
import unittest

import sockdtest
from sockdtest import BUILD, ROOT, SLOW

SEED = 20261
SECONDS = 60 + 30 * SLOW


class SoakTest(unittest.TestCase):
    """A soak that has not done all it was asked for within its seconds has failed."""

    def run_soak(self, name, *options, seconds=SECONDS, status=0):
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/soak", name), BUILD, "--seed", str(SEED),
                               "--seconds", "%d" % seconds, *options],
                              capture_output=True, text=True, timeout=seconds + 60 + 30 * SLOW)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def test_no_reply_reaches_the_wrong_client_and_nobody_waits_for_ever(self):
        self.run_soak("helpers.py", "--requests", "30000")

    def test_B1_reloads_that_change_much_cut_nobody(self):
        self.run_soak("reload.py", "--rate", "2000", "--connections", "12000", "--reloads", "15")

    def test_B2_mutated_configurations_never_touch_the_running_service(self):
        self.run_soak("mutations.py", "--mutations", "150")

    def test_G8_every_program_and_helper_gets_its_own_world_and_nothing_else(self):
        self.run_soak("programs.py", "--samples", "500")

    def test_one_that_did_not_do_all_says_so_and_fails(self):
        for name, missed in (("helpers.py", r"\d+ requests of 1000000"),
                             ("reload.py", r"\d+ connections of 200000, \d+ reloads of 100"),
                             ("mutations.py", r"\d+ mutations of 1000"), ("programs.py", r"\d+ samples of 10000")):
            with self.subTest(name):
                text = self.run_soak(name, seconds=0, status=1)
                shutil.rmtree(re.search("the log of sockd is in (/.*)", text)[1])
                self.assertRegex(text, r"(?m)\A# seed \d+\n# only %s in 0 s\n# seed " % missed)


if __name__ == "__main__":
    sockdtest.main()
