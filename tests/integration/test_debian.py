"""The catalogue's Debian, from a disk, with systemd: 'atoll run debian' and what a person does with
it then. One VM for all tests, in their order; 'make acceptance' runs them."""
import hashlib
import os
import re
import signal
import subprocess
import time

import pytest

from debian import BOOT_LIMIT, Debian, needs

MIB = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    (folder / "from-host").write_text("the host wrote this\n")
    return folder


@pytest.fixture(scope="module")
def debian(atoll, tmp_path_factory, folder):
    if not os.environ.get("ATOLL_ACCEPTANCE"):
        pytest.skip("takes minutes: 'make acceptance' runs it")
    needs()
    debian = Debian(atoll, tmp_path_factory.mktemp("home"))
    try:
        debian.run("--engine", "soft", "--cpus", "2", "--balloon", "--share", f"{folder},tag=work")
        yield debian
    finally:
        debian.kill()


def test_running(debian):
    assert debian.is_running() == "running"
    assert debian.exec("nproc").strip() == "2"
    debian.check_log()


def test_exec(debian):
    done = debian.exec("sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert debian.exec("tr", "a-z", "A-Z", data="shout") == "SHOUT"


def test_cp(debian, tmp_path):
    data = os.urandom(3 * MIB)
    (tmp_path / "there").write_bytes(data)
    debian.vms.good("cp", str(tmp_path / "there"), f"{debian.name}:/var/tmp/copy")
    assert debian.exec("sha256sum", "/var/tmp/copy").split()[0] == hashlib.sha256(data).hexdigest()
    debian.vms.good("cp", f"{debian.name}:/var/tmp/copy", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_ssh(debian):
    done = debian.vms.run("ssh", debian.name, "--", "id", "-un")
    assert done.stdout == "debian\n", done.stderr
    assert debian.vms.run("ssh", debian.name, "--", "sudo", "cat", "/etc/hostname").stdout == f"{debian.name}\n"


def test_forwarded_port(debian):
    """Without atoll: the port of the host that vm.yaml names."""
    [port] = re.findall(r"tcp:(\d+):22", debian.info()["options"]["net"])
    done = subprocess.run(["ssh", "-p", port, "-i", debian.path("id_ed25519"), "-o", "BatchMode=yes", "-o",
                           "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                           "debian@127.0.0.1", "cat"], input=b"x" * 100000, capture_output=True, timeout=60)
    assert done.stdout == b"x" * 100000, done.stderr


def test_shared_folder(debian, folder):
    debian.shell("mkdir -p /mnt/work; mount -t virtiofs work /mnt/work; echo the guest wrote this >/mnt/work/from-guest")
    assert debian.exec("cat", "/mnt/work/from-host") == "the host wrote this\n"
    assert (folder / "from-guest").read_text() == "the guest wrote this\n"


def test_apt(debian):
    """Through the host's network, from the mirrors that the host's apt has."""
    done = debian.exec("apt-get", "update", limit=BOOT_LIMIT, check=False)
    if done.returncode or "Err:" in done.stdout or "W: Failed" in done.stderr:
        pytest.skip(f"no mirror is reachable: {(done.stdout + done.stderr)[-300:]}")
    debian.exec("apt-get", "install", "-y", "-q", "bsdextrautils", limit=BOOT_LIMIT)
    assert debian.shell("printf 'a b\\n' | column -t").split() == ["a", "b"]


def clock_error(debian):
    """Seconds that the guest's clock is off, at most: half of the question's time is in it."""
    before = time.time()
    guest = float(debian.exec("date", "+%s.%N"))
    after = time.time()
    return max(before - guest, guest - after, 0)


@pytest.mark.parametrize("how", ["pause", "stop signal"])
def test_clock(debian, how):
    """Right again after the guest, or its whole process, has stood still for a while."""
    assert clock_error(debian) < 1
    pid = debian.info()["pid"]
    if how == "pause":
        debian.vms.good("pause", debian.name)
    else:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    if how == "pause":
        debian.vms.good("resume", debian.name)
    else:
        os.kill(pid, signal.SIGCONT)
    end = time.monotonic() + 20
    while clock_error(debian) > 0.5:
        assert time.monotonic() < end, clock_error(debian)
        time.sleep(0.2)


def test_addresses(debian):
    assert re.search(r"^\w+ 52:54:\S+ 10\.0\.2\.15/24$", debian.vms.good("addresses", debian.name), re.M)


def test_freeze(debian):
    """Nothing is written while it lasts, and the agent refuses what would write."""
    debian.shell("echo before >/root/frozen; sync")
    said = debian.vms.good("freeze", debian.name)
    try:
        assert re.fullmatch(r"[1-9]\d* file systems? frozen\n", said)
        assert debian.exec("true", check=False).returncode
    finally:
        assert debian.vms.good("thaw", debian.name) == said.replace("frozen", "thawed")
    assert debian.shell("echo after >>/root/frozen; cat /root/frozen") == "before\nafter\n"


def test_fstrim(debian):
    """What the guest frees, the host gets back."""
    disk = debian.path("root.qcow2")
    size = 100 * MIB

    def allocated():
        return disk.stat().st_blocks * 512
    debian.shell(f"head -c {size} /dev/urandom >/var/tmp/much; sync")
    full = allocated()
    assert full > size
    debian.shell("rm /var/tmp/much; sync; fstrim /")
    # Clusters are given up by the flush after that, which a guest that is never idle makes by itself.
    end = time.monotonic() + 30
    while allocated() > full - 0.9 * size:
        assert time.monotonic() < end, (allocated(), full)
        debian.shell("date >/var/tmp/date; sync")
        time.sleep(1)


def test_reboot(debian):
    debian.exec("sh", "-c", "echo kept >/root/kept; sync")
    debian.reboot()
    assert debian.is_running() == "running"
    assert debian.exec("cat", "/root/kept") == "kept\n"
    debian.check_log()


def test_power_off(debian):
    assert debian.power_off() == 0
    assert "Power down" in debian.log()
    done = subprocess.run([debian.vms.atoll, "disk", "check", debian.path("root.qcow2")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
