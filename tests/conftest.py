"""Settings for all tests."""

import os
from collections.abc import Iterator

import pytest

# Two spinning threads on a busy machine were eight times slower than one; read when PyTorch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def same_scheduling() -> Iterator[None]:
    """No test leaves its process in another scheduling class: real-time ones that spin starve the whole machine."""
    policy = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
    yield
    assert policy is None or os.sched_getscheduler(0) == policy
