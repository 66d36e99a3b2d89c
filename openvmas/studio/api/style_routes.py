"""Styles that are offered for a video, each with a few seconds of music that the worker has written."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from openvmas.studio.api import schemas
from openvmas.studio.api.context import ProjectRow, TheStudio, errors, send_file, sends
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.storage.styles import N_FITTING, N_OTHER, StyleFolder

router = APIRouter(prefix="/api/projects/{id}/styles")


@router.get("", responses=errors(404))
def list_styles(studio: TheStudio, project: ProjectRow) -> schemas.Styles:
    """The cards; empty before a job `sketch` has begun."""
    folder = StyleFolder(ProjectFolder(studio.database.folder, project["id"]))
    found = folder.load()
    if found is None:
        return schemas.Styles(start=0.0, model="", styles=[])
    start, model, styles = found
    cards = [
        schemas.Style(name=style.name, words=style.words, fits=style.fits, is_ready=folder.sound(index).exists())
        for index, style in enumerate(styles)
    ]
    return schemas.Styles(start=start, model=model, styles=cards)


@router.get("/{index}/audio", **sends("audio/wav", 404, statuses=(200, 206)))
def read_style(
    studio: TheStudio, project: ProjectRow, index: Annotated[int, PathParameter(ge=0, lt=N_FITTING + N_OTHER)]
) -> FileResponse:
    """The music of one card, to be heard from `start` of the video on."""
    folder = StyleFolder(ProjectFolder(studio.database.folder, project["id"]))
    return send_file(folder.sound(index), "audio/wav")
