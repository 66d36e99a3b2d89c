"""The codec's report as one HTML page: no script, nothing loaded from elsewhere, light and dark, phone and desk.

Drawn from the same plain values that `openvmas codec report --json` prints, so the page says nothing else. The file's
name is escaped.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from openvmas.eval.reports.video_page import axis, length, number, tile
from openvmas.music.dsp import hz_to_mel

LOUDEST, QUIETEST = 0.0, -90.0  # dB of a full-scale sine, of the spectrograms
MOST = 30.0  # dB, of their difference
SOUND = ((0, 8, 10, 24), (0.25, 52, 27, 110), (0.5, 158, 47, 127), (0.75, 246, 114, 92), (1, 252, 246, 200))
DIFFERENCE = ((0, 120, 190, 255), (0.3, 34, 92, 175), (0.5, 16, 18, 24), (0.7, 176, 82, 14), (1, 255, 190, 110))
WIDTH, HEIGHT, LEFT, FOOT = 330, 200, 34, 22  # px of a spectrogram, of the labels left of it and below
CHART_WIDTH, CHART_HEIGHT, CHART_TOP = 1086, 130, 24  # px
TICKS = (100, 500, 1000, 2000, 4000, 8000, 16_000)  # Hz


def draw_codec_page(data: dict[str, Any], pictures: np.ndarray, sounds: Sequence[str]) -> str:
    """The page for a report's figures. pictures: Spectra.pictures; sounds: data URLs of original and reconstruction."""
    template = Template(
        resources.files("openvmas.eval.codec").joinpath("codec_report.html").read_text(encoding="utf-8")
    )
    model = data["model"]
    heard = data["listen_seconds"]
    part = f"The first {length(heard)} of {length(data['duration'])}." if heard < data["duration"] - 0.1 else ""
    return template.substitute(
        title=escape(data["file"]),
        facts=escape(
            f"{length(data['duration'])} · {data['original_sample_rate']} Hz, mono at {data['sample_rate']} Hz · "
            f"codec of model {model['name']} {model['version']} · {data['n_codebooks']} codebooks of "
            f"{data['codebook_size']} entries"
        ),
        tiles="\n".join(tile(*values) for values in tiles(data)),
        original=sounds[0],
        decoded=sounds[1],
        part=part,
        spectrograms=spectrograms(data, pictures),
        time_charts=chart("Signal-to-noise ratio, dB, higher is better", data, "snr_db", -10, 30, 10)
        + chart("Mel distance, lower is better", data, "mel_distance", 0, 1, 0.25),
        bands="\n".join(band_rows(data)),
        codebooks="\n".join(codebook_rows(data)),
        report_by=escape(data["report_by"]),
    )


def tiles(data: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Heading, figure, note and state of each figure at the top."""
    threads = f"real time, {data['threads']} thread{'s' * (data['threads'] > 1)}"
    levels = (number(data["level_db"], ".1f"), number(data["decoded_level_db"], ".1f"))
    return [
        (
            "Bit rate",
            number(data["bits_per_second"] / 1000, ".2f", " kbit/s"),
            f"{data['file_bytes']} bytes in all",
            "",
        ),
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


def spectrograms(data: dict[str, Any], pictures: np.ndarray) -> str:
    """Original, reconstruction and their difference, side by side."""
    shown = [(picture - QUIETEST) / (LOUDEST - QUIETEST) for picture in pictures]
    # What is inaudible in both has no difference worth a colour.
    quiet = np.maximum(pictures, QUIETEST)
    shown.append(0.5 + (quiet[1] - quiet[0]) / (2 * MOST))
    scale = f"{QUIETEST:.0f} dB (dark) to {LOUDEST:.0f} dB (bright)".replace("-", "−")
    notes = (scale, scale, f"blue: lost, up to {MOST:.0f} dB; orange: added")
    names, colours = ("Original", "Reconstruction", "Difference"), (SOUND, SOUND, DIFFERENCE)
    figures = []
    for name, note, picture, stops in zip(names, notes, shown, colours, strict=True):
        pixels = np.round(255 * np.clip(picture[::-1], 0, 1)).astype(np.uint8)  # the highest row comes first
        url = "data:image/png;base64," + base64.b64encode(png(pixels, palette(stops))).decode("ascii")
        figures.append(
            f"<figure><figcaption><b>{name}</b> {note}</figcaption>"
            f'<svg viewBox="0 0 {LEFT + WIDTH} {HEIGHT + FOOT}" role="img" aria-label="Spectrogram: {name.lower()}">'
            f'<image href="{url}" x="{LEFT}" y="0" width="{WIDTH}" height="{HEIGHT}" preserveAspectRatio="none"/>'
            f"{frequency_axis(data['sample_rate'])}{time_axis(data['duration'])}</svg></figure>"
        )
    return "".join(figures)


def frequency_axis(sample_rate: int) -> str:
    """Marks on the mel scale of the pictures' rows."""
    marks = []
    for tick in TICKS:
        y = HEIGHT * (1 - hz_to_mel(tick) / hz_to_mel(sample_rate / 2))
        if y < -0.5:
            break
        text = f"{tick // 1000} k" if tick >= 1000 else str(tick)
        marks.append(f'<path class="mark" d="M{LEFT - 4} {y:.1f}h4"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{min(max(y + 4, 10), HEIGHT):.1f}" text-anchor="end">{text}</text>')
    return "".join(marks)


def time_axis(duration: float) -> str:
    """Begin, middle and end."""
    places = ((0, "start"), (0.5, "middle"), (1, "end"))
    return "".join(
        f'<text x="{LEFT + share * WIDTH:.1f}" y="{HEIGHT + 15}" text-anchor="{anchor}">'
        f"{length(share * duration)}</text>"
        for share, anchor in places
    )


def chart(heading: str, data: dict[str, Any], name: str, low: float, high: float, step: float) -> str:
    """A value for each second as one line of steps; seconds about which nothing can be said are left out."""
    values, duration = data["seconds"][name], data["duration"]
    scale = CHART_WIDTH / max(duration, 1e-6)
    bottom = CHART_TOP + CHART_HEIGHT

    def y(value: float) -> float:
        return bottom - (min(max(value, low), high) - low) / (high - low) * CHART_HEIGHT

    parts = [axis(duration, scale)]
    for i in range(round((high - low) / step) + 1):
        level = low + i * step
        parts.append(f'<path class="grid" d="M0 {y(level):.1f}H{CHART_WIDTH}"/>')
        text = f"{level:g}".replace("-", "−")
        parts.append(f'<text x="{CHART_WIDTH - 4}" y="{y(level) - 2:.1f}" text-anchor="end">{text}</text>')
    path, is_open = "", False
    for second, value in enumerate(values):
        if value is not None:
            path += f"{'' if is_open else f'M{second * scale:.1f} {y(value):.1f}'}V{y(value):.1f}"
            path += f"H{min(second + 1, duration) * scale:.1f}"
        is_open = value is not None
    line = f'<path class="curve" d="{path}"/>' if path else ""
    total = bottom + 6
    return (
        f'<h3>{escape(heading)}</h3><div class="scroll" tabindex="0" role="region" aria-label="{escape(heading)}">'
        f'<svg width="{CHART_WIDTH}" height="{total}" viewBox="0 0 {CHART_WIDTH} {total}" role="img" '
        f'aria-label="{escape(heading)}, for each second">{"".join(parts)}{line}</svg></div>'
    )


def bar(share: float) -> str:
    """A share in 0 .. 1 as a bar."""
    return (
        '<svg class="share" width="120" height="10" viewBox="0 0 120 10" aria-hidden="true">'
        f'<rect class="lane" width="120" height="10" rx="2"/>'
        f'<rect class="bar" width="{120 * min(max(share, 0), 1):.1f}" height="10" rx="2"/></svg>'
    )


def band_rows(data: dict[str, Any]) -> list[str]:
    """The table of bands."""
    lines = []
    for band in data["bands"]:
        found = band["correlation"]
        lines.append(
            f"<tr><td>{band['low']:.0f}–{band['high']:.0f} Hz</td>"
            f"<td>{number(band['level_difference_db'], '+.1f', ' dB')}</td>"
            f"<td>{number(found, '.2f')}</td><td>{bar(found or 0)}</td></tr>"
        )
    return lines


def codebook_rows(data: dict[str, Any]) -> list[str]:
    """The table of codebooks."""
    size = data["codebook_size"]
    return [
        f"<tr><td>{level}</td><td>{use['entries']} of {size}</td><td>{use['perplexity']:.0f}</td>"
        f"<td>{bar(use['perplexity'] / size)}</td></tr>"
        for level, use in enumerate(data["codebooks"], 1)
    ]
