"""Technical quality of one wave: level, clipping, silence, bandwidth, stereo, stuck loops and seams.

Waves are [C, L] in [-1, 1], C 1 or 2. Needs only what the core install has. A measure of silence is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from openvmas.media.loudness import integrated_loudness, true_peak
from openvmas.music.onsets import ONSET_RATE, Spectrogram, moving_mean, take_spectrogram
from openvmas.music.sync import sync_z

FULL_SCALE = 1 - 2**-15  # what 16 bits hold at most
NEAR_PEAK, FLAT, FLAT_RUN = 0.95, 1e-5, 3  # of the peak; step between two samples of a flat top; samples
BLOCK_SECONDS, SILENCE = 0.05, -60.0  # s; dB below full scale, RMS
ROLL_OFF = 0.95
WINDOW, HOP = 2048, 1024  # samples, of the band width
MIN_PERIOD, MAX_PERIOD = 0.25, 4.0  # s, of a stuck loop
MAX_REPEAT_CHANGE = 1.5  # dB: mean difference of a repeat
MIN_INNER_CHANGE = 4.0  # dB: least mean change inside a period of what is no held note
SMOOTH = 10  # frames on each side (0.1 s)
FLOOR = -60.0  # dB below the loudest band: nothing quieter is compared
PIECE = 1 << 18  # samples at a time
LAG = 2  # frames between which a seam's change is taken


def validate(wave: np.ndarray) -> np.ndarray:
    """The wave as [C, L]. Raises ValueError for other shapes and for samples that are not finite."""
    wave = np.atleast_2d(np.asarray(wave))
    if wave.ndim != 2 or wave.shape[0] not in (1, 2):
        raise ValueError(f"a wave is [C, L] with one or two channels, not {wave.shape}")
    if not np.isfinite(wave).all():
        raise ValueError("samples must be finite")
    return wave


def clipped_share(wave: np.ndarray) -> float:
    """Share of samples that are clipped.

    Clipped are samples at full scale or beyond, and flat tops: FLAT_RUN or more neighbours within 5 % of the channel's
    peak that do not change, which is how clipping looks that was turned down later.

    Parameters
    ----------
    wave : [L] or [C, L]

    Returns
    -------
    Share in [0, 1]

    >>> clipped_share(np.array([0.0, 1.0, 0.0, 0.0]))
    0.25
    """
    wave = validate(wave)
    n_clipped = 0
    for channel in wave:
        size = np.abs(channel)
        peak = float(size.max(initial=0.0))
        if peak < 1e-4:
            continue
        is_clipped = size >= FULL_SCALE
        is_still = (np.abs(np.diff(channel)) <= FLAT * peak) & (size[1:] >= NEAR_PEAK * peak)
        # A run of FLAT_RUN samples has FLAT_RUN - 1 still steps.
        n_steps = FLAT_RUN - 1
        if len(is_still) >= n_steps:
            starts = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(is_still, n_steps).all(axis=1))
            for step in range(FLAT_RUN):
                is_clipped[starts + step] = True
        n_clipped += int(is_clipped.sum())
    return n_clipped / max(1, wave.size)


def silent_share(wave: np.ndarray, sample_rate: int) -> float:
    """Share of 50 ms blocks below -60 dB of full scale (RMS).

    Parameters
    ----------
    wave : [L] or [C, L]
    sample_rate : Hz

    Returns
    -------
    Share in [0, 1]; NaN below one block

    >>> silent_share(np.zeros(1000), 1000)
    1.0
    """
    wave = validate(wave)
    size = round(BLOCK_SECONDS * sample_rate)
    n = wave.shape[1] // size
    if n == 0:
        return math.nan
    power = np.square(wave[:, : n * size], dtype=np.float64).mean(axis=0).reshape(n, size).mean(axis=1)
    return float(np.mean(power < 10 ** (SILENCE / 10)))


def bandwidth(wave: np.ndarray, sample_rate: int) -> float:
    """Frequency below which 95 % of the magnitude spectrum lies: median over the frames that sound.

    The spectral roll-off of Tzanetakis & Cook (2002) at 95 %, on magnitudes as librosa has it.

    Parameters
    ----------
    wave : [L] or [C, L]
    sample_rate : Hz

    Returns
    -------
    Hz; NaN for silence

    >>> 985 < bandwidth(np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000), 8000) < 1015
    True
    """
    mono = validate(wave).mean(axis=0, dtype=np.float64).astype(np.float32)
    if len(mono) < WINDOW:
        mono = np.pad(mono, (0, WINDOW - len(mono)))
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    views = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[::HOP]
    found = []
    for first in range(0, len(views), 512):
        part = views[first : first + 512]
        part = part[np.square(part).mean(axis=1) >= 10 ** (SILENCE / 10)]
        below = np.cumsum(np.abs(np.fft.rfft(part * window)), axis=1)
        found.append((below >= ROLL_OFF * below[:, -1:]).argmax(axis=1))
    bins = np.concatenate(found)
    return float(np.median(bins)) * sample_rate / WINDOW if len(bins) else math.nan


@dataclass(frozen=True)
class Stereo:
    """width: energy of the side (L - R) over that of both, 0 for mono, 0.5 for unrelated channels, 1 for opposite ones.

    correlation: of left and right, in [-1, 1]; below 0 the sound grows thin in mono.
    """

    width: float
    correlation: float


def stereo(wave: np.ndarray) -> Stereo:
    """Stereo width and correlation.

    Parameters
    ----------
    wave : [L] or [C, L]

    Returns
    -------
    Stereo; one channel has width 0 and correlation 1, silence NaN

    >>> stereo(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    Stereo(width=1.0, correlation=-1.0)
    """
    wave = validate(wave)
    products = np.zeros((2, 2))
    for first in range(0, wave.shape[1], PIECE):  # in pieces: a long file in double precision fills the memory
        part = wave[[0, -1], first : first + PIECE].astype(np.float64)
        products += part @ part.T
    (left, across), (_, right) = products.tolist()
    if left + right <= 0:
        return Stereo(math.nan, math.nan)
    side = max(0.0, left + right - 2 * across) / (2 * (left + right))
    both = math.sqrt(left * right)
    return Stereo(side, max(-1.0, min(1.0, across / both)) if both > 0 else math.nan)


@dataclass(frozen=True)
class Loop:
    """seconds: how long the music is the same as one period before, 0 if there is no whole repeat. period: s."""

    seconds: float
    period: float


def stuck_loop(wave: np.ndarray, sample_rate: int, spectrogram: Spectrogram | None = None) -> Loop:
    """The longest literal or near-literal repeat with a period from 0.25 s to 4 s.

    Log spectra a period apart differ by at most 1.5 dB on average (bands within 60 dB of the loudest), for a period or
    longer, while they change inside the period by more than 4 dB: a held chord is no loop. Players and re-struck
    samples differ by more; a sequencer's exact loop counts.

    Parameters
    ----------
    wave : [L] or [C, L]
    sample_rate : Hz
    spectrogram : of the wave, if it is there already

    Returns
    -------
    Loop

    >>> stuck_loop(np.zeros(24_000), 24_000).seconds
    0.0
    """
    spectrum = spectrogram or take_spectrogram(validate(wave), sample_rate)
    if spectrum.n_frames < 4 * SMOOTH or float(spectrum.mel.max()) < 1e-5:
        return Loop(0.0, math.nan)
    rate = float(spectrum.rate)
    top = 20 * math.log10(float(spectrum.mel.max()))
    level = np.maximum(20 * np.log10(np.maximum(spectrum.mel, 1e-9)) - top, FLOOR).astype(np.float32)
    level = level.reshape(len(level), -1, 2).mean(axis=2)  # 48 bands are enough, at half the time
    sounds = moving_mean((level > FLOOR + 1).any(axis=1).astype(np.float64), SMOOTH, SMOOTH) > 0.5
    best = Loop(0.0, math.nan)
    changes = {step: _smooth_change(level, step) for step in (6, 12, 25, 50, 100)}
    for lag in range(round(MIN_PERIOD * rate), min(round(MAX_PERIOD * rate), len(level) // 2) + 1):
        is_same = (_smooth_change(level, lag) <= MAX_REPEAT_CHANGE) & sounds
        if is_same.sum() < max(lag, best.seconds * rate):
            continue
        change = np.max([curve for step, curve in changes.items() if step < lag], axis=0)
        for first, last in _runs(is_same):
            # Smoothing shortens or lengthens a run by at most a frame or two of SMOOTH.
            if (
                last - first >= 0.95 * lag
                and (last - first) / rate > best.seconds
                and change[first:last].max() > MIN_INNER_CHANGE
            ):
                best = Loop((last - first) / rate, lag / rate)
    return best


def _smooth_change(level: np.ndarray, lag: int) -> np.ndarray:
    """Mean difference over bands of each frame from the one `lag` before, dB, averaged over 0.2 s: [T], large at
    first."""
    change = np.full(len(level), 99.0)
    change[lag:] = np.abs(level[lag:] - level[:-lag]).mean(axis=1)
    return moving_mean(change, SMOOTH, SMOOTH)


def _runs(is_same: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end (exclusive) of each run of True in [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_same.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def seam_z(wave: np.ndarray, sample_rate: int, interval: float, spectrogram: Spectrogram | None = None) -> float:
    """Jumps of the spectrum at every multiple of `interval` s, against the same at shifted places.

    In standard deviations of chance as `music.sync.sync_z`. Rise and fall of the log spectrum both count.

    Parameters
    ----------
    wave : [L] or [C, L]
    sample_rate : Hz
    interval : s between the borders of windows
    spectrogram : of the wave, if it is there already

    Returns
    -------
    z, near 0 where window borders cannot be heard, 3 and more where they can; NaN for fewer than two borders

    >>> math.isnan(seam_z(np.zeros(24_000), 24_000, interval=2.0))
    True
    """
    spectrum = spectrogram or take_spectrogram(validate(wave), sample_rate)
    borders = np.arange(1, math.ceil(float(spectrum.duration) / interval)) * interval
    if len(borders) < 2:
        return math.nan
    level = 20 * np.log10(np.maximum(spectrum.mel, max(1e-3 * float(spectrum.mel.max(initial=0.0)), 1e-9)))
    change = np.zeros(len(level))
    change[LAG:-LAG] = np.abs(level[2 * LAG :] - level[: -2 * LAG]).mean(axis=1)
    return sync_z(change, borders, Fraction(spectrum.duration), rate=ONSET_RATE).z


def evaluate(wave: np.ndarray, sample_rate: int, interval: float | None = None) -> dict[str, float]:
    """Every measure of this module by name; interval: s between the borders of windows, for `seam_z`, if there are any.

    Silence has loudness and true peak of minus infinity.
    """
    wave = validate(wave).astype(np.float32, copy=False)
    spectrum = take_spectrogram(wave, sample_rate)
    image = stereo(wave)
    found = {
        "loudness_lufs": integrated_loudness(wave, sample_rate),
        "true_peak_db": true_peak(wave),
        "clipped_share": clipped_share(wave),
        "silent_share": silent_share(wave, sample_rate),
        "bandwidth": bandwidth(wave, sample_rate),
        "stereo_width": image.width,
        "stereo_correlation": image.correlation,
        "loop_seconds": stuck_loop(wave, sample_rate, spectrum).seconds,
    }
    return found if interval is None else found | {"seam_z": seam_z(wave, sample_rate, interval, spectrum)}
