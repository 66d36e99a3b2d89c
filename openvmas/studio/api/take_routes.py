"""Takes: their sound while it is being written, what was measured, and everything that can be downloaded."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from openvmas.planning.plan_yaml import read_plan
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.api import schemas
from openvmas.studio.api.context import GoneError, Owner, Studio, TheStudio, body_of, errors, send_file
from openvmas.studio.api.plan_routes import attachment
from openvmas.studio.api.project_routes import ANY, MEDIA
from openvmas.studio.api.views import download_name, read_json
from openvmas.studio.storage import projects
from openvmas.studio.storage.markers import FORMATS, gather
from openvmas.studio.storage.projects import ConflictError, NotFoundError
from openvmas.studio.tasks.preview_sound import FRAME, HEADER, WAV_HEADER, n_written, thin_peaks, wav_bytes

LOOK = 0.05  # s between looks at music that is being written
GLANCE = 0.01  # and at the length of its file alone
PIECE = SAMPLE_RATE_OUT * FRAME  # bytes that are read at once
Of = Annotated[Literal["music", "mix"], Query(description="The music alone, or the finished sound.")]

NOT_YET: dict[int | str, dict[str, Any]] = {204: {"description": "Not written yet."}}

router = APIRouter(prefix="/api/takes/{id}")


def find(studio: Studio, owner: str, take: str) -> dict[str, Any]:
    return projects.find_take(studio.database, owner, take)


def find_done(studio: Studio, owner: str, take: str) -> dict[str, Any]:
    """Raises ConflictError while the take is being made, GoneError if it never will be."""
    row = find(studio, owner, take)
    if row["state"] in ("failed", "cancelled"):
        raise GoneError("this take was not finished; score again.")
    if row["state"] != "done":
        raise ConflictError("this take is being made; wait for its job.")
    return row


@router.get("", responses=errors(404), operation_id="readTake")
def read(studio: TheStudio, owner: Owner, id: schemas.Id) -> schemas.TakeWithReport:
    """A take, and when it is finished what was measured."""
    row = find(studio, owner, id)
    report = None
    if row["state"] == "done":
        report = shorten(read_json(studio.views.files(row).report))
    return schemas.TakeWithReport(**studio.views.take(row), report=report)


def shorten(report: dict[str, Any]) -> dict[str, Any]:
    """Of the whole report what the page shows."""
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
    }


@router.patch("", responses=errors(404), operation_id="changeTake")
def change(studio: TheStudio, owner: Owner, id: schemas.Id, sent: schemas.TakeChange) -> schemas.Take:
    """Give a take another name."""
    find(studio, owner, id)
    projects.change(studio.database, "takes", id, name=sent.name)
    return schemas.Take(**studio.views.take(find(studio, owner, id)))


@router.delete("", status_code=204, responses=errors(404, 409), operation_id="deleteTake")
def delete(studio: TheStudio, owner: Owner, id: schemas.Id) -> None:
    """Delete a take and its files."""
    projects.remove_take(studio.database, find(studio, owner, id))


@dataclass(frozen=True)
class Sound:
    """Where the samples of a take lie. n_samples: in the end; offset: bytes of a header before them."""

    path: Path
    offset: int
    n_samples: int

    @property
    def n_written(self) -> int:
        return min(n_written(self.path), self.n_samples) if self.offset == 0 else self.n_samples

    @property
    def n_bytes(self) -> int:
        """Of the 16-bit WAV file."""
        return HEADER + self.n_samples * FRAME


def sound_of(studio: Studio, owner: str, take: str, of: str) -> tuple[Sound, str]:
    """The sound and the take's state."""
    row = find_done(studio, owner, take) if of == "mix" else find(studio, owner, take)
    files, n_samples = studio.views.files(row), math.ceil(row["duration"] * SAMPLE_RATE_OUT - 1e-3)
    sound = Sound(files.mixed, WAV_HEADER, n_samples) if of == "mix" else Sound(files.wave, 0, n_samples)
    return sound, row["state"]


@router.get("/peaks", responses=errors(404, 409, 410), operation_id="readPeaks")
def peaks(
    studio: TheStudio, owner: Owner, id: schemas.Id,
    per_second: Annotated[int, Query(ge=1, le=100)] = 20, of: Of = "music",
) -> schemas.Peaks:  # fmt: skip
    """Lowest and highest sample of each stretch, for a waveform."""
    row = find_done(studio, owner, id) if of == "mix" else find(studio, owner, id)
    files = studio.views.files(row)
    path = files.mixed_peaks if of == "mix" else files.peaks
    data = path.read_bytes() if row["state"] != "waiting" and path.exists() else b""
    low, high = thin_peaks(np.frombuffer(data[: len(data) // 8 * 8], "<f4").reshape(-1, 2), per_second)
    return schemas.Peaks(per_second=per_second, min=low, max=high)


@router.get("/blocks/{n}", response_class=Response, operation_id="readBlock",
            responses={**errors(404, 409, 410, 429), **body_of("audio/wav"), **NOT_YET})  # fmt: skip
async def block(
    studio: TheStudio, owner: Owner, id: schemas.Id, n: Annotated[int, PathParameter(ge=0, le=10**6)],
    wait: Annotated[float, Query(ge=0, le=20, description="Seconds to wait for it.")] = 0, of: Of = "music",
) -> Response:  # fmt: skip
    """One second of sound as a WAV file, as soon as it is written."""
    rounds = 0
    studio.watch()
    try:
        while True:
            sound, state = await run_in_threadpool(sound_of, studio, owner, id, of)
            start, stop = n * SAMPLE_RATE_OUT, min((n + 1) * SAMPLE_RATE_OUT, sound.n_samples)
            if start >= sound.n_samples:
                raise NotFoundError(f"the music ends before second {n}; ask for an earlier one.")
            if state != "waiting" and sound.n_written >= stop:
                data = await run_in_threadpool(second, sound, start, stop)
                return Response(data, media_type="audio/wav")
            if state in ("failed", "cancelled"):
                raise GoneError("this take was not finished; score again.")
            if rounds * LOOK >= wait or studio.is_closing.is_set():
                return Response(status_code=204, headers={"Retry-After": "1"})
            rounds += 1
            for _ in range(round(LOOK / GLANCE)):
                await asyncio.sleep(GLANCE)
                if state == "writing" and sound.n_written >= stop:
                    break
    finally:
        studio.watchers -= 1


def second(sound: Sound, start: int, stop: int) -> bytes:
    """A WAV file of samples start .. stop-1."""
    whole = wav_bytes(sound.path, stop - start, 0, HEADER)
    return whole + wav_bytes(sound.path, sound.n_samples, HEADER + start * FRAME, HEADER + stop * FRAME, sound.offset)


@router.get("/audio", response_class=StreamingResponse, operation_id="readAudio",
            responses={**errors(404, 409, 410, 416, 429), **body_of("audio/wav", 200, 206)})  # fmt: skip
async def audio(
    studio: TheStudio, owner: Owner, id: schemas.Id, request: Request, of: Of = "music",
    range: Annotated[str | None, Header()] = None,
) -> Response:  # fmt: skip
    """The sound as a WAV file of its final length; the bytes come as the music is written."""
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
            text = json.dumps({"error": f"the sound has {total} bytes; ask for a range within."})
            return Response(text, 416, {"content-range": f"bytes */{total}"}, "application/json")
        headers["content-range"], status = f"bytes {first}-{last}/{total}", 206
    headers["content-length"] = str(last + 1 - first)
    studio.watch()
    pieces = grow(studio, owner, id, sound, of, (first, last + 1), request)
    return StreamingResponse(pieces, status, headers, "audio/wav")


async def grow(
    studio: Studio, owner: str, take: str, sound: Sound, of: str, span: tuple[int, int], request: Request
) -> AsyncIterator[bytes]:
    """The bytes of a span, waiting for those that are not written yet; silence if they never will be."""
    position, end = span
    is_lost = False
    try:
        while position < end:
            written = HEADER + sound.n_written * FRAME if not is_lost else end
            stop = min(end, written, position + PIECE)
            if stop > position:
                data = await run_in_threadpool(
                    wav_bytes, sound.path, sound.n_samples, position, stop, sound.offset
                ) if not is_lost else b""  # fmt: skip
                yield data.ljust(stop - position, b"\0")  # the declared length is kept whatever happens
                position = stop
                continue
            if studio.is_closing.is_set() or await request.is_disconnected():
                is_lost = True
                continue
            await asyncio.sleep(LOOK)
            try:
                sound, state = await run_in_threadpool(sound_of, studio, owner, take, of)
                is_lost = state in ("failed", "cancelled")
            except NotFoundError:
                is_lost = True
    finally:
        studio.watchers -= 1


@router.get("/video", response_class=FileResponse, responses={**errors(404, 409, 410), **body_of(ANY, 200, 206)},
            operation_id="readTakeVideo")  # fmt: skip
def video(studio: TheStudio, owner: Owner, id: schemas.Id, download: bool = False) -> FileResponse:
    """The finished video; ranges are answered."""
    row = find_done(studio, owner, id)
    suffix = json.loads(row["found"])["suffix"]
    media = MEDIA.get(suffix, "application/octet-stream")
    return send_file(studio.views.files(row).video(suffix), media, download_name(row) if download else None)


@router.get("/music.wav", response_class=FileResponse, responses={**errors(404, 409, 410), **body_of("audio/wav")},
            operation_id="readMusic")  # fmt: skip
def music(studio: TheStudio, owner: Owner, id: schemas.Id) -> FileResponse:
    """The music alone at the asked loudness."""
    row = find_done(studio, owner, id)
    return send_file(studio.views.files(row).music, "audio/wav", download_name(row, ".wav"))


@router.get("/plan.yaml", response_class=Response, operation_id="readTakePlan",
            responses={**errors(404), **body_of("application/yaml")})  # fmt: skip
def plan(studio: TheStudio, owner: Owner, id: schemas.Id) -> Response:
    """The plan that the take was made to."""
    row = find(studio, owner, id)
    return attachment(row["plan"], "application/yaml", download_name(row, ".plan.yaml"))


@router.get("/report.json", response_class=FileResponse, operation_id="readReport",
            responses={**errors(404, 409, 410), **body_of("application/json")})  # fmt: skip
def report(studio: TheStudio, owner: Owner, id: schemas.Id) -> FileResponse:
    """How the take was made and what was measured, in full."""
    row = find_done(studio, owner, id)
    return send_file(studio.views.files(row).report, "application/json", download_name(row, ".report.json"))


@router.get("/markers.{kind}", response_class=Response, responses={**errors(404, 409, 410), **body_of(ANY)},
            operation_id="readMarkers")  # fmt: skip
def markers(studio: TheStudio, owner: Owner, id: schemas.Id, kind: Literal["csv", "edl", "otio"]) -> Response:
    """Sections, hits and beats for editors: CSV, EDL (CMX 3600) or OpenTimelineIO."""
    row = find_done(studio, owner, id)
    found = gather(read_plan(row["plan"]), json.loads(row["video"]), download_name(row), row["name"])
    media, write = FORMATS[kind]
    return attachment(write(found), media, download_name(row, f".markers.{kind}"))


@router.get("/midi", response_class=FileResponse, responses={**errors(404, 409, 410), **body_of("audio/midi")},
            operation_id="readMidi")  # fmt: skip
def midi(studio: TheStudio, owner: Owner, id: schemas.Id) -> FileResponse:
    """The notes, where the model writes notes."""
    row = find_done(studio, owner, id)
    return send_file(studio.views.files(row).midi, "audio/midi", download_name(row, ".mid"))


@router.get("/stems", response_class=FileResponse, responses={**errors(404, 409, 410), **body_of("application/zip")},
            operation_id="readStems")  # fmt: skip
def stems(studio: TheStudio, owner: Owner, id: schemas.Id) -> FileResponse:
    """Each instrument alone, as WAV files in a ZIP, where the model has them."""
    row = find_done(studio, owner, id)
    return send_file(studio.views.files(row).stems, "application/zip", download_name(row, ".stems.zip"))
