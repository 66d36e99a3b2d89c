"""Composers of other packages are found by their entry point; the example of the docs is one of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import ModelError
from openvmas.generate.piece import Piece
from openvmas.generate.scorer import fit_length, load
from openvmas.media.audio import read_audio
from tests.clips import write_clip
from tests.symbolic.made import make_plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package of docs/composers.md as pip would have installed it."""
    page = (ROOT / "docs" / "composers.md").read_text(encoding="utf-8")
    code, project = (re.findall(rf"```{kind}\n(.*?)```", page, flags=re.S)[0] for kind in ("python", "toml"))
    assert len(code.strip().splitlines()) <= 32
    (tmp_path / "clicks.py").write_text(code)
    (tmp_path / "clicks-1.0.dist-info").mkdir()
    (tmp_path / "clicks-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: clicks\nVersion: 1.0\n")
    entries = project.replace('[project.entry-points."openvmas.composers"]', "[openvmas.composers]").replace('"', "")
    (tmp_path / "clicks-1.0.dist-info" / "entry_points.txt").write_text(entries + "wrong = clicks:Path\n")
    return tmp_path


def test_the_example_of_the_docs_scores_a_video(package: Path) -> None:
    clip = write_clip(package / "clip.mp4", 3.0)
    command = [sys.executable, "-m", "openvmas", "score", str(clip), "--model", "clicks", "--audio-out", "music.wav"]
    path = os.pathsep.join([str(ROOT), str(package)])
    subprocess.run(command, check=True, cwd=package, env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    report = json.loads((package / "clip.scored.json").read_text(encoding="utf-8"))
    assert report["model"]["name"] == "clicks" and report["composer"]["reason"] == "a click at every accent"
    assert read_audio(package / "music.wav").wave.shape == (2, round(report["duration"] * 48_000))


def test_what_is_no_composer_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(package))
    with pytest.raises(ModelError, match=r"clicks:Path of wrong is no composer; ask its author"):
        load("wrong")
    with pytest.raises(ModelError, match="there is no model called unheard-of"):
        load("unheard-of")


def test_a_piece_is_its_blocks_and_keeps_the_codes_that_pass() -> None:
    piece = Piece()
    piece.blocks = (
        np.full((1, 10), chunk.sum(), np.float32) for chunk in piece.keep_codes(np.eye(2, 4, k=1)[:, :, None])
    )
    assert piece.codes is None
    assert [block[0, 0] for block in piece] == [1.0, 1.0]
    assert piece.codes is not None and piece.codes.dtype == np.uint16 and piece.codes.shape == (4, 2)
    fitted = fit_length(Piece([np.ones((1, 30_000), np.float32)]), make_plan(seconds=1.0, energies=(0.7,)))
    assert np.concatenate(list(fitted), axis=1).shape == (2, 48_000)
