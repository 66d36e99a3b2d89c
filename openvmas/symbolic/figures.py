"""Figures of the accompaniment: bass, keys and arpeggio over a chord, and the drums of a bar.

A bar of drums has a groove by its intensity, a fill before something new, and a crash when it is there.

Every function gives strokes in beats. Patterns are sixteenths of a bar of four; longer bars go on from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from openvmas.symbolic.harmony import Harmony
from openvmas.symbolic.styles import CRASH, FLOOR, HAT, HIGH_TOM, KICK, LOW_TOM, RIDE, SNARE, Groove

LOUD = {"X": 1.0, "x": 0.82, "o": 0.6}
BASS_LOW, BASS_HIGH = 28, 47


class Stroke(NamedTuple):
    """A note in musical time: beat, length in beats, pitch, loudness in [0, 1]."""

    beat: float
    length: float
    pitch: int
    loud: float


def steps_of(pattern: str, start: float, end: float, bar: float) -> Iterator[tuple[float, str]]:
    """Beats and marks of a pattern between two beats; `bar` is the beat on which its bar begins."""
    first = round((start - bar) * 4)
    for k in range(first, first + int(np.ceil((end - start) * 4 - 1e-6))):
        beat = bar + k / 4
        mark = pattern[k % len(pattern)]
        if mark != "." and start - 1e-6 <= beat < end - 1e-6:
            yield beat, mark


# Of chords: pattern and how long a stroke lasts (in beats; 0: until the next one or the end).
CHORDAL: dict[str, tuple[str, float]] = {
    "block": ("X...............", 0.0),
    "push": ("X.....x...x.....", 0.0),
    "pulse": ("X...x...x...x...", 0.6),
    "drive": ("X.x.x.x.X.x.x.x.", 0.32),
    "chug": ("X.x.X.x.x.X.x.x.", 0.4),
    "offbeat": ("..x...x...x...x.", 0.35),
    "stabs": ("X..x..x...x..x..", 0.4),
    "strum": ("X...x.o...x.o...", 0.0),
    "strum16": ("X.o.x.oo..ox.ox.", 0.0),
}
# Of single tones of a chord: index into (bass tone, voicing…) and the step in beats.
BROKEN: dict[str, tuple[tuple[int, ...], float]] = {
    "broken": ((0, 2, 3, 2, 4, 2, 3, 2), 0.5),
    "flowing": ((0, 1, 2, 3, 4, 3, 2, 1, 2, 3, 4, 3, 4, 3, 2, 1), 0.25),
    "pick": ((0, 3, 2, 4, 1, 3, 2, 4), 0.5),
    "eighths": ((1, 2, 3, 4, 3, 2, 3, 2), 0.5),
    "sixteenths": ((1, 2, 3, 4, 2, 3, 4, 3, 1, 3, 2, 4, 3, 2, 3, 2), 0.25),
}


def play_chord(
    figure: str, voicing: Sequence[int], low: int, start: float, end: float, bar: float, strum_delay: float
) -> list[Stroke]:
    """A chord (voicing, increasing; low: a root below it) as a figure. strum_delay: beats from string to string."""
    if figure == "rolled":
        tones = [low, *voicing]
        step = min(0.12, (end - start) / 16)
        return [Stroke(start + k * step, end - start - k * step, p, 0.8) for k, p in enumerate(tones)]
    if figure in BROKEN:
        order, step = BROKEN[figure]
        tones = [low, *voicing]
        strokes = []
        for k in range(int(np.ceil((end - start) / step - 1e-6))):
            beat = start + k * step
            place = round((beat - bar) / step)
            loud = 0.95 if place % round(2 / step) == 0 else 0.8 if place % round(1 / step) == 0 else 0.7
            pitch = tones[min(order[place % len(order)], len(tones) - 1)]
            # Broken chords are held on, as with the pedal: to the next chord, at most two beats.
            held = min(end - beat, 2.0 if figure in ("broken", "flowing", "pick") else step * 0.9)
            strokes.append(Stroke(beat, held, pitch, loud))
        return strokes
    pattern, length = CHORDAL[figure]
    marks = list(steps_of(pattern, start, end, bar))
    if not marks or (marks[0][0] > start + 1e-6 and figure not in ("offbeat",)):
        marks.insert(0, (start, "x"))
    strokes = []
    for i, (beat, mark) in enumerate(marks):
        following = marks[i + 1][0] if i + 1 < len(marks) else end
        held = (following - beat) * 0.96 if length == 0 else min(length, following - beat)
        tones = list(voicing)
        if figure.startswith("strum"):
            tones = [low, *voicing] if mark == "X" else list(voicing)
            if mark == "o":
                tones = tones[::-1][:3]
        for k, pitch in enumerate(tones):
            late = min(k * strum_delay, held / 3) if figure.startswith("strum") else 0.0
            strokes.append(Stroke(beat + late, held - late, pitch, LOUD[mark]))
    return strokes


def bass_root(harmony: Harmony, before: int | None) -> int:
    """The root in the range of a bass, near the bass before."""
    near = 36 if before is None else before
    options = [p for p in range(BASS_LOW, BASS_HIGH + 1) if p % 12 == harmony.root]
    return min(options, key=lambda p: (abs(p - near) + 0.35 * abs(p - 36), p))


BASS_PATTERNS: dict[str, tuple[str, float]] = {
    "held": ("X...............", 0.0),
    "pulse": ("X...x...x...x...", 0.85),
    "eighths": ("X.x.x.x.X.x.x.x.", 0.46),
    "drive": ("X.xoX.xoX.xoX.xo", 0.22),
    "offbeat": ("..X...X...X...X.", 0.4),
    "octaves": ("X.x.X.x.X.x.X.x.", 0.42),
    "sync": ("X.....x.x.....x.", 0.0),
    "root_fifth": ("X.......x.......", 0.0),
    "walking": ("X...x...x...x...", 0.92),
}


def play_bass(
    figure: str, harmony: Harmony, root: int, following: int, start: float, end: float, bar: float
) -> list[Stroke]:
    """A bass figure over a chord; `following` is the root that comes next, to which it may walk."""
    pattern, length = BASS_PATTERNS[figure]
    marks = list(steps_of(pattern, start, end, bar))
    if (not marks or marks[0][0] > start + 1e-6) and figure != "offbeat":
        marks.insert(0, (start, "X"))
    # A fifth that is diminished, or the dominant's in a scale of few tones, is replaced by the octave.
    fifth = root + 7 if (root + 7) % 12 in harmony.tones else root
    fifth = fifth - 12 if fifth - 12 >= BASS_LOW else fifth
    strokes = []
    for i, (beat, mark) in enumerate(marks):
        next_beat = marks[i + 1][0] if i + 1 < len(marks) else end
        held = (next_beat - beat) * 0.95 if length == 0 else min(length, next_beat - beat)
        place = round((beat - bar) * 4)
        pitch = root
        if figure == "octaves" and place % 4 == 2:
            pitch = root + 12
        elif (figure == "root_fifth" and place % 16 >= 8) or (figure == "sync" and i and i == len(marks) - 1):
            pitch = fifth
        elif figure == "walking" and i:
            pitch = _walk(harmony, root, following, i, len(marks))
        strokes.append(Stroke(beat, held, pitch, LOUD[mark]))
    return strokes


def _walk(harmony: Harmony, root: int, following: int, i: int, n: int) -> int:
    """The i-th of n tones of a walking bass: chord tones, and at the end a step of the scale towards the next root."""
    scale = [p for p in range(BASS_LOW, BASS_HIGH + 8) if p % 12 in harmony.scale]
    if i == n - 1:
        near = [p for p in scale if 1 <= abs(p - following) <= 2]
        return min(near, key=lambda p: abs(p - root)) if near else root
    tones = [p for p in scale if p % 12 in harmony.tones and root - 5 <= p <= root + 9]
    up = following >= root
    line = sorted(tones, key=lambda p: (p - root) % 12 if up else (root - p) % 12)
    return line[min(i, len(line) - 1)]


DRUM_LOUD = {"X": 1.0, "x": 0.78, "o": 0.45}
# The last beats of a bar before a new section, in sixteenths: key by key.
FILLS: tuple[tuple[int | None, ...], ...] = (
    (SNARE, None, SNARE, SNARE),
    (SNARE, SNARE, HIGH_TOM, LOW_TOM),
    (SNARE, None, SNARE, None, HIGH_TOM, HIGH_TOM, LOW_TOM, FLOOR),
    (SNARE, SNARE, HIGH_TOM, HIGH_TOM, LOW_TOM, LOW_TOM, FLOOR, FLOOR),
)
MACHINE_FILLS: tuple[tuple[int | None, ...], ...] = (
    (SNARE, None, SNARE, SNARE),
    (SNARE, None, SNARE, None, SNARE, SNARE, SNARE, SNARE),
)


def beat_bar(groove: Groove, start: float, end: float, swing: float, quiet: float) -> list[Stroke]:
    """A groove between two beats, of which the first begins the bar. swing: share of a sixteenth that every second
    one comes late; quiet: factor of the softer strokes."""
    strokes = []
    n_steps = round((end - start) * 4)
    for key, pattern in groove.items():
        for k in range(n_steps):
            mark = pattern[k % 16]
            if mark == ".":
                continue
            late = swing / 4 if k % 2 else 0.0
            loud = DRUM_LOUD[mark] * (quiet if mark == "o" else 1.0)
            # The hat breathes: strokes on the beat are firmer.
            loud *= 1.0 if key not in (HAT, RIDE) else (0.85, 0.55, 0.7, 0.55)[k % 4]
            strokes.append(Stroke(start + k / 4 + late, 0.2, key, loud))
    return strokes


def fill_bar(end: float, is_big: bool, is_machine: bool, rng: np.random.Generator) -> list[Stroke]:
    """A fill that ends at a beat, growing."""
    fills = MACHINE_FILLS if is_machine else FILLS
    half = len(fills) // 2
    pool = fills[half:] if is_big else fills[:half]
    fill = pool[int(rng.integers(len(pool)))]
    return [
        Stroke(end - (len(fill) - k) / 4, 0.2, key, 0.6 + 0.4 * k / len(fill))
        for k, key in enumerate(fill)
        if key is not None
    ]


def without(strokes: list[Stroke], start: float, end: float, keys: tuple[int, ...]) -> list[Stroke]:
    """The strokes but those of some keys in [start, end): a fill takes the place of what it would run into."""
    return [s for s in strokes if not (start - 1e-6 <= s.beat < end - 1e-6 and s.pitch in keys)]


def crash_at(beat: float, loud: float) -> list[Stroke]:
    return [Stroke(beat, 0.2, CRASH, loud), Stroke(beat, 0.2, KICK, min(1.0, loud + 0.1))]
