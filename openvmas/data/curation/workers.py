"""Processes with limits of time and memory take records through stages: a poisoned file costs its record only."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openvmas.data.curation.recipe import Chosen, LimitOptions, make_stage
from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.data.curation.stage_runner import Outcome, run_stages, save_arrays
from openvmas.errors import OpenVMASError
from openvmas.processes import limited
from openvmas.processes.limited import Failure, LimitedProcess, Limits, WorkerPool

STAGE = "worker"  # of drops that no stage decided
TIME, MEMORY, CRASH = "time limit", "memory limit", "crashed"

_REASONS = {limited.CPU_TIME: TIME, limited.CLOCK_TIME: TIME, limited.MEMORY: MEMORY}


@dataclass(frozen=True)
class Job:
    """One record to work on. index: its place; path: of its file; arrays: NPZ file to write if there are arrays."""

    index: int
    record: Record
    path: str
    arrays: str

    def to_message(self) -> dict[str, Any]:
        """The job as a child process is sent it."""
        return {**asdict(self), "record": self.record.to_json()}

    @staticmethod
    def from_message(message: dict[str, Any]) -> Job:
        """Read what `to_message` made."""
        return Job(**{**message, "record": Record.from_json(message["record"])})


def refuse(index: int, record: Record, stage: str, reason: str, detail: str = "") -> Outcome:
    """The outcome of a record that is dropped whole."""
    return Outcome(index, (), (Drop(record, stage, reason, detail),), {stage: 1}, {})


class StagePool:
    """Processes that take records through stages and are used until they die; use it in a `with` block."""

    def __init__(self, stages: Sequence[Chosen], limits: LimitOptions, scratch: Path, n_workers: int) -> None:
        self._limits, self._scratch = limits, scratch
        self._setting = {"stages": [asdict(chosen) for chosen in stages], "scratch": str(scratch)}
        self._pool = WorkerPool(n_workers, self._start, has_retry=True)

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
        return LimitedProcess(open_stages, self._setting, limits, stderr=tempfile.TemporaryFile())

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order. Raises OpenVMASError if processes never come to work."""
        at: dict[int, str] = {}  # index of a record → stage it is at
        messages = (job.to_message() for job in jobs)
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
            yield refuse(job.index, job.record, at.get(job.index, STAGE), reason, detail)

    def _explain(self, failure: Failure, job: Job) -> tuple[str, str]:
        """Reason and detail of a drop."""
        reason = _REASONS.get(failure.cause, CRASH)
        if failure.cause == limited.CPU_TIME:
            return reason, f"more than {self._limits.cpu_seconds:g} s of processor time"
        if failure.cause == limited.CLOCK_TIME:
            return reason, f"more than {self._limits.wall_seconds:g} s on the clock"
        if failure.cause == limited.MEMORY:
            return reason, f"more than {self._limits.memory_megabytes} MB"
        last = failure.detail.strip().splitlines()[-1:]
        return reason, self._anonymous("".join(last), job)

    def _anonymous(self, text: str, job: Job) -> str:
        """A last line of a worker without paths of this machine, so that two builds say the same."""
        text = re.sub(re.escape(str(self._scratch)) + r"/media-[^/]+/media[.\w]*", job.record.origin.uri, text)
        return text.replace(job.path, job.record.origin.uri)


def open_stages(setting: dict[str, Any], send: Callable[[str], None]) -> Callable[[dict[str, Any]], str]:
    """The work of one process: a job's message to its outcome in JSON; each stage is named before it runs."""
    stages = [make_stage(Chosen(**chosen)) for chosen in setting["stages"]]

    def work(message: dict[str, Any]) -> str:
        job = Job.from_message(message)
        with Media(job.record, job.path, setting["scratch"]) as media:
            outcome, arrays = run_stages(job.index, job.record, media, stages, send)
        if arrays:
            save_arrays(Path(job.arrays), arrays)
        return outcome.to_json()

    return work
