"""Styles of the symbolic composer, one TOML file each in `style_files`, and the choice of one by words and semantics.

docs/symbolic.md describes the format with an example; `read_style` checks it and says what is wrong with a file.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import AXES
from openvmas.errors import InputError
from openvmas.symbolic.harmony import MODES, read_chord
from openvmas.symbolic.notes import Part

KICK, RIM, SNARE, CLAP, HAT, PEDAL, OPEN, CRASH, RIDE = 36, 37, 38, 39, 42, 44, 46, 49, 51
FLOOR, LOW_TOM, HIGH_TOM, TAMBOURINE, SHAKER, TRIANGLE = 41, 45, 48, 54, 70, 81
DRUM_KEYS = {
    "kick": KICK, "rim": RIM, "snare": SNARE, "clap": CLAP, "hat": HAT, "pedal": PEDAL, "open": OPEN, "ride": RIDE,
    "crash": CRASH, "floor": FLOOR, "low_tom": LOW_TOM, "high_tom": HIGH_TOM, "tambourine": TAMBOURINE,
    "shaker": SHAKER, "triangle": TRIANGLE, "cowbell": 56, "claves": 75,
}  # fmt: skip
ROLES = ("lead", "counter", "arp", "keys", "pad", "bass", "low_drum", "kit", "accent")
ALPHABET = {"drums": "Xxo.", "bass": "12345678awx/.-", "chords": "XxoDdurm0123456789.-", "lead": "x.-"}
VOICINGS = ("close", "open", "rootless", "power", "octaves")
DRUMMERS = ("rock", "funk", "jazz", "hiphop", "latin", "soul", "reggae", "country", "punk", "machine")
SCALES = ("mode", "pentatonic", "blues")
ORNAMENTS = ("none", "grace", "cut", "bend")
ENDINGS = ("ring", "button", "slow")
BUILDS = ("none", "roll", "toms", "riser")
Groove = Mapping[int, str]


@dataclass(frozen=True)
class Voice:
    """An instrument of the bank and its place in the mix: see notes.Part; gain_db: on top of that of its role."""

    instrument: str
    gain_db: float = 0.0
    pan: float = 0.0
    width: float = 0.0
    reverb: float = 0.2
    depth: float | None = None
    delay: float = 0.0
    amp: float = 0.0

    def part(self, role: str, number: int) -> Part:
        """The `number`-th player of a role with this voice, without notes."""
        name = role if number == 1 else f"{role} {number}"
        gain_db = ROLE_DB[role] + self.gain_db
        return Part(
            name, self.instrument, gain_db, self.pan, self.width, self.reverb, self.depth, self.delay,
            self.amp, is_kit=role == "drums",
        )  # fmt: skip


@dataclass(frozen=True)
class Lead:
    """Melodies of a style.

    busy: kinds of rhythm from calm to busy (slow, plain, lively). rhythms: own rhythms of a bar in sixteenths, which
    take the place of the plain and lively ones. scale: the mode's seven tones, or pentatonic or blues. ornament: grace
    (a step from below), cut (two quick ones), bend (a slide from below). legato: share of its length that a note
    sounds. late: ms behind the beat. rests: share of phrases without a melody. octave: of the register, -1 to 1.
    """

    busy: tuple[str, ...] = ("plain", "lively")
    rhythms: tuple[str, ...] = ()
    scale: str = "mode"
    ornament: str = "none"
    legato: float = 0.97
    late: float = 0.0
    rests: float = 0.15
    octave: int = 0


@dataclass(frozen=True)
class FormStyle:
    """Form of a style.

    intro: parts that begin alone where a piece is long enough. build: what leads into the strongest moment; has_stop:
    everything is silent for a beat before it. ending: ring, button (short) or slow (the last bar broadens).
    breaks: parts that pause in every second phrase of a long section, one at a time. lift: chance that the last
    section moves up a tone.
    """

    intro: tuple[str, ...] = ()
    build: str = "none"
    has_stop: bool = False
    ending: str = "ring"
    breaks: tuple[str, ...] = ("lead",)
    lift: float = 0.0


@dataclass(frozen=True)
class Style:
    """A manner of playing. The fields of a file are these.

    words: phrases that name it, hints: phrases that suggest it where no style is named. moods: phrases that, where
    nothing else is named, leave the choice to the styles that list them. about: a sentence for people.
    profile: axes of semantics that speak for it; common: how much oftener than others it is put under videos, in the
    units of `fit`.
    tempo: lowest and highest of its pulse, BPM; where a plan lies far off, its patterns go at half or double speed.
    metre: beats of a bar, steps: of its patterns in a beat. swing: how late every second step of `swing_of` (8 or 16)
    comes, share of a step. drummer: whose timing and touch its drums have. voices: part → voices, of which a piece
    takes one. grooves, fills: of the drums, from light to full. figures: part → patterns from calm to busy, each one
    or several to choose from. entries: part → intensity in [0, 1] from which it plays. modes: that it may be in.
    progressions: mode → chords as Roman numerals. n_tones: in a chord; voicing: of the keys. chord_seconds: how long a
    chord lasts, about; chord_bars: exactly, in bars, where not 0. pedal: broken chords ring on. mix: a name of the
    desk's, or a table of its settings.
    """

    name: str
    words: tuple[str, ...]
    about: str
    profile: Mapping[str, float]
    voices: Mapping[str, tuple[Voice, ...]]
    figures: Mapping[str, tuple[tuple[str, ...], ...]]
    hints: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    common: float = 0.0
    tempo: tuple[float, float] = (60.0, 180.0)
    metre: int = 4
    steps: int = 4
    swing: float = 0.0
    swing_of: int = 16
    drummer: str = "rock"
    grooves: tuple[Groove, ...] = ()
    fills: tuple[Groove, ...] = ()
    entries: Mapping[str, float] = field(default_factory=dict)
    spare: tuple[str, ...] = ("pad", "arp")
    modes: tuple[str, ...] = ()
    progressions: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    n_tones: int = 3
    voicing: str = "close"
    chord_seconds: float = 2.6
    chord_bars: float = 0.0
    pedal: bool = False
    lead: Lead = field(default_factory=Lead)
    form: FormStyle = field(default_factory=FormStyle)
    mix: Any = "natural"

    def entry(self, part: str) -> float:
        """The intensity from which a part plays."""
        return {**ENTRIES, **self.entries}[part]

    @property
    def bar_steps(self) -> int:
        return self.metre * self.steps

    def pace(self, tempo: float) -> float:
        """Number of its beats that go to one of a plan's, at a tempo of the plan in BPM: half, one or two."""
        low, high = self.tempo

        def distance(factor: float) -> float:
            return max(np.log2(low / (tempo * factor)), np.log2(tempo * factor / high), 0.0) + 0.12 * (factor != 1)

        return min((1.0, 2.0, 0.5), key=distance)


ENTRIES = {"pad": 0.0, "keys": 0.0, "bass": 0.2, "lead": 0.3, "drums": 0.38, "arp": 0.6, "counter": 0.72, "low": 0.5}

# dB, of parts against each other: chords have several tones at a time.
ROLE_DB = {
    "lead": 1.0, "counter": -4.5, "arp": -6.0, "keys": -4.5, "pad": -5.5, "bass": 0.0, "low": 2.0, "drums": -0.5,
    "accent": -6.0, "lift": -6.0,
}  # fmt: skip


@dataclass(frozen=True)
class Band:
    """Players of a style in one piece: a voice for each role, or none. lead: alternates from section to section."""

    keys: Voice
    pad: Voice
    bass: Voice
    accent: Voice
    lead: tuple[Voice, ...]
    counter: Voice | None = None
    arp: Voice | None = None
    low_drum: Voice | None = None
    kit: Voice | None = None


@dataclass(frozen=True)
class StyleTable:
    """Every style, the voices that their files name, and asked: axis of an instrument → part that it takes over."""

    voices: Mapping[str, Voice]
    styles: tuple[Style, ...]
    asked: Mapping[str, tuple[str, Voice]]

    def style(self, name: str) -> Style:
        return next(style for style in self.styles if style.name == name)


@functools.cache
def read_styles() -> StyleTable:
    """The table, read when the first piece is composed."""
    folder = Path(__file__).parent
    table = tomllib.loads((folder / "voices.toml").read_text(encoding="utf-8"))
    voices = {name: Voice(**row) for name, row in table["voices"].items()}
    styles = tuple(read_style(path, voices) for path in sorted((folder / "style_files").glob("*.toml")))
    asked = {axis: (row["part"], _read_voice(row["voice"], voices)) for axis, row in table["asked"].items()}
    return StyleTable(voices, styles, asked)


def read_style(path: Path, voices: Mapping[str, Voice] | None = None) -> Style:
    """The style in a file; `voices` are those that it may name, by default the shipped ones.

    Raises InputError that names the file, the field and the remedy.
    """
    if voices is None:
        voices = read_styles().voices
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return _read_style(table, voices)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a style.") from error
    except UnicodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as such.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML ({error}); mend this place.") from error
    except _FaultError as fault:
        raise InputError(f"{path}, {fault}") from fault


class _FaultError(Exception):
    """One mistake in a style: the field and what is wrong with it."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")


def _known(where: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), [str(a) for a in allowed], 1)
        hint = f"did you mean {near[0]}?" if near else f"give one of {', '.join(map(str, allowed))}."
        raise _FaultError(where, f"{value!r} is not known; {hint}")


def _number(where: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _FaultError(where, f"{value!r} is not a number from {low:g} to {high:g}.")


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _FaultError(where, 'give a text in quotes, or a list of them such as ["a", "b"].')
    return tuple(value)


def _read_voice(row: Any, voices: Mapping[str, Voice], where: str = "voices") -> Voice:
    """A named voice, one with changes, or one that is described in full."""
    if isinstance(row, str):
        _known(where, row, list(voices))
        return voices[row]
    if not isinstance(row, dict):
        raise _FaultError(where, 'give the name of a voice, or { instrument = "piano" }.')
    names = [item.name for item in fields(Voice)]
    for key, value in row.items():
        _known(f"{where}.{key}", key, ["voice", *names])
        if key not in ("voice", "instrument"):
            _number(f"{where}.{key}", value, *{"gain_db": (-24, 24), "pan": (-1, 1)}.get(key, (0, 1)))
    changes = {key: value for key, value in row.items() if key != "voice"}
    if "voice" in row:
        _known(f"{where}.voice", row["voice"], list(voices))
        return replace(voices[row["voice"]], **changes)
    if "instrument" not in row:
        raise _FaultError(where, "neither voice nor instrument is given; add one of them.")
    return Voice(**row)


def _read_pattern(where: str, pattern: str, kind: str, unit: int) -> str:
    """A pattern without the bars and spaces that make it readable."""
    pattern = pattern.replace("|", "").replace(" ", "")
    strange = sorted(set(pattern) - set(ALPHABET[kind]))
    if strange:
        raise _FaultError(where, f"{pattern!r} has {strange[0]!r}; the signs here are {' '.join(ALPHABET[kind])}")
    if not pattern or len(pattern) % unit:
        raise _FaultError(where, f"{pattern!r} has {len(pattern)} steps; give a multiple of {unit}.")
    return pattern


def _read_groove(where: str, row: Any, unit: int) -> Groove:
    if not isinstance(row, dict):
        raise _FaultError(where, 'give drums with their patterns, such as kick = "X...x...X...x...".')
    for drum in row:
        _known(f"{where}.{drum}", drum, list(DRUM_KEYS))
    return {
        DRUM_KEYS[drum]: _read_pattern(f"{where}.{drum}", _texts(f"{where}.{drum}", text)[0], "drums", unit)
        for drum, text in row.items()
    }


def _read_figures(rows: Mapping[str, Any], bar: int) -> dict[str, tuple[tuple[str, ...], ...]]:
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    for part, levels in rows.items():
        _known(f"figures.{part}", part, ["bass", "keys", "arp", "low"])
        kind = {"bass": "bass", "low": "drums"}.get(part, "chords")
        if not isinstance(levels, list) or not levels:
            raise _FaultError(
                f"figures.{part}", 'give a list of patterns from calm to busy, such as ["1---------------"].'
            )
        found[part] = tuple(
            tuple(_read_pattern(f"figures.{part}[{i}]", one, kind, bar) for one in _texts(f"figures.{part}", level))
            for i, level in enumerate(levels)
        )
    return found


def _read_record(kind: type, name: str, row: Any, choices: Mapping[str, Sequence[str]]) -> Any:
    """A dataclass of simple fields from a table. choices: field → values that are allowed, of every item of a tuple."""
    if not isinstance(row, dict):
        raise _FaultError(name, f"give a table [{name}].")
    types = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in row.items():
        where = f"{name}.{key}"
        _known(where, key, list(types))
        if types[key] == tuple[str, ...]:
            value = _texts(where, value)
        elif types[key] is bool and not isinstance(value, bool):
            raise _FaultError(where, f"{value!r} is neither true nor false.")
        elif types[key] in (int, float):
            _number(where, value, -1 if key == "octave" else 0, {"late": 60, "legato": 1.2}.get(key, 1))
        for one in value if isinstance(value, tuple) else (value,):
            if key in choices:
                _known(where, one, choices[key])
        values[key] = value
    return kind(**values)


def _read_style(table: dict[str, Any], voices: Mapping[str, Voice]) -> Style:
    names = [item.name for item in fields(Style)]
    for key in table:
        _known(key, key, names)
    for item in fields(Style):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in table:
            raise _FaultError(item.name, "this field is missing; add it.")
    _check_plain(table)
    bar = table.get("metre", 4) * table.get("steps", 4)
    made: dict[str, Any] = {
        "voices": _read_cast(table["voices"], voices),
        "words": _texts("words", table["words"]),
        "hints": _texts("hints", table.get("hints", [])),
        "moods": _texts("moods", table.get("moods", [])),
        "figures": _read_figures(table["figures"], bar),
        "tempo": tuple(table.get("tempo", (60.0, 180.0))),
        "grooves": tuple(_read_groove(f"grooves[{i}]", row, bar) for i, row in enumerate(table.get("grooves", []))),
        "fills": tuple(_read_groove(f"fills[{i}]", row, 1) for i, row in enumerate(table.get("fills", []))),
        "modes": _texts("modes", table.get("modes", [])),
        "spare": _texts("spare", table.get("spare", ["pad", "arp"])),
        "progressions": _read_progressions(table.get("progressions", {})),
        "lead": _read_lead(table.get("lead", {})),
        "form": _read_record(
            FormStyle, "form", table.get("form", {}),
            {"build": BUILDS, "ending": ENDINGS, "intro": tuple(ENTRIES), "breaks": tuple(ENTRIES)},
        ),
    }  # fmt: skip
    for part in made["spare"]:
        _known("spare", part, tuple(ENTRIES))
    for mode in (*made["modes"], *made["progressions"]):
        _known("modes" if mode in made["modes"] else "progressions", mode, list(MODES))
    return Style(**(table | made))


def _check_plain(table: dict[str, Any]) -> None:
    """Raises _FaultError at the first simple field that makes no sense."""
    _texts("name", table["name"])
    for axis, weight in table["profile"].items():
        _known(f"profile.{axis}", axis, AXES)
        _number(f"profile.{axis}", weight, -3, 3)
    for part, value in table.get("entries", {}).items():
        _known(f"entries.{part}", part, tuple(ENTRIES))
        _number(f"entries.{part}", value, 0, 9)
    ranges = {"metre": (2, 7), "steps": (3, 4), "swing": (0, 0.7), "n_tones": (2, 5), "chord_seconds": (0.4, 60),
              "chord_bars": (0, 32), "common": (-2, 2)}  # fmt: skip
    for key, (low, high) in ranges.items():
        if key in table:
            _number(key, table[key], low, high)
    if "tempo" in table:
        if not isinstance(table["tempo"], list) or len(table["tempo"]) != 2:
            raise _FaultError("tempo", "give the lowest and the highest, such as [80, 95].")
        for value in table["tempo"]:
            _number("tempo", value, 30, 240)
    for key, allowed in (("voicing", VOICINGS), ("drummer", DRUMMERS), ("swing_of", (8, 16))):
        if key in table:
            _known(key, table[key], allowed)


def _read_cast(rows: Any, voices: Mapping[str, Voice]) -> dict[str, tuple[Voice, ...]]:
    cast: dict[str, tuple[Voice, ...]] = {}
    for role, row in rows.items():
        _known(f"voices.{role}", role, ROLES)
        options = row if isinstance(row, list) else [row]
        cast[role] = tuple(_read_voice(one, voices, f"voices.{role}") for one in options)
    for role in ("lead", "keys", "pad", "bass", "accent"):
        if role not in cast:
            raise _FaultError(f"voices.{role}", "this part has no voice; add one.")
    return cast


def _read_lead(row: Any) -> Lead:
    lead = _read_record(
        Lead, "lead", row, {"busy": ("slow", "plain", "lively"), "scale": SCALES, "ornament": ORNAMENTS}
    )
    rhythms = tuple(_read_pattern("lead.rhythms", pattern, "lead", 4) for pattern in lead.rhythms)
    return replace(lead, rhythms=rhythms)


def _read_progressions(rows: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], ...]]:
    found = {}
    for mode, texts in rows.items():
        found[mode] = tuple(tuple(text.split()) for text in _texts(f"progressions.{mode}", texts))
        for chord in (chord for chords in found[mode] for chord in chords):
            try:
                read_chord(chord)
            except ValueError as error:
                raise _FaultError(f"progressions.{mode}", str(error)) from error
    return found


NEVER = 9.0  # intensity from which a part that is not wanted would play
INSISTED, REFUSED = 0.9, -0.25  # values of an instrument's axis from which it must play, and up to which it must not
SPARED = 0.45  # chance that a piece lacks one of its spare parts
FULLNESS = 0.05  # standard deviation of how much earlier or later than usual the parts of a piece come in
MELODIC = ("keys", "pad", "lead", "arp")
FAMILIES = {  # axis of an instrument → names of sounds that are one
    axis: re.compile(names) for axis, names in {
        "piano": "piano", "guitar": "guitar|nylon|steel_string", "strings": "string|cello|violin|viola|fiddle",
        "brass": "horn|trumpet|trombone|tuba|brass", "flute": "flute|whistle|recorder|piccolo",
        "bells": "celesta|glocken|bell|music_box|crystal|vibraphone", "choir": "choir|vox|oohs", "organ": "organ",
        "synthesizer": "synth",
    }.items()
}  # fmt: skip
NEAR, CHANCE = 0.9, 0.35  # how far off the best fit a style may be drawn, and off what its chance falls to 1/e
SURE = 0.4  # of agreement: a style that few pictures ask for at all needs more than a little more of it
WRONG_METRE = 3.0  # off the fit of a style whose bars are not the plan's
WRONG_TEMPO = 5.0  # off it for every octave of tempo that it lies outside of its range
USUAL = Path(__file__).parent / "usual_agreement.json"


def agreement(style: Style, semantics: Mapping[str, float]) -> float:
    """Agreement of a style's profile with semantics: greater is better."""
    total = sum(weight * semantics.get(axis, 0.0) for axis, weight in style.profile.items())
    return total / max(sum(abs(weight) for weight in style.profile.values()), 1e-9) ** 0.5


def named_style(phrases: Sequence[str]) -> Style | None:
    """The style that one of the phrases names, the first of them first, else one that they suggest."""
    for kind in ("words", "hints"):
        for phrase in phrases:
            for style in read_styles().styles:
                if phrase in getattr(style, kind):
                    return style
    return None


@functools.cache
def read_usual() -> Mapping[str, tuple[float, float]]:
    """Agreement of pictures at large with each style: mean and standard deviation (tools/balance_styles.py)."""
    return json.loads(USUAL.read_text(encoding="utf-8"))


def fit(style: Style, semantics: Mapping[str, float], tempo: float | None = None, metre: int = 4) -> float:
    """Fit of a style beyond its fit to pictures at large, in about their standard deviations.

    tempo: of the plan, BPM, or None where it does not matter. metre: beats in its bars. Without the usual agreement
    taken off, lively pictures would nearly all get the few styles that ask for much of the same.
    """
    mean, deviation = read_usual().get(style.name, (0.0, 0.6))
    value = (agreement(style, semantics) - mean) / (deviation**2 + SURE**2) ** 0.5
    if tempo is not None:
        pulse, (low, high) = tempo * style.pace(tempo), style.tempo
        value -= WRONG_TEMPO * max(float(np.log2(low / pulse)), float(np.log2(pulse / high)), 0.0)
    return value + style.common - WRONG_METRE * ((style.metre == 3) != (metre == 3))


def choose_style(
    semantics: Mapping[str, float],
    named: Sequence[str] = (),
    metre: int = 4,
    rng: np.random.Generator | None = None,
    tempo: float | None = None,
) -> Style:
    """The style that a phrase of the text names, else the one that fits best.

    metre: beats in a bar of the plan. rng: draws among those that fit nearly as well, the better the likelier.
    """
    styles = read_styles().styles
    if (style := named_style(named)) is not None:
        return style
    styles = [style for style in styles if named and set(named) <= set(style.moods)] or styles
    fits = np.array([fit(style, semantics, tempo, metre) for style in styles])
    if rng is None:
        return styles[int(fits.argmax())]
    chances = np.where(fits >= fits.max() - NEAR, np.exp((fits - fits.max()) / CHANCE), 0.0)
    return styles[int(rng.choice(len(styles), p=chances / chances.sum()))]


def equip(style: Style, semantics: Mapping[str, float], rng: np.random.Generator) -> tuple[Style, Band]:
    """The style and its players, with the instruments that are asked for and without drums or bass that are refused."""
    table = read_styles()
    order = [list(rng.permutation(len(options))) for options in (style.voices.get(role, ()) for role in ROLES)]
    cast: dict[str, Any] = {
        role: style.voices[role][picks[0]] for role, picks in zip(ROLES, order, strict=True) if role in style.voices
    }
    cast["lead"] = tuple(style.voices["lead"][k] for k in order[0])
    entries, figures, grooves = dict(style.entries), dict(style.figures), style.grooves
    lean = FULLNESS * float(np.clip(rng.standard_normal(), -2, 2))
    lacking = str(rng.choice(style.spare)) if style.spare and rng.random() < SPARED else None
    insisted = set[str]()
    for axis, (part, voice) in table.asked.items():
        if semantics.get(axis, 0.0) < INSISTED:
            continue
        there = [role for role in MELODIC if role in cast and FAMILIES[axis].search(str(cast[role]))]
        if not there:
            cast[part] = (voice,) if part == "lead" else voice
        elif there[0] == "lead":
            cast["lead"] = tuple(one for one in cast["lead"] if FAMILIES[axis].search(one.instrument))
        heard = there[0] if there else part
        entries[heard] = min(entries.get(heard, ENTRIES[heard]), 0.1)
        insisted.add(heard)
    for part in ENTRIES.keys() - insisted:
        entries[part] = max(entries.get(part, ENTRIES[part]) - lean, 0.0)
    if lacking is not None and lacking not in insisted:
        entries[lacking] = NEVER
    drums = semantics.get("drums", 0.0)
    if drums <= REFUSED:
        cast.pop("kit", None)
        cast.pop("low_drum", None)
        cast["accent"] = table.voices["harp"] if cast["accent"].instrument == "timpani" else cast["accent"]
    elif drums >= INSISTED and "kit" not in cast and "low_drum" not in cast:
        cast["kit"] = table.voices["kit"]
        grooves = table.style("pop").grooves
        entries["drums"] = 0.15
    if semantics.get("bass", 0.0) <= REFUSED:
        entries["bass"] = NEVER
    figures.setdefault("arp", (("1.2.3.4.3.2.3.2."[: style.bar_steps].ljust(style.bar_steps, "."),),))
    return replace(style, entries=entries, figures=figures, grooves=grooves), Band(**cast)
