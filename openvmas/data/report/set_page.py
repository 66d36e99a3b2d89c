"""The report of a set as one HTML page: the funnel drawn, examples of what was refused, then what the datasheet says.

No script, nothing loaded from elsewhere, light and dark; names that came with the media are escaped.
"""

from __future__ import annotations

import itertools
import json
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from openvmas.data.report.costs import HOUR, Costs, read_costs
from openvmas.data.report.datasheet import LENGTHS
from openvmas.data.report.funnel import Funnel, Step
from openvmas.errors import InputError, OutputError
from openvmas.files import write_text

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
    template = Template(resources.files("openvmas.data.report").joinpath("set_page.html").read_text(encoding="utf-8"))
    kept = f"{funnel.n_kept / max(funnel.n_listed, 1):.1%} of {funnel.n_listed:,}"
    tiles = [
        ("Records", f"{sheet['records']:,}", f"kept; {kept} listed"),
        ("Hours", f"{sheet['hours']:,.1f}", "of picture or music"),
        ("Clusters", f"{sheet['clusters']:,}", "never in two splits"),
        ("Licences", f"{len(sheet['tables'].get('licence', []))}", "kinds"),
    ]
    if funnel.n_addresses:
        rot = funnel.link_rot / funnel.n_addresses
        tiles.append(("Link rot", f"{rot:.1%}", f"of {funnel.n_addresses:,} addresses gave no file"))
    if sheet.get("coverage"):
        tiles.append(("Coverage", f"{sheet['coverage']['share']:.1%}", f"of {sheet['coverage']['list']}"))
    names = [name for name in TABLES if name in sheet["tables"]]
    names += [name for name in sorted(sheet["tables"]) if name not in (*TABLES, "author", "collection")]
    return template.substitute(
        title=escape(sheet["title"]),
        tiles="".join(tile(*values) for values in tiles),
        funnel=draw_funnel(funnel),
        examples="".join(examples(step) for step in funnel.steps if step.refused) or "<p>Nothing was refused.</p>",
        tables="".join(counts(name, sheet["tables"][name]) for name in (*names, "author") if name in sheet["tables"]),
        lengths=lengths(sheet["lengths"]),
        measures=table(
            ("measurement", "records", "least", "5 %", "median", "95 %", "most"),
            [[name, f"{row[0]:,}", *(f"{v:.4g}" for v in row[1:])] for name, row in sheet["measures"].items()],
        ),
        costs=cost_table(costs),
    )


def tile(heading: str, figure: str, note: str) -> str:
    """One figure at the top."""
    return (
        f'<div class="tile"><h3>{escape(heading)}</h3><p class="figure">{escape(figure)}</p><p>{escape(note)}</p></div>'
    )


def draw_funnel(funnel: Funnel) -> str:
    """A bar per stage: what came to it, with the part that it refused marked."""
    left, step = 130, 26
    widest = max([funnel.n_listed, funnel.n_kept, *(s.came for s in funnel.steps), 1])
    rows = [("listed", funnel.n_listed, 0), *((s.name, s.came, s.refused) for s in funnel.steps)]
    rows.append(("kept", funnel.n_kept, 0))
    parts = []
    for place, (name, came, refused) in enumerate(rows):
        y, size, lost = place * step + 4, came / widest * BAR, refused / widest * BAR
        note = f"{came:,}" + (f" − {refused:,}" if refused else "")
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="came" x="{left}" y="{y}" width="{size:.1f}" height="18" rx="2"/>'
            f'<rect class="lost" x="{left + size - lost:.1f}" y="{y}" width="{lost:.1f}" height="18" rx="2"/>'
            f'<text x="{left + size + 8:.1f}" y="{y + 13}">{note}</text>'
        )
    width, height = left + BAR + 130, len(rows) * step + 4
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="Records that came to each stage">{"".join(parts)}</svg>'
    )


def examples(step: Step) -> str:
    """What one stage refused: reasons by frequency, a few addresses each."""
    lines = []
    for reason, count in sorted(step.reasons.items(), key=lambda item: (-item[1], item[0])):
        shown = "".join(
            f"<li>{escape(uri)}{f': <i>{escape(detail)}</i>' if detail else ''}</li>"
            for uri, detail in step.examples.get(reason, [])
        )
        lines.append(f"<dt>{escape(reason)} <small>{count:,}</small></dt><dd><ul>{shown}</ul></dd>")
    share = step.refused / max(step.came, 1)
    head = f"{escape(step.name)}: {step.refused:,} of {step.came:,} refused ({share:.1%})"
    return f"<details><summary>{head}</summary><dl>{''.join(lines)}</dl></details>"


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table of text."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def counts(name: str, rows: list[list[Any]]) -> str:
    """Records and hours by licence, split, genre and the like."""
    shown = [[str(value), f"{count:,}", f"{hours:,.2f}"] for value, count, hours in rows[:ROWS]]
    more = f"<p>{len(rows) - ROWS:,} more in datasheet.json.</p>" if len(rows) > ROWS else ""
    return (
        f"<figure><figcaption><b>{escape(name)}</b></figcaption>{table(('', 'records', 'hours'), shown)}{more}</figure>"
    )


def lengths(numbers: list[int]) -> str:
    """Distribution of lengths as bars."""
    names = [f"under {LENGTHS[0]:g}", *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(LENGTHS))]
    names.append(f"over {LENGTHS[-1]:g}")
    most = max(*numbers, 1)
    left, step = 90, 22
    parts = []
    for place, (name, count) in enumerate(zip(names, numbers, strict=True)):
        y, size = place * step + 2, count / most * 360
        parts.append(
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{name} s</text>'
            f'<rect class="came" x="{left}" y="{y}" width="{size:.1f}" height="16" rx="2"/>'
            f'<text x="{left + size + 6:.1f}" y="{y + 12}">{count:,}</text>'
        )
    height = len(numbers) * step
    return (
        f'<svg viewBox="0 0 540 {height}" width="540" role="img" aria-label="Lengths of records">{"".join(parts)}</svg>'
    )


def cost_table(costs: Costs | None) -> str:
    """Processor time of each stage."""
    if costs is None or not costs.stages:
        return "<p>The build's work folder is not there, so its costs are not known.</p>"
    rows = []
    for name, (n, seconds) in costs.stages.items():
        each = seconds / max(n, 1)
        rows.append([name, f"{n:,}", f"{each:.3f}", f"{HOUR / each:,.0f}" if each > 1e-6 else "–"])
    return table(("stage", "records", "s each", "per core-hour"), rows)
