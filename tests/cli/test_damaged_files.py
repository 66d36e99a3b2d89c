"""Uploads cut off, encrypted files, sound of sixteen channels and damaged frames: one true sentence from each command,
or a result; never a crash, and nothing left behind."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import av
import pytest

from openvmas.cli.main import main
from openvmas.generate import scorer
from tests import run_cli
from tests.media.clips import make_clip, tone
from tests.media.odd_clips import PLAIN, box, clicks, many_channels, rebuild

pytestmark = pytest.mark.slow  # the codec and its report run, too
COMMANDS = ("score", "report", "analyze", "plan", "codec encode", "codec report")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "load", run_cli.load)


def run(command: str, clip: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what is said; a result lies there if and only if the code is 0."""
    before = set(os.listdir(clip.parent))
    code = main([*command.split(), str(clip), "--quiet"])
    error = capfd.readouterr().err
    new = set(os.listdir(clip.parent)) - before
    assert not [name for name in new if name.startswith(".")]
    assert bool(new) == (code == 0), (new, error)
    assert error.count("\n") == (code == 2) and ("error: " in error) == (code == 2), error
    return code, error


def whole(folder: Path, **how: object) -> Path:
    sound = clicks(2, 0.5, 1.5) + 0.05 * tone(96_000, 330)
    return make_clip(folder / "clip.mp4", n_frames=50, options=PLAIN, sound=sound, **how)  # type: ignore[arg-type]


def cut(clip: Path, share: float) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_uploads_cut_off_before_the_index(tmp_path: Path, capfd: pytest.CaptureFixture[str], share: float) -> None:
    clip = whole(tmp_path)
    assert clip.read_bytes().index(b"mdat") < clip.read_bytes().index(b"moov")
    cut(clip, share)
    for command in COMMANDS:
        code, error = run(command, clip, capfd)
        assert code == 2 and "has no usable index (moov): the recording or copy was cut off" in error


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_uploads_cut_off_behind_the_index(tmp_path: Path, capfd: pytest.CaptureFixture[str], share: float) -> None:
    """What is there is scored, or one sentence says that it is damaged."""
    clip = whole(tmp_path, muxer={"movflags": "faststart"})
    data = clip.read_bytes()
    begin = data.index(b"mdat") - 4
    clip.write_bytes(data[: begin + int((len(data) - begin) * share)])
    for command in COMMANDS:
        run(command, clip, capfd)


def encrypted(clip: Path, is_real: bool) -> Path:
    """Sample entries as common encryption writes them: `encv` and `enca`; is_real: the packets are noise, too."""

    def change(kind: bytes, payload: bytes) -> bytes | None:
        if kind != b"stsd":
            return None
        size, codec = struct.unpack_from(">I4s", payload, 8)
        scheme = box(b"schm", bytes(4) + b"cenc" + struct.pack(">I", 1 << 16))
        key = box(b"tenc", bytes(4) + bytes([0, 0, 1, 8]) + bytes(range(16)))
        info = box(b"sinf", box(b"frma", codec) + scheme + box(b"schi", key))
        name = b"enca" if codec == b"mp4a" else b"encv"
        return box(kind, payload[:8] + box(name, payload[16 : 8 + size] + info) + payload[8 + size :])

    with av.open(str(clip)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
    data, draw = bytearray(clip.read_bytes()), random.Random(1)
    for position, size in spans if is_real else ():
        data[position : position + size] = draw.randbytes(size)
    clip.write_bytes(rebuild(bytes(data), change))
    return clip


def test_encrypted_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = encrypted(whole(tmp_path), is_real=True)
    for command in ("score", "report", "analyze", "plan"):
        code, error = run(command, clip, capfd)
        assert code == 2 and "encrypted" in error, error
    for command in ("codec encode", "codec report"):
        run(command, clip, capfd)


def test_sixteen_channels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = many_channels(tmp_path / "clip.mp4", "aac", "hexadecagonal", 16)
    for command in COMMANDS:
        assert run(command, clip, capfd)[0] == 0


@pytest.mark.parametrize("kind", ["sound", "picture"])
def test_damaged_frames(tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    clip = whole(tmp_path)
    draw, data = random.Random(3), bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        stream = container.streams.audio[0] if kind == "sound" else container.streams.video[0]
        spans = [(packet.pos, packet.size) for packet in container.demux(stream) if packet.size]
    for position, size in draw.sample(spans[1:], len(spans) // 3):
        data[position : position + size] = draw.randbytes(size)
    clip.write_bytes(bytes(data))
    for command in COMMANDS:
        assert run(command, clip, capfd)[0] == 0
