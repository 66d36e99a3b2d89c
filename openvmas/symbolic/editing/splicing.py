"""A part of a piece of notes written again: other notes in it, in the key of the piece, and all others as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from openvmas.settings import CONTROL_RATE
from openvmas.symbolic.notes import Chord, Composition, Note, Part

EARLY = 0.03  # s that a player may be before the beat at which the part begins
LEAST = 0.2  # s that a held note must go on beyond a border to be struck again there
TIMES = ("beats", "downbeats", "answered")  # fields that are increasing times


def splice(old: Composition, new: Composition, start: float, end: float) -> Composition:
    """The old piece with what the new one has between start and end, s, brought into the old one's key.

    What is held over a border ends there, and what the other side holds over it is struck again.
    """
    shift = semitones_between(new, old)
    names = {(part.name, part.instrument): part for part in old.parts}  # their settings hold
    names |= {key: part for part in new.parts if (key := (part.name, part.instrument)) not in names}
    fresh = {(part.name, part.instrument): part.notes for part in new.parts}
    kept = {(part.name, part.instrument): part.notes for part in old.parts}
    parts: list[Part] = []
    for key, part in names.items():
        moved = 0 if part.is_kit else shift
        inside = _within(fresh.get(key, []), start, end, part.is_kit)
        notes = [
            *_within(kept.get(key, []), -np.inf, start, part.is_kit),
            *(note._replace(pitch=int(np.clip(note.pitch + moved, 0, 127))) for note in inside),
            *_within(kept.get(key, []), end, np.inf, part.is_kit),
        ]
        if notes:
            numbers = _renumbered(part, kept.get(key, []), notes, start, end)
            parts.append(replace(part, notes=sorted(notes), renumbered=numbers))
    steps = slice(round(start * float(CONTROL_RATE)), round(end * float(CONTROL_RATE)))
    level = old.level.copy()
    if len(new.level) == len(level):
        level[steps] = new.level[steps]
    times: dict[str, Any] = {name: _times(getattr(old, name), getattr(new, name), start, end) for name in TIMES}
    return replace(
        old, parts=tuple(parts), level=level, chords=_joined(old.chords, new.chords, start, end),
        passages=_joined(old.passages, new.passages, start, end),
        **times,
    )  # fmt: skip


def semitones_between(new: Composition, old: Composition) -> int:
    """Semitones, -6 to 5, by which the new piece's notes are moved so that they share most with the old one's scale."""
    if not new.passages or not old.passages:
        return 0
    wanted = set(old.passages[0].scale)
    shared = {shift: len({(tone + shift) % 12 for tone in new.passages[0].scale} & wanted) for shift in range(-6, 6)}
    return max(shared, key=lambda shift: (shared[shift], -abs(shift)))


def _within(notes: Sequence[Note], start: float, end: float, is_kit: bool) -> list[Note]:
    """The notes that begin from start on and before end, cut at end; held ones that began before are struck again."""
    found: list[Note] = []
    for note in notes:
        if start - EARLY <= note.start < end - EARLY:
            found.append(note if is_kit else note._replace(end=min(note.end, end)))
        elif not is_kit and note.start < start and min(note.end, end) - start >= LEAST:
            found.append(note._replace(start=start, end=min(note.end, end), slide=0.0))
    return found


def _renumbered(
    part: Part, old: Sequence[Note], new: Sequence[Note], start: float, end: float
) -> tuple[tuple[float, int], ...]:
    """By how much numbers are off where notes between start and end are others."""
    at = end - EARLY
    fewer = sum(note.start < at for note in old) - sum(note.start < at for note in new)
    fewer -= sum(note.start == end for note in new) - sum(note.start == end for note in old)  # those struck again
    so_far = next((by for time, by in part.renumbered[::-1] if time <= at), 0)
    earlier = [(time, by) for time, by in part.renumbered if time < start - EARLY]
    later = [(time, by + fewer) for time, by in part.renumbered if time > at]
    return (*earlier, (at, so_far + fewer), *later)


def _joined(old: Sequence[Any], new: Sequence[Any], start: float, end: float) -> tuple[Any, ...]:
    """Spans of time (chords, passages) of the old piece, and between start and end those of the new one."""
    found: list[Any] = []
    for spans, low, high in ((old, -np.inf, start), (new, start, end), (old, end, np.inf)):
        for span in spans:
            first, last = max(span.start, low), min(span.end, high)
            if last - first > 1e-3:
                cut = {"start": float(first), "end": float(last)}
                found.append(span._replace(**cut) if isinstance(span, Chord) else replace(span, **cut))
    return tuple(found)


def _times(old: np.ndarray, new: np.ndarray, start: float, end: float) -> np.ndarray:
    """Increasing times of the old piece, and between start and end those of the new one."""
    return np.concatenate([old[old < start], new[(new >= start) & (new < end)], old[old >= end]])
