"""Melodies: themes made of motifs that return and vary, fitted to the chords by the cheapest path of pitches.

A theme is rhythm and contour; the pitches of each statement are found anew by dynamic programming (Viterbi 1967), so
that the same theme over the same chords returns note for note, and over others as a sequence. Where there is a network
(`melodist`), it proposes the pitches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from openvmas.symbolic.figures import Stroke
from openvmas.symbolic.form import Slot
from openvmas.symbolic.melodist.events import REACH, Event, find_twins, metre_of
from openvmas.symbolic.melodist.proposals import FORBIDDEN, Melodist

# Rhythms of a bar in sixteenths: x a note that lasts to the next one, - a rest.
RHYTHMS: dict[str, tuple[str, ...]] = {
    "slow": ("x.......x.......", "x...............", "x...........x...", "x.......x...x...", "--------x......."),
    "plain": (
        "x...x...x.......", "x.....x.x.......", "x...x.x.x.......", "--x.x...x.......", "x...x...x...x...",
        "x.....x.x...x...", "----x...x...x...", "x.......x.x.x...",
    ),
    "lively": (
        "x.x.x...x.x.x...", "x..x..x.x...x...", "x.x.x.x.x.......", "x...x.x.x.x.x...", "--x.x.x.x...x.x.",
        "x..x..x..x..x.x.", "x.x.x..x.x..x...", "x..x..x.--x.x.x.",
    ),
}  # fmt: skip
CLOSES: dict[str, tuple[str, ...]] = {
    "slow": ("x...............", "x...........----"),
    "plain": ("x...........----", "x...x.......----", "x.....x.....----"),
    "lively": ("x...x.......----", "x.x.x.......----", "x..x..x.....----"),
}
PLANS = ("aabc", "abac", "aaac", "abbc")  # of motifs in a theme of four bars; c closes
CONTOURS = (
    (0, 3, 5, 2),
    (0, 2, 4, 0),
    (4, 2, 0, -3),
    (0, 4, 2, -2),
    (-2, 1, 4, 5),
    (3, 0, 3, -2),
)  # semitones
STEPS_COST = (1.1, 0.0, 0.0, 0.5, 0.7, 1.3, 4.0, 1.7, 3.0, 3.2, 4.5, 6.0, 2.6)  # by size of the interval
GRACE = 0.075  # s, of a grace note
# Against a network's likelihood (nats), since chords here last longer than in scores: a share of the cost of intervals,
# and what the same pitch again costs, twice that from the third on. bench/melodies.py compares with composers.
MOVES_SHARE, AGAIN = 0.4, 0.4
FOREIGN = 2.0  # nats against tones that are neither of the scale that a style likes nor of the chord
TOO_FAR = 12.0  # of intervals beyond the octave
PARALLEL = 500.0  # cost of an octave that follows an octave, or a fifth a fifth, in the same direction as the bass


class Theme(NamedTuple):
    """rhythms: one a bar; contour: semitones around the middle, one a bar; shape: within a bar; seed: of its noise."""

    rhythms: tuple[str, ...]
    contour: tuple[int, ...]
    shapes: tuple[tuple[float, ...], ...]
    seed: int


class MelodyNote(NamedTuple):
    """A note that wants a pitch: beat, length, target pitch, whether it closes the phrase, and whether the piece; bar:
    of the phrase, place: beats into it."""

    beat: float
    length: float
    target: float
    closes: bool
    is_last: bool = False
    bar: int = 0
    place: float = 0.0


def make_theme(rng: np.random.Generator, busy: str, own: Sequence[str] = ()) -> Theme:
    """A theme of four bars. busy: slow, plain or lively; own: rhythms of the style for those that are not slow."""
    plan = PLANS[int(rng.integers(len(PLANS)))]
    pool = _rhythms(busy, own)
    chosen = [pool[int(k)] for k in rng.permutation(len(pool))[:2]]
    rhythm = {"a": chosen[0], "b": chosen[1], "c": str(rng.choice(CLOSES[busy]))}
    shape = {letter: tuple(np.cumsum(rng.choice([-2.0, -1.0, 1.0, 2.0], 16)).clip(-5, 5)) for letter in "abc"}
    contour = CONTOURS[int(rng.integers(len(CONTOURS)))]
    seed = int(rng.integers(2**31))
    return Theme(tuple(rhythm[m] for m in plan), contour, tuple(shape[m] for m in plan), seed)


def _rhythms(busy: str, own: Sequence[str]) -> list[str]:
    return list(own) if len(own) >= 2 and busy != "slow" else [*RHYTHMS[busy], *(own if busy != "slow" else ())]


def vary(theme: Theme, rng: np.random.Generator, busy: str, own: Sequence[str] = ()) -> Theme:
    """The theme with its third bar moved on: what a second statement does so as not to be the first again."""
    rhythms = list(theme.rhythms)
    rhythms[2] = str(rng.choice(_rhythms(busy, own)))
    return theme._replace(rhythms=tuple(rhythms), contour=(*theme.contour[:2], theme.contour[2] + 2, theme.contour[3]))


def place_notes(theme: Theme, place: int, start: float, end: float, centre: float) -> list[MelodyNote]:
    """The notes of bar `place` of a theme, between two beats."""
    pattern, contour, shape = theme.rhythms[place], theme.contour[place], theme.shapes[place]
    n_steps = max(1, round((end - start) * 4))
    marks = [pattern[k % 16] for k in range(n_steps)]
    onsets = [k for k, mark in enumerate(marks) if mark == "x"]
    notes = []
    for i, k in enumerate(onsets):
        stop = next((j for j in range(k + 1, n_steps) if marks[j] in "x-"), n_steps)
        is_close = place == len(theme.rhythms) - 1 and i == len(onsets) - 1
        target = centre + contour + shape[i % len(shape)]
        notes.append(MelodyNote(start + k / 4, (stop - k) / 4, target, is_close, bar=place, place=k / 4))
    return notes


def fit_pitches(
    notes: Sequence[MelodyNote],
    slot_at: Callable[[float], Slot],
    bass_at: Callable[[float], int | None],
    reach: tuple[int, int],
    seed: int,
    before: Stroke | None = None,
    scale: str = "mode",
) -> list[Stroke]:
    """Pitches for the notes of a phrase: the cheapest way through the scale of each moment.

    reach: lowest and highest pitch. before: the last note of the phrase before. scale: mode, pentatonic or blues.
    Chord tones are wanted on beats and for long notes, steps rather than leaps, the contour, and no parallel octaves
    or fifths with the bass.
    """
    if not notes:
        return []
    pitches = np.arange(reach[0], reach[1] + 1)
    noise = np.random.default_rng(seed)
    costs = np.stack([pitch_costs(note, slot_at(note.beat), pitches, scale) for note in notes])
    costs += noise.uniform(0, 0.6, (len(notes), 12))[:, pitches % 12]
    moves = move_costs(np.abs(pitches[:, None] - pitches[None, :]))
    total, back = costs[0].copy(), []
    if before is not None:
        total += move_costs(np.abs(pitches - before.pitch))
        total += parallel_costs(np.array([before.pitch]), pitches, bass_at(before.beat), bass_at(notes[0].beat))[0]
    for i in range(1, len(notes)):
        pair = moves + parallel_costs(pitches, pitches, bass_at(notes[i - 1].beat), bass_at(notes[i].beat))
        ways = total[:, None] + pair
        back.append(ways.argmin(axis=0))
        total = ways.min(axis=0) + costs[i]
    k = int(total.argmin())
    path = [k]
    for choice in reversed(back):
        path.append(int(choice[path[-1]]))
    return [_stroke(note, int(pitches[index])) for note, index in zip(notes, reversed(path), strict=True)]


def ask_pitches(
    melodist: Melodist,
    notes: Sequence[MelodyNote],
    slot_at: Callable[[float], Slot],
    bass_at: Callable[[float], int | None],
    reach: tuple[int, int],
    seed: int,
    bar_beats: int,
    before: Stroke | None = None,
    scale: str = "mode",
) -> list[Stroke]:
    """Pitches that a network proposes, within what the rules of `fit_pitches` leave open.

    bar_beats: beats of a bar.
    """
    key = slot_at(notes[0].beat).key
    middle = float(np.mean([note.target for note in notes]))
    reference = round(middle) + (key.tonic - round(middle) + 6) % 12 - 6
    pitches = np.arange(reference - REACH, reference + REACH + 1)
    events = _events_of(notes, slot_at, bass_at, bar_beats, middle)
    costs = np.stack([pitch_costs(note, slot_at(note.beat), pitches, scale) for note in notes])
    hard = (costs >= FORBIDDEN) | (pitches < reach[0]) | (pitches > reach[1])
    liked = [(*preferred_tones(slot_at(note.beat), scale), *slot_at(note.beat).harmony.tones) for note in notes]
    costs = np.where(hard, 2 * FORBIDDEN, np.stack([~np.isin(pitches % 12, tones) * FOREIGN for tones in liked]))

    def cost_of(i: int, chosen: Sequence[int]) -> np.ndarray:
        if i == 0:
            return costs[0] if before is None else costs[0] + MOVES_SHARE * move_costs(np.abs(pitches - before.pitch))
        last = np.array([reference + chosen[-1]])
        basses = bass_at(notes[i - 1].beat), bass_at(notes[i].beat)
        cost = costs[i] + MOVES_SHARE * move_costs(np.abs(pitches - last))
        cost = cost + np.where(pitches == last, AGAIN * (1 + (chosen[-2:] == [chosen[-1]] * 2)), 0.0)
        return cost + parallel_costs(last, pitches, *basses)[0]

    found = melodist.propose(events, metre_of(round(4 * bar_beats)), key.is_minor, cost_of, seed)
    return [_stroke(note, reference + pitch) for note, pitch in zip(notes, found, strict=True)]


def _events_of(
    notes: Sequence[MelodyNote],
    slot_at: Callable[[float], Slot],
    bass_at: Callable[[float], int | None],
    bar_beats: int,
    middle: float,
) -> list[Event]:
    """Notes as the network reads them: with what sounds under each, the heights of bars, and which bars are alike."""
    places = [(note.bar, 4 * note.place) for note in notes]
    height = {bar: float(np.mean([n.target for n in notes if n.bar == bar])) - middle for bar in {n.bar for n in notes}}
    events, left = list[Event](), 0
    twins = find_twins(places)
    for i in reversed(range(len(notes))):
        note, slot = notes[i], slot_at(notes[i].beat)
        tonic, bass = slot.key.tonic, bass_at(note.beat)
        following = slot_at(notes[i + 1].beat).harmony.root if i + 1 < len(notes) else None
        gap = 4 * (note.beat - notes[i - 1].beat - notes[i - 1].length) if i else 0.0
        ends = i + 1 == len(notes) or note.closes or notes[i + 1].beat - note.beat - note.length >= 1 - 1e-6
        left = 0 if ends else left + 1
        events.append(
            Event(
                note.bar, 4 * note.place, 4 * note.length, gap, left, (slot.harmony.root - tonic) % 12,
                tuple((tone - tonic) % 12 for tone in slot.harmony.tones), -1 if bass is None else (bass - tonic) % 12,
                -1 if following is None else (following - tonic) % 12, height[note.bar], twins[i],
            )
        )  # fmt: skip
    return events[::-1]


def _stroke(note: MelodyNote, pitch: int) -> Stroke:
    loud = 0.92 if abs(note.beat - round(note.beat)) < 1e-6 else 0.8
    return Stroke(note.beat, note.length * 0.97, pitch, loud)


def pitch_costs(note: MelodyNote, slot: Slot, pitches: np.ndarray, scale: str) -> np.ndarray:
    """Cost of each pitch by itself: [P]."""
    classes = pitches % 12
    in_scale = np.isin(classes, slot.harmony.scale)
    preferred = preferred_tones(slot, scale)
    in_chord = np.isin(classes, slot.harmony.tones)
    is_strong = abs(note.beat - round(note.beat)) < 1e-6
    weight = 3.0 if note.length >= 1.0 or note.closes else 1.6 if is_strong else 0.5
    cost = np.where(in_chord, 0.0, weight) + 0.16 * np.abs(pitches - note.target)
    cost = cost + np.where(np.isin(classes, preferred) | in_chord, 0.0, 1.2)
    # A tone a semitone above a chord tone grates when it is held.
    grates = np.isin((classes - 1) % 12, slot.harmony.tones) & ~in_chord
    cost = cost + np.where(grates, weight, 0.0)
    if note.closes:
        cost = cost + np.where(classes == slot.key.tonic, -0.8, 0.0)
    return np.where(in_scale & (~np.bool_(note.is_last) | (classes == slot.key.tonic)), cost, 1e6)


def preferred_tones(slot: Slot, scale: str) -> list[int]:
    """Pitch classes that a melody likes: all of the mode, its five without half tones, or those of the blues."""
    if scale == "mode":
        return list(slot.harmony.scale)
    steps = (0, 3, 5, 7, 10) if slot.key.is_minor or scale == "blues" else (0, 2, 4, 7, 9)
    return [(slot.key.tonic + step) % 12 for step in steps]


def decorate(
    line: Sequence[Stroke],
    ornament: str,
    legato: float,
    beat_seconds: float,
    slot_at: Callable[[float], Slot],
    reach: tuple[int, int],
    rng: np.random.Generator,
) -> list[Stroke]:
    """A melody with the ornaments of its style (see styles.Lead); legato: share of its length that a note sounds."""
    made: list[Stroke] = []
    for i, stroke in enumerate(line):
        length = stroke.length / 0.97 * legato
        is_long = stroke.length * beat_seconds > 0.35
        grace = GRACE / beat_seconds
        chance = rng.random()
        slide = 0.0
        if ornament == "bend" and is_long and chance < 0.45:
            slide = 2.0 if chance < 0.25 else 1.0
        elif ornament in ("grace", "cut") and is_long and chance < 0.4 and i and stroke.beat > grace:
            scale = slot_at(stroke.beat).harmony.scale
            side = -1 if ornament == "grace" else 1
            near = next((p for d in (1, 2, 3) if (p := stroke.pitch + side * d) % 12 in scale), None)
            if near is not None and reach[0] <= near <= reach[1]:
                made.append(Stroke(stroke.beat - grace, grace * 0.9, near, 0.6 * stroke.loud))
        made.append(stroke._replace(length=length, slide=slide))
    return made


def move_costs(gaps: np.ndarray) -> np.ndarray:
    """The cost of intervals by their size in semitones, of the same shape."""
    return np.array([*STEPS_COST, TOO_FAR])[np.minimum(gaps, len(STEPS_COST))]


def parallel_costs(pitches: np.ndarray, following: np.ndarray, before: int | None, after: int | None) -> np.ndarray:
    """The cost of moving in octaves or fifths with the bass, which goes from `before` to `after`: [P, Q]."""
    cost = np.zeros((len(pitches), len(following)))
    if before is None or after is None or before == after:
        return cost
    for interval in (0, 7):
        held = (pitches - before) % 12 == interval
        taken = (following - after) % 12 == interval
        moved = pitches[:, None] != following[None, :]
        cost += PARALLEL * (held[:, None] & taken[None, :] & moved)
    return cost
