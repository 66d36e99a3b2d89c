"""Rows of the database as the API's answers."""

from __future__ import annotations

import functools
import json
import math
import zipfile
from pathlib import Path
from typing import Any

from openvmas import __version__
from openvmas.condition import AXES
from openvmas.planning.plan_yaml import read_plan
from openvmas.pretrained import list_presets
from openvmas.settings import SAMPLE_RATE_OUT, MixOptions, OutputOptions
from openvmas.studio.api import schemas
from openvmas.studio.api.schemas import describe_options
from openvmas.studio.limits import StudioOptions
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import FINAL_STATES, Database
from openvmas.studio.storage.folders import ProjectFolder, TakeFolder, safe_name, safe_stem
from openvmas.studio.storage.remarks import TakeRemarks
from openvmas.studio.storage.sounds import MODEL
from openvmas.studio.storage.take_sound import n_written

CHUNK = 8 << 20  # bytes of an upload that one request may carry
AUTO = OutputOptions().model
VOICES = {
    AUTO: "the voice that fits this video and your words best",
    "mini": "learned from recordings",
    "symbolic": "notes by rule, played on sampled instruments",
}
RECENT = 20  # finished jobs that are shown with a project


class Views:
    """Makes answers from rows. (Answers ignore the columns that they do not show.)"""

    def __init__(self, database: Database, options: StudioOptions) -> None:
        self._database, self._options = database, options

    def upload(self, row: dict[str, Any]) -> schemas.Upload | None:
        """The state of an upload, None where there was none."""
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
        """A project. is_whole: with jobs and takes."""
        low, high = projects.plan_range(self._database, row["id"])
        analysis = self._database.row(
            "SELECT id FROM jobs WHERE project = ? AND kind = 'analyze' ORDER BY number DESC LIMIT 1", (row["id"],)
        )
        return schemas.Project(
            **row
            | {
                "expires": row["used"] + 86_400 * self._options.expire_days,
                "upload": self.upload(row),
                "video": None if row["video"] is None else json.loads(row["video"]),
                "analysis_job": analysis["id"] if analysis else None,
                "can_undo": 0 < low < row["plan_version"],
                "can_redo": row["plan_version"] < high,
                "settings": json.loads(row["settings"]),
                "jobs": self.jobs_of(row["id"]) if is_whole else [],
                "takes": self.takes_of(row["id"]) if is_whole else [],
            }
        )

    def jobs_of(self, project: str) -> list[schemas.Job]:
        """The project's jobs that are not over, and the RECENT last ones."""
        rows = self._database.rows(
            f"SELECT * FROM jobs WHERE project = ? AND (state NOT IN {FINAL_STATES} OR number IN "
            "(SELECT number FROM jobs WHERE project = ? ORDER BY number DESC LIMIT ?)) ORDER BY number",
            (project, project, RECENT),
        )
        return [self.job(row) for row in rows]

    def job(self, row: dict[str, Any]) -> schemas.Job:
        """A job, its place in the queue and how far its takes are."""
        place = None
        if row["state"] == "queued":
            before = self._database.row(
                "SELECT count(*) AS n FROM jobs WHERE state = 'queued' AND (priority, number) < (?, ?)",
                (row["priority"], row["number"]),
            )
            place = before["n"] if before else 0
        takes = self._database.rows("SELECT * FROM takes WHERE job = ? ORDER BY number", (row["id"],))
        options, shown = json.loads(row["options"]), [self.job_take(take) for take in takes]
        return schemas.Job(**row | {"place": place, "options": options, "takes": shown})

    def job_take(self, row: dict[str, Any]) -> schemas.JobTake:
        """A take of a job, with the music that is written so far."""
        n = self.n_samples(row)
        return schemas.JobTake(
            id=row["id"], state=row["state"], n_blocks=self.n_blocks(row, n), seconds=round(n / SAMPLE_RATE_OUT, 2)
        )

    def files(self, row: dict[str, Any]) -> TakeFolder:
        """Where the files of a take lie now."""
        return ProjectFolder(self._database.folder, row["project"]).take(row["id"], row["attempt"])

    def n_samples(self, row: dict[str, Any]) -> int:
        """Samples of music that are there."""
        return 0 if row["state"] == "waiting" else n_written(self.files(row).wave)

    def n_blocks(self, row: dict[str, Any], n_samples: int) -> int:
        """Seconds that can be had: whole ones, and the last one when all is written."""
        is_all = n_samples >= math.ceil(row["duration"] * SAMPLE_RATE_OUT - 1e-3)
        return -(-n_samples // SAMPLE_RATE_OUT) if is_all else n_samples // SAMPLE_RATE_OUT

    def takes_of(self, project: str) -> list[schemas.Take]:
        """The project's takes but those that failed or were cancelled."""
        rows = self._database.each(  # each has its plan, of some kB
            f"SELECT takes.*, projects.filename FROM takes JOIN projects ON projects.id = takes.project "
            f"WHERE project = ? AND takes.{projects.VISIBLE} ORDER BY number",
            (project,),
        )
        return [schemas.Take(**self.take(row)) for row in rows]

    def take(self, row: dict[str, Any]) -> dict[str, Any]:
        """The fields of a take's answer, in a dictionary that may hold more. row: with the project's `filename`."""
        found, files, is_done = json.loads(row["found"]), self.files(row), row["state"] == "done"
        loudness = found.get("loudness_lufs")
        settings = self._database.row("SELECT settings FROM projects WHERE id = ?", (row["project"],))
        wanted = json.loads(settings["settings"] if settings else "{}").get("loudness", MixOptions().loudness)
        return row | {
            "options": json.loads(row["options"]),
            "n_blocks": self.n_blocks(row, self.n_samples(row)),
            "n_blocks_total": math.ceil(row["duration"] - 1e-6),
            "part": json.loads(row["part"]) if row["part"] else None,
            "loudness_lufs": loudness,
            "match_gain_db": None if loudness is None else round(wanted - loudness, 2),
            "sync_z": found.get("sync_z"),
            "voice": found.get("voice"),
            "has_midi": is_done and files.midi.exists(),
            "has_stems": stem_names(files.stems) if is_done else [],
            "can_redo": is_done and files.can_change,
            "filename": download_name(row),
            "n_bytes": size_of(files.video(found["suffix"])) if is_done else None,
            **facts_of(row["plan"]),
            **TakeRemarks(files).read(),
        }


@functools.lru_cache(maxsize=500)
def facts_of(plan: str) -> dict[str, Any]:
    """Tempo and words of a plan in YAML, and whether it says how a recording is arranged."""
    made = read_plan(plan)
    return {"tempo": round(float(made.tempo), 1), "text": made.text, "has_joins": made.music is not None}


def size_of(path: Path) -> int | None:
    """Bytes of a file, None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def stem_names(path: Path) -> list[str]:
    """Names of the files in a ZIP of stems; none where there is none."""
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def download_name(row: dict[str, Any], suffix: str | None = None) -> str:
    """The name of a take's file when it is saved; suffix: of another file than the video."""
    if suffix is None:
        suffix = json.loads(row["found"]).get("suffix", ".mp4")
    usual = f"take{row['place']}"
    name = usual if row["name"] == f"Take {row['place']}" else safe_name(row["name"]) or usual
    return f"{safe_stem(row['filename'] or 'clip')}.{name}{suffix}"


def session(options: StudioOptions, owner: str | None, moods: list[str]) -> schemas.Session:
    """The limits, models and options that the page must know before it begins."""
    return schemas.Session(
        needs_token=bool(options.token),
        signed_in=owner is not None,
        version=__version__,
        limits=schemas.SessionLimits.model_validate(options, from_attributes=True),
        models=[describe_model(name) for name in (AUTO, *list_presets())],
        default_model=AUTO,
        options=describe_options(),
        moods=moods,
        axes=list(AXES),
    )


def describe_model(name: str) -> schemas.ModelInfo:
    """The outputs beside sound that a model can give."""
    is_symbolic = name == "symbolic"
    about = VOICES.get(name, "")
    can_redo = name != MODEL
    return schemas.ModelInfo(name=name, about=about, has_midi=is_symbolic, has_stems=is_symbolic, can_redo=can_redo)


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
