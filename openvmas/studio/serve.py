"""The server process: listens, keeps its workers alive, expires old projects, opens the page."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from openvmas.errors import OutputError
from openvmas.processes.threads import share_of_cores
from openvmas.studio.api.app import create_app
from openvmas.studio.api.context import Studio
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import new_id

WORKER = (sys.executable, "-m", "openvmas.studio.queue.worker")
CHECK_S = 1.0  # between looks at the workers
EXPIRE_EVERY_S = 600.0
SHUTDOWN_S = 3.0  # that workers have to leave
RESTART_DELAY_S = 2.0  # before a worker that died at once is replaced
MAX_FALSE_STARTS = 3  # workers in a row that died before they had a model; then waiting jobs are given up
SPARE_AFTER_S = 2.0  # that music waits for videos being watched before a worker more is started
RETRY_S = 30.0  # between tries from then on
NO_WORKER = (
    "no worker can be started, so nothing can be done here; see what `openvmas studio` wrote in its terminal, "
    "mend that and start it again."
)


class Supervisor:
    """Keeps `n_workers` processes working on a folder; those that an earlier, killed server left count too."""

    def __init__(self, home: Path, n_workers: int, expire_days: float) -> None:
        self._home, self._n, self._days = home, n_workers, expire_days
        self._database = Database(home)
        self._id = new_id()
        self._children: list[subprocess.Popen[bytes]] = []
        self._spares: list[subprocess.Popen[bytes]] = []  # workers beside the others, while those watch long videos
        self._expired_at, self._starts, self._false_starts, self._tried_at = 0.0, 0, 0, 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Take over what an earlier server left, then watch in a thread."""
        jobs.record_heartbeat(self._database, self._id, "server", os.getpid())
        self._thread.start()

    def stop(self) -> None:
        """Tell the workers to leave; their jobs wait in the queue for the next start."""
        self._is_over.set()
        self._thread.join()
        self._children += self._spares
        for child in self._children:
            child.terminate()
        until = time.monotonic() + SHUTDOWN_S
        for child in self._children:
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        jobs.requeue_abandoned(self._database)
        jobs.forget_process(self._database, self._id)
        self._database.close()

    def _run(self) -> None:
        while True:
            pause = CHECK_S
            # A database that is busy for long costs one look, not the supervisor.
            with contextlib.suppress(sqlite3.OperationalError):
                pause = self._check()
            if self._is_over.wait(pause):
                return

    def _check(self) -> float:
        """Replace what is missing, requeue what dead workers left; returns how long to wait, s."""
        jobs.record_heartbeat(self._database, self._id, "server", os.getpid())
        for child in [child for child in self._children if child.poll() is not None]:
            self._children.remove(child)
            had_model = self._release(child.pid)
            self._false_starts = 0 if had_model or child.returncode == 0 else self._false_starts + 1
        unowned = set(jobs.running_pids(self._database, "worker", "starting")) - {child.pid for child in self._children}
        missing = self._n - len(self._children) - len(unowned)
        is_hopeless = self._false_starts >= MAX_FALSE_STARTS and not jobs.running_pids(self._database, "worker")
        if is_hopeless:
            jobs.fail_queued(self._database, NO_WORKER)
        if not is_hopeless or time.monotonic() - self._tried_at > RETRY_S:
            self._tried_at = time.monotonic()
            for _ in range(missing):
                self._children.append(self._spawn())
                self._starts += 1
        self._keep_spares()
        jobs.requeue_abandoned(self._database)
        if time.monotonic() - self._expired_at > EXPIRE_EVERY_S or not self._expired_at:
            projects.expire(self._database, self._days)
            self._expired_at = time.monotonic()
        return RESTART_DELAY_S if missing > 0 and self._starts > self._n and not is_hopeless else CHECK_S

    def _release(self, pid: int) -> bool:
        """Requeue at once the job of a worker that has ended; returns whether it ever had a model."""
        rows = self._database.rows("SELECT id, kind FROM processes WHERE kind <> 'server' AND pid = ?", (pid,))
        for row in rows:
            jobs.requeue_abandoned(self._database, row["id"])
            jobs.forget_process(self._database, row["id"])
        return any(row["kind"] == "worker" for row in rows)

    def _keep_spares(self) -> None:
        """Start a worker more where music waits for workers that all watch videos; it leaves by itself."""
        for child in [child for child in self._spares if child.poll() is not None]:
            self._spares.remove(child)
            self._release(child.pid)
        if len(self._spares) < self._n and jobs.is_kept_waiting(self._database, SPARE_AFTER_S):
            self._spares.append(self._spawn(jobs.SPARE))

    def _spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal is for the server, which then tells the workers.
        return subprocess.Popen(
            (*WORKER, str(self._home), *arguments),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            env=share_of_cores(self._n),
        )  # fmt: skip


def listen(options: StudioOptions) -> socket.socket:
    """A socket at the asked address. Raises OutputError where that cannot be."""
    try:
        found = socket.getaddrinfo(options.host.strip("[]"), options.port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(found[0], socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(found[4])
    except OSError as error:
        raise OutputError(
            f"{options.host}:{options.port} cannot be listened on ({error.strerror or error}); "
            "choose another with --host and --port."
        ) from error
    return made


def address(options: StudioOptions, sock: socket.socket) -> str:
    """The address to open in a browser; the token stands behind #, which browsers do not send to anybody."""
    port = sock.getsockname()[1]
    host = options.host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}/" + (f"#token={options.token[0]}" if options.token else "")


class Server(uvicorn.Server):
    """Ends its streams as soon as it is told to stop, instead of waiting for them and then breaking them off."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self._studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._studio.is_closing.set()
        # A download that is broken off now is no fault that anybody could mend.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        super().handle_exit(sig, frame)


def serve(options: StudioOptions, echo: Callable[[str], None]) -> None:
    """Run until interrupted. echo: called with the address, once it answers. Raises OutputError, InputError."""
    sock = listen(options)
    studio = Studio(options)
    app = create_app(studio)
    url = address(options, sock)
    supervisor = Supervisor(options.home, options.jobs, options.expire_days)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2,
        timeout_keep_alive=10, h11_max_incomplete_event_size=32_768, backlog=512, proxy_headers=False, lifespan="on",
    )  # fmt: skip
    server = Server(config, studio)

    def announce() -> None:
        while not server.started:
            time.sleep(0.05)
            if server.should_exit:
                return
        echo(url)
        if not options.no_browser:
            webbrowser.open(url)

    supervisor.start()
    threading.Thread(target=announce, daemon=True).start()
    try:
        server.run(sockets=[sock])
    except KeyboardInterrupt:  # uvicorn hands the signal on after it has closed everything
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        supervisor.stop()
