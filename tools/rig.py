"""The nested rig of tools/check-kvm and tools/bench-kvm: a machine with KVM on a host that need not have it.

QEMU's software emulation offers a processor with AMD's SVM and nested paging. In it runs Debian's
kernel with its KVM modules and an initramfs, a directory that is packed here; its first program is
tests/integration/rig-init."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("ATOLL_CACHE", ROOT / ".cache"))
MODULES = ("irqbypass.ko", "kvm.ko", "kvm-amd.ko")
VHOST = ("tun.ko", "tap.ko", "vhost_iotlb.ko", "vhost.ko", "vhost_net.ko")
VIRTIO_BLK = ("virtio_ring.ko", "virtio.ko", "virtio_pci_legacy_dev.ko", "virtio_pci_modern_dev.ko", "virtio_pci.ko",
              "virtio_blk.ko")
# For guests with PAE: QEMU 7.2 sets the accessed bit of page-directory-pointer-table entries, which KVM with nested
# paging takes for a reserved one, so that a MOV to CR4 raises #GP.
SHADOW_PAGING = ("rmmod kvm-amd", "insmod /modules/kvm-amd.ko npt=0")
# One processor: with more, QEMU's emulation of SVM hangs now and then. A time-stamp counter that
# Linux trusts, as that of real hardware.
QEMU = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "EPYC,+invtsc,-smap", "-smp", "1", "-m", "2048",
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
APPEND = "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable"


def skip(reason):
    print(f"skip kvm rig: {reason}")
    sys.exit(0)


def fetch(*names):
    done = subprocess.run([ROOT / "tools" / "guest-kernels", *names], capture_output=True, text=True)
    if done.returncode:
        skip(f"cannot download: {done.stderr.strip()[-200:]}")
    return [CACHE / "guest" / name for name in names]


def add(tree, source, path):
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def add_program(tree, program, path):
    """A program and the shared libraries that it needs, at the paths where it looks for them."""
    add(tree, program, path)
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", libraries):
        add(tree, library, library.lstrip("/"))


def begin_tree(tree, modules=()):
    """What every rig has: a shell, KVM, further modules, the first program."""
    if not shutil.which(QEMU[0]):
        skip("qemu-system-x86 is not installed; tools/setup installs it")
    for directory in ("bin", "dev", "proc", "sys", "tmp", "etc"):
        (tree / directory).mkdir(parents=True)
    kept, busybox = fetch("cloud-amd64-modules", "busybox-amd64")
    for module in (*MODULES, *modules):
        add(tree, kept / module, f"modules/{module}")
    add(tree, ROOT / "tests" / "integration" / "rig-init", "init")
    add(tree, busybox, "bin/busybox")
    (tree / "bin" / "sh").symlink_to("busybox")


def add_drives(tree):
    """The modules of virtio drives, and the shell's lines that load them."""
    [drivers] = fetch("cloud-amd64-drivers")
    for module in VIRTIO_BLK:
        add(tree, drivers / module, f"modules/{module}")
    return [f"insmod /modules/{module}" for module in VIRTIO_BLK]


def add_user_network(tree):
    """What --net user needs, and the shell's lines that make it ready: passt, a route for it to find, and in the
    working directory another root than the kernel's first one, which it could not leave."""
    passt = shutil.which("passt")
    if not passt:
        skip("passt is not installed; tools/setup installs it")
    [drivers] = fetch("cloud-amd64-modules")
    add(tree, drivers / "tun.ko", "modules/tun.ko")
    add_program(tree, passt, "bin/passt")
    (tree / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (tree / "root").mkdir()
    return ["insmod /modules/tun.ko", "mkdir -p /dev/net", "ip link set lo up", "tunctl -t up0 >/dev/null",
            "ip addr add 192.0.2.2/24 dev up0", "ip link set up0 up", "ip route add default via 192.0.2.1 dev up0",
            "mount --rbind / /root", "cd /root", "mount --move . /"]


def pack(tree, output):
    with open(output, "wb") as file:
        names = subprocess.run(["find", "."], cwd=tree, capture_output=True, check=True).stdout
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=tree, input=names,
                       stdout=file, check=True)


@contextlib.contextmanager
def running(initramfs, timeout_s, append="", options=(), errors=subprocess.DEVNULL):
    """The running rig, with further options of QEMU's, whose complaints go to `errors`; what it says can be read from
    its stdout. It ends with whoever reads it."""
    [kernel] = fetch("cloud-amd64")
    command = [*QEMU, "-kernel", kernel, "-initrd", initramfs, "-append", f"{APPEND} {append}", *options]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine = subprocess.Popen(["timeout", "-s", "KILL", str(timeout_s), *command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace")
    try:
        yield machine
    finally:
        machine.terminate()
        machine.wait()
