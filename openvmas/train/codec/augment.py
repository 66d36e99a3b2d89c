"""What the codec hears besides plain crops: other speeds and equalisers, two tracks at once, gaps, and made tones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MARGIN = 2048  # samples on each side that take up what a circular transform does to the ends
EQ_POINTS = np.array([0.0, 100.0, 300.0, 1000.0, 3000.0, 8000.0, 1e5])  # Hz
GRAIN = 2048


def read_changed(
    crop: Callable[[np.random.Generator, int], np.ndarray],
    generator: np.random.Generator,
    length: int,
    sample_rate: int,
    semitones: float = 2.0,
    eq_db: float = 6.0,
) -> np.ndarray:
    """A crop [length] of another speed (and so pitch), by at most `semitones`, through a random smooth equaliser.

    One Fourier transform in, one out: the spectrum is cut or padded to the new length and weighted.
    """
    n_out = -(-(length + 2 * MARGIN) // GRAIN) * GRAIN
    n_in = round(n_out * 2 ** (generator.uniform(-semitones, semitones) / 12) / GRAIN) * GRAIN
    spectrum = np.fft.rfft(crop(generator, n_in))
    gains_db = generator.normal(0, eq_db / 2, len(EQ_POINTS)).clip(-eq_db, eq_db)
    frequencies = np.arange(n_out // 2 + 1) * (sample_rate / n_out)
    curve = np.interp(np.log1p(frequencies), np.log1p(EQ_POINTS), gains_db)
    kept = np.zeros(n_out // 2 + 1, complex)
    n = min(len(kept), len(spectrum))
    kept[:n] = spectrum[:n] * (n_out / n_in)
    wave = np.fft.irfft(kept * 10 ** (curve / 20), n_out)
    return wave[MARGIN : MARGIN + length].astype(np.float32)


def augment(wave: np.ndarray, other: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """Gain and polarity, and a second track mixed in where one is given. All [L]."""
    if other is not None:
        wave = 0.7 * (wave + other * generator.uniform(0.3, 1))
    peak = float(np.abs(wave).max()) + 1e-4
    gain = min(10 ** generator.uniform(-0.5, 0.2), 0.99 / peak)
    return wave * gain * generator.choice([-1, 1])


def gap(wave: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
    """The wave [L] with digital silence from or up to some place, now and then all of it: codecs like to hum there."""
    fade = int(0.005 * sample_rate)
    place = int(generator.integers(-len(wave) // 5, len(wave)))
    shape = np.clip((np.arange(len(wave)) - place) / fade, 0, 1)
    return wave * (shape if generator.random() < 0.5 or place < 0 else 1 - shape) * (place > -len(wave) // 10)


def make_tones(generator: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    """Notes of one to four voices by additive synthesis, from pure to square-like, some clipped: [length] in [-1, 1].

    Recorded music has few bare notes; without these a sine came back 29 dB too soft.
    """
    time = np.arange(length) / sample_rate
    total = np.zeros(length)
    for _ in range(int(generator.integers(1, 5))):
        harmonics = np.arange(1, int(generator.choice([1, 2, 6, 16])) + 1)
        if generator.random() < 0.3:
            harmonics = 2 * harmonics - 1
        weights = harmonics ** -generator.uniform(0.5, 2.5)
        start = 0
        while start < length:
            end = min(length, start + int(generator.uniform(0.15, 1.5) * sample_rate))
            since = time[start:end] - time[start]
            pitch = 440 * 2 ** (generator.integers(-36, 25) / 12 + generator.uniform(-0.5, 0.5) / 12)
            used = harmonics * pitch < sample_rate / 2.2
            phases = 2 * np.pi * pitch * since[:, None] * harmonics[used] + generator.uniform(0, 2 * np.pi, used.sum())
            envelope = np.minimum(1, since / generator.uniform(0.002, 0.05)) * np.exp(
                -since * generator.choice([0, 1, 5])
            )
            total[start:end] += np.sin(phases) @ weights[used] * envelope
            start = end
    level = 10 ** generator.uniform(-1.5, 0)
    if generator.random() < 0.15:
        return np.clip(3 * total / (np.abs(total).max() + 1e-9), -1, 1) * level
    return total * (level / (np.abs(total).max() + 1e-9))
