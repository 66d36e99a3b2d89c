"""What a process opened and keeps in memory, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_MODELS = 2  # that one process keeps in memory


class Kept(Generic[T]):
    """Things by their keys, MAX_MODELS at most: before another is opened, the first that was is let go."""

    def __init__(self) -> None:
        self._open: dict[Hashable, T] = {}

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        """The thing of that key, made now if it is not kept."""
        if key not in self._open:
            while len(self._open) >= MAX_MODELS:
                del self._open[next(iter(self._open))]
            self._open[key] = make()
        return self._open[key]
