"""Disks and network cards come and go while a Debian guest runs and reads from them."""
import hashlib
import os
import re
import subprocess

import pytest

from test_vms import Vms, vms  # noqa: F401
from test_virtio import drivers_with

MIB = 1 << 20


@pytest.fixture(scope="session")
def drivers(tmp_path_factory):
    return drivers_with(tmp_path_factory, "virtio_pci", "virtio_blk", "virtio_net")


def image(path, size=4 * MIB):
    path.write_bytes(os.urandom(size))
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Guest:
    def __init__(self, vms, name):
        self.vms, self.name = vms, name

    def log(self):
        path = self.vms.directory(self.name) / "console.log"
        return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""

    def wait_for_line(self, pattern, count=1):
        self.vms.wait_for(lambda: len(re.findall(rf"^atoll: {pattern}$", self.log(), re.M)) >= count, 60)


@pytest.fixture
def guest(vms, kernel, drivers, tmp_path):  # noqa: F811
    first = image(tmp_path / "first.img")
    vms.good("create", "guest", "--engine", "soft", "--cpus", "2", "--kernel", kernel("cloud-amd64"),
             "--initrd", drivers, "--disk", f"{tmp_path}/first.img,format=raw",
             "--append", "console=ttyS0 panic=-1 atoll.mode=hotplug")
    vms.good("start", "guest")
    guest = Guest(vms, "guest")
    guest.wait_for_line("hotplug ready")
    guest.wait_for_line(f"came vda {first}")
    yield guest
    for line in ("BUG:", "Call Trace", "Oops"):
        assert line not in guest.log()


def test_resize(vms, guest, tmp_path):  # noqa: F811
    vms.good("resize", "guest", "disk0", "6M")
    vms.wait_for(lambda: re.search(r"\[vda\] new size: 12288 512-byte", guest.log()), 60)
    assert os.stat(tmp_path / "first.img").st_size == 6 * MIB
    for arguments, sentence in ((("disk0", "5M"), "only grows"), (("disk7", "9M"), "no disk 'disk7'"),
                                (("disk0", "7000001"), "multiple of"), (("disk0", "big"), "is no size")):
        done = vms.run("resize", "guest", *arguments)
        assert done.returncode and sentence in done.stderr, done.stderr


def eventfds(vms):  # noqa: F811
    directory = f"/proc/{vms.info('guest')['pid']}/fd"
    return sum("eventfd" in os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory))


def test_disk(vms, guest, tmp_path):  # noqa: F811
    """Each is read whole, and all the time until it goes."""
    second = image(tmp_path / "second.img")
    os.chdir(tmp_path)
    held = eventfds(vms)
    for round in range(3):
        assert vms.good("plug", "guest", "--disk", "second.img,format=raw") == "disk1\n"
        guest.wait_for_line(f"came vdb {second}", round + 1)
        assert vms.good("devices", "guest").split() == ["disk0", "slot", "1", "disk1", "slot", "2"]
        vms.good("unplug", "--timeout", "50", "guest", "disk1")
        guest.wait_for_line("went vdb", round + 1)
    assert vms.good("devices", "guest").split() == ["disk0", "slot", "1"]
    # Nor are its queues' doorbells kept.
    vms.wait_for(lambda: eventfds(vms) == held)
    # The lock on the image has gone with the disk; the first disk went on.
    assert "went vda" not in guest.log()


def test_network_card(vms, guest, tmp_path):  # noqa: F811
    switch = subprocess.Popen([vms.atoll, "switch", str(tmp_path / "switch")])
    try:
        vms.wait_for((tmp_path / "switch").exists)
        for round in range(2):
            assert vms.good("plug", "guest", "--net",
                            f"switch,path={tmp_path}/switch,mac=52:54:00:00:00:07") == "net0\n"
            guest.wait_for_line("came eth0 52:54:00:00:00:07", round + 1)
            vms.good("unplug", "--timeout", "50", "guest", "net0")
            guest.wait_for_line("went eth0", round + 1)
    finally:
        switch.kill()
        switch.wait()


def test_pulled_out(vms, guest, tmp_path):  # noqa: F811
    """Without asking: the guest's reads fail, the VM and the other disk go on."""
    second = image(tmp_path / "second.img")
    vms.good("plug", "guest", "--disk", f"{tmp_path}/second.img,format=raw")
    guest.wait_for_line(f"came vdb {second}")
    vms.good("unplug", "guest", "disk1", "--force")
    assert vms.good("devices", "guest").split() == ["disk0", "slot", "1"]
    assert vms.info("guest")["state"] == "running"


def test_mistakes(vms, guest, tmp_path, kernel, drivers):  # noqa: F811
    def mistake(code, words, *arguments):
        done = vms.run(*arguments)
        assert done.returncode == code and words in done.stderr, done.stderr
    mistake(78, "no device 'disk7'", "unplug", "guest", "disk7")
    mistake(66, "missing.img", "plug", "guest", "--disk", f"{tmp_path}/missing.img,format=raw")
    mistake(64, "never guessed", "plug", "guest", "--disk", f"{tmp_path}/first.img")
    mistake(64, "nothing to plug", "plug", "guest")
    vms.good("create", "plain", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd", drivers,
             "--append", "console=ttyS0 atoll.mode=hotplug")
    vms.good("start", "plain")
    mistake(78, "start it with --pci", "plug", "plain", "--disk", f"{tmp_path}/first.img,format=raw")
