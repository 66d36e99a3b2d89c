"""Text to semantics: what "very calm piano, no drums" says on the axes of `condition.AXES`.

Exact words come from `lexicon.toml` and, for other languages, `translations.toml`; so do denials and their scope. What
stands in neither is understood by learned words (`words`), which are loaded when a text has such a word.
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources

from openvmas.condition import AXES, FEELING_AXES, INSTRUMENT_AXES, MOOD_AXES, STYLE_AXES
from openvmas.errors import PlanError
from openvmas.planning.text import TextCondition

LIMIT = 2.0  # values stay in [-LIMIT, LIMIT]
NEGATION = -0.8  # "not sad" says less than "sad" does, and the contrary
MAX_PHRASE = 3  # words in the longest lexicon entry
SUFFIXES = ("ly", "ness", "es", "s", "ing", "ed", "er", "est", "ful", "y", "ic", "al", "ish")
LEARNED_DENIAL = -0.5  # the same of what is learned, which is less sure
KNOWN_WEIGHT = 0.6  # of the lexicon's valence and arousal beside the learned ones, were all words but one known
HEARD_AXIS = 0.2  # least value of valence and arousal, and
HEARD_OTHER = 0.4  # of a style or feeling, that is taken from learned words
HEARD_INSTRUMENT = 0.8  # instruments have their names in the lexicon, so others must be clear
SAID_MOOD, SAID_VERY, SAID_AXIS = 0.45, 1.5, 0.6  # least values that are named
MOOD_WORDS = {
    "arousal": ("calm", "energetic"), "valence": ("sombre", "positive"), "danceability": ("undanceable", "danceable"),
    "acousticness": ("synthetic", "acoustic"), "brightness": ("dark in tone", "bright in tone"),
    "density": ("sparse", "dense"),
}  # fmt: skip
AXIS_WORDS = {"hip_hop": "hip hop", "game": "game music"}
CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d々"  # written without spaces between words
CLAUSE = re.compile(r"[.,;:!?()\n、。，！？；：（）「」…¿¡]+(?!\d)")
PREFERENCE = re.compile(
    r"\b(?:(?:lieber|eher)\b(?P<a>[^,.;]+?)\bals\b|(?:plutôt|mieux)\b(?P<b>[^,.;]+?)\bque\b|"
    r"(?:mejor|antes|más bien)\b(?P<c>[^,.;]+?)\bque\b|rather\b(?P<d>[^,.;]+?)\bthan\b)"
)
# What a scene turns into is what its music is for: "a wedding that ends in disaster". Instruments before it are kept.
_STRETCH = r"[^.,;:!?()\n、。，！？；：（）]+"
TURNS = re.compile(
    rf"(?P<a>{_STRETCH}?)(?:\b(?:turns? (?:in)?to|turning into|becomes?|ends? (?:up )?in|changes? into|"
    r"endet (?:in|mit)|wird zu|verwandelt sich in|schlägt um in|"
    r"(?:acaba|termina) en|se (?:convierte|transforma) en|se vuelve|"
    r"finit (?:en|dans)|tourne (?:au|en|à)|vire au|devient|se (?:transforme|change) en)\b|变成|变为|化为|转为|沦为)"
    rf"(?P<b>{_STRETCH})"
)
# What only seems so is not: "it looks happy but is a lie". What stands before the verb is kept.
SEEMS = re.compile(
    r"(?:\b(?:looks?|seems?|appears?|pretends?|supposedly|scheinbar|angeblich|scheint|wirkt nur|tut so als|parece|"
    r"aparenta|fingen?|semble|semblent|paraît|fait semblant)\b|看似|表面上|好像|貌似|假装)"
    rf"(?P<a>{_STRETCH}?)[,，、]?\s*"
    r"(?:\b(?:but|yet|aber|doch|pero|mais)\b|但是|但|其实|却)(?P<b>[^.;!?\n。！？；]+)"
    rf"|(?P<c>{_STRETCH}?)(?:に見えて|そうに見えるが|のふりをして|なふりをして)、?(?P<d>[^.;!?\n。！？；]+)"
)
TURNS_BEFORE_VERB = (
    re.compile(  # subject and outcome stand before the verb: パーティーが悲劇に変わる, aus Freude wird Trauer
        rf"(?P<a>{_STRETCH}?)が(?P<b>{_STRETCH}?)(?:に|へと)(?:変わる|変わった|変わっていく|終わる|終わった)"
        r"|\baus (?P<c>\w+) wird (?P<d>\w+)"
    )
)
NO_MORE = re.compile(r"\bne (\w+(?: en)?) plus\b(?! que)")  # French: il n'est plus triste
ELISION = re.compile(r"\b(?:l|d|n|j|qu|s|c|m|t)['’](?=\w\w)")  # French and Italian: l'orgue


@dataclass(frozen=True)
class Entry:
    """One line of the lexicon. axes: axis name → standard deviations. tempo: beats per minute that it suggests."""

    axes: dict[str, float]
    tempo: float | None
    beats_per_bar: int | None


@dataclass(frozen=True)
class Lexicon:
    """Everything in `lexicon.toml`. entries: word or phrase → what it says; strengths: word → factor.

    translations: the same as entries for words of other languages; english: what these mean.
    """

    entries: dict[str, Entry]
    translations: dict[str, Entry]
    english: dict[str, str]
    strengths: dict[str, float]
    sayings: dict[str, str]
    negations: frozenset[str]
    negations_after: frozenset[str]
    negations_beside: frozenset[str]
    contraries: frozenset[str]
    resets: frozenset[str]
    fillers: frozenset[str]

    def find(self, words: list[str], i: int) -> tuple[Entry | None, int]:
        """The entry of the longest phrase that starts at words[i], and how many words it takes (at least 1)."""
        for n_words in range(min(MAX_PHRASE, len(words) - i), 0, -1):
            phrase = " ".join(words[i : i + n_words])
            if entry := self.entries.get(phrase) or self.translations.get(phrase):
                return entry, n_words
        word = words[i]
        if self.is_function(word):
            return None, 1
        return next((self.entries[stem] for stem in _stems(word) if stem in self.entries), None), 1

    def is_function(self, word: str) -> bool:
        """Whether a word only denies, strengthens or fills."""
        groups = (self.fillers, self.negations, self.negations_after, self.strengths, self.resets, self.contraries)
        return any(word in known for known in groups)

    @functools.cached_property
    def unspaced(self) -> re.Pattern[str]:
        """The known words of languages without spaces, the longest first."""
        known = [*self.translations, *self.strengths, *self.negations, *self.negations_after, *self.contraries]
        known += [word for word in self.resets | self.fillers if len(word) > 1 or word in "和与の"]
        found = {word for word in known if re.fullmatch(f"[{CJK}]+", word)}
        return re.compile("|".join(sorted(found, key=lambda word: (-len(word), word))))


@functools.cache
def lexicon() -> Lexicon:
    """The lexicon, read when the first text is parsed."""
    folder = resources.files("openvmas.planning")
    table = tomllib.loads((folder / "lexicon.toml").read_text(encoding="utf-8"))
    entries: dict[str, Entry] = {}
    for row in table["entries"]:
        axes = {axis: float(value) for axis, value in row.get("axes", {}).items()}
        entry = Entry(axes, row.get("tempo"), row.get("beats_per_bar"))
        entries |= dict.fromkeys(row["words"].split(", "), entry)
    translations: dict[str, Entry] = {}
    english: dict[str, str] = {}
    for language in tomllib.loads((folder / "translations.toml").read_text(encoding="utf-8")).values():
        for word, others in language.items():
            translations |= {other: entries[word] for other in others.split(", ")}
            english |= {other: word for other in others.split(", ") if other not in entries}
    names = ("negations", "negations_after", "negations_beside", "contraries", "resets", "fillers")
    words = (frozenset(table[name].split()) for name in names)
    return Lexicon(entries, translations, english, table["strengths"], table["sayings"], *words)


@dataclass(frozen=True)
class _Item:
    """A word or phrase of the text. entry: None where it is in no lexicon. sign: -1 where it is denied.

    lead: words before it that say nothing by themselves.
    """

    text: str
    entry: Entry | None
    sign: int
    strength: float = 1.0
    lead: tuple[str, ...] = ()


@dataclass
class _Parse:
    """Findings in a text so far. clauses: content words of each clause; tempos: given as numbers."""

    clauses: list[list[_Item]] = field(default_factory=list)
    exact_tempos: list[float] = field(default_factory=list)

    def read_clause(self, words: list[str]) -> None:
        """Add what the words between two commas say; negations and strengths end with the clause."""
        known = lexicon()
        items: list[_Item] = []
        sign, strength, i = 1, 1.0, 0
        first, is_open = 0, False  # where the span begins that a later denial would reach; a denial without content
        is_contrary, lead = False, []
        while i < len(words):
            word = words[i]
            tempo = _tempo_number(words, i)
            entry, n_words = known.find(words, i)
            stem = None if entry or n_words > 1 else _denied_stem(word)
            if tempo is not None:
                self.exact_tempos.append(tempo)
                n_words = 2
            elif entry is not None:
                items.append(_Item(" ".join(words[i : i + n_words]), entry, sign, strength, tuple(lead)))
                strength, is_open, lead = 1.0, False, []
            elif stem is not None:
                items.append(_Item(stem, known.find([stem], 0)[0], -sign, strength, tuple(lead)))
                strength, is_open, lead = 1.0, False, []
            elif word in known.negations_after and len(items) > first and self._denies_before(words, i, items):
                begin = len(items) - 1 if word in known.negations_beside else first
                items[begin:] = [replace(item, sign=-item.sign) for item in items[begin:]]
                first, sign, is_open = len(items), 1, False
            elif word in known.negations or word in known.negations_after:
                sign, strength, is_open = -1, 1.0, True
            elif word in known.resets:
                sign, strength, first = 1, 1.0, first if is_open or not items else len(items)
            elif word in known.strengths:
                # "not very sad" denies the strength more than the sadness
                strength *= 0.5 if sign < 0 and known.strengths[word] > 1 else known.strengths[word]
                lead.append(word)
            elif word in known.contraries:
                is_contrary = True
            elif word not in known.fillers:
                items.append(_Item(word, None, sign if strength > 0 else -sign, strength, tuple(lead)))
                strength, is_open, lead = 1.0, False, []
            else:
                lead.append(word)
            i += n_words
        self._close(items, first, is_open, is_contrary)

    @staticmethod
    def _denies_before(words: list[str], i: int, items: list[_Item]) -> bool:
        """Whether words[i] denies what stands before it: that is known, or the denial is a word of its own."""
        return items[-1].entry is not None or words[i] not in lexicon().negations_beside

    def _close(self, items: list[_Item], first: int, is_open: bool, is_contrary: bool) -> None:
        """End a clause. A denial with nothing after it denies what came before, in this clause or the last one."""
        if is_open and len(items) > first:
            items[first:] = [replace(item, sign=-1) for item in items[first:]]
        elif (is_open or is_contrary) and not items and self.clauses:
            before = self.clauses[-1]
            if is_open or all(item.sign > 0 for item in before):
                self.clauses[-1] = [replace(item, sign=-1) for item in before]
        if items:
            self.clauses.append(items)

    @property
    def items(self) -> list[_Item]:
        return [item for clause in self.clauses for item in clause]

    def known_axes(self) -> dict[str, float]:
        """The sum of all entries; a negated word denies its main values."""
        axes: dict[str, float] = {}
        for item in self.items:
            if item.entry is None:
                continue
            strength = item.strength * (1.0 if item.sign > 0 else NEGATION)
            largest = max(map(abs, item.entry.axes.values()), default=0.0)
            for axis, value in item.entry.axes.items():
                # "not angry" is more than neutral even though anger is most of all loud.
                if strength > 0 or abs(value) >= (0.4 if axis == "valence" else 0.6) * largest:
                    axes[axis] = axes.get(axis, 0.0) + value * strength
        return axes

    def add_learned(self, axes: dict[str, float], plain: str) -> tuple[str, ...]:
        """Add to the axes what the lexicon does not know, and return the words that say nothing to either.

        plain: the whole text, which is read as it stands where nothing in it is denied.
        """
        wanted = [item for item in self.items if item.sign > 0]
        unread = [item for item in self.items if item.entry is None]
        if not unread:
            return ()
        from openvmas.planning.words import axes_of, is_doubtful, is_word, says_something  # only when a text needs them

        self.clauses = [[item for item in clause if item.entry or is_word(item.text)] for clause in self.clauses]
        wanted = [item for item in wanted if item.entry or is_word(item.text)]
        strangers = [item for item in wanted if item.entry is None]
        # One word that says nothing, such as a name, is not heard; several may be a scene that only all of them tell.
        is_made_up = all(is_doubtful(item.text) for item in strangers)
        if not is_made_up and (len(strangers) > 1 or says_something(strangers[0].text)):
            clauses = (_join(clause, 1) for clause in self.clauses)
            asked = ", ".join(filter(None, clauses))
            is_whole = all(item.sign > 0 and item.strength > 0 for item in self.items)
            heard: dict[str, float] = dict(zip(AXES, axes_of(plain if is_whole else asked), strict=True))
            share = 1 - len(strangers) / len(self.items)  # of the words that the lexicon knows
            _merge(axes, heard, share)
        for clause in self.clauses:
            denied = _join([item for item in clause if item.entry is None], -1)
            if denied:
                for axis, value in zip(AXES, axes_of(denied), strict=True):
                    if abs(value) >= HEARD_OTHER and axis not in axes:
                        axes[axis] = LEARNED_DENIAL * value
        return tuple(
            dict.fromkeys(item.text for item in unread if is_doubtful(item.text) or not says_something(item.text))
        )


def _join(clause: list[_Item], sign: int) -> str:
    """The words of a clause that are asked for (sign 1) or denied (-1), as they may have been written."""
    text = " ".join(word for item in clause if item.sign == sign for word in (*item.lead, item.text))
    return re.sub(rf"(?<=[{CJK}]) (?=[{CJK}])", "", text)


def _merge(axes: dict[str, float], heard: dict[str, float], share: float) -> None:
    """Add learned values to those of the lexicon. share: of the words that the lexicon knows, in [0, 1]."""
    for axis, value in heard.items():
        if axis in ("valence", "arousal"):
            if axis in axes:
                axes[axis] = KNOWN_WEIGHT * share * axes[axis] + (1 - KNOWN_WEIGHT * share) * value
            elif abs(value) >= HEARD_AXIS:
                axes[axis] = value
        elif axis not in axes:
            least = HEARD_INSTRUMENT if axis in INSTRUMENT_AXES else HEARD_OTHER
            if abs(value) >= least:
                axes[axis] = value


@functools.lru_cache(maxsize=1024)
def parse_text(text: str | None, is_exact: bool = False) -> TextCondition:
    """The condition of a text in any language, from its words, negations ("no drums") and strengths ("very calm").

    is_exact: go by the lexicon alone, so that every other word is unknown. What is returned is shared between calls; do
    not change it.
    """
    found = _Parse()
    plain = _plain(text or "")
    for clause in CLAUSE.split(plain):
        found.read_clause(_divide(clause))
    axes = found.known_axes()
    strangers = tuple(dict.fromkeys(item.text for item in found.items if item.entry is None))
    unknown = strangers if is_exact else found.add_learned(axes, plain)
    limited = {axis: round(max(-LIMIT, min(LIMIT, axes[axis])), 3) for axis in AXES if axis in axes}
    said = [item.entry for item in found.items if item.entry is not None and item.sign > 0 and item.strength > 0]
    tempos = found.exact_tempos[-1:] or [entry.tempo for entry in said if entry.tempo]
    metres = [entry.beats_per_bar for entry in said if entry.beats_per_bar]
    return TextCondition(
        axes={axis: value for axis, value in limited.items() if value},  # what cancels out is not said
        tempo=sum(tempos) / len(tempos) if tempos else None,
        is_tempo_exact=bool(found.exact_tempos),
        beats_per_bar=metres[-1] if metres else None,
        unknown=tuple(_as_written(word, text or "") for word in unknown),
        denied=tuple(dict.fromkeys(axis for item in found.items if item.sign < 0 for axis in _main_axes(item.entry))),
        named=tuple(
            lexicon().english.get(item.text, item.text)
            for item in found.items
            if item.entry is not None and item.sign > 0 and item.strength > 0
        ),
    )


def _as_written(word: str, text: str) -> str:
    """The word with the capitals that it has in the text."""
    found = re.search(re.escape(word), text, re.IGNORECASE)
    return found[0] if found else word


def _main_axes(entry: Entry | None) -> list[str]:
    """The axis of a style, feeling or instrument that an entry says most of, if it is such a word."""
    named = {axis: value for axis, value in (entry.axes if entry else {}).items() if axis not in MOOD_AXES}
    return [max(named, key=lambda axis: named[axis])] if named and max(named.values()) >= SAID_AXIS else []


def parse_mood(mood: str | None) -> TextCondition:
    """Parse mood words, which must all be known.

    Raises PlanError with the nearest moods if one is not.
    """
    parsed = parse_text(mood, is_exact=True)
    if mood is None or ((parsed.axes or parsed.tempo) and not parsed.unknown):
        return parsed
    word = parsed.unknown[0] if parsed.unknown else mood.strip()
    near = difflib.get_close_matches(word, lexicon().entries, n=3, cutoff=0.7) or ["calm", "happy", "dark", "epic"]
    raise PlanError(f"mood: {word!r} is not a mood known here; give another word, such as {', '.join(near)}.")


def describe_text(text: str | None) -> str:
    """Say in words what is understood of a text: "calm, piano, no drums, 72 BPM; not understood: 'Tokyo'"."""
    parsed = parse_text(text)
    said = describe_axes(parsed.axes)
    for axis in parsed.denied:
        if parsed.axes.get(axis, 0.0) < 0:
            said.append(f"{'no' if axis in INSTRUMENT_AXES else 'not'} {AXIS_WORDS.get(axis, axis)}")
    less = (axis for axis in INSTRUMENT_AXES if parsed.axes.get(axis, 0.0) <= -SAID_AXIS and axis not in parsed.denied)
    said += [f"less {AXIS_WORDS.get(axis, axis)}" for axis in less]
    if parsed.tempo:
        said.append(f"{parsed.tempo:.0f} BPM" if parsed.is_tempo_exact else f"about {parsed.tempo:.0f} BPM")
    if parsed.beats_per_bar:
        said.append(f"{parsed.beats_per_bar} beats to the bar")
    unknown = ", ".join(f"'{word}'" for word in parsed.unknown)
    understood = ", ".join(said) or (unknown and "nothing")
    return "; ".join(filter(None, [understood, unknown and f"not understood: {unknown}"]))


def describe_axes(axes: Mapping[str, float]) -> list[str]:
    """The clearest of the axes in words, moods first: "calm", "sad", "piano"."""
    said: list[str] = []
    for name, (low, high) in MOOD_WORDS.items():
        value = axes.get(name, 0.0)
        if abs(value) >= SAID_MOOD:
            amount = "very " if abs(value) >= SAID_VERY else ""
            said.append(amount + (high if value > 0 else low))
    for kind, most in ((FEELING_AXES, 2), (STYLE_AXES, 2), (INSTRUMENT_AXES, 4)):
        strongest = sorted((axis for axis in kind if axes.get(axis, 0.0) >= SAID_AXIS), key=lambda axis: -axes[axis])
        said += [AXIS_WORDS.get(axis, axis) for axis in strongest[:most]]
    return list(dict.fromkeys(said))


def _plain(text: str) -> str:
    """Lower case, without apostrophes and what cannot be printed; hyphens and slashes opened up, commas kept."""
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    text = (
        ELISION.sub("", re.sub(r"\bn['’](?=\w)", "ne ", text.lower()))
        .replace("'", "")
        .replace("’", "")
        .replace("&", " and ")
    )
    text = re.sub(r"[-_/\"“”*+|]+", " ", text)
    text = PREFERENCE.sub(lambda found: f"{found['a'] or found['b'] or found['c'] or found['d']} without ", text)
    text = NO_MORE.sub(r"ne \1 jamais", text)
    text = _sayings().sub(lambda found: lexicon().sayings[found[0]], text)
    text = TURNS_BEFORE_VERB.sub(
        lambda found: _outcome(found[0], found["a"] or found["c"], found["b"] or found["d"]), text
    )
    text = SEEMS.sub(lambda found: _outcome(found[0], found["a"] or found["c"], found["b"] or found["d"]), text)
    return TURNS.sub(lambda found: _outcome(found[0], found["a"], found["b"]), text)


def _outcome(whole: str, before: str, after: str) -> str:
    """The part of a text that a scene turns into, or the whole where an instrument or a style is named before it."""
    words = _divide(before)
    named = (_main_axes(lexicon().find(words, i)[0]) for i in range(len(words)))
    return whole if any(axis not in FEELING_AXES for axes in named for axis in axes) else f" {after.strip()} "


@functools.cache
def _sayings() -> re.Pattern[str]:
    """The sayings of the lexicon; those of languages with spaces stand between other words."""
    names = sorted(lexicon().sayings, key=lambda saying: -len(saying))
    return re.compile("|".join(re.escape(name) if re.match(f"[{CJK}]", name) else rf"\b{name}\b" for name in names))


def _divide(clause: str) -> list[str]:
    """The words of a clause; where a language has no spaces, its known words and what lies between them."""
    words: list[str] = []
    for run in re.split(f"([{CJK}]+)", clause):
        if not re.match(f"[{CJK}]", run):
            words += re.sub(r"(\d)\s*(bpm)\b", r"\1 \2", run).split()
            continue
        end = 0
        for found in lexicon().unspaced.finditer(run):
            words += [run[end : found.start()]] * (found.start() > end) + [found[0]]
            end = found.end()
        words += [run[end:]] * (end < len(run))
    return _join_strangers(words)


def _join_strangers(words: list[str]) -> list[str]:
    """The words, with particles and single signs of denial inside unknown text (雨の夜, 不安) joined to it again."""
    known, joined = lexicon(), []
    for i, word in enumerate(words):
        is_cjk = bool(re.match(f"[{CJK}]", word))
        after = words[i + 1] if i + 1 < len(words) else ""
        if word in known.negations_beside and is_cjk:
            before = joined[-1] if joined else ""
            near = (after, before)
            if not any(item in known.translations for item in near):
                word = f"\0{word}"  # part of something longer
        is_strange = is_cjk and not (word in known.translations or known.is_function(word))
        if joined and is_strange and joined[-1][:1] == "\0":
            joined[-1] += word.lstrip("\0")
        else:
            joined.append("\0" + word.lstrip("\0") if is_strange else word)
    return [word.lstrip("\0") for word in joined]


def _tempo_number(words: list[str], i: int) -> float | None:
    """The number of "90 bpm" at words[i], if it is one that music can have."""
    if i + 1 < len(words) and words[i + 1] == "bpm" and re.fullmatch(r"\d{2,3}(\.\d+)?", words[i]):
        tempo = float(words[i])
        return tempo if 40 <= tempo <= 220 else None
    return None


def _denied_stem(word: str) -> str | None:
    """The known word that a word says is missing: joyless → joy, angstfrei → angst; None where it is another word."""
    for suffix in ("less", "frei", "los"):
        stem = word.removesuffix(suffix)
        if stem != word and len(stem) >= 3 and lexicon().find([stem], 0)[0] is not None:
            return stem
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
