"""The bus that the whole mix passes: equaliser of middle and sides, compressor, worn tape, saturation."""

from __future__ import annotations

import math

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.desk.mixes import Mix
from openvmas.symbolic.desk.rooms import Convolver, minimum_phase

RATE = SAMPLE_RATE_OUT
SHELF_HZ, WIDTH_HZ = 6000.0, 300.0
RESPONSE = 4096  # samples of the equaliser
STEP = 120  # samples between two gains of the compressor
ATTACK, RELEASE = 0.012, 0.16  # s
THRESHOLD_DB, REACH_DB = -24.0, 8.0  # RMS from which it works, and how much further it takes glue_db
INPUT_DB = 11.0  # brings the sum of the parts to the level that the bus is made for
LIMIT, LIMIT_RELEASE = 0.5, 0.07  # peak that the limiter lets pass, and s until it lets go
KNEE, CEILING = 0.6, 0.98  # peaks beyond the knee are rounded towards the ceiling
WOW_SECONDS, WOW_HZ = 0.0011, 0.6
HISS_DB = -62.0


class Bus:
    """The desk's master: the same blocks in give the same blocks out; nothing is delayed but by the wow of tape."""

    def __init__(self, mix: Mix, seed: int = 0, start: int = 0) -> None:
        """start: the sample of the piece at which the blocks begin."""
        self._mix = mix
        self._equaliser = Convolver(equaliser(mix))
        self._power = 1e-6
        self._gain, self._limit = 1.0, 1.0
        self._past = np.zeros((2, 512), np.float32)
        self._time, self._seed = start, seed

    def push(self, block: np.ndarray) -> np.ndarray:
        """The next block [2, n] of the mix, mastered."""
        mix = self._mix
        middle, sides = 0.5 * (block[0] + block[1]), 0.5 * (block[0] - block[1])
        middle, sides = self._equaliser.push(np.stack([middle, sides]))
        sound = np.stack([middle + sides, middle - sides]) * np.float32(10 ** ((INPUT_DB + mix.lift_db) / 20))
        if mix.glue_db:
            sound = self._compressed(sound)
        if mix.lofi:
            sound = self._worn(sound)
        if mix.drive:
            steep = np.float32(1 + 5 * mix.drive)
            sound = (1 - 0.5 * mix.drive) * sound + 0.5 * mix.drive * np.tanh(steep * sound) / np.float32(steep**0.6)
        self._time += block.shape[1]
        return rounded(self._limited(sound.astype(np.float32)))

    def _compressed(self, sound: np.ndarray) -> np.ndarray:
        n = sound.shape[1]
        n_steps = -(-n // STEP)
        padded = np.pad((sound**2).mean(axis=0), (0, n_steps * STEP - n))
        powers = padded.reshape(n_steps, STEP).mean(axis=1).tolist()
        rise, fall = (1 - math.exp(-STEP / (RATE * seconds)) for seconds in (ATTACK, RELEASE))
        level, levels = self._power, []
        for power in powers:
            level += (rise if power > level else fall) * (power - level)
            levels.append(level)
        self._power = level
        over = np.clip(10 * np.log10(np.array(levels) + 1e-12) - THRESHOLD_DB, 0, None)
        reduction = self._mix.glue_db * over / REACH_DB
        reduction = np.minimum(reduction, 2 * self._mix.glue_db)
        gains = 10 ** ((0.6 * self._mix.glue_db - reduction) / 20)
        curve = np.interp(np.arange(n), np.arange(n_steps + 1) * STEP, [self._gain, *gains])
        self._gain = float(curve[-1]) if n % STEP else float(gains[-1])
        return sound * curve.astype(np.float32)

    def _limited(self, sound: np.ndarray) -> np.ndarray:
        """Peaks held near LIMIT: the gain falls within a step before a peak, as far as the block reaches."""
        n = sound.shape[1]
        n_steps = -(-n // STEP)
        padded = np.pad(np.abs(sound).max(axis=0), (0, n_steps * STEP - n)).reshape(n_steps, STEP).max(axis=1)
        wanted = np.minimum(1.0, (LIMIT / np.maximum(padded, 1e-6)) ** 0.8)
        ahead = np.minimum(wanted, np.append(wanted[1:], wanted[-1:]))
        back, gain, gains = 1 - math.exp(-STEP / (RATE * LIMIT_RELEASE)), self._limit, []
        for value in ahead.tolist():
            gain = value if value < gain else gain + back * (value - gain)
            gains.append(gain)
        curve = np.interp(np.arange(n), np.arange(n_steps + 1) * STEP, [self._limit, *gains])
        self._limit = gain
        return sound * curve.astype(np.float32)

    def _worn(self, sound: np.ndarray) -> np.ndarray:
        """Wow, and the hiss of the tape."""
        n, depth = sound.shape[1], self._mix.lofi
        at = self._time + np.arange(n)
        late = RATE * WOW_SECONDS * depth * (1 + np.sin(2 * math.pi * WOW_HZ * at / RATE))
        late += RATE * 0.0001 * depth * (1 + np.sin(2 * math.pi * 6.1 * at / RATE))
        whole = np.concatenate([self._past, sound], axis=1)
        place = self._past.shape[1] + np.arange(n) - late
        first = place.astype(np.int64)
        share = (place - first).astype(np.float32)
        self._past = whole[:, -self._past.shape[1] :].copy()
        turned = whole[:, first] * (1 - share) + whole[:, np.minimum(first + 1, whole.shape[1] - 1)] * share
        hiss = np.random.default_rng((self._seed, self._time)).standard_normal((2, n), np.float32)
        hiss = hiss - np.concatenate([hiss[:, :1], hiss[:, :-1]], axis=1) * np.float32(0.6)
        return turned + hiss * np.float32(depth * 10 ** (HISS_DB / 20))


def rounded(sound: np.ndarray) -> np.ndarray:
    """The sound with what lies beyond KNEE bent smoothly, so that nothing passes CEILING."""
    size = np.abs(sound)
    over = size > KNEE
    bent = KNEE + (CEILING - KNEE) * np.tanh((size[over] - KNEE) / (CEILING - KNEE))
    out = sound.copy()
    out[over] = np.copysign(bent, sound[over])
    return out


def equaliser(mix: Mix) -> np.ndarray:
    """Responses [2, RESPONSE] of the middle and of the sides, without delay."""
    size = 2 * RESPONSE
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0)
    slope = 1 / (1 + (SHELF_HZ / frequency) ** 2.5)
    shelf = 10 ** (mix.tilt_db * slope / 20)
    if mix.lofi:
        shelf = shelf / np.sqrt(1 + (frequency / (14_000 * 2 ** (-1.5 * mix.lofi))) ** 4)
        shelf = shelf / np.sqrt(1 + (60 * mix.lofi / frequency) ** 4)
    shelf = shelf / np.sqrt(1 + (22 / frequency) ** 4)
    wide = 1 + (mix.width - 1) / (1 + (WIDTH_HZ / frequency) ** 2)
    mono = 1 / np.sqrt(1 + (mix.bass_mono_hz / frequency) ** 4)
    responses = []
    for gain in (shelf, shelf * wide * mono):
        response = np.fft.irfft(minimum_phase(gain, size), size)[:RESPONSE]
        fade = np.ones(RESPONSE)
        fade[-512:] = np.cos(np.linspace(0, math.pi / 2, 512)) ** 2
        responses.append(response * fade)
    return np.array(responses, np.float32)
