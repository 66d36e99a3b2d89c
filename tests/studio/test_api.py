"""The OpenAPI description against the server: what is described is what happens, whatever is sent."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from openvmas.media.audio import write_wav
from openvmas.planning.music_edit import MusicEdit, MusicJoin
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.planner import make_plan
from openvmas.settings import PlanOptions
from openvmas.studio.api.app import create_app
from openvmas.studio.api.context import MAX_WATCHERS, Studio
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs
from openvmas.studio.serve import listen
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.storage.sounds import FACTS, folder_of
from openvmas.studio.storage.take_sound import SoundWriter
from openvmas.studio.tasks.inspect import CURVES_RATE
from tests.fitting.made import make_song
from tests.planning.made import make_analysis
from tests.studio.kit import wait_for

pytestmark = pytest.mark.slow

SENT: list[str] = []  # requests and their answers, for the message
KNOWN: dict[str, str] = {}  # ids that are there, by what they are of


def finish_take(database: Database, take: str, seconds: int = 6) -> None:
    """Give a take the files that a worker would have made."""
    row = database.row("SELECT project, job FROM takes WHERE id = ?", (take,))
    assert row is not None
    files = ProjectFolder(database.folder, row["project"]).take(take, 0)
    writer = SoundWriter(files)
    wave = np.full((2, seconds * 48_000), 0.1, np.float32)
    writer.write(wave)
    writer.close()
    write_wav(files.mixed, wave, 48_000)
    write_wav(files.music, wave, 48_000)
    files.mixed_peaks.write_bytes(files.peaks.read_bytes())
    files.video(".mp4").write_bytes(bytes(100))
    names = ("loudness_lufs", "true_peak", "is_loud_enough", "music_lufs", "original_lufs", "ducked")
    gains = {"has_original": True, "music_gain_db": -3.0, "master_gain_db": 1.0}
    mix = dict.fromkeys(names, 0.0) | {"ducked": [[1.0, 2.0]]} | gains
    report = {"mix": mix, "composer": {}, "duration": 6.0, "measured": {}, "seconds": {}, "model": {}, "options": {}}
    report["generated_by"] = "OpenVMAS"
    files.report.write_text(json.dumps(report))
    with database.write() as connection:
        found = json.dumps({"loudness_lufs": -14.0, "sync_z": 2.0, "suffix": ".mp4"})
        connection.execute("UPDATE takes SET state = 'done', found = ? WHERE id = ?", (found, take))
        connection.execute("UPDATE jobs SET state = 'done', finished = 1 WHERE id = ?", (row["job"],))


def play_recording(database: Database, take: str, project: str) -> None:
    """Let a finished take play a recording of its project."""
    folder = folder_of(ProjectFolder(database.folder, project), "ab" * 16)
    folder.path.mkdir(parents=True)
    make_song(8, 120).save(folder.wave("song.wav"))
    facts = dict.fromkeys(("title", "artist", "licence", "source", "attribution"), "") | {"id": "ab" * 16}
    (folder.path / FACTS).write_text(json.dumps(facts | {"filename": "song.wav", "duration": 18.0, "peaks": [1.0]}))
    row = database.row("SELECT plan FROM takes WHERE id = ?", (take,))
    assert row is not None
    music = MusicEdit("song.wav", joins=(MusicJoin(2.0, 4.0, 12.0),))
    with database.write() as connection:
        connection.execute(
            "UPDATE takes SET plan = ?, options = ?, model = 'recording' WHERE id = ?",
            (write_plan(replace(read_plan(row["plan"]), music=music)), json.dumps({"music": "ab" * 16}), take),
        )
    files = ProjectFolder(database.folder, project).take(take, 0)
    report = json.loads(files.report.read_text())
    part = {"start": 0.0, "end": 6.0, "source_start": 0.0, "source_end": 6.0, "rate": 1.0}
    report["composer"] = {
        "parts": [part],
        "hits": [],
        "missed": [],
        "track": {"attribution": "", "file": "", "rights": ""},
    }
    files.report.write_text(json.dumps(report))


def make_ready_project(database: Database) -> str:
    """A project that has been watched, without a video: 6 s with two cuts."""
    analysis = make_analysis(6, cuts=(2.0, 4.0), beats=(1.0, 2.0, 4.0))
    project = projects.create(database, "local", "ready")
    folder = ProjectFolder(database.folder, project)
    analysis.save(folder.analysis)
    folder.filmstrip.write_bytes(b"\xff\xd8\xff\xd9")
    folder.source(".mp4").write_bytes(bytes(1000))
    curves: dict[str, Any] = {name: [0.5] * 6 * CURVES_RATE for name in ("energy", "motion", "novelty")}
    folder.summary.write_text(json.dumps({
        "duration": 6.0, "fps": 25.0, "n_frames": 150, "shots": [{"start": 0, "end": 6, "is_gradual": False}],
        "cuts": [2.0, 4.0], "flashes": [], "visual_beats": [1.0, 2.0, 4.0], "visual_beat_strengths": [0.7] * 3,
        "camera_share": 0.0, "is_static": False, "curves_rate": 10, "speech": None, **curves,
    }))  # fmt: skip
    video = {
        "filename": "clip.mp4", "duration": 6.0, "fps": 25.0, "frame_interval": 0.04, "n_frames": 150, "width": 160,
        "height": 96, "codec": "h264", "container": "mov,mp4", "has_audio": False, "is_playable": True,
        "filmstrip": {"n": 8, "ready": 8, "columns": 10, "width": 150, "height": 90},
    }  # fmt: skip
    plan = make_plan(analysis, PlanOptions())
    assert plan.duration == Fraction(6)
    with database.write() as connection:
        connection.execute("INSERT INTO plans VALUES (?, 1, 0, 'planned', ?)", (project, write_plan(plan)))
        connection.execute(
            "UPDATE projects SET state = 'ready', plan_version = 1, filename = 'clip.mp4', size = 1000, "
            "suffix = '.mp4', video = ? WHERE id = ?",
            (json.dumps(video), project),
        )
    return project


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The application in a thread, without workers. `KNOWN` is filled."""
    options = StudioOptions.of(folder=str(tmp_path_factory.mktemp("api") / "home"), port=0)
    sock = listen(options)
    options = replace(options, port=sock.getsockname()[1])
    studio = Studio(options)
    app = create_app(studio)
    running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=running.run, args=([sock],))
    thread.start()
    wait_for(lambda: running.started)
    database = Database(options.home)
    KNOWN["project"] = make_ready_project(database)
    with httpx.Client(base_url=f"http://127.0.0.1:{options.port}/api") as client:
        made = client.post(f"/projects/{KNOWN['project']}/jobs", json={"kind": "score"}).json()
    KNOWN["job"], KNOWN["take"] = made["id"], made["takes"][0]["id"]
    finish_take(database, KNOWN["take"])
    play_recording(database, KNOWN["take"], KNOWN["project"])
    yield studio
    running.should_exit = True
    thread.join(120)
    database.close()


@pytest.fixture(scope="module")
def api(server: Studio) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server.options.port}/api/openapi.json", timeout=60)


@schemathesis.serializer("application/offset+octet-stream")
def as_bytes(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else getattr(value, "data", str(value).encode())


# What makes no sense as a whole (sections that overlap, a redo without its take) or is too large for this server no
# schema can say: 422 and 413.
WHOLE = {
    "PUT /api/projects/{id}/plan", "POST /api/projects/{id}/plan/suggest", "POST /api/projects/{id}/jobs",
    "POST /api/projects/{id}/upload", "POST /api/projects/{id}/sounds", "POST /api/takes/{id}/arrangement",
}  # fmt: skip


def send(case: Case) -> None:
    """Half of the valid requests go to things that are there."""
    kind = next((name for name in KNOWN if f"/{name}s/{{id}}" in case.path), None)
    is_valid = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    is_lucky = len(json.dumps(case.path_parameters or {}, default=str) + str(case.query)) % 2 == 0
    if kind and case.method != "DELETE" and is_valid and is_lucky:
        case.path_parameters["id"] = KNOWN[kind]
    excluded = [positive_data_acceptance] if case.operation.label in WHOLE else []
    answer = case.call(timeout=60)
    SENT.append(f"{case.method} {case.path_parameters} {case.query} {case.body!r:.300} -> {answer.content[:300]!r}")
    case.validate_response(answer, excluded_checks=excluded)


def test_the_description_is_kept_whatever_is_sent(api: Any) -> None:
    """schemathesis: valid and invalid requests to every path; its checks of status, form, types and refusals."""
    failures, n_operations = [], 0
    for found in api.get_all_operations():
        operation = found.ok()
        n_operations += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            # An operation without parameters and body cannot be asked wrongly.
            with contextlib.suppress(Unsatisfiable):
                strategy = operation.as_strategy(generation_mode=mode)
                quick = settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
                try:
                    quick(given(case=strategy)(send))()
                except (FailureGroup, Failure, AssertionError) as error:
                    parts = getattr(error, "exceptions", [error])
                    failures += [f"{operation.label} ({mode.value}): {part!s:.800}\n{SENT[-1]}" for part in parts]
    assert n_operations > 35
    assert not failures, "\n\n".join(failures)


def test_too_much_is_refused(server: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.options.port}/api", timeout=60) as client:
        path = f"/projects/{KNOWN['project']}/jobs"
        answers = [client.post(path, json={"kind": "score"}).status_code for _ in range(jobs.MAX_WAITING + 1)]
        assert answers[-1] == 429
        monkeypatch.setattr(projects, "MAX_PROJECTS", 0)
        assert client.post("/projects", json={"name": "one more"}).status_code == 429
        monkeypatch.setattr(server, "watchers", MAX_WATCHERS)
        assert client.get(f"/jobs/{KNOWN['job']}/events").status_code == 429
        assert client.get(f"/takes/{KNOWN['take']}/blocks/0").status_code == 429


def test_a_watcher_is_told_that_nothing_changes_and_is_let_go(server: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream on a finished job ends by itself, and no stream is left counted."""
    base = f"http://127.0.0.1:{server.options.port}/api"
    with httpx.stream("GET", f"{base}/jobs/{KNOWN['job']}/events", timeout=120) as stream:
        text = "".join(stream.iter_text())
    assert text.startswith("event: job\ndata: {") and text.count("event:") == 1
    assert wait_for(lambda: server.watchers == 0)


def test_what_has_been_seen_is_told_while_the_video_is_watched(server: Studio) -> None:
    """Each time that more is known, and never twice; what an earlier attempt left is not told once the job is over."""
    database = server.database
    project = projects.create(database, "local", "watched")
    with database.write() as connection:
        job = jobs.submit(connection, project, "analyze", {}, {})
        # As if a worker had it, before those that wait.
        connection.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job,))
    path = ProjectFolder(database.folder, project).partial_analysis
    told: list[tuple[str, float]] = []
    url = f"http://127.0.0.1:{server.options.port}/api/jobs/{job}/events"
    with httpx.stream("GET", url, timeout=120) as stream:
        name, until = "", 2.0
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found = json.loads(line[6:])
                told.append((name, found.get("until", 0.0)))
                if until > 6:
                    with database.write() as connection:
                        connection.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))
                else:
                    hidden = path.with_suffix(".tmp")
                    hidden.write_text(json.dumps({"until": until}))
                    hidden.replace(path)
                    until += 2
    assert told == [("job", 0.0), ("analysis", 2.0), ("analysis", 4.0), ("analysis", 6.0), ("job", 0.0)]
