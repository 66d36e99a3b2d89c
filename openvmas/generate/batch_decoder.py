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
TURN_EVERY = 16  # steps after which pinned keys are rotated
READ = 264  # steps of an audio prompt that are read: more cost time and are not heard (docs/LOG.md)
PINNED = 200  # of which these stay in view


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

    @staticmethod
    def join(rings: Sequence[Ring]) -> Ring:
        """The rows of rings that stand at the same step, as one ring."""
        joined = copy(rings[0])
        joined.keys = np.concatenate([ring.keys for ring in rings], axis=1)
        joined.values = np.concatenate([ring.values for ring in rings], axis=1)
        return joined

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

    def replace_pinned(self, other: Ring, position: int, end: int, frequency: np.ndarray) -> None:
        """Keep the pinned steps of another ring, of as many, in place of the own ones.

        other: of one piece, and pinned at step `end`; position: of this ring. frequency: [d / 2] radians a step.
        """
        assert self.n_pinned == other.n_pinned
        pinned = slice(0, self.n_pinned)
        moved = rotate(other.keys[..., pinned], position - self._since + self._turned - end, frequency)
        n_pieces = self.keys.shape[1] // other.keys.shape[1]
        self.keys[..., pinned] = np.repeat(moved, n_pieces, axis=1)
        self.values[..., pinned, :] = np.repeat(other.values[..., pinned, :], n_pieces, axis=1)

    def turn(self, frequency: np.ndarray) -> None:
        """Rotate pinned keys so that they stay right behind the other steps; frequency: [d / 2] radians a step."""
        steps = self._since - (len(self.mask) - self.n_pinned) - self._turned
        if not self.n_pinned or steps < TURN_EVERY:
            return
        self._turned += steps
        pinned = slice(0, self.n_pinned)
        self.keys[..., pinned] = rotate(self.keys[..., pinned], steps, frequency)


def rotate(keys: np.ndarray, steps: int, frequency: np.ndarray) -> np.ndarray:
    """Keys [..., d, n] as they are `steps` later (rotary positions); frequency: [d / 2] radians a step."""
    cosine, sine = (f(steps * frequency).astype(np.float32)[:, None] for f in (np.cos, np.sin))
    a, b = np.split(keys, 2, axis=-2)
    return np.concatenate([a * cosine - b * sine, a * sine + b * cosine], axis=-2)


@dataclass
class State:
    """Where a batch of pieces stands: how many steps are written, and what the layers remember.

    call: the decoder bound to these arrays, None where they are new.
    """

    position: int
    narrow: Ring
    wide: Ring
    call: BoundStep | None = None

    @property
    def batch(self) -> int:
        return self.narrow.keys.shape[1]

    def take(self, rows: Sequence[int] | np.ndarray) -> State:
        """The state of these rows of the batch, as one of its own."""
        return State(self.position, self.narrow.take(rows), self.wide.take(rows))

    @staticmethod
    def join(states: Sequence[State]) -> State:
        """The rows of states that stand at the same step, as one state."""
        narrow, wide = (Ring.join([getattr(state, kind) for state in states]) for kind in ("narrow", "wide"))
        return State(states[0].position, narrow, wide)


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
        self.frequency = 10_000.0 ** (-np.arange(half, dtype=np.float64) / half)

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
        call, angle = state.call, state.position * self.frequency
        call.tokens[:], call.condition[:] = tokens, condition
        call.cosine[:], call.sine[:] = np.cos(angle), np.sin(angle)
        keys, values = call.run()
        state.narrow.write(state.position, keys, values)
        state.wide.write(state.position, keys, values)
        state.wide.turn(self.frequency)
        state.position += 1
        return call.logits.copy()

    def decode_frames(self, codes: np.ndarray) -> np.ndarray:
        """Codec frames [T, window_length + 2] of codes [K, T]: see `CodecFrames.decode_frames`."""
        return self._codec.decode_frames(codes)


def delay_template(codes: np.ndarray, empty: int) -> np.ndarray:
    """Tokens [K, S] of codes [K, T] after the delay pattern, FREE where the model writes."""
    return delay(codes.astype(np.int16), empty)


def go_on_from(audio: AudioPrompt, given: np.ndarray) -> np.ndarray:
    """Tokens [..., K, S] of a piece with a prompt's last codes where they are due after the prompt's last step."""
    given = given.copy()
    for k in range(1, given.shape[-2]):
        given[..., k, :k] = audio.codes[k, -k:]
    return given


@dataclass
class Part:
    """Pieces whose branches are decoded together.

    Rows of the state: all pieces of the first branch, then all of the next. tokens: [n, K] of the last step.
    """

    state: State
    tokens: np.ndarray
    generators: list[np.random.Generator]

    def take(self, pieces: Sequence[int] | np.ndarray) -> Part:
        """These pieces as a part of their own, without random streams."""
        n = len(self.tokens)
        rows_of_branches = np.arange(0, self.state.batch, n)[:, None] + np.asarray(pieces)
        return Part(self.state.take(rows_of_branches.ravel()), self.tokens[pieces], [])


class BatchDecoder:
    """N pieces of one condition from step `start` on; each draws from a random stream of its own.

    prompt: the tokens [K] of the step before `start`, or music that is read first and kept in view; nothing at the
    beginning of a piece. threads: decode pieces side by side, which changes no number. log_likelihood: [N, K, S] of the
    codes that were given at the last `advance`, nats, under the condition without guidance; 0 where none was.
    """

    def __init__(
        self, engine: Engine, condition: Condition, options: GenerateOptions, n: int, start: int = 0,
        prompt: np.ndarray | AudioPrompt | None = None, threads: ThreadPool | None = None,
    ) -> None:  # fmt: skip
        self.n, self.first = n, start  # first: the step of the oldest tokens that are kept
        self._engine, self._options, self._threads = engine, options, threads or ThreadPool(1)
        branches, sizes = plan_branches(options), engine.sizes
        self._conditions = [
            rows(engine.encode_condition(condition, b.use_events, b.use_meaning, start)) for b in branches
        ]
        self._weights = np.array([b.weight for b in branches], np.float32)[:, None, None, None]
        self._picture = rows(engine.encode_picture(condition, start))
        # The picture is left out with the events: what it says is mostly when something happens.
        self._uses_picture = np.array([b.use_events for b in branches], np.float32)[:, None]
        self._vectors = np.zeros((len(branches), sizes["width"]), np.float32)
        self.log_likelihood = np.zeros((n, sizes["n_codebooks"], 0))
        self._log: list[np.ndarray] = []
        if isinstance(prompt, AudioPrompt):
            only = self._read(prompt)
        else:
            tokens = np.full(sizes["n_codebooks"], sizes["codebook_size"]) if prompt is None else prompt
            only = Part(engine.start(len(branches), start), tokens[None].astype(np.int64), [])
        self._share_out(only, spawn_generators(options.seed, n))

    @property
    def keeps_prompt(self) -> bool:
        """Whether an audio prompt is kept in view."""
        return bool(self._parts[0].state.wide.n_pinned)

    def change_prompt(self, audio: AudioPrompt) -> None:
        """Keep another audio prompt in view from now on; the music so far stays in view, too."""
        new = self._read(audio).state
        for part in self._parts:
            state = part.state
            state.wide.replace_pinned(new.wide, state.position, new.position, self._engine.frequency)

    def _read(self, audio: AudioPrompt) -> Part:
        """A piece that has read an audio prompt and keeps its end in view."""
        tokens, start = delay_template(audio.codes, self._engine.sizes["codebook_size"]), max(0, audio.n_steps - READ)
        before = tokens[:, start - 1] if start else None
        reader = BatchDecoder(self._engine, audio.condition, self._options, 1, start, before, self._threads)
        reader.advance(tokens[:, start : audio.n_steps])
        (part,) = reader._parts
        part.state.wide.pin(min(PINNED, audio.n_steps, len(part.state.wide.mask) * 2 // 3), part.state.position)
        return part

    def _share_out(self, only: Part, generators: list[np.random.Generator]) -> None:
        """Let all pieces go on from a part with one piece."""
        shares = np.array_split(np.arange(len(generators)), min(self._threads.n, len(generators)))
        self._parts = [only.take(np.zeros(len(share), np.int64)) for share in shares]
        for part, share in zip(self._parts, shares, strict=True):
            part.generators = [generators[i] for i in share]

    def advance(self, given: np.ndarray) -> None:
        """Decode the next S steps; given: [N, K, S] or [K, S], FREE where the model writes."""
        given = np.broadcast_to(given, (self.n, *given.shape[-2:])).astype(np.int64)
        vectors = self._next_vectors(given.shape[2])
        if self.n == 1 and not (given == FREE).any():  # nothing is drawn, so its branches need not wait for each other
            (part,) = self._parts
            states = [part.state.take([i]) for i in range(part.state.batch)]
            branches = [Part(state, part.tokens, part.generators) for state in states]
            work = [(branch, given, vectors[:, i : i + 1]) for i, branch in enumerate(branches)]
            done = self._threads.map(self._decode, work)[:1]
            self._parts = [Part(State.join(states), branches[0].tokens, part.generators)]
        else:
            groups = np.split(given, np.cumsum([len(part.tokens) for part in self._parts])[:-1])
            work = [(part, group, vectors) for part, group in zip(self._parts, groups, strict=True)]
            done = self._threads.map(self._decode, work)
        self._log.append(np.concatenate([written for written, _ in done]))
        self.log_likelihood = np.concatenate([likelihood for _, likelihood in done])

    def _next_vectors(self, n: int) -> np.ndarray:
        """Vectors that condition the branches at the next n steps: [n, branches, D]."""
        found = np.empty((n, *self._vectors.shape), np.float32)
        for step in range(n):
            # After the last step of the condition only the later codebooks are finished.
            vectors = [next(rows_of, None) for rows_of in self._conditions]
            if vectors[0] is not None:
                picture = next(self._picture, np.float32(0))
                self._vectors = np.stack(vectors) + self._uses_picture * picture  # pyright: ignore
            found[step] = self._vectors
        return found

    def _decode(self, work: tuple[Part, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and log-likelihoods [n, K, S]; work: a part, given tokens [n, K, S] and vectors [S, branches, D]."""
        part, written, vectors = work[0], work[1].copy(), work[2]
        n, n_branches = len(part.tokens), vectors.shape[1]
        likelihood, vectors = np.zeros(written.shape), np.repeat(vectors, n, axis=1)
        for step in range(written.shape[2]):
            logits = self._engine.step(part.state, np.tile(part.tokens, (n_branches, 1)), vectors[step])
            logits = logits.reshape(n_branches, n, *logits.shape[1:])
            tokens = written[:, :, step]
            is_free = tokens == FREE
            if not is_free.all():
                likelihood[:, :, step] = log_likelihood(logits[0], tokens)
            if is_free.any():
                sampled = sample((logits * self._weights).sum(0), self._options, part.generators)
                tokens[is_free] = sampled[is_free]
            part.tokens = tokens
        return written, likelihood

    def codes(self) -> np.ndarray:
        """Finished codes of each piece from step `first` on: [N, K, n]."""
        return undelay(np.concatenate(self._log, axis=2))

    def fork_from(self, winner: int, n: int | None = None) -> None:
        """Let all pieces (n of them from now on) go on from what the winner has written."""
        generators = [generator for part in self._parts for generator in part.generators]
        first, n = 0, n or self.n
        for part in self._parts:
            if winner < first + len(part.tokens):
                break
            first += len(part.tokens)
        self._log = [np.repeat(tokens[winner : winner + 1], n, axis=0) for tokens in self._log]
        if n != self.n:
            self.n, generators = n, spawn_generators(self._options.seed, n)
        self._share_out(part.take([winner - first]), generators)

    def drop_before(self, first: int) -> None:
        """Keep only tokens from step `first` on."""
        if first > self.first:
            self._log = [np.concatenate(self._log, axis=2)[:, :, first - self.first :]]
            self.first = first


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
    n, n_codebooks, n_entries = logits.shape
    kept = logits.reshape(-1, n_entries) / options.temperature
    each = np.arange(len(kept))[:, None]
    # The k greatest first, then in order: sorting all entries took longer than the rest of sampling together.
    order = np.broadcast_to(np.arange(n_entries), kept.shape)
    if 0 < options.top_k < n_entries:
        order = np.argpartition(kept, n_entries - options.top_k, axis=1)[:, -options.top_k :]
    order = order[each, np.argsort(-kept[each, order], axis=1, kind="stable")]
    kept = kept[each, order].astype(np.float64)
    probability = np.exp(kept - kept[:, :1])
    mass = probability.cumsum(axis=1)
    probability[mass - probability >= options.top_p * mass[:, -1:]] = 0
    mass = probability.cumsum(axis=1)
    draws = np.concatenate([generator.random(n_codebooks) for generator in generators])
    choice = (draws[:, None] * mass[:, -1:] >= mass).sum(1)
    return order[each[:, 0], np.minimum(choice, order.shape[1] - 1)].reshape(n, n_codebooks)
