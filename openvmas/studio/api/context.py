"""What every part of the API shares, and how it finds whose request it is."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import FileResponse

from openvmas.errors import OpenVMASError
from openvmas.studio.api.schemas import Error
from openvmas.studio.api.views import Views
from openvmas.studio.limits import StudioOptions
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.projects import ConflictError, NotFoundError, TooManyError

MAX_WATCHERS = 400  # event streams and growing sounds that are open at a time
MAX_PLANNERS = 2  # plans that are made at a time


class WrongTokenError(OpenVMASError):
    """Not one of the tokens that this server knows."""


class GoneError(OpenVMASError):
    """It was to be made, but never will be."""


class BodyTooLargeError(OpenVMASError):
    """More bytes than are allowed."""


class WrongTypeError(OpenVMASError):
    """A body of another media type than the one that is taken."""


STATUS: dict[type[OpenVMASError], int] = {
    WrongTokenError: 401,
    NotFoundError: 404,
    ConflictError: 409,
    GoneError: 410,
    BodyTooLargeError: 413,
    WrongTypeError: 415,
    TooManyError: 429,
}


def body_of(media_type: str, *codes: int) -> dict[int | str, dict[str, Any]]:
    """For the description: an answer that is not JSON."""
    # What tools would parse is left without a schema.
    is_binary = media_type.startswith(("audio/", "image/")) or media_type == "application/zip"
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} if is_binary else {}}
    return {code: {"content": content, "description": "The bytes."} for code in codes or (200,)}


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What a path may refuse with, for the description; 400, 401, 403, 413 and 422 may come from any."""
    return {code: {"model": Error} for code in (400, 401, 403, 413, 422, *codes)}


class Studio:
    """One running server; opens the folder of projects."""

    def __init__(self, options: StudioOptions) -> None:
        self.options = options
        self.database = Database(options.home)
        self.views = Views(self.database, options)
        self.uploading: set[str] = set()  # projects into which a request is writing
        self.planners = threading.BoundedSemaphore(MAX_PLANNERS)
        self.watchers = 0
        self.is_closing = threading.Event()

    def watch(self) -> None:
        """Count a long answer. Raises TooManyError."""
        if self.watchers >= MAX_WATCHERS:
            raise TooManyError("too many streams are open; close some pages and try again.")
        self.watchers += 1


def the_studio(request: Request) -> Studio:
    return request.app.state.studio


def the_owner(request: Request) -> str:
    return request.state.owner


TheStudio = Annotated[Studio, Depends(the_studio)]
Owner = Annotated[str, Depends(the_owner)]


def send_file(path: Path, media_type: str, name: str | None = None) -> FileResponse:
    """A file with ranges; name: to save it under, None to show it. Raises NotFoundError."""
    try:
        stat = path.stat()
    except OSError as error:
        raise NotFoundError("there is no such file; look at the project again.") from error
    return FileResponse(
        path, media_type=media_type, filename=name, stat_result=stat, headers={"cache-control": "private, no-cache"}
    )
