"""Periodic waves from tables, two-operator FM and noise: the synthesiser's layers that last as long as they are held.

Every maker takes its layer, the frequency in Hz at every sample [n] or as one number, a generator of random numbers and
the number of samples, and returns [2, n] float32 at 48 kHz.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.synth.presets import Fm, Noise, Oscillator

RATE = SAMPLE_RATE_OUT
TABLE = 16_384  # samples of a period, read without interpolation: its error is below −60 dB
MOST_HARMONICS = 512
TOP = 19_000.0  # Hz, of the highest harmonic
Pitch = float | np.ndarray


def _formants(*peaks: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
    """Harmonics 1/k with peaks (harmonic, gain)."""
    return lambda k: (0.1 + sum(g * np.exp(-(((k - at) / (0.9 + at / 8)) ** 2)) for at, g in peaks)) / np.sqrt(k)


def _drawbars(*stops: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
    """An organ's harmonics (number, level of 8) and nothing else."""
    return lambda k: np.sum([level / 8 * (np.abs(k - at) < 0.01) for at, level in stops], axis=0)


# Wave → amplitudes of harmonics k = 1, 2, …
SPECTRA: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "sine": lambda k: (k == 1) * 1.0,
    "saw": lambda k: 1 / k,
    "square": lambda k: (k % 2) / k,
    "triangle": lambda k: (k % 2) * (-1.0) ** ((k - 1) // 2) / k**2,
    "soft_saw": lambda k: 1 / k**1.6,
    "thin": lambda k: 1 / k**0.6,
    "bright": lambda k: np.where(k < 24, 1 / k**0.75, 1 / k**1.2),
    "hollow": lambda k: (k % 2) / k**1.3 + (k == 2) * 0.08,
    "reed": lambda k: (k % 2) / k**0.9 + (1 - k % 2) * 0.25 / k,
    "brass": lambda k: np.exp(-(((k - 3) / 5.0) ** 2)) + 0.4 / k,
    "vowel_a": _formants((4, 1.0), (7, 0.8), (16, 0.3)),
    "vowel_o": _formants((2, 1.0), (5, 0.5), (14, 0.1)),
    "vowel_e": _formants((2, 0.9), (11, 0.7), (15, 0.4)),
    "vowel_i": _formants((1, 1.0), (14, 0.6), (19, 0.5)),
    "bells": _drawbars((1, 8), (4, 5), (7, 4), (11, 3), (16, 2), (23, 1.5)),
    "organ": _drawbars((1, 8), (2, 8), (3, 6), (4, 5), (6, 2), (8, 3)),
    "flutes": _drawbars((1, 8), (2, 5), (3, 1)),
    "full_organ": _drawbars((1, 8), (2, 7), (3, 6), (4, 7), (5, 4), (6, 5), (8, 6), (12, 3), (16, 3)),
    "digital": lambda k: np.abs(np.sin(k * 2.4)) / k**0.8,
    "glass": lambda k: np.abs(np.cos(k * 1.7)) ** 3 / k,
    "comb": lambda k: (np.cos(k * math.pi / 3.5) ** 2) / k,
    "grit": lambda k: (0.3 + np.abs(np.sin(k * k * 0.7))) / k**0.7,
    "strings": lambda k: (1 / k) * (1 + 0.8 * np.cos(k * 0.9) ** 2) / (1 + (k / 22.0) ** 2),
}
ALTERNATING = ("triangle",)  # waves whose harmonics keep their signs


@functools.lru_cache(maxsize=256)
def wave_table(wave: str, n_harmonics: int) -> np.ndarray:
    """One period [TABLE] of a wave with its first harmonics, at an RMS of .5."""
    k = np.arange(1, n_harmonics + 1, dtype=float)
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    spectrum[1 : n_harmonics + 1] = -1j * SPECTRA[wave](k)
    table = np.fft.irfft(spectrum)
    return (0.5 * table / np.sqrt((table**2).mean() + 1e-20)).astype(np.float32)


def harmonics_below(frequency: float, top: float = TOP) -> int:
    """The number of harmonics of a tone below `top` Hz, in steps of a quarter octave so that tables are shared."""
    n = max(1.0, top / max(frequency, 1.0))
    return int(min(MOST_HARMONICS, max(1, 2 ** (math.floor(4 * math.log2(n)) / 4))))


def sides_of(n_voices: int, spread: float) -> np.ndarray:
    """Gains [V, 2] of equal power of voices that stand side by side; the whole has the power of one voice."""
    places = np.linspace(-1, 1, n_voices) if n_voices > 1 else np.zeros(1)
    places[1::2] *= -1.0 if n_voices > 3 else 1.0  # neighbours in pitch stand apart
    angle = (places * spread + 1) * math.pi / 4
    return (np.stack([np.cos(angle), np.sin(angle)], 1) * math.sqrt(2 / n_voices)).astype(np.float32)


def phases(frequency: Pitch, n: int, start: float = 0.0) -> np.ndarray:
    """Phase in turns [n] of a tone, from `start` on."""
    if isinstance(frequency, np.ndarray):
        return start + np.cumsum(frequency) / RATE
    return start + np.arange(n) * (frequency / RATE)


def read_table(table: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """The table's values at phases in turns [n]."""
    return table[(turns * TABLE).astype(np.int64) & (TABLE - 1)]


def oscillate(
    layer: Oscillator, frequency: Pitch, rng: np.random.Generator, n: int, top: float | None = None
) -> np.ndarray:
    """The waves of an oscillator layer in unison [2, n]. top: Hz that a moving frequency never passes."""
    if layer.fixed:
        frequency = top = layer.fixed
    ratio = 2 ** (layer.tune / 12)
    tone = frequency * ratio
    if layer.drop:
        fall = np.exp(-np.arange(n) / (RATE * layer.drop_seconds))
        tone = tone * 2 ** (layer.drop * fall / 12)
    high = (top or float(np.max(frequency))) * ratio * 2 ** (max(layer.drop, 0.0) / 12)
    starts = rng.random(layer.voices) if layer.voices > 1 else np.zeros(1)
    offsets = np.linspace(-0.5, 0.5, layer.voices) * layer.detune if layer.voices > 1 else np.zeros(1)
    if layer.voices > 2:
        offsets = np.sign(offsets) * np.abs(2 * offsets / max(layer.detune, 1e-9)) ** 1.4 * layer.detune / 2
    out = np.zeros((2, n), np.float32)
    for start, offset, sides in zip(starts, offsets, sides_of(layer.voices, layer.spread), strict=True):
        turns = phases(tone * 2 ** (offset / 12), n, start)
        out += sides[:, None] * _voice(layer, turns, high, n, start)
    if layer.decay:
        out *= np.exp(-6.9 * np.arange(n) / (RATE * layer.decay)).astype(np.float32)
    return out


def _voice(layer: Oscillator, turns: np.ndarray, frequency: float, n: int, start: float) -> np.ndarray:
    n_harmonics = harmonics_below(frequency)
    if layer.sync:
        # A slave whose phase begins anew with every turn of the master (hard sync).
        fall = np.exp(-np.arange(n) / (RATE * max(layer.morph, 1e-3)))
        turns = (turns % 1.0) * 2 ** (layer.sync * fall / 12)
        n_harmonics = max(1, int(n_harmonics / 2 ** (layer.sync / 12)))
    if layer.wave == "pulse":
        saw = wave_table("saw", n_harmonics)
        lfo = np.sin(2 * math.pi * (np.arange(n) * (layer.pulse_rate / RATE) + start)) if layer.pulse_depth else 0.0
        return read_table(saw, turns) - read_table(saw, turns + layer.pulse + layer.pulse_depth * lfo)
    sound = read_table(wave_table(layer.wave, n_harmonics), turns)
    if layer.to:
        share = np.clip(np.arange(n, dtype=np.float32) / (RATE * layer.morph), 0, 1)
        if layer.morph > 1.5:  # slow ones come and go
            share = 0.5 - 0.5 * np.cos(np.arange(n, dtype=np.float32) * (math.pi / (RATE * layer.morph)))
        sound = sound + share * (read_table(wave_table(layer.to, n_harmonics), turns) - sound)
    return sound


def modulate(
    layer: Fm, frequency: Pitch, rng: np.random.Generator, n: int, hardness: float, top: float | None = None
) -> np.ndarray:
    """Two-operator FM [2, n]; hardness in [0, 1] of the stroke. top: Hz that a moving frequency never passes."""
    time = np.arange(n, dtype=np.float32) / RATE
    index = layer.floor + (layer.index - layer.floor) * np.exp(-time / max(layer.index_decay, 1e-3))
    index *= 2 ** (layer.velocity * (hardness - 0.75))
    # Carson's rule: no side band above the top.
    high = (top or float(np.max(frequency))) * 2 ** (layer.tune / 12)
    index = np.minimum(index, max(0.0, (TOP / high - layer.carrier) / max(layer.ratio, 0.1) - 1))
    out = np.zeros((2, n), np.float32)
    offsets = np.linspace(-0.5, 0.5, layer.voices) * layer.detune if layer.voices > 1 else np.zeros(1)
    for offset, sides in zip(offsets, sides_of(layer.voices, layer.spread), strict=True):
        turns = phases(frequency * 2 ** ((layer.tune + offset) / 12), n, 0.0 if layer.voices == 1 else rng.random())
        around = 2 * math.pi
        modulator = np.sin((around * ((turns * layer.ratio) % 1.0)).astype(np.float32))
        carrier = np.sin((around * ((turns * layer.carrier) % 1.0)).astype(np.float32) + index * modulator)
        out += sides[:, None] * (0.7 * carrier)
    if layer.decay:
        out *= np.exp(-6.9 * time / layer.decay)
    return out


def hiss(layer: Noise, key_ratio: float, rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise between two frequencies [2, n]; key_ratio: of the key's frequency to middle C's."""
    factor = key_ratio if layer.tracks else 1.0
    out = band_noise(rng, n, layer.low * factor, layer.high * factor, layer.spread)
    time = np.arange(n, dtype=np.float32) / RATE
    if layer.attack:
        out *= np.clip(time / layer.attack, 0, 1)
    if layer.decay:
        out *= np.exp(-6.9 * time / layer.decay)
    return out


NOISE_BLOCK = 1 << 16


def band_noise(rng: np.random.Generator, n: int, low: float, high: float, spread: float = 1.0) -> np.ndarray:
    """Noise [2, n] at an RMS of .3 between two frequencies (slopes of 24 dB an octave), made whole blocks at a time so
    that a longer one begins as a shorter one does."""
    frequency = np.fft.rfftfreq(NOISE_BLOCK, 1 / RATE).astype(np.float32)
    gain = 1 / np.sqrt(1 + (frequency / min(high, 24_000.0)) ** 8)
    gain /= np.sqrt(1 + (low / np.maximum(frequency, 1.0)) ** 8)
    gain *= 0.3 / np.sqrt((gain**2).mean())
    blocks = []
    for _ in range(-(-n // NOISE_BLOCK)):
        white = rng.standard_normal((2, NOISE_BLOCK), np.float32)
        white[1] = spread * white[1] + math.sqrt(1 - spread**2) * white[0]
        blocks.append(np.fft.irfft(np.fft.rfft(white) * gain, NOISE_BLOCK))
    return np.concatenate(blocks, axis=1)[:, :n].astype(np.float32)
