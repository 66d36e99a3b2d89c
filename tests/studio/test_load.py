"""The small version of bench/studio_load.py: many users for some seconds."""

from __future__ import annotations

import gc
import json
import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bench.studio_load import course_of, load
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.planner import make_plan
from openvmas.studio.api.context import Studio
from openvmas.studio.api.project_routes import read_project
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import FILE, Database
from tests.planning.made import make_analysis

pytestmark = pytest.mark.slow


def test_many_users_at_once_for_a_while() -> None:
    found = load(users=50, seconds=8, is_real=False)
    assert found["server_errors"] == 0, found
    assert found["jobs_without_end"] == 0, found
    assert found["requests"] > 100 and {"200", "201", "404", "422"} <= set(found["statuses"]), found
    course = found["memory_mb"]["course"]
    assert max(course) < 400 and course[-1] < 2 * course[0] + 50, found


def test_threads_that_have_ended_leave_no_connection_open(tmp_path: Path) -> None:
    database = Database(tmp_path)

    def n_open() -> int:
        found = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
        return sum(name == str(tmp_path / FILE) for name in found)

    begun = n_open()
    for _ in range(20):
        thread = threading.Thread(target=database.rows, args=("SELECT * FROM jobs",))
        thread.start()
        thread.join()
    gc.collect()
    assert n_open() <= begun + 1
    database.close()
    assert n_open() == 0


def test_many_who_ask_for_a_long_list_of_takes_do_not_multiply_it_in_memory(tmp_path: Path) -> None:
    """Two answers are made at a time, row by row: of twelve at once, each held all rows, models and trees before."""
    studio = Studio(StudioOptions.of(folder=str(tmp_path)))
    project = projects.create(studio.database, "local", "p")
    take = {"parent": None, "model": "mini", "options": {}, "plan": long_plan(), "plan_version": 1}
    take |= {"duration": 5.0, "part": None, "found": json.dumps({"suffix": ".mp4"})}
    for seed in range(100):
        jobs.submit_takes(studio.database, project, "score", {}, [take | {"seed": seed}])
    with studio.database.write() as connection:
        connection.execute("UPDATE takes SET state = 'done'")
        connection.execute("UPDATE jobs SET state = 'done'")
    size = len(read_project(studio, "local", project).body)
    barrier = threading.Barrier(12)

    def ask(_: int) -> int:
        barrier.wait(60)
        return len(read_project(studio, "local", project).body)

    tracemalloc.start()
    try:
        with ThreadPoolExecutor(12) as pool:
            assert [*pool.map(ask, range(12))] == [size] * 12
        (_, peak) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        studio.database.close()
    assert peak < 7 * size  # measured: 4.4, and 10 where all are made at once


def long_plan() -> str:
    """A plan of some kB in YAML, as real ones are."""
    plan = make_plan(make_analysis(5.0))
    return write_plan(replace(plan, text="a calm piano " * 400))


def test_growth_is_that_of_the_second_half() -> None:
    rising = course_of([100.0] * 40 + [float(value) for value in range(100, 140)])
    assert rising["growth_percent"] == pytest.approx(100 * (134.5 / 104.5 - 1), abs=0.1)
    assert course_of([*map(float, range(50, 90)), *[90.0] * 40])["growth_percent"] == 0.0
