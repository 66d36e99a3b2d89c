"""Scores played through soundfonts in several orchestrations, with what is true of them beside the sound.

A changed orchestration changes every onset's sharpness and every voice's colour while beats, bars, chords and sections
stay, so listeners can be taught and measured on what should not matter to them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from midi_scores import DRUM_CHANNEL, DRUMS, Note, Score, Section
from rule_scores import NAMES

from openvmas.errors import InputError, OutputError

SAMPLE_RATE = 44_100
TAIL = 1.5  # s of ringing after the last note
PEAK = 0.7
# General MIDI programs by family of eight: piano, bells, organ, guitar, bass, strings, ensemble, brass, reed, pipe,
# lead, pad, effects, ethnic, percussive, sound effects.
ORCHESTRATIONS: dict[str, tuple[int, ...] | None] = {
    "written": None,
    "chamber": (0, 11, 0, 46, 32, 40, 48, 60, 68, 73, 71, 48, 48, 46, 47, 48),
    "winds": (71, 73, 68, 71, 70, 71, 60, 56, 66, 73, 72, 60, 60, 68, 47, 60),
    "synths": (81, 88, 80, 81, 38, 90, 89, 62, 80, 82, 81, 91, 95, 81, 80, 95),
    "plucked": (46, 11, 105, 24, 32, 45, 46, 104, 107, 12, 25, 46, 11, 106, 13, 46),
    "band": (4, 11, 16, 27, 33, 29, 18, 61, 65, 73, 30, 16, 4, 25, 47, 18),
}
WITHOUT_DRUMS = ("chamber", "winds")  # their drums are left out


def orchestrate(score: Score, orchestration: str) -> Score:
    """Put the notes on other sounds. Raises KeyError for an unknown orchestration."""
    families = ORCHESTRATIONS[orchestration]
    if families is None:
        return score
    notes = tuple(
        note if note.program == DRUMS else replace(note, program=families[note.program // 8])
        for note in score.notes
        if note.program != DRUMS or orchestration not in WITHOUT_DRUMS
    )
    return replace(score, notes=notes or score.notes, name=f"{score.name}.{orchestration}")


def play(score: Score, soundfont: Path, seconds: float | None = None, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The score through a soundfont: [2, L] float32, peak 0.7. seconds: stop there (with a short fade).

    Raises InputError if tinysoundfont is not installed or cannot read the soundfont.
    """
    try:
        import tinysoundfont
    except ImportError as error:
        raise InputError("Playing MIDI needs tinysoundfont; run `pip install --no-deps tinysoundfont`.") from error
    synth = tinysoundfont.Synth(samplerate=sample_rate, gain=-12)
    try:
        font = synth.sfload(str(soundfont))
    except Exception as error:  # tinysoundfont raises bare Exceptions
        raise InputError(f"{soundfont} is no soundfont that can be read; give an .sf2 or .sf3 file.") from error
    channels = _assign_channels(synth, font, score)
    end = score.duration + TAIL if seconds is None else min(seconds, score.duration + TAIL)
    moves = [(note.start, 1, note) for note in score.notes] + [(note.end, 0, note) for note in score.notes]
    moves.sort(key=lambda move: (move[0], move[1], move[2].pitch))
    parts, done = [], 0
    for when, is_start, note in [*moves, (end, 2, None)]:
        n = round(min(when, end) * sample_rate) - done
        if n > 0:
            parts.append(np.frombuffer(bytes(synth.generate(n)), np.float32).reshape(-1, 2))
            done += n
        if note is None or when >= end:
            break
        channel = channels[_voice(note)]
        if is_start:
            synth.noteon(channel, note.pitch, note.velocity)
        else:
            synth.noteoff(channel, note.pitch)
    wave = np.concatenate(parts).T.copy()
    fade = min(round(0.02 * sample_rate), wave.shape[1])
    wave[:, wave.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return wave * np.float32(PEAK / max(float(np.abs(wave).max()), 1e-6))


def _voice(note: Note) -> tuple[int, int]:
    return (DRUMS, 0) if note.program == DRUMS else (note.program, note.voice)


def _assign_channels(synth: Any, font: int, score: Score) -> dict[tuple[int, int], int]:
    """A channel for every voice; when the fifteen are used up, voices with the same program share one."""
    channels: dict[tuple[int, int], int] = {}
    free = [c for c in range(16) if c != DRUM_CHANNEL]
    for voice in sorted({_voice(note) for note in score.notes}):
        if voice[0] == DRUMS:
            channels[voice] = DRUM_CHANNEL
            synth.program_select(DRUM_CHANNEL, font, 128, 0, is_drums=True)
            continue
        same = [c for v, c in channels.items() if v[0] == voice[0]]
        if same and len(free) < 4:
            channels[voice] = same[0]
            continue
        channels[voice] = free.pop(0) if free else min(channels.values())
        synth.program_select(channels[voice], font, 0, voice[0])
    return channels


def with_form(score: Score) -> Score:
    """The score with chords and sections worked out from its notes, where nobody wrote them down."""
    chords = score.chords or find_chords(score)
    return replace(score, chords=chords, sections=score.sections or find_sections(score))


def find_chords(score: Score) -> tuple[tuple[float, float, str], ...]:
    """The triad that covers most of what sounds in each beat, bass counting double: (start, end, name or "N")."""
    borders = np.append(score.beats, score.duration)
    weight = np.zeros((len(borders) - 1, 12))
    bass = np.full((len(borders) - 1, 2), 128.0)
    for note in score.notes:
        if note.program == DRUMS:
            continue
        first = max(int(np.searchsorted(borders, note.start + 0.03, side="right")) - 1, 0)
        for k in range(first, len(borders) - 1):
            overlap = min(note.end, borders[k + 1]) - max(note.start, borders[k])
            if overlap <= 0:
                break
            weight[k, note.pitch % 12] += overlap
            if overlap > 0.1 and note.pitch < bass[k, 0]:
                bass[k] = note.pitch, note.pitch % 12
    found: list[tuple[float, float, str]] = []
    for k in range(len(weight)):
        if bass[k, 0] < 128:
            weight[k, int(bass[k, 1])] += weight[k].max()
        name = _best_triad(weight[k])
        start, end = float(borders[k]), float(borders[k + 1])
        if found and found[-1][2] == name:
            found[-1] = (found[-1][0], end, name)
        else:
            found.append((start, end, name))
    return tuple(found)


def _best_triad(weight: np.ndarray) -> str:
    if weight.sum() <= 0:
        return "N"
    share = weight / weight.sum()
    best, name = 0.0, "N"
    for root in range(12):
        for third, quality in ((4, ""), (3, ":min")):
            members = [(root + step) % 12 for step in (0, third, 7)]
            covered = float(share[members].sum()) + 0.1 * float(share[root]) - 0.1 * (share[members] < 0.05).sum()
            if covered > best:
                best, name = covered, NAMES[root] + quality
    return name if best > 0.6 else "N"


def find_sections(score: Score, least_bars: int = 4) -> tuple[Section, ...]:
    """Parts of a piece by which voices play and which pitches sound, bar by bar; parts alike share a letter."""
    bars = score.downbeats
    if len(bars) < 2 * least_bars:
        return (Section("A", 0.0, score.duration),)
    voices = sorted({_voice(note) for note in score.notes})
    table = np.zeros((len(bars), len(voices) + 12))
    for note in score.notes:
        bar = max(int(np.searchsorted(bars, note.start + 0.03, side="right")) - 1, 0)
        table[bar, voices.index(_voice(note))] = 1
        if note.program != DRUMS:
            table[bar, len(voices) + note.pitch % 12] += note.end - note.start
    table[:, len(voices) :] /= np.maximum(table[:, len(voices) :].sum(axis=1, keepdims=True), 1e-9)
    change = np.zeros(len(bars))
    for k in range(2, len(bars) - 1):
        change[k] = np.linalg.norm(table[max(k - 4, 0) : k].mean(axis=0) - table[k : k + 4].mean(axis=0))
    borders: list[int] = []
    for k in np.argsort(-change, kind="stable"):
        if change[k] < 0.8:
            break
        if all(abs(int(k) - b) >= least_bars for b in (0, len(bars), *borders)):
            borders.append(int(k))
    edges = [0, *sorted(borders), len(bars)]
    means: list[np.ndarray] = []
    sections = []
    for first, last in itertools.pairwise(edges):
        mean = table[first:last].mean(axis=0)
        alike = [i for i, other in enumerate(means) if np.linalg.norm(other - mean) < 0.8]
        if not alike:
            means.append(mean)
        label = chr(ord("A") + min(alike[0] if alike else len(means) - 1, 25))
        end = float(bars[last]) if last < len(bars) else score.duration
        sections.append(Section(label, float(bars[first]), end))
    return tuple(sections)


def truth_of(score: Score, orchestration: str, seconds: float | None = None) -> dict[str, Any]:
    """Labels of a rendering, as JSON, up to `seconds`."""
    end = score.duration if seconds is None else min(score.duration, seconds)
    return {
        "name": score.name,
        "orchestration": orchestration,
        "title": score.title,
        "author": score.author,
        "licence": score.licence,
        "duration": round(end, 4),
        "beats": [round(float(t), 4) for t in score.beats if t < end],
        "downbeats": [round(float(t), 4) for t in score.downbeats if t < end],
        "beats_per_bar": score.beats_per_bar,
        "chords": [(round(a, 4), round(min(b, end), 4), name) for a, b, name in score.chords if a < end],
        "sections": [(round(s.start, 4), round(min(s.end, end), 4), s.label) for s in score.sections if s.start < end],
        "bars": "written" if score.has_written_bars else "assumed 4/4",
        "form": "written" if score.has_written_form else "worked out from the notes",
    }


def write(wave: np.ndarray, truth: Mapping[str, Any], path: Path, overwrite: bool = False) -> None:
    """Write the sound (format by the suffix, .ogg or .flac) and NAME.truth.json, beside the target first.

    wave: [2, L] at SAMPLE_RATE. Raises OutputError if the target exists already.
    """
    import soundfile

    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; remove it or ask for overwriting.")
    kind = {".ogg": ("OGG", "VORBIS"), ".flac": ("FLAC", "PCM_16")}[path.suffix]
    part = path.with_name(path.name + ".part")
    with soundfile.SoundFile(part, "w", SAMPLE_RATE, 2, kind[1], format=kind[0]) as file:
        for start in range(0, wave.shape[1], SAMPLE_RATE * 10):  # libvorbis fails on very long blocks
            file.write(wave.T[start : start + SAMPLE_RATE * 10])
    text = json.dumps(dict(truth), sort_keys=True) + "\n"
    side = path.with_suffix(".truth.json")
    part_side = side.with_name(side.name + ".part")
    part_side.write_text(text, encoding="utf-8")
    part_side.replace(side)
    part.replace(path)
