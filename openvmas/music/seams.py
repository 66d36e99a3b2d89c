"""Audibility of joins in music: the change of sound at a join against that at all other times of the piece.

A place where music was joined can be heard if it changes more than music does by itself. So each change (of the
spectrum within a twentieth of a second and within half a second, and of the level) is given as its rank among those of
the same piece; a join that nobody can find has ranks like any other time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openvmas.music.onsets import ONSET_RATE, Spectrogram, moving_max, moving_mean, take_spectrogram

FAST, SLOW = 2, 25  # frames of the spectrogram (10 ms) on each side that are compared
REACH = 3  # frames: the codec smears a join by so much
APART = 0.5  # s around joins that do not count as other times
FLOOR_DB = -60.0  # against the loudest band: what is weaker is not heard


@dataclass(frozen=True)
class Seam:
    """Ranks in [0, 1] of the changes at `time` (s) among those at all other times: 0.5 is usual, 1 the greatest."""

    time: float
    spectrum: float
    timbre: float
    level: float

    @property
    def worst(self) -> float:
        return max(self.spectrum, self.timbre, self.level)


def changes(spectrum: Spectrogram) -> dict[str, np.ndarray]:
    """Change of the sound around each frame [T], dB: mean over bands, fast and slow, and of the level."""
    least = max(float(spectrum.mel.max(initial=0.0)) * 10 ** (FLOOR_DB / 20), 1e-9)
    bands = 20 * np.log10(np.maximum(spectrum.mel, least)).astype(np.float64)
    power = np.maximum(moving_mean(spectrum.power, FAST, FAST), 1e-10)
    found = {
        "spectrum": np.abs(step_at(bands, FAST)).mean(1),
        "timbre": np.abs(step_at(bands, SLOW)).mean(1),
        "level": np.abs(step_at(10 * np.log10(power)[:, None], FAST + FAST))[:, 0],
    }
    return {name: moving_max(change, REACH, REACH) for name, change in found.items()}


def step_at(values: np.ndarray, span: int) -> np.ndarray:
    """Mean of the `span` rows from each row of values [T, N] on, less the mean of those before it; 0 at the ends."""
    total = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values]), axis=0)
    step = np.zeros_like(values)
    if len(values) > 2 * span:
        before = total[span:-span] - total[: -2 * span]
        step[span : len(values) - span + 1] = (total[2 * span :] - total[span:-span] - before) / span
    return step


def find_seams(wave: np.ndarray, sample_rate: int, times: Sequence[float]) -> list[Seam]:
    """Rank of the places `times` (s) of a wave [C, L] or [L] among all its others; 0.5 where there are none."""
    spectrum = take_spectrogram(wave, sample_rate)
    clock = np.arange(spectrum.n_frames) / float(ONSET_RATE)
    is_other = (clock > APART) & (clock < float(spectrum.duration) - APART)
    for time in times:
        is_other &= np.abs(clock - time) > APART
    found = changes(spectrum)
    seams = []
    for time in times:
        frame = min(max(round(time * float(ONSET_RATE)), 0), len(clock) - 1)
        ranks = [(change[is_other] < change[frame]).sum() / max(is_other.sum(), 1) for change in found.values()]
        seams.append(Seam(float(time), *map(float, ranks)) if is_other.any() else Seam(float(time), 0.5, 0.5, 0.5))
    return seams
