"""Words against the picture, to the end: all three voices are told the words, and the picture fills what they leave."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import openvmas
from openvmas.condition import AXES
from openvmas.fitting.library import Entry, Library, rank
from openvmas.fitting.wishes import Wishes
from openvmas.generate.audio_prompts import PromptBank, follow
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import ScorePlan, Section
from openvmas.symbolic.brief import read_brief
from openvmas.symbolic.form import shape
from openvmas.symbolic.harmony import MINOR_MODES
from tests.planning.made import make_analysis

HAPPY_PICTURE = {"valence": 1.3, "arousal": 0.9, "happy": 1.4, "pop": 1.0, "drums": 0.9, "guitar": 0.8}
SAD, HAPPY = "sad, slow, piano, no drums", "very happy, cheerful"


def plan_of(text: str | None, *own: str | None) -> ScorePlan:
    """Twelve seconds of a happy picture under words for the whole and words for each of two sections."""
    first, second = own or (None, None)
    sections = (
        Section(0.0, 6.0, text=first, picture=HAPPY_PICTURE),
        Section(6.0, 12.0, text=second, picture=HAPPY_PICTURE),
    )
    return ScorePlan(Fraction(12), sections, (TempoMark(0.0, 100.0),), text=text)


def valence(axes: np.ndarray) -> float:
    return float(np.nan_to_num(axes[AXES.index("valence")]))


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        (None, (), (1, 1)),  # the picture alone
        (SAD, (), (-1, -1)),  # words for the whole against it
        (SAD, (None, HAPPY), (-1, 1)),  # a section's words go before those for the whole
        (HAPPY, (SAD, None), (-1, 1)),
        (None, (SAD, None), (-1, 1)),  # the other section is the picture's
    ],
)
def test_what_is_told_goes_words_of_a_section_then_of_the_whole_then_the_picture(text, own, expected) -> None:
    plan = plan_of(text, *own)
    told = [plan.semantics(section) for section in plan.sections]
    assert tuple(int(np.sign(axes["valence"])) for axes in told) == expected
    for axes, sign in zip(told, expected, strict=True):
        assert (axes.get("drums", 0) < 0 and axes["piano"] > 0 and "happy" not in axes) == (sign < 0)


def test_the_picture_fills_what_words_leave_open() -> None:
    plan = plan_of("violin")
    told = plan.semantics(plan.sections[0])
    assert told["strings"] > 0 and told["happy"] == HAPPY_PICTURE["happy"] and "guitar" not in told


def test_the_prompts_of_mini_and_what_its_decoder_is_told_follow_the_words() -> None:
    bank = PromptBank(openvmas.load("mini").weights.file("prompts"))
    analysis = make_analysis(12.0)
    chosen = {}
    for name, plan in {"picture": plan_of(None), "words": plan_of(SAD), "mixed": plan_of(SAD, None, HAPPY)}.items():
        condition = build_condition(plan, analysis)
        cues = [bank.cues(plan, condition, seed) for seed in range(8)]
        chosen[name] = (
            np.mean([valence(found[0].prompt.axes) for found in cues]),
            np.mean([valence(found[-1].prompt.axes) for found in cues]),
            follow(condition, plan, cues[0]).semantics[[100, 500], AXES.index("valence")],
        )
    assert chosen["words"][0] < -0.5 < chosen["picture"][0]
    assert chosen["mixed"][0] < chosen["mixed"][1] - 1
    assert (chosen["words"][2] < 0).all()
    assert chosen["mixed"][2][0] < 0 < chosen["mixed"][2][1]


def test_symbolic_writes_in_the_mode_of_the_words() -> None:
    analysis = make_analysis(12.0)

    def share_of_minor(plan: ScorePlan) -> float:
        forms = [shape(read_brief(build_condition(plan, analysis), plan), (seed,)) for seed in range(8)]
        return float(np.mean([form.key.mode in MINOR_MODES for form in forms]))

    assert share_of_minor(plan_of(SAD)) > share_of_minor(plan_of(None)) + 0.4


def test_recordings_are_chosen_by_the_words(tmp_path: Path) -> None:
    def entry(name: str, **axes: float) -> Entry:
        have = np.full(len(AXES), np.nan)
        for axis, value in axes.items():
            have[AXES.index(axis)] = value
        curve, energy = np.zeros(240, np.int8), np.zeros(24, np.float32)
        return Entry(name, "", name, 12.0, 100.0, "C", True, curve, energy, have)

    sad = entry("sad.ogg", valence=-1.3, arousal=-0.9, sad=1.3, piano=1.2, drums=-1.0)
    happy = entry("happy.ogg", valence=1.3, arousal=0.9, happy=1.3, pop=1.0, drums=1.0)
    library = Library(tmp_path, [happy, sad])
    for plan, best in ((plan_of(None), happy), (plan_of(SAD), sad), (plan_of(SAD, HAPPY, HAPPY), happy)):
        assert rank(library, Wishes.of_plan(plan), plan)[0].entry is best
