"""`openvmas train`: plans and runs of training. Heavy modules are imported by the command itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from openvmas.errors import OptionError
from openvmas.train.resource_plan import PlanOptions

GPUS = (8, 16, 32, 64)
MAX_GPUS = 65_536


def assumptions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every field of `PlanOptions` as an option."""
    for item in reversed(fields(PlanOptions)):
        text = f"{item.metadata['help']} [default: {item.default}]"
        flag, kind = f"--{item.name.replace('_', '-')}", type(item.default)
        metavar = "TEXT" if kind is str else "NUMBER"
        command = click.option(flag, item.name, type=kind, default=item.default, metavar=metavar, help=text)(command)
    return command


@click.group()
def train() -> None:
    """Training: what it takes, and runs from recipes.

    Try: openvmas train plan --preset large
    """


@train.command()
@click.option(
    "--gpus", type=int, multiple=True, default=GPUS, metavar="NUMBER",
    help="How many; may be given several times. [default: 8, 16, 32, 64]",
)  # fmt: skip
@assumptions
def plan(gpus: tuple[int, ...], **values: Any) -> int:
    """Say what training the joint model on a large set takes: memory, days, input and traffic, from counted FLOPs."""
    from openvmas.settings import checked
    from openvmas.train.resource_plan import make_plan

    for n in gpus:
        if not 1 <= n <= MAX_GPUS:
            raise OptionError(f"gpus cannot be {n}; give a number from 1 to {MAX_GPUS}.")
    options = {item.name: checked(item, PlanOptions, values[item.name]) for item in fields(PlanOptions)}
    click.echo(make_plan(PlanOptions(**options), gpus))
    return 0


@train.command(context_settings={"ignore_unknown_options": True})
@click.argument("recipe", metavar="RECIPE")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="DATA RUN [OPTIONS]...")
def run(recipe: str, arguments: tuple[str, ...]) -> int:
    """Train by a recipe (TOML): DATA and RUN are folders; options are those of the trainer that the recipe names."""
    import importlib

    from openvmas.train.recipe_file import MODULES, read_recipe

    trainer = importlib.import_module(MODULES[read_recipe(recipe).trainer])
    trainer.main([*arguments, "--recipe", recipe])
    return 0
