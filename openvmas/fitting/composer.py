"""The composer that plays a recording that the user gives, re-arranged to the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.fitting.arrangement import Arrangement, Limits, arrange
from openvmas.fitting.rendering import Renderer
from openvmas.fitting.track import Track, digest, listen
from openvmas.fitting.wishes import Wishes
from openvmas.generate.piece import Composer, Piece
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.timeline import Clock


class FittingComposer(Composer):
    """Plays one recording."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.track = listen(path)
        self.weights = Weights(
            self.path.name, "1", "the rights are the user's to clear", self.path.parent, {}, digest(path)
        )

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """The recording, arranged for a plan."""
        wishes = Wishes.of_condition(condition) if plan is None else Wishes.of_plan(plan)
        return fit(self.path, self.track, wishes, Limits(seed=options.seed))


def fit(path: Path, track: Track, wishes: Wishes, limits: Limits) -> Piece:
    """A piece of stereo blocks, to the sample as long as what is asked."""
    piece = Piece()
    piece.blocks = _play(piece, path, track, wishes, limits)
    return piece


def _play(piece: Piece, path: Path, track: Track, wishes: Wishes, limits: Limits) -> Iterator[np.ndarray]:
    arrangement = arrange(track, wishes, limits)
    renderer = Renderer(path, track, arrangement, Clock(Fraction(SAMPLE_RATE_OUT)).count(wishes.duration))
    yield from renderer.blocks()
    piece.report |= describe(track, arrangement, renderer)


def describe(track: Track, arrangement: Arrangement, renderer: Renderer) -> dict[str, Any]:
    """The entry of a piece in the report."""
    return {
        "runs": [dataclasses.asdict(run) for run in arrangement.runs],
        "joins": [dataclasses.asdict(join) for join in renderer.joins],
    }
