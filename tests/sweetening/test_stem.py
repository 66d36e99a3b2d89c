"""Sounds that are added: where, how loud, and that they stay events."""

from fractions import Fraction

import numpy as np
import pytest

from openvmas.media.audio import WavReader, read_audio, write_wav
from openvmas.music.onsets import onset_strength
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.sweetening import sounds
from openvmas.sweetening.stem import APART, Stem, choose_moments, loudness, place_cues, sweeten
from tests.fitting.made import RATE, make_song

SECONDS = 20


def make_plan():
    hits = [Hit(0.6 * k + 0.3, 0.3 + 0.7 * ((k * 7) % 11) / 11, "picture") for k in range(32)]
    hits = sorted([*hits, Hit(7.05, 1.0, "user")], key=lambda hit: hit.time)
    sections = (Section(0, 12.0, 0.5), Section(12.0, SECONDS, 0.9))
    return ScorePlan(Fraction(SECONDS), sections, (TempoMark(0.0, 120.0),), hits=tuple(hits))


@pytest.fixture
def music(tmp_path):
    song = make_song(10, 120)
    write_wav(tmp_path / "music.wav", song.wave[:, : SECONDS * RATE], RATE)
    return tmp_path / "music.wav"


def test_the_users_moments_always_get_a_sound_and_the_others_keep_apart():
    plan = make_plan()
    chosen = choose_moments(plan)
    assert any(hit.source == "user" for hit in chosen)
    assert np.diff([hit.time for hit in chosen]).min() >= APART - 1e-9
    assert len(chosen) <= SECONDS / 2
    cues = place_cues(plan, 0.5, 0.0, seed=0)
    assert any(cue.time == 7.05 and cue.kind == "impact" for cue in cues)
    assert len({cue.kind for cue in cues}) >= 3
    leads = [cue.time for cue in cues if cue.lead]
    assert not leads or np.diff(leads).min(initial=99) >= 5
    assert all(cue.time - cue.lead >= 0 for cue in cues)


def test_sounds_begin_at_their_moments_at_a_level_relative_to_the_music(music):
    plan = make_plan()
    stem = Stem(WavReader(music), plan, 0.0, seed=1)
    wave = np.concatenate(list(stem.blocks()), axis=1)
    assert wave.shape == (2, SECONDS * RATE)
    strength = onset_strength(wave, RATE)
    assert strength[700:710].max() > 3  # 7.05 s
    louder = np.concatenate(list(Stem(WavReader(music), plan, 6.0, seed=1).blocks()), axis=1)
    np.testing.assert_allclose(louder, wave * 10 ** (6 / 20), rtol=1e-3, atol=1e-5)
    at = round(7.05 * RATE)
    original = WavReader(music).read(at - RATE, at + RATE // 2)
    assert abs(loudness(wave[:, at : at + round(0.4 * RATE)]) - loudness(original)) < 6


def test_the_end_stays_the_end(music):
    late = tuple(
        Hit(SECONDS - before, 1.0, source) for before, source in ((1.5, "user"), (0.8, "user"), (0.2, "picture"))
    )
    plan = ScorePlan(Fraction(SECONDS), make_plan().sections, (TempoMark(0.0, 120.0),), hits=late)
    assert [hit.time for hit in choose_moments(plan)] == [SECONDS - 1.5, SECONDS - 0.8]
    wave = np.concatenate(list(Stem(WavReader(music), plan, 0.0, seed=1).blocks()), axis=1)
    power = np.square(wave).sum(axis=0)
    assert (
        power[-RATE // 10 :].mean() < 1e-2 * power[-round(0.8 * RATE) :].mean()
    )  # a sound of its own length would be cut


def test_the_music_file_holds_the_sum_and_the_stem_is_written(music, tmp_path):
    before = read_audio(music).wave
    report = sweeten(music, make_plan(), 0.0, 3, tmp_path / "stem.wav")
    after, stem = read_audio(music).wave, read_audio(tmp_path / "stem.wav").wave
    np.testing.assert_allclose(after, before + stem, atol=1e-6)
    assert report["key"].split()[1] in ("major", "minor") and report["sounds"]
    assert 110 < report["tempo"] < 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["music.wav", "stem.wav"]


def test_silent_music_and_a_plan_without_moments_are_fine(tmp_path):
    write_wav(tmp_path / "silent.wav", np.zeros((2, 4 * RATE), np.float32), RATE)
    plan = ScorePlan(Fraction(4), (Section(0, 4.0),))
    assert sweeten(tmp_path / "silent.wav", plan, 0.0, 0)["sounds"] == []
    plan = ScorePlan(Fraction(4), (Section(0, 4.0),), hits=(Hit(1.0),))
    assert sweeten(tmp_path / "silent.wav", plan, 0.0, 0)["sounds"]


@pytest.mark.parametrize("make", [
    lambda rng: sounds.impact(rng, 40, 1.0), lambda rng: sounds.low_hit(rng, 50), lambda rng: sounds.cymbal(rng, 1.5),
    lambda rng: sounds.sub_drop(rng, 45), lambda rng: sounds.riser(rng, 45, 2.0),
    lambda rng: sounds.swell(rng, 45, True, 1.5),
])  # fmt: skip
def test_no_two_sounds_are_the_same_and_none_clicks(make):
    first, second = make(np.random.default_rng(1)), make(np.random.default_rng(2))
    assert first.dtype == np.float32 and np.abs(first).max() == pytest.approx(1.0)
    n = min(first.shape[1], second.shape[1])
    assert np.abs(first[:, :n] - second[:, :n]).max() > 0.1
    assert np.abs(first[:, -1]).max() < 0.01
    np.testing.assert_array_equal(first, make(np.random.default_rng(1)))
