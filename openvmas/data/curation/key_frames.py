"""Cheap looks into a file: what it holds, a few key frames by seeking, an image, a span copied undecoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from openvmas.data.curation.record import Kind
from openvmas.errors import InputError
from openvmas.media.audio import audio_stream
from openvmas.media.packets import packets
from openvmas.media.probe import MAX_PIXELS, VideoInfo, is_cover, open_media, probe

FRAME_SIDE = 160  # px, long side of key frames
_TRIES = 64  # packets after a seek within which a picture must come
_PICTURE_FORMATS = (
    "image2,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,gif,apng,jpegxl_pipe,ppm_pipe,pgm_pipe,tga_pipe"
)


@dataclass(frozen=True)
class MediaInfo:
    """Streams, size and length of a media file.

    duration: s, of the picture, else of the sound, 0 for an image. start: presentation time of the first frame, s.
    picture: the moving picture's clock, None for sound and images. width, height: px as displayed, 0 without picture.
    sample_rate: Hz, channels: as stored, 0 without sound. n_bytes: size of the file.
    """

    duration: float
    start: Fraction
    picture: VideoInfo | None
    container: str
    n_bytes: int
    width: int = 0
    height: int = 0
    fps: float = 0.0
    has_audio: bool = False
    sample_rate: int = 0
    channels: int = 0
    video_codec: str = ""
    audio_codec: str = ""


def read_info(path: Path, kind: Kind) -> MediaInfo:
    """Open a file and measure it from its packets; at most one frame is decoded. Raises InputError."""
    if kind == "image":
        return _image_info(path)
    with open_media(path) as container:
        has_picture = kind == "video" and any(not is_cover(s) for s in container.streams.video)
        has_sound = any(s.codec_context is not None for s in container.streams.audio)
        found: dict[str, Any] = {"container": container.format.name, "n_bytes": path.stat().st_size}
        if has_sound:
            sound = audio_stream(container, str(path))
            found |= {"has_audio": True, "sample_rate": int(sound.rate or 0), "channels": int(sound.channels)}
            found["audio_codec"] = sound.codec_context.codec.canonical_name
            if not has_picture:
                found["start"], found["duration"] = _sound_span(container, sound)
        elif not has_picture:
            raise InputError(f"{path} has neither moving picture nor sound; leave it out.")
    picture = probe(path) if has_picture else None
    if picture is not None:
        found |= {"start": picture.start, "duration": float(picture.duration), "video_codec": picture.codec}
        found |= {"width": picture.width, "height": picture.height, "fps": float(picture.fps)}
    if has_sound and min(found["sample_rate"], found["channels"]) <= 0:
        raise InputError(f"{path} has sound without a sample rate; convert it to FLAC or AAC.")
    if found["duration"] <= 0:
        raise InputError(f"{path} has a duration of zero; export it again from the program that made it.")
    return MediaInfo(picture=picture, **found)


def _sound_span(container: InputContainer, stream: AudioStream) -> tuple[Fraction, float]:
    """Time of the first packet and length from the packets, s: what a header declares may be anything."""
    base = Fraction(stream.time_base or Fraction(1, 48_000))
    first: int | None = None
    end = 0
    for packet in packets(container, stream.index):
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            first = time if first is None else min(first, time)
            end = max(end, time + (packet.duration or 0))
    return Fraction(first or 0) * base, float((end - (first or 0)) * base)


def _open_picture(path: Path) -> InputContainer:
    if not path.is_file() or path.stat().st_size == 0:
        raise InputError(f"{path} is not a file with a picture; give a PNG, JPEG or WebP file.")
    options = {"format_whitelist": _PICTURE_FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path}", "r", options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{path} is not a picture that can be read; give a PNG, JPEG or WebP file.") from error


def _picture_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video or container.streams.video[0].codec_context is None:
        raise InputError(f"{path} holds no picture; give a PNG, JPEG or WebP file.")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise InputError(f"{path} is {stream.width}x{stream.height}, larger than 8192x4320 pixels; scale it down.")
    return stream


def _image_info(path: Path) -> MediaInfo:
    with _open_picture(path) as container:
        stream = _picture_stream(container, path)
        held = container.format.name, path.stat().st_size, stream.width, stream.height
        return MediaInfo(0.0, Fraction(0), None, *held, video_codec=stream.codec_context.name)


def read_picture(path: Path, side: int) -> np.ndarray:
    """The first frame of an image file, its long side at most `side` px: [h, w, 3] uint8. Raises InputError."""
    with _open_picture(path) as container:
        stream = _picture_stream(container, path)
        try:
            frame = next(container.decode(stream), None)
        except (FFmpegError, MemoryError) as error:
            raise InputError(f"{path} cannot be decoded ({error}); convert it to PNG or JPEG.") from error
        if frame is None or frame.width * frame.height > MAX_PIXELS:
            raise InputError(f"{path} holds no picture of at most 8192x4320 pixels; convert it to PNG or JPEG.")
        return _small(frame, side, frame.width, frame.height)


def _small(frame: av.VideoFrame, side: int, width: int, height: int, rotation: int = 0) -> np.ndarray:
    """[h, w, 3] uint8; width, height: as displayed, before scaling."""
    scale = min(side / max(width, height), 1.0)
    w, h = (max(round(size * scale), 1) for size in (width, height))
    turns = rotation // 90
    size = (h, w) if turns % 2 else (w, h)
    small = frame.reformat(
        *size, format="rgb24", interpolation=Interpolation.AREA, dst_color_range=ColorRange.JPEG
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(small, -turns))


def read_key_frames(path: Path, info: MediaInfo, start: float, end: float, n: int) -> np.ndarray:
    """Key frames nearest before n moments spread evenly over a span, each once, in order of time.

    Returns [N, h, w, 3] uint8 RGB, long side FRAME_SIDE px. Raises InputError if there are none.

    Only key frames are decoded, so the cost does not depend on the length. Where a file has few, fewer come back; a
    span that begins between two gets the one on the screen before it.
    """
    picture = info.picture
    assert picture is not None
    moments = start + (np.arange(n) + 0.5) / n * (end - start)
    found: dict[int, np.ndarray] = {}  # by presentation time
    with open_media(path) as container:
        stream = container.streams[picture.stream_index]
        assert isinstance(stream, VideoStream)
        base = Fraction(stream.time_base or Fraction(1, 90_000))
        stream.codec_context.skip_frame = "NONKEY"
        stream.codec_context.thread_type = "SLICE"  # frame threads would hold back pictures
        for moment in moments:
            try:
                container.seek(int((picture.start + Fraction(float(moment))) / base), stream=stream)
                frame = _next_frame(container, stream)
            except FFmpegError:
                continue
            if frame is not None and frame.pts is not None and frame.pts not in found:
                found[frame.pts] = _small(frame, FRAME_SIDE, picture.width, picture.height, picture.rotation)
    if not found:
        raise InputError(f"{path} has no key frame that can be decoded; convert it to H.264 (mp4).")
    return np.stack([found[pts] for pts in sorted(found)])


def _next_frame(container: InputContainer, stream: VideoStream) -> av.VideoFrame | None:
    """The first picture after a seek: key frames are sent alone and the decoder is emptied at once."""
    for packet in itertools.islice(container.demux(stream), _TRIES):
        if not packet.is_keyframe and packet.size:
            continue
        for sent in (packet, None) if packet.size else (None,):
            for frame in stream.codec_context.decode(sent):
                stream.codec_context.flush_buffers()
                return frame
        stream.codec_context.flush_buffers()
    return None


def copy_span(path: Path, info: MediaInfo, start: float, end: float, target: Path) -> None:
    """Copy the packets of a span to a Matroska file, from the key frame before its start on; times are kept.

    start, end: s from the first frame. Raises InputError if the streams cannot be put there.
    """
    try:
        with open_media(path) as source, av.open(str(target), "w", format="matroska") as sink:
            chosen: list[VideoStream | AudioStream] = []
            if info.picture is not None:
                video = source.streams[info.picture.stream_index]
                assert isinstance(video, VideoStream)
                chosen.append(video)
            if info.has_audio:
                chosen.append(audio_stream(source, str(path)))
            copies = {stream.index: sink.add_stream_from_template(stream) for stream in chosen}
            main = chosen[0]
            base = Fraction(main.time_base or Fraction(1, 90_000))
            source.seek(int((info.start + Fraction(start)) / base), stream=main)
            stop = float(info.start) + end + 0.5  # later pictures may be referred to by earlier ones
            going = set(copies)
            for packet in source.demux(chosen):
                if packet.dts is None or packet.stream_index not in going:
                    continue
                if float(packet.dts * packet.time_base) > stop:
                    going.discard(packet.stream_index)
                    if not going:
                        break
                    continue
                packet.stream = copies[packet.stream_index]
                sink.mux(packet)
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{path} cannot be cut without decoding ({error}); give the whole file.") from error
