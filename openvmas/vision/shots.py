"""Changes of shot: hard cuts and gradual transitions, and flashes, which are neither.

Works on small colour frames (80 x 48) at the source's rate, in bounded memory. A pair of frames is judged by how much
of the picture's structure motion cannot explain (`motion.block_flow`), which ignores camera moves, noise and light;
a gradual transition by whether the frames between are a mixture of its two ends (Zhang et al. 1993 for the twin
comparison; the mixture test is ours).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from openvmas.vision.motion import explained_by_motion, luma, mismatch, structure

FRAME_SIZE = (80, 48)  # width, height of the frames that `ShotFinder` takes
CONTEXT = 4.5  # s of frames kept behind the point of decision, for gradual transitions
LOOKAHEAD = 2.2  # s of frames needed before a decision
MAX_FLAT = 6.0  # grey levels: a picture with less contrast is empty
DECISION_STEP = 2.0  # s
MAX_FLASH = 0.4  # s: a brighter (or darker) moment that lasts longer is a change of light
MAX_BATCH = 16  # pairs of frames compared at once
MIN_SHOT = 0.10  # s between two cuts
GRID = 0.1  # s between the frames looked at for gradual transitions
SPANS = (0.5, 0.9, 1.6, 2.6, 4.0)  # s, lengths tried for gradual transitions


@dataclass(frozen=True)
class Transition:
    """A change from one shot to the next. start = end = time for a hard cut; strength in (0, 1]."""

    time: float
    start: float
    end: float
    strength: float
    is_from_flat: bool = False  # begins (or ends) with an empty, usually black, picture: half of a fade
    is_to_flat: bool = False

    @property
    def is_gradual(self) -> bool:
        return self.end > self.start

    @property
    def is_fade(self) -> bool:
        return self.is_from_flat or self.is_to_flat


@dataclass(frozen=True)
class ShotChanges:
    """transitions in order of time; flash_times [N] s (first frames), flash_strengths [N] in (0, 1]; light [F]: mean
    luma in [0, 1] of every frame, at light_times [F] s."""

    transitions: tuple[Transition, ...]
    flash_times: np.ndarray
    flash_strengths: np.ndarray
    light_times: np.ndarray
    light: np.ndarray


class ShotFinder:
    """Takes frames in order, in chunks of any length; `finish` gives what was found."""

    def __init__(self) -> None:
        self._times = np.zeros(0)
        self._frames = np.zeros((0, FRAME_SIZE[1], FRAME_SIZE[0], 3), np.uint8)
        self._change = np.zeros(0)  # mean absolute difference from the frame before, grey levels
        self._level = np.zeros(0)  # mean luma, grey levels
        self._light_times: list[np.ndarray] = []
        self._light: list[np.ndarray] = []
        self.decided = -np.inf  # s: everything up to here has been decided
        self._cuts: list[Transition] = []
        self._gradual: list[tuple[Transition, float]] = []
        self._flashes: list[tuple[float, float]] = []
        self._next_decision = DECISION_STEP

    def push(self, times: np.ndarray, frames: np.ndarray) -> None:
        """Add frames. times: [F] s, increasing; frames: [F, 48, 80, 3] uint8 RGB."""
        if frames.shape[1:] != (FRAME_SIZE[1], FRAME_SIZE[0], 3):
            raise ValueError(f"shots are found in frames of 80 x 48 pixels in colour, not {frames.shape[1:]}")
        times = np.asarray(times, np.float64)
        while len(times):
            # Decisions fall at fixed times and see a fixed stretch ahead, so that chunks do not matter.
            n = int(np.searchsorted(times, self._next_decision + LOOKAHEAD, side="right"))
            if n:
                self._append(times[:n], frames[:n])
            times, frames = times[n:], frames[n:]
            if len(times):
                self._decide(self._next_decision)
                self._next_decision += DECISION_STEP

    def _append(self, times: np.ndarray, frames: np.ndarray) -> None:
        before = self._frames[-1:] if len(self._frames) else frames[:1]
        values = np.concatenate([before, frames]).astype(np.float32).reshape(len(frames) + 1, -1)
        self._change = np.append(self._change, np.abs(np.diff(values, axis=0)).mean(axis=1))
        level = luma(values[1:].reshape(frames.shape)).mean(axis=(1, 2))
        self._level = np.append(self._level, level)
        self._times = np.append(self._times, times)
        self._frames = np.concatenate([self._frames, frames])
        self._light_times.append(times)
        self._light.append((level / 255).astype(np.float32))

    def finish(self, is_over: bool = True) -> ShotChanges:
        """Decide about the rest, if it is over, and give everything found, in order."""
        if is_over and len(self._times):
            self._decide(np.inf)
        best_first = [g for g, _ in sorted(self._gradual, key=lambda g: -g[1])]
        cuts = join_transitions(self._cuts, best_first, float(self._times[-1]) if len(self._times) else 0.0)
        flashes = np.array(self._flashes).reshape(-1, 2)
        return ShotChanges(
            tuple(cuts),
            flashes[:, 0],
            flashes[:, 1],
            np.concatenate(self._light_times) if self._light_times else np.zeros(0),
            np.concatenate(self._light) if self._light else np.zeros(0, np.float32),
        )

    def _decide(self, until: float) -> None:
        """Find what lies between the last decision and `until`, then forget old frames."""
        if len(self._times) == 0:
            return
        self._find_flashes(until)
        self._find_cuts(until)
        self._find_gradual(until)
        self.decided = until
        first = int(np.searchsorted(self._times, min(until, self._times[-1]) - CONTEXT))
        for name in ("_times", "_frames", "_change", "_level"):
            setattr(self, name, getattr(self, name)[first:])

    def _undecided(self, until: float) -> np.ndarray:
        """Indices (from 1: each is judged against the frame before) of frames not decided yet."""
        inside = (self._times > self.decided) & (self._times <= until)
        inside[0] = False
        return np.flatnonzero(inside)

    def _mismatch(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Dissimilarity of the frames of two index arrays, motion and light apart: [n] in [0, 1]."""
        values = np.empty(len(first))
        for start in range(0, len(first), MAX_BATCH):
            part = np.stack([first[start : start + MAX_BATCH], second[start : start + MAX_BATCH]])
            used, place = np.unique(part, return_inverse=True)
            levels = structure(self._frames[used])
            values[start : start + MAX_BATCH] = mismatch(*(levels[i] for i in place.reshape(part.shape)))
        return values

    def _find_flashes(self, until: float) -> None:
        times, level = self._times, self._level
        for i in self._undecided(until):
            jump = level[i] - level[i - 1]
            if abs(jump) < 7 or (self._flashes and times[i] - self._flashes[-1][0] < 0.09):
                continue
            calm = self._change[max(i - 4, 1) : i]
            if abs(jump) < 0.65 * self._change[i] or (len(calm) and abs(jump) < 2.5 * np.median(calm)):
                continue  # something bright moves in, but the light is the same
            stop = int(np.searchsorted(times, times[i] + MAX_FLASH, side="right"))
            sign = np.sign(jump)
            height = sign * (level[i:stop] - level[i - 1])
            peak = int(np.argmax(height[:3]))
            back = np.flatnonzero(height[peak:] < 0.4 * height[peak])
            sudden = height[: 1 if times[i] - times[i - 1] > 0.05 else 2].max()
            if len(back) == 0 or sudden < 0.6 * height[: peak + int(back[0])].max():
                continue
            after = i + peak + int(back[0])
            strong = i + int((height > 0.7 * height[peak]).sum())
            is_burst = height[peak] > 50 and times[min(strong, len(times) - 1)] - times[i] < 0.1
            steps = self._mismatch(np.arange(i - 1, after), np.arange(i, after + 1))
            if not is_burst and steps.max() > 0.5 and self._mismatch(np.array([i - 1]), np.array([after]))[0] > 0.55:
                continue  # what comes back is another shot
            strength = float(np.clip(height[peak] / 80, 0.1, 1)) * (1.0 if sign > 0 else 0.6)
            self._flashes.append((float(times[i]), strength))

    def _find_cuts(self, until: float) -> None:
        undecided = self._undecided(until)
        change, times = self._change, self._times
        nearby = np.clip(undecided[:, None] + np.concatenate([np.arange(-6, 0), np.arange(1, 7)]), 1, len(times) - 1)
        likely = undecided[change[undecided] > np.maximum(2.5, 1.4 * np.median(change[nearby], axis=1))]
        if len(likely) == 0:
            return
        around = np.unique(np.clip(likely[:, None] + np.arange(-4, 5), 1, len(times) - 1))
        value = np.full(len(times), np.nan)
        value[around] = self._mismatch(around - 1, around)
        for i in likely:
            neighbours = np.delete(value[max(i - 4, 1) : i + 5], min(i - 1, 4))
            usual = float(np.sort(neighbours)[-2]) if len(neighbours) > 1 else 0.0
            colour = colour_distance(self._frames[i - 1], self._frames[i])
            steady = np.delete(change[max(i - 4, 1) : i + 5], min(i - 1, 4))
            spike = float(change[i] / (np.sort(steady)[-2] + 1)) if len(steady) > 1 else np.inf
            if not is_cut(float(value[i]), usual, float(change[i]), spike, colour):
                continue
            self._add_cut(int(i), 0.5 + 0.2 * float(value[i]) + 0.3 * min(float(change[i]) / 90, 1.0))

    def _add_cut(self, i: int, strength: float) -> None:
        """Take the cut, unless the old shot comes back at once (flash, blink) or it repeats the last cut."""
        times = self._times
        first, last = max(i - 1, 0), int(np.searchsorted(times, times[i] + MAX_FLASH))
        ahead = np.arange(i + 1, min(last, len(times)))
        if len(ahead):
            same = self._mismatch(np.full(len(ahead), first), ahead)
            alike = [k for k in ahead[same < 0.4] if colour_distance(self._frames[first], self._frames[k]) < 0.2]
            if alike:
                back = times[alike[0]] - times[i]
                is_flash = any(abs(t - times[i]) < 0.1 for t, _ in self._flashes)
                if is_flash or back <= 0.2:
                    if not is_flash and back <= 0.2:
                        self._flashes.append((float(times[i]), min(strength, 0.6)))
                    return
        recent = [t for t, _ in self._flashes if 0 <= times[i] - t <= MAX_FLASH]
        if recent:
            # Fading back from a flash: the shot before the flash is compared with this frame.
            start = int(np.searchsorted(times, recent[0])) - 1
            if start >= 0 and self._mismatch(np.array([start]), np.array([i]))[0] < 0.45:
                return
        time = float(times[i])
        if self._cuts and time - self._cuts[-1].time < MIN_SHOT:
            if strength > self._cuts[-1].strength:
                self._cuts[-1] = Transition(time, time, time, strength)
            return
        self._cuts.append(Transition(time, time, time, strength))

    def _find_gradual(self, until: float) -> None:
        times = self._times
        centres = (
            np.arange(np.ceil(max(self.decided, times[0]) / GRID), np.floor(min(until, times[-1]) / GRID) + 1) * GRID
        )
        if len(centres) == 0 or len(times) < 6:
            return
        grid_from = np.floor(times[0] / GRID) * GRID
        grid = np.arange(grid_from, times[-1] + GRID, GRID)
        chosen = np.clip(np.searchsorted(times, grid), 0, len(times) - 1)
        tiny = shrink(self._frames[chosen])
        middles = np.rint((centres - grid_from) / GRID).astype(int)
        found: list[tuple[float, int, int, tuple[float, float, float]]] = []
        for span in SPANS:
            half = max(round(span / 2 / GRID), 2)
            for m in middles[(middles - half >= 0) & (middles + half < len(grid))]:
                a, b = int(chosen[m - half]), int(chosen[m + half])
                if any(times[a] < c.time <= times[b] for c in self._cuts[-16:]):
                    continue
                if span < 1 and any(times[a] < t + MAX_FLASH and t <= times[b] for t, _ in self._flashes[-16:]):
                    continue
                mixture = judge_mixture(tiny, int(m), half)
                if mixture is not None:
                    explained, places = mixture
                    found.append((explained, a, b, places))
        found.sort(reverse=True)
        ends = np.array([f[1:3] for f in found], np.intp).reshape(-1, 2)
        unlike = self._mismatch(*ends.T)  # of all at once, which costs less than leaving some out
        for explained, a, b, places in itertools.compress(found, unlike >= 0.62):
            start, middle, end = (float(grid_from + GRID * p) for p in places)
            if any(start + 0.05 < g.end and g.start + 0.05 < end for g, _ in self._gradual[-16:]):
                continue
            contrast = [float(luma(self._frames[i]).std()) for i in (a, b)]
            is_from, is_to = (c < min(0.3 * max(contrast), MAX_FLAT) for c in contrast)
            if not (is_from or is_to) and (self._is_move(start, end) or not self._is_at_once(start, end)):
                continue
            strength = float(np.clip(0.75 - 0.2 * (end - start), 0.2, 0.6))
            self._gradual.append((Transition(middle, start, end, strength, is_from, is_to), explained))

    def _is_move(self, start: float, end: float) -> bool:
        """Does the first picture, moved, explain what comes late in a supposed mixture, and the last what is early?"""
        a, early, late, b = np.clip(
            np.searchsorted(self._times, start + np.array([0, 0.35, 0.65, 1]) * (end - start)), 0, len(self._times) - 1
        )
        grey = luma(self._frames[[a, b, late, early]])
        share = explained_by_motion(grey[:2], grey[2:])
        return bool(share[0] > 0.42 and share[1] > 0.5)

    def _is_at_once(self, start: float, end: float) -> bool:
        """Does the whole picture change at the same time? Where something moves or grows, one place follows another."""
        steps = np.linspace(start - GRID, end + GRID, 25)
        tiny = shrink(self._frames[np.clip(np.searchsorted(self._times, steps), 0, len(self._times) - 1)])
        step = tiny[-1] - tiny[0]
        changed = np.abs(step) > 12  # grey levels
        if not changed.any():
            return False
        share = (tiny[:, changed] - tiny[0, changed]) / step[changed]
        halfway, weight = np.argmax(share >= 0.5, axis=0) / (len(steps) - 1), np.abs(step[changed])
        spread = float(np.sqrt(np.average((halfway - np.average(halfway, weights=weight)) ** 2, weights=weight)))
        return spread < (0.225 if changed.mean() > 0.5 else 0.15)  # wipes, too, reach .21, but over the whole picture


def shrink(frames: np.ndarray) -> np.ndarray:
    """[n, 48, 80, 3] to [n, 12 * 20 * 3] float32: so coarse that moves inside the shots hardly count."""
    n = len(frames)
    return frames.reshape(n, 12, 4, 20, 4, 3).mean(axis=(2, 4), dtype=np.float32).reshape(n, -1)


def colour_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Half the L1 distance of the two frames' colour histograms (4 x 4 x 4, neighbouring bins shared): 0 to 1."""
    a, b = (_histogram(x) for x in (first, second))
    return float(np.abs(a - b).sum() / 2)


def _histogram(frame: np.ndarray) -> np.ndarray:
    position = frame.reshape(-1, 3).astype(np.float32) / 255 * 3.999 - 0.5
    low = np.clip(np.floor(position), 0, 2).astype(np.intp)
    share = np.clip(position - low, 0, 1)
    histogram = np.zeros(64)
    for corner in range(8):
        bits = np.array([corner & 1, corner >> 1 & 1, corner >> 2])
        weight = np.prod(np.where(bits, share, 1 - share), axis=1)
        index = (low + bits) @ np.array([16, 4, 1])
        histogram += np.bincount(index, weight, minlength=64)
    return histogram / len(position)


def is_cut(unlike: float, usual: float, change: float, spike: float, colour: float) -> bool:
    """Is a pair of neighbouring frames a hard cut?

    unlike: mismatch of the pair; usual: second greatest mismatch of the pairs around it (the greatest may be another
    cut, and doubled frames make every other pair equal); change: mean absolute difference, grey levels; spike: the same
    against the second greatest around it; colour: histogram distance.
    """
    if unlike - 0.6 * usual > 0.45 and (colour > 0.06 or change > 8):
        return True
    if unlike > 0.7 and colour > 0.3 and spike > 1.6:
        return True  # among moves too fast to follow
    return change > 22 and colour > 0.45 and unlike - usual > 0.25


def judge_mixture(tiny: np.ndarray, middle: int, half: int) -> tuple[float, tuple[float, float, float]] | None:
    """Are the frames around `middle` mixtures of the frames `half` steps before and after?

    tiny: [n, D] coarse frames on the grid. Returns how much change the mixture explains (grey levels), and start,
    middle and end of the change in grid steps; None if it is not a gradual transition.
    """
    first, last = tiny[middle - half], tiny[middle + half]
    step = last - first
    size = float(step @ step)
    if size < len(step) * 9.0**2:
        return None
    between = tiny[middle - half : middle + half + 1] - first
    share = between @ step / size
    rest = between - share[:, None] * step
    unexplained = float(np.sqrt((rest**2).sum(axis=1).max() / size))
    inner = np.diff(share)
    if unexplained > 0.42 or inner.min() < -0.12 or inner.max() > 0.75:
        return None
    # At both ends the shots stand still (in this coarse view): most of the change lies in between.
    n = len(share)
    rising = np.maximum.accumulate(share) + np.arange(n) * 1e-9
    low, centre, high = (float(np.interp(v, rising, np.arange(n))) for v in (0.1, 0.5, 0.9))
    if not (0.25 * n < centre < 0.75 * n) or (high - low) > 0.85 * n:
        return None
    length, base = max((high - low) / 0.8, 0.5), middle - half
    places = (base + centre - length / 2, base + centre, base + centre + length / 2)
    return float(np.sqrt(size / len(step))) * (1 - unexplained), places


def join_transitions(cuts: list[Transition], gradual: list[Transition], duration: float) -> list[Transition]:
    """One list in order of time.

    Of overlapping gradual transitions the first given (best) stays; hard cuts win. A fade out and the fade in after it
    are one; a fade in at the very start or out at the very end is none.
    """
    kept = list(cuts)
    for g in gradual:
        if all(g.end + 0.15 < k.start or g.start - 0.15 > k.end for k in kept if not (g.is_fade and k.is_fade)):
            kept.append(g)
    kept.sort(key=lambda t: t.time)
    joined: list[Transition] = []
    for t in kept:
        last = joined[-1] if joined else None
        if last is not None and last.is_to_flat and t.is_from_flat and t.start - last.end < 1.5:
            strength = max(last.strength, t.strength)
            joined[-1] = Transition((last.end + t.start) / 2, last.start, t.end, strength)
        else:
            joined.append(t)
    return [t for t in joined if not ((t.is_from_flat and t.start < 0.5) or (t.is_to_flat and t.end > duration - 0.5))]
