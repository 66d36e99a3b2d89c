"""Near-duplicates over a whole set: fingerprints share keys, candidates are verified, groups grow together."""

from __future__ import annotations

import shutil
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from openvmas.data.curation.record import Catalogue, walk
from openvmas.data.duplicates import picture_print, sound_print
from openvmas.errors import OptionError
from openvmas.settings import option

ROW = np.dtype([("key", "<u8"), ("record", "<u4")])
N_PARTS = 256  # files by which rows are split; one at a time is in memory
BUFFER = 1 << 19  # rows in memory before they go to the files


class RowFiles:
    """Rows in the files of a folder, each in the file that its key names."""

    def __init__(self, folder: Path, dtype: np.dtype) -> None:
        folder.mkdir(parents=True)
        self._paths = [folder / f"{part:03d}.rows" for part in range(N_PARTS)]
        self._dtype = dtype
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._n_waiting = 0

    def add(self, rows: np.ndarray, keys: np.ndarray) -> None:
        """Put rows [N] into the files chosen by keys [N] uint64, which must be well mixed."""
        self._waiting.append((rows, (keys >> np.uint64(32)) % np.uint64(len(self._paths))))
        self._n_waiting += len(rows)
        if self._n_waiting >= BUFFER:
            self._flush()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Iterate over all rows, file by file; a file is removed when it has been read."""
        self._flush()
        for path in self._paths:
            if path.exists():
                yield np.fromfile(path, self._dtype)
                path.unlink()

    def _flush(self) -> None:
        if not self._n_waiting:
            return
        rows = np.concatenate([rows for rows, _ in self._waiting])
        parts = np.concatenate([parts for _, parts in self._waiting])
        self._waiting, self._n_waiting = [], 0
        order = np.argsort(parts, kind="stable")
        edges = np.searchsorted(parts[order], np.arange(len(self._paths) + 1, dtype=np.uint64))
        for path, start, end in zip(self._paths, edges[:-1], edges[1:], strict=True):
            if end > start:
                with path.open("ab") as file:
                    rows[order[start:end]].tofile(file)


class KeyTable:
    """Keys of records; says which records share several: a join of any size on disk, in bounded memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = RowFiles(folder / "keys", ROW)

    def add(self, record: int, keys: np.ndarray) -> None:
        """Distinct, well mixed keys [N] uint64 of one record."""
        rows = np.empty(len(keys), ROW)
        rows["key"], rows["record"] = keys, record
        self._parts.add(rows, keys)

    def pairs(self, min_shared: int, reach: int) -> np.ndarray:
        """Pairs of records that share at least min_shared keys: [N, 2] int64, increasing, first < second.

        Of the records with one key each is paired with the `reach` next ones only. So a common key costs no more than
        a rare one, and a large group of copies, which share many keys, still hangs together.
        """
        found = RowFiles(self._folder / "pairs", np.dtype("<u8"))
        for rows in self._parts:
            rows = rows[np.lexsort((rows["record"], rows["key"]))]
            keys, records = rows["key"], rows["record"].astype(np.uint64)
            for step in range(1, reach + 1):
                is_pair = keys[step:] == keys[:-step]
                pair = (records[:-step][is_pair] << np.uint64(32)) | records[step:][is_pair]
                found.add(pair, pair * np.uint64(0x9E3779B97F4A7C15))  # its high bits are well mixed
        often = [np.zeros(0, np.uint64)]
        for pairs in found:
            values, counts = np.unique(pairs, return_counts=True)
            often.append(values[counts >= min_shared])
        chosen = np.sort(np.concatenate(often))
        return np.stack([chosen >> np.uint64(32), chosen & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


class ArrayFile:
    """Arrays of one type by number, in one file that is read where needed: what would not fit into memory."""

    def __init__(self, path: Path, dtype: np.dtype, width: int = 1) -> None:
        """width: values in a row of the arrays; [N] if 1, else [N, width]."""
        self._path, self._dtype, self._width = path, dtype, width
        self._file = path.open("wb")
        self._numbers, self._ends = array("q"), array("q", [0])
        self._map = np.zeros(0, dtype)

    def add(self, number: int, values: np.ndarray) -> None:
        """Keep an array; numbers must increase."""
        np.ascontiguousarray(values, self._dtype).tofile(self._file)
        self._ends.append(self._ends[-1] + values.size)
        self._numbers.append(number)

    def finish(self) -> None:
        """No more will be added: from now on `get` works."""
        self._file.close()
        if self._ends[-1]:
            self._map = np.memmap(self._path, self._dtype, "r")

    def get(self, number: int) -> np.ndarray:
        """The array of a number; empty if there is none."""
        at = bisect_left(self._numbers, number)
        is_there = at < len(self._numbers) and self._numbers[at] == number
        values = np.array(self._map[self._ends[at] : self._ends[at + 1]] if is_there else self._map[:0])
        return values if self._width == 1 else values.reshape(-1, self._width)


class Groups:
    """Numbers 0 to n - 1 in groups that grow together (union-find)."""

    def __init__(self, n: int) -> None:
        self._parent = np.arange(n, dtype=np.int64)

    def find(self, number: int) -> int:
        """The smallest number of the group."""
        parent = self._parent
        root = number
        while parent[root] != root:
            root = int(parent[root])
        while parent[number] != root:
            parent[number], number = root, int(parent[number])
        return root

    def join(self, a: int, b: int) -> None:
        """Make the groups of a and b one."""
        first, second = sorted((self.find(a), self.find(b)))
        self._parent[second] = first

    def join_equal(self, values: np.ndarray) -> None:
        """Make one group of all numbers with equal values [n]; 0 stands for nothing known."""
        order = np.argsort(values, kind="stable")
        same = (values[order][1:] == values[order][:-1]) & (values[order][1:] != 0)
        for a, b in zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True):
            self.join(a, b)

    def roots(self) -> np.ndarray:
        """The smallest number of each one's group: [n] int64."""
        parent = self._parent
        while True:
            above = parent[parent]
            if (above == parent).all():
                return above
            parent = above


SOUND, PICTURE = "sound_print", "picture_print"


@dataclass(frozen=True)
class Duplicates:
    """Finds records with the same sound or picture; keeps the best of those that have the same of both."""

    one_in: int = option(4, "One of so many keys of a sound is looked up; 1 finds the most.", min=1)
    min_shared: int = option(3, "Keys that two records must share before they are compared.", min=1)
    reach: int = option(8, "Records with the same key that each is paired with.", min=1)
    min_share: float = option(0.5, "Share of the shorter one that both must have.", min=0, max=1)
    min_seconds: float = option(4.0, "Length of sound that both must have, s.", min=0)
    min_agreement: float = option(0.45, "Share of spectral peaks in it that agree.", min=0, max=1)
    above_chance: float = option(0.2, "By how much more they agree than the same peaks at wrong places.", min=0, max=1)
    min_looks: int = option(3, "Different pictures that both must show, in the same order.", min=1)
    alike: str = option("both", "Whether a copy shares both sound and picture, or any of them.")
    name: ClassVar[str] = "duplicates"

    def __post_init__(self) -> None:
        if self.alike not in ("both", "any"):
            raise OptionError(f"alike cannot be {self.alike!r}; give both or any.")

    def __call__(self, catalogue: Catalogue, work: Path, scratch: Path) -> Catalogue:
        """Fill `cluster` (records that belong together) and `copy_of` of a catalogue of the records in `work`."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        sounds, pictures = self._find(catalogue, work, scratch)
        shutil.rmtree(scratch)
        together = Groups(len(catalogue))
        together.join_equal(catalogue.ids)
        for groups in (sounds, pictures):
            together.join_equal(groups.roots() + 1)
        together.join_equal(catalogue.sha256)
        return replace(catalogue, cluster=together.roots(), copy_of=self._copies(catalogue, sounds, pictures))

    def is_same_sound(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two sets of peaks belong to one recording."""
        found = sound_print.align(a, b)
        return (
            found.share >= self.min_share
            and found.seconds >= self.min_seconds
            and found.agreement >= max(self.min_agreement, found.chance + self.above_chance)
        )

    def is_same_picture(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two sets of words [F, V] belong to one picture. Stills are compared with stills only."""
        found = picture_print.match(a, b)
        if (len(a) == 1) != (len(b) == 1):
            return False
        return found.share >= self.min_share and found.looks >= (1 if len(a) == 1 else self.min_looks)

    def _find(self, catalogue: Catalogue, work: Path, scratch: Path) -> tuple[Groups, Groups]:
        """Groups of the same sound and of the same picture."""
        keys = {name: KeyTable(scratch / name) for name in (SOUND, PICTURE)}
        prints = {
            SOUND: ArrayFile(scratch / "sounds", np.dtype("<u4")),
            PICTURE: ArrayFile(scratch / "pictures", np.dtype("<u8"), len(picture_print.CROPS)),
        }
        for number, (record, arrays) in enumerate(walk(work)):
            if SOUND in record.arrays:
                peaks = arrays(SOUND)
                keys[SOUND].add(number, sound_print.sampled_keys(peaks, self.one_in))
                prints[SOUND].add(number, peaks)
            if PICTURE in record.arrays:
                words = arrays(PICTURE)
                keys[PICTURE].add(number, picture_print.picture_keys(words))
                prints[PICTURE].add(number, words)
        return (
            self._group(catalogue, keys[SOUND], prints[SOUND], self.is_same_sound),
            self._group(catalogue, keys[PICTURE], prints[PICTURE], self.is_same_picture),
        )

    def _group(
        self,
        catalogue: Catalogue,
        keys: KeyTable,
        prints: ArrayFile,
        is_same: Callable[[np.ndarray, np.ndarray], bool],
    ) -> Groups:
        prints.finish()
        groups = Groups(len(catalogue))
        last, first = -1, np.zeros(0)
        for a, b in keys.pairs(self.min_shared, self.reach).tolist():
            if catalogue.parent[a] == catalogue.parent[b] or groups.find(a) == groups.find(b):
                continue  # parts of one file belong together anyway
            if a != last:
                last, first = a, prints.get(a)
            if is_same(first, prints.get(b)):
                groups.join(a, b)
        return groups

    def _copies(self, catalogue: Catalogue, sounds: Groups, pictures: Groups) -> np.ndarray:
        """Number of the record that each repeats, -1 for those that stay: [N] int64."""
        same = Groups(len(catalogue))
        same.join_equal(catalogue.content)
        if self.alike == "any":
            same.join_equal(sounds.roots() + 1)
            same.join_equal(pictures.roots() + 1)
        else:
            # Where a record has no sound, its picture decides alone, and the other way round.
            sound = np.where(catalogue.has_sound, sounds.roots(), -1)
            picture = np.where(catalogue.has_picture, pictures.roots(), -1)
            is_known = catalogue.has_sound | catalogue.has_picture
            own = np.where(is_known, 0, np.arange(len(catalogue)) + 1)
            rows = np.stack([catalogue.kind, sound, picture, own], axis=1)
            same.join_equal(np.unique(rows, axis=0, return_inverse=True)[1] + 1)
        copies = _best_of(same.roots(), catalogue)
        first = catalogue.copy_of  # of records that are listed twice
        return np.where(first < 0, copies, np.where(copies[first] < 0, first, copies[first]))


def _best_of(roots: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """For each record the one that stands for it: [N], -1 for those that stay.

    In each group the record of best quality stays, and with it others from the same file.
    """
    order = np.lexsort((catalogue.ids, catalogue.parent, -catalogue.seconds, -catalogue.quality, roots))
    first = np.searchsorted(roots[order], roots, side="left")
    best = order[first]
    stays = catalogue.parent == catalogue.parent[best]
    return np.where(stays, -1, best)
