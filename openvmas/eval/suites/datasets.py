"""Test lists as they were published, and the media of theirs that are on disk.

A list names clips; who has the media puts them into one folder, under the names that the publishers or the usual
downloaders give them. Nothing is downloaded here. A reader gives rows; `match` finds the files.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvmas.data.curation.record import read_records
from openvmas.data.curation.set_media import find_media
from openvmas.errors import InputError
from openvmas.eval.suites.media_files import SOUND_SUFFIXES, VIDEO_SUFFIXES

YOUTUBE = re.compile(r"(?:v=|youtu\.be/|embed/|shorts/)([\w-]{11})")
BRACKETED = re.compile(r"\[([\w-]{11})\]")  # "Title [ID].mp4", as yt-dlp names files
SYMMV_COLUMNS = ("index", "youtube_url")
MUSICCAPS_COLUMNS = ("ytid", "start_s", "end_s", "caption")


@dataclass(frozen=True)
class Row:
    """One listed clip. names: stems under which its media may lie, best first; start, end: s in the whole video.

    cut: stems of files that hold nothing but the excerpt. video, music: paths below the media folder, where the list
    names them itself.
    """

    name: str
    names: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    video: str | None = None
    music: str | None = None
    start: float = 0.0
    end: float | None = None
    caption: str | None = None
    split: str = ""


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV, TSV or JSONL file. Raises InputError for anything else."""
    text = read_text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        try:
            return [{k: "" if v is None else str(v) for k, v in json.loads(x).items()} for x in text.splitlines() if x]
        except (ValueError, AttributeError) as error:
            raise InputError(f"{path} is no JSON Lines file ({error}); give one object per line.") from error
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in first else ",", restval="")
    return [{k: v for k, v in row.items() if k is not None} for row in reader]


def read_text(path: Path) -> str:
    """The text of a list. Raises InputError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = "it is not text" if isinstance(error, ValueError) else error.strerror
        raise InputError(f"{path} cannot be read ({reason}); give the list of the test set.") from error


def need(path: Path, rows: list[dict[str, str]], columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows, if they have the columns. Raises InputError."""
    lacking = [column for column in columns if not rows or column not in rows[0]]
    if lacking:
        raise InputError(f"{path} lacks the column {lacking[0]}; give the list as it was published.")
    return rows


def seconds(text: str | None) -> float | None:
    """A time in s, None where nothing is written. Raises InputError."""
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no time; give seconds.") from error


def table(path: Path) -> list[Row]:
    """Our own format: CSV, TSV or JSONL with `video` (or `path`) and, where known, `name`, `music`, `caption`,
    `split`, `start` and `end` (s)."""
    rows = read_table(path)
    column = "video" if rows and "video" in rows[0] else "path"
    need(path, rows, (column,))
    return [
        Row(
            name=row.get("name") or Path(row[column]).stem, video=row[column], music=row.get("music") or None,
            start=seconds(row.get("start")) or 0.0, end=seconds(row.get("end")),
            caption=row.get("caption") or None, split=row.get("split") or "",
        )
        for row in rows
    ]  # fmt: skip


def v2m_bench(path: Path) -> list[Row]:
    """V2M-bench (VidMuse: Tian et al. 2025): `V2M-bench.txt`, one video's name a line; ID.mp4 and, apart, ID.wav."""
    return [Row(name=line.strip(), names=(line.strip(),)) for line in read_text(path).splitlines() if line.strip()]


def symmv(path: Path) -> list[Row]:
    """SymMV (Zhuo et al. 2023): `SymMV.csv`, tab-separated: index, youtube_url, tonality, shazam_id.

    Files are named by index (00001.mp4) or by the YouTube id. Which are for testing was not published with the list.
    """
    rows = need(path, read_table(path), SYMMV_COLUMNS)
    return [Row(name=row["index"], names=(row["index"], *youtube_ids(row["youtube_url"]))) for row in rows]


def bgm909(path: Path) -> list[Row]:
    """BGM909 (Diff-BGM: Li et al. 2024): songs of POP909 by their number, 001 to 909; files 001.mp4.

    The split is a pickle of (training, testing) lists of names such as 001.npz; the second is taken. A text file with
    one name a line will do.
    """
    if path.suffix.lower() in (".pickle", ".pkl"):
        parts = read_pickle(path)
        if isinstance(parts, Mapping):
            parts = list(parts.values())
        names = [str(name) for name in (parts[1] if len(parts) > 1 and not isinstance(parts[0], str) else parts)]
    else:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    return [Row(name=stem, names=(stem, stem.lstrip("0")), split="test") for stem in (Path(n).stem for n in names)]


class _Plain(pickle.Unpickler):
    """Reads lists, tuples, dicts, strings and numbers; a pickle that wants anything called is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"it would call {module_name}.{global_name}")


def read_pickle(path: Path) -> Any:
    """Plain values from a pickle, never code. Raises InputError."""
    try:
        with path.open("rb") as file:
            return _Plain(file).load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path} is no list of names that can be read ({error}); write the names as text.") from error


def disco_mv(path: Path) -> list[Row]:
    """DISCO-MV (VMAS: Lin et al. 2024; videos of DISCO-10M, Lanzendörfer et al. 2023).

    The paper's own list is not public; whoever has one gives YouTube ids or addresses, one a line, or a table with
    a column `youtube_id`, `video_id` or `video_url_youtube` and, for excerpts, `start` and `end` (s).
    """
    text = read_text(path)
    if "," not in (first := text.split("\n", 1)[0]) and "\t" not in first and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return [Row(name=found, names=(found,)) for line in lines for found in youtube_ids(line)]
    rows = read_table(path)
    columns = [c for c in ("youtube_id", "video_id", "video_url_youtube") if rows and c in rows[0]]
    need(path, rows, columns[:1] or ("youtube_id",))
    return [
        Row(
            name=name_with_times(found, seconds(row.get("start")), seconds(row.get("end"))), names=(found,),
            start=seconds(row.get("start")) or 0.0, end=seconds(row.get("end")), split=row.get("split", ""),
        )
        for row in rows
        for found in youtube_ids(row[columns[0]])
    ]  # fmt: skip


def musiccaps(path: Path) -> list[Row]:
    """MusicCaps (MusicLM: Agostinelli et al. 2023): `musiccaps-public.csv`: ytid, start_s, end_s, caption, ...

    Ten seconds of each video. Files that hold just these are named [ID]-[START-END] or ID_START_END; a file named ID
    is the whole video, or the excerpt if it is too short to hold it. Split: "eval" or "train" of AudioSet.
    """
    rows = need(path, read_table(path), MUSICCAPS_COLUMNS)
    found = []
    for row in rows:
        start, end = int(float(row["start_s"])), int(float(row["end_s"]))
        cut = (f"[{row['ytid']}]-[{start}-{end}]", f"{row['ytid']}_{start}_{end}", f"{row['ytid']}-{start}-{end}")
        is_eval = row.get("is_audioset_eval", "").strip().lower() == "true"
        split = "eval" if is_eval else "train"
        found.append(Row(row["ytid"], (row["ytid"],), cut, None, None, start, end, row["caption"], split))
    return found


DATASETS: dict[str, Callable[[Path], list[Row]]] = {
    "table": table,
    "v2m-bench": v2m_bench,
    "symmv": symmv,
    "bgm909": bgm909,
    "disco-mv": disco_mv,
    "musiccaps": musiccaps,
}


def curated_set(folder: Path, split: str) -> list[Row]:
    """The videos of a split of a set of `openvmas data build`; those whose file is gone have no video."""
    rows = []
    for record in read_records(folder / "set.jsonl"):
        if record.kind == "video" and record.facts.get("split.name") == split:
            video = find_media(folder, record)
            name = f"{Path(record.origin.uri).stem}-{record.id[:6]}"
            # A name that no file has, so that nothing is taken for it.
            found = str(video.absolute()) if video else f"{name} is gone"
            rows.append(Row(name=name, video=found, start=record.start, end=record.end, split=split))
    return rows


def youtube_ids(text: str) -> tuple[str, ...]:
    """The id in an address, or the text itself if it is one; nothing else is an id."""
    text = text.strip()
    found = YOUTUBE.search(text)
    if found:
        return (found.group(1),)
    return (text,) if re.fullmatch(r"[\w-]{11}", text) else ()


def name_with_times(name: str, start: float | None, end: float | None) -> str:
    """Two excerpts of one video are two clips."""
    return name if start is None else f"{name}_{start:g}" + ("" if end is None else f"_{end:g}")


class MediaIndex:
    """The videos and sounds anywhere below a folder, by stem."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stems: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix.lower() in VIDEO_SUFFIXES | SOUND_SUFFIXES and path.is_file():
                for stem in stems(path):
                    self._stems.setdefault(stem, []).append(path)

    def find(self, names: Iterable[str], suffixes: set[str]) -> Path | None:
        """The first file under one of the names with one of the suffixes."""
        for name in names:
            for path in self._stems.get(name, ()):
                if path.suffix.lower() in suffixes:
                    return path
        return None


def stems(path: Path) -> Iterator[str]:
    """Names under which a file may be asked for: its stem, and the id in "Title [ID]" and "ID.f137"."""
    yield path.stem
    found = BRACKETED.findall(path.stem)
    if found and not path.stem.startswith("["):
        yield found[-1]
    if re.fullmatch(r"[\w-]{11}\..+", path.stem):
        yield path.stem[:11]
