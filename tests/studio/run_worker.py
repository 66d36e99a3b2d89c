"""A worker of the studio with sines in place of the model: `start` is what its process runs.

OPENVMAS_TEST_PACE: seconds that each second of music takes; OPENVMAS_TEST_LEVEL: a gain on it. While there is the file
`hold` in the studio's folder (OPENVMAS_TEST_HOME), music stops before its last second (kit.held), so that tests can act
on what is being written however busy the machine is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.generate import scorer
from openvmas.generate.piece import Notes, Piece
from openvmas.planning.schema import ScorePlan
from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT, GenerateOptions
from openvmas.studio.queue import work
from tests.clips import SineComposer

PACE = float(os.environ.get("OPENVMAS_TEST_PACE", "0"))
LEVEL = np.float32(os.environ.get("OPENVMAS_TEST_LEVEL", "1"))


class PacedComposer(SineComposer):
    """Sines at a chosen speed and level, whose codes are their seed in each step; hold: the file that stops them."""

    def __init__(self, hold: Path) -> None:
        self._hold = hold

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        codes = np.full((1, condition.n_steps), options.seed % 60_000)
        return Piece(self.render(condition, options, codes), {"chosen": 0}, codes=codes)

    def inpaint(
        self, codes: np.ndarray | None, start: int, end: int, condition: Condition, plan: ScorePlan | None,
        options: GenerateOptions, progress: Callable[[float], None] | None = None, notes: Notes | None = None,
    ) -> Piece:  # fmt: skip
        """The steps keep their sound but those of the part, which get the seed's."""
        assert codes is not None
        codes = codes.copy()
        codes[:, start:end] = options.seed % 60_000
        return Piece(self.render(condition, options, codes), {"chosen": 0}, codes=codes)

    def render_part(self, piece: Piece, condition: Condition, start: int, end: int) -> tuple[int, np.ndarray]:
        """Each step has its own samples, so nothing around the part changes."""
        codes = piece.codes
        assert codes is not None
        step = SAMPLE_RATE_OUT // int(CONTROL_RATE)
        whole = np.concatenate([*self.render(condition, GenerateOptions(), codes)], axis=1)
        return start * step, whole[:, start * step : end * step]

    def render(self, condition: Condition, options: GenerateOptions, codes: np.ndarray) -> Iterator[np.ndarray]:
        """Each second of the piece, in every step as the step's seed has it."""
        whole = {
            int(seed): np.concatenate(
                [*super(PacedComposer, self).blocks(condition, replace(options, seed=int(seed)))], 1
            )
            for seed in np.unique(codes)
        }
        second, step = int(CONTROL_RATE), SAMPLE_RATE_OUT // int(CONTROL_RATE)
        for start in range(0, condition.n_steps, second):
            time.sleep(PACE)
            while start + second >= condition.n_steps and self._hold.exists():
                time.sleep(0.02)
            steps = range(start, min(start + second, condition.n_steps))
            parts = [whole[int(codes[0, i])][:, i * step : (i + 1) * step] for i in steps]
            yield LEVEL * np.concatenate(parts, axis=1)


def start(model: str, send: Callable[[Any], None]) -> Callable[[Any], Any]:
    """`work.start` with sines."""
    hold = Path(os.environ["OPENVMAS_TEST_HOME"]) / "hold"
    scorer.load = lambda name_or_path="mini": scorer.Scorer(PacedComposer(hold))
    return work.start(model, send)
