"""Tables of `openvmas eval folder`, as Markdown that reads well in a terminal too, and the same figures as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openvmas import __version__
from openvmas.eval.benchmark.folder_measures import MeasuredFolder, Pairing, base
from openvmas.eval.metrics.statistics import Interval


@dataclass(frozen=True)
class Measure:
    """How a figure is shown. better: "higher", "lower" or "" where neither is. digits: after the point."""

    title: str
    unit: str = ""
    better: str = ""
    digits: int = 2


MEASURES: dict[str, Measure] = {
    "duration": Measure("length", "s"),
    "sync_z": Measure("sync z", "", "higher"),
    "onset_density": Measure("onsets per visual beat", ""),
    "visual_beats_met": Measure("visual beats met within 100 ms", "", "higher"),
    "beat_coverage": Measure("beat coverage score", ""),
    "beat_hit": Measure("beat hit score", "", "higher"),
    "beat_f1": Measure("beat F1", "", "higher"),
    "beat_alignment": Measure("beat alignment", "", "higher"),
    "cut_error_ms": Measure("cut to onset, median", "ms", "lower", 0),
    "cuts_within": Measure("cuts within 80 ms", "", "higher"),
    "motion_correlation": Measure("motion to energy, r", "", "higher"),
    "tempo_stability": Measure("tempo stability", "", "higher"),
    "tempo_drift": Measure("tempo drift", "", "lower", 3),
    "true_ending": Measure("true ending", "", "higher"),
    "ending_db": Measure("level of the end", "dB", "lower", 1),
    "length_error": Measure("length error", "s"),
    "loudness_lufs": Measure("loudness", "LUFS", "", 1),
    "true_peak_db": Measure("true peak", "dBTP", "", 1),
    "clipped_share": Measure("clipped samples", "", "lower", 5),
    "silent_share": Measure("silence", "", "", 3),
    "bandwidth": Measure("95 % roll-off", "Hz", "", 0),
    "stereo_width": Measure("stereo width", ""),
    "stereo_correlation": Measure("left to right, r", ""),
    "loop_seconds": Measure("stuck loop, longest", "s", "lower", 1),
    "seam_z": Measure("seams, z", "", "lower"),
    "similarity": Measure("similarity", "", "higher", 3),
    "similarity_meaning": Measure("similarity by meaning", "", "higher", 3),
    "similarity_timing": Measure("similarity by timing", "", "higher", 3),
    "own_similarity": Measure("other music that fits less", "", "higher"),
    "retrieval_r1": Measure("own music first", "", "higher"),
    "retrieval_r5": Measure("own music among five", "", "higher"),
    "retrieval_rank": Measure("rank of own music, median", "", "lower", 1),
    "tags_cosine": Measure("tags alike, cosine", "", "higher"),
    "tags_r": Measure("tags alike, r", "", "higher"),
    "tags_own": Measure("other clips' tags less alike", "", "higher"),
    "frechet": Measure("Fréchet distance", "", "lower", 3),
    "frechet_infinity": Measure("Fréchet distance, no limit of size", "", "lower", 3),
    "kernel_distance": Measure("kernel distance, polynomial", "", "lower", 5),
    "kernel_audio_distance": Measure("kernel distance, Gaussian", "", "lower", 5),
    "precision": Measure("precision", "", "higher"),
    "recall": Measure("recall", "", "higher"),
    "density": Measure("density", "", "higher"),
    "coverage": Measure("coverage", "", "higher"),
    "tag_divergence": Measure("KL of tags, sets", "nats", "lower", 3),
    "tag_divergence_paired": Measure("KL of tags, pairs", "nats", "lower", 3),
    "inception_score": Measure("Inception-like score", "", "higher"),
    "vendi": Measure("Vendi score of files", "", "higher"),
    "cosine_distance": Measure("cosine distance of files", "", "", 3),
    "styles_used": Measure("styles used", "", "", 1),
    "style_coverage": Measure("style coverage", "", "higher"),
    "style_contrast": Measure("style contrast", "", "higher"),
    "style_overlap": Measure("style overlap", "", "higher"),
    "seeds_vendi": Measure("Vendi score of seeds"),
    "seeds_distance": Measure("cosine distance of seeds", "", "", 3),
    "videos_vendi": Measure("Vendi score of videos"),
    "videos_distance": Measure("cosine distance of videos", "", "", 3),
    "video_share": Measure("variance that the video explains", "", "higher"),
}


OTHERS = (
    "Similarity and ranks that name an embedder are by its own comparison: the cosine of five pictures and of the "
    "music in its space."
)


def ear(embedder: str) -> str:
    """What a page calls an embedder: its weights by the name of their file, wherever they lie."""
    kind, _, path = embedder.partition(":")
    return f"{kind}:{Path(path).absolute().name}" if path else kind


def in_order(names: Iterable[str]) -> list[str]:
    """Those that are figures of MEASURES, in its order; what several embedders say of one stands together."""
    order = {name: i for i, name in enumerate(MEASURES)}
    return sorted((name for name in names if base(name) in order), key=lambda name: (order[base(name)], name))


def number(value: float, digits: int) -> str:
    """A figure for a table; empty where nothing can be said. Never "-0.00"."""
    if not math.isfinite(value):
        return ""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def span(interval: Interval, digits: int) -> str:
    """Limits of an interval, empty where there are none."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of even width, the first aligned left, the others right."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(parts) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def title(name: str) -> str:
    """The measure with its unit, and whose ear it is where that matters."""
    measure, embedder = MEASURES[base(name)], name.partition(":")[2]
    unit = f" ({measure.unit})" if measure.unit else ""
    return f"{measure.title}{unit}{f', {ear(embedder)}' if embedder else ''}"


def summary_table(found: Mapping[str, tuple[Interval, int]]) -> str:
    """Mean, interval and number of files of every measure."""
    rows = []
    for name in in_order(found):
        (interval, n), measure = found[name], MEASURES[base(name)]
        figures = number(interval.value, measure.digits), span(interval, measure.digits)
        rows.append([title(name), *figures, str(n), measure.better])
    return table(("measure", "mean", "95 % interval", "files", "better"), rows)


def interval_table(found: Mapping[str, Interval]) -> str:
    """Figures of whole sets with their intervals."""
    rows = []
    for name in in_order(found):
        interval, measure = found[name], MEASURES[base(name)]
        figures = number(interval.value, measure.digits), span(interval, measure.digits)
        rows.append([title(name), *figures, measure.better])
    return table(("measure", "value", "95 % interval", "better"), rows)


def pair_table(found: Mapping[str, Pairing]) -> str:
    """Both means, the difference with its interval, the corrected p-value and sizes of effect of every measure."""
    rows = []
    for name in in_order(found):
        item, measure = found[name], MEASURES[base(name)]
        figures = [number(x, measure.digits) for x in (item.reference, item.estimated, item.difference.value)]
        effects = [number(item.p, 4), number(item.d, 2), number(item.delta, 2), str(item.n_pairs), measure.better]
        rows.append([title(name), *figures, span(item.difference, measure.digits), *effects])
    head = ("measure", "reference", "estimated", "difference", "95 % interval", "p (Holm)", "d", "delta", "pairs")
    return table((*head, "better"), rows)


def page(
    estimated: MeasuredFolder,
    summary: Mapping[str, tuple[Interval, int]],
    variety: Mapping[str, Interval],
    reference: MeasuredFolder | None = None,
    compared: Mapping[str, Interval] | None = None,
    pairs: Mapping[str, Pairing] | None = None,
    embedder: str | None = None,
) -> str:
    """All tables of one run as Markdown."""
    who = ear(embedder or "")
    parts = [f"## {estimated.path.name or estimated.path}: {len(estimated.files)} files", summary_table(summary)]
    if estimated.broken:
        parts.append("Left out:\n\n" + "\n".join(f"- {text}" for text in estimated.broken.values()))
    if variety:
        parts += [f"### Variety ({who})", interval_table(variety)]
    if reference is not None:
        name = reference.path.name or str(reference.path)
        if compared:
            parts += [f"### Distance from {name}, {len(reference.files)} files ({who})", interval_table(compared)]
        if pairs:
            parts += [f"### Clips of the same name in {name} (reference)", pair_table(pairs)]
        elif pairs is not None:
            parts.append(f"No two clips of {name} have the names of clips here, so nothing is compared in pairs.")
    if "similarity" in summary:
        parts.append(
            "Similarity is that of `openvmas.similarity`; ranks are among the music of this folder, and by chance half "
            "of the other music fits less." + (f" {OTHERS}" if f"similarity:{embedder}" in summary else "")
        )
    parts.append(
        "Intervals: bootstrap over files (BCa), of whole sets jackknife over files; p: paired permutation test with "
        "Holm's correction; d: Cohen's d of the differences; delta: Cliff's. An empty cell: nothing can be said."
    )
    return "\n\n".join(parts) + "\n"


def as_json(
    estimated: MeasuredFolder,
    summary: Mapping[str, tuple[Interval, int]],
    variety: Mapping[str, Interval],
    reference: MeasuredFolder | None = None,
    compared: Mapping[str, Interval] | None = None,
    pairs: Mapping[str, Pairing] | None = None,
    embedder: str | None = None,
) -> dict[str, Any]:
    """Everything of `page` and the figures of every file, as plain values; what cannot be said is None."""
    found: dict[str, Any] = {
        "made_by": f"OpenVMAS {__version__}",
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
            "pairs": pairs or {},
        }
    return plain(found)


def plain(value: Any) -> Any:
    """The value with dataclasses as objects, numbers of 6 significant digits and NaN or infinities as None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
