"""Train decoder, video encoder and their alignment together, from music alone and from pairs of picture and music.

    openvmas train joint EXAMPLES RUN --bank BANK.npz --time-limit 3600
    openvmas train joint EXAMPLES RUN --bank BANK.npz --recipe recipes/train/joint-mini.toml
    openvmas train joint SET RUN                        # a set of openvmas data build: its videos and their music
    torchrun --nproc-per-node 8 -m openvmas train joint EXAMPLES RUN --bank BANK.npz --sharding fsdp2

Every step is one batch mixed from the sources by their shares. Each part can be left out to see what it is for:
`--contrastive-weight 0`, `--timed-weight 0`, `--beat-weighting 0`, `--onset-weight 0`, `--fps 1`,
`--video mean|linear|joint|none`.
Time-boxed, resumable (`RUN/last.pt`, of several processes `RUN/checkpoint-STEP`), the same on CPU and GPU.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openvmas.data.montage.bank import Bank
from openvmas.errors import InputError, OptionError
from openvmas.hub.musicgen import MusicGenDecoder, open_decoder
from openvmas.model.alignment import retrieval_ranks
from openvmas.model.decoder import DECODER_PRESETS, Decoder, DecoderConfig, save_decoder
from openvmas.model.video_encoder import VideoEncoder, load_video_encoder, save_video_encoder
from openvmas.pretrained import find_weights
from openvmas.settings import option
from openvmas.train import distributed
from openvmas.train.codec.identity import CodecIdentity, has_encodec, identify
from openvmas.train.decoder.examples import read_packed
from openvmas.train.distributed import SHARDINGS, World
from openvmas.train.joint.curated_pairs import CuratedPairs, is_set
from openvmas.train.joint.joint_model import EVERYTHING, JointModel, JointRecipe, add_gradients
from openvmas.train.joint.material import CuratedMaterial, Material, PackedMaterial, Pictures
from openvmas.train.joint.pairs import ClipSource, PairBatch, PairPool, collate, counts_of, split_bank
from openvmas.train.logs import Board, show_pair
from openvmas.train.loop import RunOptions, draw_ahead, ema_decay, lr_factor, make_optimizers, set_lr, update_ema


@dataclass(frozen=True)
class JointOptions(RunOptions):
    """Settings of a joint run on machines, and pictures for packed music, of which `bank` or `pools` is needed."""

    sharding: str = option(
        "ddp", "Over several processes: each has the whole model (ddp) or a share of it (fsdp2).", choices=SHARDINGS
    )
    bank: str | None = option(None, "Pictures, from tools/build_montage.py bank.", metavar="PATH")
    pools: str | None = option(None, "Folder of pairs computed before, by openvmas train pairs.", metavar="DIR")
    shards: str | None = option(
        None, "Set made by openvmas data build, beside packed music: videos with their own music.", metavar="DIR"
    )
    video_from: str | None = option(
        None, "Begin with this video_encoder.pt, or with the video encoder of an exported model (alignment).",
        metavar="MODEL",
    )  # fmt: skip
    codes_of: str | None = option(
        None, "Preset, folder or codec.pt that made the packed codes, where these do not say (packed before 0.6).",
        metavar="MODEL",
    )  # fmt: skip


RECIPE, OPTIONS = JointRecipe, JointOptions


@torch.no_grad()
def evaluate(model: Any, batches: Sequence[PairBatch]) -> dict[str, float]:
    """Measures on held-out pairs.

    Likelihood with the full condition, with its picture left out (full_blind) or of another clip (full_shuffled), with
    the picture alone, with another picture alone, and with nothing; how often a picture finds its own music among all,
    also against chance, and the median rank (0 is best), by the global embeddings and (in_time) by the timed ones.
    """
    model.eval()
    sums: dict[str, list[float]] = {}
    embeddings: list[tuple[Tensor, ...]] = []
    for batch in batches:
        n = len(batch.tokens)
        others = replace(batch, picture=batch.picture.roll(1, 0), features=batch.features.roll(1, 0))
        cases = {
            "full": (batch, 1.0, 1.0), "full_blind": (batch, 1.0, 0.0), "full_shuffled": (others, 1.0, 1.0),
            "picture": (batch, 0.0, 1.0), "shuffled": (others, 0.0, 1.0),
        }  # fmt: skip
        for name, (chosen, rest, picture) in (cases | {"nothing": (batch, 0.0, 0.0)}).items():
            keep = torch.tensor([[rest], [rest], [picture]], device=batch.tokens.device).expand(3, n)
            n_uncond = n if name == "full" and model.video is not None else 0
            passed = model(chosen, keep, EVERYTHING, model.loss_weights(chosen, n_uncond, EVERYTHING), n, n_uncond)
            nats, counts = passed.codebooks.sum(1).tolist()
            sums.setdefault(name, []).append(nats / counts)
            if n_uncond:
                embeddings.append(passed.embeddings[:4])
    model.train()
    result = {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
    if embeddings:
        video, music, *timed = (torch.cat(rows) for rows in zip(*embeddings, strict=True))
        for name, pair in (("", (video, music)), ("_in_time", timed)):
            ranks = retrieval_ranks(*pair).float()
            found = (ranks == 0).float().mean().item()
            measures = {"found": round(found, 4), "times_chance": round(found * len(ranks), 2)}
            result |= {key + name: value for key, value in (measures | {"median_rank": ranks.median().item()}).items()}
    return result


def draw_keep(generator: np.random.Generator, recipe: JointRecipe, n: int, n_pairs: int) -> Tensor:
    """[3, B] of 0 or 1: which clips keep their events, meaning and picture; pairs are the first rows."""
    shares = np.array([[recipe.drop_events], [recipe.drop_meaning], [recipe.drop_picture]])
    keep = (generator.random((3, n)) >= shares) & (generator.random(n) >= recipe.drop_all)
    is_alone = (np.arange(n) < n_pairs) & (generator.random(n) < recipe.only_picture) & (recipe.video != "none")
    keep[:2, is_alone], keep[2, is_alone] = False, True
    return torch.from_numpy(keep.astype(np.float32))


class Batches:
    """This process's share of every batch, by seed and step alone: with any number of processes the whole is the same.

    sources: with how many clips of a batch each. Every clip has a generator of its own. Raises InputError if the pairs,
    or the music, of a batch do not divide among processes and parts.
    """

    def __init__(
        self, sources: Sequence[tuple[ClipSource, int]], recipe: JointRecipe, world: World, *sizes: Any
    ) -> None:
        clips = [source for source, count in sources for _ in range(count)]
        music = [i for i, source in enumerate(clips) if source.is_music]
        pairs = [i for i, source in enumerate(clips) if not source.is_music]
        for what, rows in (("pairs", pairs), ("clips of music", music)):
            if len(rows) % (world.size * recipe.accumulate):
                raise InputError(
                    f"the {len(rows)} {what} of a batch do not divide among {world.size} processes in "
                    f"{recipe.accumulate} parts; change --batch, the shares or --accumulate."
                )
        self.clips, self.recipe, self.sizes = clips, recipe, sizes
        self.n_all, self.n_all_pairs = len(clips), len(pairs)
        first, last = (len(pairs) * k // world.size for k in (world.rank, world.rank + 1))
        start, end = (len(music) * k // world.size for k in (world.rank, world.rank + 1))
        self.own, self.n_pairs = [*pairs[first:last], *music[start:end]], last - first
        self.rows = [*range(first, last), *range(len(pairs) + start, len(pairs) + end)]  # pairs come first

    def draw(self, step: int) -> tuple[PairBatch, Tensor]:
        """The clips, and [3, B] of 0 or 1: which parts of its condition each keeps."""
        n_steps, (config, *_) = self.recipe.steps_per_crop, self.sizes
        found = []
        for i in self.own:
            generator = np.random.default_rng((self.recipe.seed, step, i))
            clip = self.clips[i].draw(generator, n_steps, n_steps - config.n_codebooks + 1)
            found.append(replace(clip, chance=int(generator.integers(2**62))))
        generator = np.random.default_rng((self.recipe.seed, step))
        keep = draw_keep(generator, self.recipe, self.n_all, self.n_all_pairs)
        return collate(found, *self.sizes), keep[:, self.rows]


def open_batches(
    material: Material, recipe: JointRecipe, world: World, config: DecoderConfig
) -> tuple[Batches, list[PairBatch]]:
    """Training batches, and the batches that are measured on, which all processes have. Raises InputError."""
    sources, shares = material.sources(recipe), material.shares(recipe)
    found = material.tests(recipe, config)
    counts = counts_of([shares[name] for name in sources], recipe.batch)
    mixed: list[tuple[ClipSource, int]] = list(zip(sources.values(), counts, strict=True))
    sizes = config, recipe.fps, material.feature_width
    chunks = [found[i : i + recipe.batch] for i in range(0, len(found), recipe.batch)]
    return Batches(mixed, recipe, world, *sizes), [collate(chunk, *sizes).to(world.device) for chunk in chunks]


def begin_decoder(recipe: JointRecipe, start_from: str | None, material: Material) -> Any:
    """The decoder that a run begins with, of the sizes of its codes. Raises InputError where it cannot read them.

    start_from: a decoder.pt or a folder of MusicGen, which keeps to the codec that it was trained for; None for a new
    one.
    """
    codec = material.codec
    if start_from is None:
        sizes = DECODER_PRESETS[recipe.preset]
        decoder: Any = Decoder(codec.fit(sizes) if codec else sizes)
    else:
        decoder = open_decoder(start_from).train()
        if Path(start_from).is_dir() and has_encodec(start_from):
            decoder.codec = identify(start_from).as_dict()
    if codec:
        codec.check_decoder(decoder, start_from or recipe.preset)
        if isinstance(decoder, MusicGenDecoder) and (own := CodecIdentity.read(decoder.codec)):
            own.require(codec, "this music", f"encode it with `train examples encode WAVES EXAMPLES {start_from}`.")
        decoder.codec = codec.as_dict()
    sizes: Any = decoder.config  # MusicGen's have the same names
    material.check_codes(sizes)
    return decoder


def begin_video(recipe: JointRecipe, begin_from: str | None, width: int, feature_width: int) -> VideoEncoder | None:
    """The video encoder that a run begins with: another's, but for what leads into a decoder of this width.

    Raises InputError where it reads other features, ModelError where there is none.
    """
    if begin_from is None or recipe.video == "none":
        return None
    if begin_from.endswith(".pt"):
        found = load_video_encoder(begin_from)
    else:
        from openvmas.train.export.import_onnx import import_video_encoder  # needs onnx, which others do not

        found = import_video_encoder(find_weights(begin_from))
    before, asked = found.config, (recipe.video, recipe.fps, feature_width)
    if (before.kind, before.fps, before.feature_width) != asked:
        raise InputError(
            f"the video encoder of {begin_from} is of kind {before.kind} and reads {before.fps:g} features of "
            f"{before.feature_width} a second, but this run has {recipe.video}, {recipe.fps:g} and {feature_width}; "
            "change --video and --fps, or leave --video-from out."
        )
    made = VideoEncoder(replace(before, out_width=width, is_gated=recipe.gated))
    fitting = made.state_dict()
    kept = {name: x for name, x in found.state_dict().items() if name in fitting and fitting[name].shape == x.shape}
    made.load_state_dict(fitting | kept)
    return made


def save_parts(averaged: torch.nn.Module, plain: JointModel, folder: Path, is_first: bool) -> None:
    """`decoder.pt`, `video_encoder.pt` and `alignment.pt` (embeddings and temperature), each with its sizes.

    plain: the averaged model before it was shared out, or itself; it takes the whole weights, in the first process.
    """
    if averaged is not plain:
        state = distributed.whole_state(averaged)
        plain.load_state_dict(state)
    if not is_first:
        return
    save_decoder(plain.decoder, str(folder / "decoder.pt"))
    if plain.video is not None:
        save_video_encoder(plain.video, str(folder / "video_encoder.pt"))
    names = ("music", "temperature", "video_timed", "music_timed", "timed_temperature")
    parts = {name: getattr(plain, name).state_dict() for name in names}
    torch.save({"config": plain.music.sizes, **parts}, folder / "alignment.pt")


def train(
    material: Material, run_folder: Path, recipe: JointRecipe, options: JointOptions, world: World | None = None
) -> None:
    """Train until the steps or the time run out; the learning rate follows whichever comes first.

    world: the processes that train together (`distributed.join_world`); alone if None. Raises InputError.
    """
    world = world or World(device="cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    decoder = begin_decoder(recipe, options.start_from, material)
    video = begin_video(recipe, options.video_from, decoder.config.width, material.feature_width)
    whole = JointModel(recipe, decoder, material.feature_width, video).to(world.device)
    averaged = copy.deepcopy(whole)
    is_sharded = world.size > 1 and options.sharding == "fsdp2"
    plain = copy.deepcopy(averaged) if is_sharded else averaged
    model = distributed.wrap_distributed(whole, whole.learned_layers, world, options.sharding)
    if is_sharded:
        distributed.wrap_distributed(averaged, averaged.learned_layers, world, options.sharding)
    optimizers = make_optimizers(whole, whole.learned_layers, recipe.learning_rate, recipe.weight_decay)
    run = distributed.SharedRun(run_folder, recipe.steps, options.time_limit, world, whole, averaged, **optimizers)
    is_mixed = recipe.precision == "bf16" or (recipe.precision == "auto" and world.device != "cpu")
    drawn, tests = open_batches(material, recipe, world, whole.decoder.config)
    board = Board(run_folder, run.step) if options.tensorboard and world.is_first else None
    batches = draw_ahead(drawn.draw, run.step, options.loaders)

    def step(progress: float) -> dict[str, float | Tensor]:
        rate = recipe.learning_rate * lr_factor(run.step, progress, recipe.warmup, recipe.schedule)
        set_lr(optimizers, rate)
        batch, keep = next(batches)
        batch, keep = batch.to(world.device), keep.to(world.device)
        autocast = torch.autocast(world.device.partition(":")[0], torch.bfloat16, enabled=is_mixed)
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        losses = add_gradients(model, whole, batch, keep, drawn.n_pairs, recipe, world, autocast)
        norm = distributed.reduce_and_clip_gradients(whole, world, 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        update_ema(averaged, whole, ema_decay(run.step + 1))
        return {
            "rate": rate, "loss": losses.total, "likelihood": losses.codebooks.mean(),
            "contrastive": losses.contrastive, "onset": losses.onset, "reading": losses.reading, "gradient_norm": norm,
        }  # fmt: skip

    def write() -> None:
        save_parts(averaged, plain, run_folder, world.is_first)
        if board:
            show_pair(board, run.step, plain, tests[0], options.codec)

    run.train(step, partial(evaluate, averaged, tests), recipe.save_every, options.log_every, write, board)


def open_material(data: Path, recipe: JointRecipe, options: JointOptions) -> Material:
    """Read what is in the folders that the options name. Raises InputError, OptionError, ModelError."""
    if is_set(data):
        if options.bank or options.pools or options.shards:
            raise OptionError(
                f"{data} is a set of `openvmas data build`, which has its own pictures; leave out --bank, --pools and "
                "--shards, or give a folder of `train examples pack` in its place and the set with --shards."
            )
        return CuratedMaterial(data, recipe.fps)
    if (options.bank is None) == (options.pools is None):
        raise OptionError("joint training needs pictures; give either --bank or --pools, or a set of videos as data.")
    pictures: Pictures
    if options.pools:
        pictures = PairPool.load(Path(options.pools) / "train.npz"), PairPool.load(Path(options.pools) / "test.npz")
    else:
        pictures = split_bank(Bank.load(Path(str(options.bank))))
    (music, held_out), real = read_packed(data), None
    if options.shards:
        codec = music.codec or (identify(options.codes_of) if options.codes_of else None)
        real = CuratedPairs(Path(options.shards), codec, recipe.fps)
    return PackedMaterial(music, held_out, pictures, real)


def run_training(data: Path, run_folder: Path, recipe: JointRecipe, options: JointOptions) -> None:
    """Train on a folder of `openvmas train examples pack` or a set of `openvmas data build`.

    Raises InputError, OptionError.
    """
    material = open_material(data, recipe, options)
    with distributed.join_world() as world:
        train(material, run_folder, recipe, options, world)
