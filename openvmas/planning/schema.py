"""The plan of a score as data, and its YAML, which the user can read, edit and hand back."""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml

from openvmas.condition import AXES, FEELING_AXES, INSTRUMENT_AXES, MOOD_AXES, STYLE_AXES
from openvmas.errors import PlanError
from openvmas.planning.beat_grid import MAX_TEMPO, MIN_TEMPO, Fit, Grid, TempoMark, lay_grid, lay_span, measure_fit
from openvmas.planning.text import describe_text, parse_mood, parse_text

if TYPE_CHECKING:
    from openvmas.planning.music_edit import MusicEdit, MusicJoin

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


VERSION = 1
# PyYAML comes with or without libyaml; both give the same nodes, the C one ten times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Item = TypeVar("Item")
FIELDS = (
    "openvmas_plan", "duration", "seed", "text", "mood", "beats_per_bar", "tempo_map", "sections", "hits",
    "energy_curve", "music",
)  # fmt: skip

HEADER = """\
# The plan of the music for one video, made by OpenVMAS. Edit it, then: openvmas score VIDEO --plan THIS_FILE
# Times are seconds from the start of the picture; null means "nothing asked". Field by field: docs/plan.md
"""


def write_plan(plan: ScorePlan) -> str:
    """The plan as YAML text with a comment for every field; `read_plan` gives the same plan back."""
    lines = [HEADER.rstrip(), *_summary(plan)]
    lines += [
        f"openvmas_plan: {VERSION}",
        f"duration: {_fraction(plan.duration)}  # length of the picture, s; leave it as it is",
        f"seed: {plan.seed}  # another seed writes other music to the same plan",
        f"text: {_text(plan.text)}  # your words for the whole, such as calm piano, hopeful",
        f"mood: {_text(plan.mood)}  # one mood word for the whole, such as calm, happy, dark, epic",
        f"beats_per_bar: {plan.beats_per_bar}",
        "",
        "# Where beats lie: a beat at `time`, the tempo from there on in beats per minute, and which beat of its bar",
        "# that is (1 is the downbeat). One line is a steady tempo; [] is music without a beat.",
        "tempo_map:" if plan.tempo_map else "tempo_map: []",
    ]
    lines += [f"- {{time: {_number(m.time)}, tempo: {_number(m.tempo)}, beat: {m.beat}}}" for m in plan.tempo_map]
    lines += [
        "",
        "# Stretches of the video with one character; each begins where the one before ends.",
        "#   energy: 0 no music at all, 0.1 very quiet, 0.7 ordinary, 1 the loudest and fullest.",
        "#   text: your words for this section; mood: a mood word, or values such as {valence: 1.0, piano: 1.5}.",
        "#   picture: what the picture says (in about -2 to 2), used where your words and values say nothing.",
        "#   tempo: beats per minute for this section only. locked: planning again leaves the section alone.",
        "#   like: a recording that the section should sound like; like_at: where in it, s. Leave both out for none.",
        "sections:",
    ]
    for section in plan.sections:
        lines += _write_section(plan, section)
    lines += [
        "",
        "# Moments that get an accent. Add your own with source: user; those are answered at exactly their time.",
        "# strength: above 0 up to 1. Delete a line and its moment passes unmarked.",
        "hits:" if plan.hits else "hits: []",
    ]
    lines += [f"- {{time: {_number(h.time)}, strength: {_number(h.strength)}, source: {h.source}}}" for h in plan.hits]
    lines += [
        "",
        "# The finer course of energy: [time, factor]; the section's energy is multiplied by the factor.",
        "energy_curve:" if plan.energy_curve else "energy_curve: []",
    ]
    lines += [f"- [{_number(time)}, {_number(factor)}]" for time, factor in plan.energy_curve]
    if plan.music is not None:
        from openvmas.planning.music_edit import write_music  # loaded where a recording is played

        lines += write_music(plan.music, _number, _text)
    return "\n".join(lines) + "\n"


def _summary(plan: ScorePlan) -> list[str]:
    """Comment lines that say how the plan turned out."""
    lines = []
    if len(plan.beats) and plan.hits:
        fit = plan.fit
        lines.append(
            f"# Of the accents' strength {100 * fit.on_beat:.0f} % falls on a beat (by chance "
            f"{100 * fit.on_beat_chance:.0f} %), {100 * fit.on_downbeat:.0f} % on a downbeat (by chance "
            f"{100 * fit.on_downbeat_chance:.0f} %)."
        )
    if plan.heard:
        lines.append(f"# Your words were heard as: {plan.heard}")
    from openvmas.planning.voices import choose_voice  # which reads plans itself

    lines.append(f"# Voice of --model auto: {choose_voice(plan).reason}")
    return lines


def _write_section(plan: ScorePlan, section: Section) -> list[str]:
    moments = [hit for hit in plan.hits if section.start <= hit.time < section.end]
    strongest = sorted(sorted(moments, key=lambda hit: -hit.strength)[:3], key=lambda hit: hit.time)
    beats = plan.beats[(plan.beats >= section.start) & (plan.beats < section.end)]
    note = f"# {section.end - section.start:.1f} s"
    if len(beats) > 1:
        note += f", {60 * (len(beats) - 1) / float(beats[-1] - beats[0]):.1f} beats per minute"
    if strongest:
        note += ", key moments at " + ", ".join(f"{hit.time:.2f}" for hit in strongest)
    like = [f"  like: {_text(section.like)}"] if section.like is not None else []
    like += [f"  like_at: {_number(section.like_at)}"] if section.like_at is not None else []
    return [
        f"- start: {_number(section.start)}  {note}",
        f"  end: {_number(section.end)}",
        f"  energy: {_number(section.energy)}",
        f"  text: {_text(section.text)}",
        f"  mood: {_axes(section.mood)}",
        f"  picture: {_axes(section.picture)}",
        f"  tempo: {'null' if section.tempo is None else _number(section.tempo)}",
        f"  locked: {'true' if section.is_locked else 'false'}",
        *like,
    ]


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same float, of Python's and NumPy's numbers alike."""
    return repr(float(value))


def _axes(values: Any) -> str:
    return "{" + ", ".join(f"{axis}: {_number(value)}" for axis, value in values.items()) + "}"


def _text(text: str | None) -> str:
    if text is None:
        return "null"
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf")).rstrip("\n")


def _fraction(value: Fraction) -> str:
    """A decimal where one of at most twelve places is exact, else numerator/denominator."""
    for places in range(13):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(scaled.numerator).rjust(places + 1, "0")
            return f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"{value.numerator}/{value.denominator}"


def read_plan(text: str, name: str = "plan") -> ScorePlan:
    """The plan that a YAML text describes.

    name: of the file, for messages. Raises PlanError that names line and field and says how to mend it.
    """
    try:
        node = yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f" line {min(mark.line + 1, len(text.splitlines()))}" if mark else ""
        problem = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        raise PlanError(
            f"{name}{line}: this is not YAML ({problem}); mend this line or write the plan anew."
        ) from error
    except (RecursionError, UnicodeError) as error:
        raise PlanError(f"{name}: this is not a plan; write one with `openvmas plan VIDEO`.") from error
    if node is None:
        raise PlanError(f"{name} is empty; write a plan with `openvmas plan VIDEO`.")
    root = _Value(node, "", name, {})
    try:
        return _read_root(root)
    except FieldError as error:
        raise root.locate(error) from error


class _Value:
    """A YAML node that knows its path in the plan, so that every complaint can name line and field."""

    def __init__(self, node: Any, path: str, name: str, lines: dict[str, int]) -> None:
        self.node, self.path, self.name, self.lines = node, path, name, lines
        lines[path] = node.start_mark.line + 1

    def locate(self, error: FieldError) -> PlanError:
        """The complaint with file, line and field."""
        path = error.path
        while path not in self.lines:
            path = re.sub(r"(\.[^.\[\]]*|\[\d+\]|^[^.\[]+)$", "", path)
        field = f", {error.path}" if error.path else ""
        return PlanError(f"{self.name} line {self.lines[path]}{field}: {error.reason}")

    def error(self, reason: str) -> FieldError:
        return FieldError(self.path, reason)

    @property
    def is_null(self) -> bool:
        return self.node.tag == "tag:yaml.org,2002:null"

    def items(self) -> dict[str, _Value]:
        """The fields of a mapping."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("this must be fields with values; write them as `name: value`.")
        found: dict[str, _Value] = {}
        for key, value in self.node.value:
            key_name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            path = f"{self.path}.{key_name}" if self.path else key_name
            child = _Value(value, path, self.name, self.lines)
            self.lines[path] = key.start_mark.line + 1
            if key_name in found:
                raise FieldError(path, "this field is there twice; delete one.")
            found[key_name] = child
        return found

    def read(self, kind: type[Item], names: Sequence[str] = ()) -> Item:
        """A dataclass from a mapping with its fields, each read as its type says; `is_x` is written as `x`.

        names: of the fields as a message lists them, with those that are read elsewhere.
        """
        known = {f.name.removeprefix("is_"): f for f in fields(kind)}  # pyright: ignore[reportArgumentType]
        names = names or list(known)
        found = self.items()
        for key, value in found.items():
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
                remedy = f"did you mean {near[0]}?" if near else f"the fields here are {', '.join(names)}."
                raise value.error(f"there is no such field; {remedy}")
        missing = sorted(name for name, f in known.items() if _is_required(f) and name not in found)
        if missing:
            raise self.error(f"the field {missing[0]} is missing; add it.")
        values = {known[key].name: READERS[known[key].type](value) for key, value in found.items() if key in known}
        try:
            return kind(**values)
        except FieldError:
            raise
        except PlanError as error:
            raise FieldError(f"{self.path}.tempo", str(error).removeprefix("tempo: ")) from error

    def sequence(self, read: Callable[[_Value], Item], sort: Callable[[Item], Any] | None = None) -> tuple[Item, ...]:
        """The items of a list, sorted by `sort` if given (their lines go with them)."""
        if self.is_null:
            return ()
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error("this must be a list; begin each item with a dash.")
        nodes = list(self.node.value)
        items = [read(_Value(n, f"{self.path}[{i}]", self.name, self.lines)) for i, n in enumerate(nodes)]
        if sort is not None:
            order = sorted(range(len(items)), key=lambda i: sort(items[i]))
            if order != list(range(len(items))):
                nodes = [nodes[k] for k in order]
                items = [read(_Value(n, f"{self.path}[{i}]", self.name, self.lines)) for i, n in enumerate(nodes)]
        return tuple(items)

    def scalar(self, wanted: str) -> str:
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null:
            raise self.error(f"{wanted} is missing here; give one.")
        return self.node.value

    def text(self) -> str | None:
        """Words, or None for null."""
        return None if self.is_null else self.scalar("a text")

    def word(self) -> str:
        return self.scalar("a word")

    def number(self) -> float:
        text = self.scalar("a number")
        try:
            return float(text)
        except ValueError:
            raise self.error(f"{text!r} is not a number; give one such as 0.5.") from None

    def number_or_null(self) -> float | None:
        return None if self.is_null else self.number()

    def whole(self) -> int:
        text = self.scalar("a whole number")
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            raise self.error(f"{text!r} is not a whole number; give one such as 4.")
        return int(text)

    def yes_or_no(self) -> bool:
        text = self.scalar("true or false").lower()
        if text not in ("true", "false", "yes", "no"):
            raise self.error(f"{text!r} is neither true nor false; give one of these.")
        return text in ("true", "yes")

    def fraction(self) -> Fraction:
        text = self.scalar("a length in seconds")
        if not re.fullmatch(r"\d{1,30}(\.\d{1,30}|/0*[1-9]\d{0,30})?", text):
            raise self.error(f"{text!r} is no length; give seconds as 12.5 or 1001/30.")
        return Fraction(text)

    def axes(self) -> dict[str, float]:
        """Values by axis, or the meaning of mood words."""
        if self.is_null:
            return {}
        if isinstance(self.node, yaml.ScalarNode):
            try:
                return parse_mood(self.node.value).axes
            except PlanError as error:
                raise self.error(str(error).removeprefix("mood: ")) from error
        return {axis: value.number() for axis, value in self.items().items()}

    def music(self) -> MusicEdit | None:
        """The recording that is played, or None for null."""
        from openvmas.planning.music_edit import MusicEdit

        return None if self.is_null else self.read(MusicEdit)

    def join(self) -> MusicJoin:
        from openvmas.planning.music_edit import MusicJoin

        return self.read(MusicJoin)

    def pair(self) -> tuple[float, float]:
        values = self.sequence(_Value.number)
        if len(values) != 2:
            raise self.error(f"this has {len(values)} numbers; give two, [time, factor].")
        return values[0], values[1]


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


READERS: dict[Any, Callable[[_Value], Any]] = {
    "float": _Value.number,
    "float | None": _Value.number_or_null,
    "int": _Value.whole,
    "str": _Value.word,
    "str | None": _Value.text,
    "bool": _Value.yes_or_no,
    "Fraction": _Value.fraction,
    "Mapping[str, float]": _Value.axes,
    "tuple[TempoMark, ...]": lambda value: value.sequence(lambda item: item.read(TempoMark)),
    "tuple[Section, ...]": lambda value: value.sequence(lambda item: item.read(Section)),
    "tuple[Hit, ...]": lambda value: value.sequence(lambda item: item.read(Hit), sort=lambda hit: hit.time),
    "tuple[tuple[float, float], ...]": lambda value: value.sequence(_Value.pair),
    "MusicEdit | None": _Value.music,
    "tuple[MusicJoin, ...]": lambda value: value.sequence(_Value.join, sort=lambda join: join.time),
}


def _read_root(root: _Value) -> ScorePlan:
    found = root.items()
    if "openvmas_plan" not in found:
        raise root.error("this is not a plan of OpenVMAS; write one with `openvmas plan VIDEO`.")
    if (version := found["openvmas_plan"].whole()) != VERSION:
        raise found["openvmas_plan"].error(f"this is a plan of version {version}; write it anew with `openvmas plan`.")
    return root.read(ScorePlan, FIELDS)
