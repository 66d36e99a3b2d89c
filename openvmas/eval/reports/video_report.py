"""The report of a video: the fit of its sound to its picture, measured for any program, as JSON and one HTML page.

Needs only what the core install has.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError, OutputError
from openvmas.eval.metrics.timing import TOLERANCE, align_marks
from openvmas.eval.reports.report_values import plain, version_text
from openvmas.files import beside
from openvmas.generate.deliver import Outputs
from openvmas.media.audio import read_audio_blocks
from openvmas.media.jpeg import jpeg
from openvmas.media.loudness import LoudnessMeter, PeakMeter
from openvmas.media.mux import read_provenance
from openvmas.media.probe import VideoInfo, probe
from openvmas.media.video import FrameRequest, read_frames
from openvmas.music.analysis import analyze_music
from openvmas.music.onsets import ANALYSIS_RATE, onset_strength
from openvmas.music.sync import energy_correlation, sync_z
from openvmas.pages.rendering import draw, number, render
from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT
from openvmas.timeline import Clock
from openvmas.vision.analysis import analyze

SHORT_TERM_START = 3.0  # s, of LoudnessMeter.short_term
THUMBNAIL = 160  # px, long side
MIN_WIDTH, MAX_WIDTH, SECOND = 1086, 9000, 16  # px of the timeline; px of a second where it is longer
THUMBNAIL_WIDTH = 107  # px
QUIETEST = -40.0  # LUFS at the bottom of the loudness lane; 0 is at its top
BINS = [-200 + 20 * i for i in range(21)]  # ms


def measure_loudness(path: str | Path, info: VideoInfo) -> dict[str, Any]:
    """Loudness and true peak of a file's sound, in bounded memory; at 10 Hz also the loudness of the last 3 s."""
    loudness, peak = LoudnessMeter(SAMPLE_RATE_OUT, 2), PeakMeter(2)
    for block in read_audio_blocks(path, SAMPLE_RATE_OUT, 2, info=info):
        loudness.add(block)
        peak.add(block)
    peak.finish()
    return {
        "loudness_lufs": loudness.integrated(),
        "true_peak_db": peak.true_peak,
        "short_term_start": SHORT_TERM_START,
        "short_term_lufs": loudness.short_term(),
    }


def take_thumbnails(path: str | Path, info: VideoInfo, n: int) -> list[str]:
    """n pictures evenly spread over a video, as JPEG files in base64."""
    request = FrameRequest(Fraction(n) / info.duration, THUMBNAIL, False)
    frames = (frame for chunk in read_frames(path, [request], info=info) for frame in chunk.frames)
    return [base64.b64encode(jpeg(frame)).decode("ascii") for frame in frames]


def measure_video(path: str | Path, progress: Callable[[str, float], None] | None = None) -> dict[str, Any]:
    """The figures of a video with sound, times in s. progress: called with "analyze" or "listen" and its share done.

    Raises InputError if the file is no video or has no sound.
    """
    tell = progress or (lambda stage, done: None)
    info = probe(path)
    if not info.has_audio:
        raise InputError(f"{path} has no sound; give a video with music, such as one made by `openvmas score`.")
    picture = analyze(path, lambda done: tell("analyze", done))
    tell("listen", 0.0)
    n_samples = Clock(Fraction(ANALYSIS_RATE)).count(info.duration)
    blocks = list(read_audio_blocks(path, ANALYSIS_RATE, 1, info=info))
    wave = np.concatenate([block[0] for block in blocks] or [np.zeros(0, np.float32)])[:n_samples]
    wave = np.pad(wave, (0, n_samples - len(wave)))
    music = analyze_music(wave, ANALYSIS_RATE)
    tell("listen", 0.5)
    to_beat, to_onset = (align_marks(picture.cuts, at, float(info.duration)) for at in (music.beats, music.onsets))
    step = round(float(CONTROL_RATE) / 10)
    return {
        "report_by": f"OpenVMAS {version_text()}",
        "video": Path(path).name,
        "made_by": read_provenance(path),
        "duration": float(info.duration),
        "fps": float(info.fps),
        "width": info.width,
        "height": info.height,
        "cuts": picture.cuts,
        "gradual": [shot.start for shot in picture.shots if shot.is_gradual],
        "visual_beats": picture.visual_beats,
        "visual_beat_strengths": picture.visual_beat_strengths,
        **{name: getattr(music, name) for name in ("onsets", "beats", "downbeats", "tempo", "beats_per_bar")},
        "beat_confidence": music.confidence,
        "sync": vars(sync_z(onset_strength(wave, ANALYSIS_RATE), picture.visual_beats, info.duration)),
        "cut_to_beat": {**vars(to_beat), "median": to_beat.median},
        "cut_to_onset": {**vars(to_onset), "median": to_onset.median},
        "tolerance": TOLERANCE,
        "energy_correlation": energy_correlation(picture.events.energy, music.events.energy),
        "curves_rate": 10,
        "picture_energy": picture.events.energy[::step],
        "music_energy": music.events.energy[::step],
        **measure_loudness(path, info),
    }


def write_report(
    path: str | Path,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Measure a video and write NAME.report.html and NAME.report.json (or `output` and the same name in .json).

    Both appear whole or not at all. Returns the figures of `measure_video`; what cannot be said is null in the file.
    Raises InputError and OutputError.
    """
    page = Path(output) if output else beside(path, ".report.html")
    if page.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"a report is written as HTML; end {page} in .html.")
    with Outputs(path, overwrite) as outputs:
        info = probe(path)
        hidden_page, hidden_data = outputs.reserve(page), outputs.reserve(page.with_suffix(".json"))
        found = measure_video(path, progress)
        data, thumbnails = plain(found, ".4f"), take_thumbnails(path, info, strip_length(float(info.duration)))
        if progress:
            progress("listen", 1.0)
        hidden_page.write_text(draw_page(data, thumbnails), encoding="utf-8", errors="backslashreplace")
        hidden_data.write_text(
            json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", errors="backslashreplace"
        )
        outputs.commit()
    return found


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
