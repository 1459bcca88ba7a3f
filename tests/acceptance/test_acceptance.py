"""make acceptance: what takes minutes in the catalogue's Debian, on the software engine. ATOLL_REBOOTS
and ATOLL_STRESS_S make it shorter."""
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from conftest import atoll  # noqa: E402,F401, fixture
from debian import BOOT_LIMIT, Debian, needs  # noqa: E402
from test_balloon import resident  # noqa: E402

REBOOTS = int(os.environ.get("ATOLL_REBOOTS", "50"))
STRESS_S = int(os.environ.get("ATOLL_STRESS_S", "300"))
MIB = 1 << 20
# Counts boots, in the guest.
COUNT = """
cat >/etc/systemd/system/count.service <<END
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/sys/kernel/random/boot_id >>/var/lib/boots'
[Install]
WantedBy=multi-user.target
END
systemctl enable -q count
sync
"""


@pytest.fixture
def start(atoll, tmp_path):  # noqa: F811
    needs()
    machines = []

    def run(*options):
        debian = Debian(atoll, tmp_path / "home")
        machines.append(debian)
        debian.run("--engine", "soft", *options)
        assert debian.is_running() == "running"
        return debian
    yield run
    for debian in machines:
        debian.kill()


def install(debian, *packages):
    done = debian.exec("sh", "-c", f"apt-get update -q && apt-get install -y -q {' '.join(packages)}",
                       limit=BOOT_LIMIT, check=False)
    if done.returncode:
        pytest.skip(f"no mirror is reachable: {(done.stdout + done.stderr)[-300:]}")


def disk(atoll, path, form):  # noqa: F811
    subprocess.run([atoll, "disk", "create", "--quiet", "--format", form, path, "1G"], check=True)
    return f"{path},format={form}"


def end(debian, stalls=0):
    debian.check_log(stalls)
    assert debian.power_off() == 0


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_processors(start, cpus):
    debian = start("--cpus", str(cpus))
    assert debian.exec("nproc").strip() == str(cpus)
    end(debian)


def held(debian):
    """What a process of a VM could lose a little of with each boot."""
    process = pathlib.Path(f"/proc/{debian.info()['pid']}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def test_reboots(start, atoll):  # noqa: F811
    """Two processors. Guest and host count alike, and nothing is left behind by a boot."""
    debian = start("--cpus", "2")
    debian.shell(COUNT)
    seen, holds = [], []
    for _ in range(REBOOTS):
        debian.reboot()
        assert debian.is_running() == "running"
        seen.append(debian.boot_id())
        holds.append(held(debian))
    assert debian.exec("cat", "/var/lib/boots") == "".join(seen)
    assert len(set(seen)) == REBOOTS
    # Workers of the disks come and go.
    assert max(abs(fds - holds[0][0]) for fds, _ in holds) <= 2, holds
    assert max(abs(threads - holds[0][1]) for _, threads in holds) <= 32, holds
    # Most of an hour, in which a busy host may stand still.
    end(debian, stalls=1)
    subprocess.run([atoll, "disk", "check", debian.path("root.qcow2")], check=True)


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_fio(start, atoll, tmp_path, form):  # noqa: F811
    debian = start("--cpus", "2", "--disk", disk(atoll, tmp_path / "data", form))
    install(debian, "fio")
    for pattern in ("randwrite", "write", "randrw"):
        said = debian.exec("fio", "--name=verify", "--filename=/dev/vdc", "--direct=1", "--ioengine=libaio",
                           "--iodepth=16", f"--rw={pattern}", "--bsrange=512-64k", "--size=256M", "--verify=crc32c",
                           "--verify_fatal=1", "--fsync=64", limit=1200)
        assert re.search(r"verify: \(groupid=0, jobs=1\): err= 0", said), said
    end(debian)
    if form == "qcow2":
        subprocess.run([atoll, "disk", "check", tmp_path / "data"], check=True)


def come_and_go(debian, spare):
    """A disk and a network card, once each."""
    for option, value, device, there in (
            ("--disk", spare, "disk2", "dd if=/dev/vdc of=/dev/null bs=1M count=16 iflag=direct status=none"),
            ("--net", "none,mac=52:54:00:00:00:77", "net1", "grep -q 52:54:00:00:00:77 /sys/class/net/*/address")):
        done = debian.vms.run("plug", debian.name, option, value, timeout=120)
        assert done.stdout.strip() == device, done.stderr
        debian.shell(f"for i in $(seq 100); do ! {there} || exit 0; sleep 0.2; done; exit 1", limit=120)
        done = debian.vms.run("unplug", debian.name, device, timeout=120)
        # A guest that is this busy may need longer than the ten seconds that 'unplug' waits.
        assert done.returncode == 0 or "may still do so" in done.stderr, done.stderr
        debian.vms.wait_for(lambda: device not in debian.vms.good("devices", debian.name).split(), 120)


def plugged(debian):
    return debian.info()["memory"]["plugged_bytes"] // MIB


def test_stress(start, atoll, tmp_path):  # noqa: F811
    """stress-ng, while disks, network cards and memory come and go."""
    debian = start("--cpus", "2", "--memory", "1G,max=2G")
    install(debian, "stress-ng")
    debian.shell("echo online_movable >/sys/devices/system/memory/auto_online_blocks")
    spare = disk(atoll, tmp_path / "spare", "raw")
    debian.exec("systemd-run", "--unit=load", "stress-ng", "--cpu", "2", "--vm", "1", "--vm-bytes", "128M", "--verify",
                "--hdd", "1", "--fork", "1", "--timeout", f"{STRESS_S}s", limit=BOOT_LIMIT)
    finish, rounds = time.monotonic() + STRESS_S - 10, 0
    while time.monotonic() < finish:
        for size in (1536, 1024):
            debian.vms.good("memory", debian.name, f"{size}M")
            come_and_go(debian, spare)
            debian.vms.wait_for(lambda: plugged(debian) == size, 120)
        rounds += 1
    assert rounds > 0
    assert debian.shell(f"for i in $(seq {BOOT_LIMIT}); do systemctl is-active -q load || break; sleep 1; done; "
                        "systemctl show -P Result load; exit 0", limit=2 * BOOT_LIMIT).strip() == "success"
    end(debian)


def test_balloon(start):
    """Half of the memory goes to the host, and comes back to hold what it held before."""
    fill = ("mount -o remount,size=800M /dev/shm; head -c 600M /dev/urandom >/dev/shm/much; "
            "sha256sum </dev/shm/much; rm /dev/shm/much")
    debian = start("--balloon")
    # Without reporting of free pages there would be nothing left to take.
    debian.shell(fill, limit=BOOT_LIMIT)
    for _ in range(2):
        debian.vms.good("balloon", debian.name, "512M")
        debian.vms.wait_for(lambda: "inflated: 512 MiB" in debian.vms.good("balloon", debian.name), 120)
        debian.vms.wait_for(lambda: resident(debian.info()["pid"]) < 700 * MIB, 30)
        assert int(debian.shell("head -c 100M /dev/zero | wc -c")) == 100 * MIB
        debian.vms.good("balloon", debian.name, "1G")
        debian.vms.wait_for(lambda: "inflated: 0 MiB" in debian.vms.good("balloon", debian.name), 120)
        debian.shell(fill, limit=BOOT_LIMIT)
        assert resident(debian.info()["pid"]) > 600 * MIB
    end(debian)
