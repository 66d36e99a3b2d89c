"""Clouds of grains: short windows from anywhere in a sampled tone, many at a time (Roads, Microsound, 2001)."""

from __future__ import annotations

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.synth.presets import Grains

RATE = SAMPLE_RATE_OUT


def scatter(layer: Grains, wave: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """A cloud [2, n] from the sound of a tone [L] at its pitch."""
    size = max(256, int(layer.size * RATE))
    out = np.zeros((2, n + 2 * size), np.float32)
    if len(wave) < 64:
        return out[:, :n]
    wave = _even(wave)
    start = 0.0
    while start < n:
        draws = rng.random(6)
        speed = 2 ** (layer.detune * (draws[0] - 0.5) / 12) * (2.0 if draws[1] < layer.octave_share else 1.0)
        length = int(size * (0.6 + 0.8 * draws[2]))
        reach = int(length * speed) + 2
        first = int(draws[3] * max(1, len(wave) - reach))
        at = first + np.arange(length) * speed
        grain = wave[np.minimum(at.astype(np.int64), len(wave) - 1)]
        if draws[4] < layer.reverse_share:
            grain = grain[::-1]
        grain = grain * np.hanning(length).astype(np.float32)
        angle = np.float32((layer.spread * (2 * draws[5] - 1) + 1) * np.pi / 4)
        place = int(start)
        out[0, place : place + length] += np.cos(angle) * grain
        out[1, place : place + length] += np.sin(angle) * grain
        start += rng.exponential(RATE / layer.density)
    return out[:, :n] * np.float32(1.4 / np.sqrt(max(1.0, layer.density * layer.size)))


def _even(wave: np.ndarray) -> np.ndarray:
    """The wave with the loudness of its beginning throughout, so that a decayed tone gives grains as well."""
    span = RATE // 20
    power = np.convolve(wave.astype(float) ** 2, np.ones(span) / span, mode="same") if len(wave) > span else wave**2
    level = np.sqrt(power)
    level = np.maximum(level, level.max() * 0.03)
    return (0.25 * wave / level).astype(np.float32)
