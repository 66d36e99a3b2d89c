"""The tempo map: a few marks that a person can read and edit, and the beats that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from openvmas.errors import PlanError

MIN_TEMPO, MAX_TEMPO = 40.0, 220.0  # BPM, what may be asked
TOLERANCE = 0.050  # s, how far from a beat an event counts as on it, in the reported fit


def check_tempo(tempo: float, field: str = "tempo") -> float:
    """The tempo itself. Raises PlanError unless it is a number from 40 to 220."""
    if not (isinstance(tempo, (int, float)) and MIN_TEMPO <= tempo <= MAX_TEMPO):
        raise PlanError(
            f"{field}: {tempo} is not a tempo that music can have; give beats per minute from "
            f"{MIN_TEMPO:.0f} to {MAX_TEMPO:.0f}."
        )
    return float(tempo)


@dataclass(frozen=True)
class TempoMark:
    """From the beat at `time` (s) the tempo is `tempo` (BPM); `beat` is its place in the bar, 1 for a downbeat."""

    time: float
    tempo: float
    beat: int = 1

    def __post_init__(self) -> None:
        check_tempo(self.tempo)


class Grid(NamedTuple):
    """Increasing times in seconds: beats [N] and those of them that begin a bar, downbeats [M]."""

    beats: np.ndarray
    downbeats: np.ndarray


def lay_grid(marks: Sequence[TempoMark], beats_per_bar: int, start: float, end: float) -> Grid:
    """The beats and downbeats of a tempo map from `start` to `end` (s, both inside).

    The first mark also reaches back to `start`. Each mark is a beat itself; a beat of the tempo before that comes
    within half a beat of it gives way.
    """
    times: list[np.ndarray] = [np.zeros(0)]
    places: list[np.ndarray] = [np.zeros(0, int)]
    for i, mark in enumerate(marks):
        period = 60.0 / mark.tempo
        first = math.ceil((start - mark.time) / period - 1e-9) if i == 0 else 0
        limit = marks[i + 1].time - period / 2 if i + 1 < len(marks) else end + 1e-9
        last = math.ceil((limit - mark.time) / period) - (1 if i + 1 < len(marks) else 0)
        index = np.arange(first, last + 1)
        times.append(mark.time + index * period)
        places.append((mark.beat - 1 + index) % beats_per_bar)
    beats, place = np.concatenate(times), np.concatenate(places)
    inside = (beats >= start - 1e-9) & (beats <= end + 1e-9)
    return Grid(beats[inside], beats[inside & (place == 0)])


def distance_to(times: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Signed distance (s) from each time to its nearest mark: mark - time, [N]; inf where there is none."""
    if len(marks) == 0:
        return np.full(len(times), np.inf)
    right = np.searchsorted(marks, times)
    left = marks[np.maximum(right - 1, 0)] - times
    after = marks[np.minimum(right, len(marks) - 1)] - times
    return np.where(np.abs(left) <= np.abs(after), left, after)


@dataclass(frozen=True)
class Fit:
    """Shares of event strength within TOLERANCE of a beat, of an eighth and of a downbeat.

    Each with its chance: the share that the same tolerance covers of the time.
    """

    on_beat: float
    on_beat_chance: float
    on_eighth: float
    on_eighth_chance: float
    on_downbeat: float
    on_downbeat_chance: float


def measure_fit(times: np.ndarray, strengths: np.ndarray, grid: Grid, duration: float) -> Fit:
    """Fit of events (times [N] s, strengths [N]) to a grid that covers them."""
    eighths = np.sort(np.concatenate([grid.beats, (grid.beats[1:] + grid.beats[:-1]) / 2]))
    values: list[float] = []
    for marks in (grid.beats, eighths, grid.downbeats):
        total = float(strengths.sum())
        hit = float(strengths[np.abs(distance_to(times, marks)) <= TOLERANCE].sum())
        edges = np.stack([np.maximum(marks - TOLERANCE, 0), np.minimum(marks + TOLERANCE, duration)])
        covered = float(np.maximum(edges[1] - edges[0], 0).sum()) / duration
        values += [hit / total if total > 0 else 0.0, min(covered, 1.0)]
    return Fit(*values)


def lay_span(
    grid: Grid, span: tuple[float, float], tempo: float, beats_per_bar: int, times: np.ndarray, strengths: np.ndarray
) -> Grid:
    """The grid with exactly `tempo` (BPM) from span[0] to span[1] (s); before and after it stays as it is.

    The new beats are laid where they best meet the events inside the span (times [N] s, strengths [N]), and from its
    start where there are none; the first is a downbeat.
    """
    start, end = span
    period = 60.0 / tempo
    inside = (times >= start) & (times < end)
    phases = np.arange(0.0, period, 0.005)
    off = (times[inside][:, None] - start - phases) / period
    reward = strengths[inside] @ np.exp(-0.5 * ((off - np.rint(off)) * period / 0.03) ** 2)
    first = start + float(phases[int((reward - 1e-3 * phases).argmax())])
    beats = first + np.arange(math.ceil((end - first) / period - 1e-9)) * period
    before, after = grid.beats[grid.beats < start - 1e-9], grid.beats[grid.beats >= end - 1e-9]
    # A beat that would follow another within half a beat gives way to the one of the new tempo, or of what comes after.
    before = before[before < first - period / 2]
    keep = np.ones(len(beats), bool) if len(after) == 0 else beats < after[0] - period / 2
    old = np.concatenate([before, after])
    downbeats = np.union1d(grid.downbeats[np.isin(grid.downbeats, old)], beats[::beats_per_bar][keep[::beats_per_bar]])
    return Grid(np.concatenate([before, beats[keep], after]), downbeats)
