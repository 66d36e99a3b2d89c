"""The stated mapping from what a picture shows to what music should be like: the rules of `concepts.toml`.

Every rule has a cue in [0, 1] (or [-1, 1] where it has two sides) and the axes that it moves, in standard deviations.
The effects of all rules are added and limited to [-2, 2]. It is to be replaced by what is learned from pairs.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import AXES, MOOD_AXES
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.backbone import N_CLASSES, read_class_names

LIMIT = 2.0
MIN_EFFECT = 0.35  # a style, feeling or instrument that moves less than this is not mentioned


@dataclass(frozen=True)
class Rule:
    """When `cue` is 1 the axes move by these many standard deviations (and by minus that where it is -1)."""

    cue: str
    sentence: str
    effects: dict[str, float]


@dataclass(frozen=True)
class Mapping:
    """The content of `concepts.toml`. concepts: name → increasing numbers of its ImageNet classes."""

    concepts: dict[str, np.ndarray]
    rules: tuple[Rule, ...]


@functools.cache
def read_mapping() -> Mapping:
    """The mapping, read when the first picture is described. Raises ValueError for a class that there is not."""
    table = tomllib.loads(Path(__file__).with_name("concepts.toml").read_text(encoding="utf-8"))
    names = read_class_names()
    concepts = {}
    for concept, members in table["concepts"].items():
        numbers: set[int] = set()
        for member in members:
            first, _, last = member.partition(" .. ")
            numbers.update(range(names.index(first), names.index(last or first) + 1))
        concepts[concept] = np.array(sorted(numbers))
    return Mapping(concepts, tuple(Rule(**rule) for rule in table["rules"]))


def describe(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """Semantics of the music that a span of a picture asks for: axis → value in [-2, 2], standard deviations.

    start, end: s. The mood axes are always there; styles, feelings and instruments only if the picture speaks for (or
    against) them.
    """
    values = cues(analysis, start, end)
    total: dict[str, float] = {axis: 0.0 for axis in AXES}
    for rule in read_mapping().rules:
        for axis, weight in rule.effects.items():
            total[axis] += weight * values[rule.cue]
    limited = {axis: round(float(np.clip(value, -LIMIT, LIMIT)), 3) for axis, value in total.items()}
    return {axis: value for axis, value in limited.items() if axis in MOOD_AXES or abs(value) >= MIN_EFFECT}


def explain(analysis: VideoAnalysis, start: float, end: float) -> list[str]:
    """The sentences of the rules that speak for this span, strongest cue first, with the cue's value."""
    values = cues(analysis, start, end)
    spoken = sorted(
        ((abs(values[r.cue]), r) for r in read_mapping().rules if abs(values[r.cue]) >= 0.15), key=lambda p: -p[0]
    )
    return [f"{rule.cue} {values[rule.cue]:+.2f}: {rule.sentence}" for _, rule in spoken]


def cues(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """The cues of all rules in one span: cue → value in [0, 1], or [-1, 1] where it has two sides."""
    inside = (analysis.feature_times >= start - 0.25) & (analysis.feature_times < end)
    if not inside.any() and len(analysis.feature_times):
        inside[np.argmin(np.abs(analysis.feature_times - (start + end) / 2))] = True
    looks = {name: float(values[inside].mean()) if inside.any() else 0.0 for name, values in analysis.looks.items()}
    rate = float(analysis.events.rate)
    low, high = round(start * rate), max(round(end * rate), round(start * rate) + 1)
    energy = float(analysis.events.energy[low:high].mean()) if low < analysis.events.n_steps else 0.0
    # A second of room on both sides: one cut in a short section is not fast cutting.
    n_cuts = int(((analysis.cuts > start - 1) & (analysis.cuts < end + 1)).sum())
    cutting = n_cuts / max(end - start + 2, 4.0)
    bright = _two_sided(looks["brightness"], 0.42, 0.22)
    lively = _two_sided(energy, 0.38, 0.30)
    result = {
        "bright": bright,
        "dark": _one_sided(-looks["brightness"], -0.27, -0.12),
        "colourful": _two_sided(looks["saturation"], 0.22, 0.18),
        "warm": _two_sided(looks["warmth"], 0.02, 0.15),
        "stark": _two_sided(looks["contrast"], 0.55, 0.30),
        "lively": lively,
        "fast_cutting": _one_sided(cutting, 0.25, 1.0),
        "still": _one_sided(-energy, -0.25, -0.08) * _one_sided(-cutting, -0.3, -0.12),
        "bright_lively": max(bright, 0) * max(lively, 0),
        "dark_still": max(-bright, 0) * max(-lively, 0),
        "dark_lively": max(-bright, 0) * max(lively, 0),
        "bright_still": max(bright, 0) * max(-lively, 0),
    }
    classes = analysis.classes[inside].astype(np.float32).mean(axis=0) if inside.any() else np.zeros(N_CLASSES)
    for concept, members in read_mapping().concepts.items():
        result[concept] = _one_sided(float(classes[members].sum()), 0.06, 0.45)
    return result


def _two_sided(value: float, middle: float, width: float) -> float:
    return float(np.clip((value - middle) / width, -1, 1))


def _one_sided(value: float, none: float, full: float) -> float:
    return float(np.clip((value - none) / (full - none), 0, 1))
