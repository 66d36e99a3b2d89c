"""Decode parts of `train.codec.pack` into one folder of waves, where there is room for it and many cores wait for
crops.

    python -m openvmas.train.codec.unpack PARTS WAVES

A crop of waves costs a twentieth of one of parts. Tracks that are in WAVES already are left out, so that parts may
arrive one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from openvmas.train.codec.corpus import Track, read_index
from openvmas.train.codec.crops import PackedCrops


def unpack(parts: Path, folder: Path, n_workers: int) -> int:
    """Append the tracks of parts to `waves.s16` and `index.jsonl`; returns how many.

    Raises InputError without parts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = {track.name for track in read_index(folder)}
    n_tracks = 0
    with (folder / "waves.s16").open("ab") as waves, (folder / "index.jsonl").open("a") as index:
        for held_out in (False, True):
            crops = PackedCrops(parts, held_out)
            tracks = [track for track in crops.tracks if track.name not in done]
            with ProcessPoolExecutor(n_workers, initializer=_open, initargs=(parts, held_out)) as pool:
                for track, samples in zip(tracks, pool.map(_read, tracks, chunksize=4), strict=True):
                    kept = {item.name: getattr(track, item.name) for item in fields(Track)}
                    entry = Track(**{**kept, "start": waves.tell() // 2, "length": len(samples)})
                    waves.write(samples.tobytes())
                    waves.flush()
                    index.write(json.dumps(asdict(entry)) + "\n")
                    index.flush()
                    n_tracks += 1
    return n_tracks


_crops: PackedCrops


def _open(parts: Path, held_out: bool) -> None:
    global _crops
    _crops = PackedCrops(parts, held_out)


def _read(track: Track) -> np.ndarray:
    """A whole track, [L] int16."""
    wave = _crops.read(track, 0, track.length)
    return np.clip(np.round(wave * 32767), -32768, 32767).astype("<i2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path)
    parser.add_argument("waves", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    print(f"{unpack(arguments.parts, arguments.waves, arguments.workers)} tracks")


if __name__ == "__main__":
    main()
