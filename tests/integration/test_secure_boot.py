"""Secure Boot and system management mode: what is signed starts, what is not is refused, and variables that SMM
wrote stay."""
import os
import subprocess

import pytest

from test_boot import LIMIT
from test_firmware import COUNTER, boot, fat  # noqa: F401
from test_vms import vms  # noqa: F401

CODE = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
# Variables whose keys come with their private half.
SNAKEOIL = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"
KEY, CERTIFICATE = "/usr/share/ovmf/PkKek-1-snakeoil.key", "/usr/share/ovmf/PkKek-1-snakeoil.pem"
SECURE = ["--firmware", "uefi,secure=on"]


@pytest.fixture
def secure():
    if not os.path.exists(CODE):
        pytest.skip("the package ovmf is not installed")


@pytest.fixture
def signed(secure, tmp_path):
    """COUNTER, signed by the snakeoil key."""
    key, program = tmp_path / "key", tmp_path / "signed.efi"
    try:
        subprocess.run(["openssl", "rsa", "-passin", "pass:snakeoil", "-in", KEY, "-out", key], check=True,
                       capture_output=True)
        subprocess.run(["sbsign", "--key", key, "--cert", CERTIFICATE, "--output", program, COUNTER], check=True,
                       capture_output=True)
    except FileNotFoundError as missing:
        pytest.skip(f"{missing.filename} is not installed")
    return program.read_bytes()


def read_until(atoll, mark, *options):
    """What the serial line says up to `mark`."""
    run = subprocess.Popen([atoll, "run", "--engine", "soft", "--memory", "256M", *options],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output = b""
    try:
        while mark not in output:
            byte = run.stdout.read(1)
            assert byte, output
            output += byte
    finally:
        run.kill()
        run.wait()
    return output


def test_unsigned_is_refused(atoll, secure, fat):  # noqa: F811
    """The program and OVMF's own shell; the program starts without secure=on (test_firmware.py)."""
    image = fat({"EFI/BOOT/BOOTX64.EFI": COUNTER.read_bytes()})
    output = read_until(atoll, b"No bootable option", *SECURE, "--cpus", "2", "--disk", f"{image},format=raw")
    assert b"Access Denied" in output
    assert b"Security Violation" in output
    assert b"uefi: " not in output and b"Shell>" not in output


def test_signed_starts_and_variables_stay(vms, signed, fat):  # noqa: F811
    """The program counts its starts in a variable, which the SMI handler writes."""
    image = fat({"EFI/BOOT/BOOTX64.EFI": signed})
    vms.good("create", "pc", "--engine", "soft", *SECURE, "--firmware-vars", SNAKEOIL, "--cpus", "2", "--memory",
             "256M", "--disk", f"{image},format=raw")
    log = vms.directory("pc") / "console.log"
    for count in (1, 3):
        vms.good("start", "pc")
        vms.wait_for(lambda: vms.info("pc")["state"] == "stopped", LIMIT)
        assert f"uefi: started before: {count}".encode() in log.read_bytes()
    assert b"cannot be" not in log.read_bytes()
    kept = vms.directory("pc") / "uefi-vars-secure.fd"
    assert kept.stat().st_size == os.path.getsize(SNAKEOIL)
    assert not (vms.directory("pc") / "uefi-vars.fd").exists()


@pytest.mark.parametrize("unsigned", [None, "kernel"])
def test_debian(atoll, secure, kernel, initramfs, fat, unsigned):  # noqa: F811
    """Its shim, which Microsoft signed, its GRUB and its kernel."""
    loaders, linux = kernel("secure-boot"), open(kernel("cloud-amd64"), "rb").read()
    if unsigned:
        linux = linux[:0x5000] + bytes([linux[0x5000] ^ 1]) + linux[0x5001:]
    image = fat({
        "EFI/BOOT/BOOTX64.EFI": open(f"{loaders}/shimx64.efi", "rb").read(),
        "EFI/BOOT/grubx64.efi": open(f"{loaders}/grubx64.efi", "rb").read(),
        "EFI/debian/grub.cfg": b"serial --unit=0 --speed=115200\nterminal_output serial\necho GRUB runs\n"
                               b"linux /vmlinuz console=ttyS0 panic=-1 atoll.mode=script\ninitrd /initrd\n"
                               b"echo nothing to boot\nboot\nsleep 1\nhalt\n",
        "vmlinuz": linux,
        "initrd": open(initramfs(), "rb").read(),
    })
    code, output = boot(atoll, *SECURE, "--cpus", "2", "--no-reboot", "--memory", "512M", "--disk",
                        f"{image},format=raw")
    assert code == 0
    assert b"GRUB runs" in output
    if unsigned:
        assert b"bad shim signature" in output
        assert b"Linux version" not in output
    else:
        assert b"secureboot: Secure boot enabled" in output
        assert b"Kernel is locked down from EFI Secure Boot" in output
        assert b"atoll: userland" in output
        for line in (b"BUG:", b"Call Trace", b"ACPI Error", b"ACPI BIOS Error"):
            assert line not in output


@pytest.mark.parametrize("options, word", [
    (["--firmware", "bios,secure=on"], "uefi,secure=on"),
    (["--firmware", "uefi,secure=maybe"], "secure"),
    (["--firmware", "uefi,smm=on"], "smm"),
    ([*SECURE, "--board", "pc,chipset=i440fx"], "chipset=q35"),
    ([*SECURE, "--board", "micro"], "--board pc"),
    ([*SECURE, "--memory", "48M"], "64 MiB"),
    (["--firmware", f"{CODE},secure=on"], "--firmware-vars"),
])
def test_mistakes(atoll, secure, options, word):
    done = subprocess.run([atoll, "run", "--engine", "soft", *options], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=LIMIT)
    assert done.returncode not in (0, 1, 134, 139)
    assert word in done.stderr and done.stderr.count("\n") == 1
