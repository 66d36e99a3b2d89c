"""Gain over time: how far music goes down under speech, and how a limiter holds peaks. Both see the future."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from openvmas.settings import CONTROL_RATE

# Ducking, s. The music is down shortly before the voice begins and comes back slowly after it.
_LEAD, _ATTACK, _HOLD, _RELEASE = 0.1, 0.3, 0.35, 1.2
_BRIDGE = _LEAD + _ATTACK + _HOLD + _RELEASE  # shorter pauses would let the music come up half way and go: pumping
_SPEECH_ON, _SPEECH_OFF = 0.5, 0.35  # probabilities; two thresholds, so that doubt does not switch
_MIN_SPEECH = 0.15  # s; anything shorter is a click or a cough

HOP = 48  # samples, 1 ms at 48 kHz: the grid of the limiter's gain
_REACH = 5  # hops to each side over which the gain moves smoothly to what a peak needs
_KEEP = 20  # hops that the gain stays down behind a peak: a bass note of 25 Hz peaks once more in them, undistorted
_RELEASE_DB = 0.06  # dB per hop (60 dB/s)


def speech_spans(speech: np.ndarray, rate: Fraction = CONTROL_RATE) -> tuple[tuple[float, float], ...]:
    """Where somebody speaks, from a probability curve [T] at `rate`: (start, end) in s,
    pauses too short to fill bridged."""
    on = False
    spans: list[tuple[float, float]] = []
    begun = 0.0
    values = [*np.asarray(speech, dtype=np.float64), 0.0]
    for step, probability in enumerate(values):
        now = step / float(rate)
        if not on and probability >= _SPEECH_ON:
            on, begun = True, now
        elif on and probability < _SPEECH_OFF:
            on = False
            if now - begun >= _MIN_SPEECH:
                spans.append((begun, now))
    bridged: list[tuple[float, float]] = []
    for start, end in spans:
        if bridged and start - bridged[-1][1] < _BRIDGE:
            bridged[-1] = (bridged[-1][0], end)
        else:
            bridged.append((start, end))
    return tuple(bridged)


class Duck:
    """The music's gain under speech: raised-cosine ramps in dB from 0 to `depth_db` and back around every span."""

    def __init__(self, spans: tuple[tuple[float, float], ...], depth_db: float) -> None:
        self._spans = np.array(spans, dtype=np.float64).reshape(-1, 2)
        self._depth_db = depth_db

    def gain_db(self, times: np.ndarray) -> np.ndarray:
        """At the given times (s, increasing): [n] dB."""
        down = np.zeros(len(times))
        if not len(times) or not self._depth_db:
            return down
        near = (self._spans[:, 0] - _LEAD - _ATTACK < times[-1]) & (self._spans[:, 1] + _HOLD + _RELEASE > times[0])
        for start, end in self._spans[near]:
            rise = np.clip((times - (start - _LEAD - _ATTACK)) / _ATTACK, 0, 1)
            fall = np.clip((end + _HOLD + _RELEASE - times) / _RELEASE, 0, 1)
            down = np.maximum(down, 0.5 - 0.5 * np.cos(np.pi * np.minimum(rise, fall)))
        return self._depth_db * down


class LimiterGain:
    """The gain that keeps a signal with given peaks under a ceiling, and moves no faster than it must.

    peaks: [H] true peak of every hop, linear, after the static gain. The gain is given at the edges of hops and runs
    straight between them; at both edges of a hop it is at most ceiling / peak.
    """

    def __init__(self, peaks: np.ndarray, gain: float, ceiling: float) -> None:
        self._need = _need_db(peaks, gain, ceiling)
        self.max_reduction_db = -float(self._need.min(initial=0.0))

    def samples(self, start: int, stop: int) -> np.ndarray | float:
        """Gain of samples start .. stop-1, linear: [stop - start], or 1.0 where nothing is to be done."""
        first, last = start // HOP, -(-stop // HOP)
        low, high = first - 2 * _REACH - _KEEP, last + 1 + 2 * _REACH
        held = self._need[max(0, low) : high]
        if not held.any():
            return 1.0
        held = np.pad(held, (max(0, -low), max(0, high - len(self._need))), mode="edge")
        lowest = np.lib.stride_tricks.sliding_window_view(held, 2 * _REACH + 1 + _KEEP).min(axis=1)
        window = np.hanning(2 * _REACH + 3)[1:-1]
        edges = 10 ** (np.convolve(lowest, window / window.sum(), mode="valid") / 20)
        return np.interp(np.arange(start, stop) / HOP - first, np.arange(len(edges)), edges).astype(np.float32)


def _need_db(peaks: np.ndarray, gain: float, ceiling: float) -> np.ndarray:
    """Highest gain allowed at every edge of hops, with the slow release behind every peak: [H + 1] float32 dB, <= 0."""
    need = np.zeros(len(peaks) + 1, dtype=np.float32)
    padded = np.pad(peaks, 1)  # hop e - 1 lies before edge e, hop e behind it
    state, step = 0.0, 1 << 16
    for start in range(0, len(need), step):
        stop = min(start + step, len(need))
        over = np.minimum(0.0, 20 * np.log10(ceiling / np.maximum(padded[start : stop + 1] * gain, 1e-9)))
        slope = _RELEASE_DB * np.arange(1, stop - start + 1)
        # f[n] = min(need[n], f[n - 1] + release), all at once
        lowest = np.minimum.accumulate(np.concatenate([[state], np.minimum(over[:-1], over[1:]) - slope]))[1:]
        need[start:stop] = np.minimum(lowest + slope, 0.0)
        state = float(need[stop - 1])
    return need
