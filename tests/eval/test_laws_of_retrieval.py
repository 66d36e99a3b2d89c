"""The laws of `test_laws` for what the learned comparison says and for diversity between seeds and videos.

The comparison is the one that ships. Its pictures here differ in nothing but their cuts, so it is timing that is
tested; that it hears little of meaning is measured elsewhere (docs/results.md) and no law.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from openvmas.condition import Picture
from openvmas.eval.benchmark.folder_measures import MeasuredFile, MeasuredFolder
from openvmas.eval.benchmark.set_measures import of_seeds
from openvmas.eval.embedders.cross_modal_similarity import LearnedSimilarity
from openvmas.eval.suites.cache import Cache, Sound
from openvmas.generate.similarity import Vectors
from openvmas.media.audio import Audio
from openvmas.vision.stated_axes import state_pictures
from tests.eval.test_laws import RATE, STYLES, Damage, Measured, check_law, delay, music_at, song, texture

pytestmark = pytest.mark.slow

N_PICTURES, N_STEPS = 12, 600  # of 12 s each; of eight, any five are soon among the first five


@functools.cache
def judge() -> LearnedSimilarity:
    """The learned comparison that ships."""
    return LearnedSimilarity(Cache())


def cuts_of(number: int) -> np.ndarray:
    cuts = np.cumsum(np.random.default_rng(number).uniform(0.8, 2.4, 14))
    return cuts[cuts < 11.5]


@functools.cache
def pictures() -> list[Vectors]:
    """What the judge sees in pictures that differ in their cuts alone."""
    found = []
    for number in range(N_PICTURES):
        curves = np.zeros((N_STEPS, 4), np.float32)
        curves[:, 1:] = 0.3
        curves[np.rint(cuts_of(number) * 50).astype(int), 0] = 1
        black = np.zeros((24, 1280), np.float16), np.zeros((24, 4)), np.zeros((24, 1000))
        picture = Picture(black[0], np.arange(24) / 2, curves, state_pictures(*black))
        found.append(judge().aligner.embed_picture(picture, N_STEPS))
    return found


@functools.cache
def pieces(late: float = 0.0) -> list[Vectors]:
    """What the judge hears in music for each of the pictures, so many seconds late."""
    waves = [delay(music_at(cuts_of(number))[: 12 * RATE], late) for number in range(N_PICTURES)]
    aligner = judge().aligner
    return [aligner.embed_music(aligner.encode(Audio(wave[None], RATE))[:, :N_STEPS]) for wave in waves]


def judged(written: list[Vectors]) -> Measured:
    pairs = {str(i): pair for i, pair in enumerate(zip(pictures(), written, strict=True))}
    found = list(judge().measure(pairs).values())
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def swapped_video(share: float) -> Measured:
    """A share of the pieces goes to the next picture."""
    n = round(share * N_PICTURES)
    return judged([pieces()[i] for i in (*np.roll(np.arange(n), 1), *range(n, N_PICTURES))])


def heard_as(embeddings: np.ndarray) -> Sound:
    return Sound(embeddings, np.zeros((len(embeddings), 0)))


@functools.cache
def true_music() -> MeasuredFolder:
    """What is true of the four styles, for the centre."""
    files = (MeasuredFile(f"{style}.wav", {}, heard_as(texture(song(style, 99)))) for style in STYLES)
    return MeasuredFolder(Path("true"), tuple(files), {})


def copied_seeds(share: float) -> Measured:
    """Of three seeds of each of four videos so many are copies of the first."""
    n = round(3 * share)
    takes = [[heard_as(texture(song(style, seed if seed >= n else 0))) for seed in range(3)] for style in STYLES]
    return {name: item.value for name, item in of_seeds(true_music(), takes).items()}


def copied_videos(share: float) -> Measured:
    """Music of the first video for a share of the others, another seed each time."""
    n = round(share * len(STYLES))
    styles = [STYLES[0]] * n + list(STYLES[n:])
    takes = [[heard_as(texture(song(style, 3 * i + seed))) for seed in range(3)] for i, style in enumerate(styles)]
    return {name: item.value for name, item in of_seeds(true_music(), takes).items()}


DAMAGES: dict[str, Damage] = {
    "swapped video": Damage(
        swapped_video,
        (0, 0.5, 1.0),
        {
            "similarity": -1,
            "similarity_timing": -1,
            "own_similarity": -1,
            "retrieval_r1": -1,
            "retrieval_r5": -1,
            "retrieval_rank": +1,
        },
    ),
    "copied seeds": Damage(copied_seeds, (0, 2 / 3, 1.0), {"seeds_vendi": -1, "seeds_distance": -1, "video_share": +1}),
    "copied videos": Damage(
        copied_videos, (0, 0.75, 1.0), {"videos_vendi": -1, "videos_distance": -1, "video_share": -1}
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_moves_the_metric_the_right_way(name: str) -> None:
    check_law(DAMAGES[name])


def test_music_that_is_late_fits_less() -> None:
    there = judged(pieces())
    for seconds in (0.15, 1.0):  # how much less than less is chance
        late = judged(pieces(seconds))
        assert late["similarity"] < 0.5 * there["similarity"] and late["own_similarity"] < there["own_similarity"], late


def test_swapped_pairs_are_found_at_chance_and_own_ones_above() -> None:
    own, swapped = judged(pieces()), swapped_video(1.0)
    assert own["own_similarity"] > 0.7 > swapped["own_similarity"] and swapped["own_similarity"] < 0.6


def test_one_texture_for_all_is_told_from_variety() -> None:
    varied, same = copied_videos(0.0), copied_videos(1.0)
    assert varied["video_share"] > 0.5 > same["video_share"]
    still = copied_seeds(1.0)
    assert still["seeds_vendi"] == pytest.approx(1) and still["seeds_distance"] == pytest.approx(0, abs=1e-9)
    assert still["video_share"] == pytest.approx(1)
