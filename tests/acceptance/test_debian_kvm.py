"""make acceptance: the catalogue's Debian on the KVM engine, in the rig (tools/rig.py), whose one processor is emulated:
a boot takes minutes. The software engine makes its disk ready, so that the guest also moves from one engine to the
other. ATOLL_RIG_REBOOTS and ATOLL_RIG_STRESS_S make it shorter or longer; tests/acceptance/rig-debian is the rig's side."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

from test_acceptance import atoll, end, install, start  # noqa: F401, fixtures

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import rig  # noqa: E402

REBOOTS = int(os.environ.get("ATOLL_RIG_REBOOTS", "5"))
STRESS_S = int(os.environ.get("ATOLL_RIG_STRESS_S", "300"))
LIMIT_S = 3600 + 600 * REBOOTS + 4 * STRESS_S
STEPS = ("boot to the last unit", "fio --verify", f"{REBOOTS} reboots", f"stress-ng for {STRESS_S} s",
         "a balloon of half the memory", "no complaints, power off", "exit code")


@pytest.fixture
def disks(start):  # noqa: F811
    """The directory of a VM whose disk has what the rig, which has no network, cannot install."""
    debian = start("--cpus", "2")
    install(debian, "fio", "stress-ng")
    end(debian)
    return debian.vms.directory(debian.name)


def build_tree(tree, program, disks):
    rig.begin_tree(tree)
    (tree / "drives").write_text("\n".join(rig.add_drives(tree)) + "\n")
    rig.add_program(tree, program, "bin/atoll")
    for name in ("vmlinuz", "initrd.img"):
        rig.add(tree, disks / name, f"guest/{name}")
    (tree / "guest" / "parameters").write_text(f"reboots={REBOOTS} stress_s={STRESS_S}\n")
    rig.add(tree, ROOT / "tests" / "acceptance" / "rig-debian", "init.local")
    for name in ("rig-virtio", "rig-vhost"):
        (tree / name).touch()


def check_file_system(disk, raw):
    subprocess.run(["qemu-img", "check", "-q", disk], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    done = subprocess.run(["/sbin/e2fsck", "-fn", raw], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kvm(atoll, disks, tmp_path, capfd):  # noqa: F811
    said = []
    try:
        build_tree(tmp_path / "tree", atoll, disks)
    except SystemExit:
        pytest.skip(capfd.readouterr().out.strip())
    rig.pack(tmp_path / "tree", tmp_path / "rig.cpio")
    options = ["-drive", f"file={disks}/root.qcow2,format=qcow2,if=virtio", "-drive",
               f"file={disks}/seed.img,format=raw,if=virtio,readonly=on"]
    with rig.running(tmp_path / "rig.cpio", LIMIT_S, options=options) as machine:
        for line in machine.stdout:
            line = line.rstrip()
            said.append(line)
            if re.match(r"(ok|not ok|#|rig:) ?", line):
                with capfd.disabled():
                    print(line, flush=True)
    text = "\n".join(said)
    assert "not ok" not in text and "rig: done" in text, text[-5000:]
    for step in STEPS:
        assert f"ok Debian on KVM: {step}" in text, text[-5000:]
    check_file_system(disks / "root.qcow2", tmp_path / "root.img")
