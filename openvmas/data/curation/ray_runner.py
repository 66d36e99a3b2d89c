"""Pieces of a build on a Ray cluster: Ray Data distributes them, the driver alone writes what comes back.

Each piece is one row of a Ray Dataset; its files travel back as bytes and are renamed into place by the driver, so the
cluster needs no shared disk for results, a piece that was cut off is made again by another worker, and none can count
twice. Pieces that are whole are checkpoints: a build that starts again does not ask for them.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from openvmas.data.curation.pipeline import keep_files
from openvmas.errors import OptionError, OutputError


class PieceTask(Protocol):
    """The work on one piece: picklable, the same result wherever it runs (`pipeline.ShardTask`)."""

    @property
    def work(self) -> Path: ...

    def __call__(self, index: int) -> dict[str, bytes]: ...


def run_on_ray(
    task: PieceTask,
    pieces: Sequence[int],
    address: str = "auto",
    progress: Callable[[str], None] = lambda text: None,
    cpus: float = 1.0,
) -> int:
    """Make pieces on the cluster at `address` and keep their files in `task.work`; give how many were made.

    address: host:port, ray://host:port, auto (the cluster of this machine) or local (a new one). cpus: that a piece
    takes up. Raises OptionError without Ray or a cluster there, OutputError if pieces could not be made.
    """
    if not pieces:
        return 0
    with connected(address) as ray:
        rows = ray.data.from_items([{"index": index} for index in pieces], override_num_blocks=len(pieces))
        results = rows.map(_on_worker(task), num_cpus=cpus).iter_rows()
        done: set[int] = set()
        try:
            for row in results:
                index = int(row["index"])
                if index not in done:
                    keep_files(task.work, dict(zip(row["names"], row["data"], strict=True)))
                    done.add(index)
                    progress(f"{len(done)} of {len(pieces)} pieces done")
        except ray.exceptions.RayError as error:
            raise OutputError(
                f"the cluster gave up after {len(done)} of {len(pieces)} pieces ({_first_line(error)}); "
                "finished pieces are kept: mend the cause and start again."
            ) from error
    if missing := set(pieces) - done:
        raise OutputError(f"{len(missing)} pieces did not come back from the cluster; start again to make them.")
    return len(done)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The `ray` module, connected; what was connected before stays so. Raises OptionError."""
    try:
        ray: Any = importlib.import_module("ray")  # not an import statement: the type checker need not have it
        importlib.import_module("ray.data")
        importlib.import_module("ray.exceptions")
    except ImportError as error:
        raise OptionError("--ray needs Ray; install it with pip install 'openvmas[ray]'.") from error
    is_mine = not ray.is_initialized()
    if is_mine:
        place = {} if address == "local" else {"address": address}
        try:
            _knock(address)
            ray.init(log_to_driver=False, logging_level="ERROR", **place)
        except (OSError, ValueError, RuntimeError) as error:
            raise OptionError(f"there is no Ray cluster at {address}; start one with `ray start --head`.") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield ray
    finally:
        if is_mine:
            ray.shutdown()


def _knock(address: str) -> None:
    """Connect to HOST:PORT and close again. Raises OSError; `ray.init` alone would ask again for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _on_worker(task: PieceTask) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Row → row with the piece's files. A plain function: Ray would start actors for a class."""

    def make(row: dict[str, Any]) -> dict[str, Any]:
        index = int(row["index"])
        files = task(index)
        return {"index": index, "names": list(files), "data": list(files.values())}

    return make


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
