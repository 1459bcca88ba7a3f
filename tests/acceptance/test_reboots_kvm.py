"""make acceptance: fifty reboots of a small guest on the KVM engine, in the rig (tools/rig.py), where Debian makes only
a few (test_debian_kvm.py). ATOLL_RIG_SMALL_REBOOTS is another number; tests/acceptance/rig-reboots is the rig's side."""
import os
import pathlib
import subprocess
import sys

import pytest

from test_acceptance import atoll  # noqa: F401, fixture

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import rig  # noqa: E402

REBOOTS = int(os.environ.get("ATOLL_RIG_SMALL_REBOOTS", "50"))
LIMIT_S = 600 + 60 * REBOOTS


def build_tree(tree, program):
    rig.begin_tree(tree)
    [kernel] = rig.fetch("cloud-amd64")
    rig.add_program(tree, program, "bin/atoll")
    rig.add(tree, kernel, "guest/kernel")
    subprocess.run([ROOT / "tools" / "make-initramfs", tree / "guest" / "initramfs"], check=True)
    (tree / "guest" / "parameters").write_text(f"reboots={REBOOTS}\n")
    rig.add(tree, ROOT / "tests" / "acceptance" / "rig-reboots", "init.local")
    for name in ("rig-virtio", "rig-vhost"):
        (tree / name).touch()


def test_reboots(atoll, tmp_path, capfd):  # noqa: F811
    try:
        build_tree(tmp_path / "tree", atoll)
    except SystemExit:
        pytest.skip(capfd.readouterr().out.strip())
    rig.pack(tmp_path / "tree", tmp_path / "rig.cpio")
    with rig.running(tmp_path / "rig.cpio", LIMIT_S) as machine:
        said = machine.stdout.read()
    with capfd.disabled():
        print("".join(line + "\n" for line in said.splitlines() if line.startswith("# ")))
    assert f"ok KVM: {REBOOTS} reboots" in said and "not ok" not in said, said[-5000:]
