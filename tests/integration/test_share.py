"""Shared folders (virtio-fs) against Linux's driver: what one side writes is what the other reads."""
import os
import re
import subprocess

import pytest

from test_boot import LIMIT
from test_virtio import run, sha256, word

MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not any(map(os.path.exists, ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"))),
    reason="virtiofsd is not installed, or needs root")


@pytest.fixture(scope="session")
def initramfs(tmp_path_factory):
    from conftest import ROOT
    path = tmp_path_factory.mktemp("share") / "initramfs.gz"
    done = subprocess.run([ROOT / "tools" / "make-initramfs", "--module", "virtio_pci", "--module", "virtiofs", path],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no initramfs with drivers: {done.stderr.strip()[-200:]}")
    return str(path)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "from-host").write_bytes(os.urandom(5 * MIB))
    return folder


def check_folder(folder, output):
    assert word(output, "seen") == sha256(folder / "from-host")
    assert word(output, "written") == sha256(folder / "from-guest")
    assert sorted(p.name for p in (folder / "many").iterdir()) == sorted(
        [str(i) for i in range(1, 101) if i not in (7, 8)] + ["seven"])


def test_share(atoll, kernel, initramfs, folder):
    output = run(atoll, kernel, initramfs, "--cpus", "2", "--share", f"{folder},tag=work", mode="share")
    check_folder(folder, output)
    assert len(re.findall(r"^atoll: ok ", output, re.M)) == 8, output[-3000:]


def test_read_only(atoll, kernel, initramfs, folder):
    before = sha256(folder / "from-host")
    output = run(atoll, kernel, initramfs, "--share", f"{folder},tag=work,readonly=on",
                 mode="share atoll.writable=0")
    assert word(output, "seen") == word(output, "seen again") == before == sha256(folder / "from-host")
    assert [p.name for p in folder.iterdir()] == ["from-host"]


def children(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def test_loss_of_virtiofsd(atoll, kernel, initramfs, folder):
    """The mount fails as one whose server is gone does; mounting again brings the share back."""
    process = subprocess.Popen([atoll, "run", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd",
                                initramfs, "--no-reboot", "--share", f"{folder},tag=work", "--append",
                                "console=ttyS0 panic=-1 quiet atoll.mode=share atoll.lose=1"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = ""
    try:
        for line in process.stdout:
            seen += line
            if "atoll: lose it" in line:
                for child in children(process.pid):
                    os.kill(child, 9)
        errors = process.stderr.read()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
    assert "not ok" not in seen and "atoll: ok back" in seen, seen[-2000:] + errors
    assert "is out: virtiofsd ended" in errors and "virtiofsd runs again" in errors, errors


@pytest.mark.parametrize("value,code,sentence", [
    (".", 64, "add tag=NAME"),
    ("tag=work", 64, "begin with a directory"),
    (".,tag=work,wings=2", 64, "wings"),
    (".,tag=" + "x" * 37, 64, "shorten it"),
    ("/nowhere,tag=work", 66, "/nowhere"),
    ("/etc/passwd,tag=work", 65, "no directory"),
])
def test_mistakes(atoll, kernel, value, code, sentence):
    done = subprocess.run([atoll, "run", "--quiet", "--kernel", kernel("cloud-amd64"), "--share", value],
                          capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr and done.stderr.count("\n") == 1
