"""The server's side of the queue: lanes, each of which hands one job after the other to its worker and writes its news.

Watching a video and writing music have lanes of their own, so that music never waits for a long video.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import threading
import time
from typing import Any, Protocol

from openvmas.planning.plan_yaml import write_plan
from openvmas.processes.limited import ERROR, FAULT, STOP_SECONDS, STOPPED, Failure, LimitedProcess, Limits
from openvmas.processes.threads import share_of_cores
from openvmas.settings import FIRST_MODEL, OutputOptions
from openvmas.studio.queue import jobs
from openvmas.studio.queue.work import JobRequest, Tell, start
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database

POLL_S = 0.02  # between looks into an empty queue; somebody waits for sound
CHECK_S = 0.25  # between looks whether a running job must stop
RESTART_S = 2.0  # before a worker that died without having come to work is replaced
MAX_FALSE_STARTS = 3  # in a row; then waiting jobs are given up
MAX_SECONDS = 7 * 86_400.0  # of a job; its confined parts have limits of their own
NODE_LOST = "node lost"  # cause of a failure that no job is to blame for
NO_WORKER = (
    "no worker can be started, so nothing can be done here; see what `openvmas studio` wrote in its terminal, "
    "mend that and start it again."
)


class Runner(Protocol):
    """Whoever does the jobs of one lane: gives its answer or a Failure, makes a running one end soon, and goes."""

    def run(self, request: JobRequest, tell: Tell) -> Any: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class ProcessRunner:
    """A process of this machine with a model loaded; n: that share the cores. A dead one is replaced."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._process = self._start()

    def _start(self) -> LimitedProcess:
        return LimitedProcess(
            start, FIRST_MODEL, Limits(MAX_SECONDS), is_trusted=True, environment=share_of_cores(self._n)
        )

    def run(self, request: JobRequest, tell: Tell) -> Any:
        """See Runner."""
        if not self._process.is_usable():
            self._process.stop()
            self._process = self._start()
        return self._process.run(request, tell)

    def interrupt(self) -> None:
        """See Runner."""
        self._process.interrupt(STOP_SECONDS)

    def close(self) -> None:
        """See Runner."""
        self._process.stop()


class Lane:
    """A thread that takes jobs of its kind, one at a time, until it is stopped."""

    def __init__(self, database: Database, runner: Runner, is_watching: bool) -> None:
        self._database, self._runner, self._is_watching = database, runner, is_watching
        self._is_over = threading.Event()
        self._false_starts = 0
        self._told_at, self._stage = 0.0, ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin to end: the job is broken off and waits again."""
        self._is_over.set()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()
        self._runner.close()

    def _run(self) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(sqlite3.OperationalError):  # busy for long: one look is lost, not the lane
                claim = jobs.claim(self._database, self._is_watching)
                if claim is not None:
                    self._do(claim)
                    continue
            self._is_over.wait(POLL_S)

    def _do(self, claim: jobs.Claim) -> None:
        """One job, from its request to its end."""
        request = make_request(self._database, claim)
        if request is None:
            return
        reason, is_done = [""], threading.Event()
        watch = threading.Thread(target=self._watch, args=(claim, reason, is_done), daemon=True)
        watch.start()
        try:
            answer = self._runner.run(request, lambda message: self._apply(claim, message))
        except Exception as error:  # the lane outlives whatever a job comes to
            answer = Failure(f"{type(error).__name__}: {error}", FAULT, repr(error))
        finally:
            is_done.set()
            watch.join()
        self._end(claim, request, answer, reason[0])

    def _watch(self, claim: jobs.Claim, reason: list[str], is_done: threading.Event) -> None:
        """Stop the job as soon as it must; a sketch at once, as it holds up somebody who waits for sound."""
        while not is_done.wait(POLL_S if claim.kind == "sketch" else CHECK_S):
            with contextlib.suppress(sqlite3.OperationalError):
                reason[0] = "leave" if self._is_over.is_set() else jobs.reason_to_stop(self._database, claim)
            if reason[0]:
                self._runner.interrupt()
                return

    def _apply(self, claim: jobs.Claim, message: dict[str, Any]) -> None:
        """Write the news of a job."""
        if "progress" in message:
            stage, share, left = message["progress"]
            now = time.monotonic()
            if stage != self._stage or now - self._told_at >= CHECK_S:
                jobs.set_progress(self._database, claim, stage, share, left)
                self._told_at, self._stage = now, stage
            return
        with self._database.write() as connection:
            if "take" in message:
                columns = {name: value for name, value in message.items() if name != "take"}
                sql = f"UPDATE takes SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?"
                connection.execute(sql, (*columns.values(), message["take"]))
            elif "video" in message:
                values = (json.dumps(message["video"]), claim.project)
                connection.execute("UPDATE projects SET video = ? WHERE id = ?", values)
            elif "filmstrip" in message:
                sql = "UPDATE projects SET video = json_set(video, '$.filmstrip.ready', ?) WHERE id = ?"
                connection.execute(sql, (message["filmstrip"], claim.project))

    def _end(self, claim: jobs.Claim, request: JobRequest, answer: Any, reason: str) -> None:
        """Write what has become of a job."""
        if not isinstance(answer, Failure):
            self._false_starts = 0
            if claim.kind == "analyze":
                keep_analysis(self._database, claim, answer)
            jobs.finish(self._database, claim, "done")
        elif answer.cause == FAULT and jobs.reason_to_stop(self._database, claim) == "lost":
            return  # what it missed are the files that were deleted with its project
        elif reason in ("leave", "yield") or (answer.cause in (STOPPED, NODE_LOST) and reason != "cancel"):
            jobs.requeue(self._database, claim)
        elif reason:
            jobs.finish(self._database, claim, "cancelled")
        elif answer.is_start:
            self._give_up_or_wait(claim)
        elif answer.cause == ERROR:
            if claim.kind == "analyze":
                forget_video(self._database, request)
            jobs.finish(self._database, claim, "failed", answer.sentence)
        elif answer.cause == FAULT:
            print(answer.detail, file=sys.stderr)
            what = answer.sentence.partition(":")[0]
            message = f"this is a fault of openvmas ({what}); report it with the server's output."
            jobs.finish(self._database, claim, "failed", message)
        else:
            jobs.requeue(self._database, claim, is_to_blame=True)

    def _give_up_or_wait(self, claim: jobs.Claim) -> None:
        """After a worker that never came to work: try again soon, or give up what waits."""
        self._false_starts += 1
        jobs.requeue(self._database, claim)
        if self._false_starts >= MAX_FALSE_STARTS:
            jobs.fail_queued(self._database, NO_WORKER)
        else:
            self._is_over.wait(RESTART_S)


def make_request(database: Database, claim: jobs.Claim) -> JobRequest | None:
    """All that a worker has to know of a job; None where its project was deleted."""
    project = database.row("SELECT * FROM projects WHERE id = ?", (claim.project,))
    if project is None:
        return None
    takes = database.rows("SELECT * FROM takes WHERE job = ? ORDER BY number", (claim.id,))
    ids = [take["parent"] for take in takes if take["parent"]]
    marks = ", ".join("?" * len(ids))
    parents = {row["id"]: row for row in database.rows(f"SELECT * FROM takes WHERE id IN ({marks})", ids)}
    plan = model = ""
    if claim.kind == "sketch":
        plan = write_plan(projects.current_plan(database, claim.project)[1])
        model = json.loads(project["settings"]).get("model", OutputOptions().model)
    return JobRequest(
        database.folder.absolute(), claim.kind, claim.attempt, claim.arguments, project, takes, parents, plan, model
    )


def keep_analysis(database: Database, claim: jobs.Claim, found: dict[str, Any]) -> None:
    """The first plan of a video that has been watched."""
    with database.write() as connection:
        if connection.execute("SELECT 1 FROM projects WHERE id = ?", (claim.project,)).fetchone() is None:
            return
        values = (claim.project, time.time(), "planned", found["plan"])
        connection.execute("INSERT OR REPLACE INTO plans VALUES (?, 1, ?, ?, ?)", values)
        connection.execute(
            "UPDATE projects SET state = 'ready', error = NULL, plan_version = 1, "
            "video = json_set(video, '$.filmstrip.ready', ?) WHERE id = ?",
            (found["filmstrip"], claim.project),
        )


def forget_video(database: Database, request: JobRequest) -> None:
    """A video that will never do goes; another may be uploaded."""
    request.source.unlink(missing_ok=True)
    with database.write() as connection:
        sql = "UPDATE projects SET filename = NULL, size = NULL, video = NULL WHERE id = ?"
        connection.execute(sql, (request.project["id"],))
