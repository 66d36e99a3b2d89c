"""Tiny videos made on the spot, and a composer whose music is known: sines with an accent where one is asked."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from openvmas.condition import Condition
from openvmas.generate.piece import Composer, Piece
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.settings import GenerateOptions

SAMPLE_RATE = 48_000


def write_clip(
    path: Path,
    duration: float = 3.0,
    *,
    fps: int = 25,
    size: tuple[int, int] = (160, 96),
    sound: str | None = None,
    has_picture: bool = True,
    codec: str = "libx264",
) -> Path:
    """A video whose picture changes colour every second and whose square moves; sound: None, "sine" or "noise"."""
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream(codec, rate=fps) if has_picture else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        audio: Any = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo") if sound else None
        if picture is not None:
            for index in range(round(duration * fps)):
                frame = av.VideoFrame.from_ndarray(draw(index, fps, size), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, fps)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        if audio is not None:
            wave = make_sound(sound or "sine", round(duration * SAMPLE_RATE))
            for start in range(0, wave.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wave[:, start : start + 1024]), format="fltp", layout="stereo"
                )
                block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def draw(index: int, fps: int, size: tuple[int, int]) -> np.ndarray:
    """[h, w, 3] uint8: a background of its own for each second, a bright square that moves to the right."""
    width, height = size
    colours = np.array([(40, 60, 160), (170, 60, 40), (50, 150, 60), (200, 190, 60)], np.uint8)
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = colours[index // fps % len(colours)]
    left = index * 2 % max(width - height // 4, 1)
    frame[height // 3 : height // 3 + height // 4, left : left + height // 4] = 240
    return frame


def make_sound(kind: str, n_samples: int) -> np.ndarray:
    """[2, n] float32."""
    if kind == "noise":
        return (0.1 * np.random.default_rng(1).standard_normal((2, n_samples))).astype(np.float32)
    tone = 0.2 * np.sin(2 * np.pi * 330 * np.arange(n_samples) / SAMPLE_RATE)
    return np.stack([tone, tone]).astype(np.float32)


class SineComposer(Composer):
    """A steady chord whose root depends on the seed, and a decaying louder tone at each accent of the condition."""

    weights = Weights("sines", "1", "none needed", Path(), {}, "0" * 64)

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        return Piece(self.blocks(condition, options), {"chosen": 0})

    def blocks(self, condition: Condition, options: GenerateOptions) -> Iterator[np.ndarray]:
        step = SAMPLE_RATE // 50
        n_samples = condition.n_steps * step
        times = np.arange(n_samples) / SAMPLE_RATE
        root = 220 * 2 ** (options.seed % 12 / 12)
        wave = 0.05 * np.sin(2 * np.pi * root * times)
        decay = np.exp(-np.arange(SAMPLE_RATE // 4) / 3000) * np.sin(
            2 * np.pi * 2 * root * np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
        )
        for index in np.flatnonzero(condition.events.accents > 0.5):
            part = wave[index * step : index * step + len(decay)]
            part += 0.3 * decay[: len(part)]
        for start in range(0, n_samples, SAMPLE_RATE):
            yield np.stack([wave[start : start + SAMPLE_RATE]] * 2).astype(np.float32)
