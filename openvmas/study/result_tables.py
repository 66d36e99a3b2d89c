"""Results of a study as Markdown that reads well in a terminal too, and the same figures as JSON."""

from __future__ import annotations

from typing import Any

from openvmas.eval.reports.report_values import interval_cells, number, plain, span, table, version_text
from openvmas.study.power import SampleSize
from openvmas.study.results import REASONS, Comparisons, Ratings, StudyResults

PARTS = {
    "picture_pairs": "Which music fits the video better? (with picture)",
    "sound_pairs": "Which piece do you like better? (without picture)",
}
FEW_LISTENERS = 12  # below it the variance between listeners is mostly guessed
SCALES = {"quality": "How good is the music? (1 to 5)", "fit": "How well does it fit the video? (1 to 5)"}


def page(found: StudyResults) -> str:
    """All tables as Markdown."""
    parts = [f"## {found.title}", who(found)]
    for part, compared in found.comparisons.items():
        parts += [f"### {PARTS[part]}", *comparison_tables(compared)]
    for scale, rated in found.ratings.items():
        parts += [f"### {SCALES[scale]}", *rating_tables(rated)]
    if found.questions:
        parts.append("### Who listened")
        for asked in found.questions:
            rows = [[text, str(n)] for text, n in asked.counts.items()]
            parts.append(table((asked.text, "listeners"), rows))
    parts.append(
        "Shares: a tie counts half; Wilson's interval with as many answers as the listeners' likeness leaves (design "
        "effect). Strengths: Bradley-Terry with Davidson's ties, bootstrap over listeners; a difference of two is the "
        "log-odds of a preference. Means: mixed-effects model (REML) with listeners and clips as random effects. "
        "Differences: over listeners. p: signs of listeners' means flipped, Holm's correction within the table. "
        "Intervals: 95 %. They speak of other listeners; of other clips only the means do."
    )
    return "\n\n".join(parts) + "\n"


def who(found: StudyResults) -> str:
    """The number of listeners, and of those who were dropped, by reason."""
    lines = [f"{found.n_listeners} listeners gave consent, {found.n_kept} are counted."]
    if found.dropped:
        lines.append("Dropped (one may have several reasons):")
        lines.append(
            "\n".join(f"- {n}: {REASONS[name]}" for name, n in sorted(found.dropped.items(), key=lambda x: -x[1]))
        )
    if found.n_kept < FEW_LISTENERS:
        lines.append(
            f"**Fewer than {FEW_LISTENERS} listeners**: intervals rest on how alike listeners are, which so few cannot "
            "tell, and speak of these rather than of others. `openvmas study power` says how many a claim needs."
        )
    if found.n_headphones_failed:
        lines.append(f"{found.n_headphones_failed} failed the headphone check twice.")
    return "\n\n".join(lines)


def comparison_tables(compared: Comparisons) -> list[str]:
    """Shares, strengths and the two notes."""
    rows = []
    for item in compared.shares:
        figures = [*interval_cells(item.share, 3), number(item.p, 4), str(item.n), str(item.n_ties)]
        rows.append([f"{item.first} over {item.second}", *figures, number(item.design_effect, 2)])
    head = ("pair", "share", "95 % interval", "p (Holm)", "answers", "ties", "design effect")
    found = compared.strengths
    order = sorted(range(len(compared.systems)), key=lambda i: -found.values[i])
    strong = [
        [compared.systems[i], *interval_cells(found.interval(i), 2), number(float(found.best[i]), 3)] for i in order
    ]
    side = compared.first_side
    notes = (
        f"Agreement of listeners (Krippendorff's alpha, nominal): {number(compared.agreement, 3) or 'not known'}. "
        f"Side A was preferred in {number(side.value, 3)} of decided answers ({span(side, 3)})."
    )
    return [table(head, rows), table(("system", "strength", "95 % interval", "best in resamples"), strong), notes]


def rating_tables(rated: Ratings) -> list[str]:
    """Means of all conditions, differences of systems, the note on agreement."""
    order = sorted(rated.means.items(), key=lambda item: -item[1].value)
    means = [[name, *interval_cells(mean, 2), str(rated.n[name])] for name, mean in order]
    parts = [table(("system", "mean", "95 % interval", "ratings"), means)]
    if rated.differences:
        rows = [
            [f"{d.second} less {d.first}", *interval_cells(d.value, 2), number(d.p, 4), str(d.n_listeners)]
            for d in rated.differences
        ]
        parts.append(table(("systems", "difference", "95 % interval", "p (Holm)", "listeners"), rows))
    note = f"Agreement of listeners (Krippendorff's alpha, ordinal): {number(rated.agreement, 3) or 'not known'}."
    if rated.variances:
        shares = ", ".join(f"{name} {number(value, 2)}" for name, value in rated.variances.items())
        note += f" Variances: {shares}."
    return [*parts, note]


def as_json(found: StudyResults) -> dict[str, Any]:
    """Everything of `page` as plain values; figures that are not known are None."""
    data = plain({"made_by": f"OpenVMAS {version_text()}", "results": found})
    for compared in data["results"]["comparisons"].values():
        strengths = compared["strengths"]
        for name in ("values", "low", "high", "best"):
            strengths[name] = dict(zip(compared["systems"], map(float, strengths[name]), strict=True))
    return data


def power_table(needs: list[SampleSize], trials: str) -> str:
    """Table of the listeners needed: trials, closed form, simulated power at that number."""
    rows = [
        [str(n.n_trials), str(n.n_listeners), str(n.n_listeners * n.n_trials), number(n.simulated, 3)] for n in needs
    ]
    return table((trials, "listeners", "answers in all", "power, simulated"), rows) + "\n"
