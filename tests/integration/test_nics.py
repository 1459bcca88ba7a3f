"""Network cards of old with the drivers of Debian's full kernel: an address by DHCP, a large file in
and out, and the counters of errors."""
import subprocess

import pytest

from conftest import ROOT
from test_boot import LIMIT
from test_net import SIZE, Guest, free_port, hash_of, needs_passt, pattern, server  # noqa: F401

DRIVERS = {"e1000": "e1000", "rtl8139": "8139cp"}


@pytest.fixture(params=DRIVERS)
def model(request):
    return request.param


@pytest.fixture
def guest(atoll, kernel, initramfs, model):
    image = initramfs("amd64", f"{ROOT / 'guest/network/test'}:bin/test", modules=(DRIVERS[model],),
                      drivers="amd64")
    guests = []

    def start(options, append):
        guests.append(Guest(atoll, lambda _: kernel("amd64"), image, options, append))
        return guests[-1]
    yield start
    for each in guests:
        each.kill()


@needs_passt
def test_out(guest, model, server):  # noqa: F811
    port, data = server
    vm = guest(["--net", f"user,model={model},mac=52:54:00:12:34:56"],
               f"net.fetch=http://10.0.2.2:{port}/")
    assert vm.wait_for(r"^net: fetched (\d+) (\w+)$").groups() == (str(SIZE), hash_of(data))
    vm.end()
    assert "net: errors 0 0" in vm.output


@needs_passt
def test_in(guest, model):
    """Large segments, where the card cuts them."""
    port = free_port()
    vm = guest(["--net", f"user,model={model},forward=tcp:{port}:80", "--cpus", "2"],
               f"net.serve={SIZE}")
    vm.wait_for(r"^net: serving")
    done = subprocess.run(["curl", "-sS", "-m", str(LIMIT), f"http://127.0.0.1:{port}/pattern"],
                          capture_output=True, check=True)
    assert hash_of(done.stdout) == hash_of(pattern(SIZE))
    subprocess.run(["curl", "-sS", "-m", str(LIMIT), f"http://127.0.0.1:{port}/cgi-bin/stop"], check=True)
    vm.end()


def test_unknown_model(atoll):
    done = subprocess.run([atoll, "run", "--kernel", "/dev/null", "--net", "none,model=ne2000"],
                          capture_output=True, text=True)
    assert done.returncode == 64
    assert "use one of: virtio, e1000" in done.stderr
