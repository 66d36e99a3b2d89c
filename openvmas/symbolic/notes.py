"""A composition: notes in parts, with what a reader of the score should know about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from openvmas.symbolic.desk.mixes import Mix

PITCH_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


class Note(NamedTuple):
    """start, end: s. pitch: MIDI key (60 is middle C), in a kit the General MIDI drum key. velocity: 1 to 127. slide:
    semitones below, from which it glides to its pitch within 80 ms."""

    start: float
    end: float
    pitch: int
    velocity: int
    slide: float = 0.0


@dataclass
class Part:
    """One player.

    instrument: name in the bank, or `synth:PRESET`. gain_db, pan in [-1, 1], width in [0, 1] (two detuned voices to
    the sides), reverb and delay (shares sent to room and echo), depth (0 near, 1 far; None: by its role): of
    the mix. amp: how far a guitar amplifier is turned up, 0 (none) to 1. is_kit: pitches are drum keys. renumbered:
    (time, by how much the numbers of notes from there on are off), so that notes after a part that was written again
    are played with the samples that they had.
    """

    name: str
    instrument: str
    gain_db: float = 0.0
    pan: float = 0.0
    width: float = 0.0
    reverb: float = 0.2
    depth: float | None = None
    delay: float = 0.0
    amp: float = 0.0
    is_kit: bool = False
    notes: list[Note] = field(default_factory=list)
    renumbered: tuple[tuple[float, int], ...] = ()


class Chord(NamedTuple):
    """start, end: s. root: pitch class 0-11. tones: pitch classes, the root first. symbol: "Am7" and the like."""

    start: float
    end: float
    root: int
    tones: tuple[int, ...]
    symbol: str


@dataclass(frozen=True)
class Passage:
    """A section as it was set: start, end s; letter: alike for sections with the same material; key such as "A minor";
    style; parts that play; scale: pitch classes in use, chromatics: those beyond it that chords bring."""

    start: float
    end: float
    letter: str
    key: str
    style: str
    parts: tuple[str, ...]
    scale: tuple[int, ...]
    chromatics: tuple[int, ...] = ()


@dataclass(frozen=True)
class Composition:
    """A finished piece. duration: s, exact. beats, downbeats: s, from before 0 to beyond the end (empty: no beat).

    level: expression of all parts, [T] at 50 Hz in dB. answered: the times (s) of accents that were asked for. mix: the
    desk's settings. seed: of its form.
    """

    duration: Fraction
    beats: np.ndarray
    downbeats: np.ndarray
    beats_per_bar: int
    parts: tuple[Part, ...]
    chords: tuple[Chord, ...]
    passages: tuple[Passage, ...]
    level: np.ndarray
    answered: np.ndarray
    tonic: int = 0
    is_minor: bool = False
    mix: Mix = field(default_factory=Mix)
    seed: tuple[int, ...] = ()

    @property
    def n_notes(self) -> int:
        return sum(len(part.notes) for part in self.parts)
