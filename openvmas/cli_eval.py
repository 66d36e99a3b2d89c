"""`openvmas eval`: figures about finished videos and music. Heavy modules are imported by the command itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


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
@click.option("--embedder", default="yamnet", metavar="NAME", help="yamnet or musicnn. [default: yamnet]")
@click.option("--border", type=float, metavar="NUMBER", help="Look for seams at every multiple of so many seconds.")
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
@click.option("--quiet", is_flag=True, help="Print no progress, only the tables and errors.")
def folder(
    folder: str,
    reference: str | None,
    json_path: str | None,
    markdown: str | None,
    embedder: str,
    border: float | None,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Measure every video or sound in a folder: timing, craft and variety with intervals, distances from a reference.

    What was measured is kept by content, so the next run is quick.
    """
    from openvmas.errors import ModelError
    from openvmas.eval import folder as measures
    from openvmas.eval.tables import as_json, page
    from openvmas.generate.outputs import Outputs, explain_write_errors

    def say(text: str) -> None:
        if not quiet or text.startswith("left out"):
            click.echo(text, err=True)

    def measure(path: Path) -> measures.MeasuredFolder:
        return measures.measure_folder(path, known, border, say)

    known: str | None = embedder
    with Outputs(folder, overwrite) as outputs:
        targets = [(outputs.reserve(p, o), Path(p)) for p, o in ((json_path, "--json"), (markdown, "--markdown")) if p]
        paths = [Path(name) for name in (folder, reference) if name]
        for path in paths:
            measures.media_files(path)
        try:
            found = [measure(path) for path in paths]
        except ModelError as error:
            click.echo(f"note: {error} Until then no distances and no variety are printed.", err=True)
            known = None
            found = [measure(path) for path in paths]
        made = found[0]
        parts: dict[str, Any] = {"summary": measures.summarise(made), "variety": measures.variety(made)}
        if reference:
            parts |= {"reference": found[1], "compared": measures.compare(found[1], made)}
            parts["pairs"] = measures.pair(found[1], made)
        text = page(made, embedder=known, **parts)
        for hidden, target in targets:
            data = as_json(made, embedder=known, **parts) if json_path and target == Path(json_path) else None
            with explain_write_errors(target.parent):
                hidden.write_text(
                    text if data is None else json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8"
                )
        outputs.commit()
    click.echo(text, nl=False)
    return 0
