"""Words to axes: known meanings, negations, strengths, and what happens to everything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.condition import AXES, INSTRUMENT_AXES
from openvmas.errors import PlanError
from openvmas.planning.lexicon import LIMIT, MAX_PHRASE, lexicon, understand, understand_mood


def test_the_lexicon_is_large_and_speaks_of_known_axes_only() -> None:
    entries = lexicon()
    assert len(entries) > 500
    assert max(len(word.split()) for word in entries) == MAX_PHRASE
    for word, weights in entries.items():
        assert set(weights) - {"~", "/"} <= set(AXES), word
        assert all(abs(weights[axis]) <= LIMIT for axis in weights if axis in AXES), word
        assert 40 <= weights.get("~", 100) <= 220, word


def test_every_axis_can_be_said() -> None:
    strongest = {axis: max(weights.get(axis, 0) for weights in lexicon().values()) for axis in AXES}
    assert min(strongest.values()) >= 1.3, strongest


@pytest.mark.parametrize("axis", INSTRUMENT_AXES)
def test_each_instrument_is_asked_and_refused_by_its_name(axis: str) -> None:
    assert understand(axis).axes[axis] >= 1.3
    assert understand(f"no {axis}").axes[axis] <= -1


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
def test_known_meanings(text: str, axis: str, sign: int) -> None:
    assert understand(text).axes[axis] * sign > 0.3


def test_a_negation_ends_with_its_clause_or_at_but() -> None:
    assert understand("no drums, piano").axes["piano"] > 1
    assert understand("not sad but happy").axes["happy"] > 1
    assert understand("without drums with strings").axes["strings"] > 1


def test_a_negation_denies_the_main_meaning_only() -> None:
    assert "acousticness" not in understand("no piano").axes


def test_strengths_are_in_order() -> None:
    texts = ("slightly sad", "sad", "very sad")
    weights = [understand(text).axes["sad"] for text in texts]
    assert weights == sorted(weights) and weights[0] < weights[1] < weights[2]
    assert understand("not too sad").axes["sad"] > understand("not sad").axes["sad"]


def test_tempo_words_and_numbers() -> None:
    assert understand("adagio").tempo == 68 and not understand("adagio").is_tempo_exact
    assert understand("calm, 92 bpm").tempo == 92 and understand("calm, 92 bpm").is_tempo_exact
    assert understand("92.5 bpm").tempo == 92.5
    assert understand("fast").tempo > understand("andante").tempo > understand("slow").tempo
    assert understand("not fast").tempo is None
    assert understand("900 bpm").tempo is None
    assert understand("waltz").beats_per_bar == 3


def test_unknown_words_are_named_in_order_and_once() -> None:
    meaning = understand("xylofone, the calm zork zork")
    assert meaning.unknown == ("xylofone", "zork")
    assert meaning.axes["arousal"] < 0


@pytest.mark.parametrize("text", [None, "", "   ", ",.;", "the and of", "bpm"])
def test_nothing_said_means_nothing(text: str | None) -> None:
    assert understand(text).axes == {} and understand(text).unknown == ()


@settings(deadline=None)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from([*lexicon(), "not", "very", ",", "but", "90", "bpm"])).map(" ".join))
)
def test_any_text_is_read_within_the_limits(text: str) -> None:
    meaning = understand(text)
    assert all(0 < abs(value) <= LIMIT for value in meaning.axes.values())
    assert list(meaning.axes) == [axis for axis in AXES if axis in meaning.axes]
    assert understand(text) == meaning


@pytest.mark.parametrize("mood", lexicon())
def test_every_word_of_the_lexicon_is_a_mood(mood: str) -> None:
    meaning = understand_mood(mood)
    assert meaning.axes or meaning.tempo


@pytest.mark.parametrize(
    ("mood", "near"), [("hapy", "happy"), ("calmm", "calm"), ("", "epic"), ("the", "calm"), ("zzz", "dark")]
)
def test_an_unknown_mood_is_refused_with_others(mood: str, near: str) -> None:
    with pytest.raises(PlanError, match=f"is not a mood known here; give another word, such as .*{near}"):
        understand_mood(mood)
