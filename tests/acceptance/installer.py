"""Debian's installer as tests and tools/guests use it: a disc that installs without a question, on BIOS and
on UEFI, from the mirror that this host's apt is configured for. Run as a program it makes the disc:

	installer.py FILE.iso DISK DIRECTORY-OF-LINUX-AND-INITRD.GZ"""
import gzip
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

PASSWORD = "atoll"

# Everything that would be asked. What is taken from the mirror is the least that is a Debian.
PRESEED = """
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string installed
d-i netcfg/get_domain string
d-i hw-detect/load_firmware boolean false
d-i mirror/country string manual
d-i mirror/protocol string http
d-i mirror/http/hostname string {host}
d-i mirror/http/directory string {directory}
d-i mirror/http/proxy string {proxy}
d-i mirror/suite string bookworm
d-i passwd/root-password password {password}
d-i passwd/root-password-again password {password}
d-i passwd/make-user boolean false
d-i clock-setup/ntp boolean false
d-i time/zone string UTC
d-i partman-auto/disk string /dev/{disk}
d-i partman-auto/method string regular
d-i partman-auto/choose_recipe select atomic
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i partman-efi/non_efi_system boolean true
d-i base-installer/install-recommends boolean false
d-i apt-setup/services-select multiselect
d-i apt-setup/disable-cdrom-entries boolean true
tasksel tasksel/first multiselect
d-i pkgsel/upgrade select none
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/bootdev string /dev/{disk}
d-i finish-install/keep-consoles boolean true
d-i finish-install/reboot_in_progress note
d-i cdrom-detect/eject boolean false
"""

MENU = """
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
echo "the installer is started on $grub_platform"
linux /linux auto=true priority=critical DEBIAN_FRONTEND=text TERM=dumb --- console=ttyS0,115200
initrd /initrd.gz
boot
"""


def mirror():
    """Host and directory of the mirror, and a proxy or ''; None: apt knows no mirror that speaks HTTP."""
    lists = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)",
                            "Created-By: Packages"], capture_output=True, text=True).stdout
    proxy = subprocess.run(["apt-config", "shell", "P", "Acquire::http::Proxy"], capture_output=True,
                           text=True).stdout
    for line in lists.splitlines():
        found = re.fullmatch(r"http://([^/]+)(/\S*?)/? bookworm", line)
        if found:
            return found[1], found[2], (re.findall(r"P='(.*)'", proxy) or [""])[0]
    return None


def missing():
    """Why the installer cannot come to its end with that mirror; None: it can. Mirrors that hold only packages lack
    components of the installer, among them those without which nothing is installed."""
    if not mirror():
        return "apt has no mirror of Debian 12 that speaks HTTP"
    host, directory, proxy = mirror()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy} if proxy else {}))
    base = f"http://{host}{directory}/"
    try:
        with opener.open(f"{base}dists/bookworm/main/debian-installer/binary-amd64/Packages.gz", timeout=60) as answer:
            components = gzip.decompress(answer.read()).decode()
    except (OSError, EOFError) as error:
        return f"the mirror has no list of the installer's components: {error}"
    for name in ("debootstrap-udeb", "partman-base", "parted-udeb", "grub-installer"):
        found = re.search(rf"^Package: {name}$.*?^Filename: (\S+)$", components, re.M | re.S)
        try:
            opener.open(urllib.request.Request(base + found[1], method="HEAD"), timeout=60).close()
        except (OSError, TypeError) as error:
            return f"the mirror has no component {name} of the installer: {error}"
    return None


def make_disc(path, kernel, initrd, disk):
    """A disc with the installer `kernel` and `initrd`, which overwrites the disk /dev/`disk`."""
    host, directory, proxy = mirror()
    with tempfile.TemporaryDirectory() as work:
        tree = pathlib.Path(work) / "tree"
        (tree / "boot/grub").mkdir(parents=True)
        (tree / "boot/grub/grub.cfg").write_text(MENU)
        (tree / "linux").write_bytes(pathlib.Path(kernel).read_bytes())
        (pathlib.Path(work) / "preseed.cfg").write_text(PRESEED.format(
            host=host, directory=directory, proxy=proxy, password=PASSWORD, disk=disk))
        # The kernel takes several archives, one after the other.
        archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input=b"preseed.cfg\n", cwd=work,
                                 capture_output=True, check=True).stdout
        (tree / "initrd.gz").write_bytes(pathlib.Path(initrd).read_bytes() + gzip.compress(archive))
        subprocess.run(["grub-mkrescue", "-o", path, tree], check=True, capture_output=True)


if __name__ == "__main__":
    files = pathlib.Path(sys.argv[3])
    make_disc(sys.argv[1], files / "linux", files / "initrd.gz", sys.argv[2])
