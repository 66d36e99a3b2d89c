"""Processes, nodes and servers killed at random while videos are scored: is anything lost, or there twice?

python bench/kill.py list [--times 10] [--seed 0] [--clips 40]    a list on a cluster of three nodes
python bench/kill.py studio [--times 10] [--seed 0]               a studio with its own workers

Every time one of these is killed (SIGKILL): the process that scores, the cluster's worker around it, a whole node, or
the command itself (of a studio: the server, or its worker), which is then started again. In the end each video must
have one whole result and nothing else may lie there. What came out is noted in docs/scale.json.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from openvmas.batch import run  # noqa: E402
from openvmas.batch.clip import BatchSettings  # noqa: E402
from openvmas.batch.manifest import Manifest  # noqa: E402
from tests.batch import sines  # noqa: E402
from tests.clips import write_clip  # noqa: E402

PAUSE = (0.5, 4.0)  # s between work that has begun and a kill
PATIENCE = 120.0  # s for work to begin again after a kill


def drive(path: str, address: str) -> int:
    """The command that is killed: score a list and write its table."""
    run.start = sines.start
    table = Path(path).with_suffix(".scored.csv")
    found = run.score_to_table(
        run.score_clips(Manifest(path), BatchSettings(), ray=address), table, lambda n, result: None
    )
    return int(found.counts["failed"] > 0)


def victims(words: tuple[str, ...]) -> list[int]:
    """Processes below this one whose command line has one of these words."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in process.cmdline() for word in words):
                found.append(process.pid)
    return found


def wait_for_work(notes: Path, driver: subprocess.Popen[bytes], rng: random.Random) -> None:
    """Until something has been begun since now, so that kills meet work and not only starts, and a moment longer."""
    before, deadline = len(list(notes.iterdir())), time.monotonic() + PATIENCE
    while len(list(notes.iterdir())) == before and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(rng.uniform(*PAUSE))


def told(killed: Counter[str]) -> str:
    """What was killed, in words."""
    return f"{killed.total()} kills ({', '.join(f'{n} × {kind}' for kind, n in killed.items())})"


def kill_list(times: int, n_clips: int, rng: random.Random) -> str:
    """A list on a cluster, of which something is killed so many times; returns what came out."""
    from tests.ray_cluster import SIZE, start_cluster

    with tempfile.TemporaryDirectory() as scratch:
        folder, notes = Path(scratch), Path(scratch) / "notes"
        notes.mkdir()
        os.environ |= {"OPENVMAS_TEST_NOTES": str(notes), "OPENVMAS_TEST_PAUSE": "0.5"}
        stub = write_clip(folder / "stub.mp4", 1.0)
        rows = [f"{stub},made/{i:03d}.mp4" for i in range(n_clips)]
        (folder / "list.csv").write_text("video,output\n" + "\n".join(rows) + "\n")
        opened = start_cluster(3)
        cluster = next(opened)
        command = [sys.executable, __file__, "drive", "--list", str(folder / "list.csv"), "--ray", cluster.address]
        driver, killed = subprocess.Popen(command), Counter[str]()
        while killed.total() < times:
            wait_for_work(notes, driver, rng)
            if driver.poll() is not None:
                break
            kind = rng.choice(("process", "worker", "node", "command"))
            if kind == "node":
                others = [node for node in cluster.list_all_nodes() if node != cluster.head_node]
                if not others:
                    continue
                cluster.remove_node(rng.choice(others), allow_graceful=False)
                try:
                    cluster.add_node(wait=False, **SIZE)
                except Exception as error:  # Ray's own, on a crowded machine: go on with fewer
                    print(f"no new node: {error}"[:200], flush=True)
            elif kind == "command":
                driver.kill()
                driver.wait()
                driver = subprocess.Popen(command)
            else:
                found = victims(("batch.sines:start",) if kind == "process" else ("ray::_do",))
                if not found:
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(found), signal.SIGKILL)
            killed[kind] += 1
            print(dict(killed), len(list((folder / "made").glob("*.mp4"))), "results", flush=True)
        code = driver.wait()
        made = Counter(path.name for path in (folder / "made").iterdir())
        wanted = Counter(f"{i:03d}{ending}" for i in range(n_clips) for ending in (".mp4", ".json"))
        table = (folder / "list.scored.csv").read_text().splitlines()
        begun = len(list(notes.iterdir()))
        next(opened, None)
        for line in table:
            if ",failed," in line:
                print(line, flush=True)
        hidden = [name for name in made - wanted if name.startswith(".openvmas-")]
        lost, more = len(wanted - made), len(made - wanted) - len(hidden)
        return (
            f"{told(killed)} under {n_clips} videos on three nodes: {lost} results lost, {more} too many, "
            f"{len(table) - 1} rows in the table, exit code {code}; work was begun {begun} times; {len(hidden)} hidden "
            "folders of killed processes left to the next run"
        )


def kill_studio(times: int, rng: random.Random) -> str:
    """A studio whose server or worker is killed so many times while jobs run; returns what came out."""
    from tests.studio.kit import RunningStudio, end_workers, make_project, submit, wait_job, worker_pids

    with tempfile.TemporaryDirectory() as scratch:
        home, killed = Path(scratch) / "home", Counter[str]()
        clip = write_clip(Path(scratch) / "clip.mp4", 3.0)
        studio = RunningStudio(home, pace=0.3)
        studio.start()
        try:
            with studio.client() as client:
                project = make_project(client, clip)
                begun = [submit(client, project)["id"] for _ in range(times)]
                while killed.total() < times:
                    time.sleep(rng.uniform(*PAUSE))
                    kind = rng.choice(("server", "worker"))
                    if kind == "server":
                        studio.kill()
                        studio.start()
                    elif pids := worker_pids(home):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(rng.choice(pids), signal.SIGKILL)
                    else:
                        continue
                    killed[kind] += 1
                    print(dict(killed), flush=True)
                states = Counter(wait_job(client, job, patience=10 * PATIENCE)["state"] for job in begun)
                takes = client.get(f"/projects/{project}").json()["takes"]
                seeds = len({take["seed"] for take in takes})
                whole = sum(client.get(f"/takes/{take['id']}/video").status_code == 200 for take in takes)
        finally:
            studio.stop()
            end_workers(home)
        return (
            f"{told(killed)} under {len(begun)} jobs of a studio: {dict(states)}, {whole} of {len(begun)} takes whole, "
            f"{seeds} different seeds"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("list", "studio", "drive"))
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list")
    parser.add_argument("--ray")
    given: Any = parser.parse_args()
    if given.what == "drive":
        return drive(given.list, given.ray)
    rng = random.Random(given.seed)
    is_list = given.what == "list"
    said = kill_list(given.times, given.clips, rng) if is_list else kill_studio(given.times, rng)
    print(said)
    from scale import keep  # beside this file

    keep(f"kill_{given.what}", {"sentence": said, "seed": given.seed})
    return 0


if __name__ == "__main__":
    sys.exit(main())
