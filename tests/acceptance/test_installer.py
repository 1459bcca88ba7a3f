"""make acceptance: Debian's installer runs without a question to its end, on BIOS and on UEFI, and what it has
installed starts from its own disk."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pexpect
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import installer  # noqa: E402
from conftest import atoll, kernel  # noqa: E402,F401, fixtures
from test_firmware import bios, uefi  # noqa: E402,F401, fixtures
from test_net import needs_passt  # noqa: E402

LIMIT = int(os.environ.get("ATOLL_INSTALLER_LIMIT", "7200"))


@pytest.fixture
def files(kernel):  # noqa: F811
    if not os.environ.get("ATOLL_ACCEPTANCE"):
        pytest.skip("takes an hour: 'make acceptance' runs it")
    if not all(shutil.which(tool) for tool in ("grub-mkrescue", "xorriso", "mformat", "cpio")):
        pytest.skip("the packages grub-common, xorriso, mtools or cpio are not installed")
    missing = installer.missing()
    if missing:
        pytest.skip(missing)
    return pathlib.Path(kernel("installer-amd64"))


@needs_passt
@pytest.mark.parametrize("firmware, bus, disk", [("bios", "virtio", "vda"), ("uefi", "sata", "sda")])
def test_installer(atoll, bios, uefi, files, tmp_path, firmware, bus, disk):  # noqa: F811
    """The machine resets by itself, from the disc to the disk."""
    disc, image = tmp_path / "installer.iso", tmp_path / "disk.qcow2"
    installer.make_disc(disc, files / "linux", files / "initrd.gz", disk)
    subprocess.run([atoll, "disk", "create", "--quiet", "--format", "qcow2", image, "6G"], check=True)
    started = time.monotonic()
    guest = pexpect.spawn(atoll, ["run", "--engine", "soft", "--firmware", firmware, "--memory", "1G", "--net", "user",
                                  "--disk", f"{image},format=qcow2,cache=unsafe,bus={bus},boot=1",
                                  "--cdrom", f"{disc},boot=2", "--rng"],
                          timeout=LIMIT, encoding="utf-8", codec_errors="replace")
    try:
        seen = guest.expect(["login: ", r"Prompt: '\?' for help", pexpect.EOF])
        assert seen == 0, f"after {time.monotonic() - started:.0f} s:\n{guest.before[-3000:]}"
        guest.sendline("root")
        guest.expect("Password: ")
        guest.sendline(installer.PASSWORD)
        guest.expect("# ")
        guest.sendline("systemctl is-system-running --wait; test -d /sys/firmware/efi && echo by uefi || echo by bios; "
                       "findmnt -no SOURCE /; poweroff")
        guest.expect("running")
        guest.expect(f"by {firmware}")
        guest.expect(f"/dev/{disk}")
        guest.expect(pexpect.EOF)
    finally:
        guest.close(force=True)
    subprocess.run([atoll, "disk", "check", image], check=True)
