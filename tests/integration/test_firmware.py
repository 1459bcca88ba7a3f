"""The board pc: SeaBIOS on both chipsets, with no disk and with one it boots, and kernels without it."""
import os
import subprocess

import pytest

from test_boot import LIMIT
from test_vms import vms  # noqa: F401

BIOS = "/usr/share/seabios/bios-256k.bin"
CHIPSETS = ["q35", "i440fx"]
MARK = b"the boot sector runs"

# cld; xor ax,ax; mov ds,ax; mov si,0x7d00; 1: lodsb; test al,al; jz 2f; mov dx,0x3f8; out dx,al;
# jmp 1b; 2: mov al,0x10; mov dx,0x501; out dx,al; hlt
SECTOR = bytes.fromhex("fc31c08ed8be007dac84c07406baf803eeebf5b010ba0105eef4")


@pytest.fixture
def bios():
    if not os.path.exists(BIOS):
        pytest.skip("the package seabios is not installed")


def boot(atoll, *options):
    done = subprocess.run([atoll, "run", "--engine", "soft", "--memory", "128M", *options],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    return done.returncode, done.stdout


@pytest.mark.parametrize("chipset", CHIPSETS)
def test_seabios_boots_a_disk(atoll, bios, tmp_path, chipset):
    """From a virtio disk, which it finds on PCI; it has installed the ACPI tables before."""
    image, log = tmp_path / "disk.img", tmp_path / "bios.log"
    sector = (SECTOR.ljust(0x100, b"\0") + MARK + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"
    image.write_bytes(sector.ljust(1 << 20, b"\0"))
    code, output = boot(atoll, "--board", f"pc,chipset={chipset}", "--disk", f"{image},format=raw",
                        "--debug-exit", "0x501", "--firmware-log", log)
    assert MARK in output
    assert code == 0x21
    text = log.read_text()
    assert f"Running on QEMU ({chipset})" in text
    assert "ACPI: parse DSDT" in text
    assert "WARNING" not in text


@pytest.mark.parametrize("chipset", CHIPSETS)
def test_seabios_finds_nothing(atoll, bios, chipset):
    run = subprocess.Popen([atoll, "run", "--engine", "soft", "--board", f"pc,chipset={chipset}"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = b""
    try:
        while b"No bootable device" not in output:
            byte = run.stdout.read(1)
            assert byte, output
            output += byte
    finally:
        run.kill()
        run.wait()


@pytest.mark.parametrize("chipset", CHIPSETS)
def test_kernel_without_firmware(atoll, kernel, initramfs, chipset):
    code, output = boot(atoll, "--board", f"pc,chipset={chipset}", "--kernel", kernel("cloud-amd64"),
                        "--initrd", initramfs(), "--no-reboot", "--memory", "512M", "--append",
                        "console=ttyS0 panic=-1 atoll.mode=script")
    assert code == 0, output[-3000:]
    assert b"atoll: userland" in output
    for line in (b"BUG:", b"Call Trace", b"ACPI Error", b"ACPI BIOS Error", b"nobody cared"):
        assert line not in output


@pytest.mark.parametrize("chipset", CHIPSETS)
def test_seabios_on_the_screen(vms, bios, chipset):  # noqa: F811
    """Through the VGA BIOS."""
    vms.good("create", "pc", "--engine", "soft", "--board", f"pc,chipset={chipset}")
    vms.good("start", "pc")
    text = lambda: vms.run("screenshot", "pc", "--text").stdout  # none at first
    vms.wait_for(lambda: "No bootable device" in text(), LIMIT)


def test_bad_firmware(atoll, tmp_path):
    path = tmp_path / "firmware"
    path.write_bytes(b"x" * 5000)
    code, _ = boot(atoll, "--firmware", path)
    assert code not in (0, 1, 134, 139)
