"""The last fine step of an arrangement: an attack of the music is laid exactly on each moment that the user set.

Between these anchors the tempo is changed by a few per cent, so that nothing else moves out of its place by much.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openvmas.fitting.arrangement import Arrangement, Run, WantedJoin
from openvmas.fitting.track import Track
from openvmas.music.onsets import ONSET_RATE
from openvmas.timeline import peak_offset

LEAST_RATE, MOST_RATE = 0.96, 1.04  # seconds of the recording for one of the target
FARTHEST = 1.2  # s that a moment of the music is moved
HURRY = 0.08  # tempo change that is allowed where nothing nearer is in reach; the report says so
HURRY_COST = 0.8
KINDS = {"bar line": 1.0, "beat": 0.6, "onset": 0.4, "half beat": 0.3}  # what answers a moment, and its worth
MOVE_COST = 0.25  # per second
ATTACK = 0.05  # s from a bar line or beat to its attack, at most
WHOLE = 0.06  # s from a recording's beginning that do not count as cut
HELD, HELD_REACH = 50.0, 0.4  # worth of a locked join; s that it may lie off before it is moved
SAME_PLACE = 0.02  # s
CLEAR = 1.2  # onset strength from which something is heard to begin


@dataclass(frozen=True)
class Answer:
    """hit: s, as the user set it. time: s, of the attack that answers it. kind: one of KINDS, or "nothing".

    stretch: the greatest change of tempo that it needs, as a share.
    """

    hit: float
    time: float
    kind: str
    stretch: float


@dataclass(frozen=True)
class _Candidate:
    place: float  # s of the target, before anything is moved
    kind: str
    worth: float


def anchor(
    track: Track, arrangement: Arrangement, hits: np.ndarray, locked: Sequence[WantedJoin] = ()
) -> tuple[Arrangement, list[Answer]]:
    """The arrangement with attacks exactly on hits (s, increasing) and locked joins at their times.

    Also how each hit is answered. A locked join that the arrangement does not have is left out.
    """
    held = [(join.time, places[0]) for join in locked if (places := _places_of(track, arrangement, join))]
    if not len(hits) and not held:
        return arrangement, []
    moments = sorted([(float(hit), None) for hit in hits] + held, key=lambda moment: moment[0])
    is_hit = [place is None for _, place in moments]
    hits = np.array([time for time, _ in moments])
    offered = [
        _candidates(track, arrangement, time) if place is None else [_Candidate(place, "join", HELD)]
        for time, place in moments
    ]
    first = arrangement.runs[0]
    is_fixed = first.start > 0 or abs(first.source_start - track.start) < WHOLE  # its beginning is not cut into
    chosen = _choose(arrangement, hits, offered, is_fixed)
    if None in chosen and is_fixed and first.start == 0:  # the user's moments go before the recording's beginning
        others = _choose(arrangement, hits, offered, False)
        if others.count(None) < chosen.count(None):
            chosen, is_fixed = others, False
    knots = [(candidate.place, float(hit)) for hit, candidate in zip(hits, chosen, strict=True) if candidate]
    moved = _move(arrangement, knots, is_fixed)
    answers = []
    for hit, candidate, is_asked in zip(hits, chosen, is_hit, strict=True):
        if not is_asked:
            continue
        if candidate is None:
            answers.append(Answer(float(hit), float(hit), "nothing", 0.0))
            continue
        rates = [run.rate for run in moved.runs if run.start - 0.01 <= hit <= run.end + 0.01]
        stretch = max(abs(rate - 1) for rate in rates) if rates else 0.0
        answers.append(Answer(float(hit), float(hit), candidate.kind, round(stretch, 4)))
    return moved, answers


def _places_of(track: Track, arrangement: Arrangement, join: WantedJoin) -> list[float]:
    """Where the arrangement has a join that is wanted, s of the target."""
    enters = float(track.marks[join.enters])
    return [
        run.start for run in arrangement.runs
        if run.is_joined and abs(run.source_start - enters) < SAME_PLACE and abs(run.start - join.time) < HELD_REACH
    ]  # fmt: skip


def _candidates(track: Track, arrangement: Arrangement, hit: float) -> list[_Candidate]:
    """A moment that could answer a hit, in the target's time."""
    beats, bars = track.beats, track.marks[1:-1]
    half = (beats[1:] + beats[:-1]) / 2 if len(beats) > 1 and not track.is_free else np.zeros(0)
    peaks = np.flatnonzero(track.strength >= 2.0)
    kinds = {
        "onset": peaks / float(ONSET_RATE), "half beat": half, "beat": np.zeros(0) if track.is_free else beats,
        "bar line": np.zeros(0) if track.is_free else bars,
    }  # fmt: skip
    found = []
    for kind, times in kinds.items():
        for run in arrangement.runs:
            low = max(run.source_start, run.source_start + (hit - FARTHEST - run.start) * run.rate)
            high = min(run.source_end, run.source_start + (hit + FARTHEST - run.start) * run.rate)
            for time in times[(times >= low) & (times < high)]:
                attack, strength = attack_near(track, float(time))
                place = run.start + (attack - run.source_start) / run.rate
                if not run.start - 0.02 <= place <= run.end:
                    continue
                worth = KINDS[kind] * float(np.clip(strength / CLEAR, 0.15, 1)) + 0.1 * min(strength / 6, 1)
                found.append(_Candidate(place, kind, worth - MOVE_COST * abs(place - hit)))
    return sorted(found, key=lambda c: -c.worth)[:24]


def attack_near(track: Track, time: float) -> tuple[float, float]:
    """(time in s, strength) of the clearest attack within ATTACK of a time of the recording."""
    rate = float(ONSET_RATE)
    reach = round(ATTACK * rate)
    centre = round(time * rate)
    low, high = max(centre - reach, 0), min(centre + reach + 1, len(track.strength))
    if low >= high:
        return time, 0.0
    # Nearer ones count more: the neighbour's attack is not this beat's.
    near = track.strength[low:high] * (1 - 0.5 * np.abs(np.arange(low, high) - centre) / (reach + 1))
    index = low + int(near.argmax())
    strength = float(track.strength[index])
    if strength < 0.3:
        return time, strength
    inside = 0 < index < len(track.strength) - 1
    offset = float(peak_offset(*np.asarray(track.strength[index - 1 : index + 2], np.float64))) if inside else 0.0
    return (index + offset) / rate, strength


def _rate(arrangement: Arrangement, time: float) -> float:
    for run in arrangement.runs:
        if run.start <= time < run.end:
            return run.rate
    return arrangement.runs[-1].rate


def _choose(
    arrangement: Arrangement, hits: np.ndarray, offered: list[list[_Candidate]], is_fixed: bool
) -> list[_Candidate | None]:
    """The candidates of greatest worth whose anchors can all be reached in tempo, by dynamic programming over hits."""
    last = arrangement.runs[-1].end
    states: list[tuple[float, list[_Candidate | None], float, float]] = [(0.0, [], 0.0, 0.0)]
    for hit, candidates in zip(hits, offered, strict=True):
        coming = []
        for option in [None, *candidates]:
            best = None
            for value, path, place, time in states:
                gain = value
                if option is None:
                    state = (gain - 0.2, [*path, None], place, time)
                else:
                    cost = 0.0
                    if any(path) or is_fixed:
                        cost = _stretch_cost(arrangement, (place, time), (option.place, float(hit)))
                    state = (gain + option.worth - cost, [*path, option], option.place, float(hit))
                if best is None or state[0] > best[0]:
                    best = state
            assert best is not None
            coming.append(best)
        states = sorted(coming, key=lambda state: -state[0])[:40]
    ended = [
        (value - (_stretch_cost(arrangement, (place, time), (last, last)) if any(path) else 0.0), path)
        for value, path, place, time in states
    ]
    return max(ended, key=lambda state: state[0])[1]


def _stretch_cost(arrangement: Arrangement, before: tuple[float, float], after: tuple[float, float]) -> float:
    """Cost of the tempo between two anchors (place, time)."""
    length, wanted = after[0] - before[0], after[1] - before[1]
    if length <= 0.05 or wanted <= 0.05:
        return 0.0 if abs(length - wanted) < 0.005 else 99.0
    rate = _rate(arrangement, (before[0] + after[0]) / 2) * length / wanted
    over = max(rate - MOST_RATE, LEAST_RATE - rate, 0.0)
    if over > HURRY:
        return 99.0
    return 0.02 * abs(rate - 1) / 0.04 + (HURRY_COST + 10 * over if over > 1e-3 else 0.0)


def _move(arrangement: Arrangement, knots: list[tuple[float, float]], is_fixed: bool) -> Arrangement:
    """The arrangement with places of the target (first of each knot) moved to other times (second)."""
    if not knots:
        return arrangement
    runs, end = arrangement.runs, arrangement.runs[-1].end
    # What comes before the first anchor is shifted as it is: another moment of the recording begins the piece.
    before = (0.0, 0.0) if is_fixed else (knots[0][0] - 1e3, knots[0][1] - 1e3)
    knots = [before, *knots, (end, end), (end + 1e3, end + 1e3)]
    places, times = (np.array(column) for column in zip(*knots, strict=True))
    found: list[Run] = []
    for run in runs:
        edges = sorted({run.start, run.end, *(float(p) for p in places if run.start + 1e-3 < p < run.end - 1e-3)})
        for low, high in itertools.pairwise(edges):
            start, stop = (float(np.interp(edge, places, times)) for edge in (low, high))
            source = run.source_start + (low - run.start) * run.rate, run.source_start + (high - run.start) * run.rate
            rate = (source[1] - source[0]) / max(stop - start, 1e-6)
            is_joined = run.is_joined and low == run.start
            found.append(Run(start, source[0], source[1], round(rate, 7), is_joined))
    first = found[0]
    if first.start < 0 or (first.start > 0 and runs[0].start == 0):
        found[0] = dataclasses.replace(first, start=0.0, source_start=first.source_start - first.start * first.rate)
    return Arrangement(tuple(_contiguous(found)), arrangement.value)


def _contiguous(runs: list[Run]) -> list[Run]:
    """Runs that begin exactly where the one before ends; neighbours of one tempo that go on are one."""
    found = [runs[0]]
    for run in runs[1:]:
        before = found[-1]
        goes_on = not run.is_joined and abs(run.source_start - before.source_end) < 1e-6
        if goes_on and abs(run.rate - before.rate) < 1e-6:
            found[-1] = dataclasses.replace(before, source_end=run.source_end)
        else:
            found.append(dataclasses.replace(run, start=before.end))
    return found
