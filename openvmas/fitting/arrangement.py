"""Choice of the parts of a recording that are played, and of their place and tempo, by dynamic programming.

Time of the target runs in frames, the recording in bars (in free time: in stretches between onsets). The value of
playing a bar from a frame on is how well its accents meet the moments that are asked, in standard deviations of chance,
so that one number places a recording (no joins: a correlation over all offsets and tempos) and weighs joins against it.
After the musical underlays of Rubin & Agrawala (2012-2014) and the scalable music of Wenner et al. (2013); that
accents, and not just beats, are laid on the moments is our own measured choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from openvmas.fitting.track import CELLS, N_BANDS, Track, strongest_near
from openvmas.fitting.wishes import SPEECH_STEP, Wishes
from openvmas.music.onsets import ONSET_RATE, moving_mean

FPS = 50  # frames of the target per second
RATES = (0.96, 0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03, 1.04)  # seconds of the recording for one of the target
COMING_IN = 0.1  # s
REACH = 0.05  # s: an accent this near to a moment counts as on it
AROUND = 4.0  # s on each side of a moment whose mean is no accent
CONTRAST_SPAN, LEAST_CONTRAST = 12.0, 0.5  # s on each side whose spread accents are measured by; least, of the whole's
MAX_CELLS = 24_000_000  # values of the table; more and fewer tempos are tried
MOST_CELLS = 48_000_000  # at one tempo; above it recordings are cut at every second bar line, third, …: 0.8 GB
HIGHEST = 5.0  # standard deviations: one great accent does not outweigh all others
USER_REACH = 0.16  # s; the rest is done by `anchoring`
USER_WEIGHT = 2.5  # standard deviations that a moment of the user on a bar line is worth
BEAT_SHARE, ONSET_SHARE = 0.6, 0.35  # of that on another beat, on another onset
BORDER_WEIGHT, BORDER_REACH = 0.5, 0.15  # standard deviations; s
ENERGY_WEIGHT, ENERGY_SCALE = 0.8, 8.0  # standard deviations of a whole piece that is ENERGY_SCALE LU off
ORDINARY_ENERGY, ENERGY_SPAN = 0.73, 22.0  # of plans: 0.73 is the recording's own loudness, 1 is 6 LU above it
SPEECH_WEIGHT = 0.5
REPEAT_COST = 3.0  # of playing only bars that another arrangement played
SAME_COST, SAME_REACH = 5.0, 30  # of playing them at the same times, which is no other arrangement; frames
ALTERNATIVES = 12  # seeds that give other arrangements; then they begin again
STRETCH_WEIGHT = 0.1  # standard deviations for the greatest stretch
JOIN, UNLIKE, BACKWARD = 0.25, 2.0, 0.1  # costs: of a join, of one between unlike places (squared), of going back
EXCESS = 0.25  # cost of a standard deviation of change beyond that of usual bar lines
OFF_PHRASE = (0.0, 0.3, 0.15, 0.3)  # of a join that leaves the count of four bars
N_JOINS = 14  # places that a bar line may be joined to
BEGINNING = 1.5  # cost of leaving the recording's beginning out where there is no picture to lay it under
LATE_START, MID_BAR, START_SUNG = 0.25, 0.2, 0.5  # costs of beginning inside the recording, inside a bar, in a phrase
SILENT_START, SILENT_END = 1.0, 0.25  # per second of silence
LONGEST_SILENCE = 1.2  # s, before the picture ends
TAIL = (0.9, 0.35)  # s, and share, of what rings after the last beat that is never cut
CUT_COST = 0.4  # of cutting all the ring that may be cut
FIRST_BEATS, LAST_BEATS = 3, 4  # beats at both ends of a recording in which there is no join
LOOP_BARS = 8  # so many bars are never heard more than twice in a row
DROPPED = 100.0  # cost of a bar that must not be heard
WANTED_REACH = 10  # frames
WANTED_BEGIN = 20.0  # cost of a second between the beginning that is wanted and the one that is made
NEVER = -1e9
MOST_TRIALS = 6  # arrangements that are looked at until none repeats itself too often


@dataclass(frozen=True)
class Run:
    """A stretch of the recording that is played as it is: its source_start to source_end s, from `start` s on.

    rate: seconds of the recording per second of the target. is_joined: it does not go on from the run before.
    """

    start: float
    source_start: float
    source_end: float
    rate: float
    is_joined: bool = False

    @property
    def end(self) -> float:
        """Where it ends in the target, s."""
        return self.start + (self.source_end - self.source_start) / self.rate


@dataclass(frozen=True)
class Arrangement:
    """Runs that follow each other from 0 to the end of the target or to the recording's end, and their value.

    value: in standard deviations of chance, less the costs.
    """

    runs: tuple[Run, ...]
    value: float

    @property
    def joins(self) -> tuple[float, ...]:
        """Times of the joins in the target, s."""
        return tuple(run.start for run in self.runs if run.is_joined)

    def source_times(self, times: np.ndarray) -> np.ndarray:
        """Where the recording is at times of the target, s: [N]."""
        starts = np.array([run.start for run in self.runs])
        which = np.clip(np.searchsorted(starts, times + 1e-9, side="right") - 1, 0, len(self.runs) - 1)
        rates = np.array([run.rate for run in self.runs])[which]
        return np.array([run.source_start for run in self.runs])[which] + (times - starts[which]) * rates

    def strength(self, track: Track, duration: float) -> np.ndarray:
        """The onset strength heard over the first `duration` s, but for that of coming in: [T] at ONSET_RATE."""
        times = np.arange(round(duration * float(ONSET_RATE))) / float(ONSET_RATE)
        index = np.rint(self.source_times(times) * float(ONSET_RATE)).astype(int)
        is_heard = (index >= 0) & (index < len(track.strength)) & (times >= self.runs[0].start + COMING_IN)
        return np.where(is_heard, track.strength[np.clip(index, 0, len(track.strength) - 1)], 0.0)

    def target_times(self, marks: np.ndarray) -> np.ndarray:
        """All times of the target, s, increasing, at which moments of the recording (s) are heard."""
        found = [
            run.start + (marks[(marks >= run.source_start) & (marks < run.source_end)] - run.source_start) / run.rate
            for run in self.runs
        ]
        return np.concatenate(found) if found else np.zeros(0)


@dataclass(frozen=True)
class WantedJoin:
    """A join from one bar line to another at a time of the target, s, and its worth in standard deviations.

    reach: frames from its time on each side at which it is looked for; `anchoring` does the rest.
    """

    time: float
    leaves: int
    enters: int
    worth: float
    reach: int = WANTED_REACH


@dataclass(frozen=True)
class Limits:
    """Limits that the user sets to the arrangement.

    kept: spans of the recording (s) that must be played whole; dropped: spans that must not be heard. forbidden: pairs
    of bar lines that are not joined. wanted: joins that are. begin: s of the recording at the target's beginning, or
    None. joins: whether there may be others. seed: another one gives another arrangement.
    """

    kept: tuple[tuple[float, float], ...] = ()
    dropped: tuple[tuple[float, float], ...] = ()
    forbidden: frozenset[tuple[int, int]] = frozenset()
    wanted: tuple[WantedJoin, ...] = ()
    begin: float | None = None
    joins: bool = True
    seed: int = 0


@dataclass
class _Table:
    """The dynamic programme. Axes: tempos, frames (from `before` frames before the picture), bars."""

    rates: np.ndarray
    before: int
    lengths: np.ndarray  # [R, N] frames of each bar
    gains: np.ndarray  # [R, T, N]
    ends: np.ndarray  # [T] value of ending at a frame
    targets: np.ndarray  # [N + 1, K] places that a bar line may be joined to
    costs: np.ndarray  # [N + 1, K]
    switches: frozenset[int] = frozenset()  # frames at which the tempo may change, on a bar line
    # Joins that are wanted: (frame, bar line that is left) → the place it leads to and its cost.
    wanted: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)
    values: np.ndarray = field(init=False)  # [R, T, N + 1]
    steady: np.ndarray = field(init=False)  # [R, T, N]: the same where the next bar line is not left

    def solve(self) -> None:
        """Fill the values from the last frame back."""
        n_rates, n_frames, n_bars = self.gains.shape
        shape = n_rates, n_frames + int(self.lengths.max()), n_bars + 1  # what would come after the last frame is never
        self.values = np.full(shape, NEVER, np.float32)
        self.values[:, :n_frames, n_bars] = self.ends
        self.steady = np.full(shape, NEVER, np.float32)
        left = self.values.copy()  # the value at a bar line, where it may be left
        step = max(1, int(self.lengths.min()))
        # Index of the next bar line in a flattened table, for frame 0.
        coming = np.arange(n_rates)[:, None] * shape[1] * shape[2] + self.lengths * shape[2] + np.arange(1, n_bars + 1)
        leaving = np.flatnonzero((self.costs < -NEVER / 2).any(axis=1))
        joins = [
            (self.targets[leaving, k], self.costs[leaving, k].astype(np.float32)) for k in range(self.costs.shape[1])
        ]
        for last in range(n_frames, 0, -step):
            block = slice(max(0, last - step), last)
            index = coming[:, None, :] + (np.arange(block.start, block.stop) * shape[2])[None, :, None]
            gains = self.gains[:, block]
            self.values[:, block, :n_bars] = gains + left.ravel()[index]
            self.steady[:, block, :n_bars] = gains + self.values.ravel()[index]
            for frame in self.switches:
                for near in range(max(block.start, frame - 1), min(block.stop, frame + 2)):
                    best = self.values[:, near].max(axis=0) - 0.02
                    self.values[:, near] = np.maximum(self.values[:, near], best)
            left[:, block] = self.values[:, block]
            if len(leaving):
                steady, best = self.steady[:, block], left[:, block, leaving]
                for enters, costs in joins:
                    np.maximum(best, steady[:, :, enters] - costs, out=best)
                left[:, block, leaving] = best
            for (frame, leaves), (enters, cost) in self.wanted.items():
                if block.start <= frame < block.stop:
                    offer = self.steady[:, frame, enters] - cost
                    left[:, frame, leaves] = np.maximum(left[:, frame, leaves], offer)

    def best_join(self, rate: int, frame: int, bar: int) -> tuple[float, int]:
        """(value, bar line) of the best join that leaves a bar line at a frame."""
        offered = self.steady[rate, frame, self.targets[bar]] - self.costs[bar]
        best = int(offered.argmax())
        value, enters = float(offered[best]), int(self.targets[bar, best])
        if (frame, bar) in self.wanted:
            other, cost = self.wanted[frame, bar]
            if float(self.steady[rate, frame, other]) - cost > value:
                value, enters = float(self.steady[rate, frame, other]) - cost, other
        return value, enters

    def trace(self, rate: int, frame: int, bar: int) -> list[tuple[int, int, int, int]]:
        """The best path from a state: (rate, frame, first bar, bar line at the end) of each run."""
        n_frames, n_bars = self.gains.shape[1:]
        path, first, began, is_fixed = [], bar, frame, True
        while bar < n_bars:
            if not is_fixed and frame < n_frames and self._near_switch(frame):
                best = int(self.values[:, frame, bar].argmax())
                own = self.gains[rate, frame, bar] + self._left(rate, frame + self.lengths[rate, bar], bar + 1)
                if best != rate and self.values[rate, frame, bar] > own + 1e-4:
                    path.append((rate, began, first, bar))
                    rate, first, began = best, bar, frame
            frame, bar = frame + int(self.lengths[rate, bar]), bar + 1
            if not is_fixed and frame < n_frames:
                value, enters = self.best_join(rate, frame, bar)
                if value > self.values[rate, frame, bar]:
                    path.append((rate, began, first, bar))
                    first, bar, began, is_fixed = enters, enters, frame, True
                    continue
            is_fixed = False
        path.append((rate, began, first, bar))
        return path

    def _near_switch(self, frame: int) -> bool:
        return any(abs(frame - other) <= 1 for other in self.switches)

    def _left(self, rate: int, frame: int, bar: int) -> float:
        if frame >= self.values.shape[1]:
            return NEVER
        value = float(self.values[rate, frame, bar])
        if bar < self.values.shape[2] - 1:
            value = max(value, self.best_join(rate, frame, bar)[0])
        return value


def arrange(track: Track, wishes: Wishes, limits: Limits | None = None) -> Arrangement:
    """The best arrangement of a recording for what is asked."""
    track, limits = _thinned(track, limits or Limits(), float(wishes.duration) * FPS)
    others: list[Arrangement] = []
    for _ in range(limits.seed % ALTERNATIVES):  # each asks for what those before it left out
        others.append(_arrange_once(track, wishes, limits, others))
    return _arrange_once(track, wishes, limits, others)


def _thinned(track: Track, limits: Limits, n_frames: float) -> tuple[Track, Limits]:
    """A long recording for a long target with fewer bar lines, so that memory stays bounded; limits go with them."""
    last = len(track.marks) - 1
    step = int(np.ceil(last * n_frames / MOST_CELLS))
    if step <= 1:
        return track, limits
    named = {bar for pair in limits.forbidden for bar in pair}
    named |= {bar for join in limits.wanted for bar in (join.leaves, join.enters)}
    kept = sorted({*range(0, last, step), last, *named})
    index = {bar: place for place, bar in enumerate(kept)}
    return (
        replace(track, marks=track.marks[kept], novelty=track.novelty[kept], described=track.described[kept]),
        replace(
            limits,
            forbidden=frozenset((index[leaves], index[enters]) for leaves, enters in limits.forbidden),
            wanted=tuple(replace(j, leaves=index[j.leaves], enters=index[j.enters]) for j in limits.wanted),
        ),
    )


def _arrange_once(track: Track, wishes: Wishes, limits: Limits, others: Sequence[Arrangement]) -> Arrangement:
    """The best arrangement that is unlike the others."""
    forbidden = set(limits.forbidden)
    found: Arrangement | None = None
    for _ in range(MOST_TRIALS):
        table = _lay_table(track, wishes, limits, frozenset(forbidden), others)
        table.solve()
        rate, frame, bar, value = _best_start(track, wishes, table, limits.begin)
        if value < NEVER / 2 and found is not None:
            break  # a recording this short has to be heard again and again
        path = table.trace(rate, frame, bar)
        found = Arrangement(_runs(track, table, path, float(wishes.duration)), value)
        loop = _endless_loop(path)
        if loop is None:
            break
        forbidden.add(loop)
    assert found is not None
    return found


def _lay_table(
    track: Track, wishes: Wishes, limits: Limits, forbidden: frozenset[tuple[int, int]], others: Sequence[Arrangement]
) -> _Table:
    bars = len(track.marks) - 1
    n_target = round(float(wishes.duration) * FPS)
    tail = max(0.0, track.end - track.ring_start)
    spare = tail - max(TAIL[0], TAIL[1] * tail)
    after = round(max(0.0, spare) * FPS * 1.05) + 2
    rates = _tempos(bars, n_target, track.is_free)
    starts = np.rint((track.marks - track.marks[0])[None, :] / rates[:, None] * FPS).astype(int)
    lengths = np.maximum(np.diff(starts, axis=1), 1)
    before = int(lengths.max())
    gains = _gains(track, wishes, rates, lengths, before, n_target + after)
    _avoid(gains, track, others, lengths / max(n_target, 1), before)
    targets, costs = find_joins(track, limits, forbidden)
    ends = np.full(before + n_target + after + 1, NEVER)
    frames = np.arange(len(ends)) - before - n_target  # after the picture's end
    early = (frames <= 0) & (frames >= -round(LONGEST_SILENCE * FPS))
    ends[early] = SILENT_END * frames[early] / FPS
    late = (frames > 0) & (frames <= after)
    ends[late] = -CUT_COST * frames[late] / max(after, 1)
    gains = np.concatenate([gains, np.zeros((*gains.shape[:1], 1, bars), np.float32)], axis=1)
    for start, end in limits.dropped:
        gains[:, :, (track.marks[:-1] < end - 0.05) & (track.marks[1:] > start + 0.05)] -= DROPPED
    switches = frozenset(before + round(float(hit) * FPS) for hit in wishes.user_hits)
    wanted = {}
    for join in limits.wanted:
        for off in range(-join.reach, join.reach + 1):
            frame = before + round(join.time * FPS) + off
            if before < frame < before + n_target:
                nearness = 1 - abs(off) / (join.reach + 1)
                wanted[frame, join.leaves] = join.enters, -join.worth * (0.8 + 0.2 * nearness)
    return _Table(rates, before, lengths, gains, ends, targets, costs, switches, wanted)


def _tempos(bars: int, n_frames: int, is_free: bool) -> np.ndarray:
    """The tempos that are tried: fewer for long pieces, so that memory stays bounded."""
    rates = np.array((1.0,) if is_free and bars * n_frames > MAX_CELLS / 3 else RATES)
    while len(rates) > 1 and len(rates) * bars * n_frames > MAX_CELLS:
        rates = rates[:: 2 if len(rates) > 3 else 3] if len(rates) > 3 else np.array([1.0])
    return rates


def accents(track: Track) -> np.ndarray:
    """Strength of each moment as an accent among its neighbours, in standard deviations of what is around: [T].

    At ONSET_RATE. Strong against what is around, since a passage full of onsets meets every moment and means none.
    """
    curve = strongest_near(track, REACH)
    around, span = (round(seconds * float(ONSET_RATE)) for seconds in (AROUND, CONTRAST_SPAN))
    curve = curve - moving_mean(curve, around, around)
    inside = curve[round(track.start * 100) : max(round(track.end * 100), 1)]
    spread = np.sqrt(np.maximum(moving_mean(curve**2, span, span), 0))
    return np.minimum(curve / np.maximum(spread, max(LEAST_CONTRAST * float(inside.std()), 1e-6)), HIGHEST)


def _gains(
    track: Track, wishes: Wishes, rates: np.ndarray, lengths: np.ndarray, before: int, n_frames: int
) -> np.ndarray:
    """Value of playing each bar from each frame on: [R, before + n_frames, N] float32."""
    n_bars, longest = lengths.shape[1], int(lengths.max())
    gains = np.zeros((len(rates), before + n_frames, n_bars), np.float32)
    offsets = np.arange(longest)
    is_inside = offsets[None, None, :] < lengths[:, :, None]
    source = track.marks[None, :-1, None] + offsets[None, None, :] * rates[:, None, None] / FPS  # [R, N, D]
    own = ~wishes.is_user
    scale = max(float(np.sqrt((wishes.weights[own] ** 2).sum())), 1e-9)
    _add_moments(
        gains, _read(accents(track), source) * is_inside, wishes.hits[own], wishes.weights[own] / scale, before
    )
    answer = user_answer(track)
    _add_moments(
        gains, _read(answer, source) * is_inside, wishes.user_hits, np.full(own.size - own.sum(), USER_WEIGHT), before
    )
    border = np.zeros((len(rates), n_bars, longest), np.float32)
    reach = round(BORDER_REACH * FPS)
    slope = 1 - np.arange(reach + 1) / (reach + 1)
    border[:, :, : reach + 1] = track.novelty[:-1, None] * slope
    _add_moments(gains, border * is_inside, wishes.borders, BORDER_WEIGHT * wishes.border_weights, before)
    total = float(wishes.duration) * FPS
    share = lengths / max(total, 1.0)  # [R, N]
    gains -= (STRETCH_WEIGHT * (np.abs(rates - 1) / 0.04)[:, None] * share)[:, None, :].astype(np.float32)
    times = (np.arange(gains.shape[1]) - before) / FPS
    inside = (times >= 0) & (times < float(wishes.duration))
    if wishes.energy is not None:
        level = np.clip((np.interp(times, *wishes.energy) - ORDINARY_ENERGY) * ENERGY_SPAN, -12, 6)
        level = level - level[inside].mean() if inside.any() else level
        bar_level = _per_bar(track.energy, 10, track)
        off = np.abs(bar_level[None, :] - level[:, None]) / ENERGY_SCALE * inside[:, None]
        gains -= (ENERGY_WEIGHT * share[:, None, :] * np.minimum(off, 2)[None]).astype(np.float32)
    if wishes.speech is not None and len(wishes.speech):
        talk = wishes.speech[np.clip((times / SPEECH_STEP).astype(int), 0, len(wishes.speech) - 1)] * inside
        density = _per_bar(track.strength, 100, track)
        density = (density - density.mean()) / max(float(density.std()), 1e-6)
        gains -= (SPEECH_WEIGHT * share[:, None, :] * (talk[:, None] * density[None])[None]).astype(np.float32)
    return gains


def _avoid(gains: np.ndarray, track: Track, others: Sequence[Arrangement], share: np.ndarray, before: int) -> None:
    """Take from [R, T, N] what it costs to play what others play, and most of all to play it at their times.

    share: [R, N] of the target that each bar takes.
    """
    starts, middles = track.marks[:-1], (track.marks[1:] + track.marks[:-1]) / 2
    for run in (run for other in others for run in other.runs):
        bars = np.flatnonzero((middles > run.source_start) & (middles < run.source_end))
        gains[:, :, bars] -= (REPEAT_COST * share[:, None, bars]).astype(np.float32)
        for bar in bars:
            frame = before + round((run.start + (starts[bar] - run.source_start) / run.rate) * FPS)
            same = slice(max(frame - SAME_REACH, 0), max(frame + SAME_REACH + 1, 0))
            gains[:, same, bar] -= (SAME_COST * share[:, bar, None]).astype(np.float32)


def _read(curve: np.ndarray, source: np.ndarray) -> np.ndarray:
    """A curve at ONSET_RATE read at times of the recording, s."""
    index = np.clip(np.rint(source * float(ONSET_RATE)).astype(int), 0, len(curve) - 1)
    return curve[index].astype(np.float32)


def _per_bar(curve: np.ndarray, rate: int, track: Track) -> np.ndarray:
    """Mean of a curve over each bar: [N]."""
    total = np.concatenate([[0.0], np.cumsum(curve, dtype=np.float64)])
    edges = np.clip(np.rint(track.marks * rate).astype(int), 0, len(curve))
    width = np.maximum(np.diff(edges), 1)
    return (total[np.minimum(edges[:-1] + width, len(curve))] - total[edges[:-1]]) / width


def _add_moments(gains: np.ndarray, answer: np.ndarray, times: np.ndarray, weights: np.ndarray, before: int) -> None:
    """Add to [R, T, N] what bars are worth by their answer [R, N, D] to moments (s)."""
    flipped = np.ascontiguousarray(answer[:, :, ::-1].transpose(0, 2, 1))  # [R, D, N]: from the earliest start on
    longest = flipped.shape[1]
    for time, weight in zip(times, weights, strict=True):
        frame = before + round(float(time) * FPS)
        low = max(0, frame - longest + 1)
        high = min(frame + 1, gains.shape[1])
        if low < high:
            gains[:, low:high] += weight * flipped[:, low - (frame - longest + 1) : high - (frame - longest + 1)]


def user_answer(track: Track) -> np.ndarray:
    """Fitness of each moment of a recording for a moment of the user, 1 on a bar line: [T] at ONSET_RATE."""
    n = len(track.strength)
    onsets = np.flatnonzero(track.strength >= 2.0) / float(ONSET_RATE)
    answer = np.zeros(n)
    bars = track.marks[1:-1]
    kinds = ((onsets, ONSET_SHARE), (track.beats, BEAT_SHARE), (bars, ONSET_SHARE if track.is_free else 1.0))
    reach = round(USER_REACH * float(ONSET_RATE))
    for times, height in kinds:
        at = np.rint(np.asarray(times) * float(ONSET_RATE)).astype(int)
        # A bar line on which nothing begins is no answer that can be heard.
        heard = np.array([track.strength[max(0, i - 4) : i + 5].max(initial=0.0) for i in at])
        for shift in range(-reach, reach + 1):
            index = at + shift
            ok = (index >= 0) & (index < n)
            value = height * (1 - abs(shift) / (reach + 1)) * np.clip(heard[ok] / 1.5, 0.3, 1)
            np.maximum.at(answer, index[ok], value)
    return answer


def find_joins(track: Track, limits: Limits, forbidden: frozenset[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Places that each bar line may be joined to, and what that costs: [N + 1, K] each; -NEVER where it may not be."""
    n = len(track.marks)
    cost = join_costs(track)
    period = 60 / track.tempo if track.tempo and not track.is_free else 0.5
    is_close = n <= 6 or track.end - track.start < 2 * (FIRST_BEATS + LAST_BEATS) * period
    no_leave = np.zeros(n, bool)
    no_leave[[0, -1]] = True
    no_arrive = no_leave.copy()
    if not is_close:
        no_leave |= track.marks < track.start + FIRST_BEATS * period
        no_leave |= track.marks > track.ring_start - LAST_BEATS * period
        no_arrive |= track.marks > track.ring_start - LAST_BEATS * period
    else:
        no_leave[-1] = no_arrive[0] = False
    sung = track.is_sung(track.marks)
    for start, end in limits.kept:
        no_leave |= (track.marks > start + 0.05) & (track.marks < end - 0.05)
        no_arrive |= (track.marks > start + 0.05) & (track.marks < end - 0.05)
    if not limits.joins:
        no_leave[:] = True
    cost[no_leave | sung] = -NEVER
    cost[:, no_arrive | sung] = -NEVER
    for pair in forbidden:
        cost[pair] = -NEVER
    k = min(N_JOINS, n)
    targets = np.argpartition(cost, k - 1, axis=1)[:, :k] if k < n else np.tile(np.arange(n), (n, 1))
    targets = np.concatenate([targets, _near_end(cost)], axis=1)
    return targets, np.take_along_axis(cost, targets, axis=1)


def _near_end(cost: np.ndarray) -> np.ndarray:
    """The two cheapest places near the end for each bar line, so that the ending can always be reached: [N + 1, 2]."""
    n = len(cost)
    first = max(0, n - 14)
    return first + np.argsort(cost[:, first:], axis=1)[:, :2]


def join_costs(track: Track) -> np.ndarray:
    """Costs of leaving each bar line (rows) for another (columns): [N + 1, N + 1].

    What would have come is compared with what comes, and what was with what would have been before it, half beat by
    half beat: bands, pitch classes and level.
    """
    cells = track.described.shape[1]
    weights = np.exp(-np.abs(np.arange(cells) + 0.5 - cells / 2) / (cells / 4))
    flat = (track.described * np.sqrt(weights / weights.sum())[None, :, None]).reshape(len(track.described), -1)
    squared = (flat.astype(np.float64) ** 2).sum(axis=1)
    distance = np.maximum(squared[:, None] + squared[None, :] - 2 * flat.astype(np.float64) @ flat.T, 0)
    usual = max(float(np.median(distance[np.triu_indices(len(distance), 2)])) if len(distance) > 2 else 1.0, 1e-6)
    cost = JOIN + UNLIKE * distance / usual + EXCESS * excess_of_change(track.described)
    skipped = np.arange(len(cost))[None, :] - np.arange(len(cost))[:, None]
    if not track.is_free:
        cost += np.array(OFF_PHRASE)[skipped % 4]
    cost += BACKWARD * (skipped < 0)
    np.fill_diagonal(cost, -NEVER)
    return cost


def excess_of_change(described: np.ndarray) -> np.ndarray:
    """Excess of change in the bands from the beat before one mark to the beat after another than at bar lines.

    In standard deviations of the changes at the recording's own bar lines, from 0 to 3: [N + 1, N + 1].
    """
    bands = described[:, :, :N_BANDS].astype(np.float32)
    before, after = bands[:, CELLS - 2 : CELLS].mean(axis=1), bands[:, CELLS : CELLS + 2].mean(axis=1)
    own = np.abs(after - before).mean(axis=1)[1:-1]
    change = np.stack([np.abs(after - row).mean(axis=1) for row in before])
    if not len(own):
        return np.zeros_like(change)
    return np.clip((change - np.median(own)) / max(float(own.std()), 1e-6), 0, 3)


def _best_start(track: Track, wishes: Wishes, table: _Table, begin: float | None) -> tuple[int, int, int, float]:
    """(rate, frame, bar, value) of the best beginning: at or before the picture's first frame.

    begin: s of the recording that should be heard there.
    """
    n_rates, _, n_bars = table.gains.shape
    sung = track.is_sung(track.marks)
    best = (0, table.before, 0, -np.inf)
    for bar in range(n_bars):
        for rate in range(n_rates):
            length = int(table.lengths[rate, bar])
            frames = np.arange(table.before - length + 1, table.before + 1)
            value = table.steady[rate, frames, bar].astype(np.float64)
            inside = frames < table.before - 1
            value -= MID_BAR * inside + START_SUNG * sung[bar]
            if begin is not None:
                at = track.marks[bar] + (table.before - frames) / FPS * table.rates[rate]
                value -= WANTED_BEGIN * np.minimum(np.abs(at - begin), 60.0)
            elif bar > 0 or length > 2 * FPS:
                late = BEGINNING if wishes.keeps_beginning else LATE_START - 0.15 * track.novelty[bar] * ~inside
                value -= np.where((bar > 0) | inside, late, 0.0)
            k = int(value.argmax())
            if value[k] > best[3]:
                best = (rate, int(frames[k]), bar, float(value[k]))
    return best


def _endless_loop(path: list[tuple[int, int, int, int]]) -> tuple[int, int] | None:
    """A join that makes LOOP_BARS bars or fewer sound three times in a row, if there is one."""
    bars = [bar for _, _, first, last in path for bar in range(first, last)]
    for length in range(1, LOOP_BARS + 1):
        for i in range(len(bars) - 3 * length + 1):
            if bars[i : i + length] == bars[i + length : i + 2 * length] == bars[i + 2 * length : i + 3 * length]:
                for k in range(i + length, i + 3 * length):
                    if bars[k] != bars[k - 1] + 1:
                        return (bars[k - 1] + 1, bars[k])
    return None


def _runs(track: Track, table: _Table, path: list[tuple[int, int, int, int]], duration: float) -> tuple[Run, ...]:
    """Runs with exact times, counted back from the end, from where the picture begins."""
    rate, frame, first, last = path[-1]
    end = (frame - table.before + int(table.lengths[rate, first:last].sum())) / FPS
    if abs(end - duration) < 1.5 / FPS:
        end = duration
    runs: list[Run] = []
    for index in range(len(path) - 1, -1, -1):
        rate, _, first, last = path[index]
        speed = float(table.rates[rate])
        source = float(track.marks[first]), float(track.marks[last])
        start = end - (source[1] - source[0]) / speed
        is_joined = index > 0 and path[index - 1][3] != first
        runs.append(Run(start, source[0], source[1], speed, is_joined))
        end = start
    runs.reverse()
    while runs[0].end <= 0 and len(runs) > 1:
        runs.pop(0)
    head = runs[0]
    if head.start < 0:
        runs[0] = Run(0.0, head.source_start - head.start * head.rate, head.source_end, head.rate)
    return tuple(runs)
