"""Small pieces of music, written by rule with their beats known exactly: what trackers are measured on.

`write_piece` gives notes; `synthesise` sounds them with plain numpy tones and drums (no soundfont), and
`bench/beats.py` plays the same notes through a soundfont.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from midi_scores import DRUMS, Note

KICK, SNARE, CLOSED_HAT, OPEN_HAT, RIDE, SIDE_STICK, SHAKER = 36, 38, 42, 46, 51, 37, 70
CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14), (2, 5, 9), (4, 7, 11))  # I vi IV V ii iii
PROGRESSIONS = ((0, 3, 1, 2), (0, 1, 2, 3), (1, 2, 0, 3), (0, 2, 4, 3), (0, 5, 2, 3))


@dataclass(frozen=True)
class Piece:
    """Notes with what a listener should find in them: beats, downbeats and onsets, s, increasing."""

    name: str
    notes: tuple[Note, ...]
    beats: np.ndarray
    downbeats: np.ndarray
    beats_per_bar: int

    @property
    def duration(self) -> float:
        """When the last note ends, s."""
        return max(note.end for note in self.notes)

    @property
    def onsets(self) -> np.ndarray:
        """Starts of notes, s; those within 30 ms are one."""
        times: list[float] = []
        for start in sorted(note.start for note in self.notes):
            if not times or start - times[-1] > 0.03:
                times.append(start)
        return np.array(times)


class BeatSheet:
    """Notes placed in beats on a tempo curve: what a style writes on."""

    def __init__(self, beat_times: np.ndarray, rng: np.random.Generator) -> None:
        self.beat_times = beat_times
        self.rng = rng
        self.notes: list[Note] = []

    def time(self, beat: float) -> float:
        """The time of a (fractional) beat, s."""
        return float(np.interp(beat, np.arange(len(self.beat_times)), self.beat_times))

    def play(self, beat: float, length: float, pitch: int, velocity: float, program: int, human: float = 0.004) -> None:
        """Add a note of `length` beats; its start is moved by a little human noise (s)."""
        if beat >= len(self.beat_times) - 1:
            return
        start = max(0.0, self.time(beat) + float(self.rng.normal(0, human)))
        end = max(start + 0.05, self.time(beat + length))
        loudness = int(np.clip(velocity + self.rng.normal(0, 4), 1, 127))
        self.notes.append(Note(start, end, pitch, loudness, program))

    def hit(self, beat: float, key: int, velocity: float) -> None:
        """Add a drum stroke."""
        self.play(beat, 0.25, key, velocity, DRUMS)


def beat_curve(tempo: float, n_beats: int, drift: float, rng: np.random.Generator) -> np.ndarray:
    """Times of n_beats + 1 beats, s, from 0.5 s; the tempo (BPM) sways smoothly by about `drift` (a share of it)."""
    sway = np.zeros(n_beats)
    for waves in (1.0, 2.3, 4.1):
        phase = rng.uniform(0, 2 * np.pi)
        sway += np.sin(2 * np.pi * waves * np.arange(n_beats) / max(n_beats, 1) + phase) / np.sqrt(1.5)
    periods = 60 / tempo * np.exp(drift * sway)
    return 0.5 + np.concatenate([[0.0], np.cumsum(periods)])


def write_piece(style: str, tempo: float, seconds: float = 40.0, seed: int = 0, drift: float = 0.0) -> Piece:
    """A piece in one of STYLES. tempo: BPM; drift: tempo sway (0.05 = 5 %). The same arguments give the same piece.

    Raises KeyError for an unknown style.
    """
    write, per_bar = STYLES[style]
    rng = np.random.default_rng([seed, round(tempo * 10), list(STYLES).index(style)])
    n_bars = max(4, round(seconds * tempo / 60 / per_bar))
    times = beat_curve(tempo, n_bars * per_bar, drift, rng)
    score = BeatSheet(times, rng)
    key = int(rng.integers(-5, 7))
    progression = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
    for bar in range(n_bars):
        chord = tuple(60 + key + tone for tone in CHORDS[progression[bar % 4]])
        write(score, bar * per_bar, chord, bar)
    beats = times[:-1]
    return Piece(f"{style}-{tempo:g}", tuple(score.notes), beats, beats[::per_bar], per_bar)


def _melody(
    score: BeatSheet, at: int, chord: tuple[int, ...], per_bar: int, program: int, velocity: float = 85
) -> None:
    beat = 0.0
    while beat < per_bar:
        length = float(score.rng.choice([0.5, 1.0, 1.0, 1.5, 2.0]))
        if score.rng.random() < 0.85:
            pitch = int(score.rng.choice(chord)) + 12 + int(score.rng.choice([0, 0, 0, 2, -1]))
            score.play(at + beat, length * 0.95, pitch, velocity, program, 0.008)
        beat += length


def _rock(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    for eighth in range(8):
        score.hit(at + eighth / 2, CLOSED_HAT, 75 if eighth % 2 == 0 else 55)
        score.play(at + eighth / 2, 0.45, chord[0] - 24, 90, 33)
    for beat in (0, 2, *((2.5,) if bar % 2 else ())):
        score.hit(at + beat, KICK, 110)
    for beat in (1, 3):
        score.hit(at + beat, SNARE, 105)
    for pitch in (chord[0] - 12, chord[2] - 12, chord[0]):
        for beat in (0, 1.5, 2.5):
            score.play(at + beat, 1, pitch, 70, 29)
    _melody(score, at, chord, 4, 30)


def _electronic(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    for beat in range(4):
        score.hit(at + beat, KICK, 120)
        score.hit(at + beat + 0.5, OPEN_HAT, 70)
        if beat % 2:
            score.hit(at + beat, SNARE, 80)
    for sixteenth in range(16):
        if sixteenth % 4:
            score.play(at + sixteenth / 4, 0.2, chord[0] - 24, 95, 38)
        if bar >= 4:
            score.play(at + sixteenth / 4, 0.2, chord[sixteenth % 3] + 12, 60, 81)
    for pitch in chord:
        score.play(at, 4, pitch, 55, 90)


def _waltz(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    score.play(at, 0.9, chord[0] - 24 + (7 if bar % 2 else 0), 95, 0)
    for beat in (1, 2):
        for pitch in chord:
            score.play(at + beat, 0.6, pitch, 62, 0)
    _melody(score, at, chord, 3, 48)


def _swing(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    for beat in range(4):
        score.hit(at + beat, RIDE, 85)
        if beat % 2:
            score.hit(at + beat + 2 / 3, RIDE, 65)
            score.hit(at + beat, CLOSED_HAT, 70)
        step = chord[beat % 3] - 24 + (int(score.rng.choice([-1, 1, 2])) if beat == 3 else 0)
        score.play(at + beat, 0.9, step, 92, 32)
    for beat in (float(score.rng.choice([0, 2 / 3, 1 + 2 / 3])), 2 + 2 / 3):
        for pitch in (*chord, chord[0] + 10):
            score.play(at + beat, 0.5, pitch, 65, 0)
    beat = 0.0
    while beat < 4:
        if score.rng.random() < 0.6:
            score.play(at + beat, 0.6, int(score.rng.choice(chord)) + 12, 80, 66, 0.01)
        beat += 2 / 3 if beat % 1 == 0 else 1 / 3


def _ballad(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    for eighth in range(8):
        pitch = (chord[0] - 24, chord[2] - 12, chord[0], chord[1], chord[2], chord[1], chord[0], chord[2] - 12)[eighth]
        score.play(at + eighth / 2, 1.2, pitch, 78 if eighth == 0 else 58, 0, 0.008)
    _melody(score, at, chord, 4, 0, 82)


def _strings(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    for pitch in (chord[0] - 24, chord[0] - 12, chord[1], chord[2]):
        score.play(at, 2, pitch, 75, 48, 0.012)
        score.play(at + 2, 2, pitch + (0 if bar % 2 else 2 if pitch == chord[2] else 0), 68, 48, 0.012)
    for beat in range(4):
        score.play(at + beat, 0.9, int(score.rng.choice(chord)) + 12, 82, 40, 0.012)


def _bossa(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    for eighth in range(8):
        score.hit(at + eighth / 2, SHAKER, 60 if eighth % 2 == 0 else 48)
    for beat in (0, 1.5, 2, 3.5):
        score.play(at + beat, 0.5, chord[0] - 24 if beat < 2 else chord[2] - 24, 88, 32)
        score.hit(at + beat, KICK, 70)
    for beat in ((0, 1.5, 3), (1, 2.5))[bar % 2]:
        score.hit(at + beat, SIDE_STICK, 80)
    for beat in (0, 1.5, 2.5):
        for pitch in chord:
            score.play(at + beat, 0.8, pitch, 66, 24)
    _melody(score, at, chord, 4, 73)


def _chiptune(score: BeatSheet, at: int, chord: tuple[int, ...], bar: int) -> None:
    for sixteenth in range(16):
        score.play(at + sixteenth / 4, 0.22, chord[sixteenth % 3] + 12, 60, 80)
    for eighth in range(8):
        score.play(at + eighth / 2, 0.4, chord[0] - 24 + 12 * (eighth % 2), 85, 80)
    for beat in range(4):
        score.hit(at + beat, SNARE if beat % 2 else KICK, 90)
    _melody(score, at, chord, 4, 80)


STYLES: dict[str, tuple[Callable[[BeatSheet, int, tuple[int, ...], int], None], int]] = {
    "rock": (_rock, 4),
    "electronic": (_electronic, 4),
    "waltz": (_waltz, 3),
    "swing": (_swing, 4),
    "ballad": (_ballad, 4),
    "strings": (_strings, 4),
    "bossa": (_bossa, 4),
    "chiptune": (_chiptune, 4),
}


def synthesise(piece: Piece, sample_rate: int = 24_000, seed: int = 0) -> np.ndarray:
    """The piece as sound, from decaying harmonics and filtered noise: [L] float32, peak 0.8."""
    rng = np.random.default_rng(seed)
    wave = np.zeros(round((piece.duration + 0.5) * sample_rate), np.float32)
    for note in piece.notes:
        sound = _stroke(note, sample_rate, rng) if note.program == DRUMS else _tone(note, sample_rate)
        first = round(note.start * sample_rate)
        sound = sound[: len(wave) - first]
        wave[first : first + len(sound)] += sound * (note.velocity / 127) ** 2
    return wave * np.float32(0.8 / max(float(np.abs(wave).max()), 1e-9))


def _tone(note: Note, sample_rate: int) -> np.ndarray:
    is_bowed = 40 <= note.program < 80
    t = np.arange(round((note.end - note.start + 0.08) * sample_rate)) / sample_rate
    frequency = 440 * 2 ** ((note.pitch - 69) / 12)
    wave = np.zeros(len(t))
    for harmonic in range(1, 9):
        if harmonic * frequency < 0.45 * sample_rate:
            fade = 1.0 if is_bowed else np.exp(-t * (1.5 + harmonic))
            wave += np.sin(2 * np.pi * harmonic * frequency * t + harmonic) / harmonic**1.2 * fade
    attack = 0.06 if is_bowed else 0.004
    return (wave * np.clip(np.minimum(t / attack, (t[-1] - t) / 0.08), 0, 1) * 0.3).astype(np.float32)


def _stroke(note: Note, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(round(0.25 * sample_rate)) / sample_rate
    noise = rng.standard_normal(len(t))
    if note.pitch == KICK:
        sound = np.sin(2 * np.pi * (50 * t + 3 * (1 - np.exp(-t * 40)))) * np.exp(-t * 14) * 1.5
    elif note.pitch in (SNARE, SIDE_STICK):
        sound = (0.5 * noise + np.sin(2 * np.pi * 190 * t)) * np.exp(-t * 25)
    else:
        sound = np.diff(noise, prepend=0.0) * np.exp(-t * (12 if note.pitch in (OPEN_HAT, RIDE) else 60)) * 0.3
    return sound.astype(np.float32)
