"""What is heard in made songs, whose beats and endings are known."""

import numpy as np
import pytest

from openvmas.errors import InputError
from openvmas.fitting.track import FREE_TIME, Track, hear, listen, sung_spans
from openvmas.media.audio import write_wav
from tests.fitting.made import RATE, make_song, note

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (8_000, 1), (44_100, 2), (37_800, 1)])
def test_bar_lines_are_found_at_any_rate(tmp_path, rate, channels):
    song = make_song(16, 116)
    track = hear(song.save(tmp_path / "song.wav", rate, channels))
    found = track.marks[1:-1]
    assert track.beats_per_bar == 4 and not track.is_free
    assert np.abs(song.bars[:, None] - found).min(axis=0).max() < 0.02
    assert track.has_ending and not track.fades_out
    assert track.last == pytest.approx(song.bars[-1], abs=0.05)
    assert track.duration == pytest.approx(song.wave.shape[1] / RATE, abs=0.01)


def test_a_waltz_has_three_beats(tmp_path):
    song = make_song(24, 108, 3)
    track = hear(song.save(tmp_path / "song.wav"))
    assert track.beats_per_bar == 3
    assert np.abs(song.bars[:, None] - track.marks[2:-2]).min(axis=0).max() < 0.03


def test_silence_at_both_ends_is_no_music(tmp_path):
    track = hear(make_song(8, 120, lead=1.5).save(tmp_path / "song.wav"))
    assert track.start == pytest.approx(1.5, abs=0.1)
    assert track.end < track.duration - 1.2


def test_a_loop_has_no_ending_and_a_fade_is_one(tmp_path):
    loop = make_song(12, 120, ring=0)
    assert not hear(loop.save(tmp_path / "loop.wav")).has_ending
    faded = loop.wave * np.clip((loop.end - np.arange(loop.wave.shape[1]) / RATE) / 10, 0, 1) ** 2
    write_wav(tmp_path / "fade.wav", faded.astype(np.float32), RATE)
    track = hear(tmp_path / "fade.wav")
    assert track.fades_out and track.has_ending


def test_free_time_is_noticed(tmp_path):
    rng = np.random.default_rng(3)
    wave = np.zeros((2, 30 * RATE), np.float32)
    for time in np.sort(rng.uniform(0, 27, 30)):
        tone = note(float(rng.choice([57, 60, 64, 67])), 2.5, 0.2)
        wave[:, round(time * RATE) :][:, : len(tone)] += tone[: wave.shape[1] - round(time * RATE)]
    write_wav(tmp_path / "free.wav", wave, RATE)
    track = hear(tmp_path / "free.wav")
    assert track.is_free and track.confidence < FREE_TIME
    assert (np.diff(track.marks) > 0.3).all()


def test_what_was_heard_is_kept_by_content(tmp_path, monkeypatch):
    song = make_song(8).save(tmp_path / "song.wav")
    first = listen(song, tmp_path / "cache")
    monkeypatch.setattr("openvmas.fitting.track.hear", lambda path: pytest.fail("it was heard again"))
    song.rename(tmp_path / "renamed.wav")
    again = listen(tmp_path / "renamed.wav", tmp_path / "cache")
    assert isinstance(again, Track)
    np.testing.assert_array_equal(first.marks, again.marks)
    np.testing.assert_allclose(first.strength, again.strength, rtol=1e-3, atol=1e-3)


def test_silent_and_unreadable_files_are_refused(tmp_path):
    write_wav(tmp_path / "silent.wav", np.zeros((2, RATE), np.float32), RATE)
    with pytest.raises(InputError, match="is silent"):
        hear(tmp_path / "silent.wav")
    (tmp_path / "text.mp3").write_text("no music")
    with pytest.raises(InputError):
        hear(tmp_path / "text.mp3")
    with pytest.raises(InputError, match="cannot be read"):
        listen(tmp_path / "none.wav")


def test_sung_phrases_are_joined_over_short_breaths():
    singing = np.zeros(1000)
    singing[100:300] = singing[330:500] = 1
    singing[700:705] = 1
    np.testing.assert_allclose(sung_spans(singing), [[1.0, 5.0]], atol=0.11)
