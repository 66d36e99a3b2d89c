"""The studio with the model that ships: music is heard early, one part is redone, and the rest stays as it was."""

from __future__ import annotations

import io
import wave as wave_module
from pathlib import Path

import numpy as np

from openvmas.web.folders import ProjectFolder
from tests.clips import write_clip
from tests.web.kit import make_project, running, submit, wait_job


def samples(data: bytes) -> np.ndarray:
    with wave_module.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).T / 32768


def test_score_and_redo_a_part(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 4.0)
    home = tmp_path / "home"
    with running(home, is_real=True) as studio, studio.client() as client:
        project = make_project(client, clip)
        done = wait_job(client, submit(client, project, options={"candidates": 1})["id"])
        assert done["state"] == "done", done["error"]
        first = done["takes"][0]["id"]
        found = client.get(f"/takes/{first}").json()
        assert found["can_redo"] and found["report"]["model"]["name"] == "mini"
        redo = submit(client, project, kind="redo", take=first, start=1.0, end=2.5)
        done = wait_job(client, redo["id"])
        assert done["state"] == "done", done["error"]
        second = done["takes"][0]["id"]
        made = client.get(f"/takes/{second}").json()
        assert made["parent"] == first and made["part"] == {"start": 1.0, "end": 2.5} and made["seed"] != found["seed"]
        assert [seam["time"] for seam in made["report"]["seams"]] == [1.0, 2.5]
        folder = ProjectFolder(home, project)
        old, new = (np.load(folder.take(take, 1).codes) for take in (first, second))
        assert old.shape == new.shape == (old.shape[0], 200)
        np.testing.assert_array_equal(old[:, :50], new[:, :50])
        np.testing.assert_array_equal(old[:, 125:], new[:, 125:])
        assert (old[:, 50:125] != new[:, 50:125]).mean() > 0.5
        before, after = (samples(client.get(f"/takes/{take}/audio").content) for take in (first, second))
        assert before.shape == after.shape == (2, 4 * 48_000) and np.abs(before).max() > 0.02
        changed = np.abs(before - after).max(axis=0)
        # The codec hears a few steps beyond the part; farther away nothing changes but the rounding of the decoder.
        assert changed[: round(0.8 * 48_000)].max() < 0.01 and changed[round(1.2 * 48_000) : 2 * 48_000].max() > 0.02
