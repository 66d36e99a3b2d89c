"""Cost of a set of any size: measured processor time per stage, carried over along the funnel.

Costs are processor time, not time on the clock, so that a busy machine measures the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from openvmas.data.curation.record import Record, duration_of, read_json_lines
from openvmas.errors import InputError

MEASURED = "measured_costs.json"  # of bench/curation.py, for those who have not built anything yet
HOUR = 3600.0
USUAL_LENGTH = 77.0  # s, mean of DISCO-MV
# README of video2dataset: "Can download and package 10M videos in 12h on a single 16 core machine."
PUBLISHED = (
    "video2dataset publishes 10 million videos in 12 h on 16 cores (52,083 per core-hour), for downloading and\n"
    "packing alone: nothing is decoded, so it compares with `probe` here and not with the whole."
)


@dataclass(frozen=True)
class Costs:
    """Measured on one build.

    n_listed: records of its sources; n_kept: of the finished set; stages: name → (records that came, processor time of
    all of them, s), in order. seconds_kept: length of what was kept, s. bytes_kept: of the finished shards;
    bytes_listed: of the media files. about: what was measured, for the reader.
    """

    n_listed: int
    n_kept: int
    stages: dict[str, tuple[int, float]]
    seconds_kept: float
    bytes_kept: int
    bytes_listed: int
    about: str = ""

    def to_json(self) -> str:
        """JSON with all fields."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Costs:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        return Costs(**{**data, "stages": {name: (int(n), float(s)) for name, (n, s) in data["stages"].items()}})


def read_costs(dataset: Path | None) -> Costs:
    """The costs of a build, or those that come with the program. Raises InputError."""
    if dataset is None:
        return Costs.from_json(resources.files("openvmas.data.report").joinpath(MEASURED).read_text(encoding="utf-8"))
    work = dataset / "work"
    pieces = sorted(work.glob("costs-*.json"))
    if not pieces:
        raise InputError(f"{dataset} holds no costs of a build; build it first, or leave it out for the usual costs.")
    stages: dict[str, tuple[int, float]] = {}
    for path in pieces:
        for name, (n, seconds) in json.loads(path.read_bytes()).items():
            before = stages.get(name, (0, 0.0))
            stages[name] = (before[0] + int(n), before[1] + seconds)
    listed = kept = 0
    for path in work.glob("done-*.json"):
        done = json.loads(path.read_bytes())
        listed, kept = listed + done["n"], kept + done["kept"]
    seconds = sum(duration_of(Record.from_dict(row)) for row in read_json_lines(sorted(work.glob("records-*.jsonl"))))
    facts = (row["facts"] for row in read_json_lines(sorted(work.glob("input-*.jsonl"))))
    n_bytes = sum(found.get("source.bytes", found.get("tar.size", 0)) for found in facts)  # as far as files were opened
    shards = sum(path.stat().st_size for path in (dataset / "shards").glob("*.tar"))
    order = sorted(stages, key=lambda name: -stages[name][0])
    return Costs(listed, kept, {name: stages[name] for name in order}, seconds, shards, n_bytes, str(dataset))


def make_plan(costs: Costs, clips: int, nodes: int, cores: int, length: float | None = None) -> str:
    """A table for the terminal: every stage's rate, and what `clips` kept clips cost on `nodes` machines.

    length: of a clip, s; costs are taken to grow with it. None: as measured.
    """
    if not costs.n_kept:
        raise InputError("the measured build kept nothing, so nothing can be foretold from it; measure another.")
    measured = costs.seconds_kept / costs.n_kept
    length = length or measured
    longer = length / measured if measured else 1.0
    scale = clips / costs.n_kept
    width = max(len(name) for name in (*costs.stages, "stage"))
    lines = [f"{'stage':<{width}}  {'came':>12}  {'s each':>8}  {'per core-hour':>13}  {'core-hours':>11}"]
    total = 0.0
    for name, (n, seconds) in costs.stages.items():
        each, hours = longer * seconds / max(n, 1), longer * seconds * scale / HOUR
        total += hours
        rate = f"{HOUR / each:,.0f}" if each > 1e-6 else "–"
        lines.append(f"{name:<{width}}  {n * scale:>12,.0f}  {each:>8.3f}  {rate:>13}  {hours:>11,.0f}")
    rate = clips / total if total else 0.0
    lines.append(f"{'all':<{width}}  {costs.n_listed * scale:>12,.0f}  {'':>8}  {rate:>13,.0f}  {total:>11,.0f}")
    days = total / (nodes * cores) / 24
    size, media = longer * costs.bytes_kept, longer * costs.bytes_listed
    lines += [
        "",
        f"{clips:,} clips of {length:.0f} s ({clips * length / HOUR:,.0f} h) from {costs.n_listed * scale:,.0f} files:",
        f"  processor: {total:,.0f} core-hours; {days:.2f} days on {nodes} machines with {cores} cores",
        f"  storage of the set: {describe_size(size * scale)} ({describe_size(size / costs.n_kept)} a clip)",
        f"  storage of the media, if they are kept: {describe_size(media * scale)}",
        f"Measured on: {costs.about}; clips of {measured:.0f} s. Fetching waits for hosts and is not in it.",
        PUBLISHED,
    ]
    return "\n".join(lines)


def describe_size(n_bytes: float) -> str:
    """A number of bytes with three digits and its unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.1f} TB"
