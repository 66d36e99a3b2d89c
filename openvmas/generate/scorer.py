"""From a video file to a finished one with music: every stage by itself, and all of them in a row.

probe → outputs checked → inspect (analyze, listen for speech, plan) → compose → deliver (mix, mux) → renamed
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import ModelError, OptionError, PlanError
from openvmas.files import check_space
from openvmas.generate.deliver import (
    CHANNELS,
    SPEECH_RATE,
    Outputs,
    Prepared,
    Progress,
    Stages,
    deliver,
    name_targets,
    space_needed,
    watched,
)
from openvmas.generate.piece import Composer, Piece
from openvmas.media.audio import read_audio_blocks
from openvmas.media.mix import envelope_of
from openvmas.media.probe import VideoInfo, probe
from openvmas.media.video import FrameRequest
from openvmas.music.speech import find_speech
from openvmas.planning.conditioning import build_condition
from openvmas.planning.plan_yaml import read_plan
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights, find_weights, is_weights
from openvmas.settings import SAMPLE_RATE_OUT, Options, OutputOptions, PlanOptions
from openvmas.timeline import Clock
from openvmas.vision.analysis import FrameConsumer, PartialAnalysis, VideoAnalysis
from openvmas.vision.analysis import analyze as analyze_video

ENTRY_POINTS = "openvmas.composers"  # the group in which other packages name their composers
BUILT_IN = {  # whether the weights are instruments → who opens them; modules, so that only one is imported
    True: ("openvmas.symbolic.composer", "SymbolicComposer"),
    False: ("openvmas.generate.composer", "ModelComposer"),
}
FADE_OUT, FADE_IN = 0.25, 0.02  # s, before and after a stretch without music
FITTING = ("openvmas.fitting.composer", "open_music")  # makes a composer of MusicOptions


@dataclass(frozen=True)
class ScoreResult:
    """A finished video. report: what the sidecar holds."""

    path: Path
    sidecar: Path
    audio: Path | None
    report: dict[str, Any]


class Scorer:
    """A loaded composer and the way from a video to a scored one."""

    def __init__(self, composer: Composer) -> None:
        self.composer = composer

    @property
    def weights(self) -> Weights:
        """Name, version and licence of the composer, and its files."""
        return self.composer.weights

    def analyze(self, path: str | Path, progress: Progress | None = None) -> VideoAnalysis:
        """The picture over time. Raises InputError."""
        return analyze(path, progress)

    def plan(self, video: str | Path | VideoAnalysis, progress: Progress | None = None, **options: Any) -> ScorePlan:
        """Sections, tempo, beats and hits for a video: see the function `plan`."""
        return plan(video, progress, **options)

    def compose(
        self,
        plan: ScorePlan,
        analysis: VideoAnalysis | None = None,
        speech: np.ndarray | None = None,
        **options: Any,
    ) -> Piece:
        """Music for a plan: a piece of blocks [2, n] float32 at 48 kHz, to the sample as long as the plan.

        speech: probability of it in the original sound [T] at CONTROL_RATE. options: the fields of GenerateOptions.
        """
        condition = dataclasses.replace(build_condition(plan, analysis), speech=speech)
        piece = self.composer.compose(condition, plan, Options.of(**options).generate)
        return fit_length(piece, plan)

    def score(self, path: str | Path, progress: Progress | None = None, **options: Any) -> ScoreResult:
        """Write a scored video and its sidecar; options are the fields of all dataclasses in `settings`.

        Raises InputError, OutputError, PlanError, OptionError; then nothing is left behind.
        """
        if Options.of(**options).output.variations != 1:
            raise OptionError("score writes one video; call score_variations for several.")
        return self.score_variations(path, progress, **options)[0]

    def score_variations(self, path: str | Path, progress: Progress | None = None, **options: Any) -> list[ScoreResult]:
        """Write `variations` results, each with the next seed; finished ones stay if a later one fails. See `score`."""
        given = Options.of(**options)
        if (given.output.midi_out or given.output.stems_out) and not self.composer.writes_notes:
            raise OptionError(
                f"model {self.weights.name} writes sound, not notes; "
                "give --model symbolic with --midi-out or --stems-out."
            )
        if given.generate.soundfont and not self.composer.writes_notes:
            raise OptionError(f"model {self.weights.name} plays no notes; give --model symbolic with --soundfont.")
        if given.music.joins_out:
            from openvmas.media.edit_list import check_edit_name

            check_edit_name(given.music.joins_out, self.composer.plays_recordings)
        envelope_of(given.mix)
        self.composer.prepare(given.generate)
        info = probe(path)
        targets = name_targets(info, given)
        if self.composer.plays_recordings:
            targets = [dataclasses.replace(target, has_credits=True) for target in targets]
        stages, results = Stages(progress), []
        with contextlib.ExitStack() as stack:
            outputs = [stack.enter_context(Outputs(path, given.output.overwrite)) for _ in targets]
            files = [output.reserve_all(target) for output, target in zip(outputs, targets, strict=True)]
            check_space(targets[0].video.parent, space_needed(info, len(targets)))
            prepared = inspect(info, given, stages)
            self.composer.prepare(given.generate, prepared.plan)
            seed = prepared.plan.seed if given.output.plan and "seed" not in options else given.generate.seed
            for index, target in enumerate(targets):
                generate = dataclasses.replace(given.generate, seed=(seed + index) % 2**32)
                chosen = dataclasses.replace(given, generate=generate)
                asked = dataclasses.asdict(generate)
                piece = self.compose(prepared.plan, prepared.analysis, prepared.speech, **asked)
                report = deliver(piece, prepared, chosen, files[index], stages, self.weights.describe())
                outputs[index].commit()
                results.append(ScoreResult(target.video, target.sidecar, target.audio, report))
        return results


def load(name_or_path: str | Path = "mini") -> Scorer:
    """Open a preset, `auto`, a folder of exported weights or of instruments, or a composer of another package.

    Other packages enter a composer under the entry point group `openvmas.composers`: its name there is what --model
    takes, and it is called without arguments. Raises ModelError.
    """
    entries = () if is_weights(name_or_path) else metadata.entry_points(group=ENTRY_POINTS, name=str(name_or_path))
    for entry in entries:
        composer = entry.load()()
        if not isinstance(composer, Composer):
            raise ModelError(f"{entry.value} of {name_or_path} is no composer; ask its author to mend it.")
        return Scorer(composer)
    if name_or_path == OutputOptions().model:
        from openvmas.generate.choice import ChosenComposer

        return Scorer(ChosenComposer(lambda voice: load(voice).composer))
    weights = find_weights(name_or_path)
    module, name = BUILT_IN["instruments" in weights.files]
    return Scorer(getattr(import_module(module), name)(weights))


def load_for(options: Options, progress: Progress | None = None) -> Scorer:
    """Open what the options name: recordings or another generator, else the model. Raises InputError, ModelError."""
    music = options.music
    if options.output.device != OutputOptions().device:
        from openvmas.devices import use_device

        use_device(options.output.device)
    edit = open_plan(options.output.plan).music if options.output.plan is not None else None
    if edit is not None:
        if music.music or music.music_from or music.music_keep:
            raise OptionError(
                f"{options.output.plan} names the music that is played; edit its `music:`, or leave out --music."
            )
        music = dataclasses.replace(music, music=str(edit.find(Path(str(options.output.plan)).parent)))
    if music.music is None and music.music_from is None:
        return load(model_for(options))
    if options.output.model != OutputOptions().model:
        raise OptionError("--model writes music, --music and --music-from take it from elsewhere; give one of them.")
    module, name = FITTING
    heard = None if progress is None else functools.partial(progress, "index")
    return Scorer(getattr(import_module(module), name)(music, heard))


def model_for(options: Options) -> str:
    """The model that options ask for: what only notes can give is written by the composer of notes."""
    wants_notes = bool(options.output.midi_out or options.output.stems_out or options.generate.soundfont)
    return "symbolic" if wants_notes and options.output.model == OutputOptions().model else options.output.model


def analyze(path: str | Path, progress: Progress | None = None) -> VideoAnalysis:
    """The picture of a video over time. Raises InputError."""
    return analyze_video(path, None if progress is None else functools.partial(progress, "analyze"))


def plan(
    video: str | Path | VideoAnalysis,
    progress: Progress | None = None,
    keep_from: ScorePlan | None = None,
    **options: Any,
) -> ScorePlan:
    """Sections, tempo, beats and hits for a video (or its analysis); options are the fields of PlanOptions, and `seed`.

    keep_from: a plan of the same video whose locked sections and own hits are kept.
    Raises InputError, OptionError, PlanError.
    """
    given = Options.of(**options)
    analysis = video if isinstance(video, VideoAnalysis) else analyze(video, progress)
    return make_plan(analysis, given.plan, given.generate.seed, keep_from)


def score(path: str | Path, progress: Progress | None = None, **options: Any) -> ScoreResult:
    """Load the model that the options name and score a video: see `Scorer.score`."""
    return load_for(Options.of(**options)).score(path, progress, **options)


def stream(video: str | Path | VideoAnalysis, **options: Any) -> Piece:
    """Music for a video (or its analysis): a piece of blocks [2, n] float32 at 48 kHz of about a second.

    options: the fields of PlanOptions, GenerateOptions, MusicOptions and `model`.
    """
    given = Options.of(**options)
    scorer = load_for(given)
    analysis = video if isinstance(video, VideoAnalysis) else analyze(video)
    made = make_plan(analysis, given.plan, given.generate.seed)
    return scorer.compose(made, analysis, **dataclasses.asdict(given.generate))


def inspect(
    info: VideoInfo,
    options: Options,
    stages: Stages,
    n_threads: int = 1,
    others: Sequence[tuple[FrameRequest, FrameConsumer]] = (),
    on_partial: Callable[[PartialAnalysis], None] | None = None,
) -> Prepared:
    """Analyze the picture, find speech in the original sound, and plan: once for all variations.

    n_threads, others, on_partial: as in `vision.analysis.analyze`. Raises InputError, PlanError, OptionError.
    """
    with stages.run("analyze") as progress:
        analysis = analyze_video(info.path, progress, n_threads, others, on_partial)
    speech = None
    with stages.run("listen") as progress:
        if info.has_audio and not options.mix.replace_audio:
            blocks = read_audio_blocks(info.path, SPEECH_RATE, 1, SPEECH_RATE, info)
            speech = find_speech(watched(blocks, info.duration, SPEECH_RATE, progress), SPEECH_RATE)
    with stages.run("plan"):
        if options.output.plan is None:
            made = make_plan(analysis, options.plan, options.generate.seed)
        else:
            made = read_plan_for(info, options)
    return Prepared(info, analysis, made, speech)


def read_plan_for(info: VideoInfo, options: Options) -> ScorePlan:
    """The user's plan file. Raises PlanError, and OptionError where options would contradict it."""
    path = str(options.output.plan)
    for item in dataclasses.fields(PlanOptions):
        if getattr(options.plan, item.name) != getattr(PlanOptions(), item.name):
            raise OptionError(f"--{item.name} has no effect on a plan that is given; edit {path} or leave out --plan.")
    made = open_plan(path)
    if abs(made.duration - info.duration) > info.frame_interval:
        raise PlanError(
            f"{path} is for {float(made.duration):.2f} s, but the picture lasts {float(info.duration):.2f} s; "
            "make a plan for this video with `openvmas plan`."
        )
    return made


# One score asks for the plan twice: what plays it, and what it is.
_read_plan = functools.lru_cache(maxsize=1)(read_plan)


def open_plan(path: str | Path) -> ScorePlan:
    """Read a plan file; recordings that it names lie relative to it. Raises PlanError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = "it is not text" if isinstance(error, ValueError) else error.strerror
        raise PlanError(f"{path} cannot be read as a plan ({reason}); make one with `openvmas plan`.") from error
    made, folder = _read_plan(text, str(path)), Path(path).parent
    sections = [
        dataclasses.replace(section, like=str(folder / section.like)) if section.like else section
        for section in made.sections
    ]
    return dataclasses.replace(made, sections=tuple(sections))


def fit_length(piece: Piece, plan: ScorePlan) -> Piece:
    """Bring a piece to stereo, to the sample as long as its plan (cut, or followed by silence), and silent where the
    plan wants no music."""
    blocks = exactly(piece.blocks, Clock(Fraction(SAMPLE_RATE_OUT)).count(plan.duration))
    piece.blocks = silenced(blocks, plan.silences) if plan.silences else blocks
    return piece


def silenced(blocks: Iterator[np.ndarray], silences: Sequence[tuple[float, float]]) -> Iterator[np.ndarray]:
    """Blocks [C, n] without sound in some stretches (start, end; s): faded out and in just outside of them."""
    at = 0
    for block in blocks:
        n = block.shape[1]
        times = (at + np.arange(n)) / SAMPLE_RATE_OUT
        at += n
        gain = np.ones(n)
        for start, end in silences:
            gain *= np.interp(times, [start - FADE_OUT, start, end, end + FADE_IN], [1.0, 0.0, 0.0, 1.0])
        yield block * gain.astype(np.float32)


def exactly(blocks: Iterator[np.ndarray], n_samples: int) -> Iterator[np.ndarray]:
    """Bring blocks to stereo, cut or followed by silence to make `n_samples`."""
    left = n_samples
    for block in blocks:
        block = np.asarray(block, dtype=np.float32)[:, :left]
        left -= block.shape[1]
        if block.shape[1]:
            yield np.repeat(block, CHANNELS, axis=0) if len(block) == 1 else block
    while left > 0:
        yield np.zeros((CHANNELS, min(left, SAMPLE_RATE_OUT)), dtype=np.float32)
        left -= min(left, SAMPLE_RATE_OUT)
