"""What is changed in a crop before the codec hears it: pitch and speed, equaliser, gain, polarity, a second track."""

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
