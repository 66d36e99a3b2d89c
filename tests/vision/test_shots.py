"""Cuts, flashes and dissolves of the synthetic clip, each within one source frame and nothing else."""

from fractions import Fraction
from functools import lru_cache

import av
import numpy as np
import pytest

from openvmas.vision.motion import mismatch, structure
from openvmas.vision.shots import (
    FRAME_SIZE,
    ShotChanges,
    ShotFinder,
    Transition,
    colour_distance,
    is_cut,
    join_transitions,
)
from tests.vision.synthetic import Film, Scene, standard_scenes

pytestmark = pytest.mark.slow


def shrink(frames: np.ndarray) -> np.ndarray:
    """[F, h, w, 3] to the small frames that the finder takes."""
    small = [av.VideoFrame.from_ndarray(f, format="rgb24").reformat(*FRAME_SIZE, interpolation="AREA") for f in frames]
    return np.stack([f.to_ndarray() for f in small])


def watch(film: Film) -> ShotChanges:
    return push_all(film.times(), shrink(film.array()), 32)


def push_all(times: np.ndarray, frames: np.ndarray, chunk: int) -> ShotChanges:
    finder = ShotFinder()
    for start in range(0, len(times), chunk):
        finder.push(times[start : start + chunk], frames[start : start + chunk])
    return finder.finish()


@lru_cache
def standard(fps: Fraction) -> tuple[Film, ShotChanges]:
    film = Film(standard_scenes(), fps)
    return film, watch(film)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(24000, 1001), Fraction(15), Fraction(60)])
def test_every_cut_and_flash_within_a_frame_and_nothing_else(fps):
    film, found = standard(fps)
    tolerance = 1.01 / float(fps)
    hard = [t.time for t in found.transitions if not t.is_gradual]
    assert len(hard) == len(film.truth.cuts)
    np.testing.assert_allclose(hard, film.truth.cuts, atol=tolerance)
    assert len(found.flash_times) == len(film.truth.flashes)
    np.testing.assert_allclose(found.flash_times, film.truth.flashes, atol=tolerance)
    gradual = [t for t in found.transitions if t.is_gradual]
    assert len(gradual) == len(film.truth.dissolves) == 1
    start, end = film.truth.dissolves[0]
    assert start < gradual[0].time < end


def test_answer_does_not_depend_on_chunks():
    film = Film(standard_scenes()[4:8], 25)
    frames = shrink(film.array())
    few, many = push_all(film.times(), frames, 7), push_all(film.times(), frames, 500)
    assert few.transitions == many.transitions
    np.testing.assert_array_equal(few.flash_times, many.flash_times)


@pytest.mark.parametrize(
    "scene",
    [
        Scene(21, 4.0, pan=(0.8, 0.2)),
        Scene(22, 4.0, zoom=0.6),
        Scene(23, 4.0, shake=0.01, noise=8),
        Scene(24, 4.0, drift=-0.2, noise=6),
        Scene(25, 4.0, thing=1.5, pan=(0.2, 0)),
        Scene(26, 4.0, gain=0.12, noise=4),
        Scene(27, 4.0, is_flat=True, noise=5),
    ],
    ids=["pan", "zoom", "shake", "exposure", "thing", "dark and noisy", "flat"],
)
def test_one_shot_has_no_change(scene):
    found = watch(Film([scene], 25))
    assert found.transitions == ()
    assert len(found.flash_times) == 0


def planet(seconds: float, to: float, growth: float, radius: float) -> np.ndarray:
    """[F, 48, 80, 3] at 25 fps: a bright disc comes into a dark picture and grows, resting a second at both ends."""
    y, x = np.mgrid[: FRAME_SIZE[1], : FRAME_SIZE[0]]
    frames = []
    for share in np.clip((np.arange(round(seconds * 25)) / 25 - 1) / (seconds - 2), 0, 1):
        across, down, size = x + 10 - to * share, y - 30, radius * (1 + growth * share)
        surface = 180 + 30 * np.sin(6 * across / size) * np.sin(5 * down / size + 1)
        frames.append(np.where(across**2 + down**2 < size**2, surface, 12))
    return np.repeat(np.stack(frames).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize(("seconds", "to", "growth", "radius"), [(4, 70, 1.5, 18), (5, 30, 3, 18), (3, 70, 3, 12)])
def test_something_that_comes_and_grows_is_no_dissolve(seconds, to, growth, radius):
    frames = planet(seconds, to, growth, radius)
    assert push_all(np.arange(len(frames)) / 25, frames, 32).transitions == ()


def test_cut_from_black_and_between_flat_colours():
    film = Film([Scene(31, 1.0, gain=0.0, noise=0.5), Scene(32, 1.0), Scene(33, 1.0, is_flat=True), Scene(35, 1.0)], 25)
    found = watch(film)
    np.testing.assert_allclose([t.time for t in found.transitions], film.truth.cuts, atol=0.041)


def test_fast_cutting():
    film = Film([Scene(40 + i, 0.24) for i in range(12)], 25)
    found = watch(film)
    np.testing.assert_allclose([t.time for t in found.transitions], film.truth.cuts, atol=0.041)


def test_memory_stays_bounded():
    film = Film([Scene(50, 2.0, pan=(0.2, 0))], 25)
    frames = shrink(film.array())
    finder, longest = ShotFinder(), 0
    for minute in range(40):
        finder.push(film.times() + 2.0 * minute, frames)
        longest = max(longest, len(finder._frames))
    assert longest < 12 * 25


def test_empty_and_single_frame():
    assert ShotFinder().finish().transitions == ()
    finder = ShotFinder()
    finder.push(np.array([0.0]), np.zeros((1, 48, 80, 3), np.uint8))
    assert finder.finish().transitions == ()


def test_wrong_size_is_refused():
    with pytest.raises(ValueError, match="80 x 48"):
        ShotFinder().push(np.array([0.0]), np.zeros((1, 36, 64, 3), np.uint8))


def test_mismatch_ignores_light_and_sees_content():
    film = Film([Scene(60, 0.2), Scene(61, 0.2)], 25)
    frames = shrink(film.array())
    darker = (frames[:1] * 0.5).astype(np.uint8)
    assert mismatch(structure(frames[:1]), structure(darker))[0] < 0.3
    assert mismatch(structure(frames[:1]), structure(frames[6:7]))[0] > 0.7


def test_colour_distance_is_a_distance():
    red, blue = np.full((48, 80, 3), (200, 10, 10), np.uint8), np.full((48, 80, 3), (10, 10, 200), np.uint8)
    assert colour_distance(red, red) == 0
    assert colour_distance(red, blue) == pytest.approx(1.0, abs=1e-6)


def test_is_cut_needs_more_than_fast_motion():
    assert is_cut(0.9, 0.1, 30, 5, 0.4)
    assert not is_cut(0.7, 0.6, 30, 2, 0.2)
    assert is_cut(0.93, 0.9, 48, 2, 0.4)


def test_fade_out_and_in_are_one_and_ends_are_none():
    fades = [
        Transition(0.3, 0.0, 0.6, 0.4, is_from_flat=True),
        Transition(5.0, 4.5, 5.5, 0.4, is_to_flat=True),
        Transition(6.2, 5.8, 6.6, 0.5, is_from_flat=True),
        Transition(9.6, 9.2, 10.0, 0.4, is_to_flat=True),
    ]
    joined = join_transitions([], fades, 10.0)
    assert [(t.start, t.time, t.end) for t in joined] == [(4.5, 5.65, 6.6)]
