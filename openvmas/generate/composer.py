"""The composer that writes codec tokens with the exported decoder, and music out of them block by block."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import soxr

from openvmas.codec.stream import CodecStream
from openvmas.condition import Condition
from openvmas.errors import ModelError
from openvmas.generate.audio_prompts import AudioPrompt, PromptBank, read_recording
from openvmas.generate.batch_decoder import FREE, BatchDecoder, Engine, delay_template
from openvmas.generate.piece import Composer, Piece
from openvmas.generate.steering import FIRST_LEVEL, AudioMeter, CandidateJudge, describe_choice, explain, plan_choices
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.processes.threads import ThreadPool
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.timeline import Clock

CHUNK = 75  # codec steps that are decoded at once, whatever the choices were: the same codes give the same sound
FIRST_CHUNKS = (64, *16 * (25,))  # at the beginning somebody waits: a second of sound, then all that is there by then
HISTORY = 40  # steps before a segment that are decoded with it; at least the codec's history
RELEASE = 2.5  # s, at most; over it the music dies away before the picture ends
SIDE_DB = -9.0  # level of the decorrelated side signal against the middle


@dataclass(frozen=True)
class Segment:
    """Codes [K, n] that are final, and how they were chosen among the candidates (None if there was but one)."""

    codes: np.ndarray
    choice: dict[str, Any] | None


class ModelComposer(Composer):
    """Writes music with one model. Any length in constant memory; the same seed gives the same music."""

    def __init__(self, weights: Weights, threads: int | None = None) -> None:
        """threads: as in `ThreadPool`; the music does not depend on them."""
        self.weights, self.engine, self.threads = weights, Engine(weights), ThreadPool(threads)
        self.judge = CandidateJudge(self.engine)
        self._recordings: dict[tuple[str, float | None], AudioPrompt] = {}

    @cached_property
    def bank(self) -> PromptBank | None:
        """The audio prompts that came with the model."""
        return PromptBank(self.weights.file("prompts")) if "prompts" in self.weights.files else None

    def prepare(self, options: GenerateOptions) -> None:
        """Read what options name. Raises InputError."""
        if options.like is not None and (options.like, options.like_at) not in self._recordings:
            self._recordings[options.like, options.like_at] = read_recording(
                options.like, options.like_at, self.weights
            )

    def prompt_for(self, condition: Condition, options: GenerateOptions) -> AudioPrompt | None:
        """The audio prompt that a piece begins from, if any: the user's own, or one that fits. Raises InputError."""
        if options.no_prompt or not condition.n_steps:
            return None
        if options.like is not None:
            self.prepare(options)
            return self._recordings[options.like, options.like_at]
        return self.bank.of(condition, options.seed) if self.bank is not None else None

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """A piece of stereo blocks; they come while the rest is being written.

        Every few seconds the best of the candidates is kept (generate.steering). Its codes are what `inpaint` and
        `render` take. Raises ModelError where the condition's clock is not the codec's.
        """
        self.check(condition)
        piece = Piece()
        piece.blocks = self._compose(piece, condition, options)
        return piece

    def _compose(self, piece: Piece, condition: Condition, options: GenerateOptions) -> Iterator[np.ndarray]:
        choices: list[dict[str, Any]] = []

        def noted(segments: Iterator[Segment]) -> Iterator[np.ndarray]:
            for segment in segments:
                if segment.choice is not None:
                    choices.append(segment.choice)
                yield segment.codes

        meter = AudioMeter(self.judge.sample_rate)
        audio = self.prompt_for(condition, options)
        yield from self._sound(piece.keep_codes(noted(self.write(condition, options, audio))), condition, meter)
        if piece.codes is not None:
            if audio is not None:
                piece.report["audio_prompt"] = audio.describe()
            measures = meter.measure(piece.codes, condition)
            piece.report["candidates"] = options.candidates
            piece.report["music"] = {**vars(measures), "failures": measures.failures}
            piece.report["choices"] = choices
            piece.report["reason"] = explain(measures, choices, options.candidates)

    def render(self, codes: np.ndarray, condition: Condition) -> Piece:
        """The piece that `compose` gave, or would give, for codes [K, T] of the condition. Raises ModelError."""
        self.check(condition, codes)
        return Piece(self._sound(iter([codes]), condition), codes=codes)

    def inpaint(
        self,
        codes: np.ndarray | None,
        start: int,
        end: int,
        condition: Condition,
        plan: ScorePlan | None,
        options: GenerateOptions,
        progress: Callable[[float], None] | None = None,
    ) -> Piece:
        """A piece with other music in steps [start, end): see `generate.inpainting`. Raises ModelError, OptionError."""
        from openvmas.generate.inpainting import inpaint  # whoever only scores does not load it

        if codes is None:
            raise ModelError("this piece has no codes; compose it again.")
        self.check(condition, codes)
        made = inpaint(self.engine, self.threads, codes, condition, start, end, options, progress)
        piece = self.render(made.codes, condition)
        piece.report |= {"choices": made.choices, "seams": [vars(seam) for seam in made.seams]}
        return piece

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
        self, condition: Condition, options: GenerateOptions, audio: AudioPrompt | None = None
    ) -> Iterator[Segment]:
        """Codes as they become final; audio: what is read first and kept in view."""
        sizes = self.engine.sizes
        n, n_codebooks, empty = options.candidates, sizes["n_codebooks"], sizes["codebook_size"]
        given = delay_template(np.full((n_codebooks, condition.n_steps), FREE), empty)
        if audio is not None:
            for k in range(1, n_codebooks):
                given[k, :k] = audio.codes[k, -k:]  # the prompt's last codes are due after its last step
        # A single piece's steps are too short to share out.
        threads = self.threads if n > 1 else None
        nothing = np.full(n_codebooks, empty)
        decoder = BatchDecoder(self.engine, condition, options, n, nothing, threads=threads, audio=audio)
        total = given.shape[1]
        choices = {*plan_choices(condition, n == 1), total - 1}
        final, level = 0, FIRST_LEVEL  # codes before step `final` are given out
        for step in range(total):
            decoder.step(given[:, step])
            if step not in choices:
                continue
            codes, winner, choice = decoder.codes(), 0, None
            if n > 1:
                waves = self.threads.map(self.judge.decode, codes)
                judgements = [
                    self.judge.judge(wave, rows, decoder.first, final, condition, level)
                    for wave, rows in zip(waves, codes, strict=True)
                ]
                winner = max(range(n), key=lambda i: judgements[i].value)
                level += 0.3 * (judgements[winner].level_error if not judgements[winner].failures else 0.0)
                values = [judgement.value for judgement in judgements]
                choice = describe_choice(final / float(condition.rate), judgements, values, winner)
                decoder.fork_from(winner)
            yield Segment(codes[winner, :, final - decoder.first :], choice)
            final = decoder.first + codes.shape[2]
            decoder.drop_before(final - HISTORY)

    def _sound(
        self, chunks: Iterator[np.ndarray], condition: Condition, meter: AudioMeter | None = None
    ) -> Iterator[np.ndarray]:
        """Blocks [2, n] at 48 kHz, together as long as the condition, of codes [K, n] as they come."""
        n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(Fraction(condition.n_steps) / condition.rate)
        ends = bool(np.isfinite(condition.time_left).all()) if condition.n_steps else False
        waves = self._decode(rechunk(chunks, CHUNK, FIRST_CHUNKS))
        yield from finish(metered(waves, meter), n_samples, self.judge.sample_rate, ends)

    def _decode(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Chunks of mono wave at the codec's rate, of chunks of codes [K, n]."""
        stream = CodecStream(self.engine)
        for chunk in chunks:
            wave = stream.push(chunk.astype(np.int64))
            if len(wave):
                yield wave
        yield stream.push(np.zeros((self.engine.sizes["n_codebooks"], 0), np.int64), is_last=True)


def rechunk(chunks: Iterator[np.ndarray], size: int, first: tuple[int, ...] = ()) -> Iterator[np.ndarray]:
    """Codes regrouped in chunks [K, size], the first ones of the sizes that are given; the last is shorter."""
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


def metered(waves: Iterator[np.ndarray], meter: AudioMeter | None) -> Iterator[np.ndarray]:
    """Pass waves on, each also measured by the meter."""
    for wave in waves:
        if meter is not None:
            meter.push(wave)
        yield wave


def finish(waves: Iterator[np.ndarray], n_samples: int, sample_rate: int, ends: bool) -> Iterator[np.ndarray]:
    """Mono wave at the codec's rate → stereo at 48 kHz, cut to n_samples, dying away at the end if it `ends`."""
    resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE_OUT, 1, dtype="float32", quality="HQ")
    width = Widener()
    release = min(round(RELEASE * SAMPLE_RATE_OUT), n_samples // 4)
    written = 0

    def shape(mono: np.ndarray) -> np.ndarray:
        nonlocal written
        mono = mono[: n_samples - written]
        if ends:
            left = n_samples - written - np.arange(len(mono))
            mono = mono * np.sin(0.5 * np.pi * np.clip(left / release, 0, 1)) ** 2
        written += len(mono)
        return width.push(mono.astype(np.float32))

    for wave in waves:
        if len(block := resampler.resample_chunk(wave)):
            yield shape(block)
    tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
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
