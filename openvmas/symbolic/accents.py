"""Answers to what the picture does: at every hit something begins, on the frame, as strong as the hit.

Notes that would fall just beside a hit move onto it, what is there becomes louder, what comes just before gives way,
and an accent is added: drums where they play, else a chord on an instrument that speaks at once.
"""

from __future__ import annotations

import numpy as np

from openvmas.symbolic.brief import Brief
from openvmas.symbolic.form import Form, Setting
from openvmas.symbolic.notes import Note, Part
from openvmas.symbolic.styles import CRASH, KICK, OPEN, SNARE, TAMBOURINE, Voice

REACH = 0.09  # s to each side of a hit, from which notes move onto it
CLEARED = 0.4  # s before a hit, in which notes are softer
CLEARING = 0.5  # their velocity then, of what it was
STAYS = ("pad", "counter", "lift")  # parts whose notes do not move
STRONGEST, STRONG, WEAK = 0.8, 0.65, 0.35
CRASH_GAP = 1.9  # s, between two crashes
LOW_INSTRUMENTS = ("timpani", "taiko")
SHORT = 0.08  # s, of grace notes
RING = 0.6  # s, of an added tone


def accent_hits(brief: Brief, form: Form, parts: list[Part], seed: tuple[int, ...]) -> np.ndarray:
    """Answer every hit in the parts, adding parts where none can; returns the times answered (s)."""
    rng = np.random.default_rng((*seed, 11))
    if not brief.hits:
        for part in parts:
            part.notes = _single(part.notes)
        return np.zeros(0)
    times = np.array([time for time, _ in brief.hits])
    strengths = np.array([strength for _, strength in brief.hits])
    for part in parts:
        if part.name.split()[0] not in STAYS:
            part.notes = _gather(part.notes, times, strengths, brief.duration)
    kits = [np.array([note.start for note in part.notes]) for part in parts if part.is_kit]
    drummed = np.sort(np.concatenate(kits)) if kits else np.zeros(0)
    added: dict[str, Part] = {}
    crashed = -CRASH_GAP
    for time, strength in brief.hits:
        setting = _setting_at(form, time)
        near = np.searchsorted(drummed, [time - 1.2, time + 1.2])
        kit_voice = setting.band.kit if near[1] - near[0] >= 4 else None
        intensity = _intensity_at(form, brief, time)
        loud = int(np.clip(72 + 34 * strength + 26 * intensity, 40, 124))
        if kit_voice is not None:
            kit = _part(added, parts, "drums", kit_voice)
            can_crash = strength >= STRONGEST and time - crashed >= CRASH_GAP
            strokes = _strokes(strength, can_crash, bool(rng.random() < 0.5))
            crashed = time if strokes[0][0] == CRASH else crashed
            for key, share in strokes:
                kit.notes.append(Note(time, time + 0.15, key, int(np.clip(loud * share, 20, 127))))
        elif strength >= STRONG and setting.band.low_drum is not None:
            low = _part(added, parts, "low", setting.band.low_drum)
            root = form.slot_at(brief.beat_of(time)).harmony.root
            low.notes.append(Note(time, time + 0.3, low_pitch(root), loud))
        voice = setting.band.accent
        accent = _part(added, parts, "accent", voice)
        softer = 1.0 if kit_voice is None else 0.72
        end = min(time + RING, brief.duration)
        for pitch in _tones(form, brief, time, voice, strength if kit_voice is None else min(strength, WEAK)):
            accent.notes.append(Note(time, max(end, time + 0.03), pitch, int(np.clip(loud * softer, 20, 127))))
    for part in parts:
        part.notes = [note._replace(end=min(note.end, brief.duration)) for note in _single(part.notes)]
    return times


def _gather(notes: list[Note], times: np.ndarray, strengths: np.ndarray, duration: float) -> list[Note]:
    """The notes, those beside a hit moved onto it and made louder, those before it softer."""
    moved = []
    for note in notes:
        k = int(np.searchsorted(times, note.start))
        near = min((j for j in (k - 1, k) if 0 <= j < len(times)), key=lambda j: abs(times[j] - note.start))
        apart = times[near] - note.start
        if 0.02 < apart <= REACH and note.end - note.start < SHORT:
            continue  # a grace note that leads to the hit would become a wrong note on it
        if abs(apart) <= REACH:
            start = float(times[near])
            velocity = int(np.clip(note.velocity + 8 + 18 * strengths[near], 1, 127))
            end = min(max(note.end, start + 0.05), max(duration, start + 0.03))
            note = Note(start, end, note.pitch, velocity, note.slide)
        elif k < len(times) and 0 < times[k] - note.start < CLEARED:
            note = note._replace(velocity=max(1, round(note.velocity * CLEARING)))
        moved.append(note)
    return moved


def _strokes(strength: float, can_crash: bool, chance: bool) -> list[tuple[int, float]]:
    """Drum keys and their share of the accent's velocity."""
    if can_crash:
        return [(CRASH, 0.95), (KICK, 1.0), (SNARE, 0.8)]
    if strength >= WEAK:
        return [(KICK, 1.0), (SNARE, 0.9)] if chance else [(KICK, 1.0), (OPEN, 0.9), (SNARE, 0.7)]
    return [(SNARE, 0.75), (KICK, 0.7)] if chance else [(TAMBOURINE, 0.9), (KICK, 0.85)]


def _tones(form: Form, brief: Brief, time: float, voice: Voice, strength: float) -> list[int]:
    """Pitches of an accent in the chord that sounds: more of them, and lower, the stronger it is."""
    harmony = form.slot_at(brief.beat_of(time)).harmony
    if voice.instrument in LOW_INSTRUMENTS:
        return [low_pitch(harmony.root)]
    tones = harmony.tones[:3]
    upper = [62 + (tone - 62) % 12 for tone in tones]
    if strength >= STRONG:
        return sorted({50 + (harmony.root - 50) % 12, *upper})
    return sorted(upper[:2] if strength >= WEAK else upper[:1])


def low_pitch(root: int) -> int:
    """The key of a low drum that is tuned to a root."""
    return 38 + (root - 38) % 12


def _part(added: dict[str, Part], parts: list[Part], name: str, voice: Voice) -> Part:
    """The part of that name with that instrument, made if there is none."""
    key = f"{name} {voice.instrument}"
    if key not in added:
        found = next((p for p in parts if p.name.split()[0] == name and p.instrument == voice.instrument), None)
        if found is None:
            found = voice.part(name, 1 + sum(part.name.split()[0] == name for part in parts))
            parts.append(found)
        added[key] = found
    return added[key]


def _single(notes: list[Note]) -> list[Note]:
    """The notes in order, those that begin together on one pitch merged, and none longer than to the next on it."""
    kept: dict[int, Note] = {}
    done: list[Note] = []
    for note in sorted(notes):
        last = kept.get(note.pitch)
        if last is not None and note.start - last.start < 0.012:
            kept[note.pitch] = last._replace(end=max(last.end, note.end), velocity=max(last.velocity, note.velocity))
            continue
        if last is not None:
            done.append(last._replace(end=min(last.end, note.start)))
        kept[note.pitch] = note
    return sorted([*done, *kept.values()])


def _setting_at(form: Form, time: float) -> Setting:
    return next((s for s in reversed(form.settings) if s.scene.start <= time + 1e-6), form.settings[0])


def _intensity_at(form: Form, brief: Brief, time: float) -> float:
    beat = brief.beat_of(time)
    return next((m.intensity for m in reversed(form.measures) if m.start <= beat + 1e-6), 0.5)
