"""The report of the codec on one sound: figures, and one HTML page that shows and plays original and reconstruction.

Needs only what the core install has.
"""

from __future__ import annotations

import base64
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from openvmas.codec.ovc import CodesFile, to_bytes
from openvmas.codec.runtime import CodecRunner
from openvmas.codec.transcode import MonoSource, decode_blocks, describe_codes, resample_blocks
from openvmas.errors import InputError
from openvmas.eval.codec.codec_comparison import (
    codebook_use,
    compare_spectra,
    decibels,
    mean_power,
    mel_distance,
    signal_to_noise,
)
from openvmas.eval.reports.report_values import version_text
from openvmas.media.audio import WavReader, map_wav, write_wav
from openvmas.music.dsp import hz_to_mel
from openvmas.pages.rendering import number, render
from openvmas.settings import SAMPLE_RATE_OUT

LISTEN = 60  # s of both sounds that the page plays
LISTEN_BIT_RATE = 128_000  # AAC, mono: far above what the codec itself loses
LOUDEST, QUIETEST = 0.0, -90.0  # dB of a full-scale sine, of the spectrograms
MAX_DIFFERENCE = 30.0  # dB
SOUND = ((0, 8, 10, 24), (0.25, 52, 27, 110), (0.5, 158, 47, 127), (0.75, 246, 114, 92), (1, 252, 246, 200))
DIFFERENCE = ((0, 120, 190, 255), (0.3, 34, 92, 175), (0.5, 16, 18, 24), (0.7, 176, 82, 14), (1, 255, 190, 110))
FREQUENCIES = (100, 500, 1000, 2000, 4000, 8000, 16_000)  # Hz, marked beside the spectrograms
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
            "report_by": f"OpenVMAS {version_text()}",
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
    write_wav(decoded, decode_blocks(file, runner), runner.sample_rate)
    return file, (encoded - began, time.perf_counter() - encoded)


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


def draw_codec_page(data: dict[str, Any], pictures: np.ndarray, sounds: Sequence[str]) -> str:
    """The page for a report's figures. pictures: Spectra.pictures; sounds: data URLs of original and reconstruction."""
    highest = hz_to_mel(data["sample_rate"] / 2)
    places = [(f"{f // 1000} k" if f >= 1000 else str(f), 1 - hz_to_mel(f) / highest) for f in FREQUENCIES]
    return render(
        "codec_report.html",
        title=data["file"],
        data=data,
        tiles=tiles(data),
        sounds=sounds,
        spectrograms=spectrograms(pictures),
        frequencies=[(label, place) for label, place in places if place >= -0.0025],
    )


def tiles(data: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Heading, figure, note and state of each figure at the top."""
    threads = f"real time, {data['threads']} thread{'s' * (data['threads'] > 1)}"
    levels = (number(data["level_db"], ".1f"), number(data["decoded_level_db"], ".1f"))
    size = f"{data['file_bytes']} bytes in all"
    return [
        ("Bit rate", number(data["bits_per_second"] / 1000, ".2f", " kbit/s"), size, ""),
        ("SNR", number(data["snr_db"], ".1f", " dB"), "waveform, phase included", ""),
        ("Mel distance", number(data["mel_distance"], ".3f"), "0 is the same spectrum", ""),
        ("Level", number(data["level_difference_db"], "+.1f", " dB"), f"{levels[0]} to {levels[1]} dB (RMS)", ""),
        *(
            (heading, number(data[name], ".1f" if data[name] < 10 else ".0f", " ×"), threads, "")
            for heading, name in (("Encoding", "encode_speed"), ("Decoding", "decode_speed"))
        ),
    ]


def palette(stops: Sequence[tuple[float, int, int, int]]) -> np.ndarray:
    """256 colours between the stops (position, red, green, blue): [256, 3] uint8."""
    table = np.array(stops, dtype=np.float64)
    at = np.linspace(0, 1, 256)
    return np.stack([np.interp(at, table[:, 0], table[:, i]) for i in (1, 2, 3)], axis=1).round().astype(np.uint8)


def png(pixels: np.ndarray, colours: np.ndarray) -> bytes:
    """Indices [height, width] uint8 into colours [256, 3] as a PNG file."""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = pixels.shape
    encoder.pix_fmt, encoder.time_base, encoder.options = "pal8", Fraction(1, 25), {"compression_level": "9"}
    opaque = np.pad(colours, ((0, 0), (1, 0)), constant_values=255)  # alpha comes first
    picture: Any = np.ascontiguousarray(pixels), opaque
    frame = av.VideoFrame.from_ndarray(picture, format="pal8")
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def spectrograms(pictures: np.ndarray) -> list[tuple[str, str, str]]:
    """Original, reconstruction and their difference: name, explanation of the colours, PNG file in base64."""
    shown = [(picture - QUIETEST) / (LOUDEST - QUIETEST) for picture in pictures]
    # What is inaudible in both has no difference worth a colour.
    quiet = np.maximum(pictures, QUIETEST)
    shown.append(0.5 + (quiet[1] - quiet[0]) / (2 * MAX_DIFFERENCE))
    scale = f"{QUIETEST:.0f} dB (dark) to {LOUDEST:.0f} dB (bright)".replace("-", "−")
    notes = (scale, scale, f"blue: lost, up to {MAX_DIFFERENCE:.0f} dB; orange: added")
    found = []
    for name, note, picture in zip(("Original", "Reconstruction", "Difference"), notes, shown, strict=True):
        pixels = np.round(255 * np.clip(picture[::-1], 0, 1)).astype(np.uint8)  # the highest row comes first
        file = png(pixels, palette(DIFFERENCE if name == "Difference" else SOUND))
        found.append((name, note, base64.b64encode(file).decode("ascii")))
    return found
