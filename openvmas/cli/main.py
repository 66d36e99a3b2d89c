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
from openvmas.cli.options import as_arguments, flag, given, options_of, output_options, quiet_option, result_of
from openvmas.cli.terminal import complain, has_come, open_streams, stoppable
from openvmas.errors import OpenVMASError, OptionError, OutputError
from openvmas.files import beside
from openvmas.settings import GROUPS, GenerateOptions, Options, PlanOptions

if TYPE_CHECKING:
    from openvmas.generate.scorer import ScoreResult

ONE_VIDEO_ONLY = ("output", "audio_out", "midi_out", "stems_out", "sweeten_out", "plan")
PLAN_FIELDS = tuple(item.name for item in fields(PlanOptions))
MAX_WORKERS = 64
RESUMED = frozenset({"data", "eval", "train"})  # groups of commands that go on where they were stopped
EXTRAS = {  # packages that only some commands import, by the extra of pyproject.toml that brings them
    "train": ("torch", "onnx", "onnx_ir", "tensorboard", "matplotlib", "soundfile"),
    "data": ("pyarrow",),
    "eval": ("scipy", "mir_eval"),
    "hub": ("transformers", "safetensors"),
    "ray": ("ray",),
    "web": ("fastapi", "uvicorn"),
}


class Commands(click.Group):
    """Commands of this module, and groups of commands that are imported when they are asked for."""

    groups: ClassVar[dict[str, str]] = {
        "codec": "openvmas.cli.codec",
        "data": "openvmas.cli.data",
        "eval": "openvmas.cli.eval",
        "fit": "openvmas.cli.fit",
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
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@options_of(*GROUPS.values())
@click.option("--workers", type=int, default=1, metavar="NUMBER", help="Videos scored at a time. [default: 1]")
@quiet_option
def score(videos: tuple[str, ...], workers: int, quiet: bool, **values: Any) -> int:
    """Write music for videos: NAME.scored.EXT and NAME.scored.json beside each."""
    chosen = given(values)
    options = Options.of(**chosen)
    if not 1 <= workers <= MAX_WORKERS:
        raise OptionError(f"workers cannot be {workers}; give a number from 1 to {MAX_WORKERS}.")
    if len(videos) == 1:
        score_one(videos[0], chosen, quiet)
        return 0
    for name in ONE_VIDEO_ONLY:
        if options.flat().get(name) is not None:
            raise OptionError(f"{flag(name)} is for one video, but {len(videos)} were given; leave it out.")
    from openvmas.cli.batch import score_many

    return score_many(videos, as_arguments(chosen) + ["--quiet"] * quiet, workers)


def score_one(video: str, chosen: dict[str, Any], quiet: bool) -> None:
    """Score one video in this process. chosen: the options that the user gave, so that a plan's seed can count."""
    from openvmas.cli.terminal import show_progress
    from openvmas.generate import scorer

    with show_progress(Path(video).name, quiet) as progress:
        model = scorer.load_for(Options.of(**chosen), progress)
        results = model.score_variations(video, progress, **chosen)
    for result in results:
        click.echo(describe(result))
        if "track" in result.report["composer"] and not quiet:
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


@app.command()
@click.argument("video", metavar="VIDEO")
@options_of(PlanOptions, GenerateOptions, only=(*PLAN_FIELDS, "seed"))
@output_options("NAME.plan.yaml beside VIDEO")
@click.option("--keep-from", metavar="PATH", help="Plan of the same video whose locked sections and own hits stay.")
@click.option("--eyes", metavar="FOLDER", help="CLIP or SigLIP to judge the picture with, on disk (extra `hub`).")
@quiet_option
def plan(
    video: str,
    output: str | None,
    overwrite: bool,
    keep_from: str | None,
    eyes: str | None,
    quiet: bool,
    **values: Any,
) -> int:
    """Write a plan that can be edited and given to `openvmas score --plan`."""
    from openvmas.cli.terminal import show_progress
    from openvmas.generate import scorer
    from openvmas.media.probe import probe
    from openvmas.planning.schema import write_plan

    target = Path(output or beside(video, ".plan.yaml"))
    probe(video)
    with result_of(video, target, overwrite) as hidden, show_progress(Path(video).name, quiet) as progress:
        kept = scorer.open_plan(keep_from) if keep_from else None
        analysis = scorer.analyze(video, progress)
        made = scorer.plan(analysis, None, kept, **given(values))
        if eyes is not None:
            from openvmas.hub.eyes import Eyes, see_plan  # PyTorch, for those who ask for it

            made = see_plan(made, analysis, video, Eyes(eyes))
        hidden.write_text(write_plan(made), encoding="utf-8")
    heard = f"; heard as: {made.heard}" if made.heard else ""
    click.echo(f"{target}: {len(made.sections)} sections, {made.tempo:.0f} BPM, {len(made.hits)} hits{heard}")
    return 0


@app.command()
@click.argument("video", metavar="VIDEO")
@output_options("NAME.analysis.json beside VIDEO")
@quiet_option
def analyze(video: str, output: str | None, overwrite: bool, quiet: bool) -> int:
    """Write what the picture says: shots, cuts and visual beats (JSON), or with an output in .npz its curves too."""
    from openvmas.cli.terminal import show_progress
    from openvmas.generate import scorer
    from openvmas.generate.deliver import summarize
    from openvmas.media.probe import probe

    target = Path(output or beside(video, ".analysis.json"))
    if target.suffix not in (".json", ".npz"):
        raise OutputError(f"an analysis is written as JSON or NPZ; end {target} in .json or .npz.")
    probe(video)
    with result_of(video, target, overwrite) as hidden, show_progress(Path(video).name, quiet) as progress:
        made = scorer.analyze(video, progress)
        if target.suffix == ".npz":
            made.save(hidden)
        else:
            hidden.write_text(json.dumps(summarize(made), indent=2) + "\n", encoding="utf-8")
    click.echo(f"{target}: {len(made.shots)} shots, {len(made.visual_beats)} visual beats")
    return 0


@app.command()
@click.argument("video", metavar="VIDEO")
@output_options("NAME.report.html beside VIDEO; the same figures go to NAME.report.json")
@quiet_option
def report(video: str, output: str | None, overwrite: bool, quiet: bool) -> int:
    """Write a page that shows how well picture and music fit, for any video with music (HTML and JSON)."""
    from openvmas.cli.terminal import show_progress
    from openvmas.eval.reports.video_report import write_report

    target = Path(output or beside(video, ".report.html"))
    with show_progress(Path(video).name, quiet) as progress:
        made = write_report(video, target, overwrite, progress)
    click.echo(
        f"{target}: {len(made['cuts'])} cuts, {len(made['onsets'])} onsets, sync z {made['sync']['z']:.1f}, "
        f"{made['loudness_lufs']:.1f} LUFS"
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
            complain(error.format_message())
            return 2
        except OpenVMASError as error:
            complain(str(error))
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            complain(f"interrupted; {what_is_left(arguments)}.")
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush does not fail
            complain("nobody reads the output any more; what was finished stays.")
            return 2
        except Exception as error:
            if has_come():  # modules that are interrupted while they load say that they are broken
                complain(f"interrupted; {what_is_left(arguments)}.")
                return 130
            if "--debug" in arguments:
                raise
            if extra := missing_extra(error):
                complain(f"{extra.package} is not installed; run: pip install 'openvmas[{extra.name}]'.")
                return 2
            complain(
                f"{type(error).__name__}: {error}; this is a fault of openvmas: run again with --debug and report it."
            )
            return 1


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
