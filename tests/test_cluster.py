"""A real Ray cluster of three nodes on this machine: whatever is killed, nothing is lost and nothing is there twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openvmas.batch import run
from openvmas.batch.clip import BatchSettings
from openvmas.batch.manifest import Clip
from openvmas.planning.plan_yaml import write_plan
from openvmas.processes.cluster import open_pool, why_not
from openvmas.processes.limited import CRASH, FAULT, Failure, LimitedProcess, Limits
from openvmas.studio import serve
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs, lanes
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.storage.take_sound import n_written
from tests.batch import sines
from tests.clips import write_clip
from tests.ray_cluster import SIZE, start_cluster
from tests.studio import run_worker

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster"), pytest.mark.filterwarnings("ignore")]  # Ray's own
N_CLIPS = 6


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def cluster(shared: Path) -> Iterator[Any]:
    """Three nodes; what their processes read of the environment is set before they start."""
    (shared / "notes").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENVMAS_TEST_NOTES", str(shared / "notes"))
        patch.setenv("OPENVMAS_TEST_PAUSE", "0.3")
        patch.setenv("OPENVMAS_TEST_HOME", str(shared / "home"))
        patch.setenv("OPENVMAS_TEST_PACE", "0.3")
        yield from start_cluster(3)


def wait_until(condition: Callable[[], Any], patience: float = 240.0) -> Any:
    until = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return found


def lose_a_node(cluster: Any) -> None:
    """Kill one that is not the head."""
    node = next(node for node in cluster.list_all_nodes() if node != cluster.head_node)
    cluster.remove_node(node, allow_graceful=False)


def do(setting: Any, send: Any) -> Callable[[Any], Any]:
    """Work of a process: a number doubled; 2 kills its process each time, 3 the first time, 4 is a fault."""

    def work(job: tuple[int, str]) -> tuple[int, int]:
        number, notes = job
        note = Path(notes) / f"n{number}"
        if number == 2 or (number == 3 and not note.exists()):
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 4:
            raise ValueError("not this one")
        return number * 2, os.getpid()

    return work


def make() -> LimitedProcess:
    return LimitedProcess(do, None, Limits(60), is_trusted=True)


def test_a_cluster_that_asks_for_a_token_is_not_said_to_be_missing() -> None:
    assert "no Ray cluster at 10.0.0.5:6379" in why_not("10.0.0.5:6379", "Failed to connect to GCS")
    assert "set RAY_AUTH_MODE=token" in why_not("10.0.0.5:6379", "RPC error: InvalidAuthToken: missing or incorrect")


def test_processes_are_kept_and_what_kills_them_costs_its_job_only(cluster: Any, shared: Path) -> None:
    jobs = [(number, str(shared / "notes")) for number in range(7)]
    with open_pool(1, make, cluster.address, retries=1) as pool:
        found = dict(pool.run(jobs))
    good = {number: found[number, notes] for number, notes in jobs if number not in (2, 4)}
    assert {number: answer[0] for number, answer in good.items()} == {number: number * 2 for number in good}
    assert len({answer[1] for answer in good.values()}) < len(good)  # several jobs, one process
    died, failed = found[jobs[2]], found[jobs[4]]
    assert isinstance(died, Failure) and died.cause == CRASH
    assert isinstance(failed, Failure) and failed.cause == FAULT and "not this one" in failed.sentence


def test_a_node_that_dies_while_videos_are_scored_loses_and_repeats_nothing(
    cluster: Any, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "start", sines.start)
    film, folder, notes = write_clip(shared / "film.mp4", 1.0), shared / "videos", shared / "notes"
    folder.mkdir()
    videos = [str(shutil.copy(film, folder / f"{i}.mp4")) for i in range(N_CLIPS)]
    clips = [Clip(i, video) for i, video in enumerate(videos)]

    def kill() -> None:
        wait_until(lambda: len(list(notes.glob("*-*"))) >= 2)
        lose_a_node(cluster)

    killer = threading.Thread(target=kill)
    killer.start()
    found = list(run.score_clips(clips, BatchSettings(), ray=cluster.address))
    killer.join()
    cluster.add_node(wait=False, **SIZE)
    assert Counter(result.video for result in found) == Counter(videos)
    assert {result.status for result in found} <= {"scored", "kept"}, (
        found
    )  # kept: done, but its node died before it said so
    # What a killed process had not finished is hidden and left for the next run to remove.
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".openvmas-")} == {
        f"{i}{ending}" for i in range(N_CLIPS) for ending in (".mp4", ".scored.mp4", ".scored.json")
    }
    again = list(run.score_clips(clips, BatchSettings(), ray=cluster.address))
    assert [result.status for result in again] == ["kept"] * N_CLIPS


@pytest.fixture()
def studio(cluster: Any, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(lanes, "start", run_worker.start)
    options = StudioOptions.of(folder=str(shared / "home"), ray=cluster.address, jobs=2, storage=str(shared / "store"))
    workers, database = serve.Workers(options), Database(options.home)
    workers.start()
    yield database
    workers.stop()
    database.close()


def bring(database: Database, film: Path) -> str:
    """A project whose video has been uploaded and waits to be watched."""
    project = projects.create(database, "local", "film")
    folder = ProjectFolder(database.folder, project)
    folder.path.mkdir(parents=True, exist_ok=True)
    shutil.copy(film, folder.source(".mp4"))
    size = film.stat().st_size
    with database.write() as connection:
        connection.execute(
            "UPDATE projects SET filename = 'film.mp4', suffix = '.mp4', size = ?, state = 'uploading' WHERE id = ?",
            (size, project),
        )
    arguments = {"max_minutes": 30.0, "max_pixels": 8_912_896, "threads": 1}
    assert jobs.submit_analysis(database, project, "uploading", arguments)
    return project


def score(database: Database, project: str, n: int) -> str:
    version, plan = projects.current_plan(database, project)
    take = {
        "parent": None, "seed": None, "first_seed": 1, "model": "mini", "options": {}, "plan": write_plan(plan),
        "plan_version": version, "duration": float(plan.duration), "part": None,
    }  # fmt: skip
    return jobs.submit_takes(database, project, "score", {}, [dict(take) for _ in range(n)])


def test_a_node_that_dies_at_work_loses_and_repeats_nothing(
    cluster: Any, shared: Path, studio: Database
) -> None:  # fmt: skip
    project = bring(studio, write_clip(shared / "watched.mp4", 4.0, sound="noise"))

    def ready() -> Any:
        row = studio.row("SELECT * FROM projects WHERE id = ?", (project,))
        assert row and row["state"] != "refused", row and row["error"]
        return row["state"] == "ready"

    wait_until(ready)
    folder = ProjectFolder(studio.folder, project)
    assert folder.analysis.exists() and folder.filmstrip.exists()
    begun = [score(studio, project, 1) for _ in range(3)]

    def growing() -> list[int]:
        return [n for path in folder.path.glob("takes/*/*/music.f32") if 0 < (n := n_written(path)) < 4 * 48_000]

    wait_until(growing)  # blocks are here while the rest is written
    lose_a_node(cluster)

    def over() -> bool:
        return all(row["state"] not in ("queued", "running") for row in studio.rows("SELECT state FROM jobs"))

    wait_until(over)
    rows = studio.rows("SELECT * FROM jobs WHERE kind = 'score' AND project = ?", (project,))
    assert [(row["id"], row["state"], row["interruptions"], row["error"]) for row in rows] == [
        (job, "done", 0, None) for job in begun
    ]
    takes = studio.rows("SELECT * FROM takes WHERE project = ?", (project,))
    assert len({take["seed"] for take in takes}) == len(takes) == 3
    for take in takes:
        files = folder.take(take["id"], take["attempt"])
        assert take["state"] == "done" and json.loads(take["found"])["suffix"] == ".mp4"
        assert files.video(".mp4").stat().st_size and files.report.exists() and files.mixed.exists()
        assert n_written(files.wave) == 4 * 48_000
    assert not list((shared / "store").glob("*/*"))  # the storage is empty when nothing runs


def test_a_job_on_a_node_stops_when_it_is_cancelled(cluster: Any, studio: Database, shared: Path) -> None:
    project = bring(studio, write_clip(shared / "another.mp4", 1.0))
    wait_until(lambda: studio.row("SELECT 1 FROM projects WHERE id = ? AND state = 'ready'", (project,)))
    (shared / "home" / "hold").touch()
    job = score(studio, project, 1)
    wait_until(lambda: studio.row("SELECT 1 FROM takes WHERE job = ? AND state = 'writing'", (job,)))
    jobs.cancel(studio, job)
    found = wait_until(lambda: studio.row("SELECT * FROM jobs WHERE id = ? AND state <> 'running'", (job,)))
    assert found["state"] == "cancelled"
    (shared / "home" / "hold").unlink()
    last = score(studio, project, 1)
    wait_until(lambda: studio.row("SELECT 1 FROM jobs WHERE id = ? AND state = 'done'", (last,)))
