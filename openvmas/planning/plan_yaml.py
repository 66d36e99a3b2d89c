"""The plan as YAML, which the user can read, edit and hand back."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from openvmas.errors import PlanError
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.schema import FieldError, Hit, ScorePlan, Section
from openvmas.planning.text import parse_mood

if TYPE_CHECKING:
    from openvmas.planning.music_edit import MusicEdit, MusicJoin

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
