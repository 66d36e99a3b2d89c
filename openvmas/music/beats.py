"""Tempo, beats and downbeats of a piece of music.

Tempo: a tempogram (autocorrelation of the onset strength in 8 s windows) with a log-normal prior, joined by the best
smooth path, so that the tempo may drift. A pulse is laid on it by dynamic programming (Ellis 2007) and divided by four.
Which of these lines are the beats, at the pulse's tempo, its double or its half, and which open a bar of 3 or 4 beats,
is decided together, by accents, bass and chord changes (`find_metre`); bars may then slip where the music does.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from openvmas.music.onsets import (
    ANALYSIS_RATE,
    LOW_BANDS_BELOW,
    Spectrogram,
    band_edges,
    band_flux,
    log_mel,
    moving_mean,
    normalise_flux,
    take_spectrogram,
)
from openvmas.timeline import Clock, peak_offset

SLOWEST, FASTEST = 40.0, 240.0  # BPM
TEMPO_STEPS = 150  # grid points between them, 1.2 % apart
PRIOR_TEMPO, PRIOR_WIDTH = 112.0, 0.65  # BPM, octaves: where people tap (van Noorden & Moelants 1999)
TEMPO_SPAN = 8.0  # s, of one tempogram window
TEMPO_HOP = 1.0  # s
TEMPO_DRIFT = 40.0  # cost of a squared octave per hop
TIGHTNESS = 120.0  # cost of a beat that is a squared octave (natural logarithm) off the tempo, as in Ellis 2007
CHROMA_RATE = Fraction(10)  # frames per second
CHROMA_WINDOW = 8192  # samples, 341 ms
# Weights of the evidence for a beat and for a bar line (see find_metre), in standard deviations.
BEAT_ACCENT, BEAT_LOW = 0.6, 0.1
BAR_ACCENT, BAR_LOW, BAR_HARMONY = 1.0, 0.2, (0.2, 0.6, 0.6)
TEMPO_WEIGHT, USUAL_TEMPO = 1.5, 110.0  # per squared octave; BPM
BAR_WEIGHT, USUAL_BAR = 0.4, 2.1  # per squared octave; s
TRIPLE_COST = 0.5
SLIP_COST = 10.0  # of a bar that does not have all its beats


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
    """Tempo, beats and downbeats from curves that are there already.

    flux: [T, N_BANDS] of `band_flux`; strength: [T]; chroma: [U, 12] of `take_chroma`.
    """
    rate = float(spectrogram.rate)
    if len(strength) < 2 * rate or not strength.any():
        return NO_BEATS
    pulse = np.minimum(strength, 6.0).astype(np.float64)
    pulse = np.sqrt(pulse + 0.01) - 0.1
    periods, clarity = find_periods(pulse, rate)
    index = place_beats(pulse, periods)
    if len(index) < 8:
        return NO_BEATS
    low = normalise_flux(flux[:, band_edges()[1:-1] < LOW_BANDS_BELOW].mean(axis=1), spectrogram.rate)
    lines = np.interp(np.arange(0, len(index) - 0.75, 0.25), np.arange(len(index)), refine(index, pulse)) / rate
    evidence = find_evidence(lines, strength, low, chroma, rate)
    metre = find_metre(evidence, 4 * float(np.median(np.diff(lines))))
    on = np.arange(metre.phase % metre.step, len(lines), metre.step)
    beats = lines[on]
    count = bar_phase(evidence.for_bars()[on], metre.beats_per_bar)
    span = min(8, len(beats) - 1)  # over several beats the rounding of each hardly counts
    tempo = 60 * span / float(np.median(beats[span:] - beats[:-span]))
    at = np.clip(np.rint(beats * rate).astype(int), 0, len(pulse) - 1)
    return Beats(tempo, beats, beats[count == 0], metre.beats_per_bar, grade(pulse, strength, at, clarity))


def tempo_grid() -> np.ndarray:
    """The candidates for the tempo, BPM: [TEMPO_STEPS], evenly spaced in octaves."""
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
    smooth = moving_mean(np.pad(pulse, 1), 1, 1)[1:-1] * 0.75 + pulse * 0.25  # a little wide, but still with one top
    local = (smooth - pulse.mean()) / max(float(pulse.std()), 1e-9)
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
    return np.maximum(index + peak_offset(pulse[inner - 1], pulse[inner], pulse[inner + 1]), 0.0)


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
    """Difference of the harmony after each time from that before it, 0 to 1: [N].

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
    is_known = (np.abs(old).sum(axis=1) > 0) & (np.abs(new).sum(axis=1) > 0)
    return np.where(is_known, np.clip(1 - (old * new).sum(axis=1), 0, 1), 0)


@dataclass(frozen=True)
class Evidence:
    """Evidence for beats at each quarter of the pulse, in standard deviations: [Q] each.

    accent, low: strength of onsets, and of those in the bass. harmony: changes of harmony over half a pulse, one and
    two pulses: [3, Q].
    """

    accent: np.ndarray
    low: np.ndarray
    harmony: np.ndarray

    def for_bars(self) -> np.ndarray:
        """Evidence for a bar line: [Q]."""
        return BAR_ACCENT * self.accent + BAR_LOW * self.low + np.tensordot(BAR_HARMONY, self.harmony, 1)


@dataclass(frozen=True)
class Metre:
    """Beats are every `step`-th quarter of the pulse; `phase` is the quarter of the first bar line."""

    step: int
    beats_per_bar: int
    phase: int


def find_evidence(
    lines: np.ndarray, strength: np.ndarray, low: np.ndarray, chroma: np.ndarray, rate: float
) -> Evidence:
    """Accents, bass and chord changes at each line (s): [Q]."""
    at = np.clip(np.rint(lines * rate).astype(int), 0, len(strength) - 1)
    pulse = np.full(len(lines), 4 * float(np.median(np.diff(lines))))
    return Evidence(
        accent=standardise(np.log1p(peak_near(strength, at, 3))),
        low=standardise(np.log1p(peak_near(low, at, 3))),
        harmony=np.stack(
            [standardise(chord_change(chroma, lines, span, span)) for span in (pulse / 2, pulse, 2 * pulse)]
        ),
    )


def standardise(values: np.ndarray) -> np.ndarray:
    """Values less their mean in standard deviations, at most 2.5; zeros where all are alike."""
    deviation = float(values.std())
    return np.clip((values - values.mean()) / deviation, -2.5, 2.5) if deviation > 1e-6 else np.zeros(len(values))


def find_metre(evidence: Evidence, period: float) -> Metre:
    """The best of all beats and bars on quarters of a pulse of `period` s.

    Good beats carry more accents than the lines halfway between them, good bar lines more than other beats, and tempo
    and length of a bar are usual. The weights were set on written pieces (synthetic_pieces), not on recordings.
    """
    beat_evidence = BEAT_ACCENT * evidence.accent + BEAT_LOW * evidence.low
    bar_evidence = evidence.for_bars()
    n = len(beat_evidence)
    best, choice = -np.inf, Metre(4, 4, 0)
    for step in (2, 4, 8):  # double, same and half tempo
        tempo = 60 / (period * step / 4)
        if not SLOWEST <= tempo <= FASTEST:
            continue
        for beats_per_bar in (4, 3):
            bar = step * beats_per_bar
            unusual = TEMPO_WEIGHT * np.log2(tempo / USUAL_TEMPO) ** 2
            unusual += BAR_WEIGHT * np.log2(period * bar / 4 / USUAL_BAR) ** 2
            unusual += TRIPLE_COST if beats_per_bar == 3 else 0.0
            for phase in range(0, bar, 2):
                if phase + bar >= n:
                    continue
                on = np.arange(phase % step, n, step)
                value = beat_evidence[on].mean() - beat_evidence[(phase + step // 2) % step :: step].mean() - unusual
                first = bar_evidence[phase::bar]
                others = (bar_evidence[on].sum() - first.sum()) / max(len(on) - len(first), 1)
                value += first.mean() - others
                if value > best:
                    best, choice = float(value), Metre(step, beats_per_bar, phase)
    return choice


def bar_phase(evidence: np.ndarray, n: int) -> np.ndarray:
    """The best way to count 0 .. n-1 through beats with this evidence [N] for a one: the place of each beat [N]."""
    slip = SLIP_COST * max(float(evidence.std()), 1e-9)
    reward = np.full(n, -1 / (n - 1))
    reward[0] = 1.0
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
    return phase


def peak_near(curve: np.ndarray, at: np.ndarray, reach: int = 4) -> np.ndarray:
    """The maximum of a curve [T] within `reach` frames of each index: [N]."""
    index = np.clip(at[:, None] + np.arange(-reach, reach + 1), 0, len(curve) - 1)
    return curve[index].max(axis=1)


def grade(pulse: np.ndarray, strength: np.ndarray, index: np.ndarray, clarity: float) -> float:
    """Confidence in [0, 1]: a pulse that repeats, beats that stand out of what lies between them, and are onsets.

    On 24 recordings and 72 written or played pieces clarity was 0.42 to 0.82, on onsets at random times 0.05 to 0.09,
    on slow ensemble strings and free ambient 0.06 to 0.26.
    """
    between = np.clip(index[:-1] + np.rint(np.diff(index) * 0.37).astype(int), 0, len(pulse) - 1)
    contrast = float(peak_near(pulse, index, 2).mean() - peak_near(pulse, between, 2).mean())
    raw = 14 * (clarity - 0.35) + 0.5 * (contrast / max(float(pulse.std()), 1e-9) - 1.5)
    attack = min(1.0, float(peak_near(strength, index, 2).mean()) / 1.2)  # slow swells pulse without a single onset
    return attack / (1 + float(np.exp(-raw)))
