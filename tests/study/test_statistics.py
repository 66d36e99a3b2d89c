"""Shares, strengths, ratings and agreement against closed forms, published examples and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from openvmas.errors import OptionError
from openvmas.study.listener_statistics import (
    fit_mixed,
    fit_strengths,
    krippendorff_alpha,
    preference_share,
    resampled_strengths,
    strengths,
    wilson,
)  # fmt: skip
from openvmas.study.power import draw_points, preference_needs, rating_needs
from openvmas.study.results import differences

pytestmark = pytest.mark.slow

PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
BAND = (0.915, 0.98)  # of 300 intervals of 95 %: 0.95 +- 2.8 standard errors


def test_wilson_is_that_of_scipy_and_of_the_paper() -> None:
    for k, n in ((0, 10), (7, 10), (61, 100), (100, 100)):
        expected = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert all(math.isnan(limit) for limit in wilson(0.5, 0))


def test_a_share_without_likeness_is_wilsons_with_t() -> None:
    counts = np.zeros((400, 3))
    counts[np.arange(400), (np.arange(400) % 5 >= 3).astype(int)] = 1  # one answer each: 60 %
    found = preference_share("a", "b", counts)
    assert (found.share.value, found.n, found.n_ties, found.n_listeners) == (0.6, 400, 0, 400)
    assert found.design_effect == pytest.approx(400 / 399)
    assert found.share.low == pytest.approx(wilson(0.6, 400)[0], abs=1e-3)
    assert found.p < 0.001
    assert preference_share("a", "b", np.repeat([[2.0, 2, 3]], 5, axis=0)).share.value == 0.5
    assert preference_share("a", "b", np.zeros((4, 3))).n == 0


def test_alike_answers_of_a_listener_count_as_one() -> None:
    counts = np.zeros((40, 3))
    counts[:24, 0], counts[24:, 1] = 10, 10  # everybody always says the same: 40 answers, not 400
    found = preference_share("a", "b", counts)
    assert found.design_effect == pytest.approx(10 * 40 / 39)
    assert found.share.high - found.share.low > 0.28


def test_intervals_of_shares_cover_where_tastes_differ() -> None:
    generator = np.random.default_rng(0)
    hits = naive = 0
    for _ in range(300):
        points = draw_points(generator, 0.6, 0.25, (30,), 6)
        counts = np.stack([points, 6 - points, np.zeros(30)], axis=1)
        found = preference_share("a", "b", counts).share
        hits += found.low <= 0.6 <= found.high
        low, high = wilson(points.sum() / 180, 180)
        naive += low <= 0.6 <= high
    assert BAND[0] <= hits / 300 <= BAND[1]
    assert naive / 300 < 0.9  # which is why listeners are counted


def likelihood(beta: np.ndarray, table: np.ndarray, pairs: list[tuple[int, int]]) -> float:
    """Davidson's log-likelihood as in his paper, by hand."""
    total, worth, nu = 0.0, np.exp(beta[:-1]), math.exp(beta[-1])
    for (i, j), (win, lose, tie) in zip(pairs, table, strict=True):
        both = nu * math.sqrt(worth[i] * worth[j])
        whole = worth[i] + worth[j] + both
        total += win * math.log(worth[i] / whole) + lose * math.log(worth[j] / whole) + tie * math.log(both / whole)
    return total


def test_strengths_maximise_davidsons_likelihood() -> None:
    generator = np.random.default_rng(1)
    table = generator.integers(1, 30, (6, 3)).astype(float)
    values, tie = fit_strengths(table, PAIRS, 4)
    prior = table + np.array([0.2, 0.2, 0.1])
    best = optimize.minimize(lambda beta: -likelihood(beta, prior, PAIRS), np.zeros(5), method="BFGS").x
    assert values == pytest.approx(best[:4] - best[:4].mean(), abs=1e-3)
    assert float(tie) == pytest.approx(best[4], abs=1e-3)
    assert values.sum() == pytest.approx(0, abs=1e-12)


def test_two_systems_have_a_closed_form_and_a_landslide_stays_finite() -> None:
    values, tie = fit_strengths(np.array([[3000.0, 1000, 500]]), [(0, 1)], 2)
    assert values[0] - values[1] == pytest.approx(math.log(3), abs=1e-3)
    assert math.exp(float(tie)) == pytest.approx(500 / math.sqrt(3000 * 1000), abs=1e-3)
    values, _ = fit_strengths(np.array([[40.0, 0, 0]]), [(0, 1)], 2)
    assert 3 < values[0] - values[1] < 8


def draw_counts(generator: np.random.Generator, n_listeners: int, truth: np.ndarray, spread: float) -> np.ndarray:
    """[listeners, 6, 3] of listeners whose strengths differ from the truth, two answers to each pair, nu 0.4."""
    own = truth + spread * generator.standard_normal((n_listeners, 4))
    i, j = np.array(PAIRS).T
    weights = np.stack([np.exp(own[:, i]), np.exp(own[:, j]), 0.4 * np.exp((own[:, i] + own[:, j]) / 2)], axis=-1)
    return generator.multinomial(2, weights / weights.sum(axis=-1, keepdims=True)).astype(float)


def test_intervals_of_strengths_cover() -> None:
    generator = np.random.default_rng(2)
    truth = np.array([0.6, 0.2, -0.2, -0.6])
    # Tastes that differ flatten what a whole population says: what is covered is the population's own strength.
    population, _ = fit_strengths(draw_counts(generator, 200_000, truth, 0.6).sum(axis=0), PAIRS, 4)
    hits = np.zeros(4)
    for run in range(300):
        draws = resampled_strengths(draw_counts(generator, 40, truth, 0.6), PAIRS, 4, 200, run)
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        hits += (low <= population) & (population <= high)
    assert (hits / 300 >= BAND[0] - 0.01).all() and (hits / 300 <= BAND[1]).all(), hits / 300


def test_strengths_say_who_is_best() -> None:
    counts = draw_counts(np.random.default_rng(3), 300, np.array([0.8, 0.0, 0.0, -0.8]), 0.3)
    found = strengths(counts, PAIRS, 4, n_resamples=300)
    assert found.values.argmax() == 0 and found.best[0] > 0.99 and found.values.argmin() == 3
    assert (found.low < found.values).all() and (found.values < found.high).all()
    assert found.tie == pytest.approx(0.4, abs=0.1)


def test_mixed_model_is_the_analysis_of_variance_where_that_is_exact() -> None:
    generator = np.random.default_rng(4)
    n_listeners, n_each = 12, 7
    table = 3 + generator.normal(0, 1, (n_listeners, 1)) + generator.normal(0, 0.6, (n_listeners, n_each))
    listeners = np.repeat(np.arange(n_listeners), n_each)
    fit = fit_mixed(table.ravel(), np.ones((table.size, 1)), [listeners])
    within = table.var(axis=1, ddof=1).mean()
    between = n_each * table.mean(axis=1).var(ddof=1)
    assert fit.variances == pytest.approx([(between - within) / n_each, within], rel=2e-3)
    assert fit.coefficients[0] == pytest.approx(table.mean())
    assert fit.covariance[0, 0] == pytest.approx(between / table.size, rel=2e-3)
    found = fit.contrast(np.array([1.0]))
    exact = stats.ttest_1samp(table.mean(axis=1), 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), rel=1e-3)


def test_mixed_model_without_likeness_is_least_squares() -> None:
    generator = np.random.default_rng(5)
    columns, values = np.arange(90) % 3, generator.normal(size=90)
    values -= np.array([values[i::30].mean() for i in range(30)])[np.arange(90) % 30]  # listeners are exactly alike
    fit = fit_mixed(values, np.eye(3)[columns], [np.arange(90) % 30])
    assert fit.variances[0] == 0
    assert fit.coefficients == pytest.approx([values[columns == i].mean() for i in range(3)])


def test_intervals_of_means_cover_listeners_and_clips() -> None:
    generator = np.random.default_rng(6)
    n_listeners, n_clips, truth = 24, 8, np.array([2.5, 3.0, 3.6, 3.2])
    listeners, columns = np.repeat(np.arange(n_listeners), 4), np.tile(np.arange(4), n_listeners)
    clips = (listeners + columns) % n_clips
    hits = np.zeros(4)
    for _ in range(300):
        values = truth[columns] + generator.normal(0, 0.5, n_listeners)[listeners]
        values = values + generator.normal(0, 0.3, n_clips)[clips] + generator.normal(0, 0.7, len(columns))
        fit = fit_mixed(values, np.eye(4)[columns], [listeners, clips])
        for i, row in enumerate(np.eye(4)):
            found = fit.contrast(row)
            hits[i] += found.low <= truth[i] <= found.high
    assert (hits / 300 >= BAND[0] - 0.01).all() and (hits / 300 <= BAND[1] + 0.01).all(), hits / 300


def test_differences_are_paired_by_listener() -> None:
    generator = np.random.default_rng(7)
    listeners, columns = np.repeat(np.arange(20), 2), np.tile([0, 1], 20)
    values = generator.normal(0, 3, 20)[listeners] + columns * 0.5 + generator.normal(0, 0.2, 40)
    (found,) = differences(values, columns, listeners, ["a", "b"], ["a", "b"])
    exact = stats.ttest_rel(values[1::2], values[::2]).confidence_interval(0.95)
    assert (found.value.low, found.value.high) == pytest.approx((exact.low, exact.high))
    assert found.n_listeners == 20 and found.p < 0.001
    assert differences(values[:2], columns[:2], listeners[:2], ["a", "b"], ["a", "b"]) == ()


def test_alpha_is_that_of_krippendorffs_worked_example() -> None:
    """Krippendorff 2011, section C: four observers, twelve units, missing data: 0.743 nominal, 0.815 ordinal."""
    rows = ["123321412...", "123322412 5.3".replace(" ", ""), ".3332342251.", "12332441251."]
    found = [(unit, int(value)) for row in rows for unit, value in enumerate(row) if value != "."]
    units, values = (np.array(column) for column in zip(*found, strict=True))
    assert krippendorff_alpha(units, values, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(units, values, "ordinal") == pytest.approx(0.815, abs=5e-4)


def test_alpha_knows_agreement_chance_and_nothing() -> None:
    generator = np.random.default_rng(8)
    units = np.repeat(np.arange(400), 5)
    assert krippendorff_alpha(units, units % 4, "ordinal") == pytest.approx(1)
    assert krippendorff_alpha(units, generator.integers(0, 4, 2000), "nominal") == pytest.approx(0, abs=0.03)
    assert math.isnan(krippendorff_alpha(units, np.ones(2000), "nominal"))
    assert math.isnan(krippendorff_alpha(np.arange(5), np.arange(5), "nominal"))
    with pytest.raises(ValueError, match="nominal or ordinal"):
        krippendorff_alpha(units, units, "ratio")


def test_the_power_asked_for_is_the_power_simulated() -> None:
    for needs in (
        preference_needs(0.6, 0.1, trials=(1, 6)),
        preference_needs(0.35, 0.3, power=0.9, comparisons=6, trials=(4,)),
        rating_needs(0.3, trials=(1, 4)),
    ):
        for need in needs:
            wanted = 0.9 if len(needs) == 1 else 0.8
            assert wanted - 0.03 <= need.simulated <= wanted + 0.05, need
    # The textbook's number: 0.6 against 0.5 at 5 % and 80 % power needs 194 independent answers.
    assert preference_needs(0.6, 0.0, trials=(1,))[0].n_listeners in range(194, 199)
    # Nothing to find: the level of the test is what is found.
    (fair,) = rating_needs(0.3, trials=(1,), alpha=0.05)
    assert fair.n_listeners == pytest.approx((1.96 + 0.8416) ** 2 * (0.25 + 2 * 0.81) / 0.09, rel=0.02)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 0.5}, "such as"),
        ({"choice_correlation": 1.0}, "correlation"),
        ({"alpha": 0.0}, "alpha"),
        ({"power": 1.0}, "power"),
        ({"comparisons": 0}, "comparisons"),
        ({"share": 0.5011}, "100000"),
    ],
)
def test_power_refuses_what_makes_no_sense(values: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        preference_needs(**{"share": 0.6, **values})


def test_shares_of_variance_are_the_whole() -> None:
    """What the effects add to the variance of a mean is what the covariance says without the rest (homogeneity)."""
    generator = np.random.default_rng(9)
    listeners, clips = np.repeat(np.arange(15), 4), np.tile(np.arange(4), 15)
    columns = (listeners + clips) % 3
    values = generator.normal(0, 1, 15)[listeners] + generator.normal(0, 0.5, 4)[clips] + generator.normal(0, 1, 60)
    fixed = np.eye(3)[columns]
    fit = fit_mixed(values, fixed, [listeners, clips])
    members = np.hstack([np.eye(15)[listeners], np.eye(4)[clips]])
    effects = np.repeat(fit.variances[:2], [15, 4])
    whole = members @ np.diag(effects) @ members.T + fit.variances[2] * np.eye(60)
    inverse = np.linalg.inv(fixed.T @ np.linalg.solve(whole, fixed))
    assert fit.covariance == pytest.approx(inverse, rel=1e-6)
    assert fit.influence == pytest.approx(members.T @ np.linalg.solve(whole, fixed) @ inverse, abs=1e-9)
