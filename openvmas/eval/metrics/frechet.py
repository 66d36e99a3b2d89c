"""Distances between two clouds of embeddings: how far generated sound lies from real sound, as a whole.

Both take reference and estimated embeddings [P, D]. Neither says anything about one piece; counts of patches must be
equal wherever figures are compared, because the Fréchet distance grows as its sample shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def gaussian_distance(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """Squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982): means [D], covariances [D, D].

    |mean_a - mean_b|² + tr(cov_a + cov_b - 2 (cov_a^½ cov_b cov_a^½)^½), through symmetric eigenvalues only, so that
    no complex numbers arise from singular covariances.
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = root @ cov_b @ root
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """Covariance of x [P, D] pulled towards a multiple of the identity by the Ledoit-Wolf (2004) amount."""
    n, d = x.shape
    centred = x - x.mean(0)
    cov = centred.T @ centred / n
    size = np.trace(cov) / d
    spread = np.sum((cov - size * np.eye(d)) ** 2)
    # Sum over samples of |x xᵀ - cov|² = |x|⁴ sums less the part that cov explains.
    noise = (np.sum(np.sum(centred**2, 1) ** 2) / n - np.sum(cov**2)) / n
    amount = 0.0 if spread == 0 else min(max(noise / spread, 0.0), 1.0)
    return (1 - amount) * cov + amount * size * np.eye(d)


@dataclass(frozen=True)
class Axes:
    """The principal axes of a reference: centre [D], directions [D, n_axes]."""

    centre: np.ndarray
    directions: np.ndarray

    def project(self, x: np.ndarray) -> np.ndarray:
        """[P, D] to [P, n_axes]."""
        return (x - self.centre) @ self.directions


def principal_axes(reference: np.ndarray, n_axes: int = 64) -> Axes:
    """The first n_axes principal axes of reference [P, D]."""
    centre = reference.mean(0, dtype=np.float64)
    centred = reference.astype(np.float64) - centre
    if len(reference) > reference.shape[1]:  # many patches: the small square matrix is far cheaper
        _, vectors = np.linalg.eigh(centred.T @ centred)
        return Axes(centre, vectors[:, ::-1][:, :n_axes])
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    return Axes(centre, rows[:n_axes].T)


class Reference:
    """A reference cloud [P, D] that many clouds are measured against: what depends on it alone is computed once."""

    def __init__(self, embeddings: np.ndarray, n_axes: int | None = 64, degree: int = 3) -> None:
        """n_axes: see `frechet_distance`; degree: see `kernel_distance`."""
        _check(embeddings, embeddings)
        self._embeddings = embeddings.astype(np.float64)
        self._degree = degree
        self._axes = None if n_axes is None else principal_axes(embeddings, n_axes)
        self._mean, self._cov = self._gaussian(self._embeddings)
        self._within: float | None = None

    def _gaussian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._axes is None:
            return x.mean(0), shrunk_covariance(x)
        x = self._axes.project(x)
        return x.mean(0), np.atleast_2d(np.cov(x.T))

    def frechet(self, estimated: np.ndarray) -> float:
        """`frechet_distance` of estimated [Q, D]."""
        _check(self._embeddings, estimated)
        return gaussian_distance(self._mean, self._cov, *self._gaussian(estimated.astype(np.float64)))

    def kernel(self, estimated: np.ndarray) -> float:
        """`kernel_distance` of estimated [Q, D]."""
        _check(self._embeddings, estimated)
        other = estimated.astype(np.float64)
        if self._within is None:
            self._within = self._mean_within(self._embeddings)
        return self._within + self._mean_within(other) - 2 * float(self._kernel(self._embeddings, other).mean())

    def _kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** self._degree

    def _mean_within(self, x: np.ndarray) -> float:
        matrix, n = self._kernel(x, x), len(x)
        return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1)))


def frechet_distance(reference: np.ndarray, estimated: np.ndarray, n_axes: int | None = 64) -> float:
    """Fréchet distance of Gaussians fitted to reference [P, D] and estimated [Q, D].

    With n_axes, both are first projected to the reference's first principal axes (a full covariance of 1024 numbers
    cannot be estimated from a few hundred patches); with None all dimensions are used and covariances are shrunk.
    Raises ValueError if a cloud has fewer than two patches.
    """
    _check(reference, estimated)
    return Reference(reference, n_axes).frechet(estimated)


def kernel_distance(reference: np.ndarray, estimated: np.ndarray, degree: int = 3) -> float:
    """Unbiased squared maximum mean discrepancy with kernel (x·y / D + 1)^degree (Bińkowski et al. 2018).

    reference [P, D], estimated [Q, D]; 0 on average for two samples of one distribution whatever their sizes, so it
    may be slightly negative. Divide embeddings by a common scale first if they are large.
    """
    _check(reference, estimated)
    return Reference(reference, min(64, reference.shape[1]), degree).kernel(estimated)


def _check(reference: np.ndarray, estimated: np.ndarray) -> None:
    if reference.ndim != 2 or estimated.ndim != 2 or reference.shape[1] != estimated.shape[1]:
        raise ValueError(f"embeddings must be [P, D] and [Q, D], not {reference.shape} and {estimated.shape}")
    if min(len(reference), len(estimated)) < 2:
        raise ValueError("a distance between clouds needs at least two patches on each side")
