"""The voice `auto`: a composer that takes, for each plan, the voice that fits it best."""

from __future__ import annotations

from collections.abc import Callable

from openvmas.condition import Condition
from openvmas.generate.piece import Composer, Piece
from openvmas.planning.schema import ScorePlan
from openvmas.planning.voices import VOICES, choose_voice
from openvmas.pretrained import Weights, find_weights
from openvmas.settings import GenerateOptions


class ChosenComposer(Composer):
    """Hands each plan to the voice that `planning.voices` chooses for it; the report's `voice` says which and why.

    open_voice: opens a voice by its name, once it is needed.
    """

    def __init__(self, open_voice: Callable[[str], Composer]) -> None:
        self._open, self._voices = open_voice, dict[str, Composer]()
        self._latest: str | None = None

    @property
    def weights(self) -> Weights:  # type: ignore[override]
        """Those of the voice that was taken last, before that of the first."""
        return self._voice(self._latest).weights if self._latest else find_weights(VOICES[0])

    def prepare(self, options: GenerateOptions, plan: ScorePlan | None = None) -> None:
        """Check what options and plan name with the voice that takes them."""
        if options.like is not None or (plan is not None and any(section.like for section in plan.sections)):
            self._voice("mini").prepare(options, plan)

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """A piece of the voice that fits; without a plan that is mini."""
        if plan is None:
            self._latest = "mini"
            return self._voice("mini").compose(condition, plan, options)
        choice = choose_voice(plan, condition.speech, options.like is not None)
        self._latest = choice.model
        piece = self._voice(choice.model).compose(condition, plan, options)
        piece.report["voice"] = choice.describe()
        return piece

    def _voice(self, name: str) -> Composer:
        if name not in self._voices:
            self._voices[name] = self._open(name)
        return self._voices[name]
