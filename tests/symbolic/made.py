"""Plans by hand, and what the composer writes for them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.symbolic.arrangement import arrange
from openvmas.symbolic.brief import Brief, read_brief
from openvmas.symbolic.notes import Composition, Note

TEXTS = {  # what a user writes → the style that is meant
    "epic trailer": "orchestral trailer", "adventure, fantasy": "adventure score", "ambient, spacious": "ambient",
    "sad blues": "blues", "boom bap": "boom bap", "bossa nova": "bossa", "irish": "Celtic",
    "8 bit chiptune": "chiptune", "corporate": "corporate", "happy country": "country",
    "calm piano": "documentary piano", "drum and bass": "drum and bass", "funk": "funk", "hard rock": "hard rock",
    "dark, scary": "horror", "deep house": "house", "rock": "indie rock", "funny, playful": "kids", "salsa": "Latin",
    "lofi": "lo-fi", "heavy metal": "metal", "trip hop": "downtempo",
    "drone": "drones", "tension": "pulses", "minimalist": "minimalism", "meditation": "new age", "happy pop": "pop",
    "punk": "punk", "reggae": "reggae", "acoustic folk": "singer-songwriter", "soul": "soul", "jazz": "swing",
    "synthwave": "synthwave", "techno": "techno", "trap": "trap", "waltz": "waltz",
}  # fmt: skip
ENERGIES = (0.42, 0.62, 0.88, 0.55)
UNPITCHED = ("taiko", "reverse_cymbal", "synth:riser_noise")


def make_plan(
    text: str | None = None,
    seconds: float = 38.4,
    tempo: float = 100.0,
    per_bar: int = 4,
    hits: tuple[tuple[float, float], ...] = ((4.8, 0.9), (7.77, 1.0), (13.2, 0.5), (21.01, 0.8), (30.3, 0.2)),
    energies: tuple[float, ...] = ENERGIES,
    first: float = 0.6,
) -> ScorePlan:
    """Sections of equal length; a downbeat at `first` s. Hits are the user's, so they stay where they are."""
    edges = np.linspace(0, seconds, len(energies) + 1)
    sections = tuple(Section(float(a), float(b), e) for a, b, e in zip(edges, edges[1:], energies, strict=False))
    marks = (TempoMark(first, tempo, 1),) if tempo else ()
    return ScorePlan(
        Fraction(seconds).limit_denominator(1000),
        sections,
        marks,
        per_bar,
        tuple(Hit(time, strength, "user") for time, strength in hits if time < seconds),
        text=text,
    )


def brief_of(plan: ScorePlan) -> Brief:
    return read_brief(build_condition(plan), plan)


def write_plan(plan: ScorePlan, seed: int = 0) -> Composition:
    return arrange(brief_of(plan), (seed, 0))


def notes_of(piece: Composition, name: str) -> list[Note]:
    """The notes of all parts of a name, in time."""
    return sorted(note for part in piece.parts if part.name.split()[0] == name for note in part.notes)
