"""Projects, their plans and takes as rows; every function that a client reaches asks for the owner."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

from openvmas.errors import OpenVMASError
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.schema import ScorePlan
from openvmas.studio.storage.database import FINAL_STATES, Database
from openvmas.studio.storage.folders import ProjectFolder, new_id

MAX_PROJECTS = 500  # of one owner
MAX_VERSIONS = 200  # of a plan that are kept
DEAD_DAYS = 1.0  # that a project without a video is kept
USED_STEP = 30.0  # s; a project's last use is not written down more often
VISIBLE = "state NOT IN ('failed', 'cancelled')"


class NotFoundError(OpenVMASError):
    """There is nothing of that id, or it belongs to somebody else."""


class ConflictError(OpenVMASError):
    """It cannot be done in the present state."""


class TooManyError(OpenVMASError):
    """There are as many as there may be."""


def create(database: Database, owner: str, name: str) -> str:
    """A new empty project; returns its id."""
    project, now = new_id(), time.time()
    with database.write() as connection:
        (n,) = connection.execute("SELECT count(*) FROM projects WHERE owner = ?", (owner,)).fetchone()
        if n >= MAX_PROJECTS:
            raise TooManyError(f"there are {MAX_PROJECTS} projects already; delete some first.")
        connection.execute(
            "INSERT INTO projects(id, owner, name, state, created, used) VALUES (?,?,?,'empty',?,?)",
            (project, owner, name, now, now),
        )
    ProjectFolder(database.folder, project).path.mkdir(parents=True, exist_ok=True)
    return project


def duplicate(database: Database, owner: str, row: dict[str, Any]) -> str:
    """A new project with the video, plan and settings of another one, without its takes; returns its id."""
    copy = create(database, owner, f"{row['name'][:112]} (copy)")
    source, target = ProjectFolder(database.folder, row["id"]), ProjectFolder(database.folder, copy)
    ignored = shutil.ignore_patterns("takes")
    shutil.copytree(source.path, target.path, ignore=ignored, dirs_exist_ok=True, copy_function=link_or_copy)
    with database.write() as connection:
        columns = ", ".join(("filename", "size", "suffix", "video", "settings", "state"))
        same = f"SELECT {columns}, 1 FROM projects WHERE id = ?"
        sql = f"UPDATE projects SET ({columns}, plan_version) = ({same}) WHERE id = ?"
        connection.execute(sql, (row["id"], copy))
        sql = (
            "INSERT INTO plans SELECT ?, 1, ?, 'planned', yaml FROM plans JOIN projects ON projects.id = project "
            "WHERE project = ? AND version = plan_version"
        )
        connection.execute(sql, (copy, time.time(), row["id"]))
    return copy


def link_or_copy(source: str, target: str) -> None:
    """Give a file another name besides its own, where the disk can; videos are large and never changed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def read(database: Database, owner: str, project: str) -> dict[str, Any]:
    """The row of a project of this owner. Raises NotFoundError."""
    row = database.row("SELECT * FROM projects WHERE id = ? AND owner = ?", (project, owner))
    if row is None:
        raise NotFoundError("there is no such project; see the list of your projects.")
    return row


def find(database: Database, owner: str, project: str) -> dict[str, Any]:
    """The row of a project of this owner, which is noted to be in use. Raises NotFoundError."""
    row = read(database, owner, project)
    if time.time() - row["used"] > USED_STEP:
        with database.write() as connection:
            connection.execute("UPDATE projects SET used = ? WHERE id = ?", (time.time(), project))
    return row


def find_job(database: Database, owner: str, job: str) -> dict[str, Any]:
    """The row of a job of this owner. Raises NotFoundError."""
    row = database.row(
        "SELECT jobs.* FROM jobs JOIN projects ON projects.id = jobs.project WHERE jobs.id = ? AND owner = ?",
        (job, owner),
    )
    if row is None:
        raise NotFoundError("there is no such job; see the jobs of your project.")
    return row


def find_take(database: Database, owner: str, take: str) -> dict[str, Any]:
    """The row of a take, with the project's file name. Raises NotFoundError."""
    row = database.row(
        "SELECT takes.*, projects.filename, projects.suffix, projects.video FROM takes "
        "JOIN projects ON projects.id = takes.project WHERE takes.id = ? AND owner = ?",
        (take, owner),
    )
    if row is None:
        raise NotFoundError("there is no such take; see the takes of your project.")
    return row


def change(database: Database, table: str, row: str, **values: Any) -> None:
    """Set columns of one row; names come from our code only, and None leaves a column as it is."""
    given = {name: value for name, value in values.items() if value is not None}
    if given:
        with database.write() as connection:
            columns = ", ".join(f"{name} = ?" for name in given)
            connection.execute(f"UPDATE {table} SET {columns} WHERE id = ?", (*given.values(), row))


def remove(database: Database, project: str) -> None:
    """Delete a project: its rows at once, so that workers lose their jobs, then its files."""
    with database.write() as connection:
        connection.execute("DELETE FROM projects WHERE id = ?", (project,))
    ProjectFolder(database.folder, project).remove()


def remove_take(database: Database, row: dict[str, Any]) -> None:
    """Delete a take and its files. Raises ConflictError while it is being made."""
    with database.write() as connection:
        busy = connection.execute(
            f"SELECT 1 FROM jobs WHERE id = ? AND state NOT IN {FINAL_STATES}", (row["job"],)
        ).fetchone()
        if busy:
            raise ConflictError("this take is being made; cancel its job first.")
        connection.execute("DELETE FROM takes WHERE id = ?", (row["id"],))
    ProjectFolder(database.folder, row["project"]).remove_take(row["id"])


def current_plan(database: Database, project: str) -> tuple[int, ScorePlan]:
    """Version and plan. Raises NotFoundError before there is one."""
    row = database.row(
        "SELECT version, yaml FROM plans JOIN projects ON projects.id = project AND plan_version = version "
        "WHERE project = ?",
        (project,),
    )
    if row is None:
        raise NotFoundError("there is no plan yet; it is made when the video has been watched.")
    return row["version"], read_plan(row["yaml"], "plan")


def planned(database: Database, project: str, version: int) -> ScorePlan | None:
    """The last version up to `version` that was planned and not edited; None where it is not kept any more."""
    row = database.row(
        "SELECT yaml FROM plans WHERE project = ? AND version <= ? AND note LIKE 'planned%' "
        "ORDER BY version DESC LIMIT 1",
        (project, version),
    )
    return None if row is None else read_plan(row["yaml"], "plan")


def save_plan(database: Database, project: str, plan: ScorePlan, note: str, expected: int | None = None) -> int:
    """Make a plan the current one; what was undone before is dropped. Returns its version.

    expected: the version that the edit was made from. Raises ConflictError if another came first.
    """
    text = write_plan(plan)
    with database.write() as connection:
        row = connection.execute("SELECT plan_version FROM projects WHERE id = ?", (project,)).fetchone()
        if row is None:
            raise NotFoundError("there is no such project; see the list of your projects.")
        now = row["plan_version"]
        if expected is not None and expected != now:
            raise ConflictError(f"the plan was changed meanwhile (it is at version {now}); load it again.")
        same = connection.execute("SELECT yaml FROM plans WHERE project = ? AND version = ?", (project, now)).fetchone()
        if same is not None and same["yaml"] == text:
            return now
        connection.execute("DELETE FROM plans WHERE project = ? AND version > ?", (project, now))
        connection.execute("DELETE FROM plans WHERE project = ? AND version <= ?", (project, now + 1 - MAX_VERSIONS))
        connection.execute("INSERT INTO plans VALUES (?,?,?,?,?)", (project, now + 1, time.time(), note, text))
        connection.execute("UPDATE projects SET plan_version = ? WHERE id = ?", (now + 1, project))
    return now + 1


def go_to_plan(database: Database, project: str, step: int | None = None, version: int | None = None) -> None:
    """Make an earlier or later version the current one: by a step (-1 undo, 1 redo) or by its number.

    Raises ConflictError if there is none.
    """
    with database.write() as connection:
        row = connection.execute("SELECT plan_version FROM projects WHERE id = ?", (project,)).fetchone()
        target = version if version is not None else (row["plan_version"] if row else 0) + (step or 0)
        found = connection.execute("SELECT 1 FROM plans WHERE project = ? AND version = ?", (project, target))
        if found.fetchone() is None:
            missing = {-1: "nothing to undo", 1: "nothing to redo"}.get(step or 0, f"no version {version}")
            raise ConflictError(f"there is {missing}; see the plan's history.")
        connection.execute("UPDATE projects SET plan_version = ? WHERE id = ?", (target, project))


def plan_range(database: Database, project: str) -> tuple[int, int]:
    """The first and last version that are kept; (0, 0) before there is one."""
    row = database.row("SELECT min(version) AS low, max(version) AS high FROM plans WHERE project = ?", (project,))
    return (row["low"] or 0, row["high"] or 0) if row else (0, 0)


def expire(database: Database, days: float) -> int:
    """Delete projects that were not used for so many days and have no unfinished job; returns how many.

    Those without a video that could be used go after DEAD_DAYS.

    Also the folders that belong to no project any more (a worker was still writing when its project was deleted).
    """
    old = database.rows(
        "SELECT id FROM projects WHERE used < CASE WHEN filename IS NULL THEN ? ELSE ? END AND NOT EXISTS "
        f"(SELECT 1 FROM jobs WHERE project = projects.id AND state NOT IN {FINAL_STATES})",
        (time.time() - min(days, DEAD_DAYS) * 86_400, time.time() - days * 86_400),
    )
    for row in old:
        remove(database, row["id"])
    home = database.folder / "projects"
    for path in home.iterdir() if home.is_dir() else ():
        is_old = path.stat().st_mtime < time.time() - 3600
        if is_old and database.row("SELECT 1 FROM projects WHERE id = ?", (path.name,)) is None:
            shutil.rmtree(path, ignore_errors=True)
    return len(old)
