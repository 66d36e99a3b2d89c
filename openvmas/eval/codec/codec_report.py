"""The report of the codec on one sound: figures, and one HTML page that shows and plays original and reconstruction.

Needs only what the core install has. The page is drawn by `eval.codec.codec_page`.
"""

from __future__ import annotations

import base64
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from openvmas import __version__
from openvmas.codec.ovc import CodesFile, to_bytes
from openvmas.codec.runtime import CodecRunner
from openvmas.codec.transcode import MonoSource, describe_codes, resample_blocks
from openvmas.errors import InputError
from openvmas.eval.codec.codec_comparison import (
    codebook_use,
    compare_spectra,
    decibels,
    mean_power,
    mel_distance,
    signal_to_noise,
)
from openvmas.eval.codec.codec_page import draw_codec_page
from openvmas.media.audio import WavReader, map_wav, write_wav
from openvmas.settings import SAMPLE_RATE_OUT

LISTEN = 60  # s of both sounds that the page plays
LISTEN_BIT_RATE = 128_000  # AAC, mono: far above what the codec itself loses
Progress = Callable[[float], None]


def write_codec_report(
    path: str | Path,
    target: Path,
    runner: CodecRunner,
    n_codebooks: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Encode and decode a file's sound, compare, and write the page to `target`; returns its figures (plain values).

    The waves lie on disk beside the target while it works. Raises InputError.
    """
    tell = progress or (lambda done: None)
    source = MonoSource(path, runner.sample_rate)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}.") as folder:
        original, decoded = Path(folder) / "original.wav", Path(folder) / "decoded.wav"
        blocks = source.blocks(lambda done: tell(0.1 * done))
        if write_wav(original, (block[None] for block in blocks), runner.sample_rate) == 0:
            raise InputError(f"{path} has no samples, so there is nothing to compare; give a file with sound in it.")
        file, seconds = transcode(original, decoded, source, runner, n_codebooks)
        tell(0.6)
        reference, estimated = map_wav(original)[0][0], map_wav(decoded)[0][0]
        data = {
            "report_by": f"OpenVMAS {__version__}",
            "file": Path(path).name,
            "model": runner.weights.describe(),
            **describe_file(file),
            "encode_speed": len(reference) / runner.sample_rate / max(seconds[0], 1e-9),
            "decode_speed": len(reference) / runner.sample_rate / max(seconds[1], 1e-9),
            "threads": runner.threads,
        }
        pictures = measure(reference, estimated, file, data)
        tell(0.9)
        n_heard = min(len(reference), LISTEN * runner.sample_rate)
        sounds = [sound_url(wave[:n_heard], runner.sample_rate) for wave in (reference, estimated)]
        data["listen_seconds"] = n_heard / runner.sample_rate
        target.write_text(draw_codec_page(data, pictures, sounds), encoding="utf-8")
        del reference, estimated  # open views keep the folder from being deleted on some systems
    tell(1.0)
    return data


def transcode(
    original: Path, decoded: Path, source: MonoSource, runner: CodecRunner, n_codebooks: int | None
) -> tuple[CodesFile, tuple[float, float]]:
    """Encode one WAV file and decode it to another; returns the codes, and the seconds of both without start-up."""
    runner.decode(runner.encode(np.zeros(runner.hop_length, np.float32)))  # opens the graphs
    began = time.perf_counter()
    waves = (block[0] for block in WavReader(original).blocks())
    codes = np.concatenate(list(runner.encode_blocks(waves, n_codebooks)), axis=1)
    encoded = time.perf_counter()
    file = describe_codes(codes, source, runner)
    write_wav(decoded, exactly(runner.decode_blocks(codes), file.length), runner.sample_rate)
    return file, (encoded - began, time.perf_counter() - encoded)


def exactly(blocks: Iterator[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Blocks [n] as [1, n], `length` samples of them."""
    for block in blocks:
        block = block[:length]
        length -= len(block)
        yield block[None]


def describe_file(file: CodesFile) -> dict[str, Any]:
    """Lengths, rates and sizes."""
    return {
        "duration": float(file.duration),
        "sample_rate": file.sample_rate,
        "original_sample_rate": file.original_sample_rate,
        "n_codebooks": file.n_codebooks,
        "codebook_size": file.codebook_size,
        "bits_per_second": float(file.bits_per_second),
        "file_bytes": len(to_bytes(file)),
    }


def measure(reference: np.ndarray, estimated: np.ndarray, file: CodesFile, data: dict[str, Any]) -> np.ndarray:
    """Put all measures into `data`; returns the spectrograms (see Spectra.pictures)."""
    rate = file.sample_rate
    levels = [decibels(mean_power(wave)) for wave in (reference, estimated)]
    both = None not in levels
    noise, mel = signal_to_noise(reference, estimated, rate), mel_distance(reference, estimated, rate)
    spectra = compare_spectra(reference, estimated, rate)
    data["level_db"], data["decoded_level_db"] = levels
    data["level_difference_db"] = levels[1] - levels[0] if both else None  # type: ignore[operator]
    data["snr_db"], data["mel_distance"] = noise.whole, mel.whole
    data["bands"] = [asdict(band) for band in spectra.bands]
    data["codebooks"] = [asdict(use) for use in codebook_use(file.codes, file.codebook_size)]
    data["seconds"] = {"snr_db": list(noise.seconds), "mel_distance": list(mel.seconds)}
    return spectra.pictures


def sound_url(wave: np.ndarray, sample_rate: int) -> str:
    """A wave [L] as a data URL with AAC in an mp4 file, which every browser plays."""
    file = io.BytesIO()
    blocks = list(resample_blocks([np.asarray(wave, np.float32)], sample_rate, SAMPLE_RATE_OUT))
    samples = np.clip(np.concatenate(blocks), -1, 1)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE_OUT, layout="mono")
        stream.bit_rate = LISTEN_BIT_RATE
        for start in range(0, len(samples), 1024):
            piece = np.ascontiguousarray(samples[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_OUT, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return "data:audio/mp4;base64," + base64.b64encode(file.getvalue()).decode("ascii")
