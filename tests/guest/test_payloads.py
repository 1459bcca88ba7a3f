"""Runs every guest payload and reads its report from the serial port; on the software engine in both
of its modes.

ATOLL_ENGINE chooses the engine (soft, in both of its modes), ATOLL_BINARY the program (build/atoll).
"""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from payloads import PAYLOADS  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
IMAGES = ROOT / "build" / "guest" / "payload"
ATOLL = os.environ.get("ATOLL_BINARY", str(ROOT / "build" / "atoll"))
ENGINE = os.environ.get("ATOLL_ENGINE", "soft")
MODES = ["interpret", "translate"] if ENGINE == "soft" else [None]
SLOWER = 10 if os.environ.get("ATOLL_SANITIZED") else 1
DEBUG_EXIT = "0x501"
MODES = ["interpret", "translate"] if ENGINE == "soft" else [None]


def run(payload, mode):
    command = [ATOLL, "run", "--quiet", "--engine", ENGINE, "--cpus", str(payload.cpus),
               "--memory", payload.memory, "--debug-exit", DEBUG_EXIT, "--serial", "stdio",
               "--kernel", str(IMAGES / payload.name), *payload.options]
    if mode:
        command += ["--soft-mode", mode]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=payload.seconds * SLOWER, check=False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.name)
def test_payload(payload, mode):
    if ENGINE not in payload.engines:
        pytest.skip(f"not for the engine {ENGINE}")
    assert (IMAGES / payload.name).exists(), "build it with ninja"
    done = run(payload, mode)
    lines = done.stdout.decode(errors="replace").replace("\r", "").splitlines()
    report = "\n".join(line for line in lines if not line.startswith("ok "))
    report += "\n" + done.stderr.decode(errors="replace")
    checks = [line for line in lines if line.startswith(("ok ", "not ok ", "skip "))]

    assert not [line for line in lines if line.startswith("not ok ")], report
    assert f"end {len(checks)}" in lines, f"it did not get to its end\n{report}"
    lacking = sum(less for feature, less in payload.lacking
                  if f"skip {feature}: not in CPUID" in lines)
    assert len(checks) >= payload.checks - lacking, f"only {len(checks)} checks\n{report}"
    # isa-debug-exit: 0 becomes 1.
    assert done.returncode == (0 if payload.ends_by == "poweroff" else 1), report
