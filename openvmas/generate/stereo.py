"""From what the codec gives, mono at its own rate, to what is heard: stereo at 48 kHz, cut to the sample, and ended."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr

from openvmas.settings import SAMPLE_RATE_OUT

RELEASE = 2.5  # s, at most; over it the music dies away before the picture ends
SIDE_DB = -9.0  # level of the decorrelated side signal against the middle


def finish(waves: Iterator[np.ndarray], n_samples: int, sample_rate: int, ends: bool) -> Iterator[np.ndarray]:
    """Mono wave at the codec's rate → stereo at 48 kHz, cut to n_samples, dying away at the end if it `ends`."""
    resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE_OUT, 1, dtype="float32", quality="HQ")
    width = Widener()
    release = min(round(RELEASE * SAMPLE_RATE_OUT), n_samples // 4)
    written = 0

    def shape(mono: np.ndarray) -> np.ndarray:
        nonlocal written
        mono = mono[: n_samples - written]
        if ends:
            left = n_samples - written - np.arange(len(mono))
            mono = mono * np.sin(0.5 * np.pi * np.clip(left / release, 0, 1)) ** 2
        written += len(mono)
        return width.push(mono.astype(np.float32))

    for wave in waves:
        if len(block := resampler.resample_chunk(wave)):
            yield shape(block)
    tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(tail):
        yield shape(tail)


class Widener:
    """Mono to stereo: a quiet side signal of noise-like echoes within 40 ms, next to none below 200 Hz.

    Left plus right is twice the mono wave exactly, so nothing is lost on one loudspeaker. The idea is decorrelation by
    velvet noise (Alary et al. 2017); the codec is mono and this is said in the model card.
    """

    def __init__(self) -> None:
        length, shift = round(0.06 * SAMPLE_RATE_OUT), round(0.01 * SAMPLE_RATE_OUT)
        n = round(0.025 * SAMPLE_RATE_OUT)
        noise = np.random.default_rng(7).standard_normal(n) * np.exp(-np.arange(n) / (0.3 * n)) * np.hanning(2 * n)[n:]
        frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_OUT)
        spectrum = np.fft.rfft(noise, length) * np.clip((frequency - 150) / 200, 0, 1)
        kernel = np.roll(np.fft.irfft(spectrum, length), shift)  # the filter rings before the noise, too
        self._kernel = kernel / np.linalg.norm(kernel) * 10 ** (SIDE_DB / 20)
        self._past = np.zeros(length - 1)

    def push(self, mono: np.ndarray) -> np.ndarray:
        """[n] → [2, n] float32."""
        if not len(mono):
            return np.zeros((2, 0), np.float32)
        joined = np.concatenate([self._past, mono])
        size = 1 << (len(joined) + len(self._kernel)).bit_length()
        side = np.fft.irfft(np.fft.rfft(joined, size) * np.fft.rfft(self._kernel, size), size)
        side = side[len(self._past) : len(joined)]
        self._past = joined[len(joined) - len(self._past) :]
        return np.stack([mono + side, mono - side]).astype(np.float32)
