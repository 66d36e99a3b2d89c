"""Measures of all music of a folder or a system at once: distance from true music, diversity, styles and tags.

Files are taken as `eval.benchmark.folder_measures` measures them, each with its embeddings. Reference first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from openvmas.eval.benchmark.folder_measures import MeasuredFile, MeasuredFolder
from openvmas.eval.embedders.tags import MOODS, STYLES, tag_shares
from openvmas.eval.metrics import distances, diversity, retrieval
from openvmas.eval.metrics.statistics import Interval, bootstrap_interval, jackknife_interval
from openvmas.eval.suites.cache import Sound
from openvmas.eval.suites.media_files import clip_name

MAX_PATCHES = 1500  # of a folder, for distances
MAX_GROUPS = 12  # of files, left out one at a time for intervals of distances
MIN_PATCHES = 6
MIN_FILES = 2  # of a reference: distances from one piece would say how much all music is that piece
MIN_CLIPS = 3  # for measures of styles and tags


def cloud(files: Sequence[MeasuredFile]) -> tuple[Sound, np.ndarray]:
    """All patches of the files, at most MAX_PATCHES drawn evenly, and the index of the file of each: [P]."""
    sounds = [file.sound for file in files if file.sound is not None and len(file.sound.embeddings)]
    if not sounds:
        return Sound(np.zeros((0, 1)), np.zeros((0, 1))), np.zeros(0, int)
    owner = np.repeat(np.arange(len(sounds)), [len(sound.embeddings) for sound in sounds])
    kept = np.arange(len(owner))
    if len(kept) > MAX_PATCHES:
        kept = np.sort(np.random.default_rng(0).choice(kept, MAX_PATCHES, replace=False))
    embeddings = np.concatenate([sound.embeddings for sound in sounds])[kept]
    return Sound(embeddings, np.concatenate([sound.logits for sound in sounds])[kept]), owner[kept]


def class_shares(sound: Sound) -> np.ndarray | None:
    """Posteriors of all patches [P, n_classes]; None if the embedder knows no classes."""
    return distances.posteriors(sound.logits) if sound.logits.shape[1] else None


def variety(folder: MeasuredFolder) -> dict[str, Interval]:
    """Diversity of a folder in itself: Inception-like score, Vendi score and mean cosine distance of its files.

    Files count by the mean of their embeddings. Empty without embeddings or with fewer than two files that sound.
    """
    sound, owner = cloud(folder.files)
    if len(np.unique(owner)) < 2:
        return {}
    rows = class_shares(sound)

    def describe(kept: np.ndarray) -> dict[str, float]:
        means = np.stack([sound.embeddings[owner == i].mean(axis=0) for i in np.unique(owner[kept])])
        found = {"inception_score": distances.inception_score(rows[kept])} if rows is not None else {}
        found["vendi"] = distances.vendi(means)
        return found | ({"cosine_distance": distances.mean_cosine_distance(means)} if len(means) > 1 else {})

    return _jackknife(describe, owner)


def compare(reference: MeasuredFolder, estimated: MeasuredFolder) -> dict[str, Interval]:
    """Distances of one folder's sounds from another's, by name; intervals are over the estimated files.

    Empty if either has no embeddings or too few patches that sound. tag_divergence is that of the mean posteriors,
    tag_divergence_paired the mean over clips of the same name.
    """
    (real, _), (made, owner) = cloud(reference.files), cloud(estimated.files)
    if min(len(real.embeddings), len(made.embeddings)) < MIN_PATCHES:
        return {}
    wanted, rows = class_shares(real), class_shares(made)

    def describe(kept: np.ndarray) -> dict[str, float]:
        if kept.sum() < MIN_PATCHES:
            return {}
        found = distances.evaluate(real.embeddings, made.embeddings[kept])
        if wanted is None or rows is None:
            return found
        means = (part.mean(axis=0, keepdims=True) for part in (wanted, rows[kept]))
        return found | {"tag_divergence": distances.tag_divergence(*means)}

    found = _jackknife(describe, owner)
    known = {clip_name(file.name): file.sound for file in reversed(reference.files)}
    both = [(known.get(clip_name(file.name)), file.sound) for file in estimated.files]
    means = [
        [distances.posteriors(sound.logits).mean(axis=0, keepdims=True) for sound in (x, y)]
        for x, y in both
        if x is not None and y is not None and x.logits.size and y.logits.size
    ]
    if means:
        found["tag_divergence_paired"] = bootstrap_interval(np.array([distances.tag_divergence(*m) for m in means]))
    return found


def shares(files: Iterable[MeasuredFile], classes: Sequence[str], group: frozenset[str]) -> dict[str, np.ndarray]:
    """Shares of each file that sounds in the classes of a group, by name of the clip: [n_tags] each."""
    found = {}
    for file in files:
        if file.sound is not None and len(file.sound.logits) and file.sound.logits.shape[1] == len(classes):
            row = tag_shares(file.sound.logits, classes, group)
            if row is not None:
                found[clip_name(file.name)] = row
    return found


def styles(reference: MeasuredFolder | None, estimated: MeasuredFolder, classes: Sequence[str]) -> dict[str, Interval]:
    """Effective number of styles of a folder; with a reference also how many of its styles, over clips of both."""
    made = shares(estimated.files, classes, STYLES)
    if reference is None:
        if len(made) < MIN_CLIPS:
            return {}
        y = np.stack(list(made.values()))
        return _jackknife(lambda kept: {"styles_used": diversity.styles(y[kept]).used}, np.arange(len(y)))
    real = shares(reference.files, classes, STYLES)
    names = [name for name in made if name in real]
    if len(names) < MIN_CLIPS:
        return styles(None, estimated, classes)
    x, y = (np.stack([rows[name] for name in names]) for rows in (real, made))
    return _jackknife(lambda kept: diversity.evaluate(x[kept], y[kept]), np.arange(len(names)))


def agreement(
    reference: MeasuredFolder, estimated: MeasuredFolder, classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Agreement of styles and moods of true and generated music, by name of the estimated file and measure."""
    real, made = (shares(folder.files, classes, STYLES | MOODS) for folder in (reference, estimated))
    names = [file.name for file in estimated.files if clip_name(file.name) in made and clip_name(file.name) in real]
    if len(names) < MIN_CLIPS:
        return {}
    x, y = (np.stack([rows[clip_name(name)] for name in names]) for rows in (real, made))
    found = retrieval.evaluate_tags(x, y)
    return {name: {measure: float(values[i]) for measure, values in found.items()} for i, name in enumerate(names)}


def of_seeds(reference: MeasuredFolder | None, takes: Sequence[Sequence[Sound]]) -> dict[str, Interval]:
    """Diversity between seeds of one video and between videos. takes: of each video one sound a seed.

    The mean of the reference's sounds is taken away first. Videos of which a take is silent do not count.
    """
    heard = [[take.embeddings.mean(axis=0) for take in video if len(take.embeddings)] for video in takes]
    whole = [video for video in heard if video and len(video) == len(takes[0])]
    if not whole or len(whole[0]) < 2:
        return {}
    x = np.array(whole, dtype=np.float64)
    known = [file.sound for file in reference.files if file.sound is not None] if reference else []
    means = [sound.embeddings.mean(axis=0) for sound in known if len(sound.embeddings)]
    centre = np.mean(means, axis=0) if means else None

    def describe(kept: np.ndarray) -> dict[str, float]:
        found = diversity.evaluate_seeds(x[kept], centre)
        return {name: value for name, value in found.items() if not name.startswith("seeds_")}

    found = {name: item for name, item in _jackknife(describe, np.arange(len(x))).items() if math.isfinite(item.value)}
    each = [diversity.dispersion(video[None], centre) for video in x]
    for name in ("seeds_vendi", "seeds_distance"):
        found[name] = bootstrap_interval(np.array([getattr(item, name) for item in each]))
    return found


def evaluate(
    reference: MeasuredFolder | None,
    estimated: MeasuredFolder,
    classes: Sequence[str],
    takes: Sequence[Sequence[Sound]] = (),
) -> dict[str, Interval]:
    """Every measure of all music of one system, by name. reference: None of the true music itself."""
    found = compare(reference, estimated) if reference else {}
    found |= variety(estimated) | styles(reference, estimated, classes)
    return found | of_seeds(reference, takes)


def _jackknife(describe: Callable[[np.ndarray], dict[str, float]], owner: np.ndarray) -> dict[str, Interval]:
    """Figures of all patches, with intervals from leaving out one group of files at a time. owner: [P]."""
    values = describe(np.ones(len(owner), dtype=bool))
    group = owner % MAX_GROUPS
    parts = [describe(group != i) for i in np.unique(group)] if len(np.unique(group)) > 2 else []
    return {
        name: jackknife_interval(value, np.array([part.get(name, math.nan) for part in parts]))
        for name, value in values.items()
    }
