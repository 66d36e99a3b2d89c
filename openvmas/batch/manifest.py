"""A list of videos: one a row, with the options that differ from those of all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from openvmas.batch import places
from openvmas.data.sources.records import read_rows
from openvmas.errors import InputError, OptionError
from openvmas.settings import GROUPS, Options, OutputOptions, nearest, value_type

VIDEO, OUTPUT = "video", "output"
NAMES = {VIDEO: ("video", "path", "address", "url", "uri", "file", "videos"), OUTPUT: ("output",)}
# What lies beside a result is named after it.
NOT_IN_LISTS = ("audio_out", "midi_out", "stems_out", "joins_out", "sweeten_out", "overwrite")
OF_LISTS = tuple(
    item.name for group in GROUPS.values() for item in fields(group) if item.name not in (*NOT_IN_LISTS, OUTPUT)
)


@dataclass(frozen=True)
class Clip:
    """One row. index: its place in the list, from 0; output: place of the finished video without its extension, None
    for NAME.scored beside the video; options: those of its own."""

    index: int
    video: str
    output: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The place of its results without the extension; video and sidecar have the same."""
        if self.output is not None:
            return self.output
        folder, name = places.split(self.video)
        return places.join(folder, f"{name.rpartition('.')[0] or name}.scored")


@dataclass(frozen=True)
class Manifest:
    """A table of videos (CSV, TSV, Parquet or JSONL), which is read row by row and never held whole.

    Its column `video` has paths, relative to the list, or addresses; `output` may name the result; columns that are
    called like an option of `openvmas score` hold that option for the row, empty cells leave it as it is for all.
    """

    path: str

    def __iter__(self) -> Iterator[Clip]:
        folder = places.split(self.path)[0]
        with tempfile.TemporaryDirectory(prefix="openvmas-list-") as scratch:
            source = places.fetch(self.path, Path(scratch))
            if not source.is_file():
                raise InputError(f"{self.path} is not there; give a table of videos.")
            for index, row in enumerate(read_rows(source)):
                yield self._clip(index, row, folder)

    def _clip(self, index: int, row: Mapping[str, Any], folder: str) -> Clip:
        where = f"{self.path}, row {index + 1}"
        column = next((name for name in NAMES[VIDEO] if name in row), None)
        if column is None:
            raise InputError(f"{self.path} has no column {VIDEO}; name the one with paths or addresses so.")
        video, output = (_absolute(row.get(name), folder) for name in (column, OUTPUT))
        if video is None:
            raise InputError(f"{where}: there is no video; write its path or address.")
        if output is not None and "." in places.split(output)[1]:
            output = output.rpartition(".")[0]
        texts = {name: row[name] for name in OF_LISTS if row.get(name) not in (None, "")}
        try:
            options = {name: _value(name, value) for name, value in texts.items()}
            Options.of(**options)
        except OptionError as error:
            raise InputError(f"{where}: {error}") from error
        return Clip(index, video, output, options)


def _absolute(value: Any, folder: str) -> str | None:
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    return (
        text if "://" in text else places.join(folder, text) if "://" in folder else os.path.abspath(Path(folder, text))
    )


def _value(name: str, value: Any) -> Any:
    """The value of a cell, which in CSV is text; several values of one option are divided by semicolons."""
    kind = next(
        value_type(item, group) for group in GROUPS.values() for item in fields(group) if item.name == name
    )  # fmt: skip
    if not isinstance(value, str):
        return value
    if kind.is_tuple:
        return tuple(Options.parse({name: part.strip()})[name] for part in value.split(";") if part.strip())
    return Options.parse({name: value})[name]


def check(clips: Iterable[Clip], chosen: Mapping[str, Any]) -> int:
    """The number of clips. Raises InputError or OptionError if any could not be done or two would be written to one
    name.

    chosen: the options for all.
    """
    for name in NOT_IN_LISTS:
        if name != "overwrite" and name in chosen:
            raise OptionError(f"{name} has no place in a list of videos; leave it out.")
    if OUTPUT in chosen:
        raise OptionError("--output is for one video; name results in the column `output` of a list.")
    seen: dict[bytes, int] = {}  # eight bytes a name, so that a list of millions can be checked
    n = 0
    for clip in clips:
        mark = hashlib.sha256(clip.stem.encode(errors="surrogateescape")).digest()[:8]
        if (earlier := seen.setdefault(mark, clip.index)) != clip.index:
            raise InputError(
                f"rows {earlier + 1} and {clip.index + 1} would both be written as {clip.stem}; "
                "give them different names in a column `output`."
            )
        n += 1
    if not n:
        raise InputError("the list names no video; write one in each row.")
    return n


def check_columns(manifest: Manifest) -> None:
    """Raises InputError for a column that looks like a misspelt option."""
    with tempfile.TemporaryDirectory(prefix="openvmas-list-") as scratch:
        first = next(iter(read_rows(places.fetch(manifest.path, Path(scratch)))), {})
    names = {item.name for item in fields(OutputOptions)} & set(NOT_IN_LISTS)
    for name in set(first) & names:
        raise InputError(f"{manifest.path} has a column {name}, which has no place in a list; remove it.")
    for name in set(first) - set(OF_LISTS) - {*NAMES[VIDEO], *NAMES[OUTPUT]}:
        remedy = nearest(str(name), OF_LISTS)
        if remedy.startswith("did you mean"):
            raise InputError(f"{manifest.path} has a column {name}, which is no option; {remedy}")
