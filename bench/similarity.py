"""Does `openvmas.similarity` know which music belongs to a video? Each video of a folder against the sound of all.

    python bench/similarity.py VIDEOS [--limit 40] [--seconds 15.36]

Prints how often a video finds its own sound among all against chance, by meaning, timing and both, and the mean share
of other videos' sound that is less alike than its own (chance 0.5). Files go the way a user's do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.generate.similarity import Aligner
from openvmas.planning.conditioning import picture_of
from openvmas.pretrained import find_alignment, find_weights
from openvmas.vision.analysis import analyze

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=15.36, help="of each that are compared")
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    runner = CodecRunner(find_weights(given.model), threads=1)
    aligner = Aligner(find_alignment(given.model), runner)
    paths = [path for path in sorted(given.videos.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES][: given.limit]
    n_steps = round(given.seconds * runner.sample_rate / runner.hop_length)
    pictures, sounds = [], []
    for path in paths:
        seen = analyze(path)
        pictures.append(picture_of(seen, min(n_steps, len(seen.motion))))
        sounds.append(aligner.encode(path)[:, :n_steps])
    found = [[aligner.compare(picture, sound) for sound in sounds] for picture in pictures]
    n = len(paths)
    print(f"{n} videos, {given.seconds:g} s")
    for name in ("meaning", "timing", "combined"):
        values = np.array([[getattr(one, name) for one in row] for row in found])
        own = np.diagonal(values)[:, None]
        others = ~np.eye(n, dtype=bool)
        first = float((((values > own) & others).sum(1) == 0).mean())
        less = float((own > values)[others].mean())
        print(f"{name}: own sound first {first:.2f} ({first * n:.1f} times chance), share less alike {less:.2f}")


if __name__ == "__main__":
    main()
