"""Tempo, beats and downbeats of a piece of music.

Tempo: a tempogram (autocorrelation of the onset strength in 8 s windows) with a log-normal prior, joined by the best
smooth path, so that the tempo may drift. Beats: dynamic programming (Ellis 2007) around that path. Downbeats: the best
path through bars of 3 or 4 beats, from bass, accent and chord change at each beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from openvmas.music.onsets import (
    ANALYSIS_RATE,
    Spectrogram,
    band_edges,
    band_flux,
    log_mel,
    moving_mean,
    normalise_flux,
    take_spectrogram,
)
from openvmas.timeline import Clock

SLOWEST, FASTEST = 40.0, 240.0  # BPM
TEMPO_STEPS = 150  # grid points between them, 1.2 % apart
PRIOR_TEMPO, PRIOR_WIDTH = 112.0, 0.65  # BPM, octaves: where people tap (van Noorden & Moelants 1999)
TEMPO_SPAN = 8.0  # s, of one tempogram window
TEMPO_HOP = 1.0  # s
TEMPO_DRIFT = 40.0  # cost of a squared octave per hop
TIGHTNESS = 120.0  # cost of a beat that is a squared octave (natural logarithm) off the tempo, as in Ellis 2007
CHROMA_RATE = Fraction(10)  # frames per second
CHROMA_WINDOW = 8192  # samples, 341 ms
LOW_BAND_LIMIT = 160.0  # Hz, where kick drum and bass live


@dataclass(frozen=True)
class Beats:
    """The pulse of a piece.

    tempo: BPM, of the middle beat interval (0 where there is no beat). beats, downbeats: increasing, s.
    beats_per_bar: 3 or 4. confidence: in [0, 1]; below 0.35 or so the grid is a guess (ambient, free rhythm).
    """

    tempo: float
    beats: np.ndarray
    downbeats: np.ndarray
    beats_per_bar: int
    confidence: float


NO_BEATS = Beats(0.0, np.zeros(0), np.zeros(0), 4, 0.0)


def track_beats(wave: np.ndarray, sample_rate: int) -> Beats:
    """Tempo, beats and downbeats of a wave [C, L] or [L] in [-1, 1]."""
    spectrogram = take_spectrogram(wave, sample_rate)
    flux = band_flux(log_mel(spectrogram))
    strength = normalise_flux(flux.mean(axis=1), spectrogram.rate)
    return find_beats(spectrogram, flux, strength, take_chroma(spectrogram))


def find_beats(spectrogram: Spectrogram, flux: np.ndarray, strength: np.ndarray, chroma: np.ndarray) -> Beats:
    """Beats from what has been heard already.

    flux: [T, N_BANDS] of `band_flux`; strength: [T]; chroma: [U, 12] of `take_chroma`.
    """
    rate = float(spectrogram.rate)
    if len(strength) < 2 * rate or not strength.any():
        return NO_BEATS
    pulse = np.minimum(strength, 6.0).astype(np.float64)
    pulse = np.sqrt(pulse + 0.01) - 0.1
    periods, clarity = find_periods(pulse, rate)
    index = place_beats(pulse, periods)
    if len(index) < 4:
        return NO_BEATS
    beats = refine(index, pulse) / rate
    low = normalise_flux(flux[:, band_edges()[1:-1] < LOW_BAND_LIMIT].mean(axis=1), spectrogram.rate)
    first, beats_per_bar = find_bars(beats, strength, low, chroma, rate)
    tempo = 60 / float(np.median(np.diff(beats)))
    return Beats(tempo, beats, beats[first], beats_per_bar, grade(pulse, index, clarity))


def tempo_grid() -> np.ndarray:
    """The tempi that are weighed, BPM: [TEMPO_STEPS], evenly spaced in octaves."""
    return SLOWEST * (FASTEST / SLOWEST) ** np.linspace(0, 1, TEMPO_STEPS)


def find_periods(pulse: np.ndarray, rate: float) -> tuple[np.ndarray, float]:
    """The beat period at each frame, in frames [T], and how clear the pulse is (0 to 1)."""
    tempi = tempo_grid()
    span, hop = round(TEMPO_SPAN * rate), round(TEMPO_HOP * rate)
    smooth = moving_mean(pulse, 1, 1)
    padded = np.pad(smooth, span // 2)
    starts = np.arange(0, len(pulse), hop)
    frames = np.lib.stride_tricks.sliding_window_view(padded, span)[starts] * np.hanning(span)
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(frames, 2 * span)
    lags = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[:, :span]
    # A window that tapers makes long lags weaker: undo it with the autocorrelation of the taper itself.
    taper = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(span), 2 * span)) ** 2)[:span]
    lags = lags / np.maximum(lags[:, :1], 1e-9) / np.maximum(taper / taper[0], 0.05)
    salience = np.zeros((len(starts), TEMPO_STEPS))
    for multiple, weight in ((1, 1.0), (2, 0.6), (3, 0.25), (4, 0.4)):  # bars repeat too
        at = multiple * 60 / tempi * rate
        inside = at < span - 1
        whole = np.floor(at[inside]).astype(int)
        part = at[inside] - whole
        salience[:, inside] += weight * (lags[:, whole] * (1 - part) + lags[:, whole + 1] * part)
    prior = np.exp(-0.5 * (np.log2(tempi / PRIOR_TEMPO) / PRIOR_WIDTH) ** 2)
    path = smooth_path(np.maximum(salience, 0) * prior, np.log2(tempi))
    clarity = float(np.median(salience[np.arange(len(starts)), path])) / 2.25
    periods = 60 / tempi[path] * rate
    return np.interp(np.arange(len(pulse)), starts, periods), float(np.clip(clarity, 0, 1))


def smooth_path(salience: np.ndarray, octaves: np.ndarray) -> np.ndarray:
    """The path [U] through salience [U, G] with the greatest sum, less TEMPO_DRIFT per squared octave of change."""
    cost = np.minimum(TEMPO_DRIFT * (octaves[:, None] - octaves) ** 2, 2.0)
    total = salience[0].copy()
    origin = np.zeros(salience.shape, int)
    for step in range(1, len(salience)):
        options = total[None, :] - cost
        origin[step] = options.argmax(axis=1)
        total = options[np.arange(len(total)), origin[step]] + salience[step]
    path = np.empty(len(salience), int)
    path[-1] = int(total.argmax())
    for step in range(len(salience) - 1, 0, -1):
        path[step - 1] = origin[step, path[step]]
    return path


def place_beats(pulse: np.ndarray, periods: np.ndarray) -> np.ndarray:
    """Frames of the beats [N] that lie on onsets and keep the period, by dynamic programming (Ellis 2007)."""
    n = len(pulse)
    local = (moving_mean(pulse, 1, 1) - pulse.mean()) / max(float(pulse.std()), 1e-9)
    longest = int(2 * periods.max()) + 1
    total = np.zeros(n + longest)  # `longest` frames of silence before the piece
    origin = np.full(n, -1)
    costs: dict[int, tuple[int, np.ndarray]] = {}
    for frame, period in enumerate(np.rint(periods).astype(int)):
        if period not in costs:
            steps = np.arange(2 * period, period // 2 - 1, -1)  # oldest first, as the slice below
            costs[period] = (int(period // 2), TIGHTNESS * np.log(steps / period) ** 2)
        nearest, cost = costs[period]
        end = frame + longest - nearest + 1
        options = total[end - len(cost) : end] - cost
        best = int(options.argmax())
        total[frame + longest] = local[frame] + max(float(options[best]), 0.0)
        if options[best] > 0:
            origin[frame] = end - len(cost) + best - longest
    last_period = int(periods[-1])
    frame = n - last_period - 1 + int(total[-last_period - 1 :].argmax()) if n > last_period else n - 1
    path: list[int] = []
    while frame >= 0:
        path.append(frame)
        frame = int(origin[frame])
    return np.array(path[::-1])


def refine(index: np.ndarray, pulse: np.ndarray) -> np.ndarray:
    """Beat positions between frames, from the parabola through the pulse around each: [N] float64."""
    inner = np.clip(index, 1, len(pulse) - 2)
    before, here, after = pulse[inner - 1], pulse[inner], pulse[inner + 1]
    bend = before - 2 * here + after
    shift = np.where(bend < -1e-6, 0.5 * (before - after) / np.minimum(bend, -1e-6), 0)
    return np.maximum(index + np.clip(shift, -0.5, 0.5), 0.0)


def take_chroma(spectrogram: Spectrogram) -> np.ndarray:
    """Strength of the 12 pitch classes (C first) at CHROMA_RATE: [U, 12] float32, each frame of unit length or 0."""
    wave = spectrogram.wave
    n_frames = Clock(CHROMA_RATE).count(spectrogram.duration)
    window = np.hanning(CHROMA_WINDOW).astype(np.float32)
    bins = np.arange(1, CHROMA_WINDOW // 2 + 1) * ANALYSIS_RATE / CHROMA_WINDOW
    pitch = 69 + 12 * np.log2(bins / 440)
    chosen = (bins > 60) & (bins < 2100)
    nearest = np.rint(pitch[chosen]).astype(int)
    weight = np.exp(-0.5 * ((pitch[chosen] - nearest) / 0.2) ** 2) * np.exp(-0.5 * ((pitch[chosen] - 60) / 15) ** 2)
    fold = np.zeros((int(chosen.sum()), 12), np.float32)
    fold[np.arange(len(fold)), nearest % 12] = weight
    first_bin = 1 + int(np.flatnonzero(chosen)[0])
    half = CHROMA_WINDOW // 2
    padded = np.pad(wave, (half, CHROMA_WINDOW))
    views = np.lib.stride_tricks.sliding_window_view(padded, CHROMA_WINDOW)
    starts = np.rint(Clock(CHROMA_RATE).times(n_frames) * ANALYSIS_RATE).astype(int)
    chroma = np.empty((n_frames, 12), np.float32)
    for first in range(0, n_frames, 32):
        part = slice(first, first + 32)
        spectrum = np.fft.rfft(views[starts[part]] * window)[:, first_bin : first_bin + len(fold)]
        chroma[part] = np.sqrt(np.abs(spectrum)) @ fold
    length = np.linalg.norm(chroma, axis=1, keepdims=True)
    return np.where(length > 1e-3, chroma / np.maximum(length, 1e-3), 0).astype(np.float32)


def chord_change(chroma: np.ndarray, times: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How different the harmony is after each time from before it, 0 to 1: [N].

    chroma: [U, 12]; times: [N] s; before, after: [N] s, how far to look.
    """
    rate = float(CHROMA_RATE)
    total = np.concatenate([np.zeros((1, 12)), np.cumsum(chroma, axis=0, dtype=np.float64)])

    def mean(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        low = np.clip(np.rint(start * rate), 0, len(chroma)).astype(int)
        high = np.clip(np.rint(end * rate) + 1, 0, len(chroma)).astype(int)
        value = total[np.maximum(high, low)] - total[low]
        return value / np.maximum(np.linalg.norm(value, axis=1, keepdims=True), 1e-9)

    old, new = mean(times - before, times - 0.1), mean(times + 0.1, times + after)
    heard = (np.abs(old).sum(axis=1) > 0) & (np.abs(new).sum(axis=1) > 0)
    return np.where(heard, np.clip(1 - (old * new).sum(axis=1), 0, 1), 0)


def find_bars(
    beats: np.ndarray, strength: np.ndarray, low: np.ndarray, chroma: np.ndarray, rate: float
) -> tuple[np.ndarray, int]:
    """Which beats are the first of a bar (indices into beats), and how many beats a bar has (3 or 4)."""
    at = np.clip(np.rint(beats * rate).astype(int), 0, len(strength) - 1)
    gap = np.diff(beats, append=2 * beats[-1] - beats[-2])
    features = (
        (1.0, peak_near(low, at)),
        (0.5, peak_near(strength, at)),
        (1.5, chord_change(chroma, beats, gap, gap)),
        (1.0, chord_change(chroma, beats, 2 * gap, 2 * gap)),
    )
    evidence = np.zeros(len(beats))
    for weight, value in features:
        spread = float(value.std())
        if spread > 1e-6:
            evidence += weight * np.clip((value - value.mean()) / spread, -2.5, 2.5)
    best: tuple[float, np.ndarray, int] | None = None
    for n, handicap in ((4, 0.0), (3, 0.06)):  # 3 must be clearly better: most music is in 4
        gain, phase = bar_phase(evidence, n)
        if best is None or gain - handicap > best[0]:
            best = (gain - handicap, np.flatnonzero(phase == 0), n)
    assert best is not None
    return best[1], best[2]


def bar_phase(evidence: np.ndarray, n: int) -> tuple[float, np.ndarray]:
    """The best way to count 0 .. n-1 through beats with this evidence [N] for a one; a slip costs 8.

    Returns the mean gain per beat and the position of each beat [N].
    """
    slip = 8.0
    reward = np.full(n, -1 / (n - 1))
    reward[0] = 1.0
    reward *= np.sqrt((n - 1) / n)  # metres of any length get the same from noise
    total = evidence[0] * reward
    origin = np.zeros((len(evidence), n), int)
    for index in range(1, len(evidence)):
        stay = np.roll(total, 1)
        jump = float(total.max()) - slip
        origin[index] = np.where(stay >= jump, (np.arange(n) - 1) % n, int(total.argmax()))
        total = np.maximum(stay, jump) + evidence[index] * reward
    phase = np.empty(len(evidence), int)
    phase[-1] = int(total.argmax())
    for index in range(len(evidence) - 1, 0, -1):
        phase[index - 1] = origin[index, phase[index]]
    return float(total.max()) / len(evidence), phase


def peak_near(curve: np.ndarray, at: np.ndarray, reach: int = 4) -> np.ndarray:
    """The maximum of a curve [T] within `reach` frames of each index: [N]."""
    index = np.clip(at[:, None] + np.arange(-reach, reach + 1), 0, len(curve) - 1)
    return curve[index].max(axis=1)


def grade(pulse: np.ndarray, index: np.ndarray, clarity: float) -> float:
    """Confidence in [0, 1]: beats stand out of what lies between them, at even distances, in a clear pulse."""
    at_beats = peak_near(pulse, index, 2)
    period = float(np.median(np.diff(index)))
    between = np.clip(index[:-1] + np.rint(np.diff(index) * 0.37).astype(int), 0, len(pulse) - 1)
    contrast = float(at_beats.mean() - peak_near(pulse, between, 2).mean()) / max(float(pulse.std()), 1e-9)
    unevenness = float(np.median(np.abs(np.diff(index) / period - 1)))
    raw = 1.2 * contrast + 4.0 * clarity - 8.0 * unevenness
    return float(np.clip(1 / (1 + np.exp(-(raw - 2.2) * 1.6)), 0, 1))
