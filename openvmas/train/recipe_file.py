"""Settings of a training run: a recipe in TOML, what the command line gives before it, and the defaults.

trainer = "joint"               # codec, decoder or joint
like = "joint-mini.toml"        # begin with another recipe, beside this one
[recipe]                        # what is learned: fields of CodecRecipe, DecoderRecipe or JointRecipe
contrastive_weight = 0.0
[run]                           # how it goes on a machine: fields of CodecOptions, RunOptions or JointOptions
time_limit = 540
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from openvmas.errors import OptionError
from openvmas.files import write_text
from openvmas.settings import nearest, read_table, read_toml

# Every module has RECIPE and OPTIONS, its dataclasses, and run_training(data, folder, recipe, options).
TRAINERS = {
    "codec": "openvmas.train.codec.codec_trainer",
    "decoder": "openvmas.train.decoder.decoder_trainer",
    "joint": "openvmas.train.joint.joint_trainer",
}
OLD_NAMES = {"model": "decoder"}  # in recipes from before 0.5
TABLES = ("recipe", "run")
RECIPE = "recipe.json"  # in the folder of a run: the settings that it was begun with
MAY_CHANGE = frozenset({"steps", "save_every", "test_pairs", "accumulate", "compile"})  # what learning does not hang on
MAX_DEPTH = 8  # recipes that may be like one another in a row


@dataclass(frozen=True)
class RecipeFile:
    """The contents of a recipe and of those it is like. recipe, run: field → value, only those that are given."""

    trainer: str
    recipe: dict[str, Any]
    run: dict[str, Any]


def read_recipe(path: str | Path, trainer: str = "") -> RecipeFile:
    """Read and check a recipe. trainer: the one that it must be for.

    Raises InputError for a file that is none, OptionError for what it says wrong.
    """
    path = Path(path)
    found = _read(path, MAX_DEPTH)
    if trainer and found.trainer != trainer:
        raise OptionError(f"{path} is a recipe for train {found.trainer}, not train {trainer}; give it to that one.")
    for group, table in zip(groups_of(found.trainer), (found.recipe, found.run), strict=True):
        try:
            read_table(group, table, "the recipe")
        except OptionError as error:
            raise OptionError(f"{path}: {error}") from error
    return found


def groups_of(trainer: str) -> tuple[type, type]:
    """The dataclasses of a trainer's tables: recipe, run."""
    module = importlib.import_module(TRAINERS[trainer])
    return module.RECIPE, module.OPTIONS


def run_trainer(trainer: str, data: Path, folder: Path, recipe: Path | None, given: Mapping[str, Any]) -> None:
    """Train into a folder, where `recipe.json` says with which settings.

    recipe: a TOML file or None; given: settings that go before it. Raises InputError, OptionError.
    """
    import torch

    found = read_recipe(recipe, trainer) if recipe else RecipeFile(trainer, {}, {})
    made: list[Any] = []
    for group, table in zip(groups_of(trainer), (found.recipe, found.run), strict=True):
        names = {item.name for item in fields(group)}
        own = {name: value for name, value in given.items() if name in names}
        made.append(read_table(group, {**table, **own}, "the recipe"))
    settings, options = made
    check_run(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECIPE, json.dumps(asdict(settings), indent=1))
    torch.set_num_threads(options.threads)
    importlib.import_module(TRAINERS[trainer]).run_training(data, folder, settings, options)


def check_run(folder: Path, settings: Any) -> None:
    """Raises OptionError where a run that was begun would go on with other settings than it was begun with.

    How long it runs, how often it measures and in how many parts a batch is computed may change.
    """
    if not any((folder / name).exists() for name in ("last.pt", "log.jsonl")):
        return
    try:
        before = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = json.loads(json.dumps(asdict(settings)))
    changed = [name for name in now if name in before and before[name] != now[name] and name not in MAY_CHANGE]
    if changed:
        was = ", ".join(f"{name} {before[name]}, not {now[name]}" for name in changed)
        raise OptionError(
            f"{folder} was begun with {was}; give it the settings that it had, or begin another run"
            + (f" from its weights with --start-from {folder / 'decoder.pt'}." if _has_start(settings) else ".")
        )


def _has_start(settings: Any) -> bool:
    return "preset" in {item.name for item in fields(settings)}


def _read(path: Path, depth: int) -> RecipeFile:
    data = read_toml(path)
    known = ("trainer", "like", *TABLES)
    for key in data:
        if key not in known:
            raise OptionError(f"{path} has a key {key} that does not exist; {nearest(key, known)}")
    for name in TABLES:
        if not isinstance(data.get(name, {}), Mapping):
            raise OptionError(f"{path}: {name} must be a table; write [{name}] and its keys below.")
    first = RecipeFile("", {}, {})
    if "like" in data:
        if not isinstance(data["like"], str):
            raise OptionError(f"{path}: like cannot be {data['like']!r}; give the name of a recipe beside it.")
        if not depth:
            raise OptionError(f"{path} is like itself, or like too many others in a row; name one that stands alone.")
        first = _read(path.parent / data["like"], depth - 1)
    trainer = data.get("trainer", first.trainer)
    trainer = OLD_NAMES.get(trainer, trainer) if isinstance(trainer, str) else trainer
    if trainer not in TRAINERS:
        said = f"trainer cannot be {trainer!r}" if trainer else "no trainer is named"
        raise OptionError(f"{path}: {said}; write trainer = one of {', '.join(map(repr, TRAINERS))}.")
    if first.trainer and trainer != first.trainer:
        raise OptionError(f"{path} is for train {trainer}, but {data['like']} for train {first.trainer}; choose one.")
    tables = ({**getattr(first, name), **data.get(name, {})} for name in TABLES)
    return RecipeFile(trainer, *tables)
