"""The small version of bench/studio_load.py: many users for some seconds."""

from __future__ import annotations

import pytest

from bench.studio_load import load

pytestmark = pytest.mark.slow


def test_many_users_at_once_for_a_while() -> None:
    found = load(users=50, seconds=8, is_real=False)
    assert found["server_errors"] == 0, found
    assert found["jobs_without_end"] == 0, found
    assert found["requests"] > 100 and {"200", "201", "404", "422"} <= set(found["statuses"]), found
    memory = found["memory_mb"]
    assert memory["last_quarter"] < 400 and memory["last_quarter"] < 2 * memory["first_quarter"] + 50, found
