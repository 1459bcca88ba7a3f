"""Shared folders (virtio-fs) against Linux's driver: what one side writes is what the other reads."""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

import pytest

from conftest import ROOT
from test_boot import LIMIT
from test_virtio import run, sha256, word

MIB = 1 << 20
NOBODY = 65534



@pytest.fixture(scope="session")
def initramfs(tmp_path_factory):
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


def servers(pid):
    """The share servers of a VM, which may have other children."""
    done = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in done.stdout.splitlines() if "share-server" in line]


def test_loss_of_the_server(atoll, kernel, initramfs, folder):
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
                for child in servers(process.pid):
                    os.kill(child, 9)
        errors = process.stderr.read()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
    assert "not ok" not in seen and "atoll: ok back" in seen, seen[-2000:] + errors
    assert "is out: its server ended" in errors and "its server runs again" in errors, errors


@pytest.fixture(scope="session")
def calls(tmp_path_factory):
    """An initramfs whose /bin/test tries what a program can do in a folder."""
    path = tmp_path_factory.mktemp("calls") / "initramfs.gz"
    program = ROOT / "build" / "guest" / "share" / "share-calls"
    assert program.exists(), f"{program} is missing; run make"
    done = subprocess.run([ROOT / "tools" / "make-initramfs", "--module", "virtio_pci", "--module", "virtiofs",
                           "--add", f"{program}:bin/test", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no initramfs with drivers: {done.stderr.strip()[-200:]}")
    path.chmod(0o644)
    return str(path)


def make_traps(folder):
    """Links that lead out of the folder, on the host."""
    (folder.parent / "secret").write_text("secret")
    (folder / "out").symlink_to("/etc")
    (folder / "up").symlink_to("..")
    (folder / "dangling").symlink_to("/made")


def checks(output):
    count = int(word(output, "checks"))
    assert len(re.findall("^atoll: ok ", output, re.M)) == count, output[-3000:]
    return count


@pytest.mark.parametrize("options", ["", ",cache=none"], ids=["cached", "uncached"])
def test_calls(atoll, kernel, calls, folder, options):
    make_traps(folder)
    output = run(atoll, kernel, calls, "--cpus", "2", "--share", f"{folder},tag=work{options}",
                 mode="test")
    assert checks(output) >= 48
    assert not os.path.exists("/made") and (folder / "d" / "c").read_text() == "kept"
    assert stat.S_ISFIFO((folder / "p").stat().st_mode)


def test_calls_read_only(atoll, kernel, calls, folder):
    (folder / "kept").write_text("kept")
    output = run(atoll, kernel, calls, "--share", f"{folder},tag=work,readonly=on", mode="test share.readonly")
    assert checks(output) == 10
    assert sorted(p.name for p in folder.iterdir()) == ["from-host", "kept"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_root(atoll, kernel, calls):
    """Another user's VM: what the guest makes is that user's, and nothing else is needed."""
    with tempfile.TemporaryDirectory(prefix="atoll-share-") as name:
        place = pathlib.Path(name)
        folder = place / "folder"
        folder.mkdir()
        make_traps(folder)
        for source, target in ((atoll, "atoll"), (kernel("cloud-amd64"), "kernel"), (calls, "initramfs")):
            shutil.copy(source, place / target)
        place.chmod(0o755)
        for path in (place, folder):
            os.chown(path, NOBODY, NOBODY)
        output = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", place / "atoll", "run", "--engine",
             "soft", "--quiet", "--kernel", place / "kernel", "--initrd", place / "initramfs", "--no-reboot", "--share",
             f"{folder},tag=work", "--append", "console=ttyS0 panic=-1 quiet atoll.mode=test"], cwd=place,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, text=True, errors="replace")
        assert output.returncode == 0, output.stderr
        assert checks(output.stdout.replace("\r", "")) >= 48
        assert (folder / "d" / "c").stat().st_uid == NOBODY


@pytest.mark.skipif(os.geteuid() != 0 or not any(map(os.path.exists, (
    "/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"))), reason="virtiofsd is not installed, or needs root")
def test_virtiofsd(atoll, kernel, initramfs, folder):
    output = run(atoll, kernel, initramfs, "--share", f"{folder},tag=work,server=virtiofsd", mode="share")
    check_folder(folder, output)


@pytest.mark.parametrize("value,code,sentence", [
    (".", 64, "add tag=NAME"),
    ("tag=work", 64, "begin with a directory"),
    (".,tag=work,wings=2", 64, "wings"),
    (".,tag=work,server=samba", 64, "builtin virtiofsd"),
    (".,tag=work,cache=maybe", 64, "auto none"),
    (".,tag=" + "x" * 37, 64, "shorten it"),
    ("/nowhere,tag=work", 66, "/nowhere"),
    ("/etc/passwd,tag=work", 65, "no directory"),
])
def test_mistakes(atoll, kernel, value, code, sentence):
    done = subprocess.run([atoll, "run", "--quiet", "--kernel", kernel("cloud-amd64"), "--share", value],
                          capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr and done.stderr.count("\n") == 1
