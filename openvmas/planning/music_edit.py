"""The part of a plan that says which recording is played and what the user decided on it: `music:` in the YAML."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from openvmas.planning.schema import FieldError, check_number

STATES = ("free", "locked", "refused")
MAX_SECONDS = 10_800.0  # of a recording
LEAST_SPAN = 0.05  # s
FREE = "free/"  # before the name of a recording that comes with OpenVMAS


@dataclass(frozen=True)
class MusicJoin:
    """A place where the recording leaps. time: s of the picture. source_from, source_to: s of the recording.

    state: "free" is how it was arranged and may change; "locked" stays as it is; "refused" is never made.
    """

    time: float
    source_from: float
    source_to: float
    state: str = "free"


@dataclass(frozen=True)
class MusicEdit:
    """A recording under a picture, and the limits of its arrangement.

    file: path, absolute or from the plan's folder, or free/NAME for one that comes with OpenVMAS. sha256: of its
    content, or "" where any will do. begin: s of the recording at the picture's first frame, or None for the best
    place. kept: spans of the recording, s, that are played whole; forbidden: spans that are not heard. joins: in order
    of time.
    """

    file: str
    sha256: str = ""
    begin: float | None = None
    kept: tuple[tuple[float, float], ...] = ()
    forbidden: tuple[tuple[float, float], ...] = ()
    joins: tuple[MusicJoin, ...] = ()

    @property
    def made(self) -> tuple[MusicJoin, ...]:
        """The joins that are not refused."""
        return tuple(join for join in self.joins if join.state != "refused")

    def check(self, duration: float) -> None:
        """Raises FieldError at the first field that makes no sense. duration: of the picture, s."""
        if not self.file.strip():
            raise FieldError("music.file", "it is empty; give the path of a recording.")
        if self.begin is not None:
            check_number("music.begin", self.begin, 0, MAX_SECONDS, " s")
        for name in ("kept", "forbidden"):
            for i, (start, end) in enumerate(getattr(self, name)):
                check_number(f"music.{name}[{i}][0]", start, 0, MAX_SECONDS, " s")
                check_number(f"music.{name}[{i}][1]", end, 0, MAX_SECONDS, " s")
                if end - start < LEAST_SPAN:
                    raise FieldError(f"music.{name}[{i}]", f"{start:g} to {end:g} s is no span; give start, then end.")
        for i, join in enumerate(self.joins):
            check_number(f"music.joins[{i}].time", join.time, 0, duration, " s")
            check_number(f"music.joins[{i}].source_from", join.source_from, 0, MAX_SECONDS, " s")
            check_number(f"music.joins[{i}].source_to", join.source_to, 0, MAX_SECONDS, " s")
            if join.state not in STATES:
                raise FieldError(f"music.joins[{i}].state", f"{join.state!r} is none of {', '.join(STATES)}; give one.")
            made = [other.time for other in self.joins[:i] if "refused" not in (join.state, other.state)]
            if made and join.time <= made[-1]:
                raise FieldError(
                    f"music.joins[{i}].time", f"{join.time:g} s comes after {made[-1]:g} s; put them in order of time."
                )

    def find(self, folder: Path) -> Path:
        """The recording: from the plan's folder if it is there, else as the path stands."""
        path = folder / self.file
        return path if path.exists() else Path(self.file)

    def seen_from(self, folder: str | Path) -> MusicEdit:
        """This edit with its file named from a folder if it lies below it, else by its whole path."""
        if self.file.startswith(FREE):
            return self
        whole = os.path.abspath(self.file)
        below = os.path.relpath(whole, os.path.abspath(folder)) if _same_drive(whole, folder) else ".."
        return replace(self, file=whole if below.startswith("..") else Path(below).as_posix())


def _same_drive(path: str, folder: str | Path) -> bool:
    return os.path.splitdrive(path)[0] == os.path.splitdrive(os.path.abspath(folder))[0]


def write_music(edit: MusicEdit, number: Callable[[float], str], text: Callable[[str], str]) -> list[str]:
    """Lines of YAML. number, text: write one of them, as `schema` does."""

    def spans(values: tuple[tuple[float, float], ...]) -> str:
        return "[" + ", ".join(f"[{number(start)}, {number(end)}]" for start, end in values) + "]"

    lines = [
        "",
        "# The recording that is played. kept: spans of it that are played whole; forbidden: spans that are not heard.",
        "# begin: where in it the picture begins; null is the best place. joins: where it leaps, from source_from to",
        "# source_to at `time` of the picture. state: free may change, locked stays, refused is never made.",
        "music:",
        f"  file: {text(edit.file)}",
        f"  sha256: {text(edit.sha256)}",
        f"  begin: {'null' if edit.begin is None else number(edit.begin)}",
        f"  kept: {spans(edit.kept)}",
        f"  forbidden: {spans(edit.forbidden)}",
        "  joins:" if edit.joins else "  joins: []",
    ]
    for join in edit.joins:
        places = f"source_from: {number(join.source_from)}, source_to: {number(join.source_to)}"
        lines.append(f"  - {{time: {number(join.time)}, {places}, state: {join.state}}}")
    return lines
