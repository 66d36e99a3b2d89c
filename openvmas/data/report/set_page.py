"""The report of a training set as one HTML page: the funnel drawn, examples of what was refused, then the datasheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openvmas.data.report.costs import HOUR, Costs, read_costs
from openvmas.data.report.datasheet import length_rows, measure_rows, table_rows
from openvmas.data.report.funnel import Funnel
from openvmas.errors import InputError, OutputError
from openvmas.files import write_text
from openvmas.pages.rendering import draw, render

BAR = 560  # px, of all listed records
ROWS = 12  # of a table; the datasheet has more
TABLES = ("licence", "split", "source", "kind")  # first; then genres, moods and whatever else was found


def write_page(dataset: Path, target: Path) -> None:
    """Write the page of a finished set, beside its place and renamed. Raises InputError, OutputError."""
    try:
        funnel = Funnel.from_json((dataset / "funnel.json").read_text(encoding="utf-8"))
        sheet = json.loads((dataset / "datasheet.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{dataset} is not a finished set; build it with `openvmas data build`.") from error
    page = draw_page(sheet, funnel, _costs(dataset))
    try:
        write_text(target, page)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place.") from error


def _costs(dataset: Path) -> Costs | None:
    try:
        return read_costs(dataset)
    except InputError:  # a set that was copied without its work folder
        return None


def draw_page(sheet: dict[str, Any], funnel: Funnel, costs: Costs | None) -> str:
    """The page for a datasheet's JSON, a funnel and the costs of the build, if they are known."""
    kept = f"{funnel.n_kept / max(funnel.n_listed, 1):.1%} of {funnel.n_listed:,}"
    tiles = [
        ("Records", f"{sheet['records']:,}", f"kept; {kept} listed", ""),
        ("Hours", f"{sheet['hours']:,.1f}", "of picture or music", ""),
        ("Clusters", f"{sheet['clusters']:,}", "never in two splits", ""),
        ("Licences", f"{len(sheet['tables'].get('licence', []))}", "kinds", ""),
    ]
    if funnel.n_addresses:
        rot = funnel.link_rot / funnel.n_addresses
        tiles.append(("Link rot", f"{rot:.1%}", f"of {funnel.n_addresses:,} addresses gave no file", ""))
    if sheet.get("coverage"):
        tiles.append(("Coverage", f"{sheet['coverage']['share']:.1%}", f"of {sheet['coverage']['list']}", ""))
    others = sorted(set(sheet["tables"]) - {*TABLES, "author", "collection"})
    longest = max(*sheet["lengths"], 1)
    return render(
        "set_page.html",
        title=sheet["title"],
        tiles=tiles,
        funnel=funnel,
        drawing=draw_funnel(funnel),
        tables=table_rows(sheet, (*TABLES, *others, "author"), ROWS),
        lengths=[(f"{name} s", n / longest * 360, 0, f"{n:,}") for name, n in length_rows(sheet)],
        measures=measure_rows(sheet),
        costs=cost_rows(costs) if costs else [],
    )


def draw_funnel(funnel: Funnel) -> str:
    """A bar per stage: the records that came to it, with the part that it refused marked."""
    widest = max([funnel.n_listed, funnel.n_kept, *(s.came for s in funnel.steps), 1])
    steps = [("listed", funnel.n_listed, 0), *((s.name, s.came, s.refused) for s in funnel.steps)]
    rows = [
        (name, came / widest * BAR, refused / widest * BAR, f"{came:,}" + (f" − {refused:,}" if refused else ""))
        for name, came, refused in (*steps, ("kept", funnel.n_kept, 0))
    ]
    return draw("bars", "Records that came to each stage", rows, 130 + BAR + 130, 130, 26)


def cost_rows(costs: Costs) -> list[list[str]]:
    """Processor time of each stage."""
    rows = []
    for name, (n, seconds) in costs.stages.items():
        each = seconds / max(n, 1)
        rows.append([name, f"{n:,}", f"{each:.3f}", f"{HOUR / each:,.0f}" if each > 1e-6 else "–"])
    return rows
