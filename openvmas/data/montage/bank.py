"""A bank of pictures and footage, measured once: what the analysis would see in any view of them, without rendering.

`tools/picture_bank.py` looks at every file in a grid of views; `Bank` answers for a view between them by the nearest. A
`Take` says what is shown of a file over time: `data.montage.editor` plans takes to music, `tools/video_editor.py`
renders them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.data.montage.music_clips import tag_picture
from openvmas.errors import InputError
from openvmas.files import write_npz
from openvmas.vision.analysis import MOTION_FPS

VIEW = (320, 180)  # px
KICK, KICK_RISE, KICK_FALL = 0.12, 0.08, 0.25  # relative zoom; s up; s of the way back (time constant)
ARRAYS = ("paths", "sizes", "first", "views", "features", "classes", "looks", "thumbs", "motion_first", "motion")


@dataclass(frozen=True)
class Bank:
    """P files with V views and M steps of footage's own motion in all.

    paths: [P], relative to the media folder; sizes: [P, 2] width, height as they are read. first, motion_first:
    [P + 1], the views and motion of file i are rows first[i] to first[i + 1]. views: [V, 4] zoom, x, y (shares), time
    (s, footage). features: [V, 1280] float16; classes: [V, 1000] float16; looks: [V, 4]; thumbs: [V, 12, 20] luma,
    uint8; motion: [M, 7] speed, camera, objects, pan x, pan y, zoom, mismatch at MOTION_FPS (none for stills).
    """

    paths: np.ndarray
    sizes: np.ndarray
    first: np.ndarray
    views: np.ndarray
    features: np.ndarray
    classes: np.ndarray
    looks: np.ndarray
    thumbs: np.ndarray
    motion_first: np.ndarray
    motion: np.ndarray

    def save(self, path: Path) -> None:
        """Write an NPZ file, whole or not at all."""
        write_npz(path, {name: getattr(self, name) for name in ARRAYS})

    @staticmethod
    def load(path: Path) -> Bank:
        """Read what `save` wrote. Raises InputError for anything else."""
        try:
            with np.load(path) as data:
                return Bank(**{name: data[name] for name in ARRAYS})
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} is no bank of pictures; make one with tools/build_montage.py bank.") from error

    def __len__(self) -> int:
        return len(self.paths)

    def is_footage(self, index: int) -> bool:
        """Whether file `index` moves by itself."""
        return bool(self.motion_first[index + 1] > self.motion_first[index])

    def length(self, index: int) -> float:
        """Seconds of footage; 0 for a still."""
        return float((self.motion_first[index + 1] - self.motion_first[index]) / MOTION_FPS)

    def tags(self) -> np.ndarray:
        """Axes of the music that suits each file: [P, A]."""
        spans = zip(self.first[:-1], self.first[1:], strict=True)
        return np.stack([tag_picture(self.looks[a:b], self.classes[a:b]) for a, b in spans])

    def nearest(self, index: int, take: Take, t: float) -> int:
        """The row of the view that is nearest to what a take shows t seconds after its start."""
        width, height = (int(n) for n in self.sizes[index])
        centre, scale = view_window(take, t, (width, height), VIEW)
        zoom = min(width / VIEW[0], height / VIEW[1]) / scale
        rows = self.views[self.first[index] : self.first[index + 1]]
        distance = 1.5 * np.abs(np.log(rows[:, 0] / zoom))
        distance = distance + np.hypot(rows[:, 1] - centre[0] / width, rows[:, 2] - centre[1] / height)
        if self.is_footage(index):
            distance = distance + np.abs(rows[:, 3] - self.time_in(index, take, t))
        return int(self.first[index] + np.argmin(distance))

    def time_in(self, index: int, take: Take, t: float) -> float:
        """The second of the footage that is shown (there and back again beyond its end, as the video editor does)."""
        length = max(self.length(index), 1e-3)
        place = (take.source_start + t * take.speed) % (2 * length)
        return place if place < length else 2 * length - place

    def own_motion(self, index: int, take: Take, t: float) -> np.ndarray:
        """Motion inside footage at a take's time t: [7]; zeros for stills."""
        first, last = int(self.motion_first[index]), int(self.motion_first[index + 1])
        if last <= first:
            return np.zeros(7)
        row = min(first + int(self.time_in(index, take, t) * float(MOTION_FPS)), last - 1)
        return self.motion[row]


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


def view_window(
    take: Take, t: float, extent: tuple[int, int], size: tuple[int, int], jolt: np.ndarray | None = None
) -> tuple[list[float], float]:
    """View of a take t seconds after its start: centre (x, y in picture pixels) and picture pixels per pixel.

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
