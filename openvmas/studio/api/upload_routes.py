"""Resumable uploads: bytes go straight to disk, and what has arrived stays when a connection breaks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from openvmas.errors import InputError
from openvmas.studio.api import schemas
from openvmas.studio.api.context import (
    BodyTooLargeError,
    ProjectRow,
    Studio,
    TheStudio,
    WrongTypeError,
    error_response,
    errors,
)  # fmt: skip
from openvmas.studio.api.views import CHUNK
from openvmas.studio.queue import jobs
from openvmas.studio.storage.folders import ProjectFolder, safe_suffix
from openvmas.studio.storage.projects import ConflictError, NotFoundError

TYPE = "application/offset+octet-stream"
TIMEOUT_S = 30.0  # without a byte, after which a connection is given up
SPARE = 500_000_000  # bytes that must stay free on the disk beside an upload
BODY = {"requestBody": {"required": True, "content": {TYPE: {"schema": {"type": "string", "format": "binary"}}}}}
OFFSET = {"headers": {"Upload-Offset": {"schema": {"type": "integer"}, "description": "Bytes that have arrived."}}}

GOING_ON = {200: {"model": schemas.Upload, "description": "Going on with an upload."}}

router = APIRouter(prefix="/api/projects/{id}/upload")


@router.post("", status_code=201, responses=errors(404, 409) | GOING_ON)
def start_upload(studio: TheStudio, row: ProjectRow, sent: schemas.NewUpload, response: Response) -> schemas.Upload:
    """Say what will be uploaded; the answer says from where to go on."""
    if row["state"] not in ("empty", "uploading", "refused"):
        raise ConflictError("this project has its video already; make another project for another video.")
    if not sent.size:
        raise InputError(f"{sent.filename} is empty (0 bytes); choose another file, or export it again.")
    limit = studio.options.max_bytes
    if sent.size > limit:
        raise BodyTooLargeError(
            f"{sent.filename} has {sent.size / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB allowed here; "
            "make it smaller, or start the studio with a greater --max-upload."
        )
    if row["state"] == "uploading" and (row["filename"], row["size"]) == (sent.filename, sent.size):
        response.status_code = 200
        return shown(studio, row)
    if row["id"] in studio.uploading:
        raise ConflictError("another upload into this project is under way; wait for it to end.")
    if shutil.disk_usage(studio.database.folder).free < sent.size + SPARE:
        raise ConflictError("there is too little space on the server's disk; delete projects that are done with.")
    folder = ProjectFolder(studio.database.folder, row["id"])
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.source(row["suffix"]).unlink(missing_ok=True)
    folder.source(safe_suffix(sent.filename)).write_bytes(b"")
    begun = {"filename": sent.filename, "size": sent.size, "suffix": safe_suffix(sent.filename), "id": row["id"]}
    with studio.database.write() as connection:
        connection.execute(
            "UPDATE projects SET state = 'uploading', error = NULL, video = NULL, filename = :filename, size = :size, "
            "suffix = :suffix WHERE id = :id",
            begun,
        )
    return shown(studio, row | begun)


def shown(studio: Studio, row: dict[str, Any]) -> schemas.Upload:
    """The upload of a project. Raises NotFoundError where nothing is being uploaded."""
    found = studio.views.upload(row)
    if found is None:
        raise NotFoundError("nothing is being uploaded; start an upload first.")
    return found


@router.get("", responses=errors(404))
@router.head("", responses=errors(404), operation_id="headUpload")
def read_upload(studio: TheStudio, row: ProjectRow, response: Response) -> schemas.Upload:
    """The number of bytes that have arrived; also in the header Upload-Offset."""
    found = shown(studio, row)
    response.headers["Upload-Offset"] = str(found.offset)
    return found


@router.patch("", status_code=204, responses={**errors(404, 409, 415), 204: OFFSET}, openapi_extra=BODY)
async def continue_upload(
    studio: TheStudio, row: ProjectRow, request: Request, upload_offset: Annotated[int, Header(ge=0, le=2**53)]
) -> Response:
    """Send the bytes from Upload-Offset on, at most `chunk` of them."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != TYPE:
        raise WrongTypeError(f"the bytes of a video are sent as {TYPE}; set this Content-Type.")
    if row["state"] != "uploading":
        raise ConflictError("nothing is being uploaded into this project; start an upload first.")
    if row["id"] in studio.uploading:
        raise ConflictError("another request is uploading into this project; wait for it to end.")
    studio.uploading.add(row["id"])
    try:
        return await receive(studio, row, request, upload_offset)
    finally:
        studio.uploading.discard(row["id"])


async def receive(studio: Studio, row: dict[str, Any], request: Request, offset: int) -> Response:
    """Append what comes, refuse what is too much, and begin the analysis when all is there."""
    here = studio.views.offset(row)
    if offset != here:
        return error_response(409, f"{here} bytes are there; go on from there.", {"Upload-Offset": str(here)})
    allowed = min(row["size"] - here, CHUNK)
    if int(request.headers.get("content-length", "0")) > allowed:
        raise BodyTooLargeError(f"at most {allowed} bytes may follow here; send less at a time.")
    path = ProjectFolder(studio.database.folder, row["id"]).source(row["suffix"])
    total = await append(path, request.stream(), here, allowed)
    if total == row["size"]:
        arguments = analysis_limits(studio)
        await run_in_threadpool(jobs.submit_analysis, studio.database, row["id"], "uploading", arguments)
    return Response(status_code=204, headers={"Upload-Offset": str(total)})


async def append(path: Path, chunks: AsyncIterator[bytes], here: int, allowed: int) -> int:
    """Write chunks behind byte `here`; returns the new length. What came before a break stays."""
    written = 0
    with path.open("r+b") as file:
        file.seek(here)
        try:
            while chunk := await asyncio.wait_for(anext(chunks, b""), TIMEOUT_S):
                if written + len(chunk) > allowed:
                    file.truncate(here)
                    raise BodyTooLargeError(f"at most {allowed} bytes may follow here; send less at a time.")
                file.write(chunk)
                file.flush()
                written += len(chunk)
        except ClientDisconnect:
            pass
        except TimeoutError as error:
            raise ConflictError("nothing came for half a minute; ask for the offset and go on from there.") from error
    return here + written


def analysis_limits(studio: Studio) -> dict[str, Any]:
    """The arguments of a job that analyzes a video: the limits that hold for it."""
    options = studio.options
    return {"max_minutes": options.max_minutes, "max_pixels": options.max_pixels, "threads": options.threads}
