"""Takes by the API: each press makes another one, from what the user has kept, and says what it was made with."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.studio.kit import RunningStudio, submit, wait_job


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
