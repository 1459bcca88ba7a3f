"""atoll run --trace: every line has the documented form, and each category has its events."""
import json
import pathlib
import re
import subprocess

import pytest

IMAGES = pathlib.Path(__file__).resolve().parents[2] / "build" / "guest" / "payload"
LINE = re.compile(r"^\d+\.\d{6} (\d+|-) (\w+) (\w+)( \w+=\S+)+$")


def trace(atoll, payload, categories, path):
    done = subprocess.run(
        [atoll, "run", "--engine", "soft", "--quiet", "--debug-exit", "0x501", "--memory", "64M",
         "--kernel", IMAGES / payload, "--trace", f"{categories}:{path}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    return path.read_text().splitlines()


@pytest.mark.parametrize("payload, categories", [
    ("smc64", "exits blocks io tlb requests"),
    ("irq64", "interrupts"),
    ("faults64", "faults"),
])
def test_categories(atoll, tmp_path, payload, categories):
    for category in categories.split():
        lines = trace(atoll, payload, category, tmp_path / category)
        assert lines, f"nothing of {category}"
        for line in lines:
            match = LINE.match(line)
            assert match and match.group(2) == category, line


def test_written_code_is_seen(atoll, tmp_path):
    """The payload writes code more often than it has functions."""
    lines = trace(atoll, "smc64", "blocks", tmp_path / "trace")
    assert sum(" page_killed " in line for line in lines) >= 10


def test_help(atoll):
    done = subprocess.run([atoll, "run", "--trace", "help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "port_read" in done.stdout and "interrupts" in done.stdout


def test_dump_code(atoll, tmp_path):
    """Each translated block, with the guest's instructions before the host's."""
    path = tmp_path / "code"
    done = subprocess.run(
        [atoll, "run", "--engine", "soft", "--quiet", "--debug-exit", "0x501", "--memory", "64M",
         "--kernel", IMAGES / "smc64", "--dump-code", path, "--stats=json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    text = path.read_text()
    blocks = re.findall(r"^block ([0-9a-f]{16}) .*\n((?:.+\n)+)", text, re.M)
    assert len(blocks) == json.loads(done.stderr)["blocks_translated"]
    for address, body in blocks:
        assert re.search(rf"^{address}  \S", body, re.M), body
        assert re.search(r"^    \+[0-9a-f]{4}  \S", body, re.M), body
    # The tests' machine has the disassembler.
    assert re.search(r"^[0-9a-f]{16}  mov ", text, re.M)
