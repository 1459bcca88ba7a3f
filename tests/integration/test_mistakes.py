"""Each mistake a user can make gives one sentence with the remedy, and its documented exit code."""
import os
import subprocess

import pytest

USAGE, BAD_FILE, NO_FILE, UNAVAILABLE, CANNOT_WRITE, PERMISSION, CONFIG = 64, 65, 66, 69, 73, 77, 78


def run(atoll, *arguments, **options):
    return subprocess.run([atoll, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=30, **options)


def assert_mistake(done, code, *words):
    lines = [line.strip() for line in done.stderr.replace("\r", "").splitlines()
             if not line.startswith("atoll: engine ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("atoll: ")
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize("arguments, code, words", [
    (["run"], USAGE, ["nothing to boot", "--kernel FILE"]),
    (["fly"], USAGE, ["no command 'fly'", "atoll help"]),
    (["run", "--kernle", "x"], USAGE, ["--kernle", "did you mean --kernel"]),
    (["run", "--frobnicate"], USAGE, ["--frobnicate", "--help"]),
    (["run", "-k", "x"], USAGE, ["-k", "--help"]),
    (["run", "vmlinuz"], USAGE, ["vmlinuz", "--kernel vmlinuz"]),
    (["run", "plan9"], USAGE, ["plan9", "catalogue", "debian"]),
    (["run", "--kernel"], USAGE, ["--kernel", "needs a value"]),
    (["run", "--no-reboot=1", "--kernel", "x"], USAGE, ["--no-reboot", "no value"]),
    (["run", "--engine", "warp"], USAGE, ["warp", "auto kvm soft"]),
    (["run", "--board", "mega"], USAGE, ["mega", "micro"]),
    (["run", "--cpu", "z80"], USAGE, ["z80", "max"]),
    (["run", "--memory", "lots"], USAGE, ["lots", "512M"]),
    (["run", "--memory", "512Q"], USAGE, ["512Q", "512M"]),
    (["run", "--memory", "0"], CONFIG, ["0", "1M"]),
    (["run", "--memory", "9999T"], CONFIG, ["9999T", "1T"]),
    (["run", "--memory", "99999999999999999999"], USAGE, ["--memory"]),
    (["run", "--cpus", "0"], CONFIG, ["0", "between 1 and 64"]),
    (["run", "--cpus", "65"], CONFIG, ["65", "between 1 and 64"]),
    (["run", "--cpus", "two"], USAGE, ["two"]),
    (["run", "--serial", "tcp:1"], USAGE, ["tcp:1", "unix:PATH"]),
    (["run", "--serial", "file:"], USAGE, ["file:"]),
    (["run", "--debug-exit", "x"], USAGE, ["x", "0x501"]),
    (["run", "--engine", "soft", "--dump-code", "/nonexistent/x", "--kernel", "x"], CANNOT_WRITE,
     ["/nonexistent/x"]),
    (["run", "--engine", "soft", "--soft-mode", "interpret", "--dump-code", "/tmp/x", "--kernel", "x"],
     CONFIG, ["--dump-code", "--soft-mode translate"]),
    (["run", "--net", "none,vhost=maybe", "--kernel", "x"], USAGE, ["vhost=maybe", "on, off, auto"]),
    (["run", "--engine", "soft", "--net", "none,vhost=on", "--kernel", "x"], CONFIG, ["vhost=on", "--engine kvm"]),
    (["run", "--net", "none,model=e1000,vhost=on", "--kernel", "x"], CONFIG, ["vhost=on", "model=virtio"]),
    (["run", "--stats=xml", "--kernel", "x"], USAGE, ["xml", "json"]),
    (["run", "--trace", "io,nothing", "--kernel", "x"], USAGE, ["nothing", "exits"]),
    (["run", "--trace", "io:/nonexistent/x", "--kernel", "x"], CANNOT_WRITE, ["/nonexistent/x"]),
    (["run", "--kernel", "/nonexistent/vmlinuz"], NO_FILE, ["/nonexistent/vmlinuz"]),
    (["run", "--kernel", "/etc/passwd"], BAD_FILE, ["/etc/passwd"]),
    (["run", "--kernel", "/tmp"], NO_FILE, ["/tmp"]),
    (["run", "--kernel", "/dev/null"], NO_FILE, ["/dev/null"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_mistake(atoll, arguments, code, words):
    assert_mistake(run(atoll, *arguments), code, *words)


def test_initrd_missing(atoll, kernel):
    done = run(atoll, "run", "--kernel", kernel("cloud-amd64"), "--initrd", "/nonexistent/initrd")
    assert_mistake(done, NO_FILE, "/nonexistent/initrd")


def test_too_little_memory(atoll, kernel):
    done = run(atoll, "run", "--kernel", kernel("cloud-amd64"), "--memory", "8M")
    assert_mistake(done, CONFIG, "--memory")


def test_unreadable_kernel(atoll, tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    path = tmp_path / "kernel"
    path.write_bytes(b"x" * 4096)
    path.chmod(0o000)
    os.chmod(tmp_path, 0o755)
    # The binary has to be reachable for that user: run it through a descriptor.
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", atoll,
                           "run", "--kernel", str(path)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    if done.returncode in (126, 127):
        pytest.skip("another user cannot reach the binary")
    assert done.returncode in (NO_FILE, PERMISSION), done.stderr
    assert "kernel" in done.stderr


def test_serial_file_cannot_be_made(atoll, kernel):
    done = run(atoll, "run", "--kernel", kernel("cloud-amd64"), "--serial", "file:/nonexistent/log")
    assert_mistake(done, CANNOT_WRITE, "/nonexistent/log")


def test_serial_socket_cannot_be_made(atoll, kernel):
    done = run(atoll, "run", "--kernel", kernel("cloud-amd64"), "--serial", "unix:/nonexistent/s")
    assert_mistake(done, CANNOT_WRITE, "/nonexistent/s")


def test_kvm_without_hardware(atoll, kernel):
    flags = open("/proc/cpuinfo").read()
    if " vmx " in flags or " svm " in flags:
        pytest.skip("this host has hardware virtualization")
    done = run(atoll, "run", "--engine", "kvm", "--kernel", kernel("cloud-amd64"))
    assert_mistake(done, UNAVAILABLE, "--engine soft")


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["run", "--help"], ["help", "run"],
                                       ["version"], ["--version"]])
def test_help(atoll, arguments):
    done = run(atoll, *arguments)
    assert done.returncode == 0
    assert done.stdout.strip()
    assert not done.stderr


def test_help_lists_every_option(atoll):
    text = run(atoll, "run", "--help").stdout
    for option in ("engine", "board", "kernel", "initrd", "append", "memory", "cpus", "serial",
                   "debug-exit", "time", "no-reboot"):
        assert f"--{option}" in text


def test_no_command(atoll):
    done = run(atoll)
    assert done.returncode == USAGE
    assert "usage: atoll" in done.stderr


def test_bash_completion(atoll, tmp_path):
    script = tmp_path / "completion"
    script.write_text(run(atoll, "help", "--format", "bash").stdout)
    probe = (f"source {script}; COMP_WORDS=(atoll run --engine ''); COMP_CWORD=3; _atoll;"
             "echo ${COMPREPLY[@]}; COMP_WORDS=(atoll run --ker); COMP_CWORD=2; _atoll;"
             "echo ${COMPREPLY[@]}")
    done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True)
    assert done.stdout.split() == ["auto", "kvm", "soft", "--kernel"]
