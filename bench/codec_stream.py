"""The exported codec: seams of the stream, speed on one and two threads, start-up, size, agreement with PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from codec_measures import border_flux, snr_db

from openvmas.codec.stream import CodecFrames, CodecStream
from openvmas.pretrained import Weights, find_weights

CHUNKS = (1, 3, 7, 13, 25, 50, 125, 250)  # codec steps
SHORTEST_BORDERS = 13  # steps; with shorter chunks every frame of the spectrum holds a border
START = """
import sys
import numpy as np
from openvmas.codec.stream import CodecFrames
from openvmas.pretrained import find_weights
frames = CodecFrames(find_weights(sys.argv[1]), 1)
frames.decode_frames(np.zeros((int(sys.argv[2]), 50), np.int64))
"""


def decode(frames: CodecFrames, codes: np.ndarray, chunk: int) -> np.ndarray:
    """Wave of codes [K, T], pushed `chunk` steps at a time."""
    stream = CodecStream(frames, len(codes))
    parts = [stream.push(codes[:, start : start + chunk]) for start in range(0, codes.shape[1], chunk)]
    return np.concatenate([*parts, stream.push(codes[:, :0], is_last=True)])


def decode_at_once(frames: CodecFrames, codes: np.ndarray) -> np.ndarray:
    """Wave of codes [K, T]: one run of the graph, one overlap-add; shares nothing with the stream but the graph."""
    hop, length = frames.sizes["hop_length"], frames.sizes["window_length"]
    found = frames.decode_frames(codes)
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))
    # Squared windows add up to length / hop / 2; spectra were divided by 16 (Codec.spectrum).
    pieces = np.fft.irfft(found[:, 0::2] + 1j * found[:, 1::2], length) * (window * (32 * hop / length))
    wave = np.zeros((len(found) - 1) * hop + length)
    for i, piece in enumerate(pieces):
        wave[i * hop : i * hop + length] += piece
    margin = (length - hop) // 2
    return wave[margin : margin + len(found) * hop].astype(np.float32)


@dataclass(frozen=True)
class Exported:
    """seams: largest difference to one-shot by chunk, in samples of full scale. flux: change of the spectrum at borders
    over elsewhere, the stream's divided by the one-shot's at the same places (1: nothing is heard).

    snr_db: of the exported decoder against PyTorch's with as many codebooks; speed: times real time by threads;
    start_seconds: of a core, a fresh process until its first second of sound; codec_mb, folder_mb: files of the
    decoder, of all.
    """

    n_codebooks: int
    seams: dict[int, float]
    flux: dict[int, float]
    snr_db: float
    speed: dict[int, float]
    start_seconds: float
    codec_mb: float
    folder_mb: float


def measure_export(
    folder: Path, codes: list[np.ndarray], by_torch: Callable[[np.ndarray, int], np.ndarray], steps: int = 400
) -> Exported:
    """codes: [K, T] of some clips; the first `steps` of the first are for the seams.

    by_torch: the wave of codes [K, T], cut to a length, by the codec that was exported.
    """
    weights = find_weights(folder)
    frames = CodecFrames(weights, 1)
    n_codebooks = len(frames.codebooks)
    codes = [c[:n_codebooks] for c in codes]
    part = codes[0][:, :steps]
    whole = decode_at_once(frames, part)
    hop = frames.sizes["hop_length"]
    seams, flux = {}, {}
    for chunk in CHUNKS:
        wave = decode(frames, part, chunk)
        seams[chunk] = float(np.abs(wave - whole).max()) if len(wave) == len(whole) else float("inf")
        if chunk >= SHORTEST_BORDERS:
            borders = np.arange(chunk, part.shape[1], chunk) * hop
            flux[chunk] = border_flux(wave, borders) / border_flux(whole, borders)
    agreement = []
    for clip in codes:
        wave = decode(frames, clip, 250)
        agreement.append(snr_db(by_torch(clip, len(wave)), wave))
    files = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return Exported(
        n_codebooks, seams, flux, float(np.mean(agreement)), {n: speed(weights, codes, n) for n in (1, 2)},
        start_seconds(weights, n_codebooks), weights.file("codec").stat().st_size / 1e6, files / 1e6,
    )  # fmt: skip


def speed(weights: Weights, codes: list[np.ndarray], threads: int) -> float:
    """Seconds of sound per second of work, the best of all clips after one to warm up.

    One thread is timed by the seconds that it had a core, so that other processes do not count; two by the clock.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    frames = CodecFrames(weights, threads)
    decode(frames, codes[0][:, :100], 250)
    seconds_per_step = frames.sizes["hop_length"] / frames.sizes["sample_rate"]
    best = 0.0
    for clip in codes:
        begun = clock()
        decode(frames, clip, 250)
        best = max(best, clip.shape[1] * seconds_per_step / (clock() - begun))
    return best


def start_seconds(weights: Weights, n_codebooks: int) -> float:
    """Seconds of a core for imports, opening the graph and decoding a second in a fresh process; the better of two."""
    command = [sys.executable, "-c", START, str(weights.file("codec").parent), str(n_codebooks)]
    times = []
    for _ in range(2):
        before = os.times()
        subprocess.run(command, check=True)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(times)
