"""Confidence intervals, paired tests and effect sizes. Every draw comes from a seed.

An observation is one clip (or one video): patches and seconds of a clip are not independent and must be averaged first.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

N_RESAMPLES = 2000
N_PERMUTATIONS = 10_000
BLOCK = 1 << 22  # numbers drawn at a time
METHODS = {"bca": "BCa", "percentile": "percentile"}  # our names and SciPy's


@dataclass(frozen=True)
class Interval:
    """value: the statistic of the data; low, high: confidence limits in its unit, NaN where only one clip exists."""

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


def validate_pairs(reference: np.ndarray, estimated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of pairs as [N] float64. Raises ValueError for bad values and for unequal lengths."""
    reference, estimated = validate(reference), validate(estimated)
    if len(reference) != len(estimated):
        raise ValueError(f"pairs need equal lengths, not {len(reference)} and {len(estimated)}")
    return reference, estimated


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[..., np.ndarray] = np.mean,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    method: str = "bca",
) -> Interval:
    """Bootstrap confidence interval of a statistic (`scipy.stats.bootstrap`).

    Parameters
    ----------
    values : [N], one number per clip
    statistic : function with an `axis`, such as np.mean or np.median
    level : coverage of the interval, in (0, 1)
    method : "bca", bias-corrected and accelerated (Efron 1987), or "percentile"

    Returns
    -------
    Interval in the unit of the values, of no width where all are equal

    Raises ValueError for bad values or an unknown method.

    >>> bootstrap_interval(np.array([2.0, 2.0, 2.0]))
    Interval(value=2.0, low=2.0, high=2.0)
    """
    values = validate(values)
    if method not in METHODS:
        raise ValueError(f"there is no method {method}; use bca or percentile")
    value = float(statistic(values, axis=-1))
    if len(values) == 1:
        return Interval(value, math.nan, math.nan)
    if np.ptp(values) == 0:
        return Interval(value, value, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (stats.DegenerateDataWarning, RuntimeWarning))
        found = stats.bootstrap(
            (values,), statistic, confidence_level=level, n_resamples=n_resamples, method=METHODS[method],
            vectorized=True, batch=max(1, BLOCK // len(values)), rng=np.random.default_rng(seed),
        )  # fmt: skip
    low, high = found.confidence_interval
    if not math.isfinite(low + high):  # BCa is not defined where leaving out a clip never changes the statistic
        low, high = np.quantile(found.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def jackknife_interval(value: float, left_out: np.ndarray) -> Interval:
    """Jackknife confidence interval (95 %) of a statistic of a whole set, with normal limits (Tukey 1958).

    For distances between clouds, where a bootstrap would draw the same patch twice and so move them.

    Parameters
    ----------
    value : statistic of all clips
    left_out : [N], the statistic without each clip or group of clips

    Returns
    -------
    Interval in the unit of the statistic, with NaN limits for fewer than three groups

    >>> jackknife_interval(1.0, np.array([0.9, 1.0, 1.1])).value
    1.0
    """
    n = len(left_out)
    if n < 3:
        return Interval(value, math.nan, math.nan)
    error = math.sqrt((n - 1) / n * float(np.sum((left_out - np.mean(left_out)) ** 2)))
    reach = float(stats.norm.ppf(0.975)) * error
    return Interval(value, value - reach, value + reach)


def paired_permutation_test(
    reference: np.ndarray, estimated: np.ndarray, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> float:
    """Two-sided p-value of the mean paired difference under random signs (Fisher 1935; `scipy.stats.permutation_test`).

    Exact where all 2^N signs are at most n_permutations; else of random signs, the observed ones counted among them
    (Phipson & Smyth 2010), so never 0.

    Parameters
    ----------
    reference, estimated : [N] each, values of the same clips in the same order

    Returns
    -------
    p-value, in (0, 1]

    Raises ValueError for bad values or unequal lengths.

    >>> paired_permutation_test(np.zeros(4), np.ones(4))
    0.125
    """
    reference, estimated = validate_pairs(reference, estimated)
    if len(reference) == 1:
        return 1.0
    found = stats.permutation_test(
        (estimated - reference,), lambda x, axis: np.abs(x.sum(axis=axis)), permutation_type="samples",
        alternative="greater", n_resamples=n_permutations, vectorized=True, batch=max(1, BLOCK // len(reference)),
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number, so that the chance of any false finding is kept (Holm 1979).

    SciPy has no Holm correction; its `false_discovery_control` holds another rate.

    Parameters
    ----------
    p_values : [M], of all tests that are reported together

    Returns
    -------
    [M] corrected p-values, at most 1

    >>> holm(np.array([0.01, 0.04]))
    array([0.02, 0.04])
    """
    p_values = validate(p_values)
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return corrected


def cliffs_delta(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Share of pairs with the estimated value above the reference less the share with it below (Cliff 1993).

    Parameters
    ----------
    reference : [N]
    estimated : [M]

    Returns
    -------
    Delta, in [-1, 1]; 0 where neither side tends to be larger

    Raises ValueError for bad values.

    >>> cliffs_delta(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    1.0
    """
    reference, estimated = np.sort(validate(reference)), validate(estimated)
    below = np.searchsorted(reference, estimated, side="left").sum()
    above = (len(reference) - np.searchsorted(reference, estimated, side="right")).sum()
    return float(below - above) / (len(reference) * len(estimated))


def paired_d(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Mean of the paired differences over their standard deviation (Cohen's d_z, 1988); 0.2 is small, 0.8 large.

    Parameters
    ----------
    reference, estimated : [N] each, values of the same clips in the same order

    Returns
    -------
    d_z; 0 where all differences are 0, infinite where they are equal and not 0, NaN for one pair

    >>> paired_d(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    2.0
    """
    reference, estimated = validate_pairs(reference, estimated)
    difference = estimated - reference
    if not difference.any():
        return 0.0
    if len(difference) < 2:
        return math.nan
    centre, deviation = float(difference.mean()), float(difference.std(ddof=1))
    return centre / deviation if deviation > 1e-12 * abs(centre) else math.copysign(math.inf, centre)
