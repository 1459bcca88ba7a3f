"""Runs every guest payload and reads its report from the serial port; on the software engine in both
of its modes.

ATOLL_ENGINE chooses the engine (soft, in both of its modes), ATOLL_BINARY the program (build/atoll).
"""
import os
import pathlib
import subprocess
import sys
import threading

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


def run(payload, mode, directory):
    (directory / "share").mkdir()
    (directory / "pmem").write_bytes(bytes(2 << 20))
    options = [option.replace("{dir}", str(directory)) for option in payload.options]
    command = [ATOLL, "run", "--quiet", "--engine", ENGINE, "--cpus", str(payload.cpus),
               "--memory", payload.memory, "--debug-exit", DEBUG_EXIT, "--serial", "stdio",
               "--kernel", str(IMAGES / payload.name), *options]
    if mode:
        command += ["--soft-mode", mode]
    with open(directory / "said", "wb") as said, open(directory / "errors", "wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=errors)
    limit = threading.Timer(payload.seconds * SLOWER, process.kill)
    limit.start()
    _, status, usage = os.wait4(process.pid, 0)
    limit.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    read = [(directory / name).read_bytes().decode(errors="replace") for name in ("said", "errors")]
    return process.returncode, *read, usage.ru_maxrss >> 10


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.name)
def test_payload(payload, mode, tmp_path):
    if ENGINE not in payload.engines:
        pytest.skip(f"not for the engine {ENGINE}")
    assert (IMAGES / payload.name).exists(), "build it with ninja"
    code, said, errors, peak_mib = run(payload, mode, tmp_path)
    lines = said.replace("\r", "").splitlines()
    report = "\n".join(line for line in lines if not line.startswith("ok "))
    report += "\n" + errors
    checks = [line for line in lines if line.startswith(("ok ", "not ok ", "skip "))]

    assert not [line for line in lines if line.startswith("not ok ")], report
    assert f"end {len(checks)}" in lines, f"it did not get to its end\n{report}"
    lacking = sum(less for feature, less in payload.lacking
                  if f"skip {feature}: not in CPUID" in lines)
    assert len(checks) >= payload.checks - lacking, f"only {len(checks)} checks\n{report}"
    # isa-debug-exit: 0 becomes 1.
    assert code == (0 if payload.ends_by == "poweroff" else 1), report
    if payload.peak_mib and SLOWER == 1:
        assert peak_mib <= payload.peak_mib, f"it took {peak_mib} MiB\n{report}"
