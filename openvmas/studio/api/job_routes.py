"""Jobs: submit, watch, cancel."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from openvmas.errors import OptionError
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.schema import ScorePlan
from openvmas.planning.voices import VoiceChoice, choose_voice, told_choice
from openvmas.settings import OutputOptions
from openvmas.studio.api import schemas
from openvmas.studio.api.context import JobRow, Owner, ProjectRow, Studio, TheStudio, errors, sends
from openvmas.studio.api.schemas import NAMES, check_options
from openvmas.studio.api.upload_routes import analysis_limits
from openvmas.studio.api.views import describe_model
from openvmas.studio.queue import jobs
from openvmas.studio.queue.jobs import MAX_SEED
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import FINAL_STATES
from openvmas.studio.storage.folders import ProjectFolder, read_speech
from openvmas.studio.storage.projects import ConflictError, NotFoundError
from openvmas.studio.storage.sounds import MODEL, check_sounds
from openvmas.studio.tasks.arrangement import find_recording, music_of

POLL_S = 0.2  # between looks at a job that is watched
PING_S = 10.0  # between signs of life on a quiet stream
AUTO = OutputOptions().model  # in place of a model: the voice that fits the plan best
SHORTEST_PART = 0.5  # s that can be written anew

router = APIRouter(prefix="/api")


@router.post("/projects/{id}/jobs", status_code=201, responses=errors(404, 409, 429))
def create_job(studio: TheStudio, owner: Owner, project: ProjectRow, sent: schemas.NewJob) -> schemas.Job:
    """Submit a job.

    score: music for the whole video, or for all but its locked sections, which stay as they are in `take`;
    redo: one part of a take anew; mix: a take at other levels; arrange: the recording of a take in another
    `arrangement`; sketch: a few seconds in each of the styles that are offered, when nothing else is to be done;
    analyze: again.
    """
    jobs.check_waiting(studio.database, owner)
    if sent.kind == "analyze":
        job = analyze_again(studio, project)
    else:
        if project["state"] != "ready":
            raise ConflictError("the video has not been watched yet; wait for the job `analyze`.")
        makers = {
            "score": takes_to_score, "redo": takes_to_redo, "mix": takes_to_mix, "arrange": takes_to_arrange,
            "sketch": lambda *_: [],
        }  # fmt: skip
        takes = makers[sent.kind](studio, project, sent)
        given = sent.options.model_dump(exclude_unset=True)
        arguments = {"arranged": sent.arrangement.choice()} if sent.kind == "arrange" and sent.arrangement else {}
        job = jobs.submit_takes(studio.database, project["id"], sent.kind, given, takes, arguments)
    return show(studio, owner, job)


def show(studio: Studio, owner: str, job: str) -> schemas.Job:
    return studio.views.job(projects.find_job(studio.database, owner, job))


def analyze_again(studio: Studio, row: dict[str, Any]) -> str:
    """Watch a video again whose analysis was stopped. Raises ConflictError where there is nothing to watch."""
    if row["state"] != "refused" or row["filename"] is None or studio.views.offset(row) != row["size"]:
        raise ConflictError("there is no video that waits to be watched; upload one.")
    job = jobs.submit_analysis(studio.database, row["id"], "refused", analysis_limits(studio))
    if job is None:
        raise ConflictError("the video is being watched already; wait for its job.")
    return job


def parent_take(studio: Studio, row: dict[str, Any], sent: schemas.NewJob) -> dict[str, Any]:
    """The finished take that a job starts from."""
    if sent.take is None:
        raise OptionError(f"{sent.kind} starts from a take; give its id as `take`.")
    found = studio.database.row("SELECT * FROM takes WHERE id = ? AND project = ?", (sent.take, row["id"]))
    if found is None:
        raise NotFoundError("there is no such take; see the takes of your project.")
    if found["state"] != "done":
        raise ConflictError("that take is not finished; wait for its job.")
    return found


def takes_to_score(studio: Studio, row: dict[str, Any], sent: schemas.NewJob) -> list[dict[str, Any]]:
    options = check_options(sent.options, ("generate", "music", "mix"))
    check_sounds(ProjectFolder(studio.database.folder, row["id"]), options)
    version, plan = projects.current_plan(studio.database, row["id"])
    seed = options.get("seed")  # one that is asked for is taken, even twice; else every take is another one
    model = MODEL if options.get("music") else options.get("model", AUTO)
    base, found = take_to_keep(studio, row, sent, plan), dict[str, Any]()
    if model == AUTO:
        choice = voice_for(studio, row, plan, options, base)
        model = choice.model
        found["voice"] = {"model": model, "reason": choice.reason, "reasons": choice.reasons}
    part = None if base is None else part_of(open_spans(plan))
    if base is not None and part is not None and not can_change_parts(studio, base, model):
        part["kept"] = locked_spans(plan)
    return [
        {
            "parent": base["id"] if base else None, "first_seed": plan.seed,
            "seed": None if seed is None else (seed + index) % MAX_SEED,
            "model": model, "options": options, "plan": write_plan(plan),
            "plan_version": version, "duration": float(plan.duration), "part": part, "found": json.dumps(found),
        }
        for index in range(sent.variations)
    ]  # fmt: skip


def voice_for(
    studio: Studio, row: dict[str, Any], plan: ScorePlan, options: dict[str, Any], base: dict[str, Any] | None
) -> VoiceChoice:
    """The voice that `auto` takes: that of the take whose locked music stays, else the one that fits best."""
    if base is not None and can_change_parts(studio, base, base["model"]):
        return told_choice(base["model"], ["it wrote the locked music"])
    speech = read_speech(ProjectFolder(studio.database.folder, row["id"]))
    return choose_voice(plan, speech, options.get("like") is not None)


def open_spans(plan: ScorePlan) -> list[tuple[float, float]]:
    """The spans between locked sections, (start, end) in s. Raises ConflictError where all are locked."""
    spans: list[tuple[float, float]] = []
    for section in plan.sections:
        if section.is_locked:
            continue
        start, end = float(section.start), min(float(section.end), float(plan.duration))
        spans = [*spans[:-1], (spans[-1][0], end)] if spans and spans[-1][1] == start else [*spans, (start, end)]
    if not spans:
        raise ConflictError(
            "all sections are locked, so no music can change; unlock those that are to be written anew."
        )
    return spans


def part_of(spans: list[tuple[float, float]]) -> dict[str, Any]:
    """The spans of a take that are written anew, as its row keeps them."""
    spans = [(round(start, 4), round(end, 4)) for start, end in spans]
    return {"start": spans[0][0], "end": spans[-1][1], "spans": spans}


def take_to_keep(studio: Studio, row: dict[str, Any], sent: schemas.NewJob, plan: ScorePlan) -> dict[str, Any] | None:
    """The take whose music stays in the locked sections: the one that is named, else the newest; None where nothing is
    locked, or where there is no finished take."""
    if not any(section.is_locked for section in plan.sections):
        return None
    if sent.take is not None:
        found = [parent_take(studio, row, sent)]
    else:
        sql = "SELECT * FROM takes WHERE project = ? AND state = 'done' ORDER BY number DESC"
        found = studio.database.rows(sql, (row["id"],))
    can_stay = [take for take in found if abs(take["duration"] - float(plan.duration)) < 1e-6]
    return can_stay[0] if can_stay else None


def can_change_parts(studio: Studio, take: dict[str, Any], model: str) -> bool:
    """Whether a model can write parts of a take anew; else the kept parts are laid over a piece that is all new."""
    return take["model"] == model and describe_model(model).can_redo and studio.views.files(take).can_change


def locked_spans(plan: ScorePlan) -> list[tuple[float, float]]:
    """The spans of locked sections, (start, end) in s."""
    end = float(plan.duration)
    return [(float(one.start), min(float(one.end), end)) for one in plan.sections if one.is_locked]


def takes_to_redo(studio: Studio, row: dict[str, Any], sent: schemas.NewJob) -> list[dict[str, Any]]:
    take, given = parent_take(studio, row, sent), check_options(sent.options, ("generate", "mix"))
    check_sounds(ProjectFolder(studio.database.folder, row["id"]), given)
    if not describe_model(take["model"]).can_redo or not studio.views.files(take).can_change:
        raise ConflictError("this kind of music cannot be changed in parts; score the whole again.")
    if given.get("model", take["model"]) != take["model"]:
        raise OptionError("a part is written by the model of its take; leave out `model`.")
    version, plan = projects.current_plan(studio.database, row["id"])
    if sent.section is not None:
        if sent.section >= len(plan.sections):
            raise OptionError(f"there is no section {sent.section}; the plan has {len(plan.sections)}, counted from 0.")
        start, end = plan.sections[sent.section].start, plan.sections[sent.section].end
    elif sent.start is not None and sent.end is not None:
        start, end = sent.start, sent.end
    else:
        raise OptionError("say which part is to be redone; give `section`, or `start` and `end`.")
    end = min(end, float(plan.duration))
    for number, section in enumerate(plan.sections, start=1):
        if section.is_locked and section.start < end - 1e-6 and section.end > start + 1e-6:
            raise ConflictError(f"section {number} is locked, so its music stays; unlock it first.")
    if end - start < SHORTEST_PART:
        raise OptionError(f"a part from {start:g} to {end:g} s is too short; give at least {SHORTEST_PART} s.")
    options = json.loads(take["options"]) | given
    return [
        {
            "parent": take["id"], "seed": given.get("seed"), "model": take["model"], "options": options,
            "plan": write_plan(plan), "plan_version": version, "duration": take["duration"],
            "part": part_of([(float(start), float(end))]),
        }
    ]  # fmt: skip


def takes_to_mix(studio: Studio, row: dict[str, Any], sent: schemas.NewJob) -> list[dict[str, Any]]:
    take, given = parent_take(studio, row, sent), check_options(sent.options, ("mix",))
    kept = {name: value for name, value in json.loads(take["options"]).items() if name not in NAMES["mix"]}
    same = {name: take[name] for name in ("seed", "model", "plan", "plan_version", "duration")}
    return [{"parent": take["id"], "options": kept | given, "part": None, **same}]


def takes_to_arrange(studio: Studio, row: dict[str, Any], sent: schemas.NewJob) -> list[dict[str, Any]]:
    if sent.arrangement is None:
        raise OptionError("say how the recording is arranged; give `arrangement`.")
    (made,) = takes_to_mix(studio, row, sent)
    plan = read_plan(made["plan"])
    edit = sent.arrangement.edit(music_of(plan))
    edit.check(float(plan.duration))
    find_recording(ProjectFolder(studio.database.folder, row["id"]), made["options"], plan)
    number = sent.arrangement.number
    changed = {"plan": write_plan(replace(plan, music=edit)), "seed": made["seed"] if number is None else number}
    return [made | changed]


@router.get("/jobs/{id}", responses=errors(404))
def read_job(studio: TheStudio, job: JobRow) -> schemas.Job:
    """The state and progress of a job."""
    return studio.views.job(job)


@router.post("/jobs/{id}/cancel", responses=errors(404, 409))
def cancel_job(studio: TheStudio, owner: Owner, job: JobRow) -> schemas.Job:
    """Stop a job; one that runs stops within two seconds."""
    if not jobs.cancel(studio.database, job["id"]):
        raise ConflictError("this job has ended already; there is nothing to cancel.")
    return show(studio, owner, job["id"])


@router.get("/jobs/{id}/events", **sends("text/event-stream", 404, 429))
async def watch_job(studio: TheStudio, owner: Owner, job: JobRow, request: Request) -> StreamingResponse:
    """The job at once and at each change, as server-sent events named `job`; ends after a final state.

    While a video is being watched there are also events named `analysis`: shots, cuts, visual beats and energy of what
    has been seen, up to the second `until`.
    """
    studio.watch()
    return StreamingResponse(changes(studio, owner, job["id"], request), media_type="text/event-stream")


def read_partial_analysis(studio: Studio, project: str) -> str:
    """The analysis of a video so far, as JSON; nothing where it is not being analyzed."""
    try:
        return ProjectFolder(studio.database.folder, project).partial_analysis.read_text(encoding="utf-8")
    except OSError:
        return ""


async def changes(studio: Studio, owner: str, job: str, request: Request) -> AsyncIterator[str]:
    """Server-sent events until the job is over, the client is gone or the server closes."""
    last, sent_at, last_partial = "", time.monotonic(), ""
    try:
        while not studio.is_closing.is_set() and not await request.is_disconnected():
            try:
                found = await run_in_threadpool(show, studio, owner, job)
            except NotFoundError:
                return
            text = found.model_dump_json()
            if text != last:
                yield f"event: job\ndata: {text}\n\n"
                last, sent_at = text, time.monotonic()
            elif time.monotonic() - sent_at > PING_S:
                yield ": ping\n\n"
                sent_at = time.monotonic()
            if found.state in FINAL_STATES:
                return
            if found.kind == "analyze":
                partial = await run_in_threadpool(read_partial_analysis, studio, found.project)
                if partial not in ("", last_partial):
                    yield f"event: analysis\ndata: {partial}\n\n"
                    last_partial = partial
            await asyncio.sleep(POLL_S)
    finally:
        studio.watchers -= 1
