"""The report of a video as one HTML page, drawn from the values that are written as JSON (`Report.to_json`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from openvmas.pages.rendering import draw, number, render

MIN_WIDTH, MAX_WIDTH, SECOND = 1086, 9000, 16  # px of the timeline; px of a second where it is longer
THUMBNAIL_WIDTH = 107  # px
QUIETEST = -40.0  # LUFS at the bottom of the loudness lane; 0 is at its top
BINS = [-200 + 20 * i for i in range(21)]  # ms


def strip_width(duration: float) -> int:
    """Width of the timeline, px."""
    return round(min(max(MIN_WIDTH, duration * SECOND), MAX_WIDTH))


def strip_length(duration: float) -> int:
    """Number of thumbnails that the timeline has room for."""
    return round(strip_width(duration) / THUMBNAIL_WIDTH)


def draw_page(data: dict[str, Any], thumbnails: Sequence[str]) -> str:
    """The page for a report's JSON; thumbnails: JPEG files in base64."""
    width = strip_width(data["duration"])
    start, step = data["short_term_start"] / 2, 0.1  # s: a value stands at the middle of its 3 s
    n_inside = sum(start + i * step <= data["duration"] for i in range(len(data["short_term_lufs"])))
    provenance = data["made_by"]
    return render(
        "video_report.html",
        title=data["video"],
        data=data,
        generator=generator(provenance) if provenance else "",
        provenance=json.dumps(provenance, indent=1, ensure_ascii=False),
        tiles=tiles(data),
        width=width,
        thumbnails=thumbnails,
        cuts=cuts(data),
        integrated=None if data["loudness_lufs"] is None else lane_height(data["loudness_lufs"]),
        short_term=[lane_height(value) for value in data["short_term_lufs"][:n_inside]],
        histograms=[
            histogram("Cut to nearest beat", data["cut_to_beat"], data["tolerance"]),
            histogram("Cut to nearest onset", data["cut_to_onset"], data["tolerance"]),
        ],
    )


def generator(provenance: dict[str, Any]) -> str:
    """The program and options that made the music, from the file's own metadata."""
    options = provenance.get("options")
    known = options if isinstance(options, dict) else {}
    shown = [f"{name} {known[name]}" for name in ("model", "seed", "mood", "text") if known.get(name) is not None]
    return " · ".join([str(provenance.get("generated_by", "OpenVMAS")), *shown])


def tiles(data: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Heading, figure, note and state ("good", "bad" or "") of each figure at the top."""
    sync, beat = data["sync"], data["cut_to_beat"]
    z = sync["z"]
    verdict = "hits the picture" if z >= 2 else "avoids the picture" if z <= -2 else "no better than chance"
    if sync["n_beats"] == 0:
        z, verdict = None, "no visual beats to meet"
    peak, loudness = data["true_peak_db"], data["loudness_lufs"]
    within = None if beat["within"] is None else 100 * beat["within"]
    chance = "no cuts or no beats" if within is None else f"chance {100 * beat['chance']:.0f} %"
    median = None if beat["median"] is None else 1000 * beat["median"]
    steady = "steady beat" if data["beat_confidence"] >= 0.35 else "no steady beat: a guess"
    is_over = peak is not None and peak > -1
    ceiling = "silence" if peak is None else "over −1 dBTP: may clip" if is_over else "below −1 dBTP"
    return [
        ("Sync", number(z, "+.1f", " σ"), verdict, "good" if z is not None and z >= 2 else ""),
        ("Cuts on a beat", number(within, ".0f", " %"), f"within 80 ms; {chance}", ""),
        ("Cut to beat", number(median, ".0f", " ms"), "median distance", ""),
        ("Energy match", number(data["energy_correlation"], "+.2f"), "correlation, picture and music", ""),
        ("Tempo", number(data["tempo"] or None, ".0f", " BPM"), steady, ""),
        ("Loudness", number(loudness, ".1f", " LUFS"), "integrated", ""),
        ("True peak", number(peak, ".1f", " dBTP"), ceiling, "bad" if is_over else ""),
    ]


def cuts(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Time (s), kind and errors (ms, None where nothing can be said) of each cut."""
    gradual = {round(time, 3) for time in data["gradual"]}
    errors = ([e and 1000 * e for e in data[name]["errors"]] for name in ("cut_to_beat", "cut_to_onset"))
    return [
        {"time": time, "is_gradual": round(time, 3) in gradual, "beat": beat, "onset": onset}
        for time, beat, onset in zip(data["cuts"], *errors, strict=True)
    ]


def lane_height(lufs: float) -> float:
    """Place of a loudness between the bottom (0) and the top (1) of its lane."""
    return 1 - min(max(lufs, QUIETEST), 0.0) / QUIETEST


def histogram(heading: str, fit: dict[str, Any], tolerance: float) -> str:
    """Distribution of errors in steps of 20 ms; what is further than 200 ms is counted in words."""
    errors = [1000 * error for error in fit["errors"] if error is not None]
    # Not np.histogram, whose last bin holds its upper edge.
    counts = np.array([sum(low <= error < low + 20 for error in errors) for low in BINS[:-1]])
    return draw("histogram", heading, fit, tolerance, counts, len(errors) - int(counts.sum()))
