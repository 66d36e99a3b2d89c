"""The MusicGen system with a tiny random checkpoint of the same classes: caption in, sound of the right length out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.excerpt import prepare
from openvmas.eval.suites.suite import Clip
from openvmas.eval.systems.system import Setting, Task, open_system
from tests.clips import write_clip
from tests.hub.made import RATE, write_musicgen


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_musicgen(tmp_path_factory.mktemp("musicgen"))


def test_musicgen_is_a_system(weights: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 2.0)
    clip = Clip("s-clip", "s", tmp_path / "clip.mp4", None, caption="calm piano")
    task = Task(prepare(clip, Cache(tmp_path / "cache")), 3, tmp_path)
    system = open_system(f"musicgen:folder={weights}", Setting())
    made = system.make(task)
    assert made.sample_rate == RATE and made.wave.shape == (1, 2 * RATE) and np.isfinite(made.wave).all()
    assert np.array_equal(system.make(task).wave, made.wave)
    other = system.make(Task(task.excerpt, 4, tmp_path))
    assert other.wave.shape == made.wave.shape  # sixteen codes sound too much alike to tell seeds apart
