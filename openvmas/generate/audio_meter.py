"""Measures of finished music, taken while it passes, and one sentence about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.generate.steering import Judgement, is_stuck
from openvmas.music.onsets import onset_strength
from openvmas.music.sync import energy_correlation, sync_z

STUCK_STEPS = 50  # this many steps with almost no new code of the first codebook are a stuck loop
SILENCE_DB = -50.0
BLOCK = 8  # s that are measured at once: long enough that the edges of the onset curve hardly count


@dataclass(frozen=True)
class Measures:
    """Measures of one piece. Shares are in [0, 1]; `fit` is sync z at the accents (0 is chance)."""

    level_db: float
    peak: float
    silent_share: float
    stuck_share: float
    fit: float
    energy_correlation: float

    @property
    def failures(self) -> list[str]:
        """Gates that are not passed, in words."""
        found = []
        if self.silent_share > 0.25 or self.level_db < -40:
            found.append("silent")
        if self.stuck_share > 0.25:
            found.append("stuck")
        if self.peak > 4:
            found.append("blown up")
        return found


class AudioMeter:
    """Takes a mono wave as it comes and keeps only numbers."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._left = np.zeros(0, np.float32)
        self._power: list[np.ndarray] = []  # of half seconds
        self._strengths: list[np.ndarray] = []
        self._peak = 0.0

    def push(self, wave: np.ndarray) -> None:
        self._left = np.concatenate([self._left, wave])
        block = BLOCK * self._rate
        while len(self._left) >= block:
            self._measure(self._left[:block])
            self._left = self._left[block:]

    def _measure(self, part: np.ndarray) -> None:
        half = self._rate // 2
        self._peak = max(self._peak, float(np.abs(part).max()))
        self._power.append((part[: len(part) // half * half].reshape(-1, half).astype(np.float64) ** 2).mean(1))
        self._strengths.append(onset_strength(part, self._rate))

    def measure(self, codes: np.ndarray, condition: Condition) -> Measures:
        """Measures of the whole wave that was pushed; codes: [K, T] it was made of."""
        if len(self._left):
            self._measure(self._left)
            self._left = self._left[:0]
        power = np.concatenate(self._power) + 1e-10
        level = 10 * np.log10(power)
        asked = condition.events.energy[:: int(condition.rate / 2)][: len(level)]
        times = np.flatnonzero(condition.events.accents > 0) / float(condition.rate)
        first = codes[0].astype(np.int64)
        windows = [first[i : i + STUCK_STEPS] for i in range(0, max(1, len(first) - STUCK_STEPS + 1), STUCK_STEPS)]
        return Measures(
            level_db=float(10 * np.log10(power.mean())),
            peak=self._peak,
            silent_share=float(np.mean(level < SILENCE_DB)),
            stuck_share=float(np.mean([is_stuck(window) for window in windows])),
            fit=sync_z(np.concatenate(self._strengths), times, condition.n_steps / condition.rate).z,
            energy_correlation=energy_correlation(asked, level),
        )


def describe_choice(time: float, judgements: list[Judgement], values: list[float], winner: int) -> dict[str, Any]:
    """One choice at `time`, s, for the report."""
    best = judgements[winner]
    return {
        "time": round(time, 2),
        "chosen": winner,
        "values": [round(value, 2) for value in values],
        "accents": round(best.accents, 2),
        "level_error": round(best.level_error, 1),
        "failures": [list(judgement.failures) for judgement in judgements],
    }


def explain(measures: Measures, choices: list[dict[str, Any]], candidates: int) -> str:
    """One sentence on the choices."""
    found = f"sync z {measures.fit:.1f}, energy correlation {measures.energy_correlation:.2f}"
    if measures.failures:
        found += f"; gates not passed: {', '.join(measures.failures)}"
    if not choices:
        return f"one candidate, nothing to choose from: {found}."
    failed = sum(bool(f) for choice in choices for f in choice["failures"])
    return (
        f"{len(choices)} times the best of {candidates} continuations by accents, level and gates was kept "
        f"({failed} of {len(choices) * candidates} failed a gate): {found}."
    )
