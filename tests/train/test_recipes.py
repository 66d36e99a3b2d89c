"""Recipes of training: every one in the repository is understood, and what is wrong is said in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from openvmas.cli.main import main
from openvmas.errors import InputError, OptionError
from openvmas.settings import read_table
from openvmas.train.decoder import decoder_trainer
from openvmas.train.joint.joint_model import JointRecipe
from openvmas.train.loop import PRESETS
from openvmas.train.recipe_file import TRAINERS, groups_of, read_recipe, run_trainer

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "train"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_recipes_that_ship_are_understood(name):
    found = read_recipe(FOLDER / f"{name}.toml")
    assert name.split("-")[0] == found.trainer
    group, options = groups_of(found.trainer)
    recipe, run = read_table(group, found.recipe), read_table(options, found.run)
    assert recipe.preset == name.split("-")[1] and run.time_limit > 0
    for key, value in found.recipe.items():
        assert getattr(recipe, key) == value


def test_every_preset_and_ablation_has_a_recipe():
    joints = {name.split("-")[1] for name in NAMES if name.startswith("joint")}
    assert joints == {"debug", "mini", "base", "large"} <= set(PRESETS)
    full = read_table(JointRecipe, read_recipe(FOLDER / "joint-mini.toml").recipe)
    for name in NAMES:
        if name.startswith("joint-mini-"):
            other = read_table(JointRecipe, read_recipe(FOLDER / f"{name}.toml").recipe)
            if other.freeze_decoder:
                continue  # no ablation
            changed = {key for key, value in vars(other).items() if getattr(full, key) != value}
            assert 0 < len(changed) <= 4, name  # one thing is left out, everything else is the same


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer = 'joint'\n[recipe]\nbach = 3", "the recipe has no key bach; did you mean batch?"),
        ("trainer = 'joint'\n[recipe]\nbatch = 'many'", "batch cannot be 'many'; give a whole number."),
        ("trainer = 'joint'\n[recipe]\nbatch = 0", "batch cannot be 0; give a number of 1 or more."),
        ("trainer = 'joint'\n[recipe]\ndrop_events = 1.5", "drop_events cannot be 1.5; give a number from 0 to 1."),
        ("trainer = 'joint'\n[recipe]\npreset = 'mimi'", "preset cannot be 'mimi'; did you mean mini?"),
        ("trainer = 'joint'\n[recipe]\nschedule = 'x'", "schedule cannot be 'x'; choose from cosine, hold."),
        ("trainer = 'joint'\n[run]\nsharding = 'fsdp'", "sharding cannot be 'fsdp'; did you mean fsdp2?"),
        ("trainer = 'codec'\n[run]\ntensorboard = true", "the recipe has no key tensorboard"),
        ("trainer = 'joint'\nrecipe = 3", "recipe must be a table; write \\[recipe\\]"),
        ("trainer = 'jont'", "trainer cannot be 'jont'; write trainer = one of 'codec', 'decoder', 'joint'"),
        ("[recipe]\nbatch = 3", "no trainer is named; write trainer = one of"),
        ("trainer = 'joint'\n[recipes]\nbatch = 3", "has a key recipes that does not exist; did you mean recipe?"),
        ("like = 'one.toml'", "is like itself, or like too many others"),
        ("like = 3", "like cannot be 3; give the name of a recipe beside it"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(tmp_path, text, message):
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(OptionError, match=message) as caught:
        read_recipe(tmp_path / "one.toml")
    assert "one.toml" in str(caught.value) and str(caught.value).count("\n") == 0


def test_files_that_are_no_recipes(tmp_path):
    (tmp_path / "bad.toml").write_text("trainer = ")
    with pytest.raises(InputError, match=r"bad\.toml is not TOML: .*; correct that line"):
        read_recipe(tmp_path / "bad.toml")
    with pytest.raises(InputError, match=r"none\.toml cannot be read .*; give a recipe in TOML"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "model.toml").write_text("trainer = 'model'")  # as decoder was called before 0.5
    assert read_recipe(tmp_path / "model.toml", "decoder").trainer == "decoder"
    with pytest.raises(OptionError, match=r"a recipe for train decoder, not train joint; give it to that one"):
        read_recipe(tmp_path / "model.toml", "joint")
    (tmp_path / "mixed.toml").write_text("like = 'model.toml'\ntrainer = 'codec'")
    with pytest.raises(OptionError, match=r"is for train codec, but model\.toml for train decoder; choose one"):
        read_recipe(tmp_path / "mixed.toml")


def test_options_go_before_the_file_and_the_file_before_defaults(tmp_path, monkeypatch):
    given = {}

    def train(music, held_out, run, recipe, options):
        given.update(recipe=recipe, options=options)

    monkeypatch.setattr(decoder_trainer, "train", train)
    monkeypatch.setattr(decoder_trainer, "read_packed", lambda folder: (None, None))
    (tmp_path / "one.toml").write_text("trainer = 'decoder'\n[recipe]\nbatch = 5\nsteps = 7\n[run]\ntime_limit = 9")
    said = ["--recipe", str(tmp_path / "one.toml"), "--steps", "8", "--loaders", "2"]
    assert main(["train", "run", said[1], str(tmp_path), str(tmp_path / "run"), *said[2:]]) == 0
    recipe, options = given["recipe"], given["options"]
    assert (recipe.batch, recipe.steps, recipe.warmup) == (5, 8, 60)
    assert (options.time_limit, options.loaders, options.threads) == (9, 2, 1)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["steps"] == 8
    with pytest.raises(OptionError, match="learning_rate cannot be 7"):
        run_trainer("decoder", tmp_path, tmp_path / "run", None, {"learning_rate": 7})
    assert main(["train", "decoder", str(tmp_path), str(tmp_path / "run"), "--learning-rate", "7"]) == 2


def test_every_trainer_says_what_its_options_mean(capsys):
    for name in TRAINERS:
        for group in groups_of(name):
            for item in vars(group)["__dataclass_fields__"].values():
                assert item.metadata["help"].endswith("."), item.name
    assert main(["train", "joint", "--help"]) == 0
    assert "--accumulate" in capsys.readouterr().out


def test_the_commands_of_training_are_listed_without_pytorch():
    code = "import sys\nfrom openvmas.cli.main import main\nmain(['train', '--help'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, is_loaded = done.stdout.splitlines()
    assert is_loaded == "False"
    listed = {line.split()[0] for line in lines[lines.index("Commands:") + 1 :] if line[:3].strip()}
    assert {*TRAINERS, "align", "calibrate", "corpus", "examples", "export", "import", "pack", "pairs"} <= listed
