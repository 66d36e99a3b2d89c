"""Maker and licence of a recording, by its tags and by files beside it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING", "COPYRIGHT")
MAX_TEXT = 4000  # characters of a licence file that reports take
TAGS = ("title", "artist", "album", "date", "genre", "license", "copyright", "comment", "url", "source")


@dataclass(frozen=True)
class Credits:
    """title, artist, licence, source: "" where nothing says. tags: of the file. files: texts or data beside it.

    words: for its mood and style, from NAME.license.json.
    """

    title: str
    artist: str
    licence: str
    source: str
    tags: dict[str, str]
    files: dict[str, Any]
    words: str = ""

    def __str__(self) -> str:
        """Title and maker, as far as they are known."""
        return " by ".join(part for part in (self.title, self.artist) if part)

    @property
    def attribution(self) -> str:
        """A sentence to paste below a video; "" where there is nothing to say."""
        if not (self.title or self.artist):
            return ""
        words = f"Music: “{self.title}”" if self.title else "Music"
        words += f" by {self.artist}" if self.artist else ""
        words += f", licensed under {self.licence}" if self.licence else ""
        return words + (f", {self.source}" if self.source else "") + "; edited."

    def describe(self) -> dict[str, Any]:
        """The entry in the report."""
        found: dict[str, Any] = {"title": self.title, "artist": self.artist, "licence": self.licence}
        found |= {"source": self.source, "tags": self.tags, "attribution": self.attribution}
        return found | ({"licence_files": self.files} if self.files else {})


def read_credits(path: Path) -> Credits:
    """Tags of a file, and LICENSE or NAME.license.json beside it, which go before the tags."""
    tags: dict[str, str] = {}
    with contextlib.suppress(FFmpegError, OSError), av.open(str(path), metadata_errors="replace") as container:
        streams = [stream.metadata for stream in container.streams.audio]
        for source in (*streams, container.metadata):
            tags |= {name.lower(): text for name, text in source.items() if name.lower() in TAGS and text.strip()}
    files: dict[str, Any] = {}
    stated: dict[str, Any] = {}
    for name in (f"{path.name}.license.json", f"{path.stem}.license.json"):
        with contextlib.suppress(OSError, ValueError):
            data = json.loads((path.parent / name).read_text(encoding="utf-8"))
            files[name] = data
            stated |= data if isinstance(data, dict) else {}
    for name in LICENCE_FILES:
        with contextlib.suppress(OSError, ValueError):
            files[name] = (path.parent / name).read_text(encoding="utf-8")[:MAX_TEXT]

    def said(*names: str) -> str:
        return next((str(stated[name]) for name in names if stated.get(name)), "") or next(
            (tags[name] for name in names if tags.get(name)), ""
        )

    return Credits(
        said("title", "name"), said("artist", "author", "creator"), said("licence", "license", "copyright"),
        said("source", "url"), tags, files, str(stated.get("words", "")),
    )  # fmt: skip
