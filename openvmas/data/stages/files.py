"""Cheap tests of the file itself: can it be opened, is it large and long enough, can it be decoded?"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.video.stream import VideoStream

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.errors import InputError
from openvmas.media.audio import audio_stream
from openvmas.media.packets import packets
from openvmas.media.probe import open_media, picture_stream
from openvmas.settings import option

_NOTED = ("width", "height", "sample_rate", "channels", "video_codec", "audio_codec", "container", "n_bytes")
_INDEXED = ("mov", "matroska", "avi", "asf", "flv")  # containers whose header says how long they are


@dataclass(frozen=True)
class Probe:
    """Opens the file and notes what it holds."""

    needs_picture: bool = option(True, "Refuse videos without a moving picture.")
    needs_sound: bool = option(True, "Refuse videos without sound.")
    name: ClassVar[str] = "probe"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        try:
            info = media.probe()
        except InputError as error:
            message = str(error).replace(str(media.path), media.name)
            reason = "no picture" if "no picture" in message or "cover picture" in message else "unreadable"
            return Drop(record, self.name, reason, message)
        if record.kind == "video" and self.needs_picture and info.picture is None:
            return Drop(record, self.name, "no picture", f"{info.container} with {info.audio_codec}")
        if record.kind == "video" and self.needs_sound and not info.has_audio:
            return Drop(record, self.name, "no sound", f"{info.container} with {info.video_codec}")
        facts = {name: getattr(info, name) for name in _NOTED}
        return record.with_facts(self.name, duration=round(info.duration, 3), fps=round(info.fps, 3), **facts)


@dataclass(frozen=True)
class Size:
    """Refuses what is too short, too long, too small or too jerky to learn from."""

    min_duration: float = option(10.0, "Shortest video or track, s: one training window.", min=0)
    max_duration: float = option(3600.0, "Longest one, s; longer ones are films, streams and mixes.", min=0)
    min_side: int = option(120, "Least height or width of the picture, px.", min=0)
    max_aspect: float = option(3.0, "Greatest ratio of the longer to the shorter side.", min=1)
    min_fps: float = option(8.0, "Least pictures per second.", min=0)
    name: ClassVar[str] = "size"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        info = media.probe()
        if record.kind != "image":
            duration = media.end - record.start  # media.duration would call what is too long unreadable
            if duration < self.min_duration:
                return Drop(record, self.name, "too short", f"{duration:.1f} s of {self.min_duration:g}")
            if duration > self.max_duration:
                return Drop(record, self.name, "too long", f"{duration:.0f} s of {self.max_duration:g}")
        if record.kind == "audio" or not info.width:
            return record
        short, long = sorted((info.width, info.height))
        if short < self.min_side:
            return Drop(record, self.name, "too small", f"{info.width}x{info.height}")
        if long > self.max_aspect * short:
            return Drop(record, self.name, "too narrow", f"{info.width}x{info.height}")
        if record.kind == "video" and info.fps < self.min_fps:
            return Drop(record, self.name, "too few frames", f"{info.fps:.1f} per second")
        return record


@dataclass(frozen=True)
class Decode:
    """Refuses files that were cut off or damaged: reads all packets, decodes all sound and some of the picture."""

    max_missing: float = option(0.08, "Share of the declared length that may be missing.", min=0, max=1)
    max_bad: float = option(0.03, "Share of the tested packets of a stream that may fail to decode.", min=0, max=1)
    n_places: int = option(4, "Number of places where the picture is decoded, from a key frame each.", min=1, max=100)
    seconds: float = option(2.0, "Length that is decoded at each place, s.", min=0.1, max=60)
    name: ClassVar[str] = "decode"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind == "image":
            media.picture()
            return record
        health = check_packets(media.path, self.n_places, self.seconds)
        if health.missing > self.max_missing:
            return Drop(record, self.name, "cut off", f"{health.missing:.0%} of the declared length is missing")
        if health.bad > self.max_bad:
            return Drop(record, self.name, "damaged", f"{health.bad:.0%} of the tested packets fail to decode")
        return record.with_facts(self.name, missing=round(health.missing, 4), bad=round(health.bad, 4))


@dataclass(frozen=True)
class Health:
    """missing: share of the declared length without packets. bad: worst stream's share of packets that fail; 1 if none
    can be tested."""

    missing: float
    bad: float


class _StreamCheck:
    """Health of one stream, found while its packets go by."""

    def __init__(self, stream: VideoStream | AudioStream, n_places: int, seconds: float, declared: float) -> None:
        self.stream = stream
        self.start: float | None = None
        self.end = 0.0
        self.n_tested = self.n_bad = 0
        self.gaps = 0.0  # s inside the stream without packets
        self._seconds = seconds
        self._step = declared / n_places if isinstance(stream, VideoStream) else 0.0
        self._next = self._until = -1e9

    def take(self, packet: av.Packet) -> None:
        base = float(packet.time_base or Fraction(1, 90_000))
        time = (packet.dts if packet.dts is not None else packet.pts or 0) * base
        if self.start is None:
            self.start = self._next = time
        elif isinstance(self.stream, AudioStream):
            self.gaps += max(time - self.end - 0.1, 0.0)
        self.end = max(self.end, time + (packet.duration or 0) * base)
        if self._step:
            if packet.is_keyframe and time >= self._next and time > self._until:
                self.stream.codec_context.flush_buffers()
                self._next, self._until = max(self._next + self._step, time), time + self._seconds
            if time > self._until:
                return
        self.n_tested += 1
        try:
            frames = self.stream.codec_context.decode(packet)
        except FFmpegError:
            self.n_bad += 1
            return
        self.n_bad += any(frame.is_corrupt for frame in frames)

    def bad_share(self) -> float:
        if self.start is None or not self.n_tested:
            return 1.0
        return max(self.n_bad / self.n_tested, self.gaps / max(self.end - self.start, 1e-3))


def check_packets(path: Path, n_places: int, seconds: float) -> Health:
    """Read all packets of a file once; decode the sound, and the picture for `seconds` in `n_places` places.

    Each stream is held to its own declared length (mp4), else the whole file to its header's. Raises InputError.
    """
    with open_media(path) as container:
        is_indexed = container.format.name.startswith(_INDEXED)
        declared = float(container.duration or 0) / 1e6 if is_indexed else 0.0
        checks: dict[int, _StreamCheck] = {}
        for find in (picture_stream, audio_stream):
            with contextlib.suppress(InputError):
                stream = find(container, str(path))
                stream.codec_context.options = {"err_detect": "explode"}
                stream.codec_context.thread_type = "SLICE"
                checks[stream.index] = _StreamCheck(stream, n_places, seconds, declared or 60.0)
        size = path.stat().st_size
        for packet in packets(container):
            # An index may list packets beyond the end of the file.
            if packet.stream_index in checks and (packet.pos or 0) + packet.size <= size:
                checks[packet.stream_index].take(packet)
        found = [check for check in checks.values() if check.start is not None]
        if not found:
            return Health(1.0, 1.0)
        missing = 0.0
        if declared > 0:
            begin = min(check.start or 0.0 for check in found)
            missing = 1 - (max(check.end for check in found) - begin) / declared
            for check in found:
                length = float((check.stream.duration or 0) * Fraction(check.stream.time_base or 1))
                if length > 0:
                    missing = max(missing, 1 - (check.end - (check.start or 0.0)) / length)
        return Health(max(missing, 0.0), max(check.bad_share() for check in checks.values()))
