"""Content of a video file: which stream is the picture, its exact clock and length. One frame is decoded."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from openvmas.errors import InputError
from openvmas.media.packets import PacketClock, Span, Unroller, is_streamed, order_of, packets, read_edits, spans_of

MIN_SIDE = 32  # px, the smallest picture with anything to see
MAX_STILL = 3600  # s that one frame may be shown
MAX_PIXELS = 8192 * 4320  # 8K; larger pictures would need gigabytes for the decoder's own frames
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273 transfer_characteristics

# Only real media containers: a playlist or an edit script (hls, dash, concat, ...) could make FFmpeg open other files,
# and text would be "played" by its terminal-art demuxer.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,apng,mxf,nut,ivf,"
    "h264,hevc,obu,av1,m4v,yuv4mpegpipe,wtv,rm,dv,swf,vob,w64,wav,mp3,flac,aac,ac3,eac3,aiff,amr,au,caf,ape,wv,tta,opus"
)


@dataclass(frozen=True)
class VideoInfo:
    """The picture of a video file and its clock.

    duration: of the picture, s: end of the last shown frame minus the start of the first.
    start: presentation time of the first frame, s (not always 0).
    fps: shown frames / duration. frame_interval: the usual time between two frames (median), s.
    width, height: px as displayed, after rotation and with square pixels.
    rotation: degrees by which the stored picture is turned clockwise to be displayed: 0, 90, 180 or 270.
    is_hdr: the picture is coded with the PQ or HLG curve. n_frames: shown frames. container: FFmpeg's format name.
    clock: what `packets` must mend in the file's times so that they are these.
    """

    path: str
    duration: Fraction
    start: Fraction
    fps: Fraction
    frame_interval: Fraction
    n_frames: int
    width: int
    height: int
    rotation: int
    codec: str
    is_hdr: bool
    has_audio: bool
    stream_index: int
    container: str
    clock: PacketClock = field(default_factory=PacketClock)


def open_media(path: str | Path, ignores_edits: bool = False) -> InputContainer:
    """Open a media file for reading. Raises InputError saying what is wrong with it and what to do.

    ignores_edits: packets come once each with the times of their track, as if an mp4 or mov had no edit lists.
    """
    name = str(path)
    target = Path(path)
    try:
        os.stat(target)
    except ValueError as error:
        raise InputError(f"{name!r} is not a name of a file; check the path.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{name[:60]}... is too long for a name; check the path.") from error
    if target.is_dir():
        raise InputError(f"{name} is a folder; give a video file.")
    if not target.exists():
        raise InputError(f"{name} does not exist; check the path.")
    if not target.is_file():
        raise InputError(f"{name} is not a regular file; give a video file on disk.")
    if not os.access(target, os.R_OK):
        raise InputError(f"{name} cannot be read (no permission); change its permissions or copy it.")
    try:
        size = target.stat().st_size
        with target.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror}); check the disk or copy the file again.") from error
    if size == 0:
        raise InputError(f"{name} is empty (0 bytes); record or copy it again.")
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", "fflags": "+genpts"}
    if ignores_edits:
        options["ignore_editlist"] = "1"
    try:
        return av.open(f"file:{name}", "r", options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise InputError(_explain(name, head, size)) from error


def _explain(name: str, head: bytes, size: int) -> str:
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return (
            f"{name} has no usable index (moov): the recording or copy was cut off ({size} bytes); "
            "copy it again, or repair it with the program that recorded it."
        )
    if b"\x00" not in head and sum(c < 9 for c in head) == 0:
        return f"{name} holds text, not video; give a video file such as mp4, mov, mkv, webm or avi."
    return f"{name} is not a video file that can be read, or it is damaged; give an mp4, mov, mkv, webm or avi file."


def is_cover(stream: VideoStream) -> bool:
    """Whether a video stream is a cover picture or a thumbnail and not the picture of the video."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return bool(stream.disposition & stills)


def picture_stream(container: InputContainer, name: str) -> VideoStream:
    """The stream that players show: the default one, else the largest. Raises InputError if there is none."""
    return _picture_streams(container, name)[0]


def _picture_streams(container: InputContainer, name: str) -> list[VideoStream]:
    """All streams that may be the picture, the likeliest first."""
    streams = [s for s in container.streams.video if not is_cover(s)]
    if not streams:
        if container.streams.video:
            raise InputError(f"{name} is sound with a cover picture, not a video; give a file with moving pictures.")
        if container.streams.audio:
            raise InputError(f"{name} has sound but no picture; give a video file.")
        raise InputError(f"{name} has no video stream; give a video file.")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise InputError(f"{name} uses a video codec that is not known here; convert it to H.264 (mp4).")
    return sorted(known, key=lambda s: (not s.disposition & Disposition.default, -s.width * s.height, s.index))


def probe(path: str | Path) -> VideoInfo:
    """Find the picture of a video file and measure its clock from all packets; only one frame is decoded.

    Raises InputError with the remedy for everything that cannot be scored.
    """
    with open_media(path) as container:
        indexes = [stream.index for stream in _picture_streams(container, str(path))]
        if len(indexes) == 1:
            return _measured(container, str(path), indexes[0])
    # Telephones put a large still beside the few seconds that move.
    moving = next((index for index in indexes if _has_two_packets(path, index)), indexes[0])
    with open_media(path) as container:
        return _measured(container, str(path), moving)


def _has_two_packets(path: str | Path, index: int) -> bool:
    with open_media(path) as container:
        return len(list(itertools.islice(packets(container, index), 2))) == 2


def _measured(container: InputContainer, name: str, index: int) -> VideoInfo:
    stream = container.streams[index]
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise InputError(
            f"{name} is {context.width}x{context.height}, larger than 8192x4320 pixels; scale it down first."
        )
    rotation, aspect = _look(name, stream.index)
    width, height = round(context.width * aspect), context.height
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{name} is only {width}x{height} pixels; give a video of at least {MIN_SIDE}x{MIN_SIDE}.")
    if rotation % 180:
        width, height = height, width
    base = Fraction(stream.time_base or Fraction(1, 90_000))
    starts, ends, clock = _scan(container, stream, name)
    if not len(starts) and clock.n_packets:
        raise InputError(
            f"{name} is a bare {context.codec.canonical_name} stream without times; put it into a container first, "
            f"for example with `mkvmerge -o NAME.mkv {Path(name).name}`, and give that."
        )
    if len(starts) < 2:
        raise InputError(f"{name} has only {len(starts)} frame; give a video with moving pictures.")
    if starts[-1] == starts[0]:
        raise InputError(f"{name} has a duration of zero; export it again from the program that made it.")
    duration, interval = _measure(starts, ends, base, stream.average_rate or stream.guessed_rate)
    _refuse_stills(name, starts, base, duration)
    return VideoInfo(
        path=name,
        duration=duration,
        start=int(starts[0]) * base,
        fps=len(starts) / duration,
        frame_interval=interval,
        n_frames=len(starts),
        width=width,
        height=height,
        rotation=rotation,
        codec=context.codec.canonical_name,
        is_hdr=int(context.color_trc or 0) in HDR_TRANSFERS,
        has_audio=any(s.codec_context is not None for s in container.streams.audio),
        stream_index=stream.index,
        container=container.format.name,
        clock=clock,
    )


def _scan(container: InputContainer, stream: VideoStream, name: str) -> tuple[np.ndarray, np.ndarray, PacketClock]:
    """The times of `shown`, and what had to be mended for them."""
    is_coded_order, is_packed = order_of(container, stream)
    unroller = Unroller() if is_streamed(container) else None
    lead, last_hidden = 0, -(1 << 62)

    def watched() -> Iterator[av.Packet]:
        nonlocal lead, last_hidden
        for packet in packets(container, stream.index, PacketClock(stream.index, (), 0, is_coded_order, is_packed)):
            if unroller is not None:
                unroller.mend(packet)
            if packet.pts is not None and packet.dts is not None:
                lead = max(lead, packet.dts - packet.pts)
            found.append((packet.is_discard, packet.is_keyframe))
            if packet.is_discard and packet.pts is not None:
                last_hidden = max(last_hidden, packet.pts)
            yield packet

    found: list[tuple[bool, bool]] = []
    starts, ends = _times(watched())
    jumps = tuple(unroller.jumps) if unroller is not None and len(unroller.jumps) > 1 else ()
    hidden = {place for place, (is_hidden, _) in enumerate(found) if is_hidden}
    unneeded = _unneeded(found) if hidden else frozenset()
    has_edits, spans = False, ()
    if container.format.name.startswith("mov"):
        edits = read_edits(name).get(stream.id)
        has_edits = edits is not None and (not edits.is_simple or bool(len(starts) and last_hidden > starts[0]))
        if edits is not None and not edits.is_simple:
            try:
                spans = spans_of(edits, Fraction(stream.time_base or 1))
            except ValueError as error:
                raise InputError(f"{name} is put together from {error} by its edit list; export it again.") from error
            starts, ends = _spanned(name, stream.index, spans)
        elif has_edits and edits is not None and edits.duration:
            stop = int(starts[0] + edits.shown_duration / Fraction(stream.time_base or 1))
            starts, ends = starts[starts < stop], np.minimum(ends[starts < stop], stop)
    return starts, ends, PacketClock(
        stream.index, jumps, lead, is_coded_order, is_packed, None if has_edits else len(found),
        has_edits, hidden != unneeded or bool(spans), unneeded, spans,
    )  # fmt: skip


def _spanned(path: str | Path, index: int, spans: Sequence[Span]) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of every frame that spans of a track show, in ticks: [F], [F] int64."""
    with open_media(path, ignores_edits=True) as container:
        starts, ends = _times(packets(container, index))
    ends = np.maximum(ends, np.append(starts[1:], ends[-1:]))
    sliver = int(np.median(ends - starts)) // 10 if len(starts) else 0  # ticks that a list's rounding leaves of a frame
    found: list[tuple[int, int]] = []
    for span in spans:
        inside = (starts < span.end - sliver) & (ends > span.start + sliver)
        begin = np.maximum(starts[inside], span.start) - span.start + span.shown
        found += zip(
            begin.tolist(), (np.minimum(ends[inside], span.end) - span.start + span.shown).tolist(), strict=True
        )
    times = np.array(found, dtype=np.int64).reshape(-1, 2)
    return times[:, 0], times[:, 1]


def _unneeded(found: list[tuple[bool, bool]]) -> frozenset[int]:
    """Hidden packets (is_hidden, is_keyframe) behind which nothing is shown before the next shown keyframe."""
    unneeded: set[int] = set()
    is_needed = False
    for place in reversed(range(len(found))):
        is_hidden, is_keyframe = found[place]
        if not is_hidden:
            is_needed = not is_keyframe
        elif not is_needed:
            unneeded.add(place)
    return frozenset(unneeded)


def shown(container: InputContainer, info: VideoInfo) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of every shown frame in ticks, in the order shown: [F], [F] int64."""
    if info.clock.spans:
        return _spanned(info.path, info.stream_index, info.clock.spans)
    return _times(packets(container, info.stream_index, info.clock))


def _times(read: Iterator[av.Packet]) -> tuple[np.ndarray, np.ndarray]:
    starts: list[int] = []
    ends: list[int] = []
    for packet in read:
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None and not packet.is_discard:  # an edit list hides discarded frames
            starts.append(time)
            ends.append(time + (packet.duration or 0))
    order = np.argsort(np.array(starts, dtype=np.int64), kind="stable")
    return np.array(starts, dtype=np.int64)[order], np.array(ends, dtype=np.int64)[order]


def _refuse_stills(name: str, starts: np.ndarray, base: Fraction, duration: Fraction) -> None:
    """A damaged clock must not cost hours of work for seconds of picture. Raises InputError."""
    gaps = np.diff(starts)
    longest = int(gaps.max()) * base
    if longest > MAX_STILL:
        at = float((int(starts[int(gaps.argmax())]) - int(starts[0])) * base)
        raise InputError(
            f"{name} shows one frame for {float(longest) / 3600:.1f} hours (from {at:.1f} s on); "
            "cut it there, or export it again with the right times."
        )
    if duration > MAX_STILL and duration / len(starts) > 60:
        raise InputError(
            f"{name} shows only {len(starts)} frames in {float(duration) / 3600:.1f} hours; "
            "export it again with the right times."
        )


def _measure(starts: np.ndarray, ends: np.ndarray, base: Fraction, rate: Fraction | None) -> tuple[Fraction, Fraction]:
    """Duration and usual interval, s. A steady rate rounded to ticks (Matroska: 1 ms) counts as that rate."""
    usual = int(np.median(np.diff(starts)))
    end = int(ends[-1]) if ends[-1] > starts[-1] else int(starts[-1]) + usual
    duration = (end - int(starts[0])) * base
    if rate:
        step = 1 / (rate * base)  # ticks; where few ticks make a frame (AVI: one), an odd one is a frame left out
        steady = np.arange(len(starts)) * float(step)
        is_steady = np.abs(starts - starts[0] - steady).max() <= min(Fraction(1), step / 4)
        if is_steady and abs(duration - len(starts) / rate) <= 2 * base:
            return len(starts) / rate, 1 / rate
    return duration, usual * base if usual > 0 else duration / len(starts)


def _look(path: str | Path, stream_index: int) -> tuple[int, Fraction]:
    """Rotation (degrees clockwise) and pixel aspect, from the first frame that can be decoded."""
    with open_media(path) as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, VideoStream)
        is_encrypted = stream.codec_context.codec_tag in ("encv", "drmi")
        for packet in packets(container, stream_index):
            is_encrypted |= packet.has_sidedata("encryption_info")
            try:
                frames = packet.decode()
            except (FFmpegError, MemoryError):
                continue
            for frame in frames:
                if not isinstance(frame, av.VideoFrame):
                    continue
                turned = round(-frame.rotation / 90) * 90 % 360
                return turned, Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        try:
            for frame in stream.codec_context.decode(None):
                return round(-frame.rotation / 90) * 90 % 360, Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        except FFmpegError:
            pass
    if is_encrypted:
        raise InputError(f"{path} is encrypted; give a copy without copy protection.")
    raise InputError(
        f"{path}: no frame of its {stream.codec_context.name} picture can be decoded; it is damaged: "
        "copy it again from where it was recorded."
    )
