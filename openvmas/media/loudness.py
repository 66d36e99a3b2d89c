"""Loudness and true peak by ITU-R BS.1770-4, and the gains that follow: ducking, and a limiter that looks ahead.

All work in blocks and carry their state, so any length fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock

LOUDNESS_OFFSET = -0.691  # dB, BS.1770-4 equation (2)
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU
_HOP_RATE = Fraction(10)  # 400 ms blocks that overlap by 75 %: four hops of 100 ms
SILENCE = -np.inf  # LUFS of what no gate lets pass


# Analogue prototypes of the two stages of K-weighting, as in libebur128: they give the coefficients printed for 48 kHz.
_SHELF_HZ, _SHELF_Q, _SHELF_GAIN = 1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20)
_SHELF_MIDDLE = _SHELF_GAIN**0.4996667741545416
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773


def k_weighting(sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator [5] of the two cascaded biquads of BS.1770-4 at any sample rate."""
    k = np.tan(np.pi * _SHELF_HZ / sample_rate)
    q, vh, vb = _SHELF_Q, _SHELF_GAIN, _SHELF_MIDDLE
    a0 = 1 + k / q + k * k
    shelf_b = np.array([vh + vb * k / q + k * k, 2 * (k * k - vh), vh - vb * k / q + k * k]) / a0
    shelf_a = np.array([1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])
    k = np.tan(np.pi * _HIGH_PASS_HZ / sample_rate)
    q = _HIGH_PASS_Q
    a0 = 1 + k / q + k * k
    pass_a = np.array([1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])
    return np.convolve(shelf_b, [1.0, -2.0, 1.0]), np.convolve(shelf_a, pass_a)


def k_weighting_power(frequencies: np.ndarray) -> np.ndarray:
    """Squared magnitude of the analogue K-weighting at frequencies in Hz: the weight of a spectrum's bins."""
    s = 2j * np.pi * np.maximum(frequencies, 1e-3)
    shelf_w, pass_w = 2 * np.pi * _SHELF_HZ, 2 * np.pi * _HIGH_PASS_HZ
    shelf = _SHELF_GAIN * s**2 + _SHELF_MIDDLE * shelf_w / _SHELF_Q * s + shelf_w**2
    shelf /= s**2 + shelf_w / _SHELF_Q * s + shelf_w**2
    high_pass = s**2 / (s**2 + pass_w / _HIGH_PASS_Q * s + pass_w**2)
    return np.abs(shelf * high_pass) ** 2


class BlockFilter:
    """Causal FIR filter of a stream by overlap-save; `taps` [P, n] gives P outputs per input (phases)."""

    def __init__(self, taps: np.ndarray, n_channels: int) -> None:
        self._n_taps = taps.shape[1]
        self._size = 1 << max(12, int(np.ceil(np.log2(4 * self._n_taps))))
        self._spectra = np.fft.rfft(taps.astype(np.float32), self._size)  # [P, bins] complex64
        self._past = np.zeros((n_channels, self._n_taps - 1), dtype=np.float32)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """[C, n] → [P, C, n] float32; output i depends on inputs up to i of all calls so far."""
        n = wave.shape[1]
        joined = np.concatenate([self._past, wave.astype(np.float32, copy=False)], axis=1)
        self._past = joined[:, n:].copy()
        step = self._size - self._n_taps + 1
        out = np.empty((len(self._spectra), len(wave), n), dtype=np.float32)
        for i in range(0, n, step):
            spectrum = np.fft.rfft(joined[:, i : i + self._size], self._size)
            piece = np.fft.irfft(spectrum[None] * self._spectra[:, None], self._size)
            out[:, :, i : i + step] = piece[:, :, self._n_taps - 1 :][:, :, : n - i]
        return out


class LoudnessMeter:
    """Integrated and short-term loudness of a stream of blocks [C, n], C 1 or 2 (weight 1 each)."""

    def __init__(self, sample_rate: int, n_channels: int) -> None:
        self._clock = Clock(Fraction(sample_rate))
        self._filter = BlockFilter(k_impulse_response(sample_rate)[None], n_channels)
        self._n_samples = 0
        self._cumulative = 0.0  # energy of the open hop
        self._hops: list[float] = []  # energy of each finished hop

    def add(self, wave: np.ndarray) -> None:
        """The next block, [C, n]."""
        power = np.square(self._filter(wave)[0]).sum(axis=0, dtype=np.float64)
        done = 0
        while True:
            edge = self._clock.index((len(self._hops) + 1) / _HOP_RATE) - self._n_samples
            if edge > len(power):
                break
            self._hops.append(self._cumulative + float(power[done:edge].sum()))
            self._cumulative, done = 0.0, edge
        self._cumulative += float(power[done:].sum())
        self._n_samples += len(power)

    def _blocks(self, n_hops: int) -> np.ndarray:
        """Mean power of every `n_hops` consecutive hops: [N]."""
        hops = np.array(self._hops, dtype=np.float64)
        if len(hops) < n_hops:
            return np.zeros(0)
        total = np.convolve(hops, np.ones(n_hops), mode="valid")
        return np.maximum(total, 0) / (n_hops * float(self._clock.rate / _HOP_RATE))

    def integrated(self) -> float:
        """Gated loudness of everything so far, LUFS; -inf if all is below the gates or shorter than 400 ms."""
        power = self._blocks(4)
        power = power[power > 10 ** ((ABSOLUTE_GATE - LOUDNESS_OFFSET) / 10)]
        if not len(power):
            return SILENCE
        power = power[power > power.mean() * 10 ** (RELATIVE_GATE / 10)]
        return LOUDNESS_OFFSET + 10 * float(np.log10(power.mean()))

    def short_term(self) -> np.ndarray:
        """Loudness of the last 3 s at every 100 ms from second 3 on, LUFS: [N]."""
        return LOUDNESS_OFFSET + 10 * np.log10(np.maximum(self._blocks(30), 1e-12))

    def momentary(self) -> np.ndarray:
        """Loudness of the last 400 ms at every 100 ms from 0.4 s on, LUFS: [N]."""
        return LOUDNESS_OFFSET + 10 * np.log10(np.maximum(self._blocks(4), 1e-12))


def k_impulse_response(sample_rate: int) -> np.ndarray:
    """The two biquads as a FIR: their slow pole decays by 0.995 a sample at 48 kHz, so 85 ms leave 1e-9."""
    b, a = k_weighting(sample_rate)
    h = np.zeros(int(0.085 * sample_rate), dtype=np.float64)
    for i in range(len(h)):
        past = h[max(0, i - 4) : i][::-1]
        h[i] = (b[i] if i < 5 else 0.0) - past @ a[1 : 1 + len(past)]
    return h


class PeakMeter:
    """True peak of a stream of blocks [C, n]: four-fold oversampled, as BS.1770-4 annex 2 with a longer filter."""

    OVERSAMPLING = 4
    DELAY = 24  # samples by which the envelope lags behind the input

    def __init__(self, n_channels: int) -> None:
        half, phases = self.DELAY, self.OVERSAMPLING
        offsets = np.arange(-half, half)[None] + np.arange(phases)[:, None] / phases  # [P, taps], in input samples
        window = np.i0(9.0 * np.sqrt(np.maximum(1 - (offsets / half) ** 2, 0))) / np.i0(9.0)
        self._filter = BlockFilter(np.sinc(offsets) * window, n_channels)
        self.peak = 0.0  # linear, of everything so far
        self._n_channels = n_channels

    def add(self, wave: np.ndarray) -> np.ndarray:
        """The next block; returns the envelope [n]: highest oversampled magnitude, `DELAY` samples late."""
        envelope = np.abs(self._filter(wave)).max(axis=(0, 1))
        self.peak = max(self.peak, float(envelope.max(initial=0.0)), float(np.abs(wave).max(initial=0.0)))
        return envelope

    def finish(self) -> np.ndarray:
        """The envelope of the last `DELAY` samples: [DELAY]."""
        return self.add(np.zeros((self._n_channels, self.DELAY), dtype=np.float32))

    @property
    def true_peak(self) -> float:
        """dBTP of everything so far; -inf for silence."""
        return to_db(self.peak)


def to_db(amplitude: float) -> float:
    """Amplitude ratio in dB; -inf for 0."""
    return 20 * float(np.log10(amplitude)) if amplitude > 0 else -np.inf


def integrated_loudness(wave: np.ndarray | Iterable[np.ndarray], sample_rate: int) -> float:
    """Integrated loudness, LUFS, of a wave [C, L] or of blocks [C, n] (ITU-R BS.1770-4); -inf for silence."""
    meter: LoudnessMeter | None = None
    for block in _in_blocks(wave):
        meter = meter or LoudnessMeter(sample_rate, len(block))
        meter.add(block)
    return meter.integrated() if meter else SILENCE


def true_peak(wave: np.ndarray | Iterable[np.ndarray]) -> float:
    """True peak, dBTP, of a wave [C, L] or of blocks [C, n] (ITU-R BS.1770-4 annex 2); -inf for silence."""
    meter: PeakMeter | None = None
    for block in _in_blocks(wave):
        meter = meter or PeakMeter(len(block))
        meter.add(block)
    if meter:
        meter.finish()
    return meter.true_peak if meter else -np.inf


def _in_blocks(wave: np.ndarray | Iterable[np.ndarray], block: int = 1 << 17) -> Iterable[np.ndarray]:
    if isinstance(wave, np.ndarray):
        wave = np.atleast_2d(wave)
        return (wave[:, i : i + block] for i in range(0, wave.shape[1], block))
    return wave


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
