"""`openvmas data build`: lists the sources, works on what is missing, and puts the finished set together."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from openvmas.data.curation.pipeline import (
    ShardTask,
    keep_files,
    list_input,
    missing_shards,
    read_input,
    refused,
)
from openvmas.data.curation.recipe import Recipe, make_stage, set_stage_types
from openvmas.data.curation.set_splits import make_set
from openvmas.data.curation.workers import Pool
from openvmas.data.report.funnel import Funnel, count_funnel
from openvmas.data.sources.address_tables import is_address
from openvmas.data.sources.fetch import Fetcher
from openvmas.errors import OutputError
from openvmas.files import write_bytes

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """What a build has made. n_pieces: of the input; n_made: how many of them this run worked on."""

    output: Path
    funnel: Funnel
    n_pieces: int
    n_made: int


def build(
    recipe: Recipe,
    output: Path | None = None,
    n_workers: int = 0,
    ray: str | None = None,
    progress: Progress = lambda text: None,
) -> Built:
    """Make a recipe's set, or go on where an earlier run was cut off.

    n_workers: 0 takes the recipe's. ray: address of a cluster whose nodes see the same folders. Raises OpenVMASError.
    """
    output = output or recipe.output
    work = output / "work"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{work} cannot be made ({error.strerror}); choose another folder with --output.") from error
    workers = n_workers or recipe.build.workers or os.cpu_count() or 1
    with locked(work):
        progress("listing the sources")
        n_pieces = list_input(recipe, work)
        task = ShardTask(recipe, work.absolute(), workers)
        missing = missing_shards(task, n_pieces)
        progress(f"{len(missing)} of {n_pieces} pieces to do")
        if ray is None:
            run_here(task, missing, workers, progress)
        else:
            run_there(task, missing, ray, progress)
        funnel = finish(task, n_pieces, output, progress)
    return Built(output, funnel, n_pieces, len(missing))


def finish(task: ShardTask, n_pieces: int, output: Path, progress: Progress) -> Funnel:
    """Duplicates, split, shards and datasheet, from finished pieces; done again only if something has changed."""
    from openvmas.data.report.datasheet import write_datasheet
    from openvmas.data.shards.tar_shards import write_shards

    recipe, work = task.recipe, task.work
    names = [make_stage(chosen).name for chosen in recipe.stages]
    keys = [task.key(index) for index in range(n_pieces)]
    stages = [make_stage(chosen, set_stage_types()) for chosen in recipe.sets]
    settings = [(chosen.name, asdict(stage)) for chosen, stage in zip(recipe.sets, stages, strict=True)]
    key = hashlib.sha256(json.dumps([recipe.build.name, keys, settings], sort_keys=True).encode()).hexdigest()
    marker = work / "finished.json"
    is_there = marker.exists() and (output / "manifest.json").exists() and (output / "datasheet.json").exists()
    if not (is_there and marker.read_text(encoding="utf-8") == key):
        marker.unlink(missing_ok=True)
        progress("near-duplicates and split")
        make_set(work, output, stages)
        progress("writing shards")
        write_shards(output, work)
        funnel = count_funnel(work, names)
        write_bytes(output / "funnel.json", funnel.to_json().encode())
        write_datasheet(output, title=recipe.build.name)
        write_bytes(marker, key.encode())
    return count_funnel(work, names)


@contextlib.contextmanager
def locked(work: Path) -> Iterator[None]:
    """Holds a build's folder. Raises OutputError if another build holds it; the kernel lets go when a process ends."""
    with (work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"another build is at work in {work.parent}; wait or choose another folder.") from error
        shutil.rmtree(work / "scratch", ignore_errors=True)
        (work / "scratch").mkdir()
        yield


def run_there(task: ShardTask, missing: Sequence[int], address: str, progress: Progress) -> None:
    """All missing pieces on a Ray cluster. Addresses are fetched from here, so that hosts are asked politely."""
    from openvmas.data.curation.ray_runner import run_on_ray

    fetcher = Fetcher(task.work / "media", task.recipe.fetch, task.recipe.licences)
    for index in missing:
        fetch_piece(task, fetcher, index)
    run_on_ray(replace(task, n_workers=1), missing, address, progress)


def fetch_piece(task: ShardTask, fetcher: Fetcher, index: int) -> None:
    """Fetch what the records of one piece need."""
    records = read_input(task.work, index)
    fetcher.fetch_all(r for r in records if is_address(r.origin.uri) and refused(r, task.recipe) is None)


def run_here(task: ShardTask, missing: Sequence[int], n_workers: int, progress: Progress) -> None:
    """All missing pieces on this machine; what the next one needs is fetched while one is worked on."""
    recipe = task.recipe
    fetcher = Fetcher(task.work / "media", recipe.fetch, recipe.licences)

    with (
        ThreadPoolExecutor(1) as ahead,
        Pool(recipe.stages, recipe.limits, task.work / "scratch", n_workers) as pool,
    ):
        fetching: Future[None] | None = ahead.submit(fetch_piece, task, fetcher, missing[0]) if missing else None
        for place, index in enumerate(missing):
            assert fetching is not None
            fetching.result()
            is_last = place + 1 == len(missing)
            fetching = None if is_last else ahead.submit(fetch_piece, task, fetcher, missing[place + 1])
            keep_files(task.work, task.run(index, pool))
            if not recipe.fetch.keep:
                ahead_of_us = [] if is_last else read_input(task.work, missing[place + 1])
                needed = {record.origin.uri for record in ahead_of_us}  # other spans of the same file
                for record in read_input(task.work, index):
                    if is_address(record.origin.uri) and record.origin.uri not in needed:
                        fetcher.forget_file(record)
            progress(f"{place + 1} of {len(missing)} pieces done")
