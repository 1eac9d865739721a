"""A Python helper behind one worker, beside the same function in Python asyncio: a line to upper case.

asyncio is taken twice: with streams, which is how one writes it, and with a bare protocol class, which is the quickest. The
goals hold against the quicker of the two.
"""
import statistics
import sys
import tempfile

from servers import Command, Sockd

HELPER = """
import sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line.upper())
    sys.stdout.buffer.flush()
"""
STREAMS = """
import asyncio, sys

async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()

asyncio.run(main())
"""
PROTOCOL = """
import asyncio, sys

class Upper(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\\n")
        for line in lines:
            self.transport.write(line.upper() + b"\\n")

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upper, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()

asyncio.run(main())
"""


class Helper(Sockd):
    """A service whose helper lies beside its configuration."""

    def __init__(self, build, cpus, script=HELPER):
        self.script = tempfile.NamedTemporaryFile("w", suffix=".py")
        self.script.write(script)
        self.script.flush()
        super().__init__(build, cpus, 'handler = "helper"; command = [ "%s", "%s" ];' % (sys.executable, self.script.name))

    def __exit__(self, *args):
        super().__exit__(*args)
        self.script.close()


def ratio(bench, depth, connections=32):
    """Requests/s of a helper to those of the quicker asyncio; the load on one processor, all of the server on the other."""
    def asyncio_(name, text):
        return lambda: Command(name, bench.server_cpu, sys.executable, "-c", text.replace("%", "%%"), "%(port)d")

    def measure(server):
        return bench.rate(server, "--size", "63", connections=connections, depth=depth)

    rounds = bench.in_turn((lambda: Helper(bench.build, bench.server_cpu), measure),
                           (asyncio_("asyncio streams", STREAMS), measure),
                           (asyncio_("asyncio protocol", PROTOCOL), measure))
    return min(statistics.median(rates[0] / rates[i] for rates in rounds) for i in (1, 2))


def one_in_flight(bench):
    return ratio(bench, 1)


def sixteen_in_flight(bench):
    return ratio(bench, 16)
