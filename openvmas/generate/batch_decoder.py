"""Pieces written side by side, one codec step at a time: branches of guidance, sampling, and cells that are given.

What is given and what is free is one array of tokens, so that composing from nothing, going on from music that is there
and returning to music that comes later are the same loop.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from openvmas.condition import Condition
from openvmas.generate.engine import Engine
from openvmas.generate.pattern import delay, undelay
from openvmas.generate.sampling import plan_branches, sample
from openvmas.processes import Hands
from openvmas.settings import GenerateOptions

FREE = -1  # a token that the model writes


def outline(codes: np.ndarray, empty: int) -> np.ndarray:
    """What is given of a piece: codes [K, T] with FREE where the model writes → tokens [K, S]."""
    return delay(codes.astype(np.int16), empty)


class Pen:
    """N pieces of one condition from step `start` on; each draws from a random stream of its own.

    before: tokens [K] of the step before `start` (the empty token at the beginning). hands: step the branches side by
    side. log_likelihood: [N, K] of the codes that were given at the last step, nats, under the condition without
    guidance; 0 where none was.
    """

    def __init__(
        self, engine: Engine, condition: Condition, options: GenerateOptions, n: int, before: np.ndarray,
        start: int = 0, hands: Hands | None = None,
    ) -> None:  # fmt: skip
        self.n, self.first = n, start  # first: the step of the oldest tokens that are kept
        self._hands = hands or Hands(1)
        self.log_likelihood = np.zeros((n, len(before)))
        branches = plan_branches(options)
        self._told = [rows(engine.encode_condition(condition, b.use_events, b.use_meaning, start)) for b in branches]
        self._weights = np.array([b.weight for b in branches], np.float32)[:, None, None, None]
        self._seen = rows(engine.encode_picture(condition, start))
        # The picture is left out with the events: what it says is mostly when something happens.
        self._sees = np.array([b.use_events for b in branches], np.float32)[:, None]
        self._vectors = np.zeros((len(branches), engine.sizes["width"]), np.float32)
        self._engine, self._options = engine, options
        # Branches that are stepped together have one state; how they are shared out changes no number.
        self._parts = np.array_split(np.arange(len(branches)), min(self._hands.n, len(branches)))
        self._states = [engine.start(len(part) * n, start) for part in self._parts]
        self._tokens = np.tile(before.astype(np.int64), (n, 1))
        self._log: list[np.ndarray] = []
        self._generators = seeded(options.seed, n)

    def step(self, given: np.ndarray) -> None:
        """Write the next step's tokens; given: [N, K] or [K], FREE where the model writes."""
        # After the last step of the condition only the later codebooks are finished.
        told = [next(rows_of, None) for rows_of in self._told]
        if told[0] is not None:
            self._vectors = np.stack(told) + self._sees * next(self._seen, np.float32(0))  # pyright: ignore
        logits = np.concatenate(self._hands.each(self._step_part, range(len(self._parts))))
        given = np.broadcast_to(given, self._tokens.shape).astype(np.int64)
        self.log_likelihood = log_likelihood(logits[0], given)
        if (given == FREE).any():
            written = sample((logits * self._weights).sum(0), self._options, self._generators)
            given = np.where(given == FREE, written, given)
        self._tokens = given
        self._log.append(given)

    def _step_part(self, i: int) -> np.ndarray:
        """Logits [branches of part i, N, K, V]."""
        part, n = self._parts[i], self.n
        tokens, told = np.tile(self._tokens, (len(part), 1)), np.repeat(self._vectors[part], n, axis=0)
        logits = self._engine.step(self._states[i], tokens, told)
        return logits.reshape(len(part), n, *logits.shape[1:])

    def codes(self) -> np.ndarray:
        """What is finished of each piece from step `first` on: [N, K, n]."""
        return undelay(np.stack(self._log, axis=2))

    def spread(self, winner: int, n: int | None = None) -> None:
        """All pieces (n of them from now on) go on from what the winner has written."""
        n = n or self.n
        self._states = [
            state.take(np.repeat(np.arange(winner, len(part) * self.n, self.n), n))
            for part, state in zip(self._parts, self._states, strict=True)
        ]
        self._tokens = np.repeat(self._tokens[winner : winner + 1], n, axis=0)
        self._log = [np.repeat(tokens[winner : winner + 1], n, axis=0) for tokens in self._log]
        if n != self.n:
            self.n, self._generators = n, seeded(self._options.seed, n)

    def forget(self, first: int) -> None:
        """Keep only tokens from step `first` on."""
        drop = max(0, first - self.first)
        self._log, self.first = self._log[drop:], self.first + drop


def seeded(seed: int, n: int) -> list[np.random.Generator]:
    """A random stream for each of n pieces."""
    return [np.random.default_rng((seed, i)) for i in range(n)]


def log_likelihood(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Of tokens [N, K] given logits [N, K, V], nats: [N, K] float64; 0 for tokens that are no codes (FREE, empty)."""
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
