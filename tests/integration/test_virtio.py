"""virtio devices against Linux's drivers: what the guest reads and writes is what the image holds."""
import hashlib
import os
import re
import subprocess

import pytest

from conftest import ROOT
from test_boot import LIMIT

MODULES = ("virtio_pci", "virtio_blk", "virtio_rng")
MIB = 1 << 20


def drivers_with(tmp_path_factory, *modules):
    """An initramfs with drivers of the cloud kernel."""
    path = tmp_path_factory.mktemp("drivers") / "initramfs.gz"
    command = [ROOT / "tools" / "make-initramfs"]
    for module in modules:
        command += ["--module", module]
    done = subprocess.run([*command, path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no initramfs with drivers: {done.stderr.strip()[-200:]}")
    return str(path)


@pytest.fixture(scope="session")
def drivers(tmp_path_factory):
    return drivers_with(tmp_path_factory, *MODULES)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(16 * MIB))
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(atoll, kernel, initramfs, *options, mode="disk"):
    done = subprocess.run([atoll, "run", "--engine", "soft", "--quiet", "--kernel", kernel("cloud-amd64"),
                           "--initrd", initramfs, "--no-reboot", *options, "--append",
                           f"console=ttyS0 panic=-1 quiet atoll.mode={mode}"],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    output = done.stdout.decode(errors="replace").replace("\r", "")
    assert done.returncode == 0, output[-3000:] + done.stderr.decode(errors="replace")
    assert "atoll: not ok" not in output, output[-3000:]
    for line in ("BUG:", "Call Trace", "I/O error"):
        assert line not in output
    return output


def word(output, name):
    found = re.search(rf"^atoll: {name} (\S+)", output, re.M)
    assert found, output[-3000:]
    return found[1]


@pytest.mark.parametrize("options", ["", ",queues=1,transitional=on,aio=threads", ",cache=none,iops=20000"],
                         ids=["modern", "transitional", "direct"])
def test_disk(atoll, kernel, drivers, image, options):
    before = sha256(image)
    output = run(atoll, kernel, drivers, "--cpus", "2", "--rng", "--disk", f"{image},format=raw,serial=atoll-1{options}")
    assert re.search(r"^atoll: disk 32768 atoll-1 ", output, re.M), output[-3000:]
    assert word(output, "read") == before
    assert len(re.findall(r"^atoll: ok ", output, re.M)) == 8, output[-3000:]
    assert word(output, "left") == sha256(image) != before


def test_read_only(atoll, kernel, drivers, image):
    before = sha256(image)
    image.chmod(0o400)
    output = run(atoll, kernel, drivers, "--disk", f"{image},format=raw,readonly=on")
    assert word(output, "read") == before == sha256(image)
    assert "atoll: left" not in output


@pytest.mark.parametrize("value,sentence", [
    ("a.img", "never guessed"),
    ("a.img,format=vmdk", "use format=raw or format=qcow2"),
    ("format=raw", "begin with its path"),
    ("a.img,format=raw,cache=fast", "use one of: writeback none"),
    ("a.img,format=raw,queues=99", "queues"),
    ("a.img,format=raw,wings=2", "wings"),
    ("a.img,format=raw,serial=123456789012345678901", "shorten it"),
])
def test_mistakes(atoll, value, sentence):
    done = subprocess.run([atoll, "run", "--kernel", "/nowhere", "--disk", value], capture_output=True, text=True)
    assert done.returncode == 64, done.stderr
    assert sentence in done.stderr and done.stderr.count("\n") == 1


def test_missing_image(atoll, kernel, tmp_path):
    done = subprocess.run([atoll, "run", "--quiet", "--kernel", kernel("cloud-amd64"), "--disk",
                           f"{tmp_path}/none.img,format=raw"], capture_output=True, text=True)
    assert done.returncode == 66 and "none.img" in done.stderr, done.stderr
