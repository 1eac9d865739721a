"""A program at a terminal of its own, and a small screen that shows what it drew."""
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from sockdtest import TIMEOUT

SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    """What an ANSI terminal shows that does not wrap: cursor home, erasing, modes, printing; nothing else is allowed."""

    def __init__(self, width, height):
        self.modes = set()
        self.resize(width, height)

    def resize(self, width, height):
        self.width, self.height = width, height
        self.clear()

    def clear(self):
        self.cells, self.row, self.column = [[" "] * self.width for _ in range(self.height)], 0, 0

    def feed(self, text):
        """Returns what is not whole yet."""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if not found:
                    return text[at:]
                self.obey(*found.groups())
                at = found.end()
                continue
            self.put(text[at])
            at += 1
        return ""

    def put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            assert self.row + 1 < self.height, "the picture is higher than the screen"
            self.row += 1
        else:
            assert char >= " " and not "\x7f" <= char < "\xa0", "a control byte is shown: %r" % char
            assert self.column < self.width, "a line is wider than the screen: %r" % "".join(self.cells[self.row])
            self.cells[self.row][self.column] = char
            self.column += 1

    def obey(self, numbers, letter):
        if letter in "hl":
            (self.modes.add if letter == "h" else self.modes.discard)(numbers)
            if numbers == "?1049":
                self.clear()  # the screen that was before is empty, in tests
        elif letter == "H" and not numbers:
            self.row = self.column = 0
        elif letter == "J":
            if numbers == "2":
                self.cells = [[" "] * self.width for _ in range(self.height)]
            else:
                self.erase_line()
                for row in range(self.row + 1, self.height):
                    self.cells[row] = [" "] * self.width
        elif letter == "K":
            self.erase_line()
        else:
            assert letter == "m", "an unknown sequence: %s%s" % (numbers, letter)

    def erase_line(self):
        for column in range(self.column, self.width):
            self.cells[self.row][column] = " "

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)


class Terminal:
    def __init__(self, command, width=80, height=24, env=None):
        self.fd, self.slave = pty.openpty()
        self.screen, self.rest = Screen(width, height), ""
        self.set_size(width, height)
        self.before = termios.tcgetattr(self.slave)
        env = dict(os.environ, TERM="xterm", LC_ALL="C.UTF-8", **(env or {}))
        self.process = subprocess.Popen(list(map(str, command)), stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        env=env, start_new_session=True,
                                        preexec_fn=self.become_a_session)

    def become_a_session(self):
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # which nohup and background jobs ignore
            signal.signal(number, signal.SIG_DFL)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.slave)

    def set_size(self, width, height):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, keys):
        os.write(self.fd, keys)

    def read(self, timeout):
        """Shows what comes within TIMEOUT; False when nothing does."""
        if not select.select([self.fd], [], [], max(0, timeout))[0]:
            return False
        self.rest = self.screen.feed(self.rest + os.read(self.fd, 65536).decode())
        return True

    def wait(self, what, timeout=TIMEOUT):
        """Waits until WHAT, a pattern or a function of the text that is shown, is satisfied; returns the text."""
        find = what if callable(what) else re.compile(what, re.MULTILINE).search
        until = time.monotonic() + timeout
        while not find(self.screen.text()):
            if not self.read(until - time.monotonic()):
                raise AssertionError("no %s on the screen:\n%s" % (what, self.screen.text()))
        return self.screen.text()

    def end(self):
        """The exit status, after all that was written."""
        status = self.process.wait(TIMEOUT)
        with contextlib.suppress(OSError):
            while self.read(0):
                pass
        return status

    def is_as_before(self):
        """The modes of the terminal, and the screen that was there, with a cursor."""
        return termios.tcgetattr(self.slave) == self.before and self.screen.modes == {"?7", "?25"}
