"""Which of several continuations is kept: every few seconds all are heard, and the best one goes on.

A particle filter with one survivor (compare the sequential Monte Carlo steering of Lew et al. 2023): small models
follow their condition only on average, so the candidates are decoded and measured against what was asked, and all of
them go on from the best. Choosing often and early costs little and also ends silence and stuck loops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openvmas.codec.stream import CodecStream
from openvmas.condition import Condition
from openvmas.generate.engine import Engine
from openvmas.music.onsets import ONSET_RATE, moving_max, onset_strength

SHORTEST, LONGEST = 75, 150  # steps between choices
# And between the first ones, because somebody waits: a second of sound can be decoded then (composer.FIRST_CHUNKS), and
# what comes next is there before it has been played.
FIRST = ((68, 100), (50, 75), (75, 100), (75, 100))
SETTLED = 20  # steps after an accent until it is fully decoded and may be judged
REACH = 5  # frames of the onset curve: an onset this near counts as on time (50 ms)
ENERGY_RANGE = 22.0  # dB between energy 0 and 1, and the energy of the mean level (music.analysis)
ENERGY_MEAN = 0.73
FIRST_LEVEL = -19.0  # dB, expected mean level before anything is heard
LEAST_SPREAD = 0.05  # added to the standard deviation of onset strength, which is about 3 in music
SILENT, STUCK_CODES, LOUD = -45.0, 3, 3.0  # dB; different codes in a segment; peak


@dataclass(frozen=True)
class Judgement:
    """How one candidate did in a segment.

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


def plan_choices(condition: Condition, is_single: bool, start: int = 0, end: int | None = None) -> list[int]:
    """After which steps from `start` to `end` a choice is made: never soon after an accent, so each can be judged."""
    accents = np.flatnonzero(condition.events.accents > 0)
    choices, last, end = [], start, condition.n_steps if end is None else end
    while end - last > SHORTEST + LONGEST:
        shortest, longest = FIRST[len(choices)] if len(choices) < len(FIRST) else (SHORTEST, LONGEST)
        possible = np.arange(last + shortest, last + longest + 1)
        before = np.searchsorted(accents, possible, side="right") - 1
        since = np.where(before >= 0, possible - np.append(accents, -SETTLED)[before], LONGEST)
        last = last + shortest if is_single else int(possible[np.argmax(np.minimum(since, SETTLED))])
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
    """Decodes candidates with one model's codec and judges them."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.sample_rate = engine, int(engine.sizes["sample_rate"])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The wave [L] of codes [K, n] at the codec's rate, as if there were nothing around them."""
        return CodecStream(self._engine).push(codes.astype(np.int64), is_last=True)

    def judge(
        self, wave: np.ndarray, codes: np.ndarray, first: int, final: int, condition: Condition, level: float
    ) -> Judgement:
        """Judge what comes after step `final` in codes [K, n], which begin at step `first`, and their wave."""
        rate = float(condition.rate)
        return judge(wave, codes[0, final - first :], self.sample_rate, final / rate, first / rate, condition, level)


def is_stuck(codes: np.ndarray) -> bool:
    """Whether codes [n] of the first codebook hardly change."""
    return len(np.unique(codes)) <= STUCK_CODES
