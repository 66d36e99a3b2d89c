"""Limits of small sets of files: how far halves of the reference lie apart, and whether any test can find anything.

A distance between sets depends on how many files there are as much as on what they sound like, and a test on six clips
cannot be significant among a hundred. Pages say both beside the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

import numpy as np

from openvmas.eval.benchmark.folder_measures import LEVEL, SILENCE, MeasuredFolder, Pairing
from openvmas.eval.benchmark.set_measures import MAX_PATCHES, MIN_PATCHES, cloud
from openvmas.eval.metrics import distances
from openvmas.eval.metrics.statistics import N_PERMUTATIONS, Interval

FEW_FILES = 50  # below it a distance says more of the sample than of the music
MIN_FILES = 4  # of a reference, to be split
N_SPLITS = 10
SIGNIFICANT = 0.05


def halves(reference: MeasuredFolder) -> Interval | None:
    """Fréchet distance between two halves of a folder's files: mean, least and greatest of N_SPLITS random splits.

    None with fewer than MIN_FILES files that sound. It is what the distance of another set of that size cannot be told
    from.
    """
    files = [file for file in reference.files if file.sound is not None and len(file.sound.embeddings)]
    if len(files) < MIN_FILES:
        return None
    found = []
    for seed in range(N_SPLITS):
        order = np.random.default_rng(seed).permutation(len(files))
        parts = [cloud([files[i] for i in sorted(part)])[0].embeddings for part in np.array_split(order, 2)]
        if min(map(len, parts)) < MIN_PATCHES:
            return None
        axes = distances.principal_axes(parts[0])
        found.append(distances.frechet(*(axes.project(part) for part in parts)))
    return Interval(float(np.mean(found)), min(found), max(found))


def about_patches(used: Mapping[str, tuple[int, int]]) -> str:
    """One sentence on how sounds are prepared for distances, variety and tags.

    used: set → (patches that count, all that sound).
    """
    cut = [f"{name} {n:,} of {of:,}" for name, (n, of) in used.items() if n < of]
    return (
        f"Before it is embedded, every sound is brought to {LEVEL:g} dB (RMS), so levels do not count; patches below "
        f"{SILENCE:g} dB are left out, so silence does not count; at most {MAX_PATCHES:,} patches of a set do"
        + (f" ({', '.join(cut)})" if cut else "")
        + "."
    )


def count_patches(folder: MeasuredFolder) -> tuple[int, int]:
    """Patches of a folder that count in its distances, and all that sound."""
    of = sum(len(file.sound.embeddings) for file in folder.files if file.sound is not None)
    return min(of, MAX_PATCHES), of


def about_reference(n_files: int, own: Mapping[str, Interval]) -> str:
    """One sentence on the size of the reference and distances from it. own: `halves` by the embedder's name."""
    said = [f"{item.value:.3g} ({item.low:.3g} to {item.high:.3g}) by {name}" for name, item in own.items()]
    text = f"The reference has {n_files} file{'s' * (n_files != 1)}"
    if said:
        text += f"; halves of it lie {', '.join(said)} apart by Fréchet distance ({N_SPLITS} random splits)"
    if n_files < FEW_FILES:
        text += (
            f". **Fewer than {FEW_FILES} files: distances say more of the sample than of the music**; differences up "
            "to that between halves mean nothing"
        )
    return text + "."


def least_p(n_pairs: int) -> float:
    """The smallest p that a two-sided paired permutation test over so many clips can give."""
    return max(2.0 ** (1 - n_pairs), 1 / (N_PERMUTATIONS + 1))


def about_tests(pairs: Iterable[Pairing]) -> str:
    """A sentence where no test of a page can be significant after Holm's correction, however large the difference.

    "" where one can.
    """
    tested = [item for item in pairs if item.p < 1 or item.difference.value]
    if not tested:
        return ""
    n_tests, n_pairs = len(tested), max(item.n_pairs for item in tested)
    if n_tests * least_p(n_pairs) <= SIGNIFICANT:
        return ""
    needed = next((n for n in count(n_pairs) if n_tests * least_p(n) <= SIGNIFICANT or n > 60), 60)
    is_enough = n_tests * least_p(needed) <= SIGNIFICANT
    remedy = f"{needed} clips could be" if is_enough else "compare fewer systems"
    return (
        f"**No test here can be significant**: over {n_pairs} clips the smallest p is {least_p(n_pairs):.3g}, and "
        f"among {n_tests} tests Holm's correction makes that {min(1.0, n_tests * least_p(n_pairs)):.3g}; {remedy}."
    )
