"""The arrangement of a recording under a take: read, proposed anew, and made into another take."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from openvmas.planning.plan_yaml import read_plan
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.storage.take_sound import HEADER
from tests.studio.kit import RunningStudio
from tests.studio.recordings import SONG, arrangement_of, fitted, limits, lock_one
from tests.studio.test_takes import made


@pytest.fixture(scope="module")
def client(sines: RunningStudio) -> Iterator[httpx.Client]:
    with sines.client() as client:
        yield client


def test_a_take_keeps_what_it_plays(client: httpx.Client, longer: str, tmp_path: Path) -> None:
    take = fitted(client, longer, tmp_path)
    assert take["has_joins"]
    found = arrangement_of(client, take)
    recording = found["recording"]
    assert recording["filename"] == "My song.wav" and recording["tempo"] == pytest.approx(120, abs=0.5)
    assert found["parts"][0]["start"] == 0 and 18.5 < found["parts"][-1]["end"] <= 20
    assert recording["duration"] == pytest.approx(SONG.end, abs=0.1) and max(recording["levels"]) == 1
    plan = read_plan(client.get(f"/takes/{take['id']}/plan.yaml").text)
    assert plan.music is not None and plan.music.file == "My song.wav" and plan.music.sha256 == ""
    assert [join.time for join in plan.music.joins] == [join["time"] for join in found["joins"]]
    again = made(client, longer, kind="mix", take=take["id"], options={"music_gain": -3.0})[0]
    assert again["has_joins"] and arrangement_of(client, again)["joins"] == found["joins"]


def test_a_join_that_is_locked_elsewhere_is_proposed_and_then_heard(
    client: httpx.Client, longer: str, tmp_path: Path
) -> None:
    take = fitted(client, longer, tmp_path)
    found = arrangement_of(client, take)
    wanted, marks = lock_one(found), found["recording"]["marks"]
    path = f"/takes/{take['id']}/arrangement"
    asked = limits(found, joins=[wanted], held_begin=marks[0])
    proposed = client.post(path, json=asked)
    assert proposed.status_code == 200, proposed.text
    (join,) = [join for join in proposed.json()["joins"] if join["state"] == "locked"]
    assert join["time"] == pytest.approx(wanted["time"], abs=0.03) and join["source_to"] == pytest.approx(
        wanted["source_to"], abs=0.03
    )
    assert arrangement_of(client, take) == found  # nothing is kept until a take is made
    (other,) = made(client, longer, kind="arrange", take=take["id"], arrangement=asked)
    assert other["parent"] == take["id"] and other["kind"] == "arrange"
    shown = arrangement_of(client, other)
    for name in ("joins", "parts"):
        assert shown[name] == proposed.json()[name], name
    waves = [
        np.frombuffer(client.get(f"/takes/{one['id']}/audio").content[HEADER:], "<f4").reshape(-1, 2)
        for one in (take, other)
    ]
    assert len(waves[0]) == len(waves[1]) == 20 * SAMPLE_RATE_OUT
    assert np.abs(waves[0] - waves[1])[round((wanted["time"] + 1) * SAMPLE_RATE_OUT) :].max() > 0.05


def test_what_is_not_edited_stays(client: httpx.Client, longer: str, tmp_path: Path) -> None:
    """Also in an arrangement that is not the best one, by whose value alone everything would change."""
    take = fitted(client, longer, tmp_path)
    path = f"/takes/{take['id']}/arrangement"
    other = client.post(path, json=limits(arrangement_of(client, take), joins=[], number=3)).json()
    held = client.post(path, json=limits(other)).json()
    places = [[(part["start"], part["source_start"]) for part in one["parts"]] for one in (other, held)]
    assert np.allclose(*places, atol=0.05)


def test_the_next_best_differ_and_are_made_as_they_were_shown(
    client: httpx.Client, longer: str, tmp_path: Path
) -> None:
    take = fitted(client, longer, tmp_path)
    found = arrangement_of(client, take)
    path, asked = f"/takes/{take['id']}/arrangement", [limits(found, joins=[], number=number) for number in (0, 1, 2)]
    shown = [client.post(path, json=one).json() for one in asked]
    assert len({json.dumps(one["parts"]) for one in shown}) == 3
    assert shown[0]["parts"] == found["parts"]
    (other,) = made(client, longer, kind="arrange", take=take["id"], arrangement=asked[2])
    assert arrangement_of(client, other)["parts"] == shown[2]["parts"] and other["seed"] == 2


def test_spans_are_left_out_and_kept(client: httpx.Client, longer: str, tmp_path: Path) -> None:
    take = fitted(client, longer, tmp_path)
    found, path = arrangement_of(client, take), f"/takes/{take['id']}/arrangement"
    part = found["parts"][0]
    span = {"start": part["source_start"] + 2, "end": part["source_start"] + 4}
    without = client.post(path, json=limits(found, forbidden=[span])).json()
    assert all(
        one["source_end"] <= span["start"] + 2.1 or one["source_start"] >= span["end"] - 2.1 for one in without["parts"]
    )
    assert without["parts"] != found["parts"] and without["forbidden"] == [span]


def test_what_makes_no_sense_is_refused_in_a_sentence(client: httpx.Client, longer: str, tmp_path: Path) -> None:
    take = fitted(client, longer, tmp_path)
    found, path = arrangement_of(client, take), f"/takes/{take['id']}/arrangement"
    for changed, said in (
        ({"kept": [{"start": 9, "end": 3}]}, "9 to 3 s is no span"),
        ({"kept": [{"start": 3, "end": 900}]}, "ends after the recording"),
        ({"joins": [{"time": 3, "source_from": 4, "source_to": 500}]}, "lies outside the recording"),
        ({"joins": [{"time": 300, "source_from": 4, "source_to": 8}]}, "300 is out of range"),
    ):
        refused = client.post(path, json=limits(found, **changed))
        assert refused.status_code == 422 and said in refused.json()["error"], refused.text
    job = {"kind": "arrange", "take": take["id"]}
    refused = client.post(f"/projects/{longer}/jobs", json=job)
    assert refused.status_code == 422 and "give `arrangement`" in refused.json()["error"]
    plain = made(client, longer)[0]
    assert not plain["has_joins"] and client.get(f"/takes/{plain['id']}/arrangement").status_code == 404
    job |= {"take": plain["id"], "arrangement": limits(found)}
    assert client.post(f"/projects/{longer}/jobs", json=job).status_code == 404
    client.delete(f"/projects/{longer}/sounds/{take['options']['music']}")
    gone = client.get(path)
    assert gone.status_code == 409 and "My song.wav is not in this project any more" in gone.json()["error"]
    plan = client.get(f"/projects/{longer}/plan").json()
    named = client.put(f"/projects/{longer}/plan", json=plan | {"music": {"file": "/etc/passwd"}})
    assert named.status_code == 422 and "not by a file's name" in named.json()["error"]


def test_a_recording_out_of_many_stays_the_one(client: httpx.Client, longer: str) -> None:
    (take,) = made(client, longer, options={"music": "free"})
    found = arrangement_of(client, take)
    assert found["recording"]["licence"] and found["recording"]["attribution"]
    (other,) = made(client, longer, kind="arrange", take=take["id"], arrangement=limits(found, joins=[], number=1))
    shown = arrangement_of(client, other)
    assert shown["recording"] == found["recording"] and shown["parts"] != found["parts"]


def test_editors_get_the_joins_and_the_recording(client: httpx.Client, longer: str, tmp_path: Path) -> None:
    take = fitted(client, longer, tmp_path)
    edl = client.get(f"/takes/{take['id']}/joins.edl")
    assert edl.status_code == 200 and "* FROM CLIP NAME: My song.wav" in edl.text
    otio = client.get(f"/takes/{take['id']}/joins.otio").json()
    clips = otio["tracks"]["children"][0]["children"]
    assert len(clips) == len(arrangement_of(client, take)["parts"])
    package = zipfile.ZipFile(io.BytesIO(client.get(f"/takes/{take['id']}/editors.zip").content))
    names = package.namelist()
    assert {"joins.otio", "joins.edl", "My_song.wav"} <= set(names)
    (target,) = {clip["media_references"]["DEFAULT_MEDIA"]["target_url"] for clip in
                 json.loads(package.read("joins.otio"))["tracks"]["children"][0]["children"]}  # fmt: skip
    assert target in names and "joins.otio" in package.read("README.txt").decode()
    plain = made(client, longer)[0]
    assert client.get(f"/takes/{plain['id']}/joins.edl").status_code == 404
    assert (
        "joins.otio"
        not in zipfile.ZipFile(io.BytesIO(client.get(f"/takes/{plain['id']}/editors.zip").content)).namelist()
    )
