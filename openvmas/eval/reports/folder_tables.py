"""Tables of `openvmas eval folder`, as Markdown that reads well in a terminal too, and the same figures as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from openvmas.eval.benchmark import small_samples
from openvmas.eval.benchmark.folder_measures import MeasuredFolder, Pairing
from openvmas.eval.metrics.measure_table import MEASURES, base, in_order
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.reports.report_values import interval_cells, number, plain, table, version_text

T = TypeVar("T")
OTHERS = (
    "Similarity and ranks that name an embedder are by its own comparison: the cosine of five pictures and of the "
    "music in its space."
)


def label(embedder: str) -> str:
    """The name of an embedder on pages: its weights by the name of their file, wherever they lie."""
    kind, _, path = embedder.partition(":")
    return f"{kind}:{Path(path).absolute().name}" if path else kind


def title(name: str) -> str:
    """The measure with its unit, and its embedder where there is one."""
    measure, embedder = MEASURES[base(name)], name.partition(":")[2]
    unit = f" ({measure.unit})" if measure.unit else ""
    return f"{measure.title}{unit}{f', {label(embedder)}' if embedder else ''}"


def measure_table(head: Sequence[str], found: Mapping[str, T], cells: Callable[[T, int], Sequence[str]]) -> str:
    """A row for each measure in the order of MEASURES: title, cells with so many digits, and the better side."""
    measures = {name: MEASURES[base(name)] for name in in_order(found)}
    rows = [[title(name), *cells(found[name], item.digits), item.better] for name, item in measures.items()]
    return table(("measure", *head, "better"), rows)


def summary_table(found: Mapping[str, tuple[Interval, int]]) -> str:
    """Mean, interval and number of files of every measure."""
    head = ("mean", "95 % interval", "files")
    return measure_table(head, found, lambda item, digits: [*interval_cells(item[0], digits), str(item[1])])


def interval_table(found: Mapping[str, Interval]) -> str:
    """Figures of whole sets with their intervals."""
    return measure_table(("value", "95 % interval"), found, interval_cells)


def pair_table(found: Mapping[str, Pairing]) -> str:
    """Both means, the difference with its interval, the corrected p-value and sizes of effect of every measure."""

    def cells(item: Pairing, digits: int) -> list[str]:
        means = [number(item.reference, digits), number(item.estimated, digits)]
        effects = [number(item.p, 4), number(item.d, 2), number(item.delta, 2), str(item.n_pairs)]
        return [*means, *interval_cells(item.difference, digits), *effects]

    head = ("reference", "estimated", "difference", "95 % interval", "p (Holm)", "d", "delta", "pairs")
    return measure_table(head, found, cells)


def page(
    estimated: MeasuredFolder,
    summary: Mapping[str, tuple[Interval, int]],
    variety: Mapping[str, Interval],
    reference: MeasuredFolder | None = None,
    compared: Mapping[str, Interval] | None = None,
    pairs: Mapping[str, Pairing] | None = None,
    embedder: str | None = None,
    halves: Interval | None = None,
    command: str = "",
) -> str:
    """All tables of one run as Markdown. halves: of the reference (`small_samples.halves`); command: that made it."""
    who = label(embedder or "")
    parts = [f"## {estimated.path.name or estimated.path}: {len(estimated.files)} files", summary_table(summary)]
    if estimated.broken:
        parts.append("Left out:\n\n" + "\n".join(f"- {text}" for text in estimated.broken.values()))
    if variety:
        parts += [f"### Variety ({who})", interval_table(variety)]
    if reference is not None:
        name = reference.path.name or str(reference.path)
        if compared:
            parts += [f"### Distance from {name}, {len(reference.files)} files ({who})", interval_table(compared)]
            parts.append(small_samples.about_reference(len(reference.files), {who: halves} if halves else {}))
        if pairs:
            parts += [f"### Clips of the same name in {name} (reference)", pair_table(pairs)]
            parts += [text for text in [small_samples.about_tests(pairs.values())] if text]
        elif pairs is not None:
            parts.append(f"No two clips of {name} have the names of clips here, so nothing is compared in pairs.")
    if "similarity" in summary:
        parts.append(
            "Similarity is that of `openvmas.similarity`; ranks are among the music of this folder, and by chance half "
            "of the other music fits less." + (f" {OTHERS}" if f"similarity:{embedder}" in summary else "")
        )
    if variety or compared:
        folders = [folder for folder in (estimated, reference) if folder is not None]
        parts.append(small_samples.about_patches({str(f.path.name): small_samples.count_patches(f) for f in folders}))
    parts.append(
        "Intervals: bootstrap over files (BCa), of whole sets jackknife over files; p: paired permutation test with "
        "Holm's correction; d: Cohen's d of the differences; delta: Cliff's. An empty cell: nothing can be said."
    )
    if command:
        parts.append(f"Made by `{command}` with OpenVMAS {version_text()}.")
    return "\n\n".join(parts) + "\n"


def as_json(
    estimated: MeasuredFolder,
    summary: Mapping[str, tuple[Interval, int]],
    variety: Mapping[str, Interval],
    reference: MeasuredFolder | None = None,
    compared: Mapping[str, Interval] | None = None,
    pairs: Mapping[str, Pairing] | None = None,
    embedder: str | None = None,
    halves: Interval | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Everything of `page` and the figures of every file, as plain values; what cannot be said is None."""
    found: dict[str, Any] = {
        "made_by": f"OpenVMAS {version_text()}",
        "command": command,
        "folder": estimated.path.name,
        "embedder": embedder,
        "summary": {name: asdict(interval) | {"files": n} for name, (interval, n) in summary.items()},
        "variety": variety,
        "files": {file.name: file.values for file in estimated.files},
        "broken": estimated.broken,
    }
    if reference is not None:
        found |= {
            "reference": reference.path.name,
            "reference_files": {file.name: file.values for file in reference.files},
            "reference_broken": reference.broken,
            "distances": compared or {},
            "reference_halves": halves,
            "pairs": pairs or {},
        }
    return plain(found)
