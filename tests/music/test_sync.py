"""Sync measures: what is aligned wins, chance is zero, density does not pay."""

import numpy as np
import pytest

from openvmas.music.sync import energy_correlation, hit_rate, sync_of_wave, sync_z

SAMPLE_RATE = 16_000
DURATION = 30.0


def clicks(times: np.ndarray, seed: int = 0) -> np.ndarray:
    """Decaying noise bursts at the times, over faint noise: [L]."""
    rng = np.random.default_rng(seed)
    wave = 1e-3 * rng.standard_normal(round(DURATION * SAMPLE_RATE))
    burst = rng.standard_normal(800) * np.exp(-np.arange(800) / 150)
    for time in times:
        first = round(time * SAMPLE_RATE)
        wave[first : first + 800] += 0.3 * burst[: len(wave) - first]
    return wave.astype(np.float32)


def random_times(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.sort(rng.uniform(0.2, DURATION - 0.3, n))


def test_aligned_clicks_are_far_beyond_chance() -> None:
    beats = random_times(np.random.default_rng(1), 18)
    assert sync_of_wave(clicks(beats), SAMPLE_RATE, beats).z > 7


def test_a_tenth_of_a_second_off_is_not_sync() -> None:
    beats = random_times(np.random.default_rng(1), 18)
    assert sync_of_wave(clicks(beats + 0.1), SAMPLE_RATE, beats).z < 2


def test_chance_has_mean_zero_and_spread_one() -> None:
    scores = []
    rng = np.random.default_rng(2)
    for seed in range(200):
        strength = np.zeros(3000)
        strength[rng.integers(0, 3000, 60)] = rng.uniform(1, 5, 60)
        scores.append(sync_z(strength, random_times(rng, 20), DURATION, seed=seed).z)
    assert abs(np.mean(scores)) < 0.3
    assert 0.8 < np.std(scores) < 1.25


@pytest.mark.parametrize("per_second", [4, 8, 16])
def test_a_dense_click_track_does_not_win(per_second: int) -> None:
    dense = clicks(np.arange(0.1, DURATION - 0.1, 1 / per_second))
    rng = np.random.default_rng(3)
    scores = [sync_of_wave(dense, SAMPLE_RATE, random_times(rng, 18), seed=seed).z for seed in range(12)]
    assert np.mean(scores) < 1.0


def test_a_constant_curve_gives_zero() -> None:
    result = sync_z(np.full(3000, 1.7), np.array([1.0, 5.0, 9.0]), DURATION)
    assert result.z == 0.0
    assert result.observed == pytest.approx(1.7)


@pytest.mark.parametrize("beats", [[], [-1.0], [30.0, 31.0]])
def test_no_beat_inside_gives_zero(beats: list[float]) -> None:
    result = sync_z(np.ones(3000), np.array(beats), DURATION)
    assert (result.z, result.n_beats) == (0.0, 0)


def test_the_same_seed_gives_the_same_number() -> None:
    rng = np.random.default_rng(4)
    strength, beats = rng.uniform(0, 1, 3000), random_times(rng, 10)
    assert sync_z(strength, beats, DURATION, seed=5) == sync_z(strength, beats, DURATION, seed=5)
    assert sync_z(strength, beats, DURATION, seed=5) != sync_z(strength, beats, DURATION, seed=6)


def test_energy_correlation() -> None:
    ramp = np.linspace(0, 1, 100)
    assert energy_correlation(ramp, 0.3 + 0.5 * ramp) == pytest.approx(1)
    assert energy_correlation(ramp, -ramp) == pytest.approx(-1)
    assert energy_correlation(ramp, np.full(100, 0.4)) == 0.0
    assert energy_correlation(ramp, np.append(ramp, [5.0, -5.0])) == pytest.approx(1)


def test_hit_rate() -> None:
    onsets = np.array([1.0, 2.0, 3.0])
    assert hit_rate(np.array([1.08, 2.0, 2.9, 7.0]), onsets) == 0.5
    assert hit_rate(np.array([1.08, 2.0, 2.9, 7.0]), onsets, tolerance=0.1) == 0.75
    assert hit_rate(np.zeros(0), onsets) == 1.0
    assert hit_rate(np.array([1.0]), np.zeros(0)) == 0.0
