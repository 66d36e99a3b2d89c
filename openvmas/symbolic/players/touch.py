"""Touch of players: how late and how hard each stroke is, from measured drummers and by rule.

Drums follow `drummers.json` (tools/measure_drummers.py); everybody else leans on the metre, arches each phrase, and is
off by a few milliseconds that go on from note to note, as people are.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openvmas.symbolic.figures import Stroke
from openvmas.symbolic.styles import SNARE

CLASSES = {  # drum key → drum of the statistics
    35: "kick", 36: "kick", 37: "snare", 38: "snare", 39: "snare", 40: "snare", 42: "hat", 44: "hat", 46: "hat",
    51: "ride", 53: "ride", 41: "tom", 45: "tom", 48: "tom",
}  # fmt: skip
SPREAD = 0.45  # of the measured spread: what is left of it after the drummer's mood of the day and the measuring
SHAKE_MS, DRIFT = 3.0, 0.6  # of everybody else: standard deviation, and how much of it goes on to the next note
TOUCH = 0.6  # of the measured accents that are played: the patterns have accents of their own
GHOST_LOUD, GHOST_SHARE = 0.26, 0.5  # of a ghost note; of the measured ones that are added to a pattern
METRIC = (1.0, 0.86, 0.94, 0.86)  # of the four sixteenths of a beat
ARCH = 0.1  # how much louder the middle of a phrase is


class Place(NamedTuple):
    """Where a stroke lies: beats since its bar began, beats of the bar, and its share of the phrase in [0, 1]."""

    beat: float
    n_beats: float
    phrase: float


@functools.cache
def read_drummers() -> dict[str, Any]:
    """Statistics by style: drift, and by steps in a beat ("4", "3") those of every drum."""
    return json.loads(Path(__file__).with_name("drummers.json").read_text(encoding="utf-8"))["styles"]


class Drummer:
    """A drummer of a style. name: of `styles.DRUMMERS`; a machine is exact. steps: of its patterns in a beat."""

    def __init__(self, name: str, steps: int, rng: np.random.Generator) -> None:
        own = read_drummers().get(name, {})
        found = [(own[grid], int(grid)) for grid in (str(steps), "4") if grid in own]
        self._table, self._steps = found[0] if found else ({}, 4)
        self._rng, self._drift, self._last = rng, own.get("drift", 0.0), 0.0

    def play(self, stroke: Stroke, place: Place) -> tuple[float, float]:
        """Lateness of a stroke, s, and its loudness."""
        entry = self._table.get(CLASSES.get(stroke.pitch, ""))
        if entry is None:
            return 0.0, stroke.loud
        k = round(place.beat * self._steps) % len(entry["late"])
        self._last = self._drift * self._last + float(self._rng.normal(0, SPREAD * entry["spread"][k]))
        touch = 1 + TOUCH * (float(np.clip(entry["touch"][k], 0.7, 1.25)) - 1)
        return (entry["late"][k] + self._last) / 1000, stroke.loud * touch * (1 + float(self._rng.normal(0, 0.05)))

    def ghosts(self, strokes: list[Stroke], bar: float, end: float) -> list[Stroke]:
        """Ghost notes of the snare for a bar, as often as they were measured, where nothing else of it is struck."""
        shares = self._table.get("snare", {}).get("ghosts", [])
        taken = {round((s.beat - bar) * self._steps) for s in strokes if CLASSES.get(s.pitch) == "snare"}
        made = []
        for k, share in enumerate(shares):
            beat = bar + k / self._steps
            if self._rng.random() < GHOST_SHARE * share and k not in taken and k + 1 not in taken and beat < end - 0.1:
                made.append(Stroke(beat, 0.1, SNARE, GHOST_LOUD))
        return made


class Player:
    """Anyone but a drummer. late: s behind the beat."""

    def __init__(self, late: float, rng: np.random.Generator, shake_ms: float = SHAKE_MS) -> None:
        self._late, self._rng, self._last, self._shake = late, rng, 0.0, shake_ms

    def play(self, stroke: Stroke, place: Place) -> tuple[float, float]:
        """Lateness of a stroke, s, and its loudness."""
        noise = float(self._rng.normal(0, self._shake * (1 - DRIFT**2) ** 0.5))
        self._last = DRIFT * self._last + noise
        metric = METRIC[int(np.floor((place.beat % 1) * 4 + 1e-6)) % 4] + (0.04 if place.beat < 1e-6 else 0.0)
        arch = 1 + ARCH * (np.sin(np.pi * np.clip(place.phrase, 0, 1)) - 0.6)
        return self._late + self._last / 1000, float(stroke.loud * metric * arch)
