"""The decoder's condition at every codec step: event curves, the beat grid, time left, and semantics.

Training fills it from music itself, inference from a plan; both go through `Condition.encode`, so the model never
knows the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from openvmas.timeline import Events

# Semantics: a vector of named axes in standard deviations over the training music; NaN is the null condition.
MOOD_AXES = ("valence", "arousal", "danceability", "acousticness", "brightness", "density")
STYLE_AXES = (
    "ambient", "classical", "electronic", "folk", "jazz", "pop", "rock", "metal", "hip_hop", "game", "soundtrack",
)  # fmt: skip
FEELING_AXES = ("happy", "funny", "sad", "tender", "exciting", "angry", "scary")
INSTRUMENT_AXES = (
    "piano", "guitar", "strings", "brass", "flute", "bells", "choir", "synthesizer", "organ", "drums", "bass",
)  # fmt: skip
AXES = MOOD_AXES + STYLE_AXES + FEELING_AXES + INSTRUMENT_AXES

CURVES = (
    "accent", "beat_cos", "beat_sin", "bar_cos", "bar_sin", "has_grid", "energy", "novelty", "tempo",
    "end_1", "end_4", "end_16", "start_1", "start_4", "start_16",
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """Input of a video encoder. features: [F, W] of frames at times [F], s. curves: [T, 4] float32, accents, energy,
    novelty and motion at every codec step. axes: [F, A] that `vision.stated_axes` states of the frames, where wanted.
    """

    features: np.ndarray
    times: np.ndarray
    curves: np.ndarray
    axes: np.ndarray | None = None


@dataclass(frozen=True)
class Condition:
    """Everything the decoder is conditioned on, on the codec's clock.

    events: accents, energy, novelty [T] each.
    beats, downbeats: increasing times, s; empty where there is no grid.
    semantics: [T, len(AXES)] float32, NaN where there is no condition.
    time_left: [T] seconds to the end of the piece (inf where it goes on); time_since: [T] seconds from its start.
    picture: for models with a video encoder; None where there is none.
    speech: [T] probability that somebody speaks in the original sound; None where there is none.
    """

    events: Events
    beats: np.ndarray
    downbeats: np.ndarray
    semantics: np.ndarray
    time_left: np.ndarray
    time_since: np.ndarray
    picture: Picture | None = None
    speech: np.ndarray | None = None

    @property
    def n_steps(self) -> int:
        return self.events.n_steps

    @property
    def rate(self) -> Fraction:
        return self.events.rate

    def encode_curves(self) -> np.ndarray:
        """The curves as numbers for the decoder: [T, len(CURVES)] float32."""
        times = np.arange(self.n_steps) / float(self.rate)
        beat_phase, beat_ok, period = phase_of(times, self.beats)
        bar_phase, _, _ = phase_of(times, self.downbeats)
        tempo = np.where(beat_ok > 0, np.log2(np.clip(60 / np.maximum(period, 1e-3), 40, 240) / 110), 0)
        columns = [
            self.events.accents,
            np.cos(2 * np.pi * beat_phase) * beat_ok,
            np.sin(2 * np.pi * beat_phase) * beat_ok,
            np.cos(2 * np.pi * bar_phase) * beat_ok,
            np.sin(2 * np.pi * bar_phase) * beat_ok,
            beat_ok,
            self.events.energy,
            self.events.novelty,
            tempo,
            *(np.exp(-self.time_left / scale) for scale in (1, 4, 16)),
            *(np.exp(-self.time_since / scale) for scale in (1, 4, 16)),
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def encode_semantics(self) -> np.ndarray:
        """Values (0 where there is no condition) and flags: [T, 2 * len(AXES)] float32."""
        known = np.isfinite(self.semantics)
        values = np.where(known, np.clip(np.nan_to_num(self.semantics), -3, 3), 0)
        return np.concatenate([values, known], axis=1).astype(np.float32)


def phase_of(times: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Phase of each time between its neighbouring marks.

    times: [T] s; marks: [N] increasing, s. Returns a [3, T] stack: phase in [0, 1), 1 where inside the marks and
    0 elsewhere, and the local period in s.
    """
    if len(marks) < 2:
        return np.zeros((3, len(times)))
    index = np.clip(np.searchsorted(marks, times, side="right") - 1, 0, len(marks) - 2)
    period = marks[index + 1] - marks[index]
    position = (times - marks[index]) / period
    is_inside = ((position >= -1e-9) & (position < 1 + 1e-9)).astype(np.float64)
    return np.stack([position % 1, is_inside, period])
