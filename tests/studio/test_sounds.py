"""Recordings of the user's own: put in, fitted to the picture, heard as an example, refused where they are none."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.storage.take_sound import HEADER
from tests.studio.kit import RunningStudio
from tests.studio.recordings import beats, put
from tests.studio.test_takes import made


@pytest.fixture()
def client(sines: RunningStudio):
    with sines.client() as client:
        yield client


def test_a_recording_becomes_the_music(client: httpx.Client, fresh: str, tmp_path: Path) -> None:
    """It plays in the take, which says whose it is and cannot be written in parts; a take without it follows."""
    sent = put(client, fresh, beats(tmp_path / "song.wav"), "My song.wav")
    assert sent.status_code == 201, sent.text
    song = sent.json()
    assert song["filename"] == "My song.wav" and song["duration"] == 14.0 and max(song["peaks"]) > 0.3
    assert client.get(f"/projects/{fresh}/sounds").json()["sounds"] == [song]
    assert client.get(f"/projects/{fresh}/sounds/{song['id']}/audio").content[:4] == b"RIFF"
    (take,) = made(client, fresh, options={"music": song["id"]})
    assert take["model"] == "recording" and not take["can_redo"]
    report = client.get(f"/takes/{take['id']}/report.json").json()
    assert report["composer"]["track"]["file"] == "My_song.wav" and report["options"]["music"] == "My song.wav"
    wave = np.frombuffer(client.get(f"/takes/{take['id']}/audio").content[HEADER:], "<f4")
    assert len(wave) == 2 * 5 * SAMPLE_RATE_OUT and np.abs(wave).max() > 0.1
    assert client.delete(f"/projects/{fresh}/sounds/{song['id']}").status_code == 204
    gone = client.post(f"/projects/{fresh}/jobs", json={"kind": "score", "options": {"music": song["id"]}})
    assert gone.status_code == 404 and "drop it in again" in gone.json()["error"]


def test_added_accents_are_heard_before_and_in_the_mix(client: httpx.Client, fresh: str) -> None:
    plain, sweet = (made(client, fresh, options={"sweeten": value, "seed": 3})[0] for value in (False, True))
    sounds = [client.get(f"/takes/{take['id']}/audio").content for take in (plain, sweet)]
    assert sounds[0] != sounds[1]
    report = client.get(f"/takes/{sweet['id']}/report.json").json()
    assert report["composer"]["sweetening"]


def test_what_is_no_recording_is_refused(client: httpx.Client, fresh: str, tmp_path: Path) -> None:
    for data, said in ((b"no sound at all" * 99, "holds no sound that can be read"), (b"", "is empty")):
        refused = put(client, fresh, data, "song.mp3")
        assert refused.status_code == 422 and said in refused.json()["error"]
    refused = put(client, fresh, beats(tmp_path / "short.wav", 1.0), "short.wav")
    assert refused.status_code == 422 and "less than 2 s" in refused.json()["error"]
    assert client.get(f"/projects/{fresh}/sounds").json()["sounds"] == []
