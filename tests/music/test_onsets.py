"""Onsets: where they are, that level does not matter, and that they are found in music whose notes are known."""

from fractions import Fraction

import mir_eval
import numpy as np
import pytest
from synthetic_pieces import synthesise, write_piece

from openvmas.music.onsets import ONSET_RATE, onset_strength, pick_onsets, take_spectrogram, to_mono
from openvmas.timeline import Clock


def impulses(sample_rate: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Single samples at times that lie anywhere between frames, in faint noise."""
    rng = np.random.default_rng(0)
    wave = noise * rng.standard_normal(8 * sample_rate).astype(np.float32)
    index = np.rint(np.arange(0.5, 7.6, 0.3771) * sample_rate).astype(int)
    wave[index] += 0.5
    return wave.astype(np.float32), index / sample_rate


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
def test_an_impulse_is_found_within_10_ms(sample_rate: int, noise: float) -> None:
    wave, times = impulses(sample_rate, noise)
    found = pick_onsets(onset_strength(wave, sample_rate))
    found = found[found > 0.2]  # where the noise begins is an onset too
    assert len(found) == len(times)
    assert np.abs(found - times).max() <= 0.010


@pytest.mark.parametrize("sample_rate", [32_000, 44_100])
@pytest.mark.parametrize("duration", [Fraction(1, 3), Fraction(7, 2), Fraction(1001, 240)])
def test_there_is_a_frame_for_every_hundredth(sample_rate: int, duration: Fraction) -> None:
    wave = np.zeros(int(duration * sample_rate), np.float32)
    expected = Clock(ONSET_RATE).count(Fraction(len(wave), sample_rate))
    assert onset_strength(wave, sample_rate).shape == (expected,)


@pytest.mark.parametrize("gain_db", [-60, -30, -6])
def test_level_does_not_matter(gain_db: float) -> None:
    wave = synthesise(write_piece("rock", 120, 8))
    loud, quiet = onset_strength(wave, 24_000), onset_strength(wave * np.float32(10 ** (gain_db / 20)), 24_000)
    np.testing.assert_allclose(quiet, loud, atol=0.02)


def test_a_quiet_part_beside_a_loud_one_keeps_its_onsets() -> None:
    wave = synthesise(write_piece("rock", 120, 30))
    half = len(wave) // 2
    wave[half:] *= 0.05
    found = pick_onsets(onset_strength(wave, 24_000))
    quiet, loud = (found > half / 24_000 + 4).sum(), (found < half / 24_000 - 4).sum()
    assert quiet > 0.7 * loud


def test_silence_and_steady_sounds_have_no_onsets() -> None:
    t = np.arange(48_000 * 5) / 48_000
    hum = sum(0.1 * np.sin(2 * np.pi * 110 * k * t) / k for k in range(1, 6))
    vibrato = 0.3 * np.sin(2 * np.pi * 440 * t + 2.3 * np.sin(2 * np.pi * 5.5 * t))  # half a semitone each way
    assert len(pick_onsets(onset_strength(np.zeros(48_000 * 5, np.float32), 48_000))) == 0
    for wave in (hum, vibrato):
        found = pick_onsets(onset_strength(wave.astype(np.float32), 48_000))
        assert len(found[(found > 0.1) & (found < 4.9)]) <= 1


@pytest.mark.parametrize(
    ("style", "least"), [("rock", 0.9), ("ballad", 0.9), ("swing", 0.9), ("waltz", 0.85), ("electronic", 0.75)]
)
def test_notes_are_found(style: str, least: float) -> None:
    piece = write_piece(style, 110, 20, seed=3)
    found = pick_onsets(onset_strength(synthesise(piece), 24_000))
    assert mir_eval.onset.f_measure(piece.onsets, found, window=0.05)[0] >= least


def test_bad_shapes_are_refused_and_bad_numbers_are_silence() -> None:
    with pytest.raises(ValueError, match="channels first"):
        to_mono(np.zeros((1000, 2)), 24_000)
    with pytest.raises(ValueError, match=r"\[C, L\]"):
        to_mono(np.zeros((2, 2, 100)), 24_000)
    wave = np.full(24_000, np.nan, np.float32)
    assert not onset_strength(wave, 24_000).any()


def test_power_is_k_weighted() -> None:
    """BS.1770: a 997 Hz sine of full scale in one channel reads -3.01 LUFS."""
    t = np.arange(48_000 * 2) / 48_000
    power = take_spectrogram(np.sin(2 * np.pi * 997 * t).astype(np.float32), 48_000).power[50:150].mean()
    assert -0.691 + 10 * np.log10(power) == pytest.approx(-3.01, abs=0.1)
