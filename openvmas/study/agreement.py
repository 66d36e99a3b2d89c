"""How far listeners agree: Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability")."""

from __future__ import annotations

import math

import numpy as np


def krippendorff_alpha(units: np.ndarray, values: np.ndarray, kind: str) -> float:
    """1: everybody says the same, 0: as by chance, below: they disagree more than that; NaN where nobody can differ.

    units [N]: what was judged; values [N]: the judgement, numbers in their order. kind: "nominal", where values are
    alike or not, or "ordinal", where ranks count. Each unit counts by its pairs of judgements; single ones do not.
    """
    if kind not in ("nominal", "ordinal"):
        raise ValueError(f"there is no alpha of kind {kind}; use nominal or ordinal")
    _, rows = np.unique(units, return_inverse=True)
    levels, columns = np.unique(values, return_inverse=True)
    counts = np.zeros((rows.max(initial=-1) + 1, len(levels)))
    np.add.at(counts, (rows, columns), 1)
    counts = counts[counts.sum(axis=1) > 1]
    per_unit = counts.sum(axis=1)
    coincidence = (counts / (per_unit - 1)[:, None]).T @ counts
    coincidence -= np.diag((counts / (per_unit - 1)[:, None]).sum(axis=0))
    totals = coincidence.sum(axis=1)
    distance = 1 - np.eye(len(levels))
    if kind == "ordinal":
        middle = np.cumsum(totals) - totals / 2
        distance = (middle[:, None] - middle[None]) ** 2
    expected = float(totals @ distance @ totals)
    if expected == 0:
        return math.nan
    return 1 - (float(totals.sum()) - 1) * float((coincidence * distance).sum()) / expected
