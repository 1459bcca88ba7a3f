"""The line to the guest agent, a virtio-serial port, against Linux' driver."""
import hashlib
import os
import pathlib
import random
import socket
import subprocess

import pytest

from test_vms import console, expect, vms  # noqa: F401, a fixture

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = int(os.environ.get("ATOLL_BOOT_LIMIT", "60"))


@pytest.fixture
def guest(vms, kernel, tmp_path):
    image = str(tmp_path / "initramfs.gz")
    done = subprocess.run([ROOT / "tools" / "make-initramfs", "--module", "virtio_pci", "--module",
                           "virtio_console", image], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no initramfs: {done.stderr.strip()[-200:]}")
    vms.good("create", "vm", "--engine", "soft", "--agent", "--kernel", kernel("cloud-amd64"),
             "--initrd", image, "--append", "console=ttyS0 quiet panic=-1 atoll.mode=shell")
    vms.good("start", "vm")
    client = console(vms, "vm")
    expect(client, b"# ")
    return client


def port(vms):
    client = socket.socket(socket.AF_UNIX)
    directory = os.open(vms.directory("vm"), os.O_RDONLY)
    client.connect(f"/proc/self/fd/{directory}/agent.sock")
    os.close(directory)
    client.settimeout(LIMIT)
    return client


def tell(guest, line, marker):
    guest.sendall(line.encode() + b"\n")
    return expect(guest, marker)


def test_both_ways(vms, guest):
    tell(guest, "cat /sys/class/virtio-ports/vport*/name", b"org.qemu.guest_agent.0\r\n")
    line = port(vms)
    # The host's bytes wait until somebody in the guest opens the port.
    line.sendall(b"hello\n")
    tell(guest, "exec 3<>$(ls /dev/vport*p0); read -r word <&3; echo heard $word", b"heard hello\r\n")
    tell(guest, "echo answer >&3; echo sa''id", b"said\r\n")
    assert line.recv(100) == b"answer\n"

    data = random.Random(1).randbytes(1 << 20)
    guest.sendall(b"head -c 1048576 <&3 | sha256sum\n")
    line.sendall(data)
    expect(guest, hashlib.sha256(data).hexdigest().encode())

    # A host that does not read holds the guest's program back, and loses nothing.
    guest.sendall(b"head -c 3000000 /dev/zero >&3; echo sen''t\n")
    vms.good("info", "vm")
    left = 3000000
    while left:
        left -= len(line.recv(65536))
    expect(guest, b"sent\r\n")
    vms.good("kill", "vm")


def test_clients_come_one_after_the_other(vms, guest):
    tell(guest, "while :; do while read -r w; do echo got $w; done <$(ls /dev/vport*p0); sleep 0.1; done &"
         " echo rea''dy", b"ready\r\n")
    first, second = port(vms), port(vms)
    second.sendall(b"second\n")
    first.sendall(b"first\n")
    expect(guest, b"got first\r\n")
    first.close()
    expect(guest, b"got second\r\n")
    second.close()
    # And after a reset.
    third = port(vms)
    vms.good("reset", "vm")
    assert third.recv(1) == b""
    expect(guest, b"atoll: userland")
    fourth = port(vms)
    fourth.sendall(b"fourth\n")
    tell(guest, "read -r w <$(ls /dev/vport*p0); echo got $w", b"got fourth\r\n")
    vms.good("kill", "vm")


def test_program_that_ends(vms, guest):
    """Who was heard gets its last words and the end; who was not waits for the next program."""
    line = port(vms)
    line.sendall(b"question\n")
    guest.sendall(b"{ read -r w; echo answer; } <>$(ls /dev/vport*p0) >&0\n")
    with line.makefile("rb") as answers:
        assert answers.read() == b"answer\n"
    line = port(vms)
    tell(guest, "exec 3<$(ls /dev/vport*p0); exec 3<&-; echo clo''sed", b"closed\r\n")
    line.sendall(b"more\n")
    tell(guest, "read -r w <$(ls /dev/vport*p0); echo got $w", b"got more\r\n")
    vms.good("kill", "vm")
