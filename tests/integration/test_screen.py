"""The screen from outside: pictures, VNC, keys and pointers, and what is refused."""
import json
import os
import pathlib
import signal
import socket
import struct
import sys
import threading
import time
import zlib

import pytest

from conftest import ROOT
from test_vms import PAYLOADS, Vms, vms  # noqa: F401


sys.path.insert(0, str(ROOT / "tools"))
import rfb  # noqa: E402


class Viewer:
    """As much of RFC 6143 as it takes to look and to type."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        # The path may be longer than an address holds.
        directory = os.open(path.parent, os.O_PATH)
        self.socket.connect(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        assert self.read(12) == b"RFB 003.008\n"
        self.socket.sendall(b"RFB 003.008\n")
        assert 1 in self.read(self.read(1)[0])  # no password
        self.socket.sendall(b"\x01")
        assert self.read(4) == bytes(4)
        self.socket.sendall(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.name = self.read(struct.unpack(">I", self.read(4))[0])
        self.socket.sendall(struct.pack(">BxHi", 2, 1, 0))  # raw only

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the server closed the connection"
            data += piece
        return data

    def rectangles(self, incremental):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        kind, count = struct.unpack(">BxH", self.read(4))
        assert kind == 0
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self.read(12))
            assert encoding == 0
            yield x, y, width, height, self.read(width * height * 4)

    def key(self, keysym):
        for down in (1, 0):
            self.socket.sendall(struct.pack(">BBxxI", 4, down, keysym))

    def pointer(self, x, y, buttons):
        self.socket.sendall(struct.pack(">BBHH", 5, buttons, x, y))


def png_size(path):
    """Width and height, after a look at the checksums and the pixels."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, pixels = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            pixels += body
        at += 12 + size
    assert len(zlib.decompress(pixels)) == (width * 3 + 1) * height
    return width, height


@pytest.fixture
def guest(vms):  # noqa: F811
    vms.good("create", "guest", "--engine", "soft", "--kernel", str(PAYLOADS / "powerbutton32"),
             "--display-device", "vga", "--keyboard", "virtio", "--tablet", "--display", "vnc")
    vms.good("start", "guest")
    return vms


def test_picture(guest, tmp_path):
    guest.good("screenshot", "guest", f"{tmp_path}/screen.png")
    assert png_size(tmp_path / "screen.png") == (720, 400)


def test_viewer(guest):
    viewer = Viewer(guest.directory("guest") / "vnc.sock")
    assert (viewer.width, viewer.height, viewer.name) == (720, 400, b"Atoll")
    covered = sum(width * height for _, _, width, height, _ in viewer.rectangles(False))
    assert covered == 720 * 400
    for keysym in (0x61, 0xff0d, 0xffe3, 0x12345678):
        viewer.key(keysym)
    viewer.pointer(100, 100, 1)
    viewer.pointer(65535, 65535, 0)
    second = Viewer(guest.directory("guest") / "vnc.sock")
    assert second.width == 720


@pytest.mark.parametrize("encoding", [rfb.RAW, rfb.TIGHT, rfb.ZRLE])
def test_encodings(guest, encoding):
    viewer = rfb.Viewer(str(guest.directory("guest") / "vnc.sock"))
    viewer.wanted = (0, 0x123456)
    viewer.encodings(encoding, rfb.DESKTOP_SIZE)
    viewer.request(False)
    update = viewer.update()
    assert (update.pixels, update.colours) == (720 * 400, {0})
    assert encoding == rfb.RAW or update.bytes < 20000


def test_only_this_user(guest):
    assert (guest.directory("guest") / "vnc.sock").stat().st_mode & 0o77 == 0


def test_viewers_that_misbehave(guest):
    """The VM answers while a viewer floods it, and lives when one sends nonsense."""
    path = guest.directory("guest") / "vnc.sock"
    done = threading.Event()

    def flood():
        viewer = Viewer(path)
        while not done.is_set():
            viewer.socket.sendall(struct.pack(">BBHH", 5, 0, 1, 1) * 200)
            viewer.key(0x61)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(20):
            guest.good("info", "guest")
    finally:
        done.set()
        thread.join()
    nonsense = Viewer(path)
    nonsense.socket.sendall(bytes(range(255, 0, -1)) * 20)
    time.sleep(0.2)
    guest.good("info", "guest")


def server_of(vms, name):  # noqa: F811
    """The process id of its VNC server."""
    pid = json.loads(vms.good("info", name, "-o", "json"))["pid"]
    return next((int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                 if pathlib.Path(f"/proc/{child}/comm").read_text() == "atoll-vnc\n"), None)


def test_server_that_dies(guest):
    """Another one takes its place."""
    path = guest.directory("guest") / "vnc.sock"
    first, viewer = server_of(guest, "guest"), Viewer(path)
    os.kill(first, signal.SIGKILL)
    with pytest.raises((AssertionError, ConnectionError)):
        viewer.read(1)
    end = time.monotonic() + 60
    while True:
        try:
            viewer = Viewer(path)
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert sum(width * height for _, _, width, height, _ in viewer.rectangles(False)) == 720 * 400


def test_keys_and_pointer(guest):
    guest.good("type", "guest", "echo 'Hello, World' | cat\n")
    guest.good("keys", "guest", "ctrl-alt-f2", "esc")
    guest.good("mouse", "guest", "to", "10", "20")
    guest.good("mouse", "guest", "click", "right")
    for arguments, word in [(("keys", "guest", "ctrl-fly"), "fly"),
                            (("type", "guest", "\u4e00"), "U+4E00"),
                            (("mouse", "guest", "fly"), "wheel"),
                            (("screenshot", "guest", "/nowhere/x.png"), "/nowhere/x.png")]:
        done = guest.run(*arguments)
        assert done.returncode not in (0, 70) and word in done.stderr


def test_addresses_that_are_refused(vms):  # noqa: F811
    for display, word in [("vnc=0.0.0.0:5900", "loopback|this host"), ("vnc=localhost:0", "address"),
                          ("sdl", "none")]:
        done = vms.run("create", "other", "--kernel", "/k", "--display", display)
        assert done.returncode == 64
        assert any(part in done.stderr for part in word.split("|"))
