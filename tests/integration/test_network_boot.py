"""Boot ROMs of network cards: SeaBIOS and OVMF start iPXE from them, which gets an address and boots a
kernel over HTTP."""
import functools
import http.server
import os
import subprocess
import threading

import pytest

from conftest import ROOT
from test_boot import LIMIT
from test_firmware import bios, uefi  # noqa: F401
from test_net import needs_passt
from test_vms import vms  # noqa: F401

PAYLOADS = ROOT / "build" / "guest" / "payload"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    """The payloads, at a port of this host's loopback, which is 10.0.2.2 for a guest."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=PAYLOADS)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def machine(vms):  # noqa: F811
    """Starts a machine; returns what tells whether a text is on its serial line."""
    def start(*options):
        vms.good("create", "pc", "--engine", "soft", "--memory", "256M", *options)
        vms.good("start", "pc")
        log = vms.directory("pc") / "console.log"
        return lambda text: log.exists() and text in log.read_bytes()
    return start


def needs_rom(path):
    if not os.path.exists(path):
        pytest.skip("the package ipxe-qemu is not installed")


@needs_passt
@pytest.mark.parametrize("model, driver", [("virtio", b"virtio-net"), ("e1000", b"82540em"), ("rtl8139", b"rtl8139")])
def test_bios(vms, machine, bios, web, model, driver):  # noqa: F811
    needs_rom(f"/usr/lib/ipxe/qemu/pxe-{model}.rom")
    said = machine("--board", "pc", "--net", f"user,model={model}", "--boot", "order=n")

    def prompt():
        vms.run("keys", "pc", "ctrl-b")
        return said(b"iPXE>")
    vms.wait_for(lambda: said(b"starting execution...ok"), LIMIT)
    vms.wait_for(prompt, LIMIT)
    vms.good("type", "pc", f"ifstat && dhcp && chain http://10.0.2.2:{web}/powerbutton32\n")
    vms.wait_for(lambda: said(b"waiting"), LIMIT)
    assert said(b"using " + driver)


def test_uefi(vms, machine, uefi):  # noqa: F811
    """From the ROM's other image."""
    needs_rom("/usr/lib/ipxe/qemu/efi-e1000.rom")
    said = machine("--firmware", "uefi", "--net", "none,model=e1000,boot=1")
    vms.wait_for(lambda: said(b"Open Source Network Boot Firmware"), LIMIT)


def test_mistakes(atoll, tmp_path):
    path = tmp_path / "rom"
    path.write_bytes(b"no ROM" * 1000)
    for file, words in ((path, ["is no boot ROM", "romfile="]), (tmp_path / "missing", ["ipxe-qemu", "romfile=none"])):
        done = subprocess.run([atoll, "run", "--board", "pc", "--net", f"none,romfile={file}"],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 65
        assert all(word in done.stderr for word in words) and done.stderr.count("\n") == 1
