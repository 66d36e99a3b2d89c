"""Melodies of scores in MusicXML with their chords, key and metre, as segments of up to four bars.

The melody is the top line of the first part (the voice of a song, the first violin of a quartet); chords are what fits
the other parts best in each half bar (of three beats: in each bar), the bass is their lowest note.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.symbolic.melodist.events import MAX_NOTES, MAX_STEPS, Event, find_twins, metre_of

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
CHORDS = {  # tones above the root, and what speaks for the plainer ones
    (0, 4, 7): 0.0, (0, 3, 7): 0.0, (0, 4, 7, 10): -0.06, (0, 3, 7, 10): -0.09, (0, 3, 6): -0.06,
    (0, 4, 7, 11): -0.1, (0, 3, 6, 9): -0.12, (0, 3, 6, 10): -0.12,
}  # fmt: skip
ROOTS = np.repeat(np.arange(12), len(CHORDS))
PRIORS = np.tile(list(CHORDS.values()), 12)
TONES = [tuple((root + step) % 12 for step in steps) for root in range(12) for steps in CHORDS]
TEMPLATES = np.array([[float(tone in tones) for tone in range(12)] for tones in TONES])
# Krumhansl and Kessler 1982, how well each tone fits a key.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
KEY_SHAPES = np.array([np.roll((np.array(s) - np.mean(s)) / np.std(s), k) for s in (MAJOR, MINOR) for k in range(12)])
SIGNATURE = 0.15  # of correlation, that the two keys of the signature have before others
PHRASE_REST = 4.0  # sixteenths of rest that end a phrase
LEAST_NOTES = 5  # of a segment


@dataclass(frozen=True)
class Sounding:
    """start, end: sixteenths from the beginning; pitch: MIDI key; part: number of the part."""

    start: float
    end: float
    pitch: int
    part: int


@dataclass(frozen=True)
class Segment:
    """A stretch of melody. pitches: semitones about `reference`, the MIDI key of a tonic; metre: see events."""

    events: tuple[Event, ...]
    pitches: tuple[int, ...]
    metre: int
    is_minor: bool
    reference: int


def read_segments(path: Path) -> list[Segment]:
    """The segments of a score. Raises ET.ParseError for what is no XML."""
    root = ET.parse(path).getroot()
    sounding: list[Sounding] = []
    bars: list[tuple[float, float, int, bool]] = []
    for number, part in enumerate(root.findall("part")):
        found = _read_part(part, number, sounding)
        bars = bars or found
    if not bars:
        return []
    melody = _top_line([s for s in sounding if s.part == 0])
    others = [s for s in sounding if s.part != 0] or sounding
    return list(_cut(melody, others, sounding, bars))


def _read_part(part: ET.Element, number: int, sounding: list[Sounding]) -> list[tuple[float, float, int, bool]]:
    """Add a part's notes; returns its bars: start, end (sixteenths), fifths of the signature, whether compound."""
    divisions, fifths, is_compound, start = 1.0, 0, False, 0.0
    bars: list[tuple[float, float, int, bool]] = []
    tied: dict[tuple[int, str], float] = {}
    for measure in part.findall("measure"):
        time = furthest = begun = 0.0
        for item in measure:
            if item.tag == "attributes":
                divisions = float(item.findtext("divisions") or divisions)
                fifths = int(item.findtext("key/fifths") or fifths)
                beats, kind = item.findtext("time/beats"), item.findtext("time/beat-type")
                if beats and kind and beats.isdigit():
                    is_compound = kind == "8" and int(beats) % 3 == 0
            duration = float(item.findtext("duration") or 0) * 4 / divisions
            if item.tag == "backup":
                time -= duration
            elif item.tag == "forward":
                time += duration
            elif item.tag == "note" and item.find("grace") is None:
                if item.find("chord") is None:
                    begun, time = time, time + duration
                pitch = item.find("pitch")
                if pitch is not None:
                    key = _key_of(pitch)
                    voice = (key, item.findtext("voice") or "1")
                    ties = {tie.get("type") for tie in item.findall("tie")}
                    first = tied.pop(voice, start + begun) if "stop" in ties else start + begun
                    if "start" in ties:
                        tied[voice] = first
                    else:
                        sounding.append(Sounding(first, start + begun + duration, key, number))
            furthest = max(furthest, time)
        bars.append((start, start + furthest, fifths, is_compound))
        start += furthest
    return bars


def _key_of(pitch: ET.Element) -> int:
    alter = round(float(pitch.findtext("alter") or 0))
    return 12 * (int(pitch.findtext("octave") or 4) + 1) + SEMITONES[pitch.findtext("step") or "C"] + alter


def _top_line(notes: Iterable[Sounding]) -> list[Sounding]:
    """One note at a time, on sixteenths: of those that begin together the highest."""
    line: dict[int, Sounding] = {}
    for note in notes:
        start = round(note.start)
        if start not in line or note.pitch > line[start].pitch:
            line[start] = Sounding(start, note.end, note.pitch, 0)
    ordered = [line[start] for start in sorted(line)]
    return [
        Sounding(a.start, max(min(round(a.end), b.start), a.start + 0.5), a.pitch, 0)
        for a, b in zip(ordered, [*ordered[1:], Sounding(1e9, 1e9, 0, 0)], strict=True)
    ]


class Harmonies:
    """Chords and bass of the parts that accompany."""

    def __init__(self, notes: list[Sounding]) -> None:
        notes = sorted(notes, key=lambda note: note.start)
        self.starts = np.array([n.start for n in notes])
        self.ends = np.array([n.end for n in notes])
        self.pitches = np.array([n.pitch for n in notes])
        self._longest = float((self.ends - self.starts).max()) if len(notes) else 0.0
        self._chords: dict[tuple[float, float], tuple[int, tuple[int, ...]] | None] = {}

    def within(self, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """Pitches that sound from start to end, and how long each does."""
        first = np.searchsorted(self.starts, start - self._longest)
        last = np.searchsorted(self.starts, end)
        shared = np.minimum(self.ends[first:last], end) - np.maximum(self.starts[first:last], start)
        return self.pitches[first:last][shared > 0], shared[shared > 0]

    def profile(self, start: float, end: float) -> np.ndarray:
        pitches, seconds = self.within(start, end)
        return np.bincount(pitches % 12, seconds, 12) if len(pitches) else np.zeros(12)

    def chord(self, start: float, end: float) -> tuple[int, tuple[int, ...]] | None:
        """Root and tones (pitch classes) of the chord that fits best, or None where nothing sounds."""
        key = (start, end)
        if key not in self._chords:
            self._chords[key] = self._find_chord(start, end)
        return self._chords[key]

    def _find_chord(self, start: float, end: float) -> tuple[int, tuple[int, ...]] | None:
        weights = self.profile(start, end)
        if weights.sum() <= 0:
            return None
        pitches, _ = self.within(start, min(start + 2, end))
        weights = weights / weights.sum()
        fits = TEMPLATES @ weights - 0.08 * (TEMPLATES @ (weights < 0.03)) + PRIORS
        if len(pitches):
            fits[int(pitches.min()) % 12 == ROOTS] += 0.08
        best = int(fits.argmax())
        return int(ROOTS[best]), TONES[best]

    def bass(self, time: float) -> int | None:
        pitches, _ = self.within(time, time + 0.25)
        return int(pitches.min()) if len(pitches) else None


def find_key(profile: np.ndarray, fifths: int) -> tuple[int, bool]:
    """Tonic and whether minor, of the key that agrees best; the two of the signature are preferred."""
    usual = (fifths * 7) % 12
    if profile.sum() <= 0:
        return usual, False
    fits = KEY_SHAPES @ (profile - profile.mean()) / (profile.std() * 12 + 1e-9)
    fits[[usual, 12 + (usual + 9) % 12]] += SIGNATURE
    best = int(fits.argmax())
    return best % 12, best >= 12


def _cut(
    melody: list[Sounding],
    others: list[Sounding],
    everything: list[Sounding],
    bars: list[tuple[float, float, int, bool]],
) -> Iterable[Segment]:
    harmonies, whole = Harmonies(others), Harmonies(everything)
    starts = np.array([note.start for note in melody])
    first = 0
    while first < len(bars):
        here = np.searchsorted(starts, [bars[first][0] - 0.1, bars[first][1] - 0.1])
        if here[0] == here[1]:
            first += 1
            continue
        last = min(first + 4, len(bars))
        inside = np.searchsorted(starts, [bars[first][0] - 0.1, bars[last - 1][1] - 0.1])
        notes = melody[inside[0] : inside[1]][:MAX_NOTES]
        longest = max(end - start for start, end, _, _ in bars[first:last])
        if len(notes) >= LEAST_NOTES and longest <= MAX_STEPS:
            before = melody[inside[0] - 1] if inside[0] else None
            profile = whole.profile(bars[max(first - 2, 0)][0], bars[min(last + 2, len(bars)) - 1][1])
            yield _segment(notes, before, harmonies, bars[first:last], find_key(profile, bars[first][2]))
        first = last


def _segment(
    notes: list[Sounding],
    before: Sounding | None,
    harmonies: Harmonies,
    bars: list[tuple[float, float, int, bool]],
    key: tuple[int, bool],
) -> Segment:
    tonic, is_minor = key
    edges = np.array([start for start, _, _, _ in bars])
    number = [max(int(np.searchsorted(edges, note.start + 0.1)) - 1, 0) for note in notes]
    pitches = np.array([note.pitch for note in notes])
    middle = float(pitches.mean())
    reference = round(middle) + (tonic - round(middle) + 6) % 12 - 6
    height = {bar: float(pitches[np.array(number) == bar].mean()) - middle for bar in set(number)}
    places = [(bar, note.start - edges[bar]) for bar, note in zip(number, notes, strict=True)]
    twins = find_twins(places)
    chords = [_chord_at(note.start, bars[bar], harmonies) for bar, note in zip(number, notes, strict=True)]
    gaps = [note.start - (b.end if b else note.start) for note, b in zip(notes, [before, *notes[:-1]], strict=True)]
    left, events = 0, []
    for i in reversed(range(len(notes))):
        left = 0 if i + 1 == len(notes) or gaps[i + 1] >= PHRASE_REST else left + 1
        root, tones = chords[i] or (tonic, (tonic,))
        following = chords[i + 1] if i + 1 < len(notes) else None
        bass = harmonies.bass(notes[i].start)
        events.append(
            Event(
                number[i], places[i][1], notes[i].end - notes[i].start, gaps[i], left, (root - tonic) % 12,
                tuple((tone - tonic) % 12 for tone in tones), -1 if bass is None else (bass - tonic) % 12,
                -1 if following is None else (following[0] - tonic) % 12, height[number[i]], twins[i],
            )
        )  # fmt: skip
    start, end, _, is_compound = bars[0]
    metre = metre_of(round(end - start), is_compound)
    return Segment(tuple(events[::-1]), tuple(int(p) - reference for p in pitches), metre, is_minor, reference)


def _chord_at(
    time: float, bar: tuple[float, float, int, bool], harmonies: Harmonies
) -> tuple[int, tuple[int, ...]] | None:
    start, end = bar[:2]
    if end - start >= 16 or (bar[3] and end - start >= 12):
        half = (start + end) / 2
        start, end = (start, half) if time < half - 0.1 else (half, end)
    return harmonies.chord(start, end)
