"""The real command line with sines in place of the model: `python -m tests.run_cli ARGUMENTS`.

Tests of the frame run it in a process of its own where they send signals or limit resources.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from openvmas.cli.main import main
from openvmas.generate import scorer
from tests.clips import SineComposer

WEIGHTS = SineComposer.weights


def load(name_or_path: str | Path = "mini") -> scorer.Scorer:
    return scorer.Scorer(SineComposer())


if __name__ == "__main__":
    # A job in the background of a shell inherits that interrupts are ignored, and the tests send them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    scorer.load = load
    from openvmas.batch import run
    from tests.batch import sines

    run.start = sines.start
    sys.exit(main())
