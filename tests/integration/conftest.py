"""What the integration tests share: the binary under test, guests from the cache, a running VM."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
CACHE = pathlib.Path(os.environ.get("ATOLL_CACHE", ROOT / ".cache"))


@pytest.fixture(scope="session")
def atoll():
    path = pathlib.Path(os.environ.get("ATOLL_BINARY", ROOT / "build" / "atoll"))
    assert path.exists(), f"{path} is missing; run make"
    return str(path)


def fetched(name):
    """The path of a guest's file; downloads it if need be, skips with the reason if it cannot."""
    done = subprocess.run([ROOT / "tools" / "guest-kernels", name], capture_output=True, text=True)
    path = CACHE / "guest" / name
    if done.returncode or not path.exists():
        pytest.skip(f"{name} cannot be downloaded: {done.stderr.strip()[-200:]}")
    return str(path)


@pytest.fixture(scope="session")
def kernel():
    return fetched


@pytest.fixture(scope="session")
def initramfs(tmp_path_factory):
    made = {}

    def build(arch="amd64", *added, modules=(), drivers="cloud-amd64"):
        if (arch, added, modules, drivers) not in made:
            path = tmp_path_factory.mktemp("initramfs") / f"{arch}.gz"
            command = [ROOT / "tools" / "make-initramfs", "--arch", arch, "--drivers", drivers]
            for file in added:
                command += ["--add", file]
            for module in modules:
                command += ["--module", module]
            done = subprocess.run([*command, path], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no initramfs for {arch}: {done.stderr.strip()[-200:]}")
            made[arch, added, modules, drivers] = str(path)
        return made[arch, added, modules, drivers]
    return build
