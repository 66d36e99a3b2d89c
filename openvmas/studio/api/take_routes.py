"""Takes: their sound while it is being written, what was measured, and everything that can be downloaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import tempfile
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from openvmas.media.edit_list import edit_text
from openvmas.planning.plan_yaml import read_plan
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.api import schemas
from openvmas.studio.api.context import (
    ANY_TYPE,
    VIDEO_TYPES,
    GoneError,
    Owner,
    Studio,
    TakeRow,
    TheStudio,
    error_response,
    errors,
    send_file,
    send_text,
    sends,
)  # fmt: skip
from openvmas.studio.api.views import download_name, read_json
from openvmas.studio.storage import projects
from openvmas.studio.storage.folders import ProjectFolder, safe_stem
from openvmas.studio.storage.markers import FORMATS, gather
from openvmas.studio.storage.package import Mixed, write_package
from openvmas.studio.storage.projects import ConflictError, NotFoundError
from openvmas.studio.storage.remarks import TakeRemarks
from openvmas.studio.storage.take_sound import FRAME, HEADER, TakeSound, read_loudness, thin_peaks, thin_shades
from openvmas.studio.tasks.arrangement import find_recording, music_of

POLL_S = 0.05  # between looks at music that is being written
POLL_FILE_S = 0.01  # and at the length of its file alone
PIECE = SAMPLE_RATE_OUT * FRAME  # bytes that are read at once
Of = Annotated[Literal["music", "mix"], Query(description="The music alone, or the finished sound.")]

NOT_YET: Any = {"204": {"description": "Not written yet."}}

router = APIRouter(prefix="/api/takes/{id}")


def the_done_take(row: TakeRow) -> dict[str, Any]:
    """The row of a finished take. Raises ConflictError while it is being made, GoneError if it never will be."""
    if row["state"] in ("failed", "cancelled"):
        raise GoneError("this take was not finished; score again.")
    if row["state"] != "done":
        raise ConflictError("this take is being made; wait for its job.")
    return row


DoneTakeRow = Annotated[dict[str, Any], Depends(the_done_take)]


@router.get("", responses=errors(404))
def read_take(studio: TheStudio, row: TakeRow) -> schemas.TakeWithReport:
    """A take, and when it is finished the measures of its music."""
    report = None
    if row["state"] == "done":
        report = shorten(read_json(studio.views.files(row).report))
    return schemas.TakeWithReport(**studio.views.take(row), report=report)


def shorten(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that the page shows."""
    mix, composer = report["mix"], report["composer"]
    names = ("loudness_lufs", "true_peak", "is_loud_enough", "music_lufs", "original_lufs", "ducked")
    return {
        "duration": report["duration"],
        **{name: mix[name] for name in names},
        **report["measured"],
        "seams": composer.get("seams", []),
        "seconds": report["seconds"],
        "composer": composer,
        "model": report["model"],
        "generated_by": report["generated_by"],
    }


@router.patch("", responses=errors(404))
def change_take(studio: TheStudio, row: TakeRow, sent: schemas.TakeChange) -> schemas.Take:
    """Give a take another name, a note, or a place among the favourites."""
    projects.change(studio.database, "takes", row["id"], name=sent.name)
    remarks = sent.model_dump(exclude_none=True, include={"favourite", "note"})
    if remarks:
        TakeRemarks(studio.views.files(row)).change(remarks)
    return schemas.Take(**studio.views.take(row | ({"name": sent.name} if sent.name else {})))


@router.delete("", status_code=204, responses=errors(404, 409))
def delete_take(studio: TheStudio, row: TakeRow) -> None:
    """Delete a take and its files."""
    projects.remove_take(studio.database, row)


def sound_of(studio: Studio, owner: str, take: str, of: str) -> tuple[TakeSound, str]:
    """The sound and the take's state. Raises NotFoundError, for a mix also ConflictError and GoneError."""
    row = projects.find_take(studio.database, owner, take)
    row = the_done_take(row) if of == "mix" else row
    files, n_samples = studio.views.files(row), math.ceil(row["duration"] * SAMPLE_RATE_OUT - 1e-3)
    if of == "mix":
        return TakeSound(files.mixed, HEADER, n_samples), row["state"]
    return TakeSound(files.wave, 0, n_samples, files.accents), row["state"]


@router.get("/peaks", responses=errors(404, 409, 410))
def read_peaks(
    studio: TheStudio, row: TakeRow, per_second: Annotated[int, Query(ge=1, le=100)] = 20, of: Of = "music"
) -> schemas.Peaks:
    """Lowest and highest sample of each stretch, for a waveform."""
    row = the_done_take(row) if of == "mix" else row
    files = studio.views.files(row)
    path = files.mixed_peaks if of == "mix" else files.peaks
    data = path.read_bytes() if row["state"] != "waiting" and path.exists() else b""
    low, high = thin_peaks(np.frombuffer(data[: len(data) // 8 * 8], "<f4").reshape(-1, 2), per_second)
    try:
        shades = files.shades.read_bytes() if of == "music" else b""
    except OSError:
        shades = b""
    shade = thin_shades(np.frombuffer(shades[: len(shades) // 4 * 4], "<f4"), per_second)
    return schemas.Peaks(per_second=per_second, min=low, max=high, shade=shade)


def loudness_so_far(studio: Studio, owner: str, take: str) -> dict[str, str]:
    """The header that says how loud all music is that is written by now, LUFS; none where that is not known."""
    found = read_loudness(studio.views.files(projects.find_take(studio.database, owner, take)).loudness)
    return {} if found is None else {"Music-Loudness": f"{found:.2f}"}


@router.get("/blocks/{n}", **sends("audio/wav", 404, 409, 410, 429, **NOT_YET))
async def read_block(
    studio: TheStudio, owner: Owner, id: schemas.Id, n: Annotated[int, PathParameter(ge=0, le=10**6)],
    wait: Annotated[float, Query(ge=0, le=20, description="Seconds to wait for it.")] = 0, of: Of = "music",
) -> Response:  # fmt: skip
    """One second of sound as a WAV file of floats, as soon as it is written.

    The header Music-Loudness says how loud the music is that is written by then, LUFS; samples may go beyond full
    scale, and the mix brings them to the asked level.
    """
    rounds = 0
    studio.watch()
    try:
        while True:
            sound, state = await run_in_threadpool(sound_of, studio, owner, id, of)
            start, stop = n * SAMPLE_RATE_OUT, min((n + 1) * SAMPLE_RATE_OUT, sound.n_samples)
            if start >= sound.n_samples:
                raise NotFoundError(f"the music ends before second {n}; ask for an earlier one.")
            if state != "waiting" and sound.n_written >= stop:
                data = await run_in_threadpool(sound.cut, start, stop)
                return Response(data, media_type="audio/wav", headers=loudness_so_far(studio, owner, id))
            if state in ("failed", "cancelled"):
                raise GoneError("this take was not finished; score again.")
            if rounds * POLL_S >= wait or studio.is_closing.is_set():
                return Response(status_code=204, headers={"Retry-After": "1"})
            rounds += 1
            for _ in range(round(POLL_S / POLL_FILE_S)):
                await asyncio.sleep(POLL_FILE_S)
                if state == "writing" and sound.n_written >= stop:
                    break
    finally:
        studio.watchers -= 1


@router.get("/audio", **sends("audio/wav", 404, 409, 410, 416, 429, statuses=(200, 206)))
async def read_audio(
    studio: TheStudio, owner: Owner, id: schemas.Id, request: Request, of: Of = "music",
    range: Annotated[str | None, Header()] = None,
) -> Response:  # fmt: skip
    """The sound as a WAV file of floats, of its final length; the bytes come as the music is written."""
    sound, state = await run_in_threadpool(sound_of, studio, owner, id, of)
    if state in ("failed", "cancelled"):
        raise GoneError("this take was not finished; score again.")
    total = sound.n_bytes
    headers = {"accept-ranges": "bytes"}
    first, last, status = 0, total - 1, 200
    if range is not None and (match := re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", range.strip())):
        if match[1]:
            first, last = int(match[1]), min(int(match[2]) if match[2] else total - 1, total - 1)
        elif match[2]:
            first = max(0, total - int(match[2]))
        if first > last:
            sentence = f"the sound has {total} bytes; ask for a range within."
            return error_response(416, sentence, {"content-range": f"bytes */{total}"})
        headers["content-range"], status = f"bytes {first}-{last}/{total}", 206
    headers["content-length"] = str(last + 1 - first)
    studio.watch()
    pieces = grow(studio, owner, id, sound, of, (first, last + 1), request)
    return StreamingResponse(pieces, status, headers, "audio/wav")


async def grow(
    studio: Studio, owner: str, take: str, sound: TakeSound, of: str, span: tuple[int, int], request: Request
) -> AsyncIterator[bytes]:
    """The bytes of a span, waiting for those that are not written yet; silence if they never will be."""
    position, end = span
    is_lost = False
    try:
        while position < end:
            written = HEADER + sound.n_written * FRAME if not is_lost else end
            stop = min(end, written, position + PIECE)
            if stop > position:
                data = b"" if is_lost else await run_in_threadpool(sound.read, position, stop)
                yield data.ljust(stop - position, b"\0")  # the declared length is kept whatever happens
                position = stop
                continue
            if studio.is_closing.is_set() or await request.is_disconnected():
                is_lost = True
                continue
            await asyncio.sleep(POLL_S)
            try:
                sound, state = await run_in_threadpool(sound_of, studio, owner, take, of)
                is_lost = state in ("failed", "cancelled")
            except NotFoundError:
                is_lost = True
    finally:
        studio.watchers -= 1


@router.get("/video", **sends(ANY_TYPE, 404, 409, 410, statuses=(200, 206)))
def read_take_video(studio: TheStudio, row: DoneTakeRow, download: bool = False) -> FileResponse:
    """The finished video; ranges are answered."""
    suffix = json.loads(row["found"])["suffix"]
    media = VIDEO_TYPES.get(suffix, "application/octet-stream")
    return send_file(studio.views.files(row).video(suffix), media, download_name(row) if download else None)


@router.get("/plan.yaml", **sends("application/yaml", 404))
def read_take_plan(row: TakeRow) -> Response:
    """The plan that the take was made to."""
    return send_text(row["plan"], "application/yaml", download_name(row, ".plan.yaml"))


@router.get("/markers.{kind}", **sends(ANY_TYPE, 404, 409, 410))
def read_markers(row: DoneTakeRow, kind: Literal["csv", "edl", "otio"]) -> Response:
    """Sections, hits and beats for editors: CSV, EDL (CMX 3600) or OpenTimelineIO."""
    music = download_name(row, ".ducked.wav")
    found = gather(read_plan(row["plan"]), json.loads(row["video"]), download_name(row), row["name"], music)
    media, write = FORMATS[kind]
    return send_text(write(found), media, download_name(row, f".markers.{kind}"))


@router.get("/joins.{kind}", **sends(ANY_TYPE, 404, 409, 410))
def read_joins(studio: TheStudio, row: DoneTakeRow, kind: Literal["edl", "otio"]) -> Response:
    """The parts of the recording that a take plays, as an edit list: EDL (CMX 3600) or OpenTimelineIO."""
    music = music_of(read_plan(row["plan"]))
    parts = read_json(studio.views.files(row).report)["composer"]["parts"]
    fps = Fraction(json.loads(row["video"])["fps"]).limit_denominator(1001)
    text = edit_text(f".{kind}", parts, music.file, fps)
    return send_text(text, FORMATS[kind][0], download_name(row, f".joins.{kind}"))


@router.get("/music-ducked.wav", **sends("audio/wav", 404, 409, 410))
def read_ducked_music(studio: TheStudio, row: DoneTakeRow) -> StreamingResponse:
    """The music at its level in the mix, lowered under speech: beside the untouched original it sounds as mixed.

    Floats, before the limiter of the finished sound. Where the original is dropped it is as loud as the finished sound.
    """
    files = studio.views.files(row)
    n_samples = math.ceil(row["duration"] * SAMPLE_RATE_OUT - 1e-3)
    name = download_name(row, ".ducked.wav").encode("ascii", "replace").decode().replace("?", "_")
    headers = {
        "content-length": str(HEADER + n_samples * FRAME),
        "content-disposition": f'attachment; filename="{name}"',
    }
    pieces = Mixed.of(read_json(files.report)).wav(files, n_samples)
    return StreamingResponse(pieces, 200, headers, "audio/wav")


def credit_of(report: dict[str, Any]) -> str:
    """A line that names what a take's music comes from, and under which licence."""
    track = report["composer"].get("track")
    if track:
        return track["attribution"] or f"Music: {track['file']}. {track['rights']}"
    model = report["model"]
    named = " ".join(str(model[name]) for name in ("name", "version") if name in model)
    licence = f" ({model['licence']})" if "licence" in model else ""
    return ", model ".join(filter(None, [f"Music: {report['generated_by']}", named])) + f"{licence}."


@router.get("/editors.zip", **sends("application/zip", 404, 409, 410))
def read_package(studio: TheStudio, row: DoneTakeRow) -> FileResponse:
    """Everything for a video editor in one ZIP: picture, original, music as mixed and dry, stems, timelines that have
    all of them on tracks (OTIO, FCPXML, XML for Premiere Pro), and markers for Resolve and as CSV."""
    files, video = studio.views.files(row), json.loads(row["video"])
    source = ProjectFolder(studio.database.folder, row["project"]).source(row["suffix"])
    if not source.exists():
        raise NotFoundError("the video of this take is gone; upload it again.")
    picture = f"{safe_stem(row['filename'])}{row['suffix'] or '.mp4'}"
    plan, recording = read_plan(row["plan"]), None
    if plan.music is not None:
        project = ProjectFolder(studio.database.folder, row["project"])
        with contextlib.suppress(ConflictError):  # one that is gone
            recording = find_recording(project, json.loads(row["options"]), plan)
    markers = gather(plan, video, picture, row["name"], None)
    n_samples = math.ceil(row["duration"] * SAMPLE_RATE_OUT - 1e-3)
    with tempfile.NamedTemporaryFile(dir=files.path, suffix=".zip", delete=False) as file:
        target = Path(file.name)
    try:
        write_package(target, files, source, markers, n_samples, credit_of(read_json(files.report)), recording)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    done = BackgroundTask(target.unlink, missing_ok=True)
    return FileResponse(target, media_type="application/zip", filename=download_name(row, ".zip"), background=done)


def offer_file(address: str, name: str, media: str, ending: str, about: str) -> None:
    """Add a route for one file of finished takes. name: in `TakeFolder`; ending: of the name it is saved under."""

    def send(studio: TheStudio, row: DoneTakeRow) -> FileResponse:
        return send_file(getattr(studio.views.files(row), name), media, download_name(row, ending))

    router.get(address, name=f"read_{name}", description=about, **sends(media, 404, 409, 410))(send)


POWERS = "Mean K-weighted power of music, original and their product in every 25 ms: the loudness of any mix of them."
offer_file("/levels.json", "levels", "application/json", ".levels.json", POWERS)
offer_file("/music.wav", "music", "audio/wav", ".wav", "The music alone at the asked loudness.")
WHOLE = "The whole report: how the take was made, and all measures."
offer_file("/report.json", "report", "application/json", ".report.json", WHOLE)
offer_file("/midi", "midi", "audio/midi", ".mid", "The notes, where the model writes notes.")
STEMS = "Each instrument alone, as WAV files in a ZIP, where the model has them."
offer_file("/stems", "stems", "application/zip", ".stems.zip", STEMS)
