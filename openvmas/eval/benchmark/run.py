"""Systems on a suite: every result made, measured and compared, resumable at any point.

Stages of jobs in worker processes (`processes.limited`, `eval.benchmark.worker`): clips are prepared; every
system makes and measures
its music for every clip, and music by other seeds for some; all music of each system is compared with the true music
and with all pictures. What is on record with the same key is not made again. A failure costs its cell of the table and
is listed.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from openvmas.errors import InputError, OptionError
from openvmas.eval.benchmark import set_measures
from openvmas.eval.benchmark.folder_measures import (
    MeasuredFile,
    MeasuredFolder,
    Pairing,
    correct,
    differences,
    summarise,
)
from openvmas.eval.benchmark.worker import (
    SCRATCH,
    Compare,
    Compared,
    Made,
    Make,
    Match,
    PreparedClip,
    WorkerSettings,
    start,
)
from openvmas.eval.embedders.cross_modal_similarity import LearnedSimilarity
from openvmas.eval.embedders.registry import check_name, open_embedder, sees_pictures
from openvmas.eval.metrics.measure_table import MEASURES, base
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.suite import MAX_SEEDS, Clip, Suite, evenly_spaced
from openvmas.eval.systems.system import Setting, System, file_name, open_system
from openvmas.files import is_alive
from openvmas.processes.cluster import ClusterPool, open_pool
from openvmas.processes.limited import Failure, LimitedProcess, Limits, WorkerPool

TIMEOUT = 1800.0  # s for one job
MAX_WORKERS = 64
REFERENCE = "reference"
MadeMusic = dict[str, dict[str, Made]]  # by system and name of the clip
Takes = dict[str, tuple[tuple[str, ...], ...]]  # by system: of every clip the keys of its sounds, one a seed
RESTATED = frozenset({"retrieval_r1", "retrieval_r5", "retrieval_rank"})  # not tested: what own_similarity says


@dataclass(frozen=True)
class SystemResult:
    """One row of the table. says: what it is; made: by name of the clip; failures: sentences by name of the clip.

    summary: mean with its interval and number of clips; sets: by embedder, then measure; patches: by embedder, those
    that count in distances and all that sound; selects_by_similarity: it chooses by the similarity that measures.
    """

    spec: str
    says: str
    made: dict[str, Made]
    failures: dict[str, str]
    summary: dict[str, tuple[Interval, int]]
    sets: dict[str, dict[str, Interval]]
    selects_by_similarity: bool = False
    patches: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def folder(self) -> MeasuredFolder:
        """Its values as `eval.benchmark.folder_measures` compares them."""
        files = tuple(MeasuredFile(name, made.values, None) for name, made in self.made.items())
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
    reference: ReferenceSize | None = None


@dataclass(frozen=True)
class ReferenceSize:
    """Number of clips with true music, and by embedder how far halves of it lie apart (`small_samples.halves`)."""

    n_files: int
    halves: dict[str, Interval]


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
    ray: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> RunResult:
    """Make, measure and compare. Raises OptionError, InputError or ModelError before anything long begins.

    seeds: of systems that draw, on some clips; the suite's number if left out. limit: so many clips evenly from the
    suite. only_complete: only clips that all systems have results for already. ray: address of a cluster
    whose nodes see the folders of suite, media and results under the same paths; what was measured is then kept beside
    the results.
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
        clips = have_results(clips, systems, results)
    results = results.absolute()  # workers of a cluster have folders of their own
    if ray is not None and setting.cache is None:
        setting = replace(setting, cache=results / "measured")
    setting = Setting(*(folder and folder.absolute() for folder in (setting.library, setting.systems, setting.cache)))
    bench = WorkerSettings(results, setting, tuple(embedders), seed)
    results.mkdir(parents=True, exist_ok=True)
    clear(results)
    with open_pool(workers, functools.partial(make_process, bench, timeout), ray) as pool:
        stages = RunStages(pool, say)
        prepared, broken = stages.prepare(clips)
        whole = [clip for clip in clips if clip.name not in broken]
        if not whole:
            raise InputError(f"no clip of {suite.name} can be used; the first: {next(iter(broken.values()))}")
        made, failures = stages.make(whole, systems)
        again = evenly_spaced(tuple(whole), suite.seed_clips) if n_seeds > 1 else ()
        drawn = [spec for spec in specs if systems[spec].is_random]
        takes = stages.make_takes(again, drawn, n_seeds, made) if not only_complete else {}
        sets = stages.compare(made, takes, embedders)
        fits = stages.match(made, whole, prepared, specs, others)
    rows = [row_of(systems[spec], made[spec], failures[spec], sets.get(spec, {}), fits.get(spec, {})) for spec in specs]
    n_kept = sum(not item.is_new for spec in specs for item in made[spec].values())
    n_again, wall = (n_seeds, len(again)) if takes else (1, 0), time.monotonic() - began
    of_run = tuple(embedders), seed, wall, n_kept, judge, n_again, others
    of_reference = {embedder: found.sets for embedder, found in sets.get(REFERENCE, {}).items()}
    own = {embedder: found["frechet_halves"] for embedder, found in of_reference.items() if "frechet_halves" in found}
    size = ReferenceSize(len(made[REFERENCE]), own) if made[REFERENCE] else None
    return RunResult(suite, tuple(whole), tuple(rows), compare_pairs(rows), broken, *of_run, size)


def make_process(setting: WorkerSettings, timeout: float) -> LimitedProcess:
    """One worker. timeout: s for one job."""
    return LimitedProcess(start, setting, Limits(seconds=timeout), is_trusted=True, remedy="raise --timeout")


@dataclass(frozen=True)
class RunStages:
    """The stages of a run: each a list of jobs for the worker processes, with a line of progress for every answer."""

    pool: WorkerPool | ClusterPool
    say: Callable[[str], None]

    def prepare(self, clips: Sequence[Clip]) -> tuple[dict[str, PreparedClip], dict[str, str]]:
        """Cut and analyze all clips: prepared clips by name, and sentences by name where that failed."""
        prepared, broken = {}, {}
        for number, (clip, answer) in enumerate(self.pool.run(clips), 1):
            if isinstance(answer, Failure):
                broken[clip.name] = answer.sentence
                self.say(f"left out {clip.name}: {answer.sentence}")
            else:
                prepared[clip.name] = answer
                self.say(f"clip {number} of {len(clips)}: {clip.name}, {answer.duration:.1f} s")
        return prepared, broken

    def make_each(self, jobs: Sequence[Make], what: str = "") -> Iterator[tuple[Make, Made | Failure]]:
        """Jobs with their music as it comes. what: begins the line of progress of each."""
        for number, (job, answer) in enumerate(self.pool.run(jobs), 1):
            if isinstance(answer, Failure):
                outcome = f": failed: {answer.sentence}"
            else:
                outcome = f", {answer.wall:.1f} s" if answer.is_new else ", kept"
            self.say(f"{what}{number} of {len(jobs)}: {job.spec}, {job.name}{outcome}")
            yield job, answer

    def make(self, clips: Sequence[Clip], systems: dict[str, System]) -> tuple[MadeMusic, dict[str, dict[str, str]]]:
        """All results and failures, by system and name of the clip; the reference is made too, asked for or not."""
        needed = {spec: system.needs_reference for spec, system in systems.items()} | {REFERENCE: True}
        # Clip by clip, so that a run that is stopped has compared all systems on some clips.
        jobs = [Make(spec, clip) for clip in clips for spec in needed if clip.music is not None or not needed[spec]]
        made: MadeMusic = {spec: {} for spec in needed}
        failures: dict[str, dict[str, str]] = {spec: {} for spec in needed}
        for job, answer in self.make_each(jobs):
            if isinstance(answer, Failure):
                failures[job.spec][job.name] = answer.sentence
            else:
                made[job.spec][job.name] = answer
        # Answers come in any order, tables do not.
        names = [clip.name for clip in clips]
        return {spec: {name: found[name] for name in names if name in found} for spec, found in made.items()}, failures

    def make_takes(self, clips: Sequence[Clip], specs: Sequence[str], n_seeds: int, made: MadeMusic) -> Takes:
        """Music by other seeds, by system: of every clip that has them all the keys of its sounds."""
        pairs = [(spec, clip) for clip in clips for spec in specs if clip.name in made[spec]]
        jobs = [Make(spec, clip, take) for spec, clip in pairs for take in range(1, n_seeds)]
        found = {(spec, clip.name): {0: made[spec][clip.name].sound} for spec, clip in pairs}
        for job, answer in self.make_each(jobs, "seed "):
            if not isinstance(answer, Failure):
                found[job.spec, job.clip.name][job.take] = answer.sound
        takes: Takes = {}
        for spec in specs:
            of_clips = [found.get((spec, clip.name), {}) for clip in clips]
            takes[spec] = tuple(tuple(take[i] for i in range(n_seeds)) for take in of_clips if len(take) == n_seeds)
        return takes

    def compare(self, made: MadeMusic, takes: Takes, embedders: Sequence[str]) -> dict[str, dict[str, Compared]]:
        """Measures of whole sets, by system and embedder; of the reference itself only what needs no other set."""
        keys = {spec: tuple((name, item.sound) for name, item in found.items()) for spec, found in made.items()}
        is_single = len(keys[REFERENCE]) < set_measures.MIN_FILES  # one piece is no set to be near to
        jobs = [
            Compare(spec, name, found, () if spec == REFERENCE or is_single else keys[REFERENCE], takes.get(spec, ()))
            for spec, found in keys.items()
            for name in embedders
            if found
        ]
        sets: dict[str, dict[str, Compared]] = {}
        for number, (job, answer) in enumerate(self.pool.run(jobs), 1):
            if isinstance(answer, Failure):
                self.say(f"{job.spec} has no distances by {job.embedder}: {answer.sentence}")
                continue
            sets.setdefault(job.spec, {})[job.embedder] = answer
            self.say(f"set {number} of {len(jobs)}: {job.spec}, {job.embedder}")
        return sets

    def match(
        self, made: MadeMusic, clips: Sequence[Clip], prepared: dict[str, PreparedClip], specs: Sequence[str],
        judges: Sequence[str],
    ) -> dict[str, dict[str, dict[str, float]]]:  # fmt: skip
        """Similarity of each system's music to its own and all other pictures, by system, clip and measure.

        judges: embedders that are asked besides the learned comparison.
        """
        jobs = []
        for spec in specs:
            there = tuple(clip for clip in clips if clip.name in made[spec])
            pictures = tuple(prepared[clip.name].key for clip in there)
            sounds = tuple(made[spec][clip.name].sound for clip in there)
            jobs += [Match(spec, there, pictures, sounds, judge) for judge in (None, *judges) if there]
        found: dict[str, dict[str, dict[str, float]]] = {}
        for number, (job, answer) in enumerate(self.pool.run(jobs), 1):
            by = f" by {job.judge}" if job.judge else ""
            if isinstance(answer, Failure):
                self.say(f"{job.spec} has no similarity{by}: {answer.sentence}")
                continue
            for clip, values in answer.items():
                found.setdefault(job.spec, {}).setdefault(clip, {}).update(values)
            self.say(f"similarity {number} of {len(jobs)}: {job.spec}{by}")
        return found


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
    patches = {embedder: answer.patches for embedder, answer in compared.items()}
    row = SystemResult(system.spec, system.describe(), found, failures, {}, sets, system.selects_by_similarity, patches)
    return replace(row, summary=summarise(row.folder))


def clear(results: Path) -> None:
    """Remove unfinished work of runs that were killed, not that of a run beside this one."""
    for left in results.glob(f"*/{SCRATCH}*"):
        number = left.name.removeprefix(SCRATCH).split("-")[0]
        if not number.isdecimal() or not is_alive(int(number)):
            shutil.rmtree(left, ignore_errors=True)


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


def have_results(clips: tuple[Clip, ...], systems: dict[str, System], results: Path) -> tuple[Clip, ...]:
    """The clips for which every system that can has a result on record. Raises InputError if there are none."""

    def is_there(clip: Clip) -> bool:
        asked = [spec for spec, system in systems.items() if clip.music is not None or not system.needs_reference]
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
