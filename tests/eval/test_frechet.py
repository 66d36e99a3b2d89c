"""Distances between clouds against closed forms."""

import numpy as np
import pytest
from reference_cloud import frechet_distance, gaussian, shrunk_covariance

from openvmas.eval.metrics.distances import kernel_inception_distance, principal_axes


def gaussian_distance(mean_a, cov_a, mean_b, cov_b):
    return gaussian(mean_a, cov_a).distance(gaussian(mean_b, cov_b))


def exact_cloud(mean, cov, n, seed=0):
    """Points whose sample mean and sample covariance are exactly those given."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T).T
    return x @ np.linalg.cholesky(cov).T + mean


def test_gaussians_that_commute():
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 25.0])
    expected = 3.0**2 + (1 - 2) ** 2 + (2 - 1) ** 2 + (3 - 5) ** 2
    assert gaussian_distance(np.zeros(3), a, np.array([0, 3, 0]), b) == pytest.approx(expected, abs=1e-9)


def test_gaussians_that_do_not_commute():
    # tr((A^½ B A^½)^½) of two 2 × 2 matrices is sqrt(tr(AB) + 2 sqrt(det A det B)).
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    expected = np.trace(a) + np.trace(b) - 2 * cross
    assert gaussian_distance(np.zeros(2), a, np.zeros(2), b) == pytest.approx(expected, abs=1e-9)
    assert gaussian_distance(np.zeros(2), b, np.zeros(2), a) == pytest.approx(expected, abs=1e-9)


def test_clouds_with_known_distance():
    rng = np.random.default_rng(3)
    cov = [m @ m.T + np.eye(4) for m in rng.normal(size=(2, 4, 4))]
    means = rng.normal(size=(2, 4))
    a, b = exact_cloud(means[0], cov[0], 50), exact_cloud(means[1], cov[1], 70, seed=1)
    expected = gaussian_distance(means[0], cov[0], means[1], cov[1])
    # Four axes of a reference in four dimensions are only a rotation.
    assert frechet_distance(a, b, n_axes=4) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(a, a + np.array([0.0, 2.0, 0, 0]), n_axes=4) == pytest.approx(4.0, abs=1e-6)


def test_same_cloud_is_zero_even_where_the_covariance_is_singular():
    x = np.random.default_rng(0).normal(size=(20, 100))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x, n_axes=None) == pytest.approx(0, abs=1e-6)


def test_axes_beyond_the_reference_are_not_seen():
    rng = np.random.default_rng(0)
    reference = np.concatenate([rng.normal(size=(300, 2)) * 5, np.zeros((300, 1))], axis=1)
    shifted = reference + np.array([0, 0, 7.0])
    assert frechet_distance(reference, shifted, n_axes=2) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(reference, shifted, n_axes=None) > 40
    assert principal_axes(reference, 2).directions.shape == (3, 2)


def test_shrinking_goes_to_the_truth_in_both_limits():
    rng = np.random.default_rng(0)
    # White noise: all eigenvalues should be pulled to 1, far closer than the sample's own.
    few = rng.normal(size=(50, 40))
    raw = np.linalg.norm(np.cov(few.T, bias=True) - np.eye(40))
    assert np.linalg.norm(shrunk_covariance(few) - np.eye(40)) < raw / 4
    many = rng.normal(size=(20_000, 3)) * np.array([1.0, 3.0, 10.0])
    np.testing.assert_allclose(shrunk_covariance(many), np.cov(many.T, bias=True), rtol=0.01, atol=0.1)


def test_kernel_distance_of_degree_one_is_the_distance_of_means():
    # With a linear kernel the unbiased estimate is |μa - μb|² / D less the variances of the two means.
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 5)), rng.normal(1, 2, size=(40, 5))
    bias = np.trace(np.cov(a.T)) / 30 + np.trace(np.cov(b.T)) / 40
    expected = (np.sum((a.mean(0) - b.mean(0)) ** 2) - bias) / 5
    assert kernel_inception_distance(a, b, degree=1) == pytest.approx(expected, abs=1e-9)


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(1)
    same = [kernel_inception_distance(rng.normal(size=(12, 3)), rng.normal(size=(300, 3))) for _ in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(300)
    assert kernel_inception_distance(rng.normal(size=(200, 3)), rng.normal(1.0, 1, size=(200, 3))) > 1


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"\[P, D\]"):
        kernel_inception_distance(np.zeros((4, 3)), np.zeros((4, 2)))
