"""Mixes, which are data (`mixes.toml`): the room, the seats, the echo, side-chain, and the bus of a style."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from openvmas.errors import ModelError

ROOMS = ("none", "chamber", "hall", "plate")
# How far from the listener each role sits, 0 near and 1 far.
DEPTHS: Mapping[str, float] = {
    "lead": 0.15, "counter": 0.5, "arp": 0.4, "keys": 0.3, "pad": 0.7, "bass": 0.05, "low": 0.6, "drums": 0.15,
    "accent": 0.5, "lift": 0.6, "texture": 0.8, "riser": 0.5, "hit": 0.4,
}  # fmt: skip


@dataclass(frozen=True)
class Mix:
    """The desk's settings for a piece.

    room: one of ROOMS. room_db: of all that is sent there. pump_db: by how much a kick pushes pads, keys, arpeggios and
    bass down, for pump_seconds. echo_beats, echo_feedback: of the echo. glue_db: about what the bus compressor takes
    from loud passages. drive: saturation, 0 to 1. tilt_db: of a shelf above 6 kHz. width: of the sides above 300 Hz, 1
    as they are. bass_mono_hz: below it the sides are silent. lofi: 0 to 1, of worn tape. lift_db: of the whole before
    the bus. depths: role → how far away it sits, where it differs from DEPTHS.
    """

    room: str = "chamber"
    room_db: float = -1.5
    pump_db: float = 0.0
    pump_seconds: float = 0.18
    echo_beats: float = 0.75
    echo_feedback: float = 0.35
    glue_db: float = 2.0
    drive: float = 0.3
    tilt_db: float = 3.5
    width: float = 1.1
    bass_mono_hz: float = 110.0
    lofi: float = 0.0
    lift_db: float = 0.0
    depths: Mapping[str, float] = field(default_factory=dict)

    def depth(self, role: str) -> float:
        """Distance at which a role sits, 0 to 1."""
        return {**DEPTHS, **self.depths}.get(role, 0.3)


@functools.cache
def read_mixes() -> Mapping[str, Mix]:
    """The presets by name, read when first needed."""
    table = tomllib.loads(Path(__file__).with_name("mixes.toml").read_text(encoding="utf-8"))
    return {name: _changed(Mix(), row) for name, row in table.items()}


def read_mix(row: str | Mapping[str, Any]) -> Mix:
    """The mix that a style asks for: a preset's name, or a table of changes with the key `preset`.

    Raises ModelError for a name or a key that does not exist.
    """
    table = {"preset": row} if isinstance(row, str) else dict(row)
    name = table.pop("preset", "natural")
    if name not in read_mixes():
        raise ModelError(f"There is no mix {name}; give one of {', '.join(read_mixes())}.")
    return _changed(read_mixes()[name], table)


def _changed(mix: Mix, row: Mapping[str, Any]) -> Mix:
    known = {item.name for item in fields(Mix)}
    if set(row) - known:
        raise ModelError(f"A mix has no {', '.join(sorted(set(row) - known))}; it has {', '.join(sorted(known))}.")
    if row.get("room", "none") not in ROOMS:
        raise ModelError(f"There is no room {row['room']}; give one of {', '.join(ROOMS)}.")
    return replace(mix, **row)
