"""The head says of pictures what its labels say, smoothly within a shot and anew after a cut."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from openvmas.condition import AXES
from openvmas.errors import ModelError
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.vision import mood
from openvmas.vision.analysis import LOOKS, Shot, VideoAnalysis
from openvmas.vision.backbone import N_CLASSES, N_FEATURES
from openvmas.vision.explanation import describe_by_rules, summarize
from openvmas.vision.mood import describe, judge_over_time, look_terms, read_head


def seen(features: np.ndarray, cuts=(), energy: float = 0.38, brightness: float = 0.42) -> VideoAnalysis:
    """An analysis of two looks a second, [F, 1280], with shots between the cuts."""
    f = len(features)
    end = f / 2
    edges = [0.0, *cuts, end]
    n = round(end * CONTROL_RATE)
    values = dict(zip(LOOKS, (brightness, 0.22, 0.02, 0.55, energy), strict=True))
    return VideoAnalysis(
        duration=Fraction(f, 2),
        fps=Fraction(25),
        shots=tuple(Shot(a, b, False) for a, b in itertools.pairwise(edges)),
        cuts=np.array(cuts, np.float64),
        flashes=np.zeros(0),
        visual_beats=np.zeros(0),
        visual_beat_strengths=np.zeros(0),
        events=Events(CONTROL_RATE, *(np.full(n, v, np.float32) for v in (0.0, energy, 0.0))),
        motion=np.full(n, energy, np.float32),
        camera_share=0.5,
        feature_times=np.arange(f) / 2,
        features=features.astype(np.float16),
        classes=np.full((f, N_CLASSES), 1e-4, np.float16),
        looks={name: np.full(f, value, np.float32) for name, value in values.items()},
    )


@pytest.fixture
def two_moods() -> tuple[np.ndarray, np.ndarray]:
    """Two features [1280] far apart in the head's valence."""
    weights = read_head().weights[:N_FEATURES, read_head().axes.index("valence")]
    return np.where(weights > 0, 1.0, 0.05), np.where(weights < 0, 1.0, 0.05)


def test_head_speaks_on_axes_and_is_small():
    head = read_head()
    assert set(head.axes) <= set(AXES) and {"valence", "arousal"} <= set(head.axes)
    assert head.weights.shape == (N_FEATURES + look_terms(np.zeros((1, 4))).shape[1], len(head.axes))
    assert np.isfinite(head.weights).all() and np.isfinite(head.bias).all()
    assert mood.HEAD.stat().st_size < 200_000


def test_damaged_weights_are_reported(monkeypatch, tmp_path):
    (tmp_path / "head.npz").write_bytes(b"nothing")
    monkeypatch.setattr(mood, "HEAD", tmp_path / "head.npz")
    read_head.cache_clear()
    try:
        with pytest.raises(ModelError, match="reinstall openvmas"):
            read_head()
    finally:
        read_head.cache_clear()


def test_judgement_is_linear_in_roots_of_features():
    head = read_head()
    features, looks = np.full((1, N_FEATURES), 0.25, np.float32), np.array([[0.5, 0.2, -0.1, 0.6]], np.float32)
    terms = [0.5, 0.2, -0.1, 0.6, 0.25, 0.04, 0.01, 0.36, 0.1, 0.3, 0.12, -0.05, 0.5**0.5, 0.2**0.5]
    wanted = 0.5 * head.weights[:N_FEATURES].sum(axis=0) + np.array(terms) @ head.weights[N_FEATURES:] + head.bias
    assert np.allclose(head.judge(features, looks)[0], wanted, atol=1e-3)


def test_without_features_the_rules_speak():
    analysis = seen(np.zeros((20, N_FEATURES)))
    assert describe(analysis, 0, 10) == describe_by_rules(analysis, 0, 10)
    narrow = replace(analysis, features=np.ones((20, 1), np.float16))
    assert describe(narrow, 0, 10) == describe_by_rules(narrow, 0, 10)
    assert len(judge_over_time(narrow, 0, 10).axes) == 0


def test_motion_is_added_to_what_the_head_says(two_moods):
    calm, fast = (seen(np.tile(two_moods[0], (20, 1)), energy=energy) for energy in (0.1, 0.8))
    assert describe(fast, 0, 10)["arousal"] > describe(calm, 0, 10)["arousal"] + 0.8
    assert describe(fast, 0, 10)["valence"] == describe(calm, 0, 10)["valence"]  # motion is neither good nor bad


def test_mood_is_new_after_a_cut_between_long_shots(two_moods):
    bright, dark = two_moods
    analysis = seen(np.concatenate([np.tile(bright, (20, 1)), np.tile(dark, (20, 1))]), cuts=(10.0,))
    valence = read_head().axes.index("valence")
    curve = judge_over_time(analysis, 0, 20)
    values = curve.axes[:, valence]
    assert np.allclose(values[curve.ends <= 10], values[0], atol=1e-4)
    assert np.allclose(values[curve.starts >= 10], values[-1], atol=1e-4)
    assert values[0] > values[-1] + 1
    assert describe(analysis, 0, 10)["valence"] > describe(analysis, 10, 20)["valence"] + 1


def test_short_shots_share_the_mood_of_their_neighbours(two_moods):
    bright, dark = two_moods
    features = np.tile(bright, (40, 1))
    features[20:21] = dark  # half a second of something else
    valence = read_head().axes.index("valence")
    flash = judge_over_time(seen(features, cuts=(10.0, 10.5)), 0, 20)
    alone = judge_over_time(seen(np.tile(dark, (40, 1))), 0, 20).axes[0, valence]
    usual = flash.axes[0, valence]
    middle = flash.axes[np.flatnonzero(flash.starts == 10.0)[0], valence]
    assert usual - middle < 0.5 * (usual - alone)


def test_mood_drifts_within_a_shot(two_moods):
    bright, dark = two_moods
    analysis = seen(np.concatenate([np.tile(bright, (40, 1)), np.tile(dark, (40, 1))]))
    curve = judge_over_time(analysis, 0, 40)
    assert (np.diff(curve.starts) <= mood.PIECE + 1e-9).all() and curve.ends[-1] == 40
    values = curve.axes[:, read_head().axes.index("valence")]
    assert (np.diff(values) < 1e-6).all()  # from one to the other without going back
    assert np.abs(np.diff(values)).max() < 0.5 * (values[0] - values[-1])


def test_a_part_of_a_film_is_judged_as_in_the_whole(two_moods):
    rng = np.random.default_rng(3)
    features = np.abs(rng.normal(0.5, 0.3, (240, N_FEATURES)))
    analysis = seen(features, cuts=tuple(np.cumsum(rng.uniform(0.4, 7, 24))))
    whole = judge_over_time(analysis, 0, 120)
    part = judge_over_time(analysis, 50, 60)
    rows = np.isin(whole.starts, part.starts)
    assert part.starts[0] <= 50 < part.ends[0] and part.starts[-1] < 60 <= part.ends[-1]
    assert np.allclose(whole.axes[rows], part.axes, atol=0.02)


@pytest.mark.parametrize("span", [(0.0, 0.01), (19.99, 20.0), (7.3, 7.4), (0.0, 20.0)])
def test_any_span_is_judged(two_moods, span):
    said = describe(seen(np.tile(two_moods[0], (40, 1)), cuts=(7.35, 7.37)), *span)
    assert all(np.isfinite(value) and abs(value) <= 2 for value in said.values())


def test_summary_names_what_is_seen_and_what_it_sounds_like(two_moods):
    said = summarize(seen(np.tile(two_moods[1], (20, 1)), brightness=0.1, energy=0.02), 0, 10)
    said_bright = summarize(seen(np.tile(two_moods[0], (20, 1)), brightness=0.6, energy=0.9), 0, 10)
    shown, _, heard = said.partition(": ")
    assert shown.split(", ")[:2] in (["dark", "slow"], ["dark", "still"], ["dim", "slow"], ["dim", "still"])
    assert "gloomy" in heard
    assert said_bright.startswith("lively, bright: ") and "cheerful" in said_bright
