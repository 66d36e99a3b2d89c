"""`openvmas data`: training sets from piles of videos and music; `openvmas library`: folders of recordings to play.

Heavy modules are imported by the command itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from openvmas.cli.options import given, options_of, quiet_option
from openvmas.data.sources.free_library import LibraryOptions
from openvmas.errors import InputError, OptionError, OutputError
from openvmas.settings import ClusterOptions, read_table

MAX_WORKERS = 1024


@click.group()
def data() -> None:
    """Training sets from folders, tars and lists of addresses.

    Try: openvmas data build recipe.toml
    """


@data.command()
@click.argument("recipe", metavar="RECIPE")
@click.option("-o", "--output", metavar="PATH", help="Folder of the set; the one that the recipe names if left out.")
@click.option("--workers", type=int, default=0, metavar="NUMBER", help="Worker processes; the recipe's if left out.")
@options_of(ClusterOptions)
@click.option("--quiet", is_flag=True, help="Print no progress, only the funnel and errors.")
def build(recipe: str, output: str | None, workers: int, ray: str | None, quiet: bool) -> int:
    """Build a set from a recipe (TOML), or go on with it; prints how many records each stage refused and why."""
    from openvmas.data.curation.pipeline import build as build_set
    from openvmas.data.curation.recipe import read_recipe

    if not 0 <= workers <= MAX_WORKERS:
        raise OptionError(f"workers cannot be {workers}; give a number from 0 to {MAX_WORKERS}.")

    def say(text: str) -> None:
        if not quiet or text.startswith("note:"):
            click.echo(text, err=True)

    made = build_set(read_recipe(recipe), Path(output) if output else None, workers, ray, say)
    click.echo(made.funnel.table())
    sizes = ", ".join(f"{name} {made.splits.get(name, 0):,}" for name in ("train", "valid", "test"))
    click.echo(f"{made.output}: {made.funnel.n_kept:,} records ({sizes})")
    return 0


@data.command()
@click.argument("dataset", metavar="DATASET")
@click.option("-o", "--output", metavar="PATH", help="Path of the result; DATASET/report.html if left out.")
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
def report(dataset: str, output: str | None, overwrite: bool) -> int:
    """Write a page about a set: funnel, examples of what was refused, distributions and licences (HTML)."""
    from openvmas.data.report.datasheet import write_report

    target = Path(output) if output else Path(dataset) / "report.html"
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already; give --overwrite to replace it or another name with --output.")
    write_report(Path(dataset), target)
    click.echo(f"{target}")
    return 0


@data.command()
@click.argument("dataset", required=False, metavar="[DATASET]")
@click.option("--clips", type=int, default=2_200_000, metavar="NUMBER", help="Clips wanted. [default: 2200000]")
@click.option("--nodes", type=int, default=100, metavar="NUMBER", help="Machines. [default: 100]")
@click.option("--cores", type=int, default=16, metavar="NUMBER", help="Processor cores of each. [default: 16]")
@click.option("--length", type=float, metavar="NUMBER", help="Seconds of a clip; as in DATASET, or 77 without one.")
def plan(dataset: str | None, clips: int, nodes: int, cores: int, length: float | None) -> int:
    """Say what a large set costs in core-hours, storage and days, from the measured costs of a build."""
    from openvmas.data.report.costs import USUAL_LENGTH, make_plan, read_costs

    for name, value in (("clips", clips), ("nodes", nodes), ("cores", cores)):
        if value < 1:
            raise OptionError(f"{name} cannot be {value}; give a number of 1 or more.")
    if length is not None and not 0 < length < 1e6:
        raise OptionError(f"length cannot be {length:g}; give seconds above 0.")
    costs = read_costs(Path(dataset) if dataset else None)
    click.echo(make_plan(costs, clips, nodes, cores, length if dataset else length or USUAL_LENGTH))
    return 0


@click.group()
def library() -> None:
    """Make a folder of free recordings for `openvmas score --music FOLDER`.

    Try: openvmas library build ~/Music/free --package vonsh
    """


@library.command("build")
@click.argument("folder", metavar="FOLDER")
@options_of(LibraryOptions)
@quiet_option
def build_recordings(folder: str, quiet: bool, **values: Any) -> int:
    """Fetch free recordings from Debian packages, with their licences, and hear them (all: 8 GB, about 30 hours)."""
    from openvmas.cli.terminal import show_progress
    from openvmas.data.sources.free_library import build_library
    from openvmas.fitting.library import Library

    target = Path(folder)
    options = read_table(LibraryOptions, given(values))
    built = build_library(target, options, lambda text: None if quiet else click.echo(text, err=True))
    for name, reason in built.failed.items():
        click.echo(f"left out: {name}: {reason}", err=True)
    if not built.n_tracks:
        raise InputError(f"{folder} has no recordings yet; see what was left out above, and run this again.")
    with show_progress(target.name, quiet) as progress:
        known = Library.open(target, lambda done: progress("index", done))
    kinds = ", ".join(f"{count} {name}" for name, count in built.licences.most_common())
    length = f"{built.seconds / 3600:.1f} h" if built.seconds >= 3600 else f"{built.seconds / 60:.0f} min"
    click.echo(f"{folder}: {len(known.entries)} recordings, {length} ({kinds})")
    if built.failed:
        raise InputError(f"{len(built.failed)} packages could not be fetched; run this again to go on.")
    return 0
