"""Partials that ring by themselves: plucked and struck strings, bars, bells, membranes, plates.

A tone is a sum of exponentially falling sines. Time is written as t = a + b with a on a coarse and b on a fine grid, so
that e^{s(a+b)} = e^{sa} e^{sb} and the whole sum is one product of two small matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.synth.presets import Modal

RATE = SAMPLE_RATE_OUT
FINE = 256  # samples
MOST_PARTIALS = 72
# Material → ratios of its partials, gains (None: 1/k). Strings have harmonics.
# Bars: free-free beam (Fletcher and Rossing, The Physics of Musical Instruments, 1998, ch. 2); tuned bars, bells,
# membranes and plates from the tables of the same book (ch. 18 to 21).
MATERIALS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "glass_bar": ((1, 2.756, 5.404, 8.933, 13.34), (1, 0.5, 0.3, 0.15, 0.07)),
    "marimba": ((1, 3.93, 9.6, 17.2), (1, 0.22, 0.08, 0.03)),
    "vibraphone": ((1, 4.0, 10.1, 17.8), (1, 0.3, 0.12, 0.05)),
    "xylophone": ((1, 3.0, 6.1, 10.6, 15.8), (1, 0.5, 0.3, 0.2, 0.1)),
    "glockenspiel": ((1, 2.71, 5.15, 8.43, 12.2), (1, 0.55, 0.35, 0.25, 0.12)),
    "celesta": ((1, 2.0, 4.01, 6.7, 9.2), (1, 0.16, 0.3, 0.1, 0.05)),
    "tubular": ((0.5, 0.77, 1.0, 1.27, 1.57, 2.24, 2.6, 3.1, 3.9), (0.2, 0.3, 1, 0.6, 0.8, 0.5, 0.35, 0.25, 0.15)),
    "bell": ((0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.3), (0.5, 0.6, 0.6, 0.3, 1, 0.35, 0.25, 0.3, 0.25, 0.1)),
    "bowl": ((1, 2.83, 5.42, 8.77, 12.9), (1, 0.7, 0.45, 0.2, 0.1)),
    "steel_pan": ((1, 2.0, 3.01, 4.03, 5.1, 6.2), (1, 0.8, 0.35, 0.3, 0.12, 0.08)),
    "handpan": ((1, 1.5, 2.0, 3.0, 4.02, 5.1), (1, 0.12, 0.6, 0.35, 0.15, 0.06)),
    "gamelan": ((1, 1.52, 2.37, 3.46, 4.65, 6.1, 7.9), (1, 0.5, 0.7, 0.6, 0.4, 0.25, 0.12)),
    "crystal": ((1, 2.32, 4.25, 6.63, 9.38, 12.2), (1, 0.6, 0.5, 0.4, 0.3, 0.2)),
    "kalimba": ((1, 2.0, 5.4, 6.3, 10.8, 14.2), (1, 0.1, 0.22, 0.12, 0.06, 0.04)),
    "music_box": ((1, 2.0, 4.2, 6.3, 9.1, 12.4), (1, 0.25, 0.4, 0.25, 0.15, 0.08)),
    "toy": ((1, 2.9, 5.2, 7.8, 9.9), (1, 0.6, 0.3, 0.25, 0.15)),
    "membrane": ((1, 1.59, 2.14, 2.3, 2.65, 2.92, 3.16, 3.5), (1, 0.5, 0.4, 0.25, 0.3, 0.2, 0.2, 0.15)),
    "timpani": ((1, 1.5, 1.98, 2.44, 2.9, 3.35), (1, 0.7, 0.45, 0.25, 0.15, 0.1)),
    "plate": (
        (1, 1.41, 1.73, 2.08, 2.55, 3.03, 3.62, 4.19, 4.93, 5.71, 6.42, 7.33, 8.21, 9.56, 10.9, 12.7, 14.8),
        (0.6, 0.7, 0.9, 1, 0.9, 0.85, 0.8, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.4, 0.35, 0.3, 0.25),
    ),
}


def ring(layer: Modal, frequency: float, rng: np.random.Generator, n: int, hardness: float) -> np.ndarray:
    """The partials of a struck or plucked body [2, n]; hardness in [0, 1] of the stroke."""
    frequency = frequency * 2 ** (layer.tune / 12)
    ratios, gains = _partials(layer, frequency)
    tones = frequency * ratios
    kept = (tones < 18_500) & (tones > 20)
    tones, gains, ratios = tones[kept], gains[kept], ratios[kept]
    if not len(tones):
        return np.zeros((2, n), np.float32)
    edge = layer.hardness * 2 ** (1.6 * (hardness - 0.75))
    gains = gains / np.sqrt(1 + (tones / edge) ** 4)
    middle = 261.63
    seconds = layer.decay * (middle / frequency) ** 0.45 * ratios ** (-layer.damping)
    falls = 6.9 / np.maximum(seconds, 0.015)
    gains = gains / np.sqrt((gains**2).sum() / 2) * 0.4
    out = np.stack([_sum(tones, gains, falls, rng, layer, n, side) for side in (0, 1)])
    if layer.thump:
        time = np.arange(n, dtype=np.float32) / RATE
        knock = rng.standard_normal(n).astype(np.float32)
        knock = np.convolve(knock, np.hanning(24).astype(np.float32) / 12)[:n] * np.exp(-time / 0.006)
        out = out + layer.thump * knock
    return out.astype(np.float32)


def _partials(layer: Modal, frequency: float) -> tuple[np.ndarray, np.ndarray]:
    """Ratios and gains of the partials."""
    if layer.material == "string":
        k = np.arange(1, min(MOST_PARTIALS, int(18_500 / frequency) + 1) + 1, dtype=float)
        gains = np.abs(np.sin(math.pi * k * layer.place)) / k
        return k * np.sqrt(1 + layer.inharmonicity * k**2), gains + 1e-4
    ratios, gains = MATERIALS[layer.material]
    return np.array(ratios, float), np.array(gains, float)


def _sum(
    tones: np.ndarray, gains: np.ndarray, falls: np.ndarray, rng: np.random.Generator, layer: Modal, n: int, side: int
) -> np.ndarray:
    """Σ g e^{−dt} sin(2πft + φ) [n], of one side: partials lean to one of them by `spread`."""
    if layer.beating:
        tones = np.concatenate([tones, tones * 2 ** (layer.beating / 12)])
        gains, falls = np.concatenate([gains, gains * 0.7]), np.concatenate([falls, falls])
    lean = layer.spread * np.sin(2.4 * np.arange(len(tones)))
    gains = gains * np.sqrt(np.clip(1 + (lean if side else -lean), 0, 2))
    s = -falls + 2j * math.pi * tones
    # Struck bodies start at zero with their sines; the phase beyond that is free, and other for each stroke.
    start = np.exp(1j * rng.uniform(-0.15, 0.15, len(tones)))
    coarse = np.exp(np.outer(np.arange(-(-n // FINE)) * (FINE / RATE), s)) * (gains * start)
    fine = np.exp(np.outer(s, np.arange(FINE) / RATE))
    coarse_re, coarse_im = np.real(coarse).astype(np.float32), np.imag(coarse).astype(np.float32)
    sound = coarse_re @ np.imag(fine).astype(np.float32) + coarse_im @ np.real(fine).astype(np.float32)
    return sound.ravel()[:n]
