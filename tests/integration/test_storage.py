"""Disks and discs behind a PC's controllers: firmware and GRUB start from them, Linux's drivers read and
write them, discs are changed while the guest runs."""
import hashlib
import random
import shutil
import subprocess

import pytest

from conftest import ROOT
from test_boot import LIMIT
from test_firmware import bios, boot, boot_sector, uefi  # noqa: F401
from test_vms import vms  # noqa: F401

SIZE = 4 << 20
WRITTEN = "".join(f"{i}\n" for i in range(1, 100001)).encode()
WRITTEN_FLOPPY = "".join(f"{i}\n" for i in range(1, 20001)).encode()
EJECT = ROOT / "build" / "guest" / "storage" / "eject"


def content(seed, size=SIZE):
    return random.Random(seed).randbytes(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def grub(tmp_path_factory):
    """A disc with GRUB for BIOS and UEFI, which says that it runs and ends the machine."""
    if not all(shutil.which(tool) for tool in ("grub-mkrescue", "xorriso", "mformat")):
        pytest.skip("the packages grub-common, xorriso or mtools are not installed")
    directory = tmp_path_factory.mktemp("grub")
    (directory / "tree/boot/grub").mkdir(parents=True)
    (directory / "tree/boot/grub/grub.cfg").write_text(
        "serial --unit=0 --speed=115200\nterminal_output serial console\nterminal_input serial console\n"
        'echo "the platform is $grub_platform"\nls\noutb 0x501 0x10\n')
    image = directory / "grub.iso"
    subprocess.run(["grub-mkrescue", "-o", image, directory / "tree"], check=True,
                   capture_output=True)
    return image


@pytest.mark.parametrize("chipset", ["q35", "i440fx"])
@pytest.mark.parametrize("firmware, platform", [("bios", b"pc"), ("uefi", b"efi")])
def test_grub_starts_from_a_disc(atoll, bios, uefi, grub, chipset, firmware, platform):  # noqa: F811
    """In the drive on the chipset's own controller: AHCI, or IDE at the ports of old."""
    code, output = boot(atoll, "--board", f"pc,chipset={chipset}", "--firmware", firmware, "--memory", "256M",
                        "--cdrom", grub, "--debug-exit", "0x501")
    assert b"the platform is " + platform in output
    assert b"(cd" in output
    assert code == 0x21


@pytest.mark.parametrize("chipset, disks", [
    ("q35", {"sda": ("sata", "ahci 1f.2"), "nvme0n1": ("nvme", "nvme ")}),
    ("i440fx", {"sda": ("ide", "ata_piix 01.1")}),
])
def test_linux(vms, kernel, initramfs, tmp_path, chipset, disks):  # noqa: F811
    image = initramfs("amd64", f"{ROOT / 'guest/storage/test'}:bin/test", f"{EJECT}:bin/eject",
                      modules=("ahci", "ata_piix", "nvme", "sd_mod", "sr_mod"), drivers="amd64")
    options, discs = [], []
    for number, (name, (bus, _)) in enumerate(disks.items()):
        (tmp_path / name).write_bytes(content(number))
        options += ["--disk", f"{tmp_path / name},format=raw,bus={bus}"]
    for number in range(3):
        discs.append(tmp_path / f"disc{number}")
        discs[-1].write_bytes(content(10 + number, 1 << 20))
    vms.good("create", "pc", "--engine", "soft", "--board", f"pc,chipset={chipset}", "--kernel",
             kernel("amd64"), "--initrd", image, "--memory", "512M", "--no-reboot", *options, "--cdrom",
             discs[0], "--append", "console=ttyS0 quiet panic=-1 atoll.mode=test storage.disks="
             f"{','.join(disks)} storage.disc=sr0")
    vms.good("start", "pc")
    log = vms.directory("pc") / "console.log"
    said = lambda line: log.exists() and f"storage: {line}" in log.read_text(errors="replace")
    media = lambda *words: vms.run("media", "pc", "cdrom0", *words).returncode == 0
    vms.wait_for(lambda: said(f"sr0 holds {sha256(discs[0].read_bytes())}"), LIMIT)
    # Not while the guest reads, which locks the door.
    vms.wait_for(lambda: media(discs[1]), LIMIT)
    vms.wait_for(lambda: said("ejected, tray open"), LIMIT)
    assert said(f"sr0 holds {sha256(discs[1].read_bytes())}")
    vms.wait_for(lambda: media(discs[2]), LIMIT)
    vms.wait_for(lambda: vms.info("pc")["state"] == "stopped", LIMIT)
    assert said(f"sr0 holds {sha256(discs[2].read_bytes())}")
    for number, (name, (_, place)) in enumerate(disks.items()):
        before = content(number)
        assert said(f"{name} {place}")
        assert said(f"{name} holds {sha256(before)}")
        after = before[:1001000] + WRITTEN + before[1001000 + len(WRITTEN):]
        assert (tmp_path / name).read_bytes() == after
    assert "Call Trace" not in log.read_text(errors="replace")


def floppy(path, seed, kib):
    path.write_bytes(content(seed, kib << 10))
    return path


def test_floppy(vms, kernel, initramfs, tmp_path):
    """Linux's driver by DMA; another disk, which is read-only, comes while it runs."""
    image = initramfs("amd64", f"{ROOT / 'guest/storage/floppy'}:bin/test", modules=("floppy",), drivers="amd64")
    first, second = floppy(tmp_path / "first", 1, 720), floppy(tmp_path / "second", 2, 1440)
    vms.good("create", "pc", "--engine", "soft", "--board", "pc,chipset=i440fx", "--kernel", kernel("amd64"),
             "--initrd", image, "--memory", "512M", "--no-reboot", "--floppy", first, "--floppy", "none",
             "--append", "console=ttyS0 quiet panic=-1 atoll.mode=test")
    vms.good("start", "pc")
    log = vms.directory("pc") / "console.log"
    said = lambda line: log.exists() and f"floppy: {line}" in log.read_text(errors="replace")
    before = first.read_bytes()
    after = before[:1001 * 512] + WRITTEN_FLOPPY + before[1001 * 512 + len(WRITTEN_FLOPPY):]
    vms.wait_for(lambda: said("written"), LIMIT)
    assert said("drives /dev/fd0 /dev/fd1")
    assert said(f"holds {sha256(before)}") and said(f"written, holds {sha256(after)}")
    assert vms.run("media", "pc", "floppy0", "/dev/null").returncode == 65
    assert vms.good("devices", "pc").split()[-2:] == ["floppy0", "floppy1"]
    vms.good("media", "pc", "floppy0", f"{second},readonly=on")
    vms.wait_for(lambda: vms.info("pc")["state"] == "stopped", LIMIT)
    assert said(f"holds {sha256(second.read_bytes())}") and said("is protected")
    assert first.read_bytes() == after and second.read_bytes() == content(2, 1440 << 10)
    assert "Call Trace" not in log.read_text(errors="replace")


@pytest.mark.parametrize("chipset, kib", [("i440fx", 360), ("q35", 2880)])
def test_floppy_boots(atoll, bios, tmp_path, chipset, kib):  # noqa: F811
    """Its boot sector, before a disk's if it comes first."""
    image, disk = boot_sector(tmp_path / "floppy", b"the floppy runs"), boot_sector(tmp_path / "disk", b"the disk runs")
    image.write_bytes(image.read_bytes()[:512].ljust(kib << 10, b"\0"))
    for order, first in (("ac", b"floppy"), ("ca", b"disk")):
        code, output = boot(atoll, "--board", f"pc,chipset={chipset}", "--debug-exit", "0x501", "--floppy", image,
                            "--disk", f"{disk},format=raw", "--boot", f"order={order}")
        assert b"the %s runs" % first in output
        assert code == 0x21


@pytest.mark.parametrize("options, words", [
    (["--board", "pc", "--floppy", "small"], ["small", "truncate"]),
    (["--board", "micro", "--kernel", "small", "--floppy", "none"], ["--board pc"]),
    (["--board", "pc", "--floppy", "small,bus=ide"], ["bus"]),
    (["--board", "pc", *3 * ["--floppy", "none"]], ["2 times"]),
])
def test_floppy_mistakes(atoll, tmp_path, options, words):
    (tmp_path / "small").write_bytes(bytes(1024))
    done = subprocess.run([atoll, "run", *options], cwd=tmp_path, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    assert done.returncode in (64, 65, 78)
    assert all(word in done.stderr for word in words) and done.stderr.count("\n") == 1
