"""Networks of Debian guests: out through the host, between machines, and sockets without one."""
import hashlib
import http.server
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import ROOT
from test_boot import LIMIT

MODULES = ("virtio_pci", "virtio_net", "vmw_vsock_virtio_transport")
SIZE = 20_000_000


@pytest.fixture(scope="module")
def image(initramfs):
    network = ROOT / "guest" / "network" / "test"
    vsock = ROOT / "build" / "guest" / "network" / "vsock"
    return initramfs("amd64", f"{network}:bin/test", f"{vsock}:bin/vsock", modules=MODULES)


class Guest:
    """A guest that runs /bin/test; its output is read as it comes."""

    def __init__(self, atoll, kernel, image, options, append):
        self.process = subprocess.Popen(
            [atoll, "run", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd", image,
             "--memory", "256M", "--no-reboot", "--quiet", *options,
             "--append", f"console=ttyS0 quiet panic=-1 atoll.mode=test {append}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = ""
        self.ended = False
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            some = os.read(self.process.stdout.fileno(), 65536)
            with self.changed:
                self.output += some.decode(errors="replace").replace("\r", "")
                self.ended = not some
                self.changed.notify_all()
            if not some:
                return

    def wait_for(self, pattern, seconds=LIMIT):
        with self.changed:
            self.changed.wait_for(
                lambda: self.ended or re.search(pattern, self.output, re.M), seconds)
            found = re.search(pattern, self.output, re.M)
        assert found, f"no {pattern!r} in:\n{self.output[-3000:]}"
        return found

    def end(self):
        assert self.process.wait(LIMIT) == 0, self.output[-3000:]
        assert not re.search(r"BUG:|Call Trace|nobody cared", self.output), self.output[-3000:]

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def guest(atoll, kernel, image):
    guests = []

    def start(options, append):
        guests.append(Guest(atoll, kernel, image, options, append))
        return guests[-1]
    yield start
    for each in guests:
        each.kill()


def hash_of(data):
    return hashlib.sha256(data).hexdigest()


def pattern(size):
    return (b"a line of the pattern that is served\n" * (size // 37 + 1))[:size]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server():
    """An HTTP server on the host's loopback: its port and what it serves."""
    data = os.urandom(SIZE)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd.server_address[1], data
    httpd.shutdown()


needs_passt = pytest.mark.skipif(not shutil.which("passt"), reason="passt is not installed")


@needs_passt
@pytest.mark.parametrize("queues", [1, 4])
def test_user_out(guest, server, tmp_path, queues):
    """An address by DHCP, and 20 MB from the host's loopback; the capture holds them."""
    port, data = server
    capture = tmp_path / "capture.pcap"
    vm = guest(["--net", f"user,capture={capture},queues={queues}", "--cpus", "2"],
               f"net.fetch=http://10.0.2.2:{port}/")
    vm.wait_for(r"^net: bound 10\.0\.2\.15 router 10\.0\.2\.2$")
    assert vm.wait_for(r"^net: fetched (\d+) (\w+)$").groups() == (str(SIZE), hash_of(data))
    vm.end()
    assert "net: errors 0 0" in vm.output
    assert SIZE < capture.stat().st_size < 2 * SIZE


@needs_passt
def test_user_in(guest):
    """A forwarded port: the host fetches from the guest."""
    port = free_port()
    vm = guest(["--net", f"user,forward=tcp:{port}:80"], f"net.serve={SIZE}")
    served = vm.wait_for(r"^net: serving (\w+)$").group(1)
    done = subprocess.run(["curl", "-sS", "-m", str(LIMIT), f"http://127.0.0.1:{port}/pattern"],
                          capture_output=True, check=True)
    assert hash_of(done.stdout) == served == hash_of(pattern(SIZE))
    subprocess.run(["curl", "-sS", "-m", str(LIMIT), f"http://127.0.0.1:{port}/cgi-bin/stop"], check=True)
    vm.end()


@needs_passt
def test_passt_is_started_again(guest):
    """Its loss is said, and the network comes back."""
    port = free_port()
    vm = guest(["--net", f"user,forward=tcp:{port}:80"], "net.serve=1000")
    vm.wait_for(r"^net: serving")
    children = pathlib.Path(f"/proc/{vm.process.pid}/task/{vm.process.pid}/children").read_text()
    for child in children.split():
        if pathlib.Path(f"/proc/{child}/comm").read_text().startswith("passt"):
            os.kill(int(child), signal.SIGKILL)
    vm.wait_for(r"the network is out: passt ended")
    vm.wait_for(r"the network is back")
    deadline = time.monotonic() + LIMIT
    while subprocess.run(["curl", "-sS", "-m", "5", f"http://127.0.0.1:{port}/cgi-bin/stop"],
                         capture_output=True).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    vm.end()


@pytest.fixture
def switch(atoll, tmp_path):
    path = tmp_path / "lan"
    process = subprocess.Popen([atoll, "switch", path], stderr=subprocess.PIPE)
    assert b"listens" in process.stderr.readline()
    yield path
    process.terminate()
    assert process.wait(LIMIT) == 0
    assert not path.exists()


def test_switch(guest, switch):
    """Between two machines on a switch, in large segments that nobody cuts."""
    cable = f"switch,path={switch}"
    one = guest(["--net", cable], f"net.address=10.9.0.1 net.serve={SIZE}")
    one.wait_for(r"^net: serving")
    two = guest(["--net", cable], "net.address=10.9.0.2 "
                "net.fetch=http://10.9.0.1/pattern+http://10.9.0.1/cgi-bin/stop")
    fetched = two.wait_for(r"^net: fetched (\d+) (\w+)$")
    assert fetched.groups() == (str(SIZE), hash_of(pattern(SIZE)))
    two.end()
    one.end()


def test_vsock_from_the_host(guest, tmp_path):
    path = tmp_path / "vsock"
    vm = guest(["--vsock", path], "net.vsock=serve+5000")
    vm.wait_for(r"^net: vsock listens$")
    data = os.urandom(1_000_000)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT)
        client.connect(str(path))
        client.sendall(b"CONNECT 5000\n")
        with client.makefile("rb") as answer:
            assert re.fullmatch(rb"OK \d+\n", answer.readline())
            sender = threading.Thread(target=lambda: client.sendall(data))
            sender.start()
            assert hash_of(answer.read(len(data))) == hash_of(data)
            sender.join()
    vm.wait_for(r"^net: vsock 1000000 ")
    vm.end()
    assert not path.exists()


def test_vsock_from_the_guest(guest, tmp_path):
    path = tmp_path / "vsock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}_77")
        listener.listen()
        listener.settimeout(LIMIT)
        vm = guest(["--vsock", path], "net.vsock=send+77+3000000")
        peer, _ = listener.accept()
        got = peer.makefile("rb").read()
    assert len(got) == 3_000_000
    assert got == bytes(i * 31 >> 3 & 0xff for i in range(len(got)))
    vm.wait_for(r"^net: vsock 3000000 ")
    vm.end()


def test_vsock_nobody_listens(guest, tmp_path):
    vm = guest(["--vsock", tmp_path / "vsock"], "net.vsock=send+78+10")
    vm.wait_for(r"vsock failed: Connection reset by peer")
    vm.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="a tap needs root")
def test_bridge(guest, request):
    """A tap in a bridge, in a network namespace of the test's own."""
    if subprocess.run(["ip", "link", "add", "atolltest", "type", "bridge"],
                      capture_output=True).returncode:
        pytest.skip("this host makes no bridges")
    request.addfinalizer(lambda: subprocess.run(["ip", "link", "delete", "atolltest"]))
    subprocess.run(["ip", "address", "add", "10.99.0.1/24", "dev", "atolltest"], check=True)
    subprocess.run(["ip", "link", "set", "atolltest", "up"], check=True)
    vm = guest(["--net", "bridge,name=atolltest"], f"net.address=10.99.0.2 net.serve={SIZE}")
    vm.wait_for(r"^net: serving")
    done = subprocess.run(["curl", "-sS", "-m", str(LIMIT), "--retry", "5", "--retry-connrefused",
                           "http://10.99.0.2/pattern"], capture_output=True, check=True)
    assert hash_of(done.stdout) == hash_of(pattern(SIZE))
    subprocess.run(["curl", "-sS", "-m", str(LIMIT), "http://10.99.0.2/cgi-bin/stop"], check=True)
    vm.end()
