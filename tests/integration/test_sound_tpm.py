"""A sound card and a TPM with Linux's drivers."""
import re
import shutil
import struct
import subprocess

import pytest

from conftest import ROOT
from test_boot import LIMIT

APPEND = "console=ttyS0 panic=-1 atoll.mode=test"


def run(atoll, kernel, image, *options):
    done = subprocess.run([atoll, "run", "--engine", "soft", "--no-reboot", "--kernel", kernel("amd64"), "--initrd",
                           image, "--append", APPEND, *options],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    return done.stdout.decode(errors="replace").replace("\r", ""), done.stderr.decode()


def heard(frames):
    """How many of those that were played are there in their order, and between them how often others."""
    count, gaps, inside = 0, 0, False
    for frame in frames:
        right = frame == (count % 20000 + 1, -(count % 20000 + 1))
        count += right
        gaps += inside and not right
        inside = right
    return count, gaps


@pytest.mark.parametrize("board", ["pc", "micro"])
def test_sound(atoll, kernel, initramfs, tmp_path, board):
    """What a program plays is in the file, whole and in order."""
    play = ROOT / "build/guest/sound/play"
    image = initramfs("amd64", f"{play}:bin/test", modules=("snd-hda-codec-generic", "snd-hda-intel"), drivers="amd64")
    for _ in range(3):
        output, _ = run(atoll, kernel, image, "--board", board, "--sound", f"file:{tmp_path}/sound.wav")
        played = int(re.search(r"sound: played (\d+)", output).group(1))
        data = (tmp_path / "sound.wav").read_bytes()
        assert data[:4] == b"RIFF" and data[8:16] == b"WAVEfmt "
        assert struct.unpack_from("<HHIIHH", data, 20) == (1, 2, 48000, 192000, 4, 16)
        assert struct.unpack_from("<I", data, 40)[0] == len(data) - 44
        assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
        frames = [frame for frame in struct.iter_unpack("<hh", data[44:]) if frame != (0, 0)]
        count, gaps = heard(frames[:played])
        if gaps == 0 and count >= played - 1024:
            return
    # A guest that the host lets wait now and then plays old frames meanwhile; it has 47 periods to play.
    assert all(left == -right for left, right in frames)
    count, gaps = heard(frames)
    assert gaps < 16 and count >= played - 1024, (count, gaps)


def test_sound_is_discarded(atoll, kernel, initramfs):
    play = ROOT / "build/guest/sound/play"
    image = initramfs("amd64", f"{play}:bin/test", modules=("snd-hda-codec-generic", "snd-hda-intel"), drivers="amd64")
    output, _ = run(atoll, kernel, image, "--sound", "discard")
    assert "sound: played" in output


@pytest.mark.skipif(not shutil.which("swtpm"), reason="the package swtpm is not installed")
@pytest.mark.parametrize("board", ["pc", "micro"])
def test_tpm(atoll, kernel, initramfs, tmp_path, board):
    image = initramfs("amd64", f"{ROOT / 'guest/initramfs/tpm'}:bin/test")
    output, errors = run(atoll, kernel, image, "--board", board, f"--tpm={tmp_path}/tpm")
    assert "tpm: version 2" in output, output[-2000:] + errors
    assert f"tpm: pcr0 {'0' * 64}" in output
    # Success, eight bytes.
    assert re.search(r"tpm: random 8001000000140000000000080*[0-9a-f]{16}", output)
    assert list((tmp_path / "tpm").iterdir())


@pytest.mark.parametrize("option, word", [("--sound=loud", "discard"), ("--tpm", "--name")])
def test_mistakes(atoll, option, word):
    done = subprocess.run([atoll, "run", "--kernel", "/dev/null", "--board", "pc", option], capture_output=True, text=True)
    assert done.returncode not in (0, 70, 134, 139)
    assert word in done.stderr
