"""The stages of `eval run`: each a list of jobs for the worker processes, with a line of progress for every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from openvmas.eval.benchmark.worker import Compare, Compared, Made, Make, Match, Prepare, PreparedClip
from openvmas.eval.suites.suite import Clip
from openvmas.eval.systems.system import Setting, open_system
from openvmas.processes.limited import Failure, WorkerPool

REFERENCE = "reference"


def prepare_all(
    pool: WorkerPool, clips: Iterable[Clip], say: Callable[[str], None]
) -> tuple[dict[str, PreparedClip], dict[str, str]]:
    """Cut and analyze all clips: prepared clips by name, and sentences by name where that failed."""
    jobs = [Prepare(clip) for clip in clips]
    prepared, broken = {}, {}
    for number, (job, answer) in enumerate(pool.run(jobs), 1):
        if isinstance(answer, Failure):
            broken[job.clip.name] = answer.sentence
            say(f"left out {job.clip.name}: {answer.sentence}")
        else:
            prepared[job.clip.name] = answer
            say(f"clip {number} of {len(jobs)}: {job.clip.name}, {answer.duration:.1f} s")
    return prepared, broken


def make_all(
    pool: WorkerPool, clips: Sequence[Clip], specs: Sequence[str], setting: Setting, say: Callable[[str], None]
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


def make_takes(
    pool: WorkerPool,
    clips: Sequence[Clip],
    specs: Sequence[str],
    n_seeds: int,
    made: dict[str, dict[str, Made]],
    say: Callable[[str], None],
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Music by other seeds, by system: of every clip that has them all the keys of its sounds."""
    jobs = [
        Make(spec, clip, take)
        for clip in clips
        for spec in specs
        for take in range(1, n_seeds)
        if clip.name in made[spec]
    ]
    found: dict[tuple[str, str], dict[int, str]] = {}
    for number, (job, answer) in enumerate(pool.run(jobs), 1):
        name = f"seed {number} of {len(jobs)}: {job.spec}, {job.name}"
        if isinstance(answer, Failure):
            say(f"{name}: failed: {answer.sentence}")
            continue
        found.setdefault((job.spec, job.clip.name), {0: made[job.spec][job.clip.name].sound})[job.take] = answer.sound
        say(f"{name}, {f'{answer.wall:.1f} s' if answer.is_new else 'kept'}")
    takes: dict[str, tuple[tuple[str, ...], ...]] = {}
    for spec in specs:
        of_clips = [found.get((spec, clip.name), {}) for clip in clips]
        takes[spec] = tuple(tuple(take[i] for i in range(n_seeds)) for take in of_clips if len(take) == n_seeds)
    return takes


def compare_all(
    pool: WorkerPool,
    made: dict[str, dict[str, Made]],
    takes: dict[str, tuple[tuple[str, ...], ...]],
    embedders: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, dict[str, Compared]]:
    """Measures of whole sets, by system and embedder; of the reference itself only what needs no other set."""
    keys = {spec: tuple((name, item.sound) for name, item in found.items()) for spec, found in made.items()}
    jobs = [
        Compare(spec, name, found, () if spec == REFERENCE else keys[REFERENCE], takes.get(spec, ()))
        for spec, found in keys.items()
        for name in embedders
        if found
    ]
    sets: dict[str, dict[str, Compared]] = {}
    for number, (job, answer) in enumerate(pool.run(jobs), 1):
        if isinstance(answer, Failure):
            say(f"{job.spec} has no distances by {job.embedder}: {answer.sentence}")
            continue
        sets.setdefault(job.spec, {})[job.embedder] = answer
        say(f"set {number} of {len(jobs)}: {job.spec}, {job.embedder}")
    return sets


def match_all(
    pool: WorkerPool,
    made: dict[str, dict[str, Made]],
    clips: Sequence[Clip],
    prepared: dict[str, PreparedClip],
    specs: Sequence[str],
    judges: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, dict[str, dict[str, float]]]:
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
    for number, (job, answer) in enumerate(pool.run(jobs), 1):
        by = f" by {job.judge}" if job.judge else ""
        if isinstance(answer, Failure):
            say(f"{job.spec} has no similarity{by}: {answer.sentence}")
            continue
        for clip, values in answer.items():
            found.setdefault(job.spec, {}).setdefault(clip, {}).update(values)
        say(f"similarity {number} of {len(jobs)}: {job.spec}{by}")
    return found
