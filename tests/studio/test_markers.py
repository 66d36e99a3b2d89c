"""Markers for editors, read back by readers written here from the formats' descriptions."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree

import pytest

from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.studio.storage.markers import Markers, SoundTrack, gather, write_csv, write_edl, write_otio
from openvmas.studio.storage.timelines import write_fcpxml, write_xmeml

PLAN = ScorePlan(
    duration=Fraction(1001, 50),  # 20.02 s
    sections=(Section(0.0, 8.0, text="=calm\npiano, ümlaut"), Section(8.0, 20.02, mood={"sad": 1.5})),
    tempo_map=(TempoMark(0.0, 120.0),),
    hits=(Hit(2.5), Hit(7.99, 0.4, "picture"), Hit(19.99)),
)
RATES = [24.0, 25.0, 30000 / 1001, 24000 / 1001, 60.0, 12.5]


def gathered(fps: float) -> Markers:
    video = {"fps": fps, "filename": "clip.mp4", "has_audio": True}
    return gather(PLAN, video, "clip.take1.mp4", "Take 1", "clip.take1.ducked.wav")


@pytest.mark.parametrize("fps", RATES)
def test_csv_has_every_marker_with_its_frame(fps: float) -> None:
    rows = list(csv.DictReader(io.StringIO(write_csv(gathered(fps)))))
    assert [row["kind"] for row in rows].count("hit") == 2
    assert [row["kind"] for row in rows].count("beat") == 30  # 40 beats in 20 s, of which 10 are downbeats and "bar"
    times = [float(row["time"]) for row in rows]
    assert times == sorted(times)
    for row in rows:
        assert abs(int(row["frame"]) - float(row["time"]) * fps) <= 0.5 + 1e-6
        h, m, s, f = (int(part) for part in row["timecode"].split(":"))
        assert ((h * 60 + m) * 60 + s) * max(1, round(fps)) + f == int(row["frame"])
        assert not row["name"].startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("fps", RATES)
def test_edl_has_markers_as_resolve_writes_them(fps: float) -> None:
    text = write_edl(gathered(fps))
    assert text.isascii() and "\r\n" in text
    lines = text.split("\r\n")
    assert lines[:3] == ["TITLE: Take 1", "FCM: NON-DROP FRAME", ""]
    found = re.findall(
        r"^(\d{3})  001      V     C        (\S+) (\S+) (\S+) (\S+)  \r\n"
        r" \|C:ResolveColor([A-Z][a-z]+) \|M:([^|\r\n]*) \|D:(\d+)\r\n",
        text,
        re.MULTILINE,
    )
    assert len(found) == sum(item.kind != "beat" for item in gathered(fps).items)
    rate = round(fps)

    def frame(timecode: str) -> int:
        h, m, s, f = (int(part) for part in timecode.split(":"))
        return ((h * 60 + m) * 60 + s) * rate + f

    for number, (event, *codes, _, _, length) in enumerate(found, start=1):
        assert int(event) == number and codes[:2] == codes[2:]
        assert frame(codes[1]) - frame(codes[0]) == int(length) >= 1
    first, hit = found[0], next(one for one in found if one[5] == "Red")
    assert first[1] == "01:00:00:00" and first[5:7] == ("Green", "Section 1: =calm piano, _mlaut")
    assert frame(hit[1]) - 3600 * rate == int(2.5 * fps + 0.5)


def laid_out(fps: float) -> Markers:
    """With sounds that are heard and some that are not, as the ZIP for editors has them."""
    tracks = [SoundTrack("Original", "clip.mp4"), SoundTrack("Music", "music.wav", is_music=True)]
    tracks += [SoundTrack("Drums", "stem-drums.wav", False, True)]
    return replace(gathered(fps), clip="clip.mp4", sounds=tuple(tracks))


@pytest.mark.parametrize("fps", RATES)
def test_fcpxml_has_all_media_and_exact_times(fps: float) -> None:
    root = ElementTree.fromstring(write_fcpxml(laid_out(fps)).split("<!DOCTYPE fcpxml>")[1])
    step = 1 / Fraction(fps).limit_denominator(1001)
    assert [asset.get("src") for asset in root.iter("asset")] == ["clip.mp4", "clip.mp4", "music.wav", "stem-drums.wav"]
    (picture, *sounds) = root.iter("asset-clip")
    assert [sound.get("enabled") for sound in sounds] == ["1", "1", "0"]
    lanes = [int(sound.get("lane") or 0) for sound in sounds]
    assert lanes == [-1, -2, -3]
    for clip in (picture, *sounds):
        assert Fraction((clip.get("duration") or "").rstrip("s")) == int(20.02 * fps + 0.5) * step
    starts = [Fraction((marker.get("start") or "").rstrip("s")) / step for marker in root.iter("marker")]
    assert all(start.denominator == 1 for start in starts)
    assert starts == [int(item.time * fps + 0.5) for item in laid_out(fps).items if item.kind != "beat"]


@pytest.mark.parametrize("fps", RATES)
def test_xml_for_premiere_has_markers_and_tracks(fps: float) -> None:
    root = ElementTree.fromstring(write_xmeml(laid_out(fps)).split("<!DOCTYPE xmeml>")[1])
    assert [item.findtext("enabled") for item in root.iter("clipitem")] == ["TRUE", "TRUE", "TRUE", "FALSE"]
    assert [item.findtext("file/pathurl") for item in root.iter("clipitem")][2] == "music.wav"
    (rate, *_) = root.iter("rate")
    assert int(rate.findtext("timebase") or 0) == round(fps)
    assert rate.findtext("ntsc") == ("TRUE" if abs(fps - round(fps)) > 0.01 and fps > 20 else "FALSE")
    ins = [int(marker.findtext("in") or 0) for marker in root.iter("marker")]
    assert ins == [int(item.time * fps + 0.5) for item in laid_out(fps).items if item.kind != "beat"]


@pytest.mark.parametrize("fps", RATES)
def test_opentimelineio_opens_the_timeline(fps: float) -> None:
    otio = pytest.importorskip("opentimelineio")
    timeline = otio.adapters.read_from_string(write_otio(laid_out(fps)), "otio_json")
    (picture,) = timeline.video_tracks()
    assert [track.name for track in timeline.audio_tracks()] == ["Original", "Music", "Drums"]
    assert [track.enabled for track in timeline.audio_tracks()] == [True, True, False]
    files = [track[0].media_reference.target_url for track in timeline.audio_tracks()]
    assert files == ["clip.mp4", "music.wav", "stem-drums.wav"]
    for track in timeline.tracks:
        assert track[0].source_range.duration == otio.opentime.RationalTime(int(20.02 * fps + 0.5), fps)
    times = [marker.marked_range.start_time.value for marker in picture[0].markers]
    assert times == [int(item.time * fps + 0.5) for item in laid_out(fps).items if item.kind != "beat"]


@pytest.mark.parametrize(
    ("fps", "name"), [(25.0, "fcpx_xml"), (24.0, "fcpx_xml"), *((fps, "fcp_xml") for fps in RATES[:5])]
)
def test_opentimelineio_opens_the_timelines_in_xml(fps: float, name: str) -> None:
    """Its reader of FCPXML knows whole rates only, so other rates are checked above."""
    otio = pytest.importorskip("opentimelineio")
    pytest.importorskip(f"otio_{'fcp' if name == 'fcp_xml' else 'fcpx_xml'}_adapter")
    text = write_fcpxml(laid_out(fps)) if name == "fcpx_xml" else write_xmeml(laid_out(fps))
    found = otio.adapters.read_from_string(text, name)
    timeline = found if isinstance(found, otio.schema.Timeline) else found[0]
    (picture,) = timeline.video_tracks()
    assert [track[0].media_reference.target_url for track in timeline.audio_tracks()] == [
        "clip.mp4", "music.wav", "stem-drums.wav",
    ]  # fmt: skip
    for track in timeline.tracks:
        assert track[0].source_range.start_time.value == 0
        assert track[0].source_range.duration.value == int(20.02 * fps + 0.5)
    marks = picture[0].markers if name == "fcpx_xml" else timeline.tracks.markers
    times = [marker.marked_range.start_time.value for marker in marks]  # their rate is not read by FCPXML's
    wanted = [int(item.time * fps + 0.5) for item in laid_out(fps).items if item.kind != "beat"]
    assert times == wanted


@pytest.mark.parametrize("fps", RATES)
def test_otio_is_a_timeline_with_marked_ranges(fps: float) -> None:
    timeline = json.loads(write_otio(gathered(fps)))
    assert timeline["OTIO_SCHEMA"] == "Timeline.1"
    clip = timeline["tracks"]["children"][0]["children"][0]
    assert clip["OTIO_SCHEMA"] == "Clip.2"
    assert clip["source_range"]["duration"]["value"] == int(20.02 * fps + 0.5)
    reference = clip["media_references"][clip["active_media_reference_key"]]
    assert reference["target_url"] == "clip.take1.mp4"
    for marker in clip["markers"]:
        start = marker["marked_range"]["start_time"]
        assert start["rate"] == fps and start["value"] == int(start["value"])
        assert abs(start["value"] / fps - marker["metadata"]["openvmas"]["time"]) <= 0.5 / fps + 1e-6
    assert sum(marker["color"] == "RED" for marker in clip["markers"]) == 2
    sounds = timeline["tracks"]["children"][1:]
    assert [(track["name"], track["kind"]) for track in sounds] == [("Original", "Audio"), ("Music", "Audio")]
    files = [track["children"][0]["media_references"]["DEFAULT_MEDIA"]["target_url"] for track in sounds]
    assert files == ["clip.mp4", "clip.take1.ducked.wav"]
    assert all(track["children"][0]["source_range"] == clip["source_range"] for track in sounds)
