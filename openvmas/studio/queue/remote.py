"""Jobs as tasks of a Ray cluster: media and takes go through shared storage, news and growing music come as a stream.

The database stays beside the one server, which alone writes it. A node keeps nothing: what it lost was an attempt, and
the job waits again. Files lie in the storage under the hash of their content, while jobs of their project run.
"""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openvmas.batch import places
from openvmas.files import write_bytes
from openvmas.pretrained import hash_file
from openvmas.processes.cluster import last_line
from openvmas.processes.limited import FAULT, STOPPED, Failure
from openvmas.studio.queue import lanes
from openvmas.studio.queue.work import JobRequest, Tell, Watcher
from openvmas.studio.storage.folders import TakeFolder

News = tuple[str, Any]  # kind and value: "grown", "whole", "files", "message", "answer"
LOOK_S = 0.1  # between looks for music that has been written
MAX_MESSAGE = 4 << 20  # bytes of growing music that are sent at once
MANY = 1_000  # processes among which a node's cores are shared: each has one
# In this order, so that whoever hears a block knows how loud it is.
GROWING = tuple(getattr(TakeFolder(Path()), name).name for name in ("loudness", "wave", "peaks", "shades"))
SHOWN = ("analysis.part.json", "filmstrip.jpg")  # that the page shows while they change


@dataclass(frozen=True)
class SharedFolder:
    """A project's files in the storage that server and nodes see. address: of fsspec, or a path."""

    address: str

    def push(self, home: Path, names: list[str], known: Mapping[str, str]) -> dict[str, str]:
        """Put files there that are not; returns the hash of each whose content is not the one that is known."""
        found: dict[str, str] = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # of another job of the project, which has removed it
                digest, size = hash_file(home / name), (home / name).stat().st_size
                if known.get(name) == digest:
                    continue
                place = places.join(self.address, digest)
                if places.n_bytes(place) != size:
                    places.put(home / name, place, is_kept=True)
                found[name] = digest
        return found

    def pull(self, home: Path, files: Mapping[str, str]) -> None:
        """Bring files from there to where they belong below `home`, each whole or not at all."""
        with tempfile.TemporaryDirectory(prefix=".openvmas-", dir=home) as scratch:
            for name, digest in files.items():
                found = places.fetch(places.join(self.address, digest), Path(scratch))
                places.put(found, str(home / name), is_kept=found.parent != Path(scratch))


def names_below(home: Path, folder: Path) -> list[str]:
    """All files in a folder, by their path below `home`, but for hidden ones."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [path.relative_to(home).as_posix() for path in found]


def needed(request: JobRequest) -> list[str]:
    """The files that a job reads: the project's own, and those of takes that others start from."""
    home, project = request.home, request.folder.path
    own = [name for name in names_below(home, project) if not name.startswith(f"projects/{project.name}/takes/")]
    parents = [request.folder.take(row["id"], row["attempt"]).path for row in request.parents.values()]
    return own + [name for folder in parents for name in names_below(home, folder)]


class Growth:
    """News of what has been written into a project's folder since the last look."""

    def __init__(self, home: Path, project: Path) -> None:
        self._home, self._project = home, project
        self._sent: dict[str, int] = {}

    def news(self) -> Iterator[News]:
        """New bytes of growing music, and pictures and analyses that have changed."""
        found = [path for name in GROWING for path in self._project.glob(f"takes/*/*/{name}")]
        for path in found:
            name, offset = path.relative_to(self._home).as_posix(), self._sent.get(str(path), 0)
            with path.open("rb") as file:
                file.seek(offset)
                while data := file.read(MAX_MESSAGE):
                    yield "grown", (name, offset, data)
                    offset += len(data)
            self._sent[str(path)] = offset
        for path in (self._project / name for name in SHOWN):
            with contextlib.suppress(FileNotFoundError):
                changed = path.stat().st_mtime_ns
                if self._sent.get(str(path)) != changed:
                    self._sent[str(path)] = changed
                    yield "whole", (path.relative_to(self._home).as_posix(), path.read_bytes())

    def skip(self, names: Mapping[str, str]) -> None:
        """Files that came from the storage are no news."""
        for path in (self._home / name for name in names):
            stat = path.stat()
            self._sent[str(path)] = stat.st_mtime_ns if path.name in SHOWN else stat.st_size


_RUNNERS: dict[Any, lanes.ProcessRunner] = {}  # of this worker of the cluster: one, which keeps its models


def do_remote(request: JobRequest, address: str, files: dict[str, str], start: Any) -> Iterator[News]:
    """On a node: a job, as a stream of news whose last is its answer. start: what the process with the models runs."""
    with tempfile.TemporaryDirectory(prefix="openvmas-studio-") as scratch:
        home, shared = Path(scratch), SharedFolder(address)
        request = replace(request, home=home)
        request.folder.path.mkdir(parents=True)
        shared.pull(home, files)
        growth, news = Growth(home, request.folder.path), queue.SimpleQueue[News]()
        growth.skip(files)
        runner = runner_for(request, start)

        def work() -> None:
            news.put(("answer", runner.run(request, lambda message: news.put(("message", message)))))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while True:
                latest: News | None = None
                with contextlib.suppress(queue.Empty):
                    latest = news.get(timeout=LOOK_S)
                yield from growth.news()
                if latest is None:
                    continue
                if latest[0] == "answer" or latest[1].get("state") == "done":
                    names = [n for n in names_below(home, request.folder.path) if Path(n).name not in GROWING]
                    made = shared.push(home, names, files)
                    yield "files", made
                    files |= made
                yield latest
                if latest[0] == "answer":
                    return
        finally:
            if thread.is_alive():
                runner.interrupt()
                thread.join()


def runner_for(request: JobRequest, start: Any) -> lanes.Runner:
    """The process of this node that does a job."""
    if request.kind == "analyze":
        return Watcher()
    if start not in _RUNNERS:
        lanes.start = start
        _RUNNERS[start] = lanes.ProcessRunner(MANY)
    return _RUNNERS[start]


class SharedStorage:
    """Folders of projects in the storage, each there while jobs of it run."""

    def __init__(self, address: str) -> None:
        self._address, self._lock, self._users = address, threading.Lock(), dict[str, int]()
        places.remove_folder(address)  # what a server that was killed has left

    @contextlib.contextmanager
    def folder(self, project: str) -> Iterator[SharedFolder]:
        """The folder of a project, for one job."""
        shared = SharedFolder(places.join(self._address, project))
        with self._lock:
            self._users[project] = self._users.get(project, 0) + 1
        try:
            yield shared
        finally:
            with self._lock:
                self._users[project] -= 1
                if not self._users[project]:
                    places.remove_folder(shared.address)


class ClusterRunner:
    """Hands the jobs of one lane to a cluster (`lanes.Runner`)."""

    def __init__(self, ray: Any, storage: SharedStorage) -> None:
        self._ray, self._storage = ray, storage
        self._task = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(do_remote)
        self._stream: Any = None
        self._is_stopped = False

    def run(self, request: JobRequest, tell: Tell) -> Any:
        """See Runner. What a node takes along when it dies is a Failure that the job is not blamed for."""
        self._is_stopped = False
        errors = self._ray.exceptions
        with self._storage.folder(request.project["id"]) as shared:
            files = shared.push(request.home, needed(request), {})
            self._stream = self._task.remote(request, shared.address, files, lanes.start)
            try:
                for reference in self._stream:
                    if self._is_stopped:
                        break
                    kind, value = self._ray.get(reference)
                    if kind == "answer":
                        return value
                    receive(request, shared, kind, value, tell)
            except errors.TaskCancelledError:
                return Failure("it was stopped.", STOPPED)
            except errors.RayTaskError as error:
                return Failure(last_line(str(error)), FAULT, str(error))
            except errors.RayError as error:
                return Failure(f"a node was lost ({type(error).__name__}).", lanes.NODE_LOST)
            finally:
                self._stream = None
        return Failure("it was stopped.", STOPPED)

    def interrupt(self) -> None:
        """See Runner."""
        self._is_stopped = True
        if self._stream is not None:
            self._ray.cancel(self._stream)

    def close(self) -> None:
        """See Runner; the cluster is not ours to end."""


def receive(request: JobRequest, shared: SharedFolder, kind: str, value: Any, tell: Tell) -> None:
    """On the server: keep what a node has sent, or pass its message on."""
    if kind == "message":
        tell(value)
    elif kind == "files":
        shared.pull(request.home, value)
    elif kind == "whole":
        name, data = value
        write_bytes(request.home / name, data)
    else:
        name, offset, data = value
        path = request.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(offset)
            file.write(data)
