"""Motion and cuts of the picture, from key frames first (cheap), then from all frames.

What counts: a still cover, a lyric card and a slideshow whose stills never move are refused. Stills under a moving
camera ("Ken Burns") are kept: they move, and their cuts and moves answer music as those of films do; the share of the
camera in all motion is noted, so that a recipe can refuse them by `max_camera_share`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.settings import option
from openvmas.vision.analysis import VideoAnalysis

CELL = 8  # px of key frames: changes are judged cell by cell
ALIKE = 0.9  # cosine of mean features from which two shots show the same
MOVES = 0.03  # of VideoAnalysis.motion (0.5 is about 0.2 picture widths per second)


@dataclass(frozen=True)
class Glance:
    """Refuses pictures that are the same from beginning to end, by a few key frames."""

    n_frames: int = option(12, "Number of key frames that are compared.", min=2, max=1000)
    min_change: float = option(3.0, "Least change that some part of the picture must show, grey levels.", min=0)
    name: ClassVar[str] = "glance"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind != "video":
            return record
        frames = media.key_frames(self.n_frames)
        if len(frames) < 2:  # one key frame only: nothing can be said so cheaply
            return record
        change = largest_change(frames)
        if change < self.min_change:
            return Drop(record, self.name, "still", f"no part changes by more than {change:.1f} grey levels")
        return record.with_facts(self.name, change=round(change, 2))


def largest_change(frames: np.ndarray) -> float:
    """Range over time of the mean of the cell that changes most, grey levels; frames: [N, h, w, 3] uint8.

    Means over cells hide grain and coding noise; the average light of a picture is taken out, so that a fade of a
    cover is no change, but only where the whole picture goes with it.
    """
    grey = frames.mean(axis=3, dtype=np.float32)
    n, height, width = grey.shape
    rows, columns = max(height // CELL, 1), max(width // CELL, 1)
    cells = grey[:, : rows * CELL, : columns * CELL].reshape(n, rows, CELL, columns, CELL)
    means = cells.mean(axis=(2, 4)).reshape(n, -1)
    level = means.mean(axis=1, keepdims=True)
    gain = np.maximum(level, 8.0) / max(float(level.mean()), 8.0)
    even = means / gain
    return float((even.max(axis=0) - even.min(axis=0)).max())


@dataclass(frozen=True)
class Shots:
    """Notes how the picture is cut; refuses flicker."""

    max_cuts_per_second: float = option(4.0, "Greatest rate of cuts that is editing and not flicker.", min=0)
    name: ClassVar[str] = "shots"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind != "video":
            return record
        analysis = media.video()
        rate = len(analysis.cuts) / float(analysis.duration)
        if rate > self.max_cuts_per_second:
            return Drop(record, self.name, "flicker", f"{rate:.1f} cuts per second")
        lengths = [shot.end - shot.start for shot in analysis.shots]
        return record.with_facts(
            self.name,
            n=len(lengths),
            unique=count_unique_shots(analysis),
            median_length=round(float(np.median(lengths)), 3) if lengths else 0.0,
        )


def count_unique_shots(analysis: VideoAnalysis) -> int:
    """Number of shots that show something that no earlier shot showed, by the cosine of their mean features."""
    known: list[np.ndarray] = []
    for shot in analysis.shots:
        inside = (analysis.feature_times >= shot.start) & (analysis.feature_times < shot.end)
        if not inside.any():  # shorter than the distance of two pictures
            continue
        mean = analysis.features[inside].astype(np.float32).mean(axis=0)
        mean /= max(float(np.linalg.norm(mean)), 1e-6)
        if all(float(mean @ other) < ALIKE for other in known):
            known.append(mean)
    return len(known)


@dataclass(frozen=True)
class MovingPicture:
    """Refuses still covers, lyric cards and slideshows that never move, and one even move from beginning to end.

    The last is scrolling text, or a cover under a slow zoom.
    """

    min_moving_share: float = option(0.5, "Share of time in which something in the picture moves.", min=0, max=1)
    max_camera_share: float = option(1.0, "Share of the camera in all motion; 0.85 refuses most moved stills.", min=0)
    min_variation: float = option(0.15, "Least variation of motion, against its median, in one shot.", min=0)
    name: ClassVar[str] = "moving"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind != "video":
            return record
        analysis = media.video()
        moving = moving_share(analysis)
        unique = count_unique_shots(analysis)
        if moving < self.min_moving_share:
            reason = "slideshow" if unique > 1 and len(analysis.cuts) else "still"
            return Drop(record, self.name, reason, f"moves in {moving:.0%} of the time, {unique} different shots")
        variation = motion_variation(analysis)
        if not len(analysis.cuts) and variation < self.min_variation:
            detail = f"one shot, and its motion varies by {variation:.0%}"
            return Drop(record, self.name, "one even move", detail)
        if analysis.camera_share > self.max_camera_share:
            return Drop(record, self.name, "moved stills", f"{analysis.camera_share:.0%} of motion is the camera's")
        return record.with_facts(self.name, share=round(moving, 4), camera_share=round(analysis.camera_share, 4))


def moving_share(analysis: VideoAnalysis) -> float:
    """Share of time with motion, [0, 1]: half of each second must move, so that a change of text is no motion."""
    rate = int(analysis.events.rate)
    moves = analysis.motion > MOVES
    if not len(moves):
        return 0.0
    if len(moves) < rate:
        return float(moves.mean())
    seconds = moves[: len(moves) // rate * rate].reshape(-1, rate)
    return float((seconds.mean(axis=1) >= 0.5).mean())


def motion_variation(analysis: VideoAnalysis) -> float:
    """Variation of motion: its 90th less its 10th percentile, against its median; 0 without motion."""
    low, middle, high = np.quantile(analysis.motion, [0.1, 0.5, 0.9]) if len(analysis.motion) else np.zeros(3)
    return float((high - low) / middle) if middle > 0 else 0.0


@dataclass(frozen=True)
class Picture:
    """Refuses image files that are too small or empty."""

    min_side: int = option(256, "Least height or width, px.", min=0)
    min_contrast: float = option(8.0, "Least standard deviation of its grey levels.", min=0)
    name: ClassVar[str] = "picture"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind != "image":
            return record
        info = media.probe()
        if min(info.width, info.height) < self.min_side:
            return Drop(record, self.name, "too small", f"{info.width}x{info.height}")
        contrast = float(media.picture().mean(axis=2).std())
        if contrast < self.min_contrast:
            return Drop(record, self.name, "empty", f"contrast {contrast:.1f}")
        return record.with_facts(self.name, contrast=round(contrast, 2))
