"""Music on its way to a browser: what is read is what was written, at any cut."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.media.audio import wav_header
from openvmas.media.envelope import Envelope
from openvmas.media.loudness import Duck, integrated_loudness
from openvmas.studio.storage.folders import TakeFolder
from openvmas.studio.storage.take_sound import (
    HEADER,
    PEAKS_RATE,
    SoundWriter,
    TakeSound,
    ducked_wav,
    n_written,
    peaks_of_file,
    read_loudness,
    read_wave,
    thin_peaks,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("sound")
    wave = np.random.default_rng(1).uniform(-0.9, 0.9, (2, 100_003)).astype(np.float32)
    writer = SoundWriter(TakeFolder(folder))
    for start, stop in ((0, 7), (7, 50_000), (50_000, 50_000), (50_000, 100_003)):
        writer.write(wave[:, start:stop])
        assert n_written(folder / "music.f32") == stop  # heard at once
    writer.close()
    return folder / "music.f32", folder / "peaks.f32", wave


def test_samples_come_back(written: tuple[Path, Path, np.ndarray]) -> None:
    path, _, wave = written
    np.testing.assert_array_equal(read_wave(path, 0, 10**9), wave)
    np.testing.assert_array_equal(read_wave(path, 90_000, 90_010), wave[:, 90_000:90_010])
    assert read_wave(path, 200_000, 200_010).shape == (2, 0)


def test_the_wav_file_is_one_that_others_read(written: tuple[Path, Path, np.ndarray]) -> None:
    path, _, wave = written
    data = TakeSound(path, 0, 100_003).read(0, 10**9)
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.audio[0]
        assert (stream.channels, stream.rate, stream.codec.name) == (2, 48_000, "pcm_f32le")
        samples = np.concatenate([frame.to_ndarray().reshape(-1, 2).T for frame in file.decode(stream)], axis=1)
    np.testing.assert_array_equal(samples, wave)


@given(st.integers(0, 800_090), st.integers(0, 5000))
@settings(max_examples=60, deadline=None)
def test_any_range_of_bytes_is_that_of_the_whole(
    written: tuple[Path, Path, np.ndarray], start: int, length: int
) -> None:
    path, _, wave = written
    whole = wav_header(2, 100_003, 48_000) + wave.T.tobytes()
    assert TakeSound(path, 0, 100_003).read(start, start + length) == whole[start : start + length]


def test_a_growing_file_gives_what_it_has(tmp_path: Path) -> None:
    assert n_written(tmp_path / "none") == 0
    (tmp_path / "part").write_bytes(bytes(8 * 5 + 3))  # a block of which the last sample is not there yet
    assert n_written(tmp_path / "part") == 5
    assert len(TakeSound(tmp_path / "part", 0, 100).read(0, 10**6)) == HEADER + 5 * 8


def test_what_goes_beyond_full_scale_is_sent_as_it_is_and_its_loudness_is_known(tmp_path: Path) -> None:
    """Clipping belongs to no preview: the mix brings music to its level."""
    wave = np.stack([2.1 * np.sin(np.arange(96_000) / 20)] * 2).astype(np.float32)
    writer = SoundWriter(TakeFolder(tmp_path))
    assert read_loudness(tmp_path / "loudness.f32") is None and read_loudness(tmp_path / "none") is None
    writer.write(wave[:, :48_000] / 8)
    first = read_loudness(tmp_path / "loudness.f32")
    writer.write(wave[:, 48_000:])
    assert first == pytest.approx(integrated_loudness(wave[:, :48_000] / 8, 48_000), abs=0.01)
    writer.close()
    written = np.concatenate([wave[:, :48_000] / 8, wave[:, 48_000:]], axis=1)
    assert read_loudness(tmp_path / "loudness.f32") == pytest.approx(integrated_loudness(written, 48_000), abs=0.01)
    sent = np.frombuffer(TakeSound(tmp_path / "music.f32", 0, 96_000).cut(48_000, 96_000)[HEADER:], "<f4")
    np.testing.assert_array_equal(sent.reshape(-1, 2).T, wave[:, 48_000:])


def test_ducked_music_is_at_its_gain_and_lower_under_speech(written: tuple[Path, Path, np.ndarray]) -> None:
    path, _, wave = written
    data = b"".join(ducked_wav(path, 100_003, -6.0, Duck(((1.2, 9.0),), -12.0), Envelope(())))
    made = np.frombuffer(data[HEADER:], "<f4").reshape(-1, 2).T
    assert made.shape == wave.shape
    for start, stop, gain_db in ((0, 30_000, -6.0), (60_000, 100_003, -18.0)):
        np.testing.assert_allclose(made[:, start:stop], wave[:, start:stop] * 10 ** (gain_db / 20), atol=1e-6)


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
