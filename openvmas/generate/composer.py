"""The composer: a condition in, blocks of music out while they are being written; and parts written again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from openvmas.codec.stream import CodecStream
from openvmas.condition import Condition
from openvmas.errors import ModelError
from openvmas.generate.audio_meter import Listener, describe, explain
from openvmas.generate.batch_decoder import FREE, Pen, outline
from openvmas.generate.engine import Engine
from openvmas.generate.steering import FIRST_LEVEL, Judgement, judge, plan_choices
from openvmas.generate.stereo import finish
from openvmas.pretrained import Weights
from openvmas.processes import Hands
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.timeline import Clock

CHUNK = 75  # codec steps that are decoded at once, whatever the choices were: the same codes give the same sound
FIRST_CHUNKS = (64, *16 * (25,))  # at the beginning somebody waits: a second of sound, then all that is there by then
HISTORY = 40  # steps before a segment that are decoded with it; at least the codec's history


class Composer:
    """Writes music with one model. Any length in constant memory; the same seed gives the same music."""

    def __init__(self, weights: Weights, threads: int | None = None) -> None:
        """threads: as `Hands`; the music does not depend on them."""
        self.engine, self.hands = Engine(weights), Hands(threads)

    def stream(
        self,
        condition: Condition,
        options: GenerateOptions,
        report: dict[str, Any] | None = None,
        codes: list[np.ndarray] | None = None,
    ) -> Iterator[np.ndarray]:
        """Blocks [2, n] float32 at 48 kHz, together as long as the condition.

        Every few seconds the best of the candidates is kept (generate.steering), so blocks come while the rest is being
        written. report: is given, when all is written, what was chosen and why and the music's measures. codes: is
        given chunks [K, n] uint16 as they become final; joined they are what `rewrite` and `render` take. Raises
        ModelError where the condition's clock is not the codec's.
        """
        self.check(condition)
        notes: list[dict[str, Any]] = []
        written: list[np.ndarray] = [] if codes is None else codes
        ear = Listener(self.engine.sizes["sample_rate"]) if report is not None else None
        yield from self._sound(kept(self.write(condition, options, notes), written), condition, ear)
        if report is not None and ear is not None and written:
            measures = ear.measure(np.concatenate(written, axis=1), condition)
            report["candidates"] = options.candidates
            report["music"] = {**vars(measures), "failures": measures.failures}
            report["choices"] = notes
            report["reason"] = explain(measures, notes, options.candidates)

    def render(self, codes: np.ndarray, condition: Condition) -> Iterator[np.ndarray]:
        """The blocks that `stream` gave, or would give, for codes [K, T] of the condition."""
        self.check(condition, codes)
        yield from self._sound(iter([codes.astype(np.int64)]), condition, None)

    def rewrite(
        self,
        codes: np.ndarray,
        condition: Condition,
        start: int,
        end: int,
        options: GenerateOptions,
        report: dict[str, Any] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """Codes [K, T] with other music in steps [start, end): see `generate.inpainting.rewrite`."""
        from openvmas.generate.inpainting import rewrite  # whoever only scores does not load it

        self.check(condition, codes)
        return rewrite(self, codes, condition, start, end, options, report, progress)

    def check(self, condition: Condition, codes: np.ndarray | None = None) -> None:
        """Raises ModelError where clock or codes are not this model's."""
        if condition.rate != self.engine.frame_rate:
            raise ModelError(
                f"this model writes {self.engine.frame_rate} steps per second but the plan has {condition.rate}; "
                "make the plan again with this version."
            )
        if codes is None:
            return
        shape, size = (self.engine.sizes["n_codebooks"], condition.n_steps), self.engine.sizes["codebook_size"]
        if codes.shape != shape or codes.dtype.kind not in "iu" or codes.min(initial=0) < 0 or codes.max() >= size:
            raise ModelError(
                f"the codes are not this model's for this plan: [{shape[0]}, {shape[1]}] whole numbers from 0 to "
                f"{size - 1} are needed; compose the piece again."
            )

    def write(
        self, condition: Condition, options: GenerateOptions, notes: list[dict[str, Any]] | None = None
    ) -> Iterator[np.ndarray]:
        """Codes [K, n] as they become final; `notes` is given what was chosen and why."""
        sizes = self.engine.sizes
        n, n_codebooks, empty = options.candidates, sizes["n_codebooks"], sizes["codebook_size"]
        given = outline(np.full((n_codebooks, condition.n_steps), FREE), empty)
        # A single piece's steps are too short to share out.
        hands = self.hands if n > 1 else None
        pen = Pen(self.engine, condition, options, n, np.full(n_codebooks, empty), hands=hands)
        total = given.shape[1]
        choices = {*plan_choices(condition, n == 1), total - 1}
        final, level = 0, FIRST_LEVEL  # codes before step `final` are given out
        for step in range(total):
            pen.step(given[:, step])
            if step not in choices:
                continue
            codes, winner = pen.codes(), 0
            if n > 1:
                waves = self.hands.each(self.hear, codes)
                found = [
                    self.judge(w, c, pen.first, final, condition, level) for w, c in zip(waves, codes, strict=True)
                ]
                winner = max(range(n), key=lambda i: found[i].value)
                level += 0.3 * (found[winner].level_error if not found[winner].failures else 0.0)
                if notes is not None:
                    values = [judgement.value for judgement in found]
                    notes.append(describe(final / float(condition.rate), found, values, winner))
                pen.spread(winner)
            yield codes[winner, :, final - pen.first :]
            final = pen.first + codes.shape[2]
            pen.forget(final - HISTORY)

    def hear(self, codes: np.ndarray) -> np.ndarray:
        """The wave [L] of codes [K, n] at the codec's rate, as if there were nothing around them."""
        return CodecStream(self.engine).push(codes.astype(np.int64), is_last=True)

    def judge(
        self, wave: np.ndarray, codes: np.ndarray, first: int, final: int, condition: Condition, level: float
    ) -> Judgement:
        """Judge what comes after step `final` in codes [K, n], which begin at step `first`, and their wave."""
        rate = float(condition.rate)
        fresh = codes[0, final - first :]
        return judge(wave, fresh, self.engine.sizes["sample_rate"], final / rate, first / rate, condition, level)

    def _sound(self, chunks: Iterator[np.ndarray], condition: Condition, ear: Listener | None) -> Iterator[np.ndarray]:
        """Codes [K, n] as they come → blocks [2, n] at 48 kHz, as long as the condition."""
        n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(Fraction(condition.n_steps) / condition.rate)
        ends = bool(np.isfinite(condition.time_left).all()) if condition.n_steps else False
        waves = self.decode(evenly(chunks, CHUNK, FIRST_CHUNKS))
        yield from finish(heard(waves, ear), n_samples, self.engine.sizes["sample_rate"], ends)

    def decode(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Chunks of codes [K, n] → chunks of mono wave at the codec's rate."""
        stream = CodecStream(self.engine)
        for chunk in chunks:
            wave = stream.push(chunk)
            if len(wave):
                yield wave
        yield stream.push(np.zeros((self.engine.sizes["n_codebooks"], 0), np.int64), is_last=True)


def kept(chunks: Iterator[np.ndarray], written: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The same chunks, each also appended to `written` as 16-bit codes."""
    for chunk in chunks:
        written.append(chunk.astype(np.uint16))
        yield chunk


def evenly(chunks: Iterator[np.ndarray], size: int, first: tuple[int, ...] = ()) -> Iterator[np.ndarray]:
    """The same codes in chunks [K, size], the first ones of the sizes that are given; the last is shorter."""
    left: np.ndarray | None = None
    sizes = itertools.chain(first, itertools.repeat(size))
    due = next(sizes)
    for chunk in chunks:
        left = chunk if left is None else np.concatenate([left, chunk], axis=1)
        while left.shape[1] >= due:
            yield left[:, :due]
            left, due = left[:, due:], next(sizes)
    if left is not None and left.shape[1]:
        yield left


def heard(waves: Iterator[np.ndarray], ear: Listener | None) -> Iterator[np.ndarray]:
    """The same waves, each also told to the ear."""
    for wave in waves:
        if ear is not None:
            ear.push(wave)
        yield wave
