"""Mean opinion scores with intervals that know of listeners and clips: a mixed-effects model by REML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, stats

from openvmas.eval.metrics.statistics import Interval


@dataclass(frozen=True)
class MixedFit:
    """Fixed effects of a linear mixed model. coefficients [F] with covariance [F, F].

    variances: of every random effect, then of the rest; sizes: members of every effect, then free observations.
    reach: [members, F], how much an effect of each member moves the coefficients.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    variances: np.ndarray
    sizes: tuple[int, ...]
    reach: np.ndarray

    def contrast(self, weights: np.ndarray, level: float = 0.95) -> Interval:
        """Interval of a weighted sum [F] of the coefficients.

        Student's t with the degrees of freedom of Welch and Satterthwaite (each effect's share of the variance has its
        members less one), at most those of the largest effect, with which one effect alone is exact.
        """
        value, variance = float(weights @ self.coefficients), float(weights @ self.covariance @ weights)
        effects = np.split(self.reach @ weights, np.cumsum(self.sizes[:-1])[:-1])
        shares = [float(v * part @ part) for v, part in zip(self.variances[:-1], effects, strict=True)]
        shares.append(max(variance - sum(shares), 0.0))
        spread = sum(share**2 / max(size - 1, 1) for share, size in zip(shares, self.sizes, strict=True))
        degrees = min(variance**2 / max(spread, 1e-300), max(self.sizes[:-1]) - 1)
        margin = float(stats.t.ppf((1 + level) / 2, degrees)) * math.sqrt(variance)
        return Interval(value, value - margin, value + margin)


def fit_mixed(values: np.ndarray, fixed: np.ndarray, groups: Sequence[np.ndarray]) -> MixedFit:
    """values [N] = fixed [N, F] @ coefficients + an effect of each group's members + rest, all normal.

    groups: member of every observation, 0 .. , [N] each, such as listeners and clips (crossed). REML (Patterson &
    Thompson 1971): the ratios of variances are searched, everything else follows in closed form; matrices are only as
    large as there are members (Woodbury).
    """
    n, n_fixed = fixed.shape
    sizes = [int(group.max()) + 1 for group in groups]
    members = np.zeros((n, sum(sizes)))
    for start, group in zip(np.cumsum([0, *sizes[:-1]]), groups, strict=True):
        members[np.arange(n), start + group] = 1
    products = _Products(values, fixed, members)

    def profile(logs: np.ndarray) -> float:
        return products.solve(np.repeat(np.exp(np.clip(logs, -18, 9)), sizes)).criterion

    start = np.full(len(groups), -1.0)
    found = optimize.minimize(profile, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    ratios = np.exp(np.clip(found.x, -18, 9))
    ratios[ratios < 1e-6] = 0.0
    solved = products.solve(np.repeat(ratios, sizes))
    free = max(2, n - n_fixed - sum(sizes) + len(sizes) + 1)
    return MixedFit(
        solved.coefficients,
        solved.rest * solved.inverse,
        solved.rest * np.append(ratios, 1.0),
        (*sizes, free),
        solved.reach,
    )


@dataclass(frozen=True)
class _Solved:
    criterion: float  # -2 log of the restricted likelihood, but for a constant
    coefficients: np.ndarray
    inverse: np.ndarray  # of X' V^-1 X, with V in units of the rest's variance
    rest: float
    reach: np.ndarray  # Z' V^-1 X (X' V^-1 X)^-1


class _Products:
    """Cross products of the data, computed once."""

    def __init__(self, values: np.ndarray, fixed: np.ndarray, members: np.ndarray) -> None:
        self._n, self._n_fixed = fixed.shape
        joined = np.column_stack([fixed, values])
        self._plain = joined.T @ joined
        self._crossed = members.T @ joined
        self._members = members.T @ members

    def solve(self, ratios: np.ndarray) -> _Solved:
        """Everything at given variances of the members' effects (in units of the rest's variance)."""
        root = np.sqrt(ratios)[:, None]
        factor = linalg.cholesky(np.eye(len(root)) + root * self._members * root.T, lower=True)
        half = linalg.solve_triangular(factor, root * self._crossed, lower=True)
        weighted = self._plain - half.T @ half  # [X y]' V^-1 [X y]
        normal, right = weighted[:-1, :-1], weighted[:-1, -1]
        inverse = np.linalg.inv(normal)
        coefficients = inverse @ right
        left = max(float(weighted[-1, -1] - right @ coefficients), 1e-12)
        degrees = self._n - self._n_fixed
        log_volume = 2 * float(np.log(np.diag(factor)).sum()) + float(np.linalg.slogdet(normal)[1])
        inner = root * linalg.solve_triangular(factor, half[:, :-1], lower=True, trans=1)
        reach = (self._crossed[:, :-1] - self._members @ inner) @ inverse
        return _Solved(log_volume + degrees * math.log(left / degrees), coefficients, inverse, left / degrees, reach)
