"""Shots, visual beats, motion, energy, novelty, features and looks of a video over time, from one decoding."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Protocol, TypeVar

import numpy as np

from openvmas.errors import InputError
from openvmas.files import write_npz
from openvmas.media.video import FrameChunk, FrameRequest, probe, read_frames
from openvmas.processes.threads import read_ahead
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events, peak_offset
from openvmas.vision.backbone import Backbone, picture_size
from openvmas.vision.motion import Motion, MotionTracker, luma
from openvmas.vision.shots import FRAME_SIZE, ShotChanges, ShotFinder, Transition

MIN_GAP = 0.25  # s between visual beats: a listener does not hear closer accents as separate answers
SLOW_SPEED = 0.03  # picture widths per second: below, a move is felt as rest
FAST_SPEED = 1.0  # and here motion is at its fullest
# What other eyes see too (bench/sync_against.py; docs/LOG.md): motion that stops more than motion that starts, and of
# new things only those that come at once.
START_SHARE, TURN_SHARE = 0.75, 0.3  # of the weight of a stop
GRADUAL_SHARE = 0.5  # of a cut's: nobody can say when exactly a dissolve happens
LEAST_MOTION = 0.24  # strength below which a move is no beat
LEAST_JUMP = 0.2  # mismatch above the usual by which something new comes at once


def skip_cuts(moves: Motion, cuts: np.ndarray, transitions: Sequence[Transition]) -> Motion:
    """Motion with the pairs of frames that straddle a change of shot replaced by their neighbours."""
    if len(moves.times) < 3:
        return moves
    step = float(np.median(np.diff(moves.times)))
    bad = np.zeros(len(moves.times), bool)
    for t in transitions:
        bad |= (moves.times > t.start - 0.75 * step) & (moves.times < t.end + 0.75 * step)
    for start in np.flatnonzero(moves.mismatch > 0.85):
        bad[start] = True  # flashes and single broken frames tell nothing about motion either
    good = ~bad
    if not good.any() or good.all():
        return moves if good.all() else replace(moves, **{n: np.zeros_like(getattr(moves, n)) for n in _SPEEDS})
    fixed = {n: np.interp(moves.times, moves.times[good], getattr(moves, n)[good]) for n in _SPEEDS}
    pan = np.column_stack([np.interp(moves.times, moves.times[good], moves.pan[good, k]) for k in (0, 1)])
    return replace(moves, pan=pan, **fixed)


_SPEEDS = ("speed", "camera", "objects", "zoom")


def liveliness(moves: Motion) -> np.ndarray:
    """Speed on a scale that is felt as even, [M] in [0, 1]: 0 at rest, 1 at a picture width per second."""
    speed = moves.speed + 0.5 * moves.objects
    return np.clip(np.log1p(speed / SLOW_SPEED) / np.log1p(FAST_SPEED / SLOW_SPEED), 0, 1)


def motion_curve(moves: Motion, times: np.ndarray) -> np.ndarray:
    """Liveliness at `times` [T]: float32 in [0, 1]."""
    if len(moves.times) == 0:
        return np.zeros(len(times), np.float32)
    return np.interp(times, moves.times, liveliness(moves)).astype(np.float32)


def find_visual_beats(
    changes: ShotChanges,
    transitions: Sequence[Transition],
    moves: Motion,
    novelty: np.ndarray,
    times: np.ndarray,
    duration: float,
) -> np.ndarray:
    """Moments that music could answer: [M, 2] time (s, strictly increasing) and strength in (0, 1].

    Cuts and flashes come first, then stops, starts and turns of motion, sudden changes of light, and new things that
    come into view at once. Of beats closer than 0.25 s the strongest stays.
    """
    candidates = [(t.time, t.strength * (GRADUAL_SHARE if t.is_gradual else 1)) for t in transitions]
    candidates += list(zip(changes.flash_times.tolist(), changes.flash_strengths.tolist(), strict=True))
    borders = np.array([t.time for t in transitions] + changes.flash_times.tolist())
    candidates += [
        (time, strength)
        for time, strength in _motion_beats(moves, borders)
        if not any(t.start - 0.1 < time < t.end + 0.1 for t in transitions if t.is_gradual)
    ]
    candidates += _light_beats(changes, borders)
    kept = strongest_apart([c for c in candidates if 0 <= c[0] < duration], MIN_GAP)
    quiet = [b for b in _novelty_beats(novelty, times, moves) if all(abs(b[0] - k[0]) > 0.5 for k in kept)]
    kept = strongest_apart(kept + quiet, MIN_GAP)
    return np.array(sorted(kept), np.float64).reshape(-1, 2)


def strongest_apart(candidates: list[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """The (time, strength) pairs without those that are closer than `gap` to a stronger one."""
    kept: list[tuple[float, float]] = []
    taken = np.zeros(0)
    for time, strength in sorted(candidates, key=lambda c: (-c[1], c[0])):
        i = int(np.searchsorted(taken, time))
        near = taken[max(i - 1, 0) : i + 1]
        if len(near) == 0 or np.abs(near - time).min() >= gap - 1e-9:
            kept.append((float(time), float(np.clip(strength, 1e-3, 1))))
            taken = np.insert(taken, i, time)
    return kept


def _motion_beats(moves: Motion, borders: np.ndarray) -> list[tuple[float, float]]:
    """Stops, starts and turns: peaks of how fast the motion itself changes.

    A stop is an impact, and is felt as one (Davis & Agrawala 2018, who build visual beats on deceleration alone); a
    start or turn counts where it is strong.
    """
    if len(moves.times) < 5:
        return []
    alive = np.convolve(np.pad(liveliness(moves), 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    slope = _slope(alive)
    change = np.where(slope < 0, -slope, START_SHARE * slope)
    turn = np.hypot(_slope(moves.pan[:, 0]), _slope(moves.pan[:, 1]))
    turn = np.log1p(turn / SLOW_SPEED) / np.log1p(FAST_SPEED / SLOW_SPEED)
    impact = np.maximum(change, TURN_SHARE * np.maximum(turn - 0.2, 0))
    step = float(np.median(np.diff(moves.times)))
    usual = smooth(impact, 2.0 / step)
    deviation = np.sqrt(np.maximum(smooth(impact**2, 2.0 / step) - usual**2, 0))
    found = []
    for i in peaks(impact, round(0.24 / step)):
        over = impact[i] - usual[i]
        strength = float(np.clip(0.08 + 1.2 * over, 0.1, 0.75))
        if impact[i] < 0.05 or over < deviation[i] or strength < LEAST_MOTION:
            continue  # shaking hands and busy streets: nothing stands out
        time = moves.times[i] + step * float(peak_offset(*impact[i - 1 : i + 2]))
        # A change of shot changes the motion too: that beat is already there.
        if len(borders) and np.abs(borders - time).min() < 0.2:
            continue
        found.append((float(time), strength))
    return found


def _light_beats(changes: ShotChanges, borders: np.ndarray) -> list[tuple[float, float]]:
    """Lights that go on or off without coming back."""
    if len(changes.light) < 5:
        return []
    grid = np.arange(changes.light_times[0], changes.light_times[-1], 0.04)
    light = np.interp(grid, changes.light_times, changes.light)
    rise = np.zeros_like(light)
    rise[2:-2] = np.abs(light[4:] - light[:-4])
    usual = smooth(rise, 25)
    found = []
    for i in peaks(rise, 6):
        if rise[i] > 0.06 and rise[i] > 3 * usual[i]:
            time = float(grid[i])
            if len(borders) == 0 or np.abs(borders - time).min() > 0.35:
                found.append((time, float(np.clip(1.5 * rise[i], 0.15, 0.5))))
    return found


def _novelty_beats(novelty: np.ndarray, times: np.ndarray, moves: Motion) -> list[tuple[float, float]]:
    """New things in view whose coming can be seen: features (two a second) and mismatch of frames agree.

    The beat is where the frames differ most: features alone do not know the time.
    """
    found = []
    for i in peaks(novelty, 50):
        away = np.abs(moves.times - times[i])
        near = np.flatnonzero(away < 0.3)
        if novelty[i] <= 0.35 or len(near) == 0:
            continue
        place = near[int(np.argmax(moves.mismatch[near]))]
        jump = float(moves.mismatch[place] - np.median(moves.mismatch[away < 1.0]))
        if jump > LEAST_JUMP:
            found.append((float(moves.times[place]), 0.1 + 0.2 * float(novelty[i]) + 0.3 * min(jump, 1.0)))
    return found


def novelty_curve(
    feature_times: np.ndarray, features: np.ndarray, times: np.ndarray, transitions: Sequence[Transition]
) -> np.ndarray:
    """Difference of the next seconds of a picture from the last ones, at `times` [T]: float32 in [0, 1].

    features: [F, D]. Cosine distance between the mean features of 1.5 s before and after (Foote 2000), beside a bump of
    0.4 s at every change of shot.
    """
    if len(features) < 2:
        return np.zeros(len(times), np.float32)
    unit = features.astype(np.float32)
    step = max(float(np.median(np.diff(feature_times))), 1e-3)
    half = max(round(1.5 / step), 1)
    total = np.concatenate([np.zeros((1, unit.shape[1]), np.float32), np.cumsum(unit, axis=0, dtype=np.float64)])
    n = len(unit)
    at = np.arange(1, n)
    low, high = np.maximum(at - half, 0), np.minimum(at + half, n)
    before, after = total[at] - total[low], total[high] - total[at]
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    distance = 1 - (before * after).sum(axis=1) / np.maximum(norms, 1e-9)
    middle = (feature_times[:-1] + feature_times[1:]) / 2
    curve = np.interp(times, middle, np.clip(distance / 0.6, 0, 1), left=0.0, right=0.0)
    for t in transitions:
        low_i, high_i = np.searchsorted(times, [t.time - 1.2, t.time + 1.2])
        bump = 0.6 * t.strength * np.exp(-0.5 * ((times[low_i:high_i] - t.time) / 0.4) ** 2)
        curve[low_i:high_i] = np.maximum(curve[low_i:high_i], bump)
    return np.clip(curve, 0, 1).astype(np.float32)


def energy_curve(motion: np.ndarray, cuts: np.ndarray, changes: ShotChanges, times: np.ndarray) -> np.ndarray:
    """Liveliness of the picture at `times` [T]: float32 in [0, 1], smooth over about 1.5 s.

    motion: [T] in [0, 1]. The scale is absolute (a still picture is 0 whatever else is in the video), and the contrast
    within the video is then widened around its mean, up to twice.
    """
    rate = float(1 / (times[1] - times[0])) if len(times) > 1 else 50.0
    moving = smooth(motion, 0.7 * rate)
    cutting = 1 - np.exp(-smooth_counts(cuts, times, 2.0) / 0.6)
    flashing = 1 - np.exp(-smooth_counts(changes.flash_times, times, 1.0) / 0.8)
    light = np.interp(times, changes.light_times, changes.light) if len(changes.light) else np.zeros(len(times))
    changing = np.clip(smooth(np.abs(np.gradient(light)) * rate, rate) / 1.0, 0, 1) if len(times) > 1 else light
    energy = 1 - (1 - 0.8 * moving) * (1 - 0.55 * cutting) * (1 - 0.4 * np.maximum(flashing, changing))
    if len(energy) == 0:
        return energy.astype(np.float32)
    contrast = float(np.percentile(energy, 90) - np.percentile(energy, 10))
    gain = float(np.clip(0.4 / max(contrast, 1e-6), 1, 2)) if contrast > 0.02 else 1.0
    middle = float(energy.mean())
    widened = middle + gain * (energy - middle)
    # What is calm stays calm: widening may not lift it, nor empty it.
    return np.clip(np.where(energy < middle, np.maximum(widened, energy / 2), widened), 0, 1).astype(np.float32)


def smooth_counts(moments: np.ndarray, times: np.ndarray, sigma: float) -> np.ndarray:
    """Moments per second around each of `times`, smoothed by a Gaussian of `sigma` s: [T]."""
    density = np.zeros(len(times))
    for moment in moments:
        low, high = np.searchsorted(times, [moment - 4 * sigma, moment + 4 * sigma])
        density[low:high] += np.exp(-0.5 * ((times[low:high] - moment) / sigma) ** 2)
    return density / (sigma * np.sqrt(2 * np.pi))


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing by three moving means (sigma in steps); the ends see only what is there."""
    width = max(round(np.sqrt(4 * sigma**2 + 1)), 1) // 2 * 2 + 1
    result, count = np.asarray(values, np.float64), len(values)
    half = width // 2
    low, high = np.maximum(np.arange(count) - half, 0), np.minimum(np.arange(count) + half + 1, count)
    for _ in range(3):
        total = np.concatenate([[0.0], np.cumsum(result)])
        result = (total[high] - total[low]) / np.maximum(high - low, 1)
    return result


def peaks(values: np.ndarray, radius: int) -> list[int]:
    """Indices that are the greatest within `radius` on both sides (the first of equals)."""
    found = []
    for i in range(1, len(values) - 1):
        if values[i] <= 0 or values[i] <= values[i - 1] or values[i] < values[i + 1]:
            continue
        if values[i] >= values[max(i - radius, 0) : i + radius + 1].max():
            found.append(i)
    return found


def _slope(values: np.ndarray) -> np.ndarray:
    """Difference between the next and the last value, same length."""
    slope = np.zeros(len(values))
    slope[1:-1] = values[2:] - values[:-2]
    return slope


MOTION_FPS = Fraction(25, 2)
FEATURE_FPS = Fraction(2)
PARTIAL_SHARE = 0.05  # of the time of analysis, at most, goes into partial results
LOOKS = ("brightness", "saturation", "warmth", "contrast", "motion")

T = TypeVar("T")


@dataclass(frozen=True)
class Shot:
    """A span between two changes of shot, s. is_gradual: it begins with a dissolve or fade instead of a cut."""

    start: float
    end: float
    is_gradual: bool


@dataclass(frozen=True)
class VideoAnalysis:
    """Everything later stages know about a picture. Times are in s from its start.

    shots cover the whole duration. cuts: [N] begins of all shots but the first (middle of gradual transitions).
    flashes: [K]. visual_beats: [M] strictly increasing, at least 0.25 s apart; visual_beat_strengths: [M] in (0, 1];
    both empty for a picture that never changes. events and motion are on the 50 Hz control clock; motion in [0, 1]
    (0.5 is about 0.2 picture widths per second). camera_share: the camera's part of all motion, [0, 1].
    features: [F, 1280] float16 and classes: [F, 1000] float16 (ImageNet probabilities) at feature_times [F];
    looks: brightness, saturation, contrast in [0, 1], warmth in [-1, 1] (red against blue) and motion, [F] each.
    """

    duration: Fraction
    fps: Fraction
    shots: tuple[Shot, ...]
    cuts: np.ndarray
    flashes: np.ndarray
    visual_beats: np.ndarray
    visual_beat_strengths: np.ndarray
    events: Events
    motion: np.ndarray
    camera_share: float
    feature_times: np.ndarray
    features: np.ndarray
    classes: np.ndarray
    looks: dict[str, np.ndarray]

    @property
    def is_static(self) -> bool:
        """True if nothing in the picture ever stands out: no cut, no flash, no move."""
        return len(self.visual_beats) == 0 and float(self.motion.max(initial=0.0)) < 0.05

    def save(self, path: str | Path) -> None:
        """Write an NPZ file, whole or not at all; `load` gives back the same numbers."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.type == "np.ndarray"}
        arrays |= {f"look_{name}": values for name, values in self.looks.items()}
        arrays |= {f"event_{name}": getattr(self.events, name) for name in ("accents", "energy", "novelty")}
        rates = [self.duration, self.fps, self.events.rate]
        arrays["fractions"] = np.array([str(Fraction(r)) for r in rates])
        arrays["camera_share"] = np.array(self.camera_share)
        arrays["shots"] = np.array([(s.start, s.end, s.is_gradual) for s in self.shots], np.float64).reshape(-1, 3)
        write_npz(Path(path), arrays)

    @classmethod
    def load(cls, path: str | Path) -> VideoAnalysis:
        """Read what `save` wrote. Raises InputError for any other file."""
        try:
            with np.load(path) as data:
                duration, fps, rate = (Fraction(str(s)) for s in data["fractions"])
                return cls(
                    duration=duration,
                    fps=fps,
                    shots=tuple(Shot(float(a), float(b), bool(g)) for a, b, g in data["shots"]),
                    events=Events(rate, data["event_accents"], data["event_energy"], data["event_novelty"]),
                    camera_share=float(data["camera_share"]),
                    looks={name: data[f"look_{name}"] for name in LOOKS},
                    **{f.name: data[f.name] for f in fields(cls) if f.type == "np.ndarray"},
                )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a saved analysis; make one again with `openvmas analyze`.") from error


@dataclass(frozen=True)
class PartialAnalysis:
    """Results for the first `until` s of a video that is still being read: fields as in VideoAnalysis."""

    until: float
    shots: tuple[Shot, ...]
    cuts: np.ndarray
    visual_beats: np.ndarray
    visual_beat_strengths: np.ndarray
    energy: np.ndarray


class _Extractor:
    """The frame consumer that collects features, classes and looks of sparse pictures."""

    def __init__(self, n_threads: int) -> None:
        self._backbone = Backbone(n_threads)
        self.times: list[np.ndarray] = []
        self.features: list[np.ndarray] = []
        self.classes: list[np.ndarray] = []
        self.looks: list[np.ndarray] = []

    def push(self, times: np.ndarray, pictures: np.ndarray) -> None:
        found = self._backbone.extract(pictures)
        self.times.append(np.asarray(times, np.float64))
        self.features.append(found.features.astype(np.float16))
        self.classes.append(found.probabilities.astype(np.float16))
        self.looks.append(np.stack([measure_looks(p) for p in pictures]))


def measure_looks(picture: np.ndarray) -> np.ndarray:
    """Brightness, saturation, warmth and contrast of a picture [h, w, 3] uint8: [4], as in VideoAnalysis.looks."""
    part = picture[::4, ::4].astype(np.float32)
    grey = luma(part)
    high, low = part.max(axis=2), part.min(axis=2)
    # Chroma against full scale, not against the pixel's own brightness: dark noise is not colourful.
    saturation = float((high - low).mean()) / 255
    warmth = float((part[..., 0] - part[..., 2]).mean()) / 255
    contrast = float(np.percentile(grey, 95) - np.percentile(grey, 5)) / 255
    return np.array([float(grey.mean()) / 255, saturation, warmth, contrast])


class FrameConsumer(Protocol):
    """Takes the frames of one request as they are decoded: times [F] s, frames [F, h, w] or [F, h, w, 3] uint8."""

    def push(self, times: np.ndarray, frames: np.ndarray, /) -> None: ...


def analyze(
    path: str | Path,
    progress: Callable[[float], None] | None = None,
    n_threads: int = 1,
    others: Sequence[tuple[FrameRequest, FrameConsumer]] = (),
    on_partial: Callable[[PartialAnalysis], None] | None = None,
) -> VideoAnalysis:
    """Analyze a video in one pass.

    progress is called with the finished share, 0 to 1. n_threads: of the picture network; decoding runs beside it in
    its own thread. others: further frames of the same decoding, and who takes them. on_partial: is called now and then
    with what has been found by then. Memory grows by about 6 KB per second of results only. Raises InputError if the
    file cannot be read as a video.
    """
    info = probe(path)
    scale = (160 * 90 / (info.width * info.height)) ** 0.5
    motion_size = tuple(max(16 * round(n * scale / 16), 32) for n in (info.width, info.height))
    requests = [
        FrameRequest(None, FRAME_SIZE, False),
        FrameRequest(MOTION_FPS, (motion_size[0], motion_size[1]), True, chunk=8),
        FrameRequest(FEATURE_FPS, picture_size(info.width, info.height), False, chunk=4),
        *(request for request, _ in others),
    ]
    finder, tracker, extractor = ShotFinder(), MotionTracker(), _Extractor(n_threads)
    consumers: list[FrameConsumer] = [finder, tracker, extractor, *(consumer for _, consumer in others)]
    # Small chunks and many of them ahead: neither decoding nor looking waits long for the other.
    chunks: Iterable[FrameChunk] = read_ahead(read_frames(path, requests, info=info, chunk=32), depth=16)
    shown, due = 0.0, 0.0  # s of the video, and by the clock
    for chunk in chunks:
        consumers[chunk.request].push(chunk.times, chunk.frames)
        if on_partial is not None and finder.decided > shown and (began := monotonic()) >= due:
            shown = finder.decided
            on_partial(partial_analysis(shown, finder.finish(is_over=False), tracker.finish()))
            due = monotonic() + (monotonic() - began) / PARTIAL_SHARE
        if progress is not None and chunk.request == 0 and len(chunk.times):
            progress(min(float(chunk.times[-1]) / max(float(info.duration), 1e-9), 1.0))
    result = assemble(info.duration, info.fps, finder.finish(), tracker.finish(), extractor)
    if progress is not None:
        progress(1.0)
    return result


def partial_analysis(until: float, changes: ShotChanges, moves: Motion) -> PartialAnalysis:
    """Analysis of the first `until` s; motion may not have come so far yet."""
    end = min(until, float(moves.times[-1])) if len(moves.times) else 0.0
    times = np.arange(int(end * float(CONTROL_RATE))) / float(CONTROL_RATE)
    inside, cuts, moves = transitions_before(end, changes, moves)
    found = find_visual_beats(changes, inside, moves, np.zeros(len(times), np.float32), times, end)
    energy = energy_curve(motion_curve(moves, times), cuts, changes, times)
    return PartialAnalysis(end, shots_between(inside, end), cuts, found[:, 0], found[:, 1], energy)


def transitions_before(end: float, changes: ShotChanges, moves: Motion) -> tuple[list[Transition], np.ndarray, Motion]:
    """Transitions before `end`, their times [N], and the motion without the jumps at them."""
    inside = [t for t in changes.transitions if 0 < t.time < end]
    cuts = np.array([t.time for t in inside])
    return inside, cuts, skip_cuts(moves, cuts, inside)


def shots_between(transitions: Sequence[Transition], end: float) -> tuple[Shot, ...]:
    """The spans between transitions, s, from 0 to `end`."""
    borders = itertools.pairwise([0.0, *(t.time for t in transitions), end])
    return tuple(Shot(a, b, i > 0 and transitions[i - 1].is_gradual) for i, (a, b) in enumerate(borders))


def assemble(
    duration: Fraction, fps: Fraction, changes: ShotChanges, moves: Motion, found: _Extractor
) -> VideoAnalysis:
    """The analysis on the control clock, from what the consumers found."""
    clock = Clock(CONTROL_RATE)
    times = clock.times(clock.count(duration))
    end = float(duration)
    inside, cuts, moves = transitions_before(end, changes, moves)
    motion = motion_curve(moves, times)
    feature_times, features = np.concatenate(found.times), np.concatenate(found.features)
    novelty = novelty_curve(feature_times, features, times, inside)
    visual_beats = find_visual_beats(changes, inside, moves, novelty, times, end)
    accents = np.zeros(len(times), np.float32)
    for time, strength in visual_beats:
        index = min(clock.index(time), len(times) - 1)
        accents[index] = max(accents[index], strength)
    energy = energy_curve(motion, cuts, changes, times)
    looks: dict[str, np.ndarray] = dict(zip(LOOKS[:4], np.concatenate(found.looks).T.astype(np.float32), strict=True))
    looks["motion"] = np.interp(feature_times, times, motion).astype(np.float32)
    total = float(moves.camera.sum() + moves.objects.sum())
    return VideoAnalysis(
        duration=duration,
        fps=fps,
        shots=shots_between(inside, end),
        cuts=cuts,
        flashes=changes.flash_times,
        visual_beats=visual_beats[:, 0],
        visual_beat_strengths=visual_beats[:, 1],
        events=Events(CONTROL_RATE, accents, energy, novelty),
        motion=motion,
        camera_share=float(moves.camera.sum()) / total if total > 0 else 0.0,
        feature_times=feature_times,
        features=features,
        classes=np.concatenate(found.classes),
        looks=looks,
    )
