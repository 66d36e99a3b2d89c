"""Rivals are given what we are given and measured as we are: `eval clips`, and finished files entered by folder."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_pieces import synthesise, write_piece

from openvmas.cli.main import main
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.excerpt import Excerpt, prepare
from openvmas.eval.suites.suite import read_suite
from openvmas.eval.systems.system import Setting, Task, open_system
from openvmas.media.audio import write_wav
from tests.clips import write_clip

pytestmark = pytest.mark.slow

RATE = 16_000
SUITE = """
[suite]
name = "cut"
seconds = 2
[[sources]]
name = "s"
list = "table"
path = "list.csv"
media = "media"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clips of 2 s of three videos of 4 s that have music of 4 s; the clip of the last begins after 1.5 s."""
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    (tmp_path / "rival").mkdir()
    rows = ["video,music,start,end,caption"]
    for i, (name, style) in enumerate((("a", "rock"), ("b", "waltz"), ("c", "ballad"))):
        write_clip(tmp_path / "media" / f"{name}.mp4", 4.0)
        wave = synthesise(write_piece(style, 110, 4, seed=i), RATE)[: 4 * RATE]
        write_wav(tmp_path / "media" / f"{name}.wav", wave[None], RATE)
        shutil.copy(tmp_path / "media" / f"{name}.wav", tmp_path / "rival" / f"{name}.wav")
        rows.append(f'{name}.mp4,{name}.wav,{1.5 if name == "c" else 0},,"slow, calm"')
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def test_the_true_music_entered_as_a_folder_is_the_reference(place: Path) -> None:
    outputs = ["--json", "page.json", "--quiet", "--workers", "1", "--embedders", ""]
    assert main(["eval", "run", "suite.toml", "--systems", "reference,folder:rival", "--results", "r", *outputs]) == 0
    reference, rival = json.loads((place / "page.json").read_text())["systems"]
    assert sorted(rival["clips"]) == ["s-a", "s-b", "s-c"]
    for name, found in rival["clips"].items():
        assert found["values"] == reference["clips"][name]["values"], name
        assert abs(found["values"]["length_error"]) < 0.05
    files = [sorted((place / "r").glob(pattern)) for pattern in ("reference/*.flac", "folder*/*.flac")]
    assert [x.read_bytes() for x in files[0]] == [x.read_bytes() for x in files[1]]  # so every distance is 0


@pytest.fixture
def excerpts(place: Path) -> Iterator[dict[str, Excerpt]]:
    cache = Cache(place / "cache")
    yield {clip.name: prepare(clip, cache) for clip in read_suite(place / "suite.toml").clips}


def test_a_file_made_for_the_clip_begins_with_the_clip(place: Path, excerpts: dict[str, Excerpt]) -> None:
    task = Task(excerpts["s-c"], 0, place)
    for name, seconds, first in (("c", 4.0, 1.5), ("c", 2.0, 0.0), ("s-c", 4.0, 0.0)):
        shutil.rmtree(place / "rival")
        (place / "rival").mkdir()
        wave = np.linspace(-0.5, 0.5, round(seconds * RATE), dtype=np.float32)[None]
        write_wav(place / "rival" / f"{name}.wav", wave, RATE)
        made = open_system("folder:rival", Setting()).make(task)
        assert made.wave.shape[1] == 2 * RATE
        assert made.wave[0, 100] == pytest.approx(wave[0, round(first * RATE) + 100], abs=1e-4)


def test_a_rival_is_given_the_clips_as_they_are_measured(
    place: Path, excerpts: dict[str, Excerpt], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "clips", "suite.toml", "given", "--quiet"]) == 0
    assert capsys.readouterr().out.strip().endswith("clips.csv: 3 clips")
    rows = list(csv.DictReader((place / "given" / "clips.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["s-a", "s-b", "s-c"] and rows[0]["caption"] == "slow, calm"
    for row in rows:
        excerpt = excerpts[row["name"]]
        assert float(row["seconds"]) == pytest.approx(float(excerpt.duration), abs=1e-3) == pytest.approx(2, abs=0.05)
        pictures = []
        for path in (place / "given" / row["file"], excerpt.video):
            with av.open(str(path)) as container:
                assert not container.streams.audio
                pictures.append([(float(f.time or 0), f.to_ndarray()) for f in container.decode(video=0)])
        assert len(pictures[0]) == len(pictures[1])
        for (time, x), (other, y) in zip(*pictures, strict=True):
            assert time == pytest.approx(other, abs=1.1e-3) and np.array_equal(x, y)
    assert main(["eval", "clips", "suite.toml", "given"]) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert main(["eval", "clips", "suite.toml", "given", "--overwrite", "--limit", "1", "--quiet"]) == 0
