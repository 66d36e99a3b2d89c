"""A running studio for tests, and what its users do."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import new_id

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0  # s; on a busy machine everything may take long, but never that long
UPLOAD = {"Content-Type": "application/offset+octet-stream"}


class RunningStudio:
    """`openvmas studio` in a process of its own. is_real: with the model, else with sines; said: what it writes to the
    terminal is kept there."""

    def __init__(
        self, folder: Path, *arguments: str, is_real: bool = False, pace: float = 0.0, level: float = 1.0,
        said: Path | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.port = folder, 0  # the system finds a free one; a studio started again keeps it
        self._arguments, self._is_real, self._said = arguments, is_real, said
        made = {"OPENVMAS_TEST_PACE": str(pace), "OPENVMAS_TEST_LEVEL": str(level), "OMP_NUM_THREADS": "1"}
        made |= {"OPENVMAS_TEST_HOME": str(folder)}
        self._environment = {**os.environ, **made}
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        module = "openvmas" if self._is_real else "tests.studio.run_studio"
        command = [sys.executable, "-m", module, "studio", "--no-browser", "--folder", str(self.folder)]
        with self._said.open("w") if self._said else contextlib.nullcontext() as said:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), *self._arguments], cwd=ROOT, env=self._environment, text=True,
                stdout=subprocess.PIPE, stderr=said, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", told)
        assert found, f"the studio ended: {told}"
        self.port = int(found[1])

    def kill(self) -> None:
        """As a crash would."""
        assert self.process is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> int:
        """As Ctrl-C would; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"{self.url}/api", headers=headers, timeout=60)


@contextlib.contextmanager
def running(folder: Path, *arguments: str, **more: Any) -> Iterator[RunningStudio]:
    studio = RunningStudio(folder, *arguments, **more)
    studio.start()
    try:
        yield studio
    finally:
        studio.stop()
        end_workers(folder)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Meanwhile the workers of this studio do not write the last second of any music."""
    folder.mkdir(exist_ok=True)
    (folder / "hold").touch()
    try:
        yield
    finally:
        (folder / "hold").unlink()


def worker_pids(folder: Path) -> list[int]:
    """Processes with a model that work on this folder, seen from outside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            words = (path.parent / "cmdline").read_bytes().split(b"\0")
            is_worker = any(word.endswith((b"queue.work:start", b"run_worker:start")) for word in words)
            if is_worker and f"OPENVMAS_TEST_HOME={folder}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def end_workers(folder: Path) -> None:
    """Nothing may outlive a test."""
    for pid in worker_pids(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What the condition gives as soon as that is something."""
    until = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.03)
    return found


def upload(client: httpx.Client, project: str, clip: Path, filename: str = "clip.mp4") -> None:
    """The whole clip in pieces."""
    data = clip.read_bytes()
    begun = client.post(f"/projects/{project}/upload", json={"filename": filename, "size": len(data)})
    assert begun.status_code in (200, 201), begun.text
    offset, step = begun.json()["offset"], begun.json()["chunk"]
    while offset < len(data):
        piece = data[offset : offset + step]
        sent = client.patch(
            f"/projects/{project}/upload", content=piece, headers={**UPLOAD, "Upload-Offset": str(offset)}
        )
        assert sent.status_code == 204, sent.text
        offset = int(sent.headers["Upload-Offset"])


def make_project(client: httpx.Client, clip: Path | None = None, name: str = "A film") -> str:
    """A new project; with a clip, one that is ready."""
    made = client.post("/projects", json={"name": name})
    assert made.status_code == 201, made.text
    project = made.json()["id"]
    if clip is not None:
        upload(client, project, clip)
        wait_ready(client, project)
    return project


def wait_ready(client: httpx.Client, project: str) -> dict[str, Any]:
    def ready() -> Any:
        found = client.get(f"/projects/{project}").json()
        assert found["state"] != "refused", found["error"]
        return found if found["state"] == "ready" else None

    return wait_for(ready)


def submit(client: httpx.Client, project: str, **job: Any) -> dict[str, Any]:
    made = client.post(f"/projects/{project}/jobs", json={"kind": "score", **job})
    assert made.status_code == 201, made.text
    return made.json()


def wait_job(client: httpx.Client, job: str, *states: str, patience: float = PATIENCE) -> dict[str, Any]:
    """The job when it is in one of the states, by default in any final one."""
    wanted = states or ("done", "failed", "cancelled", "interrupted")

    def over() -> Any:
        found = client.get(f"/jobs/{job}").json()
        if found["state"] in wanted:
            return found
        assert found["state"] in ("queued", "running"), f"{found['state']}: {found['error']}"
        return None

    return wait_for(over, patience)


def wait_writing(client: httpx.Client, job: str) -> None:
    """Until the music of its first take is being written."""
    wait_for(lambda: client.get(f"/jobs/{job}").json()["takes"][0]["state"] == "writing")


def copy_project(home: Path, project: str) -> str:
    """Another project with the same video and plan, without watching it again."""
    database, copy = Database(home), new_id()
    shutil.copytree(home / "projects" / project, home / "projects" / copy, ignore=shutil.ignore_patterns("takes"))
    with database.write() as connection:
        for table, column in (("projects", "id"), ("plans", "project")):
            rows = connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (project,)).fetchall()
            for row in rows:
                values = {**dict(row), column: copy}
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO {table}({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
    database.close()
    return copy
