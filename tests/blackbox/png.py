"""Pictures: reads what a browser writes as its screenshot (PNG, 8 bits a sample, not interlaced), and writes a plain one."""
import struct
import zlib


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def unfilter(kind, line, above, step):
    for i in range(len(line)):
        left = line[i - step] if i >= step else 0
        corner = above[i - step] if i >= step else 0
        line[i] = line[i] + (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind] & 255
    return line


def read(data):
    """The picture as rows of pixels, each (red, green, blue)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunk = data[at + 8:at + 8 + length]
        if name == b"IHDR":
            width, height, depth, kind, _, _, interlace = struct.unpack(">IIBBBBB", chunk)
            assert depth == 8 and kind in (2, 6) and interlace == 0
        elif name == b"IDAT":
            packed += chunk
        at += length + 12
    step = 3 if kind == 2 else 4
    raw, size = zlib.decompress(packed), width * step
    rows, above = [], bytes(size)
    for y in range(height):
        start = y * (size + 1)
        above = unfilter(raw[start], bytearray(raw[start + 1:start + 1 + size]), above, step)
        rows.append([tuple(above[i:i + 3]) for i in range(0, size, step)])
    return rows


def write(width, height, colour):
    """A picture of one colour."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\0" + bytes(colour) * width
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b""))
