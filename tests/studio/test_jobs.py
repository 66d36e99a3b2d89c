"""The queue by itself: every job is had by one worker at a time, and none is lost or done twice."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openvmas.studio.api import project_routes
from openvmas.studio.api.views import Views
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from tests.studio.kit import ROOT


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


def expire_lease(database: Database, job: str) -> None:
    with database.write() as connection:
        connection.execute("UPDATE jobs SET lease = ? WHERE id = ?", (time.time() - 1, job))


def test_jobs_come_in_order_and_analyses_first(database: Database) -> None:
    first, second = add(database, 2)
    (look,) = add(database, 1, "analyze")
    claims = [jobs.claim(database, "w") for _ in range(4)]
    assert [claim.id for claim in claims if claim] == [look, first, second]
    assert claims[3] is None


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


def test_music_does_not_wait_for_long_videos(database: Database) -> None:
    """Where all that runs is watching, a spare worker is asked for, and it takes no other video."""
    watched, also_watched = add(database, 2, "analyze")
    assert not jobs.is_kept_waiting(database, 0)
    first = jobs.claim(database, "w")
    assert first is not None and first.id == watched
    (music,) = add(database)
    assert not jobs.is_kept_waiting(database, 60) and jobs.is_kept_waiting(database, 0)
    spare = jobs.claim(database, "spare", takes_analyses=False)
    assert spare is not None and spare.id == music
    assert jobs.claim(database, "spare", takes_analyses=False) is None
    assert not jobs.is_kept_waiting(database, 0) and state(database, also_watched)["state"] == "queued"


def test_a_project_and_its_jobs_are_shown_as_of_one_moment(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends between two queries must not be shown as over beside a project that still waits for it."""
    (job,) = add(database, 1, "analyze")
    project = state(database, job)["project"]
    with database.write() as connection:
        connection.execute("UPDATE projects SET state = 'analyzing' WHERE id = ?", (project,))
    claim = jobs.claim(database, "w")
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


def test_many_threads_share_the_jobs_without_overlap(database: Database) -> None:
    wanted = add(database, 60)
    found: list[str] = []

    def work(name: str) -> None:
        while (claim := jobs.claim(database, name)) is not None:
            found.append(claim.id)
            assert jobs.renew_lease(database, claim, jobs.Progress("compose", 0.5, 1.0)) == "go"
            assert jobs.finish(database, claim, "done")

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(found) == Counter(wanted)
    assert all(state(database, job)["state"] == "done" and state(database, job)["attempt"] == 1 for job in wanted)


CLAIM_ALL = """
import json, sys
from pathlib import Path
from openvmas.studio.queue import jobs
from openvmas.studio.storage.database import Database
database, found = Database(Path(sys.argv[1])), []
while (claim := jobs.claim(database, sys.argv[2])) is not None:
    found.append(claim.id)
    jobs.finish(database, claim, "done")
print(json.dumps(found))
"""


def test_several_processes_share_the_jobs_without_overlap(database: Database) -> None:
    wanted = add(database, 120)
    command = [sys.executable, "-c", CLAIM_ALL, str(database.folder)]
    children = [subprocess.Popen([*command, f"w{i}"], stdout=subprocess.PIPE, text=True, cwd=ROOT) for i in range(3)]
    found = [job for child in children for job in json.loads(child.communicate(timeout=60)[0])]
    assert Counter(found) == Counter(wanted)


def test_a_job_of_a_dead_worker_is_begun_again_once_and_its_late_words_do_not_count(database: Database) -> None:
    (job,) = add(database)
    dead = jobs.claim(database, "dead")
    assert dead is not None and jobs.requeue_abandoned(database) == 0
    expire_lease(database, job)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(jobs.requeue_abandoned(database))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 0, 0, 0, 1]
    alive = jobs.claim(database, "alive")
    assert alive is not None and alive.id == job and alive.attempt == 2
    assert jobs.renew_lease(database, dead, jobs.Progress()) == "lost"
    assert not jobs.finish(database, dead, "failed", "too late")
    jobs.release(database, dead)
    assert state(database, job)["state"] == "running" and state(database, job)["interruptions"] == 1
    assert jobs.finish(database, alive, "done")


def test_even_the_same_worker_cannot_finish_an_earlier_attempt(database: Database) -> None:
    (job,) = add(database)
    first = jobs.claim(database, "w")
    expire_lease(database, job)
    jobs.requeue_abandoned(database)
    second = jobs.claim(database, "w")
    assert first and second
    assert not jobs.finish(database, first, "done")
    assert jobs.finish(database, second, "done")


def test_a_job_that_takes_three_workers_down_is_given_up(database: Database) -> None:
    (job,) = add(database)
    for attempt in range(jobs.MAX_INTERRUPTIONS):
        assert jobs.claim(database, f"w{attempt}") is not None
        assert jobs.requeue_abandoned(database, f"w{attempt}") == 1
    assert jobs.claim(database, "w") is None
    assert state(database, job)["state"] == "interrupted"
    assert "broke off" in state(database, job)["error"]


def test_leaving_puts_a_job_back_and_does_not_count_against_it(database: Database) -> None:
    (job,) = add(database)
    for _ in range(5):
        claim = jobs.claim(database, "w")
        assert claim is not None
        jobs.release(database, claim)
    assert state(database, job)["state"] == "queued" and state(database, job)["interruptions"] == 0


def test_cancelling(database: Database) -> None:
    waiting, running = add(database, 2)
    assert jobs.cancel(database, waiting)
    assert state(database, waiting)["state"] == "cancelled"
    assert not jobs.cancel(database, waiting)
    claim = jobs.claim(database, "w")
    assert claim is not None and claim.id == running
    assert jobs.cancel(database, running)
    assert state(database, running)["state"] == "running"
    assert jobs.renew_lease(database, claim, jobs.Progress()) == "cancel"
    expire_lease(database, running)
    jobs.requeue_abandoned(database)  # its worker died before it could stop
    assert state(database, running)["state"] == "cancelled"


def test_a_deleted_project_takes_its_jobs_along(database: Database) -> None:
    (job,) = add(database)
    claim = jobs.claim(database, "w")
    assert claim is not None
    projects.remove(database, claim.project)
    assert database.row("SELECT 1 FROM jobs WHERE id = ?", (job,)) is None
    assert jobs.renew_lease(database, claim, jobs.Progress()) == "lost"


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
