"""The finished file against its input: packets, frames, times, what is said beside them, and the sound."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from openvmas.generate.scorer import Scorer
from openvmas.media.audio import read_audio
from openvmas.media.loudness import integrated_loudness, true_peak
from openvmas.media.packets import is_streamed, read_marks
from openvmas.media.probe import VideoInfo, is_cover, open_media, probe
from tests.media.matrix.cases import Case
from tests.media.odd_clips import frames, times

_PLAIN_TAGS = {"avc1", "avc3", "hvc1", "hev1"}
_PARAMETER_SETS = {32, 33, 34}  # of HEVC, which lie beside the packets in files tagged hvc1
_PRIMING = 0.0225  # s of an AAC coder's beginning, which players skip
_OURS = {"comment", "encoder", "major_brand", "minor_version", "compatible_brands", "duration"}


@dataclass(frozen=True)
class Facts:
    """What a file says, in a form in which files of two containers can be compared. Times are s from the picture."""

    packets: list[list[bytes]]
    display: tuple[int, int, int]
    aspect: Fraction
    colour: tuple[int, int, int, int, bool]
    side_data: dict[str, bytes]
    marks: list[bytes]
    codec: tuple[str, str]
    disposition: int
    chapters: list[tuple[float, float, str]]
    subtitles: list[tuple[float, bytes]]
    covers: list[tuple[int, int]]
    tags: dict[str, str]


def units(packet: bytes, codec: str) -> list[bytes]:
    """A packet's NAL units, which are led by start codes in streams and by lengths in files; else the packet itself."""
    if codec not in ("h264", "hevc"):
        return [packet]
    found = _split(packet)
    return [unit for unit in found if codec == "h264" or unit[0] >> 1 & 63 not in _PARAMETER_SETS]


def _split(packet: bytes) -> list[bytes]:
    if packet.startswith((b"\0\0\0\1", b"\0\0\1")):
        return [unit.rstrip(b"\0") for unit in packet.split(b"\0\0\1") if unit.rstrip(b"\0")]
    found, at = [], 0
    while at + 4 <= len(packet):
        size = int.from_bytes(packet[at : at + 4], "big")
        found.append(packet[at + 4 : at + 4 + size].rstrip(b"\0"))
        at += 4 + size
    return found


def read_facts(path: Path, info: VideoInfo) -> Facts:
    with open_media(path, ignores_edits=True) as container:
        codec = info.codec
        packets = [units(bytes(p), codec) for p in container.demux(container.streams[info.stream_index]) if p.size]
    with open_media(path) as container:
        picture: Any = container.streams[info.stream_index]
        context = picture.codec_context
        frame = next(container.decode(picture))
        side_data = {str(item.type): bytes(item) for item in frame.side_data}
        chapters = [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"].get("title", ""))
            for c in container.chapters()
        ]
        covers = [(s.width, s.height) for s in container.streams.video if is_cover(s)]
        facts = Facts(
            packets=packets,
            display=(info.width, info.height, info.rotation),
            aspect=Fraction(picture.sample_aspect_ratio or 1),
            colour=(
                int(frame.color_trc), int(frame.color_primaries), int(frame.colorspace), int(frame.color_range),
                info.is_hdr,
            ),
            side_data=side_data,
            marks=sorted(mark for mark in (b"st3d", b"sv3d", b"dvvC") if mark in read_marks(path, picture.id)),
            codec=(codec, context.codec_tag),
            disposition=int(picture.disposition),
            chapters=chapters,
            subtitles=_subtitles(path, info),
            covers=covers,
            tags={k.lower(): v for k, v in container.metadata.items() if k.lower() not in _OURS},
        )  # fmt: skip
    return facts


def _subtitles(path: Path, info: VideoInfo) -> list[tuple[float, bytes]]:
    found = []
    with open_media(path) as container:
        for stream in container.streams.subtitles:
            container.seek(0)
            for packet in container.demux(stream):
                if packet.pts is not None and len(bytes(packet)) > 2:
                    text = bytes(packet)
                    text = text[2:] if stream.codec_context.name == "mov_text" else text
                    found.append((float(packet.pts * packet.time_base - info.start), text))
    return found


def check(case: Case, clip: Path, extension: str, scorer: Scorer) -> None:
    """Score a clip and compare what came out with what went in."""
    output = None if not extension else str(clip.with_name(f"result-{extension[1:]}{extension}"))
    result = scorer.score(clip, output=output)
    before, after = probe(clip), probe(result.path)
    assert not [name for name in os.listdir(clip.parent) if name.startswith(".")]
    given, made = read_facts(clip, before), read_facts(result.path, after)
    _check_picture(case, clip, result.path, before, given, made)
    _check_rest(case, result.path, before, given, made)
    dropped = [w for w in result.report["container"]["dropped"] if "takes its place" not in w]
    assert dropped == list(case.dropped.get(extension, case.dropped.get("", ())))
    _check_sound(case, result.path, after, result.report)


def _check_picture(case: Case, clip: Path, path: Path, before: VideoInfo, given: Facts, made: Facts) -> None:
    tolerance = 0.0006 if path.suffix in (".mp4", ".mov", ".m4v") and "flv" not in before.container else 0.0011
    assert frames(path) == list(case.numbers) == frames(clip)
    shown = times(path)
    assert shown - shown[0] == pytest.approx([float(t) for t in case.times], abs=tolerance)
    if case.has_same_packets:
        assert made.packets == given.packets
    assert made.display == given.display
    assert made.aspect == given.aspect
    assert made.colour == given.colour
    assert made.side_data == given.side_data
    is_movie = before.container.startswith("mov") and path.suffix in (".mp4", ".m4v", ".mov")
    if is_movie:
        assert made.marks == given.marks
    assert made.codec[0] == given.codec[0]
    if is_movie and given.codec[1] not in _PLAIN_TAGS:
        assert made.codec[1] == given.codec[1]
    default = Disposition.default  # which every picture of a stream without such words becomes
    assert made.disposition | default == given.disposition | default


def _check_rest(case: Case, path: Path, before: VideoInfo, given: Facts, made: Facts) -> None:
    assert _near(made.chapters, given.chapters), (made.chapters, given.chapters)
    assert [text for _, text in made.subtitles] == [text for _, text in given.subtitles]
    assert [time for time, _ in made.subtitles] == pytest.approx([time for time, _ in given.subtitles], abs=0.001)
    if not any("cover" in words for words in case.dropped.get("", ())):
        assert made.covers == given.covers
    assert {key: made.tags.get(key) for key in given.tags} == given.tags


def _near(made: list[tuple[float, float, str]], given: list[tuple[float, float, str]]) -> bool:
    return len(made) == len(given) and all(
        m[2] == g[2] and abs(m[0] - g[0]) < 0.001 and abs(m[1] - g[1]) < 0.001 for m, g in zip(made, given, strict=True)
    )


def _check_sound(case: Case, path: Path, info: VideoInfo, report: dict[str, Any]) -> None:
    wave = read_audio(path, 48_000, info=info).wave
    n_samples = report["mix"]["n_samples"]
    assert abs(wave.shape[1] - n_samples) <= 48  # 1 ms
    assert n_samples / 48_000 == pytest.approx(float(report["duration"]), abs=0.0001)
    assert -_PRIMING <= _starts(path, info) <= 0.0011
    mono = wave.mean(axis=0)
    for time in case.clicks:
        assert _position(mono, time) == pytest.approx(time, abs=0.0015)
    mix = report["mix"]
    if mix["is_loud_enough"]:
        assert integrated_loudness(wave, 48_000) == pytest.approx(mix["loudness_lufs"], abs=0.5)
    assert true_peak(wave) <= -1 + 0.1


def _starts(path: Path, info: VideoInfo) -> float:
    """When the sound starts against the picture, s."""
    with open_media(path) as container:
        stream = container.streams.audio[0]
        return float((stream.start_time or 0) * Fraction(stream.time_base or 1) - info.start)


def _position(wave: np.ndarray, time: float) -> float:
    """Where a click of 2 ms begins near `time`, s: where a template of it fits best."""
    template = np.concatenate([-np.ones(96), np.ones(96), -np.ones(96)])
    begin = max(0, round((time - 0.03) * 48_000))
    part = wave[begin : round((time + 0.05) * 48_000)]
    fit = np.correlate(part, template, mode="valid")
    return (begin + int(fit.argmax()) + 96) / 48_000


def is_stream(path: Path) -> bool:
    with av.open(str(path)) as container:
        return is_streamed(container)
