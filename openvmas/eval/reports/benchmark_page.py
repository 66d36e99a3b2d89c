"""The page and the JSON of `openvmas eval run`: every figure with its interval, and where a baseline is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openvmas.errors import InputError
from openvmas.eval.benchmark import small_samples
from openvmas.eval.benchmark.folder_measures import Pairing
from openvmas.eval.benchmark.run import RunResult, SystemResult
from openvmas.eval.metrics.measure_table import MEASURES, base, in_order
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.reports.folder_tables import OTHERS, label, title
from openvmas.eval.reports.report_values import number, plain, span, table, version_text

LEVEL = 0.05
BEGIN, END = "<!-- table: made by openvmas eval run -->", "<!-- /table -->"
TOGETHER = ("sync_z", "cuts_within", "own_similarity", "true_ending")  # of clips, in the first table
TOGETHER_SETS = ("frechet", "vendi", "style_contrast")
FIT = "Meaning: picture and music"  # the group of measures by a comparison of picture and music
JUDGED = frozenset(name for name, measure in MEASURES.items() if measure.group == FIT)
CHOSEN = " †"  # at what the judge of similarity says of music that it chose itself
SET_GROUPS = ("Quality", "Diversity", "Seeds and videos")
CLIP_GROUPS = ("Time", FIT, "Meaning: tags of true and written music", "Ending and length", "Craft")
NOTE = (
    "Figures are means over clips with bootstrap intervals (BCa, 95 %); distances and diversity are of all music of a "
    "system, with jackknife intervals over clips (between seeds: bootstrap over videos). Tests are paired permutation "
    "tests over the clips that both systems have, with Holm's correction over all tests of this page; d is Cohen's d "
    "of the differences, delta is Cliff's. ↑ higher is better, ↓ lower is better. An empty cell: nothing can be said."
)
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


def cell(interval: Interval | None, digits: int) -> str:
    """A figure with its interval."""
    if interval is None or not math.isfinite(interval.value):
        return ""
    limits = span(interval, digits)
    return number(interval.value, digits) + (f" ({limits})" if limits else "")


def heading(name: str) -> str:
    """A measure with its unit and its better side."""
    return title(name) + ARROWS[MEASURES[base(name)].better]


def clip_cell(system: SystemResult, name: str) -> str:
    """A measure of clips."""
    if name not in system.summary:
        return ""
    mark = CHOSEN if system.selects_by_similarity and name in JUDGED else ""
    return cell(system.summary[name][0], MEASURES[base(name)].digits) + mark


def set_cell(system: SystemResult, embedder: str, name: str) -> str:
    """A measure of all music of a system."""
    return cell(system.sets.get(embedder, {}).get(name), MEASURES[name].digits)


def measures_of(result: RunResult) -> list[str]:
    """Every measure of clips that some system has, in the order of MEASURES."""
    found = {name for system in result.systems for name in system.summary}
    return [name for name in in_order(found) if name != "duration"]


def first_table(result: RunResult) -> str:
    """The result in short."""
    together = [
        figure
        for name in TOGETHER
        for figure in (name, *(f"{name}:{other}" for other in result.others if name in JUDGED))
    ]
    head = ["system", "clips", *(heading(name) for name in together)]
    head += [f"{heading(name)}, {label(e)}" for e in result.embedders for name in TOGETHER_SETS] + ["CPU s per s"]
    rows = []
    for system in result.systems:
        row = [system.spec, str(len(system.made)), *(clip_cell(system, name) for name in together)]
        row += [set_cell(system, e, name) for e in result.embedders for name in TOGETHER_SETS]
        rows.append([*row, number(system.cost, 2)])
    return table(head, rows)


def in_short(result: RunResult, command: str) -> str:
    """The first table with what it needs to be read, for another page."""
    chosen = any(system.selects_by_similarity for system in result.systems)
    return "\n\n".join([
        f"{len(result.clips)} clips of the suite {result.suite.name}, by `{command}`:",
        first_table(result),
        NOTE + (" †: chosen by the very similarity that judges here." if chosen else ""),
        *cautions(result),
    ])  # fmt: skip


def insert(path: str | Path, text: str) -> str:
    """The page at `path` with the text between its marks. Raises InputError where it has none."""
    try:
        page = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give --table a Markdown page.") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path} has no place for the table; write {BEGIN} and {END} where it belongs.")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def group_tables(result: RunResult) -> list[str]:
    """Every measure of clips, systems as rows; what is in no group comes last."""
    left = measures_of(result)
    parts = []
    for name in (*CLIP_GROUPS, "Other measures"):
        names = [measure for measure in left if MEASURES[base(measure)].group == name or name not in CLIP_GROUPS]
        left = [measure for measure in left if measure not in names]
        if names:
            rows = [[s.spec, *(clip_cell(s, measure) for measure in names)] for s in result.systems]
            parts.append(f"### {name}\n\n" + table(["system", *(heading(measure) for measure in names)], rows))
    return parts


def set_tables(result: RunResult) -> list[str]:
    """Every measure of sets, a table for each embedder and group; systems of which nothing is known are left out."""
    parts = []
    for embedder in result.embedders:
        known = {s.spec: s.sets.get(embedder, {}) for s in result.systems}
        for group in SET_GROUPS:
            wanted = (name for name, measure in MEASURES.items() if measure.group == group)
            names = [name for name in wanted if any(name in found for found in known.values())]
            rows = [
                [s.spec, *(set_cell(s, embedder, name) for name in names)]
                for s in result.systems
                if any(name in known[s.spec] for name in names)
            ]
            if rows:
                head = ["system", *(heading(name) for name in names)]
                parts.append(f"### {group}, {label(embedder)}\n\n" + table(head, rows))
        if any(known.values()):
            used = {s.spec: s.patches[embedder] for s in result.systems if embedder in s.patches}
            parts.append(small_samples.about_patches(used))
    return parts


def cautions(result: RunResult) -> list[str]:
    """Sentences on what the numbers of clips mean for distances and tests, where there is something to say."""
    found = [small_samples.about_tests(result.pairs.values())]
    if result.reference is not None and result.embedders:
        own = {label(embedder): item for embedder, item in result.reference.halves.items()}
        found.insert(0, small_samples.about_reference(result.reference.n_files, own))
    return [text for text in found if text]


def advantage(name: str, pairing: Pairing) -> float:
    """Above 0 where the other system is better than the first beyond chance, below 0 where it is worse."""
    return pairing.difference.value * MEASURES[base(name)].sign if pairing.p < LEVEL else 0.0


def disadvantages_in_sets(result: RunResult) -> list[list[str]]:
    """Distances and variety where another system's interval lies wholly on the better side of the first one's."""
    first, rows = result.systems[0], []
    for other in result.systems[1:]:
        for embedder in result.embedders:
            ours, theirs = first.sets.get(embedder, {}), other.sets.get(embedder, {})
            for name in (n for n in MEASURES if n in ours and n in theirs and MEASURES[n].sign):
                x, y, digits = ours[name], theirs[name], MEASURES[name].digits
                gap = y.low - x.high if MEASURES[base(name)].sign > 0 else x.low - y.high
                if gap > 0:
                    rows.append([other.spec, f"{title(name)}, {label(embedder)}", cell(x, digits), cell(y, digits)])
    return rows


def disadvantages_in_clips(result: RunResult) -> list[list[str]]:
    """Measures of clips in which another system is better beyond chance."""
    rows = []
    judged = {system.spec: system.selects_by_similarity for system in result.systems}
    for (spec, name), pairing in result.pairs.items():
        if advantage(name, pairing) > 0:
            digits = MEASURES[base(name)].digits
            figures = [number(x, digits) for x in (pairing.reference, pairing.estimated)]
            mark = CHOSEN if name in JUDGED and judged[spec] else ""
            rows.append([spec, title(name) + mark, *figures, number(pairing.p, 4), number(pairing.d, 2)])
    return rows


def disadvantages(result: RunResult) -> str:
    """Measures in which another system is better than the first."""
    first = result.systems[0].spec
    parts = [f"## Where another system beats {first}"]
    clips, sets = disadvantages_in_clips(result), disadvantages_in_sets(result)
    if clips:
        head = ["system", "measure", first, "theirs", "p (Holm)", "d"]
        parts.append("Beyond chance, over clips (corrected p below 0.05):\n\n" + table(head, clips))
    if sets:
        head = ["system", "measure", first, "theirs"]
        parts.append("Over all music, where the two intervals do not meet:\n\n" + table(head, sets))
    if not clips and not sets:
        parts.append("Nowhere beyond chance.")
    won = sum(advantage(name, pairing) < 0 for (_, name), pairing in result.pairs.items())
    parts.append(f"{first} is the better one beyond chance in {won} of all {len(result.pairs)} comparisons over clips.")
    return "\n\n".join(parts)


def pair_tables(result: RunResult) -> list[str]:
    """All tests, one table a system."""
    parts = []
    for other in result.systems[1:]:
        rows = []
        pairs = {name: pairing for (spec, name), pairing in result.pairs.items() if spec == other.spec}
        for name in in_order(pairs):
            pairing = pairs[name]
            if pairing.p < 1 or pairing.difference.value:  # not where nothing differs
                digits = MEASURES[base(name)].digits
                effects = [number(pairing.p, 4), number(pairing.d, 2), number(pairing.delta, 2), str(pairing.n_pairs)]
                rows.append([heading(name), cell(pairing.difference, digits), *effects])
        if rows:
            head = ("measure", "difference", "p (Holm)", "d", "delta", "clips")
            parts.append(f"### {other.spec} less {result.systems[0].spec}\n\n" + table(head, rows))
    return parts


def failures(result: RunResult) -> str:
    """Failures, clip by clip."""
    lines = [f"- {name}: {sentence}" for name, sentence in result.broken.items()]
    for system in result.systems:
        lines += [f"- {system.spec}, {name}: {sentence}" for name, sentence in system.failures.items()]
    return "## Failures\n\n" + ("\n".join(lines) if lines else "None.")


def about(result: RunResult, command: str) -> str:
    """The systems, the suite and the settings of the run."""
    sources = ", ".join(str(covered) for covered in result.suite.coverage)
    spans = [clip.seconds for clip in result.clips if clip.seconds is not None]
    limit = f" of at most {max(spans):g} s" if spans else ""
    cpu = sum(made.cpu for system in result.systems for made in system.made.values())
    lines = [
        f"Suite {result.suite.name}: {len(result.clips)} clips{limit} (on disk: {sources}).",
        f"Made by `{command}` with OpenVMAS {version_text()}, seed {result.seed}; making the music took {cpu / 60:.0f} "
        f"minutes of processor time. The first system named is the one the others are compared with.",
    ]
    lines.append(
        f"Music and picture are compared by `openvmas.similarity` ({result.judge}), which reads the codes of our own "
        "codec; by chance half of the other music fits less than the own." + (f" {OTHERS}" if result.others else "")
    )
    chosen = ", ".join(system.spec for system in result.systems if system.selects_by_similarity)
    if chosen:
        lines.append(f"†: {chosen} chooses by the very similarity that judges here and is good there by construction.")
    if result.seeds[0] > 1:
        lines.append(f"Systems that draw wrote {result.seeds[1]} clips with {result.seeds[0]} seeds each.")
    return "\n".join(lines) + "\n\n" + "\n".join(f"- **{system.spec}**: {system.says}." for system in result.systems)


def page(result: RunResult, command: str) -> str:
    """The whole page as Markdown. command: that makes it."""
    parts = [f"# Systems compared on {result.suite.name}", about(result, command), "## Result", first_table(result)]
    parts += [
        NOTE,
        *cautions(result),
        disadvantages(result),
        "## All measures",
        *set_tables(result),
        *group_tables(result),
    ]
    tests = pair_tables(result)
    parts += ["## All tests", *tests] if tests else []
    return "\n\n".join([*parts, failures(result)]) + "\n"


def as_json(result: RunResult, command: str) -> dict[str, Any]:
    """Everything of the page and every figure of every clip, as plain values; what cannot be said is None."""
    return plain({
        "made_by": f"OpenVMAS {version_text()}", "command": command, "suite": result.suite.name, "seed": result.seed,
        "judge": result.judge, "other_judges": result.others, "seeds": {"n": result.seeds[0], "clips": result.seeds[1]},
        "clips": [clip.name for clip in result.clips], "broken": result.broken,
        "cautions": cautions(result),
        "coverage": {c.source: {"listed": c.listed, "found": c.found} for c in result.suite.coverage},
        "systems": [
            {
                "system": s.spec, "says": s.says, "chosen_by_judge": s.selects_by_similarity, "failures": s.failures,
                "cpu_seconds_per_second": s.cost,
                "summary": {name: asdict(interval) | {"clips": n} for name, (interval, n) in s.summary.items()},
                "sets": s.sets,
                "patches": {e: {"used": n, "of": of} for e, (n, of) in s.patches.items()},
                "clips": {name: {"wall": m.wall, "cpu": m.cpu, "values": m.values} for name, m in s.made.items()},
            }
            for s in result.systems
        ],
        "tests": [
            {"system": spec, "against": result.systems[0].spec, "measure": name, **asdict(pairing)}
            for (spec, name), pairing in result.pairs.items()
        ],
    })  # fmt: skip


def systems_in_order(specs: str) -> Sequence[str]:
    """The names of --systems, in their order."""
    return [part.strip() for part in specs.split(",") if part.strip()]
