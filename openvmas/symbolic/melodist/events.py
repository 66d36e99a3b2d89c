"""Notes of a melody that want a pitch, as rows of whole numbers that a network reads.

A segment is up to four bars. Pitches are semitones about a reference, the tonic nearest to the middle of the melody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REACH = 24  # semitones on each side of the reference
N_PITCHES = 2 * REACH + 1
LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # sixteenths; a note counts as the longest that it reaches
STEP_OF_CONTOUR = 2.5  # semitones
MAX_STEPS = 24  # sixteenths of a bar
MAX_NOTES = 64  # of a segment
# Values of each column. Pitches have one value more, 0, for "none".
COLUMNS = {
    "place": MAX_STEPS, "metre": 5, "length": len(LENGTHS), "is_after_rest": 2, "root": 12, "bass": 13, "mode": 2,
    "left": 8, "bar": 4, "contour": 6, "repeated": N_PITCHES + 1, "shift": 13, "next_root": 13,
    "before": N_PITCHES + 1, "earlier": N_PITCHES + 1,
}  # fmt: skip
BEFORE = list(COLUMNS).index("before")
EARLIER = list(COLUMNS).index("earlier")  # the note before that one, which tells of the leap
REPEATED = list(COLUMNS).index("repeated")
CONTOUR = list(COLUMNS).index("contour")


@dataclass(frozen=True)
class Event:
    """A note before it has a pitch.

    bar, place: bar of the segment, and sixteenths into it; length: sixteenths; gap: of rest before it. left: notes that
    follow in its phrase. root, tones: of its chord, next_root: of the chord of the next note, bass: all pitch classes
    above the tonic; bass and next_root may be −1. contour: semitones of its bar above the middle of the
    segment, or None where nothing is asked. twin: number of the note in an earlier bar of the same rhythm that this
    one answers, or −1.
    """

    bar: int
    place: float
    length: float
    gap: float
    left: int
    root: int
    tones: tuple[int, ...]
    bass: int = -1
    next_root: int = -1
    contour: float | None = None
    twin: int = -1


def metre_of(n_steps: int, is_compound: bool = False) -> int:
    """The class of a metre by the sixteenths of its bar."""
    return 3 if is_compound else {8: 0, 12: 1, 16: 2}.get(n_steps, 4)


def encode(events: Sequence[Event], metre: int, is_minor: bool) -> np.ndarray:
    """Columns and chord tones of a segment, [n, len(COLUMNS) + 12]; what depends on pitches is left at 0."""
    rows = np.zeros((len(events), len(COLUMNS) + 12), np.int64)
    for i, event in enumerate(events):
        shift = 12 if event.twin < 0 else (event.root - events[event.twin].root) % 12
        contour = 0 if event.contour is None else 3 + int(np.clip(round(event.contour / STEP_OF_CONTOUR), -2, 2))
        rows[i, : len(COLUMNS)] = (
            min(round(event.place), MAX_STEPS - 1), metre, length_class(event.length), event.gap >= 1, event.root,
            event.bass % 12 if event.bass >= 0 else 12, is_minor, min(event.left, 7), min(event.bar, 3), contour, 0,
            shift, event.next_root % 12 if event.next_root >= 0 else 12, 0, 0,
        )  # fmt: skip
        rows[i, [len(COLUMNS) + tone % 12 for tone in event.tones]] = 1
    return rows


def tell_pitch(rows: np.ndarray, events: Sequence[Event], number: int, pitches: Sequence[int]) -> None:
    """Write into row `number` what the pitches before it (semitones about the reference) say."""
    if number:
        rows[number, BEFORE] = pitch_class(pitches[number - 1]) + 1
    if number > 1:
        rows[number, EARLIER] = pitch_class(pitches[number - 2]) + 1
    if events[number].twin >= 0:
        rows[number, REPEATED] = pitch_class(pitches[events[number].twin]) + 1


def pitch_class(pitch: int) -> int:
    """The number among N_PITCHES of so many semitones above the reference; those that lie beyond are brought nearer."""
    return int(np.clip(pitch, -REACH, REACH)) + REACH


def length_class(length: float) -> int:
    return max(int(np.searchsorted(LENGTHS, length + 0.25, side="right")) - 1, 0)


def find_twins(onsets: Sequence[tuple[int, float]]) -> list[int]:
    """For each note the one at the same place of the nearest earlier bar with the same rhythm, or −1.

    onsets: bar and place of each note.
    """
    bars: dict[int, list[int]] = {}
    for i, (bar, _) in enumerate(onsets):
        bars.setdefault(bar, []).append(i)
    rhythm = {bar: tuple(round(onsets[i][1]) for i in members) for bar, members in bars.items()}
    twins = [-1] * len(onsets)
    for bar, members in bars.items():
        earlier = [b for b in bars if b < bar and rhythm[b] == rhythm[bar]]
        if earlier and len(members) > 1:
            for i, twin in zip(members, bars[max(earlier)], strict=True):
                twins[i] = twin
    return twins
