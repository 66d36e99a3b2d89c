"""A worker of the studio with sines in place of the model: `python -m tests.web.run_worker FOLDER`.

OPENVMAS_TEST_PACE: seconds that each second of music takes, so that tests can act while it is being written.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.config import GenerateOptions
from openvmas.generate import scorer
from openvmas.web import worker
from tests.clips import SineComposer
from tests.run_cli import WEIGHTS

PACE = float(os.environ.get("OPENVMAS_TEST_PACE", "0"))


class PacedComposer(SineComposer):
    """Sines at a chosen speed."""

    def stream(
        self, condition: Condition, options: GenerateOptions, report: dict[str, Any] | None = None
    ) -> Iterator[np.ndarray]:
        for block in super().stream(condition, options, report):
            time.sleep(PACE)
            yield block


if __name__ == "__main__":
    scorer.load = lambda name_or_path="mini": scorer.Scorer(PacedComposer(), WEIGHTS)
    sys.exit(worker.main(sys.argv[1:]))
