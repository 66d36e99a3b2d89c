"""How sure a figure is: intervals, tests between systems, sizes of effects. NumPy only; every draw comes from a seed.

An observation is one clip (or one video): patches and seconds of a clip are not independent and must be averaged first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

N_RESAMPLES = 2000
N_PERMUTATIONS = 10_000
MAX_EXACT = 13  # pairs; 2^13 sign patterns are fewer than N_PERMUTATIONS
BLOCK = 1 << 22  # numbers drawn at a time
NORMAL = NormalDist()

Statistic = Callable[[np.ndarray], np.ndarray]  # [..., N] to [...]: over the last axis


@dataclass(frozen=True)
class Interval:
    """value: the statistic of the data; low, high: confidence limits in its unit, NaN where one clip is all there
    is."""

    value: float
    low: float
    high: float


def validate(values: np.ndarray) -> np.ndarray:
    """The values as [N] float64. Raises ValueError for another shape, for none at all and for NaN."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"one value per clip [N] is needed, not shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; leave out the clips that have none")
    return values


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis."""
    return values.mean(axis=-1)


def median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis."""
    return np.median(values, axis=-1)


def resampled(values: np.ndarray, statistic: Statistic, n_resamples: int, seed: int) -> np.ndarray:
    """The statistic of n_resamples draws with replacement from values [N]: [n_resamples]."""
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(values))
    sizes = [min(rows, n_resamples - first) for first in range(0, n_resamples, rows)]
    return np.concatenate([statistic(values[generator.integers(0, len(values), (n, len(values)))]) for n in sizes])


def bootstrap_interval(
    values: np.ndarray,
    statistic: Statistic = mean,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    method: str = "bca",
) -> Interval:
    """Confidence interval of a statistic of values [N].

    method: "bca", bias-corrected and accelerated (Efron 1987), or "percentile". Values that are all alike give an
    interval of no width. Raises ValueError for bad values or an unknown method.
    """
    values = validate(values)
    if method not in ("bca", "percentile"):
        raise ValueError(f"there is no method {method}; use bca or percentile")
    value = float(statistic(values[None])[0])
    if len(values) == 1:
        return Interval(value, math.nan, math.nan)
    draws = resampled(values, statistic, n_resamples, seed)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        tails = _bca_tails(values, statistic, draws, value, tails)
    low, high = np.quantile(draws, tails)
    return Interval(value, float(low), float(high))


def _bca_tails(
    values: np.ndarray, statistic: Statistic, draws: np.ndarray, value: float, tails: np.ndarray
) -> np.ndarray:
    """The quantiles of the draws that BCa takes in place of `tails`: [2]."""
    n = len(values)
    share = (np.mean(draws < value) + np.mean(draws <= value)) / 2  # ties count half, as in SciPy
    share = min(max(float(share), 0.5 / len(draws)), 1 - 0.5 / len(draws))
    bias = NORMAL.inv_cdf(share)
    left_out = np.array([float(statistic(np.delete(values, i)[None])[0]) for i in range(n)])
    distance = left_out.mean() - left_out
    spread = float(np.sum(distance**2)) ** 1.5
    acceleration = float(np.sum(distance**3)) / (6 * spread) if spread > 0 else 0.0
    moved = [bias + NORMAL.inv_cdf(float(tail)) for tail in tails]
    return np.array([NORMAL.cdf(bias + z / (1 - acceleration * z)) for z in moved])


def jackknife_interval(value: float, left_out: np.ndarray, level: float = 0.95) -> Interval:
    """Interval of a statistic of a whole set, from what it is without each clip, or group of clips (Tukey 1958).

    value: of all clips; left_out: [N] of all but one. For distances between clouds, where a bootstrap would draw the
    same patch twice and so move them. Normal limits; NaN for fewer than three groups.
    """
    n = len(left_out)
    if n < 3:
        return Interval(value, math.nan, math.nan)
    error = math.sqrt((n - 1) / n * float(np.sum((left_out - np.mean(left_out)) ** 2)))
    reach = NORMAL.inv_cdf((1 + level) / 2) * error
    return Interval(value, value - reach, value + reach)


def paired_permutation_test(
    reference: np.ndarray, estimated: np.ndarray, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> float:
    """Two-sided p-value of the mean difference of pairs [N] and [N]: signs are flipped (Fisher 1935).

    Exact for up to MAX_EXACT pairs; else of n_permutations random flips, the observed one counted among them (Phipson &
    Smyth 2010), so never 0. Raises ValueError for bad values or unequal lengths.
    """
    reference, estimated = validate(reference), validate(estimated)
    if len(reference) != len(estimated):
        raise ValueError(f"pairs need equal lengths, not {len(reference)} and {len(estimated)}")
    difference = estimated - reference
    observed = abs(float(difference.sum()))
    least = observed - 1e-12 * float(np.abs(difference).sum())  # rounding must not hide a tie
    if len(difference) <= MAX_EXACT:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(difference))))
        return float(np.mean(np.abs(signs @ difference) >= least))
    generator = np.random.default_rng(seed)
    rows, n_found = max(1, BLOCK // len(difference)), 0
    for first in range(0, n_permutations, rows):
        n = min(rows, n_permutations - first)
        signs = generator.integers(0, 2, (n, len(difference))) * 2.0 - 1
        n_found += int(np.sum(np.abs(signs @ difference) >= least))
    return (n_found + 1) / (n_permutations + 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values [M] corrected for their number so that the chance of any false finding is kept (Holm 1979): [M]."""
    p_values = validate(p_values)
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return corrected


def cliffs_delta(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Share of pairs where estimated [M] is above reference [N] less the share where it is below (Cliff 1993).

    In [-1, 1]; 0 where neither tends to be larger. Raises ValueError for bad values.
    """
    reference, estimated = np.sort(validate(reference)), validate(estimated)
    below = np.searchsorted(reference, estimated, side="left").sum()
    above = (len(reference) - np.searchsorted(reference, estimated, side="right")).sum()
    return float(below - above) / (len(reference) * len(estimated))


def paired_d(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Mean of the paired differences over their standard deviation (Cohen's d_z, 1988); 0.2 is small, 0.8 large.

    0 where all differences are 0, infinite where they are all alike and not 0, NaN for one pair.
    """
    reference, estimated = validate(reference), validate(estimated)
    if len(reference) != len(estimated):
        raise ValueError(f"pairs need equal lengths, not {len(reference)} and {len(estimated)}")
    difference = estimated - reference
    if not difference.any():
        return 0.0
    if len(difference) < 2:
        return math.nan
    centre, spread = float(difference.mean()), float(difference.std(ddof=1))
    return centre / spread if spread > 1e-12 * abs(centre) else math.copysign(math.inf, centre)
