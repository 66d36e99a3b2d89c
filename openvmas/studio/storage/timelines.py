"""Timelines of a take for video editors, with picture, original, music and stems on tracks.

Final Cut Pro XML in its two kinds: FCPXML (Final Cut Pro, DaVinci Resolve) and xmeml (Premiere Pro). OpenTimelineIO is
written by `markers`.
"""

from __future__ import annotations

from fractions import Fraction
from xml.etree import ElementTree as ET

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.storage.markers import COLOURS, IN_EDITORS, Markers

FCPXML_COLOURS = {"section", "bar"}  # kinds that are plain markers; the others are to-do markers, which stand out


def frame_time(fps: float) -> Fraction:
    """The exact length of a frame, s: 1001/30000 for 29.97."""
    return 1 / Fraction(fps).limit_denominator(1001)


def write_fcpxml(markers: Markers) -> str:
    """FCPXML 1.8: the picture as the spine, its markers, and each sound as a connected clip on a lane of its own.

    From 1.9 on files stand in elements of their own, which OpenTimelineIO's reader does not know.
    """
    step = frame_time(markers.fps)

    def seconds(frames: int) -> str:
        time = frames * step
        return "0s" if not time else f"{time.numerator}/{time.denominator}s"

    length = markers.frame(markers.duration)
    root = ET.Element("fcpxml", version="1.8")
    resources = ET.SubElement(root, "resources")
    rate = f"{step.numerator}/{step.denominator}s"
    ET.SubElement(
        resources, "format", id="r1", frameDuration=rate, width=str(markers.width), height=str(markers.height)
    )
    files = [(markers.clip, True), *((track.file, False) for track in markers.sounds)]
    for number, (file, has_picture) in enumerate(files, start=2):
        kinds = {"hasVideo": "1", "format": "r1"} if has_picture else {}
        has_sound = not has_picture or markers.clip_has_sound
        sound = {
            "hasAudio": "1", "audioSources": "1", "audioChannels": "2", "audioRate": str(SAMPLE_RATE_OUT),
        }  # fmt: skip
        facts = {"id": f"r{number}", "name": file, "start": "0s", "duration": seconds(length)}
        asset = ET.SubElement(resources, "asset", facts | {"src": file} | kinds | (sound if has_sound else {}))
        ET.SubElement(asset, "metadata")  # OpenTimelineIO's reader overlooks what kind of file it is without a child
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name=markers.title)
    project = ET.SubElement(event, "project", name=markers.title)
    sequence = ET.SubElement(
        project, "sequence", format="r1", duration=seconds(length), tcStart="0s", tcFormat="NDF", audioRate="48k"
    )
    spine = ET.SubElement(sequence, "spine")
    clip = ET.SubElement(
        spine, "asset-clip", ref="r2", name=markers.clip, offset="0s", start="0s", duration=seconds(length),
        format="r1", srcEnable="video",
    )  # fmt: skip
    for lane, track in enumerate(markers.sounds, start=1):
        ET.SubElement(
            clip, "asset-clip", ref=f"r{lane + 2}", lane=str(-lane), name=track.name, offset="0s", start="0s",
            duration=seconds(length), srcEnable="audio", enabled="1" if track.is_enabled else "0",
            audioRole=f"music.{track.name}" if track.is_music else "dialogue",
        )  # fmt: skip
    for item in markers.items:
        if item.kind in IN_EDITORS:
            first = markers.frame(item.time)
            more = {} if item.kind in FCPXML_COLOURS else {"completed": "0"}
            facts = {"start": seconds(first), "duration": seconds(1), "value": item.name}
            ET.SubElement(clip, "marker", facts | more)
    return '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n' + to_text(root)


def write_xmeml(markers: Markers) -> str:
    """Final Cut Pro 7 XML (xmeml 4), which Premiere Pro imports with its markers and all tracks."""
    length, is_ntsc = markers.frame(markers.duration), frame_time(markers.fps).numerator == 1001
    root = ET.Element("xmeml", version="4")
    sequence = ET.SubElement(root, "sequence", id="sequence-1")
    add(sequence, "name", markers.title)
    add(sequence, "duration", length)
    rate(sequence, markers, is_ntsc)
    media = ET.SubElement(sequence, "media")
    video = ET.SubElement(media, "video")
    characteristics = ET.SubElement(ET.SubElement(video, "format"), "samplecharacteristics")
    rate(characteristics, markers, is_ntsc)
    add(characteristics, "width", markers.width)
    add(characteristics, "height", markers.height)
    clip_item(ET.SubElement(video, "track"), markers, "picture", markers.clip, (True, is_ntsc), True)
    audio = ET.SubElement(media, "audio")
    for number, track in enumerate(markers.sounds, start=1):
        item = clip_item(
            ET.SubElement(audio, "track"), markers, f"sound-{number}", track.file, (False, is_ntsc), track.is_enabled
        )
        source = ET.SubElement(item, "sourcetrack")
        add(source, "mediatype", "audio")
        add(source, "trackindex", 1)
    for marker in markers.items:
        if marker.kind not in IN_EDITORS:
            continue
        entry = ET.SubElement(sequence, "marker")
        add(entry, "name", marker.name)
        add(entry, "comment", f"{marker.kind} ({COLOURS[marker.kind].lower()})")
        first = markers.frame(marker.time)
        add(entry, "in", first)
        add(entry, "out", markers.frame(marker.time + marker.duration) if marker.duration else -1)
    return '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n' + to_text(root)


def clip_item(
    track: ET.Element, markers: Markers, name: str, file: str, kind: tuple[bool, bool], is_enabled: bool
) -> ET.Element:
    """Add one whole file to a track. kind: whether it is a picture, and whether its rate is one of NTSC."""
    is_picture, is_ntsc = kind
    length = markers.frame(markers.duration)
    item = ET.SubElement(track, "clipitem", id=name)
    add(item, "name", file)
    add(item, "enabled", "TRUE" if is_enabled else "FALSE")
    add(item, "duration", length)
    rate(item, markers, is_ntsc)
    for edge, value in (("start", 0), ("end", length), ("in", 0), ("out", length)):
        add(item, edge, value)
    source = ET.SubElement(item, "file", id=f"file-{name}")
    add(source, "name", file)
    add(source, "pathurl", file)
    add(source, "duration", length)
    rate(source, markers, is_ntsc)
    media = ET.SubElement(source, "media")
    if is_picture:
        ET.SubElement(media, "video")
    if not is_picture or markers.clip_has_sound:
        sound = ET.SubElement(media, "audio")
        add(sound, "channelcount", 2)
    return item


def rate(parent: ET.Element, markers: Markers, is_ntsc: bool) -> None:
    """Add the frame rate as xmeml says it: a whole number, and whether it is slowed by 1000/1001."""
    entry = ET.SubElement(parent, "rate")
    add(entry, "timebase", markers.rate)
    add(entry, "ntsc", "TRUE" if is_ntsc else "FALSE")


def add(parent: ET.Element, name: str, value: object) -> None:
    """Add an element with text."""
    ET.SubElement(parent, name).text = str(value)


def to_text(root: ET.Element) -> str:
    """Indented text of an element, without characters that XML cannot hold."""
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, legal(value))
        element.text = None if element.text is None else legal(element.text)
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    """Text without control characters."""
    return "".join(c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else " " for c in text)
