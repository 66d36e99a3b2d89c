"""Drums: a groove for every bar by its intensity, a fill before something new, a crash when it is there."""

from __future__ import annotations

import numpy as np

from openvmas.symbolic.figures import Stroke
from openvmas.symbolic.styles import CRASH, FLOOR, HAT, HIGH_TOM, KICK, LOW_TOM, RIDE, SNARE, Groove

LOUD = {"X": 1.0, "x": 0.78, "o": 0.45}
# The last beats of a bar before a new section, in sixteenths: key by key.
FILLS: tuple[tuple[int | None, ...], ...] = (
    (SNARE, None, SNARE, SNARE),
    (SNARE, SNARE, HIGH_TOM, LOW_TOM),
    (SNARE, None, SNARE, None, HIGH_TOM, HIGH_TOM, LOW_TOM, FLOOR),
    (SNARE, SNARE, HIGH_TOM, HIGH_TOM, LOW_TOM, LOW_TOM, FLOOR, FLOOR),
)
MACHINE_FILLS: tuple[tuple[int | None, ...], ...] = (
    (SNARE, None, SNARE, SNARE),
    (SNARE, None, SNARE, None, SNARE, SNARE, SNARE, SNARE),
)


def beat_bar(groove: Groove, start: float, end: float, swing: float, quiet: float) -> list[Stroke]:
    """A groove between two beats, of which the first begins the bar. swing: share of a sixteenth that every second
    one comes late; quiet: factor of the softer strokes."""
    strokes = []
    n_steps = round((end - start) * 4)
    for key, pattern in groove.items():
        for k in range(n_steps):
            mark = pattern[k % 16]
            if mark == ".":
                continue
            late = swing / 4 if k % 2 else 0.0
            loud = LOUD[mark] * (quiet if mark == "o" else 1.0)
            # The hat breathes: strokes on the beat are firmer.
            loud *= 1.0 if key not in (HAT, RIDE) else (0.85, 0.55, 0.7, 0.55)[k % 4]
            strokes.append(Stroke(start + k / 4 + late, 0.2, key, loud))
    return strokes


def fill_bar(end: float, is_big: bool, is_machine: bool, rng: np.random.Generator) -> list[Stroke]:
    """A fill that ends at a beat, growing."""
    fills = MACHINE_FILLS if is_machine else FILLS
    half = len(fills) // 2
    pool = fills[half:] if is_big else fills[:half]
    fill = pool[int(rng.integers(len(pool)))]
    return [
        Stroke(end - (len(fill) - k) / 4, 0.2, key, 0.6 + 0.4 * k / len(fill))
        for k, key in enumerate(fill)
        if key is not None
    ]


def without(strokes: list[Stroke], start: float, end: float, keys: tuple[int, ...]) -> list[Stroke]:
    """The strokes but those of some keys in [start, end): a fill takes the place of what it would run into."""
    return [s for s in strokes if not (start - 1e-6 <= s.beat < end - 1e-6 and s.pitch in keys)]


def crash_at(beat: float, loud: float) -> list[Stroke]:
    return [Stroke(beat, 0.2, CRASH, loud), Stroke(beat, 0.2, KICK, min(1.0, loud + 0.1))]
