"""Sections, hits and beats of a plan for video editors: CSV, CMX 3600 EDL and OpenTimelineIO JSON.

An editor counts frames: each moment goes to the nearest one. Timecodes are non-drop at the nearest whole rate, from
00:00:00:00, as the frames of the finished video are counted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
class Markers:
    """Everything that is marked in one video. clip: its file name; duration: s; fps: frames per second."""

    clip: str
    title: str
    duration: float
    fps: float
    items: tuple[Marker, ...]

    @property
    def rate(self) -> int:
        """Frames that a second of timecode has."""
        return max(1, round(self.fps))

    def frame(self, time: float) -> int:
        """The frame nearest to a time, s."""
        return int(time * self.fps + 0.5)

    def timecode(self, time: float) -> str:
        """hh:mm:ss:ff."""
        seconds, frames = divmod(self.frame(time), self.rate)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def gather(plan: ScorePlan, video: dict[str, Any], clip: str, title: str) -> Markers:
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
    return Markers(clip, title, float(plan.duration), video["fps"], order)


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
        times = f"{item.time:.4f}", f"{item.duration:.4f}", markers.frame(item.time), markers.timecode(item.time)
        table.writerow((item.kind, name, *times))
    return out.getvalue()


def write_edl(markers: Markers) -> str:
    """One event per section; everything else as locators of the section it lies in."""
    lines = [f"TITLE: {printable(markers.title)[:70]}", "FCM: NON-DROP FRAME", ""]
    sections = [item for item in markers.items if item.kind == "section"]
    for number, section in enumerate(sections, start=1):
        end = section.time + section.duration
        span = f"{markers.timecode(section.time)} {markers.timecode(end)}"
        lines.append(f"{number:03}  AX       V     C        {span} {span}")
        lines.append(f"* FROM CLIP NAME: {printable(markers.clip)}")
        for item in markers.items:
            if item.kind in IN_EDITORS and section.time <= item.time < end:
                colour = COLOURS[item.kind]
                lines.append(f"* LOC: {markers.timecode(item.time)} {colour:<7} {printable(item.name)}")
        lines.append("")
    return "\r\n".join(lines)


def printable(text: str) -> str:
    """EDLs are ASCII, one statement per line."""
    return "".join(c if " " <= c <= "~" else "_" for c in text)


def write_otio(markers: Markers) -> str:
    """A timeline with one clip, the finished video, that carries the markers."""

    def moment(value: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "RationalTime.1", "rate": markers.fps, "value": float(value)}

    def span(start: float, end: float) -> dict[str, Any]:
        first = markers.frame(start)
        length = max(markers.frame(end) - first, 0)
        return {"OTIO_SCHEMA": "TimeRange.1", "start_time": moment(first), "duration": moment(length)}

    def item(schema: str, name: str, **rest: Any) -> dict[str, Any]:
        common = {"metadata": {}, "name": name, "source_range": None, "effects": [], "markers": [], "enabled": True}
        return {"OTIO_SCHEMA": schema, **common, **rest}

    marks = [
        {
            "OTIO_SCHEMA": "Marker.2", "metadata": {"openvmas": {"kind": m.kind, "time": m.time}}, "name": m.name,
            "color": COLOURS[m.kind], "comment": "", "marked_range": span(m.time, m.time + m.duration),
        }
        for m in markers.items if m.kind in IN_EDITORS
    ]  # fmt: skip
    whole = span(0.0, markers.duration)
    media = {
        "OTIO_SCHEMA": "ExternalReference.1", "metadata": {}, "name": markers.clip, "available_range": whole,
        "available_image_bounds": None, "target_url": markers.clip,
    }  # fmt: skip
    clip = item(
        "Clip.2", markers.clip, source_range=whole, markers=marks, media_references={"DEFAULT_MEDIA": media},
        active_media_reference_key="DEFAULT_MEDIA",
    )  # fmt: skip
    track = item("Track.1", "Picture", children=[clip], kind="Video")
    stack = item("Stack.1", "tracks", children=[track])
    timeline = {
        "OTIO_SCHEMA": "Timeline.1", "metadata": {}, "name": markers.title, "global_start_time": None, "tracks": stack,
    }  # fmt: skip
    return json.dumps(timeline, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, tuple[str, Callable[[Markers], str]]] = {
    "csv": ("text/csv", write_csv),
    "edl": ("text/plain", write_edl),
    "otio": ("application/json", write_otio),
}
