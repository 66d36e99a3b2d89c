"""Clocks of broadcasts and recorders: they start late, start again, jump and wrap; the picture's time does not."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import InputError
from openvmas.media.packets import PacketClock, packets
from openvmas.media.probe import open_media, probe
from tests.media.clips import make_clip
from tests.media.odd_clips import PLAIN, clicks, frames, heard, mux_original, remux, span, times

pytestmark = pytest.mark.slow

WRAP = Fraction(2**33, 90_000)  # s, after which the clock of a transport stream begins again


def recording(path: Path, start: Fraction = Fraction(0), n_frames: int = 100, codec: str = "libx264") -> Path:
    options = PLAIN if codec == "libx264" else {}
    sound = clicks(n_frames / 25, 0.5, n_frames / 25 - 0.5)
    return make_clip(
        path, n_frames=n_frames, codec=codec, sound=sound, start=start, sound_start=start, options=options,
        base=None if codec != "libx264" else Fraction(1, 90_000),
        muxer={"pes_payload_size": "0"} if path.suffix == ".ts" else {},
        sound_codec="mp2" if path.suffix == ".mpg" else "aac",
    )  # fmt: skip


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def check(clip: Path, output: Path, seconds: float, sounds: list[float]) -> None:
    """Picture and sound of a clip and of what is made of it: all frames in order, evenly, from 0; clicks in place."""
    n_frames = round(seconds * 25)
    expected = [i % 100 if n_frames == 200 else i for i in range(n_frames)]
    info = probe(clip)
    assert (info.n_frames, float(info.duration)) == (n_frames, pytest.approx(seconds, abs=0.001))
    assert frames(clip) == expected
    assert heard(clip, info) == pytest.approx(sounds, abs=0.001)
    mux_original(clip, output)
    after = probe(output)
    assert (after.start, after.n_frames) == (0, n_frames)
    assert float(after.duration) == pytest.approx(seconds, abs=0.001)
    assert frames(output) == expected
    assert np.diff(times(output)) == pytest.approx(0.04, abs=0.0011)
    assert heard(output, after) == pytest.approx(sounds, abs=0.0011)


@pytest.mark.parametrize("start", [Fraction(1), Fraction(30_000), WRAP - 2, WRAP - 100], ids=float)
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_late_start(tmp_path: Path, start: Fraction, kind: str) -> None:
    check(recording(tmp_path / "clip.ts", start), tmp_path / f"out.{kind}", 4, [0.5, 3.5])


@pytest.mark.parametrize("second", [Fraction(0), Fraction(100), Fraction(3 * 3600), WRAP - 2], ids=float)
@pytest.mark.parametrize("first", [Fraction(0), Fraction(7200)], ids=float)
def test_two_recordings_in_one_file(tmp_path: Path, first: Fraction, second: Fraction) -> None:
    one, two = recording(tmp_path / "one.ts", first), recording(tmp_path / "two.ts", second)
    clip = joined(tmp_path / "clip.ts", one, two)
    began = time.monotonic()
    check(clip, tmp_path / "out.mp4", 8, [0.5, 3.5, 4.5, 7.5])
    assert time.monotonic() - began < 60


def test_three_recordings_and_mpeg2(tmp_path: Path) -> None:
    parts = [recording(tmp_path / f"{i}.ts", Fraction(start), 50, "mpeg2video") for i, start in enumerate((5, 2, 9000))]
    clip = joined(tmp_path / "clip.ts", *parts)
    info = probe(clip)
    assert (info.n_frames, float(info.duration)) == (150, pytest.approx(6, abs=0.001))
    assert frames(clip) == 3 * list(range(50))
    assert heard(clip, info) == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], abs=0.001)


def test_program_streams_too(tmp_path: Path) -> None:
    parts = [recording(tmp_path / f"{i}.mpg", Fraction(start), 100, "mpeg2video") for i, start in enumerate((0, 500))]
    info = probe(joined(tmp_path / "clip.mpg", *parts))
    assert (info.n_frames, float(info.duration)) == (200, pytest.approx(8, abs=0.01))
    assert heard(tmp_path / "clip.mpg", info) == pytest.approx([0.5, 3.5, 4.5, 7.5], abs=0.001)


def test_sound_alone_runs_on_too(tmp_path: Path) -> None:
    from openvmas.media.audio import read_audio

    one = recording(tmp_path / "one.ts")
    clip = joined(tmp_path / "clip.ts", one, one)
    assert read_audio(clip).duration == pytest.approx(2 * float(read_audio(one).duration), abs=0.03)


@pytest.mark.parametrize("kind", ["mkv", "mp4", "flv"])
def test_recorders_write_other_containers_with_their_clock(tmp_path: Path, kind: str) -> None:
    late = Fraction(3000)
    source = make_clip(
        tmp_path / "source.mkv", n_frames=100, sound=clicks(4, 0.5, 3.5), options=PLAIN, start=late, sound_start=late
    )
    muxer = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if kind == "mp4" else {}
    clip = remux(source, tmp_path / f"clip.{kind}", muxer=muxer)
    assert probe(clip).start > 2000 or kind != "mkv"
    output = tmp_path / "out.mp4"
    mux_original(clip, output)
    after = probe(output)
    assert after.start < 0.1 and float(after.duration) == pytest.approx(4, abs=0.002)
    assert heard(output, after) == pytest.approx([0.5, 3.5], abs=0.0015)


def test_one_frame_for_hours_is_refused_at_once(tmp_path: Path) -> None:
    shown = [Fraction(i, 25) for i in range(50)] + [3 * 3600 + Fraction(i, 25) for i in range(50)]
    clip = make_clip(tmp_path / "clip.mkv", times=shown, base=Fraction(1, 1000))
    with pytest.raises(InputError, match=r"shows one frame for 3\.0 hours \(from 2\.0 s on\); cut it there"):
        probe(clip)
    slides = make_clip(tmp_path / "slides.mp4", times=[Fraction(1000 * i) for i in range(9)], base=Fraction(1, 1000))
    with pytest.raises(InputError, match=r"shows only 9 frames in 2\.\d hours"):
        probe(slides)


def test_a_picture_held_for_minutes_is_meant(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", times=[Fraction(0), Fraction(1), Fraction(600)], base=Fraction(1, 1000))
    assert probe(clip).duration > 600


def test_a_file_that_grows_is_read_as_far_as_it_was(tmp_path: Path) -> None:
    clip = recording(tmp_path / "clip.ts")
    info = probe(clip)
    joined(tmp_path / "longer.ts", clip, recording(tmp_path / "more.ts", Fraction(4)))
    clip.write_bytes((tmp_path / "longer.ts").read_bytes())
    with open_media(clip) as container:
        assert len(list(packets(container, info.stream_index, info.clock))) == 100
    assert isinstance(info.clock, PacketClock)


def test_streams_keep_their_distance_over_a_jump(tmp_path: Path) -> None:
    clip = joined(tmp_path / "clip.ts", recording(tmp_path / "a.ts"), recording(tmp_path / "b.ts", Fraction(9000)))
    info = probe(clip)
    found: dict[int, list[float]] = {}
    with open_media(clip) as container:
        for packet in packets(container, clock=info.clock):
            found.setdefault(packet.stream_index, []).append(float(packet.dts * packet.time_base))
    assert all(span(one) < 8.2 for one in found.values())
    assert abs(found[0][-1] - found[1][-1]) < 0.5 and abs(found[0][0] - found[1][0]) < 0.5


def test_streams_that_begin_late(tmp_path: Path) -> None:
    # PyAV does not know of streams that a broadcast begins later; their packets are not read.
    silent = make_clip(tmp_path / "silent.ts", n_frames=500, options={"qp": "0"}, size=(640, 480))
    clip = joined(tmp_path / "clip.ts", silent, recording(tmp_path / "loud.ts", Fraction(100)))
    info = probe(clip)
    assert (info.n_frames, float(info.duration)) == (600, pytest.approx(24, abs=0.01))
