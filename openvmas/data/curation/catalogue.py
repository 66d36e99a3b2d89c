"""The records of a finished work folder: read one after the other, and as columns for what concerns the whole set."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from openvmas.data.curation.record import Drop, Kind, Record
from openvmas.errors import InputError

Arrays = Callable[[str], np.ndarray]
KINDS = get_args(Kind)
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Catalogue:
    """Columns of all records for set stages, in the order of the records, about 80 bytes each.

    ids, parent, collection, sha256, content: [N] uint64 hashes of a record's name, its file, what it is split with, the
    file's bytes and the bytes with the span; 0 where not known. kind: [N] index into KINDS. quality: [N] pixels.
    seconds: [N] length. cluster: [N] int64, equal for what must not be separated. copy_of: [N] int64, the record that
    one repeats, or -1. split: [N] index into SPLITS.
    """

    ids: np.ndarray
    parent: np.ndarray
    collection: np.ndarray
    sha256: np.ndarray
    content: np.ndarray
    kind: np.ndarray
    quality: np.ndarray
    seconds: np.ndarray
    has_sound: np.ndarray
    has_picture: np.ndarray
    cluster: np.ndarray
    copy_of: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def read_catalogue(work: Path) -> Catalogue:
    """Columns of all records in a work folder. Raises InputError."""
    kinds = [
        *((name, "<u8") for name in ("ids", "parent", "collection", "sha256", "content")),
        *(("kind", "u1"), ("quality", "<f4"), ("seconds", "<f4"), ("has_sound", "?"), ("has_picture", "?")),
    ]
    dtype = np.dtype(kinds)
    table = np.fromiter((_row(record) for record, _ in walk(work)), dtype)
    n = len(table)
    columns = {name: np.ascontiguousarray(table[name]) for name in dtype.names or ()}
    _, first, place = np.unique(columns["ids"], return_index=True, return_inverse=True)
    first = first[place]  # a list may name one thing twice: the first stays
    copy_of = np.where(first == np.arange(n), -1, first)
    return Catalogue(**columns, cluster=first, copy_of=copy_of, split=np.zeros(n, np.uint8))


def walk(work: Path) -> Iterator[tuple[Record, Arrays]]:
    """Every survivor of a work folder, in order, with a function that reads its arrays by name. Raises InputError."""
    paths = sorted(work.glob("records-*.jsonl"))
    if not paths:
        raise InputError(f"{work} holds no records; run the build's stages first.")
    for path in paths:
        arrays = path.with_suffix(".npz")
        with np.load(arrays) if arrays.exists() else contextlib.nullcontext({}) as stored:
            for record in read_records(path):
                yield record, _reader(stored, record, arrays)


def read_records(path: Path) -> Iterator[Record]:
    """Records of a file of JSON lines. Raises InputError."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Record.from_json(line)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path}, line {number} is not a record; delete the file and build again.") from error


def read_json_lines(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Objects of files of JSON lines, one after the other."""
    for path in paths:
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def drop_line(drop: Drop) -> str:
    """One line of a file of refused records."""
    return json.dumps(asdict(drop), sort_keys=True, ensure_ascii=False)


def hash64(text: str) -> int:
    """64 bits of SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def duration_of(record: Record) -> float:
    """Length of a record, s: its span, or what was measured if it reaches to the end; 0 if not known."""
    end = record.end if record.end is not None else record.facts.get("probe.duration")
    return max(float(end) - record.start, 0.0) if end is not None else 0.0


def _row(record: Record) -> tuple[object, ...]:
    origin, facts = record.origin, record.facts
    content = f"{record.sha256} {record.start:.3f} {record.end}" if record.sha256 else ""
    return (
        hash64(record.id),
        hash64(f"{origin.source}\n{origin.uri}"),
        hash64(f"{origin.source}\n{origin.collection}") if origin.collection else 0,
        hash64(record.sha256) if record.sha256 else 0,
        hash64(content) if content else 0,
        KINDS.index(record.kind),
        float(facts.get("probe.width", 0)) * float(facts.get("probe.height", 0)),
        duration_of(record),
        facts.get("sound_print.peaks", 0) > 0,
        facts.get("picture_print.looks", 0) > 0,
    )


def _reader(stored: object, record: Record, path: Path) -> Arrays:
    def read(name: str) -> np.ndarray:
        try:
            return stored[f"{record.id}/{name}"]  # type: ignore[index]
        except KeyError as error:
            raise InputError(f"{path} lacks {name} of {record.id}; delete the file and build again.") from error

    return read
