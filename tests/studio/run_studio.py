"""The real command line whose studio has workers with sines: `python -m tests.studio.run_studio studio ...`."""

from __future__ import annotations

import signal
import sys

from openvmas.cli.main import main
from openvmas.studio import serve

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    serve.WORKER = (sys.executable, "-m", "tests.studio.run_worker")
    sys.exit(main())
