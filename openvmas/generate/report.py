"""The account of one run: what was known, how long each stage took, and what the sidecar says of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.media.mix import MixReport
from openvmas.media.mux import MuxReport
from openvmas.media.probe import VideoInfo
from openvmas.planning.schema import ScorePlan, write_plan
from openvmas.vision.analysis import VideoAnalysis

SPEECH_RATE = 16_000  # Hz, of what the voice detector is given
CHANNELS = 2
Progress = Callable[[str, float], None]  # stage, and how much of it is done (0 to 1)


@dataclass(frozen=True)
class Prepared:
    """What all variations of one video share. speech: probability [T] at 50 Hz, None without original sound."""

    info: VideoInfo
    analysis: VideoAnalysis
    plan: ScorePlan
    speech: np.ndarray | None


class Stages:
    """Tells the progress function what is going on and keeps each stage's time in `seconds`."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress or (lambda stage, done: None)

    @contextlib.contextmanager
    def run(self, stage: str) -> Iterator[Callable[[float], None]]:
        began = time.perf_counter()
        self._progress(stage, 0.0)
        yield functools.partial(self._progress, stage)
        self._progress(stage, 1.0)
        self.seconds[stage] = round(time.perf_counter() - began, 3)


def watched(
    blocks: Iterable[np.ndarray], duration: Fraction, sample_rate: int, progress: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """The same blocks; `progress` is called with the share of the duration that has passed."""
    total, done = float(duration) * sample_rate, 0
    for block in blocks:
        done += block.shape[1]
        progress(min(done / total, 1.0))
        yield block


def summarize(analysis: VideoAnalysis) -> dict[str, Any]:
    """An analysis without its curves and features, in types that JSON has."""
    return plain(
        {
            "duration": analysis.duration,
            "fps": analysis.fps,
            "shots": [dataclasses.asdict(shot) for shot in analysis.shots],
            "cuts": analysis.cuts,
            "flashes": analysis.flashes,
            "visual_beats": analysis.visual_beats,
            "visual_beat_strengths": analysis.visual_beat_strengths,
            "camera_share": analysis.camera_share,
        }
    )


def describe_making(
    prepared: Prepared, composed: dict[str, Any], mixed: MixReport, muxed: MuxReport, stages: Stages
) -> dict[str, Any]:
    """What the sidecar says beside version, model and options."""
    info = prepared.info
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": {k: v for k, v in dataclasses.asdict(info).items() if k != "clock"} | {"path": Path(info.path).name},
        "duration": float(info.duration),
        "tempo": float(prepared.plan.tempo),
        "plan": write_plan(prepared.plan),
        "fit": dataclasses.asdict(prepared.plan.fit),
        "unknown_words": prepared.plan.unknown_words,
        "composer": composed,
        "mix": dataclasses.asdict(mixed),
        "container": {"format": muxed.container, "sound": muxed.codec, "dropped": muxed.dropped},
        "seconds": dict(stages.seconds),
    }


def plain(value: Any) -> Any:
    """The same in types that JSON has: numpy numbers and fractions as numbers, infinities as None."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(part) for part in value]
    if isinstance(value, (np.generic, Fraction)):
        value = float(value) if isinstance(value, Fraction) else value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
