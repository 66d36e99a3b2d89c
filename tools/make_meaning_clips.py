"""Sixty clips for the end-to-end check of meaning (`bench/meaning.py`), of pictures that the shipped head has not seen.

    python tools/make_meaning_clips.py MEDIA OUT

MEDIA: a folder for the packages that the pictures come from; what is not there yet is fetched (1.6 GB, of which 1.4 GB
are two pictures of 0 A.D.; the folder that `tools/build_picture_mood.py look` filled has all). A clip is cut from
pictures and footage of the part "test" of tools/pictures/labels.csv that were labelled alike; the livelier they are,
the faster it is cut. What each clip as a whole should sound like was labelled again by looking at it:
tools/pictures/clips.csv.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from build_picture_mood import fetch_pictures
from picture_labels import FOLDER, Labels, read_labels
from video_editor import Edit, Take

SEED, N_CLIPS = 17, 60
DURATION = 16.0  # s
SIZE, FPS = (320, 180), Fraction(20)  # as much as the analysis looks at
FEELS = ((1, -1.0), (1, 1.0), (0, -1.0), (0, 1.0))  # column and side: calm, exciting, sad, happy, in turn


def choose(rng: np.random.Generator, labels: Labels, rows: np.ndarray, number: int) -> list[int]:
    """Rows of four to seven pictures that feel alike; the first is far on one side."""
    column, side = FEELS[number % len(FEELS)]
    strength = side * labels.targets[rows, column] + rng.normal(0, 0.08, len(rows))
    first = rows[int(np.argsort(-strength)[rng.integers(0, len(rows) // 6)])]
    away = np.abs(labels.targets[rows, :2] - labels.targets[first, :2]).sum(axis=1)
    away += 0.15 * (labels.sources[rows] != labels.sources[first])
    away += rng.uniform(0, 0.12, len(rows))
    near = rows[np.argsort(away)[: int(rng.integers(4, 8))]]
    return [int(first), *(int(row) for row in near if row != first)]


def edit(rng: np.random.Generator, media: Path, labels: Labels, rows: list[int]) -> list[Take]:
    """The takes of a clip: slow and dissolving where the pictures are calm, short and with punches where not."""
    arousal = float(labels.targets[rows, 1].mean())
    length = float(np.clip(2.4 * np.exp(-2.2 * arousal + rng.normal(0, 0.25)), 0.45, 6.0))
    takes: list[Take] = []
    total = 0.0
    while total < DURATION - 0.4:
        row = rows[len(takes) % len(rows)]
        duration = float(min(np.clip(length * rng.lognormal(0, 0.3), 0.4, 7.0), DURATION - total))
        start = labels.spans[row, 0]
        pace = float(np.clip(0.10 + 0.2 * arousal, 0.02, 0.3))
        zoom = sorted(1.02 + rng.uniform(0, 2 * pace, 2) * min(duration, 3))
        centre = 0.5 + rng.normal(0, pace / 2, (2, 2)) * min(duration, 2)
        takes.append(
            Take(
                str(media / labels.paths[row]),
                duration,
                (float(zoom[0]), float(zoom[1])) if rng.random() < 0.6 else (float(zoom[1]), float(zoom[0])),
                ((float(centre[0, 0]), float(centre[0, 1])), (float(centre[1, 0]), float(centre[1, 1]))),
                ease="punch" if arousal > 0.2 and rng.random() < 0.5 else "even",
                source_start=0.0 if np.isnan(start) else float(start),
                dissolve=0.8 if takes and arousal < 0 and duration > 2 and rng.random() < 0.6 else 0.0,
            )
        )
        total += duration
    return takes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    labels = read_labels(FOLDER / "labels.csv")
    rows = np.flatnonzero(labels.is_test & ~labels.no_music)
    options.out.mkdir(parents=True, exist_ok=True)
    lots = [np.random.default_rng([SEED, number]) for number in range(N_CLIPS)]
    chosen = [choose(rng, labels, rows, number) for number, rng in enumerate(lots)]
    needed = {labels.paths[row] for pictures in chosen for row in pictures}
    fetch_pictures(options.media, replace(labels, paths=tuple(sorted(needed))))
    for number, (rng, pictures) in enumerate(zip(lots, chosen, strict=True)):
        takes = edit(rng, options.media, labels, pictures)
        target = options.out / f"{number:02d}.mp4"
        if not target.exists():
            Edit(takes, FPS, SIZE, number).write(target)


if __name__ == "__main__":
    main()
