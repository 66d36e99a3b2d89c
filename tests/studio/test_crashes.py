"""Servers and workers that are killed: no project is lost, and every job is done once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from openvmas.errors import OutputError
from openvmas.studio import serve
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs, lanes
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from tests.clips import write_clip
from tests.studio.kit import (
    RunningStudio,
    copy_project,
    end_workers,
    held,
    make_project,
    running,
    submit,
    wait_for,
    wait_job,
    wait_writing,
    worker_pids,
)

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("OPENVMAS_TEST_KILLS", "4"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 2.0)


@pytest.fixture()
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_workers(tmp_path / "home")


def test_kills_of_the_server_lose_nothing(home: Path, clip: Path) -> None:
    """Each time while a job runs: it waits again at the next start, nothing is lost and nothing is there twice."""
    studio = RunningStudio(home, pace=1.0)
    studio.start()
    with studio.client() as client:
        project = make_project(client, clip)
        plan = client.get(f"/projects/{project}/plan").json()
        begun: list[str] = []
        for round_ in range(KILLS):
            energy = 0.3 + 0.05 * round_
            assert client.patch(f"/projects/{project}", json={"name": f"round {round_}"}).status_code == 200
            plan["sections"][0]["energy"] = energy
            assert client.put(f"/projects/{project}/plan", json=plan).status_code == 200
            if not running_now(client, begun):
                begun.append(submit(client, project, variations=2, options={"seed": 10 * round_})["id"])
                wait_for(lambda: running_now(client, begun))
            studio.kill()
            studio.start()
            found = client.get(f"/projects/{project}").json()
            assert found["name"] == f"round {round_}" and found["state"] == "ready"
            kept = client.get(f"/projects/{project}/plan").json()
            assert kept["sections"][0]["energy"] == pytest.approx(energy)
        for job in begun:
            done = wait_job(client, job)
            assert (done["state"], done["interruptions"]) == ("done", 0), done  # only servers were killed
        takes = client.get(f"/projects/{project}").json()["takes"]
        assert len({take["seed"] for take in takes}) == len(takes) == 2 * len(begun)
        assert all(client.get(f"/takes/{take['id']}/video").status_code == 200 for take in takes)
    assert len(worker_pids(home)) == 1  # those of killed servers have ended with them
    studio.stop()


def attempts(home: Path, job: str) -> int:
    database = Database(home)
    row = database.row("SELECT attempt FROM jobs WHERE id = ?", (job,))
    database.close()
    assert row is not None
    return row["attempt"]


def test_a_killed_worker_is_replaced_and_its_job_done_once_more(home: Path, clip: Path) -> None:
    with running(home, pace=0.5) as studio, studio.client() as client:
        project = make_project(client, clip)
        job = submit(client, project)["id"]
        with held(home):
            wait_writing(client, job)
            os.kill(worker_pids(home)[0], signal.SIGKILL)
        done = wait_job(client, job)
        assert (done["state"], done["interruptions"]) == ("done", 1) and attempts(home, job) == 2
        take = done["takes"][0]["id"]
        assert client.get(f"/takes/{take}").json()["report"]["duration"] == 2.0


def test_everything_killed_at_once_goes_on_at_the_next_start(home: Path, clip: Path) -> None:
    studio = RunningStudio(home, pace=0.5)
    studio.start()
    with studio.client() as client:
        project = make_project(client, clip)
        job = submit(client, project)["id"]
        with held(home):
            wait_writing(client, job)
            studio.kill()
            end_workers(home)
        studio.start()
        done = wait_job(client, job)
        assert (done["state"], attempts(home, job)) == ("done", 2)
    studio.stop()


def test_a_server_that_is_told_to_leave_puts_its_jobs_back(home: Path, clip: Path) -> None:
    studio = RunningStudio(home, pace=0.5)
    studio.start()
    with studio.client() as client:
        project = make_project(client, clip)
        job = submit(client, project, variations=2)["id"]
        with held(home):
            wait_writing(client, job)
            assert studio.stop() == 0
            assert worker_pids(home) == []
        studio.start()
        done = wait_job(client, job)
        assert (done["state"], done["interruptions"]) == ("done", 0)
    studio.stop()


def test_several_workers_share_one_folder(home: Path, clip: Path) -> None:
    with running(home, "--jobs", "3", pace=0.3) as studio, studio.client() as client:
        wait_for(lambda: len(worker_pids(home)) == 3)
        project = make_project(client, clip)
        others = [copy_project(home, project) for _ in range(2)]
        begun = [submit(client, name, options={"seed": i})["id"] for i, name in enumerate([project, *others, project])]
        most = wait_for(lambda: running_now(client, begun) if len(running_now(client, begun)) > 1 else None)
        assert len(most) <= 3
        for job in begun:
            assert wait_job(client, job)["state"] == "done" and attempts(home, job) == 1


def broken(model: str, send: Any) -> Any:
    """The work of a process that never comes to it."""
    raise SystemExit(1)


def test_where_no_worker_can_be_started_jobs_fail_and_say_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it dies too often before it has a model, what waits is given up, and videos are no longer waited for."""
    monkeypatch.setattr(lanes, "start", broken)
    monkeypatch.setattr(lanes, "RESTART_S", 0.05)
    database = Database(home)
    project = projects.create(database, "local", "p")
    with database.write() as connection:
        job = jobs.submit(connection, project, "score", {}, {})
    lane = lanes.Lane(database, lanes.ProcessRunner(1), is_watching=False)
    try:
        found = wait_for(lambda: database.row("SELECT * FROM jobs WHERE id = ? AND state = 'failed'", (job,)))
        assert (found["error"], found["attempt"], found["interruptions"]) == (lanes.NO_WORKER, 3, 0)
    finally:
        lane.stop()
        lane.join()
        database.close()


def test_a_second_server_does_not_open_the_same_folder(home: Path) -> None:
    options = StudioOptions.of(folder=str(home))
    first = serve.Workers(options)
    with pytest.raises(OutputError, match="another studio is open"):
        serve.Workers(options)
    first.close()
    serve.Workers(options).close()


def test_stopping_with_open_streams_is_quick_and_silent(home: Path, clip: Path, tmp_path: Path) -> None:
    """As Ctrl-C would, while somebody watches a job, waits for music and has stopped reading a download."""
    studio = RunningStudio(home, pace=1.0, said=tmp_path / "said")
    studio.start()
    with studio.client() as client:
        project = make_project(client, clip)
        job = submit(client, project, variations=4)
        wait_job(client, job["id"], "running")
        take = job["takes"][-1]["id"]
        begun = threading.Barrier(3)

        def follow(path: str) -> None:
            with contextlib.suppress(httpx.TransportError), client.stream("GET", path, timeout=120) as stream:
                begun.wait(120)
                stream.read()

        paths = (f"/jobs/{job['id']}/events", f"/takes/{take}/audio")
        threads = [threading.Thread(target=follow, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        begun.wait(120)
        assert studio.stop() == 0
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()
    assert (tmp_path / "said").read_text() == ""


def running_now(client: httpx.Client, begun: list[str]) -> list[str]:
    return [job for job in begun if client.get(f"/jobs/{job}").json()["state"] == "running"]
