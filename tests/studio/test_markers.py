"""Markers for editors, read back by readers written here from the formats' descriptions."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction

import pytest

from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.studio.storage.markers import Markers, gather, write_csv, write_edl, write_otio

PLAN = ScorePlan(
    duration=Fraction(1001, 50),  # 20.02 s
    sections=(Section(0.0, 8.0, text="=calm\npiano, ümlaut"), Section(8.0, 20.02, mood={"sad": 1.5})),
    tempo_map=(TempoMark(0.0, 120.0),),
    hits=(Hit(2.5), Hit(7.99, 0.4, "picture"), Hit(19.99)),
)
RATES = [24.0, 25.0, 30000 / 1001, 24000 / 1001, 60.0, 12.5]


def gathered(fps: float) -> Markers:
    return gather(PLAN, {"fps": fps}, "clip.take1.mp4", "Take 1")


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


def test_edl_is_ascii_with_one_event_per_section_and_its_locators() -> None:
    text = write_edl(gathered(25.0))
    assert text.isascii() and "\r\n" in text
    lines = text.split("\r\n")
    assert lines[0] == "TITLE: Take 1" and lines[1] == "FCM: NON-DROP FRAME"
    events = [re.match(r"(\d{3})  AX       V     C        (\S+) (\S+) (\S+) (\S+)$", line) for line in lines]
    spans = [event.groups()[1:3] for event in events if event]
    assert spans == [("00:00:00:00", "00:00:08:00"), ("00:00:08:00", "00:00:20:01")]
    locators = [line for line in lines if re.match(r"\* LOC: \d\d:\d\d:\d\d:\d\d [A-Z]+ +\S", line)]
    assert "* LOC: 00:00:02:13 RED     user 1.00" in locators
    assert any("calm piano, _mlaut" in line for line in locators)
    assert all("\n" not in line for line in lines)


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
