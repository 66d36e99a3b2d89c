"""Figures of the accompaniment: patterns of a style laid on chords and bars.

A pattern is a text with a sign for each step of a bar, like a tablature; `styles.ALPHABET` lists the signs and
docs/symbolic.md explains them. Every function gives strokes in beats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from openvmas.symbolic.harmony import Harmony
from openvmas.symbolic.styles import CRASH, HAT, KICK, RIDE, Groove

BASS_LOW, BASS_HIGH = 28, 47
LOUD = {"X": 1.0, "x": 0.82, "o": 0.6, "D": 0.98, "d": 0.8, "u": 0.62, "r": 0.8, "m": 0.66}
DEAD = 0.06  # beats that a dead note of the bass lasts
ROLL, SLOW_ROLL = 0.012, 0.055  # s from string to string of a stroke, and of a chord that is rolled
DRUM_LOUD = {"X": 1.0, "x": 0.78, "o": 0.42}
HIGHEST = 81  # of tones of broken chords
PEDALLED = 2.0  # beats that a tone of a broken chord rings on with the pedal, at most


class Stroke(NamedTuple):
    """A note in musical time: beat, length in beats, pitch, loudness in [0, 1], slide as of notes.Note."""

    beat: float
    length: float
    pitch: int
    loud: float
    slide: float = 0.0


class Mark(NamedTuple):
    """A sign of a pattern: beat; length in beats until its hold ends; sign; ties: it is held into what follows."""

    beat: float
    length: float
    sign: str
    ties: bool = False


class Lane(NamedTuple):
    """Where a bar stands in the patterns of a style.

    bar: beat on which it begins; place: its number in the phrase; n_beats; rate: steps in a beat; bar_steps: in a bar
    of the style; is_paced: at half or double speed.
    """

    bar: float
    place: int
    n_beats: float
    rate: float
    bar_steps: int
    is_paced: bool = False

    def sign(self, pattern: str, step: int) -> str:
        """The sign of a pattern at a step of the bar."""
        if self.is_paced:
            return pattern[(self.place * round(self.n_beats * self.rate) + step) % len(pattern)]
        n_bars = max(1, len(pattern) // self.bar_steps)
        return pattern[((self.place % n_bars) * self.bar_steps + step % self.bar_steps) % len(pattern)]

    def read(self, pattern: str, start: float, end: float) -> list[Mark]:
        """The signs between two beats; what is held from before the start is struck again there, softly."""
        first = int(np.ceil((start - self.bar) * self.rate - 1e-6))
        last = int(np.ceil((end - self.bar) * self.rate - 1e-6))
        signs = [self.sign(pattern, k) for k in range(first, last)]
        marks = []
        for i, sign in enumerate(signs):
            if sign in ".-":
                continue
            stop = next((j for j in range(i + 1, len(signs)) if signs[j] != "-"), len(signs))
            beat = self.bar + (first + i) / self.rate
            until = self.bar + (first + stop) / self.rate if stop < len(signs) else end
            ties = stop == len(signs) and i > 0 and self.sign(pattern, last) == "-"
            until = self.held_until(pattern, end, end + self.n_beats) if ties else until
            marks.append(Mark(max(beat, start), until - beat, sign, ties))
        return marks

    def held_until(self, pattern: str, start: float, end: float) -> float:
        """The beat up to `end` at which a hold that is on at `start` ends."""
        step = int(np.ceil((start - self.bar) * self.rate - 1e-6))
        while self.sign(pattern, step) == "-" and self.bar + step / self.rate < end - 1e-6:
            step += 1
        return min(self.bar + step / self.rate, end)

    def begins_held(self, pattern: str, start: float) -> bool:
        """Whether a beat falls inside a hold."""
        return self.sign(pattern, int(np.ceil((start - self.bar) * self.rate - 1e-6))) == "-"


def play_chord(
    marks: Sequence[Mark],
    voicing: Sequence[int],
    following: Sequence[int] | None,
    low: int,
    end: float,
    beat_seconds: float,
    pedal: bool,
) -> list[Stroke]:
    """A chord (voicing, increasing; low: a root below it) as its marks say; what ties takes the chord that follows.

    end: of the chord, in beats. beat_seconds: of a beat, for strokes over strings.
    """
    strokes = []
    for mark in marks:
        ahead = mark.ties and following is not None
        tones = list(following if ahead and following is not None else voicing)
        length = mark.length * (1.0 if mark.ties else 0.96)
        if mark.sign.isdigit():
            place = int(mark.sign)
            pitch = low if place == 0 else tones[(place - 1) % len(tones)] + 12 * ((place - 1) // len(tones))
            ring = min(max(end - mark.beat, length), PEDALLED) if pedal and not ahead else length
            on_beat = abs(mark.beat - round(mark.beat)) < 1e-6
            pitch -= 12 * max(0, -(-(pitch - HIGHEST) // 12))
            strokes.append(Stroke(mark.beat, ring, pitch, 0.9 if on_beat else 0.76))
            continue
        spread, order = 0.0, tones
        if mark.sign in "Dd":
            spread, order = ROLL / beat_seconds, ([low, *tones] if mark.sign == "D" else tones)
        elif mark.sign == "u":
            spread, order = 0.8 * ROLL / beat_seconds, tones[::-1][:3]
        elif mark.sign == "r":
            spread, order = SLOW_ROLL / beat_seconds, [low, *tones]
        elif mark.sign == "m":
            length = min(length, 0.16)
        for k, pitch in enumerate(order):
            late = min(k * spread, length / 3)
            strokes.append(Stroke(mark.beat + late, length - late, pitch, LOUD[mark.sign]))
    return strokes


def bass_root(harmony: Harmony, before: int | None) -> int:
    """The root in the range of a bass, near the bass before."""
    near = 36 if before is None else before
    options = [p for p in range(BASS_LOW, BASS_HIGH + 1) if p % 12 == harmony.root]
    return min(options, key=lambda p: (abs(p - near) + 0.35 * abs(p - 36), p))


def play_bass(
    marks: Sequence[Mark], harmony: Harmony, root: int, following: int, tied: int | None = None
) -> list[Stroke]:
    """A line of the bass over a chord.

    following: the root that comes next, to which it may walk. tied: the root that a note takes which is held into
    the next chord, or None.
    """
    strokes: list[Stroke] = []
    walked = [mark for mark in marks if mark.sign == "w"]
    for i, mark in enumerate(marks):
        next_sign = marks[i + 1].sign if i + 1 < len(marks) else ""
        base = tied if mark.ties and tied is not None else root
        length = mark.length * (1.0 if mark.ties else 0.95)
        on_beat = abs(mark.beat - round(mark.beat)) < 1e-6
        loud, slide = (0.95 if on_beat else 0.82), 0.0
        if mark.sign == "x":
            pitch, length, loud = base, min(length, DEAD), 0.45
        elif mark.sign == "a":
            pitch = _approach(harmony, root, following)
        elif mark.sign == "w":
            pitch = root if i == 0 else _walk(harmony, root, following, walked.index(mark) + 1, len(walked) + 1)
        elif mark.sign == "/":
            if next_sign.isdigit():
                continue
            pitch = base
        else:
            pitch = _degree(harmony, base, int(mark.sign))
            slide = 2.0 if i and marks[i - 1].sign == "/" else 0.0
        strokes.append(Stroke(mark.beat, length, pitch, loud, slide))
    return strokes


def _degree(harmony: Harmony, root: int, degree: int) -> int:
    """The tone of a degree above a root: 3, 5 and 7 of the chord, others of its scale."""
    if degree in (1, 8):
        return root + (12 if degree == 8 else 0)
    tones = {(tone - root) % 12 for tone in harmony.tones}
    if degree == 5 and 7 not in tones:
        return root
    steps = sorted((pitch - root) % 12 for pitch in harmony.scale)
    step = 7 if degree == 5 else steps[(degree - 1) % len(steps)]
    if degree == 3:
        step = next((s for s in (3, 4) if s in tones), step)
    if degree == 7:
        step = next((s for s in (10, 11) if s in tones), step)
    pitch = root + step
    return pitch - 12 if degree in (5, 6, 7) and pitch - 12 >= BASS_LOW and root > 36 else pitch


def _approach(harmony: Harmony, root: int, following: int) -> int:
    """A step of the scale beside the root that follows, from the side of the present one."""
    near = [p for p in range(BASS_LOW, BASS_HIGH + 8) if p % 12 in harmony.scale and 1 <= abs(p - following) <= 2]
    return min(near, key=lambda p: (abs(p - root), p)) if near else root


def _walk(harmony: Harmony, root: int, following: int, i: int, n: int) -> int:
    """The i-th of n tones of a walking bass: chord tones, and at the end a step of the scale towards the next root."""
    if i >= n - 1:
        return _approach(harmony, root, following)
    scale = [p for p in range(BASS_LOW, BASS_HIGH + 8) if p % 12 in harmony.scale]
    tones = [p for p in scale if p % 12 in harmony.tones and root - 5 <= p <= root + 9]
    up = following >= root
    line = sorted(tones, key=lambda p: (p - root) % 12 if up else (root - p) % 12)
    return line[min(i, len(line) - 1)]


def beat_bar(groove: Groove, lane: Lane, start: float, end: float) -> list[Stroke]:
    """A groove between two beats."""
    strokes = []
    n_steps = round((end - start) * lane.rate)
    offset = round((start - lane.bar) * lane.rate)
    for key, pattern in groove.items():
        for k in range(offset, offset + n_steps):
            mark = lane.sign(pattern, k)
            if mark == ".":
                continue
            # The hat breathes: strokes on the beat are firmer.
            phase = (k * 4 / lane.rate) % 4 if key in (HAT, RIDE) else 0
            breath = 1.0 if key not in (HAT, RIDE) else (0.85, 0.55, 0.7, 0.55)[int(phase)]
            strokes.append(Stroke(lane.bar + k / lane.rate, 0.2, key, DRUM_LOUD[mark] * breath))
    return strokes


def fill_bar(fill: Groove, end: float, rate: float) -> list[Stroke]:
    """A fill that ends at a beat, growing. rate: steps in a beat."""
    strokes = []
    for key, pattern in fill.items():
        n = len(pattern)
        for k, mark in enumerate(pattern):
            if mark != ".":
                strokes.append(Stroke(end - (n - k) / rate, 0.2, key, DRUM_LOUD[mark] * (0.75 + 0.25 * k / n)))
    return sorted(strokes)


def without(strokes: list[Stroke], start: float, end: float, keys: tuple[int, ...]) -> list[Stroke]:
    """The strokes but those of some keys in [start, end): a fill takes the place of what it would run into."""
    return [s for s in strokes if not (start - 1e-6 <= s.beat < end - 1e-6 and s.pitch in keys)]


def crash_at(beat: float, loud: float) -> list[Stroke]:
    return [Stroke(beat, 0.2, CRASH, loud), Stroke(beat, 0.2, KICK, min(1.0, loud + 0.1))]


def warped(stroke: Stroke, bar: float, swing: float, unit: int) -> Stroke:
    """A stroke in swung time: every second step of a unit (8 or 16) comes late by a share of a step."""
    if not swing:
        return stroke
    start = _swung(stroke.beat, bar, swing, unit)
    return stroke._replace(beat=start, length=max(_swung(stroke.beat + stroke.length, bar, swing, unit) - start, 0.05))


def _swung(beat: float, bar: float, swing: float, unit: int) -> float:
    """A beat in swung time: within each pair of steps the first is drawn out and the second cut short."""
    cell = 8.0 / unit  # beats of a pair
    number = np.floor((beat - bar) / cell + 1e-9)
    share = (beat - bar) / cell - number
    middle = 0.5 * (1 + swing)
    share = share * 2 * middle if share < 0.5 else middle + (share - 0.5) * 2 * (1 - middle)
    return float(bar + (number + share) * cell)
