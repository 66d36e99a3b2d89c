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
from openvmas.generate.sampling import plan_branches, sample
from openvmas.music.onsets import onset_strength
from openvmas.music.sync import energy_correlation, sync_z
from openvmas.pretrained import Weights
from openvmas.timeline import Clock

CHUNK = 50  # codec steps that are decoded at once
STUCK_STEPS = 50  # this many steps with almost no new code of the first codebook are a stuck loop
STUCK_CODES = 3
RELEASE = 2.5  # s, at most; over it the music dies away before the picture ends
SILENCE_DB = -50.0
SIDE_DB = -9.0  # level of the decorrelated side signal against the middle


@dataclass(frozen=True)
class Measures:
    """What one candidate sounds like. Shares are in [0, 1]; `fit` is sync z at the accents (0 is chance)."""

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

    @property
    def rank(self) -> tuple[bool, float]:
        """Greater is better: passing the gates first, then the fit to accents and energy."""
        return not self.failures, self.fit + 4 * self.energy_correlation - 10 * self.silent_share


class Composer:
    """Writes music with one model. Any length in constant memory; the same seed gives the same music."""

    def __init__(self, weights: Weights, threads: int = 1) -> None:
        self.engine = Engine(weights, threads)

    def stream(
        self, condition: Condition, options: GenerateOptions, report: dict[str, Any] | None = None
    ) -> Iterator[np.ndarray]:
        """Blocks [2, n] float32 at 48 kHz, together as long as the condition.

        With one candidate they come while it is being written; with several, all are written first and the best is
        streamed. report: is given the candidates' measures, which was chosen and why. Raises ModelError where the
        condition's clock is not the codec's.
        """
        if condition.rate != self.engine.frame_rate:
            raise ModelError(
                f"this model writes {self.engine.frame_rate} steps per second but the plan has {condition.rate}; "
                "make the plan again with this version."
            )
        chunks = self.write(condition, options)
        chosen = 0
        if options.candidates > 1:
            codes = np.concatenate([chunk.astype(np.uint16) for chunk in chunks], axis=2)
            measures = [self.measure(piece, condition) for piece in codes]
            chosen = max(range(len(measures)), key=lambda i: measures[i].rank)
            if report is not None:
                report["candidates"] = [{**vars(m), "failures": m.failures} for m in measures]
                report["chosen"] = chosen
                report["reason"] = explain(measures, chosen)
            chunks = (codes[:, :, i : i + CHUNK].astype(np.int64) for i in range(0, codes.shape[2], CHUNK))
        n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(Fraction(condition.n_steps) / condition.rate)
        ends = bool(np.isfinite(condition.time_left).all()) if condition.n_steps else False
        yield from finish(
            self.decode(chunk[chosen] for chunk in chunks), n_samples, self.engine.sizes["sample_rate"], ends
        )

    def write(self, condition: Condition, options: GenerateOptions) -> Iterator[np.ndarray]:
        """Codes of all candidates, in chunks [N, K, n] of CHUNK steps."""
        engine, sizes = self.engine, self.engine.sizes
        n, n_codebooks, empty = options.candidates, sizes["n_codebooks"], sizes["codebook_size"]
        branches = plan_branches(options)
        told = [rows(engine.encode_condition(condition, b.use_events, b.use_meaning)) for b in branches]
        weights = np.array([b.weight for b in branches], np.float32)[:, None, None, None]
        generators = [np.random.default_rng((options.seed, i)) for i in range(n)]
        state = engine.start(n * len(branches))
        tokens = np.full((n, n_codebooks), empty, np.int64)
        heat = np.ones(n)
        recent: list[np.ndarray] = []
        pending: list[np.ndarray] = []  # tokens whose codes are not complete yet
        done: list[np.ndarray] = []
        vectors = np.zeros((len(branches), sizes["width"]), np.float32)
        for step in range(condition.n_steps + n_codebooks - 1):
            if step < condition.n_steps:  # the last steps only finish the later codebooks
                vectors = np.stack([next(rows_of) for rows_of in told])
            logits = engine.step(state, np.tile(tokens, (len(branches), 1)), np.repeat(vectors, n, axis=0))
            guided = (logits.reshape(len(branches), n, n_codebooks, -1) * weights).sum(0)
            tokens = sample(guided / heat[:, None, None], options, generators)
            for k in range(n_codebooks):  # the delay pattern: codebook k starts k steps late and ends k steps late
                if not k <= step < condition.n_steps + k:
                    tokens[:, k] = empty
            recent = [*recent[-STUCK_STEPS + 1 :], tokens[:, 0]]
            heat = np.where(is_stuck(np.stack(recent, axis=1)), 1.3, 1.0)
            pending.append(tokens)
            if len(pending) == n_codebooks:
                done.append(np.stack([pending[k][:, k] for k in range(n_codebooks)], axis=1))
                pending.pop(0)
            if len(done) == CHUNK:
                yield np.stack(done, axis=2)
                done = []
        if done:
            yield np.stack(done, axis=2)

    def decode(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Chunks of codes [K, n] → chunks of mono wave at the codec's rate."""
        stream = CodecStream(self.engine)
        for chunk in chunks:
            wave = stream.push(chunk)
            if len(wave):
                yield wave
        yield stream.push(np.zeros((self.engine.sizes["n_codebooks"], 0), np.int64), is_last=True)

    def measure(self, codes: np.ndarray, condition: Condition) -> Measures:
        """Decode a candidate [K, T] in chunks and measure it without keeping its sound."""
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
            stuck_share=float(np.mean([is_stuck(w[None])[0] for w in windows])),
            fit=sync_z(np.concatenate(strengths), times, condition.n_steps / condition.rate).z,
            energy_correlation=energy_correlation(asked, level),
        )


def rows(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows of chunks, one by one."""
    for chunk in chunks:
        yield from chunk


def is_stuck(codes: np.ndarray) -> np.ndarray:
    """Whether the last codes [N, n] of the first codebook hardly change: [N] bool."""
    if codes.shape[1] < STUCK_STEPS:
        return np.zeros(len(codes), bool)
    return np.array([len(np.unique(row[-STUCK_STEPS:])) <= STUCK_CODES for row in codes])


def explain(measures: list[Measures], chosen: int) -> str:
    """One sentence on the choice."""
    best = measures[chosen]
    if best.failures:
        return f"no candidate passed all gates; candidate {chosen} is the least bad ({', '.join(best.failures)})."
    failed = sum(bool(m.failures) for m in measures)
    return (
        f"candidate {chosen} of {len(measures)} passed the gates ({failed} did not) and fits best: "
        f"sync z {best.fit:.1f}, energy correlation {best.energy_correlation:.2f}."
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
