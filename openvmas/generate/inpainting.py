"""A part of a piece written again so that its borders cannot be heard.

The decoder first reads the music before the part, as far back as it sees, and then writes candidates; where there is
little before it, it first reads what comes after the part, as an audio prompt. What comes after the part is kept, and a
causal model does not know it; so each candidate reads on into the kept music, and what that music loses in likelihood
against its own beginning says how abrupt the return is. Candidates return to the kept music at different moments of the
part's last half second, and the sound around both borders is measured (music.seams).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.errors import OptionError
from openvmas.generate.audio_prompts import AudioPrompt, condition_of
from openvmas.generate.batch_decoder import FREE, READ, BatchDecoder, Engine, delay_template, go_on_from
from openvmas.generate.steering import FIRST_LEVEL, CandidateJudge, describe_choice, plan_choices
from openvmas.music.seams import Seam, find_seams
from openvmas.processes.threads import ThreadPool
from openvmas.settings import GenerateOptions
from openvmas.timeline import Events

HISTORY = 150  # steps before a segment that are decoded with it: its border is judged against what came before
TAIL = 100  # kept steps after the part that candidates read
SHORT = 300  # steps; for a part up to there half the tail and fewer candidates do as well (docs/LOG.md) and cost less
SLACK = 25  # steps before the end of the part in which a candidate may return to the kept music
AT_ONCE = 25  # steps between two reports of progress, which may end the work
AROUND = 400  # steps to each side among which the borders are ranked at last
LEAST_CANDIDATES, LEAST_SHORT = 6, 4
REGRET = 30.0  # nats of kept music's likelihood lost that count as much as one unit of a judgement
STANDING_OUT = 0.8  # rank of a border's change from which it counts against a candidate


@dataclass(frozen=True)
class Inpainting:
    """Codes [K, T] uint16 of the whole piece, how the new part was chosen, and how its borders stand out."""

    codes: np.ndarray
    choices: list[dict[str, Any]]
    seams: list[Seam]


def inpaint(
    engine: Engine,
    threads: ThreadPool,
    codes: np.ndarray,
    condition: Condition,
    start: int,
    end: int,
    options: GenerateOptions,
    progress: Callable[[float], None] | None = None,
    prompt: AudioPrompt | None = None,
) -> Inpainting:
    """The piece with other music in steps [start, end); all others are as they were.

    codes: [K, T] of the piece; condition: of the whole of it, with what is asked of the part now. The part's last half
    second may return to the old codes early, where that is heard least. progress: is called every half second of music
    with the share that is done; what it raises ends the work. prompt: music that the part should sound like.
    Raises OptionError for a span that is empty or not inside the piece.
    """
    n_steps = condition.n_steps
    if not 0 <= start < end <= n_steps:
        raise OptionError(
            f"steps {start} to {end} are no part of a piece of {n_steps} steps; give a start before its end."
        )
    part = _Inpainter(engine, threads, codes.astype(np.int64), condition, start, end, options, prompt)
    result = codes.astype(np.uint16)
    for done in part.write():
        if progress is not None:
            progress(done)
    result[:, start:end] = part.written
    return Inpainting(result, part.choices, part.seams(result))


class _Inpainter:
    """One inpainting under way. written: [K, end - start] when `write` is through."""

    def __init__(
        self, engine: Engine, threads: ThreadPool, codes: np.ndarray, condition: Condition, start: int, end: int,
        options: GenerateOptions, prompt: AudioPrompt | None = None,
    ) -> None:  # fmt: skip
        self.prompt = prompt
        sizes = engine.sizes
        self.engine, self.threads, self.judge = engine, threads, CandidateJudge(engine)
        self.codes, self.condition, self.options = codes, condition, options
        self.start, self.end, self.empty, self.rate = start, end, sizes["codebook_size"], float(condition.rate)
        self.first = max(0, start - sizes["wide"])  # from here on the decoder reads
        is_short = end - start <= SHORT
        tail, least = (TAIL // 2, LEAST_SHORT) if is_short else (TAIL, LEAST_CANDIDATES)
        self.last = min(condition.n_steps, end + tail)  # up to here candidates write and read
        n, slack = max(options.candidates, least), min(SLACK, (end - start) // 3) * (end < self.last)
        self.returns = end - np.linspace(0, slack, n).round().astype(int)  # of each candidate to the kept music
        self.choices: list[dict[str, Any]] = []
        self.written = codes[:, start:start]

    def write(self) -> Iterator[float]:
        """Write it; yields the share that is done, every half second of music."""
        given = self._given()
        total = self.last + len(self.codes) - 1
        choices = [*plan_choices(self.condition, self.start, self.end), total - 1]
        begin = int(self.returns.min()) if self.end < self.last else total
        lost, fluent = np.zeros(len(given)), self._read_kept(begin, total)
        audio = self.prompt or self._later_music()
        if audio is not None and not self.first:
            given = go_on_from(audio, given)
        prompt = self._prompt(self.first) if audio is None else audio
        decoder = BatchDecoder(self.engine, self.condition, self.options, 1, self.first, prompt, self.threads)
        level = self._level()
        step, borders = self.first, sorted({self.start, begin, *(choice + 1 for choice in choices)})
        while step < total:
            if step == self.start:
                decoder.fork_from(0, len(given))
            end = min(step + AT_ONCE, next(border for border in borders if border > step))
            tokens = given[: decoder.n, :, step:end]
            decoder.advance(tokens)
            if step >= begin:
                is_code = (tokens != FREE) & (tokens != self.empty)
                missing = fluent[:, step - begin : end - begin] - decoder.log_likelihood
                lost += np.where(is_code, missing, 0).sum((1, 2))
            step = end
            if step - 1 in choices:
                winner = self._choose(decoder, level, lost / REGRET if step == total else 0 * lost)
                decoder.fork_from(winner)
            yield (step - self.first) / (total - self.first)

    def seams(self, codes: np.ndarray) -> list[Seam]:
        """Ranks of the changes at both borders among those of the music around them; times in s of the piece."""
        low, high = max(0, self.start - AROUND), min(self.condition.n_steps, self.end + AROUND)
        borders = [step for step in (self.start, self.end) if 0 < step < self.condition.n_steps]
        wave = self.judge.decode(codes[:, low:high])
        found = find_seams(wave, self.judge.sample_rate, [(step - low) / self.rate for step in borders])
        return [replace(seam, time=step / self.rate) for seam, step in zip(found, borders, strict=True)]

    def _later_music(self) -> AudioPrompt | None:
        """The music after the part, where there is little before it and more of it after it."""
        n = min(READ, self.condition.n_steps - self.end)
        if self.first or n <= self.start:
            return None
        there, events = slice(self.end, self.end + n), self.condition.events
        curves = Events(events.rate, events.accents[there], events.energy[there], events.novelty[there])
        beats, downbeats = (times - self.end / self.rate for times in (self.condition.beats, self.condition.downbeats))
        axes = self.condition.semantics[self.end]
        condition = condition_of(curves, beats, downbeats, axes)
        energy = float(curves.energy.mean())
        return AudioPrompt("own", self.codes[:, there], condition, 0.0, axes, energy, "the piece itself", "")

    def _prompt(self, step: int) -> np.ndarray:
        """The piece's tokens [K] at the step before `step`."""
        if not step:
            return np.full(len(self.codes), self.empty)
        return delay_template(self.codes[:, :step], self.empty)[:, step - 1]

    def _given(self) -> np.ndarray:
        """Tokens of each candidate with FREE where it writes: [N, K, S]."""
        candidates = []
        for end in self.returns:
            free = self.codes.copy()
            free[:, self.start : end] = FREE
            candidates.append(delay_template(free, self.empty))
        return np.stack(candidates)

    def _read_kept(self, begin: int, total: int) -> np.ndarray:
        """Log-likelihood [K, n] of the old codes at the steps from `begin` on, read after what was there before."""
        first = max(0, begin - self.engine.sizes["narrow"])
        unguided = replace(self.options, guidance=1.0, event_guidance=1.0)
        decoder = BatchDecoder(self.engine, self.condition, unguided, 1, first, self._prompt(first))
        decoder.advance(delay_template(self.codes, self.empty)[:, first:total])
        return decoder.log_likelihood[0, :, begin - first :]

    def _level(self) -> float:
        """dB that an energy of ENERGY_MEAN has in the music around, as `steering.judge` wants it."""
        for low, high in ((self.start - HISTORY, self.start), (self.end, self.end + HISTORY)):
            low, high = max(0, low), min(self.condition.n_steps, high)
            if high - low >= HISTORY // 2:
                codes = self.codes[:, low:high]
                wave = self.judge.decode(codes)
                judgement = self.judge.judge(wave, codes, low, low, self.condition, FIRST_LEVEL)
                return FIRST_LEVEL + judgement.level_error
        return FIRST_LEVEL

    def _choose(self, decoder: BatchDecoder, level: float, lost: np.ndarray) -> int:
        """The candidate that goes on; keeps what it has written inside the part. lost: [N], taken off their values."""
        final = self.start + self.written.shape[1]
        judgements, values, written = [], [], decoder.codes()
        waves = self.threads.map(self.judge.decode, written)
        for wave, codes, back, cost in zip(waves, written, self.returns, lost, strict=True):
            new = codes[:, final - decoder.first :]
            judgement = self.judge.judge(wave, new, decoder.first, final, self.condition, level)
            reached = decoder.first + codes.shape[1]
            joins = [
                (step - decoder.first) / self.rate for step in (self.start, back) if final <= step < reached and step
            ]
            worst = max((seam.worst for seam in find_seams(wave, self.judge.sample_rate, joins)), default=0.0)
            judgements.append(judgement)
            values.append(judgement.value - cost - 5 * max(0.0, worst - STANDING_OUT))
        winner = int(np.argmax(values))
        codes = written[winner, :, final - decoder.first :][:, : self.end - final]
        self.choices.append(describe_choice(final / self.rate, judgements, values, winner))
        self.written = np.concatenate([self.written, codes], axis=1)
        decoder.drop_before(final + codes.shape[1] - HISTORY)
        return winner
