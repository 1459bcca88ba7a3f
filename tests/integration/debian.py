"""The catalogue's Debian as tests use it: its image is built once and kept in the cache."""
import json
import os
import re
import shutil
import subprocess
import time

import pexpect
import pytest

from test_vms import Vms

BOOT_LIMIT = int(os.environ.get("ATOLL_DEBIAN_LIMIT", "300"))
BUILD_LIMIT = 1200
FAULTS = ("BUG:", "Call Trace", "Oops", "nobody cared", "EXT4-fs error", "I/O error", "soft lockup",
          "rcu: INFO", "Kernel panic")
# What the watchdog says, with the stack if that is shown.
STALL = re.compile(r"watchdog: BUG: soft lockup.*(?:(?:\n.*){1,80}?</TASK>)?")


class Debian:
    """A VM 'atoll run debian' has made; commands run in it through its agent, as root."""

    def __init__(self, atoll, home, name="debian"):
        self.vms, self.name = Vms(atoll, home), name

    def run(self, *options):
        """Makes it and boots it to the prompt of its console, as a person sees it; leaves it running."""
        console = pexpect.spawn(self.vms.atoll, ["run", "debian", "--name", self.name, *options], env=self.vms.env,
                                timeout=BOOT_LIMIT, encoding="utf-8", codec_errors="replace")
        try:
            if console.expect(["this is the console of", "mirror of .* reachable", pexpect.EOF],
                              timeout=BUILD_LIMIT) != 0:
                said = (console.before or "") + str(console.after)
                if "mirror" in said:
                    pytest.skip("Debian's packages cannot be downloaded here")
                raise AssertionError(said[-3000:])
            console.expect(rf"debian@{self.name}:~\$ ")
            console.send("\x01d")
            console.expect("goes on")
        except pexpect.ExceptionPexpect as failed:
            raise AssertionError(f"no prompt:\n{(console.before or '')[-3000:]}") from failed
        finally:
            console.close()

    def start(self):
        self.vms.good("start", self.name)

    def exec(self, *command, limit=60, check=True, data=None):
        arguments = ["exec", self.name, *(["--input"] if data is not None else []), "--", *command]
        done = subprocess.run([self.vms.atoll, *arguments], input=data, capture_output=True, text=True,
                              env=self.vms.env, timeout=limit,
                              **({} if data is not None else {"stdin": subprocess.DEVNULL}))
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if check else done

    def shell(self, script, limit=60):
        return self.exec("sh", "-ec", script, limit=limit)

    def wait_for_agent(self, limit=BOOT_LIMIT):
        end = time.monotonic() + limit
        while self.exec("true", check=False).returncode:
            assert time.monotonic() < end, f"its agent does not answer:\n{self.log()[-3000:]}"
            time.sleep(0.5)

    def is_running(self):
        """systemd's own opinion, once all units have started."""
        self.wait_for_agent()
        done = self.exec("systemctl", "is-system-running", "--wait", limit=BOOT_LIMIT, check=False)
        failed = "" if done.returncode == 0 else self.exec("systemctl", "--failed", "--no-pager", "--plain",
                                                           check=False).stdout
        return done.stdout.strip() + failed

    def boot_id(self):
        return self.exec("cat", "/proc/sys/kernel/random/boot_id")

    def reboot(self):
        before = self.boot_id()
        # The agent may be gone before it answers.
        self.exec("systemctl", "reboot", "--no-block", check=False)
        end = time.monotonic() + BOOT_LIMIT
        while True:
            done = self.exec("cat", "/proc/sys/kernel/random/boot_id", check=False, limit=BOOT_LIMIT)
            if done.returncode == 0 and done.stdout != before:
                return
            assert time.monotonic() < end, f"it did not boot again:\n{self.log()[-3000:]}"
            time.sleep(0.5)

    def power_off(self):
        """From the inside; returns the exit code of the VM's process."""
        self.exec("systemctl", "poweroff", "--no-block", check=False)
        self.vms.wait_for(lambda: self.info()["state"] == "stopped", BOOT_LIMIT)
        return self.info()["exit_code"]

    def info(self):
        return json.loads(self.vms.good("info", self.name, "-o", "json"))

    def path(self, name):
        return self.vms.directory(self.name) / name

    def log(self):
        logs = (self.path(name) for name in ("console.log.1", "console.log"))
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def check_log(self, stalls=0):
        """`stalls`: how often the guest's watchdog may have barked, as it does when the host stands still."""
        for text in (self.log(), self.exec("dmesg", "--level=emerg,alert,crit,err")):
            text = STALL.sub("", text, count=stalls) if stalls else text
            for fault in FAULTS:
                at = text.find(fault)
                assert at < 0, text[max(0, at - 1000):at + 2000]

    def kill(self):
        if self.path("vm.yaml").exists() and self.info()["state"] != "stopped":
            self.vms.run("kill", self.name)


def needs():
    """Skips where the programs are missing that make the image."""
    for program in ("mmdebstrap", "mke2fs", "mcopy", "ssh-keygen"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            pytest.skip(f"{program} is not installed; tools/setup installs it")
