"""A guest's memory goes back to the host when the guest does not use it (free page reporting)."""
import pathlib
import time

from conftest import ROOT
from test_boot import LIMIT
from test_net import Guest

MIB = 1 << 20
TAKEN = 300 * MIB


def peak(pid):
    """The most that was ever resident."""
    return int(pathlib.Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(status.split("Rss:")[1].split()[0]) * 1024


def test_free_page_reporting(atoll, kernel, initramfs):
    image = initramfs("amd64", f"{ROOT}/guest/initramfs/fill:bin/test",
                      modules=("virtio_pci", "virtio_balloon"))
    vm = Guest(atoll, kernel, image, ["--balloon", "--memory", "512M"], f"fill.bytes={TAKEN}")
    try:
        vm.wait_for(r"^fill: given back$")
        full = peak(vm.process.pid)
        assert full > TAKEN
        deadline = time.monotonic() + LIMIT
        while full - resident(vm.process.pid) < 0.9 * TAKEN:
            assert time.monotonic() < deadline, (full, resident(vm.process.pid))
            time.sleep(0.2)
    finally:
        vm.kill()
