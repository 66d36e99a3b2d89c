"""A recording is decoded once for hearing it and for playing it."""

import numpy as np
import pytest

from openvmas.fitting import sound as sound_module
from openvmas.fitting.composer import Recording, fit
from openvmas.fitting.sound import Sound
from openvmas.fitting.wishes import Wishes
from tests.fitting.made import RATE, make_song


@pytest.fixture
def song(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    return make_song(8, 120).save(tmp_path / "song.wav")


@pytest.fixture
def decoded(monkeypatch):
    """Samples that were decoded, a figure for each time that decoding began."""
    counts = []
    read = sound_module.read_audio_blocks

    def counting(*args):
        counts.append(0)
        for block in read(*args):
            counts[-1] += block.shape[1]
            yield block

    monkeypatch.setattr(sound_module, "read_audio_blocks", counting)
    return counts


def test_hearing_and_playing_decode_once(song, decoded):
    recording = Recording.open(song)
    for seconds in (9.0, 12.0):
        assert sum(block.shape[1] for block in fit(recording, Wishes.of_user(seconds, ()))) == seconds * RATE
    assert len(decoded) == 1
    decoded.clear()
    list(fit(Recording.open(song), Wishes.of_user(9.0, ())))  # what was heard is in the cache: only what is played
    assert len(decoded) == 1


@pytest.mark.parametrize("longest", [1800.0, 4.0, 0.0])
def test_what_is_read_again_is_the_same(song, decoded, monkeypatch, longest):
    monkeypatch.setattr(sound_module, "LONGEST_KEPT", longest)
    sound = Sound(song)
    first = next(iter(sound.blocks()))  # broken off
    whole = [np.concatenate(list(sound.blocks()), axis=1) for _ in range(3)]
    assert np.array_equal(whole[0][:, : first.shape[1]], first)
    assert whole[0].shape[1] == round((8 * 2 + 2) * RATE)
    assert all(np.array_equal(whole[0], other) for other in whole)
    assert (len(decoded) == 1) == (longest == 1800.0)


def test_a_cache_that_cannot_be_written_is_no_error(song, decoded, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "file" / "cache"))
    sound = Sound(song)
    assert len(list(sound.blocks())) == len(list(sound.blocks())) > 0
    assert len(decoded) == 2
