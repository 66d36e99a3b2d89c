"""Pieces of music written by rule, with form: sections, chord progressions, grooves and a melody, all known exactly.

They are for ground truth (beats, downbeats, chords, sections), not for beauty. The same seed writes the same piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from midi_scores import DRUMS, Note, Score, Section

NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
# Degrees of the scale, from 0, a bar each.
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (5, 3, 0, 4), (0, 2, 3, 4), (1, 4, 0, 0), (0, 3, 1, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 0, 4), (0, 6, 5, 6), (0, 5, 3, 4), (0, 2, 6, 5), (3, 0, 4, 0)),
}
FORMS = (
    ("intro", "verse", "chorus", "verse", "chorus", "bridge", "chorus", "outro"),
    ("intro", "A", "A", "B", "A", "B", "outro"),
    ("A", "B", "A", "C", "A"),
    ("intro", "verse", "verse", "chorus", "verse", "chorus", "outro"),
)
# How many voices a section has: 1 chords and bass alone, 2 with drums or figures, 3 with melody.
FULLNESS = {"intro": 1, "verse": 2, "chorus": 3, "bridge": 2, "outro": 1, "A": 2, "B": 3, "C": 1}
KICK, SNARE, HAT, OPEN_HAT, CRASH, RIDE = 36, 38, 42, 46, 49, 51
# Sounds of a band (General MIDI): chords, bass, melody, figure; groove of the drums.
BANDS: dict[str, tuple[tuple[int, int, int, int], str]] = {
    "piano": ((0, 32, 0, 0), "none"),
    "strings": ((48, 43, 40, 46), "none"),
    "orchestra": ((48, 43, 60, 68), "march"),
    "rock": ((29, 33, 30, 27), "backbeat"),
    "pop": ((4, 33, 25, 24), "backbeat"),
    "electronic": ((90, 38, 81, 80), "four"),
    "folk": ((24, 32, 73, 105), "shuffle"),
    "chip": ((80, 38, 80, 81), "four"),
}
GROOVES: dict[str, dict[int, tuple[float, ...]]] = {  # strokes in a bar of four, in beats
    "none": {},
    "backbeat": {KICK: (0, 2, 2.5), SNARE: (1, 3), HAT: (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)},
    "four": {KICK: (0, 1, 2, 3), OPEN_HAT: (0.5, 1.5, 2.5, 3.5), SNARE: (1, 3)},
    "march": {KICK: (0, 2), SNARE: (1, 1.5, 3, 3.25, 3.5)},
    "shuffle": {KICK: (0, 2), HAT: (0, 2 / 3, 1, 5 / 3, 2, 8 / 3, 3, 11 / 3), SNARE: (1, 3)},
}


@dataclass(frozen=True)
class Traits:
    """Traits of a piece: tempo in BPM, beats_per_bar 3 or 4, key 0-11, mode, band; sway: share of tempo drift."""

    tempo: float
    beats_per_bar: int
    key: int
    mode: str
    band: str
    sway: float


def draw_traits(rng: np.random.Generator) -> Traits:
    """Random traits; a third of the bands sways in tempo, as people do."""
    band = str(rng.choice(list(BANDS)))
    is_steady = BANDS[band][1] == "four" or rng.random() < 0.66
    return Traits(
        tempo=round(float(np.clip(112 * 2 ** rng.normal(0, 0.35), 58, 180)), 1),
        beats_per_bar=3 if rng.random() < 0.2 else 4,
        key=int(rng.integers(12)),
        mode=str(rng.choice(["major", "minor"])),
        band=band,
        sway=0.0 if is_steady else float(rng.uniform(0.01, 0.05)),
    )


class _Writer:
    """Notes placed in beats on a curve of beat times."""

    def __init__(self, times: np.ndarray, rng: np.random.Generator) -> None:
        self.times, self.rng = times, rng
        self.notes: list[Note] = []

    def at(self, beat: float) -> float:
        return float(np.interp(beat, np.arange(len(self.times)), self.times))

    def play(self, beat: float, length: float, pitch: int, loud: float, program: int, voice: int) -> None:
        start = max(self.at(beat) + float(self.rng.normal(0, 0.005)), 0.0)
        velocity = int(np.clip(loud + self.rng.normal(0, 5), 20, 127))
        end = max(self.at(min(beat + length, len(self.times) - 1)), start + 0.05)
        self.notes.append(Note(start, end, pitch, velocity, program, voice))


def compose(seed: int, traits: Traits | None = None) -> Score:
    """A piece of about one and a half to three minutes with its truth."""
    rng = np.random.default_rng([seed, 77])
    traits = traits or draw_traits(rng)
    form = FORMS[int(rng.integers(len(FORMS)))]
    bars = {label: 4 if label in ("intro", "outro") else int(rng.choice([4, 8])) for label in dict.fromkeys(form)}
    progressions = {
        label: PROGRESSIONS[traits.mode][int(rng.integers(len(PROGRESSIONS[traits.mode])))]
        for label in dict.fromkeys(form)
    }
    n_beats = sum(bars[label] for label in form) * traits.beats_per_bar
    sway = np.sin(2 * np.pi * (np.arange(n_beats) / n_beats * rng.uniform(1, 4) + rng.random()))
    times = np.concatenate([[0.0], np.cumsum(60 / traits.tempo * np.exp(traits.sway * sway))])
    writer = _Writer(times, rng)
    chords: list[tuple[float, float, str]] = []
    sections: list[Section] = []
    bar = 0
    for label in form:
        first = bar
        for k in range(bars[label]):
            degree = progressions[label][k % 4]
            tones = _triad(traits, degree)
            beat = bar * traits.beats_per_bar
            _write_bar(writer, traits, beat, tones, FULLNESS[label], k == 0 and bar > 0)
            chords.append((writer.at(beat), writer.at(beat + traits.beats_per_bar), _chord_name(tones)))
            bar += 1
        ends = (first * traits.beats_per_bar, bar * traits.beats_per_bar)
        sections.append(Section(label, writer.at(ends[0]), writer.at(ends[1])))
    name = f"written-{seed:05d}-{traits.band}"
    return Score(
        name, tuple(sorted(writer.notes)), times[:-1], times[: -1 : traits.beats_per_bar], traits.beats_per_bar,
        tuple(_joined(chords)), tuple(sections), has_written_form=True,
        title=name, author="OpenVMAS (written by rule)", licence="CC0-1.0",
    )  # fmt: skip


def _triad(traits: Traits, degree: int) -> tuple[int, int, int]:
    """Root, third and fifth as pitch classes from the key, unwrapped upwards; V is major in minor keys too."""
    scale = MAJOR if traits.mode == "major" else MINOR
    tones = [traits.key + scale[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in (0, 2, 4)]
    if traits.mode == "minor" and degree == 4:
        tones[1] += 1
    return tones[0], tones[1], tones[2]


def _chord_name(tones: tuple[int, int, int]) -> str:
    quality = {(4, 7): "", (3, 7): ":min", (3, 6): ":dim"}[tones[1] - tones[0], tones[2] - tones[0]]
    return NAMES[tones[0] % 12] + quality


def _joined(chords: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Neighbouring chords that are the same as one."""
    joined: list[tuple[float, float, str]] = []
    for start, end, name in chords:
        if joined and joined[-1][2] == name:
            joined[-1] = (joined[-1][0], end, name)
        else:
            joined.append((start, end, name))
    return joined


def _write_bar(
    writer: _Writer, traits: Traits, beat: int, tones: tuple[int, int, int], fullness: int, is_new: bool
) -> None:
    """One bar of chords, bass, figure, drums and melody, as many of them as the section is full."""
    (pad, bass, lead, figure), groove = BANDS[traits.band]
    n, rng = traits.beats_per_bar, writer.rng
    low = [36 + t % 12 for t in tones]
    middle = [60 + (t % 12) for t in tones]
    for pitch in middle:
        writer.play(beat, n * 0.97, pitch, 66, pad, 0)
    for at in (0, n // 2) if fullness > 1 else (0,):
        writer.play(beat + at, (n / 2 if fullness > 1 else n) * 0.95, low[0] if at == 0 else low[2], 84, bass, 1)
    if fullness > 1:
        for eighth in range(2 * n):
            writer.play(beat + eighth / 2, 0.45, middle[(0, 1, 2, 1)[eighth % 4]], 74 - 12 * (eighth % 2), figure, 2)
        for key, strokes in GROOVES[groove].items():
            for at in strokes:
                if at < n:
                    writer.play(beat + at, 0.2, key, 104 if at == 0 else 82, DRUMS, 9)
    if is_new and groove != "none":
        writer.play(beat, 1, CRASH, 96, DRUMS, 9)
    if fullness > 2:
        at = 0.0
        while at < n:
            length = float(rng.choice([0.5, 1.0, 1.0, 1.5, 2.0]))
            if rng.random() < 0.85:
                chosen = int(rng.choice(middle)) + 12 if at % 1 == 0 else _scale_tone(traits, rng)
                writer.play(beat + at, min(length, n - at) * 0.95, chosen, 90, lead, 3)
            at += length


def _scale_tone(traits: Traits, rng: np.random.Generator) -> int:
    scale = MAJOR if traits.mode == "major" else MINOR
    return 72 + (traits.key + scale[int(rng.integers(7))]) % 12
