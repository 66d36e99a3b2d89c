"""Takes by the API: each press makes another one, from what the user has kept, and says what it was made with."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.clips import write_clip
from tests.studio.kit import RunningStudio, copy_project, make_project, running, submit, wait_job

DURATION = 4.0  # s of the clip


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running(tmp_path_factory.mktemp("studio")) as studio:
        yield studio


@pytest.fixture(scope="module")
def watched(studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> str:
    clip = write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", DURATION, sound="sine")
    with studio.client() as client:
        return make_project(client, clip)


@pytest.fixture()
def project(studio: RunningStudio, watched: str) -> str:
    return copy_project(studio.folder, watched)


@pytest.fixture()
def client(studio: RunningStudio) -> Iterator[httpx.Client]:
    with studio.client() as client:
        yield client


def made(client: httpx.Client, project: str, **job: object) -> list[dict]:
    """The takes of a job that is done."""
    done = wait_job(client, submit(client, project, **job)["id"])
    assert done["state"] == "done", done["error"]
    return [client.get(f"/takes/{take['id']}").json() for take in done["takes"]]


def music(client: httpx.Client, take: dict) -> bytes:
    return client.get(f"/takes/{take['id']}/audio").content


def test_another_press_is_another_take(client: httpx.Client, project: str) -> None:
    """Also after two variations, and after the last take was deleted."""
    first = made(client, project)
    second = made(client, project, variations=2)
    assert len({music(client, take) for take in first + second}) == 3
    client.delete(f"/takes/{second[1]['id']}")
    third = made(client, project)
    seeds = [take["seed"] for take in first + second + third]
    assert seeds == list(range(seeds[0], seeds[0] + 4))
