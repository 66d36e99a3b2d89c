"""Scoring as a stage of a pipeline of Ray Data: `dataset.map_batches(ScoreVideos, ...)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from openvmas.batch.clip import BatchSettings, ClipResult, start
from openvmas.batch.manifest import OF_LISTS, Clip
from openvmas.batch.run import RETRIES, TIMEOUT, failed, make_process
from openvmas.processes.limited import Failure, WorkerPool
from openvmas.settings import Options


class ScoreVideos:
    """A callable for batches of rows, whose models are loaded once for each actor.

    actors = ray.data.ActorPoolStrategy(size=4)
    videos = ray.data.read_csv("videos.csv")
    videos.map_batches(
        ScoreVideos, fn_constructor_kwargs={"model": "symbolic"}, batch_size=8, compute=actors
    ).write_parquet("scored")

    A batch is columns of arrays [B]: `video` with paths or addresses, `output` and any option by its name if wanted.
    It comes back with the columns of `ClipResult` added. A video that fails has status "failed" and a sentence in
    `error`; one that takes its process down costs its row only. Raises OptionError.
    """

    def __init__(self, overwrite: bool = False, timeout: float = TIMEOUT, **options: Any) -> None:
        Options.of(**options)
        settings = BatchSettings(options, overwrite)
        self._pool = WorkerPool(1, lambda: make_process(start, settings, 1_000, timeout), RETRIES)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Score the videos of a batch, in order."""
        n = len(batch["video"])
        clips = [
            Clip(
                index,
                str(batch["video"][index]),
                str(batch["output"][index]) if "output" in batch else None,
                {name: _plain(batch[name][index]) for name in OF_LISTS if name in batch},
            )
            for index in range(n)
        ]
        found: list[ClipResult | None] = [None] * n
        for clip, answer in self._pool.run(clips):
            found[clip.index] = failed(clip, answer) if isinstance(answer, Failure) else answer
        rows = [asdict(result) for result in found if result is not None]
        names = [name for name in rows[0] if name not in ("index", "video")] if rows else []
        added = {name: np.array([_filled(row[name]) for row in rows]) for name in names}
        return {**batch, **added}

    def close(self) -> None:
        """End the process that scores; it also ends with this one."""
        self._pool.stop()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _filled(value: Any) -> Any:
    return float("nan") if value is None else value
