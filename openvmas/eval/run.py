"""Systems on a suite: every result made, measured and compared, resumable at any point.

Three rounds of jobs in worker processes (`eval.work_pool`, `eval.bench`): clips are prepared, then every system makes
and measures its music for every clip, then all music of each system is compared with the true music. What is on record
with the same key is not made again. A failure costs its cell of the table and is listed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from openvmas.errors import InputError, OptionError
from openvmas.eval.adapters.names import check_name, open_embedder
from openvmas.eval.bench import ENDING, SCRATCH, BenchSetting, Compare, Made, Make, Prepare, start
from openvmas.eval.folder import MeasuredFile, MeasuredFolder, Pairing, correct, differences, summarise
from openvmas.eval.statistics import Interval
from openvmas.eval.suite import Clip, Suite
from openvmas.eval.systems import Setting, file_name, open_system
from openvmas.eval.tables import MEASURES
from openvmas.eval.work_pool import Failure, WorkPool

REFERENCE = "reference"
TIMEOUT = 1800.0  # s for one job
MAX_JOBS = 64


@dataclass(frozen=True)
class SystemResult:
    """One row of the table. says: what it is; made: by name of the clip; failures: sentences by name of the clip.

    summary: mean with its interval and number of clips; sets: by embedder, then measure.
    """

    spec: str
    says: str
    made: dict[str, Made]
    failures: dict[str, str]
    summary: dict[str, tuple[Interval, int]]
    sets: dict[str, dict[str, Interval]]

    @property
    def folder(self) -> MeasuredFolder:
        """Its values as `eval.folder` compares them."""
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
    over all of them. broken: clips that could not be prepared. wall: of this run, s; cpu: of making, over all runs.
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


def run(
    suite: Suite,
    specs: Sequence[str],
    results: Path,
    setting: Setting,
    *,
    embedders: Sequence[str] = ("yamnet", "musicnn"),
    jobs: int = 1,
    seed: int = 0,
    limit: int | None = None,
    finished: bool = False,
    timeout: float = TIMEOUT,
    say: Callable[[str], None] = lambda text: None,
) -> RunResult:
    """Make, measure and compare. Raises OptionError, InputError or ModelError before anything long begins.

    limit: so many clips evenly from the suite. finished: only clips that all systems have results for already.
    """
    began = time.monotonic()
    check(suite, specs, embedders, jobs, timeout)
    says = {spec: open_system(spec, setting).describe() for spec in specs}
    for name in embedders:
        open_embedder(name)  # that its weights can be read shows now and not in an hour
    clips = suite.clips if limit is None else spread(suite.clips, limit)
    if finished:
        clips = have_results(clips, specs, results, setting)
    bench = BenchSetting(results, setting, tuple(embedders), seed)
    results.mkdir(parents=True, exist_ok=True)
    clear(results)
    with WorkPool(jobs, start, bench, timeout) as pool:
        broken = prepare_all(pool, clips, say)
        whole = [clip for clip in clips if clip.name not in broken]
        if not whole:
            raise InputError(f"no clip of {suite.name} can be used; the first: {next(iter(broken.values()))}")
        made, failures = make_all(pool, whole, specs, setting, say)
        sets = compare_all(pool, made, embedders, say)
    systems = []
    for spec in specs:
        row = SystemResult(spec, says[spec], made[spec], failures[spec], {}, sets.get(spec, {}))
        systems.append(replace(row, summary=summarise(row.folder)))
    n_kept = sum(not item.is_new for spec in specs for item in made[spec].values())
    pairs = compare_pairs(systems)
    wall = time.monotonic() - began
    return RunResult(suite, tuple(whole), tuple(systems), pairs, broken, tuple(embedders), seed, wall, n_kept)


def clear(results: Path) -> None:
    """Remove unfinished work of runs that were killed, not that of a run beside this one."""
    for left in results.glob(f"*/{SCRATCH}*"):
        try:
            os.kill(int(left.name.removeprefix(SCRATCH).split("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:  # somebody else's process, which is alive
            continue


def check(suite: Suite, specs: Sequence[str], embedders: Sequence[str], jobs: int, timeout: float) -> None:
    """Raises OptionError or InputError for what cannot be run."""
    if not suite.clips:
        raise InputError(f"{suite.path}: none of its clips is on disk; run `openvmas eval build {suite.path}`.")
    if not specs or len(set(specs)) < len(specs):
        raise OptionError("systems must be named, each once; give for example --systems ours,random,reference.")
    for name in embedders:
        check_name(name)
    if not 1 <= jobs <= MAX_JOBS:
        raise OptionError(f"jobs cannot be {jobs}; give a number from 1 to {MAX_JOBS}.")
    if not 1 <= timeout <= 86_400:
        raise OptionError(f"timeout cannot be {timeout:g}; give seconds from 1 to 86400.")


def spread(clips: tuple[Clip, ...], limit: int) -> tuple[Clip, ...]:
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
        raise InputError(f"{results} has no clip that all these systems have finished; run without --finished first.")
    return found


def prepare_all(pool: WorkPool, clips: Iterable[Clip], say: Callable[[str], None]) -> dict[str, str]:
    """Cut, look and listen; sentences by name of the clips where that fails."""
    jobs = [Prepare(clip) for clip in clips]
    broken = {}
    for number, (job, answer) in enumerate(pool.run(jobs), 1):
        if isinstance(answer, Failure):
            broken[job.clip.name] = answer.sentence
            say(f"left out {job.clip.name}: {answer.sentence}")
        else:
            say(f"clip {number} of {len(jobs)}: {job.clip.name}, {answer:.1f} s")
    return broken


def make_all(
    pool: WorkPool, clips: Sequence[Clip], specs: Sequence[str], setting: Setting, say: Callable[[str], None]
) -> tuple[dict[str, dict[str, Made]], dict[str, dict[str, str]]]:
    """All results and failures, by system and name of the clip; the reference is made too, asked for or not."""
    needed = {spec: open_system(spec, setting).needs_reference for spec in specs} | {REFERENCE: True}
    # Clip by clip, so that a run that is stopped has compared all systems on some clips.
    jobs = [Make(spec, clip) for clip in clips for spec in needed if clip.music is not None or not needed[spec]]
    made: dict[str, dict[str, Made]] = {spec: {} for spec in needed}
    failures: dict[str, dict[str, str]] = {spec: {} for spec in needed}
    for number, (job, answer) in enumerate(pool.run(jobs), 1):
        name = f"{number} of {len(jobs)}: {job.spec}, {job.clip.name}"
        if isinstance(answer, Failure):
            failures[job.spec][job.clip.name] = answer.sentence
            say(f"{name}: failed: {answer.sentence}")
        else:
            made[job.spec][job.clip.name] = answer
            say(f"{name}, {f'{answer.wall:.1f} s' if answer.is_new else 'kept'}")
    order = {clip.name: i for i, clip in enumerate(clips)}  # answers come in any order, tables do not
    return {
        spec: dict(sorted(found.items(), key=lambda item: order[item[0]])) for spec, found in made.items()
    }, failures


def compare_all(
    pool: WorkPool, made: dict[str, dict[str, Made]], embedders: Sequence[str], say: Callable[[str], None]
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Measures of whole sets, by system and embedder; of the reference itself only what needs no other set."""
    keys = {spec: tuple((name, item.sound) for name, item in found.items()) for spec, found in made.items()}
    jobs = [
        Compare(spec, name, found, () if spec == REFERENCE else keys[REFERENCE])
        for spec, found in keys.items()
        for name in embedders
        if found
    ]
    sets: dict[str, dict[str, dict[str, Interval]]] = {}
    for number, (job, answer) in enumerate(pool.run(jobs), 1):
        if isinstance(answer, Failure):
            say(f"{job.spec} has no distances by {job.embedder}: {answer.sentence}")
            continue
        sets.setdefault(job.spec, {})[job.embedder] = answer
        say(f"set {number} of {len(jobs)}: {job.spec}, {job.embedder}")
    return sets


def compare_pairs(systems: Sequence[SystemResult]) -> dict[tuple[str, str], Pairing]:
    """Every other system against the first, over clips that both have, for measures that have a better side."""
    first = systems[0].folder
    found = {
        (other.spec, name): pairing
        for other in systems[1:]
        for name, pairing in differences(first, other.folder).items()
        if name in MEASURES and MEASURES[name].better
    }
    return correct(found)
