"""Why a picture asks for this music: the rules' sentences, and a few words of what is seen and heard in it."""

from __future__ import annotations

from openvmas.condition import FEELING_AXES, STYLE_AXES
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.mood import add_rules, cues, describe, read_mapping

MIN_SEEN = 0.3  # a cue weaker than this is not named
ALIKE = {"bright": "light", "dark": "light", "lively": "pace", "still": "pace"}  # cues with one word between them


def describe_by_rules(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """Semantics by the stated rules alone, in the form of `vision.mood.describe`."""
    return add_rules({}, cues(analysis, start, end))


def explain(analysis: VideoAnalysis, start: float, end: float) -> list[str]:
    """The sentences of the rules that speak for this span, strongest cue first, with the cue's value."""
    values = cues(analysis, start, end)
    spoken = sorted(
        ((abs(values[r.cue]), r) for r in read_mapping().rules if abs(values[r.cue]) >= 0.15), key=lambda p: -p[0]
    )
    return [f"{rule.cue} {values[rule.cue]:+.2f}: {rule.sentence}" for _, rule in spoken]


def summarize(analysis: VideoAnalysis, start: float, end: float) -> str:
    """A few words on what is seen in a span and what it asks for: "sea, dim, slow: calm, tender, ambient"."""
    values, mapping = cues(analysis, start, end), read_mapping()
    # Things before looks, each the strongest first; light and pace are said once.
    order = sorted(mapping.rules, key=lambda rule: (rule.cue not in mapping.concepts, -abs(values[rule.cue])))
    seen: dict[str, str] = {}
    for rule in order:
        word = rule.seen if values[rule.cue] > 0 else rule.unseen
        if word and abs(values[rule.cue]) >= MIN_SEEN:
            seen.setdefault(ALIKE.get(rule.cue, rule.cue), word)
    said = describe(analysis, start, end)
    mood = [
        word
        for axis, low, high in (("arousal", "calm", "lively"), ("valence", "gloomy", "cheerful"))
        if abs(said[axis]) >= 0.5 and (word := high if said[axis] > 0 else low)
    ]
    shown = ", ".join(list(seen.values())[:3]) or "nothing in particular"
    return f"{shown}: {', '.join([*mood, *style_words(said)]) or 'neutral'}"


def style_words(values: dict[str, float], n: int = 3) -> list[str]:
    """The n styles and feelings that speak loudest, loudest first; fewer if fewer speak."""
    spoken = {axis: values[axis] for axis in STYLE_AXES + FEELING_AXES if values.get(axis, 0.0) > 0}
    return sorted(spoken, key=lambda axis: -spoken[axis])[:n]
