"""Jobs in processes of their own: one that crashes, hangs or raises costs its job only, and the rest goes on."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from openvmas.errors import OpenVMASError

START_LIMIT = 600.0  # s, for a process to begin
READY = "ready"

J = TypeVar("J")
Worker = Callable[[Any], Any]  # a job to its answer


@dataclass(frozen=True)
class Failure:
    """Why a job has no answer, in one sentence."""

    sentence: str


def serve(connection: Connection, start: Callable[[Any], Worker], setting: Any) -> None:
    """A worker's life: jobs in, answers out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    work = start(setting)
    connection.send(READY)  # from now on the time of the job counts
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = work(job)
        except OpenVMASError as error:
            answer = Failure(str(error))
        except Exception as error:  # what is run here may be anybody's code: whatever it raises is its result
            answer = Failure(f"{type(error).__name__}: {error}")
        try:
            connection.send(answer)
        except (BrokenPipeError, OSError):
            return


class _Hand(Generic[J]):
    """One worker process and its job."""

    def __init__(self, start: Callable[[Any], Worker], setting: Any) -> None:
        context = multiprocessing.get_context("spawn")  # threads of ONNX Runtime do not survive a fork
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, start, setting), daemon=True)
        self._process.start()
        other.close()
        self.job: J | None = None
        self._is_ready = False
        self._begun = 0.0

    def give(self, job: J) -> None:
        self.job, self._begun = job, time.monotonic()
        self.pipe.send(job)

    def read(self) -> Any:
        """What it says; READY once, before all else."""
        answer = self.pipe.recv()
        if not self._is_ready:
            self._is_ready, self._begun = True, time.monotonic()
        return answer

    def left(self, timeout: float) -> float:
        """Seconds until the job is late."""
        return self._begun + (timeout if self._is_ready else START_LIMIT) - time.monotonic()

    def end(self) -> int | None:
        """Stop it; returns its exit code."""
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(2)
            self._process.kill()
        self._process.join()
        self.pipe.close()
        return self._process.exitcode


class WorkPool(Generic[J]):
    """A `with` block with n workers, each made by start(setting) in its own process."""

    def __init__(self, n: int, start: Callable[[Any], Worker], setting: Any, timeout: float) -> None:
        self._n, self._start, self._setting, self._timeout = n, start, setting, timeout
        self._hands: list[_Hand[J]] = []

    def __enter__(self) -> WorkPool[J]:
        return self

    def __exit__(self, *details: object) -> None:
        for hand in self._hands:
            hand.end()
        self._hands.clear()

    def run(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any]]:
        """(job, answer or Failure) as they come, in no order that can be relied on."""
        waiting = deque(jobs)
        while waiting or any(hand.job is not None for hand in self._hands):
            self._hand_out(waiting)
            busy = [hand for hand in self._hands if hand.job is not None]
            soonest = max(0.0, min(hand.left(self._timeout) for hand in busy))
            ready = wait([hand.pipe for hand in busy], timeout=soonest)
            for hand in busy:
                if hand.pipe in ready:
                    found = self._take(hand)
                    if found is not None:
                        yield found
                elif hand.left(self._timeout) <= 0:
                    job = self._bury(hand)[0]
                    yield job, Failure(f"it took longer than {self._timeout:g} s and was stopped; raise --timeout.")

    def _hand_out(self, waiting: deque[J]) -> None:
        while len(self._hands) < min(self._n, len(waiting) + len(self._hands)):
            self._hands.append(_Hand(self._start, self._setting))
        for hand in self._hands:
            if hand.job is None and waiting:
                hand.give(waiting.popleft())

    def _take(self, hand: _Hand[J]) -> tuple[J, Any] | None:
        """What a worker answers, if it does; a dead one says nothing more."""
        try:
            answer = hand.read()
        except (EOFError, OSError):
            job, code = self._bury(hand)
            how = f"signal {-code} ended it" if code is not None and code < 0 else f"it ended with code {code}"
            return job, Failure(f"its process died ({how}).")
        if answer == READY:
            return None
        assert hand.job is not None
        job, hand.job = hand.job, None
        return job, answer

    def _bury(self, hand: _Hand[J]) -> tuple[J, int | None]:
        self._hands.remove(hand)
        assert hand.job is not None
        return hand.job, hand.end()
