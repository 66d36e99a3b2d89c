"""The yardsticks of bench/fad.py: what Opus and shaped noise do to a known sound."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

RATE = 32_000


@pytest.fixture(scope="module")
def fad():
    spec = importlib.util.spec_from_file_location("bench_fad", Path(__file__).parents[2] / "bench" / "fad.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tones():
    t = np.arange(4 * RATE) / RATE
    wave = sum(np.sin(2 * np.pi * f * t) / (i + 1) for i, f in enumerate((220, 440, 1500)))
    return (0.2 * wave * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def test_level_is_brought_to_one(fad, tones):
    levelled = fad.to_level(tones * 0.01)
    assert 10 * np.log10(np.mean(levelled.astype(float) ** 2)) == pytest.approx(fad.LEVEL, abs=1e-3)
    assert not fad.to_level(np.zeros(100, np.float32)).any()


@pytest.mark.parametrize(("kbps", "least"), [(16, 15.0), (64, 20.0)])
def test_opus_keeps_tones(fad, tones, kbps, least):
    coded, rate = fad.through_opus(tones, RATE, kbps)
    assert rate == 48_000 and abs(len(coded) / rate - 4) < 0.05
    reference = np.interp(np.arange(4 * 48_000) / 48_000, np.arange(len(tones)) / RATE, tones)
    middle = slice(48_000, 3 * 48_000)
    error = min(
        np.mean((reference[middle] - np.roll(coded, shift)[: len(reference)][middle]) ** 2)
        for shift in range(-400, 400)
    )
    assert 10 * np.log10(np.mean(reference[middle] ** 2) / error) > least


def test_shaped_noise_has_the_spectrum_and_nothing_else(fad, tones):
    noise, rate = fad.shaped_noise(tones, RATE)
    assert rate == RATE and noise.shape == tones.shape

    def bands(wave):
        power = np.abs(np.fft.rfft(wave)) ** 2
        edges = (np.array([100, 300, 600, 1200, 2000]) * len(wave) / RATE).astype(int)
        share = np.add.reduceat(power, edges)[:4]
        return share / share.sum()

    np.testing.assert_allclose(bands(noise), bands(tones), atol=0.12)
    assert abs(np.corrcoef(noise, tones)[0, 1]) < 0.1


def test_files_are_spread_over_a_folder(fad, tmp_path):
    for i in range(10):
        (tmp_path / f"{i:02d}.wav").touch()
    (tmp_path / "notes.txt").touch()
    assert [path.stem for path in fad.audio_files(tmp_path, 5)] == ["00", "02", "04", "06", "08"]
    assert len(fad.audio_files(tmp_path, 50)) == 10
