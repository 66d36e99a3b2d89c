"""Edit lists of mp4 and mov files: which spans of a track are shown, in which order (ISO/IEC 14496-12, 8.6.6).

FFmpeg reads them and hides what they hide, but writes only where a track starts. Lists that cut more are therefore
carried over by hand, box by box.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}
_MAX_ENTRIES = 100_000  # of one list; more are damage
MAX_SPANS = 1000  # pieces that one picture is put together from
_MAX_MOOV = 1 << 30  # bytes
_MARKS = {b"st3d", b"sv3d", b"vexu", b"hfov", b"dvcC", b"dvvC", b"dvwC", b"hvcE", b"avcE"}
_ENTRY = 78  # bytes of a visual sample entry before its boxes
_DAMAGE = (OSError, struct.error, ValueError, ZeroDivisionError, IndexError, StopIteration)  # of boxes that are read
_TRACK_HEADER = 20  # bytes before the duration of a tkhd box, version 0; 28 in version 1


@dataclass(frozen=True)
class Edit:
    """A span that is shown. duration: s (0: to the end, in fragmented files); media_time: ticks of the track's clock at
    its start, -1 for nothing to be shown; rate: of 65536."""

    duration: Fraction
    media_time: int
    rate: int


@dataclass(frozen=True)
class EditList:
    """The edits of one track, in the order shown. time_scale: ticks per second of `media_time`."""

    edits: tuple[Edit, ...]
    time_scale: int

    @property
    def is_simple(self) -> bool:
        """Whether it only says where the track starts: what every muxer writes."""
        shown = [edit for edit in self.edits if edit.media_time >= 0]
        begins_empty = all(edit.media_time < 0 for edit in self.edits[: len(self.edits) - len(shown)])
        return len(shown) <= 1 and begins_empty and all(edit.rate == 1 << 16 for edit in shown)

    @property
    def shown_duration(self) -> Fraction:
        """From the first shown moment to the last, s."""
        first = next((place for place, edit in enumerate(self.edits) if edit.media_time >= 0), 0)
        return sum((edit.duration for edit in self.edits[first:]), Fraction(0))

    @property
    def duration(self) -> Fraction:
        """Length of what is shown and of the empty spans, s."""
        return sum((edit.duration for edit in self.edits), Fraction(0))


@dataclass(frozen=True)
class Span:
    """From `start` to `end` of a track's own time, shown at `shown`; all in ticks of the track's clock."""

    start: int
    end: int
    shown: int


def spans_of(edits: EditList, base: Fraction) -> tuple[Span, ...]:
    """Spans that an edit list shows, piece by piece, in ticks of `base` s. Raises ValueError for too many pieces."""
    spans: list[Span] = []
    shown = Fraction(0)
    for edit in edits.edits:
        if edit.media_time >= 0 and edit.duration:
            start = Fraction(edit.media_time, edits.time_scale)
            spans.append(Span(*(round(time / base) for time in (start, start + edit.duration, shown))))
        shown += edit.duration
    if len(spans) > MAX_SPANS:
        raise ValueError(f"{len(spans)} pieces")
    return tuple(spans)


def read_edits(path: str | Path) -> dict[int, EditList]:
    """Number of the track → its edit list, for every track that has one; nothing for files of another kind."""
    found: dict[int, EditList] = {}
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            for kind, start, end in _boxes(file, 0, size):
                if kind == b"moov":
                    _read_movie(file, start, end, found)
                    break
    except _DAMAGE:  # a damaged list says nothing
        return {}
    return found


def _read_movie(file: BinaryIO, start: int, end: int, found: dict[int, EditList]) -> None:
    movie_scale = 0
    for kind, a, b in _boxes(file, start, end):
        if kind == b"mvhd":
            movie_scale = _time_scale(_read(file, a, b))
        elif kind == b"trak":
            number, scale, edits = 0, 0, b""
            for inner, c, d in _boxes(file, a, b):
                if inner == b"tkhd":
                    head = _read(file, c, d)
                    number = struct.unpack_from(">I", head, 20 if head[0] else 12)[0]
                elif inner == b"edts":
                    edits = next((_read(file, e, f) for name, e, f in _boxes(file, c, d) if name == b"elst"), b"")
                elif inner == b"mdia":
                    scale = next(
                        (_time_scale(_read(file, e, f)) for name, e, f in _boxes(file, c, d) if name == b"mdhd")
                    )
            if edits and scale and movie_scale:
                found[number] = EditList(tuple(_entries(edits, movie_scale)), scale)


def _entries(payload: bytes, movie_scale: int) -> Iterator[Edit]:
    n = struct.unpack_from(">I", payload, 4)[0]
    layout = ">Qqi" if payload[0] else ">Iii"
    if n > _MAX_ENTRIES:
        raise ValueError("an edit list without end")
    for place in range(n):
        duration, media_time, rate = struct.unpack_from(layout, payload, 8 + place * struct.calcsize(layout))
        yield Edit(Fraction(duration, movie_scale), media_time, rate)


def _time_scale(head: bytes) -> int:
    """Ticks per second of an mvhd or mdhd box."""
    return struct.unpack_from(">I", head, 20 if head[0] else 12)[0]


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start and end of the payload) of the boxes in a span of a file."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        size = size or end - start
        if size < head:
            return
        yield kind, start + head, min(start + size, end)
        start += size


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    if end - start > _MAX_MOOV:
        raise ValueError("a box without end")
    file.seek(start)
    return file.read(end - start)


def read_marks(path: str | Path, number: int) -> bytes:
    """The boxes in the sample entry of a track that say that its picture is a sphere, 3D or Dolby Vision."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            movie = next((_read(file, a, b) for kind, a, b in _boxes(file, 0, size) if kind == b"moov"), b"")
        for _, kind, track in _walk(movie):
            if kind == b"trak" and _number(track) == number:
                table = _find(_find(_find(_find(track, b"mdia"), b"minf"), b"stbl"), b"stsd")
                entry = table[16 : 8 + struct.unpack_from(">I", table, 8)[0]]
                return b"".join(_box(name, inner) for _, name, inner in _walk(entry[_ENTRY:]) if name in _MARKS)
    except _DAMAGE:
        pass
    return b""


def without_contradiction(marks: bytes) -> bytes:
    """Marks without FFmpeg's `vexu` beside `st3d`, which says that the kind of 3D is not known and hides the other."""
    names = {name for _, name, _ in _walk(marks)}
    hidden = {b"vexu"} if b"st3d" in names else set()
    return b"".join(_box(name, inner) for _, name, inner in _walk(marks) if name not in hidden)


def read_chapter_tracks(path: str | Path) -> frozenset[int]:
    """Numbers of the tracks that hold the titles of another track's chapters (QuickTime `tref`/`chap`)."""
    found: set[int] = set()
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            movie = next((_read(file, a, b) for kind, a, b in _boxes(file, 0, size) if kind == b"moov"), b"")
        for _, kind, track in _walk(movie):
            for _, inner, references in _walk(track) if kind == b"trak" else ():
                for _, name, numbers in _walk(references) if inner == b"tref" else ():
                    if name == b"chap":
                        found |= {number for (number,) in struct.iter_unpack(">I", numbers)}
    except _DAMAGE:
        pass
    return frozenset(found)


def write_movie(path: Path, edits: Mapping[int, EditList], marks: Mapping[int, bytes]) -> None:
    """Give tracks of a finished file (by number) edit lists and marks; the file is written anew beside itself.

    `media_time` counts in the ticks of each list's own time_scale; the track's may be another. Marks take the place of
    those that the track has: players refuse a file with two that contradict each other.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        begin, end = next((a, b) for kind, a, b in _boxes(file, 0, size) if kind == b"moov")
        old = _read(file, begin, end)
        new = _with_marks(_with_edits(old, edits), marks)
        media = next(a for kind, a, _ in _boxes(file, 0, size) if kind == b"mdat")
        if begin < media:  # the media move by as much as the index before them has grown
            new = _rebuilt(new, _moved_chunks(len(new) - len(old)))
        changed = path.with_name(path.name + ".edits")
        try:
            with changed.open("xb") as result:
                file.seek(0)
                result.write(file.read(begin - 8))
                result.write(struct.pack(">I4s", 8 + len(new), b"moov") + new)
                file.seek(end)
                shutil.copyfileobj(file, result, 1 << 20)
            os.replace(changed, path)
        finally:
            changed.unlink(missing_ok=True)


Change = Callable[[bytes, bytes], bytes | None]


def _rebuilt(payload: bytes, change: Change) -> bytes:
    """The boxes of a payload, those for which `change` gives another payload with that."""
    parts, start = [], 0
    while start + 8 <= len(payload):
        size, kind = struct.unpack_from(">I4s", payload, start)
        size = size if size >= 8 else len(payload) - start
        inner = payload[start + 8 : start + size]
        other = change(kind, inner)
        if other is None and kind in _PARENTS:
            other = _rebuilt(inner, change)
        parts.append(
            payload[start : start + size] if other is None else struct.pack(">I4s", 8 + len(other), kind) + other
        )
        start += size
    return b"".join(parts)


def _with_edits(movie: bytes, edits: Mapping[int, EditList]) -> bytes:
    movie_scale, longest = 0, 0

    def change(kind: bytes, payload: bytes) -> bytes | None:
        nonlocal movie_scale, longest
        if kind == b"mvhd":
            movie_scale = _time_scale(payload)
        elif kind == b"trak":
            number = _number(payload)
            if number in edits:
                scale = _time_scale(_find(_find(payload, b"mdia"), b"mdhd"))
                return _with_list(payload, edits[number], scale, movie_scale)
        return None

    changed = _rebuilt(movie, change)
    for _, kind, payload in _walk(changed):
        if kind == b"trak":
            longest = max(longest, _duration(_find(payload, b"tkhd"), _TRACK_HEADER))
    return _rebuilt(changed, lambda kind, payload: _lasting(payload, longest, 16) if kind == b"mvhd" else None)


def _with_marks(movie: bytes, marks: Mapping[int, bytes]) -> bytes:
    def change(kind: bytes, track: bytes) -> bytes | None:
        added = marks.get(_number(track), b"") if kind == b"trak" else b""
        return (
            _rebuilt(track, lambda name, inner: _with_entry(inner, added) if name == b"stsd" else None)
            if added
            else None
        )

    return _rebuilt(movie, change)


def _with_entry(table: bytes, added: bytes) -> bytes:
    size, codec = struct.unpack_from(">I4s", table, 8)
    entry = table[16 : 8 + size]
    others = b"".join(_box(name, inner) for _, name, inner in _walk(entry[_ENTRY:]) if name not in _MARKS)
    return table[:8] + _box(codec, entry[:_ENTRY] + others + added) + table[8 + size :]


def _number(track: bytes) -> int:
    head = _find(track, b"tkhd")
    return struct.unpack_from(">I", head, 20 if head[0] else 12)[0]


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _with_list(track: bytes, edits: EditList, scale: int, movie_scale: int) -> bytes:
    rows, total = [], 0
    for edit in edits.edits:
        ticks = round(edit.duration * movie_scale)
        total += ticks
        at = edit.media_time if edit.media_time < 0 else round(Fraction(edit.media_time * scale, edits.time_scale))
        rows.append(struct.pack(">Qqi", ticks, at, edit.rate))
    box = struct.pack(">II", 1 << 24, len(rows)) + b"".join(rows)
    listed = struct.pack(">I4s", 8 + len(box), b"elst") + box
    parts = []
    for _, kind, payload in _walk(track):
        if kind == b"edts":
            continue
        payload = _lasting(payload, total, _TRACK_HEADER) if kind == b"tkhd" else payload
        parts.append(struct.pack(">I4s", 8 + len(payload), kind) + payload)
        if kind == b"tkhd":
            parts.append(struct.pack(">I4s", 8 + len(listed), b"edts") + listed)
    return b"".join(parts)


def _lasting(head: bytes, ticks: int, place: int) -> bytes:
    """An mvhd or tkhd box with another duration, which lies at `place` (8 bytes later in version 1)."""
    if head[0]:
        return head[: place + 8] + struct.pack(">Q", ticks) + head[place + 16 :]
    return head[:place] + struct.pack(">I", min(ticks, 0xFFFF_FFFF)) + head[place + 4 :]


def _duration(head: bytes, place: int) -> int:
    return struct.unpack_from(">Q", head, place + 8)[0] if head[0] else struct.unpack_from(">I", head, place)[0]


def _moved_chunks(by: int) -> Change:
    def change(kind: bytes, payload: bytes) -> bytes | None:
        if kind not in (b"stco", b"co64"):
            return None
        n = struct.unpack_from(">I", payload, 4)[0]
        layout = f">{n}{'I' if kind == b'stco' else 'Q'}"
        return payload[:8] + struct.pack(layout, *(at + by for at in struct.unpack_from(layout, payload, 8)))

    return change


def _walk(payload: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    start = 0
    while start + 8 <= len(payload):
        size, kind = struct.unpack_from(">I4s", payload, start)
        if size < 8:  # the zeros that end some lists, or damage
            return
        yield start, kind, payload[start + 8 : start + size]
        start += size


def _find(payload: bytes, kind: bytes) -> bytes:
    return next(inner for _, name, inner in _walk(payload) if name == kind)
