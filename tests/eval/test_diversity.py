"""Diversity against closed forms, and why the effective number of styles alone is not enough."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from openvmas.eval.benchmark import set_measures
from openvmas.eval.benchmark.folder_measures import MeasuredFile, MeasuredFolder
from openvmas.eval.embedders.tags import MOODS, STYLES, tag_shares
from openvmas.eval.metrics.diversity import dispersion, evaluate_seeds, style_coverage, styles, video_share
from openvmas.eval.suites.cache import Sound


def test_spread_by_hand() -> None:
    pieces = np.zeros((3, 2, 3))
    pieces[:] = np.eye(3)[:, None]  # each video has a piece of its own, both seeds the same
    found = dispersion(pieces)
    assert (found.seeds_vendi, found.seeds_distance) == pytest.approx((1, 0))
    assert (found.videos_vendi, found.videos_distance) == pytest.approx((3, 1))
    turned = dispersion(pieces.transpose(1, 0, 2))
    assert (turned.seeds_vendi, turned.videos_vendi) == pytest.approx((3, 1))
    assert math.isnan(dispersion(pieces[:, :1]).seeds_vendi) and dispersion(
        pieces[:, :1]
    ).videos_vendi == pytest.approx(3)
    far = dispersion(pieces + 100, centre=np.full(3, 100.0))
    assert far.videos_vendi == pytest.approx(3) and dispersion(pieces + 100).videos_vendi < 1.01


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


CLASSES = ("Music", "Rock music", "Jazz", "Techno", "Sad music", "Happy music")


def folder_of(rows: np.ndarray, ending: str = ".wav") -> MeasuredFolder:
    """Files called 0, 1, ... of one patch whose class probabilities are those rows [N, 6] and whose embedding too."""
    with np.errstate(divide="ignore"):
        sounds = [Sound(row[None], np.maximum(np.log(row), -40)[None]) for row in rows]
    return MeasuredFolder(Path("x"), tuple(MeasuredFile(f"{i}{ending}", {}, s) for i, s in enumerate(sounds)), {})


def test_styles_of_folders() -> None:
    real = np.zeros((6, 6))
    real[np.arange(6), 1 + np.arange(6) % 3] = 1  # rock, jazz and techno, twice each
    same = set_measures.styles(folder_of(real), folder_of(real, ".scored.mp4"), CLASSES)
    assert [same[f"style_{name}"].value for name in ("coverage", "contrast", "overlap")] == pytest.approx([1, 1, 1])
    assert same["styles_used"].value == pytest.approx(3) and same["styles_used"].low <= 3 <= same["styles_used"].high
    one = np.zeros((6, 6))
    one[:, 1] = 1
    rock = set_measures.styles(folder_of(real), folder_of(one), CLASSES)
    assert rock["style_contrast"].value == pytest.approx(0) and rock["style_coverage"].value == pytest.approx(1 / 3)
    assert set_measures.styles(None, folder_of(one), CLASSES).keys() == {"styles_used"}
    assert set_measures.styles(folder_of(real), folder_of(one[:2]), CLASSES) == {}  # two clips say nothing
    assert set_measures.styles(folder_of(real), folder_of(one), ()) == {}  # classes are not known


def test_agreement_is_told_of_each_file_with_true_music() -> None:
    real = np.full((5, 6), 0.02)
    real[np.arange(5), 1 + np.arange(5)] = 0.9
    found = set_measures.agreement(folder_of(real), folder_of(real, ".scored.mp4"), CLASSES)
    assert [found[f"{i}.scored.mp4"]["tags_own"] for i in range(5)] == [1] * 5
    assert found["0.scored.mp4"]["tags_r"] == pytest.approx(1)
    turned = set_measures.agreement(folder_of(real), folder_of(np.roll(real, 1, axis=0)), CLASSES)
    assert len(turned) == 5 and all(of_file["tags_r"] < 0 for of_file in turned.values())
    silent = MeasuredFile("0.wav", {}, Sound(np.zeros((0, 6)), np.zeros((0, 6))))
    some = MeasuredFolder(Path("x"), (silent, *folder_of(real).files[1:], MeasuredFile("9.wav", {}, None)), {})
    assert sorted(set_measures.agreement(folder_of(real), some, CLASSES)) == [f"{i}.wav" for i in range(1, 5)]


def test_seeds_of_folders() -> None:
    def sound(row: np.ndarray) -> Sound:
        return Sound(np.stack([row - 0.1, row + 0.1]), np.zeros((2, 0)))  # the mean of its patches is the row

    pieces = np.eye(4)
    known = [[sound(piece)] * 3 for piece in pieces]  # every video has a piece of its own, whatever the seed
    found = set_measures.of_seeds(None, known)
    assert {name: item.value for name, item in found.items()} == pytest.approx({
        "seeds_vendi": 1, "seeds_distance": 0, "videos_vendi": 4, "videos_distance": 1, "video_share": 1,
    })  # fmt: skip
    blind = set_measures.of_seeds(
        None, [[sound(piece) for piece in pieces]] * 4
    )  # every seed has a piece, whatever the video
    assert blind["seeds_vendi"].value == pytest.approx(4) and blind["videos_vendi"].value == pytest.approx(1)
    assert blind["video_share"].value == pytest.approx(-1 / 3) and blind["seeds_vendi"].low == pytest.approx(4)
    far = [[sound(piece + 100)] * 3 for piece in pieces]
    assert set_measures.of_seeds(None, far)["videos_vendi"].value < 1.01
    centred = set_measures.of_seeds(folder_of(np.full((2, 4), 100.0)), far)["videos_vendi"].value
    assert centred == pytest.approx(4)
    silent = Sound(np.zeros((0, 4)), np.zeros((0, 0)))
    assert set_measures.of_seeds(None, [[sound(pieces[0])] * 2, [sound(pieces[1]), silent]]).keys() == {
        "seeds_vendi", "seeds_distance",
    }  # fmt: skip
    assert set_measures.of_seeds(None, [[sound(pieces[0])]] * 3) == {} == set_measures.of_seeds(None, [])
