"""The exported decoder on ONNX Runtime, one codec step at a time, for pieces and branches of guidance side by side.

Given and free cells are one array of tokens, so that composing from nothing, going on from existing music and returning
to music that comes later are the same loop.
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
from openvmas.pretrained import Weights, open_graph, run

if TYPE_CHECKING:
    from openvmas.generate.picture_encoder import PictureEncoder


from openvmas.generate.audio_prompts import AudioPrompt
from openvmas.generate.pattern import delay, undelay
from openvmas.processes.threads import ThreadPool
from openvmas.settings import GenerateOptions

HIDDEN = -1e9  # mask value of a slot that may not be seen
CONDITION_MARGIN = 32  # steps; more than half the width of the condition's kernel
CONDITION_CHUNK = 500  # steps encoded at once: what is heard first waits for no more
FREE = -1  # a token that the model writes
TURN_EVERY = 8  # steps after which pinned keys are rotated
PINNED = 200  # steps of an audio prompt that stay in view


class Ring:
    """Keys and values of the last `window - 1` steps of some layers, in any order.

    keys [n, B, G, d, W - 1], values [n, B, G, W - 1, d], mask [W - 1].
    """

    def __init__(self, layers: list[int], batch: int, groups: int, head_width: int, window: int) -> None:
        self.layers = layers
        self.keys = np.zeros((len(layers), batch, groups, head_width, window - 1), np.float32)
        self.values = np.zeros((len(layers), batch, groups, window - 1, head_width), np.float32)
        self.mask = np.full(window - 1, HIDDEN, np.float32)
        self.n_pinned = self._since = self._turned = 0

    def take(self, rows: Sequence[int] | np.ndarray) -> Ring:
        """Keys and values of these rows of the batch, as a ring of its own."""
        taken = copy(self)
        taken.keys, taken.values = self.keys.take(rows, axis=1), self.values.take(rows, axis=1)
        taken.mask = self.mask.copy()
        return taken

    def write(self, position: int, keys: np.ndarray, values: np.ndarray) -> None:
        """Put new keys and values [n_layers, B, G, d] where the oldest ones were that are not pinned."""
        slot = position % len(self.mask)
        if self.n_pinned:
            slot = self.n_pinned + self._since % (len(self.mask) - self.n_pinned)
            self._since += 1
        self.keys[..., slot] = keys[self.layers]
        self.values[..., slot, :] = values[self.layers]
        self.mask[slot] = 0

    def pin(self, n: int, position: int) -> None:
        """Keep the last n steps before `position`; the ring turns over the others alone from now on."""
        size = len(self.mask)
        order = (position + np.arange(size)) % size  # the oldest first
        order = np.concatenate([order[size - n :], order[: size - n]])
        self.keys[:], self.values[:], self.mask[:] = self.keys[..., order], self.values[..., order, :], self.mask[order]
        self.n_pinned, self._since, self._turned = n, 0, 0

    def turn(self, frequency: np.ndarray) -> None:
        """Rotate pinned keys so that they stay right behind the other steps; frequency: [d / 2] radians a step."""
        steps = self._since - (len(self.mask) - self.n_pinned) - self._turned
        if not self.n_pinned or steps < TURN_EVERY:
            return
        self._turned += steps
        half, pinned = len(frequency), slice(0, self.n_pinned)
        cosine, sine = (f(steps * frequency).astype(np.float32)[:, None] for f in (np.cos, np.sin))
        a, b = self.keys[..., :half, pinned].copy(), self.keys[..., half:, pinned].copy()
        self.keys[..., :half, pinned], self.keys[..., half:, pinned] = a * cosine - b * sine, a * sine + b * cosine


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
        """The state of these rows of the batch, as one of its own."""
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
        """Vectors that the picture adds to the condition's, in chunks [n, D] from step `begin` on.

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
        state.wide.turn(self._frequency)
        state.position += 1
        return call.logits.copy()

    def decode_frames(self, codes: np.ndarray) -> np.ndarray:
        """Codec frames [T, window_length + 2] of codes [K, T]: see `CodecFrames.decode_frames`."""
        return self._codec.decode_frames(codes)


def delay_template(codes: np.ndarray, empty: int) -> np.ndarray:
    """Tokens [K, S] of codes [K, T] after the delay pattern, FREE where the model writes."""
    return delay(codes.astype(np.int16), empty)


class BatchDecoder:
    """N pieces of one condition from step `start` on; each draws from a random stream of its own.

    prompt: tokens [K] of the step before `start` (the empty token at the beginning). threads: step the branches side by
    side. log_likelihood: [N, K] of the codes that were given at the last step, nats, under the condition without
    guidance; 0 where none was.
    """

    def __init__(
        self, engine: Engine, condition: Condition, options: GenerateOptions, n: int, prompt: np.ndarray,
        start: int = 0, threads: ThreadPool | None = None, audio: AudioPrompt | None = None,
    ) -> None:  # fmt: skip
        self.n, self.first = n, start  # first: the step of the oldest tokens that are kept
        self._threads = threads or ThreadPool(1)
        self.log_likelihood = np.zeros((n, len(prompt)))
        branches = plan_branches(options)
        self._conditions = [
            rows(engine.encode_condition(condition, b.use_events, b.use_meaning, start)) for b in branches
        ]
        self._weights = np.array([b.weight for b in branches], np.float32)[:, None, None, None]
        self._picture = rows(engine.encode_picture(condition, start))
        # The picture is left out with the events: what it says is mostly when something happens.
        self._uses_picture = np.array([b.use_events for b in branches], np.float32)[:, None]
        self._vectors = np.zeros((len(branches), engine.sizes["width"]), np.float32)
        self._engine, self._options = engine, options
        # Branches that are stepped together have one state; how they are shared out changes no number.
        self._parts = np.array_split(np.arange(len(branches)), min(self._threads.n, len(branches)))
        self._states = [engine.start(len(part) * n, start) for part in self._parts]
        self._tokens = np.tile(prompt.astype(np.int64), (n, 1))
        if audio is not None:
            self._read(audio)
        self._log: list[np.ndarray] = []
        self._generators = spawn_generators(options.seed, n)

    def _read(self, audio: AudioPrompt) -> None:
        """Read an audio prompt and keep its end in view."""
        reader = BatchDecoder(self._engine, audio.condition, self._options, 1, self._tokens[0], threads=self._threads)
        tokens = delay_template(audio.codes, self._engine.sizes["codebook_size"])
        for step in range(audio.n_steps):
            reader.step(tokens[:, step])
        for state in reader._states:
            state.wide.pin(min(PINNED, audio.n_steps, len(state.wide.mask) * 2 // 3), state.position)
        self._states = [
            state.take(np.repeat(np.arange(len(part)), self.n))
            for part, state in zip(self._parts, reader._states, strict=True)
        ]
        self._tokens = np.repeat(reader._tokens, self.n, axis=0)

    def step(self, given: np.ndarray) -> None:
        """Decode the next step's tokens; given: [N, K] or [K], FREE where the model writes."""
        # After the last step of the condition only the later codebooks are finished.
        vectors = [next(rows_of, None) for rows_of in self._conditions]
        if vectors[0] is not None:
            picture = next(self._picture, np.float32(0))
            self._vectors = np.stack(vectors) + self._uses_picture * picture  # pyright: ignore
        logits = np.concatenate(self._threads.map(self._step_part, range(len(self._parts))))
        given = np.broadcast_to(given, self._tokens.shape).astype(np.int64)
        self.log_likelihood = log_likelihood(logits[0], given)
        if (given == FREE).any():
            sampled = sample((logits * self._weights).sum(0), self._options, self._generators)
            given = np.where(given == FREE, sampled, given)
        self._tokens = given
        self._log.append(given)

    def _step_part(self, i: int) -> np.ndarray:
        """Logits [branches of part i, N, K, V]."""
        part, n = self._parts[i], self.n
        tokens, vectors = np.tile(self._tokens, (len(part), 1)), np.repeat(self._vectors[part], n, axis=0)
        logits = self._engine.step(self._states[i], tokens, vectors)
        return logits.reshape(len(part), n, *logits.shape[1:])

    def codes(self) -> np.ndarray:
        """Finished codes of each piece from step `first` on: [N, K, n]."""
        return undelay(np.stack(self._log, axis=2))

    def fork_from(self, winner: int, n: int | None = None) -> None:
        """Let all pieces (n of them from now on) go on from what the winner has written."""
        n = n or self.n
        self._states = [
            state.take(np.repeat(np.arange(winner, len(part) * self.n, self.n), n))
            for part, state in zip(self._parts, self._states, strict=True)
        ]
        self._tokens = np.repeat(self._tokens[winner : winner + 1], n, axis=0)
        self._log = [np.repeat(tokens[winner : winner + 1], n, axis=0) for tokens in self._log]
        if n != self.n:
            self.n, self._generators = n, spawn_generators(self._options.seed, n)

    def drop_before(self, first: int) -> None:
        """Keep only tokens from step `first` on."""
        drop = max(0, first - self.first)
        self._log, self.first = self._log[drop:], self.first + drop


def spawn_generators(seed: int, n: int) -> list[np.random.Generator]:
    """A random stream for each of n pieces."""
    return [np.random.default_rng((seed, i)) for i in range(n)]


def log_likelihood(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Log-probability of tokens [N, K] under logits [N, K, V], nats: [N, K] float64.

    It is 0 for tokens that are no codes (FREE, empty).
    """
    is_code = (tokens >= 0) & (tokens < logits.shape[-1])
    if not is_code.any():
        return np.zeros(tokens.shape)
    top = logits.max(axis=-1)
    mass = np.log(np.exp((logits - top[..., None]).astype(np.float64)).sum(-1))
    chosen = np.take_along_axis(logits, np.where(is_code, tokens, 0)[..., None], axis=-1)[..., 0]
    return np.where(is_code, chosen - top - mass, 0)


def rows(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows of chunks, one by one."""
    for chunk in chunks:
        yield from chunk


@dataclass(frozen=True)
class Branch:
    """One way of running the decoder: what it is told, and with which weight its logits count."""

    use_events: bool
    use_meaning: bool
    weight: float


def plan_branches(options: GenerateOptions) -> list[Branch]:
    """Which branches guidance needs (Ho and Salimans 2022, with one scale for events and one for meaning).

    logits = full + (event_guidance - 1) (full - no events) + (guidance - 1) (full - no meaning); where both scales are
    the same, full + (guidance - 1) (full - neither), a branch less. The weights add up to 1, and branches of weight 0
    are not run. Without events at all, `full` is the branch without them.
    """
    events = options.event_guidance > 0
    extra_events = options.event_guidance - 1 if events else 0.0
    extra_meaning = options.guidance - 1
    if events and extra_events == extra_meaning:
        branches = [Branch(True, True, 1 + extra_meaning), Branch(False, False, -extra_meaning)]
    else:
        branches = [
            Branch(events, True, 1 + extra_events + extra_meaning),
            Branch(False, True, -extra_events),
            Branch(events, False, -extra_meaning),
        ]
    return [branch for branch in branches if branch.weight]


def sample(logits: np.ndarray, options: GenerateOptions, generators: list[np.random.Generator]) -> np.ndarray:
    """Tokens [N, K] (int64) from guided logits [N, K, V]; piece n draws from generators[n] alone."""
    n_entries = logits.shape[-1]
    logits = logits / options.temperature
    # The k greatest first, then in order: sorting all entries took longer than the rest of sampling together.
    order = np.broadcast_to(np.arange(n_entries), logits.shape)
    if 0 < options.top_k < n_entries:
        order = np.argpartition(logits, n_entries - options.top_k, axis=-1)[..., -options.top_k :]
    ranks = np.argsort(-np.take_along_axis(logits, order, axis=-1), axis=-1, kind="stable")
    order = np.take_along_axis(order, ranks, axis=-1)
    kept = np.take_along_axis(logits, order, axis=-1).astype(np.float64)
    probability = np.exp(kept - kept[..., :1])
    probability /= probability.sum(-1, keepdims=True)
    before = np.cumsum(probability, axis=-1) - probability
    probability[before >= options.top_p] = 0
    mass = np.cumsum(probability, axis=-1)
    draws = np.stack([generator.random(logits.shape[1]) for generator in generators])
    choice = (draws[..., None] * mass[..., -1:] >= mass).sum(-1)
    tokens = np.take_along_axis(order, np.minimum(choice, order.shape[-1] - 1)[..., None], axis=-1)[..., 0]
    assert tokens.max(initial=0) < n_entries
    return tokens.astype(np.int64)
