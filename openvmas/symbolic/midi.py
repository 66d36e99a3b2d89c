"""A piece as a Standard MIDI File, format 1: tempo map, time signatures, markers, and a track for every part.

Tick 0 is the first frame of the picture, so the file lies right under the video in any sequencer; where it begins
inside a beat, that beat is as short as what is left of it, with a tempo of its own (Standard MIDI Files 1.0, 1988).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from openvmas.symbolic.notes import Composition, Note, Part

TICKS = 960  # in a quarter
SHORTEST = 0.2  # of a beat: a rest of a beat before the first whole one that is shorter is joined to it
DRUM_CHANNEL = 9
MELODIC_CHANNELS = [channel for channel in range(16) if channel != DRUM_CHANNEL]
VOLUME, PAN, EXPRESSION, REVERB = 7, 10, 11, 91
SHARPS = {0: 0, 7: 1, 2: 2, 9: 3, 4: 4, 11: 5, 6: 6, 5: -1, 10: -2, 3: -3, 8: -4, 1: -5}  # of major keys
GLIDE_SECONDS, GLIDE_STEPS = 0.08, 6  # of a slide into a note
BEND_RANGE = 2.0  # semitones that receivers bend by default (General MIDI)
FREE_TEMPO = 60.0  # BPM, of pieces without a beat


class _Ticks:
    """Seconds to ticks, and the tempo of every beat."""

    def __init__(self, piece: Composition) -> None:
        end = float(piece.duration) + 4.0
        beats = piece.beats if len(piece.beats) > 1 else np.arange(0, end, 60 / FREE_TEMPO)
        usual = float(np.median(np.diff(beats)))
        inside = beats[(beats > SHORTEST * usual) & (beats < end)]
        self.times = np.concatenate([[0.0], inside, [inside[-1] + usual if len(inside) else usual]])

    def at(self, time: float) -> int:
        return round(float(np.interp(time, self.times, np.arange(len(self.times)))) * TICKS)

    def tempos(self) -> list[tuple[int, int]]:
        """(tick, microseconds a quarter), where it changes by a part in 10,000."""
        found: list[tuple[int, int]] = []
        for k, length in enumerate(np.diff(self.times)):
            value = round(1e6 * length)
            if not found or abs(value - found[-1][1]) > 1e-4 * value:
                found.append((k * TICKS, value))
        return found

    def bars(self, piece: Composition) -> list[tuple[int, int]]:
        """(tick, beats a bar), where it changes; what comes before the first downbeat is a bar of its own."""
        if not len(piece.downbeats):
            return [(0, 4)]
        starts = sorted({round(self.at(time) / TICKS) for time in piece.downbeats if time >= -1e-3})
        starts = [0, *starts] if not starts or starts[0] != 0 else starts
        found: list[tuple[int, int]] = []
        for start, end in zip(starts, [*starts[1:], starts[-1] + piece.beats_per_bar], strict=True):
            if not found or end - start != found[-1][1]:
                found.append((start * TICKS, end - start))
        return found


def write_midi(piece: Composition, path: Path, programs: Mapping[str, int]) -> None:
    """Write the file. programs: instrument → General MIDI program (of kits: of the drum bank)."""
    ticks = _Ticks(piece)
    tracks = [_conductor(piece, ticks)]
    free = list(MELODIC_CHANNELS)
    for part in piece.parts:
        channel = DRUM_CHANNEL if part.is_kit else free.pop(0) if len(free) > 1 else free[0]
        tracks.append(_track(part, channel, programs[part.instrument], piece, ticks))
    head = b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), TICKS)
    path.write_bytes(head + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks))


def _conductor(piece: Composition, ticks: _Ticks) -> bytes:
    events = [(0, 0, _meta(3, b"OpenVMAS"))]
    events += [(tick, 1, _meta(0x51, value.to_bytes(3, "big"))) for tick, value in ticks.tempos()]
    events += [(tick, 1, _meta(0x58, bytes([n, 2, 24, 8]))) for tick, n in ticks.bars(piece)]
    relative = (piece.tonic + 3) % 12 if piece.is_minor else piece.tonic
    events.append((0, 1, _meta(0x59, struct.pack(">bB", SHARPS[relative], piece.is_minor))))
    for passage in piece.passages:
        text = f"{passage.letter} ({passage.key}, {passage.style})".encode("latin-1", "replace")
        events.append((ticks.at(passage.start), 2, _meta(6, text)))
    return _joined(events, ticks.at(float(piece.duration)))


def _track(part: Part, channel: int, program: int, piece: Composition, ticks: _Ticks) -> bytes:
    def control(number: int, value: float) -> bytes:
        return bytes([0xB0 | channel, number, int(np.clip(round(value), 0, 127))])

    events = [
        (0, 0, _meta(3, part.name.encode())),
        (0, 1, bytes([0xC0 | channel, program])),
        (0, 1, control(VOLUME, 100)),
        (0, 1, control(PAN, 64 + 63 * part.pan)),
        (0, 1, control(REVERB, 127 * part.reverb)),
    ]
    # Players' expression, four times a second, in the squares that receivers make of it (GM level 2: 40 log10).
    last = -1
    for step in range(0, len(piece.level), 12):
        value = int(np.clip(round(112 * 10 ** (float(piece.level[step]) / 40)), 1, 127))
        if value != last:
            events.append((ticks.at(step / 50), 1, control(EXPRESSION, value)))
            last = value
    for note in part.notes:
        start, end = _span(note, ticks)
        events.append((start, 3, bytes([0x90 | channel, note.pitch, note.velocity])))
        if note.slide:
            events += _glide(note, channel, ticks)
        events.append((end, 2, bytes([0x80 | channel, note.pitch, 64])))
    return _joined(events, ticks.at(float(piece.duration)))


def _glide(note: Note, channel: int, ticks: _Ticks) -> list[tuple[int, int, bytes]]:
    """Pitch bends from below a note to its pitch, in the usual range of two semitones."""
    bends = []
    for k in range(GLIDE_STEPS + 1):
        share = 1 - k / GLIDE_STEPS
        value = int(np.clip(8192 - 8192 * share * note.slide / BEND_RANGE, 0, 16383))
        tick = ticks.at(note.start + GLIDE_SECONDS * k / GLIDE_STEPS)
        bends.append((tick, 2 if k == 0 else 3, bytes([0xE0 | channel, value & 127, value >> 7])))
    return bends


def _span(note: Note, ticks: _Ticks) -> tuple[int, int]:
    start = ticks.at(note.start)
    return start, max(ticks.at(note.end), start + 1)


def _joined(events: list[tuple[int, int, bytes]], end: int) -> bytes:
    """Events (tick, order at one tick, bytes) as a track that lasts to `end`."""
    now = 0
    parts: list[bytes] = []
    for tick, _, event in sorted(events, key=lambda event: event[:2]):
        parts += [_length(tick - now), event]
        now = tick
    return b"".join(parts) + _length(max(end - now, 0)) + _meta(0x2F, b"")


def _meta(kind: int, body: bytes) -> bytes:
    return bytes([0xFF, kind]) + _length(len(body)) + body


def _length(value: int) -> bytes:
    """A number in groups of seven bits, as the format has it."""
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127 | 128)
    return bytes(reversed(groups))
