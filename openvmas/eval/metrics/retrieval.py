"""Cross-modal retrieval by any similarity of picture and music, and agreement of tags of true and generated music.

Similarities are [N, N]: row i is picture i, column j the music of picture j, so the diagonal belongs together; they
come from any function of a picture and a piece: `openvmas.similarity(video, music).combined`, or the cosine of two
embeddings of ImageBind or CLAP. Tag shares are [N, n_tags], a row per clip (`eval.embedders.tags.tag_shares`).
Reference first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from openvmas.eval.metrics.distances import validate_posteriors

P = TypeVar("P")
M = TypeVar("M")


def validate(similarity: np.ndarray) -> np.ndarray:
    """Similarities [N, N] as float64. Raises ValueError for other shapes, N below 2 and values not finite."""
    similarity = np.asarray(similarity, dtype=np.float64)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or len(similarity) < 2:
        raise ValueError(f"similarities are [N, N] of at least two pairs, not {similarity.shape}")
    if not np.isfinite(similarity).all():
        raise ValueError("similarities must be finite")
    return similarity


def similarities(pictures: Sequence[P], music: Sequence[M], similarity: Callable[[P, M], float]) -> np.ndarray:
    """Similarity of every picture with every piece.

    Parameters
    ----------
    pictures : N pictures of any type
    music : M pieces of any type
    similarity : function of a picture and a piece; it is called N M times, so open models before

    Returns
    -------
    [N, M]

    >>> similarities([1, 2], [3, 5], lambda picture, piece: picture * piece)
    array([[ 3.,  5.],
           [ 6., 10.]])
    """
    return np.array([[similarity(picture, piece) for piece in music] for picture in pictures], dtype=np.float64)


def cosines(reference: np.ndarray, estimated: np.ndarray) -> np.ndarray:
    """Cosines of all rows of two sets.

    Parameters
    ----------
    reference : [N, D]
    estimated : [M, D]

    Returns
    -------
    [N, M], in [-1, 1]; 0 for rows of zeros

    >>> cosines(np.eye(2), np.array([[2.0, 0.0]]))
    array([[1.],
           [0.]])
    """
    x, y = (np.asarray(rows, dtype=np.float64) for rows in (reference, estimated))
    x, y = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (x, y))
    return x @ y.T


def ranks(similarity: np.ndarray) -> np.ndarray:
    """Rank of each picture's own music among all; ties get the middle of their ranks.

    So a similarity that is the same for everything has the median rank of chance, not the best.

    Parameters
    ----------
    similarity : [N, N], row i is picture i, column j the music of picture j

    Returns
    -------
    [N] ranks from 1 (best) to N

    >>> ranks(np.array([[2.0, 1.0], [3.0, 0.0]]))
    array([1., 2.])
    """
    above, equal = _places(validate(similarity))
    return 1 + above + equal / 2


def _places(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of others in each row of [N, N] that are above the own one, and that are as high: [N] each."""
    own = similarity.diagonal()[:, None]
    return (similarity > own).sum(axis=1), (similarity == own).sum(axis=1) - 1


@dataclass(frozen=True)
class Retrieval:
    """r1, r5: share of pictures whose own music is the first, among the first five, in [0, 1]; by chance 1 / N, 5 / N.

    median_rank: from 1 to N, by chance (N + 1) / 2. own: mean share of the other pieces that fit less than the own
    one, ties half, in [0, 1]; by chance 0.5, whatever N is.
    """

    r1: float
    r5: float
    median_rank: float
    own: float
    chance_r1: float
    chance_r5: float
    chance_rank: float


def retrieval(similarity: np.ndarray) -> Retrieval:
    """R@k and median rank of the own music among all, as video-music retrieval reports them (Surís et al. 2022).

    Ties count as drawn at random: a share of them lies among the first k.

    Parameters
    ----------
    similarity : [N, N], row i is picture i, column j its music; transposed for pictures found by music

    Returns
    -------
    Retrieval, with the values of chance

    >>> retrieval(np.eye(4)).r1
    1.0
    """
    found, n = evaluate(similarity), len(similarity)
    r1, r5, own = (float(np.mean(found[name])) for name in ("retrieval_r1", "retrieval_r5", "own_similarity"))
    return Retrieval(r1, r5, float(np.median(found["retrieval_rank"])), own, 1 / n, min(1.0, 5 / n), (n + 1) / 2)


@dataclass(frozen=True)
class TagAgreement:
    """One value per clip: [N] each, so that intervals and tests can be taken over clips.

    cosine: of the shares, in [0, 1], high by chance because all music shares tags; correlation: cosine after the mean
    over clips of each side is taken away, in [-1, 1], 0 by chance. own: share of the true music of other clips that
    the generated music is less like than that of its own clip, ties half, in [0, 1]; by chance 0.5.
    """

    cosine: np.ndarray
    correlation: np.ndarray
    own: np.ndarray


def tag_agreement(reference: np.ndarray, estimated: np.ndarray) -> TagAgreement:
    """Agreement of the styles and moods of true and generated music.

    What all clips of a side have in common is taken away, so neither a system's own tone nor one safe texture for all
    helps. Own measure.

    Parameters
    ----------
    reference, estimated : [N, n_tags] each, tag shares of the same clips in the same order, N at least 3

    Returns
    -------
    TagAgreement

    Raises ValueError for unlike shapes and fewer than three clips.

    >>> tag_agreement(np.eye(3), np.eye(3)).own
    array([1., 1., 1.])
    """
    reference, estimated = validate_posteriors(reference), validate_posteriors(estimated)
    if reference.shape != estimated.shape or len(reference) < 3:
        raise ValueError(f"shares [N, n_tags] of three clips or more are needed, not {reference.shape}")
    x, y = (rows - rows.mean(axis=0) for rows in (reference, estimated))
    # What rounding leaves of one texture for all is nothing.
    x, y = (np.where(np.abs(rows).max(axis=1, keepdims=True) < 1e-9, 0, rows) for rows in (x, y))
    alike = cosines(y, x)
    own = (len(alike) - ranks(alike)) / (len(alike) - 1)
    return TagAgreement(cosines(reference, estimated).diagonal(), alike.diagonal(), own)


def evaluate(similarity: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of similarities [N, N] by name: [N] each, one value per picture (see `Retrieval`)."""
    above, equal = _places(validate(similarity))
    n, place = len(similarity), 1 + above + equal / 2

    def found(k: int) -> np.ndarray:
        return np.clip((k - above) / (equal + 1), 0, 1)

    return {
        "own_similarity": (n - place) / (n - 1),
        "retrieval_r1": found(1),
        "retrieval_r5": found(5),
        "retrieval_rank": place,
    }


def evaluate_tags(reference: np.ndarray, estimated: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of tag shares [N, n_tags] of true and generated music by name: [N] each."""
    found = tag_agreement(reference, estimated)
    return {"tags_cosine": found.cosine, "tags_r": found.correlation, "tags_own": found.own}
