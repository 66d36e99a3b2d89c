"""Standard MIDI files: notes in seconds, and the beats and bars that their tempo map and time signatures say.

Only what rendering and its truth need: no pitch bend, pedal or controllers but volume.
"""

from __future__ import annotations

import io
import itertools
import struct
from dataclasses import dataclass, field
from pathlib import Path

import mido
import numpy as np
from mido.midifiles.meta import KeySignatureError

from openvmas.errors import InputError

DRUMS = -1  # in Note.program: pitch is then a General MIDI drum key
DRUM_CHANNEL = 9
VOLUME = 7  # controller


@dataclass(frozen=True, order=True)
class Note:
    """start, end: s. pitch: MIDI key. velocity: 1-127. program: General MIDI program 0-127, or DRUMS. voice: the
    channel it came from, so that two voices with one sound stay apart."""

    start: float
    end: float
    pitch: int
    velocity: int
    program: int
    voice: int = 0


@dataclass(frozen=True)
class Section:
    """A part of a piece: its label ("chorus", or "A"), start and end in s."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Score:
    """Notes with what a listener should find in them.

    beats, downbeats: increasing, s. chords: (start, end, "C", "A:min" or "N"), s; sections: in order. has_written_form:
    chords and sections were decided by who wrote the notes, not worked out from them. has_written_bars: a time
    signature says where bars begin (else 4/4 is assumed, as the MIDI standard has it). title, author, licence: of the
    source.
    """

    name: str
    notes: tuple[Note, ...]
    beats: np.ndarray
    downbeats: np.ndarray
    beats_per_bar: int
    chords: tuple[tuple[float, float, str], ...] = ()
    sections: tuple[Section, ...] = ()
    has_written_form: bool = False
    has_written_bars: bool = True
    title: str = ""
    author: str = ""
    licence: str = ""

    @property
    def duration(self) -> float:
        """When the last note ends, s."""
        return max((note.end for note in self.notes), default=0.0)


@dataclass
class _Read:
    """Contents of a file's tracks, in ticks."""

    tempi: list[tuple[int, int]] = field(default_factory=list)  # microseconds per quarter
    metres: list[tuple[int, int, int]] = field(default_factory=list)  # beats, unit
    markers: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    title: str = ""
    last: int = 0


def read_midi(path: Path, name: str = "") -> Score:
    """Read a standard MIDI file (formats 0 and 1), also inside RIFF. Raises InputError for anything else."""
    data = path.read_bytes()
    start = data.find(b"MThd")
    if start not in range(64) or len(data) < start + 14:
        raise InputError(f"{path} is not a MIDI file; give a standard MIDI file (.mid).")
    division = struct.unpack(">H", data[start + 12 : start + 14])[0]
    if division & 0x8000 or division == 0:
        raise InputError(f"{path} counts in film frames, not in beats, so its bars are unknown; give another file.")
    read = _Read()
    try:
        # clip: some files have data bytes above 127, which players read as 127
        for track in mido.MidiFile(file=io.BytesIO(data[start:]), clip=True, charset="latin-1").tracks:
            _read_track(track, read)
    except EOFError as error:
        raise InputError(f"{path} ends in the middle of a track; get an undamaged file.") from error
    except (OSError, ValueError, IndexError, KeySignatureError) as error:
        raise InputError(f"{path} is damaged ({error}); get an undamaged file.") from error
    if not read.notes:
        raise InputError(f"{path} has no notes; give a file that has.")
    clock = _TickClock(sorted(read.tempi, key=lambda t: t[0]), division)
    beats, downbeats, per_bar = _lay_bars(read, clock, division)
    notes = sorted(
        Note(clock.at(a), clock.at(b), pitch, velocity, program, voice)
        for a, b, pitch, velocity, program, voice in read.notes
    )
    ends = [*(tick for tick, _ in read.markers[1:]), read.last]
    sections = [Section(text, clock.at(a), clock.at(b)) for (a, text), b in zip(read.markers, ends, strict=False)]
    return Score(
        name or path.stem, tuple(notes), beats, downbeats, per_bar, sections=tuple(sections),
        has_written_bars=bool(read.metres), title=read.title,
    )  # fmt: skip


def grid_agreement(score: Score) -> float:
    """Share of notes that begin on twelfths of the file's own beats, in [0, 1]: 1 quantised, near 0 played freely.

    Many MIDI files were recorded freely under a tempo that means nothing; their beats are no truth.
    """
    starts = np.array([note.start for note in score.notes])
    if len(score.beats) < 2 or len(starts) == 0:
        return 0.0
    index = np.clip(np.searchsorted(score.beats, starts, side="right") - 1, 0, len(score.beats) - 2)
    phase = (starts - score.beats[index]) / np.diff(score.beats)[index]
    return float(np.abs(np.exp(2j * np.pi * 12 * phase).mean()))


class _TickClock:
    """Ticks to seconds by a tempo map."""

    def __init__(self, tempi: list[tuple[int, int]], division: int) -> None:
        tempi = tempi if tempi and tempi[0][0] == 0 else [(0, 500_000), *tempi]
        self.ticks = np.array([tick for tick, _ in tempi])
        self.rates = np.array([value for _, value in tempi]) / 1e6 / division
        self.seconds = np.concatenate([[0.0], np.cumsum(np.diff(self.ticks) * self.rates[:-1])])

    def at(self, tick: float) -> float:
        part = int(np.searchsorted(self.ticks, tick, side="right")) - 1
        return float(self.seconds[part] + (tick - self.ticks[part]) * self.rates[part])


def _lay_bars(read: _Read, clock: _TickClock, division: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Beats, downbeats (s) and the usual number of beats in a bar, from the time signatures."""
    metres = sorted(read.metres) or [(0, 4, 4)]
    metres = metres if metres[0][0] == 0 else [(0, 4, 4), *metres]
    beats: list[float] = []
    downbeats: list[float] = []
    counts: dict[int, int] = {}
    ends = [*(tick for tick, _, _ in metres[1:]), read.last + 1]
    for (tick, top, bottom), end in zip(metres, ends, strict=True):
        unit = division * 4 / bottom
        # In 6/8, 9/8 and 12/8 people tap the dotted quarter.
        is_compound = bottom == 8 and top % 3 == 0 and top > 3
        unit, per_bar = (unit * 3, top // 3) if is_compound else (unit, top)
        for k in itertools.count():
            at = tick + k * unit
            if at >= end:
                break
            beats.append(clock.at(at))
            counts[per_bar] = counts.get(per_bar, 0) + 1
            if k % per_bar == 0:
                downbeats.append(beats[-1])
    return np.array(beats), np.array(downbeats), max(counts, key=lambda n: counts[n])


def _read_track(track: mido.MidiTrack, read: _Read) -> None:
    """Add one track's events."""
    tick = 0
    programs, volumes = [0] * 16, [100] * 16
    sounding: dict[tuple[int, int], tuple[int, int]] = {}
    for event in track:
        tick += event.time
        if event.type in ("note_on", "note_off"):
            voice = event.channel, event.note
            begun = sounding.pop(voice, None)
            if begun:
                program = DRUMS if event.channel == DRUM_CHANNEL else programs[event.channel]
                end = max(tick, begun[0] + 1)
                read.notes.append((begun[0], end, event.note, begun[1], program, event.channel))
                read.last = max(read.last, tick)
            if event.type == "note_on" and event.velocity:
                loud = round(event.velocity * volumes[event.channel] / 100)
                sounding[voice] = (tick, min(max(loud, 1), 127))
        elif event.type == "control_change" and event.control == VOLUME:
            volumes[event.channel] = event.value
        elif event.type == "program_change":
            programs[event.channel] = event.program
        elif event.type == "set_tempo":
            read.tempi.append((tick, max(event.tempo, 1)))
        elif event.type == "time_signature":
            read.metres.append((tick, max(event.numerator, 1), event.denominator))
        elif event.type == "marker":
            read.markers.append((tick, event.text.strip()))
        elif event.type == "track_name" and not read.title:
            read.title = event.name.strip()
