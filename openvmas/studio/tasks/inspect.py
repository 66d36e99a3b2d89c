"""In the sandbox: an uploaded video is checked and analyzed; filmstrip, curves, speech and a first plan."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError
from openvmas.files import write_bytes, write_text
from openvmas.generate.deliver import Stages, plain, summarize
from openvmas.generate.scorer import inspect
from openvmas.media.audio import read_audio_blocks
from openvmas.media.containers import choose_extension
from openvmas.media.jpeg import jpeg
from openvmas.media.loudness import Duck, integrated_loudness, speech_spans
from openvmas.media.probe import VideoInfo, open_media, picture_stream, probe
from openvmas.media.video import FrameRequest
from openvmas.planning.plan_yaml import write_plan
from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT, Options
from openvmas.studio.limits import MAX_FRAME_RATE
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.vision.analysis import PartialAnalysis, VideoAnalysis

STRIP_WIDTH, STRIP_HEIGHT, STRIP_COLUMNS, MAX_STRIP = 160, 90, 10, 120  # px, and numbers of pictures
CURVES_RATE = 10  # per second, of the curves that the page draws
STAGE_NAMES = {"analyze": "watch", "listen": "listen", "plan": "plan"}  # of a run, in messages
SHOWN = (
    "duration", "fps", "frame_interval", "n_frames", "width", "height", "codec", "container", "has_audio",
)  # fmt: skip
CUT_OFF_SHARE = 0.03  # of the length; headers are often a little wrong
PLAYED_BY_BROWSERS = {"h264", "vp8", "vp9", "av1"}


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """The facts about a video that its project keeps. Raises InputError for no video, or one beyond the limits."""
    info = probe(Path(request["source"]))
    name = request["name"]
    if info.duration > 60 * request["max_minutes"]:
        raise InputError(
            f"{name} lasts {float(info.duration) / 60:.1f} minutes, more than the {request['max_minutes']:g} allowed "
            "here; cut it, or start the studio with a greater --max-minutes."
        )
    if info.width * info.height > request["max_pixels"]:
        raise InputError(
            f"{name} has {info.width} by {info.height} pixels, more than the {request['max_pixels']} allowed here; "
            "scale it down, or start the studio with a greater --max-pixels."
        )
    if info.fps > MAX_FRAME_RATE:
        raise InputError(f"{name} has {float(info.fps):.0f} frames per second; convert it to {MAX_FRAME_RATE} or less.")
    choose_extension(info)  # raises InputError for a picture that no container written here can hold
    n, (width, height) = strip_shape(info)
    return plain(
        {
            "filename": name,
            **{field: getattr(info, field) for field in SHOWN},
            "missing": missing_length(info),
            "is_playable": info.codec in PLAYED_BY_BROWSERS and info.container.startswith(("mov", "matroska")),
            "filmstrip": {"n": n, "ready": 0, "columns": STRIP_COLUMNS, "width": width, "height": height},
        }
    )


def missing_length(info: VideoInfo) -> float:
    """Seconds by which a file announces more picture than it holds; 0 where that is too little to be a file cut off."""
    with open_media(info.path) as container:
        stream = picture_stream(container, Path(info.path).name)
        told = None if stream.duration is None or stream.time_base is None else stream.duration * stream.time_base
        if told is None and container.duration:
            told = Fraction(container.duration, 1_000_000)
    lacking = float(told or 0) - float(info.duration)
    return round(lacking, 2) if lacking > max(1.0, CUT_OFF_SHARE * float(info.duration)) else 0.0


def strip_shape(info: VideoInfo) -> tuple[int, tuple[int, int]]:
    """Number of pictures in the filmstrip, their width and height in px."""
    n = min(max(8, math.ceil(info.duration)), MAX_STRIP, max(1, info.n_frames))
    scale = min(Fraction(STRIP_WIDTH, info.width), Fraction(STRIP_HEIGHT, info.height))
    return n, (max(8, round(info.width * scale)), max(8, round(info.height * scale)))


class Strip:
    """Collects the pictures of the filmstrip and rewrites its file as they come."""

    def __init__(self, path: Path, n: int, size: tuple[int, int], tell: Any) -> None:
        width, height = size
        self._path, self._n, self._tell = path, n, tell
        self._sheet = np.zeros((-(-n // STRIP_COLUMNS) * height, STRIP_COLUMNS * width, 3), np.uint8)
        self._size, self._seen, self._drawn = size, 0, 0

    def push(self, times: np.ndarray, frames: np.ndarray, /) -> None:
        """Take every second sample: those in the middle of each picture's span."""
        width, height = self._size
        for frame in frames:
            if self._seen % 2 and self._seen // 2 < self._n:
                row, column = divmod(self._seen // 2, STRIP_COLUMNS)
                self._sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = frame
            self._seen += 1
        self.draw()

    def draw(self) -> None:
        ready = min(self._seen // 2, self._n)
        if ready > self._drawn:
            write_bytes(self._path, jpeg(self._sheet))
            self._drawn = ready
            self._tell({"filmstrip": ready})


def look(request: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Check and analyze a new video and write the files of its project. Returns the plan as YAML."""
    source, folder = Path(request["source"]), ProjectFolder(Path(request["home"]), request["project"])
    folder.partial_analysis.unlink(missing_ok=True)  # an attempt that broke off may have left its own
    found = examine(request)
    tell({"video": found})
    info = probe(source)
    n, (width, height) = strip_shape(info)
    strip = Strip(folder.filmstrip, n, (width, height), tell)
    # In chunks of two pictures the strip grows while the video is watched.
    wanted = FrameRequest(Fraction(2 * n) / info.duration, (width, height), chunk=4)

    def show(seen: PartialAnalysis) -> None:
        write_text(folder.partial_analysis, json.dumps(partial_summary(seen)))

    stages = Stages(lambda stage, done: tell({"stage": STAGE_NAMES[stage], "done": done}))
    options = Options.of()
    prepared = inspect(info, options, stages, request["threads"], [(wanted, strip)], show)
    analysis, speech = prepared.analysis, prepared.speech
    if speech is not None:
        np.save(folder.speech, speech)
    analysis.save(folder.analysis)
    summary = summary_of(analysis, info, speech) | levels_of(info, speech)
    folder.summary.write_text(json.dumps(summary), encoding="utf-8")
    folder.partial_analysis.unlink(missing_ok=True)
    return {"plan": write_plan(prepared.plan), "filmstrip": n}


def noting_peaks(blocks: Iterable[np.ndarray], peaks: list[float]) -> Iterator[np.ndarray]:
    """Pass blocks [2, n] on and append the highest sample of every span of CURVES_RATE to `peaks`."""
    span = SAMPLE_RATE_OUT // CURVES_RATE
    rest = np.zeros(0, np.float32)
    for block in blocks:
        yield block
        rest = np.concatenate([rest, np.abs(block).max(axis=0)])
        n = len(rest) // span
        peaks += rest[: n * span].reshape(n, span).max(axis=1).tolist()
        rest = rest[n * span :]


def levels_of(info: VideoInfo, speech: np.ndarray | None) -> dict[str, Any]:
    """Figures that the page needs to show the original and to play music as it will be mixed: its loudness, LUFS, its
    peaks, and `ducking`, the share of the whole depth by which music is lowered under speech, both at CURVES_RATE."""
    if speech is None:
        return {"original_lufs": None, "original_peaks": None, "ducking": None, "speech_spans": []}
    peaks: list[float] = []
    blocks = noting_peaks(read_audio_blocks(info.path, SAMPLE_RATE_OUT, 2, info=info), peaks)
    times = np.arange(0, float(info.duration), 1 / CURVES_RATE)
    spans = speech_spans(speech)
    shares = Duck(spans, 1.0).gain_db(times)
    return plain({
        "original_lufs": integrated_loudness(blocks, SAMPLE_RATE_OUT),
        "original_peaks": [round(peak, 3) for peak in peaks],
        "ducking": [round(float(share), 3) for share in shares] if shares.any() else None,
        "speech_spans": [[round(start, 4), round(end, 4)] for start, end in spans],
    })  # fmt: skip


def thin(curve: np.ndarray) -> list[float]:
    """A curve of the control clock, thinned to CURVES_RATE."""
    return [round(float(value), 3) for value in curve[:: round(float(CONTROL_RATE) / CURVES_RATE)]]


def partial_summary(seen: PartialAnalysis) -> dict[str, Any]:
    """The part of `summary_of` that is known of the first `until` s, for the page to draw meanwhile."""
    return plain(
        {
            **{name: getattr(seen, name) for name in ("until", "cuts", "visual_beats", "visual_beat_strengths")},
            "shots": [asdict(shot) for shot in seen.shots],
            "curves_rate": float(CURVES_RATE),
            "energy": thin(seen.energy),
        }
    )


def summary_of(analysis: VideoAnalysis, info: VideoInfo, speech: np.ndarray | None) -> dict[str, Any]:
    """The events of a video and its curves thinned to CURVES_RATE, for the page to draw."""
    return summarize(analysis) | {
        "n_frames": info.n_frames,
        "is_static": bool(analysis.is_static),
        "curves_rate": float(CURVES_RATE),
        "energy": thin(analysis.events.energy),
        "motion": thin(analysis.motion),
        "novelty": thin(analysis.events.novelty),
        "speech": None if speech is None else thin(speech),
    }
