"""Meaning against closed forms; what is the same for all clips must not look like understanding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from openvmas.eval.metrics.retrieval import (
    cosines,
    evaluate,
    evaluate_tags,
    ranks,
    tag_agreement,
)
from openvmas.model.alignment import ranks_of


def test_retrieval_by_hand() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.6], [0.1, 0.7, 0.3]])
    assert ranks(similarity).tolist() == [1, 3, 2]
    each = evaluate(similarity)
    assert each["retrieval_rank"].tolist() == [1, 3, 2] and each["own_similarity"].tolist() == [1, 0, 0.5]
    assert each["retrieval_r1"].tolist() == [1, 0, 0] and each["retrieval_r5"].tolist() == [1, 1, 1]


def test_what_says_the_same_of_all_is_chance() -> None:
    found = {name: float(np.mean(values)) for name, values in evaluate(np.ones((20, 20))).items()}
    assert found == pytest.approx(
        {"retrieval_r1": 0.05, "retrieval_r5": 0.25, "retrieval_rank": 10.5, "own_similarity": 0.5}
    )
    noise = evaluate(np.random.default_rng(0).normal(size=(400, 400)))
    assert noise["own_similarity"].mean() == pytest.approx(0.5, abs=0.05)
    assert noise["retrieval_r5"].mean() == pytest.approx(5 / 400, abs=0.02)


def test_ranks_are_those_of_training() -> None:
    similarity = np.random.default_rng(0).integers(0, 4, (30, 30)).astype(np.float64)  # full of ties
    assert ranks(similarity) == pytest.approx(1 + ranks_of(torch.from_numpy(similarity)).numpy())


def test_cosines_by_hand() -> None:
    x = np.array([[1.0, 0], [1, 1], [0, 0]])
    assert cosines(x, x)[0] == pytest.approx([1, np.sqrt(0.5), 0])


def test_tag_agreement_by_hand() -> None:
    reference = np.eye(3)
    found = tag_agreement(reference, reference)
    assert found.own.tolist() == [1, 1, 1] and found.correlation == pytest.approx(np.ones(3))
    turned = tag_agreement(reference, reference[[1, 2, 0]])
    # After centring, rows of the identity are (2, -1, -1) / 3: another's cosine is -1/2.
    assert turned.cosine == pytest.approx(np.zeros(3)) and turned.correlation == pytest.approx(np.full(3, -0.5))
    assert turned.own == pytest.approx(np.full(3, 0.25))  # below one other, level with the second
    assert evaluate_tags(reference, reference)["tags_own"].tolist() == [1, 1, 1]


def test_a_tone_of_its_own_does_not_hide_the_meaning_and_one_texture_has_none() -> None:
    rng = np.random.default_rng(0)
    reference = rng.dirichlet(np.ones(10), 40)
    toned = 0.5 * reference + 0.5 * np.eye(10)[3]
    assert (tag_agreement(reference, toned).own == 1).all()
    texture = tag_agreement(reference, np.full((40, 10), 0.1))
    assert texture.cosine.mean() > 0.5  # which looks like agreement
    assert texture.own == pytest.approx(np.full(40, 0.5)) and texture.correlation == pytest.approx(np.zeros(40))
    free = tag_agreement(reference, rng.dirichlet(np.ones(10), 40))
    assert free.own.mean() == pytest.approx(0.5, abs=0.1) and abs(free.correlation.mean()) < 0.15


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, N\]"):
        ranks(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="finite"):
        evaluate(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="three clips"):
        tag_agreement(np.eye(2), np.eye(2))
