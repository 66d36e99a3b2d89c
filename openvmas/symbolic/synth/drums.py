"""Drum machines: each drum is a tone that falls in pitch, a burst of noise and a chord of squares for metal.

The circuits of analogue machines in outline: a kick is a bridged-T oscillator that rings, a snare two of them with
noise, a cymbal six square waves through a high pass. Drums and kits are data (`drums.toml`, `presets/kit.toml`).
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from openvmas.errors import ModelError
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.synth.oscillators import TABLE, band_noise, phases, read_table, wave_table

RATE = SAMPLE_RATE_OUT
SILENT = -90.0  # dB of what a drum has not
METAL = (1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523)  # of the classic machine's six oscillators, by measurement
LONGEST = 4.0  # s


@dataclass(frozen=True)
class Drum:
    """One drum. Levels in dB, times in s to −60 dB, frequencies in Hz.

    tone_*: a tone of `wave` that begins `sweep` semitones above and falls within sweep_seconds; second: ratio of a
    second tone at −4 dB, 0 for none. noise_*: between low and high. metal_*: six squares above metal_low. click: level
    of the stroke itself. bursts: strokes of noise, burst_gap apart, as in a clap. drive: 0 to 1. crush: bits, 0: none.
    hold: s before everything begins to fall. pan: −1 to 1.
    """

    tone_db: float = SILENT
    tone_hz: float = 100.0
    tone_decay: float = 0.4
    wave: str = "sine"
    sweep: float = 0.0
    sweep_seconds: float = 0.03
    second: float = 0.0
    noise_db: float = SILENT
    noise_low: float = 300.0
    noise_high: float = 12_000.0
    noise_decay: float = 0.2
    noise_attack: float = 0.0
    metal_db: float = SILENT
    metal_hz: float = 205.0
    metal_low: float = 6500.0
    metal_decay: float = 0.2
    click: float = 0.0
    bursts: int = 1
    burst_gap: float = 0.011
    hold: float = 0.0
    drive: float = 0.0
    crush: float = 0.0
    pan: float = 0.0
    spread: float = 0.0
    level_db: float = 0.0


@functools.cache
def read_drums() -> Mapping[str, Drum]:
    """The drums by name. A drum may say `like`, another one's name, and what is different."""
    table = tomllib.loads(Path(__file__).with_name("drums.toml").read_text(encoding="utf-8"))
    known = {item.name for item in fields(Drum)}
    found: dict[str, Drum] = {}
    for name, row in table.items():
        changes = {key: value for key, value in row.items() if key != "like"}
        if set(changes) - known:
            raise ModelError(f"drums.toml: drum {name} has unknown {', '.join(sorted(set(changes) - known))}.")
        found[name] = replace(found[row["like"]] if "like" in row else Drum(), **changes)
    return found


def beat(drum: Drum, rng: np.random.Generator, hardness: float, tune: float = 0.0) -> np.ndarray:
    """One stroke [2, n] with its whole decay; hardness in [0, 1]; tune: semitones."""
    decays = [drum.tone_decay * (drum.tone_db > SILENT), drum.noise_decay * (drum.noise_db > SILENT),
              drum.metal_decay * (drum.metal_db > SILENT)]  # fmt: skip
    n = int(RATE * min(LONGEST, max(decays) + drum.hold + drum.burst_gap * (drum.bursts - 1) + 0.03))
    time = np.maximum(np.arange(n, dtype=np.float32) / RATE - drum.hold, 0)
    out = np.zeros((2, n), np.float32)
    if drum.tone_db > SILENT:
        out += _gain(drum.tone_db) * _tone(drum, time, hardness, tune)
    if drum.noise_db > SILENT:
        out += _gain(drum.noise_db) * _noise(drum, time, rng)
    if drum.metal_db > SILENT:
        out += _gain(drum.metal_db) * _metal(drum, time, rng)
    if drum.click:
        stroke = rng.standard_normal(96).astype(np.float32) * np.hanning(192)[96:].astype(np.float32)
        out[:, :96] += drum.click * hardness * stroke
    if drum.drive:
        out = np.tanh(out * (1 + 6 * drum.drive)) / np.float32(1 + 1.5 * drum.drive)
    if drum.crush:
        steps = np.float32(2 ** (drum.crush - 1))
        out = np.round(np.repeat(out[:, ::4], 4, axis=1)[:, :n] * steps) / steps
    fade = min(n, RATE // 100)
    out[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    angle = (drum.pan + 1) * math.pi / 4
    sides = np.array([[math.cos(angle)], [math.sin(angle)]], np.float32) * math.sqrt(2)
    return (out * sides * _gain(drum.level_db)).astype(np.float32)


def _gain(db: float) -> float:
    return 10 ** (db / 20)


def _tone(drum: Drum, time: np.ndarray, hardness: float, tune: float) -> np.ndarray:
    fall = np.exp(-time.astype(float) / drum.sweep_seconds)
    pitch = drum.tone_hz * 2 ** ((tune + drum.sweep * (0.7 + 0.4 * hardness) * fall) / 12)
    table = wave_table(drum.wave, 1 if drum.wave == "sine" else 24)
    sound = read_table(table, phases(pitch, len(time)))
    if drum.second:
        sound = sound + 0.63 * read_table(table, phases(pitch * drum.second, len(time)))
    return sound * np.exp(-6.9 * time / drum.tone_decay)


def _noise(drum: Drum, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = len(time)
    sound = band_noise(rng, n, drum.noise_low, drum.noise_high, drum.spread)
    level = np.zeros(n, np.float32)
    for burst in range(drum.bursts):
        late = np.clip(time - burst * drum.burst_gap, 0, None)
        is_last = burst == drum.bursts - 1
        seconds = drum.noise_decay if is_last else drum.burst_gap * 2.5
        level = np.where(time >= burst * drum.burst_gap, np.exp(-6.9 * late / seconds), level)
    if drum.noise_attack:
        level = level * np.clip(time / drum.noise_attack, 0, 1)
    return sound * level


@functools.lru_cache(maxsize=16)
def _squares(hertz: float, low: float) -> np.ndarray:
    """Three seconds of six squares through a high pass, folded as the cheap machines fold them."""
    n = 3 * RATE
    total = np.zeros(n, np.float32)
    table = np.where(np.arange(TABLE) < TABLE // 2, 0.5, -0.5).astype(np.float32)
    for ratio in METAL:
        total += read_table(table, phases(hertz * ratio, n))
    spectrum = np.fft.rfft(total)
    frequency = np.fft.rfftfreq(n, 1 / RATE)
    spectrum *= 1 / np.sqrt(1 + (low / np.maximum(frequency, 1)) ** 8)
    sound = np.fft.irfft(spectrum, n)
    return (0.3 * sound / np.sqrt((sound**2).mean())).astype(np.float32)


def _metal(drum: Drum, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    squares = _squares(drum.metal_hz, drum.metal_low)
    first = int(rng.integers(0, RATE // 2))
    sound = np.resize(squares[first:], len(time))
    return sound * np.exp(-6.9 * time / drum.metal_decay)
