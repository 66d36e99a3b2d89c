"""Made songs whose beats, bars, sections and ending are known."""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import soxr

from openvmas.media.audio import write_wav

RATE = 48_000
CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))  # C, A minor, F, G, in semitones above C


@dataclass(frozen=True)
class Song:
    """wave: [2, L] at RATE; bars, beats: s; end: s, where the last note has died away."""

    wave: np.ndarray
    bars: np.ndarray
    beats: np.ndarray
    end: float

    def save(self, path: Path, rate: int = RATE, channels: int = 2) -> Path:
        """Write it at another rate or in mono."""
        wave = self.wave if rate == RATE else soxr.resample(self.wave.T, RATE, rate).T
        write_wav(path, np.ascontiguousarray(wave[:channels], dtype=np.float32), rate)
        return path


def make_song(
    n_bars: int = 24, tempo: float = 120.0, per_bar: int = 4, *, ring: float = 2.0, lead: float = 0.0, seed: int = 0
) -> Song:
    """Drums, bass and chords in sections of eight bars of different fullness, and a last chord that rings.

    ring: s, of the last chord; 0 for a song that breaks off like a loop. lead: s of silence at both ends.
    """
    rng = np.random.default_rng(seed)
    beat = 60 / tempo
    length = lead + n_bars * per_bar * beat + ring + lead
    wave = np.zeros((2, round(length * RATE)), np.float32)
    noise = rng.standard_normal(RATE)

    def add(time: float, sound: np.ndarray, pan: float = 0.5) -> None:
        start = round(time * RATE)
        part = sound[: max(0, wave.shape[1] - start)]
        wave[0, start : start + len(part)] += (1 - pan) * part
        wave[1, start : start + len(part)] += pan * part

    t = np.arange(RATE) / RATE
    kick = 0.9 * np.sin(2 * np.pi * (50 * t + 8 * (1 - np.exp(-t * 40)))) * np.exp(-t * 14)
    snare = 0.35 * noise * np.exp(-t * 22)
    hat = 0.12 * np.diff(noise, prepend=0.0) * np.exp(-t * 70)
    for bar in range(n_bars):
        section = bar // 8 % 2
        chord = CHORDS[(bar + section) % 4]
        for k in range(per_bar):
            time = lead + (bar * per_bar + k) * beat
            add(time, kick * (1.0 if k == 0 else 0.5 * (k == 2 and per_bar == 4)))
            if k % 2 == 1 or (k and per_bar == 3):
                add(time, snare, 0.6)
            add(time, hat, 0.3)
            add(time + beat / 2, hat * (1 + section), 0.7)
            add(time, note(36 + chord[0], 0.9 * beat, 0.3))
        for degree in chord:
            add(lead + bar * per_bar * beat, note(60 + degree, 0.95 * per_bar * beat, 0.10 + 0.06 * section), 0.4)
    if ring:
        time = lead + n_bars * per_bar * beat
        add(time, kick)
        for degree in (-24, 0, 4, 7):
            add(time, note(60 + degree, ring, 0.2, decay=6.0 / ring))
    bars = lead + np.arange(n_bars + 1) * per_bar * beat
    beats = lead + np.arange(n_bars * per_bar + 1) * beat
    wave *= 0.6 / np.abs(wave).max()
    return Song(wave, bars, beats, length - lead)


def note(pitch: float, seconds: float, level: float, decay: float = 2.0) -> np.ndarray:
    """A plucked tone with four partials."""
    t = np.arange(round(seconds * RATE)) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    tone = sum(np.sin(2 * np.pi * frequency * k * t) / k for k in (1, 2, 3, 4))
    return level * tone * np.exp(-t * decay) * np.clip(t / 0.004, 0, 1) * np.clip((seconds - t) / 0.02, 0, 1)


VOWELS = ((700, 1220, 2600, 3300), (500, 1750, 2450, 3350), (310, 2020, 2960, 3500), (470, 900, 2500, 3300))  # Hz
VOICE_RATE = 16_000
FORMANTS = ((1.0, 90), (0.6, 110), (0.35, 150), (0.2, 200))  # height, half width in Hz


def sing(pitches: list[int], seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A sung phrase [L] at RATE: harmonics with vibrato under the formants of vowels, each note `seconds` long.

    The detector of `music.speech` hears singing in it: probability .88 alone, less under drums.
    """
    n = round(len(pitches) * seconds * VOICE_RATE)
    t = np.arange(n) / VOICE_RATE
    which = np.minimum((t / seconds).astype(int), len(pitches) - 1)
    glide = np.ones(2 * VOICE_RATE // 20 + 1) / (2 * VOICE_RATE // 20 + 1)

    def smooth(values: np.ndarray) -> np.ndarray:
        return np.convolve(np.pad(values, VOICE_RATE // 20, mode="edge"), glide, "valid")

    vibrato = 0.35 * np.sin(2 * np.pi * 5.5 * t) * np.clip((t % seconds) / 0.25, 0, 1)
    frequency = 440 * 2 ** ((smooth(np.array(pitches, float)[which]) + vibrato - 69) / 12)
    phase = 2 * np.pi * np.cumsum(frequency) / VOICE_RATE
    vowels = np.array(VOWELS, float)[rng.integers(len(VOWELS), size=len(pitches))]
    formants = [smooth(vowels[which, k]) for k in range(4)]
    wave = np.zeros(n)
    for harmonic in range(1, int(7500 / frequency.max()) + 1):
        at = harmonic * frequency
        height = sum(
            h / (1 + ((at - middle) / width) ** 2) for middle, (h, width) in zip(formants, FORMANTS, strict=True)
        )
        wave += height * harmonic**-0.6 * np.sin(harmonic * phase)
    for k in range(len(pitches)):  # consonants
        first, length = round(k * seconds * VOICE_RATE), VOICE_RATE // 16
        wave[first : first + length] += 0.25 * np.diff(rng.standard_normal(length + 1)) * np.hanning(length)
    wave *= np.clip((t % seconds) / 0.06, 0, 1) * np.clip((seconds - t % seconds) / 0.04, 0.15, 1)
    return soxr.resample(0.5 * wave / np.abs(wave).max(), VOICE_RATE, RATE)


def make_sung_song(seed: int, n_bars: int = 32) -> tuple[Song, np.ndarray]:
    """A song with a voice as loud as the rest, and the true spans of its phrases, s: [K, 2].

    Phrases begin off the bar lines and lead over them, with pauses of two to five beats.
    """
    rng = np.random.default_rng(seed)
    tempo = float(rng.uniform(90, 140))
    song = make_song(n_bars, tempo, seed=seed)
    beat, time = 60 / tempo, float(rng.uniform(4, 8))
    wave, spans = song.wave.copy(), []
    while time + 9 * beat < song.bars[-1]:
        chord = CHORDS[int(time / (4 * beat)) % 4]
        pitches = [57 + int(rng.choice(chord)) for _ in range(int(rng.integers(4, 9)))]
        voice = sing(pitches, beat, rng)
        first = round(time * RATE)
        wave[:, first : first + len(voice)] += 0.7 * voice[: wave.shape[1] - first]
        spans.append((time, time + len(pitches) * beat))
        time = spans[-1][1] + float(rng.uniform(2, 5)) * beat
    wave *= 0.7 / np.abs(wave).max()
    return Song(wave.astype(np.float32), song.bars, song.beats, song.end), np.array(spans)


class Answering(BaseHTTPRequestHandler):
    """Base of a server's side that says nothing on the screen."""

    def answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass
