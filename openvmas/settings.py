"""Settings as frozen dataclasses: every default once, with its help sentence, checked in one place.

A field made by `option` carries its help, range and choices; command-line options (`openvmas.cli.options`), tables of
TOML files and docs are made from it. Imports nothing heavy.
"""

from __future__ import annotations

import difflib
import math
import numbers
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from openvmas.errors import InputError, OptionError

SAMPLE_RATE_OUT = 48_000  # Hz, of every file that is written
CONTROL_RATE = Fraction(50)  # steps per second of event curves, plan conditions and codec codes
T = TypeVar("T")


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A dataclass field with its help sentence; mutable defaults are given as a factory (`list`, `tuple`).

    metadata: `min` and `max` (inclusive), `choices`, `is_later` (see `Options.flat`), `is_local` (names a file, so
    that no page may set it); for the command line `metavar`, `flags` (further spellings) and `envvar`.
    """
    info = {"help": help, **metadata}
    if callable(default):
        return field(default_factory=default, metadata=info)
    return field(default=default, metadata=info)


@dataclass(frozen=True)
class PlanOptions:
    """Settings of a plan."""

    text: str | None = option(None, 'What the music should be like, in words, e.g. "calm piano, hopeful".')
    mood: str | None = option(None, "One mood word for the whole video, e.g. calm, happy, dark, epic.")
    tempo: float | None = option(
        None, "Tempo in beats per minute, 40 to 220; fitted to the picture if left out.", min=40, max=220
    )
    hit: tuple[float, ...] = option(
        tuple, "A moment in seconds that must get an accent; may be given several times.", min=0
    )


@dataclass(frozen=True)
class GenerateOptions:
    """Settings of sampling."""

    seed: int = option(
        0, "The same seed, video and options give the same music on the same machine.", min=0, max=2**32 - 1
    )
    candidates: int = option(
        2, "How many continuations are written at once; every few seconds the best is kept.", min=1, max=16
    )
    guidance: float = option(2.0, "How strongly the music follows mood and style (1 = no extra).", min=0, max=10)
    event_guidance: float = option(
        2.0, "How strongly the music follows cuts and moves (1 = no extra, 0 = ignore them).", min=0, max=10
    )
    temperature: float = option(1.0, "Randomness of sampling; lower is safer, higher is more varied.", min=0.1, max=2)
    top_k: int = option(100, "Sample from the k most likely codes only; 0 means all.", min=0, max=1024)
    top_p: float = option(0.95, "Sample from the smallest set of codes with this much probability.", min=0.1, max=1)
    like: str | None = option(
        None, "A recording that the music should sound like (model mini only).", metavar="PATH", is_later=True,
        is_local=True,
    )  # fmt: skip
    like_at: float | None = option(
        None, "Where in that recording, s; its fullest seconds if left out.", min=0, is_later=True, is_local=True
    )
    no_prompt: bool = option(False, "Write without an audio prompt (model mini only).", is_later=True)
    soundfont: tuple[str, ...] = option(
        tuple, "Play on your own instruments (.sf2, .sf3 or .sfz; model symbolic only): FILE for all that are sampled, "
        "PART=FILE or PART=FILE#PRESET for one part (lead, keys, pad, bass, drums …). May be given several times.",
        metavar="FILE", is_later=True, is_local=True,
    )  # fmt: skip


@dataclass(frozen=True)
class MusicOptions:
    """Settings of music that is not written but taken: recordings of the user's, or what another generator wrote."""

    music: str | None = option(
        None, "Fit this recording to the picture instead of writing music; of a folder (or `free`, the recordings that "
        "come with OpenVMAS), the one that fits best.", metavar="PATH", is_later=True, is_local=True,
    )  # fmt: skip
    music_keep: tuple[str, ...] = option(
        tuple, "A span of the recording that must be played whole, as 0:20-0:40; may be given several times.",
        metavar="SPAN", is_later=True, is_local=True,
    )  # fmt: skip
    music_from: str | None = option(
        None, "Let another program or server write the music, by its contract in TOML (docs/fitting.md), then fit it.",
        metavar="PATH", is_later=True, is_local=True,
    )  # fmt: skip
    joins_out: str | None = option(
        None, "Also write the parts and joins of the recording as an edit list, in .edl or .otio.",
        metavar="PATH", is_later=True, is_local=True,
    )  # fmt: skip
    sweeten: bool = option(
        False, "Add impacts, cymbals, risers and sub drops, in key, at your hits and the strongest cuts.", is_later=True
    )
    sweeten_gain: float = option(
        0.0, "Level of what --sweeten adds, dB above or below the usual.", min=-24, max=12, is_later=True
    )
    sweeten_out: str | None = option(
        None, "Also write what --sweeten adds alone, as a WAV file.", metavar="PATH", is_later=True, is_local=True
    )


@dataclass(frozen=True)
class MixOptions:
    """Settings of mixing music with the original sound."""

    loudness: float = option(-14.0, "Integrated loudness of the finished sound, LUFS (ITU-R BS.1770).", min=-40, max=-5)
    true_peak: float = option(-1.0, "Highest true peak of the finished sound, dBTP.", min=-9, max=0)
    music_gain: float = option(
        -6.0, "Level of the music against kept original sound, dB (loudness difference, no speech).", min=-40, max=20
    )
    original_gain: float = option(
        0.0, "Level of the kept original sound, dB above or below what it is; the music stays where it is.",
        min=-40, max=20, is_later=True,
    )  # fmt: skip
    envelope: tuple[str, ...] = option(
        tuple, "A point of the music's volume curve, as 0:12=-6 (dB) or 0:12=off; straight between points. May be "
        "given several times.", metavar="POINT", is_later=True,
    )  # fmt: skip
    duck: float = option(-12.0, "How far the music goes down under speech, dB.", min=-40, max=0)
    replace_audio: bool = option(False, "Drop the original sound; the music alone is heard.")
    separate_track: bool = option(False, "Add the music alone as a second audio track.")
    keep_all_audio: str | None = option(
        None,
        "Keep the other audio streams (languages) too: `music` puts the music under each, `untouched` copies them.",
        choices=("music", "untouched"),
        is_later=True,
    )


@dataclass(frozen=True)
class OutputOptions:
    """Paths and number of results, and the model."""

    output: str | None = option(
        None, "Path of the finished video; next to the input as NAME.scored.EXT if left out.", metavar="PATH",
        flags=("-o",),
    )  # fmt: skip
    audio_out: str | None = option(None, "Also write the music alone as a 48 kHz stereo WAV file.", metavar="PATH")
    midi_out: str | None = option(None, "Also write the notes as a MIDI file (model symbolic only).", metavar="PATH")
    stems_out: str | None = option(
        None, "Also write every part as a WAV file into this folder (model symbolic only).", metavar="PATH"
    )
    plan: str | None = option(
        None, "Use this plan (YAML, written by `openvmas plan`) instead of making one.", metavar="PATH"
    )
    overwrite: bool = option(False, "Replace existing output files.")
    variations: int = option(1, "How many finished videos to write, each with the next seed.", min=1, max=100)
    model: str = option(
        "auto",
        "Preset (mini, symbolic), folder of exported weights, or auto: for each video the preset that fits it by "
        "measures; the sidecar says which and why.",
        metavar="PATH",
    )
    device: str = option(
        "cpu", "Where networks run: cpu, or cuda (a graphics card, with onnxruntime-gpu; not the same music as on a "
        "processor).", choices=("cpu", "cuda"), is_later=True, is_local=True,
    )  # fmt: skip


@dataclass(frozen=True)
class ClusterOptions:
    """The cluster that a command works on."""

    ray: str | None = option(None, "Ray cluster to work on: HOST:PORT, auto or local; extra `ray`.", metavar="ADDRESS")


@dataclass(frozen=True)
class BatchOptions(ClusterOptions):
    """Settings of scoring many videos."""

    list: str | None = option(
        None, "A table (CSV, TSV, Parquet, JSONL) whose column `video` has paths or addresses such as s3://…; columns "
        "called like an option hold it for their row.", metavar="PATH",
    )  # fmt: skip
    table: str | None = option(
        None, "Table of results, .csv or .parquet; of a list NAME.scored.csv if left out.", metavar="PATH"
    )
    workers: int | None = option(None, "Videos scored at a time on this machine. [default: 1]", min=1, max=64)
    timeout: float | None = option(
        None, "Seconds a video may take where there are several. [default: 21600]", min=1, max=604_800
    )


FIRST_MODEL = "mini"  # where one is needed and there is no video to choose it for

GROUPS: dict[str, type] = {
    "plan": PlanOptions,
    "generate": GenerateOptions,
    "music": MusicOptions,
    "mix": MixOptions,
    "output": OutputOptions,
}


@dataclass(frozen=True)
class Options:
    """All of the above; made from flat names, which are unique over the groups: `Options.of(seed=3, loudness=-16)`."""

    plan: PlanOptions
    generate: GenerateOptions
    music: MusicOptions
    mix: MixOptions
    output: OutputOptions

    @classmethod
    def of(cls, **values: Any) -> Options:
        """Check names, types and ranges. Raises OptionError."""
        group_of = {item.name: name for name, group in GROUPS.items() for item in fields(group)}
        chosen: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for name, value in values.items():
            if name not in group_of:
                near = difflib.get_close_matches(name, group_of, 1)
                hint = f"did you mean {near[0]}?" if near else "see `openvmas score --help` for the names."
                raise OptionError(f"there is no option called {name}; {hint}")
            chosen[group_of[name]][name] = value
        groups: dict[str, Any] = {name: read_table(group, chosen[name]) for name, group in GROUPS.items()}
        return cls(**groups)

    @staticmethod
    def parse(texts: Mapping[str, str]) -> dict[str, Any]:
        """Values for `of` from names and texts, as of a specification. Raises OptionError."""
        kinds = {item.name: value_type(item, group).kind for group in GROUPS.values() for item in fields(group)}
        found: dict[str, Any] = {}
        for name, text in texts.items():
            kind = kinds.get(name, str)
            try:
                found[name] = text.lower() in ("1", "true", "yes", "on") if kind is bool else kind(text)
            except ValueError as error:
                raise OptionError(f"{name} cannot be {text!r}; give a number.") from error
        return found

    def flat(self) -> dict[str, Any]:
        """Name → value over all groups, as `of` takes them; options added later (`is_later`) only where they are used,
        so that files made with the same options stay the same."""
        return {
            item.name: getattr(getattr(self, name), item.name)
            for name, group in GROUPS.items()
            for item in fields(group)
            if not item.metadata.get("is_later") or getattr(getattr(self, name), item.name) != default_of(item)
        }


def default_of(item: Field[Any]) -> Any:
    """The default of a field, made anew where it is mutable."""
    return item.default if item.default_factory is MISSING else item.default_factory()


class ValueType(NamedTuple):
    """The type of one value of a field, whether None is allowed, and whether the field is a tuple of such values."""

    kind: type
    is_optional: bool
    is_tuple: bool


def value_type(item: Field[Any], group: type) -> ValueType:
    """The type that the annotation of a field allows; `group` is its dataclass."""
    kind = typing.get_type_hints(group)[item.name]
    if isinstance(kind, types.UnionType):
        return ValueType(next(part for part in typing.get_args(kind) if part is not type(None)), True, False)
    if typing.get_origin(kind) is tuple:
        return ValueType(typing.get_args(kind)[0], False, True)
    return ValueType(kind, False, False)


def checked(item: Field[Any], group: type, value: Any) -> Any:
    """The value in the field's own type (a tuple becomes one, an int becomes float); raises OptionError."""
    kind, is_optional, is_tuple = value_type(item, group)
    if value is None and is_optional:
        return None
    if is_tuple:
        parts = value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
        return tuple(_checked_one(item, kind, part) for part in parts)
    return _checked_one(item, kind, value)


def _checked_one(item: Field[Any], kind: type, value: Any) -> Any:
    if kind is str:
        value = str(value)
    elif kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    elif kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        wanted = {float: "a number", int: "a whole number", bool: "True or False", str: "text"}[kind]
        raise OptionError(f"{item.name} cannot be {value!r}; give {wanted}.")
    low, high = item.metadata.get("min"), item.metadata.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = f"from {low} to {high}" if high is not None else f"of {low} or more"
        raise OptionError(f"{item.name} cannot be {value}; give a number {allowed}.")
    choices = item.metadata.get("choices")
    if choices is not None and value not in choices:
        raise OptionError(f"{item.name} cannot be {value!r}; {nearest(value, choices)}")
    return value


def read_table(kind: type[T], table: Any, where: str = "") -> T:
    """A dataclass of settings from names and values, all of them checked.

    where: how messages name the table, e.g. "[build]". Raises OptionError with the table and the nearest key.
    """
    if not isinstance(table, Mapping):
        raise OptionError(f"{where} must be a table of keys and values, not {table!r}.")
    group: Any = kind
    items = {item.name: item for item in fields(group)}
    for key in table:
        if key not in items:
            raise OptionError(f"{where or kind.__name__} has no key {key}; {nearest(key, items)}")
    try:
        return kind(**{key: checked(items[key], kind, value) for key, value in table.items()})
    except (OptionError, ValueError) as error:
        raise OptionError(f"{where}: {error}" if where else str(error)) from error


def read_toml(path: Path, wanted: str = "a recipe in TOML") -> dict[str, Any]:
    """The tables of a TOML file. wanted: the remedy that a message gives. Raises InputError."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"{path} cannot be read ({reason}); give {wanted}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}; correct that line.") from error


def nearest(word: str, known: Iterable[str]) -> str:
    """The remedy for an unknown word: the word that was probably meant, or all that are known."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}."
