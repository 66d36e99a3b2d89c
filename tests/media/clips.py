"""Tiny clips whose frames carry their number in the pixels, so that a test can see which ones were chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, ColorTrc

SAMPLE_RATE = 48_000
COLUMNS, ROWS = 4, 3  # cells of 0 or 1: numbers up to 4095
FAST = {
    "libx264": {"preset": "ultrafast", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx-vp9": {"threads": "1", "deadline": "realtime", "cpu-used": "8", "crf": "30"},
    "libvpx": {"threads": "1", "deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "13", "crf": "35", "svtav1-params": "lp=1"},
}


def draw(number: int, size: tuple[int, int]) -> np.ndarray:
    """The picture of a number as displayed: [h, w, 3] uint8."""
    width, height = size
    bits = (number >> np.arange(COLUMNS * ROWS) & 1).reshape(ROWS, COLUMNS)
    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    cells = np.where(bits[rows][:, columns], 230, 25).astype(np.uint8)
    return np.repeat(cells[..., None], 3, axis=2)


def number(picture: np.ndarray) -> int:
    """What `draw` drew, from [h, w] or [h, w, 3] of any size."""
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    height, width = grey.shape
    value = 0
    for bit in range(COLUMNS * ROWS):
        row, column = divmod(bit, COLUMNS)
        y, x = (2 * row + 1) * height // (2 * ROWS), (2 * column + 1) * width // (2 * COLUMNS)
        cell = grey[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        value |= int(cell.mean() > 128) << bit
    return value


def tone(n_samples: int, frequency: float = 440.0, level: float = 0.25, channels: int = 2) -> np.ndarray:
    """[C, n] float32."""
    wave = level * np.sin(2 * np.pi * frequency * np.arange(n_samples) / SAMPLE_RATE)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


@contextmanager
def own_scheduling() -> Iterator[None]:
    """SVT-AV1 makes who opens it as root a real-time process (SCHED_FIFO 99) for good, and so all its children."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


@own_scheduling()
def make_clip(
    path: Path,
    *,
    fps: Fraction | int = 25,
    n_frames: int = 30,
    times: Sequence[Fraction] | None = None,
    base: Fraction | None = None,
    start: Fraction = Fraction(0),
    size: tuple[int, int] = (128, 96),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    transfer: ColorTrc | None = None,
    sound: np.ndarray | None = None,
    sound_codec: str = "aac",
    sound_start: Fraction = Fraction(0),
    layout: str = "stereo",
    cover: bool = False,
    subtitles: str | None = None,
    metadata: dict[str, str] | None = None,
    chapters: list[dict[str, Any]] | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Encode a clip. times: presentation times of the frames (variable rate) instead of `fps`; size: as displayed;
    rotation: degrees clockwise that a player turns the stored picture; sound: [C, L]; start, sound_start: s."""
    shown = list(times) if times is not None else [Fraction(i) / Fraction(fps) for i in range(n_frames)]
    base = base or (1 / Fraction(fps) if times is None and start % (1 / Fraction(fps)) == 0 else Fraction(1, 90_000))
    stored = size if rotation % 180 == 0 else size[::-1]
    with av.open(str(path), "w", container_options=muxer or {}) as container:
        container.metadata.update(metadata or {})
        picture: Any = container.add_stream(
            codec, rate=Fraction(fps), options={**FAST.get(codec, {}), **(options or {})}
        )
        picture.width, picture.height, picture.pix_fmt = *stored, pix_fmt
        picture.codec_context.time_base = base
        picture.time_base = base
        if transfer is not None:
            picture.codec_context.color_trc = transfer
            picture.codec_context.color_primaries = ColorPrimaries.BT2020
        if rotation:
            picture.set_display_rotation(-rotation)
        speaker: Any = None
        if sound is not None:
            speaker = container.add_stream(sound_codec, rate=SAMPLE_RATE, layout=layout)
        still: Any = None
        if cover:
            still = container.add_stream("mjpeg", rate=1)
            still.width, still.height, still.pix_fmt = 640, 480, "yuvj420p"
            still.disposition = Disposition.attached_pic
        text: Any = container.add_mux_stream(subtitles) if subtitles else None
        if chapters:
            container.set_chapters(chapters)
        if still is not None:
            frame = av.VideoFrame.from_ndarray(np.full((480, 640, 3), 99, np.uint8), format="rgb24")
            container.mux(still.encode(frame))
            container.mux(still.encode(None))
        if speaker is not None and sound is not None:
            for frame in sound_frames(sound, layout, sound_start, speaker.codec_context.format.name):
                container.mux(speaker.encode(frame))
            container.mux(speaker.encode(None))
        for index, time in enumerate(shown):
            pixels = np.ascontiguousarray(np.rot90(draw(index, size), rotation // 90))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round((start + time) / base), base
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if text is not None:
            words = b"Hello"
            packet = av.Packet(len(words).to_bytes(2, "big") + words if subtitles == "mov_text" else words)
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = 200, 200, 500
            container.mux(packet)
    return path


def sound_frames(wave: np.ndarray, layout: str, start: Fraction, sample_format: str) -> Iterator[av.AudioFrame]:
    """[C, L] as frames that an encoder takes."""
    first = round(start * SAMPLE_RATE)
    resampler = av.AudioResampler(format=sample_format, layout=layout, rate=SAMPLE_RATE)
    for i in range(0, wave.shape[1], 1024):
        block = np.ascontiguousarray(wave[:, i : i + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first + i, Fraction(1, SAMPLE_RATE)
        yield from resampler.resample(frame)
