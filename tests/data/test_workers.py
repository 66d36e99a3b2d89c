"""Whatever a record does to its worker costs that record only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from openvmas.data.curation.recipe import Chosen, LimitOptions
from openvmas.data.curation.record import Origin, Record, make_id
from openvmas.data.curation.stage_runner import Job, Outcome, StagePool
from openvmas.errors import OpenVMASError

pytestmark = pytest.mark.slow

LIMITS = LimitOptions(cpu_seconds=20, wall_seconds=60, memory_megabytes=1000)


def work(folder: Path, words: Sequence[str], limits: LimitOptions = LIMITS) -> list[Outcome]:
    jobs = []
    for index, word in enumerate(words):
        path = folder / f"{index}.mp4"
        path.write_text(f"{word} {index}")
        record = Record(make_id("x", path.name), "video", Origin("x", path.name))
        jobs.append(Job(index, record, str(path), str(folder / f"{index}.npz")))
    with StagePool((Chosen("tests.data.stage_kit:Harm", {}),), limits, folder, 1) as pool:
        return sorted(pool.run(jobs), key=lambda outcome: outcome.index)


def reasons(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str] | str]:
    return [
        (o.drops[0].stage, o.drops[0].reason, o.drops[0].detail) if o.drops else o.records[0].facts["harm.word"]
        for o in outcomes
    ]


def test_deaths_cost_one_record_each_and_name_the_stage(tmp_path: Path) -> None:
    found = reasons(work(tmp_path, ["good", "crash", "good", "raise", "exit", "eat", "print"]))
    assert found == [
        "good",
        ("harm", "crashed", "ended by SIGSEGV"),
        "good",
        ("harm", "crashed", "KeyError: 'a fault with 3.mp4'"),
        ("harm", "crashed", ""),
        ("harm", "memory limit", "more than 1000 MB"),
        "print",
    ]


def test_endless_work_is_stopped_by_processor_time_and_by_the_clock(tmp_path: Path) -> None:
    found = reasons(work(tmp_path, ["spin", "sleep", "good"], LimitOptions(1, 20, 1000)))
    assert found[0] in [
        ("harm", "time limit", "more than 1 s of processor time"),
        ("harm", "time limit", "more than 20 s on the clock"),  # on a machine that gives 5 % of a core
    ]
    assert found[1:] == [("harm", "time limit", "more than 20 s on the clock"), "good"]


def test_a_record_that_died_of_another_ones_doing_is_tried_again(tmp_path: Path) -> None:
    assert reasons(work(tmp_path, ["once"])) == ["once"]


def test_workers_that_cannot_start_say_why(tmp_path: Path) -> None:
    job = Job(0, Record("0", "video", Origin("x", "a.mp4")), "a.mp4", "a.npz")
    with (
        StagePool((Chosen("tests.data.stage_kit:Nothing", {}),), LIMITS, tmp_path, 1) as pool,
        pytest.raises(OpenVMASError, match=r"worker processes cannot start.*no attribute 'Nothing'"),
    ):
        list(pool.run([job]))
