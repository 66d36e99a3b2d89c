"""What a waveform sounds like, as numbers: YAMNet embeddings and AudioSet class scores, every 0.48 s.

The weights (Apache-2.0, 15 MB) are not part of the package; `scripts/fetch_eval_weights.py` makes the file.
Measurement only: nothing that scores a video imports this.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import soxr

from openvmas.errors import ModelError

SAMPLE_RATE = 16_000  # Hz, what YAMNet hears
WINDOW, HOP, FFT = 400, 160, 512  # samples
MELS, LOWEST, HIGHEST = 64, 125.0, 7500.0  # bands, Hz
PATCH, PATCH_HOP = 96, 48  # spectrum frames: 0.96 s every 0.48 s
LOG_OFFSET = 1e-3


def cache_folder() -> Path:
    """Where weights for measuring lie: the environment variable OPENVMAS_CACHE or ~/.cache/openvmas."""
    return Path(os.environ.get("OPENVMAS_CACHE") or Path.home() / ".cache" / "openvmas")


@dataclass(frozen=True)
class Embeddings:
    """embeddings: [P, 1024] float32, 0 or more; logits: [P, n_classes] float32; times: [P] s, middle of each patch."""

    embeddings: np.ndarray
    logits: np.ndarray
    times: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """Class probabilities: [P, n_classes] in [0, 1]; classes do not exclude each other."""
        return 1 / (1 + np.exp(-np.clip(self.logits, -60, 60)))


def mel_matrix() -> np.ndarray:
    """Triangles that are straight on the mel scale, [FFT // 2 + 1, MELS] (tf.signal.linear_to_mel_weight_matrix)."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)

    bins = mel(np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT)[:, None]
    edges = np.linspace(mel(LOWEST), mel(HIGHEST), MELS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    weights[0] = 0  # the constant component is left out, as in TensorFlow
    return weights.astype(np.float32)


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Log mel magnitudes of a 16 kHz mono wave [L]: [n_frames, 64]; n_frames is 0 below 400 samples."""
    if len(wave) < WINDOW:
        return np.zeros((0, MELS), np.float32)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float32), WINDOW)[::HOP]
    matrix = mel_matrix()
    blocks = []
    for start in range(0, len(frames), 4096):
        spectrum = np.abs(np.fft.rfft(frames[start : start + 4096] * window, FFT)).astype(np.float32)
        blocks.append(np.log(spectrum @ matrix + LOG_OFFSET))
    return np.concatenate(blocks)


class Yamnet:
    """YAMNet (Plakal & Ellis 2020, AudioSet) on ONNX Runtime."""

    def __init__(self, path: str | Path | None = None, threads: int = 1, batch: int = 32) -> None:
        """Load the weights; raises ModelError if the file is missing."""
        path = Path(path) if path else cache_folder() / "yamnet.onnx"
        if not path.is_file():
            raise ModelError(
                f"The weights for measuring sound are not at {path}; run `python scripts/fetch_eval_weights.py`."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._batch = batch
        properties = self._session.get_modelmeta().custom_metadata_map
        self.classes: tuple[str, ...] = tuple(json.loads(properties.get("classes", "[]")))

    def embed(self, wave: np.ndarray, sample_rate: int) -> Embeddings:
        """Embeddings and class logits of a mono wave [L] in [-1, 1] at sample_rate Hz.

        The wave is padded with silence to one patch (0.96 s) if it is shorter; what is left over after the last whole
        patch is not looked at.
        """
        if wave.ndim != 1:
            raise ValueError(f"a mono wave [L] is needed, not shape {wave.shape}")
        if sample_rate != SAMPLE_RATE:
            wave = soxr.resample(np.ascontiguousarray(wave, dtype=np.float32), sample_rate, SAMPLE_RATE)
        shortest = (PATCH - 1) * HOP + WINDOW
        if len(wave) < shortest:
            wave = np.pad(wave, (0, shortest - len(wave)))
        return self.embed_log_mel(log_mel(wave))

    def embed_log_mel(self, frames: np.ndarray) -> Embeddings:
        """As `embed`, from log_mel frames [n_frames, 64], at least 96 of them."""
        patches = np.lib.stride_tricks.sliding_window_view(frames, PATCH, axis=0)[::PATCH_HOP].transpose(0, 2, 1)
        embeddings, logits = [], []
        for start in range(0, len(patches), self._batch):
            part = np.ascontiguousarray(patches[start : start + self._batch, None], dtype=np.float32)
            found = self._session.run(["embeddings", "logits"], {"patches": part})
            embeddings.append(found[0])
            logits.append(found[1])
        middle = ((PATCH - 1) * HOP + WINDOW) / 2 / SAMPLE_RATE
        times = middle + np.arange(len(patches)) * (PATCH_HOP * HOP / SAMPLE_RATE)
        return Embeddings(np.concatenate(embeddings), np.concatenate(logits), times)
