"""The small version of bench/studio_load.py: many users for some seconds."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest

from bench.studio_load import course_of, load
from openvmas.studio.storage.database import FILE, Database

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


def test_growth_is_that_of_the_second_half() -> None:
    rising = course_of([100.0] * 40 + [float(value) for value in range(100, 140)])
    assert rising["growth_percent"] == pytest.approx(100 * (134.5 / 104.5 - 1), abs=0.1)
    assert course_of([*map(float, range(50, 90)), *[90.0] * 40])["growth_percent"] == 0.0
