"""Detection of speech, singing and music by an embedded network, so that music can make room for speech.

The network is FireRedVAD's audio event detector (Xiaohongshu, 2026; Apache-2.0; 588 k parameters, 8 DFSMN blocks), made
into ONNX by tools/make_vad.py. Its features are Kaldi's 80 log-mel energies at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime
import soxr

from openvmas.errors import ModelError
from openvmas.music.dsp import mel_filterbank
from openvmas.pretrained import open_graph
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock

SAMPLE_RATE = 16_000  # Hz
FRAME, HOP, N_FFT = 400, 160, 512  # samples: 25 ms every 10 ms
N_BANDS = 80
PRE_EMPHASIS = 0.97
CONTEXT = 160  # frames: 8 blocks look 19 back and 20 ahead
CHUNK = 2_000  # frames that one run of the network answers
SMOOTHING = 2  # frames on each side
# Kaldi's floor under an energy. The library that carries the weights uses 1e-20: digital silence would be an outlier.
LEAST_ENERGY = float(np.finfo(np.float32).eps)
# Quiet recordings are lifted towards the level that the network knows (a gain is a sum in logarithms), loud ones left.
USUAL_LEVEL = 17.0  # natural log, mean over bands, of the loud frames of speech at -24 dBFS
MOST_LIFT = 4.6  # 20 dB
LIFT_MEMORY = 1.4  # 6 dB per chunk: a pause does not lift the noise at once


def find_speech(wave: np.ndarray | Iterable[np.ndarray], sample_rate: int) -> np.ndarray:
    """Probability that somebody speaks at each step of CONTROL_RATE: [T] float32 in [0, 1].

    wave: [C, L] or [L] in [-1, 1], or blocks of it one after the other; memory is bounded by the blocks. T is
    Clock(CONTROL_RATE).count of the duration. Singing is a class of its own and does not count as speech.
    Raises ModelError where the embedded weights are missing.
    """
    found = find_classes(wave, sample_rate)
    frames = found.frames[:, 0]
    n_steps = Clock(CONTROL_RATE).count(Fraction(found.n_samples, sample_rate))
    if not len(frames):
        return np.zeros(n_steps, np.float32)
    padded = np.pad(frames, SMOOTHING, mode="edge")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, 2 * SMOOTHING + 1).mean(axis=1)
    times = Clock(CONTROL_RATE).times(n_steps)
    index = np.minimum(np.rint(times * SAMPLE_RATE / HOP).astype(int), len(smooth) - 1)
    return np.clip(smooth[index], 0, 1).astype(np.float32)


@dataclass(frozen=True)
class SoundClasses:
    """frames: probabilities of speech, singing and music every HOP samples, [n, 3] float32. n_samples: of the wave."""

    frames: np.ndarray
    n_samples: int


def find_classes(wave: np.ndarray | Iterable[np.ndarray], sample_rate: int) -> SoundClasses:
    """Probabilities of all three classes, which do not exclude each other, of a wave as `find_speech` takes it."""
    counter = _Counter([wave] if isinstance(wave, np.ndarray) else wave)
    parts = list(_detect(_lift(_features(_resample(counter, sample_rate)))))
    return SoundClasses(np.concatenate(parts) if parts else np.zeros((0, 3), np.float32), counter.n_samples)


class _Counter:
    """Blocks as mono float32 [n], counting the samples that went through."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self.blocks = blocks
        self.n_samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            block = np.asarray(block, dtype=np.float32)
            if block.ndim > 2 or (block.ndim == 2 and block.shape[0] > 16):
                raise ValueError(f"a block is [C, n] with channels first, or [n], not {block.shape}")
            mono = block.mean(axis=0) if block.ndim == 2 else block
            self.n_samples += len(mono)
            yield np.nan_to_num(mono, nan=0.0, posinf=0.0, neginf=0.0)


def _resample(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """The same sound at SAMPLE_RATE, with silence at both ends so that frame k is centred on k * HOP."""
    yield np.zeros(FRAME // 2, np.float32)
    if sample_rate == SAMPLE_RATE:
        yield from blocks
    else:
        stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="MQ")
        for block in blocks:
            for first in range(0, len(block), 30 * sample_rate):  # a whole wave may come as one block
                yield stream.resample_chunk(block[first : first + 30 * sample_rate])
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
    yield np.zeros(FRAME // 2 + HOP, np.float32)


def _features(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Log-mel energies [n, N_BANDS] of a wave in blocks, each CHUNK frames but the last."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / (FRAME - 1))) ** 0.85  # Kaldi's "povey"
    window = window.astype(np.float32)
    bands = mel_filterbank(N_FFT, SAMPLE_RATE, N_BANDS, 20.0, SAMPLE_RATE / 2, "kaldi")
    waiting = np.zeros(0, np.float32)

    def describe(samples: np.ndarray, n: int) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP][:n] * np.float32(32_768)
        frames = frames - frames.mean(axis=1, keepdims=True)
        earlier = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        spectrum = np.fft.rfft((frames - np.float32(PRE_EMPHASIS) * earlier) * window, N_FFT)
        energy = (spectrum.real**2 + spectrum.imag**2) @ bands
        return np.log(np.maximum(energy, np.float32(LEAST_ENERGY)))

    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= (CHUNK - 1) * HOP + FRAME:
            yield describe(waiting, CHUNK)
            waiting = waiting[CHUNK * HOP :]
    if len(waiting) >= FRAME:
        yield describe(waiting, 1 + (len(waiting) - FRAME) // HOP)


def _lift(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Features with quiet sound lifted, by the loud frames of this chunk and the (fading) level of those before it."""
    level = -np.inf
    for chunk in chunks:
        level = max(float(np.percentile(chunk.mean(axis=1), 90)), level - LIFT_MEMORY)
        yield chunk + np.float32(np.clip(USUAL_LEVEL - level, 0, MOST_LIFT))


def _detect(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Probabilities [n, 3] (speech, singing, music) of features in chunks: the same as if they came in one piece.

    CONTEXT frames on both sides are given to the network with every chunk and their answers left out.
    """
    session = _open()
    past = np.zeros((0, N_BANDS), np.float32)
    current: np.ndarray | None = None
    for coming in chunks:
        if current is not None:
            yield _run(session, past, current, coming[:CONTEXT])
            past = current[-CONTEXT:]
        current = coming
    if current is not None:
        yield _run(session, past, current, current[:0])


def _run(
    session: onnxruntime.InferenceSession, past: np.ndarray, current: np.ndarray, coming: np.ndarray
) -> np.ndarray:
    features = np.concatenate([past, current, coming])[None]
    return np.asarray(session.run(None, {"features": features})[0])[0, len(past) : len(past) + len(current)]


def _open() -> onnxruntime.InferenceSession:
    path = Path(__file__).parent / "weights" / "vad.onnx"
    if not path.is_file():
        raise ModelError("The speech detector weights/vad.onnx is missing from the package; install openvmas again.")
    return open_graph(path, 1)  # small matrices: more threads only wait for each other
