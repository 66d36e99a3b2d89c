"""A synthetic set of any size through index, near-duplicates, split and shards; says what it took.

    python -m tests.data.scale 100000 FOLDER

Every 40th record is a copy of the one 17 before it: other speed and pitch, a fifth of the peaks lost, another crop.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from openvmas.data.curation.record import Catalogue
from openvmas.data.curation.set_splits import Split, make_set
from openvmas.data.duplicates.groups import Duplicates
from openvmas.data.shards.tar_shards import write_shards
from tests.data.made_sets import (
    Made,
    copy_peaks,
    copy_words,
    make_peaks,
    make_record,
    make_words,
    with_prints,
    write_work,
)

EVERY, BACK = 40, 17


def records(n: int) -> Iterator[Made]:
    """n clips of 12 s, in albums of 25."""
    for number in range(n):
        record = replace(make_record(number, collection=f"album {number // 25}"), end=12.0)
        first = number - BACK if is_copy(number) else number
        peaks, words = make_peaks(first, 120, 12.0), make_words(first, 4)
        if first != number:
            peaks = copy_peaks(peaks, number, speed=1.02, shift=0.34)
            words = copy_words(words, number, crop=number % 12)
        yield with_prints(record, peaks, words)


def is_copy(number: int) -> bool:
    return number % EVERY == EVERY - 1


class Watched:
    """A set stage that keeps what it gave, for the tests."""

    name = "duplicates"

    def __call__(self, catalogue: Catalogue, work: Path, scratch: Path) -> Catalogue:
        self.found = Duplicates()(catalogue, work, scratch)
        return self.found


def measure(n: int, folder: Path) -> dict[str, float]:
    """Seconds and memory of each step, copies found, and other records taken for copies."""
    report: dict[str, float] = {"records": n}
    began = [time.perf_counter(), time.process_time()]

    def note(name: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        report[f"{name}_s"], report[f"{name}_cpu_s"] = (round(b - a, 2) for a, b in zip(began, now, strict=True))
        report[f"{name}_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
        began[:] = now
        print(f"{name}: {report[f'{name}_cpu_s']} s, {report[f'{name}_peak_mb']} MB", file=sys.stderr, flush=True)

    note("start")
    work = write_work(folder / "work", records(n), shard=500)
    note("make")
    watched = Watched()
    make_set(work, folder, (watched, Split()))
    note("set")
    write_shards(folder, work)
    note("shards")
    copies = np.array([number for number in range(n) if is_copy(number)])
    copy_of, cluster = watched.found.copy_of, watched.found.cluster
    right = (copy_of[copies] == copies - BACK) | (copy_of[copies - BACK] == copies)  # the smaller hash stays
    report["copies"], report["found"] = len(copies), int(right.sum())
    report["false"] = int((copy_of >= 0).sum() - right.sum())
    own = np.arange(n)
    own[copies] -= BACK
    report["merged_wrongly"] = int((cluster < own).sum())
    return report


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), Path(sys.argv[2])), indent=1))
