"""Servers and workers that are killed: no project is lost, and every job is done once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from openvmas.web.database import Database
from tests.clips import write_clip
from tests.web.kit import (
    RunningStudio,
    copy_project,
    end_workers,
    make_project,
    running,
    submit,
    wait_for,
    wait_job,
    worker_pids,
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 2.0)


@pytest.fixture()
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_workers(tmp_path / "home")


def test_ten_kills_of_the_server_lose_nothing(home: Path, clip: Path) -> None:
    """Each time while a job runs; the worker goes on without its server, and every job is done exactly once."""
    studio = RunningStudio(home, pace=2.0)
    studio.start()
    with studio.client() as client:
        project = make_project(client, clip)
        plan = client.get(f"/projects/{project}/plan").json()
        jobs: list[str] = []
        for round_ in range(10):
            energy = 0.3 + 0.05 * round_
            assert client.patch(f"/projects/{project}", json={"name": f"round {round_}"}).status_code == 200
            plan["sections"][0]["energy"] = energy
            assert client.put(f"/projects/{project}/plan", json=plan).status_code == 200
            if not running_now(client, jobs):
                jobs.append(submit(client, project, variations=2, options={"seed": 10 * round_})["id"])
                wait_for(lambda: running_now(client, jobs))
            studio.kill()
            studio.start()
            found = client.get(f"/projects/{project}").json()
            assert found["name"] == f"round {round_}" and found["state"] == "ready"
            kept = client.get(f"/projects/{project}/plan").json()
            assert kept["sections"][0]["energy"] == pytest.approx(energy)
        for job in jobs:
            done = wait_job(client, job)
            assert (done["state"], done["interruptions"]) == ("done", 0), done  # only servers were killed
            assert attempts(home, job) == 1
        takes = client.get(f"/projects/{project}").json()["takes"]
        assert len({take["seed"] for take in takes}) == len(takes) == 2 * len(jobs)
        assert all(client.get(f"/takes/{take['id']}/video").status_code == 200 for take in takes)
    assert len(worker_pids(home)) == 1  # the one from before the kills, taken over each time
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
        wait_for(lambda: client.get(f"/jobs/{job}").json()["takes"][0]["state"] == "writing")
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
        wait_for(lambda: client.get(f"/jobs/{job}").json()["takes"][0]["state"] == "writing")
        studio.kill()
        end_workers(home)
        database = Database(home)
        with database.write() as connection:  # instead of waiting for the lease to run out
            connection.execute("UPDATE jobs SET lease = 1 WHERE state = 'running'")
            connection.execute("UPDATE processes SET beat = 1")
        database.close()
        studio.start()
        done = wait_job(client, job)
        assert (done["state"], done["interruptions"]) == ("done", 1)
    studio.stop()


def test_a_server_that_is_told_to_leave_puts_its_jobs_back(home: Path, clip: Path) -> None:
    studio = RunningStudio(home, pace=0.5)
    studio.start()
    with studio.client() as client:
        project = make_project(client, clip)
        job = submit(client, project, variations=2)["id"]
        wait_for(lambda: client.get(f"/jobs/{job}").json()["takes"][0]["state"] == "writing")
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
        jobs = [submit(client, name, options={"seed": i})["id"] for i, name in enumerate([project, *others, project])]
        most = wait_for(lambda: running_now(client, jobs) if len(running_now(client, jobs)) > 1 else None)
        assert len(most) <= 3
        for job in jobs:
            assert wait_job(client, job)["state"] == "done" and attempts(home, job) == 1


def running_now(client: httpx.Client, jobs: list[str]) -> list[str]:
    return [job for job in jobs if client.get(f"/jobs/{job}").json()["state"] == "running"]
