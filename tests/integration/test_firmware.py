"""The board pc: SeaBIOS on both chipsets, with no disk and with one it boots, kernels without it, and
UEFI, which starts programs from disks of each kind and keeps its variables."""
import os
import pathlib
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
    image, log = boot_sector(tmp_path / "disk.img", MARK), tmp_path / "bios.log"
    code, output = boot(atoll, "--board", f"pc,chipset={chipset}", "--disk", f"{image},format=raw",
                        "--debug-exit", "0x501", "--firmware-log", log)
    assert MARK in output
    assert code == 0x21
    text = log.read_text()
    assert f"Running on QEMU ({chipset})" in text
    assert "ACPI: parse DSDT" in text
    assert "WARNING" not in text


def boot_sector(path, mark):
    sector = (SECTOR.ljust(0x100, b"\0") + mark + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"
    path.write_bytes(sector.ljust(1 << 20, b"\0"))
    return path


@pytest.mark.parametrize("chipset, buses, options, first", [
    ("q35", ["virtio", "virtio", "virtio"], [], 0),
    ("q35", ["virtio", "virtio,boot=2", "virtio,boot=1"], [], 2),
    ("q35", ["virtio", "sata", "sata,boot=1"], [], 2),
    ("q35", ["virtio", "sata", "nvme,boot=1"], [], 2),
    ("i440fx", ["virtio", "ide", "ide,boot=1"], [], 2),
    ("q35", ["virtio", "sata", "cdrom"], ["--boot", "order=dc"], 0),
    ("q35", ["virtio,boot=9", "sata", "virtio,boot=8"], ["--boot", "order=cd,menu=on,wait=100"], 2),
])
def test_boot_order(atoll, bios, tmp_path, chipset, buses, options, first):
    disks = []
    for number, bus in enumerate(buses):
        image = boot_sector(tmp_path / f"disk{number}", b"disk %d runs" % number)
        disks += ["--cdrom", image] if bus == "cdrom" else ["--disk", f"{image},format=raw,bus={bus}"]
    code, output = boot(atoll, "--board", f"pc,chipset={chipset}", "--debug-exit", "0x501", *disks, *options)
    assert b"disk %d runs" % first in output
    assert (b"Press ESC for boot menu" in output) == ("menu=on" in str(options))
    assert code == 0x21


@pytest.mark.parametrize("value, word", [("order=x", "order=x"), ("order=", "order="), ("menu=2", "menu"),
                                         ("cdn", "cdn"), ("wait=99999", "wait")])
def test_boot_mistakes(atoll, value, word):
    done = subprocess.run([atoll, "run", "--board", "pc", "--boot", value], capture_output=True, text=True)
    assert done.returncode == 64
    assert word in done.stderr and done.stderr.count("\n") == 1


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


def test_hpet(atoll, kernel, initramfs):
    """As the clock; Linux takes its timers in the place of the PIT's and the RTC's besides."""
    code, output = boot(atoll, "--board", "pc", "--kernel", kernel("cloud-amd64"), "--initrd", initramfs(),
                        "--no-reboot", "--memory", "512M", "--append",
                        "console=ttyS0 quiet panic=-1 atoll.mode=selftest clocksource=hpet")
    assert code == 0, output[-3000:]
    assert b"atoll: clocksource hpet" in output
    assert b"atoll: ok sleep" in output
    assert b"not ok" not in output


@pytest.mark.parametrize("chipset", CHIPSETS)
def test_seabios_on_the_screen(vms, bios, chipset):  # noqa: F811
    """Through the VGA BIOS."""
    vms.good("create", "pc", "--engine", "soft", "--board", f"pc,chipset={chipset}")
    vms.good("start", "pc")
    text = lambda: vms.run("screenshot", "pc", "--text").stdout  # none at first
    vms.wait_for(lambda: "No bootable device" in text(), LIMIT)


UEFI = "/usr/share/OVMF/OVMF_CODE_4M.fd"
COUNTER = pathlib.Path(__file__).resolve().parents[2] / "build" / "guest" / "uefi" / "counter.efi"


@pytest.fixture
def uefi():
    if not os.path.exists(UEFI):
        pytest.skip("the package ovmf is not installed")


@pytest.fixture
def fat(tmp_path):
    """Makes an image with a FAT file system that holds files: their paths and their bytes."""
    def make(files):
        image = tmp_path / "fat.img"
        image.write_bytes(b"")
        os.truncate(image, 36 << 20)
        run = lambda *command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        run("mformat", "-i", image, "-F", "::")
        directories = set()
        for path, content in files.items():
            for parent in reversed(pathlib.PurePosixPath(path).parents[:-1]):
                if parent not in directories:
                    directories.add(parent)
                    run("mmd", "-i", image, f"::/{parent}")
            file = tmp_path / "file"
            file.write_bytes(content)
            run("mcopy", "-i", image, file, f"::/{path}")
        return image
    return make


# The bus decides which of OVMF's drivers reads the disk.
@pytest.mark.parametrize("chipset, bus", [("q35", "virtio"), ("q35", "nvme"), ("q35", "ahci"), ("i440fx", "virtio")])
def test_uefi_starts_a_program(atoll, uefi, fat, chipset, bus):
    image = fat({"EFI/BOOT/BOOTX64.EFI": COUNTER.read_bytes()})
    code, output = boot(atoll, "--board", f"pc,chipset={chipset}", "--firmware", "uefi", "--no-reboot",
                        "--disk", f"{image},format=raw,bus={bus}", "--memory", "256M")
    assert b"uefi: the first start" in output
    assert b"cannot be" not in output
    assert code == 0


def test_uefi_keeps_its_variables(vms, uefi, fat):  # noqa: F811
    """The program resets the machine once and powers it off once; then the VM starts again."""
    image = fat({"EFI/BOOT/BOOTX64.EFI": COUNTER.read_bytes()})
    vms.good("create", "pc", "--engine", "soft", "--firmware", "uefi", "--memory", "256M", "--disk",
             f"{image},format=raw,bus=nvme")
    log = vms.directory("pc") / "console.log"
    for count in (1, 3):
        vms.good("start", "pc")
        vms.wait_for(lambda: vms.info("pc")["state"] == "stopped", LIMIT)
        assert f"uefi: started before: {count}".encode() in log.read_bytes()
    assert log.read_bytes().count(b"uefi: the first start") == 1
    assert (vms.directory("pc") / "uefi-vars.fd").stat().st_size == os.path.getsize(
        "/usr/share/OVMF/OVMF_VARS_4M.fd")
    # Firmware with other flash memory is refused.
    (vms.directory("pc") / "uefi-vars.fd").write_bytes(b"short")
    done = vms.run("start", "pc")
    assert done.returncode not in (0, 1, 134, 139)
    assert "uefi-vars.fd" in done.stderr


def test_uefi_shell(atoll, uefi, fat):
    """Its script writes to the disk."""
    image = fat({"startup.nsh": b"echo the script runs > fs0:\\marker.txt\r\nreset -s\r\n"})
    code, output = boot(atoll, "--firmware", "uefi", "--disk", f"{image},format=raw", "--memory", "256M")
    assert code == 0
    assert b"UEFI Interactive Shell" in output
    marker = subprocess.run(["mtype", "-i", image, "::/marker.txt"], capture_output=True, check=True)
    assert "the script runs" in marker.stdout.decode("utf-16")


def test_bad_firmware(atoll, tmp_path):
    path = tmp_path / "firmware"
    path.write_bytes(b"x" * 5000)
    code, _ = boot(atoll, "--firmware", path)
    assert code not in (0, 1, 134, 139)
