"""Tag recorded music on the semantic axes of `openvmas.condition.AXES`, a window of 10 s every 5 s.

    python tools/tag_music.py LISTING.csv ROOT OUT

LISTING has a column `track` (package/path) and, for some rows, valence, energy, danceability and acousticness, to which
the mood axes are fitted (docs/tracks.csv has them for 306 tracks); ROOT holds one unpacked package per folder. Where
fewer than LEAST_LABELLED tracks with labels are there, the tagger that was fitted to all of them is used
(tools/music_tagger, see docs/data-card.md). Writes OUT/raw/*.npz (kept: a second run goes on
where the first stopped), OUT/tags.npz (tracks [M], start [M + 1], times [N], axes [N, len(AXES)] float16: the windows
of track i are rows start[i] to start[i + 1]), OUT/axes.json and OUT/axes.npz (see music_tags.Tagger).
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr
from music_tags import FITTED_AXES, RawWindows, Ridge, Tagger, cross_validate, fit_ridge, fit_tagger, measure, unit

from openvmas.condition import AXES
from openvmas.errors import InputError
from openvmas.hub.taggers import SAMPLE_RATE, Yamnet, log_mel
from openvmas.train.codec.corpus import find_files

LEFT_OUT = ("drascula", "trackballs")  # licences with limits
SHORTEST = 20.0  # s
PENALTY = 30.0
LEAST_LABELLED = 100  # tracks, to fit moods to; fewer would make other axes than the shipped weights know
TAGGER = Path(__file__).resolve().parent / "music_tagger"  # fitted to the labels of docs/tracks.csv


def raw_path(folder: Path, track: str) -> Path:
    return folder / "raw" / (hashlib.sha256(track.encode()).hexdigest()[:16] + ".npz")


def measure_track(path: Path, embedder: Yamnet) -> RawWindows | None:
    """Decode once, in blocks; nothing if the track is too short."""
    with soundfile.SoundFile(path) as file:
        if file.frames and file.frames / file.samplerate < SHORTEST:
            return None
        resampler = soxr.ResampleStream(file.samplerate, SAMPLE_RATE, 1, quality="HQ")
        parts = []
        while True:
            block = file.read(file.samplerate * 10, dtype="float32", always_2d=True)
            parts.append(resampler.resample_chunk(block.mean(axis=1), last=not len(block)))
            if not len(block):
                break
    wave = np.concatenate(parts)
    return measure(wave, embedder, log_mel) if len(wave) >= SHORTEST * SAMPLE_RATE else None


def measure_all(rows: list, folder: Path) -> None:
    embedder = Yamnet()
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    began = time.time()
    for i, (row, path) in enumerate(rows):
        target = raw_path(folder, row["track"])
        if target.exists():
            continue
        try:
            windows = measure_track(path, embedder)
        except soundfile.LibsndfileError as error:
            print(f"left out {row['track']}: {error}", flush=True)
            continue
        if windows is not None:
            windows.save(target)
        if i % 50 == 0:
            print(f"{i}/{len(rows)} after {time.time() - began:.0f} s", flush=True)


def fit_all(rows: list, folder: Path) -> None:
    names = [row["track"] for row, _ in rows if raw_path(folder, row["track"]).exists()]
    labels = {row["track"]: row for row, _ in rows}
    tracks = [RawWindows.load(raw_path(folder, name)) for name in names]
    if not names:
        raise InputError(f"no track of {SHORTEST:g} s and more could be tagged; check the listing and its packages.")
    labelled = [i for i, name in enumerate(names) if all(labels[name].get(c) for c in FITTED_AXES.values())]
    if len(labelled) >= LEAST_LABELLED:
        tagger = fit_tagger(tracks, fit_moods(names, tracks, labels, labelled), Yamnet().classes)
        tagger.save(folder)
    else:
        tagger = Tagger.load(TAGGER)
        print(f"{len(labelled)} tracks have mood labels: axes are those of {TAGGER.name}")
    axes = [tagger.axes(windows).astype(np.float16) for windows in tracks]
    start = np.concatenate([[0], np.cumsum([len(part) for part in axes])])
    times = np.concatenate([windows.times for windows in tracks])
    np.savez_compressed(
        folder / "tags.npz", tracks=np.array(names), start=start, times=times, axes=np.concatenate(axes), names=AXES
    )
    print(f"{len(names)} tracks, {start[-1]} windows, {len(labelled)} labelled")


def fit_moods(names: list[str], tracks: list[RawWindows], labels: dict[str, dict], labelled: list[int]) -> Ridge:
    """The regression of moods on the mean embedding of a track, cross-validated over albums."""
    x = np.stack([unit(tracks[i].embeddings).mean(0) for i in labelled])
    y = np.array([[float(labels[names[i]][column]) for column in FITTED_AXES.values()] for i in labelled])
    albums = np.array([names[i].split("/", 1)[0] for i in labelled])
    r = cross_validate(x, y, albums, penalty=PENALTY)
    print("r across albums:", dict(zip(FITTED_AXES, r.round(3).tolist(), strict=True)))
    return fit_ridge(x, y, penalty=PENALTY)


def tag(listing: Path, root: Path, folder: Path) -> None:
    """All of it; goes on where it was stopped. Raises InputError."""
    rows = [
        (row, path) for row, path in find_files(listing, root) if not any(name in row["track"] for name in LEFT_OUT)
    ]
    measure_all(rows, folder)
    fit_all(rows, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listing", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    tag(arguments.listing, arguments.root, arguments.out)


if __name__ == "__main__":
    main()
