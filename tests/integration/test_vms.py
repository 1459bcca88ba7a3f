"""VMs that have a name: made, started in the background, watched, told things, ended, removed."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pexpect
import pytest

from test_mistakes import BAD_FILE, CANNOT_WRITE, CONFIG, NO_FILE, USAGE, assert_mistake

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOT_LIMIT = int(os.environ.get("ATOLL_BOOT_LIMIT", "120"))
PAYLOADS = ROOT / "build" / "guest" / "payload"
KILLED = 137


class Vms:
    """A home of VMs of its own, and what is done there."""

    def __init__(self, atoll, home):
        self.atoll, self.home = atoll, home
        self.env = dict(os.environ, ATOLL_HOME=str(home))

    def run(self, *arguments, **options):
        options.setdefault("timeout", 60)
        return subprocess.run([self.atoll, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, env=self.env, **options)

    def good(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def info(self, name):
        return json.loads(self.good("info", name, "-o", "json"))

    def directory(self, name):
        return self.home / "vms" / name

    def wait_for(self, condition, limit=60):
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)


@pytest.fixture
def vms(atoll, tmp_path):
    # As deep as a socket's address could not name it.
    home = tmp_path / ("h" * 100)
    vms = Vms(atoll, home)
    yield vms
    for vm in json.loads(vms.good("ls", "-o", "json")):
        if vm["state"] != "stopped":
            vms.run("kill", vm["name"])


@pytest.fixture
def button(vms):
    """A guest that says 'waiting' and powers off when its power button is pressed."""
    vms.good("create", "button", "--engine", "soft", "--kernel", str(PAYLOADS / "powerbutton32"))
    return "button"


def waiting(vms, name):
    log = vms.directory(name) / "console.log"
    vms.wait_for(lambda: log.exists() and b"waiting" in log.read_bytes())


def test_life(vms, button):
    assert vms.info(button)["state"] == "stopped"
    vms.good("start", button)
    info = vms.info(button)
    assert info["state"] == "running" and info["engine"] == "soft" and info["cpus"] == 1
    os.kill(info["pid"], 0)
    waiting(vms, button)
    [row] = json.loads(vms.good("ls", "-o", "json"))
    assert row["name"] == button and row["state"] == "running"
    assert "button" in vms.good("ls")
    assert "waiting" in vms.good("logs", button)
    vms.good("stop", button)
    info = vms.info(button)
    assert info["state"] == "stopped" and info["exit_code"] == 0
    assert not (vms.directory(button) / "control.sock").exists()
    vms.good("rm", button)
    assert not vms.directory(button).exists()
    assert json.loads(vms.good("ls", "-o", "json")) == []


def test_a_killed_process_leaves_a_vm_that_starts_again(vms, button):
    vms.good("start", button)
    os.kill(vms.info(button)["pid"], signal.SIGKILL)
    vms.wait_for(lambda: vms.info(button)["state"] == "stopped")
    vms.good("start", button)
    waiting(vms, button)
    vms.good("stop", button)


def test_kill(vms, button):
    vms.good("start", button)
    vms.good("kill", button)
    assert vms.info(button)["exit_code"] == KILLED


def test_kill_ends_a_process_that_does_not_answer(vms, button):
    vms.good("start", button)
    os.kill(vms.info(button)["pid"], signal.SIGSTOP)
    assert vms.info(button)["state"] == "not answering"
    vms.good("kill", button)
    assert vms.info(button)["state"] == "stopped"


def test_stop_ends_a_guest_that_does_not_heed(vms):
    vms.good("create", "deaf", "--engine", "soft", "--kernel", str(PAYLOADS / "powerbutton32"))
    vms.good("start", "deaf")
    vms.good("pause", "deaf")
    assert_mistake(vms.run("stop", "deaf"), CONFIG, "paused", "resume")
    vms.good("resume", "deaf")
    done = vms.run("stop", "--timeout", "0", "deaf")
    assert done.returncode == 0, done.stderr
    assert vms.info("deaf")["state"] == "stopped"


def test_pause_stops_the_guest(vms, kernel, initramfs):
    vms.good("create", "vm", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd",
             initramfs(), "--append", "console=ttyS0 quiet panic=-1 atoll.mode=shell")
    vms.good("start", "vm")
    client = console(vms, "vm")
    expect(client, b"# ")
    client.sendall(b"while true; do echo tick; sleep 0.1; done\n")
    expect(client, b"tick\r\n")
    vms.good("pause", "vm")
    assert vms.info("vm")["state"] == "paused"
    drain(client)
    client.settimeout(1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    vms.good("resume", "vm")
    client.settimeout(BOOT_LIMIT)
    expect(client, b"tick\r\n")
    vms.good("kill", "vm")


def console(vms, name):
    # The path is too long for an address.
    client = socket.socket(socket.AF_UNIX)
    directory = os.open(vms.directory(name), os.O_RDONLY)
    client.connect(f"/proc/self/fd/{directory}/console.sock")
    os.close(directory)
    client.settimeout(BOOT_LIMIT)
    return client


def expect(client, marker):
    seen = b""
    while marker not in seen:
        data = client.recv(65536)
        assert data, f"the console closed before {marker!r}: {seen[-500:]!r}"
        seen += data
    return seen


def drain(client):
    client.settimeout(1)
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        pass


def test_console_attach_and_detach(vms, kernel, initramfs):
    vms.good("create", "vm", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd",
             initramfs(), "--append", "console=ttyS0 quiet panic=-1 atoll.mode=shell",
             "--no-reboot")
    first = pexpect.spawn(vms.atoll, ["start", "vm", "--attach"], env=vms.env, timeout=BOOT_LIMIT,
                          encoding="utf-8", codec_errors="replace")
    first.expect("# ")
    second = pexpect.spawn(vms.atoll, ["console", "vm"], env=vms.env, timeout=BOOT_LIMIT,
                           encoding="utf-8", codec_errors="replace")
    second.expect("Ctrl-A d")
    vms.wait_for(lambda: vms.info("vm")["console_clients"] == 2)
    second.sendline("echo $((6 * 7))")
    second.expect("42\r\n")
    first.expect("42\r\n")
    second.send("\x01d")
    second.expect("goes on")
    second.expect(pexpect.EOF)
    second.wait()
    second.close()
    assert second.exitstatus == 0
    vms.wait_for(lambda: vms.info("vm")["console_clients"] == 1)
    first.sendline("echo $((7 * 7)); poweroff -f")
    first.expect("49\r\n")
    first.expect(pexpect.EOF)
    first.wait()
    first.close()
    assert first.exitstatus == 0
    assert "42" in vms.good("logs", "vm")


def test_run_with_a_name(vms):
    running = subprocess.Popen([vms.atoll, "run", "--name", "front", "--engine", "soft", "--quiet",
                                "--kernel", str(PAYLOADS / "powerbutton32")],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=vms.env)
    limit = threading.Timer(60, running.kill)
    limit.start()
    try:
        for line in running.stdout:
            if b"waiting" in line:
                break
        assert vms.info("front")["console"] == "stdio"
        assert_mistake(vms.run("console", "front"), CONFIG, "front", "serial")
        vms.good("stop", "front")
        assert running.wait() == 0
        assert vms.info("front")["exit_code"] == 0
        vms.good("start", "front")
        vms.good("kill", "front")
    finally:
        limit.cancel()
        running.kill()
        running.wait()


def test_a_guest_that_floods_ports_does_not_starve_the_control_socket(vms, kernel, initramfs):
    vms.good("create", "flood", "--engine", "soft", "--kernel", kernel("cloud-amd64"), "--initrd",
             initramfs(), "--append", "console=ttyS0 quiet panic=-1 atoll.mode=shell")
    vms.good("start", "flood")
    client = console(vms, "flood")
    expect(client, b"# ")
    client.sendall(b"yes\n")
    expect(client, b"y\r\ny\r\n")
    stop = threading.Event()

    def read():
        client.settimeout(5)
        while not stop.is_set() and client.recv(65536):
            pass
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            assert vms.info("flood")["state"] == "running"
    finally:
        vms.good("kill", "flood")
        stop.set()
        reader.join()
    # And its log stays bounded.
    logs = [p.stat().st_size for p in vms.directory("flood").glob("console.log*")]
    assert sum(logs) <= 2 * (1 << 20)


def test_control_protocol(vms, button):
    vms.good("start", button)
    client = socket.socket(socket.AF_UNIX)
    directory = os.open(vms.directory(button), os.O_RDONLY)
    client.connect(f"/proc/self/fd/{directory}/control.sock")
    os.close(directory)
    client.settimeout(60)
    lines = client.makefile("rw")
    assert json.loads(lines.readline()) == {"protocol": 1, "name": button}

    def call(command, **arguments):
        lines.write(json.dumps({"id": 5, "command": command, "arguments": arguments}) + "\n")
        lines.flush()
        answer = json.loads(lines.readline())
        assert answer["id"] == 5
        return answer.get("result", answer.get("error"))

    assert set(call("commands")["commands"]) >= {"status", "stop", "kill", "pause", "resume",
                                                 "reset", "stats", "subscribe"}
    assert call("status")["state"] == "running"
    assert call("stats")
    assert call("stop", now=True)["code"] == "bad-argument"
    assert call("fly")["code"] == "unknown-command"
    assert call("subscribe") == {}
    lines.write('{"command": "pause"}\n')
    lines.flush()
    seen = [json.loads(lines.readline()) for _ in range(2)]
    assert [m["event"] for m in seen if "event" in m] == ["paused"]
    call_id = [m for m in seen if "result" in m]
    assert call_id == [{"id": 0, "result": {}}]
    vms.good("resume", button)
    assert json.loads(lines.readline())["event"] == "resumed"
    vms.good("kill", button)
    ended = json.loads(lines.readline())
    assert ended["event"] == "ended" and ended["data"] == {"exit_code": KILLED}
    assert lines.readline() == ""


def test_relative_paths(vms, tmp_path):
    (tmp_path / "guest.elf").write_bytes((PAYLOADS / "powerbutton32").read_bytes())
    done = vms.run("create", "vm", "--kernel", "guest.elf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert vms.info("vm")["options"]["kernel"] == str(tmp_path / "guest.elf")
    done = vms.run("create", "booted", "--board", "pc", "--net", "user,model=e1000,romfile=a.rom,mtu=1400",
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"romfile={tmp_path}/a.rom,mtu" in json.dumps(vms.info("booted")["options"])
    # In the file they are relative to the VM's directory.
    (tmp_path / "guest.elf").rename(vms.directory("vm") / "guest.elf")
    (vms.directory("vm") / "vm.yaml").write_text("kernel: guest.elf\nengine: soft\n")
    vms.good("start", "vm")
    waiting(vms, "vm")
    vms.good("stop", "vm")


@pytest.mark.parametrize("arguments, code, words", [
    (["start"], USAGE, ["atoll start NAME"]),
    (["start", "a", "b"], USAGE, ["atoll start NAME"]),
    (["start", "nobody"], NO_FILE, ["nobody", "atoll ls"]),
    (["start", "../x"], USAGE, ["../x", "name"]),
    (["stop", "nobody"], NO_FILE, ["nobody"]),
    (["stop"], USAGE, ["atoll stop NAME"]),
    (["stop", "--timeout", "soon", "x"], USAGE, ["soon", "seconds"]),
    (["stop", "vm"], CONFIG, ["vm", "not running", "atoll start vm"]),
    (["kill", "vm"], CONFIG, ["vm", "not running"]),
    (["console", "vm"], CONFIG, ["vm", "not running"]),
    (["logs", "vm"], NO_FILE, ["vm", "nothing"]),
    (["info", "vm", "-o", "xml"], USAGE, ["xml", "json"]),
    (["ls", "vm"], USAGE, ["atoll info vm"]),
    (["create", "vm", "--kernel", "x"], CANNOT_WRITE, ["vm", "already", "atoll rm vm"]),
    (["create", "--kernel", "x"], USAGE, ["atoll create NAME"]),
    (["create", "new"], USAGE, ["--kernel"]),
    (["create", "-bad-", "--kernel", "x"], USAGE, ["-bad-"]),
    (["run", "--name", "a/b", "--kernel", "x"], USAGE, ["a/b", "name"]),
    (["run", "--serial", "console", "--kernel", "KERNEL"], CONFIG, ["--name"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_mistake(vms, arguments, code, words):
    payload = str(PAYLOADS / "powerbutton32")
    vms.good("create", "vm", "--kernel", payload)
    arguments = [payload if word == "KERNEL" else word for word in arguments]
    assert_mistake(vms.run(*arguments), code, *words)


@pytest.mark.parametrize("text, code, words", [
    ("kernle: x\n", BAD_FILE, ["vm.yaml:1:9:", "kernle", "did you mean 'kernel'"]),
    ("xyzzyxyzzy: x\n", BAD_FILE, ["vm.yaml:1:13:", "xyzzyxyzzy", "atoll run --help"]),
    ("kernel: x\nmemory: lots\n", USAGE, ["vm.yaml:2:9:", "lots"]),
    ("kernel: x\nno-reboot: maybe\n", BAD_FILE, ["vm.yaml:2:12:", "true or false"]),
    ("kernel: x\nname: y\n", BAD_FILE, ["vm.yaml:2:7:", "directory"]),
    ("kernel: x\nkernel: y\n", BAD_FILE, ["vm.yaml:2:1:", "twice"]),
    ("kernel: &a x\n", BAD_FILE, ["vm.yaml:1:9:", "anchors"]),
    ("memory: 1G\n", USAGE, ["--kernel"]),
    ("kernel: /nonexistent/kernel\n", NO_FILE, ["/nonexistent/kernel"]),
    ("kernel: KERNEL\nserial: stdio\n", CONFIG, ["serial: console"]),
])
def test_mistake_in_the_spec(vms, text, code, words):
    payload = str(PAYLOADS / "powerbutton32")
    vms.good("create", "vm", "--kernel", payload)
    (vms.directory("vm") / "vm.yaml").write_text(text.replace("KERNEL", payload))
    assert_mistake(vms.run("start", "vm"), code, *words)
    assert json.loads(vms.good("ls", "-o", "json"))[0]["state"] == "stopped"


def test_a_running_vm_is_not_started_or_removed(vms, button):
    vms.good("start", button)
    assert_mistake(vms.run("start", button), CONFIG, "is running", "atoll stop button")
    assert_mistake(vms.run("rm", button), CONFIG, "is running")
    done = vms.run("kill", "nobody", button)
    assert done.returncode == NO_FILE
    assert vms.info(button)["state"] == "stopped"
