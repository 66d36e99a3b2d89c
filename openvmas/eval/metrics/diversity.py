"""Diversity of music: between seeds of one video, between videos, and over styles.

Embeddings are [V, S, D]: one row per piece, videos, then seeds. Style shares are [N, n_styles], one row per piece that
sums to 1 (`eval.embedders.tags.tag_shares`). Reference first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from openvmas.eval.metrics.distances import mean_cosine_distance, validate_posteriors, vendi


def validate(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [V, S, D] as float64. Raises ValueError for other shapes, for no piece and for values not finite."""
    embeddings = np.asarray(embeddings, dtype=np.float64)
    if embeddings.ndim != 3 or 0 in embeddings.shape:
        raise ValueError(f"embeddings are [V, S, D], videos and their seeds, not {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings must be finite")
    return embeddings


@dataclass(frozen=True)
class Dispersion:
    """Dissimilarity of pieces, as means over videos (seeds_) or over seeds (videos_); NaN for a single piece.

    seeds_vendi: effective number of different pieces for one video, from 1 to S; seeds_distance: mean cosine distance
    between them, in [0, 2]. videos_vendi (1 to V), videos_distance: the same between pieces of one seed for different
    videos.
    """

    seeds_vendi: float
    seeds_distance: float
    videos_vendi: float
    videos_distance: float


def dispersion(embeddings: np.ndarray, centre: np.ndarray | None = None) -> Dispersion:
    """Vendi score (Friedman & Dieng 2023) and mean cosine distance, between seeds and between videos.

    Parameters
    ----------
    embeddings : [V, S, D], videos, then seeds
    centre : [D], taken away first: the mean of the reference's embeddings, the same for all systems compared; without
        it embeddings that are all positive (YAMNet's) look alike

    Returns
    -------
    Dispersion

    >>> round(dispersion(np.eye(3)[:, None]).videos_vendi, 6)
    3.0
    """
    x = validate(embeddings)
    x = x if centre is None else x - centre
    of_seeds, of_videos = x, x.transpose(1, 0, 2)
    return Dispersion(
        _mean_of(vendi, of_seeds),
        _mean_of(mean_cosine_distance, of_seeds),
        _mean_of(vendi, of_videos),
        _mean_of(mean_cosine_distance, of_videos),
    )


def _mean_of(measure: Callable[[np.ndarray], float], groups: np.ndarray) -> float:
    """Mean of a measure over groups [G, N, D]; NaN where a group is a single piece."""
    return float(np.mean([measure(group) for group in groups])) if groups.shape[1] > 1 else math.nan


def video_share(embeddings: np.ndarray) -> float:
    """Share of the variance of embeddings that the video explains: intraclass correlation ICC(1).

    Shrout & Fleiss 1979, with squares summed over D.

    Parameters
    ----------
    embeddings : [V, S, D], videos, then seeds

    Returns
    -------
    Share from -1 / (S - 1) to 1: 0 by chance where the music does not depend on its video, 1 where on nothing else;
    NaN for fewer than two videos or seeds and where all is alike

    >>> video_share(np.array([[[0.0], [0.0]], [[1.0], [1.0]]]))
    1.0
    """
    x = validate(embeddings)
    n_videos, n_seeds, _ = x.shape
    if min(n_videos, n_seeds) < 2:
        return math.nan
    means = x.mean(axis=1)
    between = n_seeds * float(np.sum((means - means.mean(axis=0)) ** 2)) / (n_videos - 1)
    within = float(np.sum((x - means[:, None]) ** 2)) / (n_videos * (n_seeds - 1))
    total = between + (n_seeds - 1) * within
    return (between - within) / total if total > 1e-12 * float(np.sum(x**2)) else math.nan


@dataclass(frozen=True)
class Styles:
    """Effective numbers of styles, 1 to n_styles. used: of all pieces together; within: of one piece; apart: used over
    within, from 1 (all pieces alike) to the number of pieces.
    """

    used: float
    within: float
    apart: float


def styles(shares: np.ndarray) -> Styles:
    """Effective numbers of styles: exponentials of entropies.

    Hill numbers of order 1 with Jost's split into within and between (Jost 2007, gamma = alpha * beta). `used` alone is
    fooled by a vague texture that could be anything, because doubt is as wide as variety; `apart` is not.

    Parameters
    ----------
    shares : [N, n_styles], a row per piece that sums to 1

    Returns
    -------
    Styles

    >>> round(styles(np.eye(3)).used, 6)
    3.0
    """
    rows = validate_posteriors(shares)
    used, within = float(stats.entropy(rows.mean(axis=0))), float(np.mean(stats.entropy(rows, axis=1)))
    return Styles(math.exp(used), math.exp(within), math.exp(max(0.0, used - within)))


@dataclass(frozen=True)
class StyleCoverage:
    """All 1 for the reference itself.

    used: effective number of styles over the reference's, 0 or more. contrast: how much styles differ from piece to
    piece, over the same of the reference, 0 or more; 0 where one texture serves for everything. overlap: what the mean
    shares of both sets have in common, in [0, 1].
    """

    used: float
    contrast: float
    overlap: float


def style_coverage(reference: np.ndarray, estimated: np.ndarray) -> StyleCoverage:
    """Use of styles by the pieces of a system, relative to that of the true music. Own measures; see `styles`.

    `contrast` is `Styles.apart` less 1 on both sides. Both sets should have as many pieces.

    Parameters
    ----------
    reference : [N, n_styles], style shares of the true music
    estimated : [M, n_styles], style shares of the music in question

    Returns
    -------
    StyleCoverage; its contrast is NaN where the reference has one texture too

    >>> style_coverage(np.eye(3), np.eye(3)).overlap
    1.0
    """
    reference, estimated = validate_posteriors(reference), validate_posteriors(estimated)
    if reference.shape[1] != estimated.shape[1]:
        raise ValueError(f"both sides need the same styles, not {reference.shape[1]} and {estimated.shape[1]}")
    real, made = styles(reference), styles(estimated)
    contrast = (made.apart - 1) / (real.apart - 1) if real.apart - 1 > 1e-9 else math.nan
    overlap = float(np.minimum(reference.mean(axis=0), estimated.mean(axis=0)).sum())
    return StyleCoverage(made.used / real.used, contrast, overlap)


def evaluate(reference: np.ndarray, estimated: np.ndarray) -> dict[str, float]:
    """Style coverage of estimated shares [M, n_styles] by name, with the effective number of styles itself."""
    found = style_coverage(reference, estimated)
    return {
        "styles_used": styles(estimated).used,
        "style_coverage": found.used,
        "style_contrast": found.contrast,
        "style_overlap": found.overlap,
    }


def evaluate_seeds(embeddings: np.ndarray, centre: np.ndarray | None = None) -> dict[str, float]:
    """`dispersion` and `video_share` of embeddings [V, S, D] by name."""
    return vars(dispersion(embeddings, centre)) | {"video_share": video_share(embeddings)}
