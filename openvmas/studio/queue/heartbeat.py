"""A worker's heartbeat: a thread that renews its job's lease, hands on progress and stops the work when asked to.

The work runs in the main thread and is stopped by a signal there, whatever it is doing; if that does not help in time,
the whole process ends and its supervisor starts another.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from types import FrameType

from openvmas.studio.queue import jobs
from openvmas.studio.storage.database import Database

INTERVAL_S = 0.25
STOP_TIMEOUT_S = 1.2  # that work may go on after the signal to stop
STUCK = 70  # exit code of a worker that had to end itself


class Heartbeat:
    """The thread of one worker process; `leasing` surrounds the work on one job."""

    def __init__(self, database: Database, worker: str) -> None:
        self._database, self._worker = database, worker
        self._lock = threading.Lock()
        self._claim: jobs.Claim | None = None
        self._reason = ""
        self._stopped_at = self._recorded_at = 0.0
        self.progress = jobs.Progress()
        self.kind = "starting"  # until the model is there
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Install the handlers of signals and begin."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)
        self.record()
        self._thread.start()

    def record(self) -> None:
        """Note in the database that this process runs."""
        jobs.record_heartbeat(self._database, self._worker, self.kind, os.getpid())

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    @contextlib.contextmanager
    def leasing(self, claim: jobs.Claim) -> Iterator[None]:
        """Keep the lease of a job. Raises StoppedError in the block where the work must stop."""
        with self._lock:
            self._claim, self._reason, self.progress = claim, "", jobs.Progress()
        try:
            yield
        finally:
            with self._lock:
                self._claim = None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            raise jobs.StoppedError("leave")
        if self._reason and self._claim is not None:
            raise jobs.StoppedError(self._reason)

    def _run(self) -> None:
        while not self._is_over.wait(INTERVAL_S):
            # A database that is busy for long costs one heartbeat, not the thread.
            with contextlib.suppress(sqlite3.OperationalError):
                self._beat(time.monotonic())

    def _beat(self, now: float) -> None:
        if now - self._recorded_at > jobs.ALIVE_S / 4:
            self.record()
            self._recorded_at = now
        with self._lock:
            claim, progress = self._claim, self.progress
        if claim is None:
            return
        if not self._reason:
            answer = jobs.renew_lease(self._database, claim, progress)
            with self._lock:
                if answer == "go" or self._claim is not claim:
                    return
                self._reason, self._stopped_at = answer, now
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        elif now - self._stopped_at > STOP_TIMEOUT_S:
            if self._reason == "cancel":
                jobs.finish(self._database, claim, "cancelled")
            os._exit(STUCK)
