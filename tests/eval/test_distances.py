"""Distances and variety of sets against closed forms, explicit sums and small point sets."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg

from openvmas.eval.metrics import distances
from openvmas.eval.metrics.distances import (
    coverage_measures,
    evaluate,
    frechet,
    frechet_infinity,
    inception_score,
    kernel_audio_distance,
    kernel_inception_distance,
    mean_cosine_distance,
    posteriors,
    tag_divergence,
    vendi,
)


def normals(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


@pytest.mark.parametrize("n", [9, 200])
def test_frechet_is_the_formula_with_a_matrix_root(n: int) -> None:
    x, y = normals(50, 12, 0), normals(n, 12, 1, 0.4, 1.7) @ normals(12, 12, 2)
    a, b = np.cov(x.T), np.cov(y.T)
    # Twelve dimensions of nine rows: the covariance is singular, and the root is still real.
    root = np.real(scipy.linalg.sqrtm(a + 1e-14 * np.eye(12)))
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a) + np.trace(b) - 2 * cross
    assert frechet(x, y) == pytest.approx(expected, abs=1e-6)
    assert frechet(y, x) == pytest.approx(expected, abs=1e-6)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_of_moved_and_stretched_clouds() -> None:
    x = normals(80, 3, 0)
    assert frechet(x, x + np.array([0, 3.0, 4])) == pytest.approx(25, abs=1e-6)
    expected = np.trace(np.cov(x.T))  # every axis twice as long: (2 - 1)² times the variance of each
    assert frechet(x, x.mean(0) + 2 * (x - x.mean(0))) == pytest.approx(expected, abs=1e-6)


def test_frechet_at_infinity_takes_the_bias_of_small_samples_away() -> None:
    x, y = normals(20_000, 16, 0), normals(300, 16, 1, 0.5)
    truth = 16 * 0.25
    plain = [frechet(x, normals(300, 16, seed, 0.5)) for seed in range(1, 9)]
    freed = [frechet_infinity(x, normals(300, 16, seed, 0.5)).value for seed in range(1, 9)]
    assert np.mean(plain) - truth > 0.2
    assert abs(np.mean(freed) - truth) < 0.4 * (np.mean(plain) - truth)
    line = frechet_infinity(x, y)
    assert (line.sizes.min(), line.sizes.max()) == (75, 300)
    assert line.r2 > 0.6 and line.distances[0] > line.distances[-1] + 0.3
    with pytest.raises(ValueError, match="at least 16 rows"):
        frechet_infinity(x, y[:10])


def explicit_mmd(x: np.ndarray, y: np.ndarray, kernel) -> float:
    """The unbiased estimate of Gretton et al. 2012, pair by pair."""
    inner = sum(kernel(a, b) for a, b in itertools.permutations(x, 2)) / (len(x) * (len(x) - 1))
    other = sum(kernel(a, b) for a, b in itertools.permutations(y, 2)) / (len(y) * (len(y) - 1))
    return inner + other - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))


def test_kernel_distances_are_their_double_sums() -> None:
    x, y = normals(13, 5, 0), normals(9, 5, 1, 0.7, 1.3)
    expected = explicit_mmd(x, y, lambda a, b: (float(a @ b) / 5 + 1) ** 3)
    assert kernel_inception_distance(x, y) == pytest.approx(expected, abs=1e-6)
    width = float(np.median([np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2)]))
    expected = explicit_mmd(x, y, lambda a, b: math.exp(-float(np.sum((a - b) ** 2)) / (2 * width**2)))
    assert kernel_audio_distance(x, y) == pytest.approx(expected, abs=1e-6)
    expected = explicit_mmd(x, y, lambda a, b: math.exp(-float(np.sum((a - b) ** 2)) / 18))
    assert kernel_audio_distance(x, y, bandwidth=3) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("measure", [kernel_inception_distance, kernel_audio_distance])
def test_kernel_distances_are_unbiased(measure) -> None:
    same = [measure(normals(40, 4, seed), normals(25, 4, 1000 + seed)) for seed in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / math.sqrt(200)
    assert measure(normals(40, 4, 0), normals(25, 4, 1, 1.0)) > 5 * np.std(same)
    assert measure(normals(40, 4, 0), normals(40, 4, 0)) <= 0


def test_coverage_of_points_on_a_line() -> None:
    x = np.arange(6.0)[:, None]  # 0 to 5; the nearest neighbour of each is 1 away
    y = np.array([[0.5], [0.6], [20.0]])
    found = coverage_measures(x, y, n_precision=1, n_density=1)
    assert found.precision == pytest.approx(2 / 3)
    # Balls of y: 0.5 and 0.6 reach 0.1, 20 reaches 19.4, which holds 1 to 5.
    assert found.recall == pytest.approx(5 / 6)
    assert found.density == pytest.approx((2 + 2 + 0) / 3)  # in the balls of 0 and 1
    assert found.coverage == pytest.approx(2 / 6)


def test_coverage_is_the_definition_pair_by_pair() -> None:
    x, y = normals(30, 3, 0), normals(25, 3, 1, 0.5)

    def radii(cloud: np.ndarray, k: int) -> list[float]:
        return [sorted(float(np.linalg.norm(a - b)) for b in cloud)[k] for a in cloud]

    def inside(centres: np.ndarray, k: int, points: np.ndarray) -> np.ndarray:
        rows = zip(centres, radii(centres, k), strict=True)
        return np.array([[np.linalg.norm(c - p) <= r for p in points] for c, r in rows])

    found = coverage_measures(x, y)
    assert found.precision == pytest.approx(inside(x, 3, y).any(axis=0).mean(), abs=1e-9)
    assert found.recall == pytest.approx(inside(y, 3, x).any(axis=0).mean(), abs=1e-9)
    assert found.density == pytest.approx(inside(x, 5, y).sum() / (5 * 25), abs=1e-9)
    assert found.coverage == pytest.approx(inside(x, 5, y).any(axis=1).mean(), abs=1e-9)


def test_a_cloud_against_itself_is_perfect() -> None:
    x = np.repeat(normals(20, 6, 0), 2, axis=0)
    found = evaluate(x, x, has_infinity=False)
    assert found["frechet"] == pytest.approx(0, abs=1e-9)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["kernel_distance"] <= 0 and found["kernel_audio_distance"] <= 0


def test_a_farther_cloud_is_farther_in_everything() -> None:
    x = normals(300, 8, 0)
    near, far = (evaluate(x, normals(200, 8, 1, shift)) for shift in (0.3, 1.5))
    for name in ("frechet", "frechet_infinity", "kernel_distance", "kernel_audio_distance"):
        assert near[name] < far[name], name
    for name in ("precision", "recall", "density", "coverage"):
        assert near[name] > far[name], name


def test_one_texture_for_everything_covers_little() -> None:
    x = normals(300, 8, 0)
    narrow = coverage_measures(x, normals(300, 8, 1, 0, 0.2))
    assert narrow.precision == 1 and narrow.recall < 0.3 and narrow.density > 1.5


def test_vendi_counts_what_differs() -> None:
    assert vendi(np.eye(7)) == pytest.approx(7, abs=1e-6)
    assert vendi(np.ones((7, 3))) == pytest.approx(1, abs=1e-6)
    assert vendi(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3, abs=1e-6)
    # Two rows at angle a: eigenvalues of K / 2 are (1 ± cos a) / 2.
    p = (1 + math.cos(0.7)) / 2
    expected = math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p))
    assert vendi(np.array([[1.0, 0], [math.cos(0.7), math.sin(0.7)]])) == pytest.approx(expected, abs=1e-6)


def test_mean_cosine_distance_is_over_pairs() -> None:
    x = normals(9, 4, 0)
    expected = np.mean([1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(x, 2)])
    assert mean_cosine_distance(x) == pytest.approx(expected, abs=1e-9)
    assert mean_cosine_distance(np.ones((4, 3))) == pytest.approx(0, abs=1e-12)


def test_inception_score_has_its_limits() -> None:
    assert inception_score(np.eye(5)) == pytest.approx(5, abs=1e-6)
    assert inception_score(np.full((8, 5), 0.2)) == pytest.approx(1, abs=1e-9)
    rows = posteriors(normals(30, 6, 0, 0, 2.0))
    expected = math.exp(np.mean([sum(p * math.log(p / q) for p, q in zip(r, rows.mean(0), strict=True)) for r in rows]))
    assert inception_score(rows) == pytest.approx(expected, abs=1e-6)


def test_tag_divergence_by_hand() -> None:
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    assert tag_divergence(p, q) == pytest.approx(0.5 * (0.5 * math.log(2) + 0.5 * math.log(2 / 3)), abs=1e-9)
    assert tag_divergence(p, p) == 0
    assert math.isfinite(tag_divergence(np.array([[1.0, 0]]), np.array([[0.0, 1]])))
    with pytest.raises(ValueError, match="each row sums to 1"):
        tag_divergence(2 * p, q)


def test_bad_clouds_are_refused() -> None:
    x = normals(20, 3, 0)
    with pytest.raises(ValueError, match=r"\[P, D\] and \[Q, D\]"):
        frechet(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet(x, x[:1])
    with pytest.raises(ValueError, match="finite"):
        frechet(x, np.where(np.eye(20, 3) > 0, np.nan, x))
    with pytest.raises(ValueError, match="at least 6 rows"):
        coverage_measures(x, x[:5])
    assert math.isnan(distances.evaluate(x, x[:4])["coverage"])
