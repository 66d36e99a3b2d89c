"""An edit of a plan in a few words, for its history."""

from __future__ import annotations

from openvmas.planning.schema import Hit, ScorePlan, Section

MAX_PARTS = 3  # of one edit that are named


def describe_edit(before: ScorePlan, after: ScorePlan) -> str:
    """The parts of a plan that an edit has changed, such as "Energy of section 2, accent at 0:01.00"."""
    parts: list[str] = []
    for name, said in (("text", "words for the whole"), ("mood", "mood of the whole"), ("tempo_map", "tempo map")):
        if getattr(before, name) != getattr(after, name):
            parts.append(said)
    parts += describe_sections(before.sections, after.sections)
    parts += describe_hits(before.hits, after.hits)
    more = f" and {len(parts) - MAX_PARTS} more" if len(parts) > MAX_PARTS else ""
    text = ", ".join(parts[:MAX_PARTS]) + more
    return text[:1].upper() + text[1:] if text else "Edited"


def describe_sections(before: tuple[Section, ...], after: tuple[Section, ...]) -> list[str]:
    """Changes of the sections, in order."""
    if len(before) != len(after):
        n = len(after) - len(before)
        return ["section split" if n == 1 else "sections merged" if n == -1 else f"{len(after)} sections"]
    parts: list[str] = []
    for number, (old, new) in enumerate(zip(before, after, strict=True), start=1):
        if old.end != new.end:
            parts.append(f"border at {clock(new.end)}")
        for name, said in (("text", "words"), ("energy", "energy"), ("tempo", "tempo"), ("mood", "mood")):
            if getattr(old, name) != getattr(new, name):
                parts.append(f"{said} of section {number}")
        if old.is_locked != new.is_locked:
            parts.append(f"section {number} {'locked' if new.is_locked else 'unlocked'}")
    return parts


def describe_hits(before: tuple[Hit, ...], after: tuple[Hit, ...]) -> list[str]:
    """Hits that came, went or are others now."""
    came = [hit for hit in after if hit not in before]
    went = [hit for hit in before if hit not in after]
    if len(came) == len(went):
        return [f"accent at {clock(hit.time)} changed" for hit in came]
    if came and went:
        return [f"{len(after)} accents"]
    return [f"accent at {clock(hit.time)}" for hit in came] + [f"accent at {clock(hit.time)} deleted" for hit in went]


def clock(time: float) -> str:
    """A time in s as 1:15.25."""
    minutes, seconds = divmod(round(time, 2), 60)
    return f"{minutes:.0f}:{seconds:05.2f}"
