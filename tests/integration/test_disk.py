"""atoll disk, against qemu-img: images of either are the other's."""
import json
import os
import pathlib
import random
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is missing; tools/setup installs it")

SIZE = 6 << 20
USAGE, BAD_FILE, NO_FILE, UNAVAILABLE, CANNOT_WRITE = 64, 65, 66, 69, 73


@pytest.fixture
def disk(atoll, tmp_path):
    """Runs atoll disk in a directory of its own; returns stdout, or the failed process."""
    def run(*arguments, fails=None):
        done = subprocess.run([atoll, "disk", *map(str, arguments)], cwd=tmp_path,
                              capture_output=True, text=True, timeout=60)
        if fails is None:
            assert done.returncode == 0, done.stderr
            return done.stdout
        assert done.returncode == fails, done.stderr
        assert done.stderr.startswith("atoll: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    return run


@pytest.fixture
def qemu(tmp_path):
    def run(*arguments, ok=(0,)):
        done = subprocess.run(["qemu-img", *map(str, arguments)], cwd=tmp_path,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode in ok, done.stdout + done.stderr
        return done.stdout
    return run


def pattern(seed, size=SIZE):
    """Bytes with holes, runs that compress and runs that do not."""
    source = random.Random(seed)
    content = bytearray(size)
    for _ in range(40):
        at = source.randrange(size // 512) * 512
        length = min(source.choice([512, 4096, 65536, 300 * 512]), size - at)
        content[at:at + length] = (source.randbytes(length) if source.random() < 0.5
                                   else bytes([source.randrange(1, 256)]) * length)
    return bytes(content)


@pytest.fixture
def raw(tmp_path):
    def make(name, seed, size=SIZE):
        (tmp_path / name).write_bytes(pattern(seed, size))
        return name
    return make


QEMU_VARIANTS = ["compat=0.10", "compat=1.1", "cluster_size=512", "cluster_size=4k", "cluster_size=2M",
                 "cluster_size=16k,extended_l2=on", "cluster_size=128k,extended_l2=on",
                 "lazy_refcounts=on", "refcount_bits=1", "refcount_bits=64",
                 "preallocation=metadata", "preallocation=falloc"]


@pytest.mark.parametrize("variant", QEMU_VARIANTS)
def test_qemu_images_are_read(disk, qemu, raw, tmp_path, variant):
    qemu("convert", "-f", "raw", "-O", "qcow2", "-o", variant, raw("source", 1), "q.qcow2")
    disk("check", "q.qcow2")
    disk("convert", "--format", "raw", "q.qcow2", "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


@pytest.mark.parametrize("variant", ["compression_type=zlib", "compression_type=zstd",
                                     "compression_type=zstd,cluster_size=512",
                                     "compression_type=zlib,cluster_size=2M",
                                     "compression_type=zlib,cluster_size=16k,extended_l2=on"])
def test_qemu_compressed_images_are_read(disk, qemu, raw, tmp_path, variant):
    qemu("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", variant, raw("source", 2), "q.qcow2")
    assert json.loads(disk("check", "-o", "json", "q.qcow2"))["compressed_clusters"] > 0
    disk("convert", "--format", "raw", "q.qcow2", "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


def test_qemu_chains_are_read(disk, qemu, raw, tmp_path):
    qemu("convert", "-f", "raw", "-O", "qcow2", raw("source", 3), "base.qcow2")
    qemu("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "middle.qcow2", SIZE + (1 << 20))
    qemu("create", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=32k",
         "-b", "middle.qcow2", "-F", "qcow2", "top.qcow2")
    for name, seed in (("middle.qcow2", 4), ("top.qcow2", 5)):
        for at in random.Random(seed).sample(range(SIZE // 4096), 60):
            subprocess.run(["qemu-io", "-c", f"write -P {seed} {at * 4096} 4096", name], cwd=tmp_path,
                           check=True, capture_output=True)
    qemu("convert", "-O", "raw", "top.qcow2", "expected")
    disk("convert", "--format", "raw", "top.qcow2", "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "expected").read_bytes()


def test_qemu_snapshots_are_read_and_applied(disk, qemu, raw, tmp_path):
    qemu("convert", "-f", "raw", "-O", "qcow2", raw("source", 6), "q.qcow2")
    qemu("snapshot", "-c", "before", "q.qcow2")
    subprocess.run(["qemu-io", "-c", "write -P 7 0 3M", "q.qcow2"], cwd=tmp_path, check=True,
                   capture_output=True)
    assert [s["name"] for s in json.loads(disk("snapshot", "list", "q.qcow2", "-o", "json"))] == ["before"]
    disk("check", "q.qcow2")
    disk("snapshot", "apply", "q.qcow2", "before")
    qemu("check", "q.qcow2")
    qemu("compare", "-f", "raw", "-F", "qcow2", "source", "q.qcow2")
    disk("snapshot", "delete", "q.qcow2", "before")
    qemu("check", "q.qcow2")
    qemu("compare", "-f", "raw", "-F", "qcow2", "source", "q.qcow2")


OUR_VARIANTS = [[], ["--qcow2-version", "2"], ["--cluster-size", "512"], ["--cluster-size", "2M"],
                ["--cluster-size", "16K", "--extended-l2"], ["--lazy-refcounts"],
                ["--refcount-bits", "1"], ["--refcount-bits", "64", "--cluster-size", "1K"],
                ["--compress"], ["--compress", "--compression", "zstd"],
                ["--compress", "--cluster-size", "512"],
                ["--compress", "--extended-l2", "--cluster-size", "32K"]]


@pytest.mark.parametrize("options", OUR_VARIANTS, ids=" ".join)
def test_our_images_are_sound_to_qemu(disk, qemu, raw, options):
    disk("convert", "--source-format", "raw", *options, raw("source", 8), "a.qcow2")
    qemu("check", "a.qcow2")
    qemu("compare", "-f", "raw", "-F", "qcow2", "source", "a.qcow2")
    disk("check", "a.qcow2")


def test_our_snapshots_and_overlays_are_sound_to_qemu(disk, qemu, raw, tmp_path):
    disk("convert", "--source-format", "raw", raw("source", 9), "base.qcow2")
    disk("snapshot", "create", "base.qcow2", "one")
    qemu("check", "base.qcow2")
    assert "one" in qemu("snapshot", "-l", "base.qcow2")
    disk("create", "top.qcow2", "--backing", "base.qcow2", "--backing-format", "qcow2")
    subprocess.run(["qemu-io", "-c", "write -P 7 1M 1M", "top.qcow2"], cwd=tmp_path, check=True,
                   capture_output=True)
    qemu("convert", "-O", "raw", "top.qcow2", "expected")
    disk("commit", "top.qcow2")
    qemu("check", "base.qcow2")
    qemu("check", "top.qcow2")
    qemu("compare", "-f", "raw", "-F", "qcow2", "expected", "base.qcow2")
    qemu("compare", "-f", "raw", "-F", "qcow2", "expected", "top.qcow2")


def test_resize(disk, qemu, raw):
    disk("convert", "--source-format", "raw", raw("source", 10), "a.qcow2")
    disk("resize", "a.qcow2", "+1M")
    assert json.loads(disk("info", "-o", "json", "a.qcow2"))["size"] == SIZE + (1 << 20)
    qemu("resize", "-f", "raw", "source", SIZE + (1 << 20))
    qemu("compare", "-f", "raw", "-F", "qcow2", "source", "a.qcow2")
    assert "--shrink" in disk("resize", "a.qcow2", "2M", fails=USAGE)
    disk("resize", "--shrink", "a.qcow2", "2M")
    disk("resize", "a.qcow2", "100G")
    qemu("check", "a.qcow2")
    qemu("resize", "--shrink", "-f", "raw", "source", 2 << 20)
    qemu("resize", "-f", "raw", "source", 100 << 30)
    qemu("compare", "-f", "raw", "-F", "qcow2", "source", "a.qcow2")


def test_rebase_keeps_the_content(disk, qemu, raw):
    for name, seed in (("one", 11), ("two", 12)):
        raw(name, seed)
    disk("create", "top.qcow2", "--backing", "one", "--backing-format", "raw")
    disk("rebase", "top.qcow2", "--backing", "two", "--backing-format", "raw")
    qemu("check", "top.qcow2")
    assert "two" in qemu("info", "top.qcow2")
    qemu("compare", "-f", "raw", "-F", "qcow2", "one", "top.qcow2")
    disk("rebase", "top.qcow2", "--backing", "")
    qemu("compare", "-f", "raw", "-F", "qcow2", "one", "top.qcow2")
    assert json.loads(disk("info", "-o", "json", "top.qcow2"))["backing"] is None


def test_crash_states_are_sound_to_qemu(qemu, tmp_path):
    """What qcow2_crash_test puts together, seen by qemu-img: leaks (3) at most."""
    test = pathlib.Path(os.environ.get("ATOLL_BINARY", ROOT / "build" / "atoll")).parent / "qcow2_crash_test"
    subprocess.run([test], env={**os.environ, "ATOLL_CRASH_DIR": str(tmp_path)}, check=True,
                   capture_output=True, timeout=120)
    states = sorted(tmp_path.glob("crash-*.qcow2"))
    assert len(states) >= 40
    for state in states:
        qemu("check", "-f", "qcow2", state, ok=(0, 3))


def test_an_image_in_use_is_refused(disk, tmp_path):
    disk("create", "a.qcow2", "1M")
    holder = subprocess.Popen(["qemu-io", "-f", "qcow2", "a.qcow2"], cwd=tmp_path, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdin.write("length\n")
    holder.stdin.flush()
    while "1 MiB" not in holder.stdout.readline():
        pass
    sentence = disk("resize", "a.qcow2", "2M", fails=UNAVAILABLE)
    assert "a.qcow2" in sentence and f"process {holder.pid} (qemu-io)" in sentence
    disk("check", "a.qcow2", fails=UNAVAILABLE)
    disk("info", "a.qcow2")
    holder.communicate("quit\n")
    disk("resize", "a.qcow2", "2M")


def damage(path, offset, content):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def test_a_damaged_image_is_told_and_mended(disk, qemu, raw, tmp_path):
    disk("convert", "--source-format", "raw", raw("source", 13), "a.qcow2")
    reftable = int.from_bytes((tmp_path / "a.qcow2").read_bytes()[48:56], "big")
    block = int.from_bytes((tmp_path / "a.qcow2").read_bytes()[reftable:reftable + 8], "big")
    damage(tmp_path / "a.qcow2", block + 8, bytes(16))
    assert "--repair" in disk("check", "-o", "json", "a.qcow2", fails=BAD_FILE)
    disk("check", "--repair", "a.qcow2")
    disk("check", "a.qcow2")
    qemu("check", "a.qcow2")
    qemu("compare", "-f", "raw", "-F", "qcow2", "source", "a.qcow2")


@pytest.mark.parametrize("offset,content,says", [
    (0, b"nope", "not a qcow2 image"),
    (4, (4).to_bytes(4, "big"), "version 4"),
    (20, (40).to_bytes(4, "big"), "clusters"),
    (32, (1).to_bytes(4, "big"), "encrypted"),
    (36, (1 << 31).to_bytes(4, "big"), "L1 table"),
    (72, (4).to_bytes(8, "big"), "another file"),
    (72, (1 << 40).to_bytes(8, "big"), "bit 40"),
])
def test_what_cannot_be_opened_is_said(disk, tmp_path, offset, content, says):
    disk("create", "a.qcow2", "1M")
    damage(tmp_path / "a.qcow2", offset, content)
    sentence = disk("resize", "a.qcow2", "2M", fails=BAD_FILE if offset != 32 and offset != 72 else UNAVAILABLE)
    assert says in sentence and "a.qcow2" in sentence


def test_mistakes_are_one_sentence(disk, raw):
    raw("source", 14)
    disk("create", "a.qcow2", fails=USAGE)
    disk("create", "a.qcow2", "1X", fails=USAGE)
    disk("create", "a.qcow2", "1M", "--cluster-size", "3K", fails=USAGE)
    disk("create", "a.qcow2", "--backing", "source", fails=USAGE)
    disk("create", "a.qcow2", "1M", "--format", "vmdk", fails=USAGE)
    disk("frobnicate", "a.qcow2", fails=USAGE)
    disk("info", "nowhere.qcow2", fails=NO_FILE)
    disk("info", "source", fails=BAD_FILE)
    disk("create", "a.qcow2", "1M")
    disk("create", "a.qcow2", "1M", fails=CANNOT_WRITE)
    disk("create", "a.qcow2", "1M", "--force")
    disk("snapshot", "apply", "a.qcow2", "nowhere", fails=USAGE)
    disk("snapshot", "create", "a.qcow2", "one")
    disk("snapshot", "create", "a.qcow2", "one", fails=USAGE)


def test_bitmaps_are_no_leaks_and_go_out_of_date(disk, qemu, raw, tmp_path):
    """Read, they stay; once the image is written, their autoclear bit is gone, as the format asks."""
    qemu("convert", "-f", "raw", "-O", "qcow2", raw("source", 15), "a.qcow2")
    qemu("bitmap", "--add", "a.qcow2", "b0")
    disk("check", "a.qcow2")
    assert (tmp_path / "a.qcow2").read_bytes()[95] & 1
    disk("resize", "a.qcow2", "+1M")
    assert not (tmp_path / "a.qcow2").read_bytes()[95] & 1
    qemu("check", "a.qcow2", ok=(0, 3))
    disk("check", "--repair", "a.qcow2")
    qemu("check", "a.qcow2")


def test_discarded_clusters_go_back_to_the_host(disk, raw, tmp_path):
    disk("convert", "--source-format", "raw", raw("source", 16), "a.qcow2")
    before = json.loads(disk("info", "-o", "json", "a.qcow2"))["host_bytes"]
    disk("resize", "--shrink", "a.qcow2", "1M")
    assert json.loads(disk("info", "-o", "json", "a.qcow2"))["host_bytes"] < before / 2


def test_a_loop_of_backing_files_is_refused(disk):
    disk("create", "a.qcow2", "1M")
    disk("create", "b.qcow2", "--backing", "a.qcow2", "--backing-format", "qcow2")
    disk("rebase", "-u", "a.qcow2", "--backing", "b.qcow2", "--backing-format", "qcow2")
    assert "loop" in disk("convert", "a.qcow2", "c.qcow2", fails=BAD_FILE)
