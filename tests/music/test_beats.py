"""Tempo, beats and bars of written pieces, sounded with plain tones: `bench/beats.py` does it with a soundfont."""

import mir_eval
import numpy as np
import pytest
from synthetic_pieces import Piece, synthesise, write_piece

from openvmas.music.beats import Beats, bar_phase, chord_change, place_beats, track_beats

RATE = 24_000


def f_measure(reference: np.ndarray, estimated: np.ndarray) -> float:
    trim = mir_eval.beat.trim_beats
    return float(mir_eval.beat.f_measure(trim(reference), trim(estimated)))


def heard(piece: Piece) -> Beats:
    found = track_beats(synthesise(piece), RATE)
    end = piece.beats[-1] + 0.1
    inside = Beats(
        found.tempo,
        found.beats[found.beats < end],
        found.downbeats[found.downbeats < end],
        found.beats_per_bar,
        found.confidence,
    )
    assert (np.diff(found.beats) > 0).all()
    assert np.isin(found.downbeats, found.beats).all()
    return inside


@pytest.mark.parametrize(
    ("style", "tempo"), [("rock", 96), ("rock", 132), ("electronic", 126), ("swing", 120), ("chiptune", 120)]
)
def test_four_in_a_bar(style: str, tempo: float) -> None:
    piece = write_piece(style, tempo, 24, seed=1)
    found = heard(piece)
    assert found.tempo == pytest.approx(tempo, rel=0.01)
    assert f_measure(piece.beats, found.beats) >= 0.9
    assert f_measure(piece.downbeats, found.downbeats) >= 0.9
    assert found.beats_per_bar == 4
    assert found.confidence > 0.6


@pytest.mark.parametrize("tempo", [100, 138])
def test_three_in_a_bar(tempo: float) -> None:
    piece = write_piece("waltz", tempo, 30, seed=1)
    found = heard(piece)
    assert found.beats_per_bar == 3
    assert f_measure(piece.beats, found.beats) >= 0.9
    assert f_measure(piece.downbeats, found.downbeats) >= 0.9


@pytest.mark.parametrize(("style", "tempo", "drift"), [("rock", 115, 0.05), ("ballad", 100, 0.06)])
def test_a_tempo_that_sways_is_followed(style: str, tempo: float, drift: float) -> None:
    piece = write_piece(style, tempo, 30, seed=2, drift=drift)
    found = heard(piece)
    assert np.ptp(60 / np.diff(piece.beats)) > 0.1 * tempo
    assert f_measure(piece.beats, found.beats) >= 0.9


def test_clicks_are_exact() -> None:
    wave = np.zeros(20 * RATE, np.float32)
    times = np.arange(0.25, 19.9, 0.5)
    wave[np.rint(times * RATE).astype(int)] = 0.8
    found = track_beats(wave, RATE)
    assert found.tempo == pytest.approx(120, rel=0.002)
    inner = found.beats[(found.beats > 1) & (found.beats < 19)]
    assert len(inner) == 36
    assert np.abs(inner[:, None] - times).min(axis=1).max() < 0.01


def test_what_has_no_pulse_has_little_confidence() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(30 * RATE) / RATE
    swell = sum(np.sin(2 * np.pi * f * t) * (1 + np.sin(2 * np.pi * t / p)) for f, p in ((110, 7.3), (165, 11.1)))
    loose = np.zeros(30 * RATE)
    loose[rng.integers(0, len(loose), 40)] = 1.0
    for wave in (0.2 * swell, 0.1 * rng.standard_normal(len(t)), loose):
        assert track_beats(wave.astype(np.float32), RATE).confidence < 0.35


@pytest.mark.parametrize("n", [0, 1, 1000, RATE, 3 * RATE])
def test_silence_has_no_beats(n: int) -> None:
    found = track_beats(np.zeros(n, np.float32), RATE)
    assert (found.tempo, len(found.beats), len(found.downbeats), found.confidence) == (0.0, 0, 0, 0.0)


def test_place_beats_bridges_a_missing_onset() -> None:
    pulse = np.zeros(600)
    pulse[25::50] = 1.0
    pulse[325] = 0.0
    np.testing.assert_array_equal(place_beats(pulse, np.full(600, 50.0)), np.arange(25, 600, 50))


def test_bar_phase_follows_a_bar_that_is_too_short() -> None:
    ones = np.zeros(43)
    ones[[*range(1, 21, 4), *range(20, 43, 4)]] = 1.0  # the bar at 17 has three beats
    count = bar_phase(ones - ones.mean(), 4)
    np.testing.assert_array_equal(np.flatnonzero(count == 0), np.flatnonzero(ones))


def test_chord_change() -> None:
    chroma = np.zeros((100, 12), np.float32)
    chroma[:50, [0, 4, 7]] = chroma[50:, [1, 5, 8]] = 3**-0.5
    change = chord_change(chroma, np.array([2.0, 5.0, 8.0]), np.ones(3), np.ones(3))
    np.testing.assert_allclose(change, [0, 1, 0], atol=1e-6)
