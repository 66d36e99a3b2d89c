"""The voice `auto`: which voice it takes, why, and that the reason is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from openvmas.condition import Condition
from openvmas.errors import OptionError
from openvmas.generate import scorer
from openvmas.generate.choice import ChosenComposer
from openvmas.generate.piece import Composer, Piece
from openvmas.planning.conditioning import build_condition
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.schema import Hit, ScorePlan
from openvmas.planning.voices import SOUND, SYNC, WORDS, choose_voice
from openvmas.pretrained import Weights
from openvmas.settings import GenerateOptions, Options
from tests.clips import SineComposer
from tests.symbolic.made import make_plan


def plan_with(text: str | None = None, n_strong: int = 0, source: str = "picture") -> ScorePlan:
    plan = make_plan(text, seconds=30.0, energies=(0.7,), hits=())
    hits = tuple(Hit(1.0 + 28.0 * k / max(n_strong, 1), 0.9, source) for k in range(n_strong))
    return dataclasses.replace(plan, hits=hits)


@pytest.mark.parametrize(
    ("plan", "model", "reason"),
    [
        (plan_with(), "mini", "its sound is nearer to recorded music"),
        (plan_with("pop"), "mini", "better heard as pop"),
        (plan_with("sad"), "symbolic", "better heard as sad"),
        (plan_with("ambient"), "symbolic", "better heard as ambient"),
        (plan_with(n_strong=20), "symbolic", "strong moments are to be met"),
        (plan_with(n_strong=1, source="user"), "symbolic", "your hits are to be met exactly"),
        (plan_with(n_strong=2), "mini", "its sound is nearer"),
    ],
)
def test_the_voice_is_that_which_does_best_what_is_needed(plan: ScorePlan, model: str, reason: str) -> None:
    choice = choose_voice(plan)
    assert choice.model == model and reason in choice.reason
    assert choice.expected[model] == max(choice.expected.values())
    assert choice.reason in write_plan(plan)


def test_under_speech_sound_counts_for_less() -> None:
    plan = plan_with(n_strong=3)
    assert choose_voice(plan, np.zeros(1500)).model == "mini"
    spoken = choose_voice(plan, np.ones(1500))
    assert spoken.model == "symbolic" and "speech covers" in spoken.reason
    assert choose_voice(plan).needs["sound"] == 1.0


def test_the_figures_are_shares() -> None:
    for value in (*SOUND.values(), *SYNC.values(), *(v for pair in WORDS.values() for v in pair)):
        assert 0 <= value <= 1


class Named(SineComposer):
    """A composer that answers by its name."""

    def __init__(self, name: str) -> None:
        self.weights: Weights = dataclasses.replace(SineComposer.weights, name=name)

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        return super().compose(condition, plan, options)


def test_the_chosen_composer_opens_one_voice_and_reports_it() -> None:
    opened: list[str] = []

    def open_voice(name: str) -> Composer:
        opened.append(name)
        return Named(name)

    composer = ChosenComposer(open_voice)
    plan = plan_with("sad")
    piece = composer.compose(build_condition(plan), plan, GenerateOptions())
    list(piece)
    assert opened == ["symbolic"] and composer.weights.name == "symbolic"
    assert piece.report["voice"]["model"] == "symbolic" and "sad" in piece.report["voice"]["reason"]
    calm = plan_with()
    composer.compose(build_condition(calm), calm, GenerateOptions())
    assert opened == ["symbolic", "mini"] and composer.weights.name == "mini"
    alone = composer.compose(build_condition(plan), None, GenerateOptions())
    assert "voice" not in alone.report and composer.weights.name == "mini"


def test_what_is_to_sound_like_a_recording_is_for_mini(tmp_path: Path) -> None:
    opened: list[str] = []

    def open_voice(name: str) -> Composer:
        opened.append(name)
        return Named(name)

    composer = ChosenComposer(open_voice)
    composer.prepare(GenerateOptions(), plan_with("sad"))
    assert not opened
    plan = plan_with("sad")
    plan = dataclasses.replace(plan, sections=(dataclasses.replace(plan.sections[0], like="my.wav"),))
    with pytest.raises(OptionError, match="cannot sound like a recording"):
        composer.prepare(GenerateOptions(), plan)  # says the sine that stands for mini
    composer.compose(build_condition(plan), plan, GenerateOptions())
    assert opened == ["mini"]


def test_auto_is_the_default_and_notes_are_written_by_who_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Options.of().output.model == "auto"
    assert isinstance(scorer.load("auto").composer, ChosenComposer)
    asked: list[str] = []
    monkeypatch.setattr(scorer, "load", lambda name: asked.append(name))
    scorer.load_for(Options.of(midi_out="a.mid"))
    scorer.load_for(Options.of())
    scorer.load_for(Options.of(model="mini"))
    assert asked == ["symbolic", "auto", "mini"]


def test_auto_writes_no_midi_from_python(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="give --model symbolic"):
        scorer.load("auto").score(tmp_path / "clip.mp4", midi_out=str(tmp_path / "a.mid"))
