"""Sound in and out: any audio stream as blocks of float samples on the picture's clock, and WAV files."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph

from openvmas.errors import InputError, OutputError
from openvmas.files import hidden_name
from openvmas.media.packets import MAX_SPANS, PacketClock, is_streamed, packets, read_edits, spans_of, unrolled
from openvmas.media.probe import VideoInfo, open_media
from openvmas.timeline import Clock

_GAP = Fraction(1, 50)  # s; smaller jumps of timestamps are rounding of containers (Matroska: 1 ms), not missing sound
_PREROLL = Fraction(1, 5)  # s that a decoder must hear before what it gives is right
_JITTER, _PATIENCE = Fraction(3, 2000), 4  # s; frames in a row that are off by more before they are moved
_MARGIN = 1  # s of sound that are read behind the end of the picture
_MAX_SILENCE = 3600  # s; a longer gap in a file of sound is a damaged clock
_MAX_WAV_BYTES = 0xFFFF_FFFF - 64  # the size fields of a WAV file have 32 bits
_BLOCK = 65_536
_SAFE_PLANES = 7  # PyAV counts planes up to a null that FFmpeg need not write behind the eighth: it reads wild memory
_READABLE = ("u8", "s16", "s32", "flt", "dbl", "u8p", "s16p", "s32p", "fltp", "dblp")  # what becomes an array
WAV_HEADER = 58  # bytes of the WAV files written here

# ITU-R BS.775 fold-down: (left, right) share of each channel; low-frequency effects are left out, as there.
_H = 0.5**0.5
_FOLD = {
    "FL": (1, 0), "FR": (0, 1), "FC": (_H, _H), "LFE": (0, 0), "LFE2": (0, 0), "BL": (_H, 0), "BR": (0, _H),
    "SL": (_H, 0), "SR": (0, _H), "BC": (0.5, 0.5), "FLC": (1, 0), "FRC": (0, 1), "DL": (1, 0), "DR": (0, 1),
    "WL": (_H, 0), "WR": (0, _H), "TFL": (_H, 0), "TFR": (0, _H), "TBL": (0.5, 0), "TBR": (0, 0.5),
    "TFC": (0.5, 0.5), "TC": (0.5, 0.5), "TBC": (0.35, 0.35), "TSL": (_H, 0), "TSR": (0, _H),
}  # fmt: skip


@dataclass(frozen=True)
class Audio:
    """Sound in memory. wave: [C, L] float32, nominally in [-1, 1]; sample_rate: Hz."""

    wave: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        if self.wave.ndim != 2 or self.sample_rate <= 0:
            raise ValueError(f"audio is [C, L] at a positive rate, not {self.wave.shape} at {self.sample_rate}")

    @property
    def duration(self) -> Fraction:
        """Length in s."""
        return Fraction(self.wave.shape[1], self.sample_rate)


def read_audio(
    path: str | Path, sample_rate: int | None = None, mono: bool = False, info: VideoInfo | None = None
) -> Audio:
    """Read the main audio stream of a file into memory; mono or stereo, at its own rate if none is given.

    With `info` (the picture the sound belongs to) sample 0 is the first frame of the picture. Raises InputError.
    """
    with open_media(path) as container:
        stream = audio_stream(container, str(path))
        rate = sample_rate or stream.rate
        channels = 1 if mono else max(1, min(2, stream.channels))
    blocks = list(read_audio_blocks(path, rate, channels, rate, info))
    wave = np.concatenate(blocks, axis=1) if blocks else np.zeros((channels, 0), dtype=np.float32)
    return Audio(wave, rate)


def read_audio_blocks(
    path: str | Path,
    sample_rate: int,
    channels: int = 2,
    block: int = _BLOCK,
    info: VideoInfo | None = None,
    stream_index: int | None = None,
) -> Iterator[np.ndarray]:
    """The main audio stream, or the one with an index, in blocks [C, n] float32, C 1 or 2, n = `block` but in the last.

    Without `info` the first sample of the file is sample 0. With it, sample 0 is the first frame of the picture: sound
    that starts later is preceded by silence, what is earlier is left out. Gaps in the timestamps become silence,
    overlaps are dropped, broken packets are skipped. Raises InputError.
    """
    if channels not in (1, 2):
        raise ValueError(f"channels must be 1 or 2, not {channels}")
    placed = _placed(path, channels, info, stream_index)
    yield from in_blocks(resample_pieces(placed, sample_rate, channels), block)


def in_blocks(pieces: Iterable[np.ndarray], block: int) -> Iterator[np.ndarray]:
    """Pieces [C, n] of any length as blocks [C, block]; the last one is shorter where something is left."""
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for piece in pieces:
        waiting.append(piece)
        n_waiting += piece.shape[1]
        if n_waiting >= block:
            joined = np.concatenate(waiting, axis=1)
            n_full = n_waiting // block * block
            yield from (joined[:, i : i + block] for i in range(0, n_full, block))
            waiting, n_waiting = [joined[:, n_full:]], n_waiting - n_full
    if n_waiting:
        yield np.concatenate(waiting, axis=1)


def resample(audio: Audio, sample_rate: int) -> Audio:
    """The same sound at another rate (soxr, high quality); the length is the nearest to the same duration."""
    if sample_rate == audio.sample_rate:
        return audio
    wave = soxr.resample(audio.wave.T, audio.sample_rate, sample_rate, quality="HQ").T
    return Audio(np.ascontiguousarray(wave, dtype=np.float32), sample_rate)


def audio_stream(container: InputContainer, name: str) -> AudioStream:
    """The stream that players play: the default one, else the best. Raises InputError if there is none."""
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    if not streams:
        raise InputError(f"{name} has no sound that can be read; give a file with an audio stream.")
    best = container.streams.best("audio")
    return best if isinstance(best, AudioStream) and best in streams else streams[0]


def other_audio(path: str | Path) -> tuple[int, ...]:
    """Indexes of the audio streams that can be read, beside the one that players play. Raises InputError."""
    with open_media(path) as container:
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        main = audio_stream(container, str(path)) if streams else None
        return tuple(stream.index for stream in streams if stream is not main)


def _placed(
    path: str | Path, channels: int, info: VideoInfo | None, stream_index: int | None
) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, [C, n] float32) pieces at the stream's own rate; each starts exactly where the one before ended."""
    start = None if info is None else info.start
    longest = _MAX_SILENCE if info is None else info.duration + _MARGIN
    with open_media(path) as container:
        stream = audio_stream(container, str(path)) if stream_index is None else container.streams[stream_index]
        assert isinstance(stream, AudioStream)
        end = _end(container, stream)
        position = 0  # samples given so far, on the picture's clock
        rate, clock = 0, Clock(Fraction(1))
        jitter = gap = Fraction(0)  # samples
        graphs: dict[tuple[str, str, int], Graph] = {}
        is_exact, off, n_off = True, 0, 0
        for frame, pts, bounds in _frames(path, container, stream, None if info is None else info.clock):
            if frame is None:
                is_exact = True  # what was lost becomes silence to the sample, however short it is
                continue
            wave = to_channels(frame, channels, graphs)
            if info is not None and rate and position > longest * rate:
                return
            if frame.sample_rate != rate:
                position = position * frame.sample_rate // rate if rate else 0
                rate, clock = frame.sample_rate, Clock(Fraction(frame.sample_rate))
                jitter, gap = _JITTER * rate, _GAP * rate
            if pts is not None and bounds is not None:
                end = None
                wave = wave[:, : max(0, clock.index(bounds[1] - pts))]
                if pts < bounds[0]:
                    wave, pts = wave[:, clock.index(bounds[0] - pts) :], bounds[0]
            if pts is not None:
                start = pts if start is None else start
                if end is not None:
                    wave = wave[:, : max(0, clock.index(end - pts))]
                missing = clock.index(pts - start) - position
                # Jitter comes and goes; what stays is missing sound, however short.
                off = missing if abs(missing) > jitter and missing * off >= 0 else 0
                n_off = n_off + 1 if off else 0
                least = 0 if is_exact or n_off >= _PATIENCE else gap
                is_exact = False
                if missing < 0 and -missing > least:
                    wave = wave[:, min(-missing, wave.shape[1]) :]
                    is_exact = position == 0
                elif missing > longest * rate:  # a damaged clock: no hours of silence for seconds of sound
                    if info is None:
                        start += Fraction(missing, rate)
                    else:
                        wave, is_exact = wave[:, :0], True
                elif missing > least:
                    for n in _split(missing):
                        yield rate, np.zeros((channels, n), dtype=np.float32)
                    position += missing
            if wave.shape[1]:
                position += wave.shape[1]
                yield rate, wave


def _end(container: InputContainer, stream: AudioStream) -> Fraction | None:
    """Where the sound ends, s, by the edit list of an mp4 or mov; decoders give the padding of the last packet, too."""
    if not container.format.name.startswith("mov") or stream.duration is None or stream.start_time is None:
        return None
    return (stream.start_time + stream.duration) * Fraction(stream.time_base or 1)


def _frames(
    path: str | Path, container: InputContainer, stream: AudioStream, clock: PacketClock | None
) -> Iterator[tuple[av.AudioFrame | None, Fraction | None, tuple[Fraction, Fraction] | None]]:
    """Decoded frames, their times, s, and between which times they are heard if not always.

    None for a frame that is lost: its time becomes silence.
    """
    edits = read_edits(path).get(stream.id) if container.format.name.startswith("mov") else None
    if edits is None or edits.is_simple or len(edits.edits) > MAX_SPANS:
        yield from ((frame, time, None) for frame, time in _decoded(container, stream, clock))
        return
    base = Fraction(stream.time_base or 1)
    for span in spans_of(edits, base):
        shift = (span.shown - span.start) * base
        bounds = span.shown * base, (span.shown + span.end - span.start) * base
        with open_media(path, ignores_edits=True) as raw:
            source = raw.streams[stream.index]
            assert isinstance(source, AudioStream)
            with contextlib.suppress(FFmpegError):  # without an index all of it is decoded
                raw.seek(max(0, span.start - round(_PREROLL / base)), stream=source)
            yield None, None, None
            for frame, time in _decoded(raw, source, None):
                if frame is None or time is None:
                    yield frame, None, bounds
                    continue
                if time + shift >= bounds[1]:
                    break
                if time + shift + Fraction(frame.samples, frame.sample_rate) > bounds[0]:
                    yield frame, time + shift, bounds


def _decoded(
    container: InputContainer, stream: AudioStream, clock: PacketClock | None
) -> Iterator[tuple[av.AudioFrame | None, Fraction | None]]:
    base = Fraction(stream.time_base or Fraction(1, 48_000))
    most = max(stream.channels, _SAFE_PLANES)
    read = packets(container, stream.index, clock)
    if clock is None and is_streamed(container):
        read = unrolled(read)
    for packet in itertools.chain(read, [None]):
        try:
            frames = stream.codec_context.decode(packet)
        except FFmpegError:
            yield None, None
            continue
        for frame in frames:
            if frame.layout.nb_channels > most or not frame.samples:  # a damaged frame claims channels it has not
                yield None, None
            else:
                yield frame, None if frame.pts is None else frame.pts * base


def _split(n: int) -> Iterator[int]:
    while n > 0:
        yield min(n, _BLOCK)
        n -= _BLOCK


def to_channels(
    frame: av.AudioFrame, channels: int, graphs: dict[tuple[str, str, int], Graph] | None = None
) -> np.ndarray:
    """A decoded frame as [C, n] float32 in one or two channels (fold-down of ITU-R BS.775; mono goes to both).

    graphs: kept between the frames of one stream, for layouts that must be interleaved before Python sees them.
    """
    names = [channel.name for channel in frame.layout.channels]
    if (frame.format.is_planar and len(names) > _SAFE_PLANES) or frame.format.name not in _READABLE:
        frame = _interleaved(frame, {} if graphs is None else graphs)
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, len(names)).T
    if raw.dtype == np.uint8:
        wave = (raw.astype(np.float32) - 128) / 128
    elif raw.dtype.kind == "i":
        wave = raw.astype(np.float32) / float(np.iinfo(str(raw.dtype)).max + 1)
    else:
        wave = raw.astype(np.float32)
    if len(names) == 1:
        return np.repeat(wave, channels, axis=0)
    unnamed = not any(name in _FOLD for name in names)  # such as WAV files without a channel mask
    if len(names) > 2 or (names != ["FL", "FR"] and not unnamed):
        if unnamed and names[0] == "AMBI0":  # ambisonics: the first channel is the sound from everywhere
            shares = [(1, 1)] + [(0, 0)] * (len(names) - 1)
        else:
            shares = [(1 / len(names),) * 2 if unnamed else _FOLD.get(name, (0, 0)) for name in names]
        wave = np.array(shares, dtype=np.float32).T @ wave
    return wave if channels == 2 else wave.mean(axis=0, keepdims=True, dtype=np.float32)


def _interleaved(frame: av.AudioFrame, graphs: dict[tuple[str, str, int], Graph]) -> av.AudioFrame:
    """Samples as interleaved floats, converted inside FFmpeg."""
    key = (frame.format.name, frame.layout.name, frame.sample_rate)
    if key not in graphs:
        graph = graphs[key] = Graph()
        source = graph.add(
            "abuffer", sample_fmt=key[0], channel_layout=key[1], sample_rate=str(key[2]), time_base=f"1/{key[2]}"
        )
        target, sink = graph.add("aformat", sample_fmts="flt"), graph.add("abuffersink")
        source.link_to(target)
        target.link_to(sink)
        graph.configure()
    graphs[key].push(frame)
    packed = graphs[key].pull()
    assert isinstance(packed, av.AudioFrame)
    return packed


def resample_pieces(pieces: Iterable[tuple[int, np.ndarray]], sample_rate: int, channels: int) -> Iterator[np.ndarray]:
    """Pieces (rate, wave [C, n]) of one sound as pieces [C, m] at another rate (soxr, high quality)."""
    stream: soxr.ResampleStream | None = None
    rate = 0
    for piece_rate, wave in pieces:
        if piece_rate != rate:
            if stream is not None:
                yield _flush(stream, channels)
            rate = piece_rate
            same = rate == sample_rate
            stream = None if same else soxr.ResampleStream(rate, sample_rate, channels, dtype="float32", quality="HQ")
        if stream is None:
            yield wave
        else:
            yield stream.resample_chunk(np.ascontiguousarray(wave.T)).reshape(-1, channels).T
    if stream is not None:
        yield _flush(stream, channels)


def _flush(stream: soxr.ResampleStream, channels: int) -> np.ndarray:
    return stream.resample_chunk(np.zeros((0, channels), dtype=np.float32), last=True).reshape(-1, channels).T


def write_wav(path: str | Path, blocks: Iterable[np.ndarray] | np.ndarray, sample_rate: int) -> int:
    """Write blocks [C, n] (or one wave [C, L]) as a 32-bit float WAV file, beside the target and then renamed.

    Returns the number of samples. Raises OutputError if it cannot be written; then nothing is left behind.
    """
    target = Path(path)
    partial = target.with_name(hidden_name(".wav"))
    try:
        with partial.open("wb") as file:
            file.write(bytes(WAV_HEADER))
            channels, n_samples = 0, 0
            for block in [blocks] if isinstance(blocks, np.ndarray) else blocks:
                if channels not in (0, block.shape[0]):
                    raise ValueError(f"blocks of {channels} and of {block.shape[0]} channels in one file")
                channels = block.shape[0]
                n_samples += block.shape[1]
                if n_samples * channels * 4 > _MAX_WAV_BYTES:
                    hours = _MAX_WAV_BYTES / (4 * channels * sample_rate * 3600)
                    raise OutputError(f"{target} would exceed 4 GB, the limit of WAV; keep it under {hours:.1f} hours.")
                file.write(np.ascontiguousarray(block.T, dtype="<f4").tobytes())
            file.seek(0)
            file.write(wav_header(channels or 2, n_samples, sample_rate))
        os.replace(partial, target)
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written ({error.strerror}); use another folder or free space."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return n_samples


def wav_header(channels: int, n_samples: int, sample_rate: int) -> bytes:
    """The first 58 bytes of a WAV file of float samples: RIFF, fmt (IEEE float), fact, data."""
    frame = 4 * channels
    size = n_samples * frame
    fmt = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 3, channels, sample_rate, sample_rate * frame, frame, 32, 0)
    fact = struct.pack("<4sII", b"fact", 4, n_samples)
    return struct.pack("<4sI4s", b"RIFF", 50 + size, b"WAVE") + fmt + fact + struct.pack("<4sI", b"data", size)


class WavReader:
    """Random access to a file of `write_wav` by reading, not mapping: mapped pages would count as memory in use."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            with self._path.open("rb") as file:
                header = file.read(WAV_HEADER)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check the path.") from error
        if (
            len(header) < WAV_HEADER
            or header[:4] != b"RIFF"
            or header[20:22] != b"\x03\x00"
            or header[50:54] != b"data"
        ):
            raise InputError(f"{path} is not a 32-bit float WAV file of OpenVMAS; give one that it wrote.")
        self.n_channels, self.sample_rate = struct.unpack("<HI", header[22:28])
        self.n_samples = struct.unpack("<I", header[54:58])[0] // (4 * self.n_channels)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start .. stop-1: [C, n] float32."""
        n = max(0, min(stop, self.n_samples) - start) * self.n_channels
        data = np.fromfile(self._path, dtype="<f4", count=n, offset=WAV_HEADER + 4 * self.n_channels * start)
        return data.reshape(-1, self.n_channels).T

    def blocks(self, block: int = _BLOCK) -> Iterator[np.ndarray]:
        """All samples in order: [C, n]."""
        return (self.read(i, i + block) for i in range(0, self.n_samples, block))


def map_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """A file of `write_wav` as ([C, L] float32 view of the disk, sample_rate)."""
    wav = WavReader(path)
    if wav.n_samples == 0:
        return np.zeros((wav.n_channels, 0), dtype=np.float32), wav.sample_rate
    shape = (wav.n_samples, wav.n_channels)
    return np.memmap(path, dtype="<f4", mode="r", offset=WAV_HEADER, shape=shape).T, wav.sample_rate
