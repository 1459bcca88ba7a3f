"""The xHCI with Linux's drivers: a disk, a keyboard and a tablet."""
import hashlib
import os
import re

import pytest

from conftest import ROOT
from test_boot import LIMIT
from test_vms import vms  # noqa: F401

MODULES = ("xhci-pci", "usbhid", "hid-generic", "evdev", "usb-storage", "sd_mod")
MIB = 1 << 20


@pytest.mark.parametrize("board, cpus", [("pc", 2), ("micro", 1)])
def test_linux(vms, kernel, initramfs, tmp_path, board, cpus):  # noqa: F811
    image = initramfs("amd64", f"{ROOT / 'guest/initramfs/usb'}:bin/test", modules=MODULES, drivers="amd64")
    disk = tmp_path / "disk.img"
    data = os.urandom(8 * MIB)
    disk.write_bytes(data)
    vms.good("create", "usb", "--engine", "soft", "--board", board, "--cpus", str(cpus), "--kernel",
             kernel("amd64"), "--initrd", image, "--append", "console=ttyS0 panic=-1 atoll.mode=test", "--disk",
             f"{disk},format=raw,bus=usb,serial=USB-17", "--keyboard", "usb", "--tablet=usb", "--no-reboot",
             "--display-device", "vga")
    vms.good("start", "usb")
    log = lambda: vms.run("logs", "usb").stdout.replace("\r", "")  # noqa: E731
    vms.wait_for(lambda: "usb: type" in log(), LIMIT)
    vms.good("type", "usb", "aB")
    vms.wait_for(lambda: "usb: point" in log(), LIMIT)
    vms.good("mouse", "usb", "to", "719", "399")
    vms.wait_for(lambda: "usb: errors" in log(), LIMIT)
    said = log()
    assert "usb: device USB disk speed 5000 serial USB-17" in said
    assert "usb: device USB keyboard speed 480 serial 1" in said
    assert f"usb: disk {8 * MIB // 512}" in said
    assert f"usb: read {hashlib.sha256(data).hexdigest()}" in said
    assert "usb: written" in said
    keys = re.findall(r"usb: key 1 (\d+) (\d)", said)
    assert keys == [("30", "1"), ("30", "0"), ("42", "1"), ("48", "1"), ("48", "0"), ("42", "0")]
    assert "usb: tablet 3 0 32767" in said
    assert "usb: errors 0" in said
    vms.wait_for(lambda: vms.info("usb")["state"] == "stopped", LIMIT)
    left = hashlib.sha256(disk.read_bytes()).hexdigest()
    assert f"usb: left {left}" in said
    assert disk.read_bytes()[3 * MIB:] == data[3 * MIB:]
