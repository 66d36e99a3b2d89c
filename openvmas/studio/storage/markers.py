"""Sections, hits and beats of a plan for video editors: CSV, EDL and OpenTimelineIO JSON.

An editor counts frames: each moment goes to the nearest one. Timecodes are non-drop at the nearest whole rate; CSV
counts from 00:00:00:00, as the frames of the finished video, EDL from 01:00:00:00, as timelines of editors do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openvmas.media.edit_list import (
    TIMELINE_START,
    ascii_only,
    otio_clip,
    otio_item,
    otio_marker,
    otio_range,
    otio_timeline,
    timecode,
)
from openvmas.planning.schema import ScorePlan, Section

COLOURS = {"section": "GREEN", "hit": "RED", "accent": "YELLOW", "bar": "BLUE", "beat": "CYAN"}
IN_EDITORS = ("section", "hit", "accent", "bar")  # single beats would bury the rest


@dataclass(frozen=True)
class Marker:
    """time, duration: s (a moment has none). kind: a key of COLOURS."""

    time: float
    duration: float
    kind: str
    name: str


@dataclass(frozen=True)
class SoundTrack:
    """A track with one file of sound, as long as the picture. is_enabled: whether it is heard."""

    name: str
    file: str
    is_enabled: bool = True
    is_music: bool = False


@dataclass(frozen=True)
class Markers:
    """Everything that is marked in one video. clip: its file name; duration: s; fps: frames per second.

    sounds: tracks beside the picture. width, height: of the picture, px. clip_has_sound: the picture's file has some.
    """

    clip: str
    title: str
    duration: float
    fps: float
    items: tuple[Marker, ...]
    sounds: tuple[SoundTrack, ...] = ()
    width: int = 1920
    height: int = 1080
    clip_has_sound: bool = True

    @property
    def rate(self) -> int:
        """Frames that a second of timecode has."""
        return max(1, round(self.fps))

    def frame(self, time: float) -> int:
        """The frame nearest to a time, s."""
        return int(time * self.fps + 0.5)

    def timecode(self, frame: int) -> str:
        """hh:mm:ss:ff."""
        return timecode(frame, self.rate)


def gather(plan: ScorePlan, video: dict[str, Any], clip: str, title: str, music: str | None = None) -> Markers:
    """The markers of a plan, in order of time."""
    found = [
        Marker(section.start, section.end - section.start, "section", f"Section {i}{describe(section)}")
        for i, section in enumerate(plan.sections, start=1)
    ]
    found += [
        Marker(hit.time, 0.0, "hit" if hit.source == "user" else "accent", f"{hit.source} {hit.strength:.2f}")
        for hit in plan.hits
    ]
    bars = {round(float(time), 4) for time in plan.downbeats}
    found += [Marker(time, 0.0, "bar", f"Bar {i}") for i, time in enumerate(sorted(bars), start=1)]
    beats = [round(float(time), 4) for time in plan.beats]
    found += [Marker(time, 0.0, "beat", "Beat") for time in beats if time not in bars]
    order = tuple(sorted(found, key=lambda item: (item.time, list(COLOURS).index(item.kind))))
    has_sound = bool(video.get("has_audio"))
    sounds = [SoundTrack("Original", video["filename"])] if has_sound else []
    sounds += [SoundTrack("Music", music, is_music=True)] if music else []
    size = video.get("width", Markers.width), video.get("height", Markers.height)
    return Markers(clip, title, float(plan.duration), video["fps"], order, tuple(sounds), *size, has_sound)


def describe(section: Section) -> str:
    """The wishes for a section, in a few words on one line."""
    words = section.text or ", ".join(axis for axis, value in section.mood.items() if value > 0.5)
    return f": {' '.join(words.split())[:60]}" if words.strip() else ""


def write_csv(markers: Markers) -> str:
    """One line per marker, with a heading."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(("kind", "name", "time", "duration", "frame", "timecode"))
    for item in markers.items:
        # A spreadsheet would run a text that begins like a formula.
        name = f"'{item.name}" if item.name[:1] in "=+-@" else item.name
        times = (
            f"{item.time:.4f}",
            f"{item.duration:.4f}",
            markers.frame(item.time),
            markers.timecode(markers.frame(item.time)),
        )
        table.writerow((item.kind, name, *times))
    return out.getvalue()


def write_edl(markers: Markers) -> str:
    """Markers as DaVinci Resolve writes and reads them ("Timeline markers to EDL").

    Each is an event, and below it stand its colour, name and length in frames.
    """
    lines = [f"TITLE: {ascii_only(markers.title)[:70]}", "FCM: NON-DROP FRAME", ""]
    shown = [item for item in markers.items if item.kind in IN_EDITORS]
    for number, item in enumerate(shown, start=1):
        first = markers.frame(item.time)
        length = max(markers.frame(item.time + item.duration) - first, 1)
        begin = first + TIMELINE_START * markers.rate
        span = f"{markers.timecode(begin)} {markers.timecode(begin + length)}"
        name = ascii_only(item.name).replace("|", "/")
        lines.append(f"{number:03}  001      V     C        {span} {span}  ")
        lines.append(f" |C:ResolveColor{COLOURS[item.kind].title()} |M:{name} |D:{length}")
        lines.append("")
    return "\r\n".join(lines)


def write_otio(markers: Markers) -> str:
    """A timeline whose picture, the finished video, carries the markers; original and music have tracks of their own.

    Both at full level sound as in the mix.
    """

    def span(start: float, end: float) -> dict[str, Any]:
        first = markers.frame(start)
        return otio_range(first, max(markers.frame(end) - first, 0), markers.fps)

    marks = [
        otio_marker(
            m.name, COLOURS[m.kind], span(m.time, m.time + m.duration), openvmas={"kind": m.kind, "time": m.time}
        )
        for m in markers.items if m.kind in IN_EDITORS
    ]  # fmt: skip
    whole = span(0.0, markers.duration)

    def track(name: str, kind: str, file: str, marks: list[dict[str, Any]], is_enabled: bool = True) -> dict[str, Any]:
        clip = otio_clip(file, file, whole, whole, markers=marks)
        return otio_item("Track.1", name, children=[clip], kind=kind) | {"enabled": is_enabled}

    tracks = [track("Picture", "Video", markers.clip, marks)]
    tracks += [track(sound.name, "Audio", sound.file, [], sound.is_enabled) for sound in markers.sounds]
    return otio_timeline(markers.title, tracks)


FORMATS: dict[str, tuple[str, Callable[[Markers], str]]] = {
    "csv": ("text/csv", write_csv),
    "edl": ("text/plain", write_edl),
    "otio": ("application/json", write_otio),
}
