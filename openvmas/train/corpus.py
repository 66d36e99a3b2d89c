"""Recorded music as one long file of samples, so that training reads random crops without decoding anything.

`build` decodes every listed track once (mono, 32 kHz, 16 bit) and appends it to `waves.s16`; `index.jsonl` says what
lies where. A reader may start while the builder still runs. About 230 MB an hour of music; everything in it can be
made again from the packages named in docs/data-card.md.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

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


def is_held_out(name: str, album: str) -> bool:
    """The split, decided by the name alone so that it never changes."""
    return album in HELD_OUT_ALBUMS or int(hashlib.sha256(name.encode()).hexdigest(), 16) % 20 == 0


def find_tracks(listing: Path, root: Path) -> list[tuple[dict[str, str], Path]]:
    """Rows of the listing with the file each names, wherever below its package's folder it lies."""
    found = []
    for row in csv.DictReader(listing.read_text(encoding="utf-8").splitlines()):
        album, base = row["track"].split("/", 1)
        path = root / album / base
        if not path.exists():
            matches = sorted((root / album).rglob(Path(base).name))
            if not matches:
                continue
            path = matches[0]
        found.append((row, path))
    return found


def build(listing: Path, root: Path, folder: Path) -> None:
    """Decode all tracks in a fixed random order; tracks that are already in the index are skipped."""
    import soundfile
    import soxr

    folder.mkdir(parents=True, exist_ok=True)
    done = {track.name for track in read_index(folder)}
    rows = find_tracks(listing, root)
    random.Random(0).shuffle(rows)
    with (folder / "waves.s16").open("ab") as waves, (folder / "index.jsonl").open("a") as index:
        for row, path in rows:
            name, album = row["track"], row["track"].split("/", 1)[0]
            if name in done or album in EXCLUDED_ALBUMS:
                continue
            try:
                wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                print(f"{path} left out: {error}", flush=True)
                continue
            mono = soxr.resample(wave.mean(axis=1), rate, SAMPLE_RATE, quality="HQ")
            samples = np.clip(np.round(mono * 32767), -32768, 32767).astype("<i2")
            start = waves.tell() // 2
            waves.write(samples.tobytes())
            waves.flush()
            track = Track(
                name, album, start, len(samples), is_held_out(name, album),
                float(row["singing_share"] or 0), float(row["speech_share"] or 0),
            )  # fmt: skip
            index.write(json.dumps(asdict(track)) + "\n")
            index.flush()


def read_index(folder: Path) -> list[Track]:
    """All tracks that are there by now."""
    path = folder / "index.jsonl"
    if not path.exists():
        return []
    return [Track(**json.loads(line)) for line in path.read_text().splitlines() if line.endswith("}")]


class Crops:
    """Random crops of the training (or held-out) tracks.

    refresh() re-reads the index, for use beside a builder that is still at work.
    """

    def __init__(self, folder: Path, held_out: bool = False, max_singing: float = 1.0) -> None:
        self.folder, self.held_out, self.max_singing = folder, held_out, max_singing
        self.refresh()

    def refresh(self) -> None:
        tracks = read_index(self.folder)
        self.tracks = [t for t in tracks if t.is_held_out == self.held_out and self._is_wanted(t)]
        self.waves = np.memmap(self.folder / "waves.s16", dtype="<i2", mode="r")
        self.ends = np.cumsum([t.length for t in self.tracks])

    def _is_wanted(self, track: Track) -> bool:
        is_music = track.singing_share <= self.max_singing and track.speech_share <= 0.3
        return is_music and track.album not in EXCLUDED_ALBUMS and track.length > 4 * SAMPLE_RATE

    def crop(self, generator: np.random.Generator, length: int) -> np.ndarray:
        """One crop: [length] float32 in [-1, 1], from a track drawn in proportion to its length."""
        where = int(generator.integers(self.ends[-1]))
        track = self.tracks[int(np.searchsorted(self.ends, where, side="right"))]
        offset = int(generator.integers(max(1, track.length - length)))
        wave = self.waves[track.start + offset : track.start + min(offset + length, track.length)]
        return np.pad(wave.astype(np.float32) / 32768, (0, length - len(wave)))


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("listing", type=Path, help="CSV with a `track` column that begins with the package name")
    parser.add_argument("root", type=Path, help="folder with one unpacked package per subfolder")
    parser.add_argument("folder", type=Path, help="where waves.s16 and index.jsonl go")
    arguments = parser.parse_args()
    build(arguments.listing, arguments.root, arguments.folder)
