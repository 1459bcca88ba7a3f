"""make acceptance: memtest86+ from its disc, by a BIOS: a whole pass, which its screen tells."""
import os
import pathlib
import re
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from conftest import atoll, kernel  # noqa: E402,F401, fixtures
from test_firmware import bios  # noqa: E402,F401, fixture
from test_vms import vms  # noqa: E402,F401, fixture

LIMIT = int(os.environ.get("ATOLL_MEMTEST_LIMIT", "1200"))


@pytest.mark.parametrize("image", ["memtest86+x64.iso", "memtest86+ia32.iso"])
def test_a_pass(vms, kernel, bios, image):  # noqa: F811
    """Its last test waits for 160 seconds."""
    if not os.environ.get("ATOLL_ACCEPTANCE"):
        pytest.skip("takes minutes: 'make acceptance' runs it")
    vms.good("create", "memtest", "--engine", "soft", "--board", "pc", "--memory", "48M", "--cdrom",
             pathlib.Path(kernel("memtest")) / image)
    vms.good("start", "memtest")
    end, text = time.monotonic() + LIMIT, ""
    while not re.search(r"Pass: +[1-9]", text):
        assert time.monotonic() < end, text
        time.sleep(2)
        text = vms.run("screenshot", "memtest", "--text").stdout  # none at first
    assert re.search(r"Errors: 0", text), text
    vms.good("kill", "memtest")
