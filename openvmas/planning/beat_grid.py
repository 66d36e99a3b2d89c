"""Beats under a picture: tempo marks, the grid they make, and the search for the grid that meets the events.

A grid is good when strong events lie on its beats, the strongest on downbeats, the rest on eighths and sixteenths; when
its tempo is steady and near what the mood suggests; and when its last bar begins shortly before the end. Rewards are
counted above chance (what the same events would get at random phases), so a fast tempo, which is near to everything,
gains nothing by being fast.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from openvmas.errors import PlanError

MIN_TEMPO, MAX_TEMPO = 40.0, 220.0  # BPM, what may be asked
TOLERANCE = 0.050  # s, how far from a beat an event counts as on it, in the reported fit
LOWEST_FIT, HIGHEST_FIT = 70.0, 150.0  # BPM, where a fit looks unless words say otherwise
MAX_DRIFT = 0.06  # how far the tempo may leave its first value
SIGMA = 0.030  # s, how far from its beat an event may be felt to be on it
LEVELS = ((1, 1.0), (2, 0.4), (4, 0.15))  # parts of a beat and their rewards: beat, eighth, sixteenth
DOWNBEAT_REWARD = 0.7  # more for an event on a downbeat, times its strength
CHANGE_COST, DRIFT_COST = 0.5, 1.2  # of a tempo change, in strong events: any change, and one of MAX_DRIFT
PRIOR_WIDTH = 0.35  # octaves, of the tempo that the mood suggests
STRETCH = (14.0, 32.0)  # s, shortest and longest stretch of one tempo where tempo may change
LONGEST_CONSTANT = 180.0  # s, up to which one steady tempo is tried for the whole
LONGEST_THREE = 600.0  # s, up to which three beats in a bar are tried
ENDING_REWARD = 0.6  # of a last downbeat that leaves time to ring, in strong events
N_BEAM = 96  # hypotheses kept
BEAT_BINS = 40  # phases tried per beat


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


@dataclass(frozen=True)
class TempoConstraints:
    """Limits and preferences of a grid.

    tempo: exactly this (BPM), or None to fit one near `prior` within [lowest, highest].
    beats_per_bar: 2 to 7, or None to choose 4 or 3.
    borders: times (s) where music changes: tempo may change there and a downbeat is welcome.
    """

    tempo: float | None = None
    prior: float = 108.0
    lowest: float = LOWEST_FIT
    highest: float = HIGHEST_FIT
    prior_width: float = PRIOR_WIDTH
    beats_per_bar: int | None = None
    borders: tuple[float, ...] = ()


def fit_grid(
    times: np.ndarray, strengths: np.ndarray, duration: float, limits: TempoConstraints
) -> tuple[list[TempoMark], int]:
    """The tempo map and the beats per bar that suit the events best.

    times: [N] increasing, s; strengths: [N] > 0, 1 for a strong event; duration: s.
    """
    # Nothing that lasts longer keeps to one metre of three, and the search would take twice as long.
    metres = [limits.beats_per_bar] if limits.beats_per_bar else [4, 3] if duration <= LONGEST_THREE else [4]
    found = [_search(_Task.of(times, strengths, duration, limits, metre)) for metre in metres]
    # Three in a bar is rarer in music, and must earn its place.
    margin = 1.0 + 0.1 * float(np.sum(strengths))
    best = 1 if len(found) > 1 and found[1][0] > found[0][0] + margin else 0
    return _tidy(found[best][1], metres[best], duration, limits.tempo is not None), metres[best]


def _tidy(marks: list[TempoMark], metre: int, duration: float, is_asked: bool) -> list[TempoMark]:
    """Numbers that a person can read; the first mark moves to the first downbeat, where a listener would say "one"."""
    marks = [TempoMark(round(m.time, 3), m.tempo if is_asked else round(m.tempo, 3), m.beat) for m in marks]
    first, bar = marks[0], metre * 60.0 / marks[0].tempo
    downbeat = first.time + ((1 - first.beat) % metre) * 60.0 / first.tempo
    if downbeat - bar > -0.01:  # the bar that begins with the picture, but for a rounding
        downbeat = max(downbeat - bar, 0.0)
    limit = marks[1].time - 0.1 if len(marks) > 1 else duration
    if downbeat < limit:
        marks[0] = TempoMark(round(downbeat, 3), first.tempo, 1)
    elif first.time > duration:  # a video shorter than a beat
        marks[0] = TempoMark(0.0, first.tempo, 1)
    return marks


class _Task(NamedTuple):
    """Events with their reward on beats and on downbeats, and what is asked."""

    times: np.ndarray
    beat_reward: np.ndarray
    bar_reward: np.ndarray
    duration: float
    limits: TempoConstraints
    metre: int

    @classmethod
    def of(
        cls, times: np.ndarray, strengths: np.ndarray, duration: float, limits: TempoConstraints, metre: int
    ) -> _Task:
        borders = np.array([b for b in limits.borders if 0 < b < duration])
        times, strengths = np.asarray(times, float), np.asarray(strengths, float)
        # Music likes to begin with the picture and to change with its sections: each counts as a weak event.
        all_times = np.concatenate([times, [0.0], borders])
        beat = np.concatenate([strengths, [0.15], np.full(len(borders), 0.1)])
        down = np.concatenate([strengths**2, [0.3], np.full(len(borders), 0.4)]) * DOWNBEAT_REWARD
        order = np.argsort(all_times, kind="stable")
        return cls(all_times[order], beat[order], down[order], duration, limits, metre)

    def cut(self, start: float, end: float) -> _Task:
        """The task with the events of [start, end) only."""
        a, b = np.searchsorted(self.times, [start, end if end < self.duration else np.inf])
        return self._replace(times=self.times[a:b], beat_reward=self.beat_reward[a:b], bar_reward=self.bar_reward[a:b])

    def prior(self, tempo: np.ndarray) -> np.ndarray:
        """Log-prior of a tempo by the mood, in strong events: 0 at best."""
        if self.limits.tempo is not None:
            return np.zeros_like(tempo)
        scale = 0.5 + 0.1 * float(self.beat_reward.sum())
        return -scale * (np.log2(tempo / self.limits.prior) / self.limits.prior_width) ** 2 / 2


class _Beam(NamedTuple):
    """Hypotheses, [S] each: where the next beat is, the tempo now and at first, and what they have earned.

    anchor: time of the first beat at or after what is done, s; count: its number from the first mark; down: [S, metre]
    reward of downbeats on each residue of the count; steps: the marks so far as (time, tempo, count).
    """

    anchor: np.ndarray
    tempo: np.ndarray
    base: np.ndarray
    count: np.ndarray
    reward: np.ndarray
    down: np.ndarray
    steps: list[tuple[tuple[float, float, int], ...]]


def _search(task: _Task) -> tuple[float, list[TempoMark]]:
    """The best reward for this metre and the marks that earn it."""
    edges = _stretches(task.duration, task.limits)
    results = []
    if len(edges) == 2 or task.duration <= LONGEST_CONSTANT:
        results.append(_finish(_begin(task, task.duration), task))
    if len(edges) > 2:
        beam = _begin(task, edges[1])
        for start, end in itertools.pairwise(edges[1:]):
            beam = _extend(beam, task, start, end)
        results.append(_finish(beam, task))
    return max(results, key=lambda result: result[0])


def _stretches(duration: float, limits: TempoConstraints) -> list[float]:
    """Where the tempo may change: section borders, and between them where a stretch would be too long."""
    edges = [0.0]
    shortest, longest = STRETCH
    for border in [*sorted(b for b in limits.borders if 0 < b < duration), duration]:
        if border - edges[-1] < shortest and border < duration:
            continue
        pieces = max(1, math.ceil((border - edges[-1]) / longest))
        edges += [edges[-1] + (border - edges[-1]) * (i + 1) / pieces for i in range(pieces)]
    if len(edges) > 2 and edges[-1] - edges[-2] < shortest:
        del edges[-2]
    return [0.0, duration] if limits.tempo is not None else edges


def _begin(task: _Task, end: float) -> _Beam:
    """Hypotheses of one steady tempo from 0 to `end`: all tempos and phases, by convolution on the circle."""
    part, limits, metre = task.cut(0.0, end), task.limits, task.metre
    if limits.tempo is not None:
        tempos = np.array([limits.tempo])
    else:
        step = min(0.004, 0.02 / end)  # a beat at the end moves by less than 20 ms from one tempo to the next
        n_tempos = max(2, math.ceil(math.log(limits.highest / limits.lowest) / step))
        tempos = np.geomspace(limits.lowest, limits.highest, n_tempos)
    n_bins = metre * BEAT_BINS
    table = np.concatenate([_circle(part, chunk, n_bins) for chunk in np.array_split(tempos, len(tempos) // 500 + 1)])
    table += task.prior(tempos)[:, None]
    bar = 60.0 * metre / tempos[:, None]
    if end >= task.duration:
        table += ENDING_REWARD * _ending((task.duration - np.arange(n_bins) / n_bins * bar) % bar)
    order = _best(table.ravel(), 1500)
    rows, bins = np.divmod(order, n_bins)
    period = 60.0 / tempos[rows]
    phase = (bins % BEAT_BINS) / BEAT_BINS * period
    kept = _distinct(N_BEAM, np.log(tempos[rows]) / 0.004, phase / 0.015)
    return _polish(part, tempos[rows][kept], phase[kept], end)


def _circle(part: _Task, tempos: np.ndarray, n_bins: int) -> np.ndarray:
    """Reward above chance of every tempo [R] and bar phase: [R, n_bins], by FFT. No harmonic 0: that is the chance."""
    bars_per_second = tempos[:, None] / (60.0 * part.metre)
    where = (np.floor((part.times[None, :] * bars_per_second) % 1 * n_bins)).astype(int) % n_bins
    flat = (where + np.arange(len(tempos))[:, None] * n_bins).ravel()
    harmonics = np.arange(n_bins // 2 + 1)
    width = SIGMA * bars_per_second
    bell = np.exp(-2 * (np.pi * harmonics * width) ** 2) * width * math.sqrt(2 * math.pi) * n_bins
    total = np.zeros((len(tempos), n_bins // 2 + 1), complex)
    for reward, combs in (
        (part.beat_reward, [(part.metre * parts, gain) for parts, gain in LEVELS]),
        (part.bar_reward, [(1, 1.0)]),
    ):
        counts = np.bincount(flat, np.tile(reward, len(tempos)), len(tempos) * n_bins).reshape(len(tempos), n_bins)
        spectrum = np.fft.rfft(counts, axis=1)
        for teeth, gain in combs:
            total += spectrum * np.where((harmonics % teeth == 0) & (harmonics > 0), bell * teeth * gain, 0)
    # Bin b of the result is the reward of downbeats at the bar phase b / n_bins (middle of the bin of the events).
    total *= np.exp(-1j * np.pi * harmonics / n_bins)
    return np.fft.irfft(total, n_bins, axis=1)


def _value(part: _Task, anchor: np.ndarray, tempo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reward above chance of grids with a beat at anchor [S]: on beats [S], and on downbeats by residue [S, metre]."""
    period = 60.0 / tempo[:, None]
    position = (part.times[None, :] - anchor[:, None]) / period
    reward = np.zeros(len(tempo))
    bell_area = SIGMA * math.sqrt(2 * math.pi)
    for parts, gain in LEVELS:
        off = position * parts
        distance = (off - np.rint(off)) * (period / parts)
        bells = np.exp(-0.5 * (distance / SIGMA) ** 2)
        reward += gain * ((bells - bell_area * parts / period) @ part.beat_reward)
        if parts == 1:
            residue = np.rint(position).astype(int) % part.metre
            near = bells * part.bar_reward
    chance = bell_area / (period * part.metre) * float(part.bar_reward.sum())
    down = np.stack([np.where(residue == r, near, 0.0).sum(axis=1) for r in range(part.metre)], axis=1) - chance
    return reward, down


def _polish(part: _Task, tempo: np.ndarray, phase: np.ndarray, end: float) -> _Beam:
    """Hypotheses moved to the best of their near neighbours, as a beam that has come to `end`."""
    is_free = part.limits.tempo is None
    # The phase is held in the middle of the stretch, so that a change of tempo turns about it.
    middle = phase + np.rint((end / 2 - phase) * tempo / 60.0) * 60.0 / tempo
    tilt = np.linspace(-0.01, 0.01, 5) / end * 2 if is_free else np.zeros(1)
    shift, tilt = (x.ravel() for x in np.meshgrid(np.linspace(-0.012, 0.012, 7), tilt))
    tempos = (
        np.clip(tempo[:, None] * (1 + tilt), part.limits.lowest, part.limits.highest) if is_free else tempo[:, None]
    )
    tempos = np.broadcast_to(tempos, (len(tempo), len(shift)))
    anchors = middle[:, None] + shift
    reward, down = _value(part, anchors.ravel(), tempos.ravel())
    best = (reward + down.max(axis=1)).reshape(tempos.shape).argmax(axis=1)
    pick = np.arange(len(tempo)) * len(shift) + best
    tempo, anchor = tempos.ravel()[pick], anchors.ravel()[pick]
    period = 60.0 / tempo
    back = np.ceil(-anchor / period - 1e-9).astype(int)  # from the middle to the first beat at or after 0
    first = anchor + back * period
    down = np.stack([np.roll(row, -k) for row, k in zip(down[pick], back, strict=True)])
    count = np.ceil((end - first) / period - 1e-9).astype(int)
    steps = [((float(t), float(f), 0),) for t, f in zip(first, tempo, strict=True)]
    return _Beam(first + count * period, tempo, tempo, count, reward[pick] + part.prior(tempo), down, steps)


def _extend(beam: _Beam, task: _Task, start: float, end: float) -> _Beam:
    """Every hypothesis goes on with its tempo or a slightly other one; the best remain."""
    part, metre = task.cut(start, end), task.metre
    n_turns = max(1, round(MAX_DRIFT / max(0.02 / (end - start), 0.0005)))
    turns = np.linspace(-MAX_DRIFT, MAX_DRIFT, 2 * n_turns + 1)
    tempo = np.concatenate([beam.tempo[:, None], beam.base[:, None] * (1 + turns)], axis=1)
    n_ways = tempo.shape[1]
    tempo = tempo.ravel()
    parent = np.repeat(np.arange(len(beam.tempo)), n_ways)
    drift = np.abs(np.log(tempo / beam.tempo[parent])) / MAX_DRIFT
    cost = np.where(drift > 1e-6, CHANGE_COST + DRIFT_COST * drift, 0.0)
    allowed = np.flatnonzero((tempo >= task.limits.lowest) & (tempo <= task.limits.highest) & (drift <= 1.0 + 1e-6))
    tempo, parent, cost = tempo[allowed], parent[allowed], cost[allowed]
    reward, down = _value(part, beam.anchor[parent], tempo)
    # Residues are counted from the first mark, those of `down` from the anchor.
    turned = (np.arange(metre)[None, :] - beam.count[parent][:, None]) % metre
    down = beam.down[parent] + np.take_along_axis(down, turned, axis=1)
    reward = beam.reward[parent] + reward - cost
    period = 60.0 / tempo
    n_beats = np.ceil((end - beam.anchor[parent]) / period - 1e-9).astype(int)
    anchor = beam.anchor[parent] + n_beats * period
    order = _best(reward + down.max(axis=1), 3000)
    kept = order[_distinct(N_BEAM // 2, np.log(tempo[order]) / 0.01, anchor[order] / 0.015)]
    steps = [
        beam.steps[p] + (((float(beam.anchor[p]), float(tempo[k]), int(beam.count[p])),) if cost[k] > 0 else ())
        for k, p in zip(kept, parent[kept], strict=True)
    ]
    count = beam.count[parent] + n_beats
    return _Beam(anchor[kept], tempo[kept], beam.base[parent[kept]], count[kept], reward[kept], down[kept], steps)


def _best(reward: np.ndarray, n: int) -> np.ndarray:
    """Indices of the n highest, best first."""
    n = min(n, len(reward))
    top = np.sort(np.argpartition(-reward, n - 1)[:n])  # sorted, so that equals keep their order
    return top[np.argsort(-reward[top], kind="stable")]


def _distinct(n: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Indices of the first n rows that differ when rounded."""
    keys = np.rint(a).astype(np.int64) * 2**32 + np.rint(b).astype(np.int64)
    _, first = np.unique(keys, return_index=True)
    return np.sort(first)[:n]


def _finish(beam: _Beam, task: _Task) -> tuple[float, list[TempoMark]]:
    """The best hypothesis when the ending counts too: its reward and its marks."""
    residues = np.arange(task.metre)
    # anchor is the first beat at or after the end; walk back to the last downbeat of each residue.
    back = (beam.count[:, None] - residues) % task.metre
    left = task.duration - (beam.anchor[:, None] - back * 60.0 / beam.tempo[:, None])
    left = np.where(left < 0, left + task.metre * 60.0 / beam.tempo[:, None], left)
    total = beam.reward[:, None] + beam.down + ENDING_REWARD * _ending(left)
    best, residue = np.unravel_index(int(total.argmax()), total.shape)
    marks = [TempoMark(t, f, (c - int(residue)) % task.metre + 1) for t, f, c in beam.steps[int(best)]]
    return float(total[best, residue]), marks


def _ending(left: np.ndarray) -> np.ndarray:
    """Reward in [0, 1] of a last downbeat `left` s before the end: long enough to ring, not long enough to drag."""
    return np.exp(-0.5 * ((np.maximum(0.9 - left, 0) / 0.3) ** 2 + (np.maximum(left - 2.0, 0) / 0.6) ** 2))
