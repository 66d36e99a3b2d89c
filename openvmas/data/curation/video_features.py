"""Features of a video from one decoding for all stages: its analysis, small frames, the parts of both for a span."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from openvmas.media.video import FrameRequest
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events
from openvmas.vision.analysis import Shot, VideoAnalysis, analyze

SMALL_FPS = Fraction(2)
SMALL_SIZE = (64, 64)


@dataclass(frozen=True)
class VideoFeatures:
    """Analysis and small frames of a whole video.

    small_times: [F] s; small_frames: [F, 64, 64] uint8 grey, the whole picture squeezed.
    """

    analysis: VideoAnalysis
    small_times: np.ndarray
    small_frames: np.ndarray


class _Keeper:
    """Keeps all frames that it is given."""

    def __init__(self) -> None:
        self.times: list[np.ndarray] = []
        self.frames: list[np.ndarray] = []

    def push(self, times: np.ndarray, frames: np.ndarray, /) -> None:
        self.times.append(times)
        self.frames.append(frames)


def extract_video_features(path: str | Path) -> VideoFeatures:
    """The analysis and small frames of a video, from one decoding. Raises InputError."""
    keeper = _Keeper()
    analysis = analyze(path, others=[(FrameRequest(SMALL_FPS, SMALL_SIZE, True), keeper)])
    return VideoFeatures(analysis, np.concatenate(keeper.times), np.concatenate(keeper.frames))


def cut_frames(times: np.ndarray, frames: np.ndarray, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Times [F] and frames [F, ...] of a span, s; at least the one on the screen at its start."""
    chosen = (times >= start) & (times < end)
    if not chosen.any():
        chosen[max(int(np.searchsorted(times, start, side="right")) - 1, 0)] = True
    return np.maximum(times[chosen] - start, 0.0), frames[chosen]


def cut_analysis(whole: VideoAnalysis, start: float, end: float) -> VideoAnalysis:
    """The analysis of a span from that of the whole; start, end: s. Curves keep the normalisation of the whole.

    Raises ValueError if the span is empty or begins after the end.
    """
    end = min(end, float(whole.duration))
    if not 0 <= start < end:
        raise ValueError(f"{start} to {end} s is no span of a picture of {float(whole.duration)} s")
    duration = Fraction(round((end - start) * 1_000_000), 1_000_000)
    clock = Clock(CONTROL_RATE)
    first = clock.index(start)
    steps = slice(first, first + clock.count(duration))

    def inside(times: np.ndarray) -> np.ndarray:
        return (times >= start) & (times < end)

    shots = [
        Shot(max(s.start, start) - start, min(s.end, end) - start, s.is_gradual and s.start >= start)
        for s in whole.shots
        if s.end > start and s.start < end
    ]
    cuts, beats, shown = (
        inside(whole.cuts) & (whole.cuts > start),
        inside(whole.visual_beats),
        inside(whole.feature_times),
    )
    if not shown.any():  # shorter than the distance of two pictures: the one on the screen
        shown[max(int(np.searchsorted(whole.feature_times, start, side="right")) - 1, 0)] = True
    return replace(
        whole,
        duration=duration,
        shots=tuple(shots),
        cuts=whole.cuts[cuts] - start,
        flashes=whole.flashes[inside(whole.flashes)] - start,
        visual_beats=whole.visual_beats[beats] - start,
        visual_beat_strengths=whole.visual_beat_strengths[beats],
        events=Events(
            CONTROL_RATE, whole.events.accents[steps], whole.events.energy[steps], whole.events.novelty[steps]
        ),
        motion=whole.motion[steps],
        feature_times=np.maximum(whole.feature_times[shown] - start, 0.0),
        features=whole.features[shown],
        classes=whole.classes[shown],
        looks={name: values[shown] for name, values in whole.looks.items()},
    )
