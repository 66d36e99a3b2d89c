"""One record through all stages: what a worker process does, and how it limits itself."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.recipe import Chosen, LimitOptions, make_stage
from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.data.curation.workers import OUT_OF_MEMORY, Outcome
from openvmas.errors import InputError
from openvmas.files import write_npz

UNREADABLE = "unreadable"
_PR_SET_PDEATHSIG = 1


def run_stages(
    index: int, record: Record, media: Media, stages: Sequence[Any], say: Callable[[str], None] = lambda stage: None
) -> tuple[Outcome, dict[str, np.ndarray]]:
    """One record through stages, in order; parts that a stage makes go on one by one.

    say is told each stage before it runs. Returns the outcome and the arrays of the records that are kept, by
    "<record id>/<name>". A stage that cannot read the file (InputError) drops it as unreadable.
    """
    todo: list[tuple[Record, Media, int]] = [(record, media, 0)]
    kept: list[Record] = []
    drops: list[Drop] = []
    arrays: dict[str, np.ndarray] = {}
    seen: dict[str, int] = {}
    costs: dict[str, float] = {}
    while todo:
        record, media, place = todo.pop()
        if place == len(stages):
            kept.append(replace(record, arrays=tuple(sorted(media.arrays)), sha256=record.sha256 or media.sha256()))
            arrays |= {f"{record.id}/{name}": media.arrays[name] for name in sorted(media.arrays)}
            continue
        stage = stages[place]
        say(stage.name)
        seen[stage.name] = seen.get(stage.name, 0) + 1
        began = time.process_time()
        try:
            result: Record | Drop | list[Record] = stage(record, media)
        except InputError as error:
            result = Drop(record, stage.name, UNREADABLE, anonymous(str(error), media))
        costs[stage.name] = costs.get(stage.name, 0.0) + time.process_time() - began
        if isinstance(result, Drop):
            drops.append(result)
        elif isinstance(result, list):
            parts = [(part, media.part(part), place + 1) for part in result]
            for _, part_media, _ in parts:
                part_media.arrays.update(media.arrays)
            todo.extend(reversed(parts))
        else:
            todo.append((result, media, place + 1))
    return Outcome(index, tuple(kept), tuple(drops), seen, costs), arrays


def anonymous(text: str, media: Media) -> str:
    """A message without paths of this machine, so that two builds say the same."""
    for path in media.places():
        text = text.replace(str(path), media.name)
    return text


def limit(limits: LimitOptions) -> None:
    """Limits that hold for the whole life of the process."""
    size = limits.memory_megabytes << 20
    # Private writable memory where the kernel counts it, else all address space.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    for which, value in (
        (kind, size),
        (resource.RLIMIT_FSIZE, limits.scratch_megabytes << 20),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower hard limit of the system's holds already
            resource.setrlimit(which, (value, value))


def limit_time(limits: LimitOptions) -> None:
    """Processor time until the kernel ends the process, counted from now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + limits.cpu_seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that happens (Linux; elsewhere at the next answer)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def serve() -> None:
    """The life of a worker: a line of settings, then a line per record, until the input is closed."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not disturb the answers

    def answer(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    settings = json.loads(sys.stdin.buffer.readline())
    die_with_parent(settings["parent"])
    limits = LimitOptions(**settings["limits"])
    limit(limits)
    stages = [make_stage(Chosen(**chosen)) for chosen in settings["stages"]]
    answer(ready=True)
    for line in sys.stdin.buffer:
        job = json.loads(line)
        limit_time(limits)
        try:
            record = Record.from_json(job["record"])
            with Media(record, job["path"], settings["scratch"]) as media:
                outcome, arrays = run_stages(job["index"], record, media, stages, lambda stage: answer(at=stage))
            if arrays:
                write_npz(Path(job["arrays"]), arrays, is_compressed=False)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # tidying up would need memory, too
        answer(outcome=outcome.to_json())


if __name__ == "__main__":
    serve()
