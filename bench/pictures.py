"""Do the head and the rules hear in pictures what a person would? Five folds by source, with labels of tools/pictures.

    python tools/build_picture_mood.py look MEDIA SEEN.npz     # once: fetches the pictures, 10 minutes
    python bench/pictures.py SEEN.npz

Prints r of valence and arousal with the labels for the head (no picture of the same package in its training) and for
the rules, with intervals over sources; r on the pictures that are kept apart; the labels' agreement with themselves;
how many of three style words are hit; and the ten worst pictures with what was said.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from picture_labels import (  # the folder is named above
    FOLDER,
    LEARNED_AXES,
    STYLE_WORDS,
    Labels,
    Seen,
    correlation,
    fit,
    five_fold,
    read_labels,
)

N_BOOTSTRAP = 500
STYLE_COLUMNS = [LEARNED_AXES.index(word) for word in STYLE_WORDS]


def interval(said: np.ndarray, told: np.ndarray, sources: np.ndarray) -> tuple[float, float]:
    """95 % interval of r over resampled sources."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(sources == name) for name in np.unique(sources)]
    found = []
    for _ in range(N_BOOTSTRAP):
        picked = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        found.append(correlation(said[picked], told[picked]))
    return float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))


def best_words(scores: np.ndarray) -> list[set[str]]:
    """The three style words of the highest scores: [N] sets. scores: [N, len(STYLE_WORDS)]."""
    return [{STYLE_WORDS[i] for i in np.argsort(-row)[:3]} for row in scores]


def hits(said: list[set[str]], labels: Labels) -> tuple[float, float]:
    """The share of labelled words among the three said, and of pictures whose first word is among them."""
    share = [len(words & set(told)) / 3 for words, told in zip(said, labels.words, strict=True)]
    first = [told[0] in words for words, told in zip(said, labels.words, strict=True)]
    return float(np.mean(share)), float(np.mean(first))


def expected_weights(said: np.ndarray, labels: Labels) -> np.ndarray:
    """Standard deviations back to weights of style words: [N, len(STYLE_WORDS)]."""
    told = labels.targets[:, STYLE_COLUMNS]
    return said[:, STYLE_COLUMNS] * told.std(axis=0) + told.mean(axis=0)


def print_agreement(said: np.ndarray, rules: np.ndarray, seen: Seen, labels: Labels) -> None:
    apart = labels.is_test
    trained = fit(seen, labels.targets, labels.is_train)(seen.inputs(2)[apart])
    for i, axis in enumerate(("valence", "arousal")):
        told, sources = labels.targets[:, i], labels.sources
        for name, values in (("head", said[:, i]), ("rules", rules[:, i])):
            low, high = interval(values, told, sources)
            print(f"{axis:8} {name:6} five folds r {correlation(values, told):.3f} [{low:.2f}, {high:.2f}]", end="  ")
            test = trained[:, i] if name == "head" else values[apart]
            print(f"kept apart {correlation(test, told[apart]):.3f} (n {apart.sum()})", end="  ")
            moving = np.isfinite(seen.energy)
            print(f"footage {correlation(values[moving], told[moving]):.2f} (n {moving.sum()})")


def starts(labels: Labels) -> list[float]:
    """Where the spans begin, s; -1 for stills."""
    return np.nan_to_num(labels.spans[:, 0], nan=-1.0).tolist()


def print_reliability(labels: Labels) -> None:
    second = read_labels(FOLDER / "second-labels.csv")
    number = {key: i for i, key in enumerate(zip(labels.paths, starts(labels), strict=True))}
    rows = [number[key] for key in zip(second.paths, starts(second), strict=True)]
    first = labels.targets[rows]
    agree = [correlation(first[:, i], second.targets[:, i]) for i in (0, 1)]
    same = np.mean([len(set(labels.words[r]) & set(w)) / 3 for r, w in zip(rows, second.words, strict=True)])
    print(f"labels again (n {len(rows)}): valence r {agree[0]:.3f}, arousal r {agree[1]:.3f}, style words {same:.2f}")


def print_words(said: np.ndarray, rules: np.ndarray, labels: Labels) -> None:
    told = labels.targets[:, STYLE_COLUMNS]
    usual = np.broadcast_to(told.mean(axis=0), told.shape)
    for name, scores in (
        ("head", expected_weights(said, labels)),
        ("rules", rules[:, STYLE_COLUMNS]),
        ("the three commonest", usual),
    ):
        share, first = hits(best_words(scores), labels)
        print(f"style words, {name:20}: {share:.3f} of the labelled three, first word among them {first:.3f}")


def print_worst(said: np.ndarray, labels: Labels, n: int = 10) -> None:
    told, spread = labels.targets[:, :2], labels.targets[:, :2].std(axis=0)
    guess = said[:, :2] * spread + told.mean(axis=0)
    away = np.sqrt((((guess - told) / spread) ** 2).sum(axis=1))
    words = best_words(expected_weights(said, labels))
    for i in np.argsort(-away)[:n]:
        print(
            f"  {labels.paths[i][-60:]:60} said v {guess[i, 0]:+.1f} a {guess[i, 1]:+.1f} {' '.join(sorted(words[i]))};"
            f" told v {told[i, 0]:+.1f} a {told[i, 1]:+.1f} {' '.join(labels.words[i])}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seen", type=Path, help="what `tools/build_picture_mood.py look` wrote")
    options = parser.parse_args()
    labels, seen = read_labels(FOLDER / "labels.csv"), Seen.load(options.seen)
    said, rules = five_fold(seen, labels), seen.rules(LEARNED_AXES)
    print(f"{len(labels.paths)} pictures and spans of footage from {len(np.unique(labels.sources))} sources")
    print_agreement(said, rules, seen, labels)
    print_reliability(labels)
    print_words(said, rules, labels)
    print("worst by five folds:")
    print_worst(said, labels)


if __name__ == "__main__":
    main()
