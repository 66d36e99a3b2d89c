"""How well the sound of a video fits its picture: measured for any video with music, written as JSON and one HTML page.

Needs only what the core install has. The page is drawn by `eval.reports.video_page`.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from openvmas import __version__
from openvmas.errors import InputError, OutputError
from openvmas.eval.reports.video_page import draw_page, strip_length
from openvmas.generate.outputs import Outputs
from openvmas.media.audio import read_audio_blocks
from openvmas.media.loudness import LoudnessMeter, PeakMeter
from openvmas.media.mux import read_provenance
from openvmas.media.probe import VideoInfo, probe
from openvmas.media.video import FrameRequest, read_frames
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.music.onsets import ANALYSIS_RATE, onset_strength
from openvmas.music.sync import SyncResult, energy_correlation, sync_z
from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT
from openvmas.timeline import Clock
from openvmas.vision.analysis import VideoAnalysis, analyze

TOLERANCE = 0.08  # s: a cut with a beat this near is felt as on the beat
SHORT_TERM_START, SHORT_TERM_RATE = 3.0, 10.0  # s; values per second of LoudnessMeter.short_term
THUMBNAIL = 160  # px, long side
N_SHIFTS = 200


@dataclass(frozen=True)
class Fit:
    """How near marks of the music lie to moments of the picture.

    errors: [N] s, nearest mark minus moment (positive: the music is late), NaN where there are no marks.
    within: share of moments with a mark within TOLERANCE; chance: the same for moments shifted in time.
    """

    errors: np.ndarray
    within: float
    chance: float

    @property
    def median(self) -> float:
        """Median distance, s; NaN where nothing can be said."""
        known = np.abs(self.errors[np.isfinite(self.errors)])
        return float(np.median(known)) if len(known) else math.nan


@dataclass(frozen=True)
class Loudness:
    """integrated_lufs, true_peak_db: of the whole sound; short_term: [N] LUFS at 10 Hz from second 3 on."""

    integrated_lufs: float
    true_peak_db: float
    short_term: np.ndarray


@dataclass(frozen=True)
class Report:
    """Everything that is on the page. thumbnails: JPEG files, evenly spread over the duration."""

    name: str
    info: VideoInfo
    provenance: dict[str, Any] | None
    picture: VideoAnalysis
    music: MusicAnalysis
    sync: SyncResult
    cut_to_beat: Fit
    cut_to_onset: Fit
    energy_correlation: float
    loudness: Loudness
    thumbnails: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values only; what cannot be said is None. Times in s."""
        picture, music = self.picture, self.music
        step = round(float(CONTROL_RATE) / 10)
        found = {
            "report_by": f"OpenVMAS {__version__}",
            "video": self.name,
            "made_by": self.provenance,
            "duration": float(self.info.duration),
            "fps": float(self.info.fps),
            "width": self.info.width,
            "height": self.info.height,
            "cuts": picture.cuts,
            "gradual": [shot.start for shot in picture.shots if shot.is_gradual],
            "visual_beats": picture.visual_beats,
            "visual_beat_strengths": picture.visual_beat_strengths,
            "onsets": music.onsets,
            "beats": music.beats,
            "downbeats": music.downbeats,
            "tempo": music.tempo,
            "beats_per_bar": music.beats_per_bar,
            "beat_confidence": music.confidence,
            "sync": vars(self.sync),
            "cut_to_beat": {**vars(self.cut_to_beat), "median": self.cut_to_beat.median},
            "cut_to_onset": {**vars(self.cut_to_onset), "median": self.cut_to_onset.median},
            "tolerance": TOLERANCE,
            "energy_correlation": self.energy_correlation,
            "curves_rate": 10,
            "picture_energy": picture.events.energy[::step],
            "music_energy": music.events.energy[::step],
            "loudness_lufs": self.loudness.integrated_lufs,
            "true_peak_db": self.loudness.true_peak_db,
            "short_term_start": SHORT_TERM_START,
            "short_term_lufs": self.loudness.short_term,
        }
        return {name: plain(value) for name, value in found.items()}


def plain(value: Any) -> Any:
    """The value with arrays as lists, numbers rounded to 4 places and NaN or infinities as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 4) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def nearest(moments: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """For each moment [N] the nearest mark [M] (increasing) minus the moment, s; NaN where there are no marks."""
    if len(marks) == 0:
        return np.full(len(moments), math.nan)
    right = np.clip(np.searchsorted(marks, moments), 0, len(marks) - 1)
    left = np.maximum(right - 1, 0)
    after, before = marks[right] - moments, marks[left] - moments
    return np.where(np.abs(before) <= np.abs(after), before, after)


def fit(moments: np.ndarray, marks: np.ndarray, duration: float, seed: int = 0) -> Fit:
    """Nearness of marks [M] to moments [N] in a piece of `duration` s, with chance from circular shifts of moments."""
    errors = nearest(moments, marks)
    if len(moments) == 0 or len(marks) == 0:
        return Fit(errors, math.nan, math.nan)
    shifts = np.random.default_rng(seed).uniform(0, duration, N_SHIFTS)
    moved = ((moments + shifts[:, None]) % duration).ravel()
    within, chance = (float(np.mean(np.abs(e) <= TOLERANCE + 1e-9)) for e in (errors, nearest(moved, marks)))
    return Fit(errors, within, chance)


def measure_loudness(path: str | Path, info: VideoInfo) -> Loudness:
    """Loudness and true peak of a file's sound, in bounded memory."""
    loudness, peak = LoudnessMeter(SAMPLE_RATE_OUT, 2), PeakMeter(2)
    for block in read_audio_blocks(path, SAMPLE_RATE_OUT, 2, info=info):
        loudness.add(block)
        peak.add(block)
    peak.finish()
    return Loudness(loudness.integrated(), peak.true_peak, loudness.short_term())


def take_thumbnails(path: str | Path, info: VideoInfo, n: int) -> tuple[bytes, ...]:
    """n pictures evenly spread over a video, as JPEG files."""
    request = FrameRequest(Fraction(n) / info.duration, THUMBNAIL, False)
    return tuple(jpeg(frame) for chunk in read_frames(path, [request], info=info) for frame in chunk.frames)


def jpeg(picture: np.ndarray) -> bytes:
    """A picture [h, w, 3] uint8 RGB as a JPEG file."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    encoder.qmin, encoder.qmax = 4, 7
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def make_report(path: str | Path, progress: Callable[[str, float], None] | None = None) -> Report:
    """Measure a video with sound. progress: called with "analyze" or "listen" and how much of it is done.

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
    duration = float(info.duration)
    report = Report(
        name=Path(path).name,
        info=info,
        provenance=read_provenance(path),
        picture=picture,
        music=music,
        sync=sync_z(onset_strength(wave, ANALYSIS_RATE), picture.visual_beats, info.duration),
        cut_to_beat=fit(picture.cuts, music.beats, duration),
        cut_to_onset=fit(picture.cuts, music.onsets, duration),
        energy_correlation=energy_correlation(picture.events.energy, music.events.energy),
        loudness=measure_loudness(path, info),
        thumbnails=take_thumbnails(path, info, strip_length(duration)),
    )
    tell("listen", 1.0)
    return report


def write_report(
    path: str | Path,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Report:
    """Measure a video and write NAME.report.html and NAME.report.json (or `output` and the same name in .json).

    Both appear whole or not at all. Raises InputError and OutputError.
    """
    page = Path(output) if output else Path(path).with_suffix(".report.html")
    if page.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"a report is written as HTML; end {page} in .html.")
    with Outputs(path, overwrite) as outputs:
        probe(path)
        hidden_page, hidden_data = outputs.reserve(page), outputs.reserve(page.with_suffix(".json"))
        report = make_report(path, progress)
        data = report.to_json()
        pictures = [base64.b64encode(picture).decode("ascii") for picture in report.thumbnails]
        hidden_page.write_text(draw_page(data, pictures), encoding="utf-8")
        hidden_data.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        outputs.commit()
    return report
