"""Tasks on files that users uploaded, in a process of its own with limits on memory, time and file size.

A damaged or malicious file can at most bring that process down.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from openvmas.errors import InputError, OpenVMASError
from openvmas.processes.limited import CLOCK_TIME, ERROR, FAULT, Failure, LimitedProcess, Limits

MEMORY = 3 << 30  # bytes of address space
PROBE_TIME = 60.0  # s, until the length is known
SPARE_TIME, TIME_PER_SECOND = 120.0, 15.0  # s, and s per second of video: ten times what a busy small machine needs
SPARE_BYTES, BYTES_PER_SECOND = 256_000_000, 4_000_000  # of one written file, beside the size of the source
CORES = 8  # that may be busy all the time
OPEN_FILES = 256

Send = Callable[[dict[str, Any]], None]


def make_limits(seconds: float = PROBE_TIME, memory: int = MEMORY, file_bytes: int = SPARE_BYTES) -> Limits:
    """Limits of one task, by its time on the clock."""
    cpu_seconds = CORES * seconds + 1
    return Limits(seconds, None, cpu_seconds, address_space=memory, file_bytes=file_bytes, open_files=OPEN_FILES)


def limits_for(duration: float, source_bytes: int) -> Limits:
    """Limits that honest work on a video of this length, in s, stays within."""
    seconds = SPARE_TIME + TIME_PER_SECOND * duration
    return make_limits(seconds, MEMORY, source_bytes + SPARE_BYTES + int(BYTES_PER_SECOND * duration))


class Sandbox:
    """The process of one task: look, finish, hear or probe."""

    def __init__(self, task: str, request: dict[str, Any], limits: Limits) -> None:
        self._request = request
        self._process = LimitedProcess(
            open_task,
            task,
            limits,
            start_seconds=limits.seconds,
            stderr=subprocess.DEVNULL,
            environment={"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": ""},
        )
        self.set_time, self.stop = self._process.set_time, self._process.stop

    def run(self, on_message: Send) -> dict[str, Any]:
        """Pass on the task's messages and return its result. Raises InputError where the file is to blame."""
        try:
            answer = self._process.run(self._request, on_message)
        finally:
            self._process.stop()
        if not isinstance(answer, Failure):
            return answer
        if answer.cause == FAULT:
            raise RuntimeError(answer.detail)
        if answer.cause == ERROR:
            raise InputError(answer.sentence)
        if answer.cause == CLOCK_TIME:
            raise InputError("this video takes far longer to read than its length allows; convert it to H.264 (mp4).")
        raise InputError(
            "this video could not be read within the limits on memory and time; convert it to H.264 (mp4)."
        )


def open_task(task: str, send: Send) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The work of the confined process; its errors name the video as the client does, not by where it lies here."""

    def work(request: dict[str, Any]) -> dict[str, Any]:
        try:
            from openvmas.studio.tasks import hear, inspect, render  # within the limits

            tasks = {
                "probe": lambda *_: inspect.examine(request), "look": inspect.look, "finish": render.finish,
                "hear": hear.hear,
            }  # fmt: skip
            return tasks[task](request, send)
        except OpenVMASError as error:
            raise InputError(str(error).replace(request["source"], request["name"])) from error
        except MemoryError as error:
            raise InputError(f"{request['name']} needs more memory than is allowed; scale the video down.") from error

    return work
