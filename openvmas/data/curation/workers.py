"""Records worked on in processes of their own, with limits of time and memory: a poisoned file costs its record only.

A worker is `stage_runner` run by itself. It reads one JSON line per record and answers with one; it is used again and
again until it dies or is killed. The kernel keeps the limits of memory, processor time and file size (setrlimit), so
that they hold inside a decoder, too; the parent keeps the time on the clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from openvmas.data.curation.recipe import Chosen, LimitOptions
from openvmas.data.curation.record import Drop, Record
from openvmas.errors import OpenVMASError

OUT_OF_MEMORY = 77  # exit code of a worker
STAGE = "worker"  # of drops that no stage decided
TIME, MEMORY, CRASH = "time limit", "memory limit", "crashed"
_FATAL = signal.SIGKILL


@dataclass(frozen=True)
class Job:
    """One record to work on. index: its place; path: of its file; arrays: NPZ file to write if there are arrays."""

    index: int
    record: Record
    path: str
    arrays: str


@dataclass(frozen=True)
class Outcome:
    """What became of one record.

    records: kept, several if it was cut into clips. seen: stage → how many came to it.
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
        records = tuple(Record.from_json(json.dumps(item)) for item in data["records"])
        drops = tuple(Drop(**{**d, "record": Record.from_json(json.dumps(d["record"]))}) for d in data["drops"])
        return Outcome(data["index"], records, drops, data["seen"], data["costs"])


def refuse(index: int, record: Record, stage: str, reason: str, detail: str = "") -> Outcome:
    """The outcome of a record that is dropped whole."""
    return Outcome(index, (), (Drop(record, stage, reason, detail),), {stage: 1}, {})


class Worker:
    """One child process and the job that it has."""

    def __init__(self, stages: Sequence[Chosen], limits: LimitOptions, scratch: Path) -> None:
        self._limits = limits
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = subprocess.Popen(
            [sys.executable, "-m", "openvmas.data.curation.stage_runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},  # for own stages
            start_new_session=True,  # an interrupt from the keyboard is the parent's to handle
        )
        self._buffer = b""
        self._is_ready = False
        self.stage = STAGE
        self.job: Job | None = None
        self.attempt = 0
        self._deadline = 0.0
        setting = {
            "stages": [asdict(chosen) for chosen in stages],
            "limits": asdict(limits),
            "scratch": str(scratch),
            "parent": os.getpid(),
        }
        self._send(setting)

    def fileno(self) -> int:
        """For select: readable when the worker has said something or has died."""
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    def give(self, job: Job, attempt: int) -> None:
        """Start work on a record."""
        self.job, self.attempt, self.stage = job, attempt, STAGE
        self._deadline = time.monotonic() + self._limits.wall_seconds
        self._send({"index": job.index, "record": job.record.to_json(), "path": job.path, "arrays": job.arrays})

    def is_late(self) -> bool:
        """Whether the job has used up its time on the clock."""
        return self.job is not None and time.monotonic() > self._deadline

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """Messages that have come, and whether the worker is dead."""
        data = os.read(self.fileno(), 1 << 20)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        messages = [json.loads(line) for line in lines]
        self._is_ready = self._is_ready or bool(messages)
        for message in messages:
            self.stage = message.get("at", self.stage)
        return messages, not data

    def bury(self) -> tuple[str, str]:
        """Why a dead worker died: reason and detail. Raises OpenVMASError if it never came to work."""
        code = self._child.wait()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - 4000, 0))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        last = lines[-1] if lines else ""
        self.end()
        if not self._is_ready:
            raise OpenVMASError(
                f"worker processes cannot start ({last or f'exit code {code}'}); raise [limits] memory_megabytes, "
                "or repair the installation."
            )
        if code == -signal.SIGXCPU:
            return TIME, f"more than {self._limits.cpu_seconds:g} s of processor time"
        if code == OUT_OF_MEMORY:
            return MEMORY, f"more than {self._limits.memory_megabytes} MB"
        if code < 0:
            return CRASH, f"ended by {signal.Signals(-code).name}"
        return CRASH, last

    def kill(self) -> None:
        """End the process and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, _FATAL)
        self._child.wait()
        self.end()

    def end(self) -> None:
        """Close what belongs to the process; an idle one ends by itself when its input is closed."""
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=0)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: seen when it is read
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()


class Pool:
    """Workers that are used until they die; use it in a `with` block.

    A record on which a worker died is tried once more in a fresh one, since memory may have been used up by the records
    before it. A second death is the record's own.
    """

    def __init__(self, stages: Sequence[Chosen], limits: LimitOptions, scratch: Path, n_workers: int) -> None:
        self._stages, self._limits, self._scratch = tuple(stages), limits, scratch
        self._n_workers = n_workers
        self._workers: list[Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order; jobs are taken as workers become free."""
        waiting: list[tuple[Job, int]] = []
        source = iter(jobs)
        while True:
            while len(waiting) < 1 and (job := next(source, None)) is not None:
                waiting.append((job, 0))
            idle = next((worker for worker in self._workers if worker.job is None), None)
            if waiting and (idle is not None or len(self._workers) < self._n_workers):
                if idle is None:
                    idle = Worker(self._stages, self._limits, self._scratch)
                    self._workers.append(idle)
                idle.give(*waiting.pop())
                continue
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy:
                return
            yield from self._hear(busy, waiting)

    def _hear(self, busy: list[Worker], waiting: list[tuple[Job, int]]) -> Iterator[Outcome]:
        ready, _, _ = select.select(busy, [], [], 0.5)
        for worker in busy:
            job = worker.job
            assert job is not None
            messages, is_dead = worker.read() if worker in ready else ([], False)
            done = next((message for message in messages if "outcome" in message), None)
            if done is not None:
                worker.job = None
                yield Outcome.from_json(done["outcome"])
            elif is_dead:
                self._workers.remove(worker)
                reason, detail = worker.bury()
                if worker.attempt == 0 and reason != TIME:
                    waiting.append((job, 1))
                else:
                    yield refuse(job.index, job.record, worker.stage, reason, self._anonymous(detail, job))
            elif worker.is_late():
                self._workers.remove(worker)
                worker.kill()
                detail = f"more than {self._limits.wall_seconds:g} s on the clock"
                yield refuse(job.index, job.record, worker.stage, TIME, detail)

    def _anonymous(self, text: str, job: Job) -> str:
        """A last line of a worker without paths of this machine, so that two builds say the same."""
        text = re.sub(re.escape(str(self._scratch)) + r"/media-[^/]+/media[.\w]*", job.record.origin.uri, text)
        return text.replace(job.path, job.record.origin.uri)
