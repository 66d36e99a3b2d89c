"""A run goes on with the settings that it was begun with, and what is missing is said in a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from openvmas.cli import main as command_line
from openvmas.cli.main import main
from openvmas.errors import OptionError
from openvmas.train.joint.joint_model import JointRecipe
from openvmas.train.recipe_file import check_run

ROOT = Path(__file__).resolve().parents[2]


def begin(folder: Path, **settings: Any) -> Path:
    """The folder of a run that was stopped."""
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({**vars(JointRecipe()), **settings}))
    (folder / "last.pt").write_bytes(b"weights")
    return folder


def test_a_run_does_not_go_on_with_other_settings(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    check_run(run, JointRecipe(steps=9, save_every=3, accumulate=2))  # longer, and in more parts: the same learning
    with pytest.raises(OptionError, match=r"begun with learning_rate 0\.001, not 0\.002; .*--start-from"):
        check_run(run, JointRecipe(learning_rate=2e-3))
    with pytest.raises(OptionError, match=r"preset mini, not debug"):
        check_run(run, JointRecipe(preset="debug"))
    check_run(begin(tmp_path / "old", gone=1), JointRecipe())  # a field that no longer is says nothing
    (tmp_path / "new").mkdir()
    check_run(tmp_path / "new", JointRecipe(preset="debug"))


def test_the_command_says_it_and_leaves_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(tmp_path / "run")
    before = (run / "recipe.json").read_bytes()
    assert main(["train", "joint", str(tmp_path), str(run), "--learning-rate", "0.1"]) == 2
    assert "was begun with learning_rate" in capsys.readouterr().err
    assert (run / "recipe.json").read_bytes() == before


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("torch", "train", ["train", "export", "a", "b", "c"]),
        ("torch", "train", ["train", "joint", "--help"]),
        ("soundfile", "train", ["train", "corpus", "a", "b", "c"]),
        ("pyarrow", "data", ["data", "build", "my.toml"]),
    ],
)
def test_a_missing_package_is_no_fault_of_openvmas(
    package: str, extra: str, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "my.toml").write_text('[[sources]]\nname = "a"\nkind = "folder"\npath = "videos"\n')
    code = (
        f"import sys; sys.modules[{package!r}] = None; from openvmas.cli.main import main; sys.exit(main({arguments}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert f"openvmas[{extra}]" in done.stderr and package in done.stderr and "fault" not in done.stderr


def test_every_extra_is_one_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, packages in command_line.EXTRAS.items():
        listed = " ".join(extras[name]).replace("-", "_")
        assert all(package in listed for package in packages), name
    assert command_line.what_is_left(["data", "build"]) != command_line.what_is_left(["score"])
