"""Choice of the voice that writes a video's music, from what each of them was measured to do well.

The figures are those of docs/results.md; a rule weighs them by what a video needs, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openvmas.condition import INSTRUMENT_AXES, STYLE_AXES
from openvmas.planning.schema import NAMED, ScorePlan
from openvmas.planning.text import parse_text

VOICES = ("mini", "symbolic")
# How near the sound is to recorded music: Fréchet distance of real tracks through the codec, over the voice's (open
# suite, YAMNet). What mini begins from a recording fades: from the first to the last 10 s its distance grows by 7 %.
SOUND = {"mini": 6.9 / 9.1, "symbolic": 6.9 / 12.2}
FADING, FADED_SECONDS = 0.07, 30.0
# Accents on the picture's moments: z of hidden real videos, as a share of what clicks on the hits reach.
SYNC = {"mini": 2.1 / 4.6, "symbolic": 3.2 / 4.6}
# Words heard by a tagger (bench/words.py): area under the curve of mini and of symbolic, by axis.
WORDS: Mapping[str, tuple[float, float]] = {
    "rock": (0.59, 0.98), "metal": (0.98, 1.00), "pop": (0.96, 0.59), "electronic": (1.00, 1.00),
    "jazz": (0.70, 0.98), "ambient": (0.83, 0.98), "folk": (0.80, 0.91), "hip_hop": (0.79, 0.95),
    "guitar": (0.91, 0.86), "happy": (0.99, 0.82), "sad": (0.67, 0.98), "tender": (0.62, 0.59),
}  # fmt: skip
MANY_HITS = 3.0  # strong moments in 10 s, from which their answer counts in full
STRONG = 0.6  # strength of a hit that counts as a strong moment
SPOKEN = 0.5  # probability of speech from which a step counts as spoken


@dataclass(frozen=True)
class VoiceChoice:
    """A voice and why it was taken.

    reasons: what spoke for it, the strongest first, of which `reason` is made.
    expected: voice → what is expected of it, greater is better. needs: weight of sound, hits and words, each in [0, 1].
    """

    model: str
    reason: str
    expected: Mapping[str, float]
    needs: Mapping[str, float]
    reasons: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The choice in types that JSON has."""
        return {
            "model": self.model, "reason": self.reason, "reasons": list(self.reasons),
            "expected": {name: round(value, 3) for name, value in self.expected.items()},
            "needs": {name: round(value, 3) for name, value in self.needs.items()},
        }  # fmt: skip


def choose_voice(plan: ScorePlan, speech: np.ndarray | None = None, is_like: bool = False) -> VoiceChoice:
    """The voice that fits a plan best by its measures; mini where the music, or a section of it, is to sound like a
    recording, which only mini can.

    is_like: whether all of the music is to.
    speech: probability of speech in the original sound [T], if it is known. Music lies low under speech, so that its
    sound counts for less there: this weight is a judgement, the others are measured.
    """
    if is_like or any(section.like for section in plan.sections):
        return told_choice("mini", ["only it can sound like a recording"])
    seconds = float(plan.duration)
    spoken = 0.0 if speech is None or not len(speech) else float(np.mean(np.asarray(speech) > SPOKEN))
    own = any(hit.source == "user" for hit in plan.hits)
    strong = sum(hit.strength >= STRONG for hit in plan.hits) / max(seconds / 10, 0.1)
    asked = _asked(plan)
    needs = {
        "sound": 1.0 - 0.5 * spoken,
        "hits": 1.0 if own else min(1.0, strong / MANY_HITS),
        "words": float(bool(asked)),
    }
    heard = {
        voice: float(np.mean([2 * WORDS[axis][k] - 1 for axis in asked])) if asked else 0.0
        for k, voice in enumerate(VOICES)
    }
    sound = dict(SOUND)
    sound["mini"] /= 1 + FADING * min(seconds / FADED_SECONDS, 1.0)
    expected = {
        voice: needs["sound"] * sound[voice] + needs["hits"] * SYNC[voice] + needs["words"] * heard[voice]
        for voice in VOICES
    }
    model = max(VOICES, key=lambda voice: expected[voice])
    return told_choice(model, _reasons(model, needs, asked, heard, own, spoken), expected, needs)


def told_choice(
    model: str, reasons: Sequence[str], expected: Mapping[str, float] | None = None,
    needs: Mapping[str, float] | None = None,
) -> VoiceChoice:  # fmt: skip
    """A voice with the sentence that its reasons make."""
    told = " and ".join(reasons) or "nothing speaks for another voice"
    return VoiceChoice(model, f"{model}, because {told}", expected or {}, needs or {}, tuple(reasons))


def _asked(plan: ScorePlan) -> list[str]:
    """Axes of WORDS that the user's words name; an instrument counts where no style is named, which brings its own."""
    texts = (plan.text, plan.mood, *(section.text for section in plan.sections))
    values = [parse_text(text).axes for text in texts if text]
    named = [axis for axis in WORDS if any(value.get(axis, 0.0) >= NAMED for value in values)]
    has_style = any(axis in STYLE_AXES for axis in named)
    return [axis for axis in named if axis not in INSTRUMENT_AXES or not has_style]


def _reasons(
    model: str, needs: Mapping[str, float], asked: list[str], heard: Mapping[str, float], own: bool, spoken: float
) -> list[str]:
    """Reasons for the choice, the strongest first."""
    other = next(voice for voice in VOICES if voice != model)
    pros = {
        "its sound is nearer to recorded music": needs["sound"] * (SOUND[model] - SOUND[other]),
        ("your hits are to be met exactly" if own else "strong moments are to be met"): needs["hits"]
        * (SYNC[model] - SYNC[other]),
        f"it is better heard as {' and '.join(asked[:3]).replace('_', ' ')}": heard[model] - heard[other],
    }
    told = [words for words, value in sorted(pros.items(), key=lambda pair: -pair[1]) if value > 0.01]
    return [*told, "speech covers the music anyway"] if spoken > 0.5 and model == "symbolic" else told
