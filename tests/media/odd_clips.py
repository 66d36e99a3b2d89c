"""Clips as telephones, recorders and old programs write them, made from nothing with PyAV and a few boxes by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from openvmas.media.audio import read_audio, write_wav
from openvmas.media.mux import MuxReport, mux
from openvmas.media.probe import VideoInfo, probe
from openvmas.media.video import FrameRequest, read_frames
from openvmas.timeline import Clock
from tests.media.clips import make_clip, number

PLAIN = {"preset": "veryfast", "bf": "2", "g": "50"}
EVERY = Fraction(1000)  # frames/s, more than any clip has
_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}


def with_attachment(source: Path, target: Path) -> Path:
    """The picture of a clip, and a font attached to it."""
    with av.open(str(source)) as given, av.open(str(target), "w") as result:
        copy = result.add_stream_from_template(given.streams.video[0], opaque=True)
        result.add_attachment("letters.ttf", "application/x-truetype-font", b"abc" * 100)
        for packet in given.demux():
            if packet.size:
                packet.stream = copy
                result.mux(packet)
    return target


def clicks(seconds: float, *times: float, channels: int = 2) -> np.ndarray:
    """Silence with a click of 2 ms at each time (s): [C, L] float32 at 48 kHz."""
    wave = np.zeros((channels, round(seconds * 48_000)), dtype=np.float32)
    for time in times:
        at = round(time * 48_000)
        wave[:, at : at + 96] = 0.7
    return wave


def heard(path: Path, info: VideoInfo | None = None) -> list[float]:
    """When clicks begin in the sound on the picture's clock, s."""
    wave = read_audio(path, 48_000, mono=True, info=info or probe(path)).wave[0]
    loud = np.flatnonzero(np.abs(wave) > 0.3)
    return [float(at) / 48_000 for at in loud[np.diff(loud, prepend=-48_000) > 4800]]


def frames(path: Path) -> list[int]:
    """Numbers of the frames as they are shown."""
    return [
        number(f) for piece in read_frames(path, [FrameRequest(None, 96, True)], max_fps=EVERY) for f in piece.frames
    ]


def times(path: Path) -> np.ndarray:
    """When frames are shown, s."""
    return np.concatenate([piece.times for piece in read_frames(path, [FrameRequest(None, 32, True)], max_fps=EVERY)])


def mux_original(clip: Path, output: Path, **how: Any) -> MuxReport:
    """The finished file with the clip's own sound as the soundtrack, as far as it is as long as the picture."""
    info = probe(clip)
    n_samples = Clock(Fraction(48_000)).count(info.duration)
    wave = np.zeros((2, n_samples), dtype=np.float32)
    if info.has_audio:
        own = read_audio(clip, 48_000, info=info).wave[:, :n_samples]
        wave[:, : own.shape[1]] = own
    sound = output.with_name("soundtrack.wav")
    write_wav(sound, wave, 48_000)
    report = mux(clip, info, sound, output, overwrite=True, **how)
    sound.unlink()
    return report


def payloads(path: Path, index: int = 0) -> list[bytes]:
    """The packets of a stream."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams[index]) if packet.size]


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def rebuild(data: bytes, change: Callable[[bytes, bytes], bytes | None]) -> bytes:
    """An mp4 with some boxes replaced by what `change(type, payload)` gives for them."""
    out, start = b"", 0
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        payload = data[start + 8 : start + size]
        changed = change(kind, payload)
        if changed is None:
            changed = box(kind, rebuild(payload, change)) if kind in _PARENTS else data[start : start + size]
        out += changed
        start += size
    return out


def with_edits(source: Path, target: Path, *edits: tuple[int, float]) -> Path:
    """A copy with these edits (ms, s from the first frame) on all tracks; the index must lie behind the media."""
    data = source.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")
    scale = 0

    def change(kind: bytes, payload: bytes) -> bytes | None:
        nonlocal scale
        if kind == b"trak":
            at = payload.index(b"mdhd")
            scale = struct.unpack_from(">I", payload, at + 16)[0]
        if kind != b"elst":
            return None
        start = struct.unpack_from(">i", payload, 12)[0]
        rows = [struct.pack(">Iii", ms, start + round(at * scale), 1 << 16) for ms, at in edits]
        return box(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows))

    target.write_bytes(rebuild(data, change))
    return target


def with_entry_boxes(source: Path, target: Path, extra: bytes) -> Path:
    """A copy whose picture's sample entry holds further boxes."""

    def change(kind: bytes, payload: bytes) -> bytes | None:
        if kind == b"stsd":
            size, codec = struct.unpack_from(">I4s", payload, 8)
            if codec in (b"avc1", b"hvc1", b"hev1"):
                entry = box(codec, payload[16 : 8 + size] + extra)
                return box(kind, payload[:8] + entry + payload[8 + size :])
        return None

    target.write_bytes(rebuild(source.read_bytes(), change))
    return target


def remux(source: Path, target: Path, change: Callable[[av.Packet], None] = lambda packet: None, **how: Any) -> Path:
    """The same packets in another container; `aspect` sets the pixel aspect of the container."""
    with av.open(str(source)) as given, av.open(str(target), "w", container_options=how.get("muxer", {})) as result:
        copies: dict[int, Any] = {}
        for stream in given.streams:
            copy: Any = result.add_stream_from_template(stream, opaque=True)
            if stream.type == "video" and stream.average_rate:
                copy.codec_context.framerate = stream.average_rate
            if stream.type == "video" and "aspect" in how:
                copy.codec_context.sample_aspect_ratio = how["aspect"]
            if stream.type == "video" and "tag" in how:
                copy.codec_context.codec_tag = how["tag"]
            copies[stream.index] = copy
        result.metadata.update(how.get("metadata", {}))
        for packet in given.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                change(packet)
                result.mux(packet)
    return target


def many_channels(path: Path, codec: str, layout: str, channels: int, options: dict[str, str] | None = None) -> Path:
    """A second of picture with a tone of level 0.2 in every channel; frames never pass through Python's planes."""
    picture = make_clip(path.with_name(f"picture{path.suffix}"), n_frames=25)
    graph = Graph()
    tones = "|".join(["0.2*sin(2*PI*440*t)"] * channels)
    source = graph.add(
        "aevalsrc", exprs=tones, channel_layout=layout, sample_rate="48000", duration="1", nb_samples="960"
    )
    with av.open(str(picture)) as given, av.open(str(path), "w") as result:
        copy: Any = result.add_stream_from_template(given.streams.video[0], opaque=True)
        speaker: Any = result.add_stream(codec, rate=48_000, layout=layout, options=options or {})
        frame_size = {"aac": 1024}.get(codec, 960)
        fit = graph.add("aformat", sample_fmts=speaker.codec_context.format.name)
        cut = graph.add("asetnsamples", n=str(frame_size))
        sink = graph.add("abuffersink")
        source.link_to(fit)
        fit.link_to(cut)
        cut.link_to(sink)
        graph.configure()
        for packet in given.demux():
            if packet.size:
                packet.stream = copy
                result.mux(packet)
        while True:
            try:
                frame = graph.pull()
            except (av.error.EOFError, av.error.BlockingIOError):
                break
            result.mux(speaker.encode(frame))
        result.mux(speaker.encode(None))
    return path


def span(values: Sequence[float]) -> float:
    return max(values) - min(values)
