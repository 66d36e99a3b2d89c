"""Rendered arrangements: exact length, tempo without drift, no clicks at joins and splices."""

import numpy as np
import pytest

from openvmas.fitting.arrangement import Arrangement, Run, arrange
from openvmas.fitting.rendering import Renderer, correlate, crossfade
from openvmas.fitting.sound import Sound
from openvmas.fitting.track import hear
from openvmas.fitting.wishes import Wishes
from openvmas.music.onsets import onset_strength, pick_onsets
from tests.fitting.made import RATE, make_song

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    made = make_song(24, 120)
    path = made.save(tmp_path_factory.mktemp("song") / "song.wav")
    return made, path, hear(path)


def play(song, arrangement, n_samples):
    _, path, track = song
    renderer = Renderer(Sound(path), track, arrangement, n_samples)
    return np.concatenate(list(renderer.blocks()), axis=1), renderer


def test_at_its_own_tempo_it_is_the_recording_bit_for_bit(song):
    made, _, track = song
    arrangement = Arrangement((Run(0.0, 0.0, track.end, 1.0),), 0.0)
    n = round(track.end * RATE)
    wave, renderer = play(song, arrangement, n)
    assert not renderer.joins
    np.testing.assert_array_equal(wave[:, 200 : n - 200], made.wave[:, 200 : n - 200])


@pytest.mark.parametrize("rate", [0.96, 0.985, 1.02, 1.04])
def test_tempo_is_kept_to_a_hundredth_of_a_second_and_attacks_stay(song, rate):
    made, _, track = song
    arrangement = Arrangement((Run(0.0, 0.0, track.end, rate),), 0.0)
    n = round(track.end / rate * RATE)
    wave, _ = play(song, arrangement, n)
    assert wave.shape[1] == n
    onsets = pick_onsets(onset_strength(wave, RATE))
    wanted = made.bars[1:-1] / rate
    off = np.abs(onsets[:, None] - wanted).min(axis=0)
    assert off.max() < 0.025 and off.mean() < 0.012


@pytest.mark.parametrize(("first_hit", "is_attack"), [(np.inf, False), (0.02, True)])
def test_coming_in_is_no_accent_unless_one_is_asked_for(song, first_hit, is_attack):
    made, path, track = song
    arrangement = Arrangement((Run(0.0, float(made.bars[4]), float(made.bars[10]), 1.0),), 0.0)
    renderer = Renderer(Sound(path), track, arrangement, 10 * RATE, first_hit)
    strength = onset_strength(np.concatenate(list(renderer.blocks()), axis=1), RATE)
    assert (strength[:30].max() > 0.6 * np.median(strength[frames_of_bars(made)])) == is_attack


def frames_of_bars(made):
    """Frames of the bar lines after the first, in a piece that begins on one."""
    return np.rint((made.bars[5:9] - made.bars[4]) * 100).astype(int)


def test_length_is_exact_for_odd_lengths(song):
    _, _, track = song
    for seconds in (7.123456, 33.0001, 61.7):
        n = round(seconds * RATE)
        wave, _ = play(song, arrange(track, Wishes.of_user(seconds, ())), n)
        assert wave.shape == (2, n) and np.isfinite(wave).all()
        assert np.abs(wave).max() < 1.2


def test_joins_end_before_the_beat_and_do_not_click(song):
    _, _, track = song
    marks = track.marks
    first = Run(0.0, 0.0, float(marks[9]), 1.0)
    second = Run(first.end, float(marks[17]), track.end, 1.0, True)
    arrangement = Arrangement((first, second), 0.0)
    wave, renderer = play(song, arrangement, round(second.end * RATE))
    (join,) = renderer.joins
    assert join.time == pytest.approx(first.end)
    # The bend of the wave at the join is no greater than attacks of the same piece have.
    bends = np.abs(np.diff(wave[0], 2))
    at = round(join.time * RATE)
    assert bends[at - 3000 : at - 200].max() < np.quantile(
        bends.reshape(-1)[: len(bends) // 480 * 480].reshape(-1, 480).max(1), 0.99
    )
    # And the beats go on in tempo: the new bar line is where the old one would have been.
    onsets = pick_onsets(onset_strength(wave, RATE))
    wanted = join.time + 0.5 * np.arange(-4, 5)
    assert np.abs(onsets[:, None] - wanted).min(axis=0).max() < 0.012


def test_crossfades_keep_the_level():
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 2, 48_000))
    apart = crossfade(one, two, 0.0)
    assert np.sqrt((apart**2).mean()) == pytest.approx(1.0, rel=0.02)
    np.testing.assert_allclose(crossfade(one, one, 1.0), one, rtol=1e-5, atol=1e-5)


def test_correlation_finds_a_shift():
    rng = np.random.default_rng(1)
    long = rng.standard_normal(500)
    found = correlate(long[130:230], long)
    assert int(found.argmax()) == 130 and found.max() == pytest.approx(1.0)
    assert correlate(np.zeros(5), np.zeros(9)).tolist() == [1.0] * 5
