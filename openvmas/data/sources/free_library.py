"""A folder of freely licensed recordings for `--music`, from Debian packages: fetched, checked, with their credits."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openvmas.data.sources.free_music import LEFT_OUT, MIRROR, PACKAGES, FreeTrack, fetch_package, list_tracks
from openvmas.data.sources.licences import matches, normalise_licence
from openvmas.errors import InputError, OptionError
from openvmas.files import explain_write_errors, write_text
from openvmas.settings import option

LISTING = "library.csv"
COLUMNS = ("path", "package", "title", "author", "licence", "seconds", "problem")
SCRATCH = ".packages"  # below the library; a folder of music with a dot is not looked into
NO_MUSIC = frozenset(("ambience", "ambient", "effects", "sfx", "soundfx", "voice", "voices"))  # folders in packages
YEARS = re.compile(r"(?:(?:©|\(c\))\s*)?\b\d{4}(?:\s*[-,]\s*\d{4})*,?\s+|\s*<[^>]*@[^>]*>", re.IGNORECASE)
HOMEPAGE = "https://tracker.debian.org/pkg/{}"


@dataclass(frozen=True)
class LibraryOptions:
    """Settings of `openvmas library build`."""

    package: tuple[str, ...] = option(tuple, "A package to take; all 39 if left out. May be given several times.")
    licence: tuple[str, ...] = option(
        tuple, "Take recordings under such licences only, as CC0* or CC-BY-[34]*; all that state one if left out. "
        "May be given several times.", metavar="PATTERN",
    )  # fmt: skip
    mirror: str = option(MIRROR, "Debian mirror, where apt-get does not have the packages.", metavar="URL")


@dataclass
class Built:
    """n_tracks, seconds: of all that is there now. licences: how often each. failed: package → why it is missing."""

    n_tracks: int = 0
    seconds: float = 0.0
    licences: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)


def build_library(folder: Path, options: LibraryOptions, say: Callable[[str], None] = lambda text: None) -> Built:
    """Fetch packages one by one, keep their usable recordings in FOLDER/PACKAGE and list all in library.csv.

    Beside each recording lies NAME.license.json. Packages that are listed already are not fetched again; one that
    cannot be had is named in the result. Raises OptionError, OutputError.
    """
    names = options.package or PACKAGES
    for name in names:
        if name in LEFT_OUT:
            raise OptionError(f"{name} is left out for {LEFT_OUT[name]}; choose another package.")
        if name not in PACKAGES:
            raise OptionError(f"{name} is none of the packages; choose from {', '.join(PACKAGES)}.")
    built = Built()
    with explain_write_errors(folder.parent):
        folder.mkdir(exist_ok=True)
        rows = read_listing(folder)
        done = {row["package"] for row in rows}
        for place, name in enumerate(names, 1):
            if name in done:
                continue
            say(f"{place} of {len(names)}: {name}")
            try:
                rows += take_package(name, folder, options)
            except InputError as error:
                built.failed[name] = str(error)
                continue
            write_listing(folder, rows)
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    for row in rows:
        if not row["problem"]:
            built.n_tracks += 1
            built.seconds += float(row["seconds"])
            built.licences[row["licence"]] += 1
    return built


def take_package(name: str, folder: Path, options: LibraryOptions) -> list[dict[str, str]]:
    """The rows of a package, its usable recordings moved into the library. Raises InputError."""
    scratch = folder / SCRATCH
    fetch_package(name, scratch, options.mirror)
    rows, taken = [], set()
    for track in list_tracks(scratch, (name,)):
        licence = normalise_licence(track.licence)
        problem = track.problem or why_no_music(track.path) or why_not(licence, options.licence)
        target = folder / name / Path(track.path).name
        while not problem and target in taken:  # two folders of a package may have files of one name
            target = target.with_name(f"{target.stem}-2{target.suffix}")
        if not problem:
            taken.add(target)
            target.parent.mkdir(exist_ok=True)
            shutil.move(scratch / track.path, target)
            write_text(target.with_suffix(".license.json"), credits_of(track, licence))
        place = target.relative_to(folder).as_posix() if not problem else track.path
        values = (place, name, track.title, track.author, licence, str(track.seconds), problem)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    shutil.rmtree(scratch / name, ignore_errors=True)
    return rows or [dict.fromkeys(COLUMNS, "") | {"package": name, "problem": "no recordings", "seconds": "0"}]


def why_no_music(path: str) -> str:
    """The reason for which a file is taken for noises or speech by the folder it lies in, or ""."""
    folders = {part.lower() for part in Path(path).parts[:-1]}
    return "" if "music" in folders or not folders & NO_MUSIC else "its folder is one of noises or voices"


def why_not(licence: str, wanted: Sequence[str]) -> str:
    """The reason for which a licence keeps a recording out, or ""."""
    if not licence:
        return "no licence is stated"
    return "" if not wanted or matches(licence, tuple(wanted)) else f"its licence is {licence}"


def credits_of(track: FreeTrack, licence: str) -> str:
    """The text of NAME.license.json, as `fitting.licence` reads it."""
    facts = {
        "title": track.title or Path(track.path).stem.replace("_", " "),
        "artist": YEARS.sub("", track.author).strip(), "licence": licence, "source": HOMEPAGE.format(track.package),
    }  # fmt: skip
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def read_listing(folder: Path) -> list[dict[str, str]]:
    """The rows of library.csv; none where there is no such file yet."""
    path = folder / LISTING
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_listing(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write library.csv beside its place first."""
    part = folder / f".{LISTING}.part"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[name] for name in COLUMNS] for row in rows)
    part.replace(folder / LISTING)
