"""A resonant filter that moves: short frames times its transfer function, overlapped and added."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.synth.presets import Filter

RATE = SAMPLE_RATE_OUT
HOP, SIZE = 256, 2048  # samples between frames, and of a frame with the room for what rings
FREQUENCY = np.fft.rfftfreq(SIZE, 1 / RATE).astype(np.float32)
# The first three formants of a baritone's vowels, Hz and gain.
VOWELS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "a": ((650, 1.0), (1080, 0.5), (2650, 0.35)),
    "e": ((400, 1.0), (1700, 0.35), (2600, 0.3)),
    "i": ((290, 1.0), (1870, 0.25), (2800, 0.3)),
    "o": ((400, 1.0), (800, 0.4), (2600, 0.2)),
    "u": ((350, 1.0), (600, 0.2), (2700, 0.1)),
}


def sweep(filter: Filter, wave: np.ndarray, key: float, hardness: float) -> np.ndarray:
    """The wave [2, n] through the filter; key: MIDI, by which the cutoff moves; hardness in [0, 1] of the stroke."""
    n = wave.shape[1]
    n_frames = -(-n // HOP) + 1
    time = np.arange(n_frames) * (HOP / RATE)
    octaves = filter.track * (key - 60) / 12 + filter.velocity * (hardness - 0.75)
    octaves = octaves + filter.envelope * _contour(filter, time)
    if filter.depth:
        octaves = octaves + filter.depth * np.sin(2 * math.pi * filter.rate * time)
    cutoff = np.clip(filter.cutoff * 2.0**octaves, 30.0, 21_000.0)
    moves = np.ptp(cutoff) > 0.5 or filter.vowels
    response = transfer(filter, cutoff if moves else cutoff[:1])
    if filter.vowels:
        response = response * _vowels(filter, time)
    return overlap(wave, response)


def overlap(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The wave [C, n] through responses [frames or 1, SIZE // 2 + 1] of frames HOP apart."""
    n = wave.shape[-1]
    n_frames = -(-n // HOP) + 1
    window = np.hanning(2 * HOP + 1)[:-1].astype(np.float32)
    padded = np.pad(wave, ((0, 0), (HOP, (n_frames + 1) * HOP - n)))
    out = np.zeros((len(wave), n_frames * HOP + SIZE), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP, axis=1)[:, ::HOP][:, :n_frames]
    if len(response) > 1 and len(response) < n_frames:
        response = np.concatenate([response, np.repeat(response[-1:], n_frames - len(response), axis=0)])
    for channel in range(len(wave)):
        answer = np.fft.irfft(np.fft.rfft(frames[channel] * window, SIZE) * response, SIZE)
        for part in range(SIZE // HOP):  # frames that lie HOP apart are added where they belong
            stretch = answer[:, part * HOP : (part + 1) * HOP].ravel()
            out[channel, part * HOP : part * HOP + len(stretch)] += stretch
    return out[:, HOP : HOP + n]


def transfer(filter: Filter, cutoff: np.ndarray) -> np.ndarray:
    """The complex response [frames, bins] at each cutoff in Hz."""
    x = 1j * (FREQUENCY[None] / cutoff[:, None].astype(np.float32))
    quality = 0.6 * 2 ** (4.2 * filter.resonance)
    # The ring of a high quality outlasts a frame at a low cutoff and would fold back.
    quality = np.minimum(quality, 0.6 + 0.006 * cutoff)[:, None].astype(np.float32)
    below = x * x + x / quality + 1
    if filter.kind == "low":
        response = 1 / below
    elif filter.kind == "low24":
        response = 1 / (below * (x * x + x / 0.6 + 1))
    elif filter.kind == "band":
        response = (x / quality) / below
    elif filter.kind == "high":
        response = x * x / below
    else:
        raise ValueError(f"there is no filter {filter.kind}")
    return response.astype(np.complex64)


def _contour(filter: Filter, time: np.ndarray) -> np.ndarray:
    rise = np.clip(time / max(filter.attack, 1e-4), 0, 1)
    fall = np.exp(-4.6 * np.clip(time - filter.attack, 0, None) / max(filter.decay, 1e-3))
    return rise * (filter.sustain + (1 - filter.sustain) * fall)


def _vowels(filter: Filter, time: np.ndarray) -> np.ndarray:
    """Gains [frames, bins] that move between the vowels."""
    curves = []
    for name in filter.vowels:
        curve = np.full(len(FREQUENCY), 0.04, np.float32)
        for middle, gain in VOWELS[name]:
            width = 70 + middle / 14
            curve += (gain / np.sqrt(1 + ((FREQUENCY - middle) / width) ** 2)).astype(np.float32)
        curves.append(2.2 * curve)
    if len(curves) == 1:
        return curves[0][None]
    share = 0.5 - 0.5 * np.cos(2 * math.pi * filter.rate * time)
    place = share * (len(curves) - 1)
    first = np.minimum(place.astype(int), len(curves) - 2)
    part = (place - first)[:, None].astype(np.float32)
    stacked = np.stack(curves)
    return stacked[first] * (1 - part) + stacked[first + 1] * part
