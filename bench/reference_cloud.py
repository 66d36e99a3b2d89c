"""Fréchet distances from one large reference, on its principal axes or with shrunk covariances, for the benches."""

from __future__ import annotations

import numpy as np

from openvmas.eval.metrics.distances import N_AXES, Gaussian, principal_axes, validate


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    """The Gaussian with a mean [D] and a covariance [D, D], which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return Gaussian(mean, np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """Covariance of x [P, D] pulled towards a multiple of the identity by the Ledoit-Wolf (2004) amount."""
    n, d = x.shape
    centred = x - x.mean(0)
    cov = centred.T @ centred / n
    size = np.trace(cov) / d
    dispersion = np.sum((cov - size * np.eye(d)) ** 2)
    # Sum over samples of |x xᵀ - cov|² = |x|⁴ sums less the part that cov explains.
    noise = (np.sum(np.sum(centred**2, 1) ** 2) / n - np.sum(cov**2)) / n
    amount = 0.0 if dispersion == 0 else min(max(noise / dispersion, 0.0), 1.0)
    return (1 - amount) * cov + amount * size * np.eye(d)


class Reference:
    """A reference cloud [P, D] that many clouds are measured against: what depends on it alone is computed once."""

    def __init__(self, embeddings: np.ndarray, n_axes: int | None = N_AXES) -> None:
        """n_axes: principal axes that both sides are projected to; None for all dimensions and shrunk covariances."""
        self.embeddings, _ = validate(embeddings, embeddings)
        self._axes = None if n_axes is None else principal_axes(embeddings, n_axes)
        self._gaussian = self._fit(self.embeddings)

    def _fit(self, x: np.ndarray) -> Gaussian:
        if self._axes is None:
            return gaussian(x.mean(0), shrunk_covariance(x))
        return Gaussian.fit(self._axes.project(x))

    def frechet(self, estimated: np.ndarray) -> float:
        """Fréchet distance of estimated [Q, D], 0 or more, in squared units of the embeddings."""
        return self._gaussian.distance(self._fit(validate(self.embeddings, estimated)[1]))


def frechet_distance(reference: np.ndarray, estimated: np.ndarray, n_axes: int | None = N_AXES) -> float:
    """`Reference.frechet` of estimated [Q, D] from reference [P, D], for a single comparison."""
    return Reference(reference, n_axes).frechet(estimated)
