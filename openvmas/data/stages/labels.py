"""A stage that takes the labels of a made file (NAME.truth.json beside it) into its record."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.settings import option

TIMES = ("beats", "downbeats", "cuts", "flashes", "moves")  # one number each, s
SPANS = ("chords", "sections", "dissolves", "fades")  # start and end, s, and a label or none
MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Labels:
    """Keeps labels as arrays `truth_NAME` ([N] s, or [N, 2] s with their names in the fact `truth.NAME`) and facts.

    Times are from the start of the file, whatever span of it the record is.
    """

    needed: bool = option(True, "Refuse files without labels beside them.")
    name: ClassVar[str] = "truth"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        path = media.path.with_suffix(".truth.json")
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return Drop(record, self.name, "no truth", path.name) if self.needed else record
        try:
            known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            arrays, facts = _split(known)
        except (ValueError, TypeError, AttributeError) as error:
            return Drop(record, self.name, "damaged truth", f"{path.name}: {error}")
        media.arrays |= arrays
        facts_made = record.with_facts(self.name, **facts)
        return replace(facts_made, arrays=tuple(dict.fromkeys([*record.arrays, *sorted(arrays)])))


def _split(known: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays of times, and everything else."""
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    for key, value in known.items():
        if key in TIMES:
            arrays[f"truth_{key}"] = np.array(value, np.float64).reshape(-1)
        elif key in SPANS:
            arrays[f"truth_{key}"] = np.array([row[:2] for row in value], np.float64).reshape(-1, 2)
            if any(len(row) > 2 for row in value):
                facts[key] = [row[2] for row in value]
        else:
            facts[key] = value
    return arrays, facts
