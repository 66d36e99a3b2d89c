"""Sounds that the study itself makes: anchors, noise, and the headphone check. All at 48 kHz, stereo."""

from __future__ import annotations

import numpy as np

from openvmas.media.loudness import BlockFilter
from openvmas.settings import SAMPLE_RATE_OUT

ANCHOR_HZ = 3500.0  # the low anchor of ITU-R BS.1534-3
_TAPS = 1023
_FADE = 0.02  # s


def low_anchor(wave: np.ndarray) -> np.ndarray:
    """wave [2, L] through a low-pass at 3.5 kHz, 4 kHz already 50 dB down (ITU-R BS.1534-3, 5.1): [2, L] float32."""
    half = _TAPS // 2
    places = np.arange(-half, half + 1)
    cutoff = (ANCHOR_HZ + 250) / SAMPLE_RATE_OUT
    taps = 2 * cutoff * np.sinc(2 * cutoff * places) * np.kaiser(_TAPS, 6)
    delayed = BlockFilter(taps[None] / taps.sum(), 2)(np.pad(wave, ((0, 0), (0, half))))
    return delayed[0][:, half:]


def shifted(wave: np.ndarray) -> np.ndarray:
    """wave [2, L] turned in time by half its length, with a soft seam: it no longer fits the picture."""
    half, n = wave.shape[1] // 2, round(_FADE * SAMPLE_RATE_OUT)
    late, early = wave[:, half:].copy(), wave[:, :half].copy()
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    late[:, -n:] *= ramp[::-1]
    early[:, :n] *= ramp
    return np.concatenate([late, early], axis=1)


def pink_noise(n_samples: int, seed: int) -> np.ndarray:
    """The same noise of 1/f power on both sides, 40 Hz to 16 kHz: [2, n_samples] float32, peak 0.5."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n_samples))
    frequencies = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE_OUT)
    spectrum *= np.where((frequencies >= 40) & (frequencies <= 16_000), 1 / np.sqrt(np.maximum(frequencies, 1)), 0)
    wave = np.fft.irfft(spectrum, n_samples)
    return np.repeat((0.5 * wave / np.abs(wave).max())[None], 2, axis=0).astype(np.float32)


def headphone_triplet(quiet: int, antiphase: int) -> np.ndarray:
    """Three tones of 200 Hz, 1 s with ramps of 100 ms, 0.5 s apart (Woods et al. 2017): [2, L] float32.

    Interval `quiet` (0 .. 2) is 6 dB softer, interval `antiphase` has its right side inverted: over loudspeakers it
    cancels and seems the softest, over headphones it does not.
    """
    time = np.arange(SAMPLE_RATE_OUT) / SAMPLE_RATE_OUT
    ramp = np.clip(np.minimum(time, time[::-1]) / 0.1, 0, 1)
    tone = 0.25 * np.sin(2 * np.pi * 200 * time) * np.sin(np.pi / 2 * ramp) ** 2
    gap = np.zeros((2, SAMPLE_RATE_OUT // 2))
    pieces: list[np.ndarray] = []
    for interval in range(3):
        gain = 10 ** (-6 / 20) if interval == quiet else 1.0
        sides = np.stack([tone, -tone if interval == antiphase else tone]) * gain
        pieces += [sides, gap]
    return np.concatenate(pieces[:-1], axis=1).astype(np.float32)
