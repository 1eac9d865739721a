"""That the two programs exist, and do their main job once."""
import socket

import sockdtest
from sockdtest import SockdTest

HERO = b"I am your hero!!!"


class SmokeTest(SockdTest):
    def test_a_client_that_sends_and_ends_its_side_gets_its_bytes_back(self):
        self.serve('framing = "line"; handler = "echo";')
        client = self.connect()
        client.sendall(HERO)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.receive_all(client), HERO)

    def test_a_client_that_just_closes_is_no_matter(self):
        self.serve('handler = "echo";')
        self.connect().close()
        self.assertEqual(self.converse(b"next\n"), b"next\n")

    def test_sockctl_send_prints_the_reply(self):
        self.serve('handler = "echo";')
        done = self.run_program("sockctl", "-H", self.addr, "-p", self.port(), "send", HERO.decode())
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, HERO.decode() + "\n", ""))

    def test_all_workers_are_children_of_the_master(self):
        self.serve('handler = "echo";', top="workers = 3;")
        self.assertEqual(len(self.pids()), 3)

    def test_status_answers(self):
        self.serve('handler = "echo";')
        self.assertEqual(self.ctl("status").returncode, 0)
        self.assertIsInstance(self.status(), dict)

    def test_both_programs_say_their_version(self):
        for program in ("sockd", "sockctl"):
            with self.subTest(program):
                done = self.run_program(program, "--version")
                self.assertEqual(done.returncode, 0)
                self.assertRegex(done.stdout, r"^%s \d+\.\d+" % program)


if __name__ == "__main__":
    sockdtest.main()
