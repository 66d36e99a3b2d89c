"""`openvmas train`: everything from music and pictures to the files that score videos.

Trainers need PyTorch, and the dataclasses of their options lie beside their networks; both are imported by the command
that needs them. `torchrun ... -m openvmas train joint` starts several processes.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import click

from openvmas.cli.options import given, options_of
from openvmas.errors import OptionError
from openvmas.settings import read_table

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


def find(name: str) -> Any:
    """A class or function by `module:name`, below openvmas.train."""
    module, _, inner = name.partition(":")
    return getattr(importlib.import_module(f"openvmas.train.{module}"), inner)


def add(group: click.Group, name: str, function: str, arguments: str, text: str, options: str = "") -> None:
    """Add a command that calls `function(*paths, options)` and prints the lines that it returns, if any.

    function and options (a dataclass) are `module:name`; arguments: the metavars of the paths.
    """
    words = arguments.split()
    names = [re.sub(r"\W.*", "", word).lower() for word in words]

    def command(**values: Any) -> int:
        paths = [values.pop(name) for name in names]
        rest = [read_table(find(options), given(values))] if options else []
        for line in find(function)(*paths, *rest) or ():
            click.echo(line)
        return 0

    for word, dest in zip(reversed(words), reversed(names), strict=True):
        n = -1 if word.endswith("...") else 1
        command = click.argument(dest, metavar=word, type=Path, nargs=n, required=True)(command)
    group.command(name, cls=LazyCommand, groups=(options,) if options else (), help=text)(command)


@click.group()
def train() -> None:
    """Train codec, decoder and joint model, and export them (docs/TRAINING.md).

    Try: openvmas train plan --preset large
    """


def add_trainer(name: str, data: str, text: str, *groups: str) -> None:
    """A command that trains by a recipe; its options are those of the trainer's dataclasses."""

    @train.command(name, cls=LazyCommand, groups=groups, help=text)
    @click.argument("data", metavar=data, type=Path)
    @click.argument("run", metavar="RUN", type=Path)
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
    "joint", "DATA",
    """Train decoder, video encoder and alignment together into the folder RUN; goes on after a stop.

    DATA: a folder of `train examples pack` with pictures by --bank or --pools, or a set of `openvmas data build`, whose
    videos are learned from with their own music and measured on the split valid.

    Several GPUs: torchrun --nproc-per-node 8 -m openvmas train joint ...
    """,
    "joint.joint_model:JointRecipe", "joint.joint_trainer:JointOptions",
)  # fmt: skip


@train.command(context_settings={"ignore_unknown_options": True})
@click.argument("recipe", metavar="RECIPE", type=Path)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="DATA RUN [OPTIONS]...")
def run(recipe: Path, arguments: tuple[str, ...]) -> int:
    """Train by a recipe (TOML) with the trainer that it names.

    DATA and RUN are folders; options are those of the trainer.
    """
    from openvmas.train.recipe_file import read_recipe

    command = train.commands[read_recipe(recipe).trainer]
    return command.main([*arguments, "--recipe", str(recipe)], standalone_mode=False)


@train.command(cls=LazyCommand, groups=("resource_plan:ResourceOptions",))
@click.option(
    "--gpus", type=int, multiple=True, default=GPUS, metavar="NUMBER",
    help="Number of GPUs; may be given several times. [default: 8, 16, 32, 64]",
)  # fmt: skip
def plan(gpus: tuple[int, ...], **values: Any) -> int:
    """Say what training the joint model on a large set takes: memory, days, input and traffic, from counted FLOPs."""
    from openvmas.train.resource_plan import ResourceOptions, make_plan

    for n in gpus:
        if not 1 <= n <= MAX_GPUS:
            raise OptionError(f"gpus cannot be {n}; give a number from 1 to {MAX_GPUS}.")
    click.echo(make_plan(read_table(ResourceOptions, given(values)), gpus))
    return 0


@train.group()
def examples() -> None:
    """Prepare what the decoder learns from: curves, codes and tags of music."""


add(
    train, "corpus", "codec.corpus:build", "LISTING.csv ROOT WAVES",
    """Decode recorded music into one file of samples in the folder WAVES, of which training reads random crops.

    LISTING.csv: a table with the columns track (package/path), singing_share and speech_share. ROOT: a folder with one
    unpacked package per subfolder.
    """,
)  # fmt: skip
add(
    train, "pack", "codec.pack:pack_corpus", "LISTING.csv ROOT OUT",
    """Encode recorded music as Ogg Opus into tar files in the folder OUT, to be copied to another machine.

    Run the same command again after a stop. LISTING.csv and ROOT are those of `train corpus`.
    """,
    "codec.pack:PackOptions",
)  # fmt: skip
add(
    train, "unpack", "codec.pack:unpack", "PARTS WAVES",
    """Decode parts of `train pack` into the folder WAVES, where training draws crops twenty times as fast.

    Tracks that are there already are left out, so parts may arrive one after the other.
    """,
    "codec.pack:UnpackOptions",
)  # fmt: skip
add(
    train, "calibrate", "codec.calibrate:calibrate", "MUSIC CODEC.pt OUT.pt",
    "Correct the level of a trained codec band by band, and write it to OUT.pt.", "codec.calibrate:CalibrateOptions",
)  # fmt: skip
add(
    examples, "listen", "decoder.examples:listen_all", "WAVES EXAMPLES",
    "Analyse every track of WAVES (curves, beats) into the folder EXAMPLES; may be started twice to share the work.",
)  # fmt: skip
add(
    examples, "encode", "decoder.examples:encode_all", "WAVES EXAMPLES CODEC",
    """Encode every track of WAVES into the folder EXAMPLES; may be started twice to share the work.

    CODEC: a codec.pt, a preset or folder of exported weights, or a folder with EnCodec (MusicGen's too). It is written
    down beside the codes and travels with them.
    """,
    "decoder.examples:EncodeOptions",
)  # fmt: skip
add(
    examples, "pack", "decoder.examples:pack_all", "WAVES EXAMPLES TAGS.npz OUT",
    """Collect analyses, codes and tags into the files that training reads, in the folder OUT.

    TAGS.npz: from tools/tag_music.py.
    """,
    "decoder.examples:PackedOptions",
)  # fmt: skip
add(
    train, "pairs", "joint.pairs:write_pools", "EXAMPLES BANK.npz OUT",
    """Draw pairs of music and montage once and keep them in OUT, for `--pools`.

    Drawing a montage takes 50 ms; from a pool it takes none. EXAMPLES: a folder of `train examples pack`; BANK.npz:
    from tools/build_montage.py bank.
    """,
    "joint.pairs:PoolOptions",
)  # fmt: skip
add(
    train, "align", "joint.align:align_folder", "EXAMPLES POOLS DECODER.pt OUT",
    """Train only the comparison of picture and music, on the states of a finished decoder.

    EXAMPLES: a folder of `train examples pack`; POOLS: of `train pairs`. OUT gets decoder.pt, video_encoder.pt and
    alignment.pt, for `train export - - FOLDER --joint OUT`.
    """,
    "joint.align:AlignOptions",
)  # fmt: skip
add(
    train, "meaning", "joint.meaning_trainer:train_meaning", "EXAMPLES PICTURES.npz MODEL OUT",
    """Train only what picture and music mean to each other; their timing stays that of MODEL, a preset or folder.

    EXAMPLES: a folder of `train examples pack`; PICTURES.npz: from tools/label_bank.py. OUT gets decoder.pt,
    video_encoder.pt and alignment.pt, for `train export - - FOLDER --joint OUT`.
    """,
    "joint.meaning_trainer:MeaningOptions",
)  # fmt: skip
add(
    train, "export", "export.export_model:export_files", "CODEC|- DECODER.pt|- FOLDER",
    """Write checkpoints as ONNX graphs into FOLDER, which then scores videos and encodes sound.

    CODEC: a codec.pt, or a preset or folder of exported weights, whose codec is copied. - stands for the codec or
    decoder of the model in FOLDER, which stays as it is. With - - only the alignment of the run in --joint is written.
    """,
    "export.export_model:ExportOptions",
)  # fmt: skip
add(
    train, "import", "export.import_onnx:import_files", "MODEL FOLDER",
    "Write the codec and decoder of an exported model (preset or folder) as checkpoints into FOLDER.",
)  # fmt: skip
