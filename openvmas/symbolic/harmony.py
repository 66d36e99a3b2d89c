"""Scales, chord progressions with functions, and voicings that move as little as they can.

Modes of one set of seven pitches: sections change mode without changing the signature, as relative keys do.
"""

from __future__ import annotations

import itertools
import re
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
# Chords as Roman numerals on the degrees of the mode: capitals are major, small ones minor; "V" is a dominant in minor,
# too, with its raised leading tone. A style may have progressions of its own.
PROGRESSIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    mode: tuple(tuple(text.split()) for text in texts)
    for mode, texts in {
        "major": (
            "I V vi IV", "I vi IV V", "I IV vi V", "I iii IV V", "vi IV I V", "I IV ii V", "I V IV V", "IV V vi I",
            "I vi ii V", "IV I V vi", "I IV I V", "I iii vi IV", "I ii IV V", "vi V IV V", "I IV vi iv", "I bVII IV I",
        ),
        "minor": (
            "i VI III VII", "i iv VI V", "i VII VI V", "i VI iv V", "i III VII VI", "i iv VII III", "VI VII i i",
            "i v VI iv", "i VII iv VI", "i i VI VII", "i III iv VI", "i iv i V", "iv i VI V", "i VI VII v",
        ),
        "dorian": ("i IV i IV", "i VII IV i", "i III IV VII", "i IV VII v", "i ii IV i", "i IV III IV"),
        "mixolydian": ("I VII IV I", "I VII IV v", "I IV VII I", "I v VII IV", "I VII I IV"),
        "lydian": ("I II I II", "I II vi iii", "I vi II V", "I iii II V", "I II iii II"),
        "phrygian": ("i II i II", "i II vii i", "i VI II i", "i vii VI II", "i iv II i"),
    }.items()
}  # fmt: skip
# The chord before the last: what leads home in each mode.
CADENCES: dict[str, str] = {
    "major": "V", "minor": "V", "dorian": "IV", "mixolydian": "VII", "lydian": "II", "phrygian": "II",
}  # fmt: skip
NUMERAL = re.compile(r"(b|#)?(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(°|maj7|m7b5|sus4|sus2|5|6|7|9)?")
NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
COMMON = (
    "V",
    "IV",
    "ii",
    "vi",
    "iii",
    "v",
    "VII",
    "iv",
    "VI",
    "III",
    "II",
)  # chords that lead to a key, the best first
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

    def chord(self, numeral: str, n_tones: int = 3) -> Harmony:
        """A chord of the key: n_tones 2 root and fifth, 3 a triad, 4 with its seventh, 5 with its ninth."""
        accidental, name, quality = read_chord(numeral)
        place, is_major = NUMERALS.index(name.upper()), name.isupper()
        scale = list(self.scale)
        root = scale[place] if not accidental else (self.tonic + MODES["major"][0][place]) % 12
        root = (root + {"b": -1, "#": 1, "": 0}[accidental]) % 12
        is_diminished = quality in ("°", "m7b5")
        third = {"sus4": 5, "sus2": 2}.get(quality, 4 if is_major else 3)
        tones = [root, (root + third) % 12, (root + (6 if is_diminished else 7)) % 12]
        scale = _bent(scale, tones)
        seventh = {"maj7": 11, "7": 10, "9": 10, "6": 9, "m7b5": 10}.get(quality)
        if seventh is None and n_tones >= 4 and quality not in ("5", "°"):
            own = [(tone - root) % 12 for tone in scale]
            seventh = next((step for step in (10, 11, 9) if step in own), 10)
            if {10, 11} <= set(own):
                seventh = 10 if is_major and place == 4 else 11
        if seventh is not None:
            tones.append((root + seventh) % 12)
            scale = _bent(scale, tones)
        if quality == "9" or (n_tones >= 5 and len(tones) == 4 and (root + 2) % 12 in scale):
            tones.append((root + 2) % 12)  # a minor ninth grates on every chord but a dominant
        tones = tones[: max(n_tones, 3) if quality in ("", "°", "sus4", "sus2") else 5]
        return Harmony(root, tuple(tones), _symbol(tones), tuple(sorted(set(_bent(scale, tones)))))

    def common_chord(self, other: Key) -> str | None:
        """The chord of this key that belongs to another one as well and leads there best, as a numeral of this one."""
        for wanted in COMMON:
            goal = other.chord(wanted)
            if not set(goal.tones) <= set(self.scale) & set(other.scale):
                continue
            return next((n for n in (*COMMON, "I", "i") if self.chord(n).tones == goal.tones), None)
        return None


def read_chord(numeral: str) -> tuple[str, str, str]:
    """Accidental, Roman numeral and quality of a chord such as "bVII" or "ii7". Raises ValueError."""
    found = NUMERAL.fullmatch(numeral)
    if found is None:
        raise ValueError(
            f"{numeral!r} is no chord; give Roman numerals such as I, vi, bVII, ii7, vii°, Vsus4 or IVmaj7."
        )
    return found[1] or "", found[2], found[3] or ""


def _bent(scale: list[int], tones: list[int]) -> list[int]:
    """A scale in which the tones of a chord that it lacks take the place of their neighbours."""
    scale = list(scale)
    for tone in tones:
        if tone in scale:
            continue
        near = [k for k, step in enumerate(scale) if (step - tone) % 12 in (1, 11) and step not in tones]
        if near:
            scale[near[0]] = tone
        else:
            scale.append(tone)
    return scale


def _symbol(tones: list[int]) -> str:
    steps = [(tone - tones[0]) % 12 for tone in tones]
    name = PITCH_NAMES[tones[0]]
    third, fifth = steps[1], steps[2]
    if third in (2, 5):
        return name + ("sus2" if third == 2 else "sus4")
    base = "°" if (third, fifth) == (3, 6) else "m" if third == 3 else ""
    if len(steps) == 3:
        return name + base
    seventh = {11: "maj7", 10: "7", 9: "6"}[steps[3]]
    if base == "°":
        return name + "m7b5"
    name += base + seventh
    return name + "(9)" if len(steps) == 5 else name


BRIGHTNESS = ("lydian", "major", "mixolydian", "dorian", "minor", "phrygian")


def fit_mode(semantics: dict[str, float], rng: np.random.Generator, modes: tuple[str, ...] = ()) -> str:
    """The mode of a mood: from lydian, the brightest, to phrygian, the darkest.

    modes: those that the style may be in, of which the one nearest to the mood is taken; empty for all.
    """
    wanted = _mood_mode(semantics, rng)
    if not modes or wanted in modes:
        return wanted
    valence = semantics.get("valence", 0.0) + 0.3 * semantics.get("happy", 0) - 0.3 * semantics.get("sad", 0)
    same = [mode for mode in modes if (mode in MINOR_MODES) == (wanted in MINOR_MODES)]
    if same:
        return same[int(rng.integers(len(same)))]
    return wanted if abs(valence) > 0.6 else modes[int(rng.integers(len(modes)))]


def _mood_mode(semantics: dict[str, float], rng: np.random.Generator) -> str:
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


def voicing_of(
    kind: str, harmony: Harmony, before: tuple[int, ...] | None, low: int, high: int, n_voices: int
) -> tuple[int, ...]:
    """A chord as a kind of voicing (`styles.VOICINGS`): pitches, increasing."""
    root = low + (harmony.root - low) % 12
    if kind == "power":
        root = 40 + (harmony.root - 40) % 12
        fifth = next((p for p in (root + 7,) if p % 12 in harmony.tones), root + 12)
        return tuple(sorted({root, fifth, root + 12}))
    if kind == "octaves":
        return (root, root + 12) if root + 12 <= high else (root - 12, root)
    if kind == "rootless" and len(harmony.tones) > 3:
        harmony = harmony._replace(tones=harmony.tones[1:])
    chord = voice(harmony, before, low, high, n_voices)
    if kind == "open" and len(chord) >= 3 and chord[-2] - 12 >= low - 5:
        chord = tuple(sorted((*chord[:-2], chord[-2] - 12, chord[-1])))  # drop two
    return chord


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
