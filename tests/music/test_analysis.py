"""The event curves of music: on one clock, in range, and saying what happens."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from synthetic_pieces import synthesise, write_piece

from openvmas.errors import InputError
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.timeline import Clock

RATE = 24_000


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return synthesise(write_piece("rock", 120, 24, seed=4))


@pytest.fixture(scope="module")
def heard(wave: np.ndarray) -> MusicAnalysis:
    return analyze_music(wave, RATE)


@pytest.mark.parametrize(("n", "sample_rate"), [(0, 48_000), (1, 48_000), (900, 48_000), (100_001, 44_100)])
def test_length_and_range_of_anything(n: int, sample_rate: int) -> None:
    rng = np.random.default_rng(0)
    for sound in (np.zeros((2, n)), 0.1 * rng.standard_normal((2, n)), np.full((1, n), 0.3), np.full((1, n), np.nan)):
        events = analyze_music(sound.astype(np.float32), sample_rate).events
        assert events.rate == 50
        for curve in (events.accents, events.energy, events.novelty):
            assert curve.shape == (Clock(Fraction(50)).count(Fraction(n, sample_rate)),)
            assert curve.dtype == np.float32
            assert ((curve >= 0) & (curve <= 1)).all()


def test_accents_are_rare_single_steps_on_onsets(heard: MusicAnalysis) -> None:
    steps = np.flatnonzero(heard.events.accents)
    per_second = len(steps) / float(heard.duration)
    assert 0.5 <= per_second <= 3
    assert np.diff(steps).min() >= 8, "two accents are at least 160 ms apart"
    distance = np.abs(steps[:, None] / 50 - heard.onsets).min(axis=1)
    assert distance.max() <= 0.011
    assert heard.events.accents.max() == pytest.approx(1)


def test_accents_prefer_the_beat(heard: MusicAnalysis) -> None:
    piece = write_piece("rock", 120, 24, seed=4)
    steps = np.flatnonzero(heard.events.accents)
    on_beat = np.abs(steps[:, None] / 50 - piece.beats).min(axis=1) < 0.05
    all_on_beat = np.abs(heard.onsets[:, None] - piece.beats).min(axis=1) < 0.05
    assert on_beat.mean() > all_on_beat.mean() + 0.2


def test_energy_follows_loudness_and_not_the_mastering_level(wave: np.ndarray, heard: MusicAnalysis) -> None:
    quiet = wave.copy()
    third = len(wave) // 3
    quiet[:third] *= 10 ** (-8 / 20)
    curve = analyze_music(quiet, RATE).events.energy
    step = len(curve) // 3
    assert curve[step + 50 : -100].mean() - curve[50 : step - 50].mean() == pytest.approx(8 / 22, abs=0.05)
    np.testing.assert_allclose(
        analyze_music(wave * np.float32(0.1), RATE).events.energy, heard.events.energy, atol=1e-3
    )
    assert analyze_music(wave * np.float32(0.1), RATE).loudness_lufs == pytest.approx(
        heard.loudness_lufs - 20, abs=0.01
    )


def test_energy_falls_to_nothing_in_silence(wave: np.ndarray) -> None:
    curve = analyze_music(np.concatenate([wave, np.zeros(4 * RATE, np.float32)]), RATE).events.energy
    assert curve[-100:].max() == 0


def test_novelty_peaks_where_the_music_changes() -> None:
    parts = [synthesise(write_piece("ballad", 100, 18, seed=1)), synthesise(write_piece("electronic", 126, 18, seed=2))]
    border = len(parts[0]) / RATE
    curve = analyze_music(np.concatenate(parts), RATE).events.novelty
    assert abs(curve.argmax() / 50 - border) < 1.0
    far = np.abs(np.arange(len(curve)) / 50 - border) > 6
    assert curve.max() > 2.5 * curve[far].max()


def test_save_and_load_lose_nothing(heard: MusicAnalysis, tmp_path: Path) -> None:
    heard.save(tmp_path / "a.npz")
    again = MusicAnalysis.load(tmp_path / "a.npz")
    for name in MusicAnalysis.__dataclass_fields__:
        if name != "events":
            np.testing.assert_array_equal(getattr(again, name), getattr(heard, name), err_msg=name)
    for name in ("accents", "energy", "novelty"):
        np.testing.assert_array_equal(getattr(again.events, name), getattr(heard.events, name), err_msg=name)
    assert (again.duration, again.events.rate) == (heard.duration, heard.events.rate)


def test_silence_survives_saving(tmp_path: Path) -> None:
    analyze_music(np.zeros(RATE, np.float32), RATE).save(tmp_path / "s.npz")
    assert MusicAnalysis.load(tmp_path / "s.npz").loudness_lufs == float("-inf")


def test_another_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", other=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("x.npz", "text.npz", "missing.npz"):
        with pytest.raises(InputError, match="make it again"):
            MusicAnalysis.load(tmp_path / name)
