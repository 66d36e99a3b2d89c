"""Recordings that tests put into a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np

from openvmas.media.audio import write_wav
from openvmas.settings import SAMPLE_RATE_OUT
from tests.fitting.made import make_song
from tests.studio.kit import UPLOAD, submit, wait_job

SONG = make_song(24, 120)  # 48 s in bars of 2 s, for a picture of 20 s


def beats(path: Path, duration: float = 14.0, tempo: float = 120.0) -> bytes:
    """A recording with a clear beat."""
    times = np.arange(round(duration * SAMPLE_RATE_OUT)) / SAMPLE_RATE_OUT
    since = times % (60 / tempo)
    hat = np.random.default_rng(3).standard_normal(len(times)) * np.exp(-60 * since)
    wave = 0.4 * np.sin(2 * np.pi * 110 * times) * np.exp(-8 * since) + 0.1 * hat
    write_wav(path, np.repeat(wave[None], 2, axis=0).astype(np.float32), SAMPLE_RATE_OUT)
    return path.read_bytes()


def put(client: httpx.Client, project: str, data: bytes, name: str) -> httpx.Response:
    return client.post(f"/projects/{project}/sounds", params={"filename": name}, content=data, headers=UPLOAD)


def fitted(client: httpx.Client, project: str, folder: Path) -> dict[str, Any]:
    """A take that plays SONG."""
    song = put(client, project, SONG.save(folder / "song.wav").read_bytes(), "My song.wav").json()
    job = wait_job(client, submit(client, project, options={"music": song["id"], "seed": 0})["id"])
    assert job["state"] == "done", job["error"]
    return client.get(f"/takes/{job['takes'][0]['id']}").json()


def arrangement_of(client: httpx.Client, take: dict[str, Any]) -> dict[str, Any]:
    answer = client.get(f"/takes/{take['id']}/arrangement")
    assert answer.status_code == 200, answer.text
    return answer.json()


def limits(found: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The request of an editor: all as it is but for what is changed."""
    names = ("kept", "forbidden", "joins", "begin")
    return {name: found[name] for name in names} | {"held_begin": found["parts"][0]["source_start"]} | changed


def lock_one(found: dict[str, Any]) -> dict[str, Any]:
    """A join after three bars from the recording's beginning, to the bar from which it ends as it does now."""
    marks, last = found["recording"]["marks"], found["parts"][-1]
    time = marks[3] - marks[0]
    enters = min(marks, key=lambda mark: abs(last["source_end"] - mark - (last["end"] - time)))
    return {"time": time, "source_from": marks[3], "source_to": enters, "state": "locked"}
