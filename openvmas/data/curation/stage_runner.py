"""One record through all stages."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.errors import InputError

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Outcome:
    """What became of one record.

    records: kept, several if it was cut into clips. seen: stage → how many came to it.
    costs: stage → processor time, s.
    """

    index: int
    records: tuple[Record, ...]
    drops: tuple[Drop, ...]
    seen: dict[str, int]
    costs: dict[str, float]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> Outcome:
        """Read what `to_json` wrote."""
        data = json.loads(line)
        records = tuple(Record.from_json(json.dumps(item)) for item in data["records"])
        drops = tuple(Drop(**{**d, "record": Record.from_json(json.dumps(d["record"]))}) for d in data["drops"])
        return Outcome(data["index"], records, drops, data["seen"], data["costs"])


def run_stages(
    index: int, record: Record, media: Media, stages: Sequence[Any], say: Callable[[str], None] = lambda stage: None
) -> tuple[Outcome, dict[str, np.ndarray]]:
    """One record through stages, in order; parts that a stage makes go on one by one.

    say is told each stage before it runs. Returns the outcome and the arrays of the records that are kept, by
    "<record id>/<name>". A stage that cannot read the file (InputError) drops it as unreadable.
    """
    todo: list[tuple[Record, Media, int]] = [(record, media, 0)]
    kept: list[Record] = []
    drops: list[Drop] = []
    arrays: dict[str, np.ndarray] = {}
    seen: dict[str, int] = {}
    costs: dict[str, float] = {}
    while todo:
        record, media, place = todo.pop()
        if place == len(stages):
            kept.append(replace(record, arrays=tuple(sorted(media.arrays)), sha256=record.sha256 or media.sha256()))
            arrays |= {f"{record.id}/{name}": media.arrays[name] for name in sorted(media.arrays)}
            continue
        stage = stages[place]
        say(stage.name)
        seen[stage.name] = seen.get(stage.name, 0) + 1
        began = time.process_time()
        try:
            result: Record | Drop | list[Record] = stage(record, media)
        except InputError as error:
            result = Drop(record, stage.name, UNREADABLE, anonymous(str(error), media))
        costs[stage.name] = costs.get(stage.name, 0.0) + time.process_time() - began
        if isinstance(result, Drop):
            drops.append(result)
        elif isinstance(result, list):
            parts = [(part, media.part(part), place + 1) for part in result]
            for _, part_media, _ in parts:
                part_media.arrays.update(media.arrays)
            todo.extend(reversed(parts))
        else:
            todo.append((result, media, place + 1))
    return Outcome(index, tuple(kept), tuple(drops), seen, costs), arrays


def anonymous(text: str, media: Media) -> str:
    """A message without paths of this machine, so that two builds say the same."""
    for path in media.places():
        text = text.replace(str(path), media.name)
    return text


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an NPZ file beside its place and rename it; equal arrays give equal bytes."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    os.replace(partial, path)
