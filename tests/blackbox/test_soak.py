"""Seeded samples of the soaks, which `make soak` runs at length. Rows B1, B2 and G8."""
import os
import subprocess
import sys
import unittest

import sockdtest
from sockdtest import BUILD, ROOT, SLOW

SEED = 20261


class SoakTest(unittest.TestCase):
    def run_soak(self, name, *options):
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/soak", name), BUILD, "--seed", str(SEED), *options],
                              capture_output=True, text=True, timeout=100 + 60 * SLOW)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_no_reply_reaches_the_wrong_client_and_nobody_waits_for_ever(self):
        self.run_soak("helpers.py", "--seconds", "8", "--requests", "100000")

    def test_B1_reloads_that_change_much_cut_nobody(self):
        self.run_soak("reload.py", "--seconds", "10", "--rate", "2000")

    def test_B2_mutated_configurations_never_touch_the_running_service(self):
        self.run_soak("mutations.py", "--mutations", "150")

    def test_G8_every_program_and_helper_gets_its_own_world_and_nothing_else(self):
        self.run_soak("programs.py", "--samples", "500", "--seconds", "%d" % (30 * SLOW))


if __name__ == "__main__":
    sockdtest.main()
