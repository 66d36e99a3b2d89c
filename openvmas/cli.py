"""The command line. Options come from the dataclasses of `config`: one name, default and sentence for each.

Results go to standard output, progress and errors to standard error. Exit code 0: all fine; 2: something the user can
mend; 1: a fault of ours; 130: interrupted. Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openvmas import __version__
from openvmas.config import GROUPS, Options, OutputOptions, PlanOptions, value_type
from openvmas.errors import OpenVMASError, OptionError

if TYPE_CHECKING:
    from openvmas.generate.scorer import ScoreResult

ONE_VIDEO_ONLY = ("output", "audio_out", "plan")
PLAN_OUTPUTS = ("output", "overwrite")
MAX_WORKERS = 64


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def click_option(item: Field[Any], group: type, **changes: Any) -> Callable[[Any], Any]:
    """One field as an option; ranges are left to `config.checked`, so that Python and shell say the same."""
    kind, _, is_tuple = value_type(item, group)
    default = item.default if item.default is not MISSING else None
    text = item.metadata["help"]
    if kind is bool:
        return click.option(flag(item.name), item.name, is_flag=True, help=text)
    metavar = "PATH" if group is OutputOptions and kind is str else {float: "NUMBER", int: "NUMBER"}.get(kind, "TEXT")
    if default is not None:
        text += f" [default: {default:g}]" if kind is float else f" [default: {default}]"
    settings = {"type": kind, "multiple": is_tuple, "metavar": metavar, "help": text, **changes}
    return click.option(flag(item.name), item.name, **settings)


def options_of(*groups: type, only: Sequence[str] = ()) -> Callable[[Any], Any]:
    """The fields of the dataclasses (or some of them) as options of a command, in their order."""

    def decorate(command: Any) -> Any:
        items = [(item, group) for group in groups for item in fields(group) if not only or item.name in only]
        for item, group in reversed(items):
            command = click_option(item, group)(command)
        return command

    return decorate


def output_options(what: str) -> Callable[[Any], Any]:
    """--output and --overwrite for a command whose result is not a video."""

    def decorate(command: Any) -> Any:
        overwrite = next(item for item in fields(OutputOptions) if item.name == "overwrite")
        command = click_option(overwrite, OutputOptions)(command)
        return click.option("--output", metavar="PATH", help=f"Path of the result; {what} if left out.")(command)

    return decorate


quiet_option = click.option("--quiet", is_flag=True, help="Print no progress, only the result and errors.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
    options = Options.of(**{name: value for name, value in values.items() if value is not None})
    if not 1 <= workers <= MAX_WORKERS:
        raise OptionError(f"workers cannot be {workers}; give a number from 1 to {MAX_WORKERS}.")
    if len(videos) == 1:
        score_one(videos[0], options, quiet)
        return 0
    for name in ONE_VIDEO_ONLY:
        if getattr(options.output, name) is not None:
            raise OptionError(f"{flag(name)} is for one video, but {len(videos)} were given; leave it out.")
    from openvmas.batch import score_many

    given = [part for name, value in values.items() for part in as_arguments(name, value)]
    return score_many(videos, given + ["--quiet"] * quiet, workers)


def as_arguments(name: str, value: Any) -> list[str]:
    """An option as it would be typed for another process."""
    if value is None or value is False:
        return []
    if value is True:
        return [flag(name)]
    return [f"{flag(name)}={part}" for part in (value if isinstance(value, tuple) else (value,))]


def score_one(video: str, options: Options, quiet: bool) -> None:
    from openvmas.generate.scorer import load
    from openvmas.progress import show_progress

    with show_progress(Path(video).name, quiet) as progress:
        results = load(options.output.model).score_variations(video, progress=progress, **options.flat())
    for result in results:
        click.echo(describe(result))


def describe(result: ScoreResult) -> str:
    """The one line that is printed for a finished video."""
    report = result.report
    return (
        f"{result.path}: {report['duration']:.1f} s of music at {report['tempo']:.0f} BPM, "
        f"seed {report['options']['seed']}, made in {sum(report['seconds'].values()):.1f} s"
    )


@app.command()
@click.argument("video", metavar="VIDEO")
@options_of(PlanOptions)
@output_options("VIDEO's NAME.plan.yaml")
@quiet_option
def plan(video: str, output: str | None, overwrite: bool, quiet: bool, **values: Any) -> int:
    """Write a plan that can be edited and given to `openvmas score --plan`."""
    from openvmas.generate import scorer
    from openvmas.generate.outputs import Outputs
    from openvmas.plan import write_plan
    from openvmas.progress import show_progress

    options = Options.of(**{name: value for name, value in values.items() if value is not None})
    target = Path(output or Path(video).with_suffix(".plan.yaml"))
    with Outputs(video, overwrite) as outputs, show_progress(Path(video).name, quiet) as progress:
        scorer.probe(video)
        hidden = outputs.reserve(target)
        made = scorer.plan(video, progress=progress, **asdict(options.plan))
        hidden.write_text(write_plan(made), encoding="utf-8")
        outputs.commit()
    click.echo(f"{target}: {len(made.sections)} sections, {made.tempo:.0f} BPM, {len(made.hits)} hits")
    return 0


@app.command()
@click.argument("video", metavar="VIDEO")
@output_options("NAME.analysis.json beside VIDEO; a name in .npz holds the curves too")
@quiet_option
def analyze(video: str, output: str | None, overwrite: bool, quiet: bool) -> int:
    """Write what the picture says: shots, cuts, visual beats and curves (JSON or NPZ)."""
    from openvmas.generate import scorer

    target = Path(output or Path(video).with_suffix(".analysis.json"))
    n_shots, n_beats = scorer.write_analysis(video, target, overwrite, quiet)
    click.echo(f"{target}: {n_shots} shots, {n_beats} visual beats")
    return 0


def complain(message: str) -> None:
    click.echo(f"error: {message}", err=True)


def stop(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, stop)
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
        complain("interrupted; nothing was left behind.")
        return 130
    except Exception as error:
        if "--debug" in arguments:
            raise
        complain(f"{type(error).__name__}: {error}; this is a fault of openvmas: run again with --debug and report it.")
        return 1
