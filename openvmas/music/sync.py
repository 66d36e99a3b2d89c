"""Measures of sync between music and picture that neither chance nor a click track that never stops can reach."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from openvmas.music.onsets import ONSET_RATE, moving_max, onset_strength
from openvmas.timeline import Clock, Seconds

REACH = 0.06  # s: an onset this near a visual beat counts as one with it
LEAST_SHIFT = 0.5  # s: nearer shifts would still hit the true places


@dataclass(frozen=True)
class SyncResult:
    """z: (observed - null_mean) / null_std, 0 where nothing can be said.

    observed: mean onset strength at the visual beats; null_mean, null_std: the same under circular time shifts.
    n_beats: how many visual beats counted.
    """

    z: float
    observed: float
    null_mean: float
    null_std: float
    n_beats: int


def sync_z(
    strength: np.ndarray,
    visual_beats: np.ndarray,
    duration: Seconds,
    n_shifts: int = 200,
    seed: int = 0,
    rate: Fraction = ONSET_RATE,
) -> SyncResult:
    """Onset strength at visual beats against chance, in standard deviations of chance.

    strength: [T] at `rate` from `music.onsets.onset_strength`; visual_beats: [N] s; duration: s, of what counts.
    Each beat has the greatest strength within REACH of it; `observed` is the mean over beats. The null shifts all
    beats together around the circle of `duration` by `n_shifts` random amounts, so that it keeps the music's density
    of onsets and the spacing of the beats: music full of onsets has a high null too, and a constant curve gives 0.
    Beats outside the duration are dropped; with none left z is 0. Chance has mean 0 and standard deviation about 1.
    """
    length = float(duration)
    n_frames = min(len(strength), Clock(rate).count(duration))
    beats = np.asarray(visual_beats, dtype=np.float64)
    beats = beats[(beats >= 0) & (beats < length)]
    if len(beats) == 0 or n_frames == 0 or length <= 2 * LEAST_SHIFT:
        return SyncResult(0.0, 0.0, 0.0, 0.0, len(beats))
    reach = round(REACH * float(rate))
    strongest = moving_max(np.asarray(strength[:n_frames], dtype=np.float64), reach, reach)

    def mean_strength(times: np.ndarray) -> np.ndarray:
        index = np.minimum(np.floor(times * float(rate) + 0.5).astype(int), n_frames - 1)
        return strongest[index].mean(axis=-1)

    shifts = np.random.default_rng(seed).uniform(LEAST_SHIFT, length - LEAST_SHIFT, n_shifts)
    null = mean_strength((beats + shifts[:, None]) % length)
    observed, mean, deviation = float(mean_strength(beats)), float(null.mean()), float(null.std())
    # Rounding alone must not look like a result where the curve is flat.
    z = (observed - mean) / deviation if deviation > 1e-9 * max(1.0, abs(mean)) else 0.0
    return SyncResult(z, observed, mean, deviation, len(beats))


def sync_of_wave(
    wave: np.ndarray, sample_rate: int, visual_beats: np.ndarray, n_shifts: int = 200, seed: int = 0
) -> SyncResult:
    """`sync_z` of a wave [C, L] or [L] over its whole length."""
    duration = Fraction(np.shape(wave)[-1], sample_rate)
    return sync_z(onset_strength(wave, sample_rate), visual_beats, duration, n_shifts, seed)


def energy_correlation(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Pearson correlation of two energy curves over their common steps: in [-1, 1], 0 where one is constant.

    reference, estimated: [T] at the same rate; a longer one is cut to the shorter.
    """
    n = min(len(reference), len(estimated))
    if n < 2:
        return 0.0
    first = np.asarray(reference[:n], dtype=np.float64)
    second = np.asarray(estimated[:n], dtype=np.float64)
    if first.std() < 1e-9 or second.std() < 1e-9:
        return 0.0
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))


def hit_rate(hits: np.ndarray, onsets: np.ndarray, tolerance: float = 0.08) -> float:
    """The share of hits with an onset within `tolerance` seconds: in [0, 1]; 1 where no hit was asked for.

    hits, onsets: times, s.
    """
    hits, onsets = np.asarray(hits, dtype=np.float64), np.asarray(onsets, dtype=np.float64)
    if len(hits) == 0:
        return 1.0
    if len(onsets) == 0:
        return 0.0
    distance = np.abs(hits[:, None] - onsets).min(axis=1)
    return float((distance <= tolerance + 1e-9).mean())
