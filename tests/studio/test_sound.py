"""Music on its way to a browser: what is read is what was written, at any cut."""

from __future__ import annotations

import io
import wave as wave_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.studio.storage.take_sound import (
    HEADER,
    PEAKS_RATE,
    SoundWriter,
    TakeSound,
    n_written,
    peaks_of_file,
    read_wave,
    thin_peaks,
    to_pcm,
    wav_header,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("sound")
    wave = np.random.default_rng(1).uniform(-0.9, 0.9, (2, 100_003)).astype(np.float32)
    writer = SoundWriter(folder / "m.f32", folder / "p.f32")
    for start, stop in ((0, 7), (7, 50_000), (50_000, 50_000), (50_000, 100_003)):
        writer.write(wave[:, start:stop])
        assert n_written(folder / "m.f32") == stop  # heard at once
    writer.close()
    return folder / "m.f32", folder / "p.f32", wave


def test_samples_come_back(written: tuple[Path, Path, np.ndarray]) -> None:
    path, _, wave = written
    np.testing.assert_array_equal(read_wave(path, 0, 10**9), wave)
    np.testing.assert_array_equal(read_wave(path, 90_000, 90_010), wave[:, 90_000:90_010])
    assert read_wave(path, 200_000, 200_010).shape == (2, 0)


def test_the_wav_file_is_one_that_others_read(written: tuple[Path, Path, np.ndarray]) -> None:
    path, _, wave = written
    data = TakeSound(path, 0, 100_003).read(0, 10**9)
    with wave_module.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 48_000, 2)
        samples = np.frombuffer(file.readframes(10**6), "<i2").reshape(-1, 2).T
    assert np.abs(samples / 32767 - wave).max() <= 0.51 / 32767


@given(st.integers(0, 400_056), st.integers(0, 5000))
@settings(max_examples=60, deadline=None)
def test_any_range_of_bytes_is_that_of_the_whole(
    written: tuple[Path, Path, np.ndarray], start: int, length: int
) -> None:
    path, _, wave = written
    whole = wav_header(100_003) + to_pcm(wave)
    assert TakeSound(path, 0, 100_003).read(start, start + length) == whole[start : start + length]


def test_a_growing_file_gives_what_it_has(tmp_path: Path) -> None:
    assert n_written(tmp_path / "none") == 0
    (tmp_path / "part").write_bytes(bytes(8 * 5 + 3))  # a block of which the last sample is not there yet
    assert n_written(tmp_path / "part") == 5
    assert len(TakeSound(tmp_path / "part", 0, 100).read(0, 10**6)) == HEADER + 5 * 4


def test_too_loud_is_clipped_and_not_wrapped() -> None:
    samples = np.frombuffer(to_pcm(np.array([[2.0, -3.0], [1.0, -1.0]], np.float32)), "<i2")
    assert samples.tolist() == [32767, 32767, -32767, -32767]


def test_peaks_are_the_extremes_of_each_stretch(written: tuple[Path, Path, np.ndarray]) -> None:
    path, peaks, wave = written
    mono = wave.mean(axis=0)
    spans = mono[: len(mono) // 480 * 480].reshape(-1, 480)
    pairs = np.frombuffer(peaks.read_bytes(), "<f4").reshape(-1, 2)
    np.testing.assert_allclose(pairs, np.stack([spans.min(1), spans.max(1)], 1), atol=1e-6)
    np.testing.assert_allclose(peaks_of_file(path, 100_003), pairs, atol=1e-6)
    low, high = thin_peaks(pairs, 10)
    step = PEAKS_RATE // 10
    wanted = [pairs[i : i + step, 0].min() for i in range(0, len(pairs) // step * step, step)]
    np.testing.assert_allclose(low, wanted, atol=1e-4)
    assert max(high) == pytest.approx(pairs[: len(low) * step, 1].max(), abs=1e-4)
    assert thin_peaks(pairs[:3], 1) == ([], [])
