"""A part of a piece written again so that its borders cannot be heard.

The decoder first reads the music before the part, as far back as it sees, and then writes candidates. What comes after
the part is kept, and a causal model does not know it; so each candidate reads on into the kept music, and what that
music loses in likelihood against its own beginning says how abrupt the return is. Candidates return to the kept music
at different moments of the part's last half second, and the sound around both borders is measured (generate.seams).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from openvmas.condition import Condition
from openvmas.errors import OptionError
from openvmas.generate.audio_meter import describe
from openvmas.generate.batch_decoder import FREE, Pen, outline
from openvmas.generate.seams import Seam, find_seams
from openvmas.generate.steering import FIRST_LEVEL, plan_choices
from openvmas.settings import GenerateOptions

if TYPE_CHECKING:
    from openvmas.generate.composer import Composer

HISTORY = 150  # steps before a segment that are decoded with it: its border is heard against what came before
TAIL = 100  # kept steps after the part that candidates read
SLACK = 25  # steps before the end of the part in which a candidate may return to the kept music
AROUND = 400  # steps to each side among which the borders are ranked at last
LEAST_CANDIDATES = 6
REGRET = 30.0  # nats of kept music's likelihood lost that count as much as one unit of a judgement
STANDING_OUT = 0.8  # rank of a border's change from which it counts against a candidate


def rewrite(
    composer: Composer,
    codes: np.ndarray,
    condition: Condition,
    start: int,
    end: int,
    options: GenerateOptions,
    report: dict[str, Any] | None = None,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Codes [K, T] uint16 with other music in steps [start, end); all others are as they were.

    codes: [K, T] of the piece; condition: of the whole of it, with what the part shall be told now. The part's last
    half second may return to the old codes early, where that is heard least. progress: is called at each step with
    the share that is done; what it raises ends the work. report: is given choices and seams. Raises OptionError for a
    span that is empty or not inside the piece.
    """
    n_steps = condition.n_steps
    if not 0 <= start < end <= n_steps:
        raise OptionError(
            f"steps {start} to {end} are no part of a piece of {n_steps} steps; give a start before its end."
        )
    part = _Part(composer, codes.astype(np.int64), condition, start, end, options)
    result = codes.astype(np.uint16)
    for done in part.write():
        if progress is not None:
            progress(done)
    result[:, start:end] = part.written
    if report is not None:
        report["choices"] = part.notes
        report["seams"] = [asdict(seam) for seam in part.seams(result)]
    return result


class _Part:
    """One rewriting under way. written: [K, end - start] when `write` is through."""

    def __init__(
        self, composer: Composer, codes: np.ndarray, condition: Condition, start: int, end: int,
        options: GenerateOptions,
    ) -> None:  # fmt: skip
        sizes = composer.engine.sizes
        self.composer, self.codes, self.condition, self.options = composer, codes, condition, options
        self.start, self.end, self.empty, self.rate = start, end, sizes["codebook_size"], float(condition.rate)
        self.first = max(0, start - sizes["wide"])  # from here on the decoder reads
        self.last = min(condition.n_steps, end + TAIL)  # up to here candidates write and read
        n, slack = max(options.candidates, LEAST_CANDIDATES), min(SLACK, (end - start) // 3) * (end < self.last)
        self.returns = end - np.linspace(0, slack, n).round().astype(int)  # of each candidate to the kept music
        self.notes: list[dict[str, Any]] = []
        self.written = codes[:, start:start]

    def write(self) -> Iterator[float]:
        """Write it; yields the share that is done, after each step."""
        given = self._given()
        total = self.last + len(self.codes) - 1
        choices = [*plan_choices(self.condition, False, self.start, self.end), total - 1]
        lost, fluent = np.zeros(len(given)), self._read_kept(total)
        engine, before = self.composer.engine, self._before(self.first)
        pen = Pen(engine, self.condition, self.options, 1, before, self.first, self.composer.hands)
        level = self._level()
        for step in range(self.first, total):
            if step == self.start:
                pen.spread(0, len(given))
            pen.step(given[: pen.n, :, step])
            if step in fluent:
                is_code = (given[:, :, step] != FREE) & (given[:, :, step] != self.empty)
                lost += np.where(is_code, fluent[step] - pen.log_likelihood, 0).sum(1)
            if step in choices:
                winner = self._choose(pen, level, lost / REGRET if step == choices[-1] else 0 * lost)
                pen.spread(winner)
            yield (step + 1 - self.first) / (total - self.first)

    def seams(self, codes: np.ndarray) -> list[Seam]:
        """How much both borders stand out among the music around them, in s of the piece."""
        low, high = max(0, self.start - AROUND), min(self.condition.n_steps, self.end + AROUND)
        borders = [step for step in (self.start, self.end) if 0 < step < self.condition.n_steps]
        wave = self.composer.hear(codes[:, low:high])
        found = find_seams(wave, self._sample_rate, [(step - low) / self.rate for step in borders])
        return [replace(seam, time=step / self.rate) for seam, step in zip(found, borders, strict=True)]

    @property
    def _sample_rate(self) -> int:
        return int(self.composer.engine.sizes["sample_rate"])

    def _before(self, step: int) -> np.ndarray:
        """The piece's tokens [K] at the step before `step`."""
        return outline(self.codes[:, :step], self.empty)[:, step - 1] if step else np.full(len(self.codes), self.empty)

    def _given(self) -> np.ndarray:
        """Tokens of each candidate with FREE where it writes: [N, K, S]."""
        candidates = []
        for end in self.returns:
            free = self.codes.copy()
            free[:, self.start : end] = FREE
            candidates.append(outline(free, self.empty))
        return np.stack(candidates)

    def _read_kept(self, total: int) -> dict[int, np.ndarray]:
        """Log-likelihood [K] of the old codes at the steps around the return, read after what was there before."""
        begin = int(self.returns.min())
        if self.end == self.last:
            return {}
        first = max(0, begin - self.composer.engine.sizes["narrow"])
        plain = replace(self.options, guidance=1.0, event_guidance=1.0)
        pen = Pen(self.composer.engine, self.condition, plain, 1, self._before(first), first)
        tokens, found = outline(self.codes, self.empty), {}
        for step in range(first, total):
            pen.step(tokens[:, step])
            if step >= begin:
                found[step] = pen.log_likelihood[0]
        return found

    def _level(self) -> float:
        """dB that an energy of ENERGY_MEAN has in the music around, as `steering.judge` wants it."""
        for low, high in ((self.start - HISTORY, self.start), (self.end, self.end + HISTORY)):
            low, high = max(0, low), min(self.condition.n_steps, high)
            if high - low >= HISTORY // 2:
                codes = self.codes[:, low:high]
                wave = self.composer.hear(codes)
                return FIRST_LEVEL + self.composer.judge(wave, codes, low, low, self.condition, FIRST_LEVEL).level_error
        return FIRST_LEVEL

    def _choose(self, pen: Pen, level: float, lost: np.ndarray) -> int:
        """The candidate that goes on; keeps what it has written inside the part. lost: [N], taken off their values."""
        final = self.start + self.written.shape[1]
        found, values, written = [], [], pen.codes()
        waves = self.composer.hands.each(self.composer.hear, written)
        for wave, codes, back, cost in zip(waves, written, self.returns, lost, strict=True):
            judgement = self.composer.judge(wave, codes, pen.first, final, self.condition, level)
            reached = pen.first + codes.shape[1]
            joins = [(step - pen.first) / self.rate for step in (self.start, back) if final <= step < reached and step]
            worst = max((seam.worst for seam in find_seams(wave, self._sample_rate, joins)), default=0.0)
            found.append(judgement)
            values.append(judgement.value - cost - 5 * max(0.0, worst - STANDING_OUT))
        winner = int(np.argmax(values))
        codes = written[winner, :, final - pen.first :][:, : self.end - final]
        self.notes.append(describe(final / self.rate, found, values, winner))
        self.written = np.concatenate([self.written, codes], axis=1)
        pen.forget(final + codes.shape[1] - HISTORY)
        return winner
