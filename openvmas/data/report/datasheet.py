"""The datasheet of a finished set, made by program: what is in it, where it came from, what was refused and why.

The questions follow Gebru et al. (2021), Datasheets for datasets, as far as a program can answer them. The page shows
what `datasheet.json` holds and nothing else. The report is another page, which `openvmas data report` makes: the funnel
drawn, examples of what was refused, then the datasheet.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.record import SPLITS, Record, duration_of, read_records
from openvmas.data.report.costs import HOUR, Costs, describe_size, read_costs
from openvmas.data.report.funnel import Funnel
from openvmas.data.sources.records import read_rows
from openvmas.errors import InputError, OutputError
from openvmas.files import write_text
from openvmas.pages.rendering import draw, render

LABELS = ("genre", "genres", "style", "styles", "mood", "moods", "tags", "instruments", "language", "objects")
LABELS_EACH = 3  # where every label has a weight
ADDRESSES = ("address", "url", "uri", "path", "video_id", "id")  # columns by which a published list names its entries
LENGTHS = (5.0, 10.0, 20.0, 40.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)  # s, borders of the histogram
MAX_ROWS = 20  # rows of a table on the page; datasheet.json has all
FIRST_TABLES = ("split", "kind", "licence", "source")
BAR = 560  # px, of all listed records in the report
REPORT_ROWS = 12  # of a table; the datasheet has more
REPORT_TABLES = ("licence", "split", "source", "kind")  # first; then genres, moods and whatever else was found
SAMPLED = 50_000  # values of a measurement from which quantiles are taken


def write_datasheet(output: Path, title: str = "", published: Path | None = None) -> dict[str, Any]:
    """Write `datasheet.json` and `datasheet.html` of a finished set; give the first as a dict.

    published: a table (CSV, Parquet, JSONL) of which it is said how much of it the set holds. Raises InputError.
    """
    manifest = _read_json(output / "manifest.json")
    sheet = describe(read_records(output / "set.jsonl"))
    funnel = output / "funnel.json"
    sheet |= {
        "title": title or output.resolve().name,
        "arrays": manifest["arrays"],
        "bytes": sum(shard["bytes"] for split in manifest["splits"].values() for shard in split["shards"]),
        "shards": {name: len(split["shards"]) for name, split in manifest["splits"].items()},
        "funnel": _read_json(funnel) if funnel.exists() else None,
        "coverage": coverage(output / "set.jsonl", published) if published else None,
    }
    write_text(output / "datasheet.json", json.dumps(sheet, indent=1, sort_keys=True) + "\n")
    write_text(output / "datasheet.html", draw_page(sheet))
    return sheet


def describe(records: Iterable[Record]) -> dict[str, Any]:
    """Counts and distributions of records, in memory that grows only with how many names there are."""
    tables: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0, 0.0]))
    measures: dict[str, list[float]] = defaultdict(list)
    seen: Counter[str] = Counter()
    lengths = [0] * (len(LENGTHS) + 1)
    clusters: set[str] = set()
    for record in records:
        seconds = duration_of(record)
        lengths[int(np.searchsorted(LENGTHS, seconds, side="right"))] += 1
        clusters.add(str(record.facts.get("duplicates.cluster", record.id)))
        for table, value in _named(record):
            row = tables[table][value]
            row[0] += 1
            row[1] += seconds
        for name, value in record.facts.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                seen[name] += 1
                # The first values stand for all: which ones they are must not depend on chance.
                if len(measures[name]) < SAMPLED:
                    measures[name].append(float(value))
    split_rows = tables.get("split", {})
    return {
        "records": int(sum(row[0] for row in split_rows.values())),
        "hours": round(sum(row[1] for row in split_rows.values()) / 3600, 4),
        "clusters": len(clusters),
        "lengths": lengths,
        "tables": {
            name: [[value, int(row[0]), round(row[1] / 3600, 4)] for value, row in _largest(rows)]
            for name, rows in sorted(tables.items())
        },
        "measures": {
            name: [seen[name], *(float(f"{x:.6g}") for x in np.quantile(np.array(values), (0, 0.05, 0.5, 0.95, 1)))]
            for name, values in sorted(measures.items())
        },
    }


def coverage(set_path: Path, published: Path) -> dict[str, Any]:
    """Share of a published list's entries that the set holds; several spans of one address are one entry each."""
    held = {_entry(name) for record in read_records(set_path) for name in (record.origin.uri, record.origin.page)}
    held.discard("")
    n_listed = n_held = 0
    column = ""
    for row in read_rows(published):
        if not n_listed:
            by_low = {name.lower(): name for name in row}
            column = next((by_low[name] for name in ADDRESSES if name in by_low), "")
            if not column:
                raise InputError(f"{published} has no column with addresses; name it one of {', '.join(ADDRESSES)}.")
        n_listed += 1
        n_held += _entry(str(row.get(column) or "")) in held
    return {"list": published.name, "listed": n_listed, "held": n_held, "share": round(n_held / max(n_listed, 1), 6)}


def draw_page(sheet: dict[str, Any]) -> str:
    """The page of a datasheet."""
    return render(
        "datasheet.html",
        title=sheet["title"],
        sheet=sheet,
        size=describe_size(sheet["bytes"]),
        funnel=_funnel_rows(sheet["funnel"]) if sheet["funnel"] else None,
        tables=table_rows(sheet, (*FIRST_TABLES, *sorted(set(sheet["tables"]) - set(FIRST_TABLES))), MAX_ROWS),
        lengths=length_rows(sheet),
        longest=max(*sheet["lengths"], 1),
        measures=measure_rows(sheet),
        arrays=[[name, entry["dtype"], f"{entry['records']:,}"] for name, entry in sheet["arrays"].items()],
    )


def table_rows(sheet: dict[str, Any], names: Iterable[str], limit: int) -> list[tuple[str, list[list[str]], int]]:
    """Name, rows (value, records, hours) and number of rows left out of each table that the sheet has."""
    tables = [(name, sheet["tables"][name]) for name in names if name in sheet["tables"]]
    return [
        (name, [[str(value), f"{n:,}", f"{hours:,.2f}"] for value, n, hours in rows[:limit]], len(rows) - limit)
        for name, rows in tables
    ]


def length_rows(sheet: dict[str, Any]) -> list[tuple[str, int]]:
    """Ranges of length (s) with their records."""
    names = [f"under {LENGTHS[0]:g}", *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(LENGTHS))]
    return list(zip([*names, f"over {LENGTHS[-1]:g}"], sheet["lengths"], strict=True))


def measure_rows(sheet: dict[str, Any]) -> list[list[str]]:
    """Name, records and five quantiles of each measurement."""
    return [[name, f"{row[0]:,}", *(f"{value:.4g}" for value in row[1:])] for name, row in sheet["measures"].items()]


def _named(record: Record) -> Iterable[tuple[str, str]]:
    """Tables and the values under which a record is counted in them."""
    origin = record.origin
    yield "split", str(record.facts.get("split.name", ""))
    yield "kind", record.kind
    yield "licence", origin.licence or "(not stated)"
    yield "source", origin.source
    yield "collection", origin.collection or "(none)"
    yield "author", origin.author or "(not stated)"
    for name, value in record.facts.items():
        if name.rpartition(".")[2] in LABELS:
            for item in _strongest(value) if isinstance(value, dict) else value if isinstance(value, list) else [value]:
                yield name, str(item)


def _strongest(weights: dict[str, float]) -> list[str]:
    """The labels that say most about a record: at most LABELS_EACH, with a weight above zero."""
    named = sorted((name for name, weight in weights.items() if weight > 0), key=lambda name: -weights[name])
    return named[:LABELS_EACH]


def _entry(name: str) -> str:
    """One spelling of an address."""
    return name.strip().partition("://")[2].removeprefix("www.").rstrip("/") if "://" in name else name.strip()


def _largest(rows: dict[str, list[float]]) -> list[tuple[str, list[float]]]:
    known = {name: place for place, name in enumerate(SPLITS)}
    return sorted(rows.items(), key=lambda item: (known.get(item[0], len(SPLITS)), -item[1][0], item[0]))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read; build the set again.") from error


def _funnel_rows(funnel: dict[str, Any]) -> list[list[str]]:
    rows = [["listed", "", f"{funnel['n_listed']:,}", "", ""]]
    for step in funnel["steps"]:
        rows.append([step["name"], "", f"{step['came']:,}", f"{sum(step['reasons'].values()):,}", ""])
        for reason, count in sorted(step["reasons"].items()):
            examples = step["examples"].get(reason, [])
            shown = "; ".join(f"{uri} ({detail})" if detail else uri for uri, detail in examples)
            rows.append(["", reason, "", f"{count:,}", shown])
    return [*rows, ["kept", "", f"{funnel['n_kept']:,}", "", ""]]


def write_report(dataset: Path, target: Path) -> None:
    """Write the page of a finished set, beside its place and renamed. Raises InputError, OutputError."""
    try:
        funnel = Funnel.from_json((dataset / "funnel.json").read_text(encoding="utf-8"))
        sheet = json.loads((dataset / "datasheet.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{dataset} is not a finished set; build it with `openvmas data build`.") from error
    costs = None
    with contextlib.suppress(InputError):  # of a set that was copied without its work folder
        costs = read_costs(dataset)
    page = draw_report(sheet, funnel, costs)
    try:
        write_text(target, page)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place.") from error


def draw_report(sheet: dict[str, Any], funnel: Funnel, costs: Costs | None) -> str:
    """The page for a datasheet's JSON, a funnel and the costs of the build, if they are known."""
    others = sorted(set(sheet["tables"]) - {*REPORT_TABLES, "author", "collection"})
    longest = max(*sheet["lengths"], 1)
    return render(
        "set_page.html",
        title=sheet["title"],
        sheet=sheet,
        funnel=funnel,
        drawing=draw_funnel(funnel),
        tables=table_rows(sheet, (*REPORT_TABLES, *others, "author"), REPORT_ROWS),
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
