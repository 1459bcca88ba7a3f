"""Each guest of tools/guests runs to its proof ('make acceptance'), on the software engine and, in the nested rig, on
KVM. Without QEMU beside it: what that takes is for docs/guests.md."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "guests"
NAMES = [line.split()[0] for line in subprocess.run([TOOL, "--list"], capture_output=True, text=True,
                                                    check=True).stdout.splitlines()]


def prove(name, *options):
    fetched = subprocess.run([TOOL, "--fetch", name], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"cannot be had: {fetched.stderr.strip()[-200:]}")
    done = subprocess.run([TOOL, *options, name], capture_output=True, text=True)
    if done.stdout.startswith("skip "):
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(not os.environ.get("ATOLL_ACCEPTANCE"), reason="takes minutes: 'make acceptance' runs it")
@pytest.mark.parametrize("name", NAMES)
def test_guest(name):
    prove(name, "--no-qemu")


@pytest.mark.skipif(not os.environ.get("ATOLL_ACCEPTANCE"), reason="takes minutes: 'make acceptance' runs it")
@pytest.mark.parametrize("name", NAMES)
def test_guest_on_kvm(name):
    prove(name, "--kvm")
