"""Labels of pictures (tools/pictures) as targets, and the five-fold test by source of a linear head on them.

`tools/build_picture_mood.py` trains with it, `bench/pictures.py` measures with it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import FEELING_AXES, INSTRUMENT_AXES, STYLE_AXES
from openvmas.data.montage.music_clips import tag_picture
from openvmas.errors import InputError
from openvmas.vision.mood import look_terms

FOLDER = Path(__file__).resolve().parent / "pictures"
STYLE_WORDS = STYLE_AXES + FEELING_AXES
LEARNED_AXES = ("valence", "arousal", *STYLE_WORDS, *INSTRUMENT_AXES)
WORD_WEIGHTS = (1.0, 0.8, 0.6)  # the labeller named the most fitting word first
N_FOLDS = 5
PENALTY = 4.0  # of the ridge, a row; chosen among 0.3, 1, 2, 4, 8 by the five-fold test


@dataclass(frozen=True)
class Labels:
    """One row a picture or span of footage, in the order of the file.

    paths: below the media folder, beginning with the package; spans: [N, 2] s, NaN for stills. targets: [N, A] on
    LEARNED_AXES: valence and arousal in [-1, 1], weights of the style words, instruments 1 fits, -1 is wrong.
    words: the three style words, best first. is_train: what the shipped head learns from. is_test: kept apart for clips
    that it has not seen (the rest is of the same game as some of these).
    """

    paths: tuple[str, ...]
    spans: np.ndarray
    licences: tuple[str, ...]
    targets: np.ndarray
    words: tuple[tuple[str, ...], ...]
    no_music: np.ndarray
    is_train: np.ndarray
    is_test: np.ndarray

    @property
    def sources(self) -> np.ndarray:
        """The package of each row: [N] names. The campaigns of one game are one source."""
        return np.array(["wesnoth" if p.startswith("wesnoth") else p.split("/", 1)[0] for p in self.paths])


def read_labels(path: Path) -> Labels:
    """Read a table of labels. Raises InputError where it holds an unknown word."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    column = {axis: i for i, axis in enumerate(LEARNED_AXES)}
    targets = np.zeros((len(rows), len(LEARNED_AXES)), np.float32)
    for i, row in enumerate(rows):
        targets[i, :2] = float(row["valence"]), float(row["arousal"])
        named = list(zip(row["styles"].split(), WORD_WEIGHTS, strict=True))
        named += [(name, 1.0) for name in row["fits"].split()] + [(name, -1.0) for name in row["wrong"].split()]
        if unknown := [name for name, _ in named if name not in column]:
            raise InputError(f"{path}, line {i + 2}: {unknown[0]!r} is no axis; see openvmas/condition.py.")
        for name, weight in named:
            targets[i, column[name]] = weight
    return Labels(
        paths=tuple(row["path"] for row in rows),
        spans=np.array([[float(row[k] or "nan") for k in ("start", "end")] for row in rows]),
        licences=tuple(row["licence"] for row in rows),
        targets=targets,
        words=tuple(tuple(row["styles"].split()) for row in rows),
        no_music=np.array([row["no_music"] == "1" for row in rows]),
        is_train=np.array([row["part"] == "train" for row in rows]),
        is_test=np.array([row["part"] == "test" for row in rows]),
    )


@dataclass(frozen=True)
class Seen:
    """What the backbone sees of every labelled picture, row by row.

    features: [K, N, 1280] in K ways (mean of three views, the middle in 16:9, the whole picture); classes: [N, 1000];
    looks: [N, 4]; energy: [N] and cutting: [N] of footage, NaN for stills.
    """

    features: np.ndarray
    classes: np.ndarray
    looks: np.ndarray
    energy: np.ndarray
    cutting: np.ndarray

    @staticmethod
    def load(path: Path) -> Seen:
        """Read what tools/build_picture_mood.py wrote. Raises InputError for anything else."""
        try:
            with np.load(path) as data:
                return Seen(**{n: data[n] for n in ("features", "classes", "looks", "energy", "cutting")})
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} is not made by `tools/build_picture_mood.py look`.") from error

    def inputs(self, way: int) -> np.ndarray:
        """Inputs of the head: [N, I]."""
        return np.concatenate(
            [np.sqrt(np.maximum(self.features[way].astype(np.float32), 0)), look_terms(self.looks)], 1
        )

    def rules(self, axes: Sequence[str]) -> np.ndarray:
        """What the stated rules say of each picture, motion being neutral: [N, len(axes)]."""
        from openvmas.condition import AXES  # here for the order of tag_picture alone

        said = np.stack([tag_picture(a, b) for a, b in zip(self.looks, self.classes.astype(np.float32), strict=True)])
        return said[:, [AXES.index(axis) for axis in axes]]


@dataclass(frozen=True)
class Linear:
    """A map from inputs to standard deviations of each axis: inputs @ weights + bias."""

    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return inputs @ self.weights + self.bias


def fit(seen: Seen, targets: np.ndarray, rows: np.ndarray) -> Linear:
    """Ridge regression of standardized targets on all ways of seeing the rows (a mask [N])."""
    inputs = np.concatenate([seen.inputs(way)[rows] for way in range(len(seen.features))]).astype(np.float64)
    wanted = np.concatenate([targets[rows]] * len(seen.features)).astype(np.float64)
    middle, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    # The looks are few beside 1,280 features; each block has the same weight as a whole or a half.
    n_looks = look_terms(seen.looks[:1]).shape[1]
    n_features = inputs.shape[1] - n_looks
    scale = 1 / spread / np.sqrt(np.where(np.arange(inputs.shape[1]) < n_features, n_features, 4 * n_looks))
    x = (inputs - middle) * scale
    mean, deviation = wanted.mean(axis=0), wanted.std(axis=0) + 1e-6
    y = (wanted - mean) / deviation
    solved = np.linalg.solve(x.T @ x + PENALTY * len(seen.features) * np.eye(x.shape[1]), x.T @ y)
    weights = solved * scale[:, None]
    return Linear(weights, -middle @ weights)


def folds(sources: np.ndarray) -> np.ndarray:
    """The fold of each row, [N]: whole sources, the largest first into the fold that is then the smallest."""
    names, counts = np.unique(sources, return_counts=True)
    load, chosen = np.zeros(N_FOLDS), {}
    for i in np.argsort(-counts, kind="stable"):
        chosen[names[i]] = int(np.argmin(load))
        load[chosen[names[i]]] += counts[i]
    return np.array([chosen[name] for name in sources])


def five_fold(seen: Seen, labels: Labels) -> np.ndarray:
    """Prediction for every row by a head that has seen no picture of its source: [N, A], standard deviations.

    Footage and stills are judged as the analysis sees them: the whole picture.
    """
    number = folds(labels.sources)
    said = np.zeros_like(labels.targets)
    for fold in range(N_FOLDS):
        apart = number == fold
        said[apart] = fit(seen, labels.targets, ~apart)(seen.inputs(2)[apart])
    return said


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r; 0 where one does not vary."""
    if np.std(first) < 1e-9 or np.std(second) < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
