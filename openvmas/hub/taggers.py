"""Embeddings and class scores of waveforms: YAMNet (every 0.48 s) and musicnn (every 2 s).

The weights (YAMNet: Apache-2.0, 15 MB; musicnn: ISC, 3 MB) are not part of the package;
`tools/fetch_eval_weights.py` makes the files. Measurement only: nothing that scores a video imports this.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soxr

from openvmas.errors import ModelError
from openvmas.files import cache_folder
from openvmas.music.dsp import mel_filterbank
from openvmas.pretrained import open_graph

SAMPLE_RATE = 16_000  # Hz, the input of both networks
WINDOW, HOP, FFT = 400, 160, 512  # samples
MELS, LOWEST, HIGHEST = 64, 125.0, 7500.0  # bands, Hz
PATCH, PATCH_HOP = 96, 48  # spectrum frames: 0.96 s every 0.48 s
LOG_OFFSET = 1e-3
MUSICNN_FFT, MUSICNN_HOP, MUSICNN_MELS = 512, 256, 96
MUSICNN_PATCH, MUSICNN_PATCH_HOP = 187, 125  # spectrum frames: 3 s every 2 s


@dataclass(frozen=True)
class Embeddings:
    """embeddings: [P, D] float32 (YAMNet: D = 1024, 0 or more; musicnn: 200); logits: [P, n_classes] float32.

    times: [P] s, middle of each patch; span: s, length of a patch.
    """

    embeddings: np.ndarray
    logits: np.ndarray
    times: np.ndarray
    span: float = PATCH * HOP / SAMPLE_RATE

    @property
    def scores(self) -> np.ndarray:
        """Class probabilities: [P, n_classes] in [0, 1]; classes do not exclude each other."""
        return 1 / (1 + np.exp(-np.clip(self.logits, -60, 60)))


def mel_matrix() -> np.ndarray:
    """Triangles that are straight on the mel scale, [FFT // 2 + 1, MELS] (tf.signal.linear_to_mel_weight_matrix)."""
    return mel_filterbank(FFT, SAMPLE_RATE, MELS, LOWEST, HIGHEST, "kaldi")


def mel_spectrum(frames: np.ndarray, matrix: np.ndarray, exponent: int) -> np.ndarray:
    """Magnitudes (exponent 1) or powers (2) of frames [n, size] in mel bands: [n, n_mels] float32; Hann windows."""
    size = frames.shape[1]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    blocks = []
    for start in range(0, len(frames), 4096):
        spectrum = np.fft.rfft(frames[start : start + 4096] * window, 2 * len(matrix) - 2)
        strength = np.abs(spectrum) if exponent == 1 else spectrum.real**2 + spectrum.imag**2
        blocks.append(strength.astype(np.float32) @ matrix)
    return np.concatenate(blocks)


def log_mel(wave: np.ndarray, offset: float = LOG_OFFSET) -> np.ndarray:
    """Log mel magnitudes of a 16 kHz mono wave [L]: [n_frames, 64]; n_frames is 0 below 400 samples."""
    if len(wave) < WINDOW:
        return np.zeros((0, MELS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float32), WINDOW)[::HOP]
    return np.log(mel_spectrum(frames, mel_matrix(), 1) + offset)


def slaney_matrix() -> np.ndarray:
    """The mel filters of musicnn, 0 to 8,000 Hz, triangles of unit area: [257, 96]."""
    return mel_filterbank(MUSICNN_FFT, SAMPLE_RATE, MUSICNN_MELS, 0.0, SAMPLE_RATE / 2, "slaney")


def musicnn_log_mel(wave: np.ndarray) -> np.ndarray:
    """log10(1 + 10000 x) of mel powers x of a 16 kHz mono wave [L]: [L // 256 + 1, 96]; edges are mirrored."""
    half = MUSICNN_FFT // 2
    padded = np.pad(wave.astype(np.float32), half, mode="reflect" if len(wave) > half else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, MUSICNN_FFT)[::MUSICNN_HOP]
    power = mel_spectrum(frames, slaney_matrix(), 2)
    # The network learned from powers in half precision, which reach to 65,504.
    return np.log10(10_000 * np.minimum(power, 65_504) + 1).astype(np.float32)


class Embedder:
    """A network file on ONNX Runtime: `patches` in, `embeddings` and `logits` out, class names inside."""

    file_name: str
    sample_rate: int = SAMPLE_RATE  # Hz, the input of the network

    def __init__(self, path: str | Path | None = None, threads: int = 1, batch: int = 32) -> None:
        """Load the weights; raises ModelError if the file is missing."""
        path = Path(path) if path else cache_folder() / self.file_name
        if not path.is_file():
            raise ModelError(
                f"The weights for measuring sound are not at {path}; run `python tools/fetch_eval_weights.py`."
            )
        self._session = open_graph(path, threads)
        self._batch = batch
        properties = self._session.get_modelmeta().custom_metadata_map
        self.classes: tuple[str, ...] = tuple(json.loads(properties.get("classes", "[]")))

    def embed(self, wave: np.ndarray, sample_rate: int) -> Embeddings:
        """Embeddings and class logits of a mono wave [L] in [-1, 1] at sample_rate Hz."""
        raise NotImplementedError

    def _run(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings [P, D] and logits [P, n_classes] of patches [P, ...]."""
        found = []
        for start in range(0, len(patches), self._batch):
            part = np.ascontiguousarray(patches[start : start + self._batch], dtype=np.float32)
            found.append(self._session.run(["embeddings", "logits"], {"patches": part}))
        embeddings, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return embeddings, logits


@runtime_checkable
class PictureEmbedder(Protocol):
    """An embedder that puts pictures into the space of its sounds; it then also judges whether the two fit."""

    def embed_pictures(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings of pictures [F, h, w, 3] uint8 RGB: [F, D], D that of sounds."""
        ...


def at_16k(wave: np.ndarray, sample_rate: int, shortest: int) -> np.ndarray:
    """A mono wave [L] at SAMPLE_RATE, padded with silence to `shortest` samples; ValueError for other shapes."""
    if wave.ndim != 1:
        raise ValueError(f"a mono wave [L] is needed, not shape {wave.shape}")
    if sample_rate != SAMPLE_RATE:
        wave = soxr.resample(np.ascontiguousarray(wave, dtype=np.float32), sample_rate, SAMPLE_RATE)
    return np.pad(wave, (0, max(0, shortest - len(wave))))


class Yamnet(Embedder):
    """YAMNet (Plakal & Ellis 2020, AudioSet)."""

    file_name = "yamnet.onnx"

    def embed(self, wave: np.ndarray, sample_rate: int) -> Embeddings:
        """Embeddings and class logits of a mono wave [L] in [-1, 1] at sample_rate Hz.

        The wave is padded with silence to one patch (0.96 s) if it is shorter; what is left over after the last whole
        patch is left out.
        """
        return self.embed_log_mel(log_mel(at_16k(wave, sample_rate, (PATCH - 1) * HOP + WINDOW)))

    def embed_log_mel(self, frames: np.ndarray) -> Embeddings:
        """Embeddings as from `embed`, of log_mel frames [n_frames, 64], at least 96 of them."""
        patches = np.lib.stride_tricks.sliding_window_view(frames, PATCH, axis=0)[::PATCH_HOP].transpose(0, 2, 1)
        embeddings, logits = self._run(patches[:, None])
        middle = ((PATCH - 1) * HOP + WINDOW) / 2 / SAMPLE_RATE
        times = middle + np.arange(len(patches)) * (PATCH_HOP * HOP / SAMPLE_RATE)
        return Embeddings(embeddings, logits, times)


class Musicnn(Embedder):
    """musicnn (Pons & Serra 2019), the model of the Million Song Dataset: its layer before the tags, 200 numbers."""

    file_name = "musicnn.onnx"

    def embed(self, wave: np.ndarray, sample_rate: int) -> Embeddings:
        """Embeddings and tag logits of a mono wave [L] in [-1, 1] at sample_rate Hz: 3 s every 2 s.

        The wave is padded with silence to one patch (3 s) if it is shorter; what is left over after the last whole
        patch is left out.
        """
        frames = musicnn_log_mel(at_16k(wave, sample_rate, (MUSICNN_PATCH - 1) * MUSICNN_HOP))
        patches = np.lib.stride_tricks.sliding_window_view(frames, MUSICNN_PATCH, axis=0)[::MUSICNN_PATCH_HOP]
        embeddings, logits = self._run(patches.transpose(0, 2, 1))
        step = MUSICNN_HOP / SAMPLE_RATE
        times = (MUSICNN_PATCH - 1) / 2 * step + np.arange(len(patches)) * (MUSICNN_PATCH_HOP * step)
        return Embeddings(embeddings, logits, times, MUSICNN_PATCH * step)
