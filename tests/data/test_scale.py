"""A large set passes through index, near-duplicates, split and shards in bounded memory.

`OPENVMAS_SCALE_RECORDS=100000` runs it at full size.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
N = int(os.environ.get("OPENVMAS_SCALE_RECORDS", "1200"))
ROOT = Path(__file__).resolve().parent.parent.parent


def test_copies_are_found_in_bounded_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.scale", str(N), str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(done.stdout)
    assert report["copies"] == N // 40
    assert report["found"] >= 0.95 * report["copies"] and report["false"] == report["merged_wrongly"] == 0
    # Interpreter, libraries and the buffers of fixed size, then about a kilobyte a record.
    assert report["shards_peak_mb"] - report["start_peak_mb"] < 250 + N * 1e-3
