"""Pieces decoded side by side, one codec step at a time: branches of guidance, sampling, and cells that are given.

Given and free cells are one array of tokens, so that composing from nothing, going on from existing music and returning
to music that comes later are the same loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from openvmas.condition import Condition
from openvmas.generate.engine import Engine
from openvmas.generate.pattern import delay, undelay
from openvmas.processes.threads import ThreadPool
from openvmas.settings import GenerateOptions

FREE = -1  # a token that the model writes


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
        start: int = 0, threads: ThreadPool | None = None,
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
        self._log: list[np.ndarray] = []
        self._generators = spawn_generators(options.seed, n)

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
