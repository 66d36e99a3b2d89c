"""The axes that the head and the rules state of single pictures, as numbers that a network reads beside features."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from openvmas.condition import AXES
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.vision.analysis import LOOKS, Shot, VideoAnalysis
from openvmas.vision.explanation import describe_by_rules
from openvmas.vision.mood import read_head

STEP = 0.5  # s between pictures, on the clock of the rules
NEUTRAL_ENERGY = 0.38  # the middle of the rule "lively"


def state_axes(analysis: VideoAnalysis) -> np.ndarray:
    """The axes that are stated of every picture that an analysis looked at: [F, A] float32 (`state_pictures`)."""
    looks = np.stack([analysis.looks[name] for name in LOOKS[:4]], axis=1)
    return state_pictures(analysis.features, looks, analysis.classes)


def state_pictures(features: np.ndarray, looks: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Axes of the head, then all of `condition.AXES` by the rules, motion and cutting being neutral: [F, A] float32.

    features: [F, 1280]; looks: [F, 4] brightness, saturation, warmth, contrast; classes: [F, 1000] probabilities.
    """
    learned = read_head().judge(features.astype(np.float32), looks)
    still = rest(looks, classes)
    said = [describe_by_rules(still, STEP * i, STEP * (i + 0.4)) for i in range(len(looks))]
    rules = np.array([[one.get(axis, 0.0) for axis in AXES] for one in said], np.float32).reshape(-1, len(AXES))
    return np.concatenate([learned, rules], axis=1).astype(np.float32)


def rest(looks: np.ndarray, classes: np.ndarray) -> VideoAnalysis:
    """Pictures STEP apart, looks [F, 4] and classes [F, 1000], as the analysis of a video in which nothing moves."""
    n = len(looks)
    flat = np.zeros(round(max(n, 2) * STEP * float(CONTROL_RATE)), np.float32)
    values = dict(zip(LOOKS[:4], np.asarray(looks, np.float32).T, strict=True)) | {"motion": np.zeros(n, np.float32)}
    return VideoAnalysis(
        duration=Fraction(len(flat)) / CONTROL_RATE, fps=Fraction(25),
        shots=(Shot(0.0, len(flat) / float(CONTROL_RATE), False),), cuts=np.zeros(0), flashes=np.zeros(0),
        visual_beats=np.zeros(0), visual_beat_strengths=np.zeros(0),
        events=Events(CONTROL_RATE, flat, flat + np.float32(NEUTRAL_ENERGY), flat), motion=flat, camera_share=0.0,
        feature_times=np.arange(n) * STEP, features=np.zeros((n, 1), np.float16), classes=classes, looks=values,
    )  # fmt: skip
