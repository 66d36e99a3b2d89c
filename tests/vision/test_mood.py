"""The mapping from looks to moods says what its sentences say."""

from fractions import Fraction

import numpy as np
import pytest

from openvmas.condition import AXES, MOOD_AXES
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.vision.analysis import LOOKS, Shot, VideoAnalysis
from openvmas.vision.backbone import read_class_names
from openvmas.vision.explanation import explain
from openvmas.vision.mood import TYPICAL_SHARE, cues, describe, distinguish, read_mapping, read_typical


def picture(
    brightness=0.45, saturation=0.22, warmth=0.02, contrast=0.55, energy=0.35, cuts=(), sees: dict | None = None
) -> VideoAnalysis:
    """An analysis of 20 s that looks the same all the time."""
    n, f = 1000, 40
    classes = np.full((f, 1000), 1e-4, np.float16)
    for name, probability in (sees or {}).items():
        classes[:, read_class_names().index(name)] = probability
    values = dict(zip(LOOKS, (brightness, saturation, warmth, contrast, energy), strict=True))
    return VideoAnalysis(
        duration=Fraction(20),
        fps=Fraction(25),
        shots=(Shot(0, 20, False),),
        cuts=np.array(cuts, np.float64),
        flashes=np.zeros(0),
        visual_beats=np.zeros(0),
        visual_beat_strengths=np.zeros(0),
        events=Events(CONTROL_RATE, *(np.full(n, v, np.float32) for v in (0.0, energy, 0.0))),
        motion=np.full(n, energy, np.float32),
        camera_share=0.5,
        feature_times=np.arange(f) / 2,
        features=np.zeros((f, 1280), np.float16),
        classes=classes,
        looks={name: np.full(f, value, np.float32) for name, value in values.items()},
    )


def test_dark_and_slow_is_sad_low_and_ambient():
    mood = describe(picture(brightness=0.1, saturation=0.05, energy=0.03), 0, 20)
    assert mood["valence"] < -0.7 and mood["arousal"] < -0.7 and mood["density"] < -0.5
    assert mood["sad"] > 0.7 and mood["ambient"] > 0.7
    assert mood.get("happy", 0) <= 0 and mood.get("exciting", 0) < 0


def test_bright_and_fast_is_exciting_and_high():
    mood = describe(picture(brightness=0.65, saturation=0.4, energy=0.8, cuts=np.arange(0.5, 20, 0.7)), 0, 20)
    assert mood["arousal"] > 1 and mood["exciting"] > 1 and mood["valence"] > 0.5
    assert mood["happy"] > 0.7 and mood["drums"] > 0.7 and mood["danceability"] > 0.7
    assert mood.get("ambient", 0) < 0


def test_dark_and_fast_is_dangerous():
    mood = describe(picture(brightness=0.12, energy=0.85, cuts=np.arange(0.5, 20, 0.7)), 0, 20)
    assert mood["valence"] < -0.5 < 0.7 < mood["arousal"]
    assert mood["angry"] > 0.4 and mood["exciting"] > 0.7


@pytest.mark.parametrize(
    "seen, axis",
    [
        ("alp", "acousticness"),
        ("seashore", "ambient"),
        ("daisy", "folk"),
        ("golden retriever", "funny"),
        ("sports car", "exciting"),
        ("electric guitar", "rock"),
        ("grand piano", "piano"),
        ("violin", "strings"),
        ("monastery", "choir"),
        ("castle", "classical"),
        ("laptop", "electronic"),
        ("space shuttle", "synthesizer"),
        ("espresso", "jazz"),
        ("groom", "tender"),
        ("tank", "brass"),
        ("tiger", "scary"),
        ("traffic light", "electronic"),
        ("balloon", "happy"),
    ],
)
def test_what_is_seen_is_heard(seen, axis):
    plain, with_it = describe(picture(), 0, 20), describe(picture(sees={seen: 0.7}), 0, 20)
    assert with_it[axis] > plain.get(axis, 0) + 0.35


def test_neutral_picture_says_little():
    mood = describe(picture(), 0, 20)
    assert set(MOOD_AXES) <= set(mood)
    assert max(abs(v) for v in mood.values()) < 0.5


def test_values_are_limited_and_axes_known():
    loud = picture(brightness=1.0, saturation=1.0, energy=1.0, cuts=np.arange(0.1, 20, 0.2), sees={"racer": 0.9})
    mood = describe(loud, 3, 9)
    assert set(mood) <= set(AXES) and max(abs(v) for v in mood.values()) <= 2
    for rule in read_mapping().rules:
        assert set(rule.effects) <= set(AXES) and rule.sentence.endswith(".") and rule.cue in cues(loud, 0, 20)


def test_what_videos_at_large_have_is_taken_away():
    usual = read_typical()
    assert set(usual) == set(AXES) and usual["arousal"] > 0.3, "videos are livelier than music"
    analysis = picture(brightness=0.6, energy=0.5)
    said, apart = describe(analysis, 0.0, 10.0), distinguish(analysis, 0.0, 10.0)
    for axis in MOOD_AXES:
        assert apart[axis] == pytest.approx(np.clip(said[axis] - TYPICAL_SHARE * usual[axis], -2, 2), abs=0.002)
    assert apart.keys() - said.keys() | said.keys() - apart.keys(), "what is usual is no longer mentioned"


def test_spans_differ():
    analysis = picture()
    analysis.looks["brightness"][:20] = 0.05
    assert describe(analysis, 0, 10)["valence"] < describe(analysis, 10, 20)["valence"] - 0.5


def test_very_short_and_late_spans_are_described():
    assert set(MOOD_AXES) <= set(describe(picture(), 19.99, 20.0))
    assert set(MOOD_AXES) <= set(describe(picture(), 4.1, 4.15))


def test_reasons_are_given():
    reasons = explain(picture(sees={"alp": 0.8}), 0, 20)
    assert reasons[0].startswith("mountains +1.00: Mountains")


def test_concepts_hold_valid_classes_once_each():
    for concept, numbers in read_mapping().concepts.items():
        assert len(set(numbers)) == len(numbers) > 1, concept
        assert 0 <= numbers.min() <= numbers.max() < 1000, concept
