"""Diversity against closed forms, and why the effective number of styles alone is not enough."""

from __future__ import annotations

import math

import numpy as np
import pytest

from openvmas.eval.diversity import evaluate_seeds, spread, style_coverage, styles, video_share
from openvmas.eval.tags import MOODS, STYLES, tag_shares


def test_spread_by_hand() -> None:
    pieces = np.zeros((3, 2, 3))
    pieces[:] = np.eye(3)[:, None]  # each video has a piece of its own, both seeds the same
    found = spread(pieces)
    assert (found.seeds_vendi, found.seeds_distance) == pytest.approx((1, 0))
    assert (found.videos_vendi, found.videos_distance) == pytest.approx((3, 1))
    turned = spread(pieces.transpose(1, 0, 2))
    assert (turned.seeds_vendi, turned.videos_vendi) == pytest.approx((3, 1))
    assert math.isnan(spread(pieces[:, :1]).seeds_vendi) and spread(pieces[:, :1]).videos_vendi == pytest.approx(3)
    far = spread(pieces + 100, centre=np.full(3, 100.0))
    assert far.videos_vendi == pytest.approx(3) and spread(pieces + 100).videos_vendi < 1.01


def test_video_share_by_hand() -> None:
    rng = np.random.default_rng(0)
    video, seed = rng.normal(size=(400, 1, 8)), rng.normal(size=(400, 5, 8))
    assert video_share(video + np.zeros((1, 5, 1))) == pytest.approx(1)
    assert video_share(video + seed) == pytest.approx(0.5, abs=0.03)  # as much variance of either kind
    assert video_share(seed) == pytest.approx(0, abs=0.02)
    opposite = np.array([[[1.0], [-1.0]], [[-1.0], [1.0]]])  # the means are equal: the least there is
    assert video_share(opposite) == pytest.approx(-1)
    assert math.isnan(video_share(np.ones((4, 3, 2)))) and math.isnan(video_share(seed[:, :1]))
    assert evaluate_seeds(seed).keys() == {
        "seeds_vendi",
        "seeds_distance",
        "videos_vendi",
        "videos_distance",
        "video_share",
    }
    with pytest.raises(ValueError, match=r"\[V, S, D\]"):
        video_share(np.zeros((3, 2)))


def test_effective_numbers_of_styles_by_hand() -> None:
    assert vars(styles(np.eye(4))) == pytest.approx({"used": 4, "within": 1, "apart": 4})
    assert vars(styles(np.full((7, 4), 0.25))) == pytest.approx({"used": 4, "within": 4, "apart": 1})
    assert vars(styles(np.repeat(np.eye(4)[:1], 5, axis=0))) == pytest.approx({"used": 1, "within": 1, "apart": 1})
    halves = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    assert vars(styles(halves)) == pytest.approx({"used": 4, "within": 2, "apart": 2})


def test_a_vague_texture_wins_the_number_of_styles_and_not_their_contrast() -> None:
    sure = 0.1 / 4 + 0.9 * np.eye(4)
    vague, one = style_coverage(sure, np.full((4, 4), 0.25)), style_coverage(sure, sure[[0, 0, 0, 0]])
    assert vague.used == pytest.approx(1) and vague.overlap == pytest.approx(1) and vague.contrast == pytest.approx(0)
    assert one.used < 0.5 and one.contrast == pytest.approx(0) and one.overlap == pytest.approx(0.25 + 3 * 0.025)
    assert math.isnan(style_coverage(sure[[0, 0]], sure).contrast)
    with pytest.raises(ValueError, match="same styles"):
        style_coverage(np.eye(4), np.eye(3))


def test_tag_shares_are_of_their_group_alone() -> None:
    classes = ("Music", "Rock music", "Speech", "Jazz", "Sad music")
    logits = np.log(np.array([[9.0, 3, 9, 1, 9], [1.0, 1, 1, 3, 1]]))
    assert tag_shares(logits, classes) == pytest.approx([0.5, 0.5])
    assert tag_shares(logits[:1], classes) == pytest.approx([0.75, 0.25])
    assert tag_shares(logits, classes, MOODS) is None  # one mood is no choice
    assert not STYLES & MOODS
    with pytest.raises(ValueError, match=r"\[P, 5\]"):
        tag_shares(logits[:, :3], classes)
