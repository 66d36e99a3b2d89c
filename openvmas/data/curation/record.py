"""Records: candidates of a training set with all that is known of them, and drops, those that are refused.

The records of a finished work folder are read one after the other, and as columns for what concerns the whole set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from openvmas.errors import InputError

Kind = Literal["video", "audio", "image"]
KINDS = get_args(Kind)
SPLITS = ("train", "valid", "test")
Arrays = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Origin:
    """Source, address, author and licence of a record.

    source: name of the recipe's source. uri: path or address, and `tar path!member` inside a tar. collection: album,
    channel or folder; what is split as a whole. licence: SPDX identifier or the words found, "" where unknown.
    """

    source: str
    uri: str
    collection: str = ""
    title: str = ""
    author: str = ""
    licence: str = ""
    page: str = ""


@dataclass(frozen=True)
class Record:
    """One candidate: a file, or a span of it in seconds.

    id: stable over runs and machines. facts: what stages measured, by `stage.name`; values survive JSON.
    arrays: names of arrays that stages made, kept beside the record in an NPZ file (features, curves, codes).
    """

    id: str
    kind: Kind
    origin: Origin
    start: float = 0.0
    end: float | None = None
    sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()

    def with_facts(self, stage: str, **values: Any) -> Record:
        """A copy with values added under `stage.name`."""
        return replace(self, facts={**self.facts, **{f"{stage}.{name}": value for name, value in values.items()}})

    def to_json(self) -> str:
        """One line, keys sorted, so that equal records give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> Record:
        """Read what `to_json` wrote."""
        return Record.from_dict(json.loads(line))

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Record:
        """Read what JSON leaves of `dataclasses.asdict`."""
        return Record(**{**data, "origin": Origin(**data["origin"]), "arrays": tuple(data["arrays"])})


@dataclass(frozen=True)
class Drop:
    """A refused record: the reason that is counted in the funnel, and a detail for its page."""

    record: Record
    stage: str
    reason: str
    detail: str = ""


def make_id(source: str, uri: str, start: float = 0.0, end: float | None = None) -> str:
    """Stable identifier of a span of a file: 16 hexadecimal digits."""
    text = f"{source}\n{uri}\n{start:.3f}\n{'' if end is None else f'{end:.3f}'}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Catalogue:
    """Columns of all records for set stages, in the order of the records, about 80 bytes each.

    ids, parent, collection, sha256, content: [N] uint64 hashes of a record's name, its file, what it is split with, the
    file's bytes and the bytes with the span; 0 where not known. kind: [N] index into KINDS. quality: [N] pixels.
    seconds: [N] length. cluster: [N] int64, equal for near-duplicates. group: [N] int64, equal for what must not be
    separated. copy_of: [N] int64, the record that
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
    group: np.ndarray
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
    return Catalogue(**columns, cluster=first, group=first, copy_of=copy_of, split=np.zeros(n, np.uint8))


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
