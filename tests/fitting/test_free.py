"""The recordings that come with the package: licences, size, and that nobody has to hear them again."""

import json
from pathlib import Path

import numpy as np
import pytest

from openvmas.fitting.composer import FittingComposer, open_music
from openvmas.fitting.library import FREE, HEARD, Library
from openvmas.fitting.licence import read_credits
from openvmas.fitting.track import VERSION, digest
from openvmas.settings import MusicOptions

FILES = sorted(FREE.glob("*.opus"))
LICENCES = {"CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "MIT"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recording_has_a_licence_that_may_be_shipped_and_a_row_in_the_table(path: Path):
    facts = json.loads(path.with_suffix(".license.json").read_text())
    assert facts["licence"] in LICENCES and facts["artist"] and facts["source"].startswith("https://")
    assert f"| {path.name} | {facts['title']} | {facts['artist']} | {facts['licence']} |" in (
        Path(__file__).parents[2] / "docs" / "free-music.md"
    ).read_text(encoding="utf-8")
    assert facts["artist"] in read_credits(path).attribution


def test_it_is_small_and_was_heard_beforehand():
    assert 20 <= len(FILES) <= 30
    assert sum(path.stat().st_size for path in FREE.rglob("*") if path.is_file()) <= 12_000_000
    for path in FILES:
        with np.load(FREE / HEARD / f"{digest(path)}.track-{VERSION}.npz") as data:
            assert len(data["marks"]) > 3 and data["duration"] >= 25


@pytest.mark.slow
def test_free_music_opens_without_hearing_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path))
    monkeypatch.setattr("openvmas.fitting.track.hear", lambda path: pytest.fail(f"{path} was heard"))
    before = sorted(FREE.rglob("*"))
    composer = open_music(MusicOptions(music="free"))
    assert isinstance(composer.library, Library) and len(composer.library.entries) == len(FILES)  # type: ignore[attr-defined]
    composer.library.remember(composer.library.entries[0])  # type: ignore[attr-defined]
    assert sorted(FREE.rglob("*")) == before  # an installed package is not written to
    minutes = sum(entry.duration for entry in composer.library.entries) / 60  # type: ignore[attr-defined]
    assert 25 <= minutes <= 30


def test_plans_name_free_music_wherever_it_is_installed(monkeypatch):
    monkeypatch.setattr("openvmas.fitting.track.hear", lambda path, sound: pytest.fail(f"{path} was heard"))
    composer = open_music(MusicOptions(music=f"free/{FILES[0].name}"))
    assert isinstance(composer, FittingComposer)
    edit = composer.edit_of(None)
    assert edit.file == f"free/{FILES[0].name}" == edit.seen_from("anywhere").file
