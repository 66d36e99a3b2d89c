"""The exported graphs on ONNX Runtime: condition, one decoder step with a cache that is never copied, codec.

No PyTorch. The decoder's cache lies in arrays that the graph reads where they are; each step returns only the new keys
and values, which are written into the next slot of a ring.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from openvmas.codec.stream import CodecFrames
from openvmas.condition import Condition
from openvmas.errors import ModelError
from openvmas.onnx_session import open_graph, run
from openvmas.pretrained import Weights

if TYPE_CHECKING:
    from openvmas.generate.picture_encoder import PictureEncoder

HIDDEN = -1e9  # mask value of a slot that may not be seen
CONDITION_MARGIN = 32  # steps; more than half the width of the condition's kernel
CONDITION_CHUNK = 500  # steps encoded at once: what is heard first waits for no more


class Ring:
    """Keys and values of the last `window - 1` steps of some layers, in any order.

    keys [n, B, G, d, W - 1], values [n, B, G, W - 1, d], mask [W - 1].
    """

    def __init__(self, layers: list[int], batch: int, groups: int, head_width: int, window: int) -> None:
        self.layers = layers
        self.keys = np.zeros((len(layers), batch, groups, head_width, window - 1), np.float32)
        self.values = np.zeros((len(layers), batch, groups, window - 1, head_width), np.float32)
        self.mask = np.full(window - 1, HIDDEN, np.float32)

    def take(self, rows: Sequence[int] | np.ndarray) -> Ring:
        """What these rows of the batch remember, as a ring of its own."""
        taken = copy(self)
        taken.keys, taken.values = self.keys.take(rows, axis=1), self.values.take(rows, axis=1)
        taken.mask = self.mask.copy()
        return taken

    def write(self, position: int, keys: np.ndarray, values: np.ndarray) -> None:
        """Put new keys and values [n_layers, B, G, d] where the oldest ones were."""
        slot = position % len(self.mask)
        self.keys[..., slot] = keys[self.layers]
        self.values[..., slot, :] = values[self.layers]
        self.mask[slot] = 0


@dataclass
class State:
    """Where a batch of pieces stands: how many steps are written, and what the layers remember.

    call: the decoder bound to these arrays, None where they are new.
    """

    position: int
    narrow: Ring
    wide: Ring
    call: BoundStep | None = None

    def take(self, rows: Sequence[int] | np.ndarray) -> State:
        """As `Ring.take`."""
        return State(self.position, self.narrow.take(rows), self.wide.take(rows))


class BoundStep:
    """The decoder's graph with its inputs and outputs at fixed places in memory, so that a call hands nothing over."""

    def __init__(self, graph: onnxruntime.InferenceSession, state: State, sizes: dict[str, Any]) -> None:
        narrow, wide, half = state.narrow, state.wide, sizes["head_width"] // 2
        batch, n_layers = narrow.keys.shape[1], sizes["n_layers"]
        self.tokens = np.zeros((batch, sizes["n_codebooks"]), np.int64)
        self.condition = np.zeros((batch, sizes["width"]), np.float32)
        self.cosine, self.sine = np.zeros(half, np.float32), np.zeros(half, np.float32)
        self.logits = np.zeros((batch, sizes["n_codebooks"], sizes["codebook_size"]), np.float32)
        arrays = {"tokens": self.tokens, "condition": self.condition, "cosine": self.cosine, "sine": self.sine}
        for kind, ring in (("narrow", narrow), ("wide", wide)):
            arrays[f"{kind}_mask"] = ring.mask
            for i, layer in enumerate(ring.layers):
                arrays |= {f"keys_{layer}": ring.keys[i], f"values_{layer}": ring.values[i]}
        self._graph, self._binding = graph, graph.io_binding()
        new = batch, sizes["n_groups"], n_layers, sizes["head_width"]
        self._keys, self._values = np.zeros(new, np.float32), np.zeros(new, np.float32)
        for item in graph.get_inputs():
            self._binding.bind_ortvalue_input(item.name, shared(arrays[item.name], item.shape))
        arrays = {"logits": self.logits, "new_keys": self._keys, "new_values": self._values}
        for item in graph.get_outputs():
            self._binding.bind_ortvalue_output(item.name, shared(arrays[item.name], item.shape))

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """New keys and new values [n_layers, B, G, d]; logits [B, K, V] are then in `logits`."""
        self._graph.run_with_iobinding(self._binding)
        return self._keys.transpose(2, 0, 1, 3), self._values.transpose(2, 0, 1, 3)


def shared(array: np.ndarray, shape: list[int | str]) -> onnxruntime.OrtValue:
    """The array's own memory with the sizes that a graph declares (names stand for the batch)."""
    sizes = [-1 if isinstance(size, str) else size for size in shape]
    view = array.reshape(sizes)
    assert np.shares_memory(view, array)
    return onnxruntime.OrtValue.ortvalue_from_numpy(view)


class Engine:
    """All graphs of one model. All methods but `use_decoder` may be called from several threads at once."""

    def __init__(self, weights: Weights) -> None:
        self.weights, self.sizes = weights, weights.sizes
        self._condition = open_graph(weights.file("condition"), 1)
        self.use_decoder(weights.file("decoder"))
        self._codec = CodecFrames(weights, 1)
        self._picture: PictureEncoder | None = None
        if "video_encoder" in weights.files:
            from openvmas.generate.picture_encoder import PictureEncoder  # the shipped models have none

            self._picture = PictureEncoder(weights, 1)
        half = self.sizes["head_width"] // 2
        self._frequency = 10_000.0 ** (-np.arange(half, dtype=np.float64) / half)

    def use_decoder(self, path: str | os.PathLike[str]) -> None:
        """Step with another graph of the same decoder. Raises ModelError for one of a model up to 0.3."""
        self._decoder = open_graph(path, 1)
        if any(item.name == "narrow_keys" for item in self._decoder.get_inputs()):
            raise ModelError(f"{path} is from a version before 0.4; export the model again with this one.")

    @property
    def frame_rate(self) -> Fraction:
        return Fraction(self.sizes["sample_rate"], self.sizes["hop_length"])

    def encode_condition(
        self, condition: Condition, use_events: bool, use_meaning: bool, begin: int = 0
    ) -> Iterator[np.ndarray]:
        """One vector [D] per step, in chunks [n, D], for all steps of the condition from `begin` on."""
        curves, semantics = condition.encode_curves(), condition.encode_semantics()
        for start in range(begin, condition.n_steps, CONDITION_CHUNK):
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

    def encode_picture(self, condition: Condition, begin: int = 0) -> Iterator[np.ndarray]:
        """What the picture adds to the condition's vectors, in chunks [n, D] from step `begin` on.

        Nothing where the model has no video encoder, or the condition no picture.
        """
        if self._picture is not None and condition.picture is not None:
            yield from self._picture.steps(condition.picture, condition.n_steps, begin)

    def start(self, batch: int, position: int = 0) -> State:
        """The state of `batch` pieces before step `position`, with nothing remembered."""
        sizes = self.sizes
        wide = list(sizes["wide_layers"])
        narrow = [i for i in range(sizes["n_layers"]) if i not in wide]
        shape = batch, sizes["n_groups"], sizes["head_width"]
        return State(position, Ring(narrow, *shape, sizes["narrow"]), Ring(wide, *shape, sizes["wide"]))

    def step(self, state: State, tokens: np.ndarray, condition: np.ndarray) -> np.ndarray:
        """Logits [B, K, V] of the next token, given the last ones [B, K] and this step's condition [B, D].

        Changes `state`.
        """
        if state.call is None:
            state.call = BoundStep(self._decoder, state, self.sizes)
        call, angle = state.call, state.position * self._frequency
        call.tokens[:], call.condition[:] = tokens, condition
        call.cosine[:], call.sine[:] = np.cos(angle), np.sin(angle)
        keys, values = call.run()
        state.narrow.write(state.position, keys, values)
        state.wide.write(state.position, keys, values)
        state.position += 1
        return call.logits.copy()

    def decode_frames(self, codes: np.ndarray) -> np.ndarray:
        """As `CodecFrames.decode_frames`."""
        return self._codec.decode_frames(codes)
