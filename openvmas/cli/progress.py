"""Stages and time left on standard error: a bar on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from openvmas.cli.signals import check

Report = Callable[[str, float], None]  # stage, and how much of it is done (0 to 1)

# Stage → (what the user reads, its share of the whole time as measured by bench/score_speed.py).
STAGES = {
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


@contextlib.contextmanager
def show_progress(title: str, is_quiet: bool = False, stream: TextIO | None = None) -> Iterator[Report]:
    """Yield a function of a stage and the share of it that is done; a new variation begins at the first stage."""
    target = sys.stderr if stream is None else stream
    if is_quiet:
        yield lambda stage, done: check()
    elif not target.isatty():
        yield Lines(title, target)
    else:
        bar = Bar(title, target)
        try:
            yield bar
        finally:
            bar.clear()
            target.flush()
