"""The server process: listens, owns its workers, expires old projects, opens the page."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import signal
import socket
import sqlite3
import threading
import time
import webbrowser
from collections.abc import Callable
from types import FrameType

import uvicorn

from openvmas.batch import places
from openvmas.errors import OutputError
from openvmas.files import lock_file
from openvmas.studio.api.app import create_app
from openvmas.studio.api.context import Studio
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import jobs, lanes
from openvmas.studio.queue.work import Watcher
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database

EXPIRE_EVERY_S = 600.0


class Workers:
    """The lanes of a studio and what they run on; expires old projects. Raises OptionError, OutputError."""

    def __init__(self, options: StudioOptions) -> None:
        self._options, self._database = options, Database(options.home)
        self._lock = (options.home / "lock").open("w")
        if not lock_file(self._lock, is_patient=False):
            self.close()
            raise OutputError(f"another studio is open on {options.home}; close it, or give another --folder.")
        jobs.requeue(self._database)
        self._lanes: list[lanes.Lane] = []
        self._held = contextlib.ExitStack()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._expire, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        make = self._join_cluster() if self._options.ray else self._runner_here
        for is_watching in (True, False):
            for _ in range(self._options.jobs):
                self._lanes.append(lanes.Lane(self._database, make(is_watching), is_watching))
        self._thread.start()

    def _runner_here(self, is_watching: bool) -> lanes.Runner:
        return Watcher() if is_watching else lanes.ProcessRunner(self._options.jobs)

    def _join_cluster(self) -> Callable[[bool], lanes.Runner]:
        from openvmas.processes.cluster import connected
        from openvmas.studio.queue.remote import ClusterRunner, SharedStorage

        home = self._options.home.absolute()
        ray = self._held.enter_context(connected(str(self._options.ray)))
        # Several studios may share a storage.
        name = f"openvmas-studio-{hashlib.sha256(f'{socket.gethostname()} {home}'.encode()).hexdigest()[:16]}"
        storage = SharedStorage(places.join(self._options.storage or str(home), name))
        return lambda is_watching: ClusterRunner(ray, storage)

    def stop(self) -> None:
        """Break off what is being done; it waits in the queue for the next start."""
        self._is_over.set()
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join()
        if self._thread.ident is not None:
            self._thread.join()
        self._held.close()
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._database.close()
        self._lock.close()

    def _expire(self) -> None:
        while True:
            with contextlib.suppress(sqlite3.OperationalError):  # busy for long
                projects.expire(self._database, self._options.expire_days)
            if self._is_over.wait(EXPIRE_EVERY_S):
                return


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
    workers = Workers(options)
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

    workers.start()
    threading.Thread(target=announce, daemon=True).start()
    try:
        server.run(sockets=[sock])
    except KeyboardInterrupt:  # uvicorn hands the signal on after it has closed everything
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        workers.stop()
