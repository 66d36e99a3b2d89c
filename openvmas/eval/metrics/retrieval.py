"""Cross-modal retrieval by any similarity of picture and music, and agreement of tags of true and generated music.

Similarities are [N, N]: row i is picture i, column j the music of picture j, so the diagonal belongs together; they
come from any function of a picture and a piece: `openvmas.similarity(video, music).combined`, or the cosine of two
embeddings of ImageBind or CLAP. Tag shares are [N, n_tags], a row per clip (`eval.embedders.tags.tag_shares`).
Reference first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openvmas.eval.metrics.distances import unit_rows, validate_posteriors


def validate(similarity: np.ndarray) -> np.ndarray:
    """Similarities [N, N] as float64. Raises ValueError for other shapes, N below 2 and values not finite."""
    similarity = np.asarray(similarity, dtype=np.float64)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or len(similarity) < 2:
        raise ValueError(f"similarities are [N, N] of at least two pairs, not {similarity.shape}")
    if not np.isfinite(similarity).all():
        raise ValueError("similarities must be finite")
    return similarity


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
    x, y = (unit_rows(np.asarray(rows, dtype=np.float64)) for rows in (reference, estimated))
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
    """The measures of similarities [N, N] by name, one value per picture: [N] each.

    retrieval_r1, retrieval_r5: whether the own music is the first, among the first five; their means are R@1 and R@5
    (Surís et al. 2022), by chance 1 / N and 5 / N. Ties count as drawn at random: a share of them lies among the first.
    retrieval_rank: from 1 to N, by chance (N + 1) / 2. own_similarity: share of the other pieces that fit less than the
    own one, ties half, in [0, 1]; by chance 0.5, whatever N is.
    """
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
