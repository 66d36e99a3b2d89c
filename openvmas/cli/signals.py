"""Signals that end a program end it in order: an exception is raised, once, and remembered in case it gets lost."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from openvmas.errors import Interrupted

GRACE_S = 3.0  # s in which further signals do not disturb the tidying up
RETRY_S = 0.02  # s until it is asked again whether modules are still being loaded

_came: list[float] = []  # when signals came


def stop(signum: int, frame: FrameType | None) -> None:
    """End as by Ctrl-C; what comes together with the first signal must not disturb the tidying up."""
    _came.append(time.monotonic())
    if len(_came) == 1:
        interrupt(signum, frame)
    elif _came[-1] - _came[0] > GRACE_S:
        raise Interrupted


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Raise, but not within an import: libraries that are half loaded crash or say that they are broken."""
    if hasattr(signal, "setitimer") and is_importing(frame):
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, RETRY_S)
    else:
        raise Interrupted


def is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def has_come() -> bool:
    return bool(_came)


def check() -> None:
    """Raise again what Python had to swallow because the signal came within a callback of its own."""
    if has_come():
        cancel()
        raise Interrupted


def cancel() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def catch() -> dict[int, Any]:
    """Handle the signals that are not ignored (`nohup`), and return the handlers that they had."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, stop)
    return before


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Handle signals within this context."""
    before = catch()
    try:
        check()
        yield
    finally:
        cancel()
        _came.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
