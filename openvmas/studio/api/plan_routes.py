"""The plan of a project: read, edit, plan again, undo, history."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from openvmas.errors import PlanError
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import ScorePlan
from openvmas.settings import Options
from openvmas.studio.api import schemas
from openvmas.studio.api.context import Owner, Studio, TheStudio, body_of, errors
from openvmas.studio.storage import plan_json, projects
from openvmas.studio.storage.folders import ProjectFolder, safe_stem
from openvmas.studio.storage.projects import TooManyError
from openvmas.vision.analysis import VideoAnalysis

WAIT = 20.0  # s for others who plan at the moment

router = APIRouter(prefix="/api/projects/{id}")


def show(studio: Studio, owner: str, project: str, response: Response | None = None) -> schemas.Plan:
    """The current plan. Raises NotFoundError."""
    row = projects.find(studio.database, owner, project)
    version, plan = projects.current_plan(studio.database, row)
    low, high = projects.plan_range(studio.database, project)
    if response is not None:
        response.headers["ETag"] = f'"{version}"'
    return schemas.Plan(**plan_json.to_json(plan), version=version, can_undo=low < version, can_redo=version < high)


def keep(studio: Studio, project: str, made: ScorePlan, note: str, expected: int | None = None) -> None:
    projects.save_plan(studio.database, project, made, note, expected)


@router.get("/plan", responses=errors(404), operation_id="readPlan")
def read(studio: TheStudio, owner: Owner, id: schemas.Id, response: Response) -> schemas.Plan:
    """The plan as it is now."""
    return show(studio, owner, id, response)


@router.put("/plan", responses=errors(404, 409), operation_id="writePlan")
def write(
    studio: TheStudio,
    owner: Owner,
    id: schemas.Id,
    sent: Annotated[dict[str, Any], Body(description="A plan as it is read; what follows from the rest is ignored.")],
    response: Response,
    if_match: Annotated[str | None, Header(pattern=r'^"?\d{1,15}"?$')] = None,
) -> schemas.Plan:
    """Replace the plan by an edited one. With If-Match it is refused if somebody else's edit came first."""
    _, current = projects.current_plan(studio.database, projects.find(studio.database, owner, id))
    made = plan_json.from_json(sent, current)
    keep(studio, id, made, "edited", int(if_match.strip('"')) if if_match else None)
    return show(studio, owner, id, response)


@router.post("/plan/suggest", responses=errors(404, 409, 429), operation_id="suggestPlan")
def suggest(studio: TheStudio, owner: Owner, id: schemas.Id, sent: schemas.Suggest, response: Response) -> schemas.Plan:
    """Plan again. Text and mood that are left out stay as they are; null takes them away."""
    version, current = projects.current_plan(studio.database, projects.find(studio.database, owner, id))
    given = sent.model_fields_set
    text = sent.text if "text" in given else current.text
    mood = sent.mood if "mood" in given else current.mood
    options = Options.of(text=text, mood=mood, tempo=sent.tempo, hit=tuple(sent.hit))
    seed = current.seed if sent.seed is None else sent.seed
    analysis = VideoAnalysis.load(ProjectFolder(studio.database.folder, id).analysis)
    if not studio.planners.acquire(timeout=WAIT):
        raise TooManyError("too many plans are being made; try again in a moment.")
    try:
        made = make_plan(analysis, options.plan, seed, current if sent.keep else None)
        write_plan(made).encode("utf-8")
    except (UnicodeError, OverflowError) as error:
        raise PlanError("the text holds characters that cannot be written; use ordinary letters.") from error
    finally:
        studio.planners.release()
    keep(studio, id, made, "planned again", version)
    return show(studio, owner, id, response)


@router.post("/plan/undo", responses=errors(404, 409), operation_id="undoPlan")
def undo(studio: TheStudio, owner: Owner, id: schemas.Id, response: Response) -> schemas.Plan:
    """Back to the version before."""
    projects.find(studio.database, owner, id)
    projects.go_to_plan(studio.database, id, step=-1)
    return show(studio, owner, id, response)


@router.post("/plan/redo", responses=errors(404, 409), operation_id="redoPlan")
def redo(studio: TheStudio, owner: Owner, id: schemas.Id, response: Response) -> schemas.Plan:
    """Forward to the version that was undone."""
    projects.find(studio.database, owner, id)
    projects.go_to_plan(studio.database, id, step=1)
    return show(studio, owner, id, response)


@router.get("/plan/history", responses=errors(404), operation_id="readPlanHistory")
def history(studio: TheStudio, owner: Owner, id: schemas.Id) -> schemas.PlanHistory:
    """The versions that are kept."""
    row = projects.find(studio.database, owner, id)
    versions = studio.database.rows(
        "SELECT version, made_at, note FROM plans WHERE project = ? ORDER BY version", (id,)
    )
    return schemas.PlanHistory(
        versions=[schemas.PlanVersion(**version) for version in versions], current=row["plan_version"]
    )


@router.post("/plan/restore", responses=errors(404, 409), operation_id="restorePlan")
def restore(studio: TheStudio, owner: Owner, id: schemas.Id, sent: schemas.Restore, response: Response) -> schemas.Plan:
    """Go to any version of the history."""
    projects.find(studio.database, owner, id)
    projects.go_to_plan(studio.database, id, version=sent.version)
    return show(studio, owner, id, response)


@router.get(
    "/plan.yaml",
    response_class=Response,
    responses={**errors(404), **body_of("application/yaml")},
    operation_id="downloadPlan",
)
def download(studio: TheStudio, owner: Owner, id: schemas.Id) -> Response:
    """The plan as the YAML file that `openvmas score --plan` takes."""
    row = projects.find(studio.database, owner, id)
    _, plan = projects.current_plan(studio.database, row)
    return attachment(write_plan(plan), "application/yaml", f"{safe_stem(row['filename'] or row['name'])}.plan.yaml")


def attachment(content: str | bytes, media_type: str, name: str) -> Response:
    """An answer that browsers save; name: of `safe_stem`, so that it needs no quoting."""
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_")
    return Response(content, 200, {"content-disposition": f'attachment; filename="{ascii_name}"'}, media_type)
