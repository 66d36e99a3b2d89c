"""The queue: jobs in SQLite, each done by one worker at a time that must keep saying it is alive.

A worker takes a job with a lease and an attempt number. Whatever it writes later is only accepted with that number, so
a worker that was thought dead cannot finish a job which another one has begun again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openvmas.studio.storage.database import FINAL_STATES, Database
from openvmas.studio.storage.folders import new_id
from openvmas.studio.storage.projects import TooManyError

LEASE_S = 20.0  # without a heartbeat, after which a worker counts as dead
MAX_INTERRUPTIONS = 3  # a job that took so many workers down with it is not tried again
ALIVE_S = 5.0  # without a heartbeat, after which a process is not counted as running
MAX_SEED = 2**32
SPARE = "--spare"  # argument of a worker that only helps out
MAX_WAITING = 50  # jobs of one owner that wait or run
PRIORITY = {"analyze": 0, "mix": 1, "redo": 1, "score": 2, "sketch": 9}


class StoppedError(BaseException):
    """The work must stop now: "cancel" (the user), "lost" (another worker has it), "yield" (somebody waits for
    something else) or "leave" (this process ends)."""


@dataclass(frozen=True)
class Claim:
    """A job that this worker may do, in its attempt of that number. arguments: of analyses, the limits that hold."""

    id: str
    project: str
    kind: str
    arguments: dict[str, Any]
    worker: str
    attempt: int


@dataclass(frozen=True)
class Progress:
    """Where a job stands. share: of the whole, 0 to 1; time_left: s, None where nobody knows."""

    stage: str = ""
    share: float = 0.0
    time_left: float | None = None


def submit(
    connection: sqlite3.Connection, project: str, kind: str, options: dict[str, Any], arguments: dict[str, Any]
) -> str:
    """Put a job into the queue, inside a transaction of the caller; returns its id."""
    job = new_id()
    connection.execute(
        "INSERT INTO jobs(id, project, kind, priority, state, created, options, arguments) VALUES (?,?,?,?,?,?,?,?)",
        (job, project, kind, PRIORITY[kind], "queued", time.time(), json.dumps(options), json.dumps(arguments)),
    )
    return job


def submit_analysis(database: Database, project: str, state: str, arguments: dict[str, Any]) -> str | None:
    """Queue the analysis of a project that is in `state`; returns the job's id, None where it is in another by now."""
    with database.write() as connection:
        sql = "UPDATE projects SET state = 'analyzing', error = NULL WHERE id = ? AND state = ?"
        is_first = connection.execute(sql, (project, state)).rowcount
        return submit(connection, project, "analyze", {}, arguments) if is_first else None


def check_waiting(database: Database, owner: str) -> None:
    """Raises TooManyError if this owner has too many jobs that are not done."""
    row = database.row(
        "SELECT count(*) AS n FROM jobs JOIN projects ON projects.id = jobs.project "
        f"WHERE owner = ? AND jobs.state NOT IN {FINAL_STATES}",
        (owner,),
    )
    if row and row["n"] >= MAX_WAITING:
        raise TooManyError(f"{MAX_WAITING} jobs are waiting already; let some finish or cancel them.")


def submit_takes(
    database: Database, project: str, kind: str, options: dict[str, Any], takes: list[dict[str, Any]]
) -> str:
    """Put a job and the takes it will make into the queue, in one transaction; returns the job's id.

    takes: parent, seed, model, options, plan (YAML), plan_version, duration and part of each. seed: None for one that
    no take of the project was written with; `first_seed` is then taken if it is unused.
    """
    with database.write() as connection:
        takes = with_seeds(connection, project, takes)
        # Takes can be deleted; that their seeds were used is kept here.
        job = submit(connection, project, kind, options, {"seeds": [take["seed"] for take in takes]})
        (last,) = connection.execute(
            "SELECT coalesce(max(place), 0) FROM takes WHERE project = ?", (project,)
        ).fetchone()
        for place, take in enumerate(takes, start=last + 1):
            row = {
                **take, "id": new_id(), "project": project, "job": job, "place": place, "kind": kind,
                "name": f"Take {place}", "created": time.time(), "state": "waiting",
                "options": json.dumps(take["options"]), "part": json.dumps(take["part"]),
            }  # fmt: skip
            connection.execute(f"INSERT INTO takes({', '.join(row)}) VALUES (:{', :'.join(row)})", row)
    return job


def with_seeds(connection: sqlite3.Connection, project: str, takes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The takes with a seed each; new ones go on after the highest that the project has used, deleted takes too."""
    rows = connection.execute(
        "SELECT seed FROM takes WHERE project = :project UNION "
        "SELECT value AS seed FROM jobs, json_each(jobs.arguments, '$.seeds') WHERE project = :project",
        {"project": project},
    )
    used = {row["seed"] for row in rows}
    made: list[dict[str, Any]] = []
    for take in takes:
        seed, first = take["seed"], take.get("first_seed", 0) % MAX_SEED
        if seed is None:
            seed = first if first not in used else (max(used) + 1) % MAX_SEED
            while seed in used:
                seed = (seed + 1) % MAX_SEED
        used.add(seed)
        made.append({name: value for name, value in take.items() if name != "first_seed"} | {"seed": seed})
    return made


def claim(database: Database, worker: str, takes_analyses: bool = True) -> Claim | None:
    """Take the next job, if there is one. takes_analyses: whether it may be one that watches a video."""
    kinds = "" if takes_analyses else "AND kind NOT IN ('analyze', 'sketch')"
    if database.row(f"SELECT 1 FROM jobs WHERE state = 'queued' {kinds} LIMIT 1") is None:
        return None  # most of the time: no transaction needed
    now = time.time()
    with database.write() as connection:
        row = connection.execute(
            f"""UPDATE jobs SET state = 'running', worker = ?, attempt = attempt + 1, lease = ?,
                 started = coalesce(started, ?), stage = '', progress = 0, time_left = NULL
               WHERE number = (SELECT number FROM jobs WHERE state = 'queued' {kinds} ORDER BY priority, number LIMIT 1)
               RETURNING *""",
            (worker, now + LEASE_S, now),
        ).fetchone()
    if row is None:
        return None
    return Claim(row["id"], row["project"], row["kind"], json.loads(row["arguments"]), worker, row["attempt"])


OWNED = "id = ? AND worker = ? AND attempt = ? AND state = 'running'"


def renew_lease(database: Database, claim: Claim, progress: Progress) -> str:
    """Keep a job whose work goes on; returns "go", "cancel", or "lost" if it is another worker's now."""
    with database.write() as connection:
        row = connection.execute(
            f"UPDATE jobs SET lease = ?, stage = ?, progress = ?, time_left = ? WHERE {OWNED} RETURNING is_cancelled",
            (
                time.time() + LEASE_S, progress.stage, progress.share, progress.time_left,
                claim.id, claim.worker, claim.attempt,
            ),
        ).fetchone()  # fmt: skip
    if row is None:
        return "lost"
    return "cancel" if row["is_cancelled"] else "go"


@contextlib.contextmanager
def owned(database: Database, claim: Claim) -> Iterator[sqlite3.Connection]:
    """A transaction in which the job is this worker's until the end. Raises StoppedError where it is not any more."""
    with database.write() as connection:
        if not is_owned(connection, claim):
            raise StoppedError("lost")
        yield connection


def is_owned(connection: sqlite3.Connection, claim: Claim) -> bool:
    """Whether the job is still this worker's; inside a transaction that stays true until its end."""
    values = (claim.id, claim.worker, claim.attempt)
    return connection.execute(f"SELECT 1 FROM jobs WHERE {OWNED}", values).fetchone() is not None


def finish(database: Database, claim: Claim, state: str, error: str | None = None) -> bool:
    """End a job; False if it was not this worker's any more."""
    with database.write() as connection:
        if not is_owned(connection, claim):
            return False
        _end(connection, claim.id, state, error)
    return True


def _end(connection: sqlite3.Connection, job: str, state: str, error: str | None) -> None:
    """Set the final state of a job, of its takes, and of the project whose video it was to analyze."""
    connection.execute(
        "UPDATE jobs SET state = ?, error = ?, finished = ?, time_left = NULL, lease = NULL, "
        "progress = CASE WHEN ? = 'done' THEN 1 ELSE progress END WHERE id = ?",
        (state, error, time.time(), state, job),
    )
    if state == "done":
        return
    unfinished = "cancelled" if state == "cancelled" else "failed"
    connection.execute("UPDATE takes SET state = ? WHERE job = ? AND state <> 'done'", (unfinished, job))
    row = connection.execute("SELECT kind, project FROM jobs WHERE id = ?", (job,)).fetchone()
    if row is not None and row["kind"] == "analyze":
        message = error or "watching this video was stopped; start it again or delete the project."
        connection.execute(
            "UPDATE projects SET state = 'refused', error = ? WHERE id = ? AND state = 'analyzing'",
            (message, row["project"]),
        )


def is_waited_for(database: Database, claim: Claim) -> bool:
    """Whether a job of more importance than this one waits for a worker."""
    sql = "SELECT 1 FROM jobs WHERE state = 'queued' AND priority < ? LIMIT 1"
    return database.row(sql, (PRIORITY[claim.kind],)) is not None


def release(database: Database, claim: Claim) -> None:
    """Put a job back unchanged, because this worker was asked to leave."""
    with database.write() as connection:
        if is_owned(connection, claim):
            _requeue(connection, claim.id, 0)


def _requeue(connection: sqlite3.Connection, job: str, interruptions: int) -> None:
    connection.execute(
        "UPDATE jobs SET state = 'queued', worker = NULL, lease = NULL, stage = '', progress = 0, time_left = NULL, "
        "interruptions = interruptions + ? WHERE id = ?",
        (interruptions, job),
    )
    connection.execute("UPDATE takes SET state = 'waiting' WHERE job = ? AND state IN ('writing', 'finishing')", (job,))


def requeue_abandoned(database: Database, dead_worker: str | None = None) -> int:
    """Requeue the jobs of workers that died (or of one that is known to be dead); returns how many were found.

    In one transaction, so of several processes that look only one finds each job.
    """
    condition, values = ("worker = ?", (dead_worker,)) if dead_worker else ("lease < ?", (time.time(),))
    if database.row(f"SELECT 1 FROM jobs WHERE state = 'running' AND {condition} LIMIT 1", values) is None:
        return 0
    with database.write() as connection:
        found = connection.execute(f"SELECT * FROM jobs WHERE state = 'running' AND {condition}", values).fetchall()
        for row in found:
            if row["is_cancelled"]:
                _end(connection, row["id"], "cancelled", None)
            elif row["interruptions"] + 1 >= MAX_INTERRUPTIONS:
                connection.execute("UPDATE jobs SET interruptions = interruptions + 1 WHERE id = ?", (row["id"],))
                message = f"the work broke off {MAX_INTERRUPTIONS} times; try a shorter or smaller video."
                _end(connection, row["id"], "interrupted", message)
            else:
                _requeue(connection, row["id"], 1)
    return len(found)


def cancel(database: Database, job: str) -> bool:
    """Stop a job: at once while it waits, else its worker is told; False if it has ended already."""
    with database.write() as connection:
        row = connection.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is None or row["state"] in FINAL_STATES:
            return False
        if row["state"] == "queued":
            _end(connection, job, "cancelled", None)
        else:
            connection.execute("UPDATE jobs SET is_cancelled = 1 WHERE id = ?", (job,))
    return True


def fail_queued(database: Database, error: str) -> int:
    """End the jobs that wait, because nobody can do them; returns how many there were."""
    if database.row("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1") is None:
        return 0
    with database.write() as connection:
        found = connection.execute("SELECT id FROM jobs WHERE state = 'queued'").fetchall()
        for row in found:
            _end(connection, row["id"], "failed", error)
    return len(found)


def is_kept_waiting(database: Database, seconds: float) -> bool:
    """Whether music has waited so long for workers that all watch videos, which may take many minutes."""
    rows = database.rows("SELECT kind FROM jobs WHERE state = 'running'")
    waits = "SELECT 1 FROM jobs WHERE state = 'queued' AND kind NOT IN ('analyze', 'sketch') AND created < ? LIMIT 1"
    is_watching = bool(rows) and all(row["kind"] == "analyze" for row in rows)
    return is_watching and database.row(waits, (time.time() - seconds,)) is not None


def record_heartbeat(database: Database, process: str, kind: str, pid: int) -> None:
    """Note that a process is running: "server", "worker", or "starting", a worker that has no model yet."""
    with database.write() as connection:
        connection.execute(
            "INSERT INTO processes VALUES (?,?,?,?) "
            "ON CONFLICT(id) DO UPDATE SET beat = excluded.beat, kind = excluded.kind",
            (process, kind, pid, time.time()),
        )
        connection.execute("DELETE FROM processes WHERE beat < ?", (time.time() - 3600,))


def forget_process(database: Database, process: str) -> None:
    """Note that a process has ended."""
    with database.write() as connection:
        connection.execute("DELETE FROM processes WHERE id = ?", (process,))


def running_pids(database: Database, *kinds: str) -> list[int]:
    """System numbers of the processes of some kinds whose heartbeat is recent."""
    marks = ", ".join("?" * len(kinds))
    sql = f"SELECT pid FROM processes WHERE kind IN ({marks}) AND beat > ?"
    return [row["pid"] for row in database.rows(sql, (*kinds, time.time() - ALIVE_S))]
