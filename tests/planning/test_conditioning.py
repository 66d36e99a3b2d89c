"""From plan to condition: every edit is heard, times are exact, and the picture can be taken away for measuring."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from openvmas.condition import AXES, Condition
from openvmas.errors import PlanError
from openvmas.planning.beat_grid import TempoMark, distance_to
from openvmas.planning.conditioning import BEGUN, LEAST_ACCENT, SNAP_TO_BEAT, accent_times, build_condition
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.settings import CONTROL_RATE, PlanOptions
from openvmas.timeline import Clock
from tests.planning.made import make_analysis

CUTS = [4.0, 7.2, 12.1, 20.0, 24.4, 31.0, 40.0, 44.0, 52.3]
STEPS = ((0.0, 0.2), (20.0, 0.6), (40.0, 0.95))
FILM = make_analysis(60, CUTS, energy=STEPS, looks=STEPS)
PLAN = make_plan(FILM, PlanOptions(hit=(12.4, 33.0)))


def change(plan: ScorePlan, index: int, **values: object) -> ScorePlan:
    sections = list(plan.sections)
    sections[index] = dataclasses.replace(sections[index], **values)
    return dataclasses.replace(plan, sections=tuple(sections))


def axis(condition: Condition, name: str) -> np.ndarray:
    return condition.semantics[:, AXES.index(name)]


def height(strength: float) -> float:
    """Of the accent for a hit."""
    return LEAST_ACCENT + (1 - LEAST_ACCENT) * strength


@pytest.mark.parametrize("duration", ["0.04", "1/3", "1001/30", "60.019", "5"])
def test_the_clock_is_exact(duration: str) -> None:
    exact = Fraction(duration)
    condition = build_condition(ScorePlan(exact, (Section(0.0, float(exact)),)))
    n = Clock(CONTROL_RATE).count(exact)
    assert condition.n_steps == n and condition.rate == CONTROL_RATE
    np.testing.assert_allclose(condition.time_since, BEGUN + np.arange(n) / 50)
    np.testing.assert_allclose(condition.time_left, float(exact) - np.arange(n) / 50)
    assert (condition.time_left > 0).all()
    assert condition.semantics.shape == (n, len(AXES)) and np.isnan(condition.semantics).all()


def test_the_decoder_gets_finite_numbers_and_a_grid_everywhere() -> None:
    for plan in (PLAN, change(PLAN, 1, tempo=80.0), change(PLAN, 2, tempo=140.0), change(PLAN, 0, tempo=60.0)):
        curves = build_condition(plan, FILM).encode_curves()
        assert np.isfinite(curves).all()
        assert (curves[:, 5] == 1).all()  # has_grid
        assert np.isfinite(build_condition(plan, FILM).encode_semantics()).all()


def test_the_users_hits_are_full_accents_at_their_exact_steps() -> None:
    accents = build_condition(PLAN, FILM).events.accents
    assert accents[round(12.4 * 50)] == 1 and accents[round(33.0 * 50)] == 1


@pytest.mark.parametrize("time", [0.0, 0.011, 59.999])
def test_a_hit_at_either_end_is_kept(time: float) -> None:
    accents = build_condition(make_plan(FILM, PlanOptions(hit=(time,)))).events.accents
    assert accents[min(round(time * 50), len(accents) - 1)] == 1


def test_every_picture_event_is_an_accent_within_the_snap() -> None:
    where = np.flatnonzero(build_condition(PLAN, FILM).events.accents) / 50
    assert np.abs(distance_to(np.array(CUTS), where)).max() <= SNAP_TO_BEAT + 0.0101
    extra = where[np.abs(distance_to(where, np.sort([*CUTS, 12.4, 33.0]))) > 0.06]
    assert len(extra) <= 1  # the last chord


def test_a_picture_event_moves_to_the_beat_beside_it_and_a_users_hit_does_not() -> None:
    sections, marks = (Section(0.0, 20.0),), (TempoMark(0.0, 120.0),)
    hits = (Hit(4.03, 0.5, "picture"), Hit(5.03), Hit(6.27, 0.4, "picture"), Hit(7.12, 0.3, "picture"))
    played = accent_times(ScorePlan(Fraction(20), sections, marks, hits=hits))
    assert [hit.time for hit in played[:4]] == pytest.approx([4.0, 5.03, 6.25, 7.12])


def test_deleting_or_weakening_a_hit_changes_its_accent() -> None:
    step = round(44.0 * 50)
    near = slice(step - 3, step + 4)
    assert build_condition(PLAN).events.accents[near].max() == pytest.approx(height(0.7))
    weak = tuple(dataclasses.replace(h, strength=0.2) if h.time == 44.0 else h for h in PLAN.hits)
    assert build_condition(dataclasses.replace(PLAN, hits=weak)).events.accents[near].max() == pytest.approx(
        LEAST_ACCENT + (1 - LEAST_ACCENT) * 0.2
    )
    gone = tuple(hit for hit in PLAN.hits if hit.time != 44.0)
    assert build_condition(dataclasses.replace(PLAN, hits=gone)).events.accents[near].max() == 0


def test_a_new_energy_changes_its_section_only() -> None:
    before, after = build_condition(PLAN).events.energy, build_condition(change(PLAN, 1, energy=0.15)).events.energy
    assert after[22 * 50 : 38 * 50].max() < 0.3 < before[22 * 50 : 38 * 50].min()
    np.testing.assert_array_equal(before[: 19 * 50], after[: 19 * 50])
    np.testing.assert_array_equal(before[41 * 50 :], after[41 * 50 :])


def test_the_energy_curve_multiplies() -> None:
    plan = dataclasses.replace(PLAN, energy_curve=((10.0, 1.0), (11.0, 0.5), (12.0, 1.0)))
    energy = build_condition(plan).events.energy
    assert energy[550] == pytest.approx(0.5 * energy[500], rel=1e-5)


def test_energy_follows_the_picture_begins_gently_and_dies_away() -> None:
    energy = build_condition(PLAN, FILM).events.energy
    assert np.corrcoef(energy[100:2900], FILM.events.energy[100:2900])[0, 1] > 0.9
    assert energy[0] < energy[100] * 0.95
    assert energy[-1] < 0.5 * energy[2800]
    assert energy.min() >= 0 and energy.max() <= 1
    assert np.abs(np.diff(energy)).max() < 0.02  # no steps


def test_a_new_tempo_is_heard_in_the_grid() -> None:
    plan = dataclasses.replace(PLAN, tempo_map=(TempoMark(0.0, 99.0),))
    np.testing.assert_allclose(np.diff(build_condition(plan).beats), 60 / 99)
    condition = build_condition(change(PLAN, 1, tempo=77.0))
    inside = (condition.beats > 21) & (condition.beats < 39)
    np.testing.assert_allclose(np.diff(condition.beats[inside]), 60 / 77)
    assert not np.allclose(np.diff(condition.beats[condition.beats > 42]), 60 / 77, rtol=0.02)
    assert np.isin(condition.downbeats, condition.beats).all()


def test_mood_words_and_values_change_the_meaning_of_their_section() -> None:
    dark = build_condition(change(PLAN, 1, text="dark"))
    assert (axis(dark, "valence")[22 * 50 : 38 * 50] == pytest.approx(-1.2)) and (axis(dark, "scary")[1500] > 0.5)
    before = axis(build_condition(PLAN), "scary")
    np.testing.assert_array_equal(before[: 18 * 50], axis(dark, "scary")[: 18 * 50])
    piano = axis(build_condition(change(PLAN, 2, mood={"piano": 1.5})), "piano")
    assert (piano[42 * 50 :] == 1.5).all()
    whole = build_condition(dataclasses.replace(PLAN, text="no drums"))
    assert (axis(whole, "drums") < -1).all()
    mood = build_condition(dataclasses.replace(PLAN, mood="happy"))
    np.testing.assert_allclose(axis(mood, "happy"), 1.6, rtol=1e-6)


def test_meaning_fades_over_a_border_where_both_sides_speak() -> None:
    plan = ScorePlan(
        Fraction(20),
        (Section(0.0, 10.0, mood={"valence": -1.0, "piano": 1.0}), Section(10.0, 20.0, mood={"valence": 1.0})),
    )
    condition = build_condition(plan)
    valence = axis(condition, "valence")
    np.testing.assert_allclose(valence[[440, 475, 500, 525, 560]], [-1, -0.5, 0, 0.5, 1], atol=1e-6)
    assert (np.diff(valence) >= 0).all()
    piano = axis(condition, "piano")
    assert (piano[:500] == 1).all() and np.isnan(piano[500:]).all()


def test_novelty_peaks_where_sections_meet() -> None:
    novelty = build_condition(PLAN, FILM).events.novelty
    for border in (20, 40):
        part = novelty[(border - 4) * 50 : (border + 4) * 50]
        assert abs(int(part.argmax()) - 200) <= 1 and part.max() > 0.4
    assert novelty[30 * 50 + 200] < 0.2
    assert novelty.min() >= 0 and novelty.max() <= 1


def test_the_last_downbeat_gets_the_last_chord() -> None:
    plan = dataclasses.replace(PLAN, hits=(Hit(5.0),), tempo_map=(TempoMark(58.0, 100.0),))
    accents = build_condition(plan).events.accents
    assert accents[58 * 50] == pytest.approx(height(0.6))


def test_without_events_nothing_of_the_picture_is_left() -> None:
    conditions = [build_condition(PLAN, FILM, events="off", seed=seed) for seed in range(40)]
    assert all(c.events.accents.max() == 0 and c.events.novelty.max() == 0 for c in conditions)
    for condition in conditions:
        np.testing.assert_allclose(np.diff(condition.beats), 60 / PLAN.tempo, rtol=1e-6)
    # Cuts lie anywhere between its beats.
    phases = [(CUTS[4] - c.beats[0]) * PLAN.tempo / 60 % 1 for c in conditions]
    assert np.abs(np.mean(np.exp(2j * np.pi * np.array(phases)))) < 0.4
    np.testing.assert_array_equal(conditions[0].semantics, build_condition(PLAN, FILM).semantics)
    one, same = conditions[3], build_condition(PLAN, FILM, events="off", seed=3)
    np.testing.assert_array_equal(one.beats, same.beats)


def test_shuffled_events_are_as_many_as_strong_and_elsewhere() -> None:
    count = sum(1 for hit in PLAN.hits)
    far = []
    for seed in range(20):
        shuffled = build_condition(PLAN, FILM, events="shuffled", seed=seed)
        where = np.flatnonzero(shuffled.events.accents) / 50
        assert abs(len(where) - count) <= 2
        times = np.array([hit.time for hit in PLAN.hits])
        far.append((np.abs(distance_to(times, where)) > 0.1).mean())
        # The music is as regular: accents lie on the shuffled grid as they lay on the fitted one.
        assert np.diff(shuffled.beats).std() < 0.05
        assert (shuffled.encode_curves()[:, 5] == 1).all()
    assert np.mean(far) > 0.7
    again = build_condition(PLAN, FILM, events="shuffled", seed=4)
    np.testing.assert_array_equal(
        again.events.accents, build_condition(PLAN, FILM, events="shuffled", seed=4).events.accents
    )


@pytest.mark.parametrize("events", ["off", "shuffled"])
def test_measuring_works_without_hits_and_without_a_beat(events: str) -> None:
    plain = ScorePlan(Fraction(10), (Section(0.0, 10.0),))
    assert build_condition(plain).events.accents.max() == 0
    assert build_condition(plain, events=events).events.accents.max() == 0
    assert len(build_condition(plain, events=events).beats) == 0
    one = ScorePlan(Fraction(10), (Section(0.0, 10.0, tempo=90.0),), hits=(Hit(3.0),))
    condition = build_condition(one, events=events, seed=1)
    assert np.diff(condition.beats) == pytest.approx(60 / 90, rel=0.07)
    assert (condition.events.accents > 0).sum() == (0 if events == "off" else pytest.approx(1, abs=1))


def test_only_three_kinds_of_events() -> None:
    with pytest.raises(ValueError, match="on, off or shuffled"):
        build_condition(PLAN, events="none")


def test_the_plan_of_another_video_is_refused() -> None:
    with pytest.raises(PlanError, match="for a video of 60 s and this one has 30 s; make a plan of this video"):
        build_condition(PLAN, make_analysis(30))
