"""A process for each connection: sockd beside tcpserver -H -R -l0, with the same program, cat; and one helper that does the
same work, a connection for each line."""
import subprocess

from measure import ROUNDS
from servers import Command, Sockd

AT_A_TIME = 16
CONNECTIONS_PER_SECOND = 1500  # about what the machine gives, so that a round takes its time


def ratio(bench, handler):
    """Connections/s of sockd to those of tcpserver."""
    def measure(server):
        number = max(AT_A_TIME, int(CONNECTIONS_PER_SECOND * bench.seconds / ROUNDS))
        out = subprocess.run([bench.build + "/tests/bench/connections", "-c", str(AT_A_TIME), "-n", str(number),
                              str(server.port)], check=True, capture_output=True, text=True).stdout
        return float(out.split("rate=")[1])

    return bench.ratio(lambda: Sockd(bench.build, bench.all_cpus, 'handler = "%s"; command = [ "/bin/cat" ];' % handler),
                       lambda: Command("tcpserver", bench.all_cpus, "tcpserver", "-H", "-R", "-l0", "-c", "64", "127.0.0.1",
                                       "%(port)d", "/bin/cat"), measure)


def sixteen_at_a_time(bench):
    return ratio(bench, "program")


def sixteen_at_a_time_to_a_helper(bench):
    return ratio(bench, "helper")
