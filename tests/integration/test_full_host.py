"""A disk that fills the host: the guest stands still, the user is told, and it goes on when there is room."""
import os
import re
import subprocess

import pytest

from conftest import ROOT
from test_hotplug import Guest
from test_vms import Vms, vms  # noqa: F401

MIB = 1 << 20


@pytest.fixture
def small(tmp_path):
    """A file system of 4 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "small", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_waits_for_room(vms, kernel, initramfs, small, format):  # noqa: F811
    image = initramfs("amd64", f"{ROOT}/guest/initramfs/writer:bin/test", modules=("virtio_pci", "virtio_blk"))
    vms.good("disk", "create", "--format", format, str(small / "disk"), "32M")
    vms.good("create", "guest", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd", image,
             "--disk", f"{small}/disk,format={format}", "--append", "console=ttyS0 panic=-1 quiet atoll.mode=test")
    vms.good("start", "guest")
    guest = Guest(vms, "guest")
    vms.wait_for(lambda: "writer: begins" in guest.log(), 90)
    vms.wait_for(lambda: vms.info("guest")["state"] == "paused", 60)
    assert "writer: wrote" not in guest.log()
    assert re.search(r"no room left for the image .*make room; the guest waits for it", vms.good("logs", "--atoll", "guest"))
    # It looks again and again, and nothing of that reaches the guest.
    assert not re.search("I/O error|Buffer I/O", guest.log())
    subprocess.run(["mount", "-o", "remount,size=64M", small], check=True)
    vms.wait_for(lambda: "writer: done" in guest.log(), 90)
    told = dict(re.findall(r"^writer: (noise|disk) (\w{64})$", guest.log(), re.M))
    assert told["noise"] == told["disk"] and "writer: wrote" in guest.log()
    assert not re.search("I/O error|BUG:|Call Trace|hung", guest.log())
    vms.wait_for(lambda: vms.info("guest")["state"] == "stopped", 60)
    if format == "qcow2":
        vms.good("disk", "check", str(small / "disk"))
    assert os.stat(small / "disk").st_blocks * 512 >= 10 * MIB
