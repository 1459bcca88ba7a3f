"""PCI in a Debian guest: the bus is found through ACPI, and devices come and go while it runs."""
import os
import re
import subprocess

import pytest

from test_boot import LIMIT
from test_virtio import drivers  # noqa: F401


def boot(atoll, kernel, initramfs, append="", *more, mode="pci"):
    done = subprocess.run([atoll, "run", "--engine", "soft", "--kernel", kernel, "--initrd", initramfs,
                           "--cpus", "2", "--no-reboot", "--append",
                           f"console=ttyS0 panic=-1 atoll.mode={mode} {append}", *more],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    return done.returncode, done.stdout.decode(errors="replace").replace("\r", "")


@pytest.mark.parametrize("name", ["cloud-amd64", "amd64"])
def test_hotplug(atoll, kernel, initramfs, name):
    """The guest gives three orders: a card is plugged in and asked back, or the guest ejects it."""
    code, output = boot(atoll, kernel(name), initramfs(), "", "--test-card")
    assert code == 0, output[-3000:]
    results = re.findall(r"^atoll: (ok|not ok) (.*)$", output, re.M)
    assert not [name for result, name in results if result == "not ok"], output[-3000:]
    assert len(results) == 3 + 3 * 5, output[-3000:]
    assert "MMCONFIG at [mem 0xfe000000-0xfe0fffff] reserved" in output
    for line in ("BUG:", "Call Trace", "ACPI Error", "ACPI BIOS Error", "can't claim", "nobody cared"):
        assert line not in output


def test_no_bus_without_a_device(atoll, kernel, initramfs):
    code, output = boot(atoll, kernel("cloud-amd64"), initramfs())
    assert code == 0, output[-3000:]
    assert "PCI host bridge" not in output and "MCFG" not in output


def test_empty_bus(atoll, kernel, initramfs):
    code, output = boot(atoll, kernel("cloud-amd64"), initramfs(), "", "--pci")
    assert code == 0, output[-3000:]
    assert re.search(r"^atoll: pci 0000:00:00.0 0x8086 0x0d57 0x060000", output, re.M), output[-3000:]


@pytest.mark.parametrize("append", ["pci=nomsi", "pci=nomsi noapic"], ids=["ioapic", "pic"])
def test_interrupt_lines(atoll, kernel, drivers, tmp_path, append):  # noqa: F811
    """A disk and a source of random numbers whose interrupts are wires."""
    image = tmp_path / "disk.img"
    image.touch()
    os.truncate(image, 32 << 20)
    code, output = boot(atoll, kernel("cloud-amd64"), drivers, append, "--rng", "--disk",
                        f"{image},format=raw", mode="disk")
    assert code == 0, output[-3000:]
    assert len(re.findall(r"^atoll: ok ", output, re.M)) >= 4, output[-3000:]
    for line in ("atoll: not ok", "nobody cared", "BUG:", "Call Trace"):
        assert line not in output
