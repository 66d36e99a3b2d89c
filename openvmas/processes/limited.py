"""Child processes that do one job after the other within limits on memory, time and file size, alone or in a pool.

Whatever a job does, be it to crash, to hang or to eat all memory, costs its process only. Jobs and answers are lines on
the child's standard input and output; `openvmas.processes.child` is the other end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from typing import IO, Any, Self, TypeVar

from openvmas.processes.child import OUT_OF_MEMORY, decode, encode

J = TypeVar("J")

PROGRAM = (sys.executable, "-m", "openvmas.processes.child")
START_SECONDS = 600.0  # until a process has to be ready for jobs
ERROR, FAULT, CPU_TIME, CLOCK_TIME, MEMORY, CRASH = "error", "fault", "cpu time", "clock time", "memory", "crash"
STOPPED = "stopped"
STOP_SECONDS = 1.2  # that work may go on, to tidy up, after it was asked to stop
LAST_BYTES = 4000  # of what a process has written to standard error


@dataclass(frozen=True)
class Limits:
    """Limits of one process; None is no limit.

    seconds: by the clock, for a job; cpu_seconds: of processor time, for a job; total_cpu_seconds: for all its jobs;
    address_space: bytes; data: bytes of private writable memory (all address space where the kernel does not count it);
    file_bytes: of the largest file that may be written; open_files: at a time.
    """

    seconds: float
    cpu_seconds: float | None = None
    total_cpu_seconds: float | None = None
    address_space: int | None = None
    data: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None


@dataclass(frozen=True)
class Failure:
    """The reason why a job has no answer.

    sentence: for the user; cause: ERROR (an OpenVMASError), FAULT (another exception), STOPPED (asked to), or why the
    process was ended; detail: the last line of what it wrote, the signal, or of a fault the traceback; is_start: it
    never came to work.
    """

    sentence: str
    cause: str = CRASH
    detail: str = ""
    is_start: bool = False


class LimitedProcess:
    """One child process.

    start: a function of a module, called in the child as start(setting, send). It returns the child's work, a function
    from job to answer; by send(message) it may report on the way. is_trusted: messages are pickled, so that they can be
    any object, and the child could run code here; else they are JSON. start_seconds: until it has to be ready.
    stderr: as for Popen; the last line of a file is the detail of a crash. remedy: advice for the user when a job takes
    too long.
    """

    def __init__(
        self,
        start: Callable[[Any, Callable[[Any], None]], Callable[[Any], Any]],
        setting: Any,
        limits: Limits,
        *,
        is_trusted: bool = False,
        start_seconds: float = START_SECONDS,
        stderr: int | IO[bytes] | None = None,
        remedy: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._limits, self._start_seconds, self._is_trusted, self._remedy = limits, start_seconds, is_trusted, remedy
        self._stderr = stderr
        paths = os.pathsep.join(path for path in sys.path if path)  # modules of the user's own are found there, too
        self._process = subprocess.Popen(
            (*PROGRAM, f"{start.__module__}:{start.__qualname__}", "pickle" if is_trusted else "json"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
            start_new_session=True,  # an interrupt from the keyboard is the parent's to handle
        )
        self._timer: threading.Timer | None = None
        self._is_ready = self._is_late = False
        self._send(asdict(limits))
        self._send(setting)

    def is_usable(self) -> bool:
        """Whether it can be given another job."""
        return not self._is_late and self._process.poll() is None

    def run(self, job: Any, on_message: Callable[[Any], None] = lambda message: None) -> Any:
        """The answer to a job, or a Failure."""
        self.set_time(self._limits.seconds if self._is_ready else self._start_seconds)
        self._send(job)
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                kind, value = decode(line, self._is_trusted)
                if kind == "ready":
                    self._is_ready = True
                    self.set_time(self._limits.seconds)  # from now on the time of the job counts
                elif kind == "message":
                    on_message(value)
                elif kind == "answer":
                    return value
                elif kind == ERROR:
                    return Failure(value, ERROR)
                elif kind == STOPPED:
                    return Failure("it was stopped.", STOPPED)
                else:
                    return Failure(value[0], FAULT, value[1])
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return self._cause_of_death()

    def set_time(self, seconds: float) -> None:
        """Allow so many seconds from now on for the job."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._kill_late)
        self._timer.daemon = True
        self._timer.start()

    def interrupt(self, seconds: float) -> None:
        """Ask for an end to the job, whose answer is then a Failure; the process is kept if it obeys in that time."""
        if self._process.poll() is not None:
            return
        if hasattr(os, "fork"):
            self.set_time(seconds)
            self._process.send_signal(signal.SIGINT)
        else:
            self._kill()

    def stop(self) -> None:
        """End the process and whatever it has started."""
        self._kill()
        self._process.wait()
        if self._timer is not None:
            self._timer.cancel()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                if stream is not None and not isinstance(stream, int):
                    stream.close()

    def _cause_of_death(self) -> Failure:
        code, last = self._process.wait(), self._last_line()
        if self._is_late:
            seconds = f"{self._limits.seconds:g} s"
            sentence = f"it took longer than {seconds} and was stopped{self._remedy and '; '}{self._remedy}."
            return Failure(sentence, CLOCK_TIME, f"{seconds} on the clock")
        how = f"signal {-code} ended it" if code < 0 else f"it ended with code {code}"
        cause, detail = CRASH, last if code >= 0 else f"ended by {signal.Signals(-code).name}"
        if code == OUT_OF_MEMORY:
            cause, how = MEMORY, "it ran out of memory"
        elif code == -getattr(signal, "SIGXCPU", 0):
            cause = CPU_TIME
        if not self._is_ready:
            detail = last or f"exit code {code}"
        return Failure(f"its process died ({how}).", cause, detail, not self._is_ready)

    def _last_line(self) -> str:
        if self._stderr is None or isinstance(self._stderr, int):
            return ""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(self._stderr.tell() - LAST_BYTES, 0))
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _kill_late(self) -> None:
        self._is_late = True
        self._kill()

    def _kill(self) -> None:
        if self._process.poll() is None:
            kill_group(self._process)

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, which shows when its answer is read
            self._process.stdin.write(encode(message, self._is_trusted))
            self._process.stdin.flush()


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End a program that leads a session, and all that it started; on Windows the program alone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


class WorkerPool:
    """n limited processes that are used until they die, each looked after by a thread; a `with` block ends them.

    make: starts a process. retries: how often a job on which a process died, or failed unexpectedly, is tried again in
    a fresh one, since memory may have been used up by the jobs before it; the last death is the job's own. Running out
    of time is no such death.
    """

    def __init__(self, n: int, make: Callable[[], LimitedProcess], retries: int = 0) -> None:
        self._n, self._make, self._retries = n, make, retries
        self._threads, self._lock = ThreadPoolExecutor(n), threading.Condition()
        self._idle: list[LimitedProcess] = []
        self._busy: set[LimitedProcess] = set()
        self._is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def run(
        self, jobs: Iterable[J], on_message: Callable[[J, Any], None] = lambda job, message: None
    ) -> Iterator[tuple[J, Any]]:
        """(job, answer or Failure) as they come, in any order; a job is taken when a process is free for it.

        on_message runs in another thread. An interrupt ends the pool.
        """
        running: dict[Future[Any], J] = {}
        source = iter(jobs)
        try:
            while True:
                for job in islice(source, self._n - len(running)):
                    running[self._threads.submit(self._do, job, on_message)] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes; those that work are asked first and may tidy up for STOP_SECONDS."""
        with self._lock:
            self._is_stopped = True
            for process in self._busy:
                process.interrupt(STOP_SECONDS)
            self._lock.wait_for(lambda: not self._busy, STOP_SECONDS)
            late = list(self._busy)
        for process in late:
            process.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._idle:
            process.stop()
        self._idle.clear()

    def _do(self, job: J, on_message: Callable[[J, Any], None]) -> Any:
        answer = self._run_job(self._take_idle(), job, on_message)
        for _ in range(self._retries):
            if not isinstance(answer, Failure) or answer.cause not in (FAULT, MEMORY, CRASH):
                break
            answer = self._run_job(None, job, on_message)
        return answer

    def _take_idle(self) -> LimitedProcess | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _run_job(self, process: LimitedProcess | None, job: J, on_message: Callable[[J, Any], None]) -> Any:
        if process is not None and not process.is_usable():
            process.stop()
            process = None
        with self._lock:
            if self._is_stopped:
                raise InterruptedError("the pool has been stopped")
            process = process or self._make()
            self._busy.add(process)
        is_broken = True  # where it raises
        try:
            answer = process.run(job, lambda message: on_message(job, message))
            is_broken = bool(self._retries) and isinstance(answer, Failure) and answer.cause == FAULT
            return answer
        finally:
            with self._lock:
                self._busy.discard(process)
                if is_kept := not is_broken and process.is_usable():
                    self._idle.append(process)
                self._lock.notify_all()
            if not is_kept:
                process.stop()
