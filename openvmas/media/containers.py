"""Which container can hold a picture as it is: found by writing its first packets to memory, not from a list."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.stream import VideoStream

from openvmas.errors import InputError, OutputError
from openvmas.media.packets import packets, unpacked_extradata
from openvmas.media.probe import VideoInfo, open_media

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# What players show, not only what the container's rules allow.
_WEBM_CODECS = {"vp8", "vp9", "av1"}
_MP4_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"}
_MKV_CODECS = _MP4_CODECS | {
    "vp8", "mpeg1video", "mjpeg", "ffv1", "theora", "rawvideo", "rv10", "rv20", "rv30", "rv40", "dirac", "jpeg2000",
    "prores", "vvc",
}  # fmt: skip
_MOV_CODECS = {"prores", "dnxhd", "mjpeg", "qtrle", "png", "rawvideo", "dvvideo", "cfhd", "cinepak", "hap", "v210"}
_PLAIN_TAGS = {"avc1", "avc3", "hvc1", "hev1"}  # of these FFmpeg's own choice is what plays everywhere
_QUICKTIME_LANGUAGES = {
    "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "cze": "ces", "nld": "dut", "fre": "fra", "kat": "geo",
    "deu": "ger", "ell": "gre", "isl": "ice", "mkd": "mac", "msa": "may", "fas": "per", "rum": "ron", "slo": "slk",
    "bod": "tib", "cym": "wel", "swe": "sve",
}  # fmt: skip
_TRIED = 4  # packets
_UNTOLD = {"rawvideo", "dvvideo"}  # of which the container must say what the bytes mean: a look at a frame shows it


def choose_extension(info: VideoInfo) -> tuple[str, str | None]:
    """The extension of the finished file, and a sentence why if it is not that of the input.

    Raises InputError for a picture that none of the containers written here can hold.
    """
    suffix = Path(info.path).suffix.lower()
    best = next((candidate for candidate in _candidates(info, suffix) if can_hold(info, candidate)), None)
    if best is None:
        raise InputError(
            f"{info.path} has {info.codec} video, which no container with sound written here can hold; "
            "convert it to H.264 (mp4) first."
        )
    if best == suffix:
        return best, None
    return best, f"{suffix or 'this kind of'} files cannot hold the result well, so it is written as {best}."


def _candidates(info: VideoInfo, suffix: str) -> Iterable[str]:
    """Extensions worth trying, the best first."""
    found: list[str] = []
    if info.container.startswith("mov"):
        if suffix == ".mov" or info.codec in _MOV_CODECS:
            found.append(".mov")
        else:
            found += [suffix if suffix in (".mp4", ".m4v") else ".mp4", ".mov"]
    if info.container.startswith("matroska") and info.codec in _MKV_CODECS:
        found.append(".webm" if suffix == ".webm" and info.codec in _WEBM_CODECS else ".mkv")
    for codecs, extension in ((_MP4_CODECS, ".mp4"), (_MKV_CODECS, ".mkv"), (_MOV_CODECS, ".mov")):
        if info.codec in codecs:
            found += [extension]
    if info.codec in _MOV_CODECS:
        found.append(".mkv")
    return dict.fromkeys(found)


def sound_codec(output_path: str | Path) -> str:
    """ "aac" or "opus": what plays everywhere in this container. Raises OutputError for an unknown extension."""
    return "aac" if format_of(output_path) in ("mp4", "mov") else "opus"


def format_of(output_path: str | Path) -> str:
    """FFmpeg's name of the container that a file's extension asks for. Raises OutputError."""
    suffix = Path(output_path).suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(f"{suffix or 'no extension'} cannot be written; end the output in .mp4, .mov, .mkv or .webm.")
    return FORMATS[suffix]


def can_hold(info: VideoInfo, suffix: str) -> bool:
    """Whether files of this extension can hold the picture as it is."""
    return picture_tag(info, suffix) is not None


def check_container(info: VideoInfo, output_path: str | Path) -> str:
    """The codec tag to write the picture with ("" for the usual one). Raises OutputError if the container cannot."""
    name, tag = format_of(output_path), picture_tag(info, Path(output_path).suffix.lower())
    if info.clock.has_needed_hidden and name in ("matroska", "webm"):
        raise OutputError(
            f"{info.path} hides parts of its picture by an edit list, which {name} files cannot; "
            "give an output in .mp4 or .mov."
        )
    if tag is not None:
        return tag
    others = [suffix for suffix in (".mkv", ".mp4", ".mov", ".webm") if can_hold(info, suffix)]
    if not others:
        raise InputError(
            f"{info.path} has {info.codec} video, which no container with sound written here can hold; "
            "convert it to H.264 (mp4) first."
        )
    offer = " or ".join([", ".join(others[:-1]), others[-1]] if others[1:] else others)
    raise OutputError(f"{info.path}: {name} files cannot hold {info.codec} video; give an output in {offer}.")


def picture_tag(info: VideoInfo, suffix: str) -> str | None:
    """The codec tag with which a container takes the picture: the picture's own if it says more than the codec does
    (kinds of ProRes, DV, uncompressed), else "" for the usual one; None if it does not take it at all."""
    with open_media(info.path) as source:
        stream = source.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        own = stream.codec_context.codec_tag
        begin = list(itertools.islice(packets(source, info.stream_index, info.clock), _TRIED))
        is_quicktime = info.container.startswith("mov") or info.codec == "prores"
        tags = ["hvc1" if FORMATS[suffix] in ("mp4", "mov") and info.codec == "hevc" else ""]
        if is_quicktime and own.isprintable() and len(own) == 4 and own not in _PLAIN_TAGS:
            tags.insert(0, own)
        return next((tag for tag in tags if _takes(source, info, begin, FORMATS[suffix], tag)), None)


def _takes(source: InputContainer, info: VideoInfo, begin: list[av.Packet], name: str, tag: str) -> bool:
    """Whether a container takes a picture's first packets with this tag."""
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format=name, container_options={"strict": "unofficial"}) as result:
            copy = add_picture(source, result, info, tag)
            for place, packet in enumerate(begin):
                trial = av.Packet(bytes(packet))
                trial.time_base, trial.dts, trial.pts = Fraction(1, 25), place, place + _TRIED
                trial.is_keyframe, trial.stream = packet.is_keyframe, copy
                result.mux(trial)
        if info.codec not in _UNTOLD:
            return True
        memory.seek(0)
        with av.open(memory, "r") as written:
            if bytes(next(packets(written, 0))) != bytes(begin[0]):  # it was changed so that it looks the same
                return False
        memory.seek(0)
        return _first_frame(memory) == _first_frame(f"file:{info.path}", info.stream_index)
    except (FFmpegError, ValueError):
        return False


def _first_frame(file: str | io.BytesIO, index: int = 0) -> tuple[str, bytes]:
    """The kind of pixels and the pixels of a file's first frame."""
    with av.open(file, "r") as container:
        frame = next(container.decode(container.streams[index]))
        assert isinstance(frame, av.VideoFrame)
        return frame.format.name, bytes(frame.reformat(format="rgb24").planes[0])


def add_picture(source: InputContainer, result: OutputContainer, info: VideoInfo, tag: str) -> VideoStream:
    """A stream of the result for the picture's packets. Raises ValueError or FFmpegError if it cannot hold them."""
    stream = source.streams[info.stream_index]
    assert isinstance(stream, VideoStream)
    copy = result.add_stream_from_template(stream, opaque=True)
    if info.clock.is_packed:
        copy.codec_context.extradata = unpacked_extradata(stream.codec_context.extradata or b"")
    if stream.average_rate:
        copy.codec_context.framerate = _frame_rate(stream, info)
    aspect = own_aspect(stream)
    if aspect is not None:
        copy.codec_context.sample_aspect_ratio = aspect
    if tag:
        copy.codec_context.codec_tag = tag
    return copy


def _frame_rate(stream: VideoStream, info: VideoInfo) -> Fraction:
    """The rate that the file claims, unless it is only its clock's (DV: 60000)."""
    claimed = Fraction(stream.average_rate or 0)
    return claimed if 0 < claimed <= 4 * info.fps else info.fps.limit_denominator(1001)


def own_aspect(stream: VideoStream) -> Fraction | None:
    """The pixel aspect that the container says, where the picture itself says another; players believe it."""
    said = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    return said if said != (stream.codec_context.sample_aspect_ratio or 1) else None


def takes_stream(name: str, stream: Stream) -> bool:
    """Whether a container (FFmpeg's name) takes another stream, found by writing its header to memory."""
    if stream.type == "attachment":
        return name == "matroska"
    try:
        with av.open(io.BytesIO(), "w", format=name, container_options={"strict": "unofficial"}) as result:
            result.add_stream_from_template(stream, opaque=True)  # type: ignore[arg-type]
            result.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


def language_for(name: str, code: str) -> str:
    """The code of a language that a container takes: FFmpeg knows only one of two for some that QuickTime numbers."""
    return _QUICKTIME_LANGUAGES.get(code, code) if name == "mov" else code


def takes_timecode(name: str, picture: VideoStream, info: VideoInfo, timecode: str) -> bool:
    """Whether an mp4 or mov can count the picture's frames from this timecode (drop-frame ones need 29.97 or 59.94)."""
    is_drop_frame = any(sign in timecode for sign in ";.,")
    if is_drop_frame and round(_frame_rate(picture, info)) % 30:  # FFmpeg leaves it out without a word
        return False
    try:
        with av.open(io.BytesIO(), "w", format=name, container_options={"strict": "unofficial"}) as result:
            copy = result.add_stream_from_template(picture, opaque=True)
            copy.codec_context.framerate = _frame_rate(picture, info)
            copy.metadata["timecode"] = timecode
            result.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True
