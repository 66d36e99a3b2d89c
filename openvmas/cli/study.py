"""`openvmas study`: listening studies. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from openvmas.cli.options import extra_needed, given, options_of, reserve, write
from openvmas.errors import OptionError
from openvmas.settings import option, read_table
from openvmas.study.study_settings import StudyPlan, StudySettings, read_study_plan

HIDDEN_SETTINGS = ("consent",)  # a text of several paragraphs belongs into the TOML file


@dataclass(frozen=True)
class PowerOptions:
    """A claim that a study is planned for: share or difference, and what is assumed about listeners and tests."""

    share: float | None = option(None, "Preference share you expect, e.g. 0.6: against one half.")
    difference: float | None = option(None, "Difference of mean ratings you expect, e.g. 0.3.")
    choice_correlation: float = option(0.1, "Correlation of one listener's choices.")
    rating_sd: float = option(0.9, "Standard deviation of a listener's ratings about their mean.")
    listener_sd: float = option(0.5, "Standard deviation of the listeners' own differences.")
    alpha: float = option(0.05, "Chance of a false finding.")
    power: float = option(0.8, "Chance of finding what is there.")
    comparisons: int = option(1, "Pairs tested, for Holm's correction.")


@click.group()
def study() -> None:
    """Hold a listening study: from folders of finished videos to a table with intervals.

    Try: openvmas study create --systems ours=DIR --systems theirs=DIR2 --output STUDY
    """


@study.command()
@click.argument("plan", required=False, metavar="[STUDY.toml]")
@click.option(
    "--systems", multiple=True, metavar="NAME=DIR", help="A system and its folder of videos or music; repeat."
)
@click.option("--reference", metavar="DIR", help="Folder of the true music: takes part as a hidden reference.")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Folder of the new study.")
@options_of(StudySettings, leave_out=HIDDEN_SETTINGS)
@click.option("--overwrite", is_flag=True, help="Replace a study, with all answers in it.")
@click.option("--quiet", is_flag=True, help="Print no progress, only the result and errors.")
def create(
    plan: str | None, systems: tuple[str, ...], reference: str | None, output: str, overwrite: bool, quiet: bool,
    **values: Any,
) -> int:  # fmt: skip
    """Make a study from folders that hold the same clips by different systems."""
    from openvmas.study import study_builder

    chosen = given(values)
    if plan is not None:
        if systems or reference or chosen:
            raise OptionError(f"systems and settings are already in {plan}; leave out either it or the options.")
        wanted = read_study_plan(plan)
    else:
        folders = dict(named_folder(text) for text in systems)
        if len(folders) != len(systems):
            raise OptionError("two systems have the same name; give each its own with --systems NAME=DIR.")
        wanted = StudyPlan(folders, Path(reference) if reference else None, StudySettings.of(**chosen))
    made = study_builder.create(wanted, output, overwrite, progress(quiet))
    click.echo(
        f"{output}: {len(made['sound'])} clips, {len(made['files'])} sounds, about {made['minutes']} minutes a listener"
    )
    return 0


@study.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "--systems", default="fitted,trimmed", metavar="LIST", help="Systems as of eval run. [default: fitted,trimmed]"
)
@click.option("--library", metavar="DIR", help="Folder of recordings; those that come with OpenVMAS if left out.")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Folder of the material; what is there is kept.")
@click.option("--seed", type=int, default=0, metavar="NUMBER", help="Seed of all random draws. [default: 0]")
@click.option("--quiet", is_flag=True, help="Print no progress, only the result and errors.")
def material(videos: tuple[str, ...], systems: str, library: str | None, output: str, seed: int, quiet: bool) -> int:
    """Score videos by several systems for a study, by itself with recordings fitted and trimmed."""
    with extra_needed("the material needs"):
        from openvmas.eval.systems.system import Setting
        from openvmas.study.study_material import make_material
    from openvmas.fitting.library import FREE

    setting = Setting(library=Path(library) if library else FREE)
    specs = [spec.strip() for spec in systems.split(",") if spec.strip()]
    made = make_material([Path(video) for video in videos], specs, setting, Path(output), seed, progress(quiet))
    click.echo(
        f"{made}: {len(videos)} videos by {len(specs)} systems; next: openvmas study create {made} --output my-study"
    )
    return 0


def named_folder(text: str) -> tuple[str, Path]:
    """The name and folder in NAME=DIR. Raises OptionError."""
    name, sign, folder = text.partition("=")
    if not sign or not name or not folder:
        raise OptionError(f"{text} does not name a system; give --systems NAME=DIR, e.g. ours=videos/ours.")
    return name, Path(folder)


def progress(quiet: bool) -> Callable[[str], None]:
    """A function that prints lines to standard error; notes on what was left out also if quiet."""
    return lambda text: None if quiet and not text.startswith(("left out", "note")) else click.echo(text, err=True)


@study.command()
@click.argument("folder", metavar="FOLDER")
@click.option("--host", default="127.0.0.1", metavar="TEXT", help="Address to listen at. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, metavar="NUMBER", help="Port. [default: 8765]")
@click.option(
    "--token",
    envvar="OPENVMAS_STUDY_TOKEN",
    metavar="TEXT",
    help="Opens the results; also read from OPENVMAS_STUDY_TOKEN. Made up if left out; needed beyond this computer.",
)
def serve(folder: str, host: str, port: int, token: str | None) -> int:
    """Show a study to listeners until Ctrl-C. Needs the extra web."""
    with extra_needed("the page needs", "web"):
        from openvmas.study import server
    from openvmas.study.session import Study

    server.serve(Study(folder), host, port, token, lambda text: click.echo(text))
    return 0


@study.command()
@click.argument("folder", metavar="FOLDER")
@click.option("--json", "json_path", metavar="PATH", help="Write all figures here.")
@click.option("--markdown", metavar="PATH", help="Write the tables here.")
@click.option("--csv", "csv_path", metavar="PATH", help="Write every answer here, with its clip and conditions.")
@click.option("--keep-all", is_flag=True, help="Drop no listener, to see what screening changes.")
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
def analyze(
    folder: str, json_path: str | None, markdown: str | None, csv_path: str | None, keep_all: bool, overwrite: bool
) -> int:
    """Print the preferences of listeners with intervals, and who was dropped and why. Needs the extra eval."""
    with extra_needed("the analysis needs"):
        from openvmas.study import result_tables, results
    from openvmas.generate.deliver import Outputs

    with Outputs(folder, overwrite) as outputs:
        targets = reserve(outputs, json_path, markdown)
        if csv_path:
            write_answers(outputs.reserve(csv_path, "--csv"), results.answer_rows(results.collect(folder)))
        found = results.analyze(folder, keep_all)
        text = result_tables.page(found)
        write(targets, text, result_tables.as_json(found))
        outputs.commit()
    click.echo(text, nl=False)
    return 0


def write_answers(target: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV. Raises OutputError."""
    import csv

    from openvmas.files import explain_write_errors

    with explain_write_errors(target.parent), target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["listener"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@study.command()
@options_of(PowerOptions)
def power(**values: Any) -> int:
    """Print the number of listeners that a claim needs, by formula and by simulation. Needs the extra eval.

    Try: openvmas study power --share 0.6
    """
    with extra_needed("power needs"):
        from openvmas.study.power import preference_needs, rating_needs
        from openvmas.study.result_tables import power_table

    chosen = read_table(PowerOptions, given(values))
    if (chosen.share is None) == (chosen.difference is None):
        raise OptionError("give either --share 0.6 (a preference) or --difference 0.3 (of mean ratings).")
    common = chosen.alpha, chosen.power, chosen.comparisons
    if chosen.share is not None:
        found = preference_needs(chosen.share, chosen.choice_correlation, *common)
        click.echo(power_table(found, "comparisons of this pair per listener"), nl=False)
    elif chosen.difference is not None:
        found = rating_needs(chosen.difference, chosen.rating_sd, chosen.listener_sd, *common)
        click.echo(power_table(found, "ratings of each system per listener"), nl=False)
    return 0
