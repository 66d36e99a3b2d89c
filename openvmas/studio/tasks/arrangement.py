"""The arrangement of the recording that a take plays: where it is found again, and what an editor proposes anew."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from openvmas.fitting.arrangement import ALTERNATIVES
from openvmas.fitting.composer import Recording
from openvmas.fitting.library import FREE, HEARD
from openvmas.fitting.licence import Credits, read_credits
from openvmas.fitting.proposal import Proposal, propose
from openvmas.fitting.track import Track, listen
from openvmas.fitting.wishes import Wishes
from openvmas.planning.music_edit import MusicEdit
from openvmas.planning.schema import ScorePlan
from openvmas.studio.storage import sounds
from openvmas.studio.storage.folders import ProjectFolder, read_speech
from openvmas.studio.storage.projects import ConflictError, NotFoundError

LAST_NUMBER = ALTERNATIVES - 1  # of the arrangements of one recording, the best one being 0
KEPT_TRACKS = 8  # that are held in memory, some 100 kB a minute


@dataclasses.dataclass(frozen=True)
class Played:
    """The recording of a take. filename: as its user calls it; credits: its maker and licence, as far as known."""

    path: Path
    filename: str
    track: Track
    credits: Credits


def music_of(plan: ScorePlan) -> MusicEdit:
    """The part of a take's plan about its recording. Raises NotFoundError where it plays none."""
    if plan.music is None:
        raise NotFoundError("this take plays no recording, so it has no joins; score with a recording as the music.")
    return plan.music


def find_recording(project: ProjectFolder, options: dict[str, Any], plan: ScorePlan) -> Path:
    """The file of the recording that a take plays: one of the project's, or one that comes with the package.

    Raises NotFoundError where it plays none, ConflictError where it has been deleted.
    """
    named = music_of(plan).file
    if options.get("music") == sounds.FREE:
        found = FREE / Path(named).name
    else:
        folder = sounds.folder_of(project, options["music"])
        facts = folder.facts()
        found = folder.wave(facts["filename"]) if facts else folder.path
    if not found.is_file():
        raise ConflictError(
            f"{Path(named).name} is not in this project any more, so its joins cannot be changed; drop it in again."
        )
    return found


def open_played(project: ProjectFolder, options: dict[str, Any], plan: ScorePlan) -> Played:
    """The recording of a take, as it was heard. Raises NotFoundError, ConflictError."""
    path = find_recording(project, options, plan)
    stat = path.stat()
    track = _track(path, stat.st_mtime_ns, stat.st_size)
    return Played(path, Path(music_of(plan).file).name, track, read_credits(path))


@functools.lru_cache(maxsize=KEPT_TRACKS)
def _track(path: Path, changed: int, size: int) -> Track:
    return listen(path, FREE / HEARD if path.parent == FREE else None)


def open_recording(project: ProjectFolder, options: dict[str, Any], plan: ScorePlan) -> Recording:
    """The recording of a take, ready to be played. Raises NotFoundError, ConflictError."""
    path = find_recording(project, options, plan)
    return Recording.open(path, FREE / HEARD if path.parent == FREE else None)


def propose_again(
    project: ProjectFolder, plan: ScorePlan, track: Track, edit: MusicEdit, number: int | None, begin: float | None
) -> Proposal:
    """The arrangement that an editor would have.

    number: of the arrangement, counted from the best one; None for the one that is there, in which what is not edited
    is held, from `begin` s of the recording on. Raises PlanError.
    """
    edit.check(float(plan.duration))
    wishes = Wishes.of_plan(plan, read_speech(project))
    return propose(track, wishes, edit, number or 0, None if number is not None else begin)


def in_plan(plan: ScorePlan, music: MusicEdit | None, options: dict[str, Any]) -> ScorePlan:
    """The plan of a take with what was played, named as its user names it.

    options: of the take, with names in place of ids. A user's file is not the one that was decoded here, so that its
    hash would be another.
    """
    if music is None:
        return plan
    if not music.file.startswith(f"{sounds.FREE}/"):
        music = dataclasses.replace(music, file=options.get("music") or Path(music.file).name, sha256="")
    return dataclasses.replace(plan, music=music)
