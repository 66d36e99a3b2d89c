"""Timing of music against its picture: closed forms, and laws under planted damage on an example video."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from synthetic_pieces import CLOSED_HAT, DRUMS, KICK, SNARE, Note, Piece, synthesise, write_piece

from openvmas.eval.metrics import timing
from openvmas.eval.metrics.timing import (
    beat_alignment,
    beat_scores,
    cut_errors,
    ending,
    evaluate,
    evaluate_sound,
    motion_correlation,
    tempo_stability,
    visual_hits,
)
from openvmas.music.analysis import analyze_music
from openvmas.music.sync import sync_of_wave
from openvmas.timeline import Events
from openvmas.vision.analysis import Shot, VideoAnalysis, analyze

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
RATE = 24_000


def picture_of(cuts: np.ndarray, duration: float, motion: np.ndarray | None = None) -> VideoAnalysis:
    """A picture of which only the times are known."""
    n = round(50 * duration)
    curve = np.zeros(n, np.float32) if motion is None else motion.astype(np.float32)
    edges = [0.0, *cuts, duration]
    return VideoAnalysis(
        duration=Fraction(round(duration * 25), 25),
        fps=Fraction(25),
        shots=tuple(Shot(a, b, False) for a, b in itertools.pairwise(edges)),
        cuts=cuts,
        flashes=np.zeros(0),
        visual_beats=cuts,
        visual_beat_strengths=np.ones(len(cuts)),
        events=Events(Fraction(50), np.zeros(n, np.float32), curve, np.zeros(n, np.float32)),
        motion=curve,
        camera_share=0.0,
        feature_times=np.zeros(0),
        features=np.zeros((0, 1280), np.float16),
        classes=np.zeros((0, 1000), np.float16),
        looks={},
    )


def music_on(moments: np.ndarray, duration: float, seed: int = 0) -> np.ndarray:
    """Held chords that change, with a drum and a high note, at the moments, and a soft figure between: [1, L]."""
    rng = np.random.default_rng(seed)
    notes = [Note(t, t + 0.2, KICK if i % 2 else SNARE, 120, DRUMS) for i, t in enumerate(moments)]
    edges = np.append(moments, duration - 0.8)
    for start, end in itertools.pairwise(edges.tolist()):
        if end > start:
            root = 48 + int(rng.integers(0, 12))
            notes += [Note(start, end, root + step, 90, 0) for step in (0, 4, 7, 16)]
    notes += [Note(t, t + 0.1, CLOSED_HAT, 30, DRUMS) for t in np.sort(rng.uniform(0, duration - 1, round(duration)))]
    piece = Piece("on", tuple(sorted(notes, key=lambda n: n.start)), moments, moments[:1], 4)
    return fit(synthesise(piece, RATE, seed), duration)[None]


def clicks(period: float, duration: float) -> np.ndarray:
    """A burst of noise every `period` s: [1, L]."""
    wave = np.zeros(round(duration * RATE), np.float32)
    burst = (np.random.default_rng(0).normal(size=480) * np.exp(-np.arange(480) / 60) * 0.5).astype(np.float32)
    for start in np.rint(np.arange(0.01, duration - 0.05, period) * RATE).astype(int):
        wave[start : start + 480] += burst
    return wave[None]


def fit(wave: np.ndarray, duration: float) -> np.ndarray:
    n = round(duration * RATE)
    return np.pad(wave, (0, max(0, n - len(wave))))[:n]


def late(wave: np.ndarray, seconds: float) -> np.ndarray:
    """The wave turned later around the circle of its length."""
    return np.roll(wave, round(seconds * RATE), axis=1)


@pytest.fixture(scope="module")
def city() -> VideoAnalysis:
    return analyze(EXAMPLES / "city.mp4")


@pytest.fixture(scope="module")
def matched(city: VideoAnalysis) -> np.ndarray:
    return music_on(city.visual_beats, float(city.duration))


def judge(picture: VideoAnalysis, wave: np.ndarray) -> dict[str, float]:
    return evaluate(picture, analyze_music(wave, RATE), wave, RATE)


def test_beat_scores_by_hand() -> None:
    reference, estimated = np.array([0.1, 0.9, 2.5, 3.5]), np.array([0.5, 1.5, 1.6, 2.9, 4.5])
    found = beat_scores(reference, estimated, 5.0)  # seconds 0, 2, 3 against 0, 1, 2, 4
    assert (found.coverage, found.hit, found.precision, found.f1) == (4 / 3, 2 / 3, 1 / 2, 4 / 7)
    assert beat_scores(reference, estimated, 2.5).coverage == 2  # what lies at the end or after it does not count
    assert beat_scores(reference, estimated, 5.0, resolution=0.5).hit == 0.5
    assert vars(beat_scores(reference, reference, 4.2)) == dict.fromkeys(("coverage", "hit", "precision", "f1"), 1.0)
    assert vars(beat_scores(reference, np.zeros(0), 5.0)) == dict.fromkeys(("coverage", "hit", "precision", "f1"), 0.0)
    assert math.isnan(beat_scores(np.zeros(0), reference, 5.0).hit)


def test_a_mark_in_every_second_wins_the_beat_scores() -> None:
    reference = np.sort(np.random.default_rng(0).uniform(0, 30, 20))
    trap = beat_scores(reference, np.arange(30) + 0.5, 30.0)
    assert trap.hit == 1 and trap.coverage > 1 and trap.precision < 1


def test_visual_hits_by_hand() -> None:
    reference, estimated = np.array([1.0, 2, 3, 4]), np.array([1.05, 2.5, 4.11, 6, 7, 8])
    found = visual_hits(reference, estimated)
    assert (found.density, found.met) == (1.5, 0.25)
    assert visual_hits(reference, estimated, tolerance=0.12).met == 0.5
    assert vars(visual_hits(reference, reference)) == {"density": 1.0, "met": 1.0}
    assert vars(visual_hits(reference, np.zeros(0))) == {"density": 0.0, "met": 0.0}
    assert math.isnan(visual_hits(np.zeros(0), reference).met)


def test_beat_alignment_by_hand() -> None:
    reference = np.array([1.0, 2.0])
    expected = (math.exp(-(0.05**2) / (2 * 0.05**2)) + math.exp(-(0.1**2) / (2 * 0.05**2))) / 2
    assert beat_alignment(reference, np.array([0.95, 2.1, 9.0])) == pytest.approx(expected, abs=1e-9)
    assert beat_alignment(reference, reference) == 1
    assert beat_alignment(reference, np.zeros(0)) == 0


def test_cut_errors_by_hand() -> None:
    found = cut_errors(np.array([1.0, 2, 3]), np.array([1.02, 1.95, 3.3]))
    assert found.median_ms == pytest.approx(50) and found.within == pytest.approx(2 / 3)
    assert vars(cut_errors(np.array([1.0]), np.array([1.0]))) == {"median_ms": 0.0, "within": 1.0}
    assert vars(cut_errors(np.array([1.0]), np.zeros(0))) == {"median_ms": math.inf, "within": 0.0}


def test_times_are_checked() -> None:
    with pytest.raises(ValueError, match="in order"):
        beat_scores(np.array([2.0, 1.0]), np.array([1.0]), 3.0)
    with pytest.raises(ValueError, match="finite"):
        cut_errors(np.array([1.0]), np.array([np.nan]))


def test_tempo_stability_by_hand() -> None:
    assert tempo_stability(np.arange(0, 10, 0.5)) == 1
    spans = np.array([0.5, 0.5, 0.5, 0.52, 0.6, 0.4])
    assert tempo_stability(np.cumsum(spans)) == pytest.approx(3 / 5)  # the first span begins at the first beat
    assert math.isnan(tempo_stability(np.array([1.0, 2.0, 3.0])))


def test_motion_correlation_of_known_curves() -> None:
    t = np.arange(1000) / 50
    wave = np.sin(2 * np.pi * t / 10)
    assert motion_correlation(wave, wave, 50) == pytest.approx(1, abs=0.01)
    assert motion_correlation(wave, -wave, 50) == pytest.approx(-1, abs=0.01)
    assert math.isnan(motion_correlation(np.ones(1000), wave, 50))


def test_a_cut_is_no_ending() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(5 * RATE) / RATE)
    cut = ending(tone, RATE)
    assert not cut.is_true and cut.drop_db == pytest.approx(0, abs=0.5) and cut.last == pytest.approx(5)
    early = ending(np.concatenate([tone[: 3 * RATE], np.zeros(2 * RATE)]), RATE)
    assert not early.is_true and early.last == pytest.approx(3, abs=0.02)
    fade = ending(tone * np.minimum(1, np.exp(-3 * (np.arange(5 * RATE) / RATE - 3))), RATE)
    assert fade.is_true and fade.drop_db < -20
    assert not ending(np.zeros(RATE), RATE).is_true


def test_music_on_the_beats_is_perfect(city: VideoAnalysis, matched: np.ndarray) -> None:
    found = judge(city, matched)
    assert found["visual_beats_met"] == 1 and found["cuts_within"] == 1 and found["cut_error_ms"] < 15
    assert found["sync_z"] > 5 and found["length_error"] == 0
    assert judge(city, matched[..., : -RATE // 2])["length_error"] == pytest.approx(-0.5)
    truth = json.loads((EXAMPLES / "city.truth.json").read_text())["cuts"]
    assert len(truth) > 10 and cut_errors(np.array(truth), analyze_music(matched, RATE).onsets).within > 0.9


def test_every_delay_is_seen(city: VideoAnalysis, matched: np.ndarray) -> None:
    there = judge(city, matched)
    for delay in (0.02, 0.05, 0.1, 0.3, 1.0, 2.0):
        found = judge(city, late(matched, delay))
        assert found["cut_error_ms"] > there["cut_error_ms"] + min(10, 500 * delay), delay
        if delay >= 0.1:
            assert found["sync_z"] < 0.5 * there["sync_z"], delay
            assert found["cuts_within"] < there["cuts_within"], delay
    errors = [judge(city, late(matched, delay))["cut_error_ms"] for delay in (0.0, 0.02, 0.05, 0.08)]
    assert np.diff(errors) == pytest.approx([20, 30, 30], abs=8)


def test_dense_clicks_win_the_uncorrected_score_only(city: VideoAnalysis, matched: np.ndarray) -> None:
    dense = clicks(0.11, float(city.duration))
    off = late(matched, 0.7)  # music that does not answer the picture
    trap, plain, there = judge(city, dense), judge(city, off), judge(city, matched)
    assert trap["visual_beats_met"] == 1 and there["visual_beats_met"] > plain["visual_beats_met"]
    assert trap["onset_density"] > there["onset_density"]
    assert trap["cuts_within"] > plain["cuts_within"] + 0.1
    assert abs(trap["sync_z"]) < 3 < 5 < there["sync_z"]


def test_another_video_fits_less(city: VideoAnalysis, matched: np.ndarray) -> None:
    other = analyze(EXAMPLES / "landscape.mp4")
    there, swapped = judge(city, matched), judge(other, matched)
    assert swapped["sync_z"] < 0.5 * there["sync_z"]
    assert swapped["length_error"] == pytest.approx(float(city.duration - other.duration), abs=1e-3)
    beats = np.sort(np.random.default_rng(3).uniform(1, 29, 20))
    z = sync_of_wave(matched, RATE, beats).z
    assert abs(z) < 3.5 < there["sync_z"]


def test_energy_that_follows_the_motion(city: VideoAnalysis) -> None:
    t = np.arange(30 * 50) / 50
    motion = 0.5 - 0.5 * np.cos(2 * np.pi * t / 15)
    picture = picture_of(np.array([10.0, 20.0]), 30.0, motion)
    noise = np.random.default_rng(0).normal(size=30 * RATE)
    gain = 10 ** (-1.5 + 1.3 * np.interp(np.arange(30 * RATE) / RATE, t, motion))
    with_it = (0.1 * noise * gain)[None].astype(np.float32)
    against = (1e-3 * noise / gain)[None].astype(np.float32)
    assert judge(picture, with_it)["motion_correlation"] > 0.8
    assert judge(picture, against)["motion_correlation"] < -0.8


def test_a_drifting_tempo_is_less_stable() -> None:
    steady, drifting = (write_piece("rock", 120, 20, drift=d) for d in (0.0, 0.15))
    assert tempo_stability(steady.beats) == 1 > tempo_stability(drifting.beats) + 0.2
    found = [evaluate_sound(analyze_music(w, RATE), w, RATE) for w in (synthesise(p, RATE) for p in (steady, drifting))]
    assert found[0]["tempo_stability"] > found[1]["tempo_stability"]


def test_a_still_picture_says_nothing() -> None:
    wave = synthesise(write_piece("ballad", 90, 8), RATE)[None]
    picture = picture_of(np.zeros(0), wave.shape[1] / RATE)
    found = judge(picture, wave)
    for name in ("sync_z", "visual_beats_met", "onset_density", "beat_alignment", "cut_error_ms", "cuts_within"):
        assert math.isnan(found[name]), name
    assert timing.evaluate_sound(analyze_music(wave, RATE), wave, RATE).keys() == {
        "tempo_stability",
        "tempo_drift",
        "true_ending",
        "ending_db",
    }
