"""What a codec keeps of a sound: level, fine spectrum, pitch classes, onsets, pitch; and how it uses its codes.

All waves are mono [L] in [-1, 1]; reference and estimated are equally long and aligned. NumPy only. Where a measure has
no meaning for a clip (no strong onset, a band that is empty on both sides) it is NaN and left out of means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openvmas.music.onsets import ONSET_RATE, moving_max, onset_strength, pick_onsets
from openvmas.timeline import peak_offset

BANDS = ((0, 500), (500, 2000), (2000, 5000), (5000, 10_000), (10_000, 16_000))  # Hz
FFT, HOP = 2048, 512  # samples
CLIP_FLOOR = 80.0  # dB below the clip's loudest bin
FRAME_FLOOR = 50.0  # dB below a frame's loudest bin: what can be heard beside it
STILL = 0.5  # dB; a band whose log spectrum varies less holds nothing to follow
CHROMA_FFT, CHROMA_HOP = 8192, 2048  # samples
CHROMA_LOWEST, CHROMA_HIGHEST = 100.0, 5000.0  # Hz; below, a semitone is narrower than two bins at 32 kHz
STRONG = 3.0  # onset strength of a clear onset (music.onsets)
NEAR, FAR = 0.010, 0.050  # s: an onset is kept; an onset is the same one at all
N_HARMONICS, HIGHEST_HARMONIC = 10, 5000.0  # of `fundamental`; Hz


def magnitudes(wave: np.ndarray, size: int = FFT, hop: int = HOP) -> np.ndarray:
    """Magnitudes of centred Hann frames, [L // hop + 1, size / 2 + 1] float32; a full-scale sine is 1."""
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    padded = np.pad(wave.astype(np.float32), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.abs(np.fft.rfft(frames * window)).astype(np.float32) * np.float32(2 / window.sum())


def decibels(magnitude: np.ndarray) -> np.ndarray:
    """20 log10 with a floor of -200 dB."""
    return 20 * np.log10(np.maximum(magnitude, 1e-10))


def band_slices(n_bins: int, sample_rate: int) -> list[slice]:
    """Bins of each of BANDS in a spectrum of n_bins from 0 to half the sample rate; bands above are empty."""
    edges = [min(n_bins, round(f * 2 * (n_bins - 1) / sample_rate)) for band in BANDS for f in band]
    return [slice(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True)]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r of two log spectra in dB; NaN if both are still, 0 if only one is."""
    x, y = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    x_size, y_size = float(np.sqrt(np.square(x).sum())), float(np.sqrt(np.square(y).sum()))
    least = STILL * np.sqrt(x.size)
    if x_size < least and y_size < least:
        return float("nan")
    return 0.0 if min(x_size, y_size) < least else float((x * y).sum() / (x_size * y_size))


def fine_correlations(reference: np.ndarray, estimated: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the fine log spectrum in each of BANDS, twice: [5] and [5].

    reference, estimated: `magnitudes`. The first counts dB above a floor 80 dB below the reference's loudest bin; in
    the second every frame has a floor of its own, 50 dB below its loudest bin. Both sides have the reference's floors.
    """
    wanted, found = decibels(reference), decibels(estimated)
    bottom = wanted.max() - CLIP_FLOOR
    audible = np.maximum(wanted.max(axis=1, keepdims=True) - FRAME_FLOOR, bottom)
    slices = band_slices(reference.shape[1], sample_rate)
    results = []
    for floor in (bottom, audible):
        x, y = np.maximum(wanted - floor, 0), np.maximum(found - floor, 0)
        results.append(np.array([correlation(x[:, band], y[:, band]) for band in slices]))
    return results[0], results[1]


def band_gains(reference: np.ndarray, estimated: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level of the estimated against the reference in each of BANDS, dB: [5].

    60 dB below the whole reference's power is added on both sides, so that what nobody hears makes no difference.
    """
    floor = max(float(np.square(reference, dtype=np.float64).sum()) * 1e-6, 1e-12)
    gains = []
    for band in band_slices(reference.shape[1], sample_rate):
        wanted, found = (float(np.square(x[:, band], dtype=np.float64).sum()) for x in (reference, estimated))
        gains.append(10 * np.log10((found + floor) / (wanted + floor)))
    return np.array(gains)


def level_ratio(reference: np.ndarray, estimated: np.ndarray) -> float:
    """RMS of the estimated over that of the reference; NaN for a silent reference."""
    wanted = float(np.mean(np.square(reference, dtype=np.float64)))
    found = float(np.mean(np.square(estimated, dtype=np.float64)))
    return float(np.sqrt(found / wanted)) if wanted > 0 else float("nan")


def snr_db(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Signal-to-noise ratio of the waveform, dB; NaN for a silent reference, at most 120."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference - estimated, dtype=np.float64).sum())
    return float(10 * np.log10(signal / max(noise, 1e-12 * signal))) if signal > 0 else float("nan")


def chroma(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """How strong each pitch class sounds (C, C#, ... B; A4 = 440 Hz): amplitudes [T, 12], frames every 2,048 samples.

    Each bin between 100 Hz and 5 kHz gives its power to the two nearest pitch classes, in proportion to its distance.
    """
    power = np.square(magnitudes(wave, CHROMA_FFT, CHROMA_HOP))
    frequency = np.arange(power.shape[1]) * sample_rate / CHROMA_FFT
    inside = (frequency >= CHROMA_LOWEST) & (frequency <= CHROMA_HIGHEST)
    pitch = 12 * np.log2(frequency[inside] / 440) + 9  # 9: A is nine semitones above C
    distance = np.abs((pitch[:, None] - np.arange(12) + 6) % 12 - 6)
    return np.sqrt(power[:, inside] @ np.maximum(0, 1 - distance).astype(np.float32))


def chroma_correlation(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Mean over frames of Pearson's r of two chromas [T, 12]; frames 50 dB below the loudest one do not count.

    NaN where no frame counts; a frame in which the estimated has no shape counts 0.
    """
    size = np.sqrt(np.square(reference).sum(axis=1))
    counts = size > max(float(size.max(initial=0)) * 10 ** (-FRAME_FLOOR / 20), 1e-7)
    x, y = reference[counts], estimated[counts]
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    return float(np.mean((x * y).sum(axis=1) / np.maximum(norm, 1e-20))) if len(x) else float("nan")


@dataclass(frozen=True)
class Onsets:
    """times: [N] s, increasing. strengths: [N], 1 is ordinary, STRONG a clear onset."""

    times: np.ndarray
    strengths: np.ndarray


@dataclass(frozen=True)
class OnsetMatch:
    """n_strong: strong onsets of the reference; n_kept: those with an onset of the estimated within 10 ms.

    shifts: [n] s, absolute, of those found again within 50 ms. n_heard, n_added: strong onsets of the estimated, and
    those of them without any onset of the reference within 50 ms.
    """

    n_strong: int
    n_kept: int
    shifts: np.ndarray
    n_heard: int
    n_added: int

    @property
    def kept(self) -> float:
        """Share kept; NaN without strong onsets."""
        return self.n_kept / self.n_strong if self.n_strong else float("nan")


def find_onsets(wave: np.ndarray, sample_rate: int) -> Onsets:
    """Onsets of a wave by music.onsets."""
    strength = onset_strength(wave, sample_rate)
    times = pick_onsets(strength)
    index = np.clip(np.rint(times * float(ONSET_RATE)).astype(int), 0, max(0, len(strength) - 1))
    return Onsets(times, moving_max(strength, 1, 1)[index] if len(times) else np.zeros(0))


def match_onsets(reference: Onsets, estimated: Onsets) -> OnsetMatch:
    """Which strong onsets of the reference are still there, and when."""
    shifts = _distances(reference.times[reference.strengths >= STRONG], estimated.times)
    added = _distances(estimated.times[estimated.strengths >= STRONG], reference.times)
    return OnsetMatch(
        len(shifts), int((shifts <= NEAR).sum()), shifts[shifts <= FAR], len(added), int((added > FAR).sum())
    )


def _distances(times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """From each time to the nearest other, s; infinite where there is none."""
    if len(others) == 0:
        return np.full(len(times), np.inf)
    place = np.searchsorted(others, times)
    before, after = others[np.maximum(place - 1, 0)], others[np.minimum(place, len(others) - 1)]
    return np.minimum(np.abs(times - before), np.abs(times - after))


def fundamental(wave: np.ndarray, sample_rate: int, nominal: float, reach: float = 200.0) -> float:
    """Frequency of one steady note, Hz, searched within `reach` cents of `nominal`.

    The frequency whose first ten harmonics (below 5 kHz) hold the largest sum of magnitudes in one long Hann window; a
    tone of 0.5 s is found within 0.1 cents. NaN for silence.
    """
    size = 1 << int(np.ceil(np.log2(max(len(wave), sample_rate * 4))))
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave) + 2)[1:-1], size))
    if spectrum.max() < 1e-9:
        return float("nan")
    cents = np.arange(-reach, reach + 1)
    n_harmonics = max(1, min(N_HARMONICS, int(min(HIGHEST_HARMONIC, 0.45 * sample_rate) / nominal)))
    bins = np.outer(np.arange(1, n_harmonics + 1), nominal * 2 ** (cents / 1200)) * size / sample_rate
    centre = np.clip(np.rint(bins).astype(int), 1, len(spectrum) - 2)
    away, here = bins - centre, spectrum[centre]
    left, right = spectrum[centre - 1], spectrum[centre + 1]
    total = (here + away * (right - left) / 2 + away**2 * (left + right - 2 * here) / 2).sum(axis=0)
    top = int(np.clip(total.argmax(), 1, len(total) - 2))
    return float(nominal * 2 ** ((cents[top] + peak_offset(*total[top - 1 : top + 2])) / 1200))


@dataclass(frozen=True)
class CodeUse:
    """entries: codes that occur; perplexity: exp of the entropy; both also as shares of the codebook's size."""

    entries: int
    perplexity: float
    size: int

    @property
    def entries_share(self) -> float:
        return self.entries / self.size

    @property
    def perplexity_share(self) -> float:
        return self.perplexity / self.size


def code_use(codes: np.ndarray, size: int) -> list[CodeUse]:
    """Use of each codebook by codes [K, T]."""
    uses = []
    for row in codes:
        count = np.bincount(row, minlength=size)
        share = count[count > 0] / len(row)
        uses.append(CodeUse(len(share), float(np.exp(-(share * np.log(share)).sum())), size))
    return uses


def border_flux(wave: np.ndarray, borders: np.ndarray) -> float:
    """Mean change of the log spectrum in frames that hold a border, over that of the others; 1: borders are unheard.

    borders: samples. Frames of 1,024 every 256; those that reach beyond the ends do not count. NaN if every frame or
    none holds a border.
    """
    size, hop = 1024, 256
    spectrum = np.maximum(decibels(magnitudes(wave, size, hop)), -90)
    beyond = size // 2 // hop
    flux = np.abs(np.diff(spectrum[beyond:-beyond], axis=0)).mean(axis=1)
    centres = (np.arange(len(flux)) + beyond + 0.5) * hop
    near = _distances(centres, np.sort(borders)) <= hop
    if near.all() or not near.any():
        return float("nan")
    return float(flux[near].mean() / max(float(flux[~near].mean()), 1e-9))
