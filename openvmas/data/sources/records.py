"""Sources of records: folders of media files, WebDataset tars, and tables with addresses and time spans.

Everything is listed in an order that does not depend on the machine, one record at a time, so that a table of millions
of rows needs no more memory than one of ten. A record's `uri` is relative to its source, so ids are the same wherever
the source lies. A row or member that cannot be used becomes a record with the fact `source.problem`.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from openvmas.data.curation.recipe import SourceOptions, nearest
from openvmas.data.curation.record import Kind, Origin, Record, make_id
from openvmas.data.sources.licences import is_free, normalise_licence
from openvmas.errors import InputError
from openvmas.settings import read_toml

_KNOWN = read_toml(Path(__file__).with_name("field_names.toml"))
ENDINGS = {kind: frozenset(text.split()) for kind, text in _KNOWN["endings"].items()}
MAX_SIDECAR = 1 << 20  # bytes of a JSON file beside a medium
Span = tuple[float, float | None]
BATCH = 1000  # rows of a Parquet file in memory
MAX_FIELD = 1 << 20  # characters of one cell
_ADDRESS = re.compile(r"https?://[^\s/]+\S*")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


@dataclass(frozen=True)
class Place:
    """A source with its folder on this machine. root: what a record's uri is relative to."""

    options: SourceOptions
    root: Path

    @property
    def kind(self) -> Kind:
        return self.options.media  # type: ignore[return-value]


def find_place(options: SourceOptions, folder: Path) -> Place:
    """Folder of a source. folder: the recipe's. Raises InputError if it is not there."""
    path = folder / options.path
    if options.kind == "folder":
        if not path.is_dir():
            raise InputError(f"source {options.name}: {path} is not a folder; correct its path.")
        return Place(options, path)
    if options.kind == "tar":
        tars = find_tars(path)
        if not tars:
            raise InputError(f"source {options.name}: there is no tar at {path}; correct its path.")
        return Place(options, tars[0].parent)
    if not path.is_file():
        raise InputError(f"source {options.name}: there is no table {path}; correct its path.")
    root = folder / options.root if options.root else path.parent
    return Place(options, root)


def list_records(options: SourceOptions, folder: Path) -> Iterator[Record]:
    """List the records of a source, in order. folder: the recipe's. Raises InputError if the source is unusable."""
    place = find_place(options, folder)
    listing = {"folder": _list_folder, "tar": _list_tars, "manifest": _list_manifest}[options.kind](place, folder)
    yield from itertools.islice(listing, options.max_records or None)


def local_path(record: Record, place: Place) -> Path:
    """Path of a record's file; of a tar's member `TAR!MEMBER`, which `Media` understands."""
    return place.root / record.origin.uri


def _record(place: Place, uri: str, origin: dict[str, str], facts: dict[str, Any], span: Span = (0.0, None)) -> Record:
    options = place.options
    known = {"licence": options.licence, "author": options.author} | {k: v for k, v in origin.items() if v}
    known["licence"] = normalise_licence(known["licence"])
    identity = make_id(options.name, uri, *span)
    return Record(identity, place.kind, Origin(options.name, uri, **known), *span, facts=facts)


def _readable(name: str) -> str:
    """A file name as text that can be written anywhere; bytes that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _list_folder(place: Place, folder: Path) -> Iterator[Record]:
    endings = ENDINGS[place.kind]
    for parent, folders, names in os.walk(place.root):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            if path.suffix.lower().lstrip(".") not in endings or name.startswith("."):
                continue
            uri = _readable(path.relative_to(place.root).as_posix())
            inside = PurePosixPath(uri).parent
            # Files that lie in the source itself have nothing in common that a split would have to keep together.
            origin = {"collection": "" if inside == PurePosixPath() else str(inside), "title": _readable(path.stem)}
            origin |= _sidecar(path)
            facts = {"source.bytes": path.stat().st_size if path.exists() else 0}
            yield _record(place, uri, origin, facts)


def _sidecar(path: Path) -> dict[str, str]:
    """Fields of Origin from NAME.json or yt-dlp's NAME.info.json beside a file; a broken one says nothing."""
    for beside in (path.with_suffix(".json"), path.with_suffix(".info.json")):
        if beside.is_file() and beside.stat().st_size <= MAX_SIDECAR:
            return from_sidecar(beside.read_bytes())
    return {}


def from_sidecar(text: bytes) -> dict[str, str]:
    """Fields of Origin from the JSON that downloaders write beside a medium."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    found = {}
    for name, keys in _KNOWN["sidecar"].items():
        value = next((data[key] for key in keys if isinstance(data.get(key), str) and data[key]), "")
        if value:
            found[name] = value[:1000]
    return found


def find_tars(path: Path) -> list[Path]:
    """The tars that a path means: one file, all in a folder, or those that fit a pattern."""
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    if path.is_file():
        return [path]
    return sorted(path.parent.glob(path.name)) if path.parent.is_dir() and re.search(r"[*?\[]", path.name) else []


def _list_tars(place: Place, folder: Path) -> Iterator[Record]:
    for path in find_tars(folder / place.options.path):
        yield from _list_tar(place, path)


def _list_tar(place: Place, path: Path) -> Iterator[Record]:
    """Media members of one tar with what the JSON member of the same key says (WebDataset's convention)."""
    key = ""
    sides: dict[str, str] = {}
    waiting: list[Record] = []
    problem = ""
    try:
        with tarfile.open(path, "r:") as tar:  # not compressed, so that members can be read in place
            for member in tar:
                if not member.isreg() or member.issparse():
                    continue
                here, _, ending = member.name.rpartition("/")[2].partition(".")
                here = member.name[: len(member.name) - len(ending)]
                if here != key:
                    yield from (_with_sides(record, sides) for record in waiting)
                    key, sides, waiting = here, {}, []
                if ending.lower() == "json" and member.size <= MAX_SIDECAR:
                    text = tar.extractfile(member)
                    sides = from_sidecar(text.read()) if text is not None else {}
                elif ending.lower().rpartition(".")[2] in ENDINGS[place.kind]:
                    archive, name = _readable(path.name), _readable(member.name)
                    facts: dict[str, Any] = {"tar.offset": member.offset_data, "tar.size": member.size}
                    # A tar is a portion of a pile and says nothing of what belongs together; a folder inside does.
                    inside = str(PurePosixPath(name).parent)
                    origin = {"collection": "" if inside == "." else inside, "title": name}
                    waiting.append(_record(place, f"{archive}!{name}", origin, facts))
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # else all members stay in memory
    except (tarfile.TarError, OSError, EOFError) as error:
        problem = f"the tar is compressed or damaged ({error}); unpack it or copy it again"
    yield from (_with_sides(record, sides) for record in waiting)
    if problem:
        yield _record(place, _readable(path.name), {}, {"source.problem": problem})


def _with_sides(record: Record, sides: dict[str, str]) -> Record:
    if not sides:
        return record
    if "licence" in sides:
        sides = {**sides, "licence": normalise_licence(sides["licence"])}
    return replace(record, origin=replace(record.origin, **sides))


def _list_manifest(place: Place, folder: Path) -> Iterator[Record]:
    """Rows of a table: those under free licences first, the rest in a second reading."""
    path = folder / place.options.path
    for wanted in (True, False):
        columns: Columns | None = None
        for number, row in enumerate(read_rows(path), 1):
            columns = columns or Columns.find(row, place.options, str(path))
            record = _row_record(place, columns, row, number)
            if is_free(record.origin.licence) is wanted:
                yield record


def _row_record(place: Place, columns: Columns, row: dict[str, Any], number: int) -> Record:
    uri, origin, span, problem = columns.read(row)
    facts: dict[str, Any] = {"source.row": number}
    if problem:
        facts["source.problem"] = problem
        uri, span = uri or f"row {number}", (0.0, None)
    elif not is_address(uri) and (PurePosixPath(uri).is_absolute() or ".." in PurePosixPath(uri).parts):
        facts["source.problem"] = "the path leads out of the source's folder; set root and give paths inside it"
    return _record(place, uri, origin, facts, span)


def is_address(uri: str) -> bool:
    """Whether a uri must be fetched; anything else is a path."""
    return bool(re.match("https?://", uri, re.I))


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows as column → value, in order, never the whole table. Raises InputError."""
    reader = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".jsonl": _jsonl}.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is no table that is understood; give CSV, TSV, Parquet or JSONL.")
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); write it again as UTF-8.") from error


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(MAX_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","):
            row.pop(None, None)  # type: ignore[call-overload]  # cells beyond the header
            yield row


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                row = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):
                row = {}
            if row is not None:
                yield row if isinstance(row, dict) else {}


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow; install it with pip install 'openvmas[data]'.") from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise InputError(f"{path} cannot be read as Parquet ({error}); write it again.") from error


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns by their meaning; "" where there is none."""

    names: dict[str, str]

    @classmethod
    def find(cls, row: dict[str, Any], options: SourceOptions, table: str) -> Columns:
        """By the recipe, else by usual names. Raises InputError if no column can be the address."""
        by_low = {name.lower(): name for name in reversed(list(row))}
        names = {}
        for what, usual in _KNOWN["columns"].items():
            chosen = getattr(options, what, "") if what in ("address", "start", "end") else ""
            if chosen and chosen not in row:
                raise InputError(f"{table} has no column {chosen}; {nearest(chosen, row)}")
            names[what] = chosen or next((by_low[name] for name in usual if name in by_low), "")
        if not names["address"] and not names["youtube"]:
            raise InputError(f'{table} has no column of addresses or paths; name it with address = "COLUMN".')
        return cls(names)

    def read(self, row: dict[str, Any]) -> tuple[str, dict[str, str], tuple[float, float | None], str]:
        """Address or path, fields of Origin, time span, and what is wrong with the row ("" if nothing)."""
        uri = self._text(row, "address")
        identity = self._text(row, "youtube") if not uri else uri if not is_address(uri) and "." not in uri else ""
        if _YOUTUBE_ID.fullmatch(identity):
            uri = f"https://www.youtube.com/watch?v={identity}"
        origin = {key: self._text(row, key) for key in ("licence", "author", "title", "collection", "page")}
        problem = "" if uri else "the row has no address"
        if is_address(uri):
            origin["page"] = origin["page"] or uri
            problem = problem or ("" if _ADDRESS.fullmatch(uri) else "the address is not one")
        start = parse_time(row.get(self.names["start"]), 0.0)
        end = parse_time(row.get(self.names["end"]), None)
        if start is None or (end is not None and not start < end) or math.isnan(start):
            problem, start, end = problem or "its time span is not one", 0.0, None
        return uri, origin, (start, end), problem

    def _text(self, row: dict[str, Any], what: str) -> str:
        value = row.get(self.names[what]) if self.names[what] else None
        return "" if value is None else str(value).strip()


def parse_time(value: Any, default: float | None) -> float | None:
    """Seconds from a number or from h:mm:ss.s; `default` for an empty cell, NaN for what is no time."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return default
    parts = str(value).strip().split(":")
    try:
        seconds = 0.0
        for part in parts:
            seconds = 60 * seconds + float(part)
    except ValueError:
        return math.nan
    return round(seconds, 3) if len(parts) <= 3 and math.isfinite(seconds) and seconds >= 0 else math.nan
