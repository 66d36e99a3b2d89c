"""What is shown of a video while it is still being watched."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from openvmas.studio.limits import StudioOptions
from openvmas.studio.storage.folders import ProjectFolder, new_id
from openvmas.studio.tasks.inspect import CURVES_RATE, look
from openvmas.vision import analysis as vision
from openvmas.vision.analysis import PartialAnalysis, analyze

DURATION, FPS = 12.0, 25  # s, and frames per second


CUTS = (2.0, 3.6, 5.2, 8.0, 10.0)  # s


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shots of patterns that have nothing in common, and glide to the left."""
    path, chance = tmp_path_factory.mktemp("clip") / "clip.mp4", np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"  # type: ignore[attr-defined]
        pattern = np.zeros((96, 160, 3), np.uint8)
        for index in range(round(DURATION * FPS)):
            if index / FPS in (0.0, *CUTS):
                pattern = np.kron(chance.integers(0, 255, (12, 20, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(np.roll(pattern, -index, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_is_shown_early_is_what_is_found_in_the_end(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "PARTIAL_SHARE", 1e9)  # as often as something is decided, not by the clock
    seen: list[PartialAnalysis] = []
    found = analyze(clip, on_partial=seen.append)
    np.testing.assert_allclose(found.cuts, CUTS)
    untils = [partial.until for partial in seen]
    assert len(untils) >= 3 and untils[0] < 4 and untils[-1] < DURATION
    assert all(a < b for a, b in itertools.pairwise(untils))
    for partial in seen:
        early = found.cuts[found.cuts < partial.until - 0.1]
        np.testing.assert_allclose(partial.cuts[: len(early)], early)
        assert len(partial.cuts) - len(early) <= 1
        assert (partial.shots[0].start, partial.shots[-1].end) == (0.0, partial.until)
        assert set(np.round(early, 3)) <= set(np.round(partial.visual_beats, 3))
        assert abs(len(partial.energy) - 50 * partial.until) <= 1
    # Of the last one all but its end, which did not know what follows.
    settled = len(seen[-1].energy) - 150
    assert np.abs(seen[-1].energy[:settled] - found.events.energy[:settled]).max() < 0.15


def test_pictures_and_curves_come_before_the_end(clip: Path, tmp_path: Path) -> None:
    """The confined process tells of several pictures of the filmstrip, and keeps what it has seen in a file."""
    project, options = new_id(), StudioOptions()
    folder = ProjectFolder(tmp_path, project)
    folder.path.mkdir(parents=True)
    folder.glimpse.write_text('{"until": 99}')  # of an attempt that broke off
    request = {
        "home": str(tmp_path), "project": project, "source": str(clip), "name": "clip.mp4",
        "max_minutes": options.max_minutes, "max_pixels": options.max_pixels, "threads": 1,
    }  # fmt: skip
    pictures: list[int] = []
    glimpses: list[dict[str, Any]] = []

    def hear(message: dict[str, Any]) -> None:
        if "filmstrip" in message:
            pictures.append(message["filmstrip"])
        if folder.glimpse.exists():
            found = json.loads(folder.glimpse.read_text())
            if not glimpses or glimpses[-1] != found:
                glimpses.append(found)

    look(request, hear)
    assert len(pictures) >= 4 and pictures[0] <= 2 and pictures[-1] == 12
    assert glimpses and all(found["until"] < DURATION for found in glimpses)
    assert all(abs(len(found["energy"]) - CURVES_RATE * found["until"]) <= 1 for found in glimpses)
    assert not folder.glimpse.exists() and json.loads(folder.summary.read_text())["duration"] == DURATION
