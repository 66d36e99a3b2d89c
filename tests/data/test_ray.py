"""A real Ray cluster of several nodes on this machine makes the same pieces, whatever is killed meanwhile."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from openvmas.data.curation.pipeline import run_on_ray
from openvmas.errors import OptionError, OutputError
from openvmas.processes.cluster import connected
from tests.ray_cluster import start_cluster

from .made_sets import make_peaks, make_record, piece_files, with_prints

if "OPENVMAS_RAY" not in os.environ:
    pytest.skip("a cluster takes minutes of its own; OPENVMAS_RAY=1 runs it", allow_module_level=True)
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
N_PIECES = 8


@dataclass(frozen=True)
class Task:
    """Pieces as a build makes them. pause: s; killed: piece that kills its own worker the first time."""

    work: Path
    notes: Path
    pause: float = 0.0
    killed: int = -1
    broken: int = -1

    def __call__(self, index: int) -> dict[str, bytes]:
        note = self.notes / f"{index}-{time.time_ns()}"
        note.write_text(str(os.getpid()))
        if index == self.killed and len(list(self.notes.glob(f"{index}-*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.broken:
            raise ValueError("this piece cannot be made")
        time.sleep(self.pause)
        return piece(index)


def piece(index: int) -> dict[str, bytes]:
    numbers = range(index * 4, index * 4 + 4)
    return piece_files(index, [with_prints(make_record(n), make_peaks(n, 30), None) for n in numbers])


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each."""
    yield from start_cluster(2)


@pytest.fixture
def task(tmp_path):
    for name in ("work", "notes"):
        (tmp_path / name).mkdir()
    return Task(tmp_path / "work", tmp_path / "notes")


def assert_whole(task: Task) -> None:
    """Every piece is there once with the bytes that this machine alone makes."""
    wanted = {name: data for index in range(N_PIECES) for name, data in piece(index).items()}
    assert {path.name: path.read_bytes() for path in task.work.iterdir()} == wanted


def test_no_cluster_is_named():
    assert not ray.is_initialized()  # it comes before the tests that start a cluster
    with pytest.raises(OptionError, match="ray start --head"), connected("127.0.0.1:1"):
        pass


def test_nothing_to_do_asks_for_no_cluster(task):
    assert run_on_ray(task, [], "127.0.0.1:1") == 0
    assert not list(task.work.iterdir())


def test_two_nodes_make_the_same_pieces(cluster, task):
    said: list[str] = []
    assert run_on_ray(task, range(N_PIECES), cluster.address, said.append) == N_PIECES
    assert_whole(task)
    assert len(list(task.notes.iterdir())) == N_PIECES and len(said) == N_PIECES
    assert said[-1] == f"{N_PIECES} of {N_PIECES} pieces done"


def test_a_killed_worker_loses_and_repeats_nothing(cluster, task):
    run_on_ray(Task(task.work, task.notes, killed=3), range(N_PIECES), cluster.address)
    assert len(list(task.notes.glob("3-*"))) == 2  # it died, and was made again
    assert_whole(task)


def test_a_killed_node_loses_and_repeats_nothing(cluster, task):
    extra = cluster.add_node(wait=False, num_cpus=2, object_store_memory=100_000_000)
    cluster.wait_for_nodes(timeout=300)

    def kill() -> None:
        limit = time.monotonic() + 300
        while len(list(task.notes.iterdir())) < 3 and time.monotonic() < limit:
            time.sleep(0.05)
        cluster.remove_node(extra, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    run_on_ray(Task(task.work, task.notes, pause=0.5), range(N_PIECES), cluster.address)
    killer.join()
    assert_whole(task)


def test_a_run_that_failed_keeps_its_pieces_and_goes_on(cluster, task):
    with pytest.raises(OutputError, match="finished pieces are kept"):
        run_on_ray(Task(task.work, task.notes, broken=N_PIECES - 1), range(N_PIECES), cluster.address)
    done = {int(path.stem[-5:]) for path in task.work.glob("done-*.json")}
    assert N_PIECES - 1 not in done
    missing = [index for index in range(N_PIECES) if index not in done]
    assert run_on_ray(task, missing, cluster.address) == len(missing)
    assert_whole(task)
