"""Real kernels by every boot protocol: what test_boot.py starts as bzImage starts here as vmlinux, by
PVH and by Linux's own entries, and Xen by multiboot with Debian's kernel and an initramfs as modules.
"""
import lzma
import re
import struct
import subprocess

import pytest

LIMIT = 180
XEN_ELFNOTE_PHYS32_ENTRY = re.compile(rb"\x04\0\0\0[\x04\x08]\0\0\0\x12\0\0\0Xen\0")


def run(atoll, kernel, *arguments):
    done = subprocess.run([atoll, "run", "--engine", "soft", "--no-reboot", "--quiet", "--kernel",
                           kernel, *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    return done.returncode, done.stdout.decode(errors="replace").replace("\r", "")


def unpack(bzimage):
    """The ELF file inside a bzImage (Linux's boot protocol, payload_offset and payload_length)."""
    sectors = bzimage[0x1f1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = bzimage[start:start + length]
    if not payload.startswith(b"\xfd7zXZ\0"):
        pytest.skip("the kernel is not compressed by xz")
    return lzma.LZMADecompressor().decompress(payload)


@pytest.mark.parametrize("name, arch, protocol", [
    ("amd64", "amd64", "pvh"),
    ("amd64", "amd64", "vmlinux"),
    ("686-pae", "i386", "pvh"),
    ("686-pae", "i386", "vmlinux"),
])
def test_vmlinux(atoll, kernel, initramfs, tmp_path, name, arch, protocol):
    with open(kernel(name), "rb") as stream:
        image = bytearray(unpack(stream.read()))
    notes = list(XEN_ELFNOTE_PHYS32_ENTRY.finditer(image))
    assert notes, "Debian's kernels have a PVH note"
    if protocol == "vmlinux":
        for note in notes:
            image[note.start() + 8] = 0x77
    path = tmp_path / "vmlinux"
    path.write_bytes(image)
    code, output = run(atoll, str(path), "--initrd", initramfs(arch), "--append",
                       "console=ttyS0 quiet panic=-1 atoll.mode=script")
    assert "atoll: done" in output, output[-3000:]
    assert code == 0


def test_xen(atoll, kernel, initramfs):
    """Without a BIOS to call, so no-real-mode."""
    code, output = run(atoll, kernel("xen"), "--memory", "768M",
                       "--initrd", kernel("amd64") + " console=hvc0 panic=-1 atoll.mode=script",
                       "--initrd", initramfs(), "--append",
                       "no-real-mode com1=115200,8n1 console=com1 dom0_mem=500M noreboot")
    assert "(XEN) Xen version 4.17" in output, output[-3000:]
    assert "atoll: done" in output, output[-3000:]
    assert "(XEN) Entering ACPI S5 state." in output, output[-3000:]
    assert code == 0
