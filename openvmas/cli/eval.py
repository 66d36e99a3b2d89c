"""`openvmas eval`: measures of finished videos and music. Heavy modules are imported by the command itself."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from openvmas.cli.options import extra_needed, options_of, reserve, write
from openvmas.errors import InputError, ModelError
from openvmas.settings import ClusterOptions

EMBEDDERS = "yamnet,musicnn"
TIMEOUT = 1800.0  # s, for one clip


@click.group()
def eval() -> None:
    """Measure finished videos and music, from any program.

    Try: openvmas eval folder DIR
    """


@eval.command()
@click.argument("folder", metavar="DIR")
@click.option("--reference", metavar="DIR", help="Compare with this folder; files of the same name are paired.")
@click.option("--json", "json_path", metavar="PATH", help="Write the figures of every file and all tables here.")
@click.option("--markdown", metavar="PATH", help="Write the tables here.")
@click.option(
    "--embedder", default="yamnet", metavar="NAME", help="yamnet, musicnn or NAME:PATH (docs/hub.md). [default: yamnet]"
)
@click.option(
    "--seam-interval", type=float, metavar="NUMBER", help="Look for seams at every multiple of this many seconds."
)
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
@click.option("--quiet", is_flag=True, help="Print no progress, only the tables and errors.")
def folder(
    folder: str, reference: str | None, json_path: str | None, markdown: str | None, embedder: str,
    seam_interval: float | None, overwrite: bool, quiet: bool,
) -> int:  # fmt: skip
    """Measure every video or sound in a folder: timing, signal quality, diversity, and distances from a reference.

    What was measured is kept by content, so the next run is quick.
    """
    from openvmas.eval.embedders.registry import open_embedder
    from openvmas.eval.suites.media_files import media_files
    from openvmas.generate.deliver import Outputs

    with extra_needed("the figures need"):
        from openvmas.eval.benchmark import folder_measures as measures
        from openvmas.eval.benchmark import set_measures, small_samples
        from openvmas.eval.reports.folder_tables import as_json, label, page

    def say(text: str) -> None:
        if not quiet or text.startswith("left out"):
            click.echo(text, err=True)

    def measure(path: Path) -> measures.MeasuredFolder:
        return measures.measure_folder(path, known, seam_interval, say)

    known: str | None = embedder
    with Outputs(folder, overwrite) as outputs:
        targets = reserve(outputs, json_path, markdown)
        paths = [Path(name) for name in (folder, reference) if name]
        for path in paths:
            media_files(path)
        if reference and len(media_files(paths[1])) < set_measures.MIN_FILES:
            raise InputError(
                f"{reference} holds one file, and neither distances nor tests can be told from one piece of music; "
                f"give a reference of {small_samples.FEW_FILES} files or more."
            )
        try:
            found = [measure(path) for path in paths]
        except ModelError as error:
            click.echo(f"note: {error} Until then no distances and no variety are printed.", err=True)
            known = None
            found = [measure(path) for path in paths]
        made, real = found[0], found[1] if reference else None
        classes: tuple[str, ...] = ()
        with contextlib.suppress(ModelError):  # all that is heard may be known from before, without the weights
            classes = open_embedder(known).classes if known else ()
        if real:
            made = measures.with_values(made, set_measures.agreement(real, made, classes))
        variety = set_measures.variety(made) | set_measures.styles(real, made, classes)
        parts: dict[str, Any] = {"summary": measures.summarise(made), "variety": variety}
        if real:
            parts |= {"reference": real, "compared": set_measures.compare(real, made)}
            parts["halves"] = small_samples.halves(real)
            parts["pairs"] = measures.pair(real, made)
        command = f"openvmas eval folder {paths[0].name}" + (f" --reference {paths[1].name}" if reference else "")
        command += f" --embedder {label(embedder)}"  # weights by the name of their file, wherever they lie
        command += f" --seam-interval {seam_interval:g}" if seam_interval else ""
        text = page(made, embedder=known, command=command, **parts)
        write(targets, text, as_json(made, embedder=known, command=command, **parts))
        outputs.commit()
    click.echo(text, nl=False)
    return 0


@eval.command()
@click.argument("suite", metavar="SUITE")
@click.option(
    "--systems",
    default="ours,waveform,waveform-blind,text,reference,codec,click,noise,silence",
    metavar="LIST",
    help="Systems with commas between them; the others are compared with the first. [default: what needs no library]",
)
@click.option("--media", metavar="DIR", help="Folder of the suite's media. [default: corpora beside its folder]")
@click.option("--results", metavar="DIR", help="Folder of finished sounds and records, where a stopped run goes on.")
@click.option("--library", metavar="DIR", help="Folder of real tracks, for the systems retrieval and random.")
@click.option("--systems-folder", default="systems", metavar="DIR", help="Folder of command files. [default: systems]")
@click.option(
    "--embedders",
    default=EMBEDDERS,
    metavar="LIST",
    help="As --embedder of `eval folder`; imagebind:FILE also judges music and picture. [default: yamnet,musicnn]",
)
@click.option("--workers", type=int, metavar="NUMBER", help="Worker processes. [default: as many as processors]")
@click.option("--seed", type=int, default=0, metavar="NUMBER", help="Seed of all random draws. [default: 0]")
@click.option(
    "--seeds",
    type=int,
    metavar="NUMBER",
    help="Seeds of systems that draw. [default: the suite's]",
)
@click.option("--limit", type=int, metavar="NUMBER", help="Number of clips, evenly from the whole suite.")
@click.option("--only-complete", is_flag=True, help="Only clips that all systems have results for: the run so far.")
@click.option("--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help="Limit for one clip. [default: 1800]")
@options_of(ClusterOptions)
@click.option("--json", "json_path", metavar="PATH", help="Write every figure here.")
@click.option("--markdown", metavar="PATH", help="Write the page here.")
@click.option("--table", metavar="PATH", help="Put the short table between the marks of this page.")
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
@click.option("--quiet", is_flag=True, help="Print no progress, only the page and errors.")
def run(
    suite: str, systems: str, json_path: str | None, markdown: str | None, overwrite: bool, quiet: bool, **more: Any
) -> int:
    """Compare systems on the clips of a suite: one page with intervals, tests and failures.

    Every result is kept, so a run that was stopped goes on and a repeated one is quick. Systems: ours, symbolic,
    waveform, waveform-blind, text, musicgen, retrieval, random, reference, codec, click, noise, silence, folder:DIR,
    and the files of systems/; options follow a colon, as ours:candidates=1:guidance=2.
    """
    import os

    from openvmas.eval.suites.suite import describe_coverage, read_suite
    from openvmas.eval.systems.system import Setting
    from openvmas.generate.deliver import Outputs

    with extra_needed("the figures need"):
        from openvmas.eval.benchmark import run as runs
        from openvmas.eval.reports.benchmark_page import as_json, in_short, insert, page, systems_in_order
        from openvmas.eval.reports.folder_tables import label

    def say(text: str) -> None:
        if not quiet or "failed:" in text or text.startswith("left out"):
            click.echo(text, err=True)

    found = read_suite(suite, more["media"])
    for line in describe_coverage(found):
        say(line)
    folders = {name: Path(more[name]) if more[name] else None for name in ("library", "systems_folder")}
    setting = Setting(folders["library"], folders["systems_folder"])
    command = f"openvmas eval run {Path(suite).name} --systems {systems}"
    command += "".join(f" --{name} {more[name]}" for name in ("seed", "seeds", "limit") if more[name])
    command += "".join(f" --{name} {Path(more[name]).name}" for name in ("library", "media") if more[name])
    if more["embedders"] != EMBEDDERS:  # weights by the name of their file, wherever they lie
        command += " --embedders " + (",".join(map(label, systems_in_order(more["embedders"]))) or "''")
    if more["systems_folder"] != "systems":
        command += f" --systems-folder {Path(more['systems_folder']).name}"
    if more["timeout"] != TIMEOUT:
        command += f" --timeout {more['timeout']:g}"
    command += " --only-complete" * more["only_complete"]
    with Outputs(suite, overwrite) as outputs:
        targets = reserve(outputs, json_path, markdown)
        table = more["table"]
        if table:
            targets["table"] = outputs.reserve(table, "--table")
            insert(table, "")  # whether it has the marks shows now and not in an hour
        result = runs.run(
            found, systems_in_order(systems), Path(more["results"] or f"{found.name}.results"), setting,
            embedders=systems_in_order(more["embedders"]), workers=more["workers"] or min(os.cpu_count() or 1, 8),
            seed=more["seed"], seeds=more["seeds"], limit=more["limit"], only_complete=more["only_complete"],
            timeout=more["timeout"], ray=more["ray"], say=say,
        )  # fmt: skip
        text = page(result, command)
        write(targets, text, as_json(result, command), insert(table, in_short(result, command)) if table else "")
        outputs.commit()
    say(f"{result.wall:.0f} s; {result.n_kept} results were kept from before")
    click.echo(text, nl=False)
    return 0


@eval.command()
@click.argument("suite", metavar="SUITE")
@click.argument("folder", metavar="DIR")
@click.option("--media", metavar="DIR", help="Folder of the suite's media. [default: corpora beside its folder]")
@click.option("--limit", type=int, metavar="NUMBER", help="Number of clips, evenly from the whole suite.")
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
@click.option("--quiet", is_flag=True, help="Print no progress, only errors.")
def clips(suite: str, folder: str, media: str | None, limit: int | None, overwrite: bool, quiet: bool) -> int:
    """Write the silent, cut videos of a suite into a folder, for the script of another system, with a list of them.

    Its music, one file a clip of the same name, is then compared with `eval run --systems ours,folder:DIR`.
    """
    from openvmas.eval.suites.cache import Cache
    from openvmas.eval.suites.excerpt import write_clips
    from openvmas.eval.suites.suite import describe_coverage, evenly_spaced, read_suite

    def say(text: str) -> None:
        if not quiet or text.startswith("left out"):
            click.echo(text, err=True)

    found = read_suite(suite, media)
    for line in describe_coverage(found):
        say(line)
    chosen = found.clips if limit is None else evenly_spaced(found.clips, limit)
    if not chosen:
        raise InputError(f"{suite}: none of its clips is on disk; run `openvmas eval build {suite}`.")
    n = write_clips(chosen, Cache(), Path(folder), overwrite, say)
    click.echo(f"{Path(folder) / 'clips.csv'}: {n} clips")
    return 0 if n == len(chosen) else 2


@eval.command()
@click.argument("suite", metavar="SUITE")
@click.argument("media", metavar="[DIR]", required=False)
def build(suite: str, media: str | None) -> int:
    """Build what is missing of a suite, by the commands that it names; DIR is where its media go."""
    from openvmas.eval.suites import suite as suites

    found = suites.read_suite(suite, media)
    suites.build(found, lambda text: click.echo(text, err=True))
    again = suites.read_suite(suite, media)
    for line in suites.describe_coverage(again):
        click.echo(line)
    return 0 if all(covered.found >= covered.listed for covered in again.coverage) else 2
