"""Packets of a media file as its player would time them: clocks that jump are unrolled, packed frames taken apart."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from openvmas.media.edit_list import Span

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
    read = _read(container, streams)
    return read if clock is None else _mended(container, read, clock)


def _read(container: InputContainer, streams: Sequence[Stream]) -> Iterator[av.Packet]:
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

    def mend(self, packet: av.Packet) -> None:
        """Change the packet's times."""
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
