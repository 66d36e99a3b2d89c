"""Plans made from pictures: hits, tempo, sections, energy and words, and what the user asks."""

from __future__ import annotations

import dataclasses
import itertools
import time as clock
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.condition import AXES
from openvmas.errors import PlanError
from openvmas.planning.beat_grid import TempoMark, distance_to
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import FieldError, Hit, ScorePlan, Section
from openvmas.settings import PlanOptions
from tests.planning.made import make_analysis

CUTS = [4.0, 7.2, 12.1, 20.0, 24.4, 31.0, 40.0, 44.0, 52.3]
STEPS = ((0.0, 0.2), (20.0, 0.6), (40.0, 0.95))  # of energy and of looks
FILM = make_analysis(60, CUTS, energy=STEPS, looks=STEPS)


def test_sections_begin_where_the_look_changes() -> None:
    plan = make_plan(FILM)
    assert [section.start for section in plan.sections] == pytest.approx([0, 20, 40])
    assert [section.end for section in plan.sections] == pytest.approx([20, 40, 60])


def test_a_long_single_shot_is_divided_where_its_look_changes() -> None:
    analysis = make_analysis(60, (), energy=((0, 0.2), (31.5, 0.9)), looks=((0, 0.2), (31.5, 0.9)))
    assert any(abs(section.start - 31.5) <= 0.5 for section in make_plan(analysis).sections)


def test_an_even_shot_is_one_section_and_a_short_video_too() -> None:
    assert len(make_plan(make_analysis(25, ())).sections) == 1
    assert len(make_plan(make_analysis(12, [1, 2, 3, 5, 8, 10])).sections) == 1


@settings(deadline=None, max_examples=12)
@given(st.floats(0.1, 200), st.integers(0, 60), st.integers(0, 1000))
def test_any_picture_gets_a_plan_that_survives_the_file(duration: float, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cuts = np.unique(np.round(rng.uniform(0.05, 0.95, n) * duration, 2))
    cuts = cuts[(cuts > 0.02) & (cuts < duration - 0.02)]
    levels = [(float(t), float(rng.uniform(0, 1))) for t in (0.0, *cuts)]
    plan = make_plan(make_analysis(duration, list(cuts), energy=levels, looks=levels))
    assert read_plan(write_plan(plan)) == plan
    lengths = [section.end - section.start for section in plan.sections]
    assert min(lengths) >= 7.99 or len(lengths) == 1
    assert all(0.2 <= section.energy <= 1 for section in plan.sections)
    assert 70 <= plan.tempo <= 150


def test_energy_follows_the_picture_and_the_words() -> None:
    levels = [section.energy for section in make_plan(FILM).sections]
    assert levels == sorted(levels) and levels[2] - levels[0] > 0.2
    calm = [section.energy for section in make_plan(FILM, PlanOptions(text="very calm")).sections]
    wild = [section.energy for section in make_plan(FILM, PlanOptions(text="energetic")).sections]
    assert all(a < b for a, b in zip(calm, wild, strict=True))


def test_the_users_hits_are_exact_and_the_same_moment_of_the_picture_gives_way() -> None:
    plan = make_plan(FILM, PlanOptions(hit=(12.4, 20.03, 33.333333)))
    users = [hit for hit in plan.hits if hit.source == "user"]
    assert users == [Hit(12.4), Hit(20.03), Hit(33.333333)]
    pictures = [hit.time for hit in plan.hits if hit.source == "picture"]
    assert pictures == [time for time in CUTS if time != 20.0]


def test_of_events_that_are_heard_as_one_the_strongest_stays() -> None:
    analysis = make_analysis(20, (), beats=[3.0, 3.05, 3.1, 9.0], strengths=[0.4, 0.9, 0.5, 0.02])
    assert make_plan(analysis).hits == (Hit(3.05, 0.9, "picture"),)


def test_accents_are_no_denser_than_in_music() -> None:
    beats = np.arange(0.5, 29.5, 0.25)
    strengths = np.where(np.arange(len(beats)) % 4 == 0, 0.9, 0.4)
    times = np.array([hit.time for hit in make_plan(make_analysis(30, (), beats, strengths)).hits])
    assert max(int(((times >= t) & (times < t + 1.9)).sum()) for t in times) <= 8
    assert np.isin(beats[::4], times).mean() == 1  # the strong ones all stay
    assert 60 <= len(times) <= 90 < len(beats)  # the rule of music.analysis.place_accents lets as many through


@pytest.mark.parametrize("time", [-0.1, 60.0, 99.0, float("nan"), float("inf")])
def test_a_hit_outside_the_video_is_refused(time: float) -> None:
    with pytest.raises(PlanError, match=r"hit: .* lies outside the video; give a moment from 0 to below 60 s\."):
        make_plan(FILM, PlanOptions(hit=(time,)))


@pytest.mark.parametrize("tempo", [float("nan"), -5.0, 0.0, 1000.0])
def test_an_absurd_tempo_is_refused(tempo: float) -> None:
    with pytest.raises(PlanError, match=r"tempo: .* from 40 to 220"):
        make_plan(FILM, PlanOptions(tempo=tempo))


def test_an_unknown_mood_is_refused() -> None:
    with pytest.raises(PlanError, match="mood: 'clam' is not a mood known here; give another word, such as calm"):
        make_plan(FILM, PlanOptions(mood="clam"))


def test_an_asked_tempo_is_kept_by_number_or_in_words() -> None:
    for options in (PlanOptions(tempo=97.5), PlanOptions(text="calm, 97.5 bpm")):
        plan = make_plan(FILM, options)
        assert [mark.tempo for mark in plan.tempo_map] == [97.5]
        assert plan.tempo == pytest.approx(97.5)
        np.testing.assert_allclose(np.diff(plan.beats), 60 / 97.5)
    assert make_plan(FILM, PlanOptions(text="calm, 97.5 bpm", tempo=120.0)).tempo == pytest.approx(120)


@pytest.mark.parametrize(("text", "low", "high"), [("adagio", 58, 80), ("presto", 137, 186), ("slow", 66, 91)])
def test_words_of_tempo_bring_it_near(text: str, low: float, high: float) -> None:
    assert low <= make_plan(FILM, PlanOptions(text=text)).tempo <= high


def test_calm_is_slower_than_wild() -> None:
    still = make_analysis(40, ())
    slow, fast = (make_plan(still, PlanOptions(mood=mood)).tempo for mood in ("calm", "furious"))
    assert slow + 10 < fast


def test_a_waltz_has_three_in_a_bar() -> None:
    assert make_plan(FILM, PlanOptions(text="a waltz")).beats_per_bar == 3


def test_beats_meet_cuts_that_lie_on_a_grid() -> None:
    cuts = [0.5 + 4 * k * 60 / 96 for k in range(1, 20)]
    plan = make_plan(make_analysis(52, cuts, beats=cuts))
    assert np.abs(distance_to(np.array(cuts), plan.grid.beats)).max() < 0.04
    assert plan.fit.on_beat == 1.0 and plan.fit.on_downbeat > 0.9


def test_the_last_downbeat_leaves_time_to_ring() -> None:
    for duration in (20, 33, 47.5, 61):
        plan = make_plan(make_analysis(duration, (), beats=[duration / 3]))
        assert 0.4 < duration - plan.downbeats[-1] < 3


def test_planning_again_keeps_locked_sections_and_the_users_hits() -> None:
    first = make_plan(FILM, PlanOptions(hit=(12.4,)))
    locked = dataclasses.replace(first.sections[1], text="jazz", energy=0.11, is_locked=True, tempo=80.0)
    edited = dataclasses.replace(first, sections=(first.sections[0], locked, first.sections[2]))
    again = make_plan(FILM, PlanOptions(mood="dark", hit=(33.0,)), keep_from=edited)
    assert again.sections[1] == locked
    assert [hit.time for hit in again.hits if hit.source == "user"] == [12.4, 33.0]
    assert again.mood == "dark"
    moved = dataclasses.replace(locked, start=17.0, end=29.0)
    first_, last = dataclasses.replace(first.sections[0], end=17.0), dataclasses.replace(first.sections[2], start=29.0)
    again = make_plan(FILM, keep_from=dataclasses.replace(first, sections=(first_, moved, last)))
    assert moved in again.sections
    assert all(a.end == b.start for a, b in itertools.pairwise(again.sections))


def test_planning_again_refuses_the_plan_of_another_video() -> None:
    with pytest.raises(PlanError, match="the earlier plan is for a video of 60 s"):
        make_plan(make_analysis(30), keep_from=make_plan(FILM))


def test_the_seed_is_kept() -> None:
    assert make_plan(FILM, seed=5).seed == 5
    assert make_plan(FILM, seed=5) == dataclasses.replace(make_plan(FILM), seed=5)


def test_an_hour_is_planned_in_bounded_time() -> None:
    rng = np.random.default_rng(0)
    cuts = np.unique(np.round(rng.uniform(1, 3599, 800), 2))
    levels = [(float(t), float(rng.uniform(0.2, 0.9))) for t in np.arange(0, 3600, 37.0)]
    analysis = make_analysis(3600, list(cuts), energy=levels, looks=levels)
    before = clock.process_time()
    plan = make_plan(analysis)
    assert clock.process_time() - before < 25
    assert 50 < len(plan.sections) < 300
    assert plan.fit.on_beat > plan.fit.on_beat_chance + 0.15


def plan_of(*sections: Section, duration: float = 20, **values: object) -> ScorePlan:
    return ScorePlan(Fraction(duration), sections, **values)  # type: ignore[arg-type]


def test_words_go_before_the_picture_and_the_section_before_the_whole() -> None:
    said = Section(0.0, 20.0, picture={"valence": -1.0, "brightness": 0.5, "density": -0.5})
    plan = plan_of(said, text="sad")
    assert plan.semantics(said)["valence"] == pytest.approx(-1.4)
    assert plan.semantics(said)["brightness"] == 0.5
    valued = dataclasses.replace(said, mood={"valence": 1.1})
    assert plan_of(valued, text="sad").semantics(valued)["valence"] == 1.1
    worded = dataclasses.replace(valued, text="joyful")
    assert plan_of(worded, text="sad").semantics(worded)["valence"] == pytest.approx(1.5)
    whole = plan_of(said, mood="dark", text="sad")
    assert whole.semantics(said)["sad"] > 1 and whole.semantics(said)["valence"] == pytest.approx(-1.4)
    assert list(whole.semantics(said)) == [axis for axis in AXES if axis in whole.semantics(said)]


def test_what_contradicts_the_words_does_not_stay_beside_them() -> None:
    wild = {"arousal": 1.7, "density": 1.2, "danceability": 1.2, "exciting": 1.5, "drums": 1.3, "electronic": 0.5}
    section = Section(0.0, 20.0, picture=wild)
    calm = plan_of(section, text="calm piano").semantics(section)
    assert calm["arousal"] < -1 and calm["piano"] > 1
    assert not {"drums", "danceability", "electronic"} & set(calm)
    lively = plan_of(section, text="energetic").semantics(section)
    assert lively["drums"] == 1.3 and lively["electronic"] == 0.5
    happy = Section(0.0, 20.0, picture={"valence": -2.0, "sad": 1.5, "scary": 0.7})
    assert not {"sad", "scary"} & set(plan_of(happy, mood="happy").semantics(happy))
    joy = Section(0.0, 20.0, text="joyful")
    assert "sad" not in plan_of(joy, text="sad").semantics(joy)


def test_a_named_style_or_instrument_replaces_those_of_the_picture_and_a_refused_one_only_itself() -> None:
    section = Section(0.0, 20.0, picture={"drums": 1.0, "strings": 0.8, "rock": 0.9, "valence": 0.5})
    jazz = plan_of(section, text="jazz").semantics(section)
    assert "rock" not in jazz and jazz["jazz"] > 1 and jazz["valence"] == 0.5
    quiet = plan_of(section, text="no drums").semantics(section)
    assert quiet["drums"] < -1 and quiet["strings"] == 0.8 and quiet["rock"] == 0.9


def test_a_section_with_its_own_tempo_has_it() -> None:
    plan = plan_of(
        Section(0.0, 8.0), Section(8.0, 20.0, tempo=75.0), tempo_map=(TempoMark(0.0, 120.0),), hits=(Hit(10.0),)
    )
    assert np.diff(plan.beats[plan.beats < 7.9]) == pytest.approx(0.5)
    assert np.diff(plan.beats[plan.beats >= 8]) == pytest.approx(0.8)
    assert np.abs(plan.beats - 10).min() < 0.01
    assert plan.grid.beats[-1] > 20 + 2


def test_a_plan_without_a_beat() -> None:
    plan = plan_of(Section(0.0, 20.0))
    assert plan.tempo == 0 and len(plan.beats) == 0 and len(plan.downbeats) == 0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"sections": ()}, "sections"),
        ({"duration": Fraction(0)}, "duration"),
        ({"duration": 20.0}, "duration"),
        ({"mood": "clam"}, "mood"),
        ({"beats_per_bar": 1}, "beats_per_bar"),
        ({"hits": (Hit(20.0),)}, r"hits\[0\].time"),
        ({"hits": (Hit(3.0), Hit(2.0))}, r"hits\[1\]"),
        ({"hits": (Hit(3.0, source="me"),)}, r"hits\[0\].source"),
        ({"tempo_map": (TempoMark(21.0, 100.0),)}, r"tempo_map\[0\].time"),
        ({"energy_curve": ((1.0, float("inf")),)}, r"energy_curve\[0\]\[1\]"),
        ({"sections": (Section(0.0, 20.0, energy=True),)}, r"sections\[0\].energy"),
        ({"sections": (Section(0.0, 20.0, mood={"piano": float("nan")}),)}, r"sections\[0\].mood.piano"),
    ],
)
def test_a_plan_made_in_python_is_checked_too(values: dict, field: str) -> None:
    with pytest.raises(FieldError, match=f"plan, {field}: "):
        ScorePlan(**({"duration": Fraction(20), "sections": (Section(0.0, 20.0),)} | values))
