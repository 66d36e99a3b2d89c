"""A bank of pictures and footage, measured once: what the analysis would see in any view of them, without rendering.

`tools/picture_bank.py` looks at every file in a grid of views; `Bank` answers for a view between them by the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.data.montage.music_clips import tag_picture
from openvmas.data.montage.video_clips import Take, view_window
from openvmas.errors import InputError
from openvmas.files import write_npz
from openvmas.vision.analysis import MOTION_FPS

VIEW = (320, 180)  # px
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
