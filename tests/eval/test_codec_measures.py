"""Measures of a codec on sounds whose answer is known."""

import numpy as np
import pytest
from codec_measures import (
    BANDS,
    band_gains,
    band_slices,
    border_flux,
    chroma,
    chroma_correlation,
    code_use,
    find_onsets,
    fine_correlations,
    fundamental,
    level_ratio,
    magnitudes,
    match_onsets,
    snr_db,
)

RATE = 32_000
TIME = np.arange(4 * RATE) / RATE


def tone(frequency: float, seconds: float = 4.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * TIME[: round(seconds * RATE)] + 0.3)).astype(np.float32)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)


def test_a_full_scale_sine_has_magnitude_one():
    spectrum = magnitudes(2 * tone(1000))
    assert spectrum.shape == (4 * RATE // 512 + 1, 1025)
    assert spectrum[10:-10].max() == pytest.approx(1, abs=0.01) and spectrum[100].argmax() == 64


def test_level_and_noise(noise):
    assert level_ratio(noise, 0.5 * noise) == pytest.approx(0.5)
    assert snr_db(noise, 0.9 * noise) == pytest.approx(20, abs=1e-3)
    assert snr_db(noise, noise) == pytest.approx(120)
    assert np.isnan(level_ratio(np.zeros(10), noise[:10])) and np.isnan(snr_db(np.zeros(10), noise[:10]))


def test_fine_spectrum_does_not_hear_level_but_noise(noise):
    spectrum = magnitudes(noise)
    softer = list(fine_correlations(spectrum, 0.5 * spectrum, RATE))
    assert softer  # else nothing below is asked
    for half in softer:
        assert half.shape == (len(BANDS),) and np.all(half > 0.99)
    other = magnitudes(np.random.default_rng(1).normal(0, 0.1, len(noise)).astype(np.float32))
    for strange in fine_correlations(spectrum, other, RATE):
        assert np.all(np.abs(strange) < 0.05)


def test_one_band_lost_is_seen_in_that_band_only(noise):
    spectrum = magnitudes(noise)
    damaged = spectrum.copy()
    lost = band_slices(1025, RATE)[2]
    damaged[:, lost] = 0
    for found in fine_correlations(spectrum, damaged, RATE):
        assert found[2] == 0 and np.all(np.delete(found, 2) > 0.999)
    gains = band_gains(spectrum, damaged, RATE)
    assert gains[2] < -40 and np.allclose(np.delete(gains, 2), 0, atol=1e-6)
    assert band_gains(spectrum, 2 * spectrum, RATE) == pytest.approx(np.full(5, 6.02), abs=0.01)


def test_gain_of_what_nobody_hears_is_nothing(noise):
    hum = magnitudes(tone(250, 2))[4:-4]
    assert np.abs(band_gains(hum, hum + 1e-6 * magnitudes(noise)[4:-4], RATE)).max() < 0.1


def test_what_is_masked_counts_only_in_the_first_definition(noise):
    # Noise 60 dB under a tone: above the clip's floor, under the frame's.
    loud = tone(250, 2)
    other = np.random.default_rng(1).normal(0, 0.1, len(noise)).astype(np.float32)
    reference = magnitudes(loud + noise * 3e-2)[4:-4]
    estimated = magnitudes(loud + other * 3e-2)[4:-4]
    whole, audible = fine_correlations(reference, estimated, RATE)
    assert np.all(np.abs(whole[2:]) < 0.1) and np.all(np.isnan(audible[2:]))
    assert audible[0] > 0.95


def test_added_sound_in_an_empty_band_counts_as_nothing_kept():
    reference = magnitudes(tone(250, 2))
    estimated = magnitudes(tone(250, 2) + tone(7000, 2) * np.linspace(0, 1, 2 * RATE, dtype=np.float32))
    whole, audible = fine_correlations(reference[4:-4], estimated[4:-4], RATE)
    assert audible[3] == 0 and np.isnan(audible[4]) and np.isnan(whole[4])


def test_chroma_names_the_pitch_class():
    classes = chroma(tone(261.63), RATE)[8:-8].mean(0)
    assert classes.argmax() == 0  # C
    assert chroma(tone(440), RATE)[8:-8].mean(0).argmax() == 9  # A
    assert chroma(tone(880), RATE)[8:-8].mean(0).argmax() == 9


def test_chroma_correlation():
    chord = sum(tone(f) for f in (261.63, 329.63, 392.0))
    other = sum(tone(f) for f in (277.18, 349.23, 415.3))  # a semitone higher
    wanted = chroma(chord, RATE)
    assert chroma_correlation(wanted, 0.3 * wanted) == pytest.approx(1, abs=1e-4)
    assert chroma_correlation(wanted, chroma(other, RATE)) < 0
    assert np.isnan(chroma_correlation(np.zeros((5, 12)), wanted[:5]))
    assert chroma_correlation(wanted, np.zeros_like(wanted)) == pytest.approx(0, abs=1e-6)


def clicks(times: np.ndarray) -> np.ndarray:
    wave = np.zeros(6 * RATE, np.float32)
    burst = np.random.default_rng(2).normal(0, 0.3, 1600) * np.exp(-np.arange(1600) / 300)
    for time in times:
        start = round(time * RATE)
        wave[start : start + 1600] += burst.astype(np.float32)
    return wave


def test_onsets_that_move_or_go_are_counted():
    times = np.arange(0.5, 5.5, 0.5)
    reference = find_onsets(clicks(times), RATE)
    assert len(reference.times) == 10 and np.all(reference.strengths > 3)
    same = match_onsets(reference, find_onsets(0.3 * clicks(times), RATE))
    assert same.n_strong == same.n_kept == 10 and same.kept == 1 and same.shifts.max() < 0.001
    moved = np.concatenate([times[:5] + 0.020, times[5:8]])  # five are late, two are gone
    found = match_onsets(reference, find_onsets(clicks(moved), RATE))
    assert found.n_kept == 3 and len(found.shifts) == 8 and found.n_added == 0
    assert np.sort(found.shifts)[-5:] == pytest.approx(0.020, abs=0.004)
    added = match_onsets(reference, find_onsets(clicks(np.append(times, 1.75)), RATE))
    assert added.n_kept == 10 and added.n_added == 1
    assert np.isnan(match_onsets(find_onsets(np.zeros(RATE), RATE), reference).kept)


@pytest.mark.parametrize("frequency", [55.3, 219.7, 441.9, 1760.4])
def test_pitch_is_exact_to_a_tenth_of_a_cent(frequency):
    time = TIME[: round(0.64 * RATE)]
    wave = sum(np.sin(2 * np.pi * k * frequency * time + k) / k for k in range(1, 8)) * 0.3
    found = fundamental(wave, RATE, frequency * 2 ** (37 / 1200))
    assert 1200 * np.log2(found / frequency) == pytest.approx(0, abs=0.1)
    assert 1200 * np.log2(fundamental(wave, RATE, frequency * 1.001) / frequency) == pytest.approx(0, abs=0.1)


def test_silence_has_no_pitch():
    assert np.isnan(fundamental(np.zeros(RATE), RATE, 440))


def test_codebook_use():
    codes = np.array([[0, 1, 2, 3] * 25, [7] * 100])
    even, single = code_use(codes, 8)
    assert even.entries == 4 and even.perplexity == pytest.approx(4) and even.perplexity_share == pytest.approx(0.5)
    assert single.entries == 1 and single.perplexity == pytest.approx(1) and single.entries_share == 0.125


def test_a_seam_is_heard_at_its_border(noise):
    borders = np.arange(1, 4) * RATE // 2
    wave = tone(440, 2) + 1e-3 * noise
    assert border_flux(wave, borders) == pytest.approx(1, abs=0.2)
    broken = wave.copy()
    for border in borders:
        broken[border:] *= -1  # the wave turns over: a click
    assert border_flux(broken, borders) > 3
    assert np.isnan(border_flux(wave, np.arange(0, len(wave), 100)))
