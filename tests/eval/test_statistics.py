"""Intervals, tests and effect sizes against SciPy, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from openvmas.eval.metrics.statistics import (
    bootstrap_interval,
    cliffs_delta,
    holm,
    jackknife_interval,
    paired_d,
    paired_permutation_test,
)


@pytest.mark.parametrize(("method", "theirs"), [("bca", "BCa"), ("percentile", "percentile")])
def test_bootstrap_is_that_of_scipy(method: str, theirs: str) -> None:
    values = np.random.default_rng(0).lognormal(size=40)
    found = bootstrap_interval(values, n_resamples=40_000, method=method)
    expected = scipy.stats.bootstrap((values,), np.mean, n_resamples=40_000, method=theirs).confidence_interval
    width = expected.high - expected.low
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert found.low == pytest.approx(expected.low, abs=0.02 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)


def test_intervals_cover_at_their_nominal_rate() -> None:
    generator = np.random.default_rng(1)
    hits = {"normal": 0, "skewed": 0, "jackknife": 0}
    n_runs = 400
    for run in range(n_runs):
        normal, skewed = generator.normal(3, 2, 40), generator.exponential(2, 60)
        found = bootstrap_interval(normal, n_resamples=600, seed=run)
        hits["normal"] += found.low <= 3 <= found.high
        found = bootstrap_interval(skewed, n_resamples=600, seed=run)
        hits["skewed"] += found.low <= 2 <= found.high
        left_out = (normal.sum() - normal) / (len(normal) - 1)
        found = jackknife_interval(normal.mean(), left_out)
        hits["jackknife"] += found.low <= 3 <= found.high
    # The standard error of a share of 400 at 0.95 is 0.011; small samples cost one or two per cent.
    for name, n in hits.items():
        assert 0.91 <= n / n_runs <= 0.98, (name, n / n_runs)


def test_bootstrap_is_seeded_and_knows_its_limits() -> None:
    values = np.random.default_rng(2).normal(size=25)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    assert vars(bootstrap_interval(np.full(5, 0.7))) == pytest.approx({"value": 0.7, "low": 0.7, "high": 0.7})
    single = bootstrap_interval(np.array([1.5]))
    assert single.value == 1.5 and math.isnan(single.low) and math.isnan(single.high)
    middle = bootstrap_interval(values, np.median)
    assert middle.low <= np.median(values) <= middle.high
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="no method magic"):
        bootstrap_interval(values, method="magic")


def test_jackknife_of_a_mean_is_the_standard_error() -> None:
    values = np.random.default_rng(3).normal(size=30)
    found = jackknife_interval(values.mean(), (values.sum() - values) / 29)
    reach = 1.959964 * values.std(ddof=1) / math.sqrt(30)
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=1e-6)


@pytest.mark.parametrize("n", [8, 30])
def test_permutation_is_that_of_scipy(n: int) -> None:
    generator = np.random.default_rng(4)
    x = generator.normal(size=n)
    y = x + generator.normal(0.3, 0.8, n)

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(a - b, axis=axis)

    expected = scipy.stats.permutation_test(
        (x, y), difference, permutation_type="samples", n_resamples=20_000, vectorized=True
    ).pvalue
    assert paired_permutation_test(x, y) == pytest.approx(expected, abs=1e-12 if n == 8 else 0.01)


def test_permutation_of_one_sided_pairs_is_the_smallest_there_is() -> None:
    x = np.arange(6.0)
    assert paired_permutation_test(x, x + 1) == 2 / 2**6
    assert paired_permutation_test(x, x) == 1
    assert paired_permutation_test(np.arange(40.0), np.arange(40.0) + 1) == 1 / 10_001
    with pytest.raises(ValueError, match="equal lengths"):
        paired_permutation_test(x, x[:3])


def test_permutation_finds_falsely_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    p = [paired_permutation_test(*generator.normal(size=(2, 10))) for _ in range(600)]
    assert 0.025 <= np.mean(np.array(p) <= 0.05) <= 0.08


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02], atol=1e-12)
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])


def test_effect_sizes_by_hand() -> None:
    x, y = np.array([1.0, 2, 2, 5]), np.array([2.0, 3, 7])
    signs = np.sign(y[:, None] - x)
    assert cliffs_delta(x, y) == pytest.approx(signs.mean(), abs=1e-12)
    assert cliffs_delta(x, x) == 0 and cliffs_delta(x, x + 10) == 1 and cliffs_delta(x, x - 10) == -1
    a, b = np.array([1.0, 2, 3]), np.array([2.0, 4, 6])
    assert paired_d(a, b) == pytest.approx(2.0, abs=1e-12)  # differences 1, 2, 3: mean 2, deviation 1
    assert paired_d(a, a) == 0 and paired_d(a, a - 1) == -math.inf
