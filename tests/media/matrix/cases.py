"""Small videos of every kind, built from nothing, with what must be seen and heard in them.

`CASES` is the whole matrix: containers × codecs × rates × starts × edits × side data × names. Frames carry their number
in the pixels, and the sound has clicks at known times, so what is expected comes from how a file was made and not from
how it is read.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorTrc

from tests.media.clips import make_clip, tone
from tests.media.odd_clips import PLAIN, box, clicks, many_channels, remux, with_edits, with_entry_boxes

SECONDS = Fraction(6, 5)  # of most cases
CLICKS = (0.3, 0.9)
WRAP = Fraction(2**33, 90_000)  # s, after which the clock of a transport stream begins again
MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Case:
    """One input. build: writes it into a folder.

    numbers, times: of the frames shown, s from the first. clicks: s from the first frame. outputs: extensions of the
    results; "" for the one chosen. has_same_packets: the picture's packets are all in the result and unchanged.
    dropped: what the result line says is left out, by extension or for all (""). refused: the sentence instead of a
    result. is_fast: whether `make test` runs it.
    """

    build: Callable[[Path], Path]
    numbers: tuple[int, ...]
    times: tuple[Fraction, ...]
    clicks: tuple[float, ...] = CLICKS
    outputs: tuple[str, ...] = ("",)
    has_same_packets: bool = True
    dropped: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    refused: str = ""
    is_fast: bool = False


def sound(seconds: Fraction, *times: float) -> np.ndarray:
    """Clicks over a quiet tone, so that neither loudness nor codec finds digital silence."""
    wave = clicks(float(seconds), *times)
    return wave + 0.05 * tone(wave.shape[1], 330)


def clip(
    kind: str,
    *,
    fps: Fraction | int = 25,
    n_frames: int | None = None,
    times: Sequence[Fraction] | None = None,
    start: Fraction = Fraction(0),
    sound_start: Fraction | None = None,
    at: tuple[float, ...] = CLICKS,
    change: Callable[[Path, Path], Path] | None = None,
    has_sound: bool = True,
    case: dict[str, Any] | None = None,
    **how: Any,
) -> Case:
    """A case of `make_clip`. at: of the clicks, s from the start of the sound; change: makes another file of it."""
    n_frames = n_frames or max(2, round(SECONDS * Fraction(fps)))
    shown = tuple(times) if times is not None else tuple(Fraction(i) / Fraction(fps) for i in range(n_frames))
    seconds = max(shown[-1] + 1 / Fraction(fps), SECONDS)
    heard_from = start if sound_start is None else sound_start

    def build(folder: Path) -> Path:
        options = {"options": PLAIN} if how.get("codec", "libx264") == "libx264" and "options" not in how else {}
        given = {"n_frames": n_frames, "times": times, "fps": fps, "start": start, "sound_start": heard_from}
        if has_sound:
            given["sound"] = sound(seconds, *at)
        made = make_clip(folder / f"clip.{kind}", **{**given, **options, **how})
        return made if change is None else change(made, folder / f"changed.{kind}")

    heard_at = tuple(round(time + float(heard_from - start), 9) for time in at) if has_sound else ()
    expected = {"numbers": tuple(range(len(shown))), "times": shown, "clicks": heard_at}
    return Case(build, **{**expected, **(case or {})})


def even(n_frames: int, fps: Fraction | int = 25) -> tuple[Fraction, ...]:
    return tuple(Fraction(i) / Fraction(fps) for i in range(n_frames))


CASES: dict[str, Case] = {}


def fast(name: str) -> None:
    CASES[name] = dataclasses.replace(CASES[name], is_fast=True)


# Containers × codecs of picture and sound.
_LATE_MP3 = (0.323, 0.923)  # AVI cannot say how late an MP3 coder is
# The encoder is one frame late at its start, which AVI can only say by showing the first frame twice as long.
_HELD_FIRST = (Fraction(0), *(Fraction(i, 25) for i in range(2, 31)))
_ALL = ("", ".mp4", ".mov", ".mkv")
_CODECS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    # name: (extension, codec of the picture, of the sound, more)
    "mp4 h264 aac": ("mp4", "libx264", "aac", {"case": {"outputs": _ALL}}),
    "mp4 h264 fragments": ("mp4", "libx264", "aac", {"muxer": {"movflags": "frag_keyframe+empty_moov"}}),
    "mp4 h264 faststart": ("mp4", "libx264", "aac", {"muxer": {"movflags": "faststart"}}),
    "mp4 hevc aac": ("mp4", "libx265", "aac", {"case": {"outputs": _ALL}}),
    "mp4 vp9 opus": ("mp4", "libvpx-vp9", "libopus", {"case": {"outputs": ("", ".mkv", ".webm")}}),
    "mp4 av1 aac": ("mp4", "libsvtav1", "aac", {"case": {"outputs": ("", ".mkv", ".webm")}}),
    "mp4 mpeg4 aac": ("mp4", "mpeg4", "aac", {}),
    "mp4 mpeg2 ac3": ("mp4", "mpeg2video", "ac3", {}),
    "m4v h264 aac": ("m4v", "libx264", "aac", {}),
    "mov h264 pcm": ("mov", "libx264", "pcm_s16le", {"case": {"outputs": _ALL}}),
    "mov hevc pcm24": ("mov", "libx265", "pcm_s24le", {}),
    "mov prores pcm": ("mov", "prores_ks", "pcm_s16le", {"pix_fmt": "yuv422p10le"}),
    "mov prores 4444": ("mov", "prores_ks", "aac", {"pix_fmt": "yuva444p10le", "options": {"profile": "4"}}),
    "mov prores proxy": ("mov", "prores_ks", "aac", {"pix_fmt": "yuv422p10le", "options": {"profile": "0"}}),
    "mov mjpeg": ("mov", "mjpeg", "pcm_s16le", {"pix_fmt": "yuvj420p"}),
    "mov png": ("mov", "png", "aac", {"pix_fmt": "rgb24"}),
    "mov qtrle": ("mov", "qtrle", "aac", {"pix_fmt": "rgb24"}),
    "mov cineform": ("mov", "cfhd", "aac", {"pix_fmt": "yuv422p10le", "size": (256, 192)}),
    "mov v210": ("mov", "v210", "pcm_s16le", {"pix_fmt": "yuv422p10le", "n_frames": 12, "fps": 10}),
    "mov raw": ("mov", "rawvideo", "pcm_s16le", {"pix_fmt": "uyvy422", "n_frames": 12, "fps": 10}),
    "mov dv pal": ("mov", "dvvideo", "pcm_s16le", {"size": (720, 576)}),
    "mkv h264 flac": ("mkv", "libx264", "flac", {"case": {"outputs": _ALL}}),
    "mkv hevc opus": ("mkv", "libx265", "libopus", {}),
    "mkv vp8 opus": ("mkv", "libvpx", "libopus", {"case": {"outputs": ("", ".webm")}}),
    "mkv vp9 opus": ("mkv", "libvpx-vp9", "libopus", {"case": {"outputs": ("", ".webm", ".mp4")}}),
    "mkv av1 opus": ("mkv", "libsvtav1", "libopus", {}),
    "mkv ffv1 flac": ("mkv", "ffv1", "flac", {}),
    "mkv mpeg2 mp2": ("mkv", "mpeg2video", "mp2", {}),
    "mkv mpeg1 mp3": ("mkv", "mpeg1video", "libmp3lame", {}),
    "mkv mjpeg": ("mkv", "mjpeg", "pcm_s16le", {"pix_fmt": "yuvj420p"}),
    "mkv prores": ("mkv", "prores_ks", "flac", {"pix_fmt": "yuv422p10le"}),
    "webm vp8 opus": ("webm", "libvpx", "libopus", {}),
    "webm vp9 opus": ("webm", "libvpx-vp9", "libopus", {}),
    "webm av1 opus": ("webm", "libsvtav1", "libopus", {}),
    "avi mpeg4 mp3": (
        "avi", "mpeg4", "libmp3lame",
        {"case": {"outputs": ("", ".mkv"), "clicks": _LATE_MP3, "times": _HELD_FIRST}},
    ),
    "avi mpeg4 b-frames": (
        "avi", "mpeg4", "libmp3lame", {"options": {"bf": "2"}, "case": {"outputs": ("", ".mkv"), "clicks": _LATE_MP3}},
    ),
    "avi mjpeg pcm": ("avi", "mjpeg", "pcm_s16le", {"pix_fmt": "yuvj420p"}),
    "avi ffv1 pcm": ("avi", "ffv1", "pcm_s16le", {}),
    "flv h264 aac": ("flv", "libx264", "aac", {"base": MILLISECOND, "case": {"outputs": ("", ".mkv")}}),
    "ts h264 aac": ("ts", "libx264", "aac", {"base": Fraction(1, 90_000), "case": {"outputs": _ALL}}),
    "ts hevc aac": ("ts", "libx265", "aac", {"base": Fraction(1, 90_000)}),
    "ts mpeg2 mp2": ("ts", "mpeg2video", "mp2", {}),
    "mpg mpeg1 mp2": ("mpg", "mpeg1video", "mp2", {}),
    "mpg mpeg2 ac3": ("mpg", "mpeg2video", "ac3", {}),
    "3gp h263": ("3gp", "h263", "aac", {"size": (176, 144)}),
    "3gp h264 aac": ("3gp", "libx264", "aac", {}),
    "nut h264 pcm": ("nut", "libx264", "pcm_s16le", {}),
}  # fmt: skip
for _name, (_kind, _codec, _sound, _more) in _CODECS.items():
    CASES[_name] = clip(_kind, codec=_codec, sound_codec=_sound, **_more)
for _name in ("mp4 h264 aac", "mov prores 4444", "webm vp9 opus", "avi mpeg4 b-frames", "ts h264 aac"):
    fast(_name)
CASES["mp4 h264 aac"] = dataclasses.replace(CASES["mp4 h264 aac"], outputs=("",), is_fast=True)
CASES["ts h264 aac"] = dataclasses.replace(CASES["ts h264 aac"], outputs=("",), is_fast=True)
CASES["avi mpeg4 b-frames"] = dataclasses.replace(CASES["avi mpeg4 b-frames"], outputs=("",))
CASES["mp4 h264 aac elsewhere"] = clip("mp4", case={"outputs": (".mov", ".mkv")})
CASES["ts h264 aac elsewhere"] = clip("ts", base=Fraction(1, 90_000), case={"outputs": (".mov", ".mkv")})

# Rates, even and not.
_RATES = ("1", "5", "10", "12", "15", "24000/1001", "24", "30000/1001", "30", "50", "60000/1001", "120", "240")
for _rate in _RATES:
    for _kind in ("mp4", "mkv"):
        _fps = Fraction(_rate)
        CASES[f"{_kind} {_rate} fps"] = clip(_kind, fps=_fps, n_frames=max(3, round(SECONDS * _fps)))
for _rate in ("24000/1001", "30000/1001", "60000/1001"):
    CASES[f"ts {_rate} fps"] = clip("ts", fps=Fraction(_rate), base=Fraction(1, 90_000))
_UNEVEN = tuple(Fraction(t, 1000) for t in (0, 33, 67, 133, 150, 400, 410, 700, 733, 900, 1100))
for _kind in ("mp4", "mov", "mkv"):
    CASES[f"{_kind} variable rate"] = clip(_kind, times=_UNEVEN, fps=30, base=MILLISECOND)
fast("mp4 30000/1001 fps")
fast("mp4 variable rate")
_HOLES = tuple(Fraction(i, 5) for i in range(8) if i != 3)
CASES["avi dropped frame"] = clip("avi", codec="mpeg4", times=_HOLES, fps=5, base=Fraction(1, 5), has_sound=False)
CASES["mp4 short"] = clip("mp4", n_frames=11, has_sound=False)
CASES["mkv silent"] = clip("mkv", has_sound=False)

# Starts of picture and sound.
for _kind in ("mp4", "mkv"):
    for _start in ("1/2", "2", "100"):
        CASES[f"{_kind} starts at {_start} s"] = clip(_kind, start=Fraction(_start), base=Fraction(1, 12_800))
    CASES[f"{_kind} sound begins later"] = clip(_kind, sound_start=Fraction(1, 4))
    CASES[f"{_kind} picture begins later"] = clip(
        _kind, start=Fraction(1, 5), sound_start=Fraction(0), base=Fraction(1, 12_800), at=(0.5, 0.9)
    )
for _start in ("1", "30000", str(WRAP - 1), str(WRAP - 100)):
    CASES[f"ts starts at {float(Fraction(_start)):.0f} s"] = clip(
        "ts", start=Fraction(_start), base=Fraction(1, 90_000), muxer={"pes_payload_size": "0"}
    )
fast("mkv sound begins later")


def _twice(first: Path, target: Path) -> Path:
    target.write_bytes(first.read_bytes() * 2)
    return target


_RECORDING: dict[str, Any] = {"base": Fraction(1, 90_000), "muxer": {"pes_payload_size": "0"}}
CASES["ts two recordings"] = clip(
    "ts", change=_twice, **_RECORDING,
    case={"numbers": (*range(30), *range(30)), "times": even(60), "clicks": (0.3, 0.9, 1.5, 2.1)},
)  # fmt: skip
fast("ts two recordings")


def _jumping(first: Path, target: Path) -> Path:
    later = make_clip(
        target.with_name("later.ts"), n_frames=30, options=PLAIN, start=Fraction(10_800), sound_start=Fraction(10_800),
        sound=sound(SECONDS, *CLICKS), **_RECORDING,
    )  # fmt: skip
    target.write_bytes(first.read_bytes() + later.read_bytes())
    return target


CASES["ts jumps by hours"] = dataclasses.replace(
    clip("ts", change=_jumping, **_RECORDING),
    numbers=(*range(30), *range(30)), times=even(60), clicks=(0.3, 0.9, 1.5, 2.1),
)  # fmt: skip


def _shown_early(source: Path, target: Path) -> Path:
    """All composition times 80 ms lower, so that frames are shown before they are decoded."""
    data, at = bytearray(source.read_bytes()), 13
    while at + 11 < len(data):
        size, payload = int.from_bytes(data[at + 1 : at + 4], "big"), at + 11
        if data[at] == 9 and data[payload] & 15 == 7 and data[payload + 1] == 1:
            shift = int.from_bytes(data[payload + 2 : payload + 5], "big", signed=True) - 80
            data[payload + 2 : payload + 5] = shift.to_bytes(3, "big", signed=True)
        at = payload + size + 4
    target.write_bytes(bytes(data))
    return target


CASES["flv shown before decoded"] = clip(
    "flv", base=MILLISECOND, change=_shown_early, case={"clicks": (0.38, 0.98), "outputs": ("", ".mkv")}
)

# Edit lists.
_TRIMMED = {"numbers": tuple(range(20)), "times": even(20), "clicks": (0.3,)}
_CUT = {"numbers": (*range(10), *range(20, 30)), "times": even(20), "clicks": (0.3, 0.5)}
_MIDDLE: dict[str, Any] = {"numbers": tuple(range(5, 25)), "times": even(20), "clicks": (0.1, 0.7)}
_EDITS: dict[str, tuple[tuple[tuple[int, float], ...], dict[str, Any]]] = {
    "end trimmed": (((800, 0.0),), _TRIMMED),
    "start trimmed": (((800, 0.2),), _MIDDLE),
    "middle cut out": (((400, 0.0), (400, 0.8)), _CUT),
}
for _name, (_edits, _expected) in _EDITS.items():
    for _kind in ("mp4", "mov"):

        def _edited(source: Path, target: Path, edits: tuple[tuple[int, float], ...] = _edits) -> Path:
            return with_edits(source, target, *edits)

        CASES[f"{_kind} {_name}"] = clip(_kind, change=_edited, case={**_expected})
fast("mp4 end trimmed")
fast("mp4 middle cut out")

# Side data of the picture.
for _rotation in (90, 180, 270):
    for _kind in ("mp4", "mov", "mkv"):
        CASES[f"{_kind} rotated by {_rotation}"] = clip(
            _kind, rotation=_rotation, case={"outputs": ("", ".mkv") if _kind == "mp4" else ("",)}
        )
CASES["mp4 rotated by 90"] = dataclasses.replace(CASES["mp4 rotated by 90"], outputs=("",))
fast("mp4 rotated by 90")
for _curve, _transfer in (("PQ", ColorTrc.SMPTE2084), ("HLG", ColorTrc.ARIB_STD_B67)):
    _hdr: dict[str, Any] = {"transfer": _transfer, "pix_fmt": "yuv420p10le"}
    _light = (
        ":hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    )
    _x265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1" + _light}
    for _kind in ("mp4", "mov", "mkv"):
        CASES[f"{_kind} hevc {_curve}"] = clip(_kind, codec="libx265", options=_x265, **_hdr)
    CASES[f"webm vp9 {_curve}"] = clip("webm", codec="libvpx-vp9", sound_codec="libopus", transfer=_transfer)
fast("mp4 hevc PQ")


def _with_aspect(aspect: Fraction) -> Callable[[Path, Path], Path]:
    return lambda source, target: remux(source, target, aspect=aspect)


for _aspect in ("4/3", "27/64", "64/45"):
    CASES[f"mp4 pixel aspect {_aspect}"] = clip(
        "mp4", change=_with_aspect(Fraction(_aspect)), case={"outputs": ("", ".mov", ".mkv")}
    )
CASES["mov pixel aspect 4/3"] = clip("mov", change=_with_aspect(Fraction(4, 3)))
CASES["mkv pixel aspect 4/3"] = clip("mkv", change=_with_aspect(Fraction(4, 3)))
CASES["mp4 pixel aspect 4/3"] = dataclasses.replace(CASES["mp4 pixel aspect 4/3"], outputs=("", ".mkv"), is_fast=True)


def full_box(kind: bytes, payload: bytes) -> bytes:
    return box(kind, bytes(4) + payload)


SPHERE = full_box(b"st3d", b"\1") + box(
    b"sv3d",
    full_box(b"svhd", b"x\0") + box(b"proj", full_box(b"prhd", bytes(12)) + full_box(b"equi", bytes(16))),
)
DOLBY = box(b"dvvC", bytes([1, 0]) + struct.pack(">H", 8 << 9 | 4 << 3 | 1 << 2 | 1) + bytes([4 << 4]) + bytes(19))


def _with_boxes(extra: bytes) -> Callable[[Path, Path], Path]:
    return lambda source, target: with_entry_boxes(source, target, extra)


for _kind in ("mp4", "mov"):
    CASES[f"{_kind} sphere"] = clip(_kind, change=_with_boxes(SPHERE), case={"outputs": (".mp4", ".mov")})
    CASES[f"{_kind} Dolby Vision"] = clip(
        _kind, codec="libx265", change=_with_boxes(DOLBY), case={"outputs": (".mp4", ".mov")}
    )
CASES["mp4 sphere"] = dataclasses.replace(CASES["mp4 sphere"], outputs=("",), is_fast=True)

# What lies beside the picture.
CHAPTERS = [
    {"id": 1, "start": 0, "end": 500, "time_base": MILLISECOND, "metadata": {"title": "One"}},
    {"id": 2, "start": 500, "end": 1200, "time_base": MILLISECOND, "metadata": {"title": "Two"}},
]
TAGS = {"title": "Sea", "artist": "A", "comment": "mine"}
CASES["mp4 everything"] = clip("mp4", subtitles="mov_text", cover=True, chapters=CHAPTERS, metadata=TAGS)
CASES["mov everything"] = clip("mov", subtitles="mov_text", chapters=CHAPTERS, metadata=TAGS)
CASES["mkv everything"] = clip("mkv", subtitles="subrip", chapters=CHAPTERS, metadata=TAGS)
CASES["webm everything"] = clip(
    "webm", codec="libvpx", sound_codec="libopus", subtitles="webvtt", chapters=CHAPTERS, metadata=TAGS
)
fast("mp4 everything")
fast("mkv everything")
CASES["mp4 cover to mov"] = clip(
    "mp4", cover=True,
    case={"outputs": (".mov",), "dropped": {"": ("cover picture 2 (the container cannot hold it)",)}},
)  # fmt: skip
CASES["mp4 telephone tags"] = clip(
    "mp4", metadata={"make": "M", "model": "P", "location": "+10.0+020.0/"}, muxer={"movflags": "use_metadata_tags"}
)


def _attached(source: Path, target: Path) -> Path:
    with av.open(str(source)) as given, av.open(str(target), "w") as result:
        copies: list[Any] = [result.add_stream_from_template(stream, opaque=True) for stream in given.streams]
        result.add_attachment("letters.ttf", "application/x-truetype-font", b"abc" * 100)
        for packet in given.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                result.mux(packet)
    return target


_FONT = "attachment stream 2 (the container cannot hold it)"
CASES["mkv attachment"] = clip(
    "mkv", change=_attached, case={"outputs": ("", ".mp4"), "dropped": {".mp4": (_FONT,)}, "is_fast": True}
)


def _still_and_moving(moving: Path, target: Path) -> Path:
    still = make_clip(target.with_name("still.mp4"), n_frames=1, size=(320, 240))
    with av.open(str(still)) as one, av.open(str(moving)) as two, av.open(str(target), "w") as result:
        copies: Any = {
            (container, stream.index): result.add_stream_from_template(stream, opaque=True)
            for container in (one, two)
            for stream in container.streams
        }
        for container in (one, two):
            for packet in container.demux():
                if packet.size:
                    packet.stream = copies[container, packet.stream_index]
                    result.mux(packet)
    return target


CASES["mp4 motion photo"] = clip("mp4", change=_still_and_moving)


def _sixteen(folder: Path) -> Path:
    return many_channels(folder / "clip.mp4", "aac", "hexadecagonal", 16)


CASES["mp4 sixteen channels"] = Case(_sixteen, tuple(range(25)), even(25), clicks=())

# Inputs that no container written here holds, or that are none.
CASES["bare h264"] = clip("h264", has_sound=False, case={"refused": "is a bare h264 stream without times"})
CASES["avi uncompressed"] = clip(
    "avi", codec="rawvideo", pix_fmt="bgr24", has_sound=False, case={"refused": "no container with sound written here"}
)

# Names.
_NAMES = {
    "emoji": "sea 😀 ünï.mp4",
    "newline": "two\nlines.mp4",
    "dash": "-y.mp4",
    "percent": "clip %03d [0] {x}.mp4",
    "quotes": "a'b\"c;d&e.mp4",
    "colon": "file:http:clip.mp4",
    "latin1": os.fsdecode(b"caf\xe9.mp4"),
    "long": "x" * 240 + ".mp4",
    "longest": "ä" * 125 + "x.mp4",
    "upper case": "CLIP.MP4",
    "no extension": "clip",
}
for _name, _file in _NAMES.items():

    def _named(source: Path, target: Path, file: str = _file) -> Path:
        return source.rename(source.with_name(file))

    CASES[f"name {_name}"] = clip("mp4", change=_named)
fast("name emoji")
