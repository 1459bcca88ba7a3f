"""make acceptance: 'atoll run debian --firmware', the whole way from firmware through GRUB to systemd, and with
the disks and network cards that PCs had: SeaBIOS, IDE and e1000; OVMF and AHCI, with Secure Boot and without."""
import os
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from conftest import atoll  # noqa: E402,F401, fixture
from debian import Debian, needs  # noqa: E402
from test_acceptance import end, install  # noqa: E402
from test_firmware import bios, uefi  # noqa: E402,F401, fixtures

PROGRAM = """
#include <stdio.h>
int main(void) { double sum = 0; for (int i = 1; i <= 1000; i++) sum += 1.0 / i; printf("%.6f\\n", sum); return 0; }
"""
VARIABLE = "/sys/firmware/efi/efivars/Atoll-8c136d32-039a-4016-8bb4-9e985e62786f"


@pytest.fixture
def debian(atoll, tmp_path):  # noqa: F811
    if not os.environ.get("ATOLL_ACCEPTANCE"):
        pytest.skip("takes minutes: 'make acceptance' runs it")
    needs()
    debian = Debian(atoll, tmp_path / "home")
    yield debian
    debian.kill()


def secure_boot(debian):
    """The variable SecureBoot, behind its attributes; None: there is none."""
    value = debian.shell("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null || true").strip()
    return int(value) if value else None


def check(debian, firmware, disk, card):
    """Who started it, and behind which drivers its disk and its network are."""
    assert debian.is_running() == "running"
    assert debian.shell("test -d /sys/firmware/efi && echo uefi || echo bios").strip() == firmware.split(",")[0]
    if firmware == "uefi":
        assert secure_boot(debian) != 1
    if firmware == "uefi,secure=on":
        assert secure_boot(debian) == 1
        assert "secureboot: Secure boot enabled" in debian.shell("dmesg")
    # Linux names disks as it finds them, the one for cloud-init among them.
    assert re.fullmatch(disk, debian.shell("findmnt -no SOURCE /").strip())
    assert card in debian.shell("readlink -f /sys/class/net/e*/device/driver")


@pytest.mark.parametrize("firmware, chipset, bus, card", [
    ("bios", "i440fx", "ide", "e1000"),
    ("bios", "q35", "ide", "e1000"),
    ("uefi", "q35", "sata", "virtio"),
    ("uefi,secure=on", "q35", "sata", "virtio"),
])
def test_firmware(debian, bios, uefi, firmware, chipset, bus, card):  # noqa: F811
    debian.run("--engine", "soft", "--firmware", firmware, "--board", f"pc,chipset={chipset}")
    check(debian, firmware, "/dev/vda2", "virtio")
    assert debian.power_off() == 0
    spec = debian.path("vm.yaml")
    # OVMF's variables know the disk at its old place, and put its shell before new ones.
    text = spec.read_text().replace("format=qcow2", f"format=qcow2,bus={bus},boot=1")
    text = text.replace("format=raw", f"format=raw,bus={bus}")
    spec.write_text(text.replace("user,forward", f"user,model={card},forward"))
    debian.start()
    check(debian, firmware, "/dev/sd[ab]2", card)
    if "secure" in firmware:
        # By the kernel through firmware's SMI handler.
        debian.shell(f"printf '\\007\\000\\000\\000kept' >{VARIABLE}")
    install(debian, "tcc", "libc6-dev")
    debian.exec("sh", "-c", "cat >/root/sum.c", data=PROGRAM)
    debian.shell("cd /root; tcc -o sum sum.c; ./sum >sum.txt; sync")
    debian.reboot()
    check(debian, firmware, "/dev/sd[ab]2", card)
    if "secure" in firmware:
        assert debian.shell(f"tail -c 4 {VARIABLE}") == "kept"
    # The 1000th harmonic number.
    assert debian.shell("cat /root/sum.txt; /root/sum") == 2 * "7.485471\n"
    end(debian)
