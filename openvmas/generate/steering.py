"""Measures of music while it is written: the best of several continuations goes on, and the whole is described.

A particle filter with one survivor (compare the sequential Monte Carlo steering of Lew et al. 2023): small models
follow their condition only on average, so the candidates are decoded and measured against what was asked, and all of
them go on from the best. Choosing often and early costs little and also ends silence and stuck loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from openvmas.codec.stream import CodecStream
from openvmas.condition import Condition
from openvmas.generate.batch_decoder import Engine
from openvmas.music.onsets import ONSET_RATE, moving_max, onset_strength
from openvmas.music.sync import energy_correlation, sync_z

SHORTEST, LONGEST = 75, 150  # steps between choices
# And between the first ones, because somebody waits: a second of sound is there then, and
# what comes next is there before it has been played.
FIRST = ((68, 100), (50, 75), (75, 100), (75, 100))
SETTLED = 20  # steps after an accent until it is fully decoded and may be judged
REACH = 5  # frames of the onset curve: an onset this near counts as on time (50 ms)
ENERGY_RANGE = 22.0  # dB between energy 0 and 1, and the energy of the mean level (music.analysis)
ENERGY_MEAN = 0.73
FIRST_LEVEL = -19.0  # dB, expected mean level before anything is heard
LEAST_SPREAD = 0.05  # added to the standard deviation of onset strength, which is about 3 in music
SILENT, STUCK_CODES, LOUD = -45.0, 3, 3.0  # dB; different codes in a segment; peak
STUCK_STEPS = 50  # this many steps with almost no new code of the first codebook are a stuck loop
SILENCE_DB = -50.0
BLOCK = 8  # s that are measured at once: long enough that the edges of the onset curve hardly count


@dataclass(frozen=True)
class Judgement:
    """Measures of one candidate in a segment.

    accents: mean onset strength at the accents asked for less its mean over the segment, in its standard deviations, so
    that not simply the most percussive wins; 0 is chance (beats do not count: with them the accents were answered
    less, and the decoder keeps its beat by itself);
    level_db: RMS; level_error: dB from the level asked; failures: gates not passed, in words.
    """

    accents: float
    level_db: float
    level_error: float
    failures: tuple[str, ...]

    @property
    def value(self) -> float:
        """Greater is better."""
        return self.accents - abs(self.level_error) / 16 - 5 * len(self.failures)


def plan_choices(condition: Condition, start: int = 0, end: int | None = None) -> list[int]:
    """After which steps from `start` to `end` a choice is made: never soon after an accent, so each can be judged."""
    accents = np.flatnonzero(condition.events.accents > 0)
    choices, last, end = [], start, condition.n_steps if end is None else end
    while end - last > SHORTEST + LONGEST:
        shortest, longest = FIRST[len(choices)] if len(choices) < len(FIRST) else (SHORTEST, LONGEST)
        possible = np.arange(last + shortest, last + longest + 1)
        before = np.searchsorted(accents, possible, side="right") - 1
        since = np.where(before >= 0, possible - np.append(accents, -SETTLED)[before], LONGEST)
        last = int(possible[np.argmax(np.minimum(since, SETTLED))])
        choices.append(last)
    return choices


def judge(
    wave: np.ndarray,
    codes: np.ndarray,
    sample_rate: int,
    start: float,
    wave_start: float,
    condition: Condition,
    level: float,
) -> Judgement:
    """Judge a candidate.

    wave: [L] of what is decoded, beginning at `wave_start` s; codes: [n] of the first codebook in the segment; the
    segment begins at `start` s and lasts to the end of the wave; level: dB that an energy of ENERGY_MEAN should have.
    """
    rate = float(condition.rate)
    strength = moving_max(onset_strength(wave, sample_rate), REACH, REACH)
    first = round((start - wave_start) * float(ONSET_RATE))
    here = strength[first:]
    end = start + len(here) / float(ONSET_RATE)
    steps = slice(round(start * rate), round(end * rate))
    accents = condition.events.accents[steps]
    where = np.flatnonzero(accents)
    index = np.round(where / rate * float(ONSET_RATE)).astype(int)
    where, index = where[index < len(here)], index[index < len(here)]
    fit = 0.0
    if len(index):
        fit = float((np.average(here[index], weights=accents[where]) - here.mean()) / (here.std() + LEAST_SPREAD))
    segment = wave[round((start - wave_start) * sample_rate) :].astype(np.float64)
    level_db = float(10 * np.log10(np.mean(segment**2) + 1e-10)) if len(segment) else -100.0
    energy = float(condition.events.energy[steps].mean()) if len(accents) else ENERGY_MEAN
    asked = level + ENERGY_RANGE * (energy - ENERGY_MEAN)
    failures = []
    if level_db < SILENT:
        failures.append("silent")
    if is_stuck(codes):
        failures.append("stuck")
    if np.abs(wave).max(initial=0) > LOUD:
        failures.append("blown up")
    return Judgement(fit, level_db, level_db - asked, tuple(failures))


class CandidateJudge:
    """Decodes music with one model's codec and judges it."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.sample_rate = engine, int(engine.sizes["sample_rate"])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The wave [L] of codes [K, n] at the codec's rate, as if there were nothing around them."""
        return CodecStream(self._engine).push(codes.astype(np.int64), is_last=True)

    def judge(
        self, wave: np.ndarray, codes: np.ndarray, first: float, final: int, condition: Condition, level: float
    ) -> Judgement:
        """Judge what comes from step `final` on: codes [K, n] from there, wave [L] from step `first`, or in it, on."""
        rate = float(condition.rate)
        return judge(wave, codes[0], self.sample_rate, final / rate, first / rate, condition, level)


def is_stuck(codes: np.ndarray) -> bool:
    """Whether codes [n] of the first codebook hardly change."""
    return len(np.unique(codes)) <= STUCK_CODES


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
