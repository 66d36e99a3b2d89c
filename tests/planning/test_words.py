"""Words of any language: subwords, what is learned, the scope of denials, and what is shown as heard."""

from __future__ import annotations

import csv
import subprocess
import sys
import tomllib
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.condition import AXES, INSTRUMENT_AXES
from openvmas.errors import PlanError
from openvmas.planning import words
from openvmas.planning.lexicon import LIMIT, describe_text, lexicon, parse_mood, parse_text
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.schema import ScorePlan, Section
from openvmas.planning.words import axes_of, says_something, word_model

MADE_UP_HEARD = 5  # of a hundred
PHRASES = Path(__file__).parents[2] / "tools" / "words" / "phrases.csv"


def read_phrases() -> list[dict[str, str]]:
    with PHRASES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_phrases_are_labelled_and_held_out_by_topic() -> None:
    rows = read_phrases()
    learned = [row for row in rows if row["split"] == "train"]
    held_out = [row for row in rows if row["split"] == "held out"]
    assert len(learned) >= 2000 and len(held_out) >= 300
    for language in ("en", "de", "es", "fr", "zh", "ja"):
        assert sum(row["language"] == language for row in rows) >= 300
    assert not {row["topic"] for row in learned} & {row["topic"] for row in held_out}
    assert not {row["phrase"].lower() for row in learned} & {row["phrase"].lower() for row in held_out}
    for row in rows:
        assert set(row["wanted"].split()) | set(row["unwanted"].split()) <= set(INSTRUMENT_AXES), row
        assert {pair.split("=")[0] for pair in row["axes"].split()} <= set(AXES), row
        assert all(abs(float(row[name] or 0)) <= LIMIT for name in ("valence", "arousal")), row


@pytest.mark.parametrize("name", ["valence", "arousal"])
def test_held_out_phrases_are_heard_near_their_labels(name: str) -> None:
    rows = [row for row in read_phrases() if row["split"] == "held out" and row[name]]
    heard = [parse_text(row["phrase"]).axes.get(name, 0.0) for row in rows]
    assert np.corrcoef(heard, [float(row[name]) for row in rows])[0, 1] > 0.65


def test_wanted_instruments_are_asked_for_and_unwanted_ones_never() -> None:
    missed, named = 0, 0
    for row in read_phrases():
        if row["split"] == "train":
            continue
        axes = parse_text(row["phrase"]).axes
        named += len(row["wanted"].split())
        missed += sum(axes.get(axis, 0.0) < 0.6 for axis in row["wanted"].split())
        assert all(axes.get(axis, 0.0) < 0 for axis in row["unwanted"].split()), row["phrase"]
    assert missed <= 0.1 * named


@pytest.mark.parametrize(
    ("text", "unwanted", "wanted"),
    [
        ("lo-fi zum Lernen, kein Schlagzeug", "drums", None),
        ("sans batterie", "drums", None),
        ("guitarra sin batería", "drums", "guitar"),
        ("不要鼓", "drums", None),
        ("ドラムなし", "drums", None),
        ("ギターではなくピアノ", "guitar", "piano"),
        ("drums? no thanks", "drums", None),
        ("Schlagzeug? Bloß nicht!", "drums", None),
        ("batería no, guitarra sí", "drums", "guitar"),
        ("strings yes, drums no", "drums", "strings"),
        ("everything except drums", "drums", None),
        ("ni voix ni chœur", "choir", None),
        ("lieber Flöte als Trompete", "brass", "flute"),
        ("plutôt du piano que de la guitare", "guitar", "piano"),
        ("no piano, no guitar, only flute", "guitar", "flute"),
        ("грустное пианино без барабанов", "drums", "piano"),
        ("슬픈 피아노, 드럼 없이", "drums", "piano"),
        ("Klavier ja, aber bitte ohne Geigen", "strings", "piano"),
    ],
)
def test_denials_reach_what_they_mean(text: str, unwanted: str, wanted: str | None) -> None:
    axes = parse_text(text).axes
    assert axes[unwanted] <= -0.6
    assert wanted is None or axes[wanted] >= 0.6
    assert f"no {unwanted}" in describe_text(text)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("not sad at all", 1),
        ("pas triste du tout", 1),
        ("nicht traurig", 1),
        ("nada triste", 1),
        ("全然悲しくない", 1),
        ("一点也不悲伤", 1),
        ("happy? no, the opposite", -1),
        ("开心？恰恰相反", -1),
        ("keine Angst", 1),
        ("sin esperanza", -1),
        ("trauriges Klavier", -1),
        ("悲しいピアノ", -1),
        ("une fête joyeuse entre amis", 1),
        ("Mein Hund ist gestorben", -1),
        ("se murió mi abuelo", -1),
    ],
)
def test_valence_has_the_sign_that_a_reader_gives_it(text: str, sign: int) -> None:
    assert sign * parse_text(text).axes["valence"] > 0.1


@pytest.mark.parametrize(("text", "word"), [("鼓舞人心", "drums"), ("bajo el agua", "bass"), ("不安", "drums")])
def test_a_name_inside_another_word_is_no_instrument(text: str, word: str) -> None:
    assert abs(parse_text(text).axes.get(word, 0.0)) < 0.6


def test_words_that_say_nothing_change_nothing() -> None:
    assert parse_text("calm zork").unknown == ("zork",)
    assert parse_text("calm zork").axes == parse_text("calm").axes
    assert parse_text("calm piano for Kevin") == parse_text("calm piano for Kevin")
    assert parse_text("very soft piano in Tokyo").unknown == ("Tokyo",)
    assert not says_something("zork") and says_something("funeral") and says_something("葬式")


def test_what_was_heard_is_said_in_words() -> None:
    assert describe_text("72 BPM, calm piano, no drums, Tokyo") == (
        "calm, acoustic, sparse, tender, piano, no drums, 72 BPM; not understood: 'Tokyo'"
    )
    assert describe_text("zork") == "nothing; not understood: 'zork'"
    assert describe_text("not sad") == "positive, not sad"
    assert describe_text("less bass") == "less bass"
    assert describe_text("waltz").endswith("3 beats to the bar")
    assert describe_text(None) == describe_text("") == describe_text("the and of") == ""


def test_words_win_over_the_picture_and_leave_the_rest_to_it() -> None:
    section = Section(0.0, 10.0, picture={"happy": 1.0, "valence": 1.2, "ambient": 0.8, "piano": 0.7})
    plan = ScorePlan(Fraction(10), (section,), text="mein Hund ist gestorben, ohne Klavier")
    asked = plan.semantics(section)
    assert asked["valence"] < -0.5 and asked["piano"] < 0
    assert "happy" not in asked
    open_plan = ScorePlan(Fraction(10), (section,), text="not too fast")
    assert open_plan.semantics(section)["happy"] == 1.0


def test_the_plan_says_what_was_heard_of_the_whole_and_of_sections() -> None:
    sections = (Section(0.0, 5.0), Section(5.0, 10.0, text="sans batterie"))
    plan = ScorePlan(Fraction(10), sections, text="calm")
    assert plan.heard == f"{describe_text('calm')}; section 2: no drums"
    assert f"# Your words were heard as: {plan.heard}" in write_plan(plan)
    assert ScorePlan(Fraction(10), (Section(0.0, 10.0),)).heard == ""


def test_translations_name_english_words_and_no_denials() -> None:
    table = tomllib.loads((resources.files("openvmas.planning") / "translations.toml").read_text(encoding="utf-8"))
    known = lexicon()
    for language in table.values():
        assert set(language) <= set(known.entries)
        for others in language.values():
            assert not set(others.split(", ")) & (known.negations | known.resets | known.contraries)


def test_moods_are_exact_words_in_any_language_of_the_lexicon() -> None:
    assert parse_mood("traurig").axes == parse_mood("sad").axes == parse_mood("悲しい").axes
    with pytest.raises(PlanError, match="'grandmother' is not a mood known here"):
        parse_mood("grandmother")


def test_subwords_join_to_the_word_and_do_not_depend_on_capitals_or_width() -> None:
    model = word_model()
    assert np.all(np.diff(model.hashes.astype(np.int64)) > 0)
    assert model.split("happy") == model.split("HAPPY") == model.split("ｈａｐｐｙ") != []
    assert model.split("happy sad") == model.split("happy") + model.split("sad")
    assert len(model.split("a" * 10_000)) <= words.MAX_PIECES
    assert model.split("") == model.split("!?… ") == []


def test_the_networks_agree_with_plain_arithmetic() -> None:
    model, text = word_model(), "a letter that never came"
    net, rows = model.layers, model.split(text)
    low, high = model.vectors[rows] & 15, model.vectors[rows] >> 4
    start = (np.hstack([low, high]).astype(float) - 7.5) * net["scale"]

    def norm(row: np.ndarray) -> np.ndarray:
        return (row - row.mean()) / np.sqrt(row.var() + 1e-5)

    answers = []
    for h in range(len(net["inputs"])):

        def layer(row: np.ndarray, name: str, h: int = h) -> np.ndarray:
            return row @ net[name][h] + net[f"{name}_bias"][h]

        x = [norm(layer(row, "inputs")) for row in start]
        for k in range(words.N_BLOCKS):
            asked = [layer(norm(row), f"asked{k}").reshape(3, net[f"distance{k}"].shape[1], -1) for row in x]
            heard = []
            for i, (query, _, _) in enumerate(asked):
                parts = []
                for head, vector in enumerate(query):
                    far = net[f"distance{k}"].shape[2] // 2
                    logits = np.array(
                        [
                            vector @ key[head] / np.sqrt(len(vector))
                            + net[f"distance{k}"][h, head, min(max(j - i, -far), far) + far]
                            for j, (_, key, _) in enumerate(asked)
                        ]
                    )
                    shares = np.exp(logits) / np.exp(logits).sum()
                    parts.append(sum(share * said[head] for share, (_, _, said) in zip(shares, asked, strict=True)))
                heard.append(layer(np.concatenate(parts), f"heard{k}"))
            x = [row + more for row, more in zip(x, heard, strict=True)]
            x = [row + layer(np.maximum(layer(norm(row), f"wide{k}"), 0), f"narrow{k}") for row in x]
        weights = np.array([np.exp(np.clip(layer(norm(row), "weights"), -6, 6)) for row in x])[:, [0, 1] + [2] * 33]
        values = np.array([layer(norm(row), "values") for row in x])
        answers.append((weights * values).sum(0) / (weights.sum(0) + np.exp(net["prior"][h])))
    assert np.allclose(model.axes(text), np.mean(answers, axis=0), atol=1e-4)


def test_words_are_heard_among_the_others() -> None:
    model = word_model()
    assert model.axes("man bites dog").tolist() != model.axes("dog bites man").tolist()
    apart = [model.axes(text)[0] for text in ("execution", "at dawn", "execution at dawn")]
    assert apart[2] < np.mean(apart[:2]) and apart[2] < -0.2


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=80))
def test_any_text_has_finite_axes_and_is_described(text: str) -> None:
    assert np.isfinite(axes_of(text)).all() and len(axes_of(text)) == len(AXES)
    parsed = parse_text(text)
    assert all(0 < abs(value) <= LIMIT for value in parsed.axes.values())
    assert "\n" not in describe_text(text)


def test_words_of_the_lexicon_do_not_load_the_learned_ones() -> None:
    code = (
        "import sys\nfrom openvmas.planning.lexicon import parse_text\n"
        "parse_text('very calm piano, no drums')\nassert 'openvmas.planning.words' not in sys.modules\n"
        "parse_text('une berceuse pour un chat')\nassert 'openvmas.planning.words' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_files_of_learned_words_are_small() -> None:
    assert words.PATH.stat().st_size + words.PATH.with_suffix(".npy").stat().st_size <= 6.8e6


def read_test(name: str) -> list[dict[str, str]]:
    with PHRASES.with_name(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_the_test_has_phrases_and_topics_of_its_own() -> None:
    rows, known = read_test("test.csv"), read_phrases()
    phrases = [row for row in rows if row["split"] == "test"]
    for language in ("en", "de", "es", "fr", "zh", "ja"):
        assert sum(row["language"] == language for row in phrases) == 50
    assert not {row["topic"] for row in phrases} & {row["topic"] for row in known}
    with PHRASES.with_name("vocabulary.csv").open(encoding="utf-8", newline="") as file:
        vocabulary = {word.lower() for row in csv.DictReader(file) for word in row["words"].split("; ")}
    learned = {row["phrase"].lower() for row in known} | vocabulary
    assert not {row["phrase"].lower() for row in rows} & learned


def test_made_up_words_are_not_heard() -> None:
    rows = [row for row in read_test("made_up.csv") if row["kind"] == "made-up"]
    assert len(rows) == 100
    heard = [row["word"] for row in rows if parse_text(row["word"]).axes]
    assert len(heard) <= MADE_UP_HEARD
    assert parse_text("blorptang fizzle").axes == {} and parse_text("blorptang fizzle").unknown == (
        "blorptang",
        "fizzle",
    )


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("a wedding that ends in disaster", -1),
        ("la boda termina en desastre", -1),
        ("die Hochzeit endet in einer Katastrophe", -1),
        ("le mariage tourne au désastre", -1),
        ("婚礼变成灾难", -1),
        ("結婚式が悲劇に終わる", -1),
        ("la tristesse devient joie", 1),
        ("no longer lonely", 1),
        ("nobody is angry", 1),
        ("elle n'est plus en colère", 1),
        ("nicht mehr wütend", 1),
        ("怒ってはいない", 1),
    ],
)
def test_what_a_scene_turns_into_counts_and_what_is_no_longer_so_is_denied(text: str, sign: int) -> None:
    assert sign * parse_text(text).axes["valence"] > 0.1


def test_instruments_before_a_turn_are_kept() -> None:
    axes = parse_text("piano turns into guitar").axes
    assert axes["piano"] > 0.6 and axes["guitar"] > 0.6
