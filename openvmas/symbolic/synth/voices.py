"""A preset's tones: its layers, filter, drive and loudness in time, as [2, n] at 48 kHz, kept while there is room."""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.synth import drums, fields, filters, grains, modes, oscillators
from openvmas.symbolic.synth.presets import Field, Fm, Grains, Layer, Modal, Noise, Oscillator, Preset, Sweep

RATE = SAMPLE_RATE_OUT
MIDDLE_C = 261.6256
SHADES = 4  # steps between the softest and the hardest stroke
VARIANTS = 3  # tones of one key that differ by chance, played in turn
LEVEL_DB = -18.0  # RMS of every preset at its hardest in the middle of its reach, the first second
Sample = Callable[[str, float, int], np.ndarray]  # instrument, key, n → a sampled tone [L]


class Kept:
    """Tones by key, while there is room for them; what was used longest ago goes first."""

    def __init__(self, n_samples: int) -> None:
        self._most, self._n = n_samples, 0
        self._tones: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def get(self, key: Hashable, n: int, make: Callable[[int], np.ndarray], ends: bool = False) -> np.ndarray:
        """The tone [..., at least n] of a key, made where there is none as long; `ends`: a shorter one is all of it."""
        found = self._tones.get(key)
        if found is None or (found.shape[-1] < n and not ends):
            if found is not None:
                self._n -= self._tones.pop(key).size
            found = make(n)
            self._tones[key] = found
            self._n += found.size
            while self._n > self._most and len(self._tones) > 1:
                self._n -= self._tones.popitem(last=False)[1].size
        self._tones.move_to_end(key)
        return found


def hertz(key: float) -> float:
    """The frequency of a MIDI key."""
    return 440.0 * 2 ** ((key - 69) / 12)


def tone(
    preset: Preset, key: float, shade: int, variant: int, n: int, sample: Sample, come_from: float | None = None
) -> np.ndarray:
    """A note [2, n] as long as it is held, without its release.

    shade: 0 soft to SHADES hard. come_from: the key from which the pitch glides. A longer note begins as a shorter one
    does, except where the preset depends on the length. Raises ModelError for a drum that does not exist.
    """
    seed = zlib.crc32(f"{preset.name} {round(key)} {variant}".encode())
    rng = np.random.default_rng(seed)
    hardness = 0.25 + 0.75 * shade / SHADES
    if preset.drums:
        return _drum(preset, round(key), rng, hardness)
    pitch = _pitch(preset, key, n, come_from)
    top = hertz(max(key, come_from or key) + preset.vibrato[1] / 100)
    sound = np.zeros((2, n), np.float32)
    for k, layer in enumerate(preset.layers):
        own = np.random.default_rng((seed, k))
        sound += _gain(layer.gain_db) * _layer(layer, key, pitch, top, own, n, hardness, sample)
    if preset.drive:
        sound = np.tanh(sound * (1 + 8 * preset.drive)) / np.float32(1 + 3 * preset.drive)
    if preset.filter is not None:
        sound = filters.sweep(preset.filter, sound, key, hardness)
    if preset.crush:
        steps = np.float32(2 ** (preset.crush - 1))
        sound = np.round(sound * steps) / steps
    if preset.chorus:
        sound = _chorus(sound, preset.chorus)
    return (sound * (_gain(preset.level_db) * _loudness(preset, n))).astype(np.float32)


def _gain(db: float) -> np.float32:
    return np.float32(10 ** (db / 20))


def _pitch(preset: Preset, key: float, n: int, come_from: float | None) -> float | np.ndarray:
    """Hertz, at every sample where it moves."""
    rate, cents, delay = preset.vibrato
    base = hertz(key)
    if not cents and come_from is None:
        return base
    time = np.arange(n) / RATE
    semitones = np.zeros(n)
    if cents:
        semitones += cents / 100 * np.sin(2 * math.pi * rate * time) * np.clip((time - delay) / 0.35, 0, 1)
    if come_from is not None:
        semitones += (come_from - key) * np.exp(-4.0 * time / (preset.glide or 0.08))
    return base * 2 ** (semitones / 12)


def _layer(
    layer: Layer, key: float, pitch: float | np.ndarray, top: float, rng: np.random.Generator, n: int, hardness: float,
    sample: Sample,
) -> np.ndarray:  # fmt: skip
    plain = hertz(key)
    match layer:
        case Oscillator():
            return oscillators.oscillate(layer, pitch, rng, n, top)
        case Fm():
            return oscillators.modulate(layer, pitch, rng, n, hardness, top)
        case Modal():
            return modes.ring(layer, plain, rng, n, hardness)
        case Noise():
            return oscillators.hiss(layer, plain / MIDDLE_C, rng, n)
        case Grains():
            return grains.scatter(layer, sample(layer.instrument, key, 3 * RATE), rng, n)
        case Field():
            return fields.surround(layer, rng, n)
        case Sweep():
            return fields.rise(layer, plain, rng, n)


def _loudness(preset: Preset, n: int) -> np.ndarray:
    """Attack, decay and sustain [n]; and tremolo [2, n], whose sides take turns."""
    amp = preset.amp
    time = np.arange(n, dtype=np.float32) / RATE
    level = amp.sustain + (1 - amp.sustain) * np.exp(-6.9 * np.clip(time - amp.attack, 0, None) / max(amp.decay, 1e-3))
    if amp.attack > 0.0005:
        rise = np.clip(time / amp.attack, 0, 1)
        level = level * (rise * rise * (3 - 2 * rise) if amp.attack > 0.05 else rise)
    if preset.tremolo:
        turn = np.sin(2 * math.pi * preset.tremolo_rate * time)
        return np.stack([level * (1 - 0.5 * preset.tremolo * (1 + s * turn)) for s in (1, -1)])
    return level


def _chorus(sound: np.ndarray, depth: float) -> np.ndarray:
    """Two voices beside the tone, whose delays of 8 and 11 ms move against each other."""
    n = sound.shape[1]
    at = np.arange(n)
    mono = np.pad(sound.mean(axis=0), (0, 2))
    out = sound.copy()
    for side, (delay, rate) in enumerate(((0.008, 0.63), (0.011, 0.47))):
        place = at - RATE * (delay + 0.0022 * (1 + np.sin(2 * math.pi * rate * at / RATE)))
        first = np.maximum(place.astype(np.int64), 0)
        share = (place - first).clip(0, 1).astype(np.float32)
        echo = mono[first] * (1 - share) + mono[first + 1] * share
        echo[place < 0] = 0
        out[side] += depth * echo
        out[1 - side] -= 0.25 * depth * echo
    return out / np.float32(math.sqrt(1 + depth**2))


def _drum(preset: Preset, key: int, rng: np.random.Generator, hardness: float) -> np.ndarray:
    name = preset.drums.get(key) or preset.drums.get(NEAREST.get(key, 0))
    if name is None:
        return np.zeros((2, 1), np.float32)
    tune = rng.uniform(-0.08, 0.08)
    tune += TOMS.get(key, 0.0)
    return drums.beat(drums.read_drums()[name], rng, hardness, tune) * _gain(preset.level_db)


# General MIDI drum keys for which another one's drum may stand, and tuning in semitones of toms.
NEAREST = {
    35: 36, 40: 38, 41: 45, 43: 45, 47: 45, 48: 45, 50: 45, 44: 42, 51: 42, 52: 49, 55: 49, 57: 49, 59: 42, 53: 51,
    81: 42, 80: 42, 69: 70, 82: 70, 75: 37, 76: 37, 77: 37, 60: 37, 61: 37, 62: 45, 63: 45, 64: 45, 58: 56,
}  # fmt: skip
TOMS = {41: -6.0, 43: -3.5, 45: 0.0, 47: 2.5, 48: 5.0, 50: 8.0}
