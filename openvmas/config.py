"""Every default, once, with its sentence: frozen dataclasses from which help, docs and recipes are generated.

Imports nothing heavy. A field's `metadata["help"]` is the sentence that users read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

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
    tempo: float | None = option(None, "Tempo in beats per minute, 40 to 220; fitted to the picture if left out.")
    hit: tuple[float, ...] = option(tuple, "A moment in seconds that must get an accent; may be given several times.")


@dataclass(frozen=True)
class GenerateOptions:
    """How the model writes."""

    seed: int = option(0, "The same seed, video and options give the same music on the same machine.")
    candidates: int = option(2, "How many versions are written at once; the best by gates and fit is kept.")
    guidance: float = option(2.0, "How strongly the music follows mood and style (1 = no extra).")
    event_guidance: float = option(2.5, "How strongly the music follows cuts and moves (1 = no extra, 0 = ignore them).")
    temperature: float = option(1.0, "Randomness of sampling; lower is safer, higher is more varied.")
    top_k: int = option(100, "Sample from the k most likely codes only; 0 means all.")
    top_p: float = option(0.95, "Sample from the smallest set of codes with this much probability.")


@dataclass(frozen=True)
class MixOptions:
    """How music, original sound and picture are put together."""

    loudness: float = option(-14.0, "Integrated loudness of the finished sound, LUFS (ITU-R BS.1770).")
    true_peak: float = option(-1.0, "Highest true peak of the finished sound, dBTP.")
    music_gain: float = option(-6.0, "Level of the music against kept original sound, dB (loudness difference, no speech).")
    duck: float = option(-12.0, "How far the music goes down under speech, dB.")
    replace_audio: bool = option(False, "Drop the original sound; the music alone is heard.")
    separate_track: bool = option(False, "Add the music alone as a second audio track.")


@dataclass(frozen=True)
class OutputOptions:
    """Where results go."""

    output: str | None = option(None, "Path of the finished video; next to the input as NAME.scored.EXT if left out.")
    audio_out: str | None = option(None, "Also write the music alone as a 48 kHz stereo WAV file.")
    plan: str | None = option(None, "Use this plan (YAML, written by `openvmas plan`) instead of making one.")
    overwrite: bool = option(False, "Replace existing output files.")
    variations: int = option(1, "How many finished videos to write, each with the next seed.")
    model: str = option("mini", "Preset or folder of exported weights.")
