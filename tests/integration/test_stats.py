"""atoll run --stats: the counters are there in both forms, and the exact ones are what the interpreter has."""
import json
import pathlib
import subprocess

import pytest

IMAGES = pathlib.Path(__file__).resolve().parents[2] / "build" / "guest" / "payload"


def stats(atoll, payload, mode, *options):
    done = subprocess.run(
        [atoll, "run", "--engine", "soft", "--soft-mode", mode, "--quiet", "--debug-exit", "0x501",
         "--memory", "64M", "--kernel", IMAGES / payload, *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_json(atoll):
    counters = json.loads(stats(atoll, "smc64", "translate", "--stats=json"))
    assert counters["blocks_translated"] > 0
    assert counters["code_pages_killed"] >= 10
    assert counters["translation_ns"] > 0
    assert "instructions_executed_translated" not in counters


def test_text_says_what_counters_mean(atoll):
    lines = stats(atoll, "smc64", "translate", "--stats").splitlines()
    assert any(line.startswith("TLB misses, write ") and "walked" in line for line in lines)
    assert len(lines) >= 15


@pytest.mark.parametrize("payload", ["fpu64", "paging64", "smc64", "syscall64"])
def test_exact_counts_do_not_depend_on_the_mode(atoll, payload):
    totals = []
    for mode in ("interpret", "translate"):
        counters = json.loads(stats(atoll, payload, mode, "--stats=json,exact"))
        totals.append(counters["instructions_interpreted"] +
                      counters.get("instructions_executed_translated", 0))
        assert ("instructions_executed_translated" in counters) == (mode == "translate")
    # The guest polls its serial line now and then, three instructions a turn.
    assert abs(totals[0] - totals[1]) <= 30, totals
    assert totals[0] > 10000
