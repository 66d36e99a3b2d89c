"""`openvmas train`: plans and runs of training. Heavy modules are imported by the command itself."""

from __future__ import annotations

from typing import Any

import click

from openvmas.cli.options import given, options_of
from openvmas.errors import OptionError
from openvmas.settings import read_table
from openvmas.train.resource_plan import PlanOptions

GPUS = (8, 16, 32, 64)
MAX_GPUS = 65_536


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
@options_of(PlanOptions)
def plan(gpus: tuple[int, ...], **values: Any) -> int:
    """Say what training the joint model on a large set takes: memory, days, input and traffic, from counted FLOPs."""
    from openvmas.train.resource_plan import make_plan

    for n in gpus:
        if not 1 <= n <= MAX_GPUS:
            raise OptionError(f"gpus cannot be {n}; give a number from 1 to {MAX_GPUS}.")
    click.echo(make_plan(read_table(PlanOptions, given(values)), gpus))
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
