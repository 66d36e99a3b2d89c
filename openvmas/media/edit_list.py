"""The parts of a recording under a picture as an edit list for video editors: EDL (CMX 3600) and OpenTimelineIO JSON.

An EDL counts frames, so its edges lie on the nearest ones; OTIO has them to the sample. Timecodes are non-drop at the
nearest whole rate; the timeline begins at 01:00:00:00, as those of editors do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from openvmas.errors import OptionError
from openvmas.settings import SAMPLE_RATE_OUT

TIMELINE_START = 3600  # s
FORMATS = (".edl", ".otio")
AUDIO_FPS = Fraction(25)  # of an EDL without a picture


@dataclass(frozen=True)
class EditPart:
    """A span of a recording, source_start to source_end s, that is heard from start to end s of the timeline."""

    start: float
    end: float
    source_start: float
    source_end: float

    @property
    def rate(self) -> float:
        """Seconds of the recording for one of the timeline."""
        return (self.source_end - self.source_start) / max(self.end - self.start, 1e-9)


def check_edit_name(name: str, has_joins: bool = True) -> None:
    """Raises OptionError for a name whose format is not known, and for music that has no joins."""
    path = Path(name)
    if not has_joins:
        raise OptionError("this model writes music without joins; give --music with --joins-out.")
    if path.suffix.lower() not in FORMATS:
        raise OptionError(f"joins are written as EDL or OTIO; give --joins-out a name in .edl or .otio, not {path}.")


def write_edit(path: Path, described: Sequence[Mapping[str, float]], recording: str, fps: Fraction = AUDIO_FPS) -> None:
    """Write an edit list in the format of the path's ending.

    described: the parts, as a report of fitted music has them; recording: path of the file that is played.
    """
    text = edit_text(path.suffix.lower(), described, recording, fps)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def edit_text(ending: str, described: Sequence[Mapping[str, float]], recording: str, fps: Fraction) -> str:
    """An edit list in one of FORMATS; the rest as for `write_edit`."""
    parts = [EditPart(*(float(part[item.name]) for item in fields(EditPart))) for part in described]
    return as_otio(parts, recording) if ending == ".otio" else as_edl(parts, recording, fps)


def timecode(frame: int, fps: int) -> str:
    """hh:mm:ss:ff of a frame."""
    seconds, frames = divmod(frame, fps)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def as_edl(parts: Sequence[EditPart], recording: str, fps: Fraction) -> str:
    """Each part as an audio event, with an M2 line where its tempo is changed."""
    name, rate = ascii_only(Path(recording).name), max(1, round(fps))

    def frame(seconds: float) -> int:
        return int(seconds * float(fps) + 0.5)

    lines = [f"TITLE: {name[:70]}", "FCM: NON-DROP FRAME", ""]
    number = 0
    for part in parts:
        begin, end = frame(part.start), frame(part.end)
        if end <= begin:
            continue
        number += 1
        source = frame(part.source_start)
        length = max(round((end - begin) * part.rate), 1)
        first = begin + TIMELINE_START * rate, end + TIMELINE_START * rate
        edges = [source, source + length, *first]
        lines.append(f"{number:03}  AX       AA    C        {' '.join(timecode(edge, rate) for edge in edges)}")
        if abs(part.rate - 1) > 5e-4:
            lines.append(f"M2   AX       {part.rate * rate:05.1f}                {timecode(source, rate)}")
        lines.append(f"* FROM CLIP NAME: {name}")
        lines.append(f"* EXACT: {part.source_start:.4f}-{part.source_end:.4f} s AT {part.start:.4f} s")
    return "\r\n".join(lines) + "\r\n"


def ascii_only(text: str) -> str:
    """EDLs are ASCII, one statement per line."""
    return "".join(c if " " <= c <= "~" else "_" for c in text)


def as_otio(parts: Sequence[EditPart], recording: str) -> str:
    """An audio track with a clip for each part and a marker at each join."""
    file = Path(recording).name

    def span(start: float, seconds: float) -> dict[str, Any]:
        return otio_range(round(start * SAMPLE_RATE_OUT), round(seconds * SAMPLE_RATE_OUT), SAMPLE_RATE_OUT)

    children = []
    if parts and parts[0].start > 0:
        children.append(otio_item("Gap.1", "", source_range=span(0.0, parts[0].start)))
    before: EditPart | None = None
    for part in parts:
        # In OTIO a clip is as long as its source_range, whatever its effects do.
        effects = [] if abs(part.rate - 1) < 1e-6 else [
            {"OTIO_SCHEMA": "LinearTimeWarp.1", "metadata": {}, "name": "", "effect_name": "LinearTimeWarp",
             "time_scalar": part.rate, "enabled": True}
        ]  # fmt: skip
        is_joined = before is not None and abs(part.source_start - before.source_end) > 1e-3
        markers = [otio_marker("Join", "RED", span(part.source_start, 0.0))] if is_joined else []
        length = span(part.source_start, part.end - part.start)
        children.append(otio_clip(file, recording, length, None, effects=effects, markers=markers))
        before = part
    return otio_timeline(file, [otio_item("Track.1", "Music", children=children, kind="Audio")])


def otio_range(first: int, length: int, rate: float) -> dict[str, Any]:
    """A TimeRange of `length` frames or samples from number `first` on."""
    start, duration = (
        {"OTIO_SCHEMA": "RationalTime.1", "rate": float(rate), "value": float(value)} for value in (first, length)
    )
    return {"OTIO_SCHEMA": "TimeRange.1", "start_time": start, "duration": duration}


def otio_item(schema: str, name: str, **rest: Any) -> dict[str, Any]:
    """An object of a timeline with the fields that all of them have."""
    common = {"metadata": {}, "name": name, "source_range": None, "effects": [], "markers": [], "enabled": True}
    return {"OTIO_SCHEMA": schema, **common, **rest}


def otio_marker(name: str, colour: str, marked: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """A marker on a clip. marked: its TimeRange."""
    return {
        "OTIO_SCHEMA": "Marker.2", "metadata": metadata, "name": name, "color": colour, "comment": "",
        "marked_range": marked,
    }  # fmt: skip


def otio_clip(
    name: str, url: str, played: dict[str, Any], available: dict[str, Any] | None, **rest: Any
) -> dict[str, Any]:
    """A span of a file. played, available: the TimeRange that is shown or heard, and that of the file, if known."""
    media = {
        "OTIO_SCHEMA": "ExternalReference.1", "metadata": {}, "name": name, "available_range": available,
        "available_image_bounds": None, "target_url": url,
    }  # fmt: skip
    references = {"media_references": {"DEFAULT_MEDIA": media}, "active_media_reference_key": "DEFAULT_MEDIA"}
    return otio_item("Clip.2", name, source_range=played, **rest, **references)


def otio_timeline(name: str, tracks: Sequence[dict[str, Any]]) -> str:
    """The text of a file with one timeline."""
    timeline = {
        "OTIO_SCHEMA": "Timeline.1", "metadata": {}, "name": name, "global_start_time": None,
        "tracks": otio_item("Stack.1", "tracks", children=list(tracks)),
    }  # fmt: skip
    return json.dumps(timeline, indent=1, ensure_ascii=False) + "\n"
