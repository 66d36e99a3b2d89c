"""Does `openvmas.similarity` know which music belongs to a video? Each video of a folder against the sound of all.

    python bench/similarity.py VIDEOS [--limit 40] [--seconds 15.36] [--model MODEL ...]

Prints how often a video finds its own sound among all against chance, by meaning, timing and both, and the mean share
of other videos' sound that is less alike than its own (chance 0.5). Files go the way a user's do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.generate.similarity import Aligner, Similarity
from openvmas.pretrained import find_alignment, find_weights
from openvmas.vision.analysis import analyze

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=15.36, help="of each that are compared")
    parser.add_argument("--model", nargs="+", default=["mini"], help="one or several, each with an alignment")
    given = parser.parse_args()
    runner = CodecRunner(find_weights("mini"), threads=1)
    aligners = {name: Aligner(find_alignment(name), runner) for name in given.model}
    paths = [path for path in sorted(given.videos.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES][: given.limit]
    n_steps = round(given.seconds * runner.sample_rate / runner.hop_length)
    seen = [analyze(path) for path in paths]
    sounds = [aligners[given.model[0]].encode(path)[:, :n_steps] for path in paths]
    for name, aligner in aligners.items():
        pictures = [aligner.embed_picture(a, min(n_steps, len(a.motion))) for a in seen]
        music = [aligner.embed_music(codes) for codes in sounds]
        print(f"{name}: {len(paths)} videos, {given.seconds:g} s")
        tell([[aligner.compare_vectors(picture, sound) for sound in music] for picture in pictures])


def tell(found: Sequence[Sequence[Similarity]]) -> None:
    """Print how often the own sound is first and the share of others that is less alike, from all comparisons."""
    n = len(found)
    for name in ("meaning", "timing", "combined"):
        values = np.array([[getattr(one, name) for one in row] for row in found])
        own = np.diagonal(values)[:, None]
        others = ~np.eye(n, dtype=bool)
        first = float((((values > own) & others).sum(1) == 0).mean())
        shares = np.array([(mine > row[other]).mean() for mine, row, other in zip(own, values, others, strict=True)])
        drawn = np.random.default_rng(0).integers(n, size=(1000, n))
        low, high = np.percentile(shares[drawn].mean(axis=1), [2.5, 97.5])
        print(
            f"{name}: own sound first {first:.2f} ({first * n:.1f} times chance), share less alike {shares.mean():.2f} "
            f"[{low:.2f}, {high:.2f}]"
        )


if __name__ == "__main__":
    main()
