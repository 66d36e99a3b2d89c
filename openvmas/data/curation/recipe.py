"""Recipe of a training set, a TOML file of the user, checked when it is read; every default is a field below.

A stage's or set stage's settings are the fields of its own dataclass, under `[stages.NAME]` and `[sets.NAME]`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from openvmas.errors import OptionError
from openvmas.settings import nearest, option, read_table, read_toml

FREE_LICENCES = ("CC0*", "CC-BY", "CC-BY-[0-9]*", "CC-BY-SA*", "PD*")
SOURCE_KINDS = ("folder", "tar", "manifest")
MEDIA_KINDS = ("video", "audio", "image")
FORMAT_VERSION = 1  # of the work folder; part of every shard's key


@dataclass(frozen=True)
class SourceOptions:
    """`[[sources]]`: one place where media come from. Paths are relative to the recipe."""

    name: str = option("", "Name of the source in records and reports; no two sources share one.")
    kind: str = option(
        "", "folder (of media files), tar (WebDataset) or manifest (CSV, Parquet or JSONL table).", choices=SOURCE_KINDS
    )
    path: str = option("", "The folder; a tar, a folder of tars or a pattern such as a/*.tar; the table.")
    media: str = option("video", "Kind of the media: video, audio or image.", choices=MEDIA_KINDS)
    root: str = option("", "Folder of the files that a manifest names by path; the manifest's own if left out.")
    licence: str = option("", "Licence of whatever does not say its own, as an SPDX identifier.")
    author: str = option("", "Author of whatever does not say its own.")
    address: str = option("", "Column of a manifest with the address or path; found by its name if left out.")
    start: str = option("", "Column with the begin of the time span, in s or h:mm:ss; found by its name if left out.")
    end: str = option("", "Column with the end of the time span; found by its name if left out.")
    max_records: int = option(0, "Take only so many records, the first ones; 0 means all.", min=0)


@dataclass(frozen=True)
class LicenceOptions:
    """`[licences]`: what may be taken."""

    allow: tuple[str, ...] = option(
        tuple, "Licences that are taken, as patterns such as CC-BY*; left out: free ones for addresses, any for files."
    )
    unknown: bool = option(True, "Take files without a stated licence. Addresses without one are always left out.")


@dataclass(frozen=True)
class FetchOptions:
    """`[fetch]`: how addresses of a manifest are fetched."""

    via: str = option(
        "auto", "direct (HTTP), program, or auto: direct where the address names a media file.",
        choices=("auto", "direct", "program"),
    )  # fmt: skip
    program: str = option("yt-dlp", "The program that fetches pages with video; you install it yourself.")
    arguments: tuple[str, ...] = option(tuple, "Further arguments of that program.")
    format: str = option("b[height<=480]/b", "Which of a page's files it takes, in its own words.")
    pause: float = option(2.0, "Seconds between two requests to one host; never more than one at a time.", min=0)
    timeout: float = option(30.0, "Seconds without an answer after which a request counts as failed.", min=1)
    tries: int = option(3, "Attempts for failures that may pass; a missing file is asked for once.", min=1, max=20)
    max_megabytes: float = option(2000.0, "Larger files are left out.", min=0.001)
    max_seconds: float = option(3600.0, "Longest time for one file.", min=1)
    hosts: int = option(8, "Different hosts that are asked at the same time.", min=1, max=64)
    private_hosts: bool = option(False, "Allow addresses inside your own network.")
    keep: bool = option(True, "Keep fetched files; else they are deleted when their features are made.")


@dataclass(frozen=True)
class LimitOptions:
    """`[limits]`: of one record, in a process of its own."""

    cpu_seconds: float = option(600.0, "Processor time for all stages of one record.", min=1)
    wall_seconds: float = option(3600.0, "Time on the clock for all stages of one record.", min=1)
    memory_megabytes: int = option(4000, "Memory of a worker process.", min=256)
    scratch_megabytes: int = option(8000, "Largest file that a worker may write.", min=1)


@dataclass(frozen=True)
class BuildOptions:
    """`[build]`: the whole."""

    name: str = option("", "Name of the set; the recipe's file name if left out.")
    output: str = option("", "Folder of the set, relative to the recipe; the set's name if left out.")
    workers: int = option(0, "Worker processes; 0 means one per processor core.", min=0, max=1024)
    shard: int = option(64, "Records per piece of work that is finished and kept as a whole.", min=1, max=100_000)


@dataclass(frozen=True)
class Chosen:
    """A stage or set stage by name with the settings that the recipe gives it."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. folder: where relative paths begin; stages, sets: in the order in which they run."""

    folder: Path
    build: BuildOptions
    sources: tuple[SourceOptions, ...]
    licences: LicenceOptions
    fetch: FetchOptions
    limits: LimitOptions
    stages: tuple[Chosen, ...]
    sets: tuple[Chosen, ...]

    @property
    def output(self) -> Path:
        """Folder of the finished set."""
        return self.folder / (self.build.output or self.build.name)

    def key(self) -> str:
        """Hash of all that the work on one record depends on: stages with every threshold, licences and limits."""
        stages = [(chosen.name, asdict(make_stage(chosen))) for chosen in self.stages]
        text = json.dumps([FORMAT_VERSION, stages, asdict(self.licences), asdict(self.limits)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe. Raises InputError for a file that is none, OptionError for what it says wrong."""
    path = Path(path)
    data = read_toml(path)
    known = ("build", "sources", "licences", "fetch", "limits", "stages", "sets")
    for table in data:
        if table not in known:
            raise OptionError(f"the recipe has a table [{table}] that does not exist; {nearest(table, known)}")
    sources = data.get("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(item, Mapping) for item in sources):
        raise OptionError("the recipe names no source; add a table [[sources]] with name, kind and path.")
    build = read_table(BuildOptions, data.get("build", {}), "[build]")
    return Recipe(
        folder=path.parent,
        build=replace(build, name=build.name or path.stem),
        sources=read_sources(sources),
        licences=read_table(LicenceOptions, data.get("licences", {}), "[licences]"),
        fetch=read_table(FetchOptions, data.get("fetch", {}), "[fetch]"),
        limits=read_table(LimitOptions, data.get("limits", {}), "[limits]"),
        stages=choose(data.get("stages", {}), "stages"),
        sets=choose(data.get("sets", {}), "sets"),
    )


def read_sources(tables: Iterable[Mapping[str, Any]]) -> tuple[SourceOptions, ...]:
    """Check all `[[sources]]`. Raises OptionError."""
    sources: list[SourceOptions] = []
    for number, table in enumerate(tables, 1):
        where = f"source {table.get('name') or number}"
        source = read_table(SourceOptions, table, where)
        for field in ("name", "kind", "path"):
            if not getattr(source, field):
                raise OptionError(f'{where} has no {field}; add {field} = "...".')
        if any(source.name == other.name for other in sources):
            raise OptionError(f"two sources are called {source.name}; rename one.")
        sources.append(source)
    return tuple(sources)


def choose(table: Any, what: str) -> tuple[Chosen, ...]:
    """Stages that run, in order: `use` as the recipe lists them, else all known ones. Raises OptionError."""
    known = stage_types(what)
    if not isinstance(table, Mapping):
        raise OptionError(f"[{what}] must be a table.")
    use = table.get("use", list(known))
    if not isinstance(use, list) or not all(isinstance(name, str) for name in use):
        raise OptionError(f"[{what}] use cannot be {use!r}; give a list of names.")
    settings = {key: value for key, value in table.items() if key != "use"}
    for name in (*use, *settings):
        if name not in known and ":" not in name:
            raise OptionError(f"there is no {what[:-1]} called {name}; {nearest(name, known)}")
    for name in settings:
        if name not in use:
            raise OptionError(f"[{what}.{name}] has settings, but {name} is not in use; add it to use or delete them.")
    if len(set(use)) < len(use):
        raise OptionError(f"[{what}] use names a stage twice; name each once.")
    chosen = tuple(Chosen(name, dict(settings.get(name, {}))) for name in use)
    for item in chosen:
        make_stage(item, what)
    return chosen


def make_stage(chosen: Chosen, what: str = "stages") -> Any:
    """The stage with its settings, one of `stage_types`. `module:Class` is a class of the user's own."""
    if ":" in chosen.name:
        module, _, name = chosen.name.partition(":")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise OptionError(f"the stage {chosen.name} cannot be imported ({error}); check its name.") from error
    else:
        kind = stage_types(what)[chosen.name]
    return read_table(kind, chosen.settings, f"[{chosen.name}]")


def stage_types(what: str) -> Mapping[str, type]:
    """Every stage of one record ("stages") or of the whole set ("sets") by name."""
    from openvmas.data.curation.set_splits import SET_STAGES
    from openvmas.data.stages import STAGES

    return STAGES if what == "stages" else SET_STAGES
