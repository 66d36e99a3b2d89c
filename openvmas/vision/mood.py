"""The mapping from what a picture shows to what music should be like: a learned head, and stated rules beside it.

The head (`weights/picture_mood.npz`) is linear in what the backbone sees and in light and colour. It was learned from
1,540 pictures that were labelled by looking (docs/data/pictures.md) and speaks on the axes on which it agrees with such
labels better than the rules do. The rules of `concepts.toml` speak on the others, for motion and cutting on all, and
they are the explanation. A rule has a cue in [0, 1] (or [-1, 1] where it has two sides) and the axes that it moves, in
standard deviations. All effects are added and limited to [-2, 2].
"""

from __future__ import annotations

import functools
import itertools
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import AXES, MOOD_AXES
from openvmas.errors import ModelError
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.backbone import N_CLASSES, N_FEATURES, read_class_names

HEAD = Path(__file__).parent / "weights" / "picture_mood.npz"
# Means of `describe` over videos at large, by tools/balance_prompts.py; how much of them `distinguish` takes away.
TYPICAL, TYPICAL_SHARE = Path(__file__).parent / "weights" / "typical_mood.json", 0.75
LIMIT = 2.0
MIN_EFFECT = 0.35  # a style, feeling or instrument that moves less than this is not mentioned
# A still says nothing of these, so the head, which learned from stills, leaves them to the rules.
MOTION_CUES = ("lively", "fast_cutting", "still")
PIECE = 4.0  # s, the longest span that is judged as one
MEMORY = 4.0  # s, over which a mood lingers within a shot
LOOKS = ("brightness", "saturation", "warmth", "contrast")


@dataclass(frozen=True)
class Rule:
    """When `cue` is 1 the axes move by these many standard deviations (and by minus that where it is -1).

    seen: what a viewer would call it when the cue is there; unseen: when it is on its other side ("" if it has none).
    """

    cue: str
    sentence: str
    effects: dict[str, float]
    seen: str
    unseen: str = ""


@dataclass(frozen=True)
class Concepts:
    """The content of `concepts.toml`. concepts: name → increasing numbers of its ImageNet classes."""

    concepts: dict[str, np.ndarray]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Head:
    """A linear map. axes: the A names it speaks on; weights: [I, A] and bias: [A], to standard deviations."""

    axes: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray

    def judge(self, features: np.ndarray, looks: np.ndarray) -> np.ndarray:
        """Axes of spans: [N, A]. features: [N, 1280], means over each span; looks: [N, 4], in the order of LOOKS."""
        inputs = np.concatenate([np.sqrt(np.maximum(features, 0)), look_terms(looks)], axis=1)
        return inputs @ self.weights + self.bias


@dataclass(frozen=True)
class MoodCurve:
    """The head's word over time. starts, ends: [P] s, pieces of shots one after the other; axes: [P, A]."""

    starts: np.ndarray
    ends: np.ndarray
    axes: np.ndarray


@functools.cache
def read_mapping() -> Concepts:
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
    return Concepts(concepts, tuple(Rule(**rule) for rule in table["rules"]))


@functools.cache
def read_head() -> Head:
    """The head, read when the first picture is described. Raises ModelError if its file is damaged."""
    try:
        with np.load(HEAD) as data:
            axes = tuple(str(axis) for axis in data["axes"])
            return Head(axes, data["weights"].astype(np.float32), data["bias"].astype(np.float32))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The weights {HEAD.name} cannot be read ({error}); reinstall openvmas.") from error


def look_terms(looks: np.ndarray) -> np.ndarray:
    """Light and colour as the head is given them: [N, 14] of looks [N, 4], with squares, roots and products."""
    light, colour, warmth, contrast = np.asarray(looks, np.float32).T
    return np.stack(
        [
            *(light, colour, warmth, contrast, light**2, colour**2, warmth**2, contrast**2),
            *(light * colour, light * contrast, colour * contrast, light * warmth),
            *(np.sqrt(np.maximum(light, 0)), np.sqrt(np.maximum(colour, 0))),
        ],
        axis=1,
    )


def describe(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """Semantics of the music that a span of a picture asks for: axis → value in [-2, 2], standard deviations.

    start, end: s. The mood axes are always there; styles, feelings and instruments only if the picture speaks for (or
    against) them. Analyses without the backbone's features are described by the rules alone.
    """
    return add_rules(_learned(analysis, start, end), cues(analysis, start, end))


def distinguish(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """Semantics as from `describe`, less most of what videos at large have.

    Videos are livelier than music at large and seldom ask for strings; a video like all others should get music like
    all other music, and what sets a video apart should set its music apart.
    """
    usual = {axis: TYPICAL_SHARE * mean for axis, mean in read_typical().items()}
    return add_rules(_learned(analysis, start, end), cues(analysis, start, end), usual)


@functools.cache
def read_typical() -> dict[str, float]:
    """Read what videos at large ask for: axis → mean, standard deviations. Raises ModelError if its file is damaged."""
    try:
        found = json.loads(TYPICAL.read_text(encoding="utf-8"))
        return {axis: float(found[axis]) for axis in AXES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{TYPICAL.name} cannot be read ({error}); reinstall openvmas.") from error


def add_rules(
    learned: dict[str, float], values: dict[str, float], usual: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Values of the head (axis → standard deviations) with what the rules add to it for these cues.

    usual: what is taken away from each axis before it is judged whether the picture speaks on it.
    """
    total = dict.fromkeys(AXES, 0.0) | learned
    for axis, value in (usual or {}).items():
        total[axis] -= value
    for rule in read_mapping().rules:
        for axis, weight in rule.effects.items():
            if axis not in learned or rule.cue in MOTION_CUES:
                total[axis] += weight * values[rule.cue]
    limited = {axis: round(float(np.clip(value, -LIMIT, LIMIT)), 3) for axis, value in total.items()}
    return {axis: value for axis, value in limited.items() if axis in MOOD_AXES or abs(value) >= MIN_EFFECT}


def _learned(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """The head's mean over a span: axis → standard deviations; nothing without features."""
    curve = judge_over_time(analysis, start, end)
    if not len(curve.axes):
        return {}
    shares = np.minimum(curve.ends, end) - np.maximum(curve.starts, start)
    mean = np.average(curve.axes, axis=0, weights=np.maximum(shares, 1e-6))
    return dict(zip(read_head().axes, mean.tolist(), strict=True))


def judge_over_time(analysis: VideoAnalysis, start: float, end: float) -> MoodCurve:
    """The mood of the picture between two moments (s), piece by piece: smooth within a shot, new after a cut.

    Pieces are shots, in parts of at most PIECE. A shot of PIECE and more stands for itself; shorter ones take the more
    of their neighbours the shorter they are, for what is seen for half a second is no mood. Empty without features.
    """
    width = analysis.features.shape[1] if analysis.features.ndim == 2 else 0
    if width != N_FEATURES or not len(analysis.feature_times) or not np.any(analysis.features):
        return MoodCurve(np.zeros(0), np.zeros(0), np.zeros((0, 0)))
    edges, shots = _pieces(analysis)
    first = int(np.clip(np.searchsorted(edges[1:], start, side="right"), 0, len(shots) - 1))
    last = int(np.clip(np.searchsorted(edges[:-1], end, side="left"), first + 1, len(shots)))
    low, high = max(first - 8, 0), min(last + 8, len(shots))  # what lies further away hardly counts
    edges, shots = edges[low : high + 1], shots[low:high]
    times = analysis.feature_times
    looks = np.stack([analysis.looks[name] for name in LOOKS], axis=1)
    features = np.zeros((len(shots), N_FEATURES), np.float32)
    seen = np.zeros((len(shots), len(LOOKS)), np.float32)
    for i, (a, b) in enumerate(itertools.pairwise(edges)):
        rows = slice(*np.searchsorted(times, [a, b]))
        if rows.start >= rows.stop:  # a shot between two looks at the picture
            nearest = int(np.argmin(np.abs(times - (a + b) / 2)))
            rows = slice(nearest, nearest + 1)
        features[i] = analysis.features[rows].astype(np.float32).mean(axis=0)
        seen[i] = looks[rows].mean(axis=0)
    said = read_head().judge(features, seen)
    kept = slice(first - low, last - low)
    weights = _neighbours(edges, shots)[kept]
    return MoodCurve(edges[:-1][kept], edges[1:][kept], weights @ said)


def _pieces(analysis: VideoAnalysis) -> tuple[np.ndarray, np.ndarray]:
    """Edges [P + 1] of the pieces, s, and the number of the shot of each [P]."""
    edges, shots = [0.0], []
    for number, shot in enumerate(analysis.shots):
        n = max(int(np.ceil((shot.end - shot.start) / PIECE)), 1)
        edges += list(np.linspace(shot.start, shot.end, n + 1)[1:])
        shots += [number] * n
    return np.array(edges), np.array(shots)


def _neighbours(edges: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """The weight of every piece in the mood of each: [P, P], rows sum to 1."""
    lengths, middles = np.diff(edges), (edges[:-1] + edges[1:]) / 2
    near = np.exp(-np.abs(middles[:, None] - middles) / MEMORY) * np.maximum(lengths, 1e-3)
    own = np.array([lengths[shots == shot].sum() for shot in shots])
    across = np.clip(1 - own / PIECE, 0, 1)[:, None]
    weights = near * np.where(shots[:, None] == shots, 1.0, across)
    return weights / weights.sum(axis=1, keepdims=True)


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
