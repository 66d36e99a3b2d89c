"""Comparisons of two: shares with intervals that know of listeners, and strengths on one scale (Bradley-Terry)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import stats

from openvmas.eval.metrics.statistics import Interval, paired_permutation_test

N_BOOTSTRAP = 1000
_PRIOR = 0.2  # made-up answers each way (half as many ties) in every pair: strengths stay finite where one always wins
_MAX_STEPS = 50

WIN, LOSE, TIE = 0, 1, 2  # the last axis of counts: first system preferred, second preferred, no difference


@dataclass(frozen=True)
class Share:
    """How often the first of two systems was preferred, a tie counting half. p: that listeners are undecided.

    n: answers, n_ties of them without preference; n_listeners; design_effect: how much the answers of one listener
    are alike: so many times more answers are needed than from independent ones.
    """

    first: str
    second: str
    share: Interval
    n: int
    n_ties: int
    n_listeners: int
    design_effect: float
    p: float


@dataclass(frozen=True)
class Strengths:
    """values: log-strength of each system, [N], their mean 0; the difference of two is the log-odds of a preference
    among decided answers. low, high: limits [N]; best: share of resamples in which a system is the strongest [N].
    tie: Davidson's nu."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray
    tie: float


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Limits of a share of n (Wilson 1927); n may be an effective number."""
    return _wilson(share, n, NormalDist().inv_cdf((1 + level) / 2))


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    if n <= 0:
        return math.nan, math.nan
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def share_of(first: str, second: str, counts: np.ndarray, level: float = 0.95) -> Share:
    """The share of one pair. counts: [listeners, 3] (WIN, LOSE, TIE).

    Wilson's interval with the effective number of answers n / design effect (Korn & Graubard 1998), which comes from
    the variance between listeners, and Student's t for their number. p: signs of listeners' means are flipped.
    """
    counts = counts[counts.sum(axis=1) > 0].astype(np.float64)
    n_each = counts.sum(axis=1)
    n, n_listeners = float(n_each.sum()), len(counts)
    if n == 0:
        return Share(first, second, Interval(math.nan, math.nan, math.nan), 0, 0, 0, math.nan, math.nan)
    points = counts[:, WIN] + counts[:, TIE] / 2
    share = float(points.sum()) / n
    effect, z = 1.0, NormalDist().inv_cdf((1 + level) / 2)
    if n_listeners > 1:
        z = float(stats.t.ppf((1 + level) / 2, n_listeners - 1))
        if 0 < share < 1:
            between = n_listeners / (n_listeners - 1) * float(np.sum((points - share * n_each) ** 2)) / n**2
            effect = max(1.0, between * n / (share * (1 - share)))
    low, high = _wilson(share, n / effect, z)
    middle = points / n_each - 0.5
    p = paired_permutation_test(np.zeros(n_listeners), middle)
    return Share(first, second, Interval(share, low, high), int(n), int(counts[:, TIE].sum()), n_listeners, effect, p)


def fit_strengths(
    counts: np.ndarray, pairs: Sequence[tuple[int, int]], n_systems: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bradley-Terry strengths with ties (Davidson 1970), of many tables at once.

    counts: [..., P, 3]; pairs: the two systems of each. Returns log-strengths [..., N] of mean 0 and log nu [...].
    P(first wins) is proportional to its strength, P(tie) to nu times the geometric mean of both: a multinomial logit,
    so that Newton's method finds the one maximum.
    """
    lead = counts.shape[:-2]
    table = counts.reshape(-1, len(pairs), 3).astype(np.float64) + np.array([_PRIOR, _PRIOR, _PRIOR / 2])
    design = np.zeros((len(pairs), 3, n_systems + 1))
    for row, (i, j) in enumerate(pairs):
        design[row, WIN, i] = design[row, LOSE, j] = design[row, TIE, n_systems] = 1
        design[row, TIE, i] = design[row, TIE, j] = 0.5
    gauge = np.zeros((n_systems + 1, n_systems + 1))
    gauge[:n_systems, :n_systems] = 1  # the mean is free: it is held at 0
    n = table.sum(axis=-1)
    beta = np.zeros((len(table), n_systems + 1))
    for _ in range(_MAX_STEPS):
        utility = np.einsum("pkf,bf->bpk", design, beta)
        chance = np.exp(utility - utility.max(axis=-1, keepdims=True))
        chance /= chance.sum(axis=-1, keepdims=True)
        gradient = np.einsum("pkf,bpk->bf", design, table - n[..., None] * chance)
        weighted = n[..., None] * chance
        centre = np.einsum("pkf,bpk->bpf", design, chance)
        curvature = np.einsum("pkf,bpk,pkg->bfg", design, weighted, design, optimize=True)
        curvature -= np.einsum("bpf,bp,bpg->bfg", centre, n, centre, optimize=True)
        step = np.linalg.solve(curvature + gauge, gradient[..., None])[..., 0]
        step *= np.minimum(1, 2 / np.maximum(np.abs(step).max(axis=-1, keepdims=True), 1e-12))
        beta += step
        if np.abs(step).max(initial=0) < 1e-8:
            break
    values = beta[:, :n_systems] - beta[:, :n_systems].mean(axis=-1, keepdims=True)
    return values.reshape(*lead, n_systems), beta[:, n_systems].reshape(lead)


def strengths(
    counts: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    n_systems: int,
    level: float = 0.95,
    n_resamples: int = N_BOOTSTRAP,
    seed: int = 0,
) -> Strengths:
    """Strengths with percentile intervals from resampled listeners. counts: [listeners, P, 3]."""
    values, tie = fit_strengths(counts.sum(axis=0), pairs, n_systems)
    draws = resampled_strengths(counts, pairs, n_systems, n_resamples, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    best = np.bincount(draws.argmax(axis=1), minlength=n_systems) / n_resamples
    return Strengths(values, low, high, best, float(np.exp(tie)))


def resampled_strengths(
    counts: np.ndarray, pairs: Sequence[tuple[int, int]], n_systems: int, n_resamples: int, seed: int
) -> np.ndarray:
    """Strengths of n_resamples draws of whole listeners with replacement: [n_resamples, N]."""
    n_listeners = len(counts)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(n_listeners, np.full(n_listeners, 1 / n_listeners), size=n_resamples)
    tables = (drawn @ counts.reshape(n_listeners, -1)).reshape(n_resamples, len(pairs), 3)
    return fit_strengths(tables, pairs, n_systems)[0]
