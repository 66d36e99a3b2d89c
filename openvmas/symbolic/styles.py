"""Styles of the symbolic composer, which are data (`styles.toml`), and the choice of a style by semantics."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openvmas.symbolic.notes import Part

KICK, RIM, SNARE, CLAP, HAT, PEDAL, OPEN, CRASH, RIDE = 36, 37, 38, 39, 42, 44, 46, 49, 51
FLOOR, LOW_TOM, HIGH_TOM, TAMBOURINE, SHAKER, TRIANGLE = 41, 45, 48, 54, 70, 81
DRUM_KEYS = {
    "kick": KICK, "rim": RIM, "snare": SNARE, "clap": CLAP, "hat": HAT, "pedal": PEDAL, "open": OPEN, "ride": RIDE,
    "tambourine": TAMBOURINE, "shaker": SHAKER, "triangle": TRIANGLE,
}  # fmt: skip
VOICE_FIELDS = ("bass", "keys", "pad", "accent", "kit", "arp", "counter", "low_drum")
Groove = Mapping[int, str]


@dataclass(frozen=True)
class Voice:
    """A sound and its place in the mix: see notes.Part; gain_db: on top of that of its role."""

    instrument: str
    gain_db: float = 0.0
    pan: float = 0.0
    width: float = 0.0
    reverb: float = 0.2
    depth: float | None = None
    delay: float = 0.0

    def part(self, role: str, number: int) -> Part:
        """The `number`-th player of a role with this voice, without notes."""
        name = role if number == 1 else f"{role} {number}"
        gain_db = ROLE_DB[role] + self.gain_db
        return Part(
            name, self.instrument, gain_db, self.pan, self.width, self.reverb, self.depth, self.delay,
            is_kit=role == "drums",
        )  # fmt: skip


@dataclass(frozen=True)
class Style:
    """Instruments, figures and entries of a manner of playing.

    profile: axes of semantics that speak for it. entries: part → intensity in [0, 1] from which it plays. grooves: of
    the drums, from light to full. figures: part → figures from calm to busy (see figures.py). n_tones: in a chord.
    has_power_chords: keys leave the third out.
    mix: a preset of desk/mixes.toml, or a table of changes to one.
    chord_seconds: how long a chord lasts, about. swing: how late every second sixteenth is, share of a sixteenth.
    """

    name: str
    profile: Mapping[str, float]
    bass: Voice
    keys: Voice
    pad: Voice
    lead: tuple[Voice, ...]
    accent: Voice
    figures: Mapping[str, tuple[str, ...]]
    kit: Voice | None = None
    grooves: tuple[Groove, ...] = ()
    arp: Voice | None = None
    counter: Voice | None = None
    low_drum: Voice | None = None
    entries: Mapping[str, float] = field(default_factory=dict)
    n_tones: int = 3
    has_power_chords: bool = False
    chord_seconds: float = 2.6
    swing: float = 0.0
    mix: str | Mapping[str, Any] = "natural"

    def entry(self, part: str) -> float:
        """The intensity from which a part plays."""
        return {**ENTRIES, **self.entries}[part]


ENTRIES = {"pad": 0.0, "keys": 0.0, "bass": 0.2, "lead": 0.3, "drums": 0.38, "arp": 0.6, "counter": 0.72, "low": 0.5}

# dB, of parts against each other: chords have several tones at a time.
ROLE_DB = {
    "lead": 1.0, "counter": -4.5, "arp": -6.0, "keys": -4.5, "pad": -5.5, "bass": 0.0, "low": 2.0, "drums": -0.5,
    "accent": -6.0, "lift": -6.0,
}  # fmt: skip


@dataclass(frozen=True)
class StyleTable:
    """The content of `styles.toml`. asked: axis of an instrument → the part that it takes over, and its voice."""

    voices: Mapping[str, Voice]
    grooves: Mapping[str, Groove]
    styles: tuple[Style, ...]
    asked: Mapping[str, tuple[str, Voice]]


@functools.cache
def read_styles() -> StyleTable:
    """The table, read when the first piece is composed."""
    table = tomllib.loads(Path(__file__).with_name("styles.toml").read_text(encoding="utf-8"))
    voices = {name: Voice(**row) for name, row in table["voices"].items()}
    grooves = {
        name: {DRUM_KEYS[drum]: pattern for drum, pattern in rows.items()} for name, rows in table["grooves"].items()
    }

    def voice_of(row: str | dict[str, Any]) -> Voice:
        """A named voice, one with changes, or one that is described in full."""
        if isinstance(row, str):
            return voices[row]
        changes = {key: value for key, value in row.items() if key != "voice"}
        return replace(voices[row["voice"]], **changes) if "voice" in row else Voice(**row)

    styles = []
    for row in table["styles"]:
        single = {key: voice_of(row[key]) for key in VOICE_FIELDS if key in row}
        plural = {
            "lead": tuple(voice_of(lead) for lead in row["lead"]),
            "grooves": tuple(grooves[name] for name in row.get("grooves", ())),
            "figures": {part: tuple(names) for part, names in row["figures"].items()},
        }
        styles.append(Style(**(row | single | plural)))
    asked = {axis: (row["part"], voice_of(row["voice"])) for axis, row in table["asked"].items()}
    return StyleTable(voices, grooves, tuple(styles), asked)


INSISTED, REFUSED = 0.9, -0.25  # values of an instrument's axis from which it must play, and up to which it must not


def agreement(style: Style, semantics: Mapping[str, float]) -> float:
    """Agreement of a style's profile with semantics: greater is better."""
    total = sum(weight * semantics.get(axis, 0.0) for axis, weight in style.profile.items())
    return total / sum(abs(weight) for weight in style.profile.values()) ** 0.5


def choose_style(semantics: Mapping[str, float]) -> Style:
    """The style that agrees best with semantics; the piano for empty ones."""
    return max(read_styles().styles, key=lambda style: agreement(style, semantics))


def equip(style: Style, semantics: Mapping[str, float]) -> Style:
    """The style with the instruments that are asked for, and without the drums or the bass where these are refused."""
    table = read_styles()
    changes: dict[str, Any] = {}
    entries = dict(style.entries)
    used = {style.keys.instrument, style.pad.instrument, *(voice.instrument for voice in style.lead)}
    for axis, (part, voice) in table.asked.items():
        is_there = voice.instrument in used or (axis == "guitar" and "guitar" in str(used))
        if is_there or semantics.get(axis, 0.0) < INSISTED:
            continue
        changes[part] = (voice,) if part == "lead" else voice
        entries[part] = min(entries.get(part, ENTRIES[part]), 0.1)
    figures = dict(style.figures)
    figures.setdefault("arp", ("eighths",))
    drums = semantics.get("drums", 0.0)
    if drums <= REFUSED:
        accent = table.voices["harp"] if style.accent.instrument == "timpani" else style.accent
        changes |= {"kit": None, "low_drum": None, "accent": accent}
    elif drums >= INSISTED and style.kit is None and style.low_drum is None:
        changes |= {
            "kit": table.voices["kit"],
            "grooves": tuple(table.grooves[name] for name in ("light_rock", "rock", "full_rock")),
        }
        entries["drums"] = 0.15
    if semantics.get("bass", 0.0) <= REFUSED:
        entries["bass"] = 9.0
    return replace(style, entries=entries, figures=figures, **changes)
