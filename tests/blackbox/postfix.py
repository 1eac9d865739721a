"""A Postfix of a test's own: its configuration, queue and log are in the test's directory, and it listens on one address.

    with Postfix(self, port, "smtpd_recipient_restrictions = ...") as postfix, postfix.smtp() as smtp:
        smtp.rcpt("somebody@example.org")
"""
import contextlib
import os
import shutil
import smtplib
import subprocess

from sockdtest import TIMEOUT

# Nothing asks the DNS, nothing leaves the machine, nobody gets a letter about what went wrong.
MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mail.example.org
mydestination =
mynetworks = 192.0.2.0/24
alias_maps =
alias_database =
local_recipient_maps =
default_transport = discard:
virtual_transport = discard:
notify_classes =
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
"""

MASTER = """
{addr}:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    def __init__(self, test, port, main):
        """MAIN: more lines of main.cf."""
        if os.geteuid() != 0:
            test.skipTest("only root may start Postfix")
        test.need("postfix")
        self.addr, self.port = test.addr, port
        self.dir = os.path.join(test.dir, "postfix")
        os.chmod(test.dir, 0o755)  # Postfix is several users
        os.makedirs(os.path.join(self.dir, "queue"))
        os.mkdir(os.path.join(self.dir, "data"))
        shutil.chown(os.path.join(self.dir, "data"), "postfix")
        values = {"dir": self.dir, "addr": self.addr, "port": port}
        self._write("main.cf", (MAIN + main).format(**values) + "\n")
        self._write("master.cf", MASTER.format(**values))

    def __enter__(self):
        self.run("postfix", "-c", self.dir, "start")
        return self

    def __exit__(self, *_):
        self.run("postfix", "-c", self.dir, "stop")

    def _write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        os.utime(path, (0, 0))  # each program of Postfix waits for a young file to settle

    def run(self, *command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT * 3)
        if done.returncode != 0:
            raise AssertionError("%s: %r\n%s" % (" ".join(command), done.stderr, self.log()))
        return done

    def smtp(self):
        return smtplib.SMTP(self.addr, self.port, local_hostname="client.example", timeout=TIMEOUT)

    def log(self):
        with contextlib.suppress(OSError), open(os.path.join(self.dir, "maillog")) as f:
            return f.read()
        return ""
