"""A sound beside its reconstruction, in blocks of constant memory: level, waveform, spectrum, codebook use.

Waves are [L] float32 (arrays or views of files) at one rate and of one length; reference first, then estimated. The
definitions of mel distance and fine-spectrum correlation are those of `train.codec.codec_trainer`, which needs PyTorch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from openvmas.music.dsp import mel_filterbank, mel_frequencies, triangles

MEL_SCALES = ((4096, 160), (2048, 128), (1024, 80), (512, 40), (256, 20))  # window, bands
BAND_EDGES = (0, 500, 2000, 5000, 10_000, 16_000)  # Hz; what lies above half the sample rate is left out
FINE_WINDOW, FINE_HOP = 2048, 512
MAX_COLUMNS, ROWS = 640, 192  # of a spectrogram picture
FLOOR = 1e-10  # power; -100 dB of a full-scale sine
BLOCK = 512  # frames at a time
PIECE = 65_536  # samples at a time


@dataclass(frozen=True)
class Band:
    """low, high: Hz. level_difference_db: estimated against reference. correlation: of the log spectra over bins and
    time, 1 where the estimate has every peak and every valley in place. None where the reference is silent."""

    low: float
    high: float
    level_difference_db: float | None
    correlation: float | None


@dataclass(frozen=True)
class Spectra:
    """bands: low to high. pictures: dB of a full-scale sine, [2, ROWS, columns], low rows first; reference first."""

    bands: tuple[Band, ...]
    pictures: np.ndarray


@dataclass(frozen=True)
class OverTime:
    """A measure of the whole and of each second; None where nothing can be said."""

    whole: float | None
    seconds: tuple[float | None, ...]


@dataclass(frozen=True)
class CodebookUse:
    """entries: how many are used at least once. perplexity: as if so many were used equally often."""

    entries: int
    perplexity: float


def frames_of(wave: np.ndarray, length: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces centred on samples 0, hop, 2 hop, ...: (index of the first, [n, length]); zeros beyond both ends."""
    n_frames = len(wave) // hop + 1
    for first in range(0, n_frames, BLOCK):
        last = min(first + BLOCK, n_frames)
        start, stop = first * hop - length // 2, (last - 1) * hop + length // 2
        part = np.asarray(wave[max(start, 0) : max(0, stop)], dtype=np.float32)
        before = max(0, -start)
        padded = np.pad(part, (before, stop - start - before - len(part)))
        yield first, np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]


def decibels(power: float) -> float | None:
    """10 log10, None for no power at all."""
    return 10 * math.log10(power) if power > 0 and math.isfinite(power) else None


def mean_power(wave: np.ndarray) -> float:
    """Mean square: 0 for nothing."""
    starts = range(0, len(wave), PIECE)
    total = sum(float(np.square(wave[i : i + PIECE], dtype=np.float64).sum()) for i in starts)
    return total / len(wave) if len(wave) else 0.0


def signal_to_noise(reference: np.ndarray, estimated: np.ndarray, sample_rate: int) -> OverTime:
    """Power of the reference against that of the difference, dB; None where there is no signal or no noise."""
    powers = []
    for start in range(0, len(reference), sample_rate):
        x, y = (np.asarray(w[start : start + sample_rate], np.float64) for w in (reference, estimated))
        powers.append((float(np.square(x).sum()), float(np.square(x - y).sum())))

    def ratio(signal: float, noise: float) -> float | None:
        return decibels(signal / noise) if noise > 0 else None

    whole = ratio(sum(signal for signal, _ in powers), sum(noise for _, noise in powers))
    return OverTime(whole, tuple(ratio(*power) for power in powers))


def mel_distance(reference: np.ndarray, estimated: np.ndarray, sample_rate: int) -> OverTime:
    """Mean absolute difference of log10 mel magnitudes, mean of five window lengths."""
    n_seconds = max(1, -(-len(reference) // sample_rate))
    wholes, seconds = [], []
    for length, n_mels in MEL_SCALES:
        window = np.hanning(length + 1)[:-1].astype(np.float32)  # periodic
        window *= 2 / window.sum()
        matrix = mel_filterbank(length, sample_rate, n_mels, 0.0, sample_rate / 2)
        sums, counts = np.zeros(n_seconds), np.zeros(n_seconds)
        pairs = zip(*(frames_of(wave, length, length // 4) for wave in (reference, estimated)), strict=True)
        for (first, x), (_, y) in pairs:
            a, b = (np.log10(np.maximum(magnitude(w, window) @ matrix, 1e-5)) for w in (x, y))
            second = (first + np.arange(len(x))) * (length // 4) // sample_rate
            second = np.minimum(second, n_seconds - 1)
            sums += np.bincount(second, np.abs(a - b).mean(axis=1), n_seconds)
            counts += np.bincount(second, minlength=n_seconds)
        wholes.append(sums.sum() / counts.sum())
        seconds.append(sums / np.maximum(counts, 1))
    return OverTime(float(np.mean(wholes)), tuple(float(v) for v in np.mean(seconds, axis=0)))


def magnitude(pieces: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Magnitude spectrum of each piece: [n, length / 2 + 1] float32, never below sqrt(FLOOR)."""
    spectrum = np.fft.rfft(pieces * window)
    return np.sqrt(spectrum.real**2 + spectrum.imag**2 + np.float32(FLOOR))


def row_filters(sample_rate: int) -> np.ndarray:
    """Mel filters of the pictures' rows, each flank at least a bin wide: [FINE_WINDOW / 2 + 1, ROWS] float32."""
    width = sample_rate / FINE_WINDOW
    edges = mel_frequencies(ROWS + 2, 0.0, sample_rate / 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(FINE_WINDOW // 2 + 1) * width
    return triangles(bins, np.minimum(low, centre - width), centre, np.maximum(high, centre + width)).astype(np.float32)


def compare_spectra(reference: np.ndarray, estimated: np.ndarray, sample_rate: int) -> Spectra:
    """Bands and pictures of both waves, from one STFT of FINE_WINDOW samples."""
    window = np.hanning(FINE_WINDOW + 1)[:-1].astype(np.float32)
    scale = np.float32(2 / window.sum())
    rows = row_filters(sample_rate)
    spans = list(itertools.pairwise([*(e for e in BAND_EDGES if e < sample_rate / 2), sample_rate // 2]))
    parts = [slice(a * FINE_WINDOW // sample_rate, b * FINE_WINDOW // sample_rate) for a, b in spans]
    sums = np.zeros((len(parts), 8))  # count, x, y, xx, yy, xy of log magnitudes; power of both
    n_frames = len(reference) // FINE_HOP + 1
    n_columns = min(n_frames, MAX_COLUMNS)
    powers, counts = np.zeros((2, n_columns, ROWS)), np.zeros(n_columns)
    pairs = zip(*(frames_of(wave, FINE_WINDOW, FINE_HOP) for wave in (reference, estimated)), strict=True)
    for (first, x), (_, y) in pairs:
        spectra = [np.abs(np.fft.rfft(w * window)) for w in (x, y)]
        column = (first + np.arange(len(x))) * n_columns // n_frames
        counts += np.bincount(column, minlength=n_columns)
        for power, spectrum in zip(powers, spectra, strict=True):
            np.add.at(power, column, np.square(spectrum * scale) @ rows / rows.sum(axis=0))
        logs = [np.log(s + np.float32(1e-4)) for s in spectra]
        for total, part in zip(sums, parts, strict=True):
            a, b = (log[:, part].ravel().astype(np.float64) for log in logs)
            p, q = (np.square(s[:, part], dtype=np.float64).sum() for s in spectra)
            total += np.array([len(a), a.sum(), b.sum(), a @ a, b @ b, a @ b, p, q])
    bands = [make_band(low, high, total) for (low, high), total in zip(spans, sums, strict=True)]
    pictures = 10 * np.log10(np.maximum(powers / counts[:, None], FLOOR)).transpose(0, 2, 1)
    return Spectra(tuple(bands), pictures.astype(np.float32))


def make_band(low: float, high: float, sums: np.ndarray) -> Band:
    """A band from the sums of `compare_spectra`."""
    n, x, y, xx, yy, xy, power, other = (float(value) for value in sums)
    if power <= 0 or n == 0:
        return Band(low, high, None, None)
    dispersion = (xx - x * x / n) * (yy - y * y / n)
    correlation = (xy - x * y / n) / math.sqrt(dispersion) if dispersion > 0 else None
    return Band(low, high, decibels(other / power), correlation)


def codebook_use(codes: np.ndarray, codebook_size: int) -> list[CodebookUse]:
    """One for each row of codes [K, T]."""
    found = []
    for row in codes:
        share = np.bincount(row, minlength=codebook_size) / max(1, len(row))
        used = share[share > 0]
        found.append(CodebookUse(len(used), float(np.exp(-(used * np.log(used)).sum()))))
    return found
