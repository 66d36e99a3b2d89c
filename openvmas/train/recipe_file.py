"""Recipes of training: a TOML file with the fields of a trainer's dataclass, checked at the door.

trainer = "joint"               # codec, model or joint
like = "joint-mini.toml"        # begin with another recipe, beside this one
[recipe]                        # what is learned: fields of CodecRecipe, ModelRecipe or JointRecipe
contrastive_weight = 0.0
[run]                           # how it goes on a machine: fields of RunOptions
time_limit = 540
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvmas.errors import OptionError
from openvmas.settings import nearest, read_table, read_toml

MODULES = {
    "codec": "openvmas.train.codec.codec_trainer",
    "model": "openvmas.train.decoder.decoder_trainer",
    "joint": "openvmas.train.joint.joint_trainer",
}
TRAINERS = {"codec": "CodecRecipe", "model": "ModelRecipe", "joint": "JointRecipe"}  # module of train → its recipe
TABLES = ("recipe", "run")
MOST = 8  # recipes that may be like one another in a row


@dataclass(frozen=True)
class RecipeFile:
    """What a file says, with what it is like. recipe, run: field → value, only those that are given."""

    trainer: str
    recipe: dict[str, Any]
    run: dict[str, Any]


def read_recipe(path: str | Path, trainer: str = "") -> RecipeFile:
    """Read and check a recipe. trainer: which it must be for.

    Raises InputError for a file that is none, OptionError for what it says wrong.
    """
    path = Path(path)
    found = _read(path, MOST)
    if trainer and found.trainer != trainer:
        raise OptionError(f"{path} is a recipe for train.{found.trainer}, not train.{trainer}; give it to that one.")
    for group, table in zip(groups_of(found.trainer), (found.recipe, found.run), strict=True):
        try:
            read_table(group, table, "the recipe")
        except OptionError as error:
            raise OptionError(f"{path}: {error}") from error
    return found


def groups_of(trainer: str) -> tuple[type, type]:
    """The dataclasses of a trainer's tables: recipe, run."""
    module = importlib.import_module(MODULES[trainer])
    return getattr(module, TRAINERS[trainer]), module.OPTIONS


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
    if trainer not in TRAINERS:
        said = f"trainer cannot be {trainer!r}" if trainer else "no trainer is named"
        raise OptionError(f"{path}: {said}; write trainer = one of {', '.join(map(repr, TRAINERS))}.")
    if first.trainer and trainer != first.trainer:
        raise OptionError(f"{path} is for train.{trainer}, but {data['like']} for train.{first.trainer}; choose one.")
    tables = ({**getattr(first, name), **data.get(name, {})} for name in TABLES)
    return RecipeFile(trainer, *tables)
