"""The finished file: the picture's packets copied bit for bit, the soundtrack encoded beside them, tags kept."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from openvmas.errors import InputError, OutputError
from openvmas.files import hidden_name
from openvmas.media.audio import WavReader, audio_stream
from openvmas.media.containers import (
    add_picture,
    can_hold,
    check_container,
    format_of,
    language_for,
    own_aspect,
    sound_codec,
    takes_stream,
    takes_timecode,
)
from openvmas.media.mix import ENCODERS, sample_format, sound_frames
from openvmas.media.packets import (
    Edit,
    EditList,
    PacketClock,
    packets,
    read_chapter_tracks,
    read_edits,
    read_marks,
    without_contradiction,
    write_movie,
)
from openvmas.media.probe import VideoInfo, is_cover, open_media
from openvmas.media.video import has_coded_order, shown_times
from openvmas.processes.threads import read_ahead
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.timeline import Clock

MUSIC_TITLE = "Music (OpenVMAS)"
_MAIN, _ALONE = -2, -1  # places of the soundtrack and of the music alone among streams that are encoded
_LATE = 1  # s; a file in which nothing happens before has the clock of a recorder
_AHEAD = Fraction(1, 2)  # s that sound is written ahead of the picture
_SOUND_AHEAD = 200  # frames of sound that are encoded before they are written
_ITUNES_TAGS = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "creation_time",
}  # fmt: skip
# The container writes these itself.
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id"}


@dataclass(frozen=True)
class MuxReport:
    """Content of a written file.

    codec: of the sound. dropped: streams of the input that the container cannot hold or that the soundtrack replaces,
    in words.
    """

    path: str
    container: str
    codec: str
    n_packets: int
    dropped: tuple[str, ...]


def mux(
    video_path: str | Path,
    info: VideoInfo,
    soundtrack: str | Path,
    output_path: str | Path,
    *,
    music: str | Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    kept_audio: Mapping[int, str | Path | None] | None = None,
    encoded: Sequence[av.Packet] = (),
    progress: Callable[[float], None] | None = None,
) -> MuxReport:
    """Write the finished video: every picture packet of the input with its times, and the soundtrack from its start.

    soundtrack, music: WAV files of `write_wav`, 48 kHz stereo; `music` becomes a second audio track. metadata: is
    written as JSON into the comment tag (behind the user's own comment), see `read_provenance`. kept_audio: indexes
    of the input's other audio streams that follow the soundtrack, each as it is (None) or as a WAV file. encoded: the
    soundtrack's packets as `mix` gave them, if it did. Subtitles,
    covers, attachments, chapters, edit lists and tags are kept where the container can hold them. The file appears only
    when it is whole.
    Raises InputError, OutputError.
    """
    target = Path(output_path)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already; give --overwrite to replace it or another name with --output.")
    if target.exists() and target.samefile(video_path):
        raise OutputError(f"{target} is the input itself; give another name with --output.")
    kept = kept_audio or {}
    sounds = {_MAIN: WavReader(soundtrack)} | ({_ALONE: WavReader(music)} if music is not None else {})
    sounds |= {index: WavReader(wav) for index, wav in kept.items() if wav is not None}
    for sound in sounds.values():
        if sound.sample_rate != SAMPLE_RATE_OUT or sound.n_channels != 2:
            raise InputError(f"the soundtrack must be 48 kHz stereo, not {sound.sample_rate} Hz; write it with mix().")
    name, tag = format_of(target), check_container(info, target)
    edits = read_edits(video_path) if info.clock.has_edits and name in ("mp4", "mov") else {}
    partial = target.with_name(hidden_name(target.suffix))
    try:
        with open_media(video_path, ignores_edits=bool(edits)) as source:
            options = _muxer_options(name, source, info)
            with av.open(f"file:{partial}", "w", format=name, container_options=options) as result:
                writer = _Writer(source, result, info, sounds, tag, kept, bool(edits), encoded)
                _copy_tags(source, result, metadata, origin(source, info))
                if any(words.startswith("timecode ") for words in writer.dropped):
                    for key in [key for key in result.metadata if key.lower() == "timecode"]:
                        del result.metadata[key]
                writer.run(progress or (lambda done: None))
            writer.finish(partial, edits)
        os.replace(partial, target)
    except (OSError, FFmpegError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(_explain(error, target, info)) from error
    finally:
        partial.unlink(missing_ok=True)
    return MuxReport(str(target), name, sound_codec(target), writer.n_packets, tuple(writer.dropped))


def origin(source: InputContainer, info: VideoInfo) -> Fraction:
    """Offset taken from all times of a file, s, so that a player need not wait for the picture.

    In mp4 and Matroska a late picture is meant, unless everything is late or it starts before 0.
    """
    if info.container.startswith(("mov", "matroska")) and info.start >= 0:
        first = Fraction(source.start_time or 0, av.time_base)
        return info.start if min(first, info.start) >= _LATE else Fraction(0)
    return info.start


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Metadata that `mux` wrote about how a file was made; None if it is not ours. Raises InputError."""
    with open_media(path) as container:
        comment = next((v for k, v in container.metadata.items() if k.lower() == "comment"), "")
    return _provenance_line(comment.splitlines()[-1]) if comment else None


def _provenance_line(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "openvmas" in json.dumps(found).lower() else None


def _muxer_options(name: str, source: InputContainer, info: VideoInfo) -> dict[str, str]:
    picture = source.streams[info.stream_index]
    assert isinstance(picture, VideoStream)
    options = {
        "strict": "unofficial"
    }  # for which FFmpeg writes what says that a picture is a sphere, 3D or Dolby Vision
    if name not in ("mp4", "mov"):
        if own_aspect(picture) is not None:
            from openvmas.media.display_size import PADDING

            options["metadata_header_padding"] = str(PADDING + 2 * sum(_header_size(s) for s in source.streams))
        return options
    flags = "+faststart"
    has_cover = any(is_cover(stream) for stream in source.streams.video)  # which FFmpeg writes beside usual tags only
    if {key.lower() for key in source.metadata} - _ITUNES_TAGS - _OWN_TAGS and not has_cover:
        flags += "+use_metadata_tags"  # tags beyond the usual ones, such as a telephone's make and place
    # Edit lists count in the movie's ticks: with the sound's, its end is exact to the sample.
    options |= {"movflags": flags, "movie_timescale": str(SAMPLE_RATE_OUT)}
    base = Fraction(picture.time_base or 1)
    if base.numerator == 1 and base.denominator >= 1000:
        options["video_track_timescale"] = str(base.denominator)
    return options


def _moved(chapters: list[Any], start: Fraction) -> list[Any]:
    """Chapters on a clock that starts `start` s later; those that end before are left out."""
    if not start:
        return chapters
    moved = []
    for chapter in chapters:
        ticks = round(start / Fraction(chapter["time_base"] or 1))
        if chapter["end"] > ticks:
            times = {"start": max(0, chapter["start"] - ticks), "end": chapter["end"] - ticks}
            moved.append({**chapter, **times})
    return moved


def _copy_tags(
    source: InputContainer, result: OutputContainer, metadata: Mapping[str, Any] | None, start: Fraction
) -> None:
    tags = {key: value for key, value in source.metadata.items() if key.lower() not in _OWN_TAGS}
    if metadata is not None:
        key = next((k for k in tags if k.lower() == "comment"), "comment")
        lines = [line for line in tags.get(key, "").splitlines() if _provenance_line(line) is None]
        tags[key] = "\n".join([*lines, json.dumps(dict(metadata), ensure_ascii=False, default=str)])
    result.metadata.update(tags)
    result.set_chapters(_moved(source.chapters(), start))


def _header_size(stream: Stream) -> int:
    return 256 + (stream.codec_context.extradata_size if stream.codec_context is not None else 0)


class _Writer:
    """Lays out the streams of the result and fills them in the order of time."""

    def __init__(
        self,
        source: InputContainer,
        result: OutputContainer,
        info: VideoInfo,
        sounds: Mapping[int, WavReader],
        tag: str,
        kept: Mapping[int, Any],
        has_edits: bool,
        encoded: Sequence[av.Packet],
    ) -> None:
        self.n_packets = 0
        self.dropped: list[str] = []
        self._source, self._result, self._info, self._tag = source, result, info, tag
        self._copies: dict[int, Stream] = {}
        self._starts: dict[int, int] = {}
        self._last_dts: dict[int, int] = {}
        self._clock = PacketClock(info.stream_index) if has_edits else info.clock
        self._shown = shown_times(info.path, info) if has_coded_order(info) else {}
        self._lead = max((coded - shown for coded, shown in self._shown.items()), default=0)
        self._origin = origin(source, info)
        main = source.streams[info.stream_index]
        for stream in source.streams.video:  # a still before the picture stays before it
            if stream.index < main.index and not is_cover(stream):
                self._copy(stream)
        self._copy_picture(main)
        codec = "aac" if result.format.name in ("mp4", "mov") else "opus"
        start = info.start - self._origin
        heard = audio_stream(source, info.path).index if info.has_audio else -1
        self._sounds: list[_Sound] = []
        for index, wav in sounds.items():
            words = {"title": MUSIC_TITLE, "handler_name": MUSIC_TITLE} if index == _ALONE else {}
            spoken = heard if index == _MAIN else index  # the soundtrack has the language of those who speak in it
            if spoken >= 0:
                names = ("language",) if index == _MAIN else ("title", "language")
                words = {k: v for k, v in source.streams[spoken].metadata.items() if k.lower() in names}
            packets = encoded if index == _MAIN else ()
            self._sounds.append(_Sound(result, wav, start, codec, words, packets, is_default=index == _MAIN))
        # Titles of chapters are a track of an mp4; FFmpeg writes it again from the chapters.
        chapter_text = read_chapter_tracks(info.path) if info.container.startswith("mov") else frozenset()
        for stream in source.streams:
            if stream.index in self._copies or stream.index in sounds:
                continue
            if stream.index == heard:
                self.dropped.append(f"audio stream {stream.index} (the soundtrack takes its place)")
            elif stream.type == "audio" and stream.index not in kept:
                self.dropped.append(f"{_name(stream)} (--keep-all-audio keeps it)")
            elif isinstance(stream, VideoStream) and stream.disposition == Disposition.attached_pic:
                self._copy_cover(stream)
            elif stream.type in ("audio", "video", "subtitle", "attachment"):
                self._copy(stream)
            elif not _is_timecode(stream, main, result) and stream.id not in chapter_text:
                self.dropped.append(f"{_name(stream)} (not carried over)")

    def _copy_picture(self, main: Stream) -> None:
        try:
            copy = add_picture(self._source, self._result, self._info, self._tag)
        except (ValueError, FFmpegError) as error:
            raise OutputError(
                f"{self._info.path}: {self._result.format.name} files cannot hold {self._info.codec} video; "
                "give an output in .mkv."
            ) from error
        self._describe(main, copy)
        timecode = _tag(main.metadata, "timecode") or _tag(self._source.metadata, "timecode")
        if timecode and self._result.format.name in ("mp4", "mov"):
            assert isinstance(main, VideoStream)
            if not takes_timecode(self._result.format.name, main, self._info, timecode):
                for key in [key for key in copy.metadata if key.lower() == "timecode"]:
                    del copy.metadata[key]
                self.dropped.append(f"timecode {timecode} (it does not fit the frame rate)")

    def _copy(self, stream: Stream) -> None:
        if not takes_stream(self._result.format.name, stream):
            self.dropped.append(f"{_name(stream)} (the container cannot hold it)")
            return
        copy = self._result.add_stream_from_template(stream, opaque=True)  # type: ignore[arg-type]
        if isinstance(stream, VideoStream) and isinstance(copy, VideoStream) and stream.average_rate:
            copy.codec_context.framerate = stream.average_rate
        self._describe(stream, copy)
        if stream.type == "audio":
            copy.disposition = stream.disposition & ~Disposition.default

    def _copy_cover(self, stream: VideoStream) -> None:
        """A cover is a tag of an mp4 and an attachment of a Matroska file."""
        name, kind = self._result.format.name, {"mjpeg": "jpg", "png": "png"}.get(stream.codec_context.name)
        if name == "matroska" and kind:
            mime = stream.metadata.get("mimetype", f"image/{kind.replace('jpg', 'jpeg')}")
            with open_media(self._info.path) as again:
                image = next((bytes(packet) for packet in packets(again) if packet.stream_index == stream.index), b"")
            self._result.add_attachment(stream.metadata.get("filename", f"cover.{kind}"), mime, image)
        elif name == "mp4" and kind:
            self._copy(stream)
        else:
            self.dropped.append(f"cover picture {stream.index} (the container cannot hold it)")

    def _describe(self, stream: Stream, copy: Stream) -> None:
        copy.metadata.update({k: v for k, v in stream.metadata.items() if k.lower() not in _OWN_TAGS})
        if "language" in copy.metadata:
            copy.metadata["language"] = language_for(self._result.format.name, copy.metadata["language"])
        copy.disposition = stream.disposition
        self._copies[stream.index] = copy

    def run(self, progress: Callable[[float], None]) -> None:
        """Write all packets."""
        self._result.start_encoding()  # here, because sound is then encoded in other threads
        try:
            self._run(progress)
        finally:
            for sound in self._sounds:
                sound.close()

    def _run(self, progress: Callable[[float], None]) -> None:
        for packet in packets(self._source, clock=self._clock):
            copy = self._copies.get(packet.stream_index)
            if copy is None:
                continue
            if isinstance(copy, VideoStream) and is_cover(copy) and packet.pts is None:
                packet.pts = packet.dts = 0
            ticks = packet.dts if packet.dts is not None else packet.pts
            if ticks is None:
                continue
            if packet.stream_index == self._info.stream_index:
                self.n_packets += 1
                if self._result.format.name in ("matroska", "webm") and self.n_packets - 1 in self._clock.unneeded:
                    continue
                if packet.pts in self._shown:  # no frame may be decoded after it is shown
                    packet.dts, packet.pts = packet.pts - self._lead, self._shown[packet.pts]
                now = ticks * Fraction(packet.time_base or 1)
                self._sound_until(now - self._origin + _AHEAD)
                if self.n_packets % 256 == 0:
                    progress(min(1.0, max(0.0, float((now - self._info.start) / self._info.duration))))
            self._mend_dts(packet)
            if self._origin and not self._place(packet):
                continue
            self._starts.setdefault(packet.stream_index, packet.dts if packet.dts is not None else ticks)
            packet.stream = copy
            self._result.mux(packet)
        self._sound_until(None)

    def finish(self, path: Path, edits: Mapping[int, EditList]) -> None:
        """Write what FFmpeg does not: the input's edit lists (by number of its track), an aspect in Matroska."""
        kept: dict[int, EditList] = {}
        for index, copy in self._copies.items():
            found = edits.get(self._source.streams[index].id)
            if found is not None and copy.disposition != Disposition.attached_pic:
                start = self._starts.get(index, 0)  # the muxer counts from the first decoding time
                moved = (
                    Edit(e.duration, e.media_time - start if e.media_time >= 0 else -1, e.rate) for e in found.edits
                )
                kept[copy.index + 1] = EditList(tuple(moved), found.time_scale)
        picture = self._source.streams[self._info.stream_index]
        number = self._copies[picture.index].index + 1
        if self._result.format.name in ("mp4", "mov"):
            written = read_marks(path, number)  # FFmpeg's own say less, and contradict themselves
            marks = read_marks(self._info.path, picture.id) if self._info.container.startswith("mov") else b""
            marks = marks or without_contradiction(written)
            if kept or marks != written:
                write_movie(path, kept, {number: marks})
        assert isinstance(picture, VideoStream)
        aspect = own_aspect(picture)
        if aspect is not None and self._result.format.name in ("matroska", "webm"):
            from openvmas.media.display_size import write_display_size

            write_display_size(path, self._copies[picture.index].index + 1, aspect)

    def _place(self, packet: av.Packet) -> bool:
        """Move a packet's times to where the picture starts at 0; False for what lies before it."""
        moved = round(self._origin / Fraction(packet.time_base or 1))
        packet.pts = None if packet.pts is None else packet.pts - moved
        packet.dts = None if packet.dts is None else packet.dts - moved
        end = (packet.pts or 0) + (packet.duration or 0)
        return packet.stream_index == self._info.stream_index or end > 0 or packet.pts is None

    def _mend_dts(self, packet: av.Packet) -> None:
        """Damaged files repeat decoding times, which no muxer takes; the picture's own time (pts) stays."""
        last = self._last_dts.get(packet.stream_index)
        if last is not None and packet.dts is not None and packet.dts <= last:
            packet.dts = last + 1
            if packet.pts is not None and packet.pts < packet.dts:
                packet.pts = packet.dts
        if packet.dts is not None:
            self._last_dts[packet.stream_index] = packet.dts

    def _sound_until(self, time: Fraction | None) -> None:
        for sound in self._sounds:
            for packet in sound.until(time):
                self._result.mux(packet)


class _Sound:
    """One audio track, encoded as far as the picture has come."""

    def __init__(
        self,
        result: OutputContainer,
        wav: WavReader,
        start_time: Fraction,
        codec: str,
        words: Mapping[str, str],
        encoded: Sequence[av.Packet],
        *,
        is_default: bool,
    ) -> None:
        name, bit_rate = ENCODERS[codec]
        stream = result.add_stream(name, rate=SAMPLE_RATE_OUT, layout="stereo", bit_rate=bit_rate)
        assert isinstance(stream, AudioStream)
        stream.codec_context.format = sample_format(codec)  # type: ignore[assignment]
        stream.codec_context.time_base = Fraction(1, SAMPLE_RATE_OUT)
        stream.time_base = Fraction(1, SAMPLE_RATE_OUT)
        stream.disposition = Disposition.default if is_default else Disposition(0)
        stream.metadata.update(words)
        if "language" in words:
            stream.metadata["language"] = language_for(result.format.name, words["language"])
        self._stream = stream
        start = Clock(Fraction(SAMPLE_RATE_OUT)).index(start_time)
        self._packets: Generator[av.Packet, None, None] = (
            self._move(encoded, start)
            if encoded
            else read_ahead(self._encode(sound_frames(wav.blocks(), sample_format(codec), start)), _SOUND_AHEAD)
        )

    def _encode(self, frames: Iterator[av.AudioFrame]) -> Iterator[av.Packet]:
        for frame in frames:
            yield from self._stream.encode(frame)
        yield from self._stream.encode(None)

    def _move(self, encoded: Sequence[av.Packet], start: int) -> Generator[av.Packet, None, None]:
        """Packets that begin at 0, as this track's from `start` on, in samples."""
        for packet in encoded:
            packet.pts, packet.dts = (packet.pts or 0) + start, (packet.dts or 0) + start
            packet.stream = self._stream
            yield packet

    def until(self, time: Fraction | None) -> Iterator[av.Packet]:
        """Packets of the sound up to a time of the file, s; None: all that is left."""
        for packet in self._packets:
            is_enough = time is not None and (packet.pts or 0) >= time * SAMPLE_RATE_OUT
            yield packet
            if is_enough:
                return

    def close(self) -> None:
        """Stop encoding."""
        self._packets.close()


def _tag(metadata: Mapping[str, str], name: str) -> str | None:
    return next((value for key, value in metadata.items() if key.lower() == name), None)


def _name(stream: Stream) -> str:
    """A stream in words: its type, its number and its language."""
    language = stream.metadata.get("language", "und")
    kind = {"tmcd": "timecode"}.get(str(getattr(stream, "name", "")), stream.type)
    return f"{kind} stream {stream.index}" + (f" ({language})" if language != "und" else "")


def _is_timecode(stream: Stream, main: Stream, result: OutputContainer) -> bool:
    """Whether a data stream is the picture's timecode, which FFmpeg writes again from a tag."""
    return "timecode" in stream.metadata and "timecode" in main.metadata and result.format.name in ("mp4", "mov")


def _explain(error: OSError | FFmpegError, target: Path, info: VideoInfo) -> str:
    folder = target.parent.absolute()
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return f"there is no space left in {folder}; free some or choose another folder with --output."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{folder} cannot be written to (no permission); choose another folder with --output."
    if error.errno == errno.ENOENT:
        return f"the folder {folder} does not exist; create it or choose another with --output."
    others = [
        suffix for suffix in (".mkv", ".mp4", ".mov") if suffix != target.suffix.lower() and can_hold(info, suffix)
    ]
    remedy = f"choose another container, e.g. --output NAME{others[0]}" if others else "convert it to H.264 (mp4) first"
    return f"the {info.codec} video of {info.path} cannot be written as {target.suffix} ({error.strerror}); {remedy}."
