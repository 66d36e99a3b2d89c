"""The brief of the composer in musical time: bars, scenes, hits and energy, from a condition and its plan."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from openvmas.condition import AXES, Condition
from openvmas.planning.conditioning import accent_times
from openvmas.planning.schema import ScorePlan
from openvmas.planning.text import parse_text

FREE_TEMPO = 66.0  # BPM, of music that is asked for without a beat
BORDER_NOVELTY = 0.34  # a peak of novelty this high is a border of scenes (planning.conditioning: 0.35 and more)
LEAST_SCENE = 5.0  # s, between borders that are read from a condition
RITARD = (1.05, 1.12, 1.22, 1.38)  # lengths of the last four beats before the last chord, where they broaden
RITARD_ROOM = 1.2  # s that the last chord must have after it
LAST_CHORD = (0.6, 3.6)  # s before the end, where the last chord may begin


class Bar(NamedTuple):
    """beat: number of its first beat; n_beats; start, end: s."""

    beat: int
    n_beats: int
    start: float
    end: float


@dataclass(frozen=True)
class Scene:
    """A stretch with one character.

    start, end: s. semantics: axis → standard deviations. named: phrases of the user's words, of the section first.
    is_silent: no music is wanted.
    """

    start: float
    end: float
    semantics: Mapping[str, float]
    named: tuple[str, ...] = ()
    is_silent: bool = False


@dataclass(frozen=True)
class Brief:
    """Everything that is asked of a piece.

    length: of the music, s, exact; duration: the same as a float. beats: times (s) of beats 0, 1, …, from before the
    picture to beyond its end; is_free: no beat was asked for, so none is to be audible. bars: from the one that holds
    time 0. hits: (time, strength), increasing.
    energy: [T] in [0, 1] at `rate` per second. ending: the beat on which the last chord begins.
    """

    length: Fraction
    beats: np.ndarray
    is_free: bool
    bars: tuple[Bar, ...]
    hits: tuple[tuple[float, float], ...]
    energy: np.ndarray
    rate: float
    scenes: tuple[Scene, ...]
    ending: float

    @property
    def picture(self) -> int:
        """A number of the picture's length, so that one seed does not draw the same for all pictures; no edit of a plan
        changes it."""
        return (self.length.numerator * 1_000_003 + self.length.denominator) % 2**31

    @property
    def duration(self) -> float:
        return float(self.length)

    def at(self, beat: float) -> float:
        """The time of a beat with its fraction, s."""
        return float(np.interp(beat, np.arange(len(self.beats)), self.beats))

    def beat_of(self, time: float) -> float:
        """The beat with its fraction at a time, s."""
        return float(np.interp(time, self.beats, np.arange(len(self.beats))))

    def mean_energy(self, start: float, end: float) -> float:
        """Mean energy from start to end, s."""
        first = int(np.clip(start * self.rate, 0, max(len(self.energy) - 1, 0)))
        part = self.energy[first : max(int(end * self.rate), first + 1)]
        return float(part.mean()) if len(part) else 0.7

    @property
    def metre(self) -> int:
        """Beats of most bars."""
        return int(np.median([bar.n_beats for bar in self.bars]))

    def is_silent(self, time: float) -> bool:
        """Whether no music is wanted at a time, s."""
        return any(scene.is_silent and scene.start <= time < scene.end for scene in self.scenes)


def read_brief(condition: Condition, plan: ScorePlan | None = None) -> Brief:
    """The brief of a condition; hits and scenes are exact where its plan is given, else read from its curves."""
    rate = float(condition.rate)
    length = plan.duration if plan else Fraction(condition.n_steps) / condition.rate
    duration = float(length)
    beats, downbeats, is_free = _grid(condition, duration)
    if plan:
        hits = [(hit.time, hit.strength) for hit in accent_times(plan)]
        whole = (*parse_text(plan.text).named, *parse_text(plan.mood).named)
        scenes = [
            Scene(s.start, s.end, plan.semantics(s), (*parse_text(s.text).named, *whole), s.is_silent)
            for s in plan.sections
        ]
        hits = [hit for hit in hits if not any(start <= hit[0] < end for start, end in plan.silences)]
    else:
        steps = np.flatnonzero(condition.events.accents > 0)
        hits = [(float(step) / rate, float(condition.events.accents[step])) for step in steps]
        scenes = _read_scenes(condition, duration)
    bars = _bars(beats, downbeats, [scene.start for scene in scenes[1:]], duration)
    brief = Brief(
        length, beats, is_free, bars, tuple(sorted(h for h in hits if h[0] < duration)),
        condition.events.energy.astype(float), rate, tuple(scenes), 0.0,
    )  # fmt: skip
    return dataclasses.replace(brief, ending=_ending(brief))


def with_ritard(brief: Brief) -> Brief:
    """The brief whose last beats before the last chord broaden; as it is where a hit or the end of the picture would be
    missed, or where there is no beat."""
    last = round(brief.ending)
    first = last - len(RITARD)
    if brief.is_free or first < 1 or abs(brief.ending - last) > 1e-6 or last >= len(brief.beats):
        return brief
    steps = np.diff(brief.beats[first : last + 1])
    added = np.cumsum(steps * (np.array(RITARD) - 1))
    is_held = any(brief.beats[first] + 0.05 < time < brief.beats[last] + added[-1] + 0.05 for time, _ in brief.hits)
    if is_held or brief.duration - brief.beats[last] - added[-1] < RITARD_ROOM:
        return brief
    beats = brief.beats.copy()
    beats[first + 1 : last + 1] += added
    beats[last + 1 :] += added[-1]
    return dataclasses.replace(brief, beats=beats)


def _grid(condition: Condition, duration: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Beats and downbeats from a bar before the picture to several after it, and whether they were made up."""
    beats, downbeats = np.asarray(condition.beats, float), np.asarray(condition.downbeats, float)
    is_free = len(beats) < 2
    if is_free:
        beats = np.arange(-8, int(duration * FREE_TEMPO / 60) + 10) * 60.0 / FREE_TEMPO
        downbeats = beats[::4]
    periods = np.diff(beats)[[0, -1]]
    n_before = max(0, int(np.ceil((beats[0] + 6.0) / periods[0])))
    n_after = max(0, int(np.ceil((duration + 8.0 - beats[-1]) / periods[1])))
    beats = np.concatenate([
        beats[0] - periods[0] * np.arange(n_before, 0, -1), beats, beats[-1] + periods[1] * np.arange(1, n_after + 1)
    ])  # fmt: skip
    if len(downbeats) == 0:
        downbeats = beats[::4]
    return beats, downbeats, is_free


def _bars(beats: np.ndarray, downbeats: np.ndarray, borders: list[float], duration: float) -> tuple[Bar, ...]:
    """The bars that have a part in the picture; beyond the given downbeats they go on as the nearest ones do.

    A section begins with a bar on the beat nearest to it, and the bar before is cut short or, by a beat, drawn out: so
    does who writes for pictures, since a new section belongs on the cut.
    """
    numbers = [int(np.abs(beats - time).argmin()) for time in downbeats]
    numbers = sorted(set(numbers))
    usual = max(1, int(np.median(np.diff(numbers)))) if len(numbers) > 1 else 4
    while numbers[0] > 0 and beats[numbers[0]] > 0:
        numbers.insert(0, max(0, numbers[0] - usual))
    while beats[numbers[-1]] < duration and numbers[-1] + usual < len(beats):
        numbers.append(numbers[-1] + usual)
    for border in borders:
        first = int(np.abs(beats - border).argmin())
        later = [number for number in numbers if number > first]
        if first not in numbers and later:
            turned = list(range(first, numbers[-1] + 1, usual))
            numbers = [number for number in numbers if number < first - 1] + turned
            numbers.append(numbers[-1] + usual)
    numbers = [number for number in numbers if number < len(beats)]
    bars = [Bar(a, b - a, float(beats[a]), float(beats[b])) for a, b in itertools.pairwise(numbers)]
    inside = [bar for bar in bars if bar.end > 1e-6 and bar.start < duration - 1e-6]
    return tuple(inside or bars[:1])


def _ending(brief: Brief) -> float:
    """The last downbeat with time to ring, else the last beat with it, else a moment near the end."""
    for marks in (np.array([bar.start for bar in brief.bars]), brief.beats):
        left = brief.duration - marks
        fitting = marks[(left >= LAST_CHORD[0]) & (left <= LAST_CHORD[1]) & (marks >= -1e-6)]
        if len(fitting):
            return brief.beat_of(float(fitting[-1]))
    return brief.beat_of(max(0.0, brief.duration - 1.5))


def _read_scenes(condition: Condition, duration: float) -> list[Scene]:
    """Scenes from where semantics change or novelty peaks."""
    rate = float(condition.rate)
    rows = np.nan_to_num(condition.semantics, nan=-9.0)
    changes = np.flatnonzero(np.abs(np.diff(rows, axis=0)).max(axis=1, initial=0.0) > 1e-4) / rate
    groups = np.split(changes, np.flatnonzero(np.diff(changes) > 0.3) + 1) if len(changes) else []
    borders = [float(group.mean()) for group in groups]
    novelty = condition.events.novelty
    reach = int(LEAST_SCENE * rate)
    for step in np.flatnonzero(novelty >= BORDER_NOVELTY):
        if novelty[step] >= novelty[max(0, step - reach) : step + reach + 1].max() - 1e-9:
            borders.append(float(step) / rate)
    kept = [0.0]
    for border in sorted(borders):
        if border - kept[-1] >= LEAST_SCENE and duration - border >= LEAST_SCENE:
            kept.append(border)
    scenes = []
    for start, end in zip(kept, [*kept[1:], duration], strict=True):
        row = condition.semantics[min(int((start + end) / 2 * rate), condition.n_steps - 1)]
        semantics = {axis: float(value) for axis, value in zip(AXES, row, strict=True) if np.isfinite(value)}
        scenes.append(Scene(start, end, semantics))
    return scenes
