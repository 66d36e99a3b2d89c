"""A Ray cluster: the one place that joins it, and the one way in which jobs are done there whatever dies meanwhile.

A job is a Ray task. Ray does it again elsewhere when its worker or node dies; what a job itself does to its process is
met in a child of that worker (`processes.limited`), so that it costs the job only.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, TypeVar

from openvmas.errors import OptionError
from openvmas.processes.limited import CRASH, FAULT, Failure, LimitedProcess, WorkerPool

J = TypeVar("J")
R = TypeVar("R")
Progress = Callable[[str], None]
MAX_DEATHS = 20  # workers and nodes that may die under one job; only whoever kills them on purpose gets that far
AHEAD = 2  # jobs for each processor that the cluster is given at once
LOOK_AGAIN = 5.0  # s, after which a cluster that has grown is given more


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The `ray` module, connected; what was connected before stays so.

    address: host:port, ray://host:port, auto (the cluster of this machine) or local (a new one). Raises OptionError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here tells Ray's makers nothing
    try:
        ray: Any = importlib.import_module("ray")  # not an import statement: the type checker need not have it
        importlib.import_module("ray.exceptions")
    except ImportError as error:
        raise OptionError("--ray needs Ray; install it with pip install 'openvmas[ray]'.") from error
    is_mine = not ray.is_initialized()
    if is_mine:
        try:
            _knock(address)
            more = {"include_dashboard": False} if address == "local" else {}
            ray.init(address, log_to_driver=False, logging_level="ERROR", **more)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise OptionError(why_not(address, str(error))) from error
    try:
        yield ray
    finally:
        if is_mine:
            ray.shutdown()


def why_not(address: str, words: str) -> str:
    """The sentence for a cluster that could not be joined, from what Ray says of it."""
    if "auth" in words.lower():  # Ray asks for a token wherever one was ever made for this user, as by `local`
        where = "RAY_AUTH_TOKEN or ~/.ray/auth_token"
        return f"the Ray cluster at {address} asks for its token; set RAY_AUTH_MODE=token and put the token in {where}."
    return f"there is no Ray cluster at {address}; start one with `ray start --head`."


def _knock(address: str) -> None:
    """Connect to HOST:PORT and close again. Raises OSError; `ray.init` alone would ask again for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def run_on_cluster(
    work: Callable[[J], R], jobs: Iterable[J], address: str, cores: float = 1.0, cards: float = 0.0
) -> Iterator[tuple[J, R | Failure]]:
    """Pairs of job and result, or Failure, in any order; a job is taken when the cluster has room for it.

    work: is sent to the cluster once and must be picklable. cores, cards: that a job takes. A job whose worker
    or node dies is done again elsewhere; each has one result, so none counts twice. Raises OptionError without Ray or a
    cluster.
    """
    with connected(address) as ray:
        task = ray.remote(num_cpus=cores, num_gpus=cards, max_retries=MAX_DEATHS)(_do)
        shared, source = ray.put(work), iter(jobs)
        running: dict[Any, J] = {}
        try:
            while True:
                room = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1) / cores))
                for job in islice(source, max(0, room - len(running))):
                    running[task.remote(shared, job)] = job
                if not running:
                    return
                for done in ray.wait(list(running), timeout=LOOK_AGAIN)[0]:
                    job = running.pop(done)
                    yield job, _result(ray, done)
        finally:
            for left in running:
                ray.cancel(left)


def _do(work: Callable[[Any], Any], job: Any) -> Any:
    return work(job)


def _result(ray: Any, done: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        detail = last_line(str(error))
        return Failure(f"{detail}.", FAULT, detail)
    except ray.exceptions.RayError as error:
        return Failure(f"its worker died again and again ({last_line(str(error))}).", CRASH, type(error).__name__)


def last_line(text: str) -> str:
    """The last line of a message that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removesuffix(".") if lines else "no reason was given"


@dataclass(frozen=True)
class ClusterPool:
    """A `WorkerPool` whose processes are children of the cluster's workers: each is used for job after job there.

    make: starts a process; picklable. retries: as for WorkerPool. cards: share of a graphics card for each.
    """

    address: str
    make: Callable[[], LimitedProcess]
    retries: int = 0
    cards: float = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        pass  # the children end with their workers

    def run(
        self, jobs: Iterable[J], on_message: Callable[[J, Any], None] = lambda job, message: None
    ) -> Iterator[tuple[J, Any]]:
        """(job, answer or Failure) as they come, in any order. on_message: is not called; tasks send answers alone."""
        work = ChildWork(pickle.dumps(self.make), self.retries)
        return run_on_cluster(work, jobs, self.address, cards=self.cards)


_POOLS: dict[bytes, WorkerPool] = {}  # of this worker: one, kept from job to job with all that it has loaded


@dataclass(frozen=True)
class ChildWork:
    """A job done in the child of a cluster's worker. make: pickled, what starts it."""

    make: bytes
    retries: int

    def __call__(self, job: Any) -> Any:
        ((_, answer),) = self.pool().run([job])
        return answer

    def pool(self) -> WorkerPool:
        """The pool of one child that this worker keeps for such jobs; that of other jobs ends."""
        for other in [made for made in _POOLS if made != self.make]:
            _POOLS.pop(other).stop()
        if self.make not in _POOLS:
            _POOLS[self.make] = WorkerPool(1, pickle.loads(self.make), self.retries)
        return _POOLS[self.make]


def open_pool(
    n: int, make: Callable[[], LimitedProcess], address: str | None = None, retries: int = 0, cards: float = 0.0
) -> WorkerPool | ClusterPool:
    """n processes of this machine, or those of the cluster at `address`; both do jobs with `run`."""
    return WorkerPool(n, make, retries) if address is None else ClusterPool(address, make, retries, cards)
