"""A VNC viewer, as far as it takes to measure one: RFC 6143, and Tight as the RFB community describes it.

Pictures are not kept. Of an update it is known what it took on the wire, how many pixels its rectangles
cover, and which of the wanted colours are in it."""
import os
import socket
import struct
import time
import zlib

RAW, COPY, TIGHT, ZRLE, DESKTOP_SIZE = 0, 1, 7, 16, -223


class Update:
    def __init__(self):
        self.time = 0.0  # when all of it was there
        self.bytes = self.pixels = 0
        self.colours = set()


class Viewer:
    def __init__(self, path, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        # The path may be longer than an address holds.
        directory = os.open(os.path.dirname(path), os.O_PATH)
        self.socket.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        os.close(directory)
        self.received = 0
        self.wanted = ()
        self.streams = {}  # zlib's, which last as long as the connection
        self.greet()

    def close(self):
        self.socket.close()

    def read(self, count):
        data = bytearray(count)
        view, at = memoryview(data), 0
        while at < count:
            got = self.socket.recv_into(view[at:])
            if not got:
                raise EOFError("the server closed the connection")
            at += got
        self.received += count
        return bytes(data)

    def unpack(self, form):
        return struct.unpack(form, self.read(struct.calcsize(form)))

    def greet(self):
        self.read(12)
        self.socket.sendall(b"RFB 003.008\n")
        if 1 not in self.read(self.read(1)[0]):
            raise ValueError("the server wants a password")
        self.socket.sendall(b"\x01")
        if self.unpack(">I")[0]:
            raise ValueError("the server refuses")
        self.socket.sendall(b"\x01")  # shared
        self.width, self.height = self.unpack(">HH")
        self.read(16)
        self.name = self.read(self.unpack(">I")[0])
        # 0x00RRGGBB, least significant byte first.
        self.socket.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))

    def encodings(self, *codes):
        self.socket.sendall(struct.pack(f">BxH{len(codes)}i", 2, len(codes), *codes))

    def request(self, incremental=True):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def key(self, keysym):
        self.socket.sendall(b"".join(struct.pack(">BBxxI", 4, down, keysym) for down in (1, 0)))

    def update(self):
        """The next one; the size of the screen may be another then, and all of it is to be asked for."""
        while True:
            before = self.received
            kind = self.read(1)[0]
            if kind == 0:
                break
            if kind == 1:
                self.read(1)
                self.read(6 * self.unpack(">HH")[1])
            elif kind == 3:
                self.read(3)
                self.read(self.unpack(">I")[0])
            elif kind != 2:
                raise ValueError(f"message {kind}")
        update = Update()
        for _ in range(self.unpack(">xH")[0]):
            _, _, width, height, encoding = self.unpack(">HHHHi")
            if encoding == DESKTOP_SIZE:
                self.width, self.height = width, height
                continue
            update.pixels += width * height
            DECODERS[encoding](self, width, height, update.colours)
        update.bytes = self.received - before
        update.time = time.monotonic()
        return update

    def inflate(self, stream, data):
        return self.streams.setdefault(stream, zlib.decompressobj()).decompress(data)

    def look(self, pixels, size, order, found):
        """Which wanted colours are among pixels of so many bytes."""
        for colour in self.wanted:
            if colour in found:
                continue
            pixel = colour.to_bytes(3, order)
            at = pixels.find(pixel)
            while at >= 0 and at % size:
                at = pixels.find(pixel, at + 1)
            if at >= 0:
                found.add(colour)


def raw(viewer, width, height, found):
    viewer.look(viewer.read(width * height * 4), 4, "little", found)


def copy(viewer, _, __, ___):
    viewer.read(4)


def runs(data, at, pixels, entry):
    """Where a run-length encoded tile ends; entry: the size of a run's pixel, as a function of its place."""
    while pixels > 0:
        size, counted = entry(data, at)
        at += size
        length = 1
        while counted:
            length += data[at]
            at += 1
            if data[at - 1] != 255:
                break
        pixels -= length
    return at


def zrle_tile(viewer, data, at, width, height, found):
    """RFC 6143 7.7.6; returns where the tile ends."""
    kind = data[at]
    at += 1
    colours = {0: 0, 128: 0}.get(kind, kind % 128)
    viewer.look(data[at:at + 3 * colours], 3, "little", found)
    start, at = at, at + 3 * colours
    if kind == 0:
        at += 3 * width * height
        viewer.look(data[start:at], 3, "little", found)
    elif 2 <= kind <= 16:
        bits = 1 if kind == 2 else 2 if kind <= 4 else 4
        at += (width * bits + 7) // 8 * height
    elif kind == 128:
        colours = bytearray()

        def entry(data, at):
            colours.extend(data[at:at + 3])
            return 3, True
        at = runs(data, at, width * height, entry)
        viewer.look(colours, 3, "little", found)
    elif kind > 129:
        at = runs(data, at, width * height, lambda data, at: (1, data[at] & 128))
    elif kind != 1:
        raise ValueError(f"ZRLE's tile {kind}")
    return at


def zrle(viewer, width, height, found):
    data = viewer.inflate("zrle", viewer.read(viewer.unpack(">I")[0]))
    at = 0
    for y in range(0, height, 64):
        for x in range(0, width, 64):
            at = zrle_tile(viewer, data, at, min(64, width - x), min(64, height - y), found)
    if at != len(data):
        raise ValueError("ZRLE's tiles are not the rectangle")


def compact(viewer):
    length = 0
    for shift in (0, 7, 14):
        byte = viewer.read(1)[0]
        length |= (byte & (127 if shift < 14 else 255)) << shift
        if byte < 128:
            break
    return length


def tight(viewer, width, height, found):
    control = viewer.read(1)[0]
    for stream in range(4):
        if control >> stream & 1:
            viewer.streams.pop(stream, None)
    kind = control >> 4
    if kind == 8:
        viewer.look(viewer.read(3), 3, "big", found)
        return
    if kind > 8:
        raise ValueError(f"Tight's compression {kind}, which was not asked for")
    size, palette = 3 * width, False
    if kind & 4:
        form = viewer.read(1)[0]
        palette = form == 1
        if palette:
            colours = viewer.read(1)[0] + 1
            viewer.look(viewer.read(3 * colours), 3, "big", found)
            size = (width + 7) // 8 if colours == 2 else width
        elif form > 2:
            raise ValueError(f"Tight's filter {form}")
    size *= height
    data = viewer.read(size) if size < 12 else viewer.inflate(kind & 3, viewer.read(compact(viewer)))
    if len(data) != size:
        raise ValueError("Tight's data are not the rectangle")
    if not palette:
        viewer.look(data, 3, "big", found)


DECODERS = {RAW: raw, COPY: copy, TIGHT: tight, ZRLE: zrle}
