"""Recorded music as one long file of samples, so that training reads random crops without decoding anything.

`build` decodes every listed track once (mono, 32 kHz, 16 bit) and appends it to `waves.s16`; `index.jsonl` says what
lies where. A reader may start while the builder still runs. About 230 MB an hour of music; everything in it can be
made again from the packages named in docs/data-card.md.

Crops also come straight from compressed music: parts of `train.codec.pack`, or the original files. Nothing is unpacked:
a crop opens the file (or the place in the part), seeks, decodes what it needs and resamples it. Needs numpy, soundfile
and soxr only: a training machine may lack the rest.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import mmap
import os
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from openvmas.errors import InputError

SAMPLE_RATE = 32_000
INDEX_NAME = "index.jsonl"  # of waves, and in every part
_MARGIN = 512  # samples read on both sides of a crop, so that the resampler meets no edge
# Whole albums that nothing is ever trained on; besides them every 20th track of the others.
HELD_OUT_ALBUMS = (
    "pushover-data",
    "xmoto-data",
    "unknown-horizons",
    "starfighter-data",
    "asc-music",
    "singularity-music",
)
# Never used: a non-commercial clause, and a licence of its own, somewhere in the package.
EXCLUDED_ALBUMS = ("warmux-data", "cube2-data")


@dataclass(frozen=True)
class Track:
    """One track inside `waves.s16`: `start` and `length` in samples; `album` is the package it came from."""

    name: str
    album: str
    start: int
    length: int
    is_held_out: bool
    singing_share: float
    speech_share: float


def as_track(track: Track) -> dict[str, Any]:
    """The fields of `Track` alone, of a piece or track with more."""
    return {item.name: getattr(track, item.name) for item in fields(Track)}


def is_held_out(name: str, album: str) -> bool:
    """The split, decided by the name alone so that it never changes."""
    return album in HELD_OUT_ALBUMS or int(hashlib.sha256(name.encode()).hexdigest(), 16) % 20 == 0


def read_listing(listing: Path) -> list[dict[str, str]]:
    """Rows of a table of tracks, such as docs/tracks.csv. Raises InputError."""
    rows = list(csv.DictReader(listing.read_text(encoding="utf-8").splitlines())) if listing.is_file() else []
    if not rows or not {"track", "singing_share", "speech_share"} <= rows[0].keys():
        raise InputError(f"{listing} is no listing; give a CSV with the columns track, singing_share, speech_share.")
    return rows


def find_files(listing: Path, root: Path) -> list[tuple[dict[str, str], Path]]:
    """Rows of a listing and the file of each, which may lie anywhere below its package. Raises InputError."""
    found = []
    for row in read_listing(listing):
        album, base = row["track"].split("/", 1)
        path = root / album / base
        if not path.exists():
            matches = sorted((root / album).rglob(Path(base).name))
            if not matches:
                continue
            path = matches[0]
        found.append((row, path))
    return found


def find_tracks(listing: Path, root: Path) -> list[tuple[Track, Path]]:
    """Tracks of a listing, without start and length, and the file of each. Raises InputError."""
    found = []
    for row, path in find_files(listing, root):
        name, album = row["track"], row["track"].split("/", 1)[0]
        shares = float(row["singing_share"] or 0), float(row["speech_share"] or 0)
        found.append((Track(name, album, 0, 0, is_held_out(name, album), *shares), path))
    return found


@contextmanager
def append_waves(folder: Path) -> Iterator[Callable[[Track, np.ndarray], None]]:
    """Yield a function that appends a track with its wave [L] in [-1, 1] to `waves.s16` and `index.jsonl` of a folder.

    It sets `start` and `length` of the track.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "waves.s16").open("ab") as waves, (folder / INDEX_NAME).open("a") as index:

        def append(track: Track, wave: np.ndarray) -> None:
            samples = np.clip(np.round(wave * 32767), -32768, 32767).astype("<i2")
            entry = replace(track, start=waves.tell() // 2, length=len(samples))
            waves.write(samples.tobytes())
            waves.flush()
            index.write(json.dumps(asdict(entry)) + "\n")
            index.flush()

        yield append


def build(listing: Path, root: Path, folder: Path) -> None:
    """Decode all tracks in a fixed random order; tracks that are already in the index are skipped."""
    done = {track.name for track in read_index(folder)}
    tracks = find_tracks(listing, root)
    random.Random(0).shuffle(tracks)
    with append_waves(folder) as append:
        for track, path in tracks:
            if track.name in done or track.album in EXCLUDED_ALBUMS:
                continue
            try:
                wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                print(f"{path} left out: {error}", flush=True)
                continue
            append(track, soxr.resample(wave.mean(axis=1), rate, SAMPLE_RATE, quality="HQ"))


def read_index(folder: Path) -> list[Track]:
    """The tracks that are in the index of a folder so far."""
    path = folder / INDEX_NAME
    if not path.exists():
        return []
    return [Track(**json.loads(line)) for line in path.read_text().splitlines() if line.endswith("}")]


class RandomCrops:
    """Random crops of the training (or held-out) tracks, which depend on the generator and `tracks` only.

    Subclasses find the tracks and read them. Reading is safe in several threads.
    """

    channels = 1

    def __init__(self, held_out: bool = False, max_singing: float = 1.0) -> None:
        self.held_out, self.max_singing = held_out, max_singing
        self.refresh()

    def refresh(self) -> None:
        """Search for tracks again, beside a builder that is still at work."""
        tracks = [t for t in self.find() if t.is_held_out == self.held_out and self._is_wanted(t)]
        self._choice = (tracks, np.cumsum([t.length for t in tracks]))

    def find(self) -> Sequence[Track]:
        """The tracks that exist, in a fixed order."""
        raise NotImplementedError

    def read(self, track: Track, start: int, length: int) -> np.ndarray:
        """Samples from `start` in a track, zeros after its end: [length] float32 at 32 kHz, or [C, length]."""
        raise NotImplementedError

    @property
    def tracks(self) -> Sequence[Track]:
        """Tracks that crops are drawn from: at most `max_singing` sung, hardly spoken, longer than 4 s."""
        return self._choice[0]

    def crop(self, generator: np.random.Generator, length: int) -> np.ndarray:
        """One crop: [length] float32 in [-1, 1], from a track drawn in proportion to its length; [C, length] if C > 1.

        Raises InputError if there is no track to draw from.
        """
        tracks, ends = self._choice
        if not tracks:
            kind = "held-out" if self.held_out else "training"
            raise InputError(f"There is no {kind} track to draw from in {self}; add some (docs/TRAINING.md, Music).")
        where = int(generator.integers(ends[-1]))
        track = tracks[int(np.searchsorted(ends, where, side="right"))]
        return self.read(track, int(generator.integers(max(1, track.length - length))), length)

    def _is_wanted(self, track: Track) -> bool:
        is_music = track.singing_share <= self.max_singing and track.speech_share <= 0.3
        return is_music and track.album not in EXCLUDED_ALBUMS and track.length > 4 * SAMPLE_RATE


class Crops(RandomCrops):
    """Random crops of `waves.s16`. Raises InputError if the folder has none."""

    def __init__(self, folder: Path, held_out: bool = False, max_singing: float = 1.0) -> None:
        self.folder = folder
        super().__init__(held_out, max_singing)

    def __str__(self) -> str:
        return str(self.folder)

    def find(self) -> Sequence[Track]:
        path = self.folder / "waves.s16"
        if not path.is_file() or not path.stat().st_size:
            raise InputError(f"{path} is not there; make it with openvmas train corpus.")
        tracks = read_index(self.folder)
        self.waves = np.memmap(path, dtype="<i2", mode="r")
        return tracks

    def read(self, track: Track, start: int, length: int) -> np.ndarray:
        wave = self.waves[track.start + start : track.start + min(start + length, track.length)]
        return np.pad(wave.astype(np.float32) / 32768, (0, length - len(wave)))


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
