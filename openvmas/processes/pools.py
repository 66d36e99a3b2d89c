"""A pool of child processes, each looked after by a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Generic, Self, TypeVar

J = TypeVar("J")
R = TypeVar("R")
C = TypeVar("C")  # a child process


class ProcessPool(Generic[C]):
    """A `with` block with n threads that each look after one child process; at its end no child is left.

    end: ends a child, which then leaves its thread.
    """

    def __init__(self, n: int, end: Callable[[C], None]) -> None:
        self._n, self._end = n, end
        self._threads = ThreadPoolExecutor(n)
        self._lock = threading.Lock()
        self._children: set[C] = set()
        self._is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def as_completed(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[tuple[J, R]]:
        """Pairs of job and result in any order; a job is taken when a thread is free. An interrupt ends the pool."""
        running: dict[Future[R], J] = {}
        source = iter(jobs)
        try:
            while True:
                for job in islice(source, self._n - len(running)):
                    running[self._threads.submit(function, job)] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all children and wait for them."""
        with self._lock:
            self._is_stopped = True
            for child in self._children:
                self._end(child)
            self._children.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _add(self, make: Callable[[], C]) -> C:
        """A new child, unless the pool has been stopped."""
        with self._lock:
            if self._is_stopped:
                raise InterruptedError("the pool has been stopped")
            child = make()
            self._children.add(child)
            return child
