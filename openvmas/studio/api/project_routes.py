"""Sessions and projects: sign in, create, read, rename, delete; the uploaded video and its analysis."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from openvmas.condition import FEELING_AXES, MOOD_AXES
from openvmas.planning.lexicon import lexicon
from openvmas.studio.api import schemas
from openvmas.studio.api.context import (
    ANY_TYPE,
    VIDEO_TYPES,
    Owner,
    ProjectRow,
    Studio,
    TheStudio,
    WrongTokenError,
    errors,
    send_file,
    sends,
)  # fmt: skip
from openvmas.studio.api.guard import COOKIE, match_token
from openvmas.studio.api.schemas import check_options
from openvmas.studio.api.upload_routes import analysis_limits
from openvmas.studio.api.views import read_json, session
from openvmas.studio.queue import jobs
from openvmas.studio.storage import projects
from openvmas.studio.storage.examples import EXAMPLES, find_example
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.storage.projects import ConflictError, NotFoundError
from openvmas.studio.storage.sounds import check_sounds

router = APIRouter(prefix="/api")


@functools.cache
def mood_words() -> list[str]:
    """Single words of the lexicon that stand for a mood or feeling, and for no style or instrument."""
    known = {*MOOD_AXES, *FEELING_AXES}
    return sorted(
        word
        for word, entry in lexicon().entries.items()
        if word.isalpha() and set(entry.axes) <= known and not (entry.tempo or entry.beats_per_bar)
    )


@router.get("/session")
def read_session(studio: TheStudio, request: Request) -> schemas.Session:
    """Whether a token is needed, limits, models, options with their ranges, and the words for moods."""
    return session(studio.options, request.state.owner, mood_words())


@router.post("/session", status_code=204, responses=errors())
def sign_in(studio: TheStudio, sent: schemas.SignIn, request: Request, response: Response) -> None:
    """Exchange the token for a cookie."""
    if studio.options.token and match_token(sent.token, studio.options.token) is None:
        raise WrongTokenError("this token is not right; copy it from where `openvmas studio` was started.")
    if studio.options.token:
        response.set_cookie(
            COOKIE, sent.token, httponly=True, samesite="strict", path="/", secure=request.url.scheme == "https"
        )


@router.delete("/session", status_code=204, responses=errors())
def sign_out(response: Response) -> None:
    """Forget the cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")


@router.post("/projects", status_code=201, responses=errors(429))
def create_project(studio: TheStudio, owner: Owner, sent: schemas.NewProject) -> schemas.Project:
    """A new project; then upload its video."""
    project = projects.create(studio.database, owner, sent.name)
    return show(studio, owner, project)


def show(studio: Studio, owner: str, project: str) -> schemas.Project:
    """A project, its jobs and takes as they were at one moment, so that a job that has just ended is not shown beside a
    project that still waits for it."""
    projects.find(studio.database, owner, project)
    with studio.database.read():
        return studio.views.project(projects.read(studio.database, owner, project))


@router.get("/examples", responses=errors())
def list_examples() -> schemas.Examples:
    """The example films that can be tried."""
    found = [schemas.Example(**vars(one)) for one in EXAMPLES if find_example(one.name)]
    return schemas.Examples(examples=found)


@router.post("/projects/{id}/example", status_code=201, responses=errors(404, 409))
def use_example(studio: TheStudio, owner: Owner, project: ProjectRow, sent: schemas.UseExample) -> schemas.Project:
    """Take an example film as the video of a new project."""
    source = find_example(sent.name)
    if source is None:
        raise NotFoundError("this example is not installed here; upload a video of your own.")
    filename = f"{sent.name}.mp4"
    with studio.database.write() as connection:
        sql = (
            "UPDATE projects SET state = 'uploading', filename = ?, size = ?, suffix = '.mp4' "
            "WHERE id = ? AND state = 'empty'"
        )
        if not connection.execute(sql, (filename, source.stat().st_size, project["id"])).rowcount:
            raise ConflictError("this project has its video already; make another project for another video.")
    shutil.copyfile(source, ProjectFolder(studio.database.folder, project["id"]).source(".mp4"))
    jobs.submit_analysis(studio.database, project["id"], "uploading", analysis_limits(studio))
    return show(studio, owner, project["id"])


@router.post("/projects/{id}/copy", status_code=201, responses=errors(404, 409, 429))
def copy_project(studio: TheStudio, owner: Owner, project: ProjectRow) -> schemas.Project:
    """A new project with the same video, plan and settings, and no takes."""
    if project["state"] != "ready":
        raise ConflictError("the video has not been watched yet; duplicate the project then.")
    copy = projects.duplicate(studio.database, owner, project)
    return show(studio, owner, copy)


def send_long(studio: Studio, make: Callable[[], BaseModel]) -> Response:
    """An answer that may be long. Few are made at a time, each into its text at once: rows, models and trees of all who
    ask at the same moment would else lie in memory side by side, ten times as large as what is sent."""
    with studio.tellers:
        return Response(make().model_dump_json(), media_type="application/json")


@router.get("/projects", response_model=schemas.Projects, responses=errors())
def list_projects(studio: TheStudio, owner: Owner) -> Response:
    """All projects of this token, the newest first, without their jobs and takes."""

    def make() -> schemas.Projects:
        with studio.database.read():
            rows = studio.database.rows("SELECT * FROM projects WHERE owner = ? ORDER BY created DESC, id", (owner,))
            return schemas.Projects(projects=[studio.views.project(row, is_whole=False) for row in rows])

    return send_long(studio, make)


@router.get("/projects/{id}", response_model=schemas.Project, responses=errors(404))
def read_project(studio: TheStudio, owner: Owner, id: schemas.Id) -> Response:
    """A project with its jobs and takes."""
    return send_long(studio, lambda: show(studio, owner, id))


@router.patch("/projects/{id}", responses=errors(404))
def change_project(
    studio: TheStudio, owner: Owner, project: ProjectRow, sent: schemas.ProjectChange
) -> schemas.Project:
    """Give a project another name, or keep settings with it."""
    settings = None
    if sent.settings is not None:
        given = check_options(sent.settings, schemas.SETTABLE)
        check_sounds(ProjectFolder(studio.database.folder, project["id"]), given)
        settings = json.dumps(given)
    projects.change(studio.database, "projects", project["id"], name=sent.name, settings=settings)
    return show(studio, owner, project["id"])


@router.delete("/projects/{id}", status_code=204, responses=errors(404))
def delete_project(studio: TheStudio, project: ProjectRow) -> None:
    """Delete a project with everything that was made in it."""
    projects.remove(studio.database, project["id"])


@router.get("/projects/{id}/video", **sends(ANY_TYPE, 404, statuses=(200, 206)))
def read_video(studio: TheStudio, project: ProjectRow, download: bool = False) -> FileResponse:
    """The original video; ranges are answered."""
    if project["video"] is None:
        raise NotFoundError("there is no video yet; upload one.")
    path = ProjectFolder(studio.database.folder, project["id"]).source(project["suffix"])
    media = VIDEO_TYPES.get(project["suffix"], "application/octet-stream")
    return send_file(path, media, project["filename"] if download else None)


@router.get("/projects/{id}/filmstrip", **sends("image/jpeg", 404))
def read_filmstrip(
    studio: TheStudio, project: ProjectRow, ready: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    """Small pictures of the whole video in one JPEG; `ready` only makes the address another one."""
    try:  # whole: it is replaced by a larger one all the time while the video is watched
        strip = ProjectFolder(studio.database.folder, project["id"]).filmstrip.read_bytes()
    except OSError as error:
        raise NotFoundError("there is no filmstrip yet; wait for the job `analyze`.") from error
    return Response(strip, media_type="image/jpeg", headers={"cache-control": "private, no-cache"})


@router.get("/projects/{id}/analysis", responses=errors(404))
def read_analysis(studio: TheStudio, project: ProjectRow) -> schemas.Analysis:
    """The events and curves of the video: shots, cuts, visual beats, energy, motion, novelty, speech."""
    try:
        return schemas.Analysis(**read_json(ProjectFolder(studio.database.folder, project["id"]).summary))
    except OSError as error:
        raise NotFoundError("there is no analysis yet; wait for the job `analyze`.") from error
