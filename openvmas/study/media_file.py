"""A stimulus as a file that browsers play: picture packets copied, sound encoded, nothing else: no tags, no names."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import Flags, OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.stream import VideoStream

from openvmas.errors import OutputError
from openvmas.media.encode import ENCODERS, sample_format, sound_frames
from openvmas.media.probe import VideoInfo, open_media, packets, probe
from openvmas.media.video import FrameRequest, has_coded_order, read_frames
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.timeline import Clock

_MP4, _WEBM = {"h264"}, {"vp8", "vp9", "av1"}  # what Chromium, Firefox and Safari play, and in which container
_MAX_SIDE = 1280  # px, of pictures that are encoded anew


def suffix_for(picture: Path | None) -> str:
    """.m4a for sound alone, .mp4 or .webm with a picture."""
    if picture is None:
        return ".m4a"
    return ".webm" if probe(picture).codec in _WEBM else ".mp4"


def write_stimulus(path: Path, wave: np.ndarray, picture: Path | None, duration: Fraction) -> None:
    """Write sound [2, L] at 48 kHz, and under it the first `duration` s of the picture of another file.

    H.264, VP8, VP9 and AV1 are copied bit for bit; other pictures become H.264 of at most 1280 px. Raises InputError,
    OutputError.
    """
    codec = "opus" if path.suffix == ".webm" else "aac"
    options = {} if path.suffix == ".webm" else {"movflags": "+faststart"}
    kind = {".m4a": "mp4", ".mp4": "mp4", ".webm": "webm"}[path.suffix]
    try:
        with av.open(f"file:{path}", "w", format=kind, container_options=options) as result:
            result.flags |= Flags.bitexact.value  # not even the name of the program is written
            shots = None if picture is None else _picture(result, picture, duration)
            sound = _sound(result, codec, wave)
            if shots is not None:
                _interleave(result, shots, sound)
            else:
                for packet in sound:
                    result.mux(packet)
    except FFmpegError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); free some space or use another folder."
        ) from error


def _interleave(result: OutputContainer, shots: Iterator[av.Packet], sound: Iterator[av.Packet]) -> None:
    """Sound half a second ahead of the picture, as players like it."""
    waiting = next(sound, None)
    for shot in shots:
        now = (shot.dts or 0) * Fraction(shot.time_base) + Fraction(1, 2)
        while waiting is not None and (waiting.pts or 0) * Fraction(waiting.time_base) <= now:
            result.mux(waiting)
            waiting = next(sound, None)
        result.mux(shot)
    while waiting is not None:
        result.mux(waiting)
        waiting = next(sound, None)


def _sound(result: OutputContainer, codec: str, wave: np.ndarray) -> Iterator[av.Packet]:
    name, bit_rate = ENCODERS[codec]
    stream = result.add_stream(name, rate=SAMPLE_RATE_OUT, layout="stereo", bit_rate=bit_rate)
    assert isinstance(stream, AudioStream)
    stream.codec_context.format = sample_format(codec)  # type: ignore[assignment]
    stream.codec_context.time_base = stream.time_base = Fraction(1, SAMPLE_RATE_OUT)

    def encoded() -> Iterator[av.Packet]:
        for frame in sound_frames([wave], sample_format(codec)):
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return encoded()


def _picture(result: OutputContainer, picture: Path, duration: Fraction) -> Iterator[av.Packet]:
    """The picture's packets from 0 on. The stream is added at once, the packets come when they are asked for."""
    info = probe(picture)
    with open_media(picture) as source:
        template = source.streams[info.stream_index]
        assert isinstance(template, VideoStream)
        if is_playable(info, template):
            copy = result.add_stream_from_template(template, opaque=True)
            copy.metadata.clear()
            if template.average_rate:
                copy.codec_context.framerate = template.average_rate
            return _copied(info, duration, copy)
    fps = min(info.fps, Fraction(30)).limit_denominator(1001)
    encoder = result.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
    scale = min(1.0, _MAX_SIDE / max(info.width, info.height))
    encoder.width, encoder.height = (max(2, round(side * scale / 2) * 2) for side in (info.width, info.height))
    encoder.pix_fmt = "yuv420p"
    return _encoded(info, duration, fps, encoder)


def is_playable(info: VideoInfo, stream: VideoStream) -> bool:
    """Whether browsers show this picture as it is."""
    is_plain = stream.codec_context.pix_fmt in ("yuv420p", "yuvj420p") and not info.rotation and not info.is_hdr
    return info.codec in _MP4 | _WEBM and is_plain and not has_coded_order(info)


def _copied(info: VideoInfo, duration: Fraction, copy: Stream) -> Iterator[av.Packet]:
    """Packets up to the last that is shown before the end; those in between stay, since others may refer to them."""
    with open_media(info.path) as source:
        found = list(packets(source, info.stream_index))
        base = Fraction(source.streams[info.stream_index].time_base or 1)
        begin, end = info.start / base, (info.start + duration) / base
        last = max((i for i, packet in enumerate(found) if packet.pts is not None and packet.pts < end), default=-1)
        for packet in found[: last + 1]:
            packet.pts = None if packet.pts is None else round(packet.pts - begin)
            packet.dts = None if packet.dts is None else round(packet.dts - begin)
            packet.stream = copy
            yield packet


def _encoded(info: VideoInfo, duration: Fraction, fps: Fraction, encoder: VideoStream) -> Iterator[av.Packet]:
    request = FrameRequest(fps, (encoder.width, encoder.height))
    n_frames, done = Clock(fps).count(duration), 0
    for chunk in read_frames(info.path, [request], info):
        for pixels in chunk.frames[: n_frames - done]:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = done, 1 / fps
            done += 1
            yield from encoder.encode(frame)
        if done == n_frames:
            break
    yield from encoder.encode(None)
