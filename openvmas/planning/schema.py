"""The plan of a score as data."""

from __future__ import annotations

import functools
import itertools
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from openvmas.condition import AXES, FEELING_AXES, INSTRUMENT_AXES, MOOD_AXES, STYLE_AXES
from openvmas.errors import PlanError
from openvmas.planning.beat_grid import MAX_TEMPO, MIN_TEMPO, Fit, Grid, TempoMark, lay_grid, lay_span, measure_fit
from openvmas.planning.text import describe_text, parse_mood, parse_text

if TYPE_CHECKING:
    from openvmas.planning.music_edit import MusicEdit

KINDS = (STYLE_AXES, FEELING_AXES, INSTRUMENT_AXES)  # of these, naming one replaces the others
NAMED = 0.5  # the value from which an axis counts as named
MOOD_OF_FEELING = {
    "happy": ("valence", 1), "funny": ("valence", 1), "sad": ("valence", -1), "angry": ("valence", -1),
    "scary": ("valence", -1), "tender": ("arousal", -1), "exciting": ("arousal", 1),
}  # fmt: skip
MAX_SEED = 2**62
MAX_AXIS = 3.0  # standard deviations that an axis may be set to
MAX_LIKE_AT = 86_400.0  # s
SILENT = re.compile(
    r"(no music( here)?|without music|silence|silent|keine musik|stille|sans musique|silencio|sin música|senza musica"
    r"|sem música)"
)
JOINT = 0.001  # s, within which two sections count as meeting
MARGIN = 8.0  # s, that the grid goes on before and after the picture, so that every step of it lies inside a bar


class FieldError(PlanError):
    """A PlanError about one field of a plan; `reason` says what is wrong with it and how to mend it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"plan, {path}: {reason}" if path else f"plan: {reason}")
        self.path, self.reason = path, reason


def check_number(path: str, value: Any, low: float, high: float, unit: str = "") -> None:
    """Raises FieldError unless the value is a number from low to high."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise FieldError(path, f"{value!r} is not a number; give a number from {low:g} to {high:g}{unit}.")
    if not low <= float(value) <= high:
        raise FieldError(path, f"{float(value):g} is out of range; give a number from {low:g} to {high:g}{unit}.")


@dataclass(frozen=True)
class Section:
    """A stretch of the video with one character.

    start, end: s. energy: in [0, 1], 0.7 is ordinary music, 0 none at all. text: the user's words for this section,
    or None.
    mood: the user's values, axis → standard deviations. picture: what the picture says, the same way.
    tempo: BPM that the user wants here, or None to go with the tempo map. is_locked: planning again must not touch it.
    like: path of a recording that it should sound like, from like_at s on (its fullest seconds if None).
    """

    start: float
    end: float
    energy: float = 0.7
    text: str | None = None
    mood: Mapping[str, float] = field(default_factory=dict)
    picture: Mapping[str, float] = field(default_factory=dict)
    tempo: float | None = None
    is_locked: bool = False
    like: str | None = None
    like_at: float | None = None

    @property
    def is_silent(self) -> bool:
        """Whether no music is wanted here: an energy of 0, or words such as "no music"."""
        return self.energy == 0 or SILENT.fullmatch((self.text or "").strip(" .!").lower()) is not None


@dataclass(frozen=True)
class Hit:
    """A moment that gets an accent. time: s; strength: in (0, 1]; source: "user" (answered exactly) or "picture"."""

    time: float
    strength: float = 1.0
    source: str = "user"


@dataclass(frozen=True)
class ScorePlan:
    """Everything that is decided about the music before a note is written.

    duration: of the picture, s, exact. tempo_map: marks, increasing in time; empty for music without a beat.
    sections: without gaps from 0 to the end. hits: increasing in time. text, mood: the user's words for the whole.
    energy_curve: (time s, factor) points; energy at a time is the section's times the factor between the points.
    seed: of the music. music: the recording that is played, if one is.
    """

    duration: Fraction
    sections: tuple[Section, ...]
    tempo_map: tuple[TempoMark, ...] = ()
    beats_per_bar: int = 4
    hits: tuple[Hit, ...] = ()
    energy_curve: tuple[tuple[float, float], ...] = ()
    text: str | None = None
    mood: str | None = None
    seed: int = 0
    music: MusicEdit | None = None

    def __post_init__(self) -> None:
        _check(self)

    @functools.cached_property
    def grid(self) -> Grid:
        """Beats and downbeats from MARGIN before the picture to MARGIN after it, with the sections' own tempos."""
        end = float(self.duration)
        grid = lay_grid(self.tempo_map, self.beats_per_bar, -MARGIN, end + MARGIN)
        times = np.array([hit.time for hit in self.hits])
        strengths = np.array([hit.strength for hit in self.hits])
        for section in self.sections:
            if section.tempo is not None:
                is_last = section.end >= end - JOINT
                span = (section.start, end + MARGIN if is_last else section.end)
                grid = lay_span(grid, span, section.tempo, self.beats_per_bar, times, strengths)
        return grid

    @property
    def beats(self) -> np.ndarray:
        """The beats within the picture, s: [N]."""
        return self._within(self.grid.beats)

    @property
    def downbeats(self) -> np.ndarray:
        """The downbeats within the picture, s: [M]."""
        return self._within(self.grid.downbeats)

    def _within(self, times: np.ndarray) -> np.ndarray:
        return times[(times >= 0) & (times < float(self.duration))]

    @property
    def tempo(self) -> float:
        """The tempo that most of the video has, BPM; 0 where there is no beat."""
        if len(self.grid.beats) < 2:
            return 0.0
        is_inside = (self.grid.beats[1:] > 0) & (self.grid.beats[:-1] < float(self.duration))
        return 60.0 / float(np.median(np.diff(self.grid.beats)[is_inside]))

    @functools.cached_property
    def silences(self) -> tuple[tuple[float, float], ...]:
        """Stretches (start, end; s) in which no music is wanted, those that meet joined."""
        found: list[tuple[float, float]] = []
        for section in self.sections:
            if section.is_silent:
                joins = bool(found) and abs(found[-1][1] - section.start) <= JOINT
                found[-1:] = [(found[-1][0], section.end)] if joins else [*found[-1:], (section.start, section.end)]
        return tuple(found)

    @functools.cached_property
    def fit(self) -> Fit:
        """Shares of the hits that lie on the grid, beside chance."""
        times = np.array([hit.time for hit in self.hits])
        return measure_fit(times, np.array([hit.strength for hit in self.hits]), self.grid, float(self.duration))

    @functools.cached_property
    def unknown_words(self) -> tuple[str, ...]:
        """Words of the user that say nothing that is known and so change nothing."""
        texts = [self.text, self.mood, *(section.text for section in self.sections)]
        return tuple(dict.fromkeys(word for text in texts for word in parse_text(text).unknown))

    @functools.cached_property
    def heard(self) -> str:
        """The user's words as they are understood: "calm, piano, no drums, 72 BPM; not understood: 'Tokyo'", or ""."""
        whole = describe_text(", ".join(filter(None, [self.text, self.mood])))
        sections = [describe_text(section.text) for section in self.sections]
        own = [f"section {i}: {said}" for i, said in enumerate(sections, start=1) if said]
        return "; ".join(filter(None, [whole, *own]))

    def semantics(self, section: Section) -> dict[str, float]:
        """The sound that is asked of a section, axis → value.

        Its own words and values first, then the words for the whole, then what the picture says; what goes before
        keeps from what comes after only that which agrees with it.
        """
        asked = self.said(section)
        merged = {**_agreeing(section.picture, asked), **asked}
        return {axis: merged[axis] for axis in AXES if axis in merged}

    def said(self, section: Section) -> dict[str, float]:
        """The sound that the user's words and values ask of a section, whatever the picture says: axis → value."""
        own = {**section.mood, **parse_text(section.text).axes}
        whole = {**parse_mood(self.mood).axes, **parse_text(self.text).axes}
        return {**_agreeing(whole, own), **own}


def _agreeing(other: Mapping[str, float], asked: Mapping[str, float]) -> dict[str, float]:
    """Other values as far as they agree with what is asked: a style, feelings or instruments that are named replace the
    others of their kind, and the more the moods contradict each other, the less the rest counts."""
    replaced = {axis for kind in KINDS if any(asked.get(axis, 0) >= NAMED for axis in kind) for axis in kind}
    # A feeling against the mood that is asked for is no compromise to make: a happy picture under sad words is dropped.
    replaced |= {axis for axis, (mood, sign) in MOOD_OF_FEELING.items() if sign * asked.get(mood, 0.0) <= -NAMED}
    moods = {axis: asked[axis] for axis in (*MOOD_AXES, *FEELING_AXES) if axis in asked}
    opposed = sum(max(0.0, -value * other.get(axis, 0.0)) for axis, value in moods.items())
    trust = max(0.0, 1.0 - opposed / max(sum(value**2 for value in moods.values()), 1e-9))
    left = {axis: value * trust for axis, value in other.items() if axis not in replaced and axis not in asked}
    return {axis: value for axis, value in left.items() if trust == 1 or abs(value) >= 0.05}


def _check(plan: ScorePlan) -> None:
    """Raises FieldError at the first field that makes no sense."""
    if not isinstance(plan.duration, Fraction) or plan.duration <= 0:
        raise FieldError("duration", f"{plan.duration} is no length; give the picture's length in seconds, above 0.")
    end = float(plan.duration)
    check_number("beats_per_bar", plan.beats_per_bar, 2, 7)
    check_number("seed", plan.seed, 0, MAX_SEED)
    _check_mood("mood", plan.mood)
    for i, mark in enumerate(plan.tempo_map):
        path = f"tempo_map[{i}]"
        check_number(f"{path}.time", mark.time, 0, end, " s")
        check_number(f"{path}.tempo", mark.tempo, MIN_TEMPO, MAX_TEMPO, " beats per minute")
        check_number(f"{path}.beat", mark.beat, 1, plan.beats_per_bar)
    _check_sections(plan.sections, end)
    for i, hit in enumerate(plan.hits):
        check_number(f"hits[{i}].time", hit.time, 0, end, " s")
        if not hit.time < end:
            raise FieldError(f"hits[{i}].time", f"{hit.time:g} s is where the video ends; give an earlier moment.")
        check_number(f"hits[{i}].strength", hit.strength, 0, 1)
        if hit.source not in ("user", "picture"):
            raise FieldError(f"hits[{i}].source", f"{hit.source!r} is neither user nor picture; give one of these.")
    for i, (time, factor) in enumerate(plan.energy_curve):
        check_number(f"energy_curve[{i}][0]", time, 0, end, " s")
        check_number(f"energy_curve[{i}][1]", factor, 0, 4)
    if plan.music is not None:
        plan.music.check(end)
    for name, times in (
        ("tempo_map", [mark.time for mark in plan.tempo_map]),
        ("hits", [hit.time for hit in plan.hits]),
        ("energy_curve", [time for time, _ in plan.energy_curve]),
    ):
        for i, (a, b) in enumerate(itertools.pairwise(times)):
            if b <= a:
                raise FieldError(
                    f"{name}[{i + 1}]", f"{b:g} s comes after {a:g} s; put them in order of time, each once."
                )


def _check_mood(path: str, mood: str | None) -> None:
    try:
        parse_mood(mood)
    except FieldError:
        raise
    except PlanError as error:
        raise FieldError(path, str(error).removeprefix("mood: ")) from error


def _check_sections(sections: tuple[Section, ...], end: float) -> None:
    if not sections:
        raise FieldError("sections", f"there is none; give at least one, from 0 to {end:g} s.")
    for i, section in enumerate(sections):
        path = f"sections[{i}]"
        check_number(f"{path}.start", section.start, 0, end, " s")
        check_number(f"{path}.end", section.end, 0, end + JOINT, " s")
        check_number(f"{path}.energy", section.energy, 0, 1)
        if section.tempo is not None:
            check_number(f"{path}.tempo", section.tempo, MIN_TEMPO, MAX_TEMPO, " beats per minute")
        if section.like_at is not None:
            check_number(f"{path}.like_at", section.like_at, 0, MAX_LIKE_AT, " s")
            if section.like is None:
                raise FieldError(f"{path}.like_at", "there is no recording; name it in `like` or leave like_at out.")
        for name in ("mood", "picture"):
            for axis, value in getattr(section, name).items():
                if axis not in AXES:
                    raise FieldError(f"{path}.{name}", f"{axis!r} is no axis; give some of {', '.join(AXES)}.")
                check_number(f"{path}.{name}.{axis}", value, -MAX_AXIS, MAX_AXIS)
        if section.end <= section.start:
            raise FieldError(
                f"{path}.end", f"{section.end:g} s is not after its start; give a time above {section.start:g}."
            )
        before = sections[i - 1].end if i else 0.0
        if abs(section.start - before) > JOINT:
            what = "leaves a gap after" if section.start > before else "overlaps"
            where = f"sections[{i - 1}], which ends at {before:g} s" if i else "the beginning"
            raise FieldError(f"{path}.start", f"{section.start:g} s {what} {where}; set it to {before:g}.")
    if abs(sections[-1].end - end) > JOINT:
        path = f"sections[{len(sections) - 1}].end"
        raise FieldError(path, f"{sections[-1].end:g} s is not the end of the video; set it to {end:g}.")
