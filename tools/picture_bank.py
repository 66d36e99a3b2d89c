"""A bank of pictures and footage for montages (`openvmas.data.montage.bank`): every file seen in a grid of views.

    python tools/picture_bank.py BANK MEDIA FOLDER OUT

gives a bank the features of another backbone, so that the joint trainer learns from it. BANK: made by
tools/build_montage.py bank; MEDIA: the folder of its pictures; FOLDER: Hiera, CLIP or SigLIP as `transformers` saves
it. All else stays: views, classes, looks, motion.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from video_editor import Source, sample_view

from openvmas.data.montage.bank import ARRAYS, VIEW, Bank, Take, view_window
from openvmas.errors import InputError
from openvmas.hub.vision import HubBackbone
from openvmas.vision.analysis import MOTION_FPS, measure_looks
from openvmas.vision.backbone import Backbone
from openvmas.vision.motion import Motion, MotionTracker, luma

ZOOMS = (1.0, 1.45, 2.0)
PLACES = ((0.5, 0.5), (0.25, 0.35), (0.75, 0.35), (0.25, 0.65), (0.75, 0.65))  # shares of the picture
SEEN = (256, 192)  # what vision.backbone.picture_size gives for 16:9
THUMB = (20, 12)
MOTION_SIZE = (160, 96)  # what vision.analysis takes for 16:9
FOOTAGE_STEP = 0.5  # s between the looks at footage


def build(media: Path, paths: Sequence[str]) -> Bank:
    """Look at every file. paths: pictures and footage below the media folder. About 0.4 s a file on one core."""
    backbone = Backbone(1)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
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
        seen = backbone.extract(np.stack([resized(p, SEEN) for p in pictures]))
        kept.append(str(path))
        parts["sizes"].append(np.array([[width, height]]))
        parts["views"].append(views)
        parts["features"].append(seen.features.astype(np.float16))
        parts["classes"].append(seen.probabilities.astype(np.float16))
        parts["looks"].append(np.stack([measure_looks(resized(p, SEEN)) for p in pictures]).astype(np.float32))
        parts["thumbs"].append(np.stack([luma(resized(p, THUMB)) for p in pictures]).astype(np.uint8))
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


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray()


def _own_motion(source: Source) -> np.ndarray:
    """Motion of footage at MOTION_FPS, seen whole: [M, 7]."""
    n = max(int(len(source.frames) / source.fps * float(MOTION_FPS)), 2)
    times = np.arange(n) / float(MOTION_FPS)
    small = np.stack([luma(resized(source.at(float(t)), MOTION_SIZE)).astype(np.uint8) for t in times])
    tracker = MotionTracker()
    tracker.push(times, small)
    found: Motion = tracker.finish()
    columns = [found.speed, found.camera, found.objects, *found.pan.T, found.zoom, found.mismatch]
    rows = np.column_stack(columns)
    return np.concatenate([rows[:1], rows])  # one row per frame: the first pair counts twice


def with_features(bank: Bank, media: Path, see: Callable[[np.ndarray], np.ndarray]) -> Bank:
    """The bank with features [V, W] float16 from `see`, which takes pictures [F, 180, 320, 3] uint8.

    Raises InputError if a file of the bank is not below the media folder.
    """
    found = []
    for i, path in enumerate(bank.paths):
        if not (media / str(path)).is_file():
            raise InputError(f"{media / str(path)} of the bank is not there; give the folder its pictures came from.")
        source = Source(str(media / str(path)))
        views = bank.views[bank.first[i] : bank.first[i + 1]]
        found.append(see(np.stack([view_of(source, view) for view in views])).astype(np.float16))
    return replace(bank, features=np.concatenate(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bank", "media", "folder", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    backbone = HubBackbone(arguments.folder)
    made = with_features(Bank.load(arguments.bank), arguments.media, lambda pictures: backbone.see(pictures)[:, 0])
    made.save(arguments.out)


if __name__ == "__main__":
    main()
