"""A made-up analysis with known cuts, energy and looks, for tests of the plan."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events
from openvmas.vision.analysis import Shot, VideoAnalysis


def make_analysis(
    duration: Fraction | float = 30,
    cuts: Sequence[float] = (),
    beats: Sequence[float] | None = None,
    strengths: Sequence[float] | None = None,
    energy: Sequence[tuple[float, float]] = ((0.0, 0.5),),
    looks: Sequence[tuple[float, float]] = ((0.0, 0.5),),
) -> VideoAnalysis:
    """An analysis; energy and looks (brightness and so on alike) are steps: (from time s, value)."""
    duration = Fraction(duration).limit_denominator(100_000)
    end = float(duration)
    n_steps = Clock(CONTROL_RATE).count(duration)
    times = Clock(CONTROL_RATE).times(n_steps)
    feature_times = np.arange(0, end, 0.5)
    edges = [0.0, *cuts, end]
    beats = np.array(list(cuts) if beats is None else beats, float)
    curve = _steps(energy, times)
    look = _steps(looks, feature_times)
    rng = np.random.default_rng(1)
    features = look[:, None] * rng.standard_normal(1280)[None, :] + 0.01 * rng.standard_normal((len(look), 1280))
    novelty = np.zeros(n_steps, np.float32)
    for cut in cuts:
        novelty[min(int(cut * 50), n_steps - 1)] = 0.5
    return VideoAnalysis(
        duration=duration,
        fps=Fraction(25),
        shots=tuple(Shot(a, b, False) for a, b in itertools.pairwise(edges)),
        cuts=np.array(cuts, float),
        flashes=np.zeros(0),
        visual_beats=beats,
        visual_beat_strengths=np.full(len(beats), 0.7) if strengths is None else np.array(strengths, float),
        events=Events(CONTROL_RATE, np.zeros(n_steps, np.float32), curve.astype(np.float32), novelty),
        motion=curve.astype(np.float32),
        camera_share=0.0,
        feature_times=feature_times,
        features=features.astype(np.float16),
        classes=np.full((len(look), 1000), 0.001, np.float16),
        looks={name: look for name in ("brightness", "saturation", "warmth", "contrast", "motion")},
    )


def _steps(points: Sequence[tuple[float, float]], times: np.ndarray) -> np.ndarray:
    starts, values = (np.array(x, float) for x in zip(*points, strict=True))
    return values[np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(starts) - 1)]
