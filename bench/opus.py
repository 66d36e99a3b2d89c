"""Opus as a yardstick: a wave through libopus and back, aligned, with the bits that it really took."""

from __future__ import annotations

import io

import av
import numpy as np
import soxr

OPUS_RATE = 48_000  # Hz
LONGEST_DELAY = 4000  # samples, of encoder and resampling
PIECE = 1 << 17  # samples in which the delay is looked for


def through_opus(wave: np.ndarray, sample_rate: int, kbps: int) -> tuple[np.ndarray, float]:
    """A mono wave [L] coded at kbps and decoded again, [L] at the same sample_rate, and the true bit rate in kbps.

    The delay is taken off by cross-correlation. Bits are those of the packets; Ogg's own are not counted.
    """
    fast = soxr.resample(wave, sample_rate, OPUS_RATE).astype(np.float32)
    stored, n_bytes = io.BytesIO(), 0
    with av.open(stored, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=OPUS_RATE, layout="mono", options={"application": "audio"})
        stream.bit_rate = kbps * 1000
        for start in range(0, len(fast), OPUS_RATE):
            frame = av.AudioFrame.from_ndarray(fast[None, start : start + OPUS_RATE], format="flt", layout="mono")
            frame.sample_rate, frame.pts = OPUS_RATE, start
            packets = stream.encode(frame)
            n_bytes += sum(packet.size for packet in packets)
            container.mux(packets)
        packets = stream.encode(None)
        n_bytes += sum(packet.size for packet in packets)
        container.mux(packets)
    stored.seek(0)
    with av.open(stored) as container:
        parts = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
    found = soxr.resample(np.concatenate(parts).astype(np.float32), OPUS_RATE, sample_rate)
    return align(wave, found), n_bytes * 8 / (len(wave) / sample_rate) / 1000


def align(reference: np.ndarray, late: np.ndarray) -> np.ndarray:
    """`late` moved back by the delay (up to LONGEST_DELAY samples) at which it fits the reference best: [L].

    The delay is the same everywhere, so it is looked for in the loudest few seconds only.
    """
    n, length = len(reference), min(len(reference), PIECE)
    starts = range(0, n - length + 1, length)
    start = max(starts, key=lambda s: float(np.square(reference[s : s + length], dtype=np.float64).sum()))
    wanted = reference[start : start + length]
    found = late[start : start + length + LONGEST_DELAY]
    size = 1 << int(np.ceil(np.log2(2 * length + LONGEST_DELAY)))
    lags = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(wanted, size).conj())
    moved = late[int(np.argmax(lags[:LONGEST_DELAY])) :][:n]
    return np.pad(moved, (0, n - len(moved))).astype(np.float32)
