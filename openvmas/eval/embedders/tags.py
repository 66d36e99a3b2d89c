"""Classes of the embedders that name a style or a mood (`tags.toml`), and the shares of a piece in them.

YAMNet's are the genres and moods of the AudioSet ontology (Gemmeke et al. 2017), musicnn's are last.fm tags of the
Million Song Dataset (Bertin-Mahieux et al. 2011). musicnn has no tag for classical,
film or game music; YAMNet has.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openvmas.eval.metrics.distances import posteriors

_GROUPS = tomllib.loads(Path(__file__).with_name("tags.toml").read_text(encoding="utf-8"))
STYLES, MOODS = frozenset(_GROUPS["styles"]), frozenset(_GROUPS["moods"])


def tag_shares(logits: np.ndarray, classes: Sequence[str], group: frozenset[str] = STYLES) -> np.ndarray | None:
    """Shares of a piece in the classes of a group: mean over its patches, [n_tags], 0 or more, sums to 1.

    logits: [P, n_classes] of one piece, P at least 1; classes: their names, as an `Embedder` has them. The softmax is
    over the group alone, so "music" and "speech" do not count. None where fewer than two classes are of the group.
    Raises ValueError for logits of another shape.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != len(classes) or len(logits) == 0:
        raise ValueError(f"logits are [P, {len(classes)}] with at least one row, not {logits.shape}")
    of_group = [i for i, name in enumerate(classes) if name in group]
    return posteriors(logits[:, of_group]).mean(axis=0) if len(of_group) > 1 else None
