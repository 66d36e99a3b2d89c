"""A record and its media with everything already decoded, so that a stage is tested without any file."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.key_frames import MediaInfo
from openvmas.data.curation.record import Origin, Record, make_id
from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.media.audio import Audio
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events
from openvmas.vision.analysis import LOOKS, Shot, VideoAnalysis


def make_record(kind: Any = "video") -> Record:
    return Record(make_id("test", "a.mp4"), kind, Origin("test", "a.mp4"))


def make_info(duration: float, **changes: Any) -> MediaInfo:
    values: dict[str, Any] = {
        "duration": duration, "start": Fraction(0), "picture": "there", "width": 640, "height": 360, "fps": 25.0,
        "has_audio": True, "sample_rate": SAMPLE_RATE, "channels": 2, "video_codec": "h264", "audio_codec": "aac",
        "container": "mov", "n_bytes": 1000,
    }  # fmt: skip
    return MediaInfo(**{**values, **changes})


def make_media(record: Record, duration: float, **kept: Any) -> Media:
    """kept: what `Media` would decode, by its method's name; audio [L] also stands for the stereo sound."""
    media = Media(record, Path("nowhere"))
    if "audio" in kept and "stereo" not in kept:
        kept["stereo"] = Audio(np.stack([kept["audio"]] * 2), SAMPLE_RATE)
    kept.setdefault("info", make_info(duration))
    media._kept.update({name: (value, None) for name, value in kept.items()})
    return media


def make_seen(
    duration: float,
    motion: float | np.ndarray = 0.3,
    cuts: tuple[float, ...] = (),
    beats: np.ndarray | None = None,
    looks_alike: bool = False,
) -> VideoAnalysis:
    """An analysis with given motion and cuts; every shot has features of its own unless they look alike."""
    n_steps = Clock(CONTROL_RATE).count(duration)
    borders = [0.0, *cuts, duration]
    shots = tuple(Shot(a, b, False) for a, b in itertools.pairwise(borders))
    times = np.arange(0, duration, 0.5)
    rng = np.random.default_rng(1)
    of_shot = np.square(rng.random((len(shots), 1280))) * np.where(rng.random((len(shots), 1280)) < 0.3, 3, 0.02)
    index = np.zeros(len(times), int) if looks_alike else np.searchsorted(np.array(cuts), times, side="right")
    classes = rng.dirichlet(np.full(1000, 0.02), len(times))
    zeros = np.zeros(n_steps, np.float32)
    visual_beats = np.array(cuts, float) if beats is None else beats
    accents = zeros.copy()
    accents[n_steps // 3] = 0.8
    return VideoAnalysis(
        duration=Fraction(round(duration * 1000), 1000),
        fps=Fraction(25),
        shots=shots,
        cuts=np.array(cuts, float),
        flashes=np.zeros(0),
        visual_beats=visual_beats,
        visual_beat_strengths=np.full(len(visual_beats), 0.7),
        events=Events(CONTROL_RATE, accents, zeros + 0.25, zeros),
        motion=np.broadcast_to(np.asarray(motion, np.float32), (n_steps,)).copy(),
        camera_share=0.5,
        feature_times=times,
        features=of_shot[index].astype(np.float16),
        classes=classes.astype(np.float16),
        looks={name: np.full(len(times), 0.5, np.float32) for name in LOOKS},
    )
