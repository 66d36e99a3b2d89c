"""Packets of a media file as its player would time them.

Edit lists are read and written, clocks that jump are unrolled, packed frames are taken apart.
"""

from __future__ import annotations

import bisect
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Stream
from av.video.stream import VideoStream

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


_MAX_BAD_READS = 1000  # consecutive failed reads after which the rest of a file is given up
# Containers of broadcasts and recorders, whose clock starts anywhere and starts again when recordings are joined. The
# times of the others (mp4, Matroska, ...) are meant: a gap there is a picture that is held.
_STREAMED = {"mpegts", "mpeg", "flv", "live_flv", "ogg", "asf", "rm", "wtv"}
_MAX_STEP = 10  # s; a longer step forward is another recording, as for ffmpeg's own `-dts_delta_threshold`
_MAX_BACK = Fraction(1, 10)  # s; a longer step backward, too
_WRAP = 1 << 33  # ticks after which the clock of MPEG streams begins again
_NEAR = 1  # s; an offset that lands this near to where a stream should go on is that of its recording
_PACKED = re.compile(rb"DivX\d+(?:b|Build)\d+p")  # user data of encoders that put two frames into one packet of an AVI


@dataclass(frozen=True)
class Jump:
    """From a byte of the file on, `offset` seconds are added to its times."""

    position: int
    offset: Fraction


@dataclass(frozen=True)
class PacketClock:
    """Corrections of the packets of a file that make their times those of the picture as it is shown.

    stream_index: of the picture. jumps: of the file's clock. lead: ticks by which the picture's decoding times are
    lowered, so that no frame is shown before it is decoded. is_coded_order: times say the order of decoding only (AVI).
    is_packed: packets hold two frames. n_packets: of the picture, as far as the file had grown when it was probed.
    has_edits: an edit list does more than to say where the picture starts. has_needed_hidden: it hides packets of which
    shown ones may be made. unneeded: the other hidden packets, counted from 0. spans: what a list of several edits
    shows; FFmpeg is frames off behind the first, so that such a picture is put together here.
    """

    stream_index: int = 0
    jumps: tuple[Jump, ...] = ()
    lead: int = 0
    is_coded_order: bool = False
    is_packed: bool = False
    n_packets: int | None = None
    has_edits: bool = False
    has_needed_hidden: bool = False
    unneeded: frozenset[int] = frozenset()
    spans: tuple[Span, ...] = ()


def is_streamed(container: InputContainer) -> bool:
    """Whether the file's clock may start anywhere and jump."""
    return not _STREAMED.isdisjoint(container.format.name.split(","))


def order_of(container: InputContainer, stream: VideoStream) -> tuple[bool, bool]:
    """(whether its times say only the order of decoding, whether packets hold two frames)."""
    if container.format.name != "avi":
        return False, False
    codec = stream.codec_context
    if codec.codec.canonical_name == "mpeg4":
        return bool(codec.has_b_frames), bool(_PACKED.search(codec.extradata or b""))
    return codec.codec.canonical_name in ("h264", "hevc"), False


def unpacked_extradata(extradata: bytes) -> bytes:
    """The header of a picture whose packets were taken apart: it no longer says that they are packed."""
    return _PACKED.sub(lambda found: found.group()[:-1] + b"\0", extradata)


def packets(
    container: InputContainer, stream_index: int | None = None, clock: PacketClock | None = None
) -> Iterator[av.Packet]:
    """All packets of one stream (or of all) in file order; unreadable places are skipped, dummy packets left out.

    With a clock, times are mended as it says.
    """
    streams = list(container.streams)
    if stream_index is not None:
        for stream in streams:
            if stream.index != stream_index and isinstance(stream, (VideoStream, av.AudioStream)):
                stream.discard = Discard.all
        streams = [streams[stream_index]]
    read = _read_packets(container, streams)
    return read if clock is None else _mended(container, read, clock)


def _read_packets(container: InputContainer, streams: Sequence[Stream]) -> Iterator[av.Packet]:
    bad = 0
    while bad < _MAX_BAD_READS:
        try:
            for packet in container.demux(streams):
                if packet.size:
                    bad = 0
                    yield packet
            return
        except FFmpegError:  # a broken place: reading goes on behind it
            bad += 1
        except IndexError:  # a packet of a stream that begins late, of which PyAV does not know
            continue


def unrolled(read: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Packets of one stream whose own clock is made to run on."""
    unroller = Unroller()
    for packet in read:
        unroller.mend(packet)
        yield packet


def _mended(container: InputContainer, read: Iterator[av.Packet], clock: PacketClock) -> Iterator[av.Packet]:
    unrollers: dict[int, Unroller] = {}
    unpack = None
    if clock.is_packed:
        unpack = BitStreamFilterContext("mpeg4_unpack_bframes", container.streams[clock.stream_index])
    n_packets = 0
    for packet in read:
        index = packet.stream_index
        if clock.jumps:
            if index not in unrollers:
                unrollers[index] = Unroller(() if index == clock.stream_index else clock.jumps)
            unrollers[index].mend(packet)
        if index != clock.stream_index:
            yield packet
            continue
        if clock.n_packets is not None and n_packets >= clock.n_packets:  # the file has grown since
            continue
        try:
            apart = [packet] if unpack is None else unpack.filter(packet)
        except FFmpegError:  # a damaged packet that cannot be taken apart
            continue
        for piece in apart:
            n_packets += 1
            if clock.is_coded_order:
                piece.pts = piece.dts
            if clock.lead and piece.dts is not None:
                piece.dts -= clock.lead
            yield piece


class Unroller:
    """Makes the times of one stream run on where the clock of its file jumps, as players do.

    Without jumps it finds them: the stream goes on where it was. With those of the picture, each packet gets the offset
    of its recording, so that all streams keep their distance from the picture.
    """

    def __init__(self, jumps: Sequence[Jump] = ()) -> None:
        self.jumps = list(jumps) or [Jump(0, Fraction(0))]
        self._is_first = not jumps
        self._current = self.jumps[0].offset
        self._next: Fraction | None = None  # s, where the stream should go on
        self._last = Fraction(0)  # s, when its last packet was decoded
        self._end = Fraction(-(1 << 40))  # s, when its last frame begins to be shown
        self._step = Fraction(0)
        self._lead = 0  # ticks from decoding to showing
        self._position = 0
        self._smooth: tuple[int, int, int] | None = None  # ticks: last time, its length, and the next; see `mend`

    def mend(self, packet: av.Packet) -> None:
        """Change the packet's times."""
        # Most sound goes on to the tick where it was and never jumped. Fractions for each of its packets would take as
        # long as decoding them, so they are counted in ticks until something is unusual.
        if self._smooth is not None:
            time = self._smooth[2]
            if packet.pts == packet.dts == time and packet.duration:
                self._position = max(self._position, packet.pos or 0)
                self._smooth = time, packet.duration, time + packet.duration
                return
            base = Fraction(packet.time_base or 1)
            self._last, self._step, self._next = (ticks * base for ticks in self._smooth)
            self._end = max(self._end, self._last)
            self._smooth = None
        base = Fraction(packet.time_base or 1)
        ticks = packet.dts if packet.dts is not None else packet.pts
        self._position = max(self._position, packet.pos or 0)
        if ticks is None:
            return
        if packet.pts is not None:
            if abs(packet.pts - ticks) > _WRAP // 2:  # the clock wraps between the two
                packet.pts += _WRAP if packet.pts < ticks else -_WRAP
            if abs(packet.pts - ticks) * base > _MAX_STEP:  # taken from the other side of a jump
                packet.pts = ticks + self._lead
            self._lead = packet.pts - ticks
        time = ticks * base
        if self._is_first:
            self._find(packet, time, base)
        else:
            self._choose(time)
        now = time + self._current
        if packet.duration:
            self._step = packet.duration * base
        elif self._next is not None and 0 < now - self._last <= _NEAR:
            self._step = now - self._last
        self._last, self._next = now, now + self._step
        self._end = max(self._end, now + self._lead * base)
        if self._is_first and len(self.jumps) == 1 and packet.pts == packet.dts and packet.duration:
            self._smooth = ticks, packet.duration, ticks + packet.duration
        moved = round(self._current / base)
        if packet.pts is not None:
            packet.pts += moved
        if packet.dts is not None:
            packet.dts += moved

    def _find(self, packet: av.Packet, time: Fraction, base: Fraction) -> None:
        if self._next is None:
            return
        ahead = time + self._current - self._next
        if -self._step - _MAX_BACK <= ahead <= _MAX_STEP:
            return
        # A single wrong time is a jump and a jump back: then the old offset is right again.
        known = [jump.offset for jump in reversed(self.jumps)] + [self._current + _WRAP * base]
        again = (o for o in known if abs(time + o - self._next) <= _NEAR and time + o > self._next - self._step)
        # A recording begins with a frame that can be decoded by itself; it is shown after all that came before.
        begin = self._end + self._step - self._lead * base if packet.is_keyframe else self._next
        self._current = next(again, begin - time)
        self.jumps.append(Jump(self._position, self._current))

    def _choose(self, time: Fraction) -> None:
        place = max(0, bisect.bisect_right([jump.position for jump in self.jumps], self._position) - 1)
        if self._next is not None:
            if abs(time + self._current - self._next) <= _NEAR:
                return
            near = self.jumps[max(0, place - 1) : place + 2]
            best = min((jump.offset for jump in near), key=lambda offset: abs(time + offset - (self._next or 0)))
            if abs(time + best - self._next) <= _NEAR:
                self._current = best
                return
        self._current = self.jumps[place].offset
