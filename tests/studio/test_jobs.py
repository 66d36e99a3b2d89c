"""The queue by itself: every job is had once, and none is lost or done twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.planner import make_plan
from openvmas.planning.voices import VOICES
from openvmas.processes.limited import FAULT, STOPPED, Failure
from openvmas.settings import FIRST_MODEL
from openvmas.studio.api import project_routes
from openvmas.studio.api.views import Views
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs, lanes, work
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from tests.planning.made import make_analysis
from tests.studio.kit import wait_for


@pytest.fixture()
def database(tmp_path: Path):
    made = Database(tmp_path / "home")
    yield made
    made.close()


def add(database: Database, n: int = 1, kind: str = "score") -> list[str]:
    project = projects.create(database, "local", "p")
    with database.write() as connection:
        return [jobs.submit(connection, project, kind, {}, {}) for _ in range(n)]


def state(database: Database, job: str) -> dict:
    row = database.row("SELECT * FROM jobs WHERE id = ?", (job,))
    assert row is not None
    return row


def test_jobs_come_in_order_and_videos_are_watched_beside_them(database: Database) -> None:
    first, second = add(database, 2)
    (look,) = add(database, 1, "analyze")
    (sketch,) = add(database, 1, "sketch")
    (mix,) = add(database, 1, "mix")
    claims = [jobs.claim(database, False) for _ in range(5)]
    assert [claim.id for claim in claims if claim] == [mix, first, second, sketch]
    watched = jobs.claim(database, True)
    assert claims[4] is None and watched is not None and watched.id == look and jobs.claim(database, True) is None


def test_every_take_has_a_seed_of_its_own_unless_one_is_asked_for(database: Database) -> None:
    project = projects.create(database, "local", "p")

    def seeds_of(*asked: int | None, first: int = 0) -> list[int]:
        plan = {"parent": None, "model": "m", "options": {}, "plan": "", "plan_version": 1, "duration": 1.0}
        takes = [{**plan, "seed": seed, "first_seed": first, "part": None} for seed in asked]
        job = jobs.submit_takes(database, project, "score", {}, takes)
        return [row["seed"] for row in database.rows("SELECT seed FROM takes WHERE job = ? ORDER BY number", (job,))]

    assert seeds_of(None, None, first=7) == [7, 8]
    assert seeds_of(None, first=7) == [9]
    with database.write() as connection:
        connection.execute("DELETE FROM takes WHERE seed = 9")
    assert seeds_of(None, first=7) == [10], "a deleted take's seed is not used again"
    assert seeds_of(8, 8) == [8, 8], "a seed that is asked for is taken"
    assert seeds_of(2**32 - 1, None, None, first=7) == [2**32 - 1, 0, 1]


def test_a_project_and_its_jobs_are_shown_as_of_one_moment(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends between two queries must not be shown as over beside a project that still waits for it."""
    (job,) = add(database, 1, "analyze")
    project = state(database, job)["project"]
    with database.write() as connection:
        connection.execute("UPDATE projects SET state = 'analyzing' WHERE id = ?", (project,))
    claim = jobs.claim(database, True)
    assert claim is not None
    read = projects.read

    def read_and_let_it_end(*arguments: Any) -> dict[str, Any]:
        row = read(*arguments)
        other = threading.Thread(target=jobs.finish, args=(database, claim, "failed", "no picture in it."))
        other.start()
        other.join()
        return row

    studio: Any = SimpleNamespace(database=database, views=Views(database, StudioOptions()))
    with monkeypatch.context() as patched:
        patched.setattr(project_routes.projects, "find", read)
        patched.setattr(project_routes.projects, "read", read_and_let_it_end)
        shown = project_routes.show(studio, "local", project)
    assert (shown.state, [one.state for one in shown.jobs]) == ("analyzing", ["running"])
    shown = project_routes.show(studio, "local", project)
    assert (shown.state, [one.state for one in shown.jobs]) == ("refused", ["failed"])


def test_many_lanes_share_the_jobs_without_overlap(database: Database) -> None:
    wanted = add(database, 60)
    found: list[str] = []

    def work() -> None:
        while (claim := jobs.claim(database, False)) is not None:
            found.append(claim.id)
            jobs.set_progress(database, claim, "compose", 0.5, 1.0)
            jobs.finish(database, claim, "done")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(found) == Counter(wanted)
    assert all(state(database, job)["state"] == "done" and state(database, job)["attempt"] == 1 for job in wanted)


def taken(database: Database) -> jobs.Claim:
    claim = jobs.claim(database, False)
    assert claim is not None
    return claim


def test_what_an_earlier_server_left_running_waits_again(database: Database) -> None:
    (job,) = add(database)
    for attempt in range(1, 6):
        assert taken(database).attempt == attempt
        jobs.requeue(database)
    assert state(database, job)["state"] == "queued" and state(database, job)["interruptions"] == 0
    claim = taken(database)
    jobs.cancel(database, claim.id)
    jobs.requeue(database)
    assert state(database, job)["state"] == "cancelled"


def test_a_job_that_broke_off_comes_after_those_that_did_not(database: Database) -> None:
    first, second = add(database, 2)
    claim = taken(database)
    assert claim.id == first
    jobs.requeue(database, claim, is_to_blame=True)
    assert [taken(database).id for _ in range(2)] == [second, first]


def test_a_job_that_takes_many_workers_down_is_given_up(database: Database) -> None:
    (job,) = add(database)
    for _ in range(jobs.MAX_INTERRUPTIONS):
        jobs.requeue(database, taken(database), is_to_blame=True)
    assert jobs.claim(database, False) is None
    assert state(database, job)["state"] == "interrupted"
    assert f"broke off {jobs.MAX_INTERRUPTIONS} times" in state(database, job)["error"]


def test_nodes_that_die_are_not_held_against_a_job_but_not_for_ever(database: Database) -> None:
    (job,) = add(database)
    for _ in range(jobs.MAX_ATTEMPTS):
        assert state(database, job)["state"] == "queued" and state(database, job)["interruptions"] == 0
        jobs.requeue(database, taken(database))
    assert state(database, job)["state"] == "interrupted"


def test_cancelling(database: Database) -> None:
    waiting, running = add(database, 2)
    assert jobs.cancel(database, waiting)
    assert state(database, waiting)["state"] == "cancelled"
    assert not jobs.cancel(database, waiting)
    claim = taken(database)
    assert claim.id == running and jobs.reason_to_stop(database, claim) == ""
    assert jobs.cancel(database, running)
    assert state(database, running)["state"] == "running" and jobs.reason_to_stop(database, claim) == "cancel"
    jobs.requeue(database, claim)  # its worker died before it could stop
    assert state(database, running)["state"] == "cancelled"


def test_sketches_give_way(database: Database) -> None:
    add(database, 1, "sketch")
    claim = taken(database)
    add(database, 1, "analyze")
    assert jobs.reason_to_stop(database, claim) == ""  # somebody else watches
    add(database)
    assert jobs.reason_to_stop(database, claim) == "yield"


def test_a_deleted_project_takes_its_jobs_along(database: Database) -> None:
    (job,) = add(database)
    claim = taken(database)
    projects.remove(database, claim.project)
    assert database.row("SELECT 1 FROM jobs WHERE id = ?", (job,)) is None
    assert jobs.reason_to_stop(database, claim) == "lost"
    for finish in (jobs.requeue, lambda *of: jobs.finish(*of, "done")):
        finish(database, claim)
    assert not database.rows("SELECT 1 FROM jobs")


class Deleter:
    """A runner whose project is deleted while it works, so that it misses files."""

    def __init__(self, database: Database, is_deleting: bool) -> None:
        self._database, self._is_deleting = database, is_deleting

    def run(self, request: work.JobRequest, tell: work.Tell) -> Failure:
        if self._is_deleting:
            projects.remove(self._database, request.project["id"])
        return Failure("FileNotFoundError: no such file", FAULT, "a traceback")

    def interrupt(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("is_deleting", [True, False])
def test_files_that_were_deleted_with_their_project_are_no_fault(
    database: Database, capsys: pytest.CaptureFixture[str], is_deleting: bool
) -> None:
    (job,) = add(database)
    lane = lanes.Lane(database, Deleter(database, is_deleting), is_watching=False)
    sql = "SELECT 1 FROM jobs WHERE id = ? AND state <> 'failed'"
    wait_for(lambda: database.row(sql, (job,)) is None)
    lane.stop()
    lane.join()
    assert ("a traceback" in capsys.readouterr().err) != is_deleting


def test_a_worker_has_every_voice_open_before_its_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("openvmas.generate.scorer.load", lambda name: opened.append(name) or name)
    work.start(FIRST_MODEL, lambda message: None)
    assert sorted(opened) == sorted({*VOICES, FIRST_MODEL})


def test_a_sketch_gives_way_at_once(database: Database) -> None:
    """Somebody waits for sound: a worker is told within a few hundredths of a second."""
    add(database, 1, "sketch")
    told: list[float] = []
    begun, asked_to_stop = threading.Event(), threading.Event()

    class Sketcher(Deleter):
        """Sketches until it is told to stop; all else is done at once."""

        def run(self, request: work.JobRequest, tell: work.Tell) -> Any:
            if request.kind != "sketch":
                return None
            asked_to_stop.clear()
            begun.set()
            asked_to_stop.wait(60)
            return Failure("", STOPPED)

        def interrupt(self) -> None:
            told.append(time.monotonic())
            asked_to_stop.set()

    with database.write() as connection:
        values = ("planned", write_plan(make_plan(make_analysis(4.0))))
        connection.execute("INSERT INTO plans SELECT id, 1, 0, ?, ? FROM projects", values)
        connection.execute("UPDATE projects SET plan_version = 1")
    lane = lanes.Lane(database, Sketcher(database, False), is_watching=False)
    waits = []
    for _ in range(5):
        assert begun.wait(60)
        begun.clear()
        asked = time.monotonic()
        (job,) = add(database)
        wait_for(lambda job=job: state(database, job)["state"] == "done")
        waits.append(told[-1] - asked)
    lane.stop()
    lane.join()
    assert min(waits) < lanes.CHECK_S / 3, waits


def test_an_exception_undoes_a_transaction(database: Database) -> None:
    (job,) = add(database)
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))
        raise RuntimeError
    assert state(database, job)["state"] == "queued"


def test_old_projects_expire_and_those_at_work_do_not(database: Database) -> None:
    old, busy, new = (projects.create(database, "local", name) for name in ("old", "busy", "new"))
    with database.write() as connection:
        jobs.submit(connection, busy, "score", {}, {})
        connection.execute("UPDATE projects SET used = ? WHERE id <> ?", (time.time() - 2 * 86_400, new))
    home = database.folder / "projects"
    assert projects.expire(database, 1) == 1
    left = {row["id"] for row in database.rows("SELECT id FROM projects")}
    assert left == {busy, new} and {path.name for path in home.iterdir()} == left
    assert not (home / old).exists()
