"""Craft of a wave: closed forms, and each measure under the damage that it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
from synthetic_pieces import STYLES, synthesise, write_piece

from openvmas.eval.metrics import signal_quality
from openvmas.eval.metrics.signal_quality import (
    bandwidth,
    clipped_share,
    evaluate,
    seam_z,
    silent_share,
    stereo,
    stuck_loop,
)

RATE = 24_000


@pytest.fixture(scope="module")
def piece() -> np.ndarray:
    return synthesise(write_piece("rock", 118, 16), RATE)[None]


def sine(frequency: float, seconds: float = 2.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def low_pass(wave: np.ndarray, frequency: float) -> np.ndarray:
    return scipy.signal.sosfiltfilt(scipy.signal.butter(6, frequency, fs=RATE, output="sos"), wave).astype(np.float32)


def clip(wave: np.ndarray, share: float) -> np.ndarray:
    """Cut off at a share of its peak and turned down again."""
    top = share * float(np.abs(wave).max())
    return 0.7 * np.clip(wave, -top, top) / share


def test_clipped_samples_are_counted() -> None:
    wave = np.zeros(1000)
    wave[:] = sine(441, 1)[:1000]
    assert clipped_share(wave) == 0
    wave[100:110] = 1.0
    assert clipped_share(wave) == pytest.approx(0.01)
    for frequency in (40, 97, 440, 3000):
        assert clipped_share(sine(frequency, level=0.8)) == 0, frequency
    # A sine cut at half its peak is flat for 1 - 2 / π asin(0.5) = 2 / 3 of the time.
    assert clipped_share(0.6 * np.clip(sine(97, level=1.0), -0.5, 0.5)) == pytest.approx(2 / 3, abs=0.01)


def test_clipping_of_music_is_seen_though_turned_down(piece: np.ndarray) -> None:
    shares = [clipped_share(piece), *(clipped_share(clip(piece, share)) for share in (0.7, 0.5, 0.3))]
    assert shares[0] == 0 and (np.diff(shares) > 0).all()


def test_silence_and_band_width_by_hand() -> None:
    wave = np.concatenate([sine(1000, 3), np.zeros(RATE)])
    assert silent_share(wave, RATE) == pytest.approx(0.25)
    assert bandwidth(wave, RATE) == pytest.approx(1000, abs=2 * RATE / 2048)
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    assert bandwidth(noise, RATE) == pytest.approx(0.95 * RATE / 2, rel=0.01)
    assert math.isnan(bandwidth(np.zeros(RATE), RATE)) and silent_share(np.zeros(RATE), RATE) == 1


def test_low_passes_narrow_the_band(piece: np.ndarray) -> None:
    widths = [bandwidth(piece, RATE), *(bandwidth(low_pass(piece, f), RATE) for f in (6000, 3000, 1000))]
    assert (np.diff(widths) < 0).all() and widths[-1] < 1600


def test_stereo_by_hand() -> None:
    left, right = np.random.default_rng(0).normal(size=(2, 100_000))
    assert vars(stereo(np.stack([left, left]))) == pytest.approx({"width": 0, "correlation": 1})
    assert vars(stereo(np.stack([left, -left]))) == pytest.approx({"width": 1, "correlation": -1})
    free = stereo(np.stack([left, right]))
    assert free.width == pytest.approx(0.5, abs=0.01) and free.correlation == pytest.approx(0, abs=0.01)
    assert vars(stereo(left)) == pytest.approx({"width": 0, "correlation": 1})
    assert math.isnan(stereo(np.zeros((2, 10))).width)


def test_loudness_and_true_peak_by_hand() -> None:
    # A full-scale sine of 997 Hz in one channel is -3.01 LUFS (BS.1770), so one of -20 dB in both is -20 LUFS.
    wave = np.stack([sine(997, 3, 0.1)] * 2)
    found = evaluate(wave, RATE)
    assert found["loudness_lufs"] == pytest.approx(-20.0, abs=0.1)
    assert found["true_peak_db"] == pytest.approx(-20.0, abs=0.1)


@pytest.mark.parametrize("style", list(STYLES))
def test_music_has_no_stuck_loop(style: str) -> None:
    assert stuck_loop(synthesise(write_piece(style, 120, 10), RATE), RATE).seconds == 0


@pytest.mark.parametrize("period", [0.5, 1.0, 1.037, 2.5])
def test_a_looped_second_is_found(piece: np.ndarray, period: float) -> None:
    n, start = round(period * RATE), 5 * RATE
    n_times = math.ceil(6 / period)
    stuck = np.concatenate([piece[0, :start], np.tile(piece[0, start : start + n], n_times), piece[0, start + n :]])
    found = stuck_loop(stuck, RATE)
    assert found.seconds == pytest.approx((n_times - 1) * period, abs=0.4)
    # A multiple of the period fits as well, but for less time.
    assert found.period == pytest.approx(period, abs=0.02)
    noisy = stuck + np.random.default_rng(0).normal(0, 1e-3, len(stuck))
    assert stuck_loop(noisy, RATE).seconds > 0.7 * (n_times - 1) * period


def test_held_chords_and_noise_are_no_loops() -> None:
    chord = sine(220, 8) + sine(277.2, 8) + sine(329.6, 8)
    assert stuck_loop(chord, RATE).seconds == 0
    assert stuck_loop(np.random.default_rng(0).normal(0, 0.1, 8 * RATE), RATE).seconds == 0
    assert stuck_loop(np.zeros(8 * RATE), RATE).seconds == 0
    assert stuck_loop(np.zeros(10), RATE).seconds == 0


def test_seams_at_the_borders_of_windows() -> None:
    strings = synthesise(write_piece("strings", 80, 40), RATE)
    n = round(2.6 * RATE)
    pieces = [strings[i : i + n] for i in range(0, len(strings) - n, n)]
    order = np.random.default_rng(0).permutation(len(pieces))
    cut = np.concatenate([pieces[i] for i in order])
    assert abs(seam_z(strings, RATE, 2.6)) < 3
    assert seam_z(cut, RATE, 2.6) > seam_z(strings, RATE, 2.6) + 2
    dropped = strings.copy()
    for i in range(n, len(strings) - 500, n):
        dropped[i : i + 480] = 0  # a hole of 20 ms
    assert seam_z(dropped, RATE, 2.6) > 4
    assert abs(seam_z(dropped, RATE, 3.1)) < 3.5
    assert math.isnan(seam_z(strings[:RATE], RATE, 2.6))


def test_bad_waves_are_refused() -> None:
    with pytest.raises(ValueError, match="one or two channels"):
        signal_quality.validate(np.zeros((3, 100)))
    with pytest.raises(ValueError, match="finite"):
        clipped_share(np.array([0.0, np.nan]))


def test_silence_is_measured_without_a_word() -> None:
    found = evaluate(np.zeros((2, 3 * RATE)), RATE, interval=1.0)
    assert found["silent_share"] == 1 and found["clipped_share"] == 0 and found["loop_seconds"] == 0
    assert found["loudness_lufs"] == -math.inf and math.isnan(found["bandwidth"])
