"""The plan of a project as JSON: read, edit, plan again, undo, history.

JSON is YAML, so that an edit from the page is read and checked as a plan file is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from openvmas.errors import PlanError
from openvmas.generate.deliver import plain
from openvmas.planning.plan_yaml import VERSION, read_plan, write_plan
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import ScorePlan
from openvmas.settings import Options
from openvmas.studio.api import schemas
from openvmas.studio.api.context import ProjectRow, Studio, TheStudio, errors, send_text, sends
from openvmas.studio.api.plan_notes import describe_edit
from openvmas.studio.storage import projects
from openvmas.studio.storage.folders import ProjectFolder, safe_stem
from openvmas.studio.storage.projects import TooManyError
from openvmas.vision.analysis import VideoAnalysis

PLANNER_TIMEOUT_S = 20.0  # for others who plan at the moment
# Fields that follow from the rest, or are not the user's to change; they may be sent back and are ignored.
DERIVED = (
    "version", "can_undo", "can_redo", "own_sections", "duration", "tempo", "beats", "downbeats", "heard",
    "unknown_words", "fit",
)  # fmt: skip
MAX_ITEMS = 20_000  # sections, hits, tempo marks or points of energy in one plan

router = APIRouter(prefix="/api/projects/{id}")


def show(studio: Studio, project: str, response: Response) -> schemas.Plan:
    """The current plan, its version as ETag. Raises NotFoundError."""
    version, plan = projects.current_plan(studio.database, project)
    low, high = projects.plan_range(studio.database, project)
    response.headers["ETag"] = f'"{version}"'
    own = own_sections(plan, projects.planned(studio.database, project, version))
    return schemas.Plan(
        **to_json(plan), version=version, can_undo=low < version, can_redo=version < high, own_sections=own
    )


def own_sections(plan: ScorePlan, planned: ScorePlan | None) -> list[int]:
    """Numbers, from 0, of the sections that are not locked and not as they were planned: planning again drops them."""
    made = [] if planned is None else [dataclasses.replace(section, is_locked=False) for section in planned.sections]
    return [i for i, section in enumerate(plan.sections) if not section.is_locked and section not in made]


def to_json(plan: ScorePlan) -> dict[str, Any]:
    """Every field of the plan file, and those that follow from them. Times in s."""
    names = schemas.Plan.model_fields.keys() - {"version", "can_undo", "can_redo", "own_sections"}
    sections = [
        vars(section) | {"mood": dict(section.mood), "picture": dict(section.picture), "locked": section.is_locked}
        for section in plan.sections
    ]
    lists = {"tempo_map": [vars(mark) for mark in plan.tempo_map], "hits": [vars(hit) for hit in plan.hits]}
    return plain({name: getattr(plan, name) for name in names} | lists | {"sections": sections, "fit": vars(plan.fit)})


def from_json(sent: dict[str, Any], current: ScorePlan) -> ScorePlan:
    """An edited plan of the same video. Raises PlanError that names the field."""
    kept = {name: value for name, value in sent.items() if name not in DERIVED}
    for name, value in kept.items():
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            raise PlanError(f"plan, {name}: {len(value)} items are too many; give at most {MAX_ITEMS}.")
    length = current.duration
    document = {"openvmas_plan": VERSION, "duration": f"{length.numerator}/{length.denominator}", **kept}
    try:
        text = json.dumps(document, allow_nan=False)
        text.encode("utf-8")
    except (ValueError, TypeError) as error:
        raise PlanError(f"plan: {error}; give numbers and text only.") from error
    try:
        made = read_plan(text, "plan")
        _check_recordings(made, current)
        _ = made.fit, made.unknown_words  # what cannot be laid out must fail here
        write_plan(made).encode("utf-8")
    except PlanError as error:
        raise PlanError(re.sub(r"^plan line \d+", "plan", str(error))) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise PlanError("plan: it holds a number or text that makes no sense; load the plan again.") from error
    return made


def _check_recordings(made: ScorePlan, current: ScorePlan) -> None:
    """A page may keep the recordings that sections have, but not name files of this machine. Raises PlanError."""
    if made.music != current.music:
        raise PlanError("plan, music: recordings are chosen in the page, not by a file's name; leave it out.")
    known = {section.like for section in current.sections}
    for i, section in enumerate(made.sections):
        if section.like not in known | {None}:
            raise PlanError(f"plan, sections[{i}].like: there is no such recording here; leave it out.")


@router.get("/plan", responses=errors(404), operation_id="readPlan")
def read(studio: TheStudio, project: ProjectRow, response: Response) -> schemas.Plan:
    """The plan as it is now."""
    return show(studio, project["id"], response)


@router.put("/plan", responses=errors(404, 409), operation_id="writePlan")
def write(
    studio: TheStudio,
    project: ProjectRow,
    sent: Annotated[
        dict[str, Any], Body(description="A plan as it is read; fields that follow from the rest are ignored.")
    ],
    response: Response,
    if_match: Annotated[str | None, Header(pattern=r'^"?\d{1,15}"?$')] = None,
) -> schemas.Plan:
    """Replace the plan by an edited one. With If-Match it is refused if somebody else's edit came first."""
    _, current = projects.current_plan(studio.database, project["id"])
    made = from_json(sent, current)
    expected = int(if_match.strip('"')) if if_match else None
    projects.save_plan(studio.database, project["id"], made, describe_edit(current, made), expected)
    return show(studio, project["id"], response)


@router.post("/plan/suggest", responses=errors(404, 409, 429))
def suggest_plan(studio: TheStudio, project: ProjectRow, sent: schemas.Suggest, response: Response) -> schemas.Plan:
    """Plan again. Text and mood that are left out stay as they are; null takes them away."""
    version, current = projects.current_plan(studio.database, project["id"])
    given = sent.model_fields_set
    text = sent.text if "text" in given else current.text
    mood = sent.mood if "mood" in given else current.mood
    options = Options.of(text=text, mood=mood, tempo=sent.tempo, hit=tuple(sent.hit))
    seed = current.seed if sent.seed is None else sent.seed
    analysis = VideoAnalysis.load(ProjectFolder(studio.database.folder, project["id"]).analysis)
    try:
        with planning(studio):
            made = make_plan(analysis, options.plan, seed, current if sent.keep else None)
        write_plan(made).encode("utf-8")
    except (UnicodeError, OverflowError) as error:
        raise PlanError("the text holds characters that cannot be written; use ordinary letters.") from error
    projects.save_plan(studio.database, project["id"], made, "planned again", version)
    return show(studio, project["id"], response)


@contextlib.contextmanager
def planning(studio: Studio) -> Iterator[None]:
    """One of the few plans that are made at a time. Raises TooManyError."""
    if not studio.planners.acquire(timeout=PLANNER_TIMEOUT_S):
        raise TooManyError("too many plans are being made; try again in a moment.")
    try:
        yield
    finally:
        studio.planners.release()


@router.post("/plan/undo", responses=errors(404, 409))
def undo_plan(studio: TheStudio, project: ProjectRow, response: Response) -> schemas.Plan:
    """Go back to the version before."""
    projects.go_to_plan(studio.database, project["id"], step=-1)
    return show(studio, project["id"], response)


@router.post("/plan/redo", responses=errors(404, 409))
def redo_plan(studio: TheStudio, project: ProjectRow, response: Response) -> schemas.Plan:
    """Go forward to the version that was undone."""
    projects.go_to_plan(studio.database, project["id"], step=1)
    return show(studio, project["id"], response)


@router.get("/plan/history", responses=errors(404))
def read_plan_history(studio: TheStudio, project: ProjectRow) -> schemas.PlanHistory:
    """The versions that are kept."""
    rows = studio.database.rows(
        "SELECT version, made_at, note FROM plans WHERE project = ? ORDER BY version", (project["id"],)
    )
    return schemas.PlanHistory(versions=[schemas.PlanVersion(**row) for row in rows], current=project["plan_version"])


@router.post("/plan/restore", responses=errors(404, 409))
def restore_plan(studio: TheStudio, project: ProjectRow, sent: schemas.Restore, response: Response) -> schemas.Plan:
    """Go to any version of the history."""
    projects.go_to_plan(studio.database, project["id"], version=sent.version)
    return show(studio, project["id"], response)


@router.get("/plan.yaml", **sends("application/yaml", 404))
def download_plan(studio: TheStudio, project: ProjectRow) -> Response:
    """The plan as the YAML file that `openvmas score --plan` takes."""
    _, plan = projects.current_plan(studio.database, project["id"])
    name = safe_stem(project["filename"] or project["name"])
    return send_text(write_plan(plan), "application/yaml", f"{name}.plan.yaml")
