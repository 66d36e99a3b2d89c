"""How one set of sounds lies to another, and how varied a set is in itself, from embeddings or class posteriors.

Embeddings are clouds [P, D], one row per patch or per clip; posteriors [P, n_classes] have rows that sum to 1.
Reference first, then estimated. `validate` is the door of every measure, `evaluate` gives them all. What has the
projection to principal axes and the shrunk covariance is in `eval.metrics.frechet`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from openvmas.eval.metrics.frechet import kernel_distance, principal_axes

N_SIZES = 15  # of subsets, for the extrapolation
N_DRAWS = 5  # of each size
N_PRECISION, N_DENSITY = 3, 5  # neighbours, as in the two papers
LEAST_PROBABILITY = 1e-12


def validate(reference: np.ndarray, estimated: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both clouds as float64. Raises ValueError for unlike shapes, fewer rows than `least` and values not finite."""
    reference, estimated = (np.asarray(x, dtype=np.float64) for x in (reference, estimated))
    if reference.ndim != 2 or estimated.ndim != 2 or reference.shape[1] != estimated.shape[1]:
        raise ValueError(f"embeddings must be [P, D] and [Q, D], not {reference.shape} and {estimated.shape}")
    if min(len(reference), len(estimated)) < least:
        raise ValueError(f"at least {least} rows are needed on each side")
    if not (np.isfinite(reference).all() and np.isfinite(estimated).all()):
        raise ValueError("embeddings must be finite")
    return reference, estimated


def frechet(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to reference [P, D] and estimated [Q, D] (FAD: Kilgour et al. 2019).

    0 or more, in squared units of the embeddings; 0 for a cloud against itself. |mean difference|² + tr A + tr B - 2 tr
    (A^½ B A^½)^½, where the last trace is the sum of singular values of the product of the two centred clouds: no
    square root of a matrix is taken. Biased upwards for small samples; see `frechet_infinity`.
    """
    reference, estimated = validate(reference, estimated)
    return _between(_gaussian(reference), _gaussian(estimated))


@dataclass(frozen=True)
class _Gaussian:
    """mean: [D]. root: [min(P, D), D], rootᵀ root is the covariance."""

    mean: np.ndarray
    root: np.ndarray


def _gaussian(cloud: np.ndarray) -> _Gaussian:
    mean = cloud.mean(axis=0)
    centred = cloud - mean
    root = np.asarray(np.linalg.qr(centred, mode="r")) if len(cloud) > cloud.shape[1] else centred
    return _Gaussian(mean, root / math.sqrt(len(cloud) - 1))


def _between(a: _Gaussian, b: _Gaussian) -> float:
    cross = float(np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum())
    traces = float(np.sum(a.root**2) + np.sum(b.root**2))
    return max(0.0, float(np.sum((a.mean - b.mean) ** 2)) + traces - 2 * cross)


@dataclass(frozen=True)
class Extrapolation:
    """value: the distance at infinite sample size. r2: how straight the line was, in [0, 1].

    sizes: [N] rows drawn; distances: [N] mean distance of the draws of each size.
    """

    value: float
    r2: float
    sizes: np.ndarray
    distances: np.ndarray


def frechet_infinity(
    reference: np.ndarray, estimated: np.ndarray, least: int | None = None, n_sizes: int = N_SIZES, seed: int = 0
) -> Extrapolation:
    """`frechet` extrapolated to infinitely many estimated rows (Chong & Forsyth 2020; for audio Gui et al. 2024).

    The distance of random subsets of estimated [Q, D] is a straight line in 1 / size; its intercept is the value, in
    squared units of the embeddings, and may be slightly negative. Sizes reach from `least` (a quarter of Q, at least D
    / 2 and 8) to Q. Only the bias of the estimated side goes; the reference should be large.
    """
    reference, estimated = validate(reference, estimated, least=16)
    smallest = least or min(max(len(estimated) // 4, estimated.shape[1] // 2, 8), 3 * len(estimated) // 4)
    # Even steps of 1 / size, so that both ends of the line carry the same weight.
    sizes = np.unique(np.rint(1 / np.linspace(1 / smallest, 1 / len(estimated), n_sizes)).astype(int))
    if len(sizes) < 3:
        raise ValueError(f"subsets from {smallest} to {len(estimated)} rows cannot make a line")
    generator, wanted = np.random.default_rng(seed), _gaussian(reference)
    distances = []
    for size in sizes:
        n_draws = N_DRAWS if size < len(estimated) else 1
        draws = [generator.choice(len(estimated), size, replace=False) for _ in range(n_draws)]
        distances.append(float(np.mean([_between(wanted, _gaussian(estimated[draw])) for draw in draws])))
    x, y = 1 / sizes, np.array(distances)
    slope, intercept = np.polyfit(x, y, 1)
    spread = float(np.sum((y - y.mean()) ** 2))
    r2 = 1 - float(np.sum((y - slope * x - intercept) ** 2)) / spread if spread > 0 else 1.0
    return Extrapolation(float(intercept), r2, sizes, y)


def kernel_inception_distance(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Unbiased MMD² with the kernel (x·y / D + 1)³ of reference [P, D] and estimated [Q, D] (Bińkowski et al. 2018).

    0 on average for samples of one distribution at any size, so at times slightly negative, as for a cloud against
    itself.
    """
    return kernel_distance(*validate(reference, estimated))


def kernel_audio_distance(reference: np.ndarray, estimated: np.ndarray, bandwidth: float | None = None) -> float:
    """Unbiased MMD² with the Gaussian kernel exp(-|x - y|² / 2 bandwidth²) (KAD: Chung et al. 2025), not scaled.

    reference: [P, D]; estimated: [Q, D]; bandwidth: in units of the embeddings, the median distance within the
    reference if left out. 0 on average for samples of one distribution, at most 2.
    """
    reference, estimated = validate(reference, estimated)
    within = squared_distances(reference, reference)
    if bandwidth is None:
        bandwidth = math.sqrt(float(np.median(within[np.triu_indices(len(reference), 1)]))) or 1.0
    factor = -0.5 / bandwidth**2
    x, y = np.exp(factor * within), np.exp(factor * squared_distances(estimated, estimated))
    across = np.exp(factor * squared_distances(reference, estimated))
    inner = sum((float(k.sum()) - float(np.trace(k))) / (len(k) * (len(k) - 1)) for k in (x, y))
    return inner - 2 * float(across.mean())


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of rows of x [P, D] and y [Q, D]: [P, Q], exactly 0 on the diagonal if y is x."""
    centre = x.mean(axis=0)  # rounding is smaller around the origin
    a, b = x - centre, y - centre
    found = np.maximum(np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2 * a @ b.T, 0)
    if y is x:
        np.fill_diagonal(found, 0)
    return found


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
    """How much of estimated [Q, D] lies where reference [P, D] lies, and how much of reference is met.

    precision: estimated rows inside some ball of the reference; recall: the same with the sides exchanged; balls reach
    to the n_precision-th neighbour in their own cloud (Kynkäänniemi et al. 2019). density: balls of the reference
    around an estimated row, over n_density; coverage: balls that hold an estimated row; balls reach to the n_density-th
    neighbour (Naeem et al. 2020). A row on the edge is inside, so that a cloud against itself has precision, recall and
    coverage 1 even where rows are repeated. Raises ValueError if a cloud has no more rows than neighbours.
    """
    reference, estimated = validate(reference, estimated, least=max(n_precision, n_density) + 1)
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


def vendi(embeddings: np.ndarray) -> float:
    """Effective number of different rows of [N, D], from 1 (all alike) to N (all orthogonal): Friedman & Dieng 2023.

    Exponential of the entropy of the eigenvalues of the cosine similarities over N. Embeddings that are all positive
    are alike in cosine; take a common mean away first where differences are meant. Raises ValueError for other shapes.
    """
    x, _ = validate(embeddings, embeddings, least=1)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    # Eigenvalues of XXᵀ are the squared singular values of X.
    values = np.linalg.svd(x, compute_uv=False) ** 2
    values = values[values > 1e-12 * values.sum()] / values.sum()
    return float(np.exp(-np.sum(values * np.log(values))))


def mean_cosine_distance(embeddings: np.ndarray) -> float:
    """Mean of 1 - cosine over all pairs of rows of [N, D], N at least 2: in [0, 2], 0 where all are alike."""
    x, _ = validate(embeddings, embeddings)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    n = len(x)
    return float(max(0.0, 1 - (np.sum(x.sum(axis=0) ** 2) - np.sum(x**2)) / (n * (n - 1))))


def posteriors(logits: np.ndarray) -> np.ndarray:
    """Softmax over classes: [P, n_classes] to the same shape, rows sum to 1."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def validate_posteriors(rows: np.ndarray) -> np.ndarray:
    """Rows [P, n_classes] as float64. Raises ValueError unless they are 0 or more and sum to 1."""
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or len(rows) == 0 or not np.allclose(rows.sum(axis=1), 1, atol=1e-4) or (rows < 0).any():
        raise ValueError("posteriors are [P, n_classes], 0 or more, and each row sums to 1")
    return rows


def inception_score(rows: np.ndarray) -> float:
    """exp of the mean KL divergence of posteriors [P, n_classes] from their mean (Salimans et al. 2016).

    From 1 (every row the same) to n_classes (each row sure, all classes equally often).
    """
    rows = validate_posteriors(rows)
    mean = rows.mean(axis=0)
    return float(np.exp(np.mean(_divergence(rows, np.broadcast_to(mean, rows.shape)))))


def tag_divergence(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Mean KL divergence of estimated posteriors [P, n_classes] from the reference's of the same row, nats, 0 or more.

    KL(reference || estimated), as AudioGen (Kreuk et al. 2023) and MusicGen measure it on paired clips.
    """
    reference, estimated = validate_posteriors(reference), validate_posteriors(estimated)
    if reference.shape != estimated.shape:
        raise ValueError(f"rows are compared in pairs: {reference.shape} and {estimated.shape} differ")
    return float(np.mean(_divergence(reference, estimated)))


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p || q) of each row, nats: [P]."""
    ratio = np.log(np.maximum(p, LEAST_PROBABILITY)) - np.log(np.maximum(q, LEAST_PROBABILITY))
    return np.maximum(np.sum(p * ratio, axis=1), 0)


def evaluate(
    reference: np.ndarray, estimated: np.ndarray, n_axes: int | None = 64, has_infinity: bool = True
) -> dict[str, float]:
    """Every distance of estimated [Q, D] from reference [P, D] by name; NaN where a cloud is too small for one.

    n_axes: both Fréchet distances are taken on so many principal axes of the reference, because a full covariance of
    1024 numbers cannot be estimated from a few hundred patches; None for all dimensions. has_infinity: with
    FAD-infinity too, the slowest.
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
