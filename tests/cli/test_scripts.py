"""What other programs rely on: answers and progress as JSON, exit codes, completion of the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openvmas.cli import doctor
from openvmas.cli.main import main
from openvmas.cli.terminal import wants_json
from openvmas.generate import scorer
from tests import run_cli
from tests.clips import write_clip
from tests.test_docs import ROOT


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip of 2 s in the current folder, and sines in place of the model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scorer, "load", run_cli.load)
    return write_clip(tmp_path / "clip.mp4", 2.0)


def answers(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_result_is_one_object(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "clip.mp4", "--quiet", "--json", "--variations", "2", "--seed", "5"]) == 0
    first, second = answers(capsys)
    assert (first["ok"], first["exit_code"], first["duration"], first["seed"]) == (True, 0, 2.0, 5)
    assert Path(first["path"]).is_file() and Path(first["sidecar"]).is_file() and second["seed"] == 6
    assert first["loudness_lufs"] == pytest.approx(-14, abs=1)
    assert main(["plan", "clip.mp4", "--quiet", "--json", "--hit", "1.0"]) == 0
    assert main(["analyze", "clip.mp4", "--quiet", "--json"]) == 0
    plan, analysis = answers(capsys)
    assert plan["path"] == "clip.plan.yaml" and plan["hits"] >= 1 and plan["sections"][-1]["end"] == 2.0
    assert analysis["shots"] == json.loads(Path("clip.analysis.json").read_text())["shots"].__len__()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["score", "missing.mp4", "--json"], 2, "missing.mp4"),
        (["plan", "clip.mp4", "--tempo", "9", "--json"], 2, "tempo"),
        (["score", "clip.mp4", "--json", "--colour"], 2, "--colour"),
        (["fit", "missing.wav", "--json"], 2, "missing.wav"),
    ],
)
def test_an_error_is_one_object_too(
    words: list[str], code: int, said: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--quiet"]) == code
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert (answer["ok"], answer["exit_code"]) == (False, code) and said in answer["error"]
    assert captured.err == f"error: {answer['error']}\n"


def test_only_an_option_asks_for_json() -> None:
    assert wants_json(["score", "a.mp4", "--json"]) and wants_json(["--debug", "plan", "--json", "a.mp4"])
    assert not wants_json(["score", "--", "--json"])  # a file of that name
    assert not wants_json(["eval", "run", "suite.toml", "--json", "out.json"]) and not wants_json([])


def test_progress_as_json_lines_only_grows(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "clip.mp4", "--progress", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["event"] for line in lines} == {"progress"} and {line["file"] for line in lines} == {"clip.mp4"}
    done = [line["done"] for line in lines]
    assert done == sorted(done) and done[-1] == 1.0
    assert {"analyze", "compose", "mux"} <= {line["stage"] for line in lines}


@pytest.mark.slow
def test_several_videos_give_a_line_each_and_one_for_all(tmp_path: Path) -> None:
    write_clip(tmp_path / "one.mp4", 1.0)
    (tmp_path / "two.mp4").write_text("not a video")
    done = subprocess.run(
        [sys.executable, "-m", "tests.run_cli", "score", "one.mp4", "two.mp4", "--json", "--quiet"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    *each, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and sorted(line["ok"] for line in each) == [False, True]
    told = {"ok": False, "exit_code": 2, "scored": 1, "kept": 0, "n_failed": 1, "failed": ["two.mp4"], "table": None}
    assert last.items() >= told.items()


def complete(*words: str) -> list[str]:
    """What the shell offers for the last word."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_OPENVMAS_COMPLETE": "zsh_complete"}
    env |= {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([sys.executable, "-m", "openvmas"], capture_output=True, text=True, env=env, cwd=ROOT)
    lines = done.stdout.splitlines()
    return [value for kind, value in zip(lines[::3], lines[1::3], strict=False) if kind in ("plain", "file", "dir")]


def test_the_shell_completes_commands_options_and_choices() -> None:
    assert complete("openvmas", "sc") == ["score"]
    assert "--tempo" in complete("openvmas", "score", "--te")
    assert complete("openvmas", "score", "--keep-all-audio", "mu") == ["music"]


def test_doctor_finds_this_machine_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-test", "--json"]) == 0
    (said,) = answers(capsys)
    assert {"openvmas", "codecs", "cores", "memory", "weights mini", "weights alignment"} <= set(said["checks"])


def test_doctor_says_what_to_mend(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "available_memory", lambda: 2e8)
    assert main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "BAD  memory: 0.2 GB available; close other programs" in out
    assert "ok   self-test: 1 s of video scored in" in out and "1 of " in out


def test_doctor_tells_damaged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from openvmas import pretrained

    home = tmp_path / "symbolic"
    home.mkdir()
    for source in (pretrained.PRESETS_FOLDER / "symbolic").iterdir():
        (home / source.name).write_bytes(source.read_bytes())
    (home / "instruments.npz").write_bytes(b"half a file")
    monkeypatch.setattr(pretrained, "PRESETS_FOLDER", tmp_path)
    found = {item.name: item for item in doctor.weights()}
    assert "instruments.npz of model symbolic is damaged" in found["weights symbolic"].remedy
