"""Recorded music as one long file of samples, so that training reads random crops without decoding anything.

`build` decodes every listed track once (mono, 32 kHz, 16 bit) and appends it to `waves.s16`; `index.jsonl` says what
lies where. A reader may start while the builder still runs. About 230 MB an hour of music; everything in it can be
made again from the packages named in docs/data-card.md. `train.codec.crops` reads compressed music the same way.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError

SAMPLE_RATE = 32_000
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


def find_files(listing: Path, root: Path) -> list[tuple[dict[str, str], Path]]:
    """Rows of a listing and the file of each, which may lie anywhere below its package. Raises InputError."""
    rows = list(csv.DictReader(listing.read_text(encoding="utf-8").splitlines())) if listing.is_file() else []
    if not rows or not {"track", "singing_share", "speech_share"} <= rows[0].keys():
        raise InputError(f"{listing} is no listing; give a CSV with the columns track, singing_share, speech_share.")
    found = []
    for row in rows:
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
    with (folder / "waves.s16").open("ab") as waves, (folder / "index.jsonl").open("a") as index:

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
    import soundfile
    import soxr

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
    path = folder / "index.jsonl"
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
