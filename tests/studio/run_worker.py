"""A worker of the studio with sines in place of the model: `python -m tests.studio.run_worker FOLDER`.

OPENVMAS_TEST_PACE: seconds that each second of music takes. While there is a file FOLDER/hold, music stops before its
last second (kit.held), so that tests can act on what is being written however busy the machine is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openvmas.condition import Condition
from openvmas.generate import scorer
from openvmas.settings import CONTROL_RATE, GenerateOptions
from openvmas.studio.queue import worker
from tests.clips import SineComposer

PACE = float(os.environ.get("OPENVMAS_TEST_PACE", "0"))


class PacedComposer(SineComposer):
    """Sines at a chosen speed; hold: the file that stops them."""

    def __init__(self, hold: Path) -> None:
        self._hold = hold

    def blocks(self, condition: Condition, options: GenerateOptions) -> Iterator[np.ndarray]:
        last = (condition.n_steps - 1) // int(CONTROL_RATE)
        for second, block in enumerate(super().blocks(condition, options)):
            time.sleep(PACE)
            while second == last and self._hold.exists():
                time.sleep(0.02)
            yield block


if __name__ == "__main__":
    scorer.load = lambda name_or_path="mini": scorer.Scorer(PacedComposer(Path(sys.argv[1]) / "hold"))
    sys.exit(worker.main(sys.argv[1:]))
