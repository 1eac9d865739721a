"""Network namespaces of a test's own: other addresses, other rules of the kernel, and packets that lie.

    class RateTest(NamespaceTest):
        def test_x(self):
            self.new_namespace()
            self.ip("addr", "add", "192.0.2.1/24", "dev", "lo")
            self.serve(...)

The test itself lives in the namespace: what it starts and the sockets that it makes belong to the one it is in.
Nothing of them is left when it ends, and nothing leaves them. Skipped where we may not make one.
"""
import ctypes
import os
import socket
import struct
import subprocess

from sockdtest import SockdTest

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def udp_packet(source, target, data, with_checksum=False):
    """An IPv4 packet with a UDP datagram between two (address, port), for a raw socket."""
    length = 8 + len(data)
    ends = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    udp = struct.pack("!HHHH", source[1], target[1], length, 0) + data
    if with_checksum:
        pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_UDP, length)
        udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xffff) + data
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0) + ends + udp


class NamespaceTest(SockdTest):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root may make a network namespace")
        self.need("ip")
        super().setUp()
        self._home = self._own()
        self.addCleanup(self._go_home)
        self._namespaces = []

    def _own(self):
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _go_home(self):
        self.enter(self._home)
        for fd in [*self._namespaces, self._home]:
            os.close(fd)

    def new_namespace(self):
        """Makes one and goes there; returns what enter() takes."""
        if libc.unshare(CLONE_NEWNET) != 0:
            self.skipTest("this machine allows no network namespace")
        self._namespaces.append(self._own())
        self.ip("link", "set", "lo", "up")
        return self._namespaces[-1]

    def enter(self, namespace):
        if libc.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def ip(self, *words):
        subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)

    def sysctl(self, name, value):
        with open("/proc/sys/net/" + name, "w") as f:
            f.write(str(value))

    def join(self, one, other, addr_one, addr_other):
        """A cable between two namespaces, with an address and its prefix at each end."""
        self.enter(one)
        self.ip("link", "add", "left", "type", "veth", "peer", "name", "right", "netns",
                "/proc/%d/fd/%d" % (os.getpid(), other))
        for namespace, name, addr in (one, "left", addr_one), (other, "right", addr_other):
            self.enter(namespace)
            self.ip("addr", "add", addr, "dev", name)
            self.ip("link", "set", name, "up")

    def send_raw(self, packet, target):
        """Sends a whole IPv4 packet, with whatever source it says."""
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.sendto(packet, (target, 0))
