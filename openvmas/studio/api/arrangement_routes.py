"""The arrangement of the recording that a take plays: as it is, and as it would be within other limits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from fastapi import APIRouter

from openvmas.planning.music_edit import MusicEdit
from openvmas.planning.plan_yaml import read_plan
from openvmas.studio.api import schemas
from openvmas.studio.api.context import TheStudio, errors
from openvmas.studio.api.plan_routes import planning
from openvmas.studio.api.take_routes import DoneTakeRow
from openvmas.studio.api.views import read_json
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.tasks.arrangement import LAST_NUMBER, Played, music_of, open_played, propose_again

MOST_LEVELS = 3000  # of a recording that are sent
ENERGY_RATE = 10  # of `Track.energy`, Hz

router = APIRouter(prefix="/api/takes/{id}/arrangement")


@router.get("", responses=errors(404, 409, 410))
def read_arrangement(studio: TheStudio, row: DoneTakeRow) -> schemas.TakeArrangement:
    """The parts of the recording that a take plays, its joins, and what is known of the recording."""
    project, plan = ProjectFolder(studio.database.folder, row["project"]), read_plan(row["plan"])
    played = open_played(project, json.loads(row["options"]), plan)
    composed = read_json(studio.views.files(row).report)["composer"]
    return schemas.TakeArrangement(
        **show(music_of(plan), composed), recording=show_recording(played), number=row["seed"] % (LAST_NUMBER + 1)
    )


@router.post("", responses=errors(404, 409, 410, 429))
def propose_arrangement(studio: TheStudio, row: DoneTakeRow, sent: schemas.ArrangementEdit) -> schemas.Arrangement:
    """The arrangement within these limits, which is not played: a job `arrange` makes a take of it."""
    project, plan = ProjectFolder(studio.database.folder, row["project"]), read_plan(row["plan"])
    edit = sent.edit(music_of(plan))
    with planning(studio):
        track = open_played(project, json.loads(row["options"]), plan).track
        proposal = propose_again(project, plan, track, edit, sent.number, sent.held_begin)
    return schemas.Arrangement(**show(proposal.edit, proposal.describe()))


def show(edit: MusicEdit, described: dict[str, Any]) -> dict[str, Any]:
    """The fields of an arrangement. described: parts, missed joins and answers as a proposal describes them."""
    kept, forbidden = (
        [schemas.Span(start=start, end=end) for start, end in spans] for spans in (edit.kept, edit.forbidden)
    )
    hits = described["hits"]
    return {
        "kept": kept, "forbidden": forbidden, "begin": edit.begin,
        "joins": [schemas.Join.model_validate(join, from_attributes=True) for join in edit.joins],
        "parts": described["parts"], "missed": described["missed"],
        "n_hits": len(hits), "n_met": sum(hit["kind"] != "nothing" for hit in hits),
    }  # fmt: skip


def show_recording(played: Played) -> schemas.PlayedRecording:
    """A recording as its lane draws it."""
    track, credits = played.track, played.credits
    width = max(1, -(-len(track.energy) // MOST_LEVELS))
    whole = np.concatenate([track.energy, np.full(-len(track.energy) % width, track.energy.min(initial=0))])
    levels = 10 ** (whole.reshape(-1, width).max(axis=1) / 20)
    return schemas.PlayedRecording(
        filename=played.filename, title=credits.title, artist=credits.artist, licence=credits.licence,
        attribution=credits.attribution, duration=round(track.duration, 3),
        tempo=None if track.is_free else round(track.tempo, 2), marks=track.marks.round(4).tolist(),
        beats=[] if track.is_free else track.beats.round(4).tolist(), beats_per_bar=track.beats_per_bar,
        sung=[schemas.Span(start=float(start), end=float(end)) for start, end in track.sung],
        levels=(levels / max(float(levels.max(initial=0)), 1e-9)).round(3).tolist(),
    )  # fmt: skip
