"""`openvmas train`: everything from music and pictures to the files that score videos.

Trainers need PyTorch, and the dataclasses of their options lie beside their networks; both are imported by the command
that needs them. `torchrun ... -m openvmas train joint` starts several processes.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from openvmas.cli.options import given, options_of
from openvmas.errors import OptionError
from openvmas.settings import read_table
from openvmas.train.resource_plan import ResourceOptions

GPUS = (8, 16, 32, 64)
MAX_GPUS = 65_536


class LazyCommand(click.Command):
    """A command with further options from dataclasses, `module:Class`, that are imported when it is used."""

    def __init__(self, *arguments: Any, groups: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.groups = groups

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if self.groups:
            options_of(*map(find, self.groups))(self)
            self.groups = ()
        return super().get_params(ctx)


def find(name: str) -> type:
    """A class by `module:Class`, below openvmas.train."""
    module, _, kind = name.partition(":")
    return getattr(importlib.import_module(f"openvmas.train.{module}"), kind)


def argument(name: str, metavar: str | None = None, **settings: Any) -> Callable[[Any], Any]:
    """A path on the command line."""
    return click.argument(name, metavar=metavar or name.upper(), **{"type": Path, **settings})


def number(flag: str, default: Any, help: str) -> Callable[[Any], Any]:
    """An option that is a number."""
    shown = f"{help} [default: {default:g}]"
    return click.option(flag, type=type(default), default=default, metavar="NUMBER", help=shown)


@click.group()
def train() -> None:
    """Train codec, decoder and joint model, and export them (docs/TRAINING.md).

    Try: openvmas train plan --preset large
    """


def add_trainer(name: str, data: str, text: str, *groups: str) -> None:
    """A command that trains by a recipe; its options are those of the trainer's dataclasses."""

    @train.command(name, cls=LazyCommand, groups=groups, help=text)
    @argument("data", data)
    @argument("run")
    @click.option(
        "--recipe", type=Path, metavar="PATH", help="TOML file with settings; options that are given go first."
    )
    def command(data: Path, run: Path, recipe: Path | None, **values: Any) -> int:
        from openvmas.train.recipe_file import run_trainer

        run_trainer(name, data, run, recipe, given(values))
        return 0


add_trainer(
    "codec", "MUSIC",
    """Train the codec on recorded music into the folder RUN; goes on after a stop.

    MUSIC: a folder of `train corpus`, `train pack` or `train unpack`, or a listing (CSV) with its packages beside it.
    """,
    "codec.codec_trainer:CodecRecipe", "codec.codec_trainer:CodecOptions",
)  # fmt: skip
add_trainer(
    "decoder", "EXAMPLES",
    """Train the decoder alone, on codes of music, into the folder RUN; goes on after a stop.

    EXAMPLES: a folder of `train examples pack`.
    """,
    "decoder.decoder_trainer:DecoderRecipe", "loop:RunOptions",
)  # fmt: skip
add_trainer(
    "joint", "EXAMPLES",
    """Train decoder, video encoder and alignment together into the folder RUN; goes on after a stop.

    EXAMPLES: a folder of `train examples pack`. Several GPUs: torchrun --nproc-per-node 8 -m openvmas train joint ...
    """,
    "joint.joint_model:JointRecipe", "joint.joint_trainer:JointOptions",
)  # fmt: skip


@train.command(context_settings={"ignore_unknown_options": True})
@argument("recipe")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="DATA RUN [OPTIONS]...")
def run(recipe: Path, arguments: tuple[str, ...]) -> int:
    """Train by a recipe (TOML) with the trainer that it names.

    DATA and RUN are folders; options are those of the trainer.
    """
    from openvmas.train.recipe_file import read_recipe

    command = train.commands[read_recipe(recipe).trainer]
    return command.main([*arguments, "--recipe", str(recipe)], standalone_mode=False)


@train.command()
@click.option(
    "--gpus", type=int, multiple=True, default=GPUS, metavar="NUMBER",
    help="How many; may be given several times. [default: 8, 16, 32, 64]",
)  # fmt: skip
@options_of(ResourceOptions)
def plan(gpus: tuple[int, ...], **values: Any) -> int:
    """Say what training the joint model on a large set takes: memory, days, input and traffic, from counted FLOPs."""
    from openvmas.train.resource_plan import make_plan

    for n in gpus:
        if not 1 <= n <= MAX_GPUS:
            raise OptionError(f"gpus cannot be {n}; give a number from 1 to {MAX_GPUS}.")
    click.echo(make_plan(read_table(ResourceOptions, given(values)), gpus))
    return 0


@train.command()
@argument("listing", "LISTING.csv")
@argument("root")
@argument("waves")
def corpus(listing: Path, root: Path, waves: Path) -> int:
    """Decode recorded music into one file of samples in the folder WAVES, of which training reads random crops.

    LISTING.csv: a table with the columns track (package/path), singing_share and speech_share. ROOT: a folder with one
    unpacked package per subfolder.
    """
    from openvmas.train.codec.corpus import build

    build(listing, root, waves)
    return 0


@train.command(cls=LazyCommand, groups=("codec.pack:PackOptions",))
@argument("listing", "LISTING.csv")
@argument("root")
@argument("output", "PARTS")
def pack(listing: Path, root: Path, output: Path, **values: Any) -> int:
    """Encode recorded music as Ogg Opus into tar files in the folder PARTS, to be copied to another machine.

    Run the same command again after a stop. LISTING.csv and ROOT are those of `train corpus`.
    """
    from openvmas.train.codec.pack import PackOptions
    from openvmas.train.codec.pack import pack as write_parts

    written = write_parts(listing, root, output, read_table(PackOptions, given(values)))
    kbps = written.n_bytes * 8e-3 / written.seconds if written.seconds else 0.0
    hours, megabytes = written.seconds / 3600, written.n_bytes / 1e6
    click.echo(f"{hours:.2f} h, {megabytes:.1f} MB, {kbps:.1f} kbps in {written.n_parts} parts")
    return 0


@train.command()
@argument("parts")
@argument("waves")
@click.option("--workers", type=int, metavar="NUMBER", help="Worker processes; one per processor core if left out.")
def unpack(parts: Path, waves: Path, workers: int | None) -> int:
    """Decode parts of `train pack` into the folder WAVES, where training draws crops twenty times as fast.

    Tracks that are there already are left out, so parts may arrive one after the other.
    """
    from openvmas.train.codec.pack import unpack as write_waves

    click.echo(f"{write_waves(parts, waves, workers or os.cpu_count() or 1)} tracks")
    return 0


@train.command()
@argument("music")
@argument("codec", "CODEC.pt")
@argument("output", "OUT.pt")
@number("--crops", 120, "Crops of 4 s that are measured.")
@number("--rounds", 2, "Times that gains are measured and applied.")
def calibrate(music: Path, codec: Path, output: Path, crops: int, rounds: int) -> int:
    """Correct the level of a trained codec band by band, and write it to OUT.pt."""
    from openvmas.train.codec.calibrate import calibrate as apply

    apply(music, codec, output, crops, rounds)
    return 0


@train.group()
def examples() -> None:
    """Prepare what the decoder learns from: curves, codes and tags of music."""


@examples.command()
@argument("waves")
@argument("examples")
def listen(waves: Path, examples: Path) -> int:
    """Analyse every track of WAVES (curves, beats) into the folder EXAMPLES; may be started twice to share the work."""
    from openvmas.train.decoder.examples import listen_all

    listen_all(waves, examples)
    return 0


@examples.command()
@argument("waves")
@argument("examples")
@argument("codec", type=str)
@number("--semitones", 0.0, "Transpose the music by so much first.")
def encode(waves: Path, examples: Path, codec: str, semitones: float) -> int:
    """Encode every track of WAVES into the folder EXAMPLES; may be started twice to share the work.

    CODEC: a codec.pt, or a preset or folder of exported weights.
    """
    from openvmas.train.decoder.examples import encode_all

    encode_all(waves, examples, codec, semitones=semitones)
    return 0


@examples.command("pack")
@argument("waves")
@argument("examples")
@argument("tags", "TAGS.npz")
@argument("output", "OUT")
@number("--semitones", 0.0, "Pack the codes of music transposed by so much.")
@number("--codebooks", 4, "Codebooks that the decoder is to predict.")
def pack_examples(waves: Path, examples: Path, tags: Path, output: Path, semitones: float, codebooks: int) -> int:
    """Collect analyses, codes and tags into the files that training reads, in the folder OUT.

    TAGS.npz: from tools/tag_music.py.
    """
    from openvmas.train.decoder.examples import pack_all

    for name, n_tracks in pack_all(waves, examples, tags, output, semitones, codebooks).items():
        click.echo(f"{name}: {n_tracks} tracks")
    return 0


@train.command(cls=LazyCommand, groups=("joint.pairs:PoolOptions",))
@argument("examples")
@argument("bank", "BANK.npz")
@argument("output", "OUT")
def pairs(examples: Path, bank: Path, output: Path, **values: Any) -> int:
    """Draw pairs of music and montage once and keep them in OUT, for `--pools`.

    Drawing a montage takes 50 ms; from a pool it takes none. EXAMPLES: a folder of `train examples pack`; BANK.npz:
    from tools/build_montage.py bank.
    """
    from openvmas.train.joint.pairs import PoolOptions, write_pools

    for line in write_pools(examples, bank, output, read_table(PoolOptions, given(values))):
        click.echo(line)
    return 0


@train.command(cls=LazyCommand, groups=("joint.align:AlignOptions",))
@argument("examples")
@argument("pools")
@argument("decoder", "DECODER.pt")
@argument("output", "OUT")
def align(examples: Path, pools: Path, decoder: Path, output: Path, **values: Any) -> int:
    """Train only the comparison of picture and music, on the states of a finished decoder.

    EXAMPLES: a folder of `train examples pack`; POOLS: of `train pairs`. OUT gets decoder.pt, video_encoder.pt and
    alignment.pt, for `train export - - FOLDER --joint OUT`.
    """
    from openvmas.train.joint.align import AlignOptions, align_folder

    align_folder(examples, pools, decoder, output, read_table(AlignOptions, given(values)))
    return 0


@train.command(cls=LazyCommand, groups=("export.export_model:ExportOptions",))
@argument("codec", "CODEC.pt|-", type=str)
@argument("decoder", "DECODER.pt|-", type=str)
@argument("folder")
def export(codec: str, decoder: str, folder: Path, **values: Any) -> int:
    """Write checkpoints as ONNX graphs into FOLDER, which then scores videos and encodes sound.

    CODEC.pt or DECODER.pt as -: the codec or decoder of the model in FOLDER stays as it is. With - - only the alignment
    of the run in --joint is written.
    """
    from openvmas.train.export.export_model import ExportOptions, export_files

    click.echo(export_files(codec, decoder, folder, read_table(ExportOptions, given(values))))
    return 0


@train.command("import")
@argument("model", type=str)
@argument("folder")
def import_model(model: str, folder: Path) -> int:
    """Write the codec and decoder of an exported model (preset or folder) as checkpoints into FOLDER."""
    from openvmas.train.export.import_onnx import import_files

    import_files(model, folder)
    click.echo(f"{folder}: codec.pt, decoder.pt")
    return 0


@train.command()
@argument("sounds", "SOUND...", nargs=-1, required=True)
@click.option("--model", default="mini", metavar="PATH", help="Preset or folder of exported weights. [default: mini]")
@number("--seconds", 20.0, "Length of what is read of each file.")
def int8(sounds: tuple[Path, ...], model: str, seconds: float) -> int:
    """Measure what 8-bit weights cost: the likelihood of music under the exported decoder, and under fp32 weights."""
    from openvmas.train.export.int8 import compare_likelihoods

    for line in compare_likelihoods(sounds, model, seconds):
        click.echo(line)
    return 0
