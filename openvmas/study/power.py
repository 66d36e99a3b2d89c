"""Sample sizes of listening tests, by closed form, and by simulation of the very test that `analyze` makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from openvmas.errors import OptionError

N_SIMULATED = 4000
MAX_LISTENERS = 100_000
Draw = Callable[[np.random.Generator, tuple[int, int], int], np.ndarray]  # studies [S, listeners] of k trials


@dataclass(frozen=True)
class SampleSize:
    """Listeners that a claim needs when each judges the pair in question n_trials times.

    simulated: power found by simulation at n_listeners.
    """

    n_trials: int
    n_listeners: int
    simulated: float


def check(alpha: float, power: float, comparisons: int) -> float:
    """The level of one test among so many (Bonferroni, which Holm's first step is). Raises OptionError."""
    if not 0 < alpha < 0.5:
        raise OptionError(f"alpha cannot be {alpha}; give a chance below 0.5, such as 0.05.")
    if not 0.5 <= power < 1:
        raise OptionError(f"power cannot be {power}; give a chance from 0.5 to 1, such as 0.8.")
    if comparisons < 1:
        raise OptionError(f"comparisons cannot be {comparisons}; give the number of pairs that are tested.")
    return alpha / comparisons


def _size(k: int, enough: float, level: float, seed: int, draw: Draw) -> SampleSize:
    """The listeners that a normal test would need `enough` of, and the power of the t-test in simulated studies.

    The flipping of signs, by which results are tested, follows that t-test.
    """
    n = listeners_needed(enough, level)
    n_studies = min(N_SIMULATED, max(400, 4_000_000 // n))  # fewer where they are huge
    gaps = draw(np.random.default_rng([seed, k]), (n_studies, n), k)
    quantile = stats.t.ppf(1 - level / 2, n - 1)
    return SampleSize(k, n, float(np.mean(np.abs(gaps.mean(axis=1)) > quantile * stats.sem(gaps, axis=1))))


def listeners_needed(enough: float, alpha: float) -> int:
    """Listeners for a t-test that a normal test would need `enough` for: the degrees of freedom cost some."""
    n = max(3, math.ceil(enough))
    normal = float(stats.norm.ppf(1 - alpha / 2))
    while n < enough * (float(stats.t.ppf(1 - alpha / 2, n - 1)) / normal) ** 2 and n < MAX_LISTENERS:
        n += 1
    if n >= MAX_LISTENERS:
        raise OptionError("this claim needs more than 100000 listeners; ask for a larger difference.")
    return n


def preference_needs(
    share: float,
    choice_correlation: float = 0.1,
    alpha: float = 0.05,
    power: float = 0.8,
    comparisons: int = 1,
    trials: Sequence[int] = (1, 2, 4, 6, 10, 20),
    seed: int = 0,
) -> list[SampleSize]:
    """Listeners needed to tell a preference share from one half, two-sided.

    choice_correlation: of one listener's answers (intraclass), r, so that k of them count as k / (1 + (k - 1) r);
    n = (z_alpha / 2 + z_power sqrt(4 p q))^2 / (4 (p - 1/2)^2) answers. Raises OptionError.
    """
    level = check(alpha, power, comparisons)
    if not 0 < share < 1 or abs(share - 0.5) < 0.001:
        raise OptionError(f"share cannot be {share}; give the preference you expect, such as 0.6.")
    if not 0 <= choice_correlation < 1:
        raise OptionError(
            f"choice-correlation cannot be {choice_correlation}; give a correlation from 0 to below 1, such as 0.1."
        )
    z_alpha, z_power = stats.norm.ppf([1 - level / 2, power])
    n = ((z_alpha + z_power * math.sqrt(4 * share * (1 - share))) / (2 * (share - 0.5))) ** 2

    def draw(generator: np.random.Generator, shape: tuple[int, int], k: int) -> np.ndarray:
        return draw_points(generator, share, choice_correlation, shape, k) / k - 0.5

    return [_size(k, n * (1 + (k - 1) * choice_correlation) / k, level, seed, draw) for k in trials]


def draw_points(
    generator: np.random.Generator, share: float, choice_correlation: float, shape: tuple[int, ...], n_trials: int
) -> np.ndarray:
    """Answers for the first system among n_trials of each listener (beta-binomial: preferences differ): shape."""
    if choice_correlation == 0:
        return generator.binomial(n_trials, share, shape).astype(np.float64)
    scale = (1 - choice_correlation) / choice_correlation
    own = generator.beta(share * scale, (1 - share) * scale, shape)
    return generator.binomial(n_trials, own).astype(np.float64)


def rating_needs(
    difference: float,
    rating_sd: float = 0.9,
    listener_sd: float = 0.5,
    alpha: float = 0.05,
    power: float = 0.8,
    comparisons: int = 1,
    trials: Sequence[int] = (1, 2, 3, 4, 6),
    seed: int = 0,
) -> list[SampleSize]:
    """Listeners needed to tell a difference of two mean ratings from 0, two-sided; each rates both systems k times.

    rating_sd: standard deviation of one rating about the listener's own mean; listener_sd: of the listeners' own
    differences between two systems. A listener's difference has the variance listener_sd^2 + 2 rating_sd^2 / k.
    Raises OptionError.
    """
    level = check(alpha, power, comparisons)
    if not 0 < abs(difference) <= 4:
        raise OptionError(f"difference cannot be {difference}; give points of the scale from 1 to 5, such as 0.3.")
    if not (0 < rating_sd <= 3 and 0 <= listener_sd <= 3):
        raise OptionError(
            f"rating-sd {rating_sd} and listener-sd {listener_sd} do not fit a scale from 1 to 5; give 0 to 3."
        )
    z = float(stats.norm.ppf([1 - level / 2, power]).sum())

    def deviation(k: int) -> float:
        return math.sqrt(listener_sd**2 + 2 * rating_sd**2 / k)

    def draw(generator: np.random.Generator, shape: tuple[int, int], k: int) -> np.ndarray:
        return difference + deviation(k) * generator.standard_normal(shape)

    return [_size(k, (z * deviation(k) / difference) ** 2, level, seed, draw) for k in trials]
