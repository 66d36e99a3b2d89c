"""Recordings of the user's own in a project: put in, list, hear, delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from openvmas.errors import InputError
from openvmas.studio.api import schemas
from openvmas.studio.api.context import BodyTooLargeError, ProjectRow, Studio, TheStudio, WrongTypeError, errors

from openvmas.studio.api.context import send_file, sends  # isort: skip
from openvmas.studio.api.upload_routes import BODY, TYPE, append
from openvmas.studio.storage.folders import ProjectFolder, new_id
from openvmas.studio.storage.projects import ConflictError, NotFoundError, TooManyError
from openvmas.studio.storage.sounds import MAX_SOUNDS, SoundFolder, folder_of, list_sounds, remove_sound
from openvmas.studio.tasks.sandbox import Sandbox, make_limits

MAX_BYTES = 300_000_000  # of one recording
HEAR_SECONDS = 90.0  # s that reading one may take

router = APIRouter(prefix="/api/projects/{id}/sounds")
SoundId = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{32}$")]


@router.get("", responses=errors(404))
def list_recordings(studio: TheStudio, project: ProjectRow) -> schemas.Sounds:
    """The recordings of the user's own in this project."""
    found = list_sounds(ProjectFolder(studio.database.folder, project["id"]))
    return schemas.Sounds(sounds=[schemas.Sound(**facts) for facts in found])


@router.post("", status_code=201, responses=errors(404, 409, 415, 429), openapi_extra=BODY)
async def add_recording(
    studio: TheStudio, project: ProjectRow, request: Request, filename: Annotated[schemas.Name, Query()]
) -> schemas.Sound:
    """Put a recording in: its bytes are the body. It can then be named as `music` or `like` of a job."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != TYPE:
        raise WrongTypeError(f"the bytes of a recording are sent as {TYPE}; set this Content-Type.")
    if int(request.headers.get("content-length", "0")) > MAX_BYTES:
        raise BodyTooLargeError(f"{filename} has more than {MAX_BYTES // 10**6} MB; give a shorter recording.")
    home = ProjectFolder(studio.database.folder, project["id"])
    if len(await run_in_threadpool(list_sounds, home)) >= MAX_SOUNDS:
        raise TooManyError(f"there are {MAX_SOUNDS} recordings in this project already; delete some first.")
    folder = folder_of(home, new_id())
    folder.path.mkdir(parents=True)
    try:
        folder.upload.write_bytes(b"")
        if not await append(folder.upload, request.stream(), 0, MAX_BYTES):
            raise InputError(f"{filename} is empty (0 bytes); choose another file.")
        facts = await run_in_threadpool(hear, studio, folder, filename)
    except BaseException:
        remove_sound(home, folder.path.name)
        raise
    return schemas.Sound(**facts)


def hear(studio: Studio, folder: SoundFolder, filename: str) -> dict[str, Any]:
    """Read an uploaded recording in a confined process. Raises InputError, ConflictError."""
    if not studio.hearers.acquire(timeout=HEAR_SECONDS):
        raise ConflictError("too many recordings are being read; try again in a moment.")
    try:
        request = {"source": str(folder.upload), "folder": str(folder.path), "name": filename}
        limits = make_limits(HEAR_SECONDS, file_bytes=2 * 10**9)
        return Sandbox("hear", request | {"max_minutes": studio.options.max_minutes}, limits).run(lambda message: None)
    finally:
        studio.hearers.release()
        folder.upload.unlink(missing_ok=True)


@router.get("/{sound}/audio", **sends("audio/wav", 404, statuses=(200, 206)))
def read_recording(studio: TheStudio, project: ProjectRow, sound: SoundId) -> FileResponse:
    """A recording as a WAV file; ranges are answered."""
    folder = folder_of(ProjectFolder(studio.database.folder, project["id"]), sound)
    facts = folder.facts()
    if facts is None:
        raise NotFoundError("there is no such recording; see the recordings of your project.")
    return send_file(folder.wave(facts["filename"]), "audio/wav")


@router.delete("/{sound}", status_code=204, responses=errors(404))
def delete_recording(studio: TheStudio, project: ProjectRow, sound: SoundId) -> None:
    """Delete a recording; takes that were made with it keep their music."""
    remove_sound(ProjectFolder(studio.database.folder, project["id"]), sound)
