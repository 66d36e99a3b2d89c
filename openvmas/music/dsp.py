"""Mel filterbanks, on the three scales that networks of others were trained with.

K-weighting is in `media.loudness` and the vertex of a parabola in `timeline`, where `media/` and `vision/` reach them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Scale = Literal["htk", "kaldi", "slaney"]
_SLANEY_STEP, _SLANEY_CORNER, _SLANEY_LOG_STEP = 200 / 3, 1000.0, float(np.log(6.4)) / 27  # Hz per mel, Hz, per mel


def hz_to_mel(frequency: np.ndarray | float, scale: Scale = "htk") -> np.ndarray:
    """Mels of frequencies in Hz. Slaney's scale is straight below 1 kHz; the other two are the same curve."""
    hertz = np.asarray(frequency, dtype=np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    if scale == "kaldi":
        return 1127.0 * np.log1p(hertz / 700.0)
    logarithm = np.log(np.maximum(hertz, _SLANEY_CORNER) / _SLANEY_CORNER) / _SLANEY_LOG_STEP
    return np.minimum(hertz, _SLANEY_CORNER) / _SLANEY_STEP + logarithm


def mel_frequencies(n: int, lowest: float, highest: float, scale: Scale = "htk") -> np.ndarray:
    """Frequencies in Hz that lie evenly on the mel scale from `lowest` to `highest` Hz: [n]."""
    mels = np.linspace(hz_to_mel(lowest, scale), hz_to_mel(highest, scale), n)
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    if scale == "kaldi":
        return 700 * np.expm1(mels / 1127)
    corner = _SLANEY_CORNER / _SLANEY_STEP
    above = _SLANEY_CORNER * np.exp(_SLANEY_LOG_STEP * (mels - corner))
    return np.where(mels < corner, mels * _SLANEY_STEP, above)


def mel_filterbank(
    n_fft: int,
    sample_rate: float,
    n_mels: int,
    lowest: float,
    highest: float,
    scale: Scale = "htk",
    min_flank: float = 0,
) -> np.ndarray:
    """Triangular mel filters over the bins of a real FFT: [n_fft // 2 + 1, n_mels] float32.

    lowest, highest: Hz. scale: "htk", triangles of unit peak that are straight in Hz; "slaney", the same of unit area
    (Auditory Toolbox, 1998, and librosa.filters.mel); "kaldi", unit peaks and straight in mels (Kaldi, and TensorFlow's
    linear_to_mel_weight_matrix). min_flank: Hz; a narrower flank rises as if it had this width.
    """
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    if scale == "kaldi":
        edges = np.linspace(hz_to_mel(lowest, scale), hz_to_mel(highest, scale), n_mels + 2)
        return triangles(hz_to_mel(bins, scale), edges[:-2], edges[1:-1], edges[2:]).astype(np.float32)
    edges = mel_frequencies(n_mels + 2, lowest, highest, scale)
    filters = triangles(bins, edges[:-2], edges[1:-1], edges[2:], min_flank)
    return (filters * (2 / (edges[2:] - edges[:-2])) if scale == "slaney" else filters).astype(np.float32)


def triangles(
    points: np.ndarray, low: np.ndarray, centre: np.ndarray, high: np.ndarray, min_flank: float = 0.0
) -> np.ndarray:
    """Triangles of unit peak at the centres, zero outside ]low, high[: points [P], corners [n] → [P, n]."""
    rise = (points[:, None] - low) / np.maximum(centre - low, min_flank)
    fall = (high - points[:, None]) / np.maximum(high - centre, min_flank)
    return np.maximum(np.minimum(rise, fall), 0)
