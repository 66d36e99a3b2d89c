"""Frames of a video by presentation time: decoded once, scaled straight to the small sizes that are asked for."""

from __future__ import annotations

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
from openvmas.media.probe import VideoInfo, open_media, packets, probe
from openvmas.timeline import Clock

__all__ = ["FrameChunk", "FrameRequest", "VideoInfo", "probe", "read_frames"]


@dataclass(frozen=True)
class FrameRequest:
    """Which frames are wanted, and how.

    fps: sample k is the frame at time k / fps; None = every source frame (thinned to `max_fps`).
    size: exact (width, height) as displayed, or the long side in px (the aspect is kept). grey: one plane, not RGB.
    """

    fps: Fraction | None
    size: tuple[int, int] | int
    grey: bool = False


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
    taken.
    Broken packets are skipped: the last good frame stays. Raises InputError.
    """
    info = info or probe(path)
    pickers = [_Picker(request, info, Fraction(max_fps), chunk, index) for index, request in enumerate(requests)]
    last: av.VideoFrame | None = None
    last_time = Fraction(-1)
    for frame, pts in _decode(path, info):
        if pts is None:
            time = last_time + info.frame_interval if last is not None else Fraction(0)
        else:
            time = pts - info.start
        if last is not None and (time <= last_time or frame.is_corrupt):
            continue
        if last is not None:
            for picker in pickers:
                yield from picker.pass_frame(last, last_time, time)
        last, last_time = frame, time
    if last is None:
        raise InputError(f"{path}: no frame can be decoded; convert it to H.264 (mp4).")
    for picker in pickers:
        yield from picker.pass_frame(last, last_time, None)
        yield from picker.flush()


def _decode(path: str | Path, info: VideoInfo) -> Iterator[tuple[av.VideoFrame, Fraction | None]]:
    """Frames in the order shown, with their presentation times in s."""
    with open_media(path) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        stream.thread_type = "AUTO"
        # Every frame thread keeps a whole picture: fewer of them where pictures are huge.
        many = 8 if info.width * info.height <= 3840 * 2160 else 2
        stream.codec_context.thread_count = min(os.cpu_count() or 1, many)
        base = Fraction(stream.time_base or Fraction(1, 90_000))
        waiting: list[int] = []
        for packet in itertools.chain(packets(container, info.stream_index), [None]):
            try:
                frames = stream.codec_context.decode(packet)  # None: what the decoder still holds
            except FFmpegError:  # a broken packet: the decoder goes on with the next
                continue
            if packet is not None and packet.pts is not None:
                heapq.heappush(waiting, packet.pts)
            for frame in frames:
                pts = frame.pts
                if has_coded_order(info) and waiting:
                    pts = heapq.heappop(waiting)
                yield frame, None if pts is None else pts * base
            if not has_coded_order(info):
                waiting.clear()


def has_coded_order(info: VideoInfo) -> bool:
    """Whether packets carry times in the order of decoding: AVI knows no other, yet H.264 and HEVC are put into it."""
    return info.container == "avi" and info.codec in ("h264", "hevc")


def shown_times(path: str | Path, info: VideoInfo) -> dict[int, int]:
    """For a file that `has_coded_order`: when the frame of the packet with a given time is really shown, in ticks."""
    with open_media(path) as container:
        base = Fraction(container.streams[info.stream_index].time_base or 1)
    return {
        frame.pts: int(time / base) for frame, time in _decode(path, info) if frame.pts is not None and time is not None
    }


class _Picker:
    """Chooses and scales the frames of one request as the source frames pass by."""

    def __init__(self, request: FrameRequest, info: VideoInfo, max_fps: Fraction, chunk: int, index: int) -> None:
        # Every source frame = nothing is chosen on a clock, unless there are more of them than max_fps.
        every = request.fps is None and 1 / info.frame_interval <= max_fps * Fraction(101, 100)
        self._clock = None if every else Clock(request.fps or max_fps)
        self._n_samples = self._clock.count(info.duration) if self._clock else 0
        self._next = 0
        self._info = info
        self._index = index
        self._chunk = chunk
        self._scaler = _Scaler(request, info)
        self._times: list[float] = []
        self._frames: list[np.ndarray] = []

    def pass_frame(self, frame: av.VideoFrame, time: Fraction, next_time: Fraction | None) -> Iterator[FrameChunk]:
        """A source frame at `time` gives way to one at `next_time` (None: it is the last)."""
        for _ in range(self._wanted(time, next_time)):
            self._frames.append(self._scaler(frame))
            self._times.append(float(time))
            if len(self._frames) == self._chunk:
                yield self._take()
        self._scaler.forget()

    def _wanted(self, time: Fraction, next_time: Fraction | None) -> int:
        if self._clock is None:
            return 1
        first = self._next
        if next_time is None:
            self._next = self._n_samples
        else:
            gap, usual = next_time - time, self._info.frame_interval
            # Samples up to the boundary, ties included, take this frame.
            boundary = next_time - (gap if gap <= 2 * usual else usual) / 2
            last = int(boundary * self._clock.rate // 1)
            self._next = max(first, min(last + 1, self._n_samples))
        return self._next - first

    def flush(self) -> Iterator[FrameChunk]:
        if self._frames:
            yield self._take()

    def _take(self) -> FrameChunk:
        taken = FrameChunk(self._index, np.array(self._times, dtype=np.float64), np.stack(self._frames))
        self._times, self._frames = [], []
        return taken


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
        self._format = "gray" if request.grey else "rgb24"
        self._tone = _pq_to_sdr() if info.is_hdr else None
        self._reformatter = VideoReformatter()
        self._done: np.ndarray | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if self._done is None:
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
            self._done = np.rot90(pixels, -self._turns)
        return self._done

    def forget(self) -> None:
        self._done = None


def _pq_to_sdr() -> np.ndarray:
    """Table [256] uint8 from PQ code values (SMPTE ST 2084) to SDR ones; 203 cd/m2 (BT.2408 white) stays bright."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    code = (np.arange(256) / 255) ** (1 / m2)
    light = 10_000 * (np.maximum(code - c1, 0) / (c2 - c3 * code)) ** (1 / m1) / 203
    mapped = light * (1 + light / 16) / (1 + light)  # Reinhard with a white point of four times diffuse white
    return np.round(255 * np.clip(mapped, 0, 1) ** (1 / 2.2)).astype(np.uint8)
