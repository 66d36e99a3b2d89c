"""Random crops straight from compressed music: parts of `train.codec.pack`, or the original files.

Nothing is unpacked: a crop opens the file (or the place in the part), seeks, decodes what it needs and resamples it.
Needs numpy, soundfile and soxr only: a training machine may lack the rest.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from openvmas.errors import InputError
from openvmas.train.codec.corpus import SAMPLE_RATE, Crops, RandomCrops, Track, as_track, find_tracks

INDEX_NAME = "index.jsonl"
_MARGIN = 512  # samples read on both sides of a crop, so that the resampler meets no edge


@dataclass(frozen=True)
class PackedPiece(Track):
    """A stretch of a track in a part; start and length in samples at sample_rate, offset and size in bytes.

    kbps: the rate that was asked for; file: the member's name in the tar file.
    """

    is_last: bool
    sample_rate: int
    channels: int
    kbps: float
    file: str = ""
    offset: int = 0
    size: int = 0


def read_pieces(part: Path) -> list[PackedPiece]:
    """The index that a part carries. Raises InputError if the part is not whole."""
    try:
        with tarfile.open(part, "r:") as tar:
            index = tar.extractfile(INDEX_NAME)
            assert index is not None
            pieces = [PackedPiece(**json.loads(line)) for line in index]
    except (tarfile.TarError, KeyError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{part} is no whole part of openvmas train pack ({error}); copy or make it again.") from None
    return pieces


@dataclass(frozen=True)
class PackedTrack(Track):
    """Pieces that follow each other without a gap. `start`: where they begin in the whole track, samples at 32 kHz."""

    pieces: tuple[tuple[Path, PackedPiece], ...]


@dataclass(frozen=True)
class FileTrack(Track):
    """A track in a file of its own; `start` is 0."""

    path: Path
    sample_rate: int


class PackedCrops(RandomCrops):
    """Random crops of the parts in a folder; those that are missing are not missed.

    channels=2 gives [2, length] and needs parts packed in stereo. Raises InputError if there are no parts, or a part is
    damaged.
    """

    def __init__(self, folder: Path, held_out: bool = False, max_singing: float = 1.0, channels: int = 1) -> None:
        self.folder, self.channels = folder, channels
        self._pieces: dict[Path, list[PackedPiece]] = {}
        self._maps: dict[Path, memoryview] = {}
        super().__init__(held_out, max_singing)

    def __str__(self) -> str:
        return f"the parts in {self.folder}"

    def find(self) -> Sequence[Track]:
        paths = sorted(self.folder.glob("*.tar"))
        if not paths:
            raise InputError(f"{self.folder} holds no parts (*.tar); make them with openvmas train pack.")
        for path in paths:
            if path not in self._pieces:
                pieces = read_pieces(path)
                with path.open("rb") as file:
                    self._maps[path] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                self._pieces[path] = pieces
        found = [(path, piece) for path in paths for piece in self._pieces[path]]
        few = next((path for path, piece in found if piece.channels < self.channels), None)
        if few is not None:
            raise InputError(f"{few} has one channel; pack the music again with --stereo.")
        return join_pieces(found)

    def read(self, track: Track, start: int, length: int) -> np.ndarray:
        assert isinstance(track, PackedTrack)
        base, rate = track.pieces[0][1].start, track.pieces[0][1].sample_rate

        def read_native(first: int, n: int) -> np.ndarray:
            waves = []
            for path, piece in track.pieces:
                low = max(first, piece.start - base)
                high = min(first + n, piece.start - base + piece.length)
                if low < high:
                    member = _Member(self._maps[path][piece.offset : piece.offset + piece.size])
                    waves.append(read_file(member, low - piece.start + base, high - low, self.channels))
            return np.concatenate(waves) if waves else np.zeros((0, self.channels), dtype=np.float32)

        return read_resampled(read_native, rate, start, length)


class FileCrops(RandomCrops):
    """Random crops of the listed files themselves (Ogg Vorbis and Opus, MP3, FLAC, WAV).

    channels=2 gives [2, length]; a mono file then has the same in both. Raises InputError if no track is found.
    """

    def __init__(
        self, listing: Path, root: Path, held_out: bool = False, max_singing: float = 1.0, channels: int = 1
    ) -> None:
        self.listing, self.root, self.channels = listing, root, channels
        self._found: list[FileTrack] = []
        super().__init__(held_out, max_singing)

    def __str__(self) -> str:
        return f"{self.listing} with files in {self.root}"

    def find(self) -> Sequence[Track]:
        """The tracks of the listing; the files are read once, and refresh() does not read them again."""
        if self._found:
            return self._found
        for track, path in find_tracks(self.listing, self.root):
            try:
                info = soundfile.info(path)
            except soundfile.LibsndfileError as error:
                print(f"{path} left out: {error}", flush=True)
                continue
            known = {**vars(track), "length": info.frames * SAMPLE_RATE // info.samplerate}
            self._found.append(FileTrack(**known, path=path, sample_rate=info.samplerate))
        if not self._found:
            raise InputError(f"No track of {self.listing} can be read in {self.root}; give the folder of the packages.")
        return self._found

    def read(self, track: Track, start: int, length: int) -> np.ndarray:
        assert isinstance(track, FileTrack)
        return read_resampled(
            lambda first, n: read_file(str(track.path), first, n, self.channels), track.sample_rate, start, length
        )


def open_crops(
    source: Path, held_out: bool = False, max_singing: float = 1.0, channels: int = 1, root: Path | None = None
) -> RandomCrops:
    """Crops of a source: a folder with waves.s16, a folder with parts, or a listing (CSV) of files.

    root: for a listing, the folder of the packages; the listing's own folder if not given. Raises InputError.
    """
    if source.is_file():
        return FileCrops(source, root or source.parent, held_out, max_singing, channels)
    if (source / "waves.s16").is_file():
        if channels != 1:
            raise InputError(
                f"{source} holds mono waves; for stereo give parts (openvmas train pack --stereo) or a listing."
            )
        return Crops(source, held_out, max_singing)
    if any(source.glob("*.tar")):
        return PackedCrops(source, held_out, max_singing, channels)
    raise InputError(
        f"{source} holds neither waves.s16 nor parts (*.tar), nor is it a listing; "
        "make one with openvmas train corpus or openvmas train pack."
    )


def join_pieces(found: Sequence[tuple[Path, PackedPiece]]) -> list[PackedTrack]:
    """Tracks of pieces from any parts; where a piece is missing, a track falls into two."""
    by_name: dict[str, list[tuple[Path, PackedPiece]]] = {}
    for path, piece in found:
        by_name.setdefault(piece.name, []).append((path, piece))
    tracks = []
    for pieces in by_name.values():
        runs: list[list[tuple[Path, PackedPiece]]] = []
        for path, piece in sorted(pieces, key=lambda x: x[1].start):
            end = runs[-1][-1][1].start + runs[-1][-1][1].length if runs else -1
            if runs and piece.start < end:
                continue  # packed twice
            if runs and piece.start == end:
                runs[-1].append((path, piece))
            else:
                runs.append([(path, piece)])
        for run in runs:
            first, length = run[0][1], sum(piece.length for _, piece in run)
            start, length = (n * SAMPLE_RATE // first.sample_rate for n in (first.start, length))
            tracks.append(PackedTrack(**{**as_track(first), "start": start, "length": length}, pieces=tuple(run)))
    return tracks


class _Member:
    """A stretch of a mapped file as a file: soundfile reads the pages that it needs and no others."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.position = data, 0

    def readinto(self, buffer: Any) -> int:
        n = max(0, min(len(buffer), len(self.data) - self.position))
        buffer[:n] = self.data[self.position : self.position + n]
        self.position += n
        return n

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: len(self.data)}[whence]
        self.position = max(0, base + offset)
        return self.position

    def tell(self) -> int:
        return self.position


def read_file(source: Any, start: int, length: int, channels: int) -> np.ndarray:
    """At most `length` samples from `start`, at the file's own rate: [n, channels] float32."""
    with soundfile.SoundFile(source) as file:
        file.seek(min(start, file.frames))
        return to_channels(file.read(length, dtype="float32", always_2d=True), channels)


def to_channels(wave: np.ndarray, channels: int) -> np.ndarray:
    """[n, any] as the mean [n, 1], or as left and right [n, 2]."""
    if channels == 1:
        return wave.mean(axis=1, keepdims=True, dtype=np.float32)
    return wave[:, :2] if wave.shape[1] >= 2 else np.repeat(wave, 2, axis=1)


def read_resampled(read: Callable[[int, int], np.ndarray], rate: int, start: int, length: int) -> np.ndarray:
    """`length` samples from `start` at 32 kHz of a track whose read(first, n) gives [n, C] at `rate`.

    [length] for one channel, else [C, length]. The same samples as if the whole track had been resampled.
    """
    divisor = math.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // divisor, rate // divisor
    # Only where a whole number of output groups begins do the two clocks meet.
    margin = -(-_MARGIN // down)
    first = max(0, start // up - margin)
    last = -(-(start + length) // up) + margin
    wave = read(first * down, (last - first) * down)
    if rate != SAMPLE_RATE and len(wave):
        wave = soxr.resample(wave, rate, SAMPLE_RATE, quality="HQ")
    wave = wave[start - first * up :][:length]
    wave = np.pad(wave, ((0, length - len(wave)), (0, 0))).astype(np.float32, copy=False)
    return wave[:, 0] if wave.shape[1] == 1 else np.ascontiguousarray(wave.T)
