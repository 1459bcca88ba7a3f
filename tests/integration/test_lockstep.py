"""The translator in lockstep with the interpreter, over payloads and the start of a Debian boot; with
the whole state compared after each block, and with blocks linked. ATOLL_LOCKSTEP says after how many
instructions the boot ends (make lockstep: all of it)."""
import os
import pathlib
import re
import subprocess

import pytest

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
LOCKSTEP = BUILD / "tests" / "guest" / "lockstep_boot"
INSTRUCTIONS = int(os.environ.get("ATOLL_LOCKSTEP", 200_000_000))
WAYS = [[], ["-l"]]
PAYLOADS = ["clocks64", "control64", "debug64", "doublefault64", "faults64", "fpu64", "gates64",
            "paging64", "singlestep64", "smc64", "syscall64", "tlb64"]


def lockstep(*arguments):
    done = subprocess.run([LOCKSTEP, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:]
    counts = re.search(r"# (\d+) instructions, (\d+) of them translated, (\d+) comparisons",
                       done.stdout)
    return [int(number) for number in counts.groups()], done.stdout


@pytest.mark.parametrize("way", WAYS, ids=["blocks", "linked"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_payload(payload, way):
    if way and payload in ("debug64", "singlestep64"):
        pytest.skip("stops by the host's time do not fall between single steps")
    (instructions, translated, _), _ = lockstep(*way, "5000000",
                                                BUILD / "guest" / "payload" / payload)
    assert instructions > 10000
    assert translated > instructions / 4  # the rest is not 64-bit code, or at the ports


@pytest.mark.parametrize("way", WAYS, ids=["blocks", "linked"])
def test_boot(kernel, initramfs, way):
    (instructions, translated, comparisons), output = lockstep(
        *way, str(INSTRUCTIONS), kernel("cloud-amd64"), initramfs(),
        "console=ttyS0 panic=-1 atoll.mode=selftest")
    assert instructions >= INSTRUCTIONS or "atoll: done" in output
    # Block by block, an indirect branch that the jump cache misses is the interpreter's.
    assert translated > instructions * (0.99 if way else 0.97)
    assert way or comparisons > instructions / 10
