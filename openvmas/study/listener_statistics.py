"""Statistics of a listening test: preference shares, Bradley-Terry strengths, a mixed model of ratings, agreement.

All know that the answers of one listener are alike: intervals speak of other listeners, not of other answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, stats

from openvmas.eval.metrics.statistics import Interval, paired_permutation_test

N_BOOTSTRAP = 1000
_PRIOR = 0.2  # pseudo-counts each way (half as many ties) in every pair: strengths stay finite where one always wins
_MAX_STEPS = 50

WIN, LOSE, TIE = 0, 1, 2  # the last axis of counts: first system preferred, second preferred, no difference


@dataclass(frozen=True)
class PreferenceShare:
    """Share of answers that prefer the first of two systems, a tie counting half. p: that listeners are undecided.

    n: answers, n_ties of them without preference; n_listeners; design_effect: so many times more answers are needed
    than independent ones, because the answers of one listener are alike.
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
    """Bradley-Terry strengths of N systems with intervals.

    values: log-strength of each system, [N], their mean 0; the difference of two is the log-odds of a preference
    among decided answers. low, high: limits [N]; best: share of resamples in which a system is the strongest [N].
    tie: Davidson's nu.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray
    tie: float

    def interval(self, system: int) -> Interval:
        """The strength of one system."""
        return Interval(float(self.values[system]), float(self.low[system]), float(self.high[system]))


def wilson(share: float, n: float, z: float = float(stats.norm.ppf(0.975))) -> tuple[float, float]:
    """Confidence limits of a share of n at the quantile z (Wilson 1927); n may be an effective number."""
    if n <= 0:
        return math.nan, math.nan
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half_width), min(1.0, centre + half_width)


def preference_share(first: str, second: str, counts: np.ndarray) -> PreferenceShare:
    """The preference share of one pair of systems. counts: [listeners, 3] (WIN, LOSE, TIE).

    Wilson's interval with the effective number of answers n / design effect (Korn & Graubard 1998), which comes from
    the variance between listeners, and Student's t for their number. p: signs of listeners' means are flipped.
    """
    counts = counts[counts.sum(axis=1) > 0].astype(np.float64)
    n_each = counts.sum(axis=1)
    n, n_listeners = float(n_each.sum()), len(counts)
    if n == 0:
        return PreferenceShare(first, second, Interval(math.nan, math.nan, math.nan), 0, 0, 0, math.nan, math.nan)
    points = counts[:, WIN] + counts[:, TIE] / 2
    share = float(points.sum()) / n
    effect, z = 1.0, float(stats.norm.ppf(0.975))
    if n_listeners > 1:
        z = float(stats.t.ppf(0.975, n_listeners - 1))
        if 0 < share < 1:
            between = n_listeners / (n_listeners - 1) * float(np.sum((points - share * n_each) ** 2)) / n**2
            effect = max(1.0, between * n / (share * (1 - share)))
    low, high = wilson(share, n / effect, z)
    middle = points / n_each - 0.5
    p = paired_permutation_test(np.zeros(n_listeners), middle)
    n_ties = int(counts[:, TIE].sum())
    return PreferenceShare(first, second, Interval(share, low, high), int(n), n_ties, n_listeners, effect, p)


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
    counts: np.ndarray, pairs: Sequence[tuple[int, int]], n_systems: int, n_resamples: int = N_BOOTSTRAP
) -> Strengths:
    """Bradley-Terry strengths with percentile intervals from resampled listeners. counts: [listeners, P, 3]."""
    values, tie = fit_strengths(counts.sum(axis=0), pairs, n_systems)
    draws = resampled_strengths(counts, pairs, n_systems, n_resamples, seed=0)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
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


@dataclass(frozen=True)
class MixedFit:
    """Fixed effects of a linear mixed model. coefficients [F] with covariance [F, F].

    variances: of every random effect, then of the rest; sizes: members of every effect, then free observations.
    influence: [members, F], by how much an effect of each member moves the coefficients.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    variances: np.ndarray
    sizes: tuple[int, ...]
    influence: np.ndarray

    def contrast(self, weights: np.ndarray) -> Interval:
        """Confidence interval (95 %) of a weighted sum [F] of the coefficients.

        Student's t with the degrees of freedom of Welch and Satterthwaite (each effect's share of the variance has its
        members less one), at most those of the largest effect, with which one effect alone is exact.
        """
        value, variance = float(weights @ self.coefficients), float(weights @ self.covariance @ weights)
        effects = np.split(self.influence @ weights, np.cumsum(self.sizes[:-1])[:-1])
        shares = [float(v * part @ part) for v, part in zip(self.variances[:-1], effects, strict=True)]
        shares.append(max(variance - sum(shares), 0.0))
        denominator = sum(share**2 / max(size - 1, 1) for share, size in zip(shares, self.sizes, strict=True))
        degrees = min(variance**2 / max(denominator, 1e-300), max(self.sizes[:-1]) - 1)
        margin = float(stats.t.ppf(0.975, degrees)) * math.sqrt(variance)
        return Interval(value, value - margin, value + margin)


def fit_mixed(values: np.ndarray, fixed: np.ndarray, groups: Sequence[np.ndarray]) -> MixedFit:
    """Linear mixed model: values [N] = fixed [N, F] @ coefficients + an effect of each group's members + rest, normal.

    groups: member of every observation, 0 .. , [N] each, such as listeners and clips (crossed). REML (Patterson &
    Thompson 1971): the ratios of variances are searched, everything else follows in closed form; matrices are only as
    large as there are members (Woodbury).
    """
    n, n_fixed = fixed.shape
    sizes = [int(group.max()) + 1 for group in groups]
    members = np.zeros((n, sum(sizes)))
    for start, group in zip(np.cumsum([0, *sizes[:-1]]), groups, strict=True):
        members[np.arange(n), start + group] = 1
    free = max(2, n - n_fixed - sum(sizes) + len(sizes) + 1)
    joined = np.column_stack([fixed, values])
    plain, crossed, products = joined.T @ joined, members.T @ joined, members.T @ members

    def solve(ratios: np.ndarray) -> tuple[float, MixedFit]:
        """-2 log of the restricted likelihood, but for a constant, and the fit. ratios: to the rest's variance."""
        root = np.sqrt(np.repeat(ratios, sizes))[:, None]
        factor = linalg.cholesky(np.eye(len(root)) + root * products * root.T, lower=True)
        half = linalg.solve_triangular(factor, root * crossed, lower=True)
        weighted = plain - half.T @ half  # [X y]' V^-1 [X y], with V in units of the rest's variance
        normal, right = weighted[:-1, :-1], weighted[:-1, -1]
        inverse = np.linalg.inv(normal)
        coefficients = inverse @ right
        rest = max(float(weighted[-1, -1] - right @ coefficients), 1e-12) / (n - n_fixed)
        log_volume = 2 * float(np.log(np.diag(factor)).sum()) + float(np.linalg.slogdet(normal)[1])
        inner = root * linalg.solve_triangular(factor, half[:, :-1], lower=True, trans=1)
        influence = (crossed[:, :-1] - products @ inner) @ inverse  # Z' V^-1 X (X' V^-1 X)^-1
        fit = MixedFit(coefficients, rest * inverse, rest * np.append(ratios, 1.0), (*sizes, free), influence)
        return log_volume + (n - n_fixed) * math.log(rest), fit

    def criterion(logs: np.ndarray) -> float:
        return solve(np.exp(np.clip(logs, -18, 9)))[0]

    start = np.full(len(groups), -1.0)
    found = optimize.minimize(criterion, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    ratios = np.exp(np.clip(found.x, -18, 9))
    ratios[ratios < 1e-6] = 0.0
    return solve(ratios)[1]


def krippendorff_alpha(units: np.ndarray, values: np.ndarray, kind: str) -> float:
    """Agreement of listeners (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    1: everybody says the same, 0: as by chance, below: they disagree more than that; NaN where nobody can differ.
    units [N]: the thing judged; values [N]: the judgement, numbers in their order. kind: "nominal", where values are
    alike or not, or "ordinal", where ranks count. Each unit counts by its pairs of judgements; single ones do not.
    """
    if kind not in ("nominal", "ordinal"):
        raise ValueError(f"there is no alpha of kind {kind}; use nominal or ordinal")
    _, rows = np.unique(units, return_inverse=True)
    levels, columns = np.unique(values, return_inverse=True)
    counts = np.zeros((rows.max(initial=-1) + 1, len(levels)))
    np.add.at(counts, (rows, columns), 1)
    counts = counts[counts.sum(axis=1) > 1]
    per_unit = counts.sum(axis=1)
    coincidence = (counts / (per_unit - 1)[:, None]).T @ counts
    coincidence -= np.diag((counts / (per_unit - 1)[:, None]).sum(axis=0))
    totals = coincidence.sum(axis=1)
    distance = 1 - np.eye(len(levels))
    if kind == "ordinal":
        middle = np.cumsum(totals) - totals / 2
        distance = (middle[:, None] - middle[None]) ** 2
    expected = float(totals @ distance @ totals)
    if expected == 0:
        return math.nan
    return 1 - (float(totals.sum()) - 1) * float((coincidence * distance).sum()) / expected
