"""Tables of addresses and time spans, row by row: CSV, Parquet and JSON lines, and which column says what."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvmas.data.curation.recipe import SourceOptions, nearest
from openvmas.errors import InputError

BATCH = 1000  # rows of a Parquet file in memory
MAX_FIELD = 1 << 20  # characters of one cell
_NAMES = {  # column names that are understood, best first
    "address": ("url", "address", "uri", "link", "path", "file", "video_url", "video_url_youtube", "youtube_url"),
    "youtube": ("youtube_id", "video_id", "ytid", "yt_id", "video_youtube_id"),
    "start": ("start", "start_time", "start_seconds", "clip_start", "begin"),
    "end": ("end", "end_time", "end_seconds", "clip_end", "stop"),
    "licence": ("licence", "license"),
    "author": ("author", "artist", "artist_name", "uploader", "channel"),
    "title": ("title", "track_name", "track", "name"),
    "collection": ("collection", "album", "channel_id", "channel", "artist_id"),
    "page": ("page", "webpage"),
}
_ADDRESS = re.compile(r"https?://[^\s/]+\S*")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


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
    """Which column holds what; "" where there is none."""

    names: dict[str, str]

    @classmethod
    def find(cls, row: dict[str, Any], options: SourceOptions, table: str) -> Columns:
        """By the recipe, else by usual names. Raises InputError if no column can be the address."""
        by_low = {name.lower(): name for name in reversed(list(row))}
        names = {}
        for what, usual in _NAMES.items():
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
