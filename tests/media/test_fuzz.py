"""A dozen fixed mutations of the fuzzer, and that it sees faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media.fuzz import faults

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
def test_a_dozen_damaged_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.media.fuzz", "--seed", "8", "--runs", "12"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 runs, 0 faults" in done.stdout


def test_faults_are_seen() -> None:
    assert faults(0, 1, 1, "", []) == []
    assert faults(2 << 8, 1, 1, "error: it is damaged.", []) == []
    assert faults(11, 1, 1, "", [".x"]) == ["signal 11", "hidden .x"]
    assert faults(1 << 8, 1, 1, "error: a fault of openvmas", []) == ["exit code 1"]
    assert faults(2 << 8, 61, 5 << 30, "Traceback", []) == [
        "not one sentence", "a traceback or a warning", "61 s", "5120 MB",
    ]  # fmt: skip
