"""Ways of editing, and how far people are from doing what they meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Anchor = Literal["section", "downbeat", "beat", "onset", "none"]


@dataclass(frozen=True)
class Style:
    """One way of editing.

    shot_beats: median length of a shot at middling energy, in beats; spread: of its logarithm; response: octaves by
    which shots get shorter from rest to full energy. anchors: how often a cut is meant for a downbeat, a beat, an onset
    or nothing. dissolve, fade: shares of cuts; eases: of "even", "out", "punch", "hold"; reach: of camera moves. kick,
    flash: share of accents inside a shot that get one; footage: share of shots that move by themselves; palette:
    pictures a section.
    """

    name: str
    shot_beats: float
    anchors: tuple[float, float, float, float]
    spread: float = 0.35
    response: float = 1.0
    dissolve: float = 0.0
    fade: float = 0.0
    eases: tuple[float, float, float, float] = (0.5, 0.2, 0.2, 0.1)
    reach: float = 0.2
    kick: float = 0.0
    flash: float = 0.0
    footage: float = 0.35
    palette: int = 8
    grain: float = 0.0
    shake: float = 0.0


STYLES: tuple[Style, ...] = (
    Style("beat", 1.6, (0.3, 0.6, 0.1, 0.0), eases=(0.3, 0.2, 0.4, 0.1), kick=0.2, flash=0.1, palette=10),
    Style("bar", 4.0, (0.85, 0.1, 0.05, 0.0), spread=0.25, eases=(0.4, 0.2, 0.2, 0.2), flash=0.05),
    Style("phrase", 12.0, (0.9, 0.1, 0.0, 0.0), response=0.5, dissolve=0.5, reach=0.12, eases=(0.8, 0.2, 0, 0)),
    Style("accents", 2.5, (0.1, 0.2, 0.7, 0.0), spread=0.5, eases=(0.2, 0.2, 0.3, 0.3), kick=0.3, flash=0.15),
    Style("slideshow", 9.0, (0.5, 0.2, 0.0, 0.3), dissolve=0.7, fade=0.1, footage=0.0, eases=(1, 0, 0, 0), reach=0.1),
    Style("trailer", 3.0, (0.5, 0.2, 0.3, 0.0), spread=0.6, response=2.5, fade=0.15, kick=0.2, flash=0.25, grain=2.0),
    Style("sport", 2.2, (0.3, 0.5, 0.2, 0.0), eases=(0.2, 0.1, 0.6, 0.1), kick=0.6, footage=0.7, shake=0.8, reach=0.4),
    Style("oner", 60.0, (1.0, 0.0, 0.0, 0.0), response=0, kick=0.5, flash=0.2, footage=0.6, eases=(0.2, 0, 0, 0.8)),
    Style("diary", 6.0, (0.3, 0.2, 0.1, 0.4), spread=0.6, response=0.5, dissolve=0.1, footage=0.8, shake=0.8),
    Style("calm", 8.0, (0.6, 0.1, 0.1, 0.2), dissolve=0.35, footage=0.5, eases=(0.6, 0.2, 0, 0.2), reach=0.1),
)


@dataclass(frozen=True)
class Imperfection:
    """How far a cut is from where it was meant: our estimate of what editors do, not a measurement of them.

    jitter, lead: standard deviation and mean earliness, s. late_share of events come up to `late` s after their place.
    missed: share of events placed without regard to the music. unanswered: share of accents that get nothing.
    """

    jitter: float = 0.02
    lead: float = 0.01
    late_share: float = 0.1
    late: float = 0.15
    missed: float = 0.12
    unanswered: float = 0.2


USUAL = Imperfection()
NONE = Imperfection(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
