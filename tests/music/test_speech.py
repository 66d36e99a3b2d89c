"""The speech detector on spoken sentences (espeak-ng), alone and over music, and on what is not speech."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from synthetic_pieces import STYLES, synthesise, write_piece

from openvmas.music import speech
from openvmas.music.speech import find_speech
from openvmas.timeline import Clock

SPOKEN = ((1.0, 6.4916), (7.9916, 11.4847))  # s, where the sentences of speech.ogg lie
RATE = 16_000


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    wave, rate = soundfile.read(Path(__file__).parents[1] / "data" / "speech.ogg", dtype="float32")
    assert rate == RATE
    return wave


def shares(curve: np.ndarray) -> tuple[float, float]:
    """The share found of what is spoken, and of what is not (a tenth of a second beside it does not count)."""
    times = np.arange(len(curve)) / 50
    inside = np.any([(times >= start) & (times < end) for start, end in SPOKEN], axis=0)
    near = np.any([(times >= start - 0.1) & (times < end + 0.1) for start, end in SPOKEN], axis=0)
    return float((curve[inside] > 0.5).mean()), float((curve[~near] > 0.5).mean())


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_sentences_are_found_at_any_rate(spoken: np.ndarray, rate: int) -> None:
    wave = soxr.resample(spoken, RATE, rate)
    curve = find_speech(np.stack([wave, 0.5 * wave]), rate)
    found, false = shares(curve)
    assert len(curve) == Clock(Fraction(50)).count(Fraction(len(wave), rate))
    assert found >= 0.9
    assert false <= 0.05


@pytest.mark.parametrize("snr_db", [20, 10, 5])
def test_sentences_are_found_over_music(spoken: np.ndarray, snr_db: float) -> None:
    music = synthesise(write_piece("swing", 110, 20), RATE)[: len(spoken)]
    gain = 0.06 / float(np.sqrt(np.mean(music**2))) / 10 ** (snr_db / 20)
    found, false = shares(find_speech(spoken + gain * music, RATE))
    assert found >= 0.85
    assert false <= 0.1


def test_instruments_are_not_speech() -> None:
    curves = [find_speech(synthesise(write_piece(style, 100, 20), RATE), RATE) for style in STYLES]
    assert float((np.concatenate(curves) > 0.5).mean()) <= 0.03


def test_noise_and_silence_are_not_speech() -> None:
    rng = np.random.default_rng(0)
    for wave in (np.zeros(10 * RATE), 0.1 * rng.standard_normal(10 * RATE), 1e-5 * rng.standard_normal(10 * RATE)):
        assert find_speech(wave.astype(np.float32), RATE).max() < 0.3


@pytest.mark.parametrize("gain_db", [-30, -20, 10])
def test_level_hardly_matters(spoken: np.ndarray, gain_db: float) -> None:
    found, false = shares(find_speech(np.clip(spoken * np.float32(10 ** (gain_db / 20)), -1, 1), RATE))
    assert found >= 0.85
    assert false <= 0.05


@pytest.mark.parametrize("size", [777, 16_000, 400_000])
def test_blocks_give_what_the_whole_gives(spoken: np.ndarray, size: int) -> None:
    long = np.tile(spoken, 4)  # more than two chunks of the network
    blocks = (long[None, first : first + size] for first in range(0, len(long), size))
    np.testing.assert_allclose(find_speech(blocks, RATE), find_speech(long, RATE), atol=1e-5)


def test_resampled_blocks_give_what_the_whole_gives(spoken: np.ndarray) -> None:
    wave = soxr.resample(spoken, RATE, 44_100)
    blocks = (wave[first : first + 5_000] for first in range(0, len(wave), 5_000))
    np.testing.assert_allclose(find_speech(blocks, 44_100), find_speech(wave, 44_100), atol=0.02)


def test_chunks_join_without_a_seam(spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's answers do not depend on where the sound is divided (lifting aside)."""
    detect: Callable[[np.ndarray], np.ndarray] = lambda wave: np.concatenate(  # noqa: E731
        list(speech._detect(speech._features([wave])))
    )
    wave = np.tile(spoken, 2)
    whole = detect(wave)
    monkeypatch.setattr(speech, "CHUNK", 300)
    np.testing.assert_allclose(detect(wave), whole, atol=1e-4)


def test_memory_does_not_grow_with_length() -> None:
    n_seen = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal n_seen
        rng = np.random.default_rng(1)
        for _ in range(120):
            n_seen += 1
            yield (0.01 * rng.standard_normal((2, RATE))).astype(np.float32)

    taken = []
    for chunk in speech._features(speech._resample(speech._Counter(blocks()), RATE)):
        taken.append((n_seen, len(chunk)))
    assert [frames for _, frames in taken[:-1]] == [speech.CHUNK] * (len(taken) - 1)
    assert taken[0][0] <= 21, "the first 20 s are answered before the rest is read"


@pytest.mark.parametrize("n", [0, 1, 100, 399, 400, 5_000])
def test_short_waves(n: int) -> None:
    curve = find_speech(np.zeros(n, np.float32), RATE)
    assert curve.shape == (-(-n * 50 // RATE),)
    assert np.isfinite(curve).all() and curve.max(initial=0.0) < 0.2


def test_a_wave_with_channels_last_is_refused() -> None:
    with pytest.raises(ValueError, match="channels first"):
        find_speech(np.zeros((1000, 2), np.float32), RATE)
