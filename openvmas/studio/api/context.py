"""State and dependencies that all routes share: the running studio, the owner of a request, the row it names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from openvmas.errors import OpenVMASError
from openvmas.studio.api import schemas
from openvmas.studio.api.views import Views
from openvmas.studio.limits import StudioOptions
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.projects import ConflictError, NotFoundError, TooManyError

MAX_WATCHERS = 400  # event streams and growing sounds that are open at a time
MAX_PLANNERS = 2  # plans that are made at a time
MAX_HEARERS = 2  # recordings that are read at a time
MAX_TELLERS = 2  # long answers that are made at a time


class WrongTokenError(OpenVMASError):
    """The token is none of those that this server knows."""


class GoneError(OpenVMASError):
    """The file was to be made, but never will be."""


class BodyTooLargeError(OpenVMASError):
    """The body has more bytes than are allowed."""


class WrongTypeError(OpenVMASError):
    """The body is of another media type than the one that is taken."""


STATUS: dict[type[OpenVMASError], int] = {
    WrongTokenError: 401,
    NotFoundError: 404,
    ConflictError: 409,
    GoneError: 410,
    BodyTooLargeError: 413,
    WrongTypeError: 415,
    TooManyError: 429,
}


VIDEO_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska",
}  # fmt: skip
ANY_TYPE = "*/*"


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI description of the refusals of a path; 400, 401, 403, 413 and 422 may come from any."""
    return {code: {"model": schemas.Error} for code in (400, 401, 403, 413, 422, *codes)}


def sends(media_type: str, *refusals: int, statuses: tuple[int, ...] = (200,), **others: Any) -> dict[str, Any]:
    """Arguments of a route whose answer is not JSON, for its OpenAPI description. others: further answers."""
    # Formats that tools would parse are left without a schema.
    is_binary = media_type.startswith(("audio/", "image/")) or media_type == "application/zip"
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} if is_binary else {}}
    bodies = {status: {"content": content, "description": "The bytes."} for status in statuses}
    return {"response_class": Response, "responses": errors(*refusals) | bodies | others}


class Studio:
    """One running server; opens the folder of projects."""

    def __init__(self, options: StudioOptions) -> None:
        self.options = options
        self.database = Database(options.home)
        self.views = Views(self.database, options)
        self.uploading: set[str] = set()  # projects into which a request is writing
        self.planners = threading.BoundedSemaphore(MAX_PLANNERS)
        self.hearers = threading.BoundedSemaphore(MAX_HEARERS)
        self.tellers = threading.BoundedSemaphore(MAX_TELLERS)
        self.watchers = 0
        self.is_closing = threading.Event()

    def watch(self) -> None:
        """Count one more open stream. Raises TooManyError."""
        if self.watchers >= MAX_WATCHERS:
            raise TooManyError("too many streams are open; close some pages and try again.")
        self.watchers += 1


async def the_studio(request: Request) -> Studio:
    """The running server of a request."""
    return request.app.state.studio


async def the_owner(request: Request) -> str:
    """The owner whom the guard found by the request's token."""
    return request.state.owner


TheStudio = Annotated[Studio, Depends(the_studio)]
Owner = Annotated[str, Depends(the_owner)]


def row_of(find: Callable[[Database, str, str], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The dependency that finds the row of the id in the path, if it is the owner's. Raises NotFoundError."""

    def find_row(studio: TheStudio, owner: Owner, id: schemas.Id) -> dict[str, Any]:
        return find(studio.database, owner, id)

    return find_row


ProjectRow = Annotated[dict[str, Any], Depends(row_of(projects.find))]
JobRow = Annotated[dict[str, Any], Depends(row_of(projects.find_job))]
TakeRow = Annotated[dict[str, Any], Depends(row_of(projects.find_take))]


def error_response(status: int, sentence: str, headers: Any = None) -> JSONResponse:
    """A refusal: its sentence as JSON."""
    return JSONResponse({"error": sentence}, status, headers)


def send_file(path: Path, media_type: str, name: str | None = None) -> FileResponse:
    """A file with ranges; name: to save it under, None to show it. Raises NotFoundError."""
    try:
        stat = path.stat()
    except OSError as error:
        raise NotFoundError("there is no such file; look at the project again.") from error
    return FileResponse(
        path, media_type=media_type, filename=name, stat_result=stat, headers={"cache-control": "private, no-cache"}
    )


def send_text(content: str, media_type: str, name: str) -> Response:
    """Text that browsers save; name: made by `safe_stem`, so that it needs no quoting."""
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_")
    return Response(content, 200, {"content-disposition": f'attachment; filename="{ascii_name}"'}, media_type)
