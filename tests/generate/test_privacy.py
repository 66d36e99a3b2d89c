"""Nothing leaves the machine: the runtime's own reports are switched off before it is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_session_leaves_no_device_number_behind(tmp_path: Path) -> None:
    """ONNX Runtime writes one, and sends events, where it is not told to be silent."""
    code = (
        "from openvmas.pretrained import PRESETS_FOLDER, open_graph\n"
        "open_graph(PRESETS_FOLDER / 'alignment' / 'video_encoder.onnx', 1)\n"
        "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    homes = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**env, **homes})
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert list(tmp_path.rglob("*")) == []
