"""Sounds of places and machines, made from noise and chance; and sweeps that lead into what comes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.synth.oscillators import band_noise, phases, read_table, wave_table
from openvmas.symbolic.synth.presets import Field, Sweep

RATE = SAMPLE_RATE_OUT
Chances = Iterator[np.random.Generator]
N_CHANCES = 32


def slow_curve(rng: np.random.Generator, n: int, seconds: float) -> np.ndarray:
    """A random curve [n] in [0, 1] that turns about every so many seconds; longer ones begin as shorter ones do."""
    n_points = int(n / RATE / seconds) + 3
    points = np.array([rng.random() for _ in range(n_points)])
    at = np.arange(n) / (RATE * seconds)
    first = at.astype(int)
    share = 0.5 - 0.5 * np.cos(math.pi * (at - first))
    return (points[first] * (1 - share) + points[first + 1] * share).astype(np.float32)


def drops(
    rng: np.random.Generator, n: int, rate: float, make: Callable[[np.random.Generator], np.ndarray]
) -> np.ndarray:
    """Events [2, n] at random times, `rate` a second, each at a random place and level."""
    out = np.zeros((2, n), np.float32)
    at = 0.0
    while True:
        at += rng.exponential(RATE / rate)
        if at >= n:
            return out
        event = make(rng)
        gain, angle = 0.1 + 0.9 * rng.random() ** 3, rng.random() * math.pi / 2
        event = event[: n - int(at)] * np.float32(gain)
        out[0, int(at) : int(at) + len(event)] += math.cos(angle) * event
        out[1, int(at) : int(at) + len(event)] += math.sin(angle) * event


def _ping(low: float, high: float, seconds: float) -> Callable[[np.random.Generator], np.ndarray]:
    def make(rng: np.random.Generator) -> np.ndarray:
        time = np.arange(int(seconds * RATE)) / RATE
        tone = low * (high / low) ** rng.random()
        return (np.sin(2 * math.pi * tone * time) * np.exp(-6.9 * time / seconds)).astype(np.float32)

    return make


def _tick(rng: np.random.Generator) -> np.ndarray:
    length = rng.integers(4, 60)
    return (rng.standard_normal(length) * np.hanning(length + 2)[1:-1]).astype(np.float32)


def _chirps(rng: np.random.Generator) -> np.ndarray:
    time = np.arange(int(0.5 * RATE)) / RATE
    tone = rng.choice([3900.0, 4300.0, 4800.0]) * (1 + 0.01 * rng.standard_normal())
    pulse = np.clip(np.sin(2 * math.pi * rng.uniform(22, 30) * time), 0, 1) * np.sin(math.pi * time / 0.5)
    return (0.3 * pulse * np.sin(2 * math.pi * tone * time)).astype(np.float32)


def _wind(chance: Chances, n: int, pace: float) -> np.ndarray:
    low = band_noise(next(chance), n, 90, 420, 0.9) * slow_curve(next(chance), n, 2.6 / pace)
    high = band_noise(next(chance), n, 420, 1300, 0.9) * slow_curve(next(chance), n, 1.9 / pace) ** 2
    return (
        low + 0.7 * high + 0.12 * band_noise(next(chance), n, 2000, 9000) * slow_curve(next(chance), n, 1.3 / pace) ** 3
    )


def _rain(chance: Chances, n: int, pace: float) -> np.ndarray:
    bed = band_noise(next(chance), n, 900, 15_000) * 0.35
    return (
        bed
        + 0.5 * drops(next(chance), n, 90 * pace, _ping(1800, 9000, 0.012))
        + drops(next(chance), n, 6 * pace, _ping(700, 2200, 0.04))
    )


def _sea(chance: Chances, n: int, pace: float) -> np.ndarray:
    wave = slow_curve(next(chance), n, 2.8 / pace)
    return band_noise(next(chance), n, 60, 700) * (0.3 + wave) + band_noise(next(chance), n, 700, 9000) * 0.8 * wave**2


def _vinyl(chance: Chances, n: int, pace: float) -> np.ndarray:
    rumble = 0.3 * band_noise(next(chance), n, 30, 120) + 0.3 * band_noise(next(chance), n, 1500, 11_000)
    return rumble + 0.25 * drops(next(chance), n, 9 * pace, _tick) + 0.1 * drops(next(chance), n, 60 * pace, _tick)


def _tape(chance: Chances, n: int, pace: float) -> np.ndarray:
    return band_noise(next(chance), n, 700, 14_000) * (0.85 + 0.15 * slow_curve(next(chance), n, 0.5 / pace))


def _night(chance: Chances, n: int, pace: float) -> np.ndarray:
    air = 0.15 * band_noise(next(chance), n, 120, 900) * (0.5 + 0.5 * slow_curve(next(chance), n, 3.0))
    return air + 0.5 * drops(next(chance), n, 3.2 * pace, _chirps)


def _radio(chance: Chances, n: int, pace: float) -> np.ndarray:
    whistle = 900 + 1600 * slow_curve(next(chance), n, 1.4 / pace)
    tone = (
        read_table(wave_table("sine", 1), phases(whistle.astype(float), n))
        * slow_curve(next(chance), n, 0.8 / pace) ** 4
    )
    return (
        band_noise(next(chance), n, 500, 3200, 0.3) * (0.3 + 0.7 * slow_curve(next(chance), n, 0.3 / pace) ** 2)
        + 0.3 * tone
    )


def _fire(chance: Chances, n: int, pace: float) -> np.ndarray:
    return 0.25 * band_noise(next(chance), n, 60, 500) + 0.7 * drops(next(chance), n, 14 * pace, _tick) * 1.4


def _bowed(chance: Chances, n: int, pace: float) -> np.ndarray:
    """A sheet of metal under a bow: narrow bands of noise that swell one after the other."""
    out = np.zeros((2, n), np.float32)
    for tone in (233, 371, 518, 787, 1130, 1685, 2490, 3570, 5230, 7420):
        out += (
            band_noise(next(chance), n, tone * 0.994, tone * 1.006, 0.7) * slow_curve(next(chance), n, 2.0 / pace) ** 2
        )
    return 0.5 * out


FIELDS: Mapping[str, Callable[[Chances, int, float], np.ndarray]] = {
    "wind": _wind, "rain": _rain, "sea": _sea, "vinyl": _vinyl, "tape": _tape, "night": _night, "radio": _radio,
    "fire": _fire, "bowed_metal": _bowed,
}  # fmt: skip


def surround(layer: Field, rng: np.random.Generator, n: int) -> np.ndarray:
    """The field's sound [2, n]."""
    # Each ingredient has its own source of chance, so that a longer field begins as a shorter one does.
    return FIELDS[layer.kind](iter(rng.spawn(N_CHANCES)), n, layer.pace).astype(np.float32)


def rise(layer: Sweep, frequency: float, rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise or tones [2, n] that climb to the end of n samples, or fall away from their start."""
    share = np.linspace(0, 1, n, dtype=np.float32)
    share = share if layer.rises else share[::-1] ** 2
    if layer.source == "noise":
        out = _moving_noise(layer, rng, n, share)
    else:
        tone = frequency * 2.0 ** (layer.octaves * (share.astype(float) ** 1.5 - (1 if layer.rises else 0)))
        saw = wave_table("soft_saw", 24)
        voices = [read_table(saw, phases(tone * detune, n, rng.random())) for detune in (0.994, 1.0, 1.007)]
        out = np.stack([voices[0] + 0.7 * voices[1], voices[2] + 0.7 * voices[1]])
    loud = share ** (1.6 if layer.rises else 1.2)
    if layer.tremolo:
        speed = layer.tremolo * 2 ** (2 * share)
        loud = loud * (0.5 + 0.5 * np.sin(2 * math.pi * np.cumsum(speed) / RATE))
    return (out * loud).astype(np.float32)


def _moving_noise(layer: Sweep, rng: np.random.Generator, n: int, share: np.ndarray) -> np.ndarray:
    """Noise whose middle climbs by octaves: fixed bands an octave apart that fade into one another."""
    out = np.zeros((2, n), np.float32)
    place = share * layer.octaves
    for octave in range(math.ceil(layer.octaves) + 1):
        low = layer.low * 2.0**octave
        weight = np.clip(1.4 - np.abs(place - octave), 0, 1)
        out += band_noise(rng, n, low, min(low * 2.5, 20_000)) * weight
    return out
