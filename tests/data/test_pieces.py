"""Pieces of a build flow into each other: no process waits for the last record of one, and the result is the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openvmas.data.curation import stage_runner
from openvmas.data.curation.pipeline import ShardTask, list_input
from openvmas.data.curation.recipe import LimitOptions, read_recipe
from openvmas.data.curation.stage_runner import ONE_THREAD, Job, Outcome, StagePool

RECIPE = """
[build]
shard = 4
[[sources]]
name = "pile"
kind = "folder"
path = "media"
licence = "CC0-1.0"
[stages]
use = ["probe"]
"""


class TwoProcesses:
    """Stands for a pool of two: the first record of a piece takes longer than all others together."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        source, slow = iter(jobs), []
        for job in source:
            self.taken.append(job.index)
            if not slow:
                slow.append(job)
                continue
            yield self._done(job)
        for job in slow:
            yield self._done(job)

    def _done(self, job: Job) -> Outcome:
        return Outcome(job.index, (job.record,), (), {"probe": 1}, {"probe": 0.0})


@pytest.fixture
def task(tmp_path: Path) -> ShardTask:
    (tmp_path / "media").mkdir()
    for index in range(10):
        (tmp_path / "media" / f"{index}.mp4").write_bytes(bytes([index]))
    (tmp_path / "pile.toml").write_text(RECIPE)
    recipe, work = read_recipe(tmp_path / "pile.toml"), tmp_path / "work"
    work.mkdir()
    assert list_input(recipe, work) == 3
    return ShardTask(recipe, work)


def test_the_next_piece_is_begun_before_the_last_record_of_one_is_done(task: ShardTask) -> None:
    pool, prepared, said = TwoProcesses(), [], []
    made = list(task.run([0, 1, 2], pool, prepared.append, lambda *told: said.append(told)))  # type: ignore[arg-type]
    assert [place for place, _ in made] == [1, 2, 0]  # the first piece waits for its slow record, and nobody for it
    assert prepared == [0, 1, 2] and len(pool.taken) == 10 and said[-1] == (0, 4, 4)
    for place, files in made:
        ((_, alone),) = task.run([place], TwoProcesses())  # type: ignore[arg-type]
        assert alone == files


def test_a_piece_that_was_cut_off_goes_on(task: ShardTask) -> None:
    class Cut(TwoProcesses):
        def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
            for number, outcome in enumerate(super().run(jobs)):
                if number == 2:
                    raise KeyboardInterrupt
                yield outcome

    with pytest.raises(KeyboardInterrupt):
        list(task.run([0, 1, 2], Cut()))  # type: ignore[arg-type]
    pool = TwoProcesses()
    made = dict(task.run([0, 1, 2], pool))  # type: ignore[arg-type]
    assert len(made) == 3 and len(pool.taken) == 8  # two were done
    assert all(b'"n": 4' in made[place][f"done-{place:05d}.json"] for place in (0, 1))


def test_stages_have_one_thread_wherever_they_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def start(*_: object, **named: Any) -> None:
        named["stderr"].close()
        asked.update(named)

    monkeypatch.setattr(stage_runner, "LimitedProcess", start)
    with StagePool([], LimitOptions(), tmp_path, 1) as pool:
        pool._start()
    assert asked["environment"] == ONE_THREAD and ONE_THREAD["OMP_NUM_THREADS"] == "1"
