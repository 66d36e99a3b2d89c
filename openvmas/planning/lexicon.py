"""Text to semantics: what "very calm piano, no drums" says on the axes of `condition.AXES`, by `lexicon.toml`."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from dataclasses import dataclass, field
from importlib import resources

from openvmas.condition import AXES
from openvmas.errors import PlanError

LIMIT = 2.0  # values stay in [-LIMIT, LIMIT]
NEGATION = -0.8  # "not sad" says less than "sad" does, and the contrary
MAX_PHRASE = 3  # words in the longest lexicon entry
SUFFIXES = ("ly", "ness", "es", "s", "ing", "ed", "er", "est", "ful", "y", "ic", "al", "ish")


@dataclass(frozen=True)
class TextCondition:
    """A text's part of the condition.

    axes: axis name → value in [-LIMIT, LIMIT]; only the axes that something is said about.
    tempo: what the tempo words suggest, beats per minute, or None; is_tempo_exact where a number was given ("90 bpm").
    beats_per_bar: what words such as waltz suggest, or None.
    unknown: words that are in no lexicon, in the order of the text.
    """

    axes: dict[str, float]
    tempo: float | None = None
    is_tempo_exact: bool = False
    beats_per_bar: int | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One line of the lexicon. axes: axis name → standard deviations. tempo: beats per minute that it suggests."""

    axes: dict[str, float]
    tempo: float | None
    beats_per_bar: int | None


@dataclass(frozen=True)
class Lexicon:
    """Everything in `lexicon.toml`. entries: word or phrase → what it says; strengths: word → factor."""

    entries: dict[str, Entry]
    strengths: dict[str, float]
    negations: frozenset[str]
    resets: frozenset[str]
    fillers: frozenset[str]

    def find(self, words: list[str], i: int) -> tuple[Entry | None, int]:
        """The entry of the longest phrase that starts at words[i], and how many words it takes (at least 1)."""
        for n_words in range(min(MAX_PHRASE, len(words) - i), 0, -1):
            phrase = " ".join(words[i : i + n_words])
            if phrase in self.entries:
                return self.entries[phrase], n_words
        word = words[i]
        if any(word in known for known in (self.fillers, self.negations, self.strengths, self.resets)):
            return None, 1
        return next((self.entries[stem] for stem in _stems(word) if stem in self.entries), None), 1


@functools.cache
def lexicon() -> Lexicon:
    """The lexicon, read when the first text is parsed."""
    table = tomllib.loads((resources.files("openvmas.planning") / "lexicon.toml").read_text(encoding="utf-8"))
    entries: dict[str, Entry] = {}
    for row in table["entries"]:
        axes = {axis: float(value) for axis, value in row.get("axes", {}).items()}
        entry = Entry(axes, row.get("tempo"), row.get("beats_per_bar"))
        entries |= dict.fromkeys(row["words"].split(", "), entry)
    words = (frozenset(table[name].split()) for name in ("negations", "resets", "fillers"))
    return Lexicon(entries, table["strengths"], *words)


@dataclass
class _Parse:
    """Findings in a text so far. exact_tempos: given as numbers; tempos, metres: suggested by words."""

    axes: dict[str, float] = field(default_factory=dict)
    exact_tempos: list[float] = field(default_factory=list)
    tempos: list[float] = field(default_factory=list)
    metres: list[int] = field(default_factory=list)
    unknown: dict[str, None] = field(default_factory=dict)

    def read_clause(self, words: list[str]) -> None:
        """Add what the words between two commas say; negations and strengths end with the clause."""
        known = lexicon()
        sign, strength, i = 1.0, 1.0, 0
        while i < len(words):
            word = words[i]
            tempo = _tempo_number(words, i)
            entry, n_words = known.find(words, i)
            i += 2 if tempo is not None else n_words
            if tempo is not None:
                self.exact_tempos.append(tempo)
            elif entry is not None:
                self.add(entry, sign * strength)
                strength = 1.0
            elif word in known.negations:
                sign, strength = NEGATION, 1.0
            elif word in known.resets:
                sign, strength = 1.0, 1.0
            elif word in known.strengths:
                # "not very sad" denies the strength more than the sadness
                strength *= 0.5 if sign < 0 and known.strengths[word] > 1 else known.strengths[word]
            elif word not in known.fillers:
                self.unknown[word] = None
                strength = 1.0

    def add(self, entry: Entry, strength: float) -> None:
        """Add an entry's values, times strength; a negated word denies its main values and no tempo."""
        largest = max(map(abs, entry.axes.values()), default=0.0)
        for axis, value in entry.axes.items():
            if strength > 0 or abs(value) >= 0.6 * largest:
                self.axes[axis] = self.axes.get(axis, 0.0) + value * strength
        if strength > 0:
            self.tempos += [entry.tempo] if entry.tempo else []
            self.metres += [entry.beats_per_bar] if entry.beats_per_bar else []


def parse_text(text: str | None) -> TextCondition:
    """The condition of a text, from its known words, their negations ("no drums") and strengths ("very calm")."""
    found = _Parse()
    for clause in re.split(r"[,.;:!?()\n]+(?!\d)", _plain(text or "")):
        found.read_clause(clause.split())
    limited = {axis: round(max(-LIMIT, min(LIMIT, found.axes[axis])), 3) for axis in AXES if axis in found.axes}
    tempos = found.exact_tempos[-1:] or found.tempos
    return TextCondition(
        axes={axis: value for axis, value in limited.items() if value},  # what cancels out is not said
        tempo=sum(tempos) / len(tempos) if tempos else None,
        is_tempo_exact=bool(found.exact_tempos),
        beats_per_bar=found.metres[-1] if found.metres else None,
        unknown=tuple(found.unknown),
    )


def parse_mood(mood: str | None) -> TextCondition:
    """Parse mood words, which must all be known.

    Raises PlanError with the nearest moods if one is not.
    """
    parsed = parse_text(mood)
    if mood is None or ((parsed.axes or parsed.tempo) and not parsed.unknown):
        return parsed
    word = parsed.unknown[0] if parsed.unknown else mood.strip()
    near = difflib.get_close_matches(word, lexicon().entries, n=3, cutoff=0.7) or ["calm", "happy", "dark", "epic"]
    raise PlanError(f"mood: {word!r} is not a mood known here; give another word, such as {', '.join(near)}.")


def _plain(text: str) -> str:
    """Lower case, without apostrophes and what cannot be printed; hyphens and slashes opened up, commas kept."""
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    text = text.lower().replace("'", "").replace("’", "").replace("&", " and ")
    return re.sub(r"[-_/\"“”*+|]+", " ", text)


def _tempo_number(words: list[str], i: int) -> float | None:
    """The number of "90 bpm" at words[i], if it is one that music can have."""
    if i + 1 < len(words) and words[i + 1] == "bpm" and re.fullmatch(r"\d{2,3}(\.\d+)?", words[i]):
        tempo = float(words[i])
        return tempo if 40 <= tempo <= 220 else None
    return None


def _stems(word: str) -> list[str]:
    """Simpler forms that the word may come from, most careful first: happier → happy, drumming → drum."""
    stems = []
    for suffix in SUFFIXES:
        root = word.removesuffix(suffix)
        if root != word and len(root) >= 3:
            stems += [root, root + "e", root + "y"]
            if root.endswith("i"):
                stems.append(root[:-1] + "y")
            if root[-1] == root[-2]:
                stems.append(root[:-1])
    return stems
