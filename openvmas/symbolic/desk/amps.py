"""A guitar amplifier: all strings of a part together drive one stage of valves, and a loudspeaker is heard.

Notes that are distorted one by one stay apart; distorted together they sound at their sums and differences as well,
which is what makes a chord of two strings a wall.
"""

from __future__ import annotations

import numpy as np

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.desk.rooms import Convolver, minimum_phase

RESPONSE = 2048  # samples of each filter
PICKUP_HZ = (110.0, 5000.0)  # what reaches the valves
SPEAKER_HZ = (90.0, 4000.0)  # what a loudspeaker of twelve inches gives back
PRESENCE_HZ, PRESENCE_DB = 2400.0, 2.0
GAINS_DB = (4.0, 32.0)  # before the valves, turned down and turned up
USUAL = 0.12  # RMS of a part that leaves as loud as it came
BIAS = 0.2  # valves bend one half of the wave sooner: even harmonics


class Amp:
    """One amplifier: blocks [2, n] of a part in, as many samples out; silence stays silence."""

    def __init__(self, amount: float) -> None:
        """amount: 0 (just bent) to 1 (all the way up)."""
        self._gain = np.float32(10 ** (np.interp(amount, (0, 1), GAINS_DB) / 20))
        self._before, self._after = (Convolver(np.stack([shape, shape])) for shape in _filters())
        wave = USUAL * np.random.default_rng(0).standard_normal(8192).astype(np.float32)
        self._level = np.float32(USUAL / np.sqrt(np.mean(self._bent(wave) ** 2)))

    def push(self, block: np.ndarray) -> np.ndarray:
        """The next block, amplified."""
        return self._after.push(self._level * self._bent(self._before.push(block)))

    def _bent(self, sound: np.ndarray) -> np.ndarray:
        return np.tanh(self._gain * sound + np.float32(BIAS)) - np.float32(np.tanh(BIAS))


def _filters() -> tuple[np.ndarray, np.ndarray]:
    """Responses [RESPONSE] of what comes before the valves and after them."""
    size = 2 * RESPONSE
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_OUT), 1.0)
    made = []
    for (low, high), order in ((PICKUP_HZ, 2), (SPEAKER_HZ, 6)):
        gain = 1 / np.sqrt((1 + (low / frequency) ** 4) * (1 + (frequency / high) ** (2 * order)))
        if order == 6:
            gain *= 10 ** (PRESENCE_DB / 20 * np.exp(-((np.log2(frequency / PRESENCE_HZ) / 0.8) ** 2)))
        made.append(np.fft.irfft(minimum_phase(gain, size), size)[:RESPONSE].astype(np.float32))
    return made[0], made[1]
