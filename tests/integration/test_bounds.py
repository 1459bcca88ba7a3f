"""A guest that makes new code all the time does not grow the process: docs/soft-engine.md, Bounds.
tools/stress --code is this for an hour."""
import json
import pathlib
import subprocess

PAYLOAD = pathlib.Path(__file__).resolve().parents[2] / "build" / "guest" / "payload" / "codegen64"
BOUND_KIB = 128 << 10  # of one vCPU, beyond the guest's memory


def test_generated_code(atoll):
    done = subprocess.run(
        [atoll, "run", "--engine", "soft", "--quiet", "--debug-exit", "0x501", "--memory", "64M",
         "--kernel", PAYLOAD, "--append", "passes=2", "--time", "--stats=json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "not ok" not in done.stdout, done.stdout + done.stderr
    numbers = {}
    for line in done.stderr.splitlines():
        if line.startswith("{"):
            numbers.update(json.loads(line))
    assert numbers["code_cache_flushes"] > 3
    assert numbers["code_pages_killed"] > 1000
    assert numbers["own_resident_kib"] < BOUND_KIB
