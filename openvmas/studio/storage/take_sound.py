"""The sound of a take on disk and on its way to a browser: a WAV file that grows, parts of it, and its waveform.

Music lies on disk as interleaved stereo float32 at 48 kHz without a header. It is sent as floats too: what a model
writes may go beyond full scale, and only the mix brings it to its level.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.media.audio import WAV_HEADER, wav_header
from openvmas.media.envelope import Envelope
from openvmas.media.loudness import Duck, LoudnessMeter
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.storage.folders import TakeFolder

CHANNELS = 2
FRAME = 4 * CHANNELS  # bytes of one sample of all channels
HEADER = WAV_HEADER  # bytes before the samples, in the files that are sent too
PEAKS_RATE = 100  # pairs per second on disk
PEAK_SPAN = SAMPLE_RATE_OUT // PEAKS_RATE


def n_written(path: Path) -> int:
    """Samples of music that are on disk; 0 where nothing is."""
    try:
        return path.stat().st_size // FRAME
    except OSError:
        return 0


def read_wave(path: Path, start: int, stop: int, offset: int = 0) -> np.ndarray:
    """Samples start .. stop-1, as far as they are there: [2, n] float32. offset: bytes of a header before them."""
    with path.open("rb") as file:
        file.seek(offset + start * FRAME)
        data = file.read(max(0, stop - start) * FRAME)
    return np.frombuffer(data[: len(data) // FRAME * FRAME], "<f4").reshape(-1, CHANNELS).T


def read_loudness(path: Path) -> float | None:
    """Loudness of all music that `SoundWriter` has written so far, LUFS; None where nothing is known or heard."""
    try:
        values = np.frombuffer(path.read_bytes(), "<f4")  # some bytes a second
    except OSError:
        return None
    value = float(values[-1]) if len(values) else -math.inf
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class TakeSound:
    """The file of a take's samples. n_samples: in the end; offset: bytes of a header before them.

    accents: a WAV file that is heard with it, if it is there.
    """

    path: Path
    offset: int
    n_samples: int
    accents: Path | None = None

    @property
    def n_written(self) -> int:
        """Samples that can be read by now."""
        return min(n_written(self.path), self.n_samples) if self.offset == 0 else self.n_samples

    @property
    def n_bytes(self) -> int:
        """Size of the WAV file."""
        return HEADER + self.n_samples * FRAME

    def read(self, start: int, stop: int) -> bytes:
        """Bytes start .. stop-1 of the WAV file, as far as it goes."""
        head = wav_header(CHANNELS, self.n_samples, SAMPLE_RATE_OUT)[start:stop] if start < HEADER else b""
        first, last = max(start - HEADER, 0), max(stop - HEADER, 0)
        low, high = first // FRAME, -(-last // FRAME)
        data = self._wave(low, high).T.tobytes() if last > first else b""
        return head + data[first - low * FRAME : last - low * FRAME]

    def _wave(self, start: int, stop: int) -> np.ndarray:
        return with_accents(read_wave(self.path, start, stop, self.offset), self.accents, start)

    def cut(self, start: int, stop: int) -> bytes:
        """A WAV file of samples start .. stop-1."""
        return wav_header(CHANNELS, stop - start, SAMPLE_RATE_OUT) + self.read(
            HEADER + start * FRAME, HEADER + stop * FRAME
        )


def with_accents(wave: np.ndarray, accents: Path | None, start: int) -> np.ndarray:
    """A part [2, n] of the music from sample `start` on, with what sweetening adds to it."""
    if accents is None or not accents.exists():
        return wave
    added = read_wave(accents, start, start + wave.shape[1], HEADER)
    return wave + np.pad(added, ((0, 0), (0, wave.shape[1] - added.shape[1])))


def ducked_wav(
    path: Path, n_samples: int, gain_db: float, duck: Duck, envelope: Envelope, accents: Path | None = None
) -> Iterator[bytes]:
    """A WAV file of n_samples of the music at a gain, lowered as duck and envelope say, in pieces of a second."""
    yield wav_header(CHANNELS, n_samples, SAMPLE_RATE_OUT)
    for start in range(0, n_samples, SAMPLE_RATE_OUT):
        stop = min(start + SAMPLE_RATE_OUT, n_samples)
        times = np.arange(start, stop) / SAMPLE_RATE_OUT
        gains = 10 ** ((gain_db + duck.gain_db(times)) / 20) * envelope.gain(times)
        wave = with_accents(read_wave(path, start, stop), accents, start)
        wave = wave * gains[: wave.shape[1]].astype(np.float32)
        yield wave.T.tobytes().ljust((stop - start) * FRAME, b"\0")


class SoundWriter:
    """Appends blocks of music with peaks, shades and the loudness so far; all can be read as soon as `write` returns.

    Loudness is one float32 per block, the integrated loudness, LUFS, of the music up to its end.
    """

    def __init__(self, files: TakeFolder) -> None:
        files.path.mkdir(parents=True, exist_ok=True)
        self._wave, self._peaks = files.wave.open("wb"), files.peaks.open("wb")
        self._loudness, self._shades = files.loudness.open("wb"), files.shades.open("wb")
        self._meter = LoudnessMeter(SAMPLE_RATE_OUT, CHANNELS)
        self._rest = np.zeros(0, np.float32)
        self.n_samples = 0

    def write(self, block: np.ndarray) -> None:
        """block: [2, n] float32."""
        self._meter.add(block)
        # Before the music: whoever hears a block knows how loud it is.
        self._loudness.write(np.float32(self._meter.integrated()).tobytes())
        self._loudness.flush()
        self._wave.write(np.ascontiguousarray(block.T, "<f4").tobytes())
        self._wave.flush()
        self.n_samples += block.shape[1]
        self._rest = np.concatenate([self._rest, block.mean(axis=0, dtype=np.float32)])
        n = len(self._rest) // PEAK_SPAN
        self._peaks.write(peaks_of(self._rest[: n * PEAK_SPAN]).tobytes())
        self._peaks.flush()
        self._shades.write(shades_of(self._rest[: n * PEAK_SPAN]).tobytes())
        self._shades.flush()
        self._rest = self._rest[n * PEAK_SPAN :]

    def close(self) -> None:
        self._wave.flush()
        os.fsync(self._wave.fileno())
        self._wave.close()
        self._peaks.close()
        self._loudness.close()
        self._shades.close()


def shades_of(mono: np.ndarray) -> np.ndarray:
    """Brightness of every PEAK_SPAN samples, 0 (60 Hz) to 1 (8 kHz) on a scale of octaves: [n] float32.

    The frequency is that of a sine with the power of the sound and that of its slope.
    """
    spans = mono[: len(mono) // PEAK_SPAN * PEAK_SPAN].reshape(-1, PEAK_SPAN)
    power = np.square(spans).sum(axis=1) + 1e-9
    slope = np.square(np.diff(spans, axis=1)).sum(axis=1) + 1e-12
    frequency = np.sqrt(slope / power) * SAMPLE_RATE_OUT / (2 * np.pi)
    return np.clip(np.log2(frequency / 60) / np.log2(8000 / 60), 0, 1).astype("<f4")


def thin_shades(shades: np.ndarray, per_second: int) -> list[float]:
    """Shades at PEAKS_RATE → their means at another rate, as far as whole spans go."""
    n = len(shades) * per_second // PEAKS_RATE
    if n == 0:
        return []
    starts = np.arange(n) * PEAKS_RATE // per_second
    used = shades[: -(-n * PEAKS_RATE // per_second)]
    counts = np.diff(np.append(starts, len(used)))
    return [round(float(value), 2) for value in np.add.reduceat(used, starts) / counts]


def peaks_of(mono: np.ndarray) -> np.ndarray:
    """Lowest and highest of every PEAK_SPAN samples: [n, 2] float32."""
    spans = mono[: len(mono) // PEAK_SPAN * PEAK_SPAN].reshape(-1, PEAK_SPAN)
    return np.stack([spans.min(axis=1), spans.max(axis=1)], axis=1).astype("<f4")


def peaks_of_file(path: Path, n_samples: int, offset: int = 0) -> np.ndarray:
    """Lowest and highest of every PEAK_SPAN samples of music on disk, read a minute at a time: [n, 2] float32."""
    step = 60 * SAMPLE_RATE_OUT
    parts = [peaks_of(read_wave(path, start, start + step, offset).mean(axis=0)) for start in range(0, n_samples, step)]
    return np.concatenate(parts) if parts else np.zeros((0, 2), np.float32)


def thin_peaks(pairs: np.ndarray, per_second: int) -> tuple[list[float], list[float]]:
    """Pairs [n, 2] at PEAKS_RATE → lows and highs at another rate, as far as whole spans go."""
    n = len(pairs) * per_second // PEAKS_RATE
    starts = np.arange(n) * PEAKS_RATE // per_second
    if n == 0:
        return [], []
    used = pairs[: -(-n * PEAKS_RATE // per_second)]
    low = np.minimum.reduceat(used[:, 0], starts)
    high = np.maximum.reduceat(used[:, 1], starts)
    return [round(float(v), 4) for v in low], [round(float(v), 4) for v in high]
