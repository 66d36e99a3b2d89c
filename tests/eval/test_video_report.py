"""The report of a video with music: closed forms, a clip whose clicks come 40 ms after its cuts, the page itself."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from openvmas.errors import InputError, OutputError
from openvmas.eval.metrics.timing import align_marks, nearest
from openvmas.eval.reports.report_values import plain
from openvmas.eval.reports.video_report import BINS, draw_page, histogram, strip_length, strip_width, write_report
from openvmas.media.audio import write_wav
from openvmas.media.jpeg import jpeg
from openvmas.media.mux import mux
from openvmas.media.probe import probe
from openvmas.pages.rendering import clock, draw, length

NAME = "clicks <img src=x onerror=alert(1)> & co.mp4"
LATE = 0.04  # s
DURATION = 8.0


def write_scenes(path: Path, fps: int = 25) -> Path:
    """A picture of its own for each second, slowly panned."""
    rng = np.random.default_rng(2)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(round(DURATION * fps)):
            if index % fps == 0:
                scene = np.kron(rng.integers(0, 256, (6, 12, 3)), np.ones((16, 16, 1))).astype(np.uint8)
            left = index % fps
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene[:, left : left + 160]), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cut every second and a click 40 ms after each, in a file with a hostile name and text."""
    folder = tmp_path_factory.mktemp("report")
    silent = write_scenes(folder / "silent.mp4")
    wave = np.random.default_rng(0).normal(0, 1e-4, round(DURATION * 48_000))
    burst = np.random.default_rng(1).normal(size=4800) * np.exp(-np.arange(4800) / 600)
    for second in range(1, round(DURATION)):
        start = round((second + LATE) * 48_000)
        wave[start : start + 4800] += 0.2 * burst
    write_wav(folder / "clicks.wav", np.stack([wave, wave]).astype(np.float32), 48_000)
    options = {"model": "mini", "seed": 3, "text": '</pre><script>alert("x")</script>'}
    metadata = {"generated_by": "OpenVMAS 0.0.0", "options": options}
    mux(silent, probe(silent), folder / "clicks.wav", folder / NAME, metadata=metadata)
    return folder / NAME


@pytest.fixture(scope="module")
def written(clip: Path) -> tuple[str, dict]:
    """The page and the data of the clip."""
    write_report(clip)
    page = clip.with_suffix(".report.html").read_text(encoding="utf-8")
    return page, json.loads(clip.with_suffix(".report.json").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that are not closed in order."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nearest_is_signed_and_prefers_the_closer() -> None:
    marks = np.array([1.0, 2.0, 4.0])
    found = nearest(np.array([0.0, 1.4, 1.6, 3.5, 9.0]), marks)
    np.testing.assert_allclose(found, [1.0, -0.4, 0.4, 0.5, -5.0])
    assert np.isnan(nearest(np.array([1.0, 2.0]), np.zeros(0))).all()
    assert len(nearest(np.zeros(0), marks)) == 0


def test_fit_of_a_regular_grid_has_the_chance_of_its_density() -> None:
    # Marks every 0.5 s: a random moment is within 80 ms of one in 0.16 / 0.5 of all cases.
    marks = np.arange(0.25, 100, 0.5)
    moments = np.sort(np.random.default_rng(0).choice(marks, 60, replace=False)) + 0.03
    found = align_marks(moments, marks, 100.0)
    np.testing.assert_allclose(found.errors, -0.03, atol=1e-9)
    assert found.median == pytest.approx(0.03)
    assert found.within == 1.0
    assert found.chance == pytest.approx(0.32, abs=0.05)
    assert align_marks(moments + 0.2, marks, 100.0).within == 0.0


def test_fit_without_marks_says_nothing() -> None:
    found = align_marks(np.array([1.0]), np.zeros(0), 10.0)
    assert math.isnan(found.within) and math.isnan(found.median)
    assert plain(vars(found), ".4f") == {"errors": [None], "within": None, "chance": None}


def test_plain_values_are_json() -> None:
    value = {"a": np.array([1.23456, np.inf]), "b": np.int64(3), "c": (True, "x", None), 4: [np.float32(0.5)]}
    assert plain(value, ".4f") == {"a": [1.2346, None], "b": 3, "c": [True, "x", None], "4": [0.5]}
    json.dumps(plain(value, ".4f"), allow_nan=False)


def test_jpeg_shows_the_same_picture(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24] = (200, 30, 30)
    picture[24:, 32:] = (20, 40, 180)
    data = jpeg(picture)
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
    (tmp_path / "a.jpg").write_bytes(data)
    with av.open(str(tmp_path / "a.jpg")) as container:
        seen = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert seen.shape == picture.shape
    assert np.abs(seen - picture).mean() < 6


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (7.46, "0:07.5"), (59.99, "1:00.0"), (3661.2, "1:01:01.2"), (125.04, "2:05.0")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_length_has_its_unit() -> None:
    assert [length(s) for s in (12.06, 125.0, 3725.0)] == ["12.1 s", "2:05.0 min", "1:02:05.0 h"]


def test_timeline_has_limits() -> None:
    assert strip_width(1) == 1086 and strip_width(200) == 3200 and strip_width(7200) == 9000
    assert strip_length(1) == 10 and strip_length(7200) < 90
    assert len(draw("curve", "music", [float(i) for i in range(360_000)], 1.0, 0, 1).split()) < 3010


def test_histogram_counts_every_error_once() -> None:
    errors = [-0.2, -0.19, -0.001, 0.0, 0.019, 0.199, 0.2, 5.0, None]
    text = histogram("Cut to beat", {"errors": errors, "within": 0.5, "chance": 0.25}, 0.08)
    counts = [int(n) for n in re.findall(r"ms: (\d+)</title>", text)]
    assert counts == [2, 1, 2, 1] and len(BINS) == 21
    assert "2 further than 200 ms" in text and "50 % within 80 ms (chance 25 %)" in text
    assert "nothing to compare" in histogram("x", {"errors": [None]}, 0.08)


def test_what_was_made_is_what_is_measured(written: tuple[str, dict]) -> None:
    _, data = written
    assert data["duration"] == pytest.approx(DURATION, abs=1e-3)
    np.testing.assert_allclose(data["cuts"], np.arange(1, DURATION), atol=0.041)
    assert np.median(data["cut_to_onset"]["errors"]) == pytest.approx(LATE, abs=0.015)
    assert data["cut_to_onset"]["within"] == 1.0 > data["cut_to_onset"]["chance"] + 0.5
    assert data["sync"]["z"] > 2
    assert data["true_peak_db"] < 0 and len(data["short_term_lufs"]) == pytest.approx((DURATION - 3) * 10 + 1, abs=1)
    assert data["made_by"]["options"]["seed"] == 3
    assert len(data["picture_energy"]) == len(data["music_energy"]) == DURATION * 10


def test_page_loads_and_runs_nothing(written: tuple[str, dict]) -> None:
    page = Page(written[0])
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    assert "url(" not in written[0] and "@import" not in written[0]
    assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in page.tags)


def test_text_of_the_user_is_shown_as_text(written: tuple[str, dict]) -> None:
    page = Page(written[0])
    assert NAME in page.text
    assert '</pre><script>alert(\\"x\\")</script>' in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == strip_length(DURATION)


def test_page_shows_the_figures_of_the_data(written: tuple[str, dict]) -> None:
    text, data = written
    page = Page(text)
    assert f"{data['sync']['z']:+.1f}" in page.text
    assert sum(tag == "circle" for tag, _ in page.tags) == len(data["visual_beats"])
    classes = [attributes.get("class") for _, attributes in page.tags]
    assert sum(name in ("cut", "cut soft") for name in classes) == len(data["cuts"])
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 3  # the timeline and two histograms
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_a_page_without_anything_to_say_is_drawn(written: tuple[str, dict]) -> None:
    empty = {"errors": [], "within": None, "chance": None, "median": None}
    silent = written[1] | {
        "cuts": [], "gradual": [], "visual_beats": [], "visual_beat_strengths": [], "onsets": [], "beats": [],
        "downbeats": [], "tempo": 0.0, "cut_to_beat": empty, "cut_to_onset": empty, "loudness_lufs": None,
        "true_peak_db": None, "short_term_lufs": [], "made_by": None,
        "sync": {"z": 0.0, "observed": 0.0, "null_mean": 0.0, "null_std": 0.0, "n_beats": 0},
    }  # fmt: skip
    page = Page(draw_page(silent, []))
    assert "no visual beats to meet" in page.text and "No cuts." in page.text and "nan" not in page.text.lower()


def test_existing_reports_are_kept_unless_asked(clip: Path, written: tuple[str, dict]) -> None:
    with pytest.raises(OutputError, match="--overwrite"):
        write_report(clip)
    assert not [path for path in clip.parent.iterdir() if "partial" in path.name]


def test_a_page_is_html(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"end .*x\.json in \.html"):
        write_report(clip, tmp_path / "x.json")


def test_a_video_without_sound_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no sound; give a video with music"):
        write_report(clip.parent / "silent.mp4", tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_report_needs_the_core_only() -> None:
    code = (
        "import sys, openvmas.eval.reports.video_report\n"
        "print([m for m in ('scipy', 'torch', 'soundfile') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_durations_are_exact(clip: Path) -> None:
    assert probe(clip).duration == Fraction(8)
