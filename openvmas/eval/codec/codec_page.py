"""The codec's report as one HTML page, drawn from the values that `openvmas codec report --json` prints."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from openvmas.music.dsp import hz_to_mel
from openvmas.pages.rendering import number, render

LOUDEST, QUIETEST = 0.0, -90.0  # dB of a full-scale sine, of the spectrograms
MAX_DIFFERENCE = 30.0  # dB
SOUND = ((0, 8, 10, 24), (0.25, 52, 27, 110), (0.5, 158, 47, 127), (0.75, 246, 114, 92), (1, 252, 246, 200))
DIFFERENCE = ((0, 120, 190, 255), (0.3, 34, 92, 175), (0.5, 16, 18, 24), (0.7, 176, 82, 14), (1, 255, 190, 110))
FREQUENCIES = (100, 500, 1000, 2000, 4000, 8000, 16_000)  # Hz, marked beside the spectrograms


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
    """Indices [height, width] uint8 into colours [256, 3] as a PNG file (ISO/IEC 15948, colour type 3)."""

    def part(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = pixels.shape
    lines = np.pad(pixels, ((0, 0), (1, 0)))  # each line begins with its filter: 0, none
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + part(b"PLTE", colours.tobytes())
        + part(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + part(b"IEND", b"")
    )


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
