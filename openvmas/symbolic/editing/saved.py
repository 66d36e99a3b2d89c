"""Compositions in files, to be gone on with."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError
from openvmas.files import write_text
from openvmas.symbolic.desk.mixes import Mix
from openvmas.symbolic.notes import Chord, Composition, Note, Part, Passage

CURVES = ("beats", "downbeats", "level", "answered")  # fields that are arrays


def save_composition(piece: Composition, path: Path) -> None:
    """Write a composition as JSON, all of it."""
    found = asdict(piece) | {name: getattr(piece, name).tolist() for name in CURVES}
    found["duration"] = str(piece.duration)
    write_text(path, json.dumps(found))


def load_composition(path: Path) -> Composition:
    """Read what `save_composition` wrote. Raises InputError."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parts = tuple(
            Part(**one | {
                "notes": [Note(*note) for note in one["notes"]],
                "renumbered": tuple((time, by) for time, by in one["renumbered"]),
            }) for one in found["parts"]
        )  # fmt: skip
        chords = tuple(
            Chord(start, end, root, tuple(tones), symbol) for start, end, root, tones, symbol in found["chords"]
        )
        passages = tuple(
            Passage(**one | {name: tuple(one[name]) for name in ("parts", "scale", "chromatics")})
            for one in found["passages"]
        )
        told: dict[str, Any] = {name: np.array(found[name], float) for name in CURVES}
        told |= {"duration": Fraction(found["duration"]), "seed": tuple(found["seed"])}
        told |= {"parts": parts, "chords": chords, "passages": passages, "mix": Mix(**found["mix"])}
        return Composition(**found | told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the notes in {path.name} cannot be read; score the whole again.") from error
