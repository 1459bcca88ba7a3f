"""A guest's memory goes back to the host when the guest does not use it (free page reporting)."""
import pathlib
import time

from conftest import ROOT
from test_net import Guest

MIB = 1 << 20
TAKEN = 300 * MIB


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(status.split("Rss:")[1].split()[0]) * 1024


def test_free_page_reporting(atoll, kernel, initramfs):
    image = initramfs("amd64", f"{ROOT}/guest/initramfs/fill:bin/test",
                      modules=("virtio_pci", "virtio_balloon"))
    vm = Guest(atoll, kernel, image, ["--balloon", "--memory", "512M"], f"fill.bytes={TAKEN}")
    try:
        vm.wait_for(r"^fill: taken$")
        full = resident(vm.process.pid)
        assert full > TAKEN
        vm.wait_for(r"^fill: given back$")
        deadline = time.monotonic() + 15
        while full - resident(vm.process.pid) < 0.9 * TAKEN:
            assert time.monotonic() < deadline, (full, resident(vm.process.pid))
            time.sleep(0.2)
    finally:
        vm.kill()
