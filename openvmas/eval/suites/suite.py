"""A suite: a TOML file that says which clips systems are compared on, where they lie and how to build what is missing.

[suite]
name = "open"
seconds = 12               # at most so much of each clip, from its start; left out: all of it
seeds = 3                  # so many seeds of systems that draw, for diversity between them; left out: 1
seed_clips = 12            # on so many clips, evenly from the suite

[[sources]]
name = "montage"
list = "table"             # or v2m-bench, symmv, bgm909, disco-mv, musiccaps (eval.suites.datasets), or folder
path = "{media}/montage/manifest.csv"     # of the list; not for a folder or set
media = "{media}/montage"  # where videos lie; {media} is what --media names, other paths are beside this file
music = "own"              # the true music: the video's sound, or "none", or a folder of sounds of the same names
split = "test"             # only rows of this split
limit = 40
count = 40                 # how many there are when all is built

[[sources]]
name = "mine"
list = "set"               # a set of `openvmas data build`: the videos of one of its splits with their own music
media = "../my-set"        # its folder
split = "test"

[[sources.build]]          # steps of `openvmas eval build`, in their order
command = ["{python}", "../tools/build_montage.py", "..."]
makes = "{media}/montage/manifest.csv"    # a step whose file is there is done
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvmas.data.curation.record import SPLITS
from openvmas.errors import InputError, OpenVMASError, OptionError
from openvmas.eval.suites.datasets import DATASETS, MediaIndex, Row, curated_set
from openvmas.eval.suites.media_files import SOUND_SUFFIXES, VIDEO_SUFFIXES
from openvmas.settings import read_toml

SEED_CLIPS, MAX_SEEDS = 12, 100
MEDIA = "corpora"  # beside the folder of the suite, where --media is left out
FOLDERS = ("folder", "set")  # kinds of lists that are the folder of their media
SET_FILE = "set.jsonl"  # of a finished set
KEYS = {"name", "list", "path", "media", "music", "split", "limit", "count", "build"}


@dataclass(frozen=True)
class Clip:
    """One video of a suite. name: unique in the suite and fit for a file name; music: of the reference, None if there
    is none (then it may be the video's own file).

    start: s, where it begins in its file; seconds: how much of it at most, None for all.
    """

    name: str
    source: str
    video: Path
    music: Path | None
    start: float = 0.0
    seconds: float | None = None
    caption: str | None = None


@dataclass(frozen=True)
class SourceCoverage:
    """The part of a source that is on disk. missing: names of listed clips without media. steps: that build it."""

    source: str
    listed: int
    found: int
    missing: tuple[str, ...]
    steps: tuple[BuildStep, ...]

    def __str__(self) -> str:
        return f"{self.source}: {self.found} of {self.listed} found"


@dataclass(frozen=True)
class BuildStep:
    """One command of `build`. makes: what is there when it is done, None if it says nothing."""

    command: tuple[str, ...]
    makes: Path | None

    @property
    def is_done(self) -> bool:
        return self.makes is not None and self.makes.exists()

    def __str__(self) -> str:
        return " ".join(f'"{part}"' if " " in part else part for part in self.command)


@dataclass(frozen=True)
class Suite:
    """clips: those on disk, in the order of the sources. seeds: of systems that draw, on seed_clips of the clips."""

    name: str
    path: Path
    clips: tuple[Clip, ...]
    coverage: tuple[SourceCoverage, ...]
    seeds: int = 1
    seed_clips: int = SEED_CLIPS


def read_suite(path: str | Path, media: str | Path | None = None) -> Suite:
    """Read a suite and find its media. media: the folder for {media}. Raises InputError.

    path: the TOML file, or SET/SPLIT of a set of `openvmas data build`, whose videos of that split are the suite.
    """
    path = Path(path)
    if is_split(path):
        return suite_of_set(path)
    data = read_toml(path, "a suite in TOML such as suites/open.toml")
    head, sources = data.get("suite", {}), data.get("sources", [])
    if not isinstance(head, dict) or not isinstance(sources, list) or not sources:
        raise InputError(f"{path} has no [[sources]]; say where the clips of the suite lie, as suites/open.toml does.")
    base = path.resolve().parent
    place = SuitePaths(path, base, Path(media).resolve() if media else base.parent / MEDIA)
    length = head.get("seconds")
    if length is not None and not (isinstance(length, int | float) and 1 <= length <= 3600):
        raise InputError(f"{path}: seconds cannot be {length!r}; give a number from 1 to 3600.")
    counts = {"seeds": head.get("seeds", 1), "seed_clips": head.get("seed_clips", SEED_CLIPS)}
    for name, value in counts.items():
        if not isinstance(value, int) or not 1 <= value <= MAX_SEEDS:
            raise InputError(f"{path}: {name} cannot be {value!r}; give a whole number from 1 to {MAX_SEEDS}.")
    clips: list[Clip] = []
    coverage = []
    for source in sources:
        found, covered = read_source(source, place, length)
        clips += found
        coverage.append(covered)
    names = [clip.name for clip in clips]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"{path} has two clips called {twice}; give the sources different names.")
    return Suite(str(head.get("name") or path.stem), path, tuple(clips), tuple(coverage), **counts)


def is_split(path: Path) -> bool:
    """Whether a path is SET/train, SET/valid or SET/test of a finished set."""
    return path.name in SPLITS and not path.exists() and (path.parent / SET_FILE).is_file()


def suite_of_set(path: Path) -> Suite:
    """The videos of a split with their own music, as far as their files are still there. Raises InputError."""
    rows = curated_set(path.parent, path.name)
    if not rows:
        raise InputError(
            f"{path.parent} has no videos in {path.name}; choose another split, or build the set with a larger share "
            "for it ([sets.split])."
        )
    base = path.parent.absolute()
    clips, missing = find_clips(rows, path.name, base, "own", SuitePaths(path, base, base), None)
    covered = SourceCoverage(path.name, len(rows), len(clips), tuple(missing), ())
    return Suite(f"{base.name}-{path.name}", path, tuple(clips), (covered,))


@dataclass(frozen=True)
class SuitePaths:
    """Where paths of a suite lead. suite: its file; base: its folder; media: for {media}."""

    suite: Path
    base: Path
    media: Path

    def fill(self, text: str) -> str:
        """Placeholders replaced."""
        return text.replace("{media}", str(self.media)).replace("{python}", sys.executable)

    def path(self, text: str) -> Path:
        """An absolute path."""
        return self.base / self.fill(text)


def read_source(source: dict[str, Any], place: SuitePaths, length: float | None) -> tuple[list[Clip], SourceCoverage]:
    """The clips of one source. Raises InputError."""
    name, kind = str(source.get("name", "")), str(source.get("list", "folder"))
    unknown = next((key for key in source if key not in KEYS), None)
    if not name or unknown or kind not in (*FOLDERS, *DATASETS):
        what = f"the key {unknown}" if unknown else f"list = {kind!r}" if name else "a source without a name"
        raise InputError(f"{place.suite}: {what} is not known; see the documentation of suites for the keys.")
    if "media" not in source or (kind not in FOLDERS and "path" not in source):
        raise InputError(
            f"{place.suite}: source {name} needs media, and path unless it is a folder or a set; add them."
        )
    folder = place.path(str(source["media"]))
    listing = folder if kind in FOLDERS else place.path(str(source["path"]))
    rows: list[Row] = []
    if kind == "folder":
        videos = sorted(p for p in folder.glob("*") if p.suffix.lower() in VIDEO_SUFFIXES) if folder.is_dir() else []
        rows = [Row(name=video.stem, video=video.name) for video in videos]
    elif kind == "set":
        rows = curated_set(folder, str(source.get("split", "test"))) if (folder / SET_FILE).is_file() else []
    elif listing.is_file():
        rows = DATASETS[kind](listing)
    if source.get("split"):
        rows = [row for row in rows if row.split == source["split"]]
    if source.get("limit"):
        rows = rows[: int(source["limit"])]
    clips, missing = find_clips(rows, name, folder, str(source.get("music", "own")), place, length)
    steps = tuple(read_step(step, place) for step in source.get("build", []))
    return clips, SourceCoverage(name, max(len(rows), int(source.get("count", 0))), len(clips), tuple(missing), steps)


def find_clips(
    rows: Sequence[Row], source: str, folder: Path, music: str, place: SuitePaths, length: float | None
) -> tuple[list[Clip], list[str]]:
    """Rows with their files, and the names of those without."""
    media = MediaIndex(folder)
    sounds = media if music in ("own", "none") else MediaIndex(place.path(music))
    clips, missing = [], []
    for row in rows:
        names = row.names or (row.name,)
        cut = media.find(row.cut, VIDEO_SUFFIXES)
        video = cut or (folder / row.video if row.video else media.find(names, VIDEO_SUFFIXES))
        if video is None or not video.is_file():
            missing.append(row.name)
            continue
        sound = None
        if music != "none":
            sound = folder / row.music if row.music else sounds.find((*row.cut, *names), SOUND_SUFFIXES)
            sound = sound or (video if music == "own" else None)
        spans = [x for x in (length, None if row.end is None else row.end - row.start) if x is not None]
        clip_name = re.sub(r"[^\w-]+", "-", f"{source}-{row.name}")
        start = 0.0 if cut else row.start
        clips.append(Clip(clip_name, source, video, sound, start, min(spans, default=None), row.caption))
    return clips, missing


def read_step(step: dict[str, Any], place: SuitePaths) -> BuildStep:
    """One step of a source. Raises InputError."""
    command = step.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise InputError(f"{place.suite}: a step of build needs command = [...]; write the program and its arguments.")
    makes = step.get("makes")
    return BuildStep(tuple(place.fill(part) for part in command), place.path(makes) if makes else None)


def build(suite: Suite, say: Callable[[str], None] = lambda text: None) -> None:
    """Run the steps of the sources that are not complete, in the folder of the suite. Raises OpenVMASError."""
    for covered in suite.coverage:
        for step in covered.steps if covered.found < covered.listed else ():
            if step.is_done:
                say(f"{covered.source}: {step.makes} is there")
                continue
            say(f"{covered.source}: {step}")
            done = subprocess.run(step.command, cwd=suite.path.resolve().parent)
            if done.returncode:
                raise OpenVMASError(
                    f"{covered.source} could not be built: `{step}` ended with code {done.returncode}; "
                    "mend what it says above and run this again."
                )


def evenly_spaced(clips: tuple[Clip, ...], limit: int) -> tuple[Clip, ...]:
    """So many clips evenly from the whole suite, in their order. Raises OptionError."""
    if limit < 1:
        raise OptionError(f"limit cannot be {limit}; give the number of clips.")
    n = min(limit, len(clips))
    return tuple(clips[i * len(clips) // n] for i in range(n))


def describe_coverage(suite: Suite) -> list[str]:
    """Sentences: how much of each source was found, and what to do about the rest."""
    lines = []
    for covered in suite.coverage:
        lines.append(str(covered))
        if covered.missing:
            more = f" and {len(covered.missing) - 5} more" if len(covered.missing) > 5 else ""
            lines.append(f"  missing: {', '.join(covered.missing[:5])}{more}")
        if covered.found < covered.listed and covered.steps:
            lines.append(f"  to build it: openvmas eval build {suite.path}, which runs")
            lines += [f"    {step}" for step in covered.steps if not step.is_done]
    return lines
