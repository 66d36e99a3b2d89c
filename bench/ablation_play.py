"""The ablation's models on footage that came with music of its own: spans of the films of docs/data/play.md."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import AXES, Condition
from openvmas.eval.suites.media_files import read_sound
from openvmas.train.joint.curated_pairs import crop_picture
from openvmas.train.joint.material import picture_condition
from openvmas.train.joint.pairs import TrainingClip, events_as_planned
from openvmas.vision.analysis import VideoAnalysis, analyze

SPAN = 400  # steps, 8 s
LEAST_BEATS = 4  # accents of a span's picture, where sync z is measured


def read_wave(film: Path, sample_rate: int) -> np.ndarray:
    """A film's sound in mono on the picture's clock: [L] float32."""
    sound = read_sound(film, mono=True)
    return soxr.resample(sound.wave[0], sound.sample_rate, sample_rate)


def play_clips(manifest: Path, codec: CodecRunner, n_codebooks: int, fps: float) -> list[TrainingClip]:
    """All whole spans of the films of a corpus `play`, told what their pictures show; all of different pieces."""
    clips = []
    with manifest.open(encoding="utf-8", newline="") as file:
        films = [manifest.parent / row["path"] for row in csv.DictReader(file)]
    for film in films:
        kept = film.with_suffix(".analysis.npz")
        if not kept.exists():
            analyze(film).save(kept)
        analysis, codes = VideoAnalysis.load(kept), codec.encode(read_wave(film, codec.sample_rate))
        for start in range(0, min(analysis.events.n_steps, codes.shape[1]) - SPAN + 1, SPAN):
            clips.append(span_of(analysis, codes, start, n_codebooks, fps, len(clips)))
    return clips


def span_of(
    analysis: VideoAnalysis, codes: np.ndarray, start: int, n_codebooks: int, fps: float, piece: int
) -> TrainingClip:
    """SPAN steps of a film from step `start`, with features at fps from the nearest that were looked at."""
    views = analysis.features, analysis.feature_times
    seen = crop_picture(analysis.events, analysis.motion, views, start, SPAN, fps)
    nothing = np.full((SPAN, len(AXES)), np.nan, np.float32)
    bare = Condition(events_as_planned(seen.curves), np.zeros(0), np.zeros(0), nothing, np.zeros(SPAN), np.zeros(SPAN))
    return TrainingClip(
        codes[:, start : start + SPAN - n_codebooks + 1].astype(np.int64), picture_condition(bare, seen.curves),
        seen.curves[:, 0], seen.curves, seen.features, piece,
    )  # fmt: skip


def with_beats(clips: Sequence[TrainingClip]) -> list[int]:
    """Which spans have enough accents for sync z."""
    return [i for i, clip in enumerate(clips) if np.count_nonzero(clip.curves[:, 0]) >= LEAST_BEATS]
