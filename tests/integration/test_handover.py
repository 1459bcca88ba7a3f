"""A machine that moves into fresh engines while Debian boots in it. Between both engines this runs in
the rig (tools/check-kvm); here on the software engine alone."""
import subprocess

from conftest import ROOT

PROGRAM = ROOT / "build" / "tests" / "guest" / "handover_boot"


def test_boot_while_moving(kernel, initramfs):
    done = subprocess.run([PROGRAM, "soft", "soft", kernel("cloud-amd64"), initramfs(), "2"],
                          capture_output=True, text=True, timeout=200, check=False)
    assert "not ok" not in done.stdout and "1..5" in done.stdout, done.stdout
