"""What the codec's bench listens to: held-out clips, training music for distances, solo notes, extreme signals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from openvmas.train.codec.corpus import SAMPLE_RATE, Crops, Track

SEED = 2026
QUIET = 0.01  # RMS; quieter places of a track are passed over
N_PLACES = 8  # drawn in a track until one is loud enough; else the loudest of them
NOTE_SECONDS, GAP_SECONDS = 0.96, 0.32
PITCHES = range(33, 94, 5)  # MIDI numbers, A1 to A6
PROGRAMS = {"piano": 0, "guitar": 24, "violin": 40, "trumpet": 56, "flute": 73}  # General MIDI
# Amplitudes of harmonics 1 to 20, as functions of their number.
TIMBRES = {
    "sine": lambda k: k == 1,
    "saw": lambda k: 1 / k,
    "hollow": lambda k: (k % 2) / k,
    "bright": lambda k: np.exp(-(((k - 4) / 4) ** 2)),
}


@dataclass(frozen=True)
class Clip:
    """A place in a track: `start` and `length` in samples of waves.s16, `second` in the track."""

    track: str
    album: str
    start: int
    length: int
    second: float


def choose_clips(folder: Path, n: int, seconds: float, held_out: bool = True) -> list[Clip]:
    """n clips, round robin over albums and their tracks, always the same for the same music.

    Tracks shorter than a clip are left out; a track is used again only when all have been.
    """
    crops = Crops(folder, held_out=held_out)
    length = int(seconds * SAMPLE_RATE) // 640 * 640
    albums: dict[str, list[Track]] = {}
    for track in sorted(crops.tracks, key=lambda t: hashlib.sha256(t.name.encode()).hexdigest()):
        if track.length >= length:
            albums.setdefault(track.album, []).append(track)
    if not albums:
        raise SystemExit(f"{folder} holds no {'held-out' if held_out else 'training'} track of {seconds:g} s.")
    turns = [(i, album) for album in sorted(albums) for i in range(len(albums[album]))]
    order = [albums[album][i] for i, album in sorted(turns)]  # first tracks of all albums, second tracks, ...
    waves = open_waves(folder)
    return [choose_place(waves, order[i % len(order)], length, i) for i in range(n)]


def choose_place(waves: np.ndarray, track: Track, length: int, seed: int) -> Clip:
    """A random place of a track that is loud enough."""
    generator = np.random.default_rng((SEED, seed))
    best = (-1.0, 0)
    for _ in range(N_PLACES):
        offset = int(generator.integers(track.length - length + 1))
        wave = waves[track.start + offset : track.start + offset + length].astype(np.float32) / 32768
        loudness = float(np.sqrt(np.mean(wave**2)))
        best = max(best, (loudness, offset))
        if loudness > QUIET:
            best = (loudness, offset)
            break
    return Clip(track.name, track.album, track.start + best[1], length, best[1] / SAMPLE_RATE)


def read_clip(waves: np.ndarray, clip: Clip) -> np.ndarray:
    """[L] float32 in [-1, 1]."""
    return waves[clip.start : clip.start + clip.length].astype(np.float32) / 32768


def open_waves(folder: Path) -> np.ndarray:
    return np.memmap(folder / "waves.s16", dtype="<i2", mode="r")


def fingerprint(*sources: Path | Clip) -> str:
    """Names source files or places by their content; what was kept under another name is not used again."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes() if isinstance(source, Path) else json.dumps(asdict(source)).encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class SoloNote:
    """A solo note inside a longer wave: `start` in samples, `frequency` Hz as it was asked for."""

    timbre: str
    start: int
    frequency: float


def solo_notes(soundfont: Path | None) -> tuple[np.ndarray, list[SoloNote]]:
    """Single notes A1 to A6 in several timbres, one after another with silence between: wave [L] and the notes.

    Additive tones are out of tune by up to 30 cents, so that nothing falls on a grid; notes of the soundfont's
    instruments are in tune. The soundfont needs the package tinysoundfont.
    """
    step = round((NOTE_SECONDS + GAP_SECONDS) * SAMPLE_RATE)
    parts, notes = [], []
    made = [*additive_notes(), *(font_notes(soundfont) if soundfont else ())]
    for i, (timbre, frequency, wave) in enumerate(made):
        notes.append(SoloNote(timbre, i * step, frequency))
        wave = wave * (0.35 / max(float(np.abs(wave).max()), 1e-6))
        parts.append(np.pad(wave, (0, step - len(wave))))
    return np.concatenate(parts).astype(np.float32), notes


def additive_notes() -> Iterator[tuple[str, float, np.ndarray]]:
    generator = np.random.default_rng(SEED)
    time = np.arange(round(NOTE_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.minimum(1, np.minimum(time / 0.01, (NOTE_SECONDS - time) / 0.05))
    for timbre, amplitude in TIMBRES.items():
        for pitch in PITCHES:
            frequency = 440 * 2 ** ((pitch - 69 + generator.uniform(-0.3, 0.3)) / 12)
            wave = np.zeros(len(time))
            for k in range(1, 21):
                if k * frequency < 0.45 * SAMPLE_RATE:
                    phase = generator.uniform(0, 2 * np.pi)
                    wave += amplitude(k) * np.sin(2 * np.pi * k * frequency * time + phase)
            yield timbre, frequency, wave * fade


def font_notes(soundfont: Path) -> Iterator[tuple[str, float, np.ndarray]]:
    import tinysoundfont

    n = round(NOTE_SECONDS * SAMPLE_RATE)
    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-12)
    font = synth.sfload(str(soundfont))
    for timbre, program in PROGRAMS.items():
        synth.program_select(0, font, 0, program)
        for pitch in PITCHES:
            synth.noteon(0, pitch, 100)
            wave = np.frombuffer(bytes(synth.generate(n)), np.float32).reshape(-1, 2).mean(axis=1)
            synth.sounds_off()
            yield timbre, 440 * 2 ** ((pitch - 69) / 12), wave * np.minimum(1, np.arange(n, 0, -1) / 1600)


def extreme_signals(music: np.ndarray) -> dict[str, np.ndarray]:
    """What must neither blow up nor begin to hum: silence, and signals at full scale. `music`: [L], its first 2 s."""
    n = 4 * SAMPLE_RATE
    time = np.arange(n) / SAMPLE_RATE
    noise = np.random.default_rng(SEED).normal(size=n)
    signals = {
        "silence": np.zeros(n),
        "music, then silence": np.concatenate([music[: n // 2], np.zeros(n // 2)]),
        "sine at 0 dBFS": np.sin(2 * np.pi * 997 * time),
        "square at 0 dBFS": np.sign(np.sin(2 * np.pi * 220.5 * time)),
        "clipped noise": np.clip(noise, -1, 1),
    }
    return {name: wave.astype(np.float32) for name, wave in signals.items()}
