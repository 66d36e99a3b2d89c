"""Systems on a suite: every result made, measured and compared, resumable at any point.

Stages of jobs in worker processes (`processes.limited`, `eval.benchmark.worker`): clips are prepared; every
system makes and measures
its music for every clip, and music by other seeds for some; all music of each system is compared with the true music
and with all pictures. What is on record with the same key is not made again. A failure costs its cell of the table and
is listed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from openvmas.errors import InputError, OptionError
from openvmas.eval.benchmark.folder_measures import (
    MeasuredFile,
    MeasuredFolder,
    Pairing,
    correct,
    differences,
    summarise,
)
from openvmas.eval.benchmark.stages import compare_all, make_all, make_takes, match_all, prepare_all
from openvmas.eval.benchmark.worker import ENDING, SCRATCH, Compared, Made, WorkerSettings, start
from openvmas.eval.embedders.cross_modal_similarity import LearnedSimilarity
from openvmas.eval.embedders.registry import check_name, open_embedder, sees_pictures
from openvmas.eval.metrics.measure_table import MEASURES, base
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.suite import MAX_SEEDS, Clip, Suite
from openvmas.eval.systems.system import Setting, System, file_name, open_system
from openvmas.processes.limited import LimitedProcess, Limits, WorkerPool

TIMEOUT = 1800.0  # s for one job
MAX_WORKERS = 64
RESTATED = frozenset({"retrieval_r1", "retrieval_r5", "retrieval_rank"})  # not tested: what own_similarity says


@dataclass(frozen=True)
class SystemResult:
    """One row of the table. says: what it is; made: by name of the clip; failures: sentences by name of the clip.

    summary: mean with its interval and number of clips; sets: by embedder, then measure; selects_by_similarity: it
    chooses by the similarity that measures.
    """

    spec: str
    says: str
    made: dict[str, Made]
    failures: dict[str, str]
    summary: dict[str, tuple[Interval, int]]
    sets: dict[str, dict[str, Interval]]
    selects_by_similarity: bool = False

    @property
    def folder(self) -> MeasuredFolder:
        """Its values as `eval.benchmark.folder_measures` compares them."""
        files = tuple(MeasuredFile(name + ENDING, made.values, None) for name, made in self.made.items())
        return MeasuredFolder(Path(self.spec), files, self.failures)

    @property
    def cost(self) -> float:
        """Processor seconds per second of music."""
        return sum(made.cpu for made in self.made.values()) / max(1e-9, sum(m.duration for m in self.made.values()))


@dataclass(frozen=True)
class RunResult:
    """systems: in the order they were asked for; the first is the one that the others are compared with.

    pairs: (spec, measure) to the difference from the first system over clips that both have, with Holm's correction
    over all of them. broken: clips that could not be prepared. wall: of this run, s. judge: what compares music and
    picture; others: embedders that compare them too; seeds: how many, and on how many clips.
    """

    suite: Suite
    clips: tuple[Clip, ...]
    systems: tuple[SystemResult, ...]
    pairs: dict[tuple[str, str], Pairing]
    broken: dict[str, str]
    embedders: tuple[str, ...]
    seed: int
    wall: float
    n_kept: int
    judge: str
    seeds: tuple[int, int]
    others: tuple[str, ...] = ()


def run(
    suite: Suite,
    specs: Sequence[str],
    results: Path,
    setting: Setting,
    *,
    embedders: Sequence[str] = ("yamnet", "musicnn"),
    workers: int = 1,
    seed: int = 0,
    seeds: int | None = None,
    limit: int | None = None,
    only_complete: bool = False,
    timeout: float = TIMEOUT,
    say: Callable[[str], None] = lambda text: None,
) -> RunResult:
    """Make, measure and compare. Raises OptionError, InputError or ModelError before anything long begins.

    seeds: of systems that draw, on some clips; the suite's number if left out. limit: so many clips evenly from the
    suite. only_complete: only clips that all systems have results for already.
    """
    began = time.monotonic()
    n_seeds = suite.seeds if seeds is None else seeds
    check(suite, specs, embedders, workers, timeout, n_seeds)
    systems = {spec: open_system(spec, setting) for spec in specs}
    for name in embedders:
        open_embedder(name)  # that its weights can be read shows now and not in an hour
    judge, others = LearnedSimilarity(Cache(setting.cache)).name, tuple(filter(sees_pictures, embedders))
    clips = suite.clips if limit is None else evenly_spaced(suite.clips, limit)
    if only_complete:
        clips = have_results(clips, specs, results, setting)
    bench = WorkerSettings(results, setting, tuple(embedders), seed)
    results.mkdir(parents=True, exist_ok=True)
    clear(results)
    with open_pool(workers, bench, timeout) as pool:
        prepared, broken = prepare_all(pool, clips, say)
        whole = [clip for clip in clips if clip.name not in broken]
        if not whole:
            raise InputError(f"no clip of {suite.name} can be used; the first: {next(iter(broken.values()))}")
        made, failures = make_all(pool, whole, specs, setting, say)
        again = evenly_spaced(tuple(whole), suite.seed_clips) if n_seeds > 1 else ()
        drawn = [spec for spec in specs if systems[spec].is_random]
        takes = make_takes(pool, again, drawn, n_seeds, made, say) if not only_complete else {}
        sets = compare_all(pool, made, takes, embedders, say)
        fits = match_all(pool, made, whole, prepared, specs, others, say)
    rows = [row_of(systems[spec], made[spec], failures[spec], sets.get(spec, {}), fits.get(spec, {})) for spec in specs]
    n_kept = sum(not item.is_new for spec in specs for item in made[spec].values())
    n_again, wall = (n_seeds, len(again)) if takes else (1, 0), time.monotonic() - began
    of_run = tuple(embedders), seed, wall, n_kept, judge, n_again, others
    return RunResult(suite, tuple(whole), tuple(rows), compare_pairs(rows), broken, *of_run)


def open_pool(n: int, setting: WorkerSettings, timeout: float) -> WorkerPool:
    """n workers. timeout: s for one job."""
    limits = Limits(seconds=timeout)
    return WorkerPool(n, lambda: LimitedProcess(start, setting, limits, is_trusted=True, remedy="raise --timeout"))


def row_of(
    system: System,
    made: dict[str, Made],
    failures: dict[str, str],
    compared: dict[str, Compared],
    fits: dict[str, dict[str, float]],
) -> SystemResult:
    """One row: results with figures that need all clips. compared: by embedder; fits: by clip and measure."""
    found = {}
    for name, item in made.items():
        tags = {f"{m}:{e}": value for e, answer in compared.items() for m, value in answer.clips.get(name, {}).items()}
        found[name] = replace(item, values={**item.values, **fits.get(name, {}), **tags})
    sets = {embedder: answer.sets for embedder, answer in compared.items()}
    row = SystemResult(system.spec, system.describe(), found, failures, {}, sets, system.selects_by_similarity)
    return replace(row, summary=summarise(row.folder))


def clear(results: Path) -> None:
    """Remove unfinished work of runs that were killed, not that of a run beside this one."""
    for left in results.glob(f"*/{SCRATCH}*"):
        try:
            os.kill(int(left.name.removeprefix(SCRATCH).split("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:  # somebody else's process, which is alive
            continue


def check(
    suite: Suite, specs: Sequence[str], embedders: Sequence[str], workers: int, timeout: float, n_seeds: int
) -> None:
    """Raises OptionError or InputError for what cannot be run."""
    if not suite.clips:
        raise InputError(f"{suite.path}: none of its clips is on disk; run `openvmas eval build {suite.path}`.")
    if not specs or len(set(specs)) < len(specs):
        raise OptionError("systems must be named, each once; give for example --systems ours,random,reference.")
    for name in embedders:
        check_name(name)
    if not 1 <= workers <= MAX_WORKERS:
        raise OptionError(f"workers cannot be {workers}; give a number from 1 to {MAX_WORKERS}.")
    if not 1 <= n_seeds <= MAX_SEEDS:
        raise OptionError(f"seeds cannot be {n_seeds}; give a number from 1 to {MAX_SEEDS}.")
    if not 1 <= timeout <= 86_400:
        raise OptionError(f"timeout cannot be {timeout:g}; give seconds from 1 to 86400.")


def evenly_spaced(clips: tuple[Clip, ...], limit: int) -> tuple[Clip, ...]:
    """So many clips evenly from the whole suite, in their order. Raises OptionError."""
    if limit < 1:
        raise OptionError(f"limit cannot be {limit}; give the number of clips.")
    n = min(limit, len(clips))
    return tuple(clips[i * len(clips) // n] for i in range(n))


def have_results(clips: tuple[Clip, ...], specs: Sequence[str], results: Path, setting: Setting) -> tuple[Clip, ...]:
    """The clips for which every system that can has a result on record. Raises InputError if there are none."""
    needed = {spec: open_system(spec, setting).needs_reference for spec in specs}

    def is_there(clip: Clip) -> bool:
        asked = [spec for spec in specs if clip.music is not None or not needed[spec]]
        return all((results / file_name(spec) / f"{clip.name}.json").is_file() for spec in asked)

    found = tuple(clip for clip in clips if is_there(clip))
    if not found:
        raise InputError(
            f"{results} has no clip that all these systems have finished; run without --only-complete first."
        )
    return found


def compare_pairs(systems: Sequence[SystemResult]) -> dict[tuple[str, str], Pairing]:
    """Every other system against the first, over clips that both have, for measures that have a better side."""
    first = systems[0].folder
    found = {
        (other.spec, name): pairing
        for other in systems[1:]
        for name, pairing in differences(first, other.folder).items()
        if base(name) in MEASURES and MEASURES[base(name)].better and base(name) not in RESTATED
    }
    return correct(found)
