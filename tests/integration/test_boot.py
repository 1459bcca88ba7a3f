"""Debian's kernels reach userland on the software engine, count their CPUs, compute, sleep for the
right time, and power off."""
import os
import re
import subprocess
import threading

import pytest

from conftest import ROOT

MODES = ["interpret", "translate", "direct"]
LIMIT = int(os.environ.get("ATOLL_BOOT_LIMIT", "180"))


def boot(atoll, kernel, initramfs, cpus, append="", *more):
    done = subprocess.run([atoll, "run", "--engine", "soft", "--kernel", kernel, "--initrd",
                           initramfs, "--cpus", str(cpus), "--memory", "512M", "--append",
                           f"console=ttyS0 panic=-1 atoll.mode=selftest atoll.cpus={cpus} {append}", "--no-reboot",
                           *more],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    return done.returncode, done.stdout.decode(errors="replace").replace("\r", "")


def assert_selftest(code, output, cpus):
    assert "atoll: userland" in output, output[-3000:]
    assert code == 0, output[-3000:]
    results = re.findall(r"^atoll: (ok|not ok) (.*)$", output, re.M)
    assert not [name for result, name in results if result == "not ok"], output[-3000:]
    assert len(results) >= 5 + cpus, output[-3000:]
    assert re.search(rf"^atoll: cpus {cpus}$", output, re.M), output[-3000:]
    for line in ("Kernel panic", "BUG:", "Oops", "Call Trace", "rcu: INFO", "soft lockup"):
        assert line not in output


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_cloud_kernel(atoll, kernel, initramfs, cpus, mode):
    assert_selftest(*boot(atoll, kernel("cloud-amd64"), initramfs(), cpus, "", "--soft-mode", mode),
                    cpus)


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_full_kernel(atoll, kernel, initramfs, cpus):
    assert_selftest(*boot(atoll, kernel("amd64"), initramfs(), cpus), cpus)


@pytest.mark.parametrize("cpus", [1, 2])
def test_32_bit_kernel(atoll, kernel, initramfs, cpus):
    assert_selftest(*boot(atoll, kernel("686-pae"), initramfs("i386"), cpus), cpus)


VECTOR_STATE = f"{ROOT}/build/guest/vector/vector-state:bin/vector-state"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3"])
def test_cpu_models(atoll, kernel, initramfs, cpu, mode):
    """Without and with AVX; processes keep their vector registers while they take turns."""
    code, output = boot(atoll, kernel("cloud-amd64"), initramfs("amd64", VECTOR_STATE), 2, "",
                        "--cpu", cpu, "--soft-mode", mode)
    assert_selftest(code, output, 2)
    assert "atoll: ok vector-state" in output


def test_reboot_restarts(atoll, kernel, initramfs):
    """The guest reboots once: it sees the kernel start twice, and then powers off by itself."""
    child = subprocess.Popen([atoll, "run", "--engine", "soft", "--kernel", kernel("cloud-amd64"),
                              "--initrd", initramfs(), "--append",
                              "console=ttyS0 quiet panic=-1 atoll.mode=reboot"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    limit = threading.Timer(LIMIT, child.kill)
    limit.start()
    try:
        seen = 0
        for line in child.stdout:
            if b"atoll: userland" in line:
                seen += 1
                if seen == 2:
                    break
        assert seen == 2
    finally:
        limit.cancel()
        child.kill()
        child.wait()
