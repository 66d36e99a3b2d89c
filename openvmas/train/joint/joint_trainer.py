"""Train decoder, video encoder and their alignment together, from music alone and from pairs of picture and music.

    openvmas train joint EXAMPLES RUN --bank BANK.npz --time-limit 3600
    openvmas train joint EXAMPLES RUN --bank BANK.npz --recipe recipes/train/joint-mini.toml
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

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import Condition
from openvmas.data.montage.bank import Bank
from openvmas.errors import InputError, OptionError
from openvmas.hub.musicgen import open_decoder
from openvmas.model.alignment import retrieval_ranks
from openvmas.model.decoder import DecoderConfig, save_decoder
from openvmas.model.video_encoder import save_video_encoder
from openvmas.pretrained import find_weights
from openvmas.settings import CONTROL_RATE, option
from openvmas.train import distributed
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.distributed import SHARDINGS, World
from openvmas.train.joint.joint_model import EVERYTHING, JointModel, JointRecipe, add_gradients
from openvmas.train.joint.pairs import (
    ClipSource,
    MontagePairs,
    Music,
    PairBatch,
    PairPool,
    PooledPairs,
    ShardPairs,
    TrainingClip,
    WeakPairs,
    collate,
    counts_of,
    draw_distinct,
    events_as_planned,
    split_bank,
)
from openvmas.train.logs import Board, show_pair
from openvmas.train.loop import RunOptions, draw_ahead, ema_decay, lr_factor, make_optimizers, set_lr, update_ema


@dataclass(frozen=True)
class JointOptions(RunOptions):
    """Settings of a joint run on machines, and its pictures; of these either `bank` or `pools` is needed."""

    sharding: str = option(
        "ddp", "Over several processes: each has the whole model (ddp) or a share of it (fsdp2).", choices=SHARDINGS
    )
    bank: str | None = option(None, "Pictures, from tools/build_montage.py bank.", metavar="PATH")
    pools: str | None = option(None, "Folder of pairs computed before, by openvmas train pairs.", metavar="DIR")
    shards: str | None = option(None, "Set made by openvmas data build: videos with their own music.", metavar="DIR")
    codes_of: str = option("mini", "Preset or folder whose codec made the codes of --shards.", metavar="MODEL")


RECIPE, OPTIONS = JointRecipe, JointOptions
Pictures = tuple[Bank, Bank] | tuple[PairPool, PairPool]


@torch.no_grad()
def evaluate(model: Any, batches: Sequence[PairBatch]) -> dict[str, float]:
    """Measures on held-out pairs.

    Likelihood with the full condition, with the picture alone, with another picture, and with nothing; how often a
    picture finds its own music among all, also against chance, and the median rank (0 is best), by the global
    embeddings and (in_time) by the timed ones.
    """
    model.eval()
    sums: dict[str, list[float]] = {}
    embeddings: list[tuple[Tensor, ...]] = []
    for batch in batches:
        n = len(batch.tokens)
        others = replace(batch, picture=batch.picture.roll(1, 0), features=batch.features.roll(1, 0))
        cases = {"full": (batch, 1.0, 1.0), "picture": (batch, 0.0, 1.0), "shuffled": (others, 0.0, 1.0)}
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


def picture_condition(condition: Condition, curves: np.ndarray) -> Condition:
    """A condition with a picture's curves [S, 4] and nothing that only the music knows."""
    nothing, endless = np.full_like(condition.semantics, np.nan), np.full_like(condition.time_left, np.inf)
    since = 10 + np.arange(len(curves)) / float(CONTROL_RATE)  # a beginning is often silent
    return Condition(events_as_planned(curves), np.zeros(0), np.zeros(0), nothing, endless, since)


def test_clips(held_out: Examples, pool: PairPool, recipe: JointRecipe, n_codebooks: int) -> list[TrainingClip]:
    """The clips of a pool, always the same, with the conditions of `picture_condition`."""
    source = PooledPairs(held_out, pool, recipe.fps, recipe.events_fps, picture_events=1.0)
    clips = [source.clip_of_row(row, n_codebooks) for row in range(len(pool))]
    return [replace(clip, condition=picture_condition(clip.condition, clip.curves)) for clip in clips]


def pairs_of(
    examples: Examples, held_out: Examples, pictures: Pictures, recipe: JointRecipe, config: DecoderConfig
) -> tuple[ClipSource, list[TrainingClip]]:
    """The source of pairs, and the held-out pairs that are measured on. Raises InputError."""
    n_steps, (training, testing) = recipe.steps_per_crop, pictures
    if isinstance(training, PairPool) and isinstance(testing, PairPool):
        source = PooledPairs(examples, training, recipe.fps, recipe.events_fps)
        return source, test_clips(held_out, testing, recipe, config.n_codebooks)[: recipe.test_pairs]
    if recipe.events_fps or not isinstance(training, Bank) or not isinstance(testing, Bank):
        raise InputError("--events-fps needs pairs from a pool; give --pools in place of --bank.")
    test_source = MontagePairs(held_out, testing, n_steps, recipe.fps, 99, picture_events=1.0)
    source = MontagePairs(examples, training, n_steps, recipe.fps, recipe.seed)
    return source, draw_distinct(test_source, recipe.test_pairs, n_steps, config, 99)


class Batches:
    """This process's share of every batch, by seed and step alone: with any number of processes the whole is the same.

    sources: with how many clips of a batch each. Every clip has a generator of its own. Raises InputError if the pairs,
    or the music, of a batch do not divide among processes and parts.
    """

    def __init__(
        self, sources: Sequence[tuple[ClipSource, int]], recipe: JointRecipe, world: World, *sizes: Any
    ) -> None:
        clips = [source for source, count in sources for _ in range(count)]
        music = [i for i, source in enumerate(clips) if isinstance(source, Music)]
        pairs = [i for i, source in enumerate(clips) if not isinstance(source, Music)]
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
            found.append(self.clips[i].draw(generator, n_steps, n_steps - config.n_codebooks + 1))
        generator = np.random.default_rng((self.recipe.seed, step))
        keep = draw_keep(generator, self.recipe, self.n_all, self.n_all_pairs)
        return collate(found, *self.sizes), keep[:, self.rows]


def open_batches(
    examples: Examples, held_out: Examples, pictures: Pictures, recipe: JointRecipe, world: World,
    config: DecoderConfig, real: ClipSource | None = None,
) -> tuple[Batches, list[PairBatch]]:  # fmt: skip
    """Training batches, and the batches that are measured on, which all processes have. Raises InputError."""
    pairs, found = pairs_of(examples, held_out, pictures, recipe, config)
    shares = {"share_music": Music(examples), "share_montage": pairs}
    if recipe.share_real:
        if real is None:
            raise InputError("--share-real needs videos with music; give a curated set with --shards.")
        shares["share_real"] = real
    if recipe.share_weak:
        if not isinstance(pictures[0], Bank):
            raise InputError("--share-weak chooses pictures itself; give --bank in place of --pools.")
        shares["share_weak"] = WeakPairs(examples, pictures[0], recipe.fps)
    counts = counts_of([getattr(recipe, name) for name in shares], recipe.batch)
    sources: list[tuple[ClipSource, int]] = list(zip(shares.values(), counts, strict=True))
    sizes = config, recipe.fps, pictures[0].features.shape[-1]
    chunks = [found[i : i + recipe.batch] for i in range(0, len(found), recipe.batch)]
    return Batches(sources, recipe, world, *sizes), [collate(chunk, *sizes).to(world.device) for chunk in chunks]


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
    examples: Examples, held_out: Examples, pictures: Pictures, run_folder: Path, recipe: JointRecipe,
    options: JointOptions, world: World | None = None, real: ClipSource | None = None,
) -> None:  # fmt: skip
    """Train until the steps or the time run out; the learning rate follows whichever comes first.

    pictures: to train on, and held out. world: the processes that train together (`distributed.join_world`); alone if
    None. real: videos with music.
    """
    world = world or World(device="cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    decoder = open_decoder(options.start_from).train() if options.start_from else None
    whole = JointModel(recipe, decoder, pictures[0].features.shape[-1]).to(world.device)
    averaged = copy.deepcopy(whole)
    is_sharded = world.size > 1 and options.sharding == "fsdp2"
    plain = copy.deepcopy(averaged) if is_sharded else averaged
    model = distributed.wrap_distributed(whole, whole.learned_layers, world, options.sharding)
    if is_sharded:
        distributed.wrap_distributed(averaged, averaged.learned_layers, world, options.sharding)
    optimizers = make_optimizers(whole, whole.learned_layers, recipe.learning_rate, recipe.weight_decay)
    run = distributed.SharedRun(run_folder, recipe.steps, options.time_limit, world, whole, averaged, **optimizers)
    is_mixed = recipe.precision == "bf16" or (recipe.precision == "auto" and world.device != "cpu")
    drawn, tests = open_batches(examples, held_out, pictures, recipe, world, whole.decoder.config, real)
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
        losses = add_gradients(model, whole, batch, keep, drawn.n_pairs, recipe, world, autocast, run.step)
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


def run_training(data: Path, run_folder: Path, recipe: JointRecipe, options: JointOptions) -> None:
    """Train on a folder of `openvmas train examples pack`. Raises InputError, OptionError."""
    if (options.bank is None) == (options.pools is None):
        raise OptionError("joint training needs pictures; give either --bank or --pools.")
    pictures: Pictures
    if options.pools:
        pictures = PairPool.load(Path(options.pools) / "train.npz"), PairPool.load(Path(options.pools) / "test.npz")
    else:
        pictures = split_bank(Bank.load(Path(str(options.bank))))
    (music, held_out), real = read_packed(data), None
    if options.shards:
        codec = CodecRunner(find_weights(options.codes_of), threads=1)
        real = ShardPairs(Path(options.shards), codec.codebooks_sha256, recipe.fps)
    with distributed.join_world() as world:
        train(music, held_out, pictures, run_folder, recipe, options, world, real)
