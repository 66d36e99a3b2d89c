"""Work shared out among threads. ONNX Runtime and most of NumPy let others go on while they compute."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from openvmas.errors import OptionError

R = TypeVar("R")
T = TypeVar("T")
MAX_THREADS = 3  # more share one memory, and few pieces have as many candidates


class ThreadPool:
    """n threads, the caller's included. n: `count_threads` if left out."""

    def __init__(self, n: int | None = None) -> None:
        self.n = n or count_threads()
        self._others = ThreadPoolExecutor(self.n - 1) if self.n > 1 else None

    def map(self, function: Callable[[Any], R], items: Sequence[Any] | np.ndarray) -> list[R]:
        """The function's results for all items, in order."""
        if self._others is None or len(items) < 2:
            return [function(item) for item in items]
        others = [self._others.submit(function, item) for item in items[1:]]
        return [function(items[0]), *(other.result() for other in others)]


def count_threads() -> int:
    """OPENVMAS_THREADS of the environment, else all cores up to MAX_THREADS. Raises OptionError."""
    asked = os.environ.get("OPENVMAS_THREADS", "")
    if not asked:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, MAX_THREADS)
    if not asked.isdecimal() or int(asked) < 1:
        raise OptionError(f"OPENVMAS_THREADS is {asked!r}; set it to a whole number from 1 on, or unset it.")
    return int(asked)


def share_of_cores(n: int) -> dict[str, str]:
    """Variables for one of n processes that work side by side: its threads do not take the others' cores."""
    alone = {"OPENVMAS_THREADS": str(max(1, count_threads() // n))}
    return alone if n == 1 else {**alone, "OMP_NUM_THREADS": "1"}


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended, s."""
    return sum(os.times()[:4])


def read_ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Pass items on, made up to `depth` ahead in another thread; errors come through in their place.

    Closing it ends the thread.
    """
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(maxsize=depth)
    is_stopped = threading.Event()

    def offer(kind: str, item: T | BaseException | None) -> None:
        while not is_stopped.is_set():
            try:
                return ready.put((kind, item), timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                offer("item", item)
                if is_stopped.is_set():
                    return
            offer("end", None)
        except BaseException as error:  # handed to the reader, who raises it
            offer("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(item, BaseException)
                raise item
            yield item  # pyright: ignore[reportReturnType]
    finally:
        is_stopped.set()
        thread.join()
