"""The funnel of a build: numbers of records that came to each stage and that it refused, by reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from openvmas.data.curation.record import read_json_lines
from openvmas.data.curation.stage_runner import STAGE as WORKER
from openvmas.data.sources.fetch import LINK_ROT
from openvmas.data.sources.fetch import STAGE as FETCH
from openvmas.errors import InputError

EARLY = ("source", "licence", FETCH)  # before the stages
EXAMPLES = 3  # kept per reason


@dataclass(frozen=True)
class Step:
    """One stage. came: records that reached it; reasons: reason → how many it refused; examples: reason → addresses."""

    name: str
    came: int
    reasons: dict[str, int]
    examples: dict[str, list[list[str]]]

    @property
    def refused(self) -> int:
        return sum(self.reasons.values())

    @property
    def by_frequency(self) -> list[tuple[str, int]]:
        """Reasons with their counts, the most frequent first."""
        return sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True)
class Funnel:
    """n_listed: records of all sources; n_kept: of the finished set (more than one per file where files were cut)."""

    n_listed: int
    n_kept: int
    n_addresses: int
    steps: tuple[Step, ...]

    @property
    def link_rot(self) -> int:
        """Addresses that gave no file any more."""
        return sum(
            n for step in self.steps if step.name == FETCH for reason, n in step.reasons.items() if reason in LINK_ROT
        )

    def to_json(self) -> str:
        """JSON with all fields."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Funnel:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        return Funnel(**{**data, "steps": tuple(Step(**step) for step in data["steps"])})

    def table(self) -> str:
        """For the terminal: a line per stage and reason."""
        width = max([len(step.name) for step in self.steps] + [len(r) + 2 for s in self.steps for r in s.reasons] + [8])
        lines = [f"{'listed':<{width}}  {self.n_listed:>9,}"]
        for step in self.steps:
            lines.append(f"{step.name:<{width}}  {step.came:>9,}  {-step.refused if step.refused else 0:>+9,}")
            lines += [f"  {reason:<{width - 2}}  {'':>9}  {-n:>+9,}" for reason, n in sorted(step.reasons.items())]
        lines.append(f"{'kept':<{width}}  {self.n_kept:>9,}")
        if self.n_addresses:
            share = self.link_rot / self.n_addresses
            lines.append(f"link rot: {self.link_rot:,} of {self.n_addresses:,} addresses ({share:.1%}) gave no file")
        return "\n".join(lines)


def count_funnel(work: Path, stages: Sequence[str]) -> Funnel:
    """Count over all finished pieces. stages: names in the order in which they ran. Raises InputError without any."""
    pieces = [json.loads(path.read_bytes()) for path in sorted(work.glob("done-*.json"))]
    if not pieces:
        raise InputError(f"{work} holds no finished piece of a build; run `openvmas data build` first.")
    seen = sum((Counter(piece["seen"]) for piece in pieces), Counter[str]())
    reasons: dict[str, Counter[str]] = {}
    examples: dict[str, dict[str, list[list[str]]]] = {}
    set_order: dict[str, None] = {}
    for path in sorted(work.glob("drops-*.jsonl")):  # drops-set.jsonl comes last
        for drop in read_json_lines([path]):
            stage, reason = drop["stage"], drop["reason"]
            if path.stem == "drops-set":
                set_order[stage] = None
            reasons.setdefault(stage, Counter())[reason] += 1
            shown = examples.setdefault(stage, {}).setdefault(reason, [])
            if len(shown) < EXAMPLES:
                shown.append([drop["record"]["origin"]["uri"], drop["detail"]])

    def step(name: str, came: int) -> Step:
        return Step(name, came, dict(reasons.get(name, {})), examples.get(name, {}))

    n_addresses = _count_addresses(work)
    n_listed, n_kept = (sum(piece[key] for piece in pieces) for key in ("n", "kept"))
    steps, came = [], n_listed
    for name in EARLY:
        if n_addresses if name == FETCH else name in reasons:
            steps.append(step(name, came))
            came -= steps[-1].refused
    for name in (WORKER, *stages):
        if name in seen or name in reasons:
            steps.append(step(name, came if name == WORKER else seen[name]))
    for name in set_order:
        steps.append(step(name, n_kept))
        n_kept -= steps[-1].refused
    return Funnel(n_listed, n_kept, n_addresses, tuple(steps))


def _count_addresses(work: Path) -> int:
    """Number of listed records that must be fetched."""
    count = 0
    for path in sorted(work.glob("input-*.jsonl")):
        with path.open(encoding="utf-8") as file:
            count += sum('"uri": "http' in line for line in file)
    return count
