"""Codes to wave on ONNX Runtime, as a stream: the codec's way out, block by block the same as all at once."""

from __future__ import annotations

from copy import copy
from typing import Any, Protocol

import numpy as np

from openvmas.pretrained import Weights, open_graph, run


def sqrt_hann(length: int) -> np.ndarray:
    """The codec's window, used in both directions: [length] float64."""
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


class FrameDecoder(Protocol):
    """Interface of whatever turns codes into codec frames: the engine, or a codec alone."""

    sizes: dict[str, Any]

    def decode_frames(self, codes: np.ndarray) -> np.ndarray: ...


def read_codebooks(weights: Weights) -> np.ndarray:
    """The codec's: [K, V, D] float32."""
    with np.load(weights.file("codebooks"), allow_pickle=False) as data:
        return data["codebooks"].astype(np.float32)


class CodecFrames:
    """The codec's way out alone: entries of the codebooks are added up, the graph makes frames of the sums.

    codebooks: [K, V, D] float32.
    """

    def __init__(self, weights: Weights, threads: int) -> None:
        self.sizes = weights.sizes
        self.codebooks = read_codebooks(weights)
        self._graph = open_graph(weights.file("codec"), threads)

    def decode_frames(self, codes: np.ndarray) -> np.ndarray:
        """Codec frames [T, window_length + 2] of codes [K, T]; edges are exact only at true beginnings and endings."""
        latents = self.codebooks[np.arange(len(codes))[:, None], codes].sum(axis=0)
        (frames,) = run(self._graph, {"latents": latents[None]})
        return frames[0]


class CodecStream:
    """Codes in, as they come; wave out, the same as if all had been decoded at once.

    A frame needs `codec_history` steps before it and `codec_look_ahead` after it, and overlaps its neighbours.
    n_codebooks: of the codes; as many as the model's decoder writes if left out.
    """

    def __init__(self, engine: FrameDecoder, n_codebooks: int | None = None) -> None:
        sizes = engine.sizes
        self._engine = engine
        self._hop, self._window_length = sizes["hop_length"], sizes["window_length"]
        self._history, self._look_ahead = sizes["codec_history"], sizes["codec_look_ahead"]
        self._window = sqrt_hann(self._window_length)
        self._codes = np.zeros((n_codebooks or sizes["n_codebooks"], 0), np.int64)
        self._context = 0  # how many of those codes are decoded already and kept as history
        self._tail = np.zeros(self._window_length - self._hop)
        self._ahead: np.ndarray | None = None  # frames that more codes may change, None where they are not known
        self._skip = (self._window_length - self._hop) // 2  # the first frame reaches back before the beginning

    def push(self, codes: np.ndarray, is_last: bool = False) -> np.ndarray:
        """Take codes [K, n] (n may be 0); return what is finished by now: [L] float32 at the codec's rate."""
        self._codes = np.concatenate([self._codes, codes], axis=1)
        end = self._codes.shape[1] - (0 if is_last else self._look_ahead)
        wave, self._ahead = np.zeros(0), None
        if end > self._context:
            frames = self._engine.decode_frames(self._codes)
            wave = self._overlap_add(frames[self._context : end])
            self._ahead = frames[end:]
            keep = max(0, end - self._history)
            self._codes = self._codes[:, keep:]
            self._context = end - keep
        if is_last:
            wave = np.concatenate([wave, self._tail[self._skip : (self._window_length - self._hop) // 2]])
        return wave.astype(np.float32)

    def fork(self) -> CodecStream:
        """A stream that stands where this one stands and goes on by itself."""
        return copy(self)

    def rest(self) -> np.ndarray:
        """The sound that would follow if no more codes came: [L] float32. The stream stays where it is."""
        ahead = self._engine.decode_frames(self._codes)[self._context :] if self._ahead is None else self._ahead
        return self.fork()._overlap_add(ahead).astype(np.float32)

    def _overlap_add(self, frames: np.ndarray) -> np.ndarray:
        spectrum = frames[:, 0::2] + 1j * frames[:, 1::2]
        # The same scale as Codec.synthesize: squared windows add up to window / hop / 2.
        scale = 16 * 2 * self._hop / self._window_length
        pieces = np.fft.irfft(spectrum, self._window_length) * (self._window * scale)
        sound = np.zeros(len(frames) * self._hop + len(self._tail))
        sound[: len(self._tail)] = self._tail
        for i, piece in enumerate(pieces):
            sound[i * self._hop : i * self._hop + self._window_length] += piece
        finished = len(frames) * self._hop
        self._tail = sound[finished:]
        skipped = min(self._skip, finished)
        self._skip -= skipped
        return sound[skipped:finished]
