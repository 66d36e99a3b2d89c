"""The YAML file: nothing is lost on the way there and back, and every mistake is told with its line and field."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openvmas.condition import AXES
from openvmas.errors import PlanError
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.schema import Hit, ScorePlan, Section

PLAN = ScorePlan(
    duration=Fraction(1001, 30),
    sections=(
        Section(0.0, 12.5, 0.4, picture={"valence": 0.25, "arousal": -1.5}),
        Section(12.5, 33.36666, 0.8, "hopeful", {"piano": 1.5}, {}, 90.0, True, "band rehearsal.wav", 35.0),
    ),
    tempo_map=(TempoMark(0.3, 104.2), TempoMark(12.9, 101.0, 3)),
    hits=(Hit(4.0, 0.5, "picture"), Hit(12.4)),
    energy_curve=((0.5, 0.9), (20.0, 1.1)),
    text="calm piano",
    mood="dark",
    seed=7,
)
TEXT = write_plan(PLAN)

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.none() | st.text(st.characters(codec="utf-8"), max_size=40)
axes = st.dictionaries(st.sampled_from(AXES), st.floats(-3, 3), max_size=5)


@st.composite
def plans(draw: st.DrawFn) -> ScorePlan:
    duration = draw(st.fractions(min_value=Fraction(1, 10), max_value=10_000, max_denominator=90_000))
    end = float(duration)
    inner = draw(st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), max_size=5))
    edges = sorted({0.0, end, *(x * end for x in inner if x * end < end - 0.001)})
    metre = draw(st.integers(2, 7))

    def moments(n: int) -> list[float]:
        return sorted(set(draw(st.lists(st.floats(0, end, exclude_max=True), max_size=n))))

    return ScorePlan(
        duration=duration,
        sections=tuple(
            Section(
                start, stop, draw(st.floats(0, 1)), draw(words), draw(axes), draw(axes),
                draw(st.none() | st.floats(40, 220)), draw(st.booleans()),
            )
            for start, stop in itertools.pairwise(edges)
        ),
        tempo_map=tuple(TempoMark(t, draw(st.floats(40, 220)), draw(st.integers(1, metre))) for t in moments(3)),
        beats_per_bar=metre,
        hits=tuple(Hit(t, draw(st.floats(0, 1)), draw(st.sampled_from(["user", "picture"]))) for t in moments(4)),
        energy_curve=tuple((t, draw(st.floats(0, 4))) for t in moments(3)),
        text=draw(words),
        mood=draw(st.sampled_from([None, "calm", "very dark"])),
        seed=draw(st.integers(0, 2**40)),
    )  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(plans())
def test_nothing_is_lost_on_the_way_there_and_back(plan: ScorePlan) -> None:
    text = write_plan(plan)
    assert read_plan(text) == plan
    assert write_plan(read_plan(text)) == text


def test_the_example_survives_too_and_explains_itself() -> None:
    assert read_plan(TEXT) == PLAN
    assert "duration: 1001/30" in TEXT
    for word in ("energy", "text", "mood", "picture", "tempo", "locked", "strength", "time", "factor", "downbeat"):
        assert re.search(rf"#.*\b{word}\b", TEXT), f"no comment explains {word}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("1/8", "0.125"),
        ("12", "12"),
        ("1001/30", "1001/30"),
        ("2496/100", "24.96"),
        ("1/3", "1/3"),
        ("7/1000", "0.007"),
    ],
)
def test_a_duration_is_a_decimal_where_that_is_exact(value: str, written: str) -> None:
    plan = ScorePlan(Fraction(value), (Section(0.0, float(Fraction(value))),))
    assert f"duration: {written}  #" in write_plan(plan)
    assert read_plan(write_plan(plan)).duration == Fraction(value)


def edit(old: str, new: str) -> str:
    assert TEXT.count(old) >= 1, old
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "field", "reason"),
    [
        ("energy: 0.8", "energy: 1.7", "sections[1].energy", "1.7 is out of range; give a number from 0 to 1."),
        ("energy: 0.8", "energy: loud", "sections[1].energy", "'loud' is not a number; give one"),
        ("energy: 0.8", "energy: .nan", "sections[1].energy", "'.nan' is not a number"),
        ("energy: 0.8", "energy: nan", "sections[1].energy", "nan is not a number; give a number from 0 to 1."),
        ("energy: 0.8", "energy:", "sections[1].energy", "a number is missing here; give one."),
        ("energy: 0.8", "energy: [1]", "sections[1].energy", "a number is missing here"),
        ("energy: 0.8", "enrgy: 0.8", "sections[1].enrgy", "there is no such field; did you mean energy?"),
        ("energy: 0.8", "zzz: 0.8", "sections[1].zzz", "there is no such field; the fields here are start, end"),
        ("energy: 0.8", "energy: 0.8\n  energy: 0.9", "sections[1].energy", "this field is there twice; delete one."),
        ("start: 12.5", "start: 13", "sections[1].start", "13 s leaves a gap after sections[0], which ends"),
        ("start: 12.5", "start: 12", "sections[1].start", "12 s overlaps sections[0], which ends at 12.5 s"),
        ("end: 12.5", "end: 0", "sections[0].end", "0 s is not after its start; give a time above 0."),
        ("end: 33.36666", "end: 33", "sections[1].end", "33 s is not the end of the video; set it to 33.3667."),
        ("end: 33.36666", "end: 40", "sections[1].end", "40 is out of range; give a number from 0 to 33.3677 s."),
        ("tempo: 90.0", "tempo: 900", "sections[1].tempo", "900 is out of range; give a number from 40 to 220"),
        ("tempo: 104.2", "tempo: -1", "tempo_map[0].tempo", "-1.0 is not a tempo that music can have; give"),
        ("beat: 3", "beat: 5", "tempo_map[1].beat", "5 is out of range; give a number from 1 to 4."),
        ("beat: 3", "beat: 1.5", "tempo_map[1].beat", "'1.5' is not a whole number"),
        ("{piano: 1.5}", "{pianoo: 1.5}", "sections[1].mood", "'pianoo' is no axis; give some of valence, arousal"),
        ("{piano: 1.5}", "{piano: 9}", "sections[1].mood.piano", "9 is out of range; give a number from -3 to 3."),
        ("{piano: 1.5}", "clam", "sections[1].mood", "'clam' is not a mood known here; give another word"),
        ("locked: true", "locked: maybe", "sections[1].locked", "'maybe' is neither true nor false"),
        ("mood: \"dark\"", "mood: drak", "mood", "'drak' is not a mood known here; give another word"),
        ("1.0, source: user", "1.0, source: me", "hits[1].source", "'me' is neither user nor picture"),
        ("time: 12.4,", "time: 99,", "hits[1].time", "99 is out of range; give a number from 0 to 33.3667 s."),
        ("time: 12.4,", "time: -2,", "hits[0].time", "-2 is out of range"),
        ("time: 12.4,", "time: 4.0,", "hits[1]", "4 s comes after 4 s; put them in order of time, each once."),
        ("strength: 0.5", "strength: 2", "hits[0].strength", "2 is out of range; give a number from 0 to 1."),
        ("[20.0, 1.1]", "[20.0]", "energy_curve[1]", "this has 1 numbers; give two"),
        ("[20.0, 1.1]", "[20.0, 11]", "energy_curve[1][1]", "11 is out of range; give a number from 0 to 4."),
        ("[20.0, 1.1]", "[0.1, 1.1]", "energy_curve[1]", "0.1 s comes after 0.5 s"),
        ("duration: 1001/30", "duration: 1001/0", "duration", "'1001/0' is no length; give seconds as 12.5"),
        ("duration: 1001/30", "duration: 0", "duration", "0 is no length"),
        ("beats_per_bar: 4", "beats_per_bar: 12", "beats_per_bar", "12 is out of range; give a number from 2 to 7."),
        ("seed: 7", "seed: x", "seed", "'x' is not a whole number"),
        ("seed: 7", "seed: -7", "seed", "-7 is out of range"),
        ("openvmas_plan: 1", "openvmas_plan: 9", "openvmas_plan", "this is a plan of version 9; write it anew"),
    ],
)  # fmt: skip
def test_every_mistake_is_told_with_line_and_field(old: str, new: str, field: str, reason: str) -> None:
    text = edit(old, new)
    line = TEXT[: TEXT.index(old)].count("\n") + new.count("\n") + 1
    with pytest.raises(PlanError) as caught:
        read_plan(text, "my.yaml")
    assert str(caught.value).startswith(f"my.yaml line {line}, {field}: {reason}"), str(caught.value)
    assert str(caught.value).endswith((".", "?"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "my.yaml is empty; write a plan"),
        ("# only a comment", "my.yaml is empty"),
        ("[1, 2", "my.yaml line 1: this is not YAML .*; mend this line"),
        ("a: 1\nb: [", "my.yaml line 2: this is not YAML"),
        ("hello", "my.yaml line 1: this must be fields with values"),
        ("- 1\n- 2", "my.yaml line 1: this must be fields with values"),
        ("a: 1", "my.yaml line 1: this is not a plan of OpenVMAS"),
        ("openvmas_plan: 1\nsections: []", "my.yaml line 1: the field duration is missing"),
        ("openvmas_plan: 1\nduration: 5", "my.yaml line 1: the field sections is missing"),
        ("openvmas_plan: 1\nduration: 5\nsections: []", r"my.yaml line 3, sections: there is none; give at least one"),
        ("openvmas_plan: 1\nduration: 5\nsections: 3", r"my.yaml line 3, sections: this must be a list"),
        ("openvmas_plan: 1\nduration: 5\nsections:\n- 3", r"my.yaml line 4, sections\[0\]: this must be fields"),
        ("openvmas_plan: 1\nduration: 5\nsections:\n- {start: 0}", r"line 4, sections\[0\]: the field end is missing"),
        ("a: 1\n---\nb: 1", "my.yaml line 2: this is not YAML"),
        ("a: \x00", "my.yaml"),
        ("a: \ud800", "my.yaml"),
        ("[" * 5000, "my.yaml"),
        ("a: &x [*x]", "my.yaml line 1"),
    ],
)
def test_what_is_no_plan_is_told_so(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_plan(text, "my.yaml")


def test_a_short_plan_by_hand_is_enough() -> None:
    plan = read_plan(
        "openvmas_plan: 1\nduration: 8.5\nsections:\n- {start: 0, end: 8.5}\nhits:\n- {time: 3}\n- time: 1\n"
    )
    assert plan.duration == Fraction(17, 2)
    assert plan.hits == (Hit(1.0), Hit(3.0))
    assert plan.sections[0].energy == 0.7 and len(plan.beats) == 0


def test_hits_may_be_added_at_the_end() -> None:
    text = edit("source: user}", "source: user}\n- {time: 2.0}")
    assert [hit.time for hit in read_plan(text).hits] == [2.0, 4.0, 12.4]


def test_a_mood_may_be_words() -> None:
    sections = read_plan(edit("{piano: 1.5}", "very dark, piano")).sections
    assert sections[1].mood["piano"] > 1 and sections[1].mood["valence"] < -1


def test_words_that_were_not_understood_are_said_in_the_file() -> None:
    text = write_plan(dataclasses.replace(PLAN, text="calm zork"))
    assert "# Your words were heard as: calm" in text and "not understood: 'zork'" in text
    assert read_plan(text).unknown_words == ("zork",)


@settings(deadline=None, max_examples=200)
@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_no_text_brings_anything_but_a_plan_error(text: str) -> None:
    with pytest.raises(PlanError):
        read_plan(text)


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, len(TEXT.splitlines()) - 1),
    st.sampled_from(["drop", "twice", "null", "[]", "{}", "x", "1e400", "-1", "&a"]),
)
def test_a_damaged_plan_is_refused_by_line_or_still_a_plan(row: int, damage: str) -> None:
    lines = TEXT.splitlines()
    if damage == "drop":
        del lines[row]
    elif damage == "twice":
        lines.insert(row, lines[row])
    else:
        lines[row] = re.sub(r"(?<=: )[^,}#]+", damage, lines[row], count=1)
    try:
        assert isinstance(read_plan("\n".join(lines), "my.yaml"), ScorePlan)
    except PlanError as error:
        assert re.match(r"my\.yaml line \d+", str(error)), str(error)


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    section = Section(
        np.float64(0), np.float32(4.5), np.float32(0.5), mood={"piano": np.float64(1.5)}, tempo=np.int64(90)
    )  # type: ignore[arg-type]
    plan = ScorePlan(Fraction(9, 2), (section,), hits=(Hit(np.float64(1.25)),), beats_per_bar=np.int64(3))  # type: ignore[arg-type]
    assert read_plan(write_plan(plan)) == plan


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: "---\n" + t])
def test_what_editors_do_to_files_does_no_harm(change: Callable[[str], str]) -> None:
    assert read_plan(change(TEXT)) == PLAN
