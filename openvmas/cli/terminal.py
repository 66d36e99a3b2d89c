"""The terminal: signals that end the program in order; progress as a bar, as lines, as JSON lines, or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, TextIO

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


SCRIPTED = frozenset({"analyze", "doctor", "fit", "plan", "report", "score"})  # commands whose --json is their answer


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether these arguments ask for an answer that a script reads."""
    words = [word for word in arguments if word != "--debug"]
    return bool(words) and words[0] in SCRIPTED and "--json" in words[: words.index("--") if "--" in words else None]


def complain(message: str, code: int = 2, arguments: Sequence[str] = ()) -> int:
    """Print what went wrong, as JSON too where the arguments ask for it, and return the exit code."""
    with contextlib.suppress(OSError):  # nobody may be there to read it
        print(f"error: {message}", file=sys.stderr, flush=True)
        if wants_json(arguments):
            print(json.dumps({"ok": False, "exit_code": code, "error": message}), flush=True)
    return code


def open_streams() -> None:
    """Give closed streams a place to go, so that no file gets their number, and let all names be printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


def catch(handle: Callable[[int, FrameType | None], None] = stop) -> dict[int, Any]:
    """Handle the signals that are not ignored (`nohup`), and return the handlers that they had."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, handle)
    return before


def restore(before: dict[int, Any]) -> None:
    """Give signals the handlers back that `catch` returned."""
    for number, handler in before.items():
        signal.signal(number, handler)


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
        restore(before)


Report = Callable[[str, float], None]  # stage, and how much of it is done (0 to 1)

# Stage → (what the user reads, its share of the whole time as measured by bench/score_speed.py).
STAGES = {
    "index": ("listening to the recordings", 0.0),
    "videos": ("scoring the videos", 0.0),
    "analyze": ("looking at the picture", 0.20),
    "listen": ("listening for speech", 0.03),
    "plan": ("planning", 0.01),
    "compose": ("composing", 0.68),
    "mix": ("mixing", 0.05),
    "mux": ("writing the video", 0.03),
}
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_DRAWINGS = 0.1
BAR_WIDTH = 24  # characters
MIN_DONE = 0.05  # of the whole before a time left is worth saying


def overall(stage: str, done: float) -> float:
    """Share of the whole that is done when `done` of `stage` is."""
    if stage in ("index", "videos"):  # something new to hear, before all else; a list, of which this is all
        return min(max(done, 0.0), 1.0)
    names = list(STAGES)
    before = sum(STAGES[name][1] for name in names[: names.index(stage)])
    return min(before + STAGES[stage][1] * min(max(done, 0.0), 1.0), 1.0)


def time_left(done: float, elapsed: float) -> str:
    """A short phrase, empty while nothing can be said."""
    if done < MIN_DONE:
        return ""
    left = elapsed * (1 - done) / done
    return f"about {left:.0f} s left" if left < 100 else f"about {left / 60:.0f} min left"


class Lines:
    """A line when a stage begins and every ten seconds."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title, self._stream = title, stream
        self._began, self._last, self._stage = time.monotonic(), 0.0, ""

    def __call__(self, stage: str, done: float) -> None:
        check()
        now = time.monotonic()
        if stage == self._stage and now - self._last < SECONDS_BETWEEN_LINES:
            return
        whole = overall(stage, done)
        left = time_left(whole, now - self._began)
        print(f"{self._title}: {STAGES[stage][0]} ({whole:.0%}{', ' + left if left else ''})", file=self._stream)
        self._stream.flush()
        self._stage, self._last = stage, now


class Bar(Lines):
    """One line that is written over; a terminal too narrow for it gets its beginning."""

    def __call__(self, stage: str, done: float) -> None:
        check()
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_DRAWINGS and 0 < done < 1:
            return
        self._last = now
        whole = overall(stage, done)
        filled = round(whole * BAR_WIDTH)
        left = time_left(whole, now - self._began)
        line = f"{'#' * filled}{'.' * (BAR_WIDTH - filled)} {whole:4.0%}  {self._title}: {STAGES[stage][0]}  {left}"
        self.clear()
        self._stream.write(line[: shutil.get_terminal_size().columns - 1])
        self._stream.flush()

    def clear(self) -> None:
        """Leave an empty line for whatever is printed next."""
        self._stream.write("\r\x1b[2K")


class JsonLines(Lines):
    """One JSON object a line, at most ten a second: for programs that draw the bar themselves."""

    def __call__(self, stage: str, done: float) -> None:
        check()
        now = time.monotonic()
        if stage == self._stage and now - self._last < SECONDS_BETWEEN_DRAWINGS and done < 1:
            return
        self._stage, self._last = stage, now
        whole, elapsed = overall(stage, done), now - self._began
        left = elapsed * (1 - whole) / whole if whole >= MIN_DONE else None
        said = {"file": self._title, "stage": stage, "stage_done": round(done, 4), "done": round(whole, 4)}
        said |= {"seconds": round(elapsed, 2), "seconds_left": None if left is None else round(left, 1)}
        print(json.dumps({"event": "progress", **said}), file=self._stream, flush=True)


@contextlib.contextmanager
def show_progress(
    title: str, is_quiet: bool = False, stream: TextIO | None = None, *, as_json: bool = False
) -> Iterator[Report]:
    """Yield a function of a stage and the share of it that is done; a new variation begins at the first stage."""
    target = sys.stderr if stream is None else stream
    if is_quiet:
        yield lambda stage, done: check()
    elif as_json:
        yield JsonLines(title, target)
    elif not target.isatty():
        yield Lines(title, target)
    else:
        bar = Bar(title, target)
        try:
            yield bar
        finally:
            bar.clear()
            target.flush()
