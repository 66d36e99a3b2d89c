"""Tables of docs/media.md: what is kept in which container, measured by writing small files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorTrc

from openvmas.errors import OutputError
from openvmas.media.containers import can_hold
from openvmas.media.probe import open_media, probe
from tests.media.clips import make_clip
from tests.media.matrix.cases import CHAPTERS, DOLBY, SPHERE, full_box
from tests.media.matrix.compare import read_facts
from tests.media.odd_clips import frames, mux_original, remux, with_attachment, with_edits, with_entry_boxes

EXTENSIONS = (".mp4", ".mov", ".mkv", ".webm")
N_FRAMES = 10
_CHAPTERS = [{**chapter, "start": chapter["start"] // 4, "end": chapter["end"] // 4} for chapter in CHAPTERS]
_LIGHT = ":hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}
_MONO_SPHERE = full_box(b"st3d", b"\0") + SPHERE[13:]


@dataclass(frozen=True)
class Seen:
    """What a file shows."""

    facts: Any
    numbers: list[int]
    languages: list[str]
    timecode: str
    attachments: int
    says_dolby_vision: bool


def look(path: Path) -> Seen:
    info = probe(path)
    with open_media(path) as container:
        languages = [stream.language or "und" for stream in container.streams.audio]
        words = container.streams[info.stream_index].metadata
        attachments = sum(stream.type == "attachment" for stream in container.streams)
        return Seen(
            facts=read_facts(path, info),
            numbers=frames(path),
            languages=languages,
            timecode=words.get("timecode", ""),
            attachments=attachments,
            says_dolby_vision=b"dvvC" in path.read_bytes(),
        )


Build = Callable[[Path, str], Path]
Kept = Callable[[Seen, Seen], bool]


def plain(folder: Path, codec: str, kind: str = "mp4", **how: Any) -> Path:
    return make_clip(folder / f"source.{kind}", codec=codec, n_frames=N_FRAMES, **how)


def attached(folder: Path, codec: str) -> Path:
    return with_attachment(plain(folder, codec, "mkv"), folder / "clip.mkv")


def edited(*edits: tuple[int, float]) -> Build:
    return lambda folder, codec: with_edits(plain(folder, codec), folder / "clip.mp4", *edits)


def hevc(folder: Path, light: str = "", **how: Any) -> Path:
    options = {**_X265, "x265-params": _X265["x265-params"] + light}
    return plain(folder, "libx265", options=options, **how)


def hdr(folder: Path, codec: str) -> Path:
    how: dict[str, Any] = {"transfer": ColorTrc.SMPTE2084}
    return hevc(folder, _LIGHT, pix_fmt="yuv420p10le", **how) if codec == "libx264" else plain(folder, codec, **how)


def languages(folder: Path, codec: str) -> Path:
    """Sound in two languages."""
    sound = {"sound": np.zeros((2, 19_200), np.float32), "sound_codec": "aac" if codec == "libx264" else "libopus"}
    source = plain(folder, codec, **sound)
    target = folder / "clip.mkv"
    with av.open(str(source)) as given, av.open(str(target), "w") as result:
        copies: list[Any] = [result.add_stream_from_template(stream, opaque=True) for stream in given.streams]
        other: Any = result.add_stream_from_template(given.streams.audio[0], opaque=True)
        copies[1].metadata["language"], other.metadata["language"] = "eng", "deu"
        for packet in given.demux():
            if packet.size:
                again, times = av.Packet(bytes(packet)), (packet.pts, packet.dts, packet.time_base)
                packet.stream = copies[packet.stream_index]
                is_sound = packet.stream is copies[1]
                result.mux(packet)
                if is_sound:
                    again.pts, again.dts, again.time_base = times
                    again.stream = other
                    result.mux(again)
    return target


ROWS: dict[str, tuple[Build, Kept]] = {
    "picture packets, bit for bit": (plain, lambda a, b: a.facts.packets == b.facts.packets),
    "end trimmed by an edit list": (edited((200, 0.0)), lambda a, b: a.numbers == b.numbers),
    "parts cut out by an edit list": (edited((120, 0.0), (120, 0.28)), lambda a, b: a.numbers == b.numbers),
    "pixel aspect": (
        lambda folder, codec: remux(plain(folder, codec), folder / "clip.mp4", aspect=Fraction(4, 3)),
        lambda a, b: a.facts.aspect == b.facts.aspect,
    ),
    "rotation": (
        lambda folder, codec: plain(folder, codec, rotation=90),
        lambda a, b: a.facts.display == b.facts.display,
    ),
    "HDR curve, colours and light levels": (
        hdr,
        lambda a, b: a.facts.colour == b.facts.colour and a.facts.side_data == b.facts.side_data,
    ),
    "sphere (360°)": (
        lambda folder, codec: with_entry_boxes(plain(folder, "libx264"), folder / "clip.mp4", _MONO_SPHERE),
        lambda a, b: a.facts.side_data.get("Type.SPHERICAL") == b.facts.side_data.get("Type.SPHERICAL"),
    ),
    "3D": (
        lambda folder, codec: with_entry_boxes(plain(folder, "libx264"), folder / "clip.mp4", SPHERE),
        lambda a, b: a.facts.side_data.get("Type.STEREO3D") == b.facts.side_data.get("Type.STEREO3D"),
    ),
    "Dolby Vision configuration": (
        lambda folder, codec: with_entry_boxes(hevc(folder), folder / "clip.mp4", DOLBY),
        lambda a, b: b.says_dolby_vision,
    ),
    "chapters": (
        lambda folder, codec: plain(folder, codec, chapters=_CHAPTERS),
        lambda a, b: [c[2] for c in a.facts.chapters] == [c[2] for c in b.facts.chapters],
    ),
    "subtitles of mp4 (mov_text)": (
        lambda folder, codec: plain(folder, codec, subtitles="mov_text"),
        lambda a, b: len(b.facts.subtitles) == 1,
    ),
    "subtitles of Matroska (SubRip)": (
        lambda folder, codec: plain(folder, codec, "mkv", subtitles="subrip"),
        lambda a, b: len(b.facts.subtitles) == 1,
    ),
    "cover picture": (
        lambda folder, codec: plain(folder, codec, cover=True),
        lambda a, b: a.facts.covers == b.facts.covers,
    ),
    "attachments (fonts)": (attached, lambda a, b: b.attachments == 1),
    "tags (title, artist)": (
        lambda folder, codec: plain(folder, codec, metadata={"title": "T", "artist": "A"}),
        lambda a, b: b.facts.tags.get("title") == "T" and b.facts.tags.get("artist") == "A",
    ),
    "tags of telephones (make, place)": (
        lambda folder, codec: plain(
            folder, codec, metadata={"make": "M", "place": "P"}, muxer={"movflags": "use_metadata_tags"}
        ),
        lambda a, b: b.facts.tags.get("make") == "M" and b.facts.tags.get("place") == "P",
    ),
    "timecode": (
        lambda folder, codec: remux(
            plain(folder, codec), folder / "clip.mp4", metadata={"timecode": "01:02:03:04"}
        ),
        lambda a, b: "01:02:03:04" in (b.timecode, b.facts.tags.get("timecode")),
    ),
    "other languages (--keep-all-audio)": (languages, lambda a, b: b.languages[1:] in (["deu"], ["ger"])),
}  # fmt: skip

CODECS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "H.264": ("mp4", "libx264", {}),
    "HEVC": ("mp4", "libx265", {"options": _X265}),
    "AV1": ("mkv", "libsvtav1", {}),
    "VP9": ("webm", "libvpx-vp9", {}),
    "VP8": ("webm", "libvpx", {}),
    "MPEG-4 part 2": ("avi", "mpeg4", {}),
    "MPEG-2": ("mpg", "mpeg2video", {}),
    "Motion JPEG": ("mov", "mjpeg", {"pix_fmt": "yuvj420p"}),
    "ProRes": ("mov", "prores_ks", {"pix_fmt": "yuv422p10le"}),
    "CineForm": ("mov", "cfhd", {"pix_fmt": "yuv422p10le", "size": (256, 192)}),
    "FFV1": ("mkv", "ffv1", {}),
    "DV": ("mov", "dvvideo", {"size": (720, 576)}),
    "H.263": ("3gp", "h263", {"size": (176, 144)}),
}


def cell(clip: Path, given: Seen, extension: str, kept: Kept) -> str:
    """What becomes of a thing in a container: "yes", "no, said", "no" or "refused"."""
    output = clip.with_name(f"out{extension}")
    others = {stream: None for stream in (2,) if len(given.languages) > 1}
    try:
        report = mux_original(clip, output, kept_audio=others)
    except OutputError:
        return "refused"
    if kept(given, look(output)):
        return "yes"
    return "no, said" if any("takes its place" not in words for words in report.dropped) else "no"


def kept_table() -> list[str]:
    lines = [f"| what | {' | '.join(EXTENSIONS)} |", "|---|---|---|---|---|"]
    for label, (build, kept) in ROWS.items():
        cells = []
        with tempfile.TemporaryDirectory() as name:
            for codec, extensions in (("libx264", EXTENSIONS[:3]), ("libvpx-vp9", EXTENSIONS[3:])):
                folder = Path(name, codec)
                folder.mkdir()
                clip = build(folder, codec)
                given = look(clip)
                cells += [cell(clip, given, extension, kept) for extension in extensions]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def codec_table() -> list[str]:
    lines = [f"| codec of the picture | {' | '.join(EXTENSIONS)} |", "|---|---|---|---|---|"]
    for label, (kind, codec, how) in CODECS.items():
        with tempfile.TemporaryDirectory() as name:
            info = probe(make_clip(Path(name, f"clip.{kind}"), codec=codec, n_frames=4, **how))
            cells = ["yes" if can_hold(info, extension) else "no" for extension in EXTENSIONS]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines
