"""The smaller devices of a PC with the drivers of Debian's full kernel: SMBIOS, further serial lines and
the parallel port, watchdog, pvpanic, generation identifier; with firmware and without."""
import json
import os
import socket
import subprocess
import threading

import pytest

from conftest import ROOT
from test_boot import LIMIT
from test_vms import vms  # noqa: F401

UUID = "12345678-9abc-4def-8123-456789abcdef"
APPEND = "console=ttyS0 panic=0 atoll.mode=test "


class Guest:
    def __init__(self, atoll, kernel, image, options, append):
        command = [atoll, "run", "--engine", "soft", "--kernel", kernel("amd64"), "--initrd", image,
                   "--append", APPEND + append, *options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace")
        self.limit = threading.Timer(LIMIT, self.process.kill)
        self.limit.start()
        self.output = ""

    def wait_for(self, text):
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return line.strip()
        raise AssertionError(f"the guest has not said '{text}':\n{self.output[-3000:]}")

    def end(self):
        self.output += self.process.stdout.read()
        return self.process.wait()

    def kill(self):
        self.limit.cancel()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def guest(atoll, kernel, initramfs):
    image = initramfs("amd64", f"{ROOT / 'guest/initramfs/devices'}:bin/test",
                      modules=("i6300esb", "pvpanic-mmio", "parport_pc", "lp"), drivers="amd64")
    guests = []

    def start(options, append=""):
        guests.append(Guest(atoll, kernel, image, options, append))
        return guests[-1]
    yield start
    for each in guests:
        each.kill()


def control(directory, command):
    """One request to a VM's control socket, whose path may be longer than an address holds."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT)
        held = os.open(directory, os.O_PATH)
        client.connect(f"/proc/self/fd/{held}/control.sock")
        os.close(held)
        lines = client.makefile("rw")
        lines.readline()
        lines.write(json.dumps({"id": 1, "command": command}) + "\n")
        lines.flush()
        return json.loads(lines.readline())


def answer(path):
    """A file behind a serial line cannot answer: a socket does."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(path))
    line.settimeout(LIMIT)
    said = b""
    while not said.endswith(b"\n"):
        said += line.recv(100)
    line.sendall(b"answered\n")
    return said.strip()


@pytest.mark.parametrize("board", ["pc", "micro"])
def test_identity_lines_and_printer(guest, tmp_path, board):
    heard = []
    vm = guest(["--board", board, "--no-reboot", "--smbios",
                f"product=Test machine,serial=S-17,uuid={UUID}", "--com2", f"unix:{tmp_path}/com2",
                "--parallel", f"file:{tmp_path}/printed"])
    listener = threading.Thread(target=lambda: heard.append(answer(tmp_path / "com2")))
    vm.wait_for("devices: dmi bios_vendor")
    listener.start()
    code = vm.end()
    listener.join()
    for line in ("sys_vendor Atoll", "product_name Test machine", "product_serial S-17",
                 f"product_uuid {UUID}"):
        assert f"devices: dmi {line}" in vm.output
    assert heard == [b"written to ttyS1"]
    assert "devices: read from ttyS1 answered" in vm.output
    assert "ttyS1 port 0x2F8 irq 3" in vm.output
    assert "devices: printed" in vm.output
    assert (tmp_path / "printed").read_text().split() == [str(n) for n in range(1, 1001)]
    assert code == 0


def test_watchdog(guest):
    """It resets the guest, which finds out why; the second time it is switched off."""
    vm = guest(["--board", "pc", "--watchdog", "reset"], "i6300esb.heartbeat=2 devices.hang=1")
    assert "status 0" in vm.wait_for("devices: watchdog i6300ESB timer")
    vm.wait_for("has not served its watchdog; it is reset")
    assert "status 32" in vm.wait_for("devices: watchdog i6300ESB timer")


def test_panic(guest):
    vm = guest(["--board", "pc", "--panic", "poweroff"], "devices.panic=1")
    vm.wait_for("devices: acpi QEMU0001")
    vm.wait_for("the guest says that it has crashed")
    assert vm.end() == 0


def test_generation(vms, kernel, initramfs):  # noqa: F811
    image = initramfs("amd64", f"{ROOT / 'guest/initramfs/devices'}:bin/test", drivers="amd64")
    vms.good("create", "pc", "--engine", "soft", "--board", "pc", "--kernel", kernel("amd64"), "--initrd", image,
             "--append", APPEND, "--generation-id")
    vms.good("start", "pc")
    log = lambda: vms.run("logs", "pc").stdout
    vms.wait_for(lambda: "devices: waits" in log(), LIMIT)
    assert "devices: vmgenid 1" in log()
    assert "result" in control(vms.directory("pc"), "new-generation")
    vms.wait_for(lambda: "devices: reseeded" in log(), LIMIT)
    assert "devices: reseeded 1" in log()


@pytest.mark.parametrize("option, value, word", [
    ("--com2", "stdio", "file:PATH"), ("--smbios", "colour=red", "colour"), ("--smbios", "uuid=1", "uuid"),
    ("--watchdog", "bark", "poweroff"), ("--panic", "keep", "poweroff")])
def test_mistakes(atoll, option, value, word):
    done = subprocess.run([atoll, "run", "--kernel", "/dev/null", option, value], capture_output=True, text=True)
    assert done.returncode == 64
    assert word in done.stderr
