"""Edit lists: what was cut away stays away, in the finished file too, and the sound fits what is shown."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openvmas.errors import OutputError
from openvmas.media.packets import read_edits
from openvmas.media.probe import probe
from tests.media.clips import make_clip
from tests.media.odd_clips import PLAIN, clicks, frames, heard, mux_original, payloads, remux, times, with_edits

TIMES = (0.5, 1.5, 2.75, 3.5)
LISTS = {
    "end": ([(3050, 0.0)], list(range(77)), 3.05, [0.5, 1.5, 2.75]),
    "start and end": ([(2000, 0.6)], list(range(15, 65)), 2.0, [0.9]),
    "middle": ([(1000, 0.0), (1000, 2.52)], [*range(25), *range(63, 88)], 2.0, [0.5, 1.23, 1.98]),
    "three": ([(400, 0.0), (400, 1.2), (400, 3.2)], [*range(10), *range(30, 40), *range(80, 90)], 1.2, [0.7, 1.1]),
    "turned": ([(800, 2.0), (800, 0.0)], [*range(50, 70), *range(20)], 1.6, [0.75, 1.3]),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "source.mp4", n_frames=100, sound=clicks(4, *TIMES), options=PLAIN)


@pytest.mark.parametrize("case", LISTS)
@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_the_same_edit_is_kept(source: Path, case: str, kind: str) -> None:
    edits, shown, seconds, clicked = LISTS[case]
    clip = with_edits(source, source.with_name("clip.mp4"), *edits)
    info = probe(clip)
    assert (info.n_frames, float(info.duration)) == (len(shown), pytest.approx(seconds, abs=0.0005))
    assert frames(clip) == shown
    output = source.with_name(f"out.{kind}")
    mux_original(clip, output)
    after = probe(output)
    assert (after.n_frames, after.start) == (len(shown), info.start)
    assert float(after.duration) == pytest.approx(seconds, abs=0.0005)
    assert frames(output) == shown
    assert times(output) == pytest.approx(times(clip), abs=0.0002)
    kept = [float(edit.duration) for edit in read_edits(output)[1].edits]
    assert kept == pytest.approx([ms / 1000 for ms, _ in edits], abs=0.0001)
    assert heard(output, after) == pytest.approx(clicked, abs=0.0015)
    with av.open(str(output)) as container:
        assert container.duration / 1e6 == pytest.approx(seconds, abs=0.001)


def test_every_packet_is_there_once(source: Path) -> None:
    clip = with_edits(source, source.with_name("clip.mp4"), (1000, 0.0), (1000, 2.52))
    mux_original(clip, source.with_name("out.mp4"))
    with av.open(str(source.with_name("out.mp4")), options={"ignore_editlist": "1"}) as container:
        assert [bytes(p) for p in container.demux(video=0) if p.size] == payloads(source)


def test_matroska_leaves_out_what_nothing_needs(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mp4", n_frames=100, sound=clicks(4, *TIMES), options={"g": "10"})
    clip = with_edits(source, tmp_path / "clip.mp4", (3050, 0.0))
    output = tmp_path / "out.mkv"
    mux_original(clip, output)
    assert frames(output) == list(range(77))
    assert payloads(output) == payloads(source)[:77]
    assert heard(output) == pytest.approx([0.5, 1.5, 2.75], abs=0.001)


@pytest.mark.parametrize("kind", ["mkv", "webm"])
def test_what_matroska_cannot_hide_is_refused(source: Path, kind: str) -> None:
    clip = with_edits(source, source.with_name("clip.mp4"), (1000, 0.6))
    with pytest.raises(OutputError, match=r"(hides parts of its picture by an edit list|cannot hold h264).*\.mp4 or"):
        mux_original(clip, source.with_name(f"out.{kind}"))


def test_rounding_is_no_edit(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", fps=Fraction(30_000, 1001), n_frames=31, sound=clicks(1.1, 0.5))
    info = probe(clip)
    assert not info.clock.has_edits and info.duration == 31 * Fraction(1001, 30_000)


def test_a_late_picture_stays_late(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", n_frames=50, sound=clicks(2, 0.9), start=Fraction(2, 5))
    mux_original(clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").start == Fraction(2, 5)
    assert heard(tmp_path / "out.mp4") == pytest.approx([0.5], abs=0.001)


def test_a_picture_that_starts_before_its_clock(tmp_path: Path) -> None:
    # Without edit lists a first frame may have a time below 0, which players show and an mp4 muxer would hide.
    source = make_clip(tmp_path / "source.mkv", n_frames=50, sound=clicks(2, 0.5))

    def earlier(packet: av.Packet) -> None:
        packet.pts -= round(Fraction(1, 2) / packet.time_base)
        packet.dts = packet.pts

    clip = remux(source, tmp_path / "clip.nut", earlier)
    mux_original(clip, tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4") == list(range(50))
    assert heard(tmp_path / "out.mp4") == pytest.approx([0.5], abs=0.001)


@pytest.mark.parametrize("damage", range(6))
def test_damaged_lists_do_no_harm(source: Path, damage: int) -> None:
    clip = with_edits(source, source.with_name("clip.mp4"), (1000, 0.0), (1000, 2.52))
    data = bytearray(clip.read_bytes())
    at = data.index(b"elst")
    draw = np.random.default_rng(damage)
    data[at - 4 : at + 16] = draw.integers(0, 256, 20, dtype=np.uint8).tobytes()
    clip.write_bytes(bytes(data))
    assert all(len(edits.edits) < 100_000 for edits in read_edits(clip).values())
