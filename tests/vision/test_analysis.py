"""The whole way from a file to a VideoAnalysis, on clips whose content is known."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import InputError
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock
from openvmas.vision.analysis import MIN_GAP, VideoAnalysis, analyze, energy_curve, peaks, smooth, strongest_apart
from openvmas.vision.shots import ShotChanges
from tests.vision.synthetic import Film, Scene, standard_scenes

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "standard.mp4"
    film = Film(standard_scenes(), 25)
    truth = film.write(path)
    shares: list[float] = []
    return truth, analyze(path, shares.append), shares


def test_cuts_and_flashes_are_found_through_a_codec(standard):
    truth, analysis, _ = standard
    changes = sorted(truth.cuts + [(a + b) / 2 for a, b in truth.dissolves])
    hard = [s.start for s in analysis.shots[1:] if not s.is_gradual]
    assert len(analysis.cuts) == len(changes)
    np.testing.assert_allclose(hard, truth.cuts, atol=0.041)
    np.testing.assert_allclose(analysis.flashes, truth.flashes, atol=0.041)


def test_every_cut_flash_and_stop_is_a_visual_beat(standard):
    truth, analysis, _ = standard
    moments = np.array(truth.cuts + truth.flashes)
    for moment in moments:
        is_alone = np.sort(np.abs(moments - moment))[1] >= MIN_GAP
        assert np.abs(analysis.visual_beats - moment).min() < (0.041 if is_alone else MIN_GAP)
    for jump in truth.jumps:
        assert np.abs(analysis.visual_beats - jump).min() < 0.12


def test_visual_beats_are_apart_and_accents_hold_them(standard):
    _, analysis, _ = standard
    assert (np.diff(analysis.visual_beats) >= MIN_GAP - 1e-6).all()
    assert ((analysis.visual_beat_strengths > 0) & (analysis.visual_beat_strengths <= 1)).all()
    clock = Clock(CONTROL_RATE)
    steps = [clock.index(t) for t in analysis.visual_beats]
    assert np.flatnonzero(analysis.events.accents).tolist() == steps
    np.testing.assert_allclose(analysis.events.accents[steps], analysis.visual_beat_strengths, rtol=1e-6)


def test_curves_cover_the_duration(standard):
    truth, analysis, shares = standard
    n = Clock(CONTROL_RATE).count(analysis.duration)
    assert float(analysis.duration) == pytest.approx(truth.duration)
    for curve in (analysis.motion, analysis.events.energy, analysis.events.novelty, analysis.events.accents):
        assert curve.shape == (n,) and curve.min() >= 0 and curve.max() <= 1
    assert analysis.shots[0].start == 0 and analysis.shots[-1].end == float(analysis.duration)
    assert all(a.end == b.start for a, b in zip(analysis.shots[:-1], analysis.shots[1:], strict=True))
    assert len(analysis.features) == len(analysis.feature_times) == len(analysis.looks["motion"])
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_fast_moves_have_more_energy_than_still_ones(standard):
    _, analysis, _ = standard
    fast, still = (analysis.events.energy[a * 50 : b * 50].mean() for a, b in ((4, 5), (13, 15)))
    assert fast > still + 0.15


def test_save_and_load_lose_nothing(standard, tmp_path):
    _, analysis, _ = standard
    path = tmp_path / "a.analysis"
    analysis.save(path)
    again = VideoAnalysis.load(path)
    assert (again.duration, again.fps, again.shots) == (analysis.duration, analysis.fps, analysis.shots)
    assert again.camera_share == analysis.camera_share and again.events.rate == CONTROL_RATE
    for name in ("cuts", "flashes", "visual_beats", "visual_beat_strengths", "motion", "features", "classes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(analysis, name))
        assert getattr(again, name).dtype == getattr(analysis, name).dtype
    for name in ("accents", "energy", "novelty"):
        np.testing.assert_array_equal(getattr(again.events, name), getattr(analysis.events, name))
    for name, values in analysis.looks.items():
        np.testing.assert_array_equal(again.looks[name], values)


def test_still_picture_is_calm_and_says_so(tmp_path):
    Film([Scene(70, 4.0, noise=1)], 25).write(tmp_path / "still.mp4")
    analysis = analyze(tmp_path / "still.mp4")
    assert analysis.is_static
    assert len(analysis.visual_beats) == len(analysis.cuts) == 0
    assert analysis.events.energy.max() < 0.05


def test_few_frames_and_tiny_pictures(tmp_path):
    Film([Scene(71, 0.08)], 25, size=(32, 32)).write(tmp_path / "tiny.mp4")
    analysis = analyze(tmp_path / "tiny.mp4")
    assert len(analysis.shots) == 1 and analysis.events.n_steps == Clock(CONTROL_RATE).count(analysis.duration)


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError):
        analyze(tmp_path / "text.mp4")
    with pytest.raises(InputError, match="not a saved analysis"):
        VideoAnalysis.load(tmp_path / "text.mp4")


@pytest.mark.parametrize("name", ["city", "landscape"])
def test_examples_are_understood(name):
    truth = json.loads((EXAMPLES / f"{name}.truth.json").read_text())
    analysis = analyze(EXAMPLES / f"{name}.mp4")
    hard = [s.start for s in analysis.shots[1:] if not s.is_gradual]
    np.testing.assert_allclose(hard, truth["cuts"], atol=0.041)
    soft = [s.start for s in analysis.shots[1:] if s.is_gradual]
    assert len(soft) == len(truth["dissolves"])
    assert all(a - 0.2 <= t <= b + 0.2 for t, (a, b) in zip(soft, truth["dissolves"], strict=True))
    np.testing.assert_allclose(analysis.flashes, truth["flashes"], atol=0.041)
    assert (EXAMPLES / f"{name}.mp4").stat().st_size < 4e6


def test_strongest_of_close_beats_stays():
    assert strongest_apart([(1.0, 0.5), (1.1, 0.9), (1.3, 0.4), (2.0, 0.1)], 0.25) == [(1.1, 0.9), (2.0, 0.1)]


def test_smooth_keeps_the_mean_and_peaks_finds_maxima():
    values = np.zeros(201)
    values[100] = 1
    smoothed = smooth(values, 10)
    assert smoothed.sum() == pytest.approx(1, rel=1e-6) and smoothed.argmax() == 100
    assert np.sqrt((smoothed * (np.arange(201) - 100) ** 2).sum()) == pytest.approx(10, rel=0.1)
    assert peaks(np.array([0, 1, 0, 0, 3, 2, 0]), 2) == [1, 4]
    assert peaks(np.array([0, 1, 0, 0, 3, 2, 0]), 3) == [4]


def test_energy_of_nothing_is_zero_and_grows_with_cutting():
    times = np.arange(500) / 50
    nothing = ShotChanges((), np.zeros(0), np.zeros(0), times, np.full(500, 0.5, np.float32))
    assert energy_curve(np.zeros(500), np.zeros(0), nothing, times).max() == 0
    cuts = np.arange(0.5, 5, 0.5)
    energy = energy_curve(np.zeros(500), cuts, nothing, times)
    assert energy[:200].mean() > energy[400:].mean() + 0.2


def test_fps_is_kept(tmp_path):
    Film([Scene(72, 0.6)], Fraction(24000, 1001)).write(tmp_path / "film.mp4")
    assert analyze(tmp_path / "film.mp4").fps == Fraction(24000, 1001)
