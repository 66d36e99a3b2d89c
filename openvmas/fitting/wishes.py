"""Everything that a picture, or a user without one, asks of recorded music: length, moments, sections, levels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from openvmas.condition import Condition
from openvmas.planning.schema import ScorePlan
from openvmas.timeline import exact

LEAST_WEIGHT = 0.5  # of the faintest moment of the picture, against 1 for the strongest
SPEECH_STEP = 0.02  # s


@dataclass(frozen=True)
class Wishes:
    """duration: s, exact. hits: [H] s with weights [H] in (0, 1]; is_user: [H], those that the user set.

    borders: [S] s where sections meet, border_weights: [S] in (0, 1]. energy: (times [E] s, values [E] in [0, 1], as in
    a plan), or None. speech: probability every SPEECH_STEP s, or None. keeps_beginning: the recording's own is wanted.
    """

    duration: Fraction
    hits: np.ndarray = field(default_factory=lambda: np.zeros(0))
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))
    is_user: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    borders: np.ndarray = field(default_factory=lambda: np.zeros(0))
    border_weights: np.ndarray = field(default_factory=lambda: np.zeros(0))
    energy: tuple[np.ndarray, np.ndarray] | None = None
    speech: np.ndarray | None = None
    keeps_beginning: bool = False

    @property
    def user_hits(self) -> np.ndarray:
        """The moments that the user set, s."""
        return self.hits[self.is_user]

    @classmethod
    def of_plan(cls, plan: ScorePlan, speech: np.ndarray | None = None) -> Wishes:
        """The wishes of a plan."""
        times = np.array([hit.time for hit in plan.hits])
        strengths = np.array([hit.strength for hit in plan.hits])
        is_user = np.array([hit.source == "user" for hit in plan.hits], bool)
        pairs = list(itertools.pairwise(plan.sections))
        change = [min(1.0, 0.4 + 2 * abs(after.energy - before.energy)) for before, after in pairs]
        at = np.arange(0, float(plan.duration), 0.25)
        starts = np.array([section.start for section in plan.sections])
        values = np.array([s.energy for s in plan.sections])[np.searchsorted(starts, at + 1e-9, side="right") - 1]
        if plan.energy_curve:
            values = values * np.interp(at, *np.array(plan.energy_curve).T)
        return cls(
            plan.duration, times, LEAST_WEIGHT + (1 - LEAST_WEIGHT) * strengths, is_user,
            np.array([after.start for _, after in pairs]), np.array(change), (at, np.clip(values, 0, 1)), speech,
        )  # fmt: skip

    @classmethod
    def of_condition(cls, condition: Condition) -> Wishes:
        """The wishes of a condition where there is no plan."""
        rate = float(condition.rate)
        steps = np.flatnonzero(condition.events.accents > 0)
        heights = condition.events.accents[steps].astype(np.float64)
        times = np.arange(condition.n_steps) / rate
        return cls(
            Fraction(condition.n_steps) / condition.rate, steps / rate, np.clip(heights, LEAST_WEIGHT, 1),
            np.zeros(len(steps), bool), energy=(times, condition.events.energy.astype(np.float64)),
        )  # fmt: skip

    @classmethod
    def of_user(cls, length: float, hits: tuple[float, ...]) -> Wishes:
        """A length and moments without a picture; as loud throughout as the recording, or a long fade would be all."""
        times = np.array(sorted(set(hits)), np.float64)
        energy = np.array([0.0, length]), np.ones(2)
        return cls(
            exact(length), times, np.ones(len(times)), np.ones(len(times), bool), energy=energy, keeps_beginning=True
        )
