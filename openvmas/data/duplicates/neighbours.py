"""Pairs of records that share keys: a join of any size on disk, in memory that does not grow with its square."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROW = np.dtype([("key", "<u8"), ("record", "<u4")])
N_PARTS = 256  # files by which rows are split; one at a time is in memory
BUFFER = 1 << 19  # rows in memory before they go to the files


class RowFiles:
    """Rows in the files of a folder, each in the file that its key names."""

    def __init__(self, folder: Path, dtype: np.dtype, n_parts: int = N_PARTS) -> None:
        folder.mkdir(parents=True)
        self._paths = [folder / f"{part:03d}.rows" for part in range(n_parts)]
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
    """Keys of records; says which records share several."""

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
                found.add(pair, _hash(pair))
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
        self._ends = [0]
        self._numbers: list[int] = []
        self._map: np.ndarray | None = None

    def add(self, number: int, values: np.ndarray) -> None:
        """Keep an array; numbers must increase."""
        np.ascontiguousarray(values, self._dtype).tofile(self._file)
        self._ends.append(self._ends[-1] + values.size)
        self._numbers.append(number)

    def finish(self) -> None:
        """No more will be added: from now on `get` works."""
        self._file.close()
        self._places = np.array(self._numbers, np.int64)
        self._edges = np.array(self._ends, np.int64)
        self._numbers, self._ends = [], []
        if self._edges[-1]:
            self._map = np.memmap(self._path, self._dtype, "r")

    def get(self, number: int) -> np.ndarray:
        """The array of a number; empty if there is none."""
        at = int(np.searchsorted(self._places, number))
        values = np.zeros(0, self._dtype)
        if at < len(self._places) and self._places[at] == number and self._map is not None:
            values = np.array(self._map[self._edges[at] : self._edges[at + 1]])
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


def _hash(values: np.ndarray) -> np.ndarray:
    """Multiplicative hash [N] uint64: its high bits are well mixed."""
    return values * np.uint64(0x9E3779B97F4A7C15)
