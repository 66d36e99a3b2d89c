"""Audio prompts out of recordings: the user's own, and those of a bank's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import AXES
from openvmas.errors import InputError
from openvmas.generate.audio_prompts import (
    AXIS_SCALE,
    CURVE_NAMES,
    CURVE_SCALE,
    ENERGY_EVERY,
    NOVELTY_EVERY,
    STEPS,
    AudioPrompt,
    condition_of,
)
from openvmas.media.audio import read_audio_blocks
from openvmas.music.analysis import analyze_music
from openvmas.pretrained import Weights
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events

LIKE_BEFORE, LIKE_AFTER = 8.0, 12.0  # s around the moment in the user's recording that are listened to
LIKE_SECONDS = 180  # of a recording among which the fullest are looked for
LIKE_STEPS_LEAST = 100
SILENT_DB = -60.0


def read_recording(path: str | Path, at: float | None, weights: Weights) -> AudioPrompt:
    """A prompt out of the user's own recording, from `at` s on; if that is left out, its fullest seconds.

    It ends on a downbeat where the recording has beats. Raises InputError for what is no sound, too short or silent.
    """
    runner, rate = CodecRunner(weights, threads=1), float(CONTROL_RATE)
    hop = runner.hop_length
    first = 0 if at is None else round(max(0.0, at - LIKE_BEFORE) * rate) * hop
    last = LIKE_SECONDS * runner.sample_rate if at is None else first + round((LIKE_BEFORE + LIKE_AFTER) * rate) * hop
    parts, n = [], 0
    for block in read_audio_blocks(path, runner.sample_rate, channels=1):
        parts.append(block[0, max(0, first - n) : max(0, last - n)])
        n += block.shape[1]
        if n >= last:
            break
    wave = np.concatenate([np.zeros(0, np.float32), *parts])
    begun = 0 if at is None else round(min(at, LIKE_BEFORE) * rate)
    if len(wave) // hop - begun < LIKE_STEPS_LEAST:
        where = "" if at is None else f" after {at:g} s"
        raise InputError(
            f"{path} has less than {LIKE_STEPS_LEAST / rate:g} s of sound{where}; give a longer recording."
        )
    analysis = analyze_music(wave, runner.sample_rate)
    start, end = _place(analysis.events.energy, np.round(analysis.downbeats * rate).astype(int), begun, at is not None)
    part = wave[start * hop : end * hop].astype(np.float64)
    if 10 * np.log10(np.mean(part**2) + 1e-12) < SILENT_DB:
        raise InputError(f"{path} is silent there; choose another moment with --like-at.")
    codes = runner.encode(wave[: len(wave) // hop * hop])[: weights.sizes["n_codebooks"], start:end]
    events = Events(CONTROL_RATE, *(getattr(analysis.events, name)[start:end] for name in CURVE_NAMES))
    unknown = np.full(len(AXES), np.nan)
    condition = condition_of(events, analysis.beats - start / rate, analysis.downbeats - start / rate, unknown)
    source = f"{Path(path).name} at {first / hop / rate + start / rate:.1f} s"
    return AudioPrompt("like", codes, condition, analysis.tempo, unknown, float(events.energy.mean()), source, "")


def _place(energy: np.ndarray, downbeats: np.ndarray, begun: int, is_fixed: bool) -> tuple[int, int]:
    """First and last step of a prompt in a recording of len(energy) steps; is_fixed: it begins at `begun`."""
    n = len(energy)
    ends = downbeats[(downbeats >= begun + LIKE_STEPS_LEAST) & (downbeats <= n)]
    if is_fixed:
        ends = ends[ends <= begun + STEPS]
        return begun, int(ends[-1]) if len(ends) else min(n, begun + STEPS)
    ends = ends[ends >= min(STEPS, n)] if len(ends[ends >= min(STEPS, n)]) else np.array([n])
    sums = np.concatenate([[0.0], np.cumsum(energy)])
    starts = np.maximum(ends - STEPS, 0)
    best = int(np.argmax((sums[ends] - sums[starts]) / (ends - starts)))
    return int(starts[best]), int(ends[best])


def pack(prompts: list[AudioPrompt], rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of a bank's file; rows: name, track, start, licence, tempo, beats and downbeats of each."""
    events = [prompt.condition.events for prompt in prompts]
    return {
        "codes": np.stack([prompt.codes for prompt in prompts]).astype(np.uint16),
        "accents": np.stack([np.round(e.accents * CURVE_SCALE) for e in events]).astype(np.uint8),
        "energy": np.stack([np.round(e.energy[::ENERGY_EVERY] * CURVE_SCALE) for e in events]).astype(np.uint8),
        "novelty": np.stack([np.round(e.novelty[::NOVELTY_EVERY] * CURVE_SCALE) for e in events]).astype(np.uint8),
        "axes": np.stack([np.clip(np.round(p.axes * AXIS_SCALE), -127, 127) for p in prompts]).astype(np.int8),
        "chroma": np.stack([np.round(p.chroma * CURVE_SCALE) for p in prompts]).astype(np.uint8),
        "rows": np.frombuffer(json.dumps(rows).encode(), np.uint8),
    }
