"""From a recipe to a finished set, in steps that can each be cut off at any moment and gone on with.

Work is kept in OUTPUT/work. The sources are listed into pieces of equal size (`input-00012.jsonl`); a piece is worked
on record by record into a journal, and when all its records are done its files are renamed into place,
`done-00012.json` last. That file holds the key of everything the piece depends on: its input, the stages with their
thresholds and the limits. A piece whose key is still the same is never made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.recipe import Recipe, make_stage
from openvmas.data.curation.record import Drop, Record, drop_line, read_records
from openvmas.data.curation.set_media import keep_places
from openvmas.data.curation.set_splits import describe_splits, make_set
from openvmas.data.curation.stage_runner import Job, Outcome, StagePool, refuse
from openvmas.data.report.funnel import Funnel, count_funnel
from openvmas.data.sources.fetch import Fetcher
from openvmas.data.sources.licences import refusal
from openvmas.data.sources.records import find_place, is_address, list_records, local_path
from openvmas.errors import InputError, OptionError, OutputError
from openvmas.files import lock_file, write_bytes
from openvmas.processes.cluster import Progress, run_on_cluster
from openvmas.processes.limited import Failure

MAX_PIECE = 1 << 20  # records, more than a piece may have: numbers jobs of several pieces


@dataclass(frozen=True)
class ShardTask:
    """The work on one piece of the input, for any runner: picklable, and of the same result wherever it runs.

    work: the build's work folder, which all runners see. n_workers: processes for this piece.
    """

    recipe: Recipe
    work: Path
    n_workers: int = 1

    def __call__(self, index: int) -> dict[str, bytes]:
        """The piece's files by name, for `keep_files`; nothing else is written."""
        with StagePool(self.recipe.stages, self.recipe.limits, self.work / "scratch", self.n_workers) as pool:
            ((_, files),) = self.run([index], pool)
        return files

    def run(
        self,
        indices: Sequence[int],
        pool: StagePool,
        prepare: Callable[[int], None] = lambda place: None,
        say: Callable[[int, int, int], None] = lambda place, done, n: None,
    ) -> Iterator[tuple[int, dict[str, bytes]]]:
        """Work on pieces and give each one's place and files when it is whole; the last may be whole first.

        Records of the next piece are begun while the last ones of a piece are worked on, so that no process waits.
        prepare: is called with a piece's place before its records are read. say: is told after every record its
        piece's place, how many are done there, and of how many.
        """
        opened: dict[int, OpenPiece] = {}

        def jobs() -> Iterator[Job]:
            for place, index in enumerate(indices):
                prepare(place)
                piece = opened[place] = OpenPiece(self, index)
                for job in piece.jobs():
                    yield replace(job, index=place * MAX_PIECE + job.index)

        def whole() -> Iterator[tuple[int, dict[str, bytes]]]:
            for place in [place for place, piece in opened.items() if piece.is_whole]:
                yield place, opened.pop(place).close()

        try:
            for outcome in pool.run(jobs()):
                place, number = divmod(outcome.index, MAX_PIECE)
                piece = opened[place]
                piece.journal.add(replace(outcome, index=number))
                say(place, len(piece.journal.outcomes), len(piece.records))
                yield from whole()
            yield from whole()  # pieces of which nothing was left to do
        finally:
            for piece in opened.values():
                piece.journal.close()

    def key(self, index: int) -> str:
        """Hash of everything that the piece's result depends on."""
        text = (self.work / f"input-{index:05d}.jsonl").read_bytes()
        return hashlib.sha256(self.recipe.key().encode() + text).hexdigest()


class OpenPiece:
    """A piece of the input that is being worked on: its records and its journal."""

    def __init__(self, task: ShardTask, index: int) -> None:
        self._task, self._index, self._key = task, index, task.key(index)
        self.records = read_input(task.work, index)
        self._folder = task.work / "partial" / f"{index:05d}-{self._key[:16]}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self._folder / "journal.jsonl")
        self._is_read = False

    @property
    def is_whole(self) -> bool:
        """Whether all of its records are done."""
        return self._is_read and len(self.journal.outcomes) == len(self.records)

    def jobs(self) -> Iterator[Job]:
        """List what is left to do; what is refused unopened goes into the journal at once."""
        recipe = self._task.recipe
        places = {source.name: find_place(source, recipe.folder) for source in recipe.sources}
        fetcher = Fetcher(self._task.work / "media", recipe.fetch, recipe.licences)
        found: list[Job] = []
        for index, record in enumerate(self.records):
            if index in self.journal.outcomes:
                continue
            made = self._open(index, record, fetcher, places)
            if isinstance(made, Outcome):
                self.journal.add(made)
            else:
                found.append(made)
        self._is_read = True
        yield from found

    def _open(self, index: int, record: Record, fetcher: Fetcher, places: dict[str, Any]) -> Job | Outcome:
        recipe = self._task.recipe
        found = refused(record, recipe)
        if found is None:
            is_remote = is_address(record.origin.uri)
            found = fetcher.result(record) if is_remote else (record, local_path(record, places[record.origin.source]))
            # Another row of the same address may have had it fetched under a licence that this row does not state.
            if is_remote and not isinstance(found, Drop):
                problem = refusal(found[0].origin, recipe.licences, True)
                found = Drop(record, "licence", "licence", problem) if problem else found
        if isinstance(found, Drop):
            return refuse(index, found)
        return Job(index, found[0], str(found[1]), str(self._folder / f"{index:05d}.npz"))

    def close(self) -> dict[str, bytes]:
        """The files of a whole piece, by name."""
        self.journal.close()
        outcomes = [self.journal.outcomes[place] for place in range(len(self.records))]
        return shard_files(self._index, self._key, outcomes, self._folder)


def refused(record: Record, recipe: Recipe) -> Drop | None:
    """The drop of a record that is not even opened, for a bad entry of its list or its licence; else None."""
    if problem := record.facts.get("source.problem"):
        return Drop(record, "source", "bad entry", problem)
    asked = is_address(record.origin.uri) and not record.origin.licence  # its page will say
    if not asked and (problem := refusal(record.origin, recipe.licences, is_address(record.origin.uri))):
        return Drop(record, "licence", "licence", problem)
    return None


class Journal:
    """Outcomes of a piece as they come, one line each; a line that a crash cut off is forgotten."""

    def __init__(self, path: Path) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._file = path.open("a+b")
        lock_file(self._file)
        self._file.seek(0)
        whole = 0
        for line in self._file:
            try:
                outcome = Outcome.from_json(line.decode())
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self.outcomes[outcome.index] = outcome
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome."""
        self._file.write(outcome.to_json().encode() + b"\n")
        self._file.flush()
        self.outcomes[outcome.index] = outcome


def shard_files(index: int, key: str, outcomes: Sequence[Outcome], folder: Path) -> dict[str, bytes]:
    """Name → bytes of a finished piece: equal outcomes give equal bytes, but for the costs."""
    records = [record for outcome in outcomes for record in outcome.records]
    drops = [drop for outcome in outcomes for drop in outcome.drops]
    seen = sum((Counter(outcome.seen) for outcome in outcomes), Counter[str]())
    costs: dict[str, list[float]] = {}
    for outcome in outcomes:
        for stage, seconds in outcome.costs.items():
            before = costs.get(stage, [0, 0.0])
            costs[stage] = [before[0] + outcome.seen[stage], before[1] + seconds]
    arrays: dict[str, np.ndarray] = {}
    for outcome in outcomes:
        if any(record.arrays for record in outcome.records):
            with np.load(folder / f"{outcome.index:05d}.npz") as data:
                arrays |= {name: data[name] for name in data.files}
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # pyright: ignore[reportArgumentType]
    done = {"key": key, "n": len(outcomes), "kept": len(records), "dropped": len(drops), "seen": seen}
    return {
        f"records-{index:05d}.jsonl": "".join(record.to_json() + "\n" for record in records).encode(),
        f"records-{index:05d}.npz": packed.getvalue(),
        f"drops-{index:05d}.jsonl": "".join(drop_line(drop) + "\n" for drop in drops).encode(),
        f"costs-{index:05d}.json": json.dumps(costs, sort_keys=True).encode(),
        f"done-{index:05d}.json": json.dumps(done, sort_keys=True).encode(),
    }


def keep_files(work: Path, files: dict[str, bytes]) -> None:
    """Put a finished piece into the work folder, the file that says it is whole last."""
    (done,) = (name for name in files if name.startswith("done-"))
    (work / done).unlink(missing_ok=True)
    for name in sorted(files, key=lambda name: (name == done, name)):
        write_bytes(work / name, files[name])
    for folder in (work / "partial").glob(f"{done[5:10]}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def read_input(work: Path, index: int) -> list[Record]:
    """The records of one piece, in order."""
    return list(read_records(work / f"input-{index:05d}.jsonl"))


def list_input(recipe: Recipe, work: Path) -> int:
    """List all sources into pieces and return how many there are; a piece that has not changed is left alone."""
    records = (record for source in recipe.sources for record in list_records(source, recipe.folder))
    n_pieces = 0
    while piece := list(itertools.islice(records, recipe.build.shard)):
        path = work / f"input-{n_pieces:05d}.jsonl"
        data = "".join(record.to_json() + "\n" for record in piece).encode()
        if not path.exists() or path.read_bytes() != data:
            write_bytes(path, data)
        n_pieces += 1
    if not n_pieces:
        raise InputError("the recipe's sources hold no media file; correct their paths and what media they hold.")
    for path in work.glob("*-[0-9][0-9][0-9][0-9][0-9]*.*"):  # of an input that was longer
        number = path.stem.rpartition("-")[2]
        if number.isdigit() and int(number) >= n_pieces:
            path.unlink()
    return n_pieces


def is_done(work: Path, index: int, key: str) -> bool:
    """Whether a piece is there whole and of this recipe and input."""
    try:
        return bool(json.loads((work / f"done-{index:05d}.json").read_bytes())["key"] == key)
    except (OSError, ValueError, KeyError):
        return False


@dataclass(frozen=True)
class Built:
    """Result of a build. n_pieces: of the input; n_made: how many of them this run worked on.

    splits: number of records of each.
    """

    output: Path
    funnel: Funnel
    n_pieces: int
    n_made: int
    splits: dict[str, int]


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
    if importlib.util.find_spec("pyarrow") is None:  # it writes the index at the very end
        raise OptionError("a set needs pyarrow; run: pip install 'openvmas[data]'.")
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
        keep_places(recipe, output)
        task = ShardTask(recipe, work.absolute(), workers)
        missing = [index for index in range(n_pieces) if not is_done(work, index, task.key(index))]
        progress(f"{len(missing)} of {n_pieces} pieces to do")
        fetcher = Fetcher(task.work / "media", recipe.fetch, recipe.licences)
        if ray is None:
            run_here(task, missing, workers, fetcher, progress)
        else:
            for index in missing:  # from here, so that hosts are asked politely
                fetch_piece(task, fetcher, index)
            run_on_ray(replace(task, n_workers=1), missing, ray, progress)
        funnel = finish(task, n_pieces, output, progress)
    splits = json.loads((output / "manifest.json").read_text(encoding="utf-8"))["splits"]
    return Built(output, funnel, n_pieces, len(missing), {name: found["records"] for name, found in splits.items()})


def finish(task: ShardTask, n_pieces: int, output: Path, progress: Progress) -> Funnel:
    """Duplicates, split, shards and datasheet, from finished pieces; done again only if something has changed."""
    from openvmas.data.report.datasheet import write_datasheet
    from openvmas.data.shards.tar_shards import write_shards

    recipe, work = task.recipe, task.work
    for left in (work / "partial").glob("*"):  # of pieces whose build was killed between its last two steps
        shutil.rmtree(left, ignore_errors=True)
    names = [make_stage(chosen).name for chosen in recipe.stages]
    keys = [task.key(index) for index in range(n_pieces)]
    stages = [make_stage(chosen, "sets") for chosen in recipe.sets]
    settings = [(chosen.name, asdict(stage)) for chosen, stage in zip(recipe.sets, stages, strict=True)]
    key = hashlib.sha256(json.dumps([recipe.build.name, keys, settings], sort_keys=True).encode()).hexdigest()
    marker = work / "finished.json"
    is_there = marker.exists() and (output / "manifest.json").exists() and (output / "datasheet.json").exists()
    if not (is_there and marker.read_text(encoding="utf-8") == key):
        marker.unlink(missing_ok=True)
        progress("near-duplicates and split")
        counts = make_set(work, output, stages)
        for line in describe_splits(counts, stages):
            progress(line)
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
        if not lock_file(file, is_patient=False):
            raise OutputError(f"another build is at work in {work.parent}; wait or choose another folder.")
        shutil.rmtree(work / "scratch", ignore_errors=True)
        (work / "scratch").mkdir()
        yield


def fetch_piece(task: ShardTask, fetcher: Fetcher, index: int) -> None:
    """Fetch what the records of one piece need."""
    records = read_input(task.work, index)
    fetcher.fetch_all(r for r in records if is_address(r.origin.uri) and refused(r, task.recipe) is None)


def run_here(task: ShardTask, missing: Sequence[int], n_workers: int, fetcher: Fetcher, progress: Progress) -> None:
    """Make all missing pieces on this machine; what the next one needs is fetched while one is worked on."""
    recipe = task.recipe
    left, n_done = dict.fromkeys(range(len(missing))), 0
    with (
        ThreadPoolExecutor(1) as ahead,
        StagePool(recipe.stages, recipe.limits, task.work / "scratch", n_workers) as pool,
    ):
        fetching = {place: ahead.submit(fetch_piece, task, fetcher, missing[place]) for place in list(left)[:1]}

        def prepare(place: int) -> None:
            fetching.pop(place).result()
            if place + 1 < len(missing):
                fetching[place + 1] = ahead.submit(fetch_piece, task, fetcher, missing[place + 1])

        def say(place: int, done: int, n: int) -> None:
            progress(f"piece {place + 1} of {len(missing)}: {done} of {n} records")

        for place, files in task.run(missing, pool, prepare, say):
            keep_files(task.work, files)
            del left[place]
            n_done += 1
            if not recipe.fetch.keep:
                last = max([place, *fetching])  # later ones are fetched again where they need the same file
                forget_media(task, missing[place], [missing[other] for other in left if other <= last], fetcher)
            progress(f"{n_done} of {len(missing)} pieces done")


def forget_media(task: ShardTask, index: int, others: Sequence[int], fetcher: Fetcher) -> None:
    """Delete what was fetched for a piece, but for files of which others need further spans."""
    needed = {record.origin.uri for other in others for record in read_input(task.work, other)}
    for record in read_input(task.work, index):
        if is_address(record.origin.uri) and record.origin.uri not in needed:
            fetcher.forget_file(record)


def run_on_ray(task: ShardTask, pieces: Sequence[int], address: str, progress: Progress = lambda text: None) -> int:
    """Make pieces on the cluster at `address` and keep their files in `task.work`; give how many were made.

    Their files travel back as bytes, and the driver alone writes them, so the cluster needs no shared disk for results,
    a piece that was cut off is made again by another worker, and none can count twice. Pieces that are whole are
    checkpoints: they are not asked for again. Raises OptionError without Ray or a cluster there, OutputError if pieces
    could not be made.
    """
    if not pieces:
        return 0
    n_done, lost = 0, dict[int, str]()
    for index, files in run_on_cluster(task, pieces, address):
        if isinstance(files, Failure):
            lost[index] = files.sentence
            continue
        keep_files(task.work, files)
        n_done += 1
        progress(f"{n_done} of {len(pieces)} pieces done")
    if lost:
        raise OutputError(
            f"the cluster gave up {len(lost)} of {len(pieces)} pieces ({next(iter(lost.values())).rstrip('.')}); "
            "finished pieces are kept: mend the cause and start again."
        )
    return n_done
