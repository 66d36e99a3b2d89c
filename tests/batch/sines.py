"""Work on clips with sines in place of the model, which notes every beginning: for processes on other nodes.

OPENVMAS_TEST_NOTES: the folder of notes; OPENVMAS_TEST_PAUSE: s before each clip.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openvmas.batch import clip
from openvmas.batch.clip import BatchSettings, ClipResult
from openvmas.batch.manifest import Clip
from openvmas.generate import scorer
from tests.clips import SineComposer


def start(settings: BatchSettings, send: Callable[[Any], None]) -> Callable[[Clip], ClipResult]:
    """`clip.start` with sines."""
    scorer.load = lambda name_or_path="mini": scorer.Scorer(SineComposer())
    work, notes = clip.start(settings, send), os.environ.get("OPENVMAS_TEST_NOTES")

    def noted(asked: Clip) -> ClipResult:
        if notes is not None:
            Path(notes, f"{asked.index}-{time.time_ns()}").touch()
        time.sleep(float(os.environ.get("OPENVMAS_TEST_PAUSE", "0")))
        return work(asked)

    return noted
