"""From a video file to a finished one with music: every stage by itself, and all of them in a row.

probe → outputs checked → analyze → listen for speech → plan → compose → mix → mux → renamed
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from openvmas import __version__
from openvmas.condition import Condition
from openvmas.errors import OptionError, PlanError
from openvmas.generate.outputs import Hidden, Outputs, check_space, explain_write_errors, name_targets, space_needed
from openvmas.generate.report import Prepared, Progress, Stages, describe_making, plain
from openvmas.media.audio import read_audio_blocks, write_wav
from openvmas.media.mix import MixReport, mix
from openvmas.media.mux import mux, sound_codec
from openvmas.media.video import VideoInfo, probe
from openvmas.music.speech import find_speech
from openvmas.planning.planner import ScorePlan, make_plan, read_plan, to_condition
from openvmas.pretrained import Weights, find_weights
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions, Options, PlanOptions
from openvmas.timeline import Clock
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.analysis import analyze as analyze_video

SPEECH_RATE = 16_000  # Hz, what the voice detector hears
CHANNELS = 2


class Composer(Protocol):
    """What writes music: `generate.composer.Composer`, or anything with this method."""

    def stream(
        self, condition: Condition, options: GenerateOptions, report: dict[str, Any] | None = None
    ) -> Iterator[np.ndarray]:
        """Blocks [C, n] at 48 kHz, C 1 or 2, together as long as the condition.

        report: is given the candidates' measures, which was chosen and why.
        """
        ...


@runtime_checkable
class NoteComposer(Protocol):
    """What writes notes before it plays them: `symbolic.composer.Composer`. It reads the plan too."""

    def stream(
        self,
        condition: Condition,
        options: GenerateOptions,
        report: dict[str, Any] | None = None,
        plan: ScorePlan | None = None,
    ) -> Iterator[np.ndarray]: ...

    def write(self, condition: Condition, options: GenerateOptions, plan: ScorePlan | None = None) -> Any: ...

    def save_midi(self, piece: Any, path: Path) -> None: ...

    def save_stems(self, piece: Any, folder: Path) -> None: ...


@dataclass(frozen=True)
class ScoreResult:
    """A finished video. report: what the sidecar holds."""

    path: Path
    sidecar: Path
    audio: Path | None
    report: dict[str, Any]


class Scorer:
    """A loaded model and the way from a video to a scored one."""

    def __init__(self, composer: Composer | NoteComposer, weights: Weights) -> None:
        self.composer = composer
        self.weights = weights

    def analyze(self, path: str | Path, progress: Progress | None = None) -> VideoAnalysis:
        """What the picture says over time. Raises InputError."""
        return analyze(path, progress)

    def plan(self, video: str | Path | VideoAnalysis, progress: Progress | None = None, **options: Any) -> ScorePlan:
        """Sections, tempo, beats and hits for a video: see the function `plan`."""
        return plan(video, progress, **options)

    def compose(
        self,
        plan: ScorePlan,
        analysis: VideoAnalysis | None = None,
        report: dict[str, Any] | None = None,
        **options: Any,
    ) -> Iterator[np.ndarray]:
        """Music for a plan in blocks [2, n] float32 at 48 kHz, to the sample as long as the plan.

        options: the fields of GenerateOptions. report: is filled by the composer.
        """
        condition = to_condition(plan, analysis)
        chosen = Options.of(**options).generate
        if isinstance(self.composer, NoteComposer):
            blocks = self.composer.stream(condition, chosen, report, plan)
        else:
            blocks = self.composer.stream(condition, chosen, report)
        yield from exactly(blocks, Clock(Fraction(SAMPLE_RATE_OUT)).count(plan.duration))

    def score(self, path: str | Path, progress: Progress | None = None, **options: Any) -> ScoreResult:
        """Write a scored video and its sidecar; options are the fields of all dataclasses in `config`.

        Raises InputError, OutputError, PlanError, OptionError; then nothing is left behind.
        """
        if Options.of(**options).output.variations != 1:
            raise OptionError("score writes one video; call score_variations for several.")
        return self.score_variations(path, progress, **options)[0]

    def score_variations(self, path: str | Path, progress: Progress | None = None, **options: Any) -> list[ScoreResult]:
        """As `score`, with `variations` results, each with the next seed; finished ones stay if a later one fails."""
        given = Options.of(**options)
        if (given.output.midi_out or given.output.stems_out) and not isinstance(self.composer, NoteComposer):
            raise OptionError(
                f"model {self.weights.name} writes sound, not notes; "
                "give --model symbolic with --midi-out or --stems-out."
            )
        info = probe(path)
        targets = name_targets(info, given)
        stages, results = Stages(progress), []
        with contextlib.ExitStack() as stack:
            doors = [stack.enter_context(Outputs(path, given.output.overwrite)) for _ in targets]
            hidden = [door.reserve_all(target) for door, target in zip(doors, targets, strict=True)]
            check_space(targets[0].video.parent, space_needed(info, len(targets)))
            prepared = prepare(info, given, stages)
            seed = prepared.plan.seed if given.output.plan and "seed" not in options else given.generate.seed
            for index, target in enumerate(targets):
                generate = dataclasses.replace(given.generate, seed=(seed + index) % 2**32)
                chosen = dataclasses.replace(given, generate=generate)
                report = self.finish(hidden[index], prepared, chosen, stages)
                doors[index].commit()
                results.append(ScoreResult(target.video, target.sidecar, target.audio, report))
        return results

    def finish(self, hidden: Hidden, prepared: Prepared, options: Options, stages: Stages) -> dict[str, Any]:
        """Compose, mix and write one variation into its hidden files; returns its report."""
        info, composed = prepared.info, {}
        with explain_write_errors(hidden.video.parent):
            with stages.run("compose") as progress:
                asked = dataclasses.asdict(options.generate)
                blocks = self.compose(prepared.plan, prepared.analysis, composed, **asked)
                write_wav(hidden.music, watched(blocks, info.duration, SAMPLE_RATE_OUT, progress), SAMPLE_RATE_OUT)
                self._write_notes(hidden, prepared, options.generate)
            with stages.run("mix") as progress:
                codec = sound_codec(hidden.video)
                original = None
                if prepared.speech is not None:
                    original = read_audio_blocks(info.path, SAMPLE_RATE_OUT, CHANNELS, info=info)
                mixed = mix(
                    hidden.music, original, info.duration, options.mix, prepared.speech,
                    output=hidden.mixed, codec=codec, progress=progress,
                )  # fmt: skip
                alone = self._music_alone(hidden, mixed, info, options)
            with stages.run("mux") as progress:
                provenance = {"generated_by": f"OpenVMAS {__version__}", "model": self.weights.describe()}
                # A file that is passed on does not say where things lay on its maker's disk; the sidecar does.
                told = {name: getattr(options, name) for name in ("plan", "generate", "mix")}
                chosen = {key: value for group in told.values() for key, value in dataclasses.asdict(group).items()}
                track = alone if options.mix.separate_track else None
                muxed = mux(
                    info.path, info, hidden.mixed, hidden.video,
                    music=track, metadata=provenance | {"options": chosen}, overwrite=True, progress=progress,
                )  # fmt: skip
            report = (
                provenance | {"options": options.flat()} | describe_making(prepared, composed, mixed, muxed, stages)
            )
            hidden.sidecar.write_text(json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return report

    def _write_notes(self, hidden: Hidden, prepared: Prepared, options: GenerateOptions) -> None:
        """The notes of the music and its parts one by one, where they are wanted."""
        if not isinstance(self.composer, NoteComposer) or not (hidden.midi or hidden.stems):
            return
        piece = self.composer.write(to_condition(prepared.plan, prepared.analysis), options, prepared.plan)
        if hidden.midi:
            self.composer.save_midi(piece, hidden.midi)
        if hidden.stems:
            self.composer.save_stems(piece, hidden.stems)

    def _music_alone(self, hidden: Hidden, mixed: MixReport, info: VideoInfo, options: Options) -> Path:
        """The music by itself at the asked loudness: the mix where nothing else is in it."""
        if hidden.audio is None and not options.mix.separate_track:
            return hidden.mixed
        alone = hidden.audio or hidden.alone
        if mixed.has_original:
            mix(hidden.music, None, info.duration, options.mix, output=alone)
        else:
            shutil.copyfile(hidden.mixed, alone)
        return alone


def load(name_or_path: str | Path = "mini") -> Scorer:
    """Open a preset or a folder of exported weights, or of instruments. Raises ModelError."""
    weights = find_weights(name_or_path)
    if "instruments" in weights.files:
        from openvmas.symbolic.composer import Composer as NoteWriter

        return Scorer(NoteWriter(weights), weights)
    from openvmas.generate.composer import Composer as ModelComposer

    return Scorer(ModelComposer(weights), weights)


def analyze(path: str | Path, progress: Progress | None = None) -> VideoAnalysis:
    """What the picture of a video says over time. Raises InputError."""
    return analyze_video(path, None if progress is None else functools.partial(progress, "analyze"))


def plan(
    video: str | Path | VideoAnalysis,
    progress: Progress | None = None,
    earlier: ScorePlan | None = None,
    **options: Any,
) -> ScorePlan:
    """Sections, tempo, beats and hits for a video (or its analysis); options are the fields of PlanOptions, and `seed`.

    earlier: a plan of the same video whose locked sections and own hits are kept.
    Raises InputError, OptionError, PlanError.
    """
    given = Options.of(**options)
    analysis = video if isinstance(video, VideoAnalysis) else analyze(video, progress)
    return make_plan(analysis, given.plan, given.generate.seed, earlier)


def score(path: str | Path, progress: Progress | None = None, **options: Any) -> ScoreResult:
    """Load the model that the options name and score a video: see `Scorer.score`."""
    return load(Options.of(**options).output.model).score(path, progress, **options)


def stream(video: str | Path | VideoAnalysis, **options: Any) -> Iterator[np.ndarray]:
    """Music for a video (or its analysis) in blocks [2, n] float32 at 48 kHz of about a second.

    options: the fields of PlanOptions, GenerateOptions and `model`.
    """
    given = Options.of(**options)
    scorer = load(given.output.model)
    analysis = video if isinstance(video, VideoAnalysis) else analyze(video)
    made = make_plan(analysis, given.plan, given.generate.seed)
    return scorer.compose(made, analysis, **dataclasses.asdict(given.generate))


def prepare(info: VideoInfo, options: Options, stages: Stages) -> Prepared:
    """Look, listen and plan once for all variations."""
    with stages.run("analyze") as progress:
        analysis = analyze_video(info.path, progress)
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


def open_plan(path: str | Path) -> ScorePlan:
    """Read a plan file. Raises PlanError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = "it is not text" if isinstance(error, ValueError) else error.strerror
        raise PlanError(f"{path} cannot be read as a plan ({reason}); make one with `openvmas plan`.") from error
    return read_plan(text, str(path))


def watched(
    blocks: Iterator[np.ndarray], duration: Fraction, sample_rate: int, progress: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """The same blocks; tells how much of the duration has passed."""
    total, done = float(duration) * sample_rate, 0
    for block in blocks:
        done += block.shape[1]
        progress(min(done / total, 1.0))
        yield block


def exactly(blocks: Iterator[np.ndarray], n_samples: int) -> Iterator[np.ndarray]:
    """The same sound in stereo, cut or followed by silence to make `n_samples`."""
    left = n_samples
    for block in blocks:
        block = np.asarray(block, dtype=np.float32)[:, :left]
        left -= block.shape[1]
        if block.shape[1]:
            yield np.repeat(block, CHANNELS, axis=0) if len(block) == 1 else block
    while left > 0:
        yield np.zeros((CHANNELS, min(left, SAMPLE_RATE_OUT)), dtype=np.float32)
        left -= min(left, SAMPLE_RATE_OUT)
