"""A clip made on the fly whose cuts, flashes, dissolves and moves are known to the frame, with traps beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Scene:
    """One shot of the clip: a random picture seen by a moving camera, perhaps with a moving thing in it."""

    seed: int
    duration: float  # s
    pan: tuple[float, float] = (0.0, 0.0)  # picture widths per second
    zoom: float = 0.0  # growth per second
    shake: float = 0.0  # picture widths, standard deviation per frame
    noise: float = 2.0  # grey levels
    drift: float = 0.0  # relative change of exposure per second
    thing: float = 0.0  # speed of a moving thing, picture widths per second
    jumps: tuple[float, ...] = ()  # s from the scene's start: the thing starts or stops at these times
    flashes: tuple[float, ...] = ()  # s from the scene's start
    flash_frames: int = 2
    dissolve: float = 0.0  # s of dissolve into this scene (0: hard cut)
    gain: float = 1.0
    detail: float = 1.3  # exponent of the picture's spectrum: more is smoother
    is_flat: bool = False  # an even colour instead of a picture


@dataclass(frozen=True)
class Truth:
    """What really happens, s: first frames after cuts and of flashes, (start, end) of dissolves, starts and stops."""

    fps: Fraction
    duration: float
    cuts: list[float] = field(default_factory=list)
    flashes: list[float] = field(default_factory=list)
    dissolves: list[tuple[float, float]] = field(default_factory=list)
    jumps: list[float] = field(default_factory=list)


def make_picture(
    seed: int, height: int = 400, width: int = 640, detail: float = 1.3, is_flat: bool = False
) -> np.ndarray:
    """A random picture with the spectrum of natural ones and a few hard-edged shapes: [h, w, 3] float32, 0 to 255."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(40, 215, 3)
    if is_flat:
        return np.broadcast_to(colour.astype(np.float32), (height, width, 3)).copy()
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(fx, fy), 2 / width) ** detail
    planes = []
    for _ in range(2):
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phase, s=(height, width))
        planes.append(plane / plane.std())
    mix = rng.normal(0, 1, (2, 3)) * 12 + np.array([[35.0], [8.0]])
    picture = colour + planes[0][..., None] * mix[0] + planes[1][..., None] * mix[1]
    y, x = np.mgrid[:height, :width]
    for _ in range(rng.integers(6, 14)):
        cy, cx, size = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(15, 70)
        turn = rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        inside = (np.abs(u) < size) & (np.abs(v) < size * rng.uniform(0.2, 1))
        picture[inside] = picture[inside] * 0.25 + rng.uniform(0, 255, 3) * 0.75
    return np.clip(picture, 0, 255).astype(np.float32)


def look(picture: np.ndarray, centre: tuple[float, float], scale: float, size: tuple[int, int]) -> np.ndarray:
    """What a camera sees: [h, w, 3].

    centre: in pixels of the picture, which is mirrored beyond its edges; scale: its pixels per pixel seen.
    """
    width, height = size
    x = centre[0] + (np.arange(width) - width / 2) * scale
    y = centre[1] + (np.arange(height) - height / 2) * scale

    def fold(a: np.ndarray, n: int) -> np.ndarray:
        a = np.mod(a, 2 * (n - 1))
        return np.where(a > n - 1, 2 * (n - 1) - a, a)

    x, y = fold(x, picture.shape[1]), fold(y, picture.shape[0])
    x0, y0 = np.minimum(x.astype(int), picture.shape[1] - 2), np.minimum(y.astype(int), picture.shape[0] - 2)
    wx, wy = (x - x0).astype(np.float32)[None, :, None], (y - y0).astype(np.float32)[:, None, None]
    upper = picture[y0][:, x0] * (1 - wx) + picture[y0][:, x0 + 1] * wx
    lower = picture[y0 + 1][:, x0] * (1 - wx) + picture[y0 + 1][:, x0 + 1] * wx
    return upper * (1 - wy) + lower * wy


class Film:
    """Renders scenes to frames. `truth` says what they hold."""

    def __init__(
        self, scenes: list[Scene], fps: Fraction | int = 25, size: tuple[int, int] = (320, 180), seed: int = 0
    ) -> None:
        self.scenes, self.fps, self.size = scenes, Fraction(fps), size
        self._rng = np.random.default_rng(seed)
        self._pictures = [make_picture(s.seed, detail=s.detail, is_flat=s.is_flat) for s in scenes]
        self._things = [make_picture(s.seed + 5000, 120, 120) for s in scenes]
        starts = [0]
        for s in scenes:
            starts.append(starts[-1] + round(s.duration * self.fps))
        self.starts, self.n_frames = starts[:-1], starts[-1]
        rate = float(self.fps)
        self.truth = Truth(self.fps, self.n_frames / rate)
        for i, (scene, start) in enumerate(zip(scenes, self.starts, strict=True)):
            if i and scene.dissolve:
                self.truth.dissolves.append((start / rate, start / rate + scene.dissolve))
            elif i:
                self.truth.cuts.append(start / rate)
            self.truth.flashes.extend((start + round(f * self.fps)) / rate for f in scene.flashes)
            self.truth.jumps.extend(start / rate + j for j in scene.jumps)

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame, [h, w, 3] uint8."""
        for i, (scene, start) in enumerate(zip(self.scenes, self.starts, strict=True)):
            n = round(scene.duration * self.fps)
            for k in range(n):
                frame = self._see(i, k / float(self.fps))
                if i and scene.dissolve and k / float(self.fps) < scene.dissolve:
                    share = k / float(self.fps) / scene.dissolve
                    before = self._see(i - 1, (start + k - self.starts[i - 1]) / float(self.fps))
                    frame = before * (1 - share) + frame * share
                for f in scene.flashes:
                    first = round(f * self.fps)
                    if first <= k < first + scene.flash_frames:
                        frame = 255 - (255 - frame) * (0.15 + 0.5 * (k - first) / scene.flash_frames)
                frame = frame + self._rng.normal(0, max(scene.noise, 1e-6), frame.shape)
                yield np.clip(frame, 0, 255).astype(np.uint8)

    def array(self) -> np.ndarray:
        """All frames: [F, h, w, 3] uint8."""
        return np.stack(list(self.frames()))

    def times(self) -> np.ndarray:
        return np.arange(self.n_frames) / float(self.fps)

    def write(self, path: str | Path, codec: str = "libx264", quality: int = 23) -> Truth:
        """Encode to a file."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=self.fps, options={"crf": str(quality), "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = *self.size, "yuv420p"  # pyright: ignore
            for frame in self.frames():
                for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):  # pyright: ignore
                    container.mux(packet)
            for packet in stream.encode(None):  # pyright: ignore
                container.mux(packet)
        return self.truth

    def _see(self, i: int, t: float) -> np.ndarray:
        scene, picture = self.scenes[i], self._pictures[i]
        scale = 1.25 / (1 + scene.zoom) ** t
        shake = self._rng.normal(0, scene.shake, 2) if scene.shake else np.zeros(2)
        width = self.size[0] * scale
        centre = (320 + (scene.pan[0] * t + shake[0]) * width, 200 + (scene.pan[1] * t + shake[1]) * width)
        frame = look(picture, centre, scale, self.size)
        if scene.thing:
            on = np.concatenate([[0.0], scene.jumps, [1e9]]) if scene.jumps else np.array([0.0, 1e9])
            moved = sum(min(t, b) - a for a, b in zip(on[::2], on[1::2], strict=False) if t > a)
            x = int((0.05 + scene.thing * moved) % 0.8 * self.size[0])
            y, side = self.size[1] // 3, self.size[1] // 3
            frame[y : y + side, x : x + side] = self._things[i][:side, :side]
        return frame * scene.gain * max(1 + scene.drift * t, 0.05)


def standard_scenes() -> list[Scene]:
    """Cuts, flashes, a dissolve and a fade at known times, between pans, zooms, shaking, noise and changing light."""
    return [
        Scene(1, 2.0, pan=(0.1, 0.0)),
        Scene(2, 1.6, zoom=0.15, flashes=(0.8,)),
        Scene(3, 2.0, pan=(-0.6, 0.1), noise=4),
        Scene(4, 0.6, shake=0.004),
        Scene(5, 0.4),
        Scene(6, 2.4, drift=-0.25, noise=6),
        Scene(7, 3.0, thing=0.5, jumps=(1.0, 2.0), flashes=(0.4, 2.6), flash_frames=3),
        Scene(8, 3.0, dissolve=1.0, pan=(0.03, 0.0)),
        Scene(9, 2.0, thing=1.2, shake=0.006, pan=(0.3, 0.2)),
        Scene(10, 2.0, zoom=-0.2, drift=0.3, gain=0.6, flashes=(1.2,), flash_frames=1),
        Scene(11, 2.0),
    ]
