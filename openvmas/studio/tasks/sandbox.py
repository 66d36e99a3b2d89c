"""Work on files that strangers made, in a process of its own with limits on memory, time and file size.

A damaged or malicious file can at most bring that process down. It is told what to do in one line of JSON, answers in
lines of JSON, and ends itself when its parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from openvmas.errors import InputError

PROGRAM = (sys.executable, "-m", "openvmas.studio.tasks.sandbox_child")
MEMORY = 3 << 30  # bytes of address space
PROBE_TIME = 60.0  # s, until the length is known
SPARE_TIME, TIME_PER_SECOND = 120.0, 15.0  # s, and s per second of video: ten times what a busy small machine needs
SPARE_BYTES, BYTES_PER_SECOND = 256_000_000, 4_000_000  # of one written file, beside the size of the source


@dataclass(frozen=True)
class Limits:
    """memory: bytes of address space; seconds: by the clock (processor time may be eight times that); file_bytes: of
    the largest file that may be written."""

    memory: int = MEMORY
    seconds: float = PROBE_TIME
    file_bytes: int = SPARE_BYTES


def limits_for(duration: float, source_bytes: int) -> Limits:
    """What honest work on a video of this length can need."""
    return Limits(
        MEMORY, SPARE_TIME + TIME_PER_SECOND * duration, source_bytes + SPARE_BYTES + int(BYTES_PER_SECOND * duration)
    )


class Child:
    """One such process."""

    def __init__(self, task: str, request: dict[str, Any], limits: Limits) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": ""}
        self._process = subprocess.Popen(
            (*PROGRAM, task), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._until = time.monotonic() + limits.seconds
        self.is_late = False
        self._watch = threading.Thread(target=self._kill_when_late, daemon=True)
        self._watch.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({**request, "limits": asdict(limits)}).encode() + b"\n")
            self._process.stdin.flush()

    def extend(self, seconds: float) -> None:
        """Set what is left of the time."""
        self._until = time.monotonic() + seconds

    def _kill_when_late(self) -> None:
        while self._process.poll() is None:
            if time.monotonic() > self._until:
                self.is_late = True
                self._process.kill()
            time.sleep(0.1)

    def run(self, on_message: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Pass on what the child says and return its result. Raises InputError where the file is to blame."""
        result: dict[str, Any] | None = None
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                message = json.loads(line)
                if "result" in message:
                    result = message["result"]
                elif "error" in message:
                    raise InputError(message["error"])
                elif "fault" in message:
                    raise RuntimeError(message["fault"])
                else:
                    on_message(message)
            self._process.wait()
        finally:
            self.stop()
        if self.is_late:
            raise InputError("this video takes far longer to read than its length allows; convert it to H.264 (mp4).")
        if result is None:
            raise InputError(
                "this video could not be read within the limits on memory and time; convert it to H.264 (mp4)."
            )
        return result

    def stop(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._watch.join()
