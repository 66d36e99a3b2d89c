"""A command in a child process of its own, so that a crash of a library is a sentence and leaves nothing behind.

The child is forked before anything is loaded: that costs a millisecond, and frames need not travel between processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from openvmas.cli.terminal import catch, restore

Complain = Callable[[str, int], object]  # of a sentence and the exit code
CRASHES = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS"}


def guarded(command: Callable[[], int], complain: Complain, folders: Iterable[str | Path] = ()) -> int:
    """Run a command in a child and return its exit code; where processes cannot be forked, run it here.

    complain: is given the sentence if the child crashed or was killed. folders: swept of its unfinished files then.
    Signals are handed on, and the child ends with this process whatever ends it.
    """
    if not hasattr(os, "fork"):
        return command()
    children: list[int] = []
    came: list[int] = []

    def hand_on(signum: int, frame: Any) -> None:
        came.append(signum)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signum)

    before = catch(hand_on)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        restore(before)
        threading.Thread(target=_end_with_parent, args=(reader,), daemon=True).start()
        return command()
    children.append(child)
    for number in came:
        os.kill(child, number)
    os.close(reader)
    try:
        _, status = os.waitpid(child, 0)
        children.clear()
    finally:
        os.close(writer)
        restore(before)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _explain(-code, -code in before, complain, folders)


def _end_with_parent(reader: int) -> None:
    os.read(reader, 1)  # until nobody can write any more
    os._exit(1)


def _explain(number: int, is_handed_on: bool, complain: Complain, folders: Iterable[str | Path]) -> int:
    from openvmas.files import sweep

    for folder in {Path(folder) for folder in folders}:
        sweep(folder)
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if is_handed_on:
        complain("interrupted; nothing was left behind.", 130)
        return 130
    if name in CRASHES:
        complain(
            f"a library crashed ({name}), most likely the decoder on a damaged file; nothing was left behind. "
            "Convert the file first, for instance: ffmpeg -i FILE -c:v libx264 -c:a aac converted.mp4.",
            2,
        )
    else:
        complain(
            f"the system ended the program ({name}), most likely because memory ran out; nothing was left behind. "
            "Close other programs, or give a smaller or shorter file.",
            2,
        )
    return 2
