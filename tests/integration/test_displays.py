"""Screens with Linux's drivers, and a text screen in the terminal."""
import itertools
import time
import zlib

import pexpect
import pytest

from conftest import ROOT
from test_boot import LIMIT
from test_firmware import bios  # noqa: F401
from test_screen import png_size
from test_vms import vms  # noqa: F401


def colours(path):
    """Of an RGB picture: the colours of a pixel in a hundred. Rows are as they are, or say what differs from
    the row above (filters 0 and 2 of PNG)."""
    data, at, pixels, found = path.read_bytes(), 8, b"", set()
    while at < len(data):
        size, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        if kind == b"IDAT":
            pixels += data[at + 8:at + 8 + size]
        at += 12 + size
    rows, (width, height) = zlib.decompress(pixels), png_size(path)
    step, above = width * 3 + 1, bytes(width * 3)
    for y in range(height):
        kind, row = rows[y * step], rows[y * step + 1:(y + 1) * step]
        assert kind in (0, 2)
        if kind == 2:
            row = bytes(map(lambda a, b: (a + b) & 0xff, row, above))
        above = row
        if y % 16 == 8:
            found |= {row[x * 3:x * 3 + 3] for x in range(0, width, 8)}
    return found


@pytest.mark.parametrize("device, module", [("vga", ("bochs",)), ("virtio-gpu", ("virtio_pci", "virtio-gpu"))])
def test_linux_framebuffer(vms, kernel, initramfs, tmp_path, device, module):  # noqa: F811
    image = initramfs("amd64", f"{ROOT / 'guest/initramfs/framebuffer'}:bin/test", modules=module, drivers="amd64")
    vms.good("create", "pc", "--engine", "soft", "--board", "pc", "--display-device", device, "--kernel",
             kernel("amd64"), "--initrd", image, "--append", "console=ttyS0 quiet atoll.mode=test")
    vms.good("start", "pc")
    log = lambda: vms.run("logs", "pc").stdout  # noqa: E731
    vms.wait_for(lambda: "screen: painted" in log(), LIMIT)
    assert "1024,768" in log()
    picture = tmp_path / "screen.png"

    def painted():
        vms.good("screenshot", "pc", str(picture))
        return png_size(picture) == (1024, 768) and b"\xaa\xaa\xaa" in colours(picture)

    # Linux copies what was written to the screen's memory a moment later; fbcon may blink its cursor.
    vms.wait_for(painted, LIMIT)
    assert len(colours(picture)) <= 2


def test_curses(atoll, bios):  # noqa: F811
    """The BIOS's screen in a terminal; the keys of the terminal are the PC's; Ctrl-A x ends it."""
    end = time.monotonic() + LIMIT
    terminal = pexpect.spawn(atoll, ["run", "--engine", "soft", "--board", "pc", "--display", "curses", "--quiet"],
                             dimensions=(25, 80), env={"TERM": "xterm", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
                             timeout=LIMIT)
    terminal.expect("SeaBIOS")
    # What comes while the BIOS writes may be drawn in pieces; a terminal of another size gets all anew.
    for rows in itertools.cycle((26, 25)):
        if terminal.expect_exact(["No bootable device", pexpect.TIMEOUT], timeout=2) == 0:
            break
        assert time.monotonic() < end
        terminal.setwinsize(rows, 80)
    terminal.send("\x01x")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    terminal.close()
    assert terminal.exitstatus == 0


def test_curses_needs_a_terminal(vms):  # noqa: F811
    done = vms.run("run", "--board", "pc", "--display", "curses")
    assert done.returncode not in (0, 70, 134, 139)
    assert "terminal" in done.stderr
