"""A whole study answered by 500 simulated listeners: the planted ranking comes back, and bad listeners are found."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.errors import InputError
from openvmas.study.result_tables import as_json, page
from openvmas.study.results import StudyResults, analyze, collect
from openvmas.study.session import Step, Study
from openvmas.study.store import Store
from openvmas.study.study_builder import LOW_ANCHOR
from tests.study.made import Taste, answer_all, quick_study

pytestmark = pytest.mark.slow

TRUTH = {"good": 0.9, "fair": 0.3, "poor": -0.3, "bad": -0.9}
Reply = tuple[str | None, int | None, int | None]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """500 honest listeners, and some of each kind of the others."""
    made = quick_study(tmp_path_factory.mktemp("study"), tuple(TRUTH), 3, sound_pairs=12)
    key = json.loads((made.folder / "key.json").read_text())
    store = Store(made.folder)
    for seed in range(500):
        answer_all(made, store, Taste(key, TRUTH, 0.4, seed))
    for seed in range(500, 508):
        honest = Taste(key, TRUTH, 0.4, seed)
        answer_all(made, store, honest, n_steps=12)  # leaves
        answer_all(made, store, without_headphones(honest))
        answer_all(made, store, always_a(honest))
        answer_all(made, store, inattentive(seed))
    return made


@pytest.fixture(scope="module")
def result(study: Study) -> StudyResults:
    return analyze(study.folder)


def without_headphones(honest: Taste) -> object:
    def respond(step: Step) -> Reply:
        return ("1" if step.right != "1" else "2", None, None) if step.kind == "headphones" else honest(step)

    return respond


def always_a(honest: Taste) -> object:
    """Always the same button, but checks are seen through."""

    def respond(step: Step) -> Reply:
        if step.is_check or step.kind not in ("pair", "rating"):
            return honest(step)
        return ("a", None, None) if step.kind == "pair" else (None, 3, None)

    return respond


def inattentive(seed: int) -> object:
    """Clicks anything, but not what a check asks for."""
    generator = np.random.default_rng(seed)

    def respond(step: Step) -> Reply:
        if step.kind in ("volume", "headphones"):
            return step.right or "ok", None, None
        if step.kind == "pair":
            return "same" if step.is_check else str(generator.choice(["a", "b"])), None, None
        return None, 1 + int(step.right == "1") if step.is_check else int(generator.integers(1, 6)), None

    return respond


def test_the_planted_ranking_is_recovered(result: StudyResults) -> None:
    compared = result.comparisons["sound_pairs"]
    order = np.argsort(-compared.strengths.values)
    assert [compared.systems[i] for i in order] == list(TRUTH)
    # Listeners' own tastes (0.3) flatten the population's strengths a little.
    assert compared.strengths.values == pytest.approx([TRUTH[name] for name in compared.systems], abs=0.12)
    assert compared.strengths.tie == pytest.approx(0.4, abs=0.05)
    assert len(compared.shares) == 6
    for share in compared.shares:
        first, second = TRUTH[share.first], TRUTH[share.second]
        assert (share.share.value > 0.5) == (first > second) and share.p < 0.01
        assert share.n == pytest.approx(500 * 12 / 6, abs=2 * 36)
    assert 0.47 < compared.first_side.value < 0.53 and 0.05 < compared.agreement < 0.4


def test_the_planted_ratings_are_recovered(result: StudyResults) -> None:
    rated = result.ratings["quality"]
    assert sorted(rated.means, key=lambda name: -rated.means[name].value) == [*TRUTH, LOW_ANCHOR]
    for name, value in TRUTH.items():
        assert rated.means[name].value == pytest.approx(3 + value, abs=0.1)
    assert rated.variances["listeners"] == pytest.approx(0.09, abs=0.04)
    assert rated.variances["rest"] == pytest.approx(0.49 + 0.09 + 1 / 12, abs=0.1)
    assert len(rated.differences) == 6 and all(item.value.high < 0 and item.p < 0.01 for item in rated.differences)
    assert 0.3 < rated.agreement < 0.8


def test_listeners_are_dropped_for_the_right_reason(study: Study, result: StudyResults) -> None:
    found = collect(study.folder)
    dropped = {listener.number: listener.reasons for listener in found.listeners if listener.reasons}
    by_kind = [[dropped.get(number) for number in range(501 + kind, 533, 4)] for kind in range(4)]
    assert all("unfinished" in (reasons or ()) for reasons in by_kind[0])
    assert by_kind[1] == [("headphones",)] * 8
    assert sum({"one side", "one number"} <= set(reasons or ()) for reasons in by_kind[2]) == 8
    assert sum("attention" in (reasons or ()) for reasons in by_kind[3]) == 8
    honest = [number for number in dropped if number <= 500]
    assert len(honest) <= 3  # one side by chance: 0.2 %
    assert (result.n_listeners, result.n_kept) == (532, 532 - len(dropped))
    assert result.n_headphones_failed == 8


def test_who_hurries_is_dropped(tmp_path: Path) -> None:
    made = quick_study(tmp_path, ("a", "b"), 1, sound_pairs=2)
    key = json.loads((made.folder / "key.json").read_text())
    store = Store(made.folder)
    for seed in range(2):
        answer_all(made, store, Taste(key, {"a": 1.0, "b": 0.0}, 0.3, seed))
    store._base.execute("UPDATE answers SET heard = 0.4 WHERE session = 2")
    found = collect(made.folder)
    assert [listener.reasons for listener in found.listeners] == [(), ("too fast",)]
    assert analyze(made.folder, keep_all=True).n_kept == 2
    only = analyze(made.folder)  # one listener: figures, but no intervals
    assert only.n_kept == 1 and np.isnan(only.ratings["quality"].means["a"].low)
    assert "1: answered before the music can have been heard" in page(only)
    assert "Fewer than 12 listeners" in page(only)
    json.dumps(as_json(only), allow_nan=False)
    store._base.execute("UPDATE answers SET heard = 0.4")
    with pytest.raises(InputError, match=r"none of 2 listeners can be counted \(2: answered before"):
        analyze(made.folder)


def test_every_answer_can_be_taken_elsewhere(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever wants another model than ours gets clip and conditions beside each answer."""
    target = tmp_path / "answers.csv"
    assert main(["study", "analyze", str(study.folder), "--csv", str(target)]) == 0
    assert "Fewer than" not in capsys.readouterr().out
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    found = collect(study.folder)
    assert len(rows) == sum(len(listener.answers) for listener in found.listeners)
    counted = [r for r in rows if not r["dropped"] and r["training"] == r["check"] == "0"]
    pairs = [r for r in counted if r["kind"] == "pair" and {r["condition"], r["other"]} == {"good", "bad"}]
    won = sum((r["choice"] == "a") == (r["condition"] == "good") for r in pairs if r["choice"] != "same")
    assert won > 0.6 * len(pairs) > 10 and all(r["clip"] for r in pairs)
    rated = [r for r in counted if r["kind"] == "rating"]
    assert {r["condition"] for r in rated} == set(found.conditions) and all(1 <= int(r["quality"]) <= 5 for r in rated)
    assert main(["study", "analyze", str(study.folder), "--csv", str(target)]) == 2


def test_the_command_prints_and_writes(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, markdown, data = str(study.folder), tmp_path / "r.md", tmp_path / "r.json"
    assert main(["study", "analyze", folder, "--markdown", str(markdown), "--json", str(data)]) == 0
    out = capsys.readouterr().out
    assert markdown.read_text() == out and "| good over bad " in out and "8: failed the headphone check twice" in out
    found = json.loads(data.read_text())["results"]
    strengths = found["comparisons"]["sound_pairs"]["strengths"]
    assert strengths["low"]["good"] < strengths["values"]["good"] < strengths["high"]["good"]
    assert main(["study", "analyze", folder, "--json", str(data)]) == 2
    assert main(["study", "power", "--share", "0.6"]) == 0
    assert "power, simulated" in capsys.readouterr().out
    assert main(["study", "power"]) == 2


def test_a_study_without_key_or_answers_says_so(tmp_path: Path) -> None:
    made = quick_study(tmp_path, ("a", "b"), 1, sound_pairs=1, rounds=0)
    with pytest.raises(InputError, match="openvmas study serve"):
        analyze(made.folder)
    Store(made.folder)
    with pytest.raises(InputError, match="none of 0 listeners"):
        analyze(made.folder)
    key = made.folder / "key.json"
    key.write_text(key.read_text().replace(made.facts["id"], "x" * 12))
    with pytest.raises(InputError, match="another study"):
        analyze(made.folder)
    key.unlink()
    with pytest.raises(InputError, match="who is who"):
        analyze(made.folder)
