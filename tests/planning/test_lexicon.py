"""Words to axes: known parseds, negations, strengths, and what happens to everything else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.condition import AXES, INSTRUMENT_AXES
from openvmas.errors import PlanError
from openvmas.planning import lexicon as lexicon_module
from openvmas.planning.lexicon import LIMIT, MAX_PHRASE, lexicon, parse_mood, parse_text

WORDS = list(lexicon().entries)


def test_the_lexicon_is_large_and_speaks_of_known_axes_only() -> None:
    entries = lexicon().entries
    assert len(entries) > 500
    assert max(len(word.split()) for word in entries) == MAX_PHRASE
    for word, entry in entries.items():
        assert set(entry.axes) <= set(AXES), word
        assert all(abs(value) <= LIMIT for value in entry.axes.values()), word
        assert 40 <= (entry.tempo or 100) <= 220, word


def test_no_word_is_there_twice_and_no_field_is_unknown() -> None:
    table = tomllib.loads((Path(lexicon_module.__file__).with_name("lexicon.toml")).read_text(encoding="utf-8"))
    words = [word for entry in table["entries"] for word in entry["words"].split(", ")]
    assert len(words) == len(set(words)) == len(lexicon().entries)
    words = {"negations", "negations_after", "negations_beside", "contraries", "resets", "fillers"}
    assert set(table) == words | {"sayings", "strengths", "entries"}
    assert {name for entry in table["entries"] for name in entry} == {"words", "axes", "tempo", "beats_per_bar"}


def test_every_axis_can_be_said() -> None:
    strongest = {axis: max(entry.axes.get(axis, 0) for entry in lexicon().entries.values()) for axis in AXES}
    assert min(strongest.values()) >= 1.3, strongest


@pytest.mark.parametrize("axis", INSTRUMENT_AXES)
def test_each_instrument_is_asked_and_refused_by_its_name(axis: str) -> None:
    assert parse_text(axis).axes[axis] >= 1.3
    assert parse_text(f"no {axis}").axes[axis] <= -1


@pytest.mark.parametrize(
    ("text", "axis", "sign"),
    [
        ("calm piano, hopeful", "arousal", -1),
        ("calm piano, hopeful", "piano", 1),
        ("calm piano, hopeful", "valence", 1),
        ("dark and scary", "valence", -1),
        ("Lo-Fi hip-hop!", "hip_hop", 1),
        ("drum & bass", "electronic", 1),
        ("heavy metal", "metal", 1),
        ("happier than ever", "happy", 1),
        ("hopefully", "valence", 1),
        ("two pianos", "piano", 1),
        ("drumming", "drums", 1),
        ("darkness", "brightness", -1),
        ("without any drums", "drums", -1),
        ("no drums or guitars", "guitar", -1),
        ("don't be sad", "sad", -1),
        ("less drums", "drums", -1),
    ],
)
def test_known_parseds(text: str, axis: str, sign: int) -> None:
    assert parse_text(text).axes[axis] * sign > 0.3


def test_a_negation_ends_with_its_clause_or_at_but() -> None:
    assert parse_text("no drums, piano").axes["piano"] > 1
    assert parse_text("not sad but happy").axes["happy"] > 1
    assert parse_text("without drums with strings").axes["strings"] > 1


def test_a_negation_denies_the_main_parsed_only() -> None:
    assert "acousticness" not in parse_text("no piano").axes


def test_strengths_are_in_order() -> None:
    texts = ("slightly sad", "sad", "very sad")
    weights = [parse_text(text).axes["sad"] for text in texts]
    assert weights == sorted(weights) and weights[0] < weights[1] < weights[2]
    assert parse_text("not too sad").axes["sad"] > parse_text("not sad").axes["sad"]


def test_tempo_words_and_numbers() -> None:
    assert parse_text("adagio").tempo == 68 and not parse_text("adagio").is_tempo_exact
    assert parse_text("calm, 92 bpm").tempo == 92 and parse_text("calm, 92 bpm").is_tempo_exact
    assert parse_text("92.5 bpm").tempo == 92.5
    assert parse_text("fast").tempo > parse_text("andante").tempo > parse_text("slow").tempo
    assert parse_text("not fast").tempo is None
    assert parse_text("900 bpm").tempo is None
    assert parse_text("waltz").beats_per_bar == 3


def test_unknown_words_are_named_in_order_and_once() -> None:
    parsed = parse_text("xylofone, the calm zork zork")
    assert parsed.unknown == ("xylofone", "zork")
    assert parsed.axes["arousal"] < 0


@pytest.mark.parametrize("text", [None, "", "   ", ",.;", "the and of", "bpm"])
def test_nothing_said_means_nothing(text: str | None) -> None:
    assert parse_text(text).axes == {} and parse_text(text).unknown == ()


@settings(deadline=None)
@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from([*lexicon().entries, "not", "very", ",", "but", "90", "bpm"])).map(" ".join)
    )
)
def test_any_text_is_read_within_the_limits(text: str) -> None:
    parsed = parse_text(text)
    assert all(0 < abs(value) <= LIMIT for value in parsed.axes.values())
    assert list(parsed.axes) == [axis for axis in AXES if axis in parsed.axes]
    assert parse_text(text) == parsed


@pytest.mark.parametrize("mood", WORDS)
def test_every_word_of_the_lexicon_is_a_mood(mood: str) -> None:
    parsed = parse_mood(mood)
    assert parsed.axes or parsed.tempo


@pytest.mark.parametrize(
    ("mood", "near"), [("hapy", "happy"), ("calmm", "calm"), ("", "epic"), ("the", "calm"), ("zzz", "dark")]
)
def test_an_unknown_mood_is_refused_with_others(mood: str, near: str) -> None:
    with pytest.raises(PlanError, match=f"is not a mood known here; give another word, such as .*{near}"):
        parse_mood(mood)


@pytest.mark.parametrize(
    ("seeming", "real"),
    [
        ("it looks happy but is sad", "is sad"),
        ("sie wirkt nur fröhlich, aber traurig", "traurig"),
        ("parece alegre pero triste", "triste"),
        ("elle semble joyeuse mais triste", "triste"),
        ("看似快乐，其实悲伤", "悲伤"),
    ],
)
def test_what_only_seems_so_is_not_heard(seeming: str, real: str) -> None:
    assert parse_text(seeming).axes["valence"] == parse_text(real).axes["valence"] < 0
    assert parse_text("piano that looks happy but is sad").axes["piano"] > 0
