"""A finished mix brought up to date where its music has changed, at the gains that it has; the rest stays as it is."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np

from openvmas.media.audio import WAV_HEADER, WavReader
from openvmas.media.loudness import HOP, Duck, LimiterGain, PeakMeter, integrated_loudness
from openvmas.media.mix import (
    BLOCK,
    CODEC_HEADROOM,
    PEAK_TOLERANCE,
    Balance,
    Levels,
    MixReport,
    edge_fade,
    encoded_peak,
    envelope_of,
)
from openvmas.settings import SAMPLE_RATE_OUT, MixOptions

MARGIN = SAMPLE_RATE_OUT  # samples around a change that are mixed again: longer than the limiter looks and comes back
JOIN = SAMPLE_RATE_OUT // 50  # samples over which old and new meet, where they are all but the same
NEAR_ENOUGH = 0.3  # LU that the whole may leave the asked loudness by; beyond it everything is mixed again


def remix(
    music: Path,
    original: Iterable[np.ndarray] | None,
    before: Path,
    earlier: MixReport,
    spans: Sequence[tuple[int, int]],
    options: MixOptions,
    *,
    output: Path,
    codec: str | None = None,
    packets: list[av.Packet] | None = None,
) -> MixReport | None:
    """Write a mix whose music differs from an earlier one's in some spans; None where it must be mixed from nothing.

    music: the new music, before: the earlier mix, both WAV files of `write_wav`; original: blocks [2, n] as they were
    mixed before. earlier: the report on that mix, made with the same options. spans: (first, last) samples that have
    changed. The gains stay those of the earlier mix, so the loudness of the whole may move a little: beyond
    NEAR_ENOUGH, or where a peak would be too high, the answer is None and `output` is of no use.
    """
    tune, n_samples = WavReader(music), earlier.n_samples
    gain = 10 ** (earlier.master_gain_db / 20)
    ceiling = options.true_peak - (CODEC_HEADROOM if codec else PEAK_TOLERANCE)
    shutil.copyfile(before, output)
    windows = merged([(max(0, low - MARGIN), min(n_samples, high + MARGIN)) for low, high in spans])
    kept = cut(original, windows) if earlier.has_original and original is not None else None
    duck = Duck(earlier.ducked, options.duck)
    balance = Balance(earlier.music_gain_db, options.original_gain, duck, envelope_of(options))
    reduction = earlier.max_limiting_db
    with output.open("r+b") as file:
        for index, (low, high) in enumerate(windows):
            wave = tune.read(low, high)
            wave = np.repeat(wave, 2, axis=0) if len(wave) == 1 else wave
            wave = np.pad(wave, ((0, 0), (0, high - low - wave.shape[1])))
            wave = balance.add(wave, None if kept is None else kept[index], low)
            wave = wave * edge_fade(low, high, n_samples)
            limiter = LimiterGain(hop_peaks(wave), gain, 10 ** (ceiling / 20))
            reduction = max(reduction, limiter.max_reduction_db)
            new = wave * (np.float32(gain) * limiter.samples(0, high - low))
            old = WavReader(before).read(low, high)
            weight = join_weights(low, high, n_samples)
            file.seek(WAV_HEADER + low * 8)
            file.write(np.ascontiguousarray((weight * new + (1 - weight) * old).T, "<f4").tobytes())
    return judge(output, music, dataclasses.replace(earlier, max_limiting_db=reduction), options, codec, packets)


def judge(
    output: Path, music: Path, earlier: MixReport, options: MixOptions, codec: str | None,
    packets: list[av.Packet] | None,
) -> MixReport | None:  # fmt: skip
    """The report on a mix that was brought up to date; None where it is not what was asked any more."""
    levels = Levels()
    for block in WavReader(output).blocks(BLOCK):
        levels.add(block)
    levels.finish()
    if abs(levels.loudness_lufs - options.loudness) > NEAR_ENOUGH or levels.true_peak > options.true_peak:
        return None
    encoded = encoded_peak(WavReader(output).blocks(BLOCK), codec, packets) if codec else None
    if encoded is not None and encoded > options.true_peak:
        return None
    return dataclasses.replace(
        earlier,
        loudness_lufs=levels.loudness_lufs,
        true_peak=levels.true_peak,
        encoded_true_peak=encoded,
        music_lufs=integrated_loudness(WavReader(music).blocks(BLOCK), SAMPLE_RATE_OUT),
    )


def hop_peaks(wave: np.ndarray) -> np.ndarray:
    """True peak of every hop of a wave [2, n]: [H] float32."""
    meter = PeakMeter(len(wave))
    envelope = np.concatenate([meter.add(wave), meter.finish()])[PeakMeter.DELAY :]
    padded = np.pad(envelope, (0, -len(envelope) % HOP))
    return padded.reshape(-1, HOP).max(axis=1).astype(np.float32)


def merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def cut(blocks: Iterable[np.ndarray], windows: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """The windows of a stream of blocks [2, n], silence behind its end; what comes after the last is not read."""
    found = [np.zeros((2, high - low), np.float32) for low, high in windows]
    start = 0
    for block in blocks:
        stop = start + block.shape[1]
        for (low, high), part in zip(windows, found, strict=True):
            a, b = max(low, start), min(high, stop)
            if a < b:
                part[:, a - low : b - low] = block[:, a - start : b - start]
        start = stop
        if start >= windows[-1][1]:
            break
    return found


def join_weights(low: int, high: int, n_samples: int) -> np.ndarray:
    """Share of the new sound at each sample of a window: it comes in and goes out where the piece goes on."""
    places = np.arange(low, high)
    rise = np.ones(high - low) if low == 0 else np.clip((places - low) / JOIN, 0, 1)
    fall = np.ones(high - low) if high == n_samples else np.clip((high - 1 - places) / JOIN, 0, 1)
    return np.minimum(rise, fall).astype(np.float32)
