"""Rooms made of noise: two rooms and a plate in true stereo, the seats of players, and the echo.

Late reverberation is Gaussian noise that falls exponentially, each band at its own rate (Moorer 1979; Jot 1992). What
comes first in a room is a handful of reflections, which tell where a player sits.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT

RATE = SAMPLE_RATE_OUT
BLOCK = SAMPLE_RATE_OUT  # samples that are pushed at a time, at the most
EDGES = (125, 250, 500, 1000, 2000, 4000, 8000)  # Hz, between the eight bands


@dataclass(frozen=True)
class _Room:
    """seconds: to −60 dB, of the eight bands. delay: s before it begins. rise: s until it is full. low: Hz of a high
    pass, so that bass stays dry. seed: of the noise."""

    seconds: tuple[float, ...]
    gains_db: tuple[float, ...]
    delay: float
    rise: float
    low: float
    seed: int


ROOMS: Mapping[str, _Room] = {
    "chamber": _Room((0.7, 0.8, 0.85, 0.8, 0.8, 0.7, 0.5, 0.4), (-8, -4, -1, 0, 0, -1, -3, -7), 0.006, 0.015, 170, 5),
    "hall": _Room((2.1, 2.3, 2.3, 2.2, 2.0, 1.6, 1.1, 0.7), (-9, -4, -1, 0, 0, -1, -4, -9), 0.022, 0.045, 150, 7),
    "plate": _Room((1.0, 1.3, 1.6, 1.8, 1.9, 1.8, 1.5, 1.0), (-14, -8, -3, -1, 0, 1, 1, -1), 0.002, 0.004, 220, 9),
}  # fmt: skip


class Convolver:
    """A stereo response, convolved block by block: [2, 2, n] from each side in to each side out, or [2, n] for each
    side alone."""

    def __init__(self, response: np.ndarray) -> None:
        self._size = fast_size(BLOCK + response.shape[-1] - 1)
        self._spectrum = np.fft.rfft(response, self._size).astype(np.complex64)
        self._tail = np.zeros((2, self._size - BLOCK), np.float32)
        self._rings = 0

    def push(self, block: np.ndarray) -> np.ndarray:
        """The answer [2, n] to a block [2, n], n at most BLOCK."""
        n = block.shape[1]
        if not np.any(block) and self._rings <= 0:
            return np.zeros((2, n), np.float32)
        spectrum = np.fft.rfft(block, self._size)
        if self._spectrum.ndim == 3:
            spectrum = np.stack([(spectrum * self._spectrum[:, side]).sum(axis=0) for side in (0, 1)])
        else:
            spectrum = spectrum * self._spectrum
        answer = np.fft.irfft(spectrum, self._size).astype(np.float32)
        answer[:, : self._tail.shape[1]] += self._tail
        self._rings = self._size if np.any(block) else self._rings - n
        self._tail = answer[:, n : n + self._size - BLOCK].copy()
        return answer[:, :n]


def fast_size(n: int) -> int:
    """The least length of at least n whose only factors are 2, 3 and 5."""
    best = 1 << (n - 1).bit_length()
    for threes in range(8):
        for fives in range(5):
            odd = 3**threes * 5**fives
            best = min(best, odd << max(0, math.ceil(math.log2(n / odd))))
    return best


@functools.lru_cache(maxsize=4)
def room_response(name: str) -> np.ndarray:
    """The response [2, 2, n] of a room by name, of unit power from a side to both."""
    room = ROOMS[name]
    n = int(RATE * (max(room.seconds) * 0.8 + room.delay))
    rng = np.random.default_rng(room.seed)
    spectrum = np.fft.rfft(rng.standard_normal((4, n), np.float32))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 1.0)
    time = np.arange(n, dtype=np.float32) / RATE
    response = np.zeros((4, n), np.float32)
    # Butterworth flanks of neighbours add up to one in power.
    below = [1 / (1 + (frequency / edge) ** 8) for edge in EDGES]
    shares = [below[0], *(b - a for a, b in itertools.pairwise(below)), 1 - below[-1]]
    for share, seconds, gain_db in zip(shares, room.seconds, room.gains_db, strict=True):
        band = np.fft.irfft(spectrum * np.sqrt(np.maximum(share, 0)), n).astype(np.float32)
        response += band * (10 ** (gain_db / 20) * np.exp(-6.9 * time / seconds)).astype(np.float32)
    onset = np.clip((time - room.delay) / room.rise, 0, 1) * np.clip((time[-1] - time) / 0.1, 0, 1)
    spectrum = np.fft.rfft(response * onset) / np.sqrt(1 + (room.low / frequency) ** 4)
    response = np.fft.irfft(spectrum, n).astype(np.float32).reshape(2, 2, n)
    return response / np.sqrt((response**2).sum(axis=(1, 2), keepdims=True))


ZONES = (0.0, 0.45, 0.9)  # depths of the three seats; a player between two of them is in both
SEAT_SECONDS = 0.07


@functools.lru_cache(maxsize=4)
def seat_response(zone: int) -> np.ndarray:
    """The direct sound and the first reflections [2, 2, n] of a seat: duller, and with more walls, further away."""
    depth = ZONES[zone]
    n = int(RATE * SEAT_SECONDS)
    rng = np.random.default_rng((3, zone))
    response = np.zeros((2, 2, n), np.float32)
    n_walls = 4 + 5 * zone
    for side in (0, 1):
        response[side, side, 0] = 1.0
        delays = np.sort(rng.uniform(0.004 + 0.004 * depth, 0.022 + 0.036 * depth, n_walls))
        for delay in delays:
            gain = (0.09 + 0.22 * depth) * math.exp(-delay / 0.03) * rng.choice([-1.0, 1.0])
            response[side, int(rng.integers(2)), int(RATE * delay)] += gain
    frequency = np.fft.rfftfreq(2 * n, 1 / RATE)
    cut = 1 / np.sqrt(1 + (frequency / (17_000 * 2 ** (-1.5 * depth))) ** 2)
    plain = np.fft.rfft(response, 2 * n)
    return np.fft.irfft(plain * minimum_phase(cut, 2 * n), 2 * n)[..., :n].astype(np.float32)


def minimum_phase(gain: np.ndarray, size: int) -> np.ndarray:
    """The complex response [size // 2 + 1] of least delay with these gains (by the real cepstrum)."""
    cepstrum = np.fft.irfft(np.log(np.maximum(gain, 1e-4)), size)
    fold = np.zeros(size)
    fold[0], fold[1 : size // 2], fold[size // 2] = 1, 2, 1
    return np.exp(np.fft.rfft(cepstrum * fold))


def zone_shares(depth: float) -> np.ndarray:
    """Shares of a player that sit in each zone [3], together 1."""
    shares = np.array([np.interp(depth, ZONES, np.eye(len(ZONES))[zone]) for zone in range(len(ZONES))])
    return shares.astype(np.float32)


class Echo:
    """Repeats that change sides, a share softer and duller each time."""

    TAPS = np.array([0.25, 0.5, 0.25], np.float32)

    def __init__(self, seconds: float, feedback: float) -> None:
        self._delay = max(int(RATE * seconds), 2400)
        self._feedback = np.float32(min(feedback, 0.85))
        self._past = np.zeros((2, self._delay + 2), np.float32)

    def push(self, block: np.ndarray) -> np.ndarray:
        """The repeats [2, n] of what has been sent [2, n] and before."""
        out = np.empty_like(block)
        for start in range(0, block.shape[1], self._delay):
            sent = block[:, start : start + self._delay]
            n = sent.shape[1]
            past = self._past[:, : n + 2]
            out[:, start : start + n] = sum(tap * past[:, k : k + n] for k, tap in enumerate(self.TAPS))
            back = self._feedback * out[::-1, start : start + n]
            mono = 0.5 * (sent[0] + sent[1])
            fed = np.stack([back[0] + mono, back[1]])
            self._past = np.concatenate([self._past[:, n:], fed], axis=1)
        return out
