"""Distances between two sets of sounds and the variety of one set, from embeddings or class posteriors.

Embeddings are clouds [P, D], one row per patch or per clip; posteriors [P, n_classes] have rows that sum to 1.
Reference first, then estimated. Counts of patches must be equal wherever Fréchet distances are compared, because they
grow as the sample shrinks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

N_SIZES = 15  # of subsets, for the extrapolation
N_DRAWS = 5  # of each size
N_PRECISION, N_DENSITY = 3, 5  # neighbours, as in the two papers
N_AXES = 64  # principal axes: a full covariance of 1024 dimensions cannot be estimated from a few hundred patches
MIN_PROBABILITY = 1e-12


def validate(reference: np.ndarray, estimated: np.ndarray, min_rows: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both clouds as float64. Raises ValueError for unlike shapes, too few rows and values that are not finite."""
    reference, estimated = (np.asarray(x, dtype=np.float64) for x in (reference, estimated))
    if reference.ndim != 2 or estimated.ndim != 2 or reference.shape[1] != estimated.shape[1]:
        raise ValueError(f"embeddings must be [P, D] and [Q, D], not {reference.shape} and {estimated.shape}")
    if min(len(reference), len(estimated)) < min_rows:
        raise ValueError(f"at least {min_rows} rows are needed on each side")
    if not (np.isfinite(reference).all() and np.isfinite(estimated).all()):
        raise ValueError("embeddings must be finite")
    return reference, estimated


# --- Fréchet distances ---


@dataclass(frozen=True)
class Gaussian:
    """mean: [D]. root: [n, D], rootᵀ root is the covariance."""

    mean: np.ndarray
    root: np.ndarray

    @staticmethod
    def fit(cloud: np.ndarray) -> Gaussian:
        """The Gaussian with mean and sample covariance of a cloud [P, D]."""
        mean = cloud.mean(axis=0)
        centred = cloud - mean
        root = np.asarray(np.linalg.qr(centred, mode="r")) if len(cloud) > cloud.shape[1] else centred
        return Gaussian(mean, root / math.sqrt(len(cloud) - 1))

    def distance(self, other: Gaussian) -> float:
        """Squared 2-Wasserstein distance (Dowson & Landau 1982), 0 or more.

        |mean difference|² + tr A + tr B - 2 tr (A^½ B A^½)^½, where the last trace is the sum of singular values of the
        product of both roots: no square root of a matrix is taken, so no complex numbers arise.
        """
        cross = float(np.linalg.svd(self.root @ other.root.T, compute_uv=False).sum())
        traces = float(np.sum(self.root**2) + np.sum(other.root**2))
        return max(0.0, float(np.sum((self.mean - other.mean) ** 2)) + traces - 2 * cross)


@dataclass(frozen=True)
class Axes:
    """The principal axes of a reference: centre [D], directions [D, n_axes]."""

    centre: np.ndarray
    directions: np.ndarray

    def project(self, x: np.ndarray) -> np.ndarray:
        """[P, D] to [P, n_axes]."""
        return (x - self.centre) @ self.directions


def principal_axes(reference: np.ndarray, n_axes: int = N_AXES) -> Axes:
    """The first n_axes principal axes of reference [P, D]."""
    centre = reference.mean(0, dtype=np.float64)
    centred = reference.astype(np.float64) - centre
    if len(reference) > reference.shape[1]:  # many patches: the small square matrix is far cheaper
        _, vectors = np.linalg.eigh(centred.T @ centred)
        return Axes(centre, vectors[:, ::-1][:, :n_axes])
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    return Axes(centre, rows[:n_axes].T)


def frechet(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to both clouds (FAD: Kilgour et al. 2019).

    Biased upwards for small samples; see `frechet_infinity`.

    Parameters
    ----------
    reference : [P, D], embeddings of true sound
    estimated : [Q, D], embeddings of the sound in question

    Returns
    -------
    Distance, 0 or more, in squared units of the embeddings; 0 for a cloud against itself

    >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(frechet(x, x + 3), 6)
    18.0
    """
    reference, estimated = validate(reference, estimated)
    return Gaussian.fit(reference).distance(Gaussian.fit(estimated))


@dataclass(frozen=True)
class Extrapolation:
    """value: the distance at infinite sample size. r2: how straight the line was, in [0, 1].

    sizes: [N] rows drawn; distances: [N] mean distance of the draws of each size.
    """

    value: float
    r2: float
    sizes: np.ndarray
    distances: np.ndarray


def frechet_infinity(reference: np.ndarray, estimated: np.ndarray) -> Extrapolation:
    """`frechet` extrapolated to infinitely many estimated rows (Chong & Forsyth 2020; for audio Gui et al. 2024).

    The distance of random subsets is a straight line in 1 / size; its intercept is the value. Only the bias of the
    estimated side goes; the reference should be large. The smallest subset has a quarter of Q, at least D / 2 and 8.

    Parameters
    ----------
    reference : [P, D], embeddings of true sound
    estimated : [Q, D], embeddings of the sound in question

    Returns
    -------
    Extrapolation in squared units of the embeddings; its value may be slightly negative

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> abs(frechet_infinity(x, x).value) < 0.02
    True
    """
    reference, estimated = validate(reference, estimated, min_rows=16)
    smallest = min(max(len(estimated) // 4, estimated.shape[1] // 2, 8), 3 * len(estimated) // 4)
    # Even steps of 1 / size, so that both ends of the line carry the same weight.
    sizes = np.unique(np.rint(1 / np.linspace(1 / smallest, 1 / len(estimated), N_SIZES)).astype(int))
    if len(sizes) < 3:
        raise ValueError(f"subsets from {smallest} to {len(estimated)} rows cannot make a line")
    generator, wanted = np.random.default_rng(0), Gaussian.fit(reference)
    distances = []
    for size in sizes:
        n_draws = N_DRAWS if size < len(estimated) else 1
        draws = [generator.choice(len(estimated), size, replace=False) for _ in range(n_draws)]
        distances.append(float(np.mean([wanted.distance(Gaussian.fit(estimated[draw])) for draw in draws])))
    x, y = 1 / sizes, np.array(distances)
    line: Any = stats.linregress(x, y)
    return Extrapolation(float(line.intercept), float(line.rvalue**2) if np.ptp(y) > 0 else 1.0, sizes, y)


# --- kernel distances ---


def _mean_discrepancy(x: np.ndarray, y: np.ndarray, across: np.ndarray) -> float:
    """Unbiased MMD² from kernel matrices within [P, P], within [Q, Q] and across [P, Q] (Gretton et al. 2012)."""
    inner = sum((float(k.sum()) - float(np.trace(k))) / (len(k) * (len(k) - 1)) for k in (x, y))
    return inner - 2 * float(across.mean())


def kernel_inception_distance(reference: np.ndarray, estimated: np.ndarray, degree: int = 3) -> float:
    """Unbiased MMD² with the kernel (x·y / D + 1)^degree (Bińkowski et al. 2018).

    Parameters
    ----------
    reference : [P, D], embeddings of true sound, brought to a common scale if they are large
    estimated : [Q, D], embeddings of the sound in question

    Returns
    -------
    Distance, 0 on average for samples of one distribution at any size, so at times slightly negative

    >>> kernel_inception_distance(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]), degree=1)
    -0.5
    """
    reference, estimated = validate(reference, estimated)
    pairs = ((reference, reference), (estimated, estimated), (reference, estimated))
    return _mean_discrepancy(*((x @ y.T / x.shape[1] + 1) ** degree for x, y in pairs))


def kernel_audio_distance(reference: np.ndarray, estimated: np.ndarray, bandwidth: float | None = None) -> float:
    """Unbiased MMD² with the Gaussian kernel exp(-|x - y|² / 2 bandwidth²) (KAD: Chung et al. 2025), not scaled.

    Parameters
    ----------
    reference : [P, D], embeddings of true sound
    estimated : [Q, D], embeddings of the sound in question
    bandwidth : in units of the embeddings; the median distance within the reference if left out

    Returns
    -------
    Distance, 0 on average for samples of one distribution, at most 2

    >>> x = np.array([[0.0], [1.0]])
    >>> kernel_audio_distance(x, x) < 0 < kernel_audio_distance(x, x + 9)
    True
    """
    reference, estimated = validate(reference, estimated)
    within = squared_distances(reference, reference)
    if bandwidth is None:
        bandwidth = math.sqrt(float(np.median(within[np.triu_indices(len(reference), 1)]))) or 1.0
    squares = (within, squared_distances(estimated, estimated), squared_distances(reference, estimated))
    return _mean_discrepancy(*(np.exp(-0.5 / bandwidth**2 * square) for square in squares))


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of rows of x [P, D] and y [Q, D]: [P, Q], exactly 0 on the diagonal if y is x."""
    centre = x.mean(axis=0)  # rounding is smaller around the origin
    a, b = x - centre, y - centre
    found = np.maximum(np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2 * a @ b.T, 0)
    if y is x:
        np.fill_diagonal(found, 0)
    return found


# --- coverage and variety ---


@dataclass(frozen=True)
class Coverage:
    """precision, recall, coverage: in [0, 1]; density: 0 or more, about 1 for two samples of one distribution."""

    precision: float
    recall: float
    density: float
    coverage: float


def coverage_measures(
    reference: np.ndarray, estimated: np.ndarray, n_precision: int = N_PRECISION, n_density: int = N_DENSITY
) -> Coverage:
    """Share of the estimated rows that lie where the reference lies, and share of the reference that they meet.

    precision: estimated rows inside some ball of the reference; recall: the same with the sides exchanged; balls reach
    to the n_precision-th neighbour in their own cloud (Kynkäänniemi et al. 2019). density: balls of the reference
    around an estimated row, over n_density; coverage: balls that hold an estimated row; balls reach to the n_density-th
    neighbour (Naeem et al. 2020). A row on the edge is inside, so that a cloud against itself has precision, recall and
    coverage 1 even where rows are repeated.

    Parameters
    ----------
    reference : [P, D], embeddings of true sound
    estimated : [Q, D], embeddings of the sound in question
    n_precision, n_density : number of the neighbour that balls reach to

    Returns
    -------
    Coverage

    Raises ValueError if a cloud has no more rows than neighbours.

    >>> x = np.arange(10.0)[:, None]
    >>> coverage_measures(x, x).recall
    1.0
    """
    reference, estimated = validate(reference, estimated, min_rows=max(n_precision, n_density) + 1)
    is_same = reference.shape == estimated.shape and bool(np.array_equal(reference, estimated))
    within = squared_distances(reference, reference)
    other = within if is_same else squared_distances(estimated, estimated)
    across = within if is_same else squared_distances(reference, estimated)

    def radius(distances: np.ndarray, n: int) -> np.ndarray:
        return np.partition(distances, n, axis=1)[:, n]  # the row itself is the nearest

    is_inside = across <= radius(within, n_density)[:, None]
    return Coverage(
        precision=float((across <= radius(within, n_precision)[:, None]).any(axis=0).mean()),
        recall=float((across <= radius(other, n_precision)).any(axis=1).mean()),
        density=float(is_inside.sum(axis=0).mean() / n_density),
        coverage=float(is_inside.any(axis=1).mean()),
    )


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of [N, D] brought to length 1; rows of zeros stay."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def vendi(embeddings: np.ndarray) -> float:
    """Effective number of different rows, from the entropy of the eigenvalues of their cosines (Friedman & Dieng 2023).

    Embeddings that are all positive are alike in cosine; take a common mean away first where differences are meant.

    Parameters
    ----------
    embeddings : [N, D]

    Returns
    -------
    Number from 1 (all alike) to N (all orthogonal)

    >>> round(vendi(np.eye(3)), 6)
    3.0
    """
    x, _ = validate(embeddings, embeddings, min_rows=1)
    # Eigenvalues of XXᵀ are the squared singular values of X.
    return float(np.exp(stats.entropy(np.linalg.svd(unit_rows(x), compute_uv=False) ** 2)))


def mean_cosine_distance(embeddings: np.ndarray) -> float:
    """Mean of 1 - cosine over all pairs of rows.

    Parameters
    ----------
    embeddings : [N, D], N at least 2

    Returns
    -------
    Distance, in [0, 2]; 0 where all rows are alike

    >>> mean_cosine_distance(np.eye(2))
    1.0
    """
    x, _ = validate(embeddings, embeddings)
    x, n = unit_rows(x), len(x)
    return float(max(0.0, 1 - (np.sum(x.sum(axis=0) ** 2) - np.sum(x**2)) / (n * (n - 1))))


# --- class posteriors ---


def posteriors(logits: np.ndarray) -> np.ndarray:
    """Softmax over classes: [P, n_classes] to the same shape, rows sum to 1."""
    return special.softmax(np.asarray(logits, dtype=np.float64), axis=1)


def validate_posteriors(rows: np.ndarray) -> np.ndarray:
    """Rows [P, n_classes] as float64. Raises ValueError unless they are 0 or more and sum to 1."""
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or len(rows) == 0 or not np.allclose(rows.sum(axis=1), 1, atol=1e-4) or (rows < 0).any():
        raise ValueError("posteriors are [P, n_classes], 0 or more, and each row sums to 1")
    return rows


def inception_score(rows: np.ndarray) -> float:
    """Exponential of the mean KL divergence of posteriors from their mean (Salimans et al. 2016).

    Parameters
    ----------
    rows : [P, n_classes], posteriors

    Returns
    -------
    Score from 1 (every row the same) to n_classes (each row sure, all classes equally often)

    >>> round(inception_score(np.eye(3)), 6)
    3.0
    """
    rows = validate_posteriors(rows)
    return float(np.exp(np.mean(_divergence(rows, rows.mean(axis=0)[None]))))


def tag_divergence(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Mean KL(reference || estimated) of posteriors in pairs, as AudioGen (Kreuk et al. 2023) and MusicGen measure it.

    Parameters
    ----------
    reference, estimated : [P, n_classes] each, posteriors of the same clips in the same order

    Returns
    -------
    Divergence in nats, 0 or more

    >>> tag_divergence(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    0.0
    """
    reference, estimated = validate_posteriors(reference), validate_posteriors(estimated)
    if reference.shape != estimated.shape:
        raise ValueError(f"rows are compared in pairs: {reference.shape} and {estimated.shape} differ")
    return float(np.mean(_divergence(reference, estimated)))


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p || q) of each row, nats: [P]."""
    return np.maximum(special.rel_entr(p, np.maximum(q, MIN_PROBABILITY)).sum(axis=1), 0)


def evaluate(
    reference: np.ndarray, estimated: np.ndarray, n_axes: int | None = N_AXES, has_infinity: bool = True
) -> dict[str, float]:
    """Every distance by name; NaN where a cloud is too small for one.

    Parameters
    ----------
    reference : [P, D], embeddings of true sound
    estimated : [Q, D], embeddings of the sound in question
    n_axes : number of principal axes of the reference for both Fréchet distances; None for all dimensions
    has_infinity : whether FAD-infinity, the slowest, is taken too

    Returns
    -------
    Distances by their names in measures.toml

    >>> evaluate(np.eye(3), np.eye(3))["frechet"]
    0.0
    """
    reference, estimated = validate(reference, estimated)
    x, y = reference, estimated
    if n_axes is not None and n_axes < reference.shape[1]:
        axes = principal_axes(reference, n_axes)
        x, y = axes.project(reference), axes.project(estimated)
    found = {"frechet": frechet(x, y)}
    if has_infinity:
        is_enough = min(len(x), len(y)) >= 16
        found["frechet_infinity"] = frechet_infinity(x, y).value if is_enough else math.nan
    found["kernel_distance"] = kernel_inception_distance(reference, estimated)
    found["kernel_audio_distance"] = kernel_audio_distance(reference, estimated)
    if min(len(reference), len(estimated)) > N_DENSITY:
        return found | vars(coverage_measures(reference, estimated))
    return found | dict.fromkeys(("precision", "recall", "density", "coverage"), math.nan)
