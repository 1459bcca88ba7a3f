"""Memory that comes and goes while the guest runs (virtio-mem), balloons, and persistent memory."""
import hashlib
import os
import re

import pytest

from conftest import ROOT
from test_balloon import resident
from test_hotplug import Guest as NamedGuest
from test_net import Guest
from test_vms import Vms, vms  # noqa: F401

MIB = 1 << 20


@pytest.fixture
def image(initramfs):
    return initramfs("amd64", f"{ROOT}/guest/initramfs/memory:bin/test",
                     modules=("virtio_pci", "virtio_balloon", "virtio_pmem", "nd_pmem", "virtio_mem"))


class MemoryGuest(NamedGuest):
    def wait_for_total(self, low, high):
        def inside():
            found = re.findall(r"^memory: total (-?\d+)$", self.log(), re.M)
            return found and low <= int(found[-1]) <= high
        self.vms.wait_for(inside, 90)

    def numbers(self, command, *size):
        return dict(line.split(": ") for line in self.vms.good(command, self.name, *size).splitlines())


@pytest.fixture
def guest(vms, kernel, image, request):  # noqa: F811
    vms.good("create", "guest", "--engine", "soft", "--board", getattr(request, "param", "micro"), "--kernel", kernel("cloud-amd64"), "--initrd", image,
             "--memory", "256M,max=1280M", "--balloon", "--append", "console=ttyS0 panic=-1 quiet atoll.mode=test")
    vms.good("start", "guest")
    guest = MemoryGuest(vms, "guest")
    vms.wait_for(lambda: "memory: ready" in guest.log(), 90)
    yield guest
    for line in ("BUG:", "Call Trace", "Oops"):
        assert line not in guest.log()


@pytest.mark.parametrize("guest", ["pc"], indirect=True)
def test_grow_and_shrink(vms, guest):  # noqa: F811
    pid = vms.info("guest")["pid"]
    assert guest.numbers("memory") == {"base": "256 MiB", "max": "1280 MiB", "requested": "256 MiB",
                                       "plugged": "256 MiB"}
    assert guest.numbers("memory", "1280M")["requested"] == "1280 MiB"
    guest.wait_for_total(900, 1024)
    vms.wait_for(lambda: "memory: freed" in guest.log(), 90)
    assert f"memory: filled {300 * MIB}" in guest.log() and "memory: right" in guest.log()
    assert guest.numbers("memory")["plugged"] == "1280 MiB"
    # What is unplugged is the host's again.
    guest.numbers("memory", "256M")
    vms.wait_for(lambda: guest.numbers("memory")["plugged"] == "256 MiB", 90)
    assert resident(pid) < 450 * MIB
    assert vms.info("guest")["memory"]["plugged_bytes"] == 256 * MIB
    # A reset takes all of it away, and Linux asks for what is wished anew.
    guest.numbers("memory", "512M")
    vms.wait_for(lambda: guest.numbers("memory")["plugged"] == "512 MiB", 90)


def test_balloon(vms, guest):  # noqa: F811
    """Part of the memory goes to the host and comes back; Linux tells how it is, and what is free."""
    for _ in range(2):
        # The second round finds what the first one gave back; nothing stays with the driver.
        hinted = guest.numbers("balloon", "--hint")["hinted"].split()
        assert 64 <= int(hinted[0]) < 256, hinted
    guest.numbers("balloon", "192M")
    vms.wait_for(lambda: guest.numbers("balloon")["inflated"] == "64 MiB", 60)
    told = vms.info("guest")["balloon"]
    assert told["target_bytes"] == 192 * MIB
    vms.wait_for(lambda: "free_bytes" in vms.info("guest")["balloon"]["statistics"], 20)
    statistics = vms.info("guest")["balloon"]["statistics"]
    assert 0 < statistics["free_bytes"] < statistics["total_bytes"] < 256 * MIB
    assert {"major_faults", "minor_faults", "available_bytes", "disk_caches_bytes"} <= set(statistics)
    guest.numbers("balloon", "256M")
    vms.wait_for(lambda: guest.numbers("balloon")["inflated"] == "0 MiB", 60)


def test_mistakes(vms, guest):  # noqa: F811
    for arguments, sentence in ((("memory", "guest", "2G"), "between 256 and 1280 MiB"),
                                (("memory", "guest", "much"), "is no size"),
                                (("balloon", "guest", "300M"), "256 MiB"),
                                (("memory",), "one VM has to be named")):
        done = vms.run(*arguments)
        assert done.returncode and sentence in done.stderr, done.stderr


@pytest.mark.parametrize("board,read_only", [("micro", False), ("micro", True), ("pc", False), ("pc,chipset=i440fx", True)])
def test_pmem(atoll, kernel, image, tmp_path, board, read_only):
    path = tmp_path / "pmem"
    path.write_bytes(os.urandom(8 * MIB))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    vm = Guest(atoll, kernel, image, ["--board", board, "--pmem", f"{path}{',readonly=on' if read_only else ''}"],
               f"memory.pmem={'readonly' if read_only else 'on'}")
    try:
        assert vm.wait_for(r"^memory: size (\d+)$")[1] == str(8 * MIB // 512)
        assert vm.wait_for(r"^memory: read (\w{64})$")[1] == before
        if not read_only:
            vm.wait_for("^memory: flushed$")
            wrote = vm.wait_for(r"^memory: wrote (\w+)$")[1]
            assert hashlib.sha256(path.read_bytes()[3 * MIB:7 * MIB]).hexdigest() == wrote
        again = vm.wait_for(r"^memory: read again (\w+)$")[1]
        vm.end()
        after = hashlib.sha256(path.read_bytes()).hexdigest()
        assert after == again and (after == before) == read_only
    finally:
        vm.kill()
