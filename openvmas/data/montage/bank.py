"""A bank of pictures and footage, measured once: what the analysis would see in any view of them, without rendering.

`build` looks at every file in a grid of views; `Bank` answers for a view between them by the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from openvmas.data.montage.tags_map import tag_picture
from openvmas.data.montage.video_clips import Source, Take, sample_view, view_window
from openvmas.errors import InputError
from openvmas.files import write_npz
from openvmas.vision.analysis import MOTION_FPS, measure_looks
from openvmas.vision.backbone import Backbone
from openvmas.vision.motion import Motion, MotionTracker, luma

ZOOMS = (1.0, 1.45, 2.0)
PLACES = ((0.5, 0.5), (0.25, 0.35), (0.75, 0.35), (0.25, 0.65), (0.75, 0.65))  # shares of the picture
VIEW = (320, 180)
SEEN = (256, 192)  # what vision.backbone.picture_size gives for 16:9
THUMB = (20, 12)
MOTION_SIZE = (160, 96)  # what vision.analysis takes for 16:9
FOOTAGE_STEP = 0.5  # s between the looks at footage
_ARRAYS = ("paths", "sizes", "first", "views", "features", "classes", "looks", "thumbs", "motion_first", "motion")


@dataclass(frozen=True)
class Bank:
    """P files with V views and M steps of footage's own motion in all.

    paths: [P], relative to the media folder; sizes: [P, 2] width, height as the film reads them. first, motion_first:
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
        write_npz(path, {name: getattr(self, name) for name in _ARRAYS})

    @staticmethod
    def load(path: Path) -> Bank:
        """Read what `save` wrote. Raises InputError for anything else."""
        try:
            with np.load(path) as data:
                return Bank(**{name: data[name] for name in _ARRAYS})
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
        """What music each file asks for: [P, A]."""
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
        """The second of the footage that is shown (there and back again beyond its end, as film.Source does)."""
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


def build(media: Path, paths: Sequence[str]) -> Bank:
    """Look at every file. paths: pictures and footage below the media folder. About 0.4 s a file on one core."""
    backbone = Backbone(1)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
    kept: list[str] = []
    for path in paths:
        source = Source(str(media / path))
        if not source.frames:
            continue
        height, width = source.frames[0].shape[:2]
        times = [0.0] if source.is_still else list(np.arange(0, len(source.frames) / source.fps, FOOTAGE_STEP))
        # Most of a picture is still in view at small zooms, so that places matter only further in.
        grid = [(z, *p, t) for t in times for z in ZOOMS for p in (PLACES[:1] if z == 1 else PLACES)]
        views = np.array(grid if source.is_still else [v for v in grid if v[1:3] == PLACES[0]])
        pictures = [view_of(source, view) for view in views]
        seen = backbone.extract(np.stack([_resized(p, SEEN) for p in pictures]))
        kept.append(str(path))
        parts["sizes"].append(np.array([[width, height]]))
        parts["views"].append(views)
        parts["features"].append(seen.features.astype(np.float16))
        parts["classes"].append(seen.probabilities.astype(np.float16))
        parts["looks"].append(np.stack([measure_looks(_resized(p, SEEN)) for p in pictures]).astype(np.float32))
        parts["thumbs"].append(np.stack([luma(_resized(p, THUMB)) for p in pictures]).astype(np.uint8))
        parts["motion"].append(np.zeros((0, 7)) if source.is_still else _own_motion(source))
    if not kept:
        raise InputError("No picture or footage was found; fetch the packages first.")
    counts = {name: [0, *(len(part) for part in parts[name])] for name in ("views", "motion")}
    arrays = {n: np.concatenate(p) for n, p in parts.items() if p}
    first, motion_first = np.cumsum(counts["views"]), np.cumsum(counts["motion"])
    return Bank(**arrays, paths=np.array(kept), first=first, motion_first=motion_first)


def view_of(source: Source, view: np.ndarray) -> np.ndarray:
    """A view (zoom, x, y, time) as [180, 320, 3] uint8."""
    picture = source.at(float(view[3]))
    where = (float(view[1]), float(view[2]))
    take = Take("", 1.0, zoom=(float(view[0]), float(view[0])), centre=(where, where))
    centre, scale = view_window(take, 0.0, (picture.shape[1], picture.shape[0]), VIEW)
    return np.clip(sample_view(picture, centre, scale, VIEW), 0, 255).astype(np.uint8)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray()


def _own_motion(source: Source) -> np.ndarray:
    """Motion of footage at MOTION_FPS, seen whole: [M, 7]."""
    n = max(int(len(source.frames) / source.fps * float(MOTION_FPS)), 2)
    times = np.arange(n) / float(MOTION_FPS)
    small = np.stack([luma(_resized(source.at(float(t)), MOTION_SIZE)).astype(np.uint8) for t in times])
    tracker = MotionTracker()
    tracker.push(times, small)
    found: Motion = tracker.finish()
    columns = [found.speed, found.camera, found.objects, *found.pan.T, found.zoom, found.mismatch]
    rows = np.column_stack(columns)
    return np.concatenate([rows[:1], rows])  # one row per frame: the first pair counts twice
