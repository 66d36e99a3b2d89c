"""The exported graphs on ONNX Runtime: condition, one decoder step with a cache that is never copied, codec.

No PyTorch. The decoder's cache lies in arrays that the graph reads where they are; each step returns only the new keys
and values, which are written into the next slot of a ring.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import onnxruntime

from openvmas.condition import Condition
from openvmas.pretrained import Weights

HIDDEN = -1e9  # mask value of a slot that may not be seen
CONDITION_MARGIN = 32  # steps; more than half the width of the condition's kernel
CONDITION_CHUNK = 3000  # steps encoded at once


def open_graph(path: os.PathLike[str], threads: int) -> onnxruntime.InferenceSession:
    """A session that leaves the processor alone between steps."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Two spinning threads on a busy machine were eight times slower than one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def run(graph: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a graph; the arrays are read where they are."""
    return [np.asarray(output) for output in graph.run(None, inputs)]


class Ring:
    """Keys and values of the last `window - 1` steps of some layers, in any order.

    keys [n, B, G, d, W - 1], values [n, B, G, W - 1, d], mask [W - 1].
    """

    def __init__(self, layers: list[int], batch: int, groups: int, head_width: int, window: int) -> None:
        self.layers = layers
        self.keys = np.zeros((len(layers), batch, groups, head_width, window - 1), np.float32)
        self.values = np.zeros((len(layers), batch, groups, window - 1, head_width), np.float32)
        self.mask = np.full(window - 1, HIDDEN, np.float32)

    def spread(self, winner: int, batch: int) -> None:
        """Every piece goes on from what the winner remembers; piece i of each branch is at i, i + batch, ..."""
        for array in (self.keys, self.values):
            n_branches = array.shape[1] // batch
            for branch in range(n_branches):
                array[:, branch * batch : (branch + 1) * batch] = array[:, branch * batch + winner][:, None]

    def write(self, position: int, keys: np.ndarray, values: np.ndarray) -> None:
        """Put new keys and values [n_layers, B, G, d] where the oldest ones were."""
        slot = position % len(self.mask)
        self.keys[..., slot] = keys[self.layers]
        self.values[..., slot, :] = values[self.layers]
        self.mask[slot] = 0


@dataclass
class State:
    """Where a batch of pieces stands: how many steps are written, and what the layers remember."""

    position: int
    narrow: Ring
    wide: Ring


class Engine:
    """All graphs of one model."""

    def __init__(self, weights: Weights, threads: int = 1) -> None:
        self.sizes = weights.sizes
        self._condition = open_graph(weights.file("condition"), threads)
        self._decoder = open_graph(weights.file("decoder"), threads)
        self._codec = CodecFrames(weights, min(2, os.cpu_count() or 1))
        half = self.sizes["head_width"] // 2
        self._frequency = 10_000.0 ** (-np.arange(half, dtype=np.float64) / half)

    @property
    def frame_rate(self) -> Fraction:
        return Fraction(self.sizes["sample_rate"], self.sizes["hop_length"])

    def encode_condition(self, condition: Condition, use_events: bool, use_meaning: bool) -> Iterator[np.ndarray]:
        """One vector [D] per step, in chunks [n, D], for all steps of the condition."""
        curves, semantics = condition.encode_curves(), condition.encode_semantics()
        for start in range(0, condition.n_steps, CONDITION_CHUNK):
            first = max(0, start - CONDITION_MARGIN)
            last = min(condition.n_steps, start + CONDITION_CHUNK + CONDITION_MARGIN)
            (encoded,) = run(
                self._condition,
                {
                    "curves": curves[None, first:last],
                    "semantics": semantics[None, first:last],
                    "use_events": np.full(1, use_events, np.float32),
                    "use_meaning": np.full(1, use_meaning, np.float32),
                },
            )
            yield encoded[0, start - first : start - first + CONDITION_CHUNK]

    def start(self, batch: int) -> State:
        """The state before the first step of `batch` pieces."""
        sizes = self.sizes
        wide = list(sizes["wide_layers"])
        narrow = [i for i in range(sizes["n_layers"]) if i not in wide]
        shape = batch, sizes["n_groups"], sizes["head_width"]
        return State(0, Ring(narrow, *shape, sizes["narrow"]), Ring(wide, *shape, sizes["wide"]))

    def step(self, state: State, tokens: np.ndarray, condition: np.ndarray) -> np.ndarray:
        """Logits [B, K, V] of the next token, given the last ones [B, K] (int64) and this step's condition [B, D].

        Changes `state`.
        """
        angle = state.position * self._frequency
        logits, keys, values = run(
            self._decoder,
            {
                "tokens": tokens,
                "condition": condition,
                "cosine": np.cos(angle).astype(np.float32),
                "sine": np.sin(angle).astype(np.float32),
                "narrow_keys": state.narrow.keys,
                "narrow_values": state.narrow.values,
                "narrow_mask": state.narrow.mask,
                "wide_keys": state.wide.keys,
                "wide_values": state.wide.values,
                "wide_mask": state.wide.mask,
            },
        )
        state.narrow.write(state.position, keys, values)
        state.wide.write(state.position, keys, values)
        state.position += 1
        return logits

    def decode_frames(self, codes: np.ndarray) -> np.ndarray:
        """As `CodecFrames.decode_frames`."""
        return self._codec.decode_frames(codes)


def sqrt_hann(length: int) -> np.ndarray:
    """The codec's window, used in both directions: [length] float64."""
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


class FrameDecoder(Protocol):
    """What turns codes into codec frames: the engine, or a codec alone."""

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
        self._skip = (self._window_length - self._hop) // 2  # the first frame reaches back before the beginning

    def push(self, codes: np.ndarray, is_last: bool = False) -> np.ndarray:
        """Take codes [K, n] (n may be 0); return what is finished by now: [L] float32 at the codec's rate."""
        self._codes = np.concatenate([self._codes, codes], axis=1)
        end = self._codes.shape[1] - (0 if is_last else self._look_ahead)
        wave = np.zeros(0)
        if end > self._context:
            frames = self._engine.decode_frames(self._codes)[self._context : end]
            wave = self._overlap_add(frames)
            keep = max(0, end - self._history)
            self._codes = self._codes[:, keep:]
            self._context = end - keep
        if is_last:
            wave = np.concatenate([wave, self._tail[self._skip : (self._window_length - self._hop) // 2]])
        return wave.astype(np.float32)

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
