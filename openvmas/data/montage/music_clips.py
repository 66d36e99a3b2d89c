"""Analysed and tagged tracks, and which pictures go with which music: tags of both on the same axes.

Pictures are described by the stated rules of `vision.mood`, with motion and cutting neutral (those are the editor's
to choose); tracks by the windows of `tools/tag_music.py`. Both sides speak of `condition.AXES` in standard
deviations, so the mapping between them is the identity, weighted by how far each group of axes can be trusted to mean
the same thing in pictures and in music.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openvmas.condition import AXES, FEELING_AXES, INSTRUMENT_AXES, MOOD_AXES, STYLE_AXES
from openvmas.music.analysis import MusicAnalysis
from openvmas.vision.explanation import describe_by_rules
from openvmas.vision.stated_axes import STEP, rest

# Mood and feeling are judged by both senses; style by association; an instrument is seldom to be seen.
WEIGHTS: dict[tuple[str, ...], float] = {MOOD_AXES: 1.0, FEELING_AXES: 0.8, STYLE_AXES: 0.6, INSTRUMENT_AXES: 0.3}
# Motion and cutting decide these axes; a single picture cannot speak for them.
LEFT_TO_THE_EDITOR = ("danceability", "density", "drums", "exciting")


@dataclass(frozen=True)
class MusicClip:
    """A track: its analysis, and its semantic axes [N, A] at axis_times [N] s (window middles; may be empty)."""

    name: str
    analysis: MusicAnalysis
    axis_times: np.ndarray
    axes: np.ndarray

    def axes_at(self, start: float, end: float) -> np.ndarray:
        """Mean axes between two moments (s): [A]; NaN where the track was never tagged."""
        if len(self.axis_times) == 0:
            return np.full(len(AXES), np.nan)
        inside = (self.axis_times >= start - 2.5) & (self.axis_times <= end + 2.5)
        if not inside.any():
            inside[np.argmin(np.abs(self.axis_times - (start + end) / 2))] = True
        return self.axes[inside].astype(np.float64).mean(axis=0)


def axis_weights() -> np.ndarray:
    """The weight of every axis: [A]."""
    group = {axis: weight for axes, weight in WEIGHTS.items() for axis in axes}
    return np.array([0.0 if axis in LEFT_TO_THE_EDITOR else group[axis] for axis in AXES])


def tag_picture(looks: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Axes of the music that suits a picture in itself: [A] in standard deviations.

    looks: [4] or [V, 4] brightness, saturation, warmth, contrast; classes: [1000] or [V, 1000] ImageNet probabilities;
    several views of one picture are averaged.
    """
    looks, classes = np.atleast_2d(looks).astype(np.float32), np.atleast_2d(classes)
    said = describe_by_rules(rest(looks, classes), 0.0, STEP * len(looks))
    return np.array([said.get(axis, 0.0) for axis in AXES])


def match(pictures: np.ndarray, music: np.ndarray) -> np.ndarray:
    """Agreement of each picture with the music: [P] in [-1, 1], a weighted cosine.

    pictures: [P, A] from `tag_picture`; music: [A], NaN where nothing is known. What all pictures of a pool have in
    common does not count: each axis is centred over the pool.
    """
    weights = axis_weights() * np.isfinite(music)
    centred = (pictures - pictures.mean(axis=0)) * weights
    wanted = np.nan_to_num(music) * weights
    lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(wanted)
    return centred @ wanted / np.maximum(lengths, 1e-9)
