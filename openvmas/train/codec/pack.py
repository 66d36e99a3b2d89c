"""Parts: a training set as tar files of Ogg Opus, to be copied to a machine without network and unpacked there.

    openvmas train pack LISTING ROOT OUT                 # part-000.tar ...: what is trained on
    openvmas train pack LISTING ROOT OUT --held-out      # held-out-000.tar ... beside them, to measure on
    openvmas train unpack OUT WAVES                      # where there is room: a crop then costs a twentieth

Every part holds pieces of at most five minutes, not compressed again, and last its own `index.jsonl`, so any subset of
the parts is a training set; the order is random and fixed, so it is a fair sample, too. `PackedCrops` of
`train.codec.corpus` reads them by random access. A part appears under its name when it is whole; run the same command
again after a stop.

96 kbps for one channel: 24 dB SNR (median of crops), far above what a codec of a few kbps can learn to keep.
Opus: RFC 6716; the encoder's delay is in the header (pre-skip) and readers take it off.
"""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from av.audio.stream import AudioStream

from openvmas.errors import InputError, OptionError, OutputError
from openvmas.media.audio import resample_pieces
from openvmas.settings import option
from openvmas.train.codec.corpus import (
    EXCLUDED_ALBUMS,
    INDEX_NAME,
    PackedCrops,
    PackedPiece,
    Track,
    append_waves,
    as_track,
    find_tracks,
    read_index,
    read_pieces,
    to_channels,
)

OPUS_RATE = 48_000  # Hz; Opus knows no other full-band rate
PIECE_SECONDS = 300.0
_FRAME = 960  # samples of an Opus frame, 20 ms


@dataclass(frozen=True)
class PackOptions:
    """Settings of packing."""

    kbps: float = option(96.0, "Bit rate of all channels together, kbps.")
    part_megabytes: float = option(60.0, "Largest size of a part, in 10^6 bytes.", min=0)
    parts: int | None = option(None, "Stop after so many new parts.", min=1)
    stereo: bool = option(False, "Keep two channels instead of one.")
    excerpt_seconds: float | None = option(
        None, "Take only so much of every track, from a place drawn by its name: more tracks in fewer bytes."
    )
    held_out: bool = option(False, "Pack the held-out tracks instead of the others.")

    def __post_init__(self) -> None:
        if not 16 <= self.kbps <= 256 * self.channels:
            raise OptionError(f"{self.kbps:g} kbps is no rate for music in Opus; give 16 to {256 * self.channels}.")
        if self.piece_seconds < 5:
            raise OptionError("The parts are too small for a piece of music; give --part-megabytes 0.5 or more.")
        if self.excerpt_seconds is not None and not 5 <= self.excerpt_seconds <= self.piece_seconds:
            raise OptionError(
                f"An excerpt has 5 to {self.piece_seconds} s; {self.excerpt_seconds:g} s is not possible."
            )

    @property
    def channels(self) -> int:
        return 2 if self.stereo else 1

    @property
    def part_bytes(self) -> int:
        """Largest size of a finished part."""
        return int(self.part_megabytes * 1e6)

    @property
    def piece_seconds(self) -> int:
        """Seconds after which tracks are cut; at most a quarter of a part, so that parts are well filled."""
        return int(min(PIECE_SECONDS, self.part_bytes / 4 / (self.kbps * 125)))


def encode_opus(wave: np.ndarray, kbps: float) -> bytes:
    """An Ogg Opus file of a wave [C, L] at 48 kHz; the same bytes every time, and the same L when decoded."""
    target = io.BytesIO()
    layout = "stereo" if len(wave) == 2 else "mono"
    with av.open(target, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=OPUS_RATE, options={"vbr": "constrained"})
        assert isinstance(stream, AudioStream)
        stream.layout, stream.bit_rate = layout, round(kbps * 1000)  # type: ignore[assignment]
        for start in range(0, wave.shape[1], _FRAME):
            samples = np.ascontiguousarray(wave[:, start : start + _FRAME].T, dtype=np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = OPUS_RATE, Fraction(1, OPUS_RATE), start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


class PartWriter:
    """Fills `KIND-NNN.tar.tmp` and renames it when the next piece would make it larger than allowed."""

    def __init__(self, folder: Path, kind: str, part_bytes: int) -> None:
        self.folder, self.kind, self.part_bytes = folder, kind, part_bytes
        numbers = [int(path.stem.rsplit("-", 1)[1]) for path in folder.glob(f"{kind}-*.tar")]
        self.next_number = max(numbers, default=-1) + 1
        self.n_bytes, self.n_parts, self.seconds = 0, 0, 0.0
        self._tar: tarfile.TarFile | None = None
        self._lines: list[str] = []
        self._part_seconds = 0.0

    def add(self, piece: PackedPiece, data: bytes) -> None:
        """Append a piece; its `file`, `offset` and `size` are set here. Raises OutputError if it can never fit."""
        if self._tar is not None and self._size_with(data, self._line(piece, len(data))) > self.part_bytes:
            self.finish()
        if self._tar is None:
            self._tar = tarfile.open(self._path(".tar.tmp"), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        line = self._line(piece, len(data))
        if self._size_with(data, line) > self.part_bytes:
            raise OutputError(f"A piece of {piece.name} does not fit into a part; make --part-megabytes larger.")
        self._append(f"{len(self._lines):05d}.opus", data)
        self._lines.append(line)
        self._part_seconds += piece.length / piece.sample_rate

    def finish(self) -> None:
        """Close the part at work, if there is one, and give it its name."""
        if self._tar is None:
            return
        self._append(INDEX_NAME, "".join(self._lines).encode())
        self._tar.close()
        path = self._path(".tar")
        self._path(".tar.tmp").replace(path)
        size = path.stat().st_size
        print(f"{path.name}: {len(self._lines)} pieces, {size / 1e6:.1f} MB", flush=True)
        self.n_bytes, self.n_parts, self.next_number = self.n_bytes + size, self.n_parts + 1, self.next_number + 1
        self.seconds += self._part_seconds
        self._tar, self._lines, self._part_seconds = None, [], 0.0

    def abandon(self) -> None:
        """Throw the part at work away."""
        if self._tar is not None:
            self._tar.close()
            self._path(".tar.tmp").unlink()
            self._tar, self._lines, self._part_seconds = None, [], 0.0

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.kind}-{self.next_number:03d}{suffix}"

    def _line(self, piece: PackedPiece, size: int) -> str:
        offset = (self._tar.offset if self._tar else 0) + tarfile.BLOCKSIZE
        entry = {**asdict(piece), "file": f"{len(self._lines):05d}.opus", "offset": offset, "size": size}
        return json.dumps(entry) + "\n"

    def _append(self, name: str, data: bytes) -> None:
        assert self._tar is not None
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))

    def _size_with(self, data: bytes, line: str) -> int:
        """Bytes of the finished part if this piece were its last one: headers, index, end marks and padding."""
        assert self._tar is not None
        index = sum(len(x.encode()) for x in self._lines) + len(line.encode())
        blocks = sum(1 + -(-size // tarfile.BLOCKSIZE) for size in (len(data), index)) + 2
        size = self._tar.offset + blocks * tarfile.BLOCKSIZE
        return -(-size // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def pack(listing: Path, root: Path, folder: Path, options: PackOptions) -> PartWriter:
    """Write all parts that are missing. Raises InputError if no track is found, OutputError if parts disagree."""
    tracks = find_tracks(listing, root)
    if not tracks:
        raise InputError(f"No track of {listing} lies in {root}; unpack each package into a folder of its name there.")
    random.Random(0).shuffle(tracks)
    folder.mkdir(parents=True, exist_ok=True)
    done = read_done(folder, options)
    writer = PartWriter(folder, "held-out" if options.held_out else "part", options.part_bytes)
    for track, path in tracks:
        name = track.name
        is_wanted = track.is_held_out == options.held_out and track.album not in EXCLUDED_ALBUMS
        there = done.get(name, [])
        if not is_wanted or is_complete(there) or (there and options.excerpt_seconds):
            continue
        starts = {piece.start for piece in there}
        try:
            for start, wave, is_last in excerpt(path, name, options) if options.excerpt_seconds else cut(path, options):
                if start in starts:
                    continue
                place = {"start": start, "length": wave.shape[1], "is_last": is_last, "sample_rate": OPUS_RATE}
                piece = PackedPiece(**{**vars(track), **place}, channels=options.channels, kbps=float(options.kbps))
                writer.add(piece, encode_opus(wave, options.kbps))
                if options.parts is not None and writer.n_parts >= options.parts:
                    writer.abandon()
                    return writer
        except soundfile.LibsndfileError as error:
            print(f"{path} left out: {error}", flush=True)
    writer.finish()
    return writer


def cut(path: Path, options: PackOptions) -> Iterator[tuple[int, np.ndarray, bool]]:
    """A track as (start, wave [C, n], is_last) at 48 kHz; all pieces but the last are of one length."""
    length, start = options.piece_seconds * OPUS_RATE, 0
    waiting = np.zeros((0, options.channels), dtype=np.float32)
    for block in decode(path, options.channels):
        waiting = np.concatenate([waiting, block])
        while len(waiting) > length:
            yield start, waiting[:length].T, False
            waiting, start = waiting[length:], start + length
    if len(waiting):
        yield start, waiting.T, True


def excerpt(path: Path, name: str, options: PackOptions) -> Iterator[tuple[int, np.ndarray, bool]]:
    """One piece of a track as `cut` gives them, from a place that depends on the name; short tracks come whole."""
    assert options.excerpt_seconds is not None
    with soundfile.SoundFile(path) as file:
        length = min(file.frames, round(options.excerpt_seconds * file.samplerate))
        first = round(random.Random(name).random() * (file.frames - length))
        file.seek(first)
        block = to_channels(file.read(length, dtype="float32", always_2d=True), options.channels)
        wave = soxr.resample(block, file.samplerate, OPUS_RATE, quality="HQ")
        yield first * OPUS_RATE // file.samplerate, wave.reshape(-1, options.channels).T, True


def decode(path: Path, channels: int) -> Iterator[np.ndarray]:
    """A file at 48 kHz in blocks [n, C], by the decoder that train.codec.corpus uses.

    (FFmpeg begins some Vorbis files 128 samples earlier, and the codes and curves of a track would not fit.)
    """
    with soundfile.SoundFile(path) as file:
        blocks = file.blocks(10 * file.samplerate, dtype="float32", always_2d=True)
        pieces = ((file.samplerate, to_channels(block, channels).T) for block in blocks)
        yield from (wave.T for wave in resample_pieces(pieces, OPUS_RATE, channels))


def read_done(folder: Path, options: PackOptions) -> dict[str, list[PackedPiece]]:
    """Pieces in the parts that exist, by track. Raises OutputError if it was made with other settings."""
    done: dict[str, list[PackedPiece]] = {}
    for path in sorted(folder.glob("*.tar")):
        for piece in read_pieces(path):
            if (piece.kbps, piece.channels) != (options.kbps, options.channels):
                made = f"{piece.kbps:g} kbps in {piece.channels} channel(s)"
                raise OutputError(f"{folder} holds parts of {made}; use the same settings or another folder.")
            done.setdefault(piece.name, []).append(piece)
    return done


def is_complete(pieces: list[PackedPiece]) -> bool:
    """Whether the pieces, the last one among them, make up a whole track."""
    ends = [piece.start + piece.length for piece in pieces if piece.is_last]
    return bool(ends) and sum(piece.length for piece in pieces) == ends[0]


def pack_corpus(listing: Path, root: Path, folder: Path, options: PackOptions) -> Iterator[str]:
    """Write all parts that are missing; yields a line about them."""
    written = pack(listing, root, folder, options)
    kbps = written.n_bytes * 8e-3 / written.seconds if written.seconds else 0.0
    yield f"{written.seconds / 3600:.2f} h, {written.n_bytes / 1e6:.1f} MB, {kbps:.1f} kbps in {written.n_parts} parts"


@dataclass(frozen=True)
class UnpackOptions:
    """Settings of unpacking."""

    workers: int = option(0, "Worker processes; 0 means one per processor core.", min=0, max=1024)


def unpack(parts: Path, folder: Path, options: UnpackOptions) -> Iterator[str]:
    """Append the tracks of parts to the waves in a folder (`train.codec.corpus`); yields a line with their number.

    Tracks that are there already are left out. Raises InputError without parts.
    """
    n_tracks, n_workers = 0, options.workers or os.cpu_count() or 1
    done = {track.name for track in read_index(folder)}
    with append_waves(folder) as append:
        for held_out in (False, True):
            tracks = [track for track in PackedCrops(parts, held_out).tracks if track.name not in done]
            with ProcessPoolExecutor(n_workers, initializer=_open, initargs=(parts, held_out)) as pool:
                for track, wave in zip(tracks, pool.map(_read, tracks, chunksize=4), strict=True):
                    append(Track(**as_track(track)), wave)
                    n_tracks += 1
    yield f"{n_tracks} tracks"


_crops: PackedCrops  # of a worker process


def _open(parts: Path, held_out: bool) -> None:
    global _crops
    _crops = PackedCrops(parts, held_out)


def _read(track: Track) -> np.ndarray:
    """The samples [L] of a whole track."""
    return _crops.read(track, 0, track.length)
