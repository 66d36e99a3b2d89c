"""A plan as JSON and back. JSON is YAML, so that an edit from the page is read and checked as a plan file is."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from openvmas.errors import PlanError
from openvmas.generate.report import plain
from openvmas.planning.plan_yaml import VERSION, read_plan, write_plan
from openvmas.planning.schema import ScorePlan

# What follows from the rest, or is not the user's to change; taken back without a word.
DERIVED = (
    "version", "can_undo", "can_redo", "duration", "tempo", "beats", "downbeats", "unknown_words", "fit",
)  # fmt: skip
MAX_ITEMS = 20_000  # sections, hits, tempo marks or points of energy in one plan


def to_json(plan: ScorePlan) -> dict[str, Any]:
    """Every field of the plan file, and what follows from them. Times in s."""
    sections = [
        {**vars(section), "mood": dict(section.mood), "picture": dict(section.picture)} for section in plan.sections
    ]
    for section in sections:
        section["locked"] = section.pop("is_locked")
    return plain(
        {
            "duration": plan.duration,
            "seed": plan.seed,
            "text": plan.text,
            "mood": plan.mood,
            "beats_per_bar": plan.beats_per_bar,
            "tempo_map": [dataclasses.asdict(mark) for mark in plan.tempo_map],
            "sections": sections,
            "hits": [dataclasses.asdict(hit) for hit in plan.hits],
            "energy_curve": plan.energy_curve,
            "tempo": plan.tempo,
            "beats": plan.beats,
            "downbeats": plan.downbeats,
            "unknown_words": plan.unknown_words,
            "fit": dataclasses.asdict(plan.fit),
        }
    )


def from_json(sent: dict[str, Any], current: ScorePlan) -> ScorePlan:
    """An edited plan of the same video. Raises PlanError that names the field."""
    kept = {name: value for name, value in sent.items() if name not in DERIVED}
    for name, value in kept.items():
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            raise PlanError(f"plan, {name}: {len(value)} items are too many; give at most {MAX_ITEMS}.")
    length = current.duration
    document = {"openvmas_plan": VERSION, "duration": f"{length.numerator}/{length.denominator}", **kept}
    try:
        text = json.dumps(document, allow_nan=False)
        text.encode("utf-8")
    except (ValueError, TypeError) as error:
        raise PlanError(f"plan: {error}; give numbers and text only.") from error
    try:
        made = read_plan(text, "plan")
        _ = made.fit, made.unknown_words  # what cannot be laid out must fail here
        write_plan(made).encode("utf-8")
    except PlanError as error:
        raise PlanError(re.sub(r"^plan line \d+", "plan", str(error))) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise PlanError("plan: it holds a number or text that makes no sense; load the plan again.") from error
    return made
