"""The server process: listens, keeps its workers alive, expires old projects, opens the page."""

from __future__ import annotations

import contextlib
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

import uvicorn

from openvmas.errors import OutputError
from openvmas.web import jobs, projects
from openvmas.web.app import create_app
from openvmas.web.database import Database
from openvmas.web.folders import new_id
from openvmas.web.settings import StudioOptions

WORKER = (sys.executable, "-m", "openvmas.web.worker")
BEAT = 1.0  # s between looks at the workers
EXPIRE_EVERY = 600.0  # s
FAREWELL = 3.0  # s that workers have to leave
CALM = 2.0  # s before a worker that died at once is replaced


class Supervisor:
    """Keeps `n_workers` processes working on a folder: those that an earlier, killed server left count too."""

    def __init__(self, home: Path, n_workers: int, expire_days: float) -> None:
        self._home, self._n, self._days = home, n_workers, expire_days
        self._database = Database(home)
        self._id = new_id()
        self._children: list[subprocess.Popen[bytes]] = []
        self._expired, self._starts = 0.0, 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Take over what an earlier server left, then watch in a thread."""
        jobs.say_alive(self._database, self._id, "server", os.getpid())
        self._thread.start()

    def stop(self) -> None:
        """Tell the workers to leave; their jobs wait in the queue for the next start."""
        self._is_over.set()
        self._thread.join()
        for child in self._children:
            child.terminate()
        until = time.monotonic() + FAREWELL
        for child in self._children:
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        jobs.sweep(self._database)
        jobs.say_gone(self._database, self._id)
        self._database.close()

    def _run(self) -> None:
        while True:
            pause = BEAT
            # A database that is busy for long costs one look, not the supervisor.
            with contextlib.suppress(sqlite3.OperationalError):
                pause = self._look()
            if self._is_over.wait(pause):
                return

    def _look(self) -> float:
        """Replace what is missing, requeue what dead workers left; returns how long to wait, s."""
        jobs.say_alive(self._database, self._id, "server", os.getpid())
        for child in [child for child in self._children if child.poll() is not None]:
            self._children.remove(child)
            self._release(child.pid)
        strangers = set(self._pids()) - {child.pid for child in self._children}
        missing = self._n - len(self._children) - len(strangers)
        for _ in range(missing):
            self._children.append(self._spawn())
            self._starts += 1
        jobs.sweep(self._database)
        if time.monotonic() - self._expired > EXPIRE_EVERY or not self._expired:
            projects.expire(self._database, self._days)
            self._expired = time.monotonic()
        return CALM if missing > 0 and self._starts > self._n else BEAT

    def _pids(self) -> list[int]:
        alive = jobs.alive(self._database, "worker")
        rows = self._database.rows("SELECT id, pid FROM processes WHERE kind = 'worker'")
        return [row["pid"] for row in rows if row["id"] in alive]

    def _release(self, pid: int) -> None:
        """What a worker that is dead for certain was doing is free at once."""
        for row in self._database.rows("SELECT id FROM processes WHERE kind = 'worker' AND pid = ?", (pid,)):
            jobs.sweep(self._database, row["id"])
            jobs.say_gone(self._database, row["id"])

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal is for the server, which then tells the workers.
        return subprocess.Popen(
            (*WORKER, str(self._home)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )


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
    """What to open in a browser; the token is behind #, which browsers do not send to anybody."""
    port = sock.getsockname()[1]
    host = options.host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}/" + (f"#token={options.token[0]}" if options.token else "")


def serve(options: StudioOptions, say: Callable[[str], None]) -> None:
    """Run until interrupted. say: is told the address, once it answers. Raises OutputError, InputError."""
    sock = listen(options)
    app = create_app(options)
    url = address(options, sock)
    supervisor = Supervisor(options.home, options.jobs, options.expire_days)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2,
        timeout_keep_alive=10, h11_max_incomplete_event_size=32_768, backlog=512, proxy_headers=False, lifespan="on",
    )  # fmt: skip
    server = uvicorn.Server(config)

    def announce() -> None:
        while not server.started:
            time.sleep(0.05)
            if server.should_exit:
                return
        say(url)
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
