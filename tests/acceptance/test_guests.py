"""Each guest of tools/guests runs to its proof ('make acceptance'). Without QEMU: what that takes is for
docs/guests.md."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "guests"
NAMES = [line.split()[0] for line in subprocess.run([TOOL, "--list"], capture_output=True, text=True,
                                                    check=True).stdout.splitlines()]


@pytest.mark.skipif(not os.environ.get("ATOLL_ACCEPTANCE"), reason="takes minutes: 'make acceptance' runs it")
@pytest.mark.parametrize("name", NAMES)
def test_guest(name):
    fetched = subprocess.run([TOOL, "--fetch", name], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"cannot be had: {fetched.stderr.strip()[-200:]}")
    done = subprocess.run([TOOL, "--no-qemu", name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
