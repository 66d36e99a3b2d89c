"""Scales, chord progressions with functions, and voicings that move as little as they can.

Modes of one set of seven pitches: sections change mode without changing the signature, as relative keys do.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from openvmas.symbolic.notes import PITCH_NAMES

# Steps of each mode above its tonic, and where its tonic lies above that of the major scale of the same pitches.
MODES: dict[str, tuple[tuple[int, ...], int]] = {
    "lydian": ((0, 2, 4, 6, 7, 9, 11), 5),
    "major": ((0, 2, 4, 5, 7, 9, 11), 0),
    "mixolydian": ((0, 2, 4, 5, 7, 9, 10), 7),
    "dorian": ((0, 2, 3, 5, 7, 9, 10), 2),
    "minor": ((0, 2, 3, 5, 7, 8, 10), 9),
    "phrygian": ((0, 1, 3, 5, 7, 8, 10), 4),
}
# Four chords as degrees from 0; "V" is the major dominant, in minor with its raised leading tone.
PROGRESSIONS: dict[str, tuple[tuple[int | str, ...], ...]] = {
    "major": (
        (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 5, 4), (0, 2, 3, 4), (5, 3, 0, 4), (0, 3, 1, 4), (0, 4, 3, 4), (3, 4, 5, 0),
        (0, 5, 1, 4), (3, 0, 4, 5),
    ),
    "minor": (
        (0, 5, 2, 6), (0, 3, 5, "V"), (0, 6, 5, "V"), (0, 5, 3, "V"), (0, 2, 6, 5), (0, 3, 6, 2), (5, 6, 0, 0),
        (0, 4, 5, 3), (0, 6, 3, 5),
    ),
    "dorian": ((0, 3, 0, 3), (0, 6, 3, 0), (0, 2, 3, 6), (0, 3, 6, 4), (0, 1, 3, 0)),
    "mixolydian": ((0, 6, 3, 0), (0, 6, 3, 4), (0, 3, 6, 0), (0, 4, 6, 3)),
    "lydian": ((0, 1, 0, 1), (0, 1, 5, 2), (0, 5, 1, 4), (0, 2, 1, 4)),
    "phrygian": ((0, 1, 0, 1), (0, 1, 6, 0), (0, 5, 1, 0), (0, 6, 5, 1)),
}  # fmt: skip
# The chord before the last: what leads home in each mode.
CADENCES: dict[str, int | str] = {"major": 4, "minor": "V", "dorian": 3, "mixolydian": 6, "lydian": 1, "phrygian": 1}
MINOR_MODES = ("minor", "dorian", "phrygian")


class Harmony(NamedTuple):
    """One chord: root, tones (pitch classes, the root first), symbol, and the seven pitch classes that go with it."""

    root: int
    tones: tuple[int, ...]
    symbol: str
    scale: tuple[int, ...]


class Key(NamedTuple):
    """tonic: pitch class; mode: a name of MODES."""

    tonic: int
    mode: str

    @property
    def name(self) -> str:
        return f"{PITCH_NAMES[self.tonic]} {self.mode}"

    @property
    def is_minor(self) -> bool:
        return self.mode in MINOR_MODES

    @property
    def scale(self) -> tuple[int, ...]:
        return tuple((self.tonic + step) % 12 for step in MODES[self.mode][0])

    def relative(self, mode: str) -> Key:
        """The key of another mode with the same pitches."""
        return Key((self.tonic - MODES[self.mode][1] + MODES[mode][1]) % 12, mode)

    def chord(self, degree: int | str, n_tones: int = 3) -> Harmony:
        """A chord of the key: n_tones 3 a triad, 4 with its seventh, 5 with its ninth."""
        is_dominant = degree == "V"
        place = 4 if is_dominant else int(degree)
        scale = list(self.scale)
        if is_dominant and scale[6] != (self.tonic - 1) % 12:
            scale[6] = (self.tonic - 1) % 12
        tones = [scale[(place + 2 * k) % 7] for k in range(n_tones)]
        if len(tones) == 5 and (tones[4] - tones[0]) % 12 == 1:
            tones.pop()  # a minor ninth grates on every chord but a dominant
        return Harmony(tones[0], tuple(tones), _symbol(tones), tuple(sorted(scale)))


def _symbol(tones: list[int]) -> str:
    steps = [(tone - tones[0]) % 12 for tone in tones]
    name = PITCH_NAMES[tones[0]]
    third, fifth = steps[1], steps[2]
    base = "°" if (third, fifth) == (3, 6) else "m" if third == 3 else ""
    if len(steps) == 3:
        return name + base
    seventh = {11: "maj7", 10: "7", 9: "6"}[steps[3]]
    if base == "°":
        return name + "m7b5"
    name += base + seventh
    return name + "(9)" if len(steps) == 5 else name


def fit_mode(semantics: dict[str, float], rng: np.random.Generator) -> str:
    """The mode of a mood: from lydian, the brightest, to phrygian, the darkest."""
    valence = semantics.get("valence", 0.0) + 0.3 * semantics.get("happy", 0) - 0.3 * semantics.get("sad", 0)
    dread = semantics.get("scary", 0.0) + 0.4 * semantics.get("angry", 0)
    if dread > 1.0 and valence < 0:
        return "phrygian" if rng.random() < 0.5 else "minor"
    if valence > 0.15:
        if semantics.get("ambient", 0) > 0.8 and rng.random() < 0.5:
            return "lydian"
        if semantics.get("rock", 0) > 0.8 and rng.random() < 0.5:
            return "mixolydian"
        return "major"
    if semantics.get("danceability", 0) + semantics.get("hip_hop", 0) > 0.9 and valence > -0.6 and rng.random() < 0.4:
        return "dorian"
    if valence > -0.12:
        return "major" if rng.random() < 0.5 else "minor"
    return "minor"


def voice(harmony: Harmony, before: tuple[int, ...] | None, low: int, high: int, n_voices: int) -> tuple[int, ...]:
    """Pitches of a chord between low and high, increasing: near the chord before, evenly spaced, the third never left
    out and the root or fifth doubled where there are more voices than tones."""
    tones = list(harmony.tones)
    if len(tones) > n_voices:  # of a full chord the fifth goes first, then the root: the bass has it
        tones = [tone for i, tone in enumerate(tones) if i not in ((2,) if len(tones) - n_voices == 1 else (0, 2))]
    centre = (low + high) / 2
    options = {tone: [p for p in range(low, high + 1) if p % 12 == tone] for tone in tones}
    best, best_cost = (), np.inf
    extras = tones[:1] + tones[2:3] if len(tones) < n_voices else []
    for extra in [[]] if not extras else [[e] * (n_voices - len(tones)) for e in extras]:
        for pitches in itertools.product(*(options[tone] for tone in tones + extra)):
            chord = tuple(sorted(pitches))
            gaps = np.diff(chord)
            if len(gaps) and gaps.min() < 1:
                continue
            cost = 0.35 * abs(np.mean(chord) - centre) + 0.25 * float(np.maximum(gaps - 7, 0).sum())
            cost += 1.5 * float((gaps[:1] < 3).sum()) + 0.6 * float((gaps == 1).sum())
            if before is not None and len(before) == len(chord):
                moves = np.abs(np.subtract(chord, before))
                cost += 0.5 * float(moves.sum()) + 0.5 * float(np.maximum(moves - 4, 0).sum())
            if cost < best_cost:
                best, best_cost = chord, cost
    return best
