"""Stages for a set as a whole: records that repeat others are dropped, the rest goes into train, valid and test."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from openvmas.data.curation.record import SPLITS, Catalogue, Drop, drop_line, hash64, read_catalogue, read_records, walk
from openvmas.data.duplicates.groups import Duplicates, Groups
from openvmas.data.duplicates.sound_print import mix
from openvmas.errors import InputError, OptionError
from openvmas.files import atomic_path
from openvmas.settings import option

NO_SPLIT = 255
LARGE_GROUP = 1 / 3  # of all records: a group above it makes shares that nobody asked for


class SetStage(Protocol):
    """Sees all records of a work folder and fills columns of their catalogue."""

    name: ClassVar[str]

    def __call__(self, catalogue: Catalogue, work: Path, scratch: Path) -> Catalogue: ...


@dataclass(frozen=True)
class Split:
    """Puts records into train, valid and test by hash, whole clusters of near-duplicates and whole collections at once.

    A collection's place does not depend on the others, so a set that grows keeps its splits; only where a new record
    ties two clusters together can one of them move. With `previous` even those stay: a cluster that was in train is
    train, and nothing of an older train set gets into valid or test.
    """

    valid: float = option(0.02, "Share of clusters for validation.", min=0, max=1)
    test: float = option(0.02, "Share of clusters for tests.", min=0, max=1)
    by_collection: bool = option(
        True, "Keep albums, channels and subfolders together, not only files and near-duplicates."
    )
    seed: str = option("", "Another text gives another split.")
    previous: str = option("", "The set.jsonl of an older build of this set, whose splits are kept.")
    name: ClassVar[str] = "split"

    def __post_init__(self) -> None:
        if self.valid + self.test > 1:
            raise OptionError("valid and test are more than 1 together; give smaller shares.")

    def __call__(self, catalogue: Catalogue, work: Path, scratch: Path) -> Catalogue:
        """Fill `split`, and `group` with what is kept together. Raises InputError for a bad `previous`."""
        n = len(catalogue)
        together = Groups(n)
        for column in (catalogue.cluster.astype(np.uint64) + np.uint64(1), catalogue.parent, catalogue.sha256):
            together.join_equal(column)
        if self.by_collection:
            together.join_equal(catalogue.collection)
        roots = together.roots()
        # The hash of the smallest name: the smallest itself would be small, and smaller in large clusters.
        names = np.full(n, np.iinfo(np.uint64).max, np.uint64)
        own = catalogue.parent
        if self.by_collection:
            own = np.where(catalogue.collection != 0, catalogue.collection, own)
        np.minimum.at(names, roots, mix(own ^ np.uint64(hash64(f"split {self.seed}"))))
        places = (mix(names) >> np.uint64(11)).astype(np.float64) / (1 << 53)
        split = np.where(places < self.valid, 1, np.where(places < self.valid + self.test, 2, 0))
        if self.previous:
            before = self._before(catalogue)
            for code in (1, 2, 0):  # the last one written wins: train
                split[roots[before == code]] = code
        return replace(catalogue, group=roots, split=split[roots].astype(np.uint8))

    def _before(self, catalogue: Catalogue) -> np.ndarray:
        """Earlier split of each record: [N], NO_SPLIT where it was not there."""
        path = Path(self.previous)
        if not path.is_file():
            raise InputError(f"{path} is not there; give the set.jsonl of an older build.")
        order = np.argsort(catalogue.ids)
        before = np.full(len(catalogue), NO_SPLIT, np.uint8)
        for record in read_records(path):
            name = record.facts.get("split.name")
            if name not in SPLITS:
                raise InputError(f"{path}: {record.id} has no split; give the set.jsonl of a finished build.")
            value = np.uint64(hash64(record.id))
            at = int(np.searchsorted(catalogue.ids, value, sorter=order))
            if at < len(order) and catalogue.ids[order[at]] == value:
                before[order[at]] = SPLITS.index(name)
        return before


SET_STAGES: dict[str, type] = {stage.name: stage for stage in (Duplicates, Split)}


def make_set(work: Path, output: Path, stages: Iterable[SetStage] = (Duplicates(), Split())) -> Counter[str]:
    """Run set stages over a work folder; write `set.jsonl` and, into the work folder, `drops-set.jsonl`.

    Both appear whole or not at all. Records of the set get the facts `split.name`, `split.group` (what was kept
    together) and `duplicates.cluster` (near-duplicates of each other). Gives the number of records of each split and of
    `copies`, and of the largest group as `largest`. Raises InputError.
    """
    catalogue = read_catalogue(work)
    for stage in stages:
        catalogue = stage(catalogue, work, work / f"scratch-{stage.name}")
    output.mkdir(parents=True, exist_ok=True)
    targets = [output / "set.jsonl", work / "drops-set.jsonl"]
    clusters, groups = _names(catalogue, catalogue.cluster), _names(catalogue, catalogue.group)
    best = catalogue.copy_of[catalogue.copy_of >= 0]
    kept_names = dict.fromkeys(best.tolist(), "")
    for number, (record, _) in enumerate(walk(work)):
        if number in kept_names:
            kept_names[number] = record.id
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        hidden = [stack.enter_context(atomic_path(target)) for target in targets]
        kept, dropped = (stack.enter_context(part.open("w", encoding="utf-8", newline="\n")) for part in hidden)
        for number, (record, _) in enumerate(walk(work)):
            original = int(catalogue.copy_of[number])
            if original >= 0:
                counts["copies"] += 1
                dropped.write(drop_line(Drop(record, Duplicates.name, "copy", kept_names[original])) + "\n")
                continue
            split = SPLITS[catalogue.split[number]]
            counts[split] += 1
            record = record.with_facts("duplicates", cluster=f"{clusters[number]:016x}")
            record = record.with_facts(Split.name, name=split, group=f"{groups[number]:016x}")
            kept.write(record.to_json() + "\n")
    is_kept = catalogue.copy_of < 0
    counts["largest"] = int(np.unique(catalogue.group[is_kept], return_counts=True)[1].max(initial=0))
    return counts


def describe_splits(counts: Counter[str], stages: Iterable[SetStage]) -> list[str]:
    """Sentences about what came of the split: what is empty though it was asked for, what is held together too much."""
    found = [stage for stage in stages if isinstance(stage, Split)]
    n = sum(counts[name] for name in SPLITS)
    lines = []
    for stage in found if n else ():
        asked = {"train": 1 - stage.valid - stage.test, "valid": stage.valid, "test": stage.test}
        for name, share in asked.items():
            if share > 1e-9 and not counts[name]:
                lines.append(
                    f"note: {name} is empty, though {share:.0%} was asked for; take a larger share or another seed in "
                    "[sets.split]."
                )
        if counts["largest"] > n * LARGE_GROUP and n > 2:
            why = "files, collections (subfolders, channels, albums)" if stage.by_collection else "files"
            remedy = "by_collection = false in [sets.split] splits by files and near-duplicates alone"
            lines.append(
                f"note: {counts['largest']:,} of {n:,} records are held together by {why} and near-duplicates, and "
                f"go to one split{'; ' + remedy if stage.by_collection else ''}."
            )
    return lines


def _names(catalogue: Catalogue, roots: np.ndarray) -> np.ndarray:
    """A name for the cluster or group of each record that does not depend on the order of records: [N] uint64."""
    names = np.full(len(catalogue), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(names, roots, catalogue.ids)
    return names[roots]
