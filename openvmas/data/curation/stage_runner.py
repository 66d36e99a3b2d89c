"""Records through stages, in processes with limits of time and memory: a poisoned file costs its record only."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.recipe import Chosen, LimitOptions, make_stage
from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.errors import InputError, OpenVMASError
from openvmas.files import write_npz
from openvmas.processes import limited
from openvmas.processes.limited import Failure, LimitedProcess, Limits, WorkerPool

UNREADABLE = "unreadable"
STAGE = "worker"  # of drops that no stage decided
# Sums in another order differ in their last bit: a record has the same numbers wherever it is worked on, as on Ray,
# which sets the first of these for its own workers. Records side by side keep the cores busy anyway.
ONE_THREAD: dict[str, str] = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TIME, MEMORY, CRASH = "time limit", "memory limit", "crashed"


@dataclass(frozen=True)
class Job:
    """One record to work on. index: its place; path: of its file; arrays: NPZ file to write if there are arrays."""

    index: int
    record: Record
    path: str
    arrays: str

    @staticmethod
    def from_message(message: dict[str, Any]) -> Job:
        """Read what JSON leaves of `dataclasses.asdict`: so a child process is sent it."""
        return Job(**{**message, "record": Record.from_dict(message["record"])})


@dataclass(frozen=True)
class Outcome:
    """Result of the stages for one record.

    records: kept, several if it was cut into clips. seen: stage → number of records that came to it.
    costs: stage → processor time, s.
    """

    index: int
    records: tuple[Record, ...]
    drops: tuple[Drop, ...]
    seen: dict[str, int]
    costs: dict[str, float]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> Outcome:
        """Read what `to_json` wrote."""
        data = json.loads(line)
        records = tuple(Record.from_dict(item) for item in data["records"])
        drops = tuple(Drop(**{**drop, "record": Record.from_dict(drop["record"])}) for drop in data["drops"])
        return Outcome(data["index"], records, drops, data["seen"], data["costs"])


def refuse(index: int, drop: Drop) -> Outcome:
    """The outcome of a record that is dropped whole."""
    return Outcome(index, (), (drop,), {drop.stage: 1}, {})


class StagePool:
    """Processes that take records through stages and are used until they die; use it in a `with` block."""

    def __init__(self, stages: Sequence[Chosen], limits: LimitOptions, scratch: Path, n_workers: int) -> None:
        self._limits, self._scratch = limits, scratch
        self._setting = {"stages": [asdict(chosen) for chosen in stages], "scratch": str(scratch)}
        self._pool = WorkerPool(n_workers, self._start, retries=1)

    def __enter__(self) -> StagePool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()

    def _start(self) -> LimitedProcess:
        given = self._limits
        limits = Limits(
            given.wall_seconds,
            cpu_seconds=given.cpu_seconds,
            data=given.memory_megabytes << 20,
            file_bytes=given.scratch_megabytes << 20,
        )
        return LimitedProcess(
            open_stages, self._setting, limits, stderr=tempfile.TemporaryFile(), environment=ONE_THREAD
        )

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order. Raises OpenVMASError if processes never come to work."""
        at: dict[int, str] = {}  # index of a record → stage it is at
        messages = (asdict(job) for job in jobs)
        for message, answer in self._pool.run(messages, lambda job, stage: at.update({job["index"]: stage})):
            if not isinstance(answer, Failure):
                yield Outcome.from_json(answer)
                continue
            if answer.is_start:
                raise OpenVMASError(
                    f"worker processes cannot start ({answer.detail}); raise [limits] memory_megabytes, "
                    "or repair the installation."
                )
            job = Job.from_message(message)
            reason, detail = self._explain(answer, job)
            yield refuse(job.index, Drop(job.record, at.get(job.index, STAGE), reason, detail))

    def _explain(self, failure: Failure, job: Job) -> tuple[str, str]:
        """Reason and detail of a drop."""
        given = self._limits
        known = {
            limited.CPU_TIME: (TIME, f"more than {given.cpu_seconds:g} s of processor time"),
            limited.CLOCK_TIME: (TIME, f"more than {given.wall_seconds:g} s on the clock"),
            limited.MEMORY: (MEMORY, f"more than {given.memory_megabytes} MB"),
        }
        if failure.cause in known:
            return known[failure.cause]
        last = "".join(failure.detail.strip().splitlines()[-1:])
        # Without paths of this machine, so that two builds say the same.
        last = re.sub(re.escape(str(self._scratch)) + r"/media-[^/]+/media[.\w]*", job.record.origin.uri, last)
        return CRASH, last.replace(job.path, job.record.origin.uri)


def run_stages(
    index: int, record: Record, media: Media, stages: Sequence[Any], say: Callable[[str], None] = lambda stage: None
) -> tuple[Outcome, dict[str, np.ndarray]]:
    """One record through stages, in order; parts that a stage makes go on one by one.

    say is called with the name of each stage before it runs. Returns the outcome and the arrays of the records that are
    kept, by "<record id>/<name>". A stage that cannot read the file (InputError) drops it as unreadable.
    """
    todo: list[tuple[Record, Media, int]] = [(record, media, 0)]
    kept: list[Record] = []
    drops: list[Drop] = []
    arrays: dict[str, np.ndarray] = {}
    seen: dict[str, int] = {}
    costs: dict[str, float] = {}
    while todo:
        record, media, place = todo.pop()
        if place == len(stages):
            kept.append(replace(record, arrays=tuple(sorted(media.arrays)), sha256=record.sha256 or media.sha256()))
            arrays |= {f"{record.id}/{name}": media.arrays[name] for name in sorted(media.arrays)}
            continue
        stage = stages[place]
        say(stage.name)
        seen[stage.name] = seen.get(stage.name, 0) + 1
        began = time.process_time()
        try:
            result: Record | Drop | list[Record] = stage(record, media)
        except InputError as error:
            result = Drop(record, stage.name, UNREADABLE, anonymous(str(error), media))
        costs[stage.name] = costs.get(stage.name, 0.0) + time.process_time() - began
        if isinstance(result, Drop):
            drops.append(result)
        elif isinstance(result, list):
            parts = [(part, media.part(part), place + 1) for part in result]
            for _, part_media, _ in parts:
                part_media.arrays.update(media.arrays)
            todo.extend(reversed(parts))
        else:
            todo.append((result, media, place + 1))
    return Outcome(index, tuple(kept), tuple(drops), seen, costs), arrays


def anonymous(text: str, media: Media) -> str:
    """A message without paths of this machine, so that two builds say the same."""
    for path in media.places():
        text = text.replace(str(path), media.name)
    return text


def open_stages(setting: dict[str, Any], send: Callable[[str], None]) -> Callable[[dict[str, Any]], str]:
    """The work of one process: a job's message to its outcome in JSON; each stage is named before it runs."""
    stages = [make_stage(Chosen(**chosen)) for chosen in setting["stages"]]

    def work(message: dict[str, Any]) -> str:
        job = Job.from_message(message)
        with Media(job.record, job.path, setting["scratch"]) as media:
            outcome, arrays = run_stages(job.index, job.record, media, stages, send)
        if arrays:
            write_npz(Path(job.arrays), arrays, is_compressed=False)
        return outcome.to_json()

    return work
