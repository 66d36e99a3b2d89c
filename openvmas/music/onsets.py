"""Onset strength and onset times of a waveform, and the spectrogram that all analysis of music shares.

Method: log-mel flux against a frequency-max-filtered earlier frame (SuperFlux, Böck & Widmer 2013), levelled by a slow
automatic gain so that quiet and loud passages count alike. Frames sit at exact times k / rate, computed from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import soxr

from openvmas.media.loudness import k_weighting_power
from openvmas.music.dsp import mel_filterbank, mel_frequencies
from openvmas.timeline import Clock, peak_offset

ANALYSIS_RATE = 24_000  # Hz; hops of 100, 50 and 10 per second are whole samples, hi-hats are still inside
ONSET_RATE = Fraction(100)  # frames per second
WINDOW = 1024  # samples, 43 ms
N_BANDS = 96  # about a semitone wide above 800 Hz: one band of max-filter covers a vibrato
LOWEST, HIGHEST = 30.0, 11_000.0  # Hz
LOW_BANDS_BELOW = 160.0  # Hz, where kick drum and bass live
COMPRESSION = 60.0  # log(1 + COMPRESSION * magnitude / level): 35 dB below the level still counts
LAG = 2  # frames between which the flux is taken
# An impulse makes the flux peak while the window's rising half reaches it; frames are read this much earlier.
LEAD = 0.0035  # s
GAIN_SPAN = 4.0  # s each side, of the automatic gain
GAIN_FLOOR = 0.02  # of the whole track's level: below, silence stays silence
LEAST_FLUX = 0.03  # mean rise of a band per frame: music has 0.045 to 0.2, a held note with vibrato under 0.01
QUIETEST = 1e-6  # magnitude of a full-scale sine is 1; digital noise under this is never amplified


@dataclass(frozen=True)
class Spectrogram:
    """Mel magnitudes and power of a wave, which all analysis of music starts from.

    rate: frames per second; frame k describes time k / rate. duration: s, exact.
    wave: [L] mono at ANALYSIS_RATE. mel: [T, N_BANDS] float32 linear magnitudes (a full-scale sine is about 1).
    power: [T] K-weighted power per frame (ITU-R BS.1770 weighting), mean square units.
    """

    rate: Fraction
    duration: Fraction
    wave: np.ndarray
    mel: np.ndarray
    power: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.mel)


def to_mono(wave: np.ndarray, sample_rate: int, rate: int = ANALYSIS_RATE) -> np.ndarray:
    """Mono float32 [L] at `rate` Hz from [C, L] or [L] in [-1, 1]; NaN and infinities become silence.

    Raises ValueError for arrays of another shape (channels come first).
    """
    wave = np.asarray(wave)
    if wave.ndim == 2:
        if wave.shape[0] > 16:
            raise ValueError(f"a wave is [C, L] with channels first, not {wave.shape}")
        wave = wave.mean(axis=0, dtype=np.float32)
    if wave.ndim != 1:
        raise ValueError(f"a wave is [C, L] or [L], not {wave.shape}")
    wave = wave.astype(np.float32, copy=False)
    if not np.isfinite(wave).all():
        wave = np.nan_to_num(wave, nan=0.0, posinf=0.0, neginf=0.0)
    if sample_rate == rate or len(wave) == 0:
        return wave
    return soxr.resample(wave, sample_rate, rate, quality="MQ").astype(np.float32, copy=False)


def take_spectrogram(wave: np.ndarray, sample_rate: int, rate: Fraction = ONSET_RATE) -> Spectrogram:
    """The shared spectrogram of a wave [C, L] or [L]."""
    length = np.shape(wave)[-1]
    duration = Fraction(length, sample_rate)
    mono = to_mono(wave, sample_rate)
    n_frames = Clock(rate).count(duration)
    bands = mel_bands()
    weights = k_weighting_power(np.arange(WINDOW // 2 + 1) * ANALYSIS_RATE / WINDOW).astype(np.float32)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    scale = np.float32(2 / window.sum())
    power_scale = np.float32(1 / (window**2).sum() / WINDOW * 2)
    centres = np.rint((Clock(rate).times(n_frames) - LEAD) * ANALYSIS_RATE).astype(np.int64)
    starts = centres + WINDOW // 2  # in the padded wave: centre - WINDOW / 2 + WINDOW of padding
    tail = int(max(0, starts[-1] + WINDOW - len(mono) - WINDOW)) if n_frames else 0
    padded = np.concatenate([np.zeros(WINDOW, np.float32), mono, np.zeros(tail + WINDOW, np.float32)])
    views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)
    mel = np.empty((n_frames, N_BANDS), np.float32)
    power = np.empty(n_frames, np.float32)
    for first in range(0, n_frames, 512):  # blocks that stay in the cache
        part = slice(first, first + 512)
        spectrum = np.fft.rfft(views[starts[part]] * window)
        squared = spectrum.real**2 + spectrum.imag**2
        power[part] = squared @ weights * power_scale
        mel[part] = np.sqrt(squared) @ bands * scale
    return Spectrogram(Fraction(rate), duration, mono, mel, power)


def mel_bands() -> np.ndarray:
    """Mel filters [WINDOW / 2 + 1, N_BANDS] of unit peak; none is narrower than a bin."""
    bin_width = ANALYSIS_RATE / WINDOW
    return mel_filterbank(WINDOW, ANALYSIS_RATE, N_BANDS, LOWEST, HIGHEST, min_flank=bin_width)


def band_edges() -> np.ndarray:
    """Edges of the mel filters, Hz: [N_BANDS + 2]; centres are [1:-1]."""
    return mel_frequencies(N_BANDS + 2, LOWEST, HIGHEST)


def moving_mean(curve: np.ndarray, before: int, after: int) -> np.ndarray:
    """Mean over frames [k - before, k + after], shrinking at the ends: [T] or [T, D] float64."""
    n = len(curve)
    total = np.concatenate([np.zeros((1, *curve.shape[1:])), np.cumsum(curve, axis=0, dtype=np.float64)])
    index = np.arange(n)
    low, high = np.maximum(index - before, 0), np.minimum(index + after + 1, n)
    count = (high - low).reshape(-1, *(1,) * (curve.ndim - 1))
    return (total[high] - total[low]) / count


def moving_max(curve: np.ndarray, before: int, after: int) -> np.ndarray:
    """Maximum over frames [k - before, k + after]: [T]."""
    padded = np.pad(curve, (before, after), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, before + after + 1).max(axis=1)


def log_mel(spectrogram: Spectrogram) -> np.ndarray:
    """Compressed magnitudes [T, N_BANDS] float32, after a slow automatic gain: the same at any level."""
    frames = float(spectrogram.rate)
    squared = (spectrogram.mel**2).mean(axis=1, dtype=np.float64)
    whole = np.sqrt(np.mean(squared)) if len(squared) else 0.0
    span = round(GAIN_SPAN * frames)
    level = np.sqrt(moving_mean(squared, span, span))
    level = np.maximum(np.maximum(level, GAIN_FLOOR * whole), QUIETEST)
    return np.log1p(spectrogram.mel * (COMPRESSION / level)[:, None].astype(np.float32))


def band_flux(compressed: np.ndarray) -> np.ndarray:
    """Rectified rise of each band over the max of its neighbours LAG frames ago: [T, N_BANDS] float32."""
    earlier = compressed.copy()
    np.maximum(earlier[:, 1:], compressed[:, :-1], out=earlier[:, 1:])
    np.maximum(earlier[:, :-1], compressed[:, 1:], out=earlier[:, :-1])
    flux = np.zeros_like(compressed)
    flux[LAG:] = np.maximum(compressed[LAG:] - earlier[:-LAG], 0)
    flux[:LAG] = compressed[:LAG]  # before the beginning there was silence
    return flux


def normalise_flux(flux: np.ndarray, rate: Fraction) -> np.ndarray:
    """Excess of the flux over its local mean, in units of the local mean: [T] float32.

    flux: [T], the mean over bands. The local mean is taken over 1 s each side, and never below a quarter of the whole
    track's nor below LEAST_FLUX, so that the faint noise or vibrato of a held note does not become an onset.
    """
    if len(flux) == 0:
        return np.zeros(0, np.float32)
    near = round(0.1 * float(rate))
    wide = round(1.0 * float(rate))
    scale = np.maximum(moving_mean(flux, wide, wide), 0.25 * flux.mean())
    outstanding = np.maximum(flux - moving_mean(flux, near, near), 0)
    return (outstanding / np.maximum(scale, LEAST_FLUX)).astype(np.float32)


def onset_strength(wave: np.ndarray, sample_rate: int, rate: Fraction = ONSET_RATE) -> np.ndarray:
    """Strength of what begins at each time k / rate: [T] float32, 0 or more, independent of level.

    wave: [L] or [C, L]. T is Clock(rate).count(duration). Around 1 is ordinary, 3 and more a clear onset.
    """
    spectrogram = take_spectrogram(wave, sample_rate, rate)
    return normalise_flux(band_flux(log_mel(spectrogram)).mean(axis=1), spectrogram.rate)


def pick_onsets(strength: np.ndarray, rate: Fraction = ONSET_RATE, threshold: float = 0.7) -> np.ndarray:
    """Times of the onsets, s: [N] float64, increasing, at least 50 ms apart.

    strength: [T] from `onset_strength` at `rate`. An onset is the highest frame within 30 ms each side and rises by
    `threshold` over the mean of the 100 ms before and 70 ms after it (Böck, Krebs & Schedl 2012).
    """
    if len(strength) == 0:
        return np.zeros(0)
    frames = float(rate)
    near = max(1, round(0.03 * frames))
    is_peak = (strength >= moving_max(strength, near, near)) & (
        strength >= moving_mean(strength, round(0.1 * frames), round(0.07 * frames)) + threshold
    )
    gap = 0.05
    curve = strength.astype(np.float64)
    times: list[float] = []
    for index in np.flatnonzero(is_peak):
        is_inside = 0 < index < len(strength) - 1
        offset = float(peak_offset(*curve[index - 1 : index + 2])) if is_inside else 0.0
        time = (index + offset) / frames
        if not times or time - times[-1] >= gap:
            times.append(max(0.0, time))
    return np.array(times)
