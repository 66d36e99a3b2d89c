"""Rows of the database as the API shows them."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from openvmas import __version__
from openvmas.condition import AXES
from openvmas.pretrained import list_presets
from openvmas.settings import GROUPS, SAMPLE_RATE_OUT, value_type
from openvmas.studio.api import schemas
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import ProjectFolder, TakeFolder, safe_stem
from openvmas.studio.tasks.preview_sound import n_written

CHUNK = 8 << 20  # bytes of an upload that one request may carry
RECENT = 20  # finished jobs that are shown with a project
TYPES = {float: "number", int: "integer", bool: "boolean", str: "text"}


class Views:
    """Everything that is shown, made from rows."""

    def __init__(self, database: Database, options: StudioOptions) -> None:
        self._database, self._options = database, options

    def upload(self, row: dict[str, Any]) -> schemas.Upload | None:
        """None where nothing is being uploaded, or all of it is there."""
        if row["filename"] is None:
            return None
        offset = self.offset(row)
        return schemas.Upload(filename=row["filename"], size=row["size"], offset=offset, chunk=CHUNK)

    def offset(self, row: dict[str, Any]) -> int:
        """Bytes of the upload that are there: the file says it, so that nothing needs to be kept in step."""
        try:
            return ProjectFolder(self._database.folder, row["id"]).source(row["suffix"]).stat().st_size
        except OSError:
            return 0

    def project(self, row: dict[str, Any], is_whole: bool = True) -> schemas.Project:
        """is_whole: with jobs and takes."""
        low, high = projects.plan_range(self._database, row["id"])
        analysis = self._database.row(
            "SELECT id FROM jobs WHERE project = ? AND kind = 'analyze' ORDER BY number DESC LIMIT 1", (row["id"],)
        )
        return schemas.Project(
            id=row["id"],
            name=row["name"],
            created=row["created"],
            used=row["used"],
            expires=row["used"] + 86_400 * self._options.expire_days,
            state=row["state"],
            error=row["error"],
            upload=self.upload(row),
            video=None if row["video"] is None else json.loads(row["video"]),
            analysis_job=analysis["id"] if analysis else None,
            plan_version=row["plan_version"],
            can_undo=0 < low < row["plan_version"],
            can_redo=row["plan_version"] < high,
            settings=json.loads(row["settings"]),
            jobs=self.jobs_of(row["id"]) if is_whole else [],
            takes=self.takes_of(row["id"]) if is_whole else [],
        )

    def jobs_of(self, project: str) -> list[schemas.Job]:
        rows = self._database.rows(
            f"SELECT * FROM jobs WHERE project = ? AND (state NOT IN {jobs.FINAL} OR number IN "
            "(SELECT number FROM jobs WHERE project = ? ORDER BY number DESC LIMIT ?)) ORDER BY number",
            (project, project, RECENT),
        )
        return [self.job(row) for row in rows]

    def job(self, row: dict[str, Any]) -> schemas.Job:
        place = None
        if row["state"] == "queued":
            before = self._database.row(
                "SELECT count(*) AS n FROM jobs WHERE state = 'queued' AND (priority, number) < (?, ?)",
                (row["priority"], row["number"]),
            )
            place = before["n"] if before else 0
        takes = self._database.rows("SELECT * FROM takes WHERE job = ? ORDER BY number", (row["id"],))
        return schemas.Job(
            **{name: row[name] for name in schemas.Job.model_fields if name not in ("place", "takes", "options")},
            place=place,
            options=json.loads(row["options"]),
            takes=[self.job_take(take) for take in takes],
        )

    def job_take(self, row: dict[str, Any]) -> schemas.JobTake:
        n = self.n_samples(row)
        return schemas.JobTake(
            id=row["id"], state=row["state"], n_blocks=self.n_blocks(row, n), seconds=round(n / SAMPLE_RATE_OUT, 2)
        )

    def files(self, row: dict[str, Any]) -> TakeFolder:
        """Where the files of a take lie now."""
        return ProjectFolder(self._database.folder, row["project"]).take(row["id"], row["attempt"])

    def n_samples(self, row: dict[str, Any]) -> int:
        """Of music that is there."""
        return 0 if row["state"] == "waiting" else n_written(self.files(row).wave)

    def n_blocks(self, row: dict[str, Any], n_samples: int) -> int:
        """Seconds that can be had: whole ones, and the last one when all is written."""
        is_all = n_samples >= math.ceil(row["duration"] * SAMPLE_RATE_OUT - 1e-3)
        return -(-n_samples // SAMPLE_RATE_OUT) if is_all else n_samples // SAMPLE_RATE_OUT

    def takes_of(self, project: str) -> list[schemas.Take]:
        rows = self._database.rows(
            f"SELECT takes.*, projects.filename FROM takes JOIN projects ON projects.id = takes.project "
            f"WHERE project = ? AND takes.{projects.VISIBLE} ORDER BY number",
            (project,),
        )
        return [schemas.Take(**self.take(row)) for row in rows]

    def take(self, row: dict[str, Any]) -> dict[str, Any]:
        """row: with the project's `filename`."""
        found, files, is_done = json.loads(row["found"]), self.files(row), row["state"] == "done"
        loudness = found.get("loudness_lufs")
        quietest = self._database.row(
            "SELECT min(json_extract(found, '$.loudness_lufs')) AS lufs FROM takes "
            "WHERE project = ? AND state = 'done'",
            (row["project"],),
        )
        lowest = quietest["lufs"] if quietest else None
        return {
            **{
                name: row[name]
                for name in ("id", "project", "job", "kind", "parent", "name", "created", "state", "seed", "model",
                             "plan_version", "duration")
            },
            "options": json.loads(row["options"]),
            "n_blocks": self.n_blocks(row, self.n_samples(row)),
            "n_blocks_total": math.ceil(row["duration"] - 1e-6),
            "part": json.loads(row["part"]) if row["part"] else None,
            "loudness_lufs": loudness,
            "match_gain_db": round(lowest - loudness, 2) if loudness is not None and lowest is not None else None,
            "sync_z": found.get("sync_z"),
            "has_midi": is_done and files.midi.exists(),
            "has_stems": stem_names(files.stems) if is_done else [],
            "can_redo": is_done and files.codes.exists(),
            "filename": download_name(row),
        }  # fmt: skip


def stem_names(path: Path) -> list[str]:
    """Of the files in a ZIP of stems; none where there is none."""
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def download_name(row: dict[str, Any], suffix: str | None = None) -> str:
    """The name of a take's file when it is saved; suffix: of another file than the video."""
    if suffix is None:
        suffix = json.loads(row["found"]).get("suffix", ".mp4")
    return f"{safe_stem(row['filename'] or 'clip')}.take{row['place']}{suffix}"


def session(options: StudioOptions, owner: str | None, moods: list[str]) -> schemas.Session:
    """What the page must know before it begins."""
    return schemas.Session(
        needs_token=bool(options.token),
        signed_in=owner is not None,
        version=__version__,
        limits=schemas.LimitsShape(
            max_bytes=options.max_bytes,
            max_minutes=options.max_minutes,
            max_pixels=options.max_pixels,
            expire_days=options.expire_days,
        ),
        models=[describe_model(name) for name in list_presets()],
        options=[describe_option(item, group, name) for name, group in GROUPS.items() if name != "output"
                 for item in fields(group)],
        moods=moods,
        axes=list(AXES),
    )  # fmt: skip


def describe_model(name: str) -> schemas.ModelShape:
    is_symbolic = name == "symbolic"
    return schemas.ModelShape(name=name, has_midi=is_symbolic, has_stems=is_symbolic, can_redo=not is_symbolic)


def describe_option(item: Any, group: type, name: str) -> schemas.OptionShape:
    kind, _, is_tuple = value_type(item, group)
    default = list(item.default_factory()) if is_tuple else item.default
    low, high = item.metadata.get("min"), item.metadata.get("max")
    return schemas.OptionShape(
        name=item.name, group=name, type="numbers" if is_tuple else TYPES[kind], default=default,  # pyright: ignore
        min=low, max=high, help=item.metadata["help"],
    )  # fmt: skip


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
