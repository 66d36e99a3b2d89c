"""The door of what the user says: nothing is loaded where nothing is said, and `lexicon` where something is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextCondition:
    """A text's part of the condition.

    axes: axis name → value in [-LIMIT, LIMIT] of `lexicon`; only the axes that something is said about.
    tempo: what the tempo words suggest, beats per minute, or None; is_tempo_exact where a number was given ("90 bpm").
    beats_per_bar: what words such as waltz suggest, or None.
    unknown: words that say nothing known, in the order of the text.
    denied: axes of styles, feelings and instruments that the text refuses by name.
    named: words and phrases of the lexicon that the text asks for, in English, in order.
    """

    axes: dict[str, float]
    tempo: float | None = None
    is_tempo_exact: bool = False
    beats_per_bar: int | None = None
    unknown: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


def parse_text(text: str | None) -> TextCondition:
    """The condition of a text in any language (`lexicon.parse_text`)."""
    if not text:
        return TextCondition({})
    from openvmas.planning import lexicon

    return lexicon.parse_text(text)


def parse_mood(mood: str | None) -> TextCondition:
    """The condition of mood words (`lexicon.parse_mood`). Raises PlanError where one is not known."""
    if mood is None:
        return TextCondition({})
    from openvmas.planning import lexicon

    return lexicon.parse_mood(mood)


def describe_text(text: str | None) -> str:
    """Say what is understood of a text (`lexicon.describe_text`), or ""."""
    if not text:
        return ""
    from openvmas.planning import lexicon

    return lexicon.describe_text(text)
