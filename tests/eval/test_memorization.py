"""Copies planted at known places are found there, and nothing is found where there is none."""

import itertools

import numpy as np
import pytest
import soxr
from memorization import NOTHING, RATE, Corpus, best_run, code_words, fingerprint
from synthetic_pieces import STYLES, synthesise, write_piece

SAMPLE_RATE = 24_000


def random_codes(seed, length=1500, size=1024):
    """Codes [4, length] that change every few steps, as real ones do."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, size, (4, length)), rng.integers(1, 3, length), axis=1)[:, :length]


@pytest.fixture(scope="module")
def corpus():
    return Corpus([(f"track {i}", code_words(random_codes(i))) for i in range(20)])


def test_planted_codes_are_found_where_they_lie(corpus):
    piece = random_codes(100)
    piece[:, 400:550] = random_codes(7)[:, 1000:1150]
    found = corpus.find(code_words(piece))
    assert found.track == "track 7"
    assert found.start == pytest.approx(400, abs=3) and found.track_start - found.start == 600
    assert found.length == pytest.approx(150, abs=3) and found.agreement > 0.98


def test_a_copy_with_errors_is_one_passage(corpus):
    rng = np.random.default_rng(0)
    piece = random_codes(100)
    piece[:, 400:600] = random_codes(7)[:, 900:1100]
    wrong = 400 + rng.choice(200, 12, replace=False)
    piece[:, wrong] = rng.integers(0, 1024, (4, 12))
    found = corpus.find(code_words(piece))
    assert found.track == "track 7" and found.length > 180
    assert found.agreement == pytest.approx(0.91, abs=0.03)


def test_new_codes_share_nothing_long(corpus):
    assert corpus.find(code_words(random_codes(200))).length < 10


def test_silence_and_held_codes_are_no_copies():
    held = np.full((1, 400), 5)
    held[0, 100:200] = 9
    assert Corpus([("silence", code_words(held))]).find(code_words(held)) == NOTHING
    assert Corpus([]).find(code_words(random_codes(0))) == NOTHING


def test_nearly_silent_passages_are_no_copies():
    # What a codec makes of silence: one code, seldom another.
    rng = np.random.default_rng(0)
    quiet = np.full((2, 600), 28)
    for row in quiet:
        row[rng.choice(600, 60, replace=False)] = rng.choice([678, 118, 968], 60)
    assert Corpus([("fade", code_words(quiet[0]))]).find(code_words(quiet[1])).length < 30


def test_best_run_against_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(60):
        gains = rng.choice([0.2, 0.0, -0.8, 0.5, -0.5], 25)
        start, length = best_run(gains)
        best = max(gains[i:j].sum() for i, j in itertools.combinations(range(26), 2))
        assert gains[start : start + length].sum() == pytest.approx(max(best, 0))
    assert best_run(np.zeros(5)) == (0, 0)
    assert best_run(np.array([0, 1, 1, 0, -3, 0, 1.0])) == (1, 2)


@pytest.fixture(scope="module")
def tunes():
    """A piece of each style, 20 s."""
    return {style: synthesise(write_piece(style, 104, 20.0, seed=3), SAMPLE_RATE) for style in list(STYLES)[:5]}


@pytest.fixture(scope="module")
def heard(tunes):
    return Corpus([(style, fingerprint(wave, SAMPLE_RATE)) for style, wave in tunes.items()])


def test_a_passage_inside_other_music_is_heard(tunes, heard):
    piece = synthesise(write_piece("chiptune", 131, 15.0, seed=9), SAMPLE_RATE)
    piece = np.concatenate([piece[: 5 * SAMPLE_RATE], tunes["ballad"][6 * SAMPLE_RATE : 10 * SAMPLE_RATE] * 0.3, piece])
    found = heard.find(fingerprint(piece, SAMPLE_RATE))
    assert found.track == "ballad"
    assert found.length / RATE == pytest.approx(4.0, abs=0.6)
    assert found.start / RATE == pytest.approx(5.0, abs=0.4)
    assert (found.track_start - found.start) / RATE == pytest.approx(1.0, abs=0.03)


def test_noise_gain_and_another_rate_hide_no_copy(tunes, heard):
    rng = np.random.default_rng(0)
    wave = 0.2 * tunes["rock"][3 * SAMPLE_RATE + 77 : 11 * SAMPLE_RATE]
    wave = wave + rng.normal(0, 0.25 * wave.std(), len(wave))
    wave = soxr.resample(wave.astype(np.float32), SAMPLE_RATE, 32_000)
    found = heard.find(fingerprint(wave, 32_000), n_flips=1)
    assert found.track == "rock" and found.length / RATE > 6
    assert (found.track_start - found.start) / RATE == pytest.approx(3.0, abs=0.03)


def test_other_music_is_no_copy(heard):
    piece = synthesise(write_piece("chiptune", 131, 20.0, seed=9), SAMPLE_RATE)
    assert heard.find(fingerprint(piece, SAMPLE_RATE)).length / RATE < 1.0


def test_a_faster_copy_is_heard_when_played_back(tunes, heard):
    ratio = 2 ** (1 / 12)
    passage = tunes["waltz"][4 * SAMPLE_RATE : 12 * SAMPLE_RATE]
    piece = soxr.resample(passage, SAMPLE_RATE * ratio, SAMPLE_RATE)
    plain = heard.find(fingerprint(piece, SAMPLE_RATE))
    slowed = heard.find(fingerprint(piece, SAMPLE_RATE / ratio))
    assert slowed.track == "waltz" and slowed.length / RATE > 6
    assert plain.length / RATE < 3


def test_silence_has_no_fingerprint():
    assert (fingerprint(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE).seeds == -1).all()
    assert len(fingerprint(np.zeros(100, np.float32), SAMPLE_RATE)) == 0
    with pytest.raises(ValueError, match="mono"):
        fingerprint(np.zeros((2, 100), np.float32), SAMPLE_RATE)
