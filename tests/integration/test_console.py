"""The serial console on a terminal: keys, raw mode and its restoration, input that loses nothing."""
import hashlib
import os
import pathlib
import pty
import random
import signal
import subprocess
import termios
import threading
import time

import pexpect
import pytest

from test_virtio import connect

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOT_LIMIT = int(os.environ.get("ATOLL_BOOT_LIMIT", "120"))


def shell_command(kernel, initramfs, *more):
    return ["run", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd", initramfs(),
            "--append", "console=ttyS0 quiet panic=-1 atoll.mode=shell", "--no-reboot", *more]


@pytest.fixture
def shell(atoll, kernel, initramfs):
    child = pexpect.spawn(atoll, shell_command(kernel, initramfs), timeout=BOOT_LIMIT,
                          encoding="utf-8", codec_errors="replace")
    child.expect("atoll: userland")
    child.expect("# ")
    yield child
    child.close(force=True)


def test_typing(shell):
    shell.sendline("echo $((6 * 7))")
    shell.expect("42\r\n")
    shell.expect("# ")
    shell.sendline("poweroff -f")
    shell.expect(pexpect.EOF)
    shell.wait()
    shell.close()
    assert shell.exitstatus == 0


def test_keys(shell):
    shell.send("\x01h")
    shell.expect("Ctrl-A x")
    shell.sendline("")
    shell.expect("# ")
    shell.send("\x01x")
    shell.expect(pexpect.EOF)
    shell.wait()
    shell.close()
    assert shell.exitstatus == 0


def settings(fd):
    return termios.tcgetattr(fd)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP, signal.SIGSEGV])
def test_terminal_is_restored(atoll, kernel, initramfs, end):
    master, slave = pty.openpty()
    before = settings(slave)
    child = subprocess.Popen([atoll, *shell_command(kernel, initramfs)], stdin=slave, stdout=slave,
                             stderr=subprocess.PIPE, preexec_fn=os.setsid)
    limit = time.monotonic() + 60
    while settings(slave) == before and time.monotonic() < limit:
        time.sleep(0.02)
    assert settings(slave) != before, "the terminal never went raw"
    child.send_signal(end)
    child.wait(60)
    limit = time.monotonic() + 60
    while settings(slave) != before and time.monotonic() < limit:
        time.sleep(0.02)
    assert settings(slave) == before
    os.close(master)
    os.close(slave)


def test_terminal_untouched_by_a_mistake(atoll):
    master, slave = pty.openpty()
    before = settings(slave)
    subprocess.run([atoll, "run", "--kernel", "/etc/passwd"], stdin=slave, stdout=slave,
                   stderr=subprocess.DEVNULL, timeout=20)
    assert settings(slave) == before
    os.close(master)
    os.close(slave)


def test_sigterm_asks_then_ends(atoll, kernel, initramfs):
    child = subprocess.Popen([atoll, *shell_command(kernel, initramfs)], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    limit = threading.Timer(BOOT_LIMIT, child.kill)
    limit.start()
    try:
        assert any("atoll: userland" in line for line in child.stdout)
        child.send_signal(signal.SIGTERM)
        # Two that come before the first has been taken are one.
        assert any("asking the guest to power off" in line for line in child.stderr)
        time.sleep(0.5)
        assert child.poll() is None, "one SIGTERM must only ask the guest"
        child.send_signal(signal.SIGTERM)
        assert child.wait() == 143
    finally:
        limit.cancel()
        child.kill()
        child.wait()


def test_a_megabyte_pasted_loses_nothing(atoll, kernel, initramfs, tmp_path):
    size = 1 << 20
    path = tmp_path / "console"
    child = subprocess.Popen([atoll, "run", "--engine", "soft", "--kernel", kernel("cloud-amd64"),
                              "--initrd", initramfs(), "--append",
                              f"console=ttyS0 quiet panic=-1 atoll.mode=input atoll.bytes={size}",
                              "--no-reboot", "--serial", f"unix:{path}"],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = connect(path)
        seen = b""

        def expect(marker):
            nonlocal seen
            while marker not in seen:
                data = client.recv(65536)
                assert data, f"the console closed before {marker!r}: {seen[-500:]!r}"
                seen += data
            seen = seen[seen.index(marker) + len(marker):]

        # Every byte value: the console is raw on both ends.
        data = random.Random(1).randbytes(size)
        expect(b"atoll: input ready")
        client.sendall(data)
        expect(hashlib.sha256(data).hexdigest().encode())
        assert child.wait(BOOT_LIMIT) == 0
    finally:
        child.kill()
        child.wait()


def test_sigterm_presses_the_power_button(atoll):
    """A guest that heeds the button powers off by itself: exit code 0."""
    image = ROOT / "build" / "guest" / "payload" / "powerbutton32"
    child = subprocess.Popen([atoll, "run", "--engine", "soft", "--quiet", "--kernel", str(image),
                              "--debug-exit", "0x501"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    limit = threading.Timer(60, child.kill)
    limit.start()
    try:
        lines = []
        for line in child.stdout:
            lines.append(line.strip())
            if line.strip() == "waiting":
                child.send_signal(signal.SIGTERM)
        assert child.wait() == 0
        assert "ok pressed" in lines
        assert not [line for line in lines if line.startswith("not ok")]
    finally:
        limit.cancel()
        child.kill()
        child.wait()
