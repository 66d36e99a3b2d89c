"""The queue: jobs in SQLite, which the one server of a folder hands to its workers and writes the news of.

Only the server writes here. A job that was running when a server ended waits again at the next start, in a new attempt;
each attempt has folders of its own, so nothing that an earlier one left is mixed in.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from openvmas.studio.storage.database import FINAL_STATES, Database
from openvmas.studio.storage.folders import new_id
from openvmas.studio.storage.projects import TooManyError

MAX_INTERRUPTIONS = 5  # a job that took so many workers down with it is not tried again
MAX_ATTEMPTS = 20  # in all; a cluster may lose nodes that no job is to blame for
MAX_SEED = 2**32
MAX_WAITING = 50  # jobs of one owner that wait or run
PRIORITY = {"analyze": 0, "mix": 1, "redo": 1, "arrange": 1, "score": 2, "sketch": 9}


@dataclass(frozen=True)
class Claim:
    """A job that is to be done now, in its attempt of that number. arguments: of analyses, the limits that hold."""

    id: str
    project: str
    kind: str
    arguments: dict[str, Any]
    attempt: int


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
    database: Database, project: str, kind: str, options: dict[str, Any], takes: list[dict[str, Any]],
    arguments: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """Put a job and the takes it will make into the queue, in one transaction; returns the job's id.

    takes: parent, seed, model, options, plan (YAML), plan_version, duration and part of each. seed: None for one that
    no take of the project was written with; `first_seed` is then taken if it is unused.
    """
    with database.write() as connection:
        takes = with_seeds(connection, project, takes)
        # Takes can be deleted; that their seeds were used is kept here.
        given = (arguments or {}) | {"seeds": [take["seed"] for take in takes]}
        job = submit(connection, project, kind, options, given)
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


def claim(database: Database, is_watching: bool) -> Claim | None:
    """Take the next job, if there is one; one that broke off comes after the others of its priority.

    is_watching: whether it is to be one that watches a video, or any other.
    """
    kinds = "AND kind = 'analyze'" if is_watching else "AND kind <> 'analyze'"
    if database.row(f"SELECT 1 FROM jobs WHERE state = 'queued' {kinds} LIMIT 1") is None:
        return None  # most of the time: no transaction needed
    with database.write() as connection:
        row = connection.execute(
            f"""UPDATE jobs SET state = 'running', attempt = attempt + 1, started = coalesce(started, ?), stage = '',
                 progress = 0, time_left = NULL
               WHERE number = (SELECT number FROM jobs WHERE state = 'queued' {kinds}
                 ORDER BY priority, interruptions, number LIMIT 1)
               RETURNING *""",
            (time.time(),),
        ).fetchone()
    if row is None:
        return None
    return Claim(row["id"], row["project"], row["kind"], json.loads(row["arguments"]), row["attempt"])


def set_progress(database: Database, claim: Claim, stage: str, share: float, time_left: float | None) -> None:
    """Note where a job stands. share: of the whole, 0 to 1; time_left: s, None where nobody knows."""
    with database.write() as connection:
        sql = "UPDATE jobs SET stage = ?, progress = ?, time_left = ? WHERE id = ? AND state = 'running'"
        connection.execute(sql, (stage, share, time_left, claim.id))


def reason_to_stop(database: Database, claim: Claim) -> str:
    """Why a running job must stop: "cancel" (the user), "lost" (its project was deleted), "yield" (a sketch, for which
    nobody waits as others do); else nothing."""
    row = database.row("SELECT is_cancelled FROM jobs WHERE id = ?", (claim.id,))
    if row is None:
        return "lost"
    if row["is_cancelled"]:
        return "cancel"
    return "yield" if claim.kind == "sketch" and is_waited_for(database, claim) else ""


def finish(database: Database, claim: Claim, state: str, error: str | None = None) -> None:
    """End a job that is still there."""
    with database.write() as connection:
        _end(connection, claim.id, state, error)


def _end(connection: sqlite3.Connection, job: str, state: str, error: str | None) -> None:
    """Set the final state of a job, of its takes, and of the project whose video it was to analyze."""
    connection.execute(
        "UPDATE jobs SET state = ?, error = ?, finished = ?, time_left = NULL, "
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
    """Whether a job of more importance than this one waits for a worker; watching has workers of its own."""
    sql = "SELECT 1 FROM jobs WHERE state = 'queued' AND kind <> 'analyze' AND priority < ? LIMIT 1"
    return database.row(sql, (PRIORITY[claim.kind],)) is not None


def requeue(database: Database, claim: Claim | None = None, is_to_blame: bool = False) -> None:
    """Put a job back, or all that an earlier server left running; it waits again, unless it was cancelled or has broken
    off too often. is_to_blame: its worker died of it."""
    with database.write() as connection:
        chosen = ("state = 'running' AND id = ?", (claim.id,)) if claim else ("state = 'running'", ())
        sql = f"UPDATE jobs SET interruptions = interruptions + {int(is_to_blame)} WHERE {chosen[0]} RETURNING *"
        for row in connection.execute(sql, chosen[1]).fetchall():
            if row["is_cancelled"]:
                _end(connection, row["id"], "cancelled", None)
            elif row["interruptions"] >= MAX_INTERRUPTIONS or row["attempt"] >= MAX_ATTEMPTS:
                n = max(row["interruptions"], MAX_INTERRUPTIONS)
                said = f"the work broke off {n} times; try a shorter or smaller video."
                _end(connection, row["id"], "interrupted", said)
            else:
                sql = "UPDATE jobs SET state = 'queued', stage = '', progress = 0, time_left = NULL WHERE id = ?"
                connection.execute(sql, (row["id"],))
                sql = "UPDATE takes SET state = 'waiting' WHERE job = ? AND state IN ('writing', 'finishing')"
                connection.execute(sql, (row["id"],))


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
