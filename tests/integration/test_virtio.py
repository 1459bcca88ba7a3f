"""virtio devices against Linux's drivers: what the guest reads and writes is what the image holds."""
import hashlib
import os
import re
import socket
import subprocess
import time

import pytest

from conftest import ROOT
from test_boot import LIMIT

MODULES = ("virtio_pci", "virtio_blk", "virtio_rng", "virtio_console")
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


def run(atoll, kernel, initramfs, *options, mode="disk", append=""):
    done = subprocess.run([atoll, "run", "--engine", "soft", "--quiet", "--kernel", kernel("cloud-amd64"),
                           "--initrd", initramfs, "--no-reboot", *options, "--append",
                           f"console=ttyS0 panic=-1 quiet atoll.mode={mode} {append}"],
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


@pytest.mark.parametrize("options", ["", ",queues=1,transitional=on,aio=threads", ",cache=none,iops=20000,iops-burst=500,bps=1G,bps-burst=4M"],
                         ids=["modern", "transitional", "direct"])
def test_disk(atoll, kernel, drivers, image, options):
    before = sha256(image)
    output = run(atoll, kernel, drivers, "--cpus", "2", "--rng", "--disk", f"{image},format=raw,serial=atoll-1{options}")
    assert re.search(r"^atoll: disk 32768 atoll-1 ", output, re.M), output[-3000:]
    assert word(output, "read") == before
    assert len(re.findall(r"^atoll: ok ", output, re.M)) == 8, output[-3000:]
    assert word(output, "left") == sha256(image) != before


def test_packed_rings(atoll, kernel, drivers, image):
    """Linux takes VERSION_1 and RING_PACKED (bits 32 and 34) of a disk where they are offered."""
    features = word(run(atoll, kernel, drivers, "--disk", f"{image},format=raw"), "features")
    assert features[32] == features[34] == "1", features


def test_legacy_interface(atoll, kernel, drivers, image):
    """Linux's driver of the legacy interface, which it uses only where it is told to."""
    before = sha256(image)
    output = run(atoll, kernel, drivers, "--cpus", "2", "--rng", "--disk",
                 f"{image},format=raw,serial=atoll-1,transitional=on", append="virtio_pci.force_legacy=1")
    assert word(output, "features")[32] == "0"
    assert word(output, "read") == before
    assert word(output, "left") == sha256(image) != before


def test_read_only(atoll, kernel, drivers, image):
    before = sha256(image)
    image.chmod(0o400)
    output = run(atoll, kernel, drivers, "--disk", f"{image},format=raw,readonly=on")
    assert word(output, "read") == before == sha256(image)
    assert "atoll: left" not in output


def connect(path):
    for _ in range(300):
        try:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(LIMIT)
            client.connect(str(path))
            return client
        except OSError:
            client.close()
            time.sleep(0.1)
    raise AssertionError(f"nobody listens on {path}")


def test_ports(atoll, kernel, drivers, tmp_path):
    """A megabyte each way through a named port, and a line each way through hvc0."""
    sent = os.urandom(MIB)
    expected = b"".join(b"%d\n" % i for i in range(100000, 200000))
    expected += hashlib.sha256(sent).hexdigest().encode() + b"\n"
    process = subprocess.Popen(
        [atoll, "run", "--engine", "soft", "--quiet", "--kernel", kernel("cloud-amd64"), "--initrd", drivers,
         "--no-reboot", "--console", f"unix:{tmp_path}/hvc", "--port", f"unix:{tmp_path}/port,name=test",
         "--append", "console=ttyS0 panic=-1 quiet atoll.mode=ports"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        console, port = connect(tmp_path / "hvc"), connect(tmp_path / "port")
        port.sendall(sent)
        received = b""
        while len(received) < len(expected):
            received += port.recv(65536)
        assert received == expected
        port.sendall(b"well done\n")
        line = b""
        while b"console here" not in line:
            line += console.recv(4096)
        console.sendall(b"and here\n")
        output, errors = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()
    output = output.decode(errors="replace").replace("\r", "")
    assert process.returncode == 0, output[-3000:] + errors.decode(errors="replace")
    assert word(output, "port") == "test"
    assert "atoll: answer well done" in output and "atoll: console and here" in output, output[-3000:]
    assert not (tmp_path / "hvc").exists() and not (tmp_path / "port").exists()


@pytest.mark.parametrize("value,sentence", [
    ("a.img", "never guessed"),
    ("a.img,format=vmdk", "use format=raw or format=qcow2"),
    ("format=raw", "begin with its path"),
    ("a.img,format=raw,cache=fast", "use one of: writeback none"),
    ("a.img,format=raw,queues=99", "queues"),
    ("a.img,format=raw,wings=2", "wings"),
    ("a.img,format=raw,iops-burst=9", "burst without a rate"),
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
