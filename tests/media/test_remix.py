"""A mix brought up to date: new where the music is, the same elsewhere, and none where the gains would be wrong."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openvmas.media.audio import WavReader, write_wav
from openvmas.media.mix import MixReport, mix
from openvmas.media.remix import remix
from openvmas.settings import SAMPLE_RATE_OUT as RATE
from openvmas.settings import MixOptions

DURATION = Fraction(8)
SPAN = (3 * RATE, 4 * RATE)
OPTIONS = MixOptions(loudness=-16.0)


def tone(frequency: float, level: float = 0.3) -> np.ndarray:
    times = np.arange(round(DURATION * RATE)) / RATE
    return np.repeat(level * np.sin(2 * np.pi * frequency * times)[None], 2, axis=0).astype(np.float32)


@pytest.fixture()
def before(tmp_path: Path) -> tuple[np.ndarray, np.ndarray, MixReport]:
    """Music, original and the report on their mix, which lies in mixed.wav."""
    music = tone(330)
    original = 0.05 * np.random.default_rng(1).standard_normal(music.shape).astype(np.float32)
    report = mix(music, iter([original]), DURATION, OPTIONS, output=tmp_path / "mixed.wav")
    return music, original, report


def changed(tmp_path: Path, music: np.ndarray, part: np.ndarray) -> Path:
    new = music.copy()
    new[:, slice(*SPAN)] = part[:, slice(*SPAN)]
    write_wav(tmp_path / "music.wav", new, RATE)
    return tmp_path / "music.wav"


def test_only_the_changed_part_is_mixed_again(tmp_path: Path, before) -> None:
    music, original, report = before
    new = changed(tmp_path, music, tone(440))
    paths = [tmp_path / name for name in ("again.wav", "whole.wav")]
    found = remix(new, iter([original]), tmp_path / "mixed.wav", report, [SPAN], OPTIONS, output=paths[0])
    whole = mix(new, iter([original]), DURATION, OPTIONS, output=paths[1])
    again, full, old = (WavReader(path).read(0, report.n_samples) for path in (*paths, tmp_path / "mixed.wav"))
    assert found is not None
    far = np.r_[0 : SPAN[0] - RATE, SPAN[1] + RATE : report.n_samples]
    assert np.array_equal(again[:, far], old[:, far])
    gains = 10 ** ((report.master_gain_db - whole.master_gain_db) / 20), report.music_gain_db - whole.music_gain_db
    assert gains == pytest.approx((1, 0), abs=0.05)
    assert np.abs(again - full).max() < 0.02 and np.abs(again - old).max() > 0.1
    assert found.loudness_lufs == pytest.approx(whole.loudness_lufs, abs=0.3)


def test_a_part_that_changes_the_loudness_is_not_laid_in(tmp_path: Path, before) -> None:
    music, original, report = before
    new = changed(tmp_path, music, tone(440, 0.9))
    output = tmp_path / "again.wav"
    assert remix(new, iter([original]), tmp_path / "mixed.wav", report, [SPAN], OPTIONS, output=output) is None
