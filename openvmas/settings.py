"""Every default, once, with its sentence: frozen dataclasses from which help, docs and recipes are generated.

Imports nothing heavy. A field's `metadata["help"]` is the sentence that users read.
"""

from __future__ import annotations

import difflib
import math
import numbers
import types
import typing
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from fractions import Fraction
from typing import Any

from openvmas.errors import OptionError

SAMPLE_RATE_OUT = 48_000  # Hz, of every file that is written
CONTROL_RATE = Fraction(50)  # steps per second of event curves, plan conditions and codec codes


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A dataclass field with its help sentence; mutable defaults are given as a factory (`list`, `tuple`)."""
    info = {"help": help, **metadata}
    if callable(default):
        return field(default_factory=default, metadata=info)
    return field(default=default, metadata=info)


@dataclass(frozen=True)
class PlanOptions:
    """What the user asks of the plan."""

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
    """How the model writes."""

    seed: int = option(
        0, "The same seed, video and options give the same music on the same machine.", min=0, max=2**32 - 1
    )
    candidates: int = option(
        2, "How many continuations are written at once; every few seconds the best is kept.", min=1, max=16
    )
    guidance: float = option(3.0, "How strongly the music follows mood and style (1 = no extra).", min=0, max=10)
    event_guidance: float = option(
        3.0, "How strongly the music follows cuts and moves (1 = no extra, 0 = ignore them).", min=0, max=10
    )
    temperature: float = option(1.0, "Randomness of sampling; lower is safer, higher is more varied.", min=0.1, max=2)
    top_k: int = option(100, "Sample from the k most likely codes only; 0 means all.", min=0, max=1024)
    top_p: float = option(0.95, "Sample from the smallest set of codes with this much probability.", min=0.1, max=1)


@dataclass(frozen=True)
class MixOptions:
    """How music, original sound and picture are put together."""

    loudness: float = option(-14.0, "Integrated loudness of the finished sound, LUFS (ITU-R BS.1770).", min=-40, max=-5)
    true_peak: float = option(-1.0, "Highest true peak of the finished sound, dBTP.", min=-9, max=0)
    music_gain: float = option(
        -6.0, "Level of the music against kept original sound, dB (loudness difference, no speech).", min=-40, max=20
    )
    duck: float = option(-12.0, "How far the music goes down under speech, dB.", min=-40, max=0)
    replace_audio: bool = option(False, "Drop the original sound; the music alone is heard.")
    separate_track: bool = option(False, "Add the music alone as a second audio track.")


@dataclass(frozen=True)
class OutputOptions:
    """Where results go."""

    output: str | None = option(None, "Path of the finished video; next to the input as NAME.scored.EXT if left out.")
    audio_out: str | None = option(None, "Also write the music alone as a 48 kHz stereo WAV file.")
    midi_out: str | None = option(None, "Also write the notes as a MIDI file (model symbolic only).")
    stems_out: str | None = option(None, "Also write every part as a WAV file into this folder (model symbolic only).")
    plan: str | None = option(None, "Use this plan (YAML, written by `openvmas plan`) instead of making one.")
    overwrite: bool = option(False, "Replace existing output files.")
    variations: int = option(1, "How many finished videos to write, each with the next seed.", min=1, max=100)
    model: str = option("mini", "Preset (mini, symbolic) or folder of exported weights.")


GROUPS: dict[str, type] = {
    "plan": PlanOptions,
    "generate": GenerateOptions,
    "mix": MixOptions,
    "output": OutputOptions,
}


@dataclass(frozen=True)
class Options:
    """All of the above; made from flat names, which are unique over the groups: `Options.of(seed=3, loudness=-16)`."""

    plan: PlanOptions
    generate: GenerateOptions
    mix: MixOptions
    output: OutputOptions

    @classmethod
    def of(cls, **values: Any) -> Options:
        """Check names, types and ranges; raises OptionError."""
        groups: dict[str, Any] = {}
        left = dict(values)
        for name, group in GROUPS.items():
            known = {item.name: item for item in fields(group)}
            chosen = {key: left.pop(key) for key in list(left) if key in known}
            groups[name] = group(**{key: checked(known[key], group, value) for key, value in chosen.items()})
        if left:
            name = next(iter(left))
            near = difflib.get_close_matches(
                name, [item.name for group in GROUPS.values() for item in fields(group)], 1
            )
            hint = f"did you mean {near[0]}?" if near else "see `openvmas score --help` for the names."
            raise OptionError(f"there is no option called {name}; {hint}")
        return cls(**groups)

    def flat(self) -> dict[str, Any]:
        """Name → value over all groups, as `of` takes them."""
        return {
            item.name: getattr(getattr(self, name), item.name)
            for name, group in GROUPS.items()
            for item in fields(group)
        }


def value_type(item: Field[Any], group: type) -> tuple[type, bool, bool]:
    """What a field holds: (type of one value, whether None is allowed, whether it is a tuple of such values)."""
    kind = typing.get_type_hints(group)[item.name]
    if isinstance(kind, types.UnionType):
        return next(part for part in typing.get_args(kind) if part is not type(None)), True, False
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0], False, True
    return kind, False, False


def checked(item: Field[Any], group: type, value: Any) -> Any:
    """The value in the field's own type (a tuple becomes one, an int becomes float); raises OptionError."""
    kind, is_optional, is_tuple = value_type(item, group)
    if value is None and is_optional:
        return None
    if is_tuple:
        parts = value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
        return tuple(checked_one(item, kind, part) for part in parts)
    return checked_one(item, kind, value)


def checked_one(item: Field[Any], kind: type, value: Any) -> Any:
    if kind is str:
        value = str(value)
    elif kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    elif kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise OptionError(f"{item.name} cannot be {value!r}; give {article(kind)}.")
    low, high = item.metadata.get("min"), item.metadata.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = f"from {low} to {high}" if high is not None else f"of {low} or more"
        raise OptionError(f"{item.name} cannot be {value}; give a number {allowed}.")
    return value


def article(kind: type) -> str:
    return {float: "a number", int: "a whole number", bool: "True or False", str: "text"}[kind]
