"""A set as WebDataset tar shards with an index: what training reads, byte for byte the same on every machine.

Layout after Aizman, Maltzahn & Breuel (2019): each record is a run of tar members with one stem, `<id>.json` and
`<id>.<array>.npy`, so the `webdataset` package and plain `tar` read them. The Parquet index says where each run lies,
so that a loader can fetch any record with one read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.record import SPLITS, Arrays, Record, duration_of, read_records, walk
from openvmas.errors import InputError, OutputError
from openvmas.files import atomic_path, write_text
from openvmas.pretrained import hash_file

FORMAT_VERSION = 1
INDEX_ROWS = 50_000  # rows of the index in memory
MAX_RECORDS = 1000  # in one shard
LEFT_OUT = ("sound_print", "picture_print")  # arrays that are not packed: training does not need fingerprints


@dataclass(frozen=True)
class _Planned:
    """A shard before it is written: its name, and a hash of all that decides its bytes."""

    name: str
    n_records: int
    key: str


def write_shards(output: Path, work: Path | None = None, max_records: int = MAX_RECORDS) -> dict[str, Any]:
    """Pack `set.jsonl` of an output folder and the arrays of its work folder (`work` inside it); give the manifest.

    Writes `shards/{train,valid,test}-000000.tar`, `index.parquet` and `manifest.json`. Shards that are there and whole
    are kept, those of an older set are removed. Raises InputError, OutputError.
    """
    work = work or output / "work"
    set_path, folder, notes = output / "set.jsonl", output / "shards", work / "shards"
    if not set_path.is_file():
        raise InputError(f"{set_path} is not there; run the set stages first.")
    folder.mkdir(exist_ok=True)
    notes.mkdir(exist_ok=True)
    plan = _plan(set_path, work, max_records)
    missing = {shard.name: shard for shard in plan if not _is_whole(shard, folder, notes)}
    names = {shard.name for shard in plan}
    for path in (*folder.glob("*.tar"), *folder.glob("*.part"), *notes.glob("*.json")):
        if path.stem not in names:
            path.unlink()
    if missing:
        with contextlib.closing(_Packer(folder, notes, missing)) as packer:
            names_of = shard_names(set_path, max_records)
            for (record, arrays), (_, name) in zip(survivors(set_path, work), names_of, strict=True):
                packer.add(record, arrays, name)
    write_index(output / "index.parquet", set_path, notes, max_records)
    return _write_manifest(output, notes, plan)


def survivors(set_path: Path, work: Path) -> Iterator[tuple[Record, Arrays]]:
    """Records of a set with their arrays, in order. Raises InputError if a record is not in the work folder."""
    stored = walk(work)
    for record in read_records(set_path):
        for candidate, arrays in stored:
            if candidate.id == record.id:
                yield record, arrays
                break
        else:
            raise InputError(f"{record.id} of {set_path} is not in {work}; run the set stages again.")


def shard_names(set_path: Path, max_records: int) -> Iterator[tuple[Record, str]]:
    """Every record of a set with the name of its shard."""
    counts = dict.fromkeys(SPLITS, 0)
    for record in read_records(set_path):
        split = str(record.facts.get("split.name"))
        if split not in counts:
            raise InputError(f"{set_path}: {record.id} has no split; use the set stage split.")
        yield record, f"{split}-{counts[split] // max_records:06d}"
        counts[split] += 1


def pack_record(tar: tarfile.TarFile, record: Record, arrays: Arrays) -> dict[str, Any]:
    """Append a record to a tar; give where it lies: `offset`, `size` (bytes) and `arrays` (name → dtype)."""
    offset = tar.offset
    kinds: dict[str, str] = {}
    _add(tar, f"{record.id}.json", record.to_json().encode())
    for name in sorted(set(record.arrays) - set(LEFT_OUT)):
        values = arrays(name)
        kinds[name] = str(values.dtype)
        data = io.BytesIO()
        np.save(data, values, allow_pickle=False)
        _add(tar, f"{record.id}.{name}.npy", data.getvalue())
    return {"id": record.id, "offset": offset, "size": tar.offset - offset, "arrays": kinds}


def read_run(data: bytes) -> dict[str, Any]:
    """A record's bytes of a shard: `__key__`, `record` and its arrays by name. Raises InputError."""
    found: dict[str, Any] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                stem, _, kind = member.name.partition(".")
                content = data[member.offset_data : member.offset_data + member.size]
                found["__key__"] = stem
                if kind == "json":
                    found["record"] = Record.from_json(content.decode())
                else:
                    found[kind.removesuffix(".npy")] = np.load(io.BytesIO(content), allow_pickle=False)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise InputError(f"a shard is damaged ({error}); build it again.") from error
    if "record" not in found:
        raise InputError("a shard has no record where its index says so; build it again.")
    return found


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # no date, no owner
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _plan(set_path: Path, work: Path, max_records: int) -> list[_Planned]:
    """Shards in order of their names."""
    # In the words of older versions, whose shards stay whole.
    options = f"ShardOptions(max_records={max_records}, leave_out={LEFT_OUT})"
    base = hashlib.sha256(f"{FORMAT_VERSION} {options}".encode())
    for path in sorted(work.glob("done-*.json")):  # what the arrays were made with
        base.update(path.read_bytes())
    hashes: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for record, name in shard_names(set_path, max_records):
        hashes.setdefault(name, base.copy()).update(record.to_json().encode())
        counts[name] = counts.get(name, 0) + 1
    return [_Planned(name, counts[name], hashes[name].hexdigest()) for name in sorted(hashes)]


def _is_whole(shard: _Planned, folder: Path, notes: Path) -> bool:
    note, tar = notes / f"{shard.name}.json", folder / f"{shard.name}.tar"
    if not note.is_file() or not tar.is_file():
        return False
    held = json.loads(note.read_text(encoding="utf-8"))
    return held["key"] == shard.key and held["bytes"] == tar.stat().st_size


class _Packer:
    """Writes those shards that are missing, one of each split at a time."""

    def __init__(self, folder: Path, notes: Path, missing: dict[str, _Planned]) -> None:
        self._folder, self._notes, self._missing = folder, notes, missing
        self._open: dict[str, tuple[tarfile.TarFile, list[dict[str, Any]]]] = {}

    def add(self, record: Record, arrays: Arrays, name: str) -> None:
        """Put a record into the shard of that name, if it is missing."""
        if name not in self._missing:
            return
        if name not in self._open:
            path = self._folder / f"{name}.tar.part"
            tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  closed when the shard is full
            self._open[name] = (tar, [])
        tar, rows = self._open[name]
        rows.append(pack_record(tar, record, arrays))
        if len(rows) == self._missing[name].n_records:
            self._close(name)

    def close(self) -> None:
        """Let go of what was cut off; whole shards are closed already."""
        for tar, _ in self._open.values():
            if tar.fileobj is not None:
                tar.fileobj.close()

    def _close(self, name: str) -> None:
        tar, rows = self._open.pop(name)
        tar.close()
        part = self._folder / f"{name}.tar.part"
        note = {"key": self._missing[name].key, "sha256": hash_file(part), "bytes": part.stat().st_size, "rows": rows}
        # The note comes last: a shard without one is written again.
        (self._notes / f"{name}.json").unlink(missing_ok=True)
        part.replace(self._folder / f"{name}.tar")
        write_text(self._notes / f"{name}.json", json.dumps(note, sort_keys=True))


def write_index(path: Path, set_path: Path, notes: Path, max_records: int) -> None:
    """One row a record, in the order of the shards' names. Raises OutputError without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise OutputError("writing the index needs pyarrow; install openvmas[data].") from error
    texts = ("id", "split", "shard", "kind", "source", "collection", "uri", "title", "author", "licence", "page")
    schema = pa.schema(
        [(name, pa.string()) for name in texts]
        + [("sha256", pa.string()), ("cluster", pa.string()), ("arrays", pa.list_(pa.string()))]
        + [(name, pa.int64()) for name in ("offset", "size")]
        + [(name, pa.float64()) for name in ("start", "end", "seconds")]
        + [("facts", pa.string())]
    )
    with (
        atomic_path(path) as hidden,
        pq.ParquetWriter(hidden, schema, compression="zstd", store_schema=False) as writer,
    ):
        for split in SPLITS:
            found = _index_rows(split, set_path, notes, max_records)
            while rows := list(itertools.islice(found, INDEX_ROWS)):
                writer.write_table(pa.Table.from_pylist(rows, schema))


def _index_rows(split: str, set_path: Path, notes: Path, max_records: int) -> Iterator[dict[str, Any]]:
    held: tuple[str, list[dict[str, Any]]] = ("", [])
    at = 0
    for record, shard in shard_names(set_path, max_records):
        if not shard.startswith(f"{split}-"):
            continue
        if shard != held[0]:
            held, at = (shard, json.loads((notes / f"{shard}.json").read_text(encoding="utf-8"))["rows"]), 0
        place = held[1][at]
        at += 1
        yield {
            **asdict(record.origin),
            **{name: getattr(record, name) for name in ("id", "kind", "sha256", "start", "end")},
            **{"split": split, "shard": shard, "offset": place["offset"], "size": place["size"]},
            "seconds": duration_of(record),
            "cluster": str(record.facts.get("duplicates.cluster", "")),
            "arrays": sorted(place["arrays"]),
            "facts": json.dumps(record.facts, sort_keys=True, ensure_ascii=False),
        }


def _write_manifest(output: Path, notes: Path, plan: list[_Planned]) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for shard in plan:
        note = json.loads((notes / f"{shard.name}.json").read_text(encoding="utf-8"))
        split = splits.setdefault(shard.name.partition("-")[0], {"records": 0, "seconds": 0.0, "shards": []})
        split["records"] += shard.n_records
        split["shards"].append(
            {"name": f"{shard.name}.tar", "records": shard.n_records, "bytes": note["bytes"], "sha256": note["sha256"]}
        )
        for row in note["rows"]:
            for name, dtype in row["arrays"].items():
                entry = arrays.setdefault(name, {"dtype": dtype, "records": 0})
                entry["records"] += 1
    for record in read_records(output / "set.jsonl"):
        splits[record.facts["split.name"]]["seconds"] += duration_of(record)
    for split in splits.values():
        split["seconds"] = round(split["seconds"], 3)
    manifest = {
        "format": FORMAT_VERSION,
        "records": sum(split["records"] for split in splits.values()),
        "seconds": round(sum(split["seconds"] for split in splits.values()), 3),
        "splits": splits,
        "arrays": arrays,
        "index": {"name": "index.parquet", "sha256": hash_file(output / "index.parquet")},
    }
    write_text(output / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest
