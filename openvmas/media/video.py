"""Frames of a video by presentation time: decoded once, scaled straight to the small sizes that are asked for."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from openvmas.errors import InputError
from openvmas.media.packets import packets
from openvmas.media.probe import VideoInfo, open_media, probe, shown
from openvmas.timeline import Clock

__all__ = ["FrameChunk", "FrameRequest", "VideoInfo", "probe", "read_frames"]

MIN_REDUCTION = 4  # pixels of the source per pixel asked for, along a side: from here on pictures are small


@dataclass(frozen=True)
class FrameRequest:
    """Which frames are wanted, and how.

    fps: sample k is the frame at time k / fps; None = every source frame (thinned to `max_fps`).
    size: exact (width, height) as displayed, or the long side in px (the aspect is kept). grey: one plane, not RGB.
    chunk: frames that are handed out at once; as many as of the other requests if left out.
    """

    fps: Fraction | None
    size: tuple[int, int] | int
    grey: bool = False
    chunk: int | None = None


@dataclass(frozen=True)
class FrameChunk:
    """Some consecutive frames of one request.

    request: index into the requests. times: [F] float64, s from the start of the picture, of the source frames chosen
    (a source frame that serves several samples appears as often).
    frames: [F, h, w, 3] RGB or [F, h, w] grey, uint8.
    """

    request: int
    times: np.ndarray
    frames: np.ndarray


def read_frames(
    path: str | Path,
    requests: Sequence[FrameRequest],
    info: VideoInfo | None = None,
    max_fps: Fraction = Fraction(60),
    chunk: int = 64,
) -> Iterator[FrameChunk]:
    """Decode a video once and yield the frames of every request, in memory that does not grow with its length.

    Sample k of a request, k = 0 .. ceil(duration * fps) - 1, is the source frame whose presentation time is nearest
    to k / fps, the earlier one at a tie; so it is never off by more than half a source frame. A frame that is held
    for more than two usual intervals (variable frame rate) counts as shown again and again: what is on the screen is
    taken. Broken packets are skipped: the last good frame stays. Raises InputError.
    """
    info = info or probe(path)
    ticks, base = _shown_ticks(path, info)
    counts = [_count(request, ticks, base, info, Fraction(max_fps)) for request in requests]
    wanted = {int(tick) for tick in ticks[np.sum(counts, axis=0) > 0]}
    sinks = [_Sink(request, info, chunk, index) for index, request in enumerate(requests)]
    is_small = all(sink.reduction >= MIN_REDUCTION for sink in sinks)
    last: tuple[av.VideoFrame, float] | None = None
    served = 0  # frames of the file whose samples have been given
    for frame, tick in _decode(path, info, wanted, is_small):
        place = served if tick is None else int(np.searchsorted(ticks, tick, side="right")) - 1
        if place < served or place >= len(ticks) or (frame.is_corrupt and last is not None):
            continue
        now = (frame, float((ticks[place] - ticks[0]) * base))
        for sink, count in zip(sinks, counts, strict=True):
            if place > served:  # frames that are broken or not there
                yield from sink.take(last or now, count[served:place].sum())
            yield from sink.take(now, count[place])
        last, served = now, place + 1
    if last is None:
        raise InputError(f"{path}: no frame can be decoded; convert it to H.264 (mp4).")
    for sink, count in zip(sinks, counts, strict=True):
        yield from sink.take(last, count[served:].sum())
        yield from sink.flush()


def _shown_ticks(path: str | Path, info: VideoInfo) -> tuple[np.ndarray, Fraction]:
    """Presentation times of all frames in ticks, increasing: [F] int64; and the length of a tick, s."""
    with open_media(path) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        base = Fraction(stream.time_base or Fraction(1, 90_000))
        ticks = np.unique(shown(container, info)[0])
        # Damaged files may give other times when they are read again; none may lie behind the end that was measured.
        inside = ticks[ticks < int((info.start + info.duration) / base) + 1]
        return (inside if len(inside) else ticks), base


def _count(request: FrameRequest, ticks: np.ndarray, base: Fraction, info: VideoInfo, max_fps: Fraction) -> np.ndarray:
    """Number of samples of a request that each source frame serves: [F] int64."""
    if request.fps is None and 1 / info.frame_interval <= max_fps * Fraction(101, 100):
        return np.ones(len(ticks), dtype=np.int64)
    clock = Clock(request.fps or max_fps)
    n_samples = clock.count(info.duration)
    usual = info.frame_interval / base
    times = (ticks - ticks[0]).astype(object) * usual.denominator  # Python integers: exact at any length
    gaps = np.diff(times)
    # Up to the boundary, ties included, samples take the earlier frame.
    twice_boundary = 2 * times[1:] - np.where(gaps <= 2 * usual.numerator, gaps, usual.numerator)
    scale = base * clock.rate / (2 * usual.denominator)
    served = twice_boundary * scale.numerator // scale.denominator + 1
    ends = np.clip(np.append(served, n_samples).astype(np.int64), 0, n_samples)
    return np.diff(np.maximum.accumulate(ends), prepend=0)


def _decode(
    path: str | Path, info: VideoInfo, wanted: set[int] | None = None, is_small: bool = False
) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """Frames in the order shown, with their presentation times in ticks.

    Frames not in `wanted` that no other frame refers to need not be decoded, which saves up to half of the time. With
    is_small those that no other refers to are not deblocked, of which nothing is left in small pictures.
    """
    if info.clock.spans:
        yield from _decode_spans(path, info)
        return
    with open_media(path) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.thread_type = "AUTO"
        # Every frame thread keeps a whole picture: fewer of them where pictures are huge.
        many = 8 if info.width * info.height <= 3840 * 2160 else 2
        context.thread_count = min(os.cpu_count() or 1, many)
        if is_small:
            context.options = {"skip_loop_filter": "noref"}
        # Only H.264 says of each single frame that nothing refers to it (nal_ref_idc 0).
        may_skip = wanted is not None and info.codec == "h264" and not has_coded_order(info)
        waiting: list[int] = []
        for packet in itertools.chain(packets(container, info.stream_index, info.clock), [None]):
            if may_skip and packet is not None:
                context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in (wanted or ()) else "NONREF"
            try:
                frames = context.decode(packet)  # None: what the decoder still holds
            except FFmpegError:  # a broken packet: the decoder goes on with the next
                continue
            if has_coded_order(info) and packet is not None and packet.pts is not None:
                heapq.heappush(waiting, packet.pts)
            for frame in frames:
                yield frame, heapq.heappop(waiting) if waiting else frame.pts


def _decode_spans(path: str | Path, info: VideoInfo) -> Iterator[tuple[av.VideoFrame, int]]:
    """Frames of a picture that an edit list puts together, in the order shown, with their times in ticks."""
    for span in info.clock.spans:
        with open_media(path, ignores_edits=True) as container:
            stream = container.streams[info.stream_index]
            assert isinstance(stream, VideoStream)
            with contextlib.suppress(FFmpegError):  # without an index all of it is decoded
                container.seek(max(0, span.start), stream=stream)
            before: av.VideoFrame | None = None  # it is still shown when the span begins
            is_begun = False
            for packet in itertools.chain(packets(container, info.stream_index), [None]):
                try:
                    frames = stream.codec_context.decode(packet)
                except FFmpegError:
                    continue
                for frame in frames:
                    if frame.pts is None or frame.pts >= span.end:
                        continue
                    if frame.pts <= span.start:
                        before = frame
                        continue
                    if before is not None and not is_begun:
                        yield before, span.shown
                    is_begun = True
                    yield frame, frame.pts - span.start + span.shown
                if packet is not None and packet.dts is not None and packet.dts >= span.end:
                    break
            if before is not None and not is_begun:
                yield before, span.shown


def has_coded_order(info: VideoInfo) -> bool:
    """Whether packets carry times in the order of decoding: AVI knows no other, yet B-frames are put into it."""
    return info.clock.is_coded_order


def shown_times(path: str | Path, info: VideoInfo) -> dict[int, int]:
    """For a file that `has_coded_order`: when the frame of the packet with a given time is really shown, in ticks."""
    return {frame.pts: tick for frame, tick in _decode(path, info) if frame.pts is not None and tick is not None}


class _Sink:
    """Scales the frames of one request and hands them out in chunks."""

    def __init__(self, request: FrameRequest, info: VideoInfo, chunk: int, index: int) -> None:
        self._index = index
        self._chunk = request.chunk or chunk
        self._scaler = _Scaler(request, info)
        self.reduction = self._scaler.reduction
        self._times: list[float] = []
        self._frames: list[np.ndarray] = []

    def take(self, frame: tuple[av.VideoFrame, float], count: int) -> Iterator[FrameChunk]:
        """A source frame and its time, for `count` samples."""
        if not count:
            return
        small = self._scaler(frame[0])
        for _ in range(count):
            self._frames.append(small)
            self._times.append(frame[1])
            if len(self._frames) == self._chunk:
                yield self._give()

    def flush(self) -> Iterator[FrameChunk]:
        if self._frames:
            yield self._give()

    def _give(self) -> FrameChunk:
        given = FrameChunk(self._index, np.array(self._times, dtype=np.float64), np.stack(self._frames))
        self._times, self._frames = [], []
        return given


class _Scaler:
    """Scales with swscale, straight from the decoder's format to the small size, and turns the small picture."""

    def __init__(self, request: FrameRequest, info: VideoInfo) -> None:
        if isinstance(request.size, int):
            ratio = Fraction(request.size, max(info.width, info.height))
            width, height = (max(1, round(side * ratio)) for side in (info.width, info.height))
        else:
            width, height = request.size
        self._turns = info.rotation // 90
        self._size = (height, width) if self._turns % 2 else (width, height)
        stored = (info.height, info.width) if self._turns % 2 else (info.width, info.height)
        self.reduction = min(n / small for n, small in zip(stored, self._size, strict=True))
        self._format = "gray" if request.grey else "rgb24"
        self._tone = _pq_to_sdr() if info.is_hdr else None
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """[h, w] or [h, w, 3] uint8."""
        small = self._reformatter.reformat(
            frame,
            *self._size,
            format=self._format,
            interpolation=Interpolation.AREA,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        pixels = np.asarray(small.to_ndarray(), dtype=np.uint8)
        if self._tone is not None and int(frame.color_trc) == 16:
            pixels = np.take(self._tone, pixels)
        return np.rot90(pixels, -self._turns) if self._turns else pixels


def _pq_to_sdr() -> np.ndarray:
    """Table [256] uint8 from PQ code values (SMPTE ST 2084) to SDR ones; 203 cd/m2 (BT.2408 white) stays bright."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    code = (np.arange(256) / 255) ** (1 / m2)
    light = 10_000 * (np.maximum(code - c1, 0) / (c2 - c3 * code)) ** (1 / m1) / 203
    mapped = light * (1 + light / 16) / (1 + light)  # Reinhard with a white point of four times diffuse white
    return np.round(255 * np.clip(mapped, 0, 1) ** (1 / 2.2)).astype(np.uint8)
