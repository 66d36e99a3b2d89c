"""Takes by the API: each press makes another one, from what the user has kept, and says what it was made with."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from openvmas.studio.storage.take_sound import HEADER
from tests.studio.kit import RunningStudio, submit, wait_job
from tests.studio.recordings import beats, put


@pytest.fixture()
def client(sines: RunningStudio) -> Iterator[httpx.Client]:
    with sines.client() as client:
        yield client


def made(client: httpx.Client, project: str, **job: object) -> list[dict]:
    """The takes of a job that is done."""
    done = wait_job(client, submit(client, project, **job)["id"])
    assert done["state"] == "done", done["error"]
    return [client.get(f"/takes/{take['id']}").json() for take in done["takes"]]


def music(client: httpx.Client, take: dict) -> bytes:
    return client.get(f"/takes/{take['id']}/audio").content


def test_another_press_is_another_take(client: httpx.Client, fresh: str) -> None:
    """Also after two variations, and after the last take was deleted."""
    first = made(client, fresh)
    second = made(client, fresh, variations=2)
    assert len({music(client, take) for take in first + second}) == 3
    client.delete(f"/takes/{second[1]['id']}")
    third = made(client, fresh)
    seeds = [take["seed"] for take in first + second + third]
    assert seeds == list(range(seeds[0], seeds[0] + 4))
    files_of_a_take(client, first[0])


def files_of_a_take(client: httpx.Client, take: dict) -> None:
    """A name that is given is that of the files; the music as in the mix lies beside the original at its gain."""
    assert take["filename"] == "clip.take1.mp4"
    named = client.patch(f"/takes/{take['id']}", json={"name": "Morning: light"}).json()
    assert named["filename"] == "clip.Morning_light.mp4"
    ducked = client.get(f"/takes/{take['id']}/music-ducked.wav")
    assert 'filename="clip.Morning_light.ducked.wav"' in ducked.headers["content-disposition"]
    mix = client.get(f"/takes/{take['id']}/report.json").json()["mix"]
    waves = [np.frombuffer(data[HEADER:], "<f4") for data in (ducked.content, music(client, take))]
    np.testing.assert_allclose(waves[0], waves[1] * 10 ** (mix["music_gain_db"] / 20), rtol=1e-4, atol=1e-6)
    otio = client.get(f"/takes/{take['id']}/markers.otio").json()
    assert [track["name"] for track in otio["tracks"]["children"]] == ["Picture", "Original", "Music"]


def test_one_package_holds_all_for_an_editor(client: httpx.Client, fresh: str) -> None:
    (take,) = made(client, fresh, options={"envelope": ["0=off", "2=0"], "sweeten": True})
    sent = client.get(f"/takes/{take['id']}/editors.zip")
    assert 'filename="clip.take1.zip"' in sent.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(sent.content)) as package:
        names = set(package.namelist())
        timelines = {"timeline.otio", "timeline.fcpxml", "timeline.premiere.xml", "markers.resolve.edl", "markers.csv"}
        sounds = {"clip.music.wav", "clip.music-dry.wav", "clip.accents.wav"}
        assert names == {"clip.mp4", "README.txt"} | timelines | sounds
        music = package.read("clip.music.wav")
        assert music == client.get(f"/takes/{take['id']}/music-ducked.wav").content
        assert music != package.read("clip.music-dry.wav")
        timeline = json.loads(package.read("timeline.otio"))
    for track in timeline["tracks"]["children"]:
        assert track["children"][0]["media_references"]["DEFAULT_MEDIA"]["target_url"] in names
    changed = client.patch(f"/takes/{take['id']}", json={"favourite": True, "note": "for the client"}).json()
    assert (changed["favourite"], changed["note"], changed["name"]) == (True, "for the client", "Take 1")
    assert changed["n_bytes"] == len(client.get(f"/takes/{take['id']}/video").content)


def sound(client: httpx.Client, take: dict, start: float, end: float) -> np.ndarray:
    """[2, n] of the music between two times, s."""
    wave = np.frombuffer(music(client, take)[HEADER:], "<f4").reshape(-1, 2).T
    return wave[:, round(start * 48_000) : round(end * 48_000)]


def cut_into(client: httpx.Client, project: str, *ends: float, locked: tuple[int, ...] = ()) -> dict:
    """Make the plan one of sections that end at these times."""
    plan = client.get(f"/projects/{project}/plan").json()
    first, starts = plan["sections"][0], (0.0, *ends[:-1])
    plan["sections"] = [
        first | {"start": start, "end": end, "locked": i in locked}
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    kept = client.put(f"/projects/{project}/plan", json=plan)
    assert kept.status_code == 200, kept.text
    return kept.json()


def test_locked_sections_keep_their_music(client: httpx.Client, fresh: str) -> None:
    """Score writes what lies on both sides of a locked section anew; writing the section itself again is refused."""
    cut_into(client, fresh, 1.6, 3.2, 5.0)
    (first,) = made(client, fresh)
    cut_into(client, fresh, 1.6, 3.2, 5.0, locked=(1,))
    (second,) = made(client, fresh)
    assert second["parent"] == first["id"] and second["part"]["spans"] == [[0.0, 1.6], [3.2, 5.0]]
    for start, end, is_kept in ((0, 1.6, False), (1.6, 3.2, True), (3.2, 5, False)):
        same = np.array_equal(*(sound(client, take, start, end) for take in (first, second)))
        assert same == is_kept, f"{start} to {end} s"
    for asked in ({"section": 1}, {"start": 0.5, "end": 2.0}):
        refused = client.post(f"/projects/{fresh}/jobs", json={"kind": "redo", "take": second["id"], **asked})
        assert refused.status_code == 409 and "section 2 is locked" in refused.json()["error"]
    cut_into(client, fresh, 5.0, locked=(0,))
    refused = client.post(f"/projects/{fresh}/jobs", json={"kind": "score"})
    assert refused.status_code == 409 and "all sections are locked" in refused.json()["error"]


def test_locked_sections_keep_their_music_with_another_voice(client: httpx.Client, fresh: str, tmp_path: Path) -> None:
    """A recording takes the place of what was written, but in the locked section; what is written then keeps that."""
    cut_into(client, fresh, 2.0, 5.0)
    (first,) = made(client, fresh)
    cut_into(client, fresh, 2.0, 5.0, locked=(1,))
    song = put(client, fresh, beats(tmp_path / "song.wav"), "song.wav").json()
    (second,) = made(client, fresh, options={"music": song["id"]})
    assert second["model"] == "recording" and second["parent"] == first["id"]
    assert np.array_equal(*(sound(client, take, 2.0, 5.0) for take in (first, second)))
    assert not np.array_equal(*(sound(client, take, 0.0, 1.9) for take in (first, second)))
    (third,) = made(client, fresh)
    assert third["model"] == third["voice"]["model"] != "recording"
    assert np.array_equal(*(sound(client, take, 2.0, 5.0) for take in (second, third)))


def test_a_plan_says_which_sections_planning_again_would_drop(client: httpx.Client, fresh: str) -> None:
    assert client.get(f"/projects/{fresh}/plan").json()["own_sections"] == []
    assert cut_into(client, fresh, 2.0, 5.0, locked=(1,))["own_sections"] == [0]
    again = client.post(f"/projects/{fresh}/plan/suggest", json={}).json()
    assert again["own_sections"] == [] and again["sections"][-1]["locked"]
