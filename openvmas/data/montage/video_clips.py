"""A small film editor: pictures and footage in, cuts, moves, dissolves and flashes out.

Everything that happens is written down in a `Truth`, so that tests know it. `data.montage.editor` plans edits to
music, the
scripts write examples and test videos with it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# Footage without changes of shot of its own, s: only these spans are used.
FOOTAGE = {
    "cityCC0.mpg": (0.0, 4.5),
    "bigbuckbunny.mp4": (0.0, 5.2),
    "vtest.avi": (0.0, 20.0),
    "bikes.mp4": (3.1, 5.4),
    "lebiniou-2021-06-10_12-27-41.mp4": (0.0, 6.0),
    "lebiniou-2021-06-10_12-19-19.mp4": (0.0, 8.0),
    "lebiniou-2021-06-10_12-19-53.mp4": (0.0, 8.0),
}
KICK, KICK_RISE, KICK_FALL = 0.12, 0.08, 0.25  # relative zoom; s up; s of the way back (time constant)
MAX_STILL = 1600  # pixels, the long side of a picture in memory


@dataclass(frozen=True)
class Take:
    """One shot of an edit.

    path: a picture or footage. zoom: size of the view at start and end (1 = as much of the picture as fits).
    centre: where the view looks at start and end, in shares of the picture. ease: "even", "in", "out" (slowing down),
    "punch" (a fast zoom in the first 0.3 s), "hold" (moves only within `moving`, shares of the duration).
    source_start, speed: of footage. dissolve: s of dissolve into this take; is_fade: through black instead.
    flashes, kicks: s from the start; a kick is a zoom of KICK within KICK_RISE that eases back.
    grain: noise, grey levels; shake: pixels; exposure: relative drift per second.
    """

    path: str
    duration: float
    zoom: tuple[float, float] = (1.0, 1.0)
    centre: tuple[tuple[float, float], tuple[float, float]] = ((0.5, 0.5), (0.5, 0.5))
    ease: str = "even"
    source_start: float = 0.0
    speed: float = 1.0
    dissolve: float = 0.0
    is_fade: bool = False
    flashes: tuple[float, ...] = ()
    kicks: tuple[float, ...] = ()
    moving: tuple[float, float] = (1 / 3, 2 / 3)
    grain: float = 0.0
    shake: float = 0.0
    exposure: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass
class Truth:
    """What a video holds, s. cuts: first frames after hard cuts; dissolves: (start, end); fades likewise; flashes:
    first frames; moves: sudden starts and stops of motion inside a shot."""

    fps: str
    duration: float
    cuts: list[float] = field(default_factory=list)
    dissolves: list[tuple[float, float]] = field(default_factory=list)
    fades: list[tuple[float, float]] = field(default_factory=list)
    flashes: list[float] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)

    def write(self, path: Path) -> None:
        rounded = {
            k: json.loads(json.dumps(v), parse_float=lambda s: round(float(s), 4)) for k, v in asdict(self).items()
        }
        path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


class Source:
    """Pictures of one file: a still, or footage read on demand."""

    def __init__(self, path: str, footage_width: int = 640) -> None:
        self.is_still = Path(path).suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
        with av.open(path) as container:
            stream = container.streams.video[0]
            frames: list[np.ndarray] = []
            first, last = FOOTAGE.get(Path(path).name, (0.0, 10.0))
            for frame in container.decode(stream):
                if (
                    not self.is_still
                    and float(frame.time or 0) - float((stream.start_time or 0) * (stream.time_base or 0)) < first
                ):
                    continue
                long_side = MAX_STILL if self.is_still else footage_width
                share = min(1.0, long_side / max(frame.width, frame.height))
                size = round(frame.width * share / 2) * 2, round(frame.height * share / 2) * 2
                frames.append(frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray())
                if self.is_still or len(frames) >= (last - first) * float(stream.average_rate or 25):
                    break
            self.fps = float(stream.average_rate or 25)
        self.frames = frames

    def at(self, t: float) -> np.ndarray:
        """The picture t seconds into the footage (there and back again beyond its end)."""
        n = len(self.frames)
        index = int(t * self.fps) % max(2 * n - 2, 1)
        return self.frames[index if index < n else 2 * n - 2 - index]


class Edit:
    """Renders takes one after the other. `truth` is known before rendering."""

    def __init__(self, takes: list[Take], fps: Fraction, size: tuple[int, int], seed: int = 0) -> None:
        self.takes, self.fps, self.size = takes, Fraction(fps), size
        self._rng = np.random.default_rng(seed)
        self._sources: dict[str, Source] = {}
        self._starts = list(itertools.accumulate((round(t.duration * self.fps) for t in takes), initial=0))
        rate = float(self.fps)
        self.truth = Truth(str(self.fps), self._starts[-1] / rate)
        for i, (take, start) in enumerate(zip(takes, self._starts, strict=False)):
            at = start / rate
            if i and take.dissolve:
                (self.truth.fades if take.is_fade else self.truth.dissolves).append((at, at + take.dissolve))
            elif i:
                self.truth.cuts.append(at)
            self.truth.flashes += [(start + round(f * self.fps)) / rate for f in take.flashes]
            if take.ease == "punch":
                self.truth.moves.append(at + 0.3)
            if take.ease == "hold":
                self.truth.moves += [at + share * take.duration for share in take.moving]
            self.truth.moves += [at + kick for kick in take.kicks]
        self.truth.moves.sort()

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame, [h, w, 3] uint8."""
        rate = float(self.fps)
        for i, take in enumerate(self.takes):
            start, stop = self._starts[i], self._starts[i + 1]
            for k in range(stop - start):
                t = k / rate
                frame = self._view(take, t)
                if i and take.dissolve and t < take.dissolve:
                    share = t / take.dissolve
                    before = self._view(self.takes[i - 1], self.takes[i - 1].duration + t)
                    if take.is_fade:
                        frame = before * max(1 - 2 * share, 0) + frame * max(2 * share - 1, 0)
                    else:
                        frame = before * (1 - share) + frame * share
                for flash in take.flashes:
                    since = k - round(flash * self.fps)
                    if 0 <= since <= 0.2 * rate:
                        frame = 255 - (255 - frame) * (1 - 0.9 * np.exp(-since / (0.05 * rate)))
                if take.grain:
                    frame = frame + self._rng.normal(0, take.grain, frame.shape[:2])[..., None]
                yield np.clip(frame, 0, 255).astype(np.uint8)

    def write(
        self,
        path: Path,
        quality: int = 24,
        preset: str = "veryfast",
        sound: np.ndarray | None = None,
        sample_rate: int = 48_000,
    ) -> None:
        """Encode as H.264 (and AAC if sound [C, L] float32 is given) and write the truth beside it as JSON."""
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=self.fps, options={"crf": str(quality), "preset": preset})
            stream.width, stream.height, stream.pix_fmt = *self.size, "yuv420p"
            audio = None
            if sound is not None:
                audio = container.add_stream("aac", rate=sample_rate, layout="stereo" if len(sound) == 2 else "mono")
                audio.bit_rate = 96_000
            for frame in self.frames():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
            if audio is not None and sound is not None:
                block = av.AudioFrame.from_ndarray(sound, format="fltp", layout=audio.layout.name)
                block.sample_rate = sample_rate
                container.mux(audio.encode(block))
                container.mux(audio.encode(None))
        self.truth.write(path.with_suffix(".truth.json"))

    def _view(self, take: Take, t: float) -> np.ndarray:
        """What a take shows t seconds after its start: [h, w, 3] float32."""
        if take.path not in self._sources:
            self._sources[take.path] = Source(take.path)
        picture = self._sources[take.path].at(take.source_start + t * take.speed)
        jolt = self._rng.normal(0, take.shake, 2) if take.shake else np.zeros(2)
        height, width = picture.shape[:2]
        centre, scale = view_window(take, t, (width, height), self.size, jolt)
        frame = sample_view(picture, centre, scale, self.size)
        gain = np.array(take.tint, np.float32) * max(1 + take.exposure * t, 0.1)
        return frame * gain


def view_window(
    take: Take, t: float, extent: tuple[int, int], size: tuple[int, int], jolt: np.ndarray | None = None
) -> tuple[list[float], float]:
    """Where a take looks t seconds after its start: centre (x, y in picture pixels) and picture pixels per pixel.

    extent: (width, height) of the picture; size: of the view; jolt: [2] pixels of the view, added to the centre.
    """
    share = _eased(take, t)
    zoom = take.zoom[0] * (take.zoom[1] / take.zoom[0]) ** share * _kicked(take.kicks, t)
    scale = min(extent[0] / size[0], extent[1] / size[1]) / zoom
    centre = []
    for axis in (0, 1):
        view = size[axis] * scale
        place = take.centre[0][axis] + (take.centre[1][axis] - take.centre[0][axis]) * share
        shifted = place * extent[axis] + (0.0 if jolt is None else jolt[axis] * scale)
        centre.append(float(np.clip(shifted, view / 2, extent[axis] - view / 2)))
    return centre, scale


def _kicked(kicks: tuple[float, ...], t: float) -> float:
    """The extra zoom of kicks: a fast rise, a slow way back."""
    extra = 0.0
    for kick in kicks:
        since = t - kick
        if 0 <= since < 8 * KICK_FALL:
            extra += min(since / KICK_RISE, 1.0) * float(np.exp(-max(since - KICK_RISE, 0) / KICK_FALL))
    return 1 + KICK * min(extra, 1.5)


def _eased(take: Take, t: float) -> float:
    """The share of its way that a take's view has gone after t seconds."""
    x = t / take.duration
    if take.ease == "punch":
        fast = min(t / 0.3, 1.0)
        return 0.85 * (1 - (1 - fast) ** 2) + 0.15 * min(x, 1.2)
    if take.ease == "hold":
        first, last = take.moving
        return float(np.clip((x - first) / max(last - first, 1e-6), 0, 1))
    x = float(np.clip(x, 0, 1.3))
    return {"even": x, "in": x**2, "out": 1 - (1 - min(x, 1)) ** 2}[take.ease]


def sample_view(picture: np.ndarray, centre: list[float], scale: float, size: tuple[int, int]) -> np.ndarray:
    """Bilinear view of [h, w, 3] uint8 around a centre (pixels), `scale` picture pixels per pixel: float32."""
    columns = np.clip(centre[0] + (np.arange(size[0]) + 0.5 - size[0] / 2) * scale - 0.5, 0, picture.shape[1] - 1.001)
    rows = np.clip(centre[1] + (np.arange(size[1]) + 0.5 - size[1] / 2) * scale - 0.5, 0, picture.shape[0] - 1.001)
    x, y = columns.astype(int), rows.astype(int)
    left, right = int(x[0]), int(x[-1]) + 2
    picture, x, columns = picture[:, left:right], x - left, columns - left
    wx, wy = (columns - x).astype(np.float32)[None, :, None], (rows - y).astype(np.float32)[:, None, None]
    upper, lower = picture[y].astype(np.float32), picture[y + 1].astype(np.float32)
    mixed = upper + (lower - upper) * wy
    return mixed[:, x] * (1 - wx) + mixed[:, x + 1] * wx
