"""hvc0 on a terminal: the guest knows how large its window is, also when that changes."""
import os

import pexpect

from conftest import ROOT
from test_vms import Vms, vms  # noqa: F401

LIMIT = int(os.environ.get("ATOLL_BOOT_LIMIT", "60"))


def test_window(vms, kernel, initramfs):  # noqa: F811
    image = initramfs("amd64", f"{ROOT}/guest/initramfs/window:bin/test", modules=("virtio_pci", "virtio_console"))
    vms.good("create", "guest", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd", image,
             "--console", "attach", "--append", "console=ttyS0 panic=-1 quiet atoll.mode=test")
    assert "start it with" not in vms.good("start", "guest")
    terminal = pexpect.spawn(vms.atoll, ["console", "--hvc", "guest"], env=vms.env, timeout=LIMIT, dimensions=(31, 97))
    terminal.expect_exact("window 31 97")
    terminal.setwinsize(40, 132)
    terminal.expect_exact("window 40 132")
    terminal.send("words\n")
    terminal.expect_exact("heard words")
    terminal.send("\x01d")
    terminal.expect_exact("goes on")
    terminal.expect(pexpect.EOF)
    # Another window, and the guest hears of it.
    terminal = pexpect.spawn(vms.atoll, ["console", "--hvc", "guest"], env=vms.env, timeout=LIMIT, dimensions=(25, 81))
    terminal.expect_exact("window 25 81")
    terminal.send("end\n")
    terminal.expect(pexpect.EOF)
    vms.wait_for(lambda: vms.info("guest")["state"] == "stopped", LIMIT)


def test_mistakes(vms, kernel):  # noqa: F811
    vms.good("create", "plain", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--append", "panic=0")
    vms.good("start", "plain")
    done = vms.run("console", "--hvc", "plain")
    assert done.returncode == 78 and "--console attach" in done.stderr, done.stderr
    done = vms.run("run", "--kernel", kernel("cloud-amd64"), "--console", "attach")
    assert done.returncode == 78 and "--name" in done.stderr, done.stderr
    done = vms.run("run", "--kernel", "/nowhere", "--console", "window")
    assert done.returncode == 64 and "attach" in done.stderr, done.stderr
