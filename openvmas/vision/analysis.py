"""Shots, visual beats, motion, energy, novelty, features and looks of a video over time, from one decoding."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Protocol, TypeVar

import numpy as np

from openvmas.errors import InputError
from openvmas.files import write_npz
from openvmas.media.video import FrameChunk, FrameRequest, probe, read_frames
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events
from openvmas.vision import beats
from openvmas.vision.backbone import Backbone, picture_size
from openvmas.vision.motion import Motion, MotionTracker, luma
from openvmas.vision.shots import FRAME_SIZE, ShotChanges, ShotFinder, Transition

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
        FrameRequest(MOTION_FPS, (motion_size[0], motion_size[1]), True),
        FrameRequest(FEATURE_FPS, picture_size(info.width, info.height), False),
        *(request for request, _ in others),
    ]
    finder, tracker, extractor = ShotFinder(), MotionTracker(), _Extractor(n_threads)
    consumers: list[FrameConsumer] = [finder, tracker, extractor, *(consumer for _, consumer in others)]
    chunks: Iterable[FrameChunk] = _read_ahead(read_frames(path, requests, info=info, chunk=32), depth=6)
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
    found = beats.find_visual_beats(changes, inside, moves, np.zeros(len(times), np.float32), times, end)
    energy = beats.energy_curve(beats.motion_curve(moves, times), cuts, changes, times)
    return PartialAnalysis(end, shots_between(inside, end), cuts, found[:, 0], found[:, 1], energy)


def transitions_before(end: float, changes: ShotChanges, moves: Motion) -> tuple[list[Transition], np.ndarray, Motion]:
    """Transitions before `end`, their times [N], and the motion without the jumps at them."""
    inside = [t for t in changes.transitions if 0 < t.time < end]
    cuts = np.array([t.time for t in inside])
    return inside, cuts, beats.skip_cuts(moves, cuts, inside)


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
    motion = beats.motion_curve(moves, times)
    feature_times, features = np.concatenate(found.times), np.concatenate(found.features)
    novelty = beats.novelty_curve(feature_times, features, times, inside)
    visual_beats = beats.find_visual_beats(changes, inside, moves, novelty, times, end)
    accents = np.zeros(len(times), np.float32)
    for time, strength in visual_beats:
        index = min(clock.index(time), len(times) - 1)
        accents[index] = max(accents[index], strength)
    energy = beats.energy_curve(motion, cuts, changes, times)
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


def _read_ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The same items, made up to `depth` ahead in another thread; errors come through in their place."""
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(maxsize=depth)
    is_stopped = threading.Event()

    def offer(kind: str, item: T | BaseException | None) -> None:
        while not is_stopped.is_set():
            try:
                return ready.put((kind, item), timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                offer("item", item)
                if is_stopped.is_set():
                    return
            offer("end", None)
        except BaseException as error:  # handed to the reader, who raises it
            offer("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(item, BaseException)
                raise item
            yield item  # pyright: ignore[reportReturnType]
    finally:
        is_stopped.set()
        thread.join()
