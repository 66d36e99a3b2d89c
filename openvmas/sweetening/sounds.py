"""Synthesis of the sounds that are added: [2, n] float at 48 kHz, peaks near 1, in tune with a root.

Everything is made of sines and of noise that is shaped in the frequency domain; the generator gives each its own
variant, so that no two are the same.
"""

from __future__ import annotations

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT

RATE = SAMPLE_RATE_OUT
DRIVE = 2.2  # of the saturation


def clock(seconds: float) -> np.ndarray:
    """Times of the samples of a sound, s: [n]."""
    return np.arange(max(1, round(seconds * RATE))) / RATE


def shaped_noise(rng: np.random.Generator, seconds: float, low: float, high: float, slope: float = 0.0) -> np.ndarray:
    """Noise in both channels between two frequencies (Hz) with soft edges: [2, n] of unit power.

    slope: dB per octave above `low`.
    """
    n = max(1, round(seconds * RATE))
    size = 1 << max(n - 1, 1).bit_length()
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0)
    gain = 1 / np.sqrt((1 + (low / frequency) ** 6) * (1 + (frequency / high) ** 6))
    gain *= (frequency / low) ** (slope / 6.02)
    middle, side = (np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * gain, size)[:n] for _ in range(2))
    sound = np.stack([middle + 0.6 * side, middle - 0.6 * side])
    return sound / max(float(np.sqrt((sound**2).mean())), 1e-9)


def glide(start: float, end: float, fall: float, seconds: float) -> np.ndarray:
    """A sine whose frequency falls or rises from `start` to `end` Hz with a time constant of `fall` s: [n]."""
    t = clock(seconds)
    phase = end * t + (start - end) * fall * (1 - np.exp(-t / fall))
    return np.sin(2 * np.pi * phase)


def both(mono: np.ndarray) -> np.ndarray:
    """A mono wave in both channels: [2, n]."""
    return np.stack([mono, mono])


def finished(sound: np.ndarray, tail: float = 0.02) -> np.ndarray:
    """A sound with a peak of 1 whose end is faded over `tail` s: [2, n] float32."""
    n = min(round(tail * RATE), sound.shape[1])
    sound = sound.copy()
    sound[:, sound.shape[1] - n :] *= np.linspace(1, 0, n)
    # A little saturation makes a struck sound loud without a high peak, as tape and compressors do.
    sound = np.tanh(DRIVE * sound / max(float(np.abs(sound).max()), 1e-9))
    return (sound / max(float(np.abs(sound).max()), 1e-9)).astype(np.float32)


def impact(rng: np.random.Generator, root: float, size: float) -> np.ndarray:
    """A struck low drum in a large room. root: Hz; size: 0 small and dry to 1 large."""
    seconds = 0.7 + 1.6 * size
    t = clock(seconds)
    thump = glide(root * rng.uniform(3.2, 4.5), root, 0.03 + 0.02 * size, seconds) * np.exp(-t * (7.5 - 4 * size))
    crack = shaped_noise(rng, seconds, 180, rng.uniform(4500, 8000), -3) * np.exp(-t * rng.uniform(35, 55))
    body = shaped_noise(rng, seconds, 60, rng.uniform(350, 700), -3) * np.exp(-t * (9 - 5 * size))
    room = shaped_noise(rng, seconds, 150, 2500, -5) * np.exp(-t * (4.5 - 2 * size)) * np.clip(t / 0.03, 0, 1)
    attack = np.clip(t / 0.001, 0, 1)
    return finished(attack * (both(thump) + 0.42 * crack + 0.28 * body) + (0.03 + 0.05 * size) * room, 0.15)


def low_hit(rng: np.random.Generator, root: float) -> np.ndarray:
    """A tuned tom: smaller than an impact."""
    seconds = 0.6
    t = clock(seconds)
    tone = glide(root * 2 * rng.uniform(1.3, 1.6), root * 2, 0.04, seconds) * np.exp(-t * rng.uniform(8, 11))
    skin = shaped_noise(rng, seconds, 300, rng.uniform(3500, 6000), -3) * np.exp(-t * rng.uniform(55, 80))
    return finished(np.clip(t / 0.001, 0, 1) * (both(tone) + 0.45 * skin), 0.08)


def cymbal(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A crash: dense inharmonic partials and noise above 3 kHz."""
    t = clock(seconds)
    metal = np.zeros((2, len(t)))
    for _ in range(14):
        frequency, pan = rng.uniform(2800, 9500), rng.uniform(0.25, 0.75)
        partial = np.sin(2 * np.pi * frequency * t + rng.uniform(0, 6.28)) * np.exp(-t * rng.uniform(2.5, 6) / seconds)
        metal += np.stack([(1 - pan) * partial, pan * partial])
    hiss = shaped_noise(rng, seconds, 3200, 15000, -1.5) * np.exp(-t * 3.2 / seconds)
    strike = shaped_noise(rng, seconds, 900, 12000, -2) * np.exp(-t * 40)
    return finished(np.clip(t / 0.0015, 0, 1) * (0.09 * metal + 0.5 * hiss + 0.7 * strike), 0.3)


def sub_drop(rng: np.random.Generator, root: float) -> np.ndarray:
    """A sine that falls to the root an octave down."""
    seconds = rng.uniform(1.2, 1.7)
    t = clock(seconds)
    tone = glide(root * 2, root, rng.uniform(0.22, 0.35), seconds)
    return finished(both(np.tanh(1.4 * tone) * np.clip(t / 0.012, 0, 1) * np.exp(-t * 1.6)), 0.25)


def riser(rng: np.random.Generator, root: float, seconds: float) -> np.ndarray:
    """Noise that opens and a tone that climbs to the root, loudest at its end."""
    t = clock(seconds)
    share = t / seconds
    sound = np.zeros((2, len(t)))
    edges = 300 * 2.0 ** np.arange(0, 6)
    for k, low in enumerate(edges):
        opens = np.clip((share - k / 8) * 4, 0, 1)  # the higher the later
        sound += shaped_noise(rng, seconds, low, low * 2) * opens * 0.35
    pitch = root * 4 * 2 ** (share**2 - 1)
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + 0.4 * np.sin(2 * np.pi * np.cumsum(1.5 * pitch) / RATE)
    sound = (0.6 * sound + 0.35 * both(tone)) * share**2.2
    return finished(sound, 0.006)


def swell(rng: np.random.Generator, root: float, is_minor: bool, seconds: float) -> np.ndarray:
    """A cymbal and a chord of the key played backwards, up to the moment."""
    t = clock(seconds)
    chord = np.zeros(len(t))
    for degree in (0, 3 if is_minor else 4, 7, 12):
        frequency = root * 4 * 2 ** (degree / 12)
        chord += np.sin(2 * np.pi * frequency * t + rng.uniform(0, 6.28)) * 0.25
    ringing = cymbal(rng, seconds) * 0.7 + both(chord * np.exp(-t * 3 / seconds)) * 0.35
    return finished(ringing[:, ::-1], 0.004)
