"""One table holds what listeners read: all texts in every language, and no others on the page; a questionnaire."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from openvmas.cli.main import main
from openvmas.errors import InputError, OptionError
from openvmas.study.results import analyze, answer_rows, collect
from openvmas.study.server import make_app
from openvmas.study.session import PARTS, Study, accepts
from openvmas.study.store import Store
from openvmas.study.study_builder import create
from openvmas.study.study_settings import StudySettings, read_study_plan
from openvmas.study.texts import LANGUAGES, texts_of
from tests.study.made import Taste, answer_all, write_systems

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PLAN = """
title = "Zwei Arten"
language = "de"
seconds = 2
picture_pairs = 0
sound_pairs = 2
rounds = 0
contact = "Ada, ada@example.org"
[systems]
ours = "ours"
theirs = "theirs"
[[questions]]
text = "Spielen Sie ein Instrument?"
answers = ["ja", "nein"]
[[questions]]
text = "Wie alt sind Sie?"
answers = ["unter 30", "30 bis 60", "über 60"]
"""


def words(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_every_language_has_every_text_with_the_same_places_to_fill() -> None:
    english = texts_of("en")
    for language in LANGUAGES:
        texts = texts_of(language)
        assert texts.keys() == english.keys()
        for key, text in texts.items():
            assert text.strip() and words(text) == words(english[key]), (language, key)
        assert language == "en" or sum(text == english[key] for key, text in texts.items()) <= 3


def test_the_page_asks_for_texts_that_are_there_and_holds_none_of_its_own() -> None:
    page = (ROOT / "openvmas" / "study" / "page.html").read_text(encoding="utf-8")
    script = page[page.index("<script>") :]
    keys = set(re.findall(r'say\("(\w+)"', script)) - {"scale_"} | {f"scale_{i}" for i in range(1, 6)}
    keys |= {"pause", "play", "copy", "forget"}
    keys |= {f"{part}{end}" for part in PARTS for end in ("", "_lead")}
    of_server = {"no_headphones", "second_try", "check", "ask_giver", "consent"}
    assert keys | of_server == set(texts_of("en"))
    left = [text for text in re.findall(r'textContent[:=] "([^"]+)"', script) if len(text) > 1]
    assert left == []


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    write_systems(folder, ("ours", "theirs"), 2, duration=2.2, has_picture=False)
    (folder / "study.toml").write_text(PLAN, encoding="utf-8")
    create(read_study_plan(folder / "study.toml"), folder / "made")
    return Study(folder / "made")


def test_the_study_speaks_its_language(study: Study) -> None:
    with TestClient(make_app(study, "a token of tests")) as client:
        told = client.get("/api/study").json()
        assert told["language"] == "de" and told["texts"]["begin"] == "Beginnen"
        assert "freiwillig" in told["consent"] and "Ada, ada@example.org" in told["consent"]
    assert any("Wählen Sie" in step.note for step in study.plan(0)) or study.facts["rounds"] == 0


def test_the_questionnaire_comes_last_and_is_counted(study: Study, tmp_path: Path) -> None:
    steps = study.plan(0)
    assert [step.kind for step in steps[-2:]] == ["question", "question"] and steps[-1].n_answers == 3
    assert accepts(steps[-1], "3", None, None) and not accepts(steps[-1], "4", None, None)
    assert not accepts(steps[-1], "1", 3, None) and not accepts(steps[-1], None, None, None)
    key = json.loads((study.folder / "key.json").read_text(encoding="utf-8"))
    for seed in range(3):
        answer_all(study, Store(study.folder), Taste(key, {"ours": 1.0, "theirs": -1.0}, 0.5, seed))
    found = analyze(study.folder, keep_all=True)
    assert [asked.counts for asked in found.questions] == [
        {"ja": 3, "nein": 0},
        {"unter 30": 3, "30 bis 60": 0, "über 60": 0},
    ]
    rows = [row for row in answer_rows(collect(study.folder)) if row["kind"] == "question"]
    assert len(rows) == 6 and rows[0]["question"] == "Spielen Sie ein Instrument?" and rows[0]["choice"] == "ja"
    assert main(["study", "analyze", str(study.folder), "--keep-all", "--markdown", str(tmp_path / "page.md")]) == 0
    assert "| Wie alt sind Sie?" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="language"):
        StudySettings.of(language="nl")
    (tmp_path / "study.toml").write_text(PLAN.replace('answers = ["ja", "nein"]', 'answers = ["ja"]'), encoding="utf-8")
    with pytest.raises(InputError, match="2 to 12 answers"):
        read_study_plan(tmp_path / "study.toml")
