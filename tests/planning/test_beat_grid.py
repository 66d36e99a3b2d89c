"""The tempo map and the search for it, on events whose grid is known, and against chance where there is none."""

from __future__ import annotations

import itertools
import time as clock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.errors import PlanError
from openvmas.planning.beat_grid import (
    MAX_DRIFT,
    TOLERANCE,
    Grid,
    TempoConstraints,
    TempoMark,
    check_tempo,
    distance_to,
    fit_grid,
    lay_grid,
    lay_span,
    measure_fit,
)


def events_on(tempo: float, phase: float, duration: float, n: int, jitter: float = 0.008, seed: int = 0) -> np.ndarray:
    """n times on beats of a steady grid, each off by about `jitter` s."""
    rng = np.random.default_rng(seed)
    beats = np.arange(phase, duration, 60 / tempo)
    chosen = rng.choice(beats, min(n, len(beats)), replace=False) + rng.normal(0, jitter, min(n, len(beats)))
    return np.sort(np.clip(chosen, 0, duration - 0.01))


def fit(times: np.ndarray, duration: float, wish: TempoConstraints | None = None) -> tuple[list[TempoMark], int, Grid]:
    marks, metre = fit_grid(times, np.full(len(times), 0.7), duration, wish or TempoConstraints())
    return marks, metre, lay_grid(marks, metre, -5, duration + 5)


def test_beats_of_a_steady_map() -> None:
    grid = lay_grid([TempoMark(1.0, 120, 3)], 4, 0, 3)
    np.testing.assert_allclose(grid.beats, [0, 0.5, 1, 1.5, 2, 2.5, 3])
    np.testing.assert_allclose(grid.downbeats, [0, 2])


def test_a_mark_is_a_beat_and_an_earlier_one_gives_way() -> None:
    grid = lay_grid([TempoMark(0.0, 60), TempoMark(3.2, 120, 1)], 4, 0, 5)
    np.testing.assert_allclose(grid.beats, [0, 1, 2, 3.2, 3.7, 4.2, 4.7])
    np.testing.assert_allclose(grid.downbeats, [0, 3.2])
    # A mark on the grid's own beat changes nothing but the tempo.
    np.testing.assert_allclose(lay_grid([TempoMark(0, 60), TempoMark(3, 120, 4)], 4, 0, 4).beats, [0, 1, 2, 3, 3.5, 4])


def test_no_marks_no_beats() -> None:
    assert len(lay_grid([], 4, 0, 10).beats) == len(lay_grid([], 4, 0, 10).downbeats) == 0


@settings(deadline=None)
@given(
    st.lists(st.floats(1, 15), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(40, 220), st.integers(1, 2)), min_size=6, max_size=6),
    st.integers(2, 7),
)
def test_any_map_gives_increasing_beats_without_holes(gaps: list, rest: list, metre: int) -> None:
    marks = [TempoMark(t, f, b) for t, (f, b) in zip(itertools.accumulate(gaps), rest, strict=False)]
    grid = lay_grid(marks, metre, 0, 60)
    between = np.diff(grid.beats)
    assert (between > 0).all()
    assert between.max(initial=0) <= 1.5 * 60 / min(mark.tempo for mark in marks) + 1e-6
    assert np.isin(grid.downbeats, grid.beats).all()
    assert all(np.abs(grid.beats - mark.time).min() < 1e-6 for mark in marks if mark.time <= 60)


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), max_size=8), st.lists(st.floats(-5, 5), max_size=8))
def test_distance_to_the_nearest_mark(times: list[float], marks: list[float]) -> None:
    marks = sorted(marks)
    found = distance_to(np.array(times), np.array(marks))
    expected = [min((m - t for m in marks), key=abs, default=np.inf) for t in times]
    np.testing.assert_allclose(np.abs(found), np.abs(expected))


def test_fit_and_its_chance_are_what_they_say() -> None:
    grid = lay_grid([TempoMark(0, 120)], 4, -5, 65)
    measured = measure_fit(np.array([1.0, 1.25, 2.04, 2.56]), np.array([1.0, 0.5, 0.25, 0.25]), grid, 60)
    assert measured.on_beat == pytest.approx(1.25 / 2)
    assert measured.on_eighth == pytest.approx(1.75 / 2)
    assert measured.on_downbeat == pytest.approx(0.25 / 2)
    assert measured.on_beat_chance == pytest.approx(2 * TOLERANCE / 0.5, rel=0.01)
    assert measured.on_downbeat_chance == pytest.approx(2 * TOLERANCE / 2, rel=0.05)


@pytest.mark.parametrize("tempo", [76.0, 91.3, 104.0, 119.59, 132.7, 146.0])
@pytest.mark.parametrize("duration", [15, 40, 120])
def test_a_steady_grid_is_found(tempo: float, duration: float) -> None:
    times = events_on(tempo, 0.37, duration, max(6, duration // 2))
    marks, metre, grid = fit(times, duration, TempoConstraints(prior=tempo * 1.08, beats_per_bar=4))
    assert metre == 4
    assert all(mark.tempo == pytest.approx(tempo, rel=0.01) for mark in marks)
    assert np.abs(distance_to(times, grid.beats)).mean() < 0.02


def test_a_steady_grid_needs_one_mark() -> None:
    marks, _, _ = fit(events_on(104, 0.2, 120, 60, 0.004), 120, TempoConstraints(borders=(20.0, 45.0, 80.0)))
    assert len(marks) == 1


def test_downbeats_fall_on_the_strongest() -> None:
    beats = np.arange(0.6, 40, 60 / 100)
    strengths = np.where(np.arange(len(beats)) % 4 == 2, 1.0, 0.3)
    marks, metre = fit_grid(beats, strengths, 40, TempoConstraints(beats_per_bar=4))
    grid = lay_grid(marks, metre, 0, 40)
    assert np.abs(distance_to(beats[strengths == 1], grid.downbeats)).max() < 0.03


def test_three_in_a_bar_is_heard_where_it_is_clear() -> None:
    bars = np.arange(0.3, 50, 1.8)
    marks, metre = fit_grid(
        np.sort(np.concatenate([bars, bars + 0.6, bars + 1.2]))[:80],
        np.array([1.0, 0.3, 0.3] * 40)[:80],
        50,
        TempoConstraints(prior=100, lowest=90, highest=110),
    )
    assert metre == 3
    assert marks[0].tempo == pytest.approx(100, rel=0.005)


def test_a_change_of_tempo_at_a_border_is_followed_when_it_pays() -> None:
    first, second = np.arange(0.2, 30, 60 / 100), np.arange(30.2, 60, 60 / 104)
    times = np.concatenate([first, second])
    marks, _, grid = fit(times, 60, TempoConstraints(borders=(30.0,), beats_per_bar=4))
    assert len(marks) == 2
    assert [mark.tempo for mark in marks] == pytest.approx([100, 104], rel=0.004)
    assert marks[1].time == pytest.approx(30.2, abs=0.7)
    assert (np.abs(distance_to(times, grid.beats)) < TOLERANCE).mean() > 0.95


@pytest.mark.parametrize("tempo", [40.0, 100.0, 100.12345678, 220.0])
def test_an_asked_tempo_is_exact(tempo: float) -> None:
    times = np.sort(np.random.default_rng(4).uniform(0, 300, 80))
    marks, _, grid = fit(times, 300, TempoConstraints(tempo=tempo, borders=(40.0, 100.0, 200.0)))
    assert [mark.tempo for mark in marks] == [tempo]
    np.testing.assert_allclose(np.diff(grid.beats), 60 / tempo, atol=1e-6)


def test_with_nothing_to_meet_the_mood_decides_and_the_end_is_kept() -> None:
    for prior in (80.0, 108.0, 135.0):
        marks, metre, grid = fit(np.zeros(0), 30, TempoConstraints(prior=prior))
        assert marks[0].tempo == pytest.approx(prior, rel=0.12)
        assert metre == 4
        assert np.abs(grid.downbeats).min() < 0.03  # the music begins with the picture
        left = 30 - grid.downbeats[grid.downbeats < 30][-1]
        assert 0.5 < left < 2.8


@pytest.mark.parametrize("duration", [0.04, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_short_videos_get_a_grid(duration: float, n: int) -> None:
    times = np.sort(np.random.default_rng(n).uniform(0, duration, n))
    marks, _, grid = fit(times, duration)
    assert 0 <= marks[0].time <= duration and 70 <= marks[0].tempo <= 150
    assert len(grid.beats) > 4
    if n == 1:
        assert np.abs(distance_to(times, grid.beats))[0] < TOLERANCE


def test_random_events_are_met_far_beyond_chance() -> None:
    gains, chances = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        times, strengths = np.sort(rng.uniform(0, 60, 24)), rng.uniform(0.3, 1, 24)
        marks, metre = fit_grid(times, strengths, 60, TempoConstraints(borders=(15.0, 30.0, 45.0)))
        measured = measure_fit(times, strengths, lay_grid(marks, metre, -5, 65), 60)
        gains.append(measured.on_beat)
        chances.append(measured.on_beat_chance)
        assert max(m.tempo for m in marks) / min(m.tempo for m in marks) <= (1 + MAX_DRIFT) / (1 - MAX_DRIFT) + 1e-6
    assert np.mean(gains) > np.mean(chances) + 0.2


def test_the_same_grid_every_time() -> None:
    times = np.sort(np.random.default_rng(9).uniform(0, 90, 40))
    assert fit(times, 90)[0] == fit(times, 90)[0]


def test_half_an_hour_is_fitted_in_seconds() -> None:
    times = np.sort(np.random.default_rng(2).uniform(0, 1800, 700))
    before = clock.process_time()
    marks, _, grid = fit(times, 1800, TempoConstraints(borders=tuple(np.arange(25.0, 1780, 25.0))))
    assert clock.process_time() - before < 20
    assert (np.abs(distance_to(times, grid.beats)) < TOLERANCE).mean() > 0.35
    assert all(70 <= m.tempo <= 150 for m in marks)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 40), st.lists(st.floats(0, 1), max_size=30), st.data())
def test_any_events_get_a_map_within_the_picture(duration: float, places: list[float], data: st.DataObject) -> None:
    times = np.unique(np.array(places) * duration * 0.999)
    strengths = np.array([data.draw(st.floats(0.01, 1)) for _ in times])
    marks, metre = fit_grid(times, strengths, duration, TempoConstraints())
    assert all(0 <= mark.time <= duration and 1 <= mark.beat <= metre for mark in marks)
    assert all(a.time < b.time for a, b in itertools.pairwise(marks))


def test_a_span_gets_its_own_tempo_and_the_rest_stays() -> None:
    grid = lay_grid([TempoMark(0, 120)], 4, -8, 68)
    times = np.array([20.3, 21.3, 25.3])
    changed = lay_span(grid, (20.0, 40.0), 60.0, 4, times, np.ones(3))
    inside = changed.beats[(changed.beats >= 20.3) & (changed.beats < 39)]
    np.testing.assert_allclose(np.diff(inside), 1.0)
    np.testing.assert_allclose(distance_to(times, changed.beats), 0, atol=0.01)
    for part in (lambda x: x < 19.9, lambda x: x >= 40):
        np.testing.assert_array_equal(changed.beats[part(changed.beats)], grid.beats[part(grid.beats)])
        np.testing.assert_array_equal(changed.downbeats[part(changed.downbeats)], grid.downbeats[part(grid.downbeats)])
    assert np.isin(changed.downbeats, changed.beats).all()


def test_a_span_without_events_begins_on_its_downbeat_even_where_there_was_no_grid() -> None:
    changed = lay_span(Grid(np.zeros(0), np.zeros(0)), (3.0, 7.0), 90.0, 3, np.zeros(0), np.zeros(0))
    np.testing.assert_allclose(changed.beats, 3 + np.arange(6) * 2 / 3)
    np.testing.assert_allclose(changed.downbeats, [3, 5])


@pytest.mark.parametrize("tempo", [float("nan"), float("inf"), -100, 0, 39.9, 221, 1e9, None, "fast"])
def test_a_tempo_that_music_cannot_have_is_refused(tempo: object) -> None:
    with pytest.raises(PlanError, match=r"is not a tempo.*from 40 to 220"):
        check_tempo(tempo)  # type: ignore[arg-type]
