"""The composer that writes codec tokens with the exported decoder, and music out of them block by block."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import soxr

from openvmas.codec.stream import CodecStream
from openvmas.condition import Condition
from openvmas.errors import ModelError
from openvmas.generate.audio_prompts import AudioPrompt, Cue, PromptBank, follow, given_cues
from openvmas.generate.batch_decoder import FREE, BatchDecoder, Engine, delay_template, go_on_from
from openvmas.generate.piece import Composer, Notes, Piece
from openvmas.generate.steering import (
    FIRST_LEVEL,
    AudioMeter,
    CandidateJudge,
    Judgement,
    describe_choice,
    explain,
    plan_choices,
)
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.processes.threads import ThreadPool
from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT, GenerateOptions
from openvmas.timeline import Clock

NOTHING = np.zeros(0, np.float32)
HISTORY = 40  # steps of sound before a segment that are measured with it
CUE_EARLY = 25  # steps before a section's beginning at which its audio prompt may come into view
RELEASE = 2.5  # s, at most; over it the music dies away before the picture ends
PART_MARGIN = 8  # steps around a part for overlaps, resampling and the stereo side, each of which reaches 4 at most
SIDE_DB = -9.0  # level of the decorrelated side signal against the middle


@dataclass(frozen=True)
class Segment:
    """Codes [K, n] that are final, their sound as far as it is, and how they were chosen among the candidates, if so.

    wave: [L] at the codec's rate; it ends a little before the codes do, except at the end of the piece.
    """

    codes: np.ndarray
    wave: np.ndarray
    choice: dict[str, Any] | None


@dataclass(frozen=True)
class Sound:
    """The sound of a piece as far as it has come, at the codec's rate.

    wave: what the last codes finished; past: what lies before it, HISTORY steps at most, and n_before the samples
    before that.
    """

    stream: CodecStream
    past: np.ndarray
    wave: np.ndarray
    n_before: int = 0

    def go_on(self, codes: np.ndarray, is_last: bool, n_past: int) -> Sound:
        """The sound after more codes [K, n], with n_past samples kept before theirs; this one stays as it is."""
        stream, joined = self.stream.fork(), np.concatenate([self.past, self.wave])
        past = joined[max(0, len(joined) - n_past) :]
        wave = stream.push(codes.astype(np.int64), is_last)
        return Sound(stream, past, wave, self.n_before + len(joined) - len(past))

    def recent(self) -> np.ndarray:
        """past, wave and what would follow if no more codes came: [L]."""
        return np.concatenate([self.past, self.wave, self.stream.rest()])


class ModelComposer(Composer):
    """Writes music with one model. Any length in constant memory; the same seed gives the same music."""

    def __init__(self, weights: Weights, threads: int | None = None) -> None:
        """threads: as in `ThreadPool`; the music does not depend on them."""
        self.weights, self.engine, self.threads = weights, Engine(weights), ThreadPool(threads)
        self.judge = CandidateJudge(self.engine)
        self._recordings: dict[tuple[str, float | None], AudioPrompt] = {}

    @functools.cached_property
    def bank(self) -> PromptBank | None:
        """The audio prompts that came with the model."""
        return PromptBank(self.weights.file("prompts")) if "prompts" in self.weights.files else None

    def prepare(self, options: GenerateOptions, plan: ScorePlan | None = None) -> None:
        """Read the recordings that options and plan name. Raises InputError."""
        sections = () if plan is None else plan.sections
        named = [(options.like, options.like_at), *((section.like, section.like_at) for section in sections)]
        for path, at in named:
            if path is not None and (path, at) not in self._recordings:
                from openvmas.generate.recordings import read_recording  # whoever gives none does not load it

                self._recordings[path, at] = read_recording(path, at, self.weights)

    def cues_for(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> list[Cue]:
        """The audio prompts that a piece begins from and goes on with: the user's own, or such as fit.

        Raises InputError.
        """
        if options.no_prompt or not condition.n_steps:
            return []
        self.prepare(options, plan)
        named = [] if plan is None else [(section.like, section.like_at) for section in plan.sections]
        given = [None if path is None else self._recordings[path, at] for path, at in named]
        whole = None if options.like is None else self._recordings[options.like, options.like_at]
        if plan is not None and self.bank is not None and whole is None:
            return self.bank.cues(plan, condition, options.seed, given)
        if plan is not None and any(given):
            return given_cues(plan, [prompt or whole for prompt in given])
        if whole is not None:
            return [Cue(0, whole)]
        return [] if self.bank is None else [Cue(0, self.bank.of(condition, options.seed))]

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """A piece of stereo blocks; they come while the rest is being written.

        Every few seconds the best of the candidates is kept (generate.steering). Its codes are what `inpaint` and
        `render` take. Raises ModelError where the condition's clock is not the codec's.
        """
        self.check(condition)
        piece, cues = Piece(), self.cues_for(condition, plan, options)
        piece.blocks = self._compose(piece, follow(condition, plan, cues), cues, options)
        return piece

    def _compose(
        self, piece: Piece, condition: Condition, cues: list[Cue], options: GenerateOptions
    ) -> Iterator[np.ndarray]:
        choices: list[dict[str, Any]] = []
        meter = AudioMeter(self.judge.sample_rate)

        def waves() -> Iterator[np.ndarray]:
            for segment in self.write(condition, options, cues):
                piece.keep(segment.codes)
                meter.push(segment.wave)
                if segment.choice is not None:
                    choices.append(segment.choice)
                yield segment.wave

        yield from finish(waves(), condition, self.judge.sample_rate)
        if piece.codes is not None:
            piece.report["audio_prompts"] = [cue.describe() for cue in cues]
            measures = meter.measure(piece.codes, condition)
            piece.report["candidates"] = options.candidates
            piece.report["music"] = {**vars(measures), "failures": measures.failures}
            piece.report["choices"] = choices
            piece.report["reason"] = " ".join([explain(measures, choices, options.candidates), *map(tell, cues)])

    def render(self, codes: np.ndarray, condition: Condition) -> Piece:
        """The piece that `compose` gave, or would give, for codes [K, T] of the condition. Raises ModelError."""
        self.check(condition, codes)

        def waves() -> Iterator[np.ndarray]:
            stream = CodecStream(self.engine)
            for first, final in itertools.pairwise(self._borders(condition)):
                yield stream.push(codes[:, first:final].astype(np.int64), final == condition.n_steps)

        return Piece(finish(waves(), condition, self.judge.sample_rate), codes=codes)

    def inpaint(
        self,
        codes: np.ndarray | None,
        start: int,
        end: int,
        condition: Condition,
        plan: ScorePlan | None,
        options: GenerateOptions,
        progress: Callable[[float], None] | None = None,
        notes: Notes | None = None,
    ) -> Piece:
        """A piece with other music in steps [start, end): see `generate.inpainting`. Raises ModelError, OptionError."""
        from openvmas.generate.inpainting import inpaint  # whoever only scores does not load it

        if codes is None:
            raise ModelError("this piece has no codes; compose it again.")
        self.check(condition, codes)
        self.prepare(options)
        prompt = None if options.like is None else self._recordings[options.like, options.like_at]
        made = inpaint(self.engine, self.threads, codes, condition, start, end, options, progress, prompt)
        piece = self.render(made.codes, condition)
        piece.report |= {"choices": made.choices, "seams": [vars(seam) for seam in made.seams]}
        if prompt is not None:
            piece.report["audio_prompts"] = [Cue(start, prompt).describe()]
        return piece

    def render_part(self, piece: Piece, condition: Condition, start: int, end: int) -> tuple[int, np.ndarray]:
        """The sound that other codes in steps [start, end) may change: its first sample, and [2, n] as `render` has it.

        Around it all is as it was, so that a part of a long piece costs what the part does. Raises ModelError.
        """
        codes = piece.codes
        if codes is None:
            raise ModelError("this piece has no codes; compose it again.")
        self.check(condition, codes)
        sizes, n = self.engine.sizes, condition.n_steps
        low = max(0, start - sizes["codec_look_ahead"] - PART_MARGIN)
        high = min(n, end + sizes["codec_history"] + PART_MARGIN)
        first = max(0, low - sizes["codec_history"] - PART_MARGIN)
        last = min(n, high + sizes["codec_look_ahead"] + PART_MARGIN)
        wave = CodecStream(self.engine).push(codes[:, first:last].astype(np.int64), is_last=True)
        sound = np.concatenate([*finish(iter([wave]), condition, self.judge.sample_rate, first)], axis=1)
        begin, stop = (round(step * SAMPLE_RATE_OUT / float(condition.rate)) for step in (low, high))
        before = round(first * SAMPLE_RATE_OUT / float(condition.rate))
        return begin, sound[:, begin - before : stop - before if high < n else None]

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

    def _borders(self, condition: Condition) -> list[int]:
        """Steps at which one segment ends and the next begins, with beginning and end of the piece.

        Whatever was chosen, sound is decoded from one to the next, so that the same codes give the same sound.
        """
        behind = self.engine.sizes["n_codebooks"] - 1  # steps until the last codebook of a step is written
        return [0, *(choice + 1 - behind for choice in plan_choices(condition)), condition.n_steps]

    def write(self, condition: Condition, options: GenerateOptions, cues: Sequence[Cue] = ()) -> Iterator[Segment]:
        """Codes and sound as they become final; cues: audio prompts, of which the first is read first."""
        n, n_codebooks = options.candidates, self.engine.sizes["n_codebooks"]
        given = delay_template(np.full((n_codebooks, condition.n_steps), FREE), self.engine.sizes["codebook_size"])
        audio, later = cues[0].prompt if cues else None, list(cues[1:])
        if audio is not None:
            given = go_on_from(audio, given)
        decoder = BatchDecoder(self.engine, condition, options, n, prompt=audio, threads=self.threads)
        sound, level, step = Sound(CodecStream(self.engine), NOTHING, NOTHING), FIRST_LEVEL, 0
        for first, final in itertools.pairwise(self._borders(condition)):
            if later and later[0].step <= first + CUE_EARLY:
                decoder.change_prompt(later.pop(0).prompt)
            decoder.advance(given[:, step : final + n_codebooks - 1])
            step, codes = final + n_codebooks - 1, decoder.codes()
            hear = functools.partial(self._hear, sound, first, final, condition, level if n > 1 else None)
            found, winner, choice = self.threads.map(hear, codes), 0, None
            judgements = [judgement for _, judgement in found if judgement is not None]
            if judgements:
                values = [judgement.value for judgement in judgements]
                winner = int(np.argmax(values))
                level += 0.3 * (judgements[winner].level_error if not judgements[winner].failures else 0.0)
                choice = describe_choice(first / float(condition.rate), judgements, values, winner)
                decoder.fork_from(winner)
            decoder.drop_before(final)
            sound = found[winner][0]
            yield Segment(codes[winner], sound.wave, choice)

    def _hear(
        self, sound: Sound, first: int, final: int, condition: Condition, level: float | None, codes: np.ndarray
    ) -> tuple[Sound, Judgement | None]:
        """The sound after codes [K, n] of steps first to final, and what it is worth; None where level is."""
        hop = self.engine.sizes["hop_length"]
        now = sound.go_on(codes, final == condition.n_steps, HISTORY * hop)
        if level is None:
            return now, None
        return now, self.judge.judge(now.recent(), codes, now.n_before / hop, first, condition, level)


def tell(cue: Cue) -> str:
    """One sentence on an audio prompt."""
    chosen = f", chosen for {', '.join(cue.reasons)}" if cue.reasons else ""
    licence = f" ({cue.prompt.licence})" if cue.prompt.licence else ""
    begins = "It begins" if not cue.step else f"From {cue.step / float(CONTROL_RATE):.1f} s on it goes on"
    return f"{begins} from an audio prompt, {cue.prompt.source}{licence}{chosen}."


def finish(waves: Iterator[np.ndarray], condition: Condition, sample_rate: int, start: int = 0) -> Iterator[np.ndarray]:
    """Mono wave at the codec's rate → stereo [2, n] at 48 kHz, together as long as the condition.

    It dies away at the end of a condition that has one. start: the step at which the waves begin.
    """
    n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(Fraction(condition.n_steps) / condition.rate)
    ends = bool(np.isfinite(condition.time_left).all()) if condition.n_steps else False
    resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE_OUT, 1, dtype="float32", quality="HQ")
    width = Widener()
    release = min(round(RELEASE * SAMPLE_RATE_OUT), n_samples // 4)
    written = round(start * SAMPLE_RATE_OUT / float(condition.rate))

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
