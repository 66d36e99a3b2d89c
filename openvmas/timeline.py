"""The only place that converts between seconds, video frames, audio samples and codec steps.

A `Clock` ticks at an exact rate; index i is at time i / rate, computed from the start and never accumulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

Seconds = Fraction | float | int
_FLATTEST = -1e-6  # second difference of a peak: what bends less is a plateau, whose top is nowhere in particular


def exact(seconds: Seconds) -> Fraction:
    """A time as a Fraction; floats are rounded to the nearest nanosecond so that 0.1 means 1/10."""
    if isinstance(seconds, Fraction):
        return seconds
    if isinstance(seconds, int):
        return Fraction(seconds)
    return Fraction(round(float(seconds) * 1_000_000_000), 1_000_000_000)


def peak_offset(before: np.ndarray | float, peak: np.ndarray | float, after: np.ndarray | float) -> np.ndarray:
    """Offset in [-0.5, 0.5] steps of a parabola's vertex from the middle of its three points, each of any shape."""
    bend = np.asarray(before - 2 * peak + after)
    shift = np.where(bend < _FLATTEST, 0.5 * (before - after) / np.minimum(bend, _FLATTEST), 0)
    return np.clip(shift, -0.5, 0.5)


@dataclass(frozen=True)
class Clock:
    """Ticks per second (sample_rate, frame_rate or fps), exact."""

    rate: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", Fraction(self.rate))
        if self.rate <= 0:
            raise ValueError(f"a clock needs a positive rate, not {self.rate}")

    def index(self, seconds: Seconds) -> int:
        """The tick nearest to a time (halves round up)."""
        return math.floor(exact(seconds) * self.rate + Fraction(1, 2))

    def count(self, duration: Seconds) -> int:
        """Number of ticks that cover a duration: the smallest n with n / rate >= duration."""
        return math.ceil(exact(duration) * self.rate)

    def time(self, index: int) -> Fraction:
        """The exact time of a tick, s."""
        return Fraction(index) / self.rate

    def times(self, n: int) -> np.ndarray:
        """The times of ticks 0 .. n-1, s: [n] float64."""
        return np.arange(n, dtype=np.float64) * self.rate.denominator / self.rate.numerator


@dataclass(frozen=True)
class Events:
    """The few curves that video and music have in common, of one type for both.

    rate: steps per second (settings.CONTROL_RATE). All curves are [T] float32.
    accents: moments that stand out; 0 where nothing happens, 1 at a strong event (peaks one step wide, at the moment).
    energy: slow loudness or liveliness in [0, 1].
    novelty: how much the material changes its character, in [0, 1].
    """

    rate: Fraction
    accents: np.ndarray
    energy: np.ndarray
    novelty: np.ndarray

    def __post_init__(self) -> None:
        shapes = {np.shape(self.accents), np.shape(self.energy), np.shape(self.novelty)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f"event curves must be one-dimensional and of equal length, not {sorted(shapes)}")

    @property
    def n_steps(self) -> int:
        return len(self.accents)
