"""The composer: a condition in, blocks of music out while they are being written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import soxr

from openvmas.condition import Condition
from openvmas.config import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.errors import ModelError
from openvmas.generate.engine import CodecStream, Engine
from openvmas.generate.pattern import undelay
from openvmas.generate.sampling import plan_branches, sample
from openvmas.generate.steering import FIRST_LEVEL, Judgement, is_stuck, judge, plan_choices
from openvmas.music.onsets import onset_strength
from openvmas.music.sync import energy_correlation, sync_z
from openvmas.pretrained import Weights
from openvmas.timeline import Clock

CHUNK = 50  # codec steps that are decoded at once
STUCK_STEPS = 50  # this many steps with almost no new code of the first codebook are a stuck loop
HISTORY = 64  # steps before a segment that are decoded with it; at least the codec's history
RELEASE = 2.5  # s, at most; over it the music dies away before the picture ends
SILENCE_DB = -50.0
SIDE_DB = -9.0  # level of the decorrelated side signal against the middle


@dataclass(frozen=True)
class Measures:
    """What the music sounds like. Shares are in [0, 1]; `fit` is sync z at the accents (0 is chance)."""

    level_db: float
    peak: float
    silent_share: float
    stuck_share: float
    fit: float
    energy_correlation: float

    @property
    def failures(self) -> list[str]:
        """Gates that are not passed, in words."""
        found = []
        if self.silent_share > 0.25 or self.level_db < -40:
            found.append("silent")
        if self.stuck_share > 0.25:
            found.append("stuck")
        if self.peak > 4:
            found.append("blown up")
        return found


class Composer:
    """Writes music with one model. Any length in constant memory; the same seed gives the same music."""

    def __init__(self, weights: Weights, threads: int = 1) -> None:
        self.engine = Engine(weights, threads)

    def stream(
        self, condition: Condition, options: GenerateOptions, report: dict[str, Any] | None = None
    ) -> Iterator[np.ndarray]:
        """Blocks [2, n] float32 at 48 kHz, together as long as the condition.

        Every few seconds the best of the candidates is kept (generate.steering), so blocks come while the rest is being
        written. report: is given, when all is written, what was chosen and why and the music's measures. Raises
        ModelError where the condition's clock is not the codec's.
        """
        if condition.rate != self.engine.frame_rate:
            raise ModelError(
                f"this model writes {self.engine.frame_rate} steps per second but the plan has {condition.rate}; "
                "make the plan again with this version."
            )
        notes: list[dict[str, Any]] = []
        written: list[np.ndarray] = []
        chunks = self.write(condition, options, notes)
        n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(Fraction(condition.n_steps) / condition.rate)
        ends = bool(np.isfinite(condition.time_left).all()) if condition.n_steps else False
        waves = self.decode(kept(chunks, written))
        yield from finish(waves, n_samples, self.engine.sizes["sample_rate"], ends)
        if report is not None and written:
            measures = self.measure(np.concatenate(written, axis=1), condition)
            report["candidates"] = options.candidates
            report["music"] = {**vars(measures), "failures": measures.failures}
            report["choices"] = notes
            report["reason"] = explain(measures, notes, options.candidates)

    def write(
        self, condition: Condition, options: GenerateOptions, notes: list[dict[str, Any]] | None = None
    ) -> Iterator[np.ndarray]:
        """Codes [K, n] as they become final; `notes` is given what was chosen and why."""
        engine, sizes = self.engine, self.engine.sizes
        n, n_codebooks, empty = options.candidates, sizes["n_codebooks"], sizes["codebook_size"]
        branches = plan_branches(options)
        told = [rows(engine.encode_condition(condition, b.use_events, b.use_meaning)) for b in branches]
        weights = np.array([b.weight for b in branches], np.float32)[:, None, None, None]
        generators = [np.random.default_rng((options.seed, i)) for i in range(n)]
        state = engine.start(n * len(branches))
        tokens = np.full((n, n_codebooks), empty, np.int64)
        log: list[np.ndarray] = []  # tokens [N, K] of the steps from `first` on
        first = final = 0  # final: codes before this time are given out
        total = condition.n_steps + n_codebooks - 1
        choices = {*plan_choices(condition, n == 1), total - 1}
        level = FIRST_LEVEL
        vectors = np.zeros((len(branches), sizes["width"]), np.float32)
        for step in range(total):
            if step < condition.n_steps:  # the last steps only finish the later codebooks
                vectors = np.stack([next(rows_of) for rows_of in told])
            logits = engine.step(state, np.tile(tokens, (len(branches), 1)), np.repeat(vectors, n, axis=0))
            tokens = sample((logits.reshape(len(branches), n, n_codebooks, -1) * weights).sum(0), options, generators)
            for k in range(n_codebooks):  # the delay pattern: codebook k starts k steps late and ends k steps late
                if not k <= step < condition.n_steps + k:
                    tokens[:, k] = empty
            log.append(tokens)
            if step not in choices:
                continue
            codes = undelay(np.stack(log, axis=2))  # [N, K, times from `first` on]
            winner = 0
            if n > 1:
                found = [self.judge(piece, first, final, condition, level) for piece in codes]
                winner = max(range(n), key=lambda i: found[i].value)
                level += 0.3 * (found[winner].level_error if not found[winner].failures else 0.0)
                if notes is not None:
                    notes.append(describe(final, condition, found, winner))
                log = [np.repeat(row[winner : winner + 1], n, axis=0) for row in log]
                tokens = log[-1]
                state.narrow.spread(winner, n)
                state.wide.spread(winner, n)
            yield codes[winner, :, final - first :]
            final = first + codes.shape[2]
            drop = max(0, final - HISTORY - first)
            log, first = log[drop:], first + drop

    def judge(self, codes: np.ndarray, first: int, final: int, condition: Condition, level: float) -> Judgement:
        """Decode a candidate's codes [K, n], which begin at step `first`, and judge what comes after step `final`."""
        wave = CodecStream(self.engine).push(codes, is_last=True)
        rate = float(condition.rate)
        fresh = codes[0, final - first :]
        return judge(wave, fresh, self.engine.sizes["sample_rate"], final / rate, first / rate, condition, level)

    def decode(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Chunks of codes [K, n] → chunks of mono wave at the codec's rate."""
        stream = CodecStream(self.engine)
        for chunk in chunks:
            wave = stream.push(chunk)
            if len(wave):
                yield wave
        yield stream.push(np.zeros((self.engine.sizes["n_codebooks"], 0), np.int64), is_last=True)

    def measure(self, codes: np.ndarray, condition: Condition) -> Measures:
        """Decode codes [K, T] in chunks and measure them without keeping the sound."""
        rate = self.engine.sizes["sample_rate"]
        half_seconds, strengths, peak = [], [], 0.0
        left = np.zeros(0, np.float32)
        block = 8 * rate  # long enough that the edges of the onset curve hardly count
        pieces = (codes[:, i : i + CHUNK].astype(np.int64) for i in range(0, codes.shape[1], CHUNK))
        for wave in [*self.decode(pieces), None]:
            left = left if wave is None else np.concatenate([left, wave])
            while len(left) >= block or (wave is None and len(left)):
                part, left = left[:block], left[block:]
                peak = max(peak, float(np.abs(part).max()))
                squares = part[: len(part) // (rate // 2) * (rate // 2)].reshape(-1, rate // 2).astype(np.float64) ** 2
                half_seconds.append(squares.mean(1))
                strengths.append(onset_strength(part, rate))
        power = np.concatenate(half_seconds) + 1e-10
        level = 10 * np.log10(power)
        asked = condition.events.energy[:: int(condition.rate / 2)][: len(level)]
        times = np.flatnonzero(condition.events.accents > 0) / float(condition.rate)
        first = codes[0].astype(np.int64)
        windows = [first[i : i + STUCK_STEPS] for i in range(0, max(1, len(first) - STUCK_STEPS + 1), STUCK_STEPS)]
        return Measures(
            level_db=float(10 * np.log10(power.mean())),
            peak=peak,
            silent_share=float(np.mean(level < SILENCE_DB)),
            stuck_share=float(np.mean([is_stuck(window) for window in windows])),
            fit=sync_z(np.concatenate(strengths), times, condition.n_steps / condition.rate).z,
            energy_correlation=energy_correlation(asked, level),
        )


def rows(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows of chunks, one by one."""
    for chunk in chunks:
        yield from chunk


def kept(chunks: Iterator[np.ndarray], written: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The same chunks, each also appended to `written` as 16-bit codes."""
    for chunk in chunks:
        written.append(chunk.astype(np.uint16))
        yield chunk


def describe(final: int, condition: Condition, found: list[Judgement], winner: int) -> dict[str, Any]:
    """One choice, for the report."""
    best = found[winner]
    return {
        "time": round(final / float(condition.rate), 2),
        "chosen": winner,
        "values": [round(judgement.value, 2) for judgement in found],
        "accents": round(best.accents, 2),
        "level_error": round(best.level_error, 1),
        "failures": [list(judgement.failures) for judgement in found],
    }


def explain(measures: Measures, notes: list[dict[str, Any]], candidates: int) -> str:
    """One sentence on the choices."""
    heard = f"sync z {measures.fit:.1f}, energy correlation {measures.energy_correlation:.2f}"
    if measures.failures:
        heard += f"; gates not passed: {', '.join(measures.failures)}"
    if not notes:
        return f"one candidate, nothing to choose from: {heard}."
    failed = sum(bool(f) for note in notes for f in note["failures"])
    return (
        f"{len(notes)} times the best of {candidates} continuations by accents, level and gates was kept "
        f"({failed} of {len(notes) * candidates} failed a gate): {heard}."
    )


def finish(waves: Iterator[np.ndarray], n_samples: int, sample_rate: int, ends: bool) -> Iterator[np.ndarray]:
    """Mono wave at the codec's rate → stereo at 48 kHz, cut to n_samples, dying away at the end if it `ends`."""
    resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE_OUT, 1, dtype="float32", quality="HQ")
    width = Widener()
    release = min(round(RELEASE * SAMPLE_RATE_OUT), n_samples // 4)
    written = 0
    last: np.ndarray | None = None

    def shape(mono: np.ndarray) -> np.ndarray:
        nonlocal written
        mono = mono[: n_samples - written]
        if ends:
            left = n_samples - written - np.arange(len(mono))
            mono = mono * np.sin(0.5 * np.pi * np.clip(left / release, 0, 1)) ** 2
        written += len(mono)
        return width.push(mono.astype(np.float32))

    for wave in waves:
        if last is not None and len(block := resampler.resample_chunk(last)):
            yield shape(block)
        last = wave
    tail = resampler.resample_chunk(last if last is not None else np.zeros(0, np.float32), last=True)
    if len(tail):
        yield shape(tail)


class Widener:
    """Mono to stereo: a quiet side signal of noise-like echoes within 40 ms, next to none below 200 Hz.

    Left plus right is twice the mono wave exactly, so nothing is lost on one loudspeaker. The idea is decorrelation by
    velvet noise (Alary et al. 2017); the codec is mono and this is said in the model card.
    """

    def __init__(self) -> None:
        length, shift = round(0.06 * SAMPLE_RATE_OUT), round(0.01 * SAMPLE_RATE_OUT)
        n = round(0.025 * SAMPLE_RATE_OUT)
        noise = np.random.default_rng(7).standard_normal(n) * np.exp(-np.arange(n) / (0.3 * n)) * np.hanning(2 * n)[n:]
        frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_OUT)
        spectrum = np.fft.rfft(noise, length) * np.clip((frequency - 150) / 200, 0, 1)
        kernel = np.roll(np.fft.irfft(spectrum, length), shift)  # the filter rings before the noise, too
        self._kernel = kernel / np.linalg.norm(kernel) * 10 ** (SIDE_DB / 20)
        self._past = np.zeros(length - 1)

    def push(self, mono: np.ndarray) -> np.ndarray:
        """[n] → [2, n] float32."""
        if not len(mono):
            return np.zeros((2, 0), np.float32)
        joined = np.concatenate([self._past, mono])
        size = 1 << (len(joined) + len(self._kernel)).bit_length()
        side = np.fft.irfft(np.fft.rfft(joined, size) * np.fft.rfft(self._kernel, size), size)
        side = side[len(self._past) : len(joined)]
        self._past = joined[len(joined) - len(self._past) :]
        return np.stack([mono + side, mono - side]).astype(np.float32)
