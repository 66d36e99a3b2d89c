"""The arpeggiator: held chords become a figure on the beat, in the notes, so that MIDI and sound say the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from openvmas.symbolic.notes import Composition, Note, Part
from openvmas.symbolic.synth.presets import Arp, is_synth, preset_of

TOGETHER = 0.04  # s, within which notes belong to one chord
SEED = 11


def arpeggiated(piece: Composition) -> Composition:
    """The piece with the figures of those presets that have one; itself without beats or where none has."""
    parts = tuple(_figured(part, piece.beats) for part in piece.parts)
    return replace(piece, parts=parts) if parts != piece.parts else piece


def _figured(part: Part, beats: np.ndarray) -> Part:
    arp = preset_of(part.instrument).arp if is_synth(part.instrument) else None
    if arp is None or len(beats) < 2 or not part.notes:
        return part
    rng = np.random.default_rng(SEED)
    notes: list[Note] = []
    chord: list[Note] = []
    for note in [*sorted(part.notes), None]:
        if note is not None and (not chord or note.start - chord[0].start < TOGETHER):
            chord.append(note)
            continue
        end = max(n.end for n in chord)
        if note is not None:
            end = min(end, note.start)
        notes += _steps(arp, chord, end, beats, rng)
        chord = [] if note is None else [note]
    return replace(part, notes=notes)


def _steps(arp: Arp, chord: list[Note], end: float, beats: np.ndarray, rng: np.random.Generator) -> list[Note]:
    """The figure of one chord until `end` s."""
    start = min(note.start for note in chord)
    numbers = np.arange(len(beats))
    first = np.interp(start, beats, numbers)
    pitches = sorted({note.pitch + 12 * octave for note in chord for octave in range(arp.octaves)})
    order = {
        "up": pitches, "down": pitches[::-1], "updown": pitches + pitches[-2:0:-1],
        "octaves": [p for low in pitches for p in (low, low + 12)],
    }.get(arp.pattern, pitches)  # fmt: skip
    velocity = round(np.mean([note.velocity for note in chord]))
    found = []
    for step in range(int((np.interp(end, beats, numbers) - first) * arp.steps + 1e-6) or 1):
        at, until = np.interp([first + step / arp.steps, first + (step + arp.gate) / arp.steps], numbers, beats)
        at, until = (start if step == 0 else float(at)), float(min(until, end))
        if until - at < 0.02:
            continue
        accent = 6 if step % arp.steps == 0 else -6 * (step % 2)
        if arp.pattern == "gate":
            sounding = [note.pitch for note in chord]
        elif arp.pattern == "random":
            sounding = [int(rng.choice(order))]
        else:
            sounding = [order[step % len(order)]]
        found += [Note(at, until, pitch, int(np.clip(velocity + accent, 1, 127))) for pitch in sounding]
    return found
