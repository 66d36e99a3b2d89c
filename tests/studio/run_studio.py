"""The real command line whose studio has workers with sines: `python -m tests.studio.run_studio studio ...`."""

from __future__ import annotations

import signal
import sys

from openvmas.cli.main import main
from openvmas.studio.queue import lanes
from tests.studio import run_worker

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lanes.start = run_worker.start
    sys.exit(main())
