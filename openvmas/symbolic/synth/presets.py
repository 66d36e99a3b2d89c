"""Presets of the synthesiser, which are data (`presets/*.toml`): what each is made of, its role, range and level."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from openvmas.errors import ModelError

PREFIX = "synth:"
ROLES = ("bass", "lead", "pad", "keys", "arp", "bell", "hit", "texture", "riser", "kit")


@dataclass(frozen=True)
class Oscillator:
    """Periodic waves read from a table.

    wave: a name of `oscillators.SPECTRA`. to: the wave that it becomes within `morph` s. voices: in unison, `detune`
    semitones from the lowest to the highest, `spread` in [0, 1] over the stereo field. tune: semitones, fixed: Hz that
    do not follow the key (0: follow). pulse: width of a pulse's upper half, moved by pulse_depth at pulse_rate Hz.
    drop: semitones above the pitch at the start, which fall away within drop_seconds. sync: semitones that a slave
    oscillator sweeps down from, within morph s. decay: s to −60 dB of this layer alone, 0: stays.
    """

    wave: str = "saw"
    to: str = ""
    morph: float = 1.0
    voices: int = 1
    detune: float = 0.16
    spread: float = 0.8
    tune: float = 0.0
    fixed: float = 0.0
    pulse: float = 0.5
    pulse_depth: float = 0.0
    pulse_rate: float = 0.4
    drop: float = 0.0
    drop_seconds: float = 0.05
    sync: float = 0.0
    decay: float = 0.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class Fm:
    """Two operators, of which one modulates the other's phase (Chowning 1973).

    ratio: of the modulator's frequency to the carrier's, whose own ratio is `carrier`. index: radians at the start,
    which fall to `floor` with the time constant index_decay s. velocity: octaves of index between soft and hard.
    voices, detune, spread, tune, decay: see Oscillator.
    """

    ratio: float = 1.0
    carrier: float = 1.0
    index: float = 2.0
    floor: float = 0.5
    index_decay: float = 0.4
    velocity: float = 1.5
    voices: int = 1
    detune: float = 0.1
    spread: float = 0.7
    tune: float = 0.0
    decay: float = 0.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class Modal:
    """Partials that ring by themselves: strings, bars, bells, membranes.

    material: a name of `modes.MATERIALS`. decay: s to −60 dB of the first partial at middle C. damping: by which power
    of its frequency a partial falls faster. hardness: Hz from which the stroke excites less. place: of the stroke along
    a string, share of its length. inharmonicity: of a stiff string. beating: semitones between the pairs of a partial.
    """

    material: str = "string"
    decay: float = 2.0
    damping: float = 0.7
    hardness: float = 3000.0
    place: float = 0.2
    inharmonicity: float = 0.0
    beating: float = 0.0
    tune: float = 0.0
    spread: float = 0.3
    thump: float = 0.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class Noise:
    """Noise between two frequencies, Hz; with `tracks` they are those of middle C and follow the key."""

    low: float = 20.0
    high: float = 20_000.0
    tracks: bool = False
    attack: float = 0.0
    decay: float = 0.0
    spread: float = 1.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class Grains:
    """A cloud of grains of a sampled instrument: `density` a second, `size` s long, from anywhere in the sample."""

    instrument: str = "strings"
    density: float = 24.0
    size: float = 0.22
    octave_share: float = 0.15
    reverse_share: float = 0.3
    detune: float = 0.12
    spread: float = 1.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class Field:
    """Sound of a place or of a machine: a name of `fields.FIELDS`; pace: how often its events come, against usual."""

    kind: str = "wind"
    pace: float = 1.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """Noise or tones that rise to the end of the note (rises) or fall from its start, over `octaves`."""

    source: str = "noise"
    rises: bool = True
    octaves: float = 4.0
    low: float = 300.0
    tremolo: float = 0.0
    gain_db: float = 0.0


Layer = Oscillator | Fm | Modal | Noise | Grains | Field | Sweep
LAYERS: Mapping[str, type] = {
    "oscillator": Oscillator, "fm": Fm, "modal": Modal, "noise": Noise, "grains": Grains, "field": Field,
    "sweep": Sweep,
}  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """A resonant filter that moves.

    kind: low, low24, band, high. cutoff: Hz at middle C, following the key by `track`. resonance: 0 to 1. envelope:
    octaves above the cutoff at the peak, reached in attack s and left within decay s for the share `sustain`.
    rate, depth: of its LFO, Hz and octaves. velocity: octaves between a soft and a hard stroke. vowels: pairs of
    `filters.VOWELS` between which the LFO moves, such as "ao"; empty for none.
    """

    kind: str = "low"
    cutoff: float = 20_000.0
    track: float = 0.4
    resonance: float = 0.1
    envelope: float = 0.0
    attack: float = 0.002
    decay: float = 0.4
    sustain: float = 0.3
    rate: float = 0.2
    depth: float = 0.0
    velocity: float = 1.0
    vowels: str = ""


@dataclass(frozen=True)
class Amp:
    """Loudness in time: s, and a share for sustain. decay: s to −60 dB of what lies above the sustain."""

    attack: float = 0.004
    decay: float = 1.0
    sustain: float = 1.0
    release: float = 0.15


@dataclass(frozen=True)
class Arp:
    """A held chord becomes this figure: pattern up, down, updown, random, octaves or gate; steps a beat; gate: share
    of a step that sounds; octaves: over how many it runs."""

    pattern: str = "up"
    steps: int = 4
    gate: float = 0.7
    octaves: int = 1


@dataclass(frozen=True)
class Preset:
    """A sound. reach: lowest and highest key that it is made for. program: of General MIDI, nearest to it.

    vibrato: Hz, cents, s until it is there. glide: s from one note to the next that touches it. drive: 0 to 1. chorus,
    tremolo (depth, with tremolo_rate Hz), crush (bits, 0: none): of the whole. drums: key → name of a drum, of kits.
    level_db: brings it to `LEVEL_DB`, measured by tools/level_presets.py.
    """

    name: str
    role: str
    reach: tuple[int, int] = (36, 96)
    program: int = 81
    level_db: float = 0.0
    layers: tuple[Layer, ...] = ()
    filter: Filter | None = None
    amp: Amp = field(default_factory=Amp)
    vibrato: tuple[float, float, float] = (5.2, 0.0, 0.3)
    glide: float = 0.0
    drive: float = 0.0
    chorus: float = 0.0
    tremolo: float = 0.0
    tremolo_rate: float = 5.0
    crush: float = 0.0
    arp: Arp | None = None
    drums: Mapping[int, str] = field(default_factory=dict)
    is_one_shot: bool = False

    @property
    def depends_on_length(self) -> bool:
        """Whether a longer note is another sound and not only more of it."""
        return any(isinstance(layer, Sweep) and layer.rises for layer in self.layers)


@functools.cache
def read_presets() -> Mapping[str, Preset]:
    """All presets by name, read when the first is needed. Raises ModelError if a file does not keep to the schema."""
    found: dict[str, Preset] = {}
    for path in sorted((Path(__file__).parent / "presets").glob("*.toml")):
        for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
            try:
                found[name] = read_preset(name, {"role": path.stem, **row})
            except (TypeError, KeyError, ValueError) as error:
                raise ModelError(f"{path.name}: preset {name} cannot be read ({error}); correct its table.") from error
    return found


def read_preset(name: str, row: Mapping[str, Any]) -> Preset:
    """A preset from its table. Raises TypeError, KeyError or ValueError where the table does not keep to the schema."""
    values = dict(row)
    if values["role"] not in ROLES:
        raise ValueError(f"role {values['role']} is none of {', '.join(ROLES)}")
    rows = [dict(layer) for layer in values.pop("layers", ())]
    layers = tuple(LAYERS[layer.pop("type", "oscillator")](**layer) for layer in rows)
    parts = {"filter": Filter, "amp": Amp, "arp": Arp}
    made = {key: kind(**values.pop(key)) for key, kind in parts.items() if key in values}
    drums = {int(key): drum for key, drum in values.pop("drums", {}).items()}
    for key in ("reach", "vibrato"):
        if key in values:
            values[key] = tuple(values[key])
    unknown = set(values) - {item.name for item in fields(Preset)}
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return Preset(name=name, layers=layers, drums=drums, **made, **values)


def is_synth(instrument: str) -> bool:
    """Whether an instrument's name means a preset of the synthesiser and not samples."""
    return instrument.startswith(PREFIX)


def preset_of(instrument: str) -> Preset:
    """The preset that `synth:NAME` means. Raises ModelError for an unknown name."""
    name = instrument.removeprefix(PREFIX)
    try:
        return read_presets()[name]
    except KeyError:
        raise ModelError(f"There is no preset {name} of the synthesiser; see docs/symbolic.md.") from None


def reach_of(instrument: str) -> tuple[int, int]:
    """The lowest and highest MIDI key that a preset is made for."""
    return preset_of(instrument).reach
