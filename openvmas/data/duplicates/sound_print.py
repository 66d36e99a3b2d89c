"""Fingerprints of sound that survive other codecs, gain, trimming, and other pitch or speed by up to a semitone.

A sound is its spectral peaks on a logarithmic frequency axis, where another pitch is a shift and another speed a shift
and a stretch. Four peaks make a key out of pitch intervals and ratios of times, which both leave alone: quads as in
Sonnleitner & Widmer (2016), intervals on a logarithmic axis as in Panako (Six & Leman 2014). Keys only find candidates;
`align` then lays one set of peaks over the other and says how much of the shorter sound agrees.
`memorization` answers another question (the longest copied passage, at one speed) with more bits a second.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import soxr

from openvmas.timeline import peak_offset

PRINT_RATE = 50  # frames per second
ANALYSIS_RATE = 8_000  # Hz
WINDOW = 2_048  # samples, 0.256 s: resolves semitones from 200 Hz on
LOWEST = 150.0  # Hz
SEMITONES = 54  # of the frequency axis, up to 3.4 kHz, which every codec keeps
PER_SEMITONE = 3  # bands
FINE = 16  # steps of a stored pitch per semitone
PEAK_SEMITONES, PEAK_FRAMES = 3, 10  # a peak is the greatest within this distance
DYNAMIC = 10.0  # nepers of power that a peak may lie below the loudest of the last and next 2 s
WHOLE_DYNAMIC = 14.0  # the same below the loudest of all
FLOOR = 1e-9  # power of a band below which nothing is heard: under the steps of 16 bits

FAN = 7  # following peaks from which the three others of a quad are taken
MAX_INTERVAL = 20  # semitones between the first peak and any other
MIN_SPAN, MAX_SPAN = 10, 150  # frames between the first peak and the last

MAX_COMMON = 8  # times that a key may come in one sound
MAX_SHIFT = 1.3  # semitones of pitch
MAX_SPEED = 1.08
NEAR_FRAMES, NEAR_SEMITONES = 3, 0.34  # within which two peaks are one


@dataclass(frozen=True)
class Alignment:
    """Alignment of one sound with another.

    seconds: length of the part they share. share: of the shorter sound's span of peaks. agreement: share of peaks in it
    that both have. chance: the same for wrong places. speed: of the second against the first. shift: semitones.
    """

    seconds: float
    share: float
    agreement: float
    chance: float
    speed: float
    shift: float


NO_ALIGNMENT = Alignment(0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def find_peaks(wave: np.ndarray, sample_rate: float) -> np.ndarray:
    """Spectral peaks of a mono wave [L]: [N] uint32, increasing; frame << 10 | pitch in 1/16 semitone above LOWEST."""
    if wave.ndim != 1:
        raise ValueError(f"a mono wave [L] is needed, not shape {wave.shape}")
    wave = soxr.resample(np.ascontiguousarray(wave, np.float32), sample_rate, ANALYSIS_RATE)
    if len(wave) < WINDOW + ANALYSIS_RATE // PRINT_RATE:
        return np.zeros(0, np.uint32)
    power = _log_power(wave)
    tops = running_max(running_max(power, PEAK_FRAMES, 0), PEAK_SEMITONES * PER_SEMITONE, 1)
    loudest = running_max(power.max(axis=1), 2 * PRINT_RATE, 0)
    floor = max(float(loudest.max()) - WHOLE_DYNAMIC, float(np.log(FLOOR)))
    is_peak = (power >= tops) & (power > np.maximum(loudest - DYNAMIC, floor)[:, None])
    is_peak[:, [0, -1]] = False
    frames, bands = np.nonzero(is_peak)
    offsets = peak_offset(power[frames, bands - 1], power[frames, bands], power[frames, bands + 1])
    pitches = (bands + offsets) / PER_SEMITONE
    return (frames.astype(np.uint32) << np.uint32(10)) | np.rint(pitches * FINE).astype(np.uint32)


def split_peaks(peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times in frames and pitches in semitones of peaks [N]: two [N] float64."""
    return (peaks >> np.uint32(10)).astype(np.float64), (peaks & np.uint32(1023)).astype(np.float64) / FINE


def quad_keys(peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of all quads [M] uint64, well mixed, and the index of the first peak of each [M]."""
    times, pitches = split_peaks(peaks)
    n = len(peaks)
    others = np.minimum(np.arange(n)[:, None] + np.arange(1, FAN + 1), max(n - 1, 0))
    spans, intervals = times[others] - times[:, None], pitches[others] - pitches[:, None]  # [n, FAN]
    is_near = (np.abs(intervals) <= MAX_INTERVAL) & (spans <= MAX_SPAN) & (spans >= 3)
    is_near &= np.arange(n)[:, None] + np.arange(1, FAN + 1) < n
    first, second, third = np.array(list(itertools.combinations(range(FAN), 3))).T
    is_good = is_near[:, first] & is_near[:, second] & (is_near & (spans >= MIN_SPAN))[:, third]
    anchors, chosen = np.nonzero(is_good)
    places = [(anchors, which[chosen]) for which in (first, second, third)]
    steps = np.rint(intervals * 2).astype(np.int64) + 64
    key = np.floor(pitches[anchors] / 9).astype(np.int64)  # the register, coarse
    for place in places:
        key = key * 128 + steps[place]
    whole = spans[places[2]]
    for place in places[:2]:
        key = key * 16 + np.floor(spans[place] / whole * 10).astype(np.int64)
    key = key * 16 + np.floor(np.log(whole / MIN_SPAN) / np.log(1.3)).astype(np.int64)
    return mix(key.astype(np.uint64)), anchors


def mix(keys: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that moves neighbours far apart: the finaliser of MurmurHash3."""
    keys = keys.astype(np.uint64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        keys = (keys ^ (keys >> np.uint64(33))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(33))


def sampled_keys(peaks: np.ndarray, one_in: int) -> np.ndarray:
    """Distinct keys of a sound, of which a fixed one in `one_in` is kept: the same ones of every copy."""
    keys = np.unique(quad_keys(peaks)[0])
    return keys[keys % np.uint64(one_in) == 0]


def align(a: np.ndarray, b: np.ndarray) -> Alignment:
    """Align peaks b [M] with peaks a [N] by the quads that they share."""
    (keys_a, at_a), (keys_b, at_b) = quad_keys(a), quad_keys(b)
    first, second = common(keys_a, keys_b)
    if len(first) < 4:
        return NO_ALIGNMENT
    (times_a, pitches_a), (times_b, pitches_b) = split_peaks(a), split_peaks(b)
    x, y = times_a[at_a[first]], times_b[at_b[second]]
    shifts = pitches_b[at_b[second]] - pitches_a[at_a[first]]
    shift = _mode(shifts[np.abs(shifts) <= MAX_SHIFT], 0.2)
    is_near = np.abs(shifts - shift) < NEAR_SEMITONES
    if is_near.sum() < 4:
        return NO_ALIGNMENT
    speed, offset = _line(x[is_near], y[is_near])
    return _overlay(a, b, speed, offset, float(np.median(shifts[is_near])))


def common(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices into a [N] and b [M] of equal keys, all pairs; keys that b has over MAX_COMMON times are left out."""
    order = np.argsort(b, kind="stable")
    left, right = (np.searchsorted(b[order], a, side=side) for side in ("left", "right"))
    counts = np.where(right - left <= MAX_COMMON, right - left, 0)
    first = np.repeat(np.arange(len(a)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, order[np.repeat(left, counts) + inside]


def running_max(values: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Greatest value within `radius` along an axis, by doubling: the cost grows with the logarithm of the radius."""
    values = np.moveaxis(values, axis, 0)
    n, width, length = 2 * radius + 1, 1, len(values)
    edge = np.full((radius, *values.shape[1:]), -np.inf, values.dtype)
    held = np.concatenate([edge, values, edge])
    while width * 2 <= n:
        held = np.maximum(held[:-width], held[width:])
        width *= 2
    if width < n:
        held = np.maximum(held[: len(held) - (n - width)], held[n - width :])
    return np.moveaxis(held[:length], 0, axis)


def _log_power(wave: np.ndarray) -> np.ndarray:
    """Log power on the logarithmic frequency axis: [frames, bands] float32."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[:: ANALYSIS_RATE // PRINT_RATE]
    window = (np.hanning(WINDOW + 1)[:-1] / WINDOW * 4).astype(np.float32)
    parts = (frames[i : i + 512] for i in range(0, len(frames), 512))
    spectra = [(np.abs(np.fft.rfft(part * window)) ** 2).astype(np.float32) @ _bands() for part in parts]
    return np.log(np.concatenate(spectra) + np.float32(1e-12))


@functools.cache
def _bands() -> np.ndarray:
    """Triangles a band wide, at least a bin: [bins, bands] float32, each summing to 1."""
    centres = LOWEST * 2 ** (np.arange(SEMITONES * PER_SEMITONE) / (12 * PER_SEMITONE))
    widths = np.maximum(centres * (2 ** (1 / (12 * PER_SEMITONE)) - 1), ANALYSIS_RATE / WINDOW)
    bins = np.arange(WINDOW // 2 + 1) * ANALYSIS_RATE / WINDOW
    triangles = np.maximum(0, 1 - np.abs(bins[:, None] - centres) / widths)
    return (triangles / triangles.sum(axis=0)).astype(np.float32)


def _mode(values: np.ndarray, width: float) -> float:
    """Middle of the window of that width with most values; 0 if there are none."""
    if not len(values):
        return 0.0
    values, start, count = _densest(values, width)
    return float(np.median(values[start : start + count]))


def _densest(values: np.ndarray, width: float) -> tuple[np.ndarray, int, int]:
    """The sorted values, and where among them begins the window of that width that holds most, and how many."""
    values = np.sort(values)
    counts = np.searchsorted(values, values + width, side="right") - np.arange(len(values))
    start = int(np.argmax(counts))
    return values, start, int(counts[start])


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset of y ≈ slope * x + offset on which most points lie (a Hough transform, then least squares)."""
    best = (0, 1.0, 0.0)
    for slope in np.linspace(1 / MAX_SPEED, MAX_SPEED, 61):
        rests, start, count = _densest(y - slope * x, 8)
        if count > best[0]:
            best = (count, float(slope), float(rests[start]) + 4)
    _, slope, offset = best
    for reach in (8.0, 4.0):
        is_near = np.abs(y - slope * x - offset) <= reach
        if is_near.sum() >= 4 and np.ptp(x[is_near]) > PRINT_RATE:
            slope, offset = (float(value) for value in np.polyfit(x[is_near], y[is_near], 1))
    return slope, offset


def _overlay(a: np.ndarray, b: np.ndarray, slope: float, offset: float, shift: float) -> Alignment:
    """Peaks that agree when a's are moved onto b's clock and pitch."""
    (times_a, pitches_a), (times_b, pitches_b) = split_peaks(a), split_peaks(b)
    times_a = slope * times_a + offset
    start, end = float(max(times_a[0], times_b[0])), float(min(times_a[-1], times_b[-1]))
    shorter = float(min(times_a[-1] - times_a[0], times_b[-1] - times_b[0]))
    if end - start < PRINT_RATE or shorter <= 0:
        return NO_ALIGNMENT
    inside_a = (times_a >= start) & (times_a <= end)
    inside_b = (times_b >= start) & (times_b <= end)
    n = min(int(inside_a.sum()), int(inside_b.sum()))
    if n < 8:
        return NO_ALIGNMENT
    here = times_a[inside_a], pitches_a[inside_a] + shift
    there = times_b[inside_b], pitches_b[inside_b]
    agreement = _matches(*here, *there) / n
    # The same peaks at wrong places tell what the density of peaks and a common key agree by chance.
    wrong = [_matches(here[0] + step, here[1], *there) / n for step in (-101, -67, 43, 83)]
    return Alignment((end - start) / PRINT_RATE, (end - start) / shorter, agreement, max(wrong), 1 / slope, shift)


def _matches(times_a: np.ndarray, pitches_a: np.ndarray, times_b: np.ndarray, pitches_b: np.ndarray) -> int:
    """Number of peaks of a that have one of b near; times_b increasing."""
    left = np.searchsorted(times_b, times_a - NEAR_FRAMES, side="left")
    right = np.searchsorted(times_b, times_a + NEAR_FRAMES, side="right")
    found = np.zeros(len(times_a), bool)
    for step in range(int((right - left).max(initial=0))):
        at = np.minimum(left + step, len(times_b) - 1)
        found |= (left + step < right) & (np.abs(pitches_b[at] - pitches_a) <= NEAR_SEMITONES)
    return int(found.sum())
