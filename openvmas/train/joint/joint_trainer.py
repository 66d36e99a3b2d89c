"""Train decoder, video encoder and their alignment together, from music alone and from pairs of picture and music.

    python -m openvmas.train.joint.joint_trainer EXAMPLES RUN --bank BANK.npz --time-limit 3600
    python -m openvmas.train.joint.joint_trainer EXAMPLES RUN --bank BANK.npz --recipe recipes/train/joint-mini.toml
    torchrun --nproc-per-node 8 -m openvmas.train.joint.joint_trainer EXAMPLES RUN --bank BANK.npz --sharding fsdp2

Every step is one batch mixed from the sources by their shares. Each part can be left out to see what it is for:
`--contrastive-weight 0`, `--timed-weight 0`, `--beat-weighting 0`, `--onset-weight 0`, `--fps 1`,
`--video mean|linear|joint|none`.
Time-boxed, resumable (`RUN/last.pt`, of several processes `RUN/checkpoint-STEP`), the same on CPU and GPU.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import Condition
from openvmas.data.montage.bank import Bank
from openvmas.errors import InputError
from openvmas.hub.musicgen import open_decoder
from openvmas.model.alignment import retrieval_ranks
from openvmas.model.decoder import DecoderConfig, save_decoder
from openvmas.model.video_encoder import save_video_encoder
from openvmas.pretrained import find_weights
from openvmas.settings import CONTROL_RATE, option
from openvmas.train.codec.crops import draw_ahead
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.distributed import SHARDINGS, SharedRun, World, joined, settle, spread, whole_state
from openvmas.train.joint.joint_model import EVERYTHING, JointModel, JointRecipe, Losses
from openvmas.train.joint.other_pairs import ShardPairs, WeakPairs
from openvmas.train.joint.pair_pool import PairPool, PooledPairs
from openvmas.train.joint.pairs import (
    Clip,
    MontagePairs,
    Music,
    PairBatch,
    Source,
    collate,
    counts_of,
    draw_distinct,
    split_bank,
    told_events,
)
from openvmas.train.joint.step import learn
from openvmas.train.logs import Board, show
from openvmas.train.loop import RunOptions, add_recipe, follow, make_optimizers, rate_at, start, take, take_recipe


@dataclass(frozen=True)
class JointOptions(RunOptions):
    """How a joint run goes on these machines."""

    sharding: str = option(
        "ddp", "Several processes: every one has the whole model, or a share of it.", choices=SHARDINGS
    )


OPTIONS = JointOptions
Pictures = tuple[Bank, Bank] | tuple[PairPool, PairPool]


@torch.no_grad()
def evaluate(model: Any, batches: Sequence[PairBatch]) -> dict[str, float]:
    """On held-out pairs: likelihood when all is told, when only the picture, another picture or nothing is; how often
    a picture finds its own music among all against chance, and the median rank (0 is best), by the global
    embeddings and (in_time) by the timed ones."""
    model.eval()
    sums: dict[str, list[float]] = {}
    sides: list[tuple[Tensor, ...]] = []
    for batch in batches:
        n = len(batch.tokens)
        others = replace(batch, picture=batch.picture.roll(1, 0), features=batch.features.roll(1, 0))
        cases = {"full": (batch, 1.0, 1.0), "picture": (batch, 0.0, 1.0), "shuffled": (others, 0.0, 1.0)}
        for name, (told, rest, picture) in (cases | {"nothing": (batch, 0.0, 0.0)}).items():
            keep = torch.tensor([[rest], [rest], [picture]], device=batch.tokens.device).expand(3, n)
            n_untold = n if name == "full" and model.video is not None else 0
            passed = model(told, keep, EVERYTHING, model.weigh(told, n_untold, EVERYTHING), n, n_untold)
            nats, counts = passed.codebooks.sum(1).tolist()
            sums.setdefault(name, []).append(nats / counts)
            if n_untold:
                sides.append(passed.sides[:4])
    model.train()
    result = {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
    if sides:
        video, music, *timed = (torch.cat(rows) for rows in zip(*sides, strict=True))
        for name, pair in (("", (video, music)), ("_in_time", timed)):
            ranks = retrieval_ranks(*pair).float()
            found = (ranks == 0).float().mean().item()
            measures = {"found": round(found, 4), "times_chance": round(found * len(ranks), 2)}
            result |= {key + name: value for key, value in (measures | {"median_rank": ranks.median().item()}).items()}
    return result


def draw_keep(generator: np.random.Generator, recipe: JointRecipe, n: int, n_pairs: int) -> Tensor:
    """Which clips keep their events, meaning and picture: [3, B] of 0 or 1; pairs are the first rows."""
    shares = np.array([[recipe.drop_events], [recipe.drop_meaning], [recipe.drop_picture]])
    keep = (generator.random((3, n)) >= shares) & (generator.random(n) >= recipe.drop_all)
    is_alone = (np.arange(n) < n_pairs) & (generator.random(n) < recipe.only_picture) & (recipe.video != "none")
    keep[:2, is_alone], keep[2, is_alone] = False, True
    return torch.from_numpy(keep.astype(np.float32))


def told_condition(condition: Condition, curves: np.ndarray) -> Condition:
    """A condition that tells what a picture shows, curves [S, 4], and nothing that only the music knows."""
    nothing, endless = np.full_like(condition.semantics, np.nan), np.full_like(condition.time_left, np.inf)
    since = 10 + np.arange(len(curves)) / float(CONTROL_RATE)  # a beginning is often silent
    return Condition(told_events(curves), np.zeros(0), np.zeros(0), nothing, endless, since)


def test_clips(held_out: Examples, pool: PairPool, recipe: JointRecipe, n_codebooks: int) -> list[Clip]:
    """The clips of a pool, always the same: told what the picture shows and nothing that only the music knows."""
    source = PooledPairs(held_out, pool, recipe.fps, recipe.events_fps, picture_events=1.0)
    n_steps, clips = pool.curves.shape[1], []
    for row in range(len(pool)):
        clip = source.clip(source.row(row), np.random.default_rng(row), n_steps - n_codebooks + 1)
        clips.append(replace(clip, condition=told_condition(clip.condition, clip.curves)))
    return clips


def pairs_of(
    examples: Examples, held_out: Examples, pictures: Pictures, recipe: JointRecipe, n_pieces: int | None,
    config: DecoderConfig,
) -> tuple[Source, list[Clip]]:  # fmt: skip
    """Where pairs come from, and the held-out ones that are measured on. Raises InputError."""
    n_steps, (training, testing) = recipe.steps_per_crop, pictures
    if isinstance(training, PairPool) and isinstance(testing, PairPool):
        source = PooledPairs(examples, training, recipe.fps, recipe.events_fps, n_pieces=n_pieces)
        return source, test_clips(held_out, testing, recipe, config.n_codebooks)[: recipe.test_pairs]
    if recipe.events_fps or not isinstance(training, Bank) or not isinstance(testing, Bank):
        raise InputError("--events-fps needs pairs from a pool; give --pools in place of --bank.")
    test_source = MontagePairs(held_out, testing, n_steps, recipe.fps, 99, picture_events=1.0)
    source = MontagePairs(examples, training, n_steps, recipe.fps, recipe.seed, n_pieces=n_pieces)
    return source, draw_distinct(test_source, recipe.test_pairs, n_steps, config, 99)


class Batches:
    """This process's share of every batch, by seed and step alone: with any number of processes the whole is the same.

    sources: with how many clips of a batch each. Every clip has a generator of its own. Raises InputError if the pairs,
    or the music, of a batch do not divide among processes and parts.
    """

    def __init__(self, sources: Sequence[tuple[Source, int]], recipe: JointRecipe, world: World, *sizes: Any) -> None:
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
        """The clips and what each is told [3, B]."""
        n_steps, (config, *_) = self.recipe.steps_per_crop, self.sizes
        found = []
        for i in self.own:
            generator = np.random.default_rng((self.recipe.seed, step, i))
            found.append(self.clips[i].draw(generator, n_steps, n_steps - config.n_codebooks + 1))
        generator = np.random.default_rng((self.recipe.seed, step))
        keep = draw_keep(generator, self.recipe, self.n_all, self.n_all_pairs)
        return collate(found, *self.sizes), keep[:, self.rows]


def open_batches(
    examples: Examples, held_out: Examples, pictures: Pictures, recipe: JointRecipe, n_pieces: int | None,
    world: World, config: DecoderConfig, real: Source | None = None,
) -> tuple[Batches, list[PairBatch]]:  # fmt: skip
    """What is trained on, and the batches that are measured on, which all processes have. Raises InputError."""
    pairs, found = pairs_of(examples, held_out, pictures, recipe, n_pieces, config)
    shares = {"share_music": Music(examples, n_pieces), "share_montage": pairs}
    if recipe.share_real:
        if real is None:
            raise InputError("--share-real needs videos with music; give a curated set with --shards.")
        shares["share_real"] = real
    if recipe.share_weak:
        if not isinstance(pictures[0], Bank):
            raise InputError("--share-weak chooses pictures itself; give --bank in place of --pools.")
        shares["share_weak"] = WeakPairs(examples, pictures[0], recipe.fps, n_pieces)
    counts = counts_of([getattr(recipe, name) for name in shares], recipe.batch)
    sources: list[tuple[Source, int]] = list(zip(shares.values(), counts, strict=True))
    sizes = config, recipe.fps, pictures[0].features.shape[-1]
    chunks = [found[i : i + recipe.batch] for i in range(0, len(found), recipe.batch)]
    return Batches(sources, recipe, world, *sizes), [collate(chunk, *sizes).to(world.device) for chunk in chunks]


def save_parts(averaged: torch.nn.Module, plain: JointModel, folder: Path, is_first: bool) -> None:
    """`decoder.pt`, `video_encoder.pt` and `alignment.pt` (embeddings and temperature), each with its sizes.

    plain: the averaged model before it was shared out, or itself; it takes the whole weights, in the first process.
    """
    if averaged is not plain:
        state = whole_state(averaged)
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
    options: JointOptions, n_pieces: int | None = None, world: World | None = None, real: Source | None = None,
) -> None:  # fmt: skip
    """Train until the steps or the time run out; the learning rate follows whichever comes first.

    pictures: to train on, and held out. n_pieces: of the examples, if copies at other pitches come after the
    first. world: the processes that train together (`distributed.joined`); alone if None. real: videos with music.
    """
    world = world or World(device="cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    decoder = open_decoder(options.start_from).train() if options.start_from else None
    whole = JointModel(recipe, decoder, pictures[0].features.shape[-1]).to(world.device)
    averaged = copy.deepcopy(whole)
    is_sharded = world.size > 1 and options.sharding == "fsdp2"
    plain = copy.deepcopy(averaged) if is_sharded else averaged
    model = spread(whole, whole.learned_layers, world, options.sharding)
    if is_sharded:
        spread(averaged, averaged.learned_layers, world, options.sharding)
    muon, adam = make_optimizers(whole, whole.learned_layers, recipe.learning_rate, recipe.weight_decay)
    run = SharedRun(run_folder, recipe.steps, options.time_limit, world, whole, averaged, muon=muon, adam=adam)
    is_mixed = recipe.precision == "bf16" or (recipe.precision == "auto" and world.device != "cpu")
    drawn, tests = open_batches(examples, held_out, pictures, recipe, n_pieces, world, whole.decoder.config, real)
    board = Board(run_folder, run.step) if options.tensorboard and world.is_first else None
    batches = draw_ahead(drawn.draw, run.step, options.loaders)
    while True:
        progress = run.progress
        if run.step % recipe.save_every == 0 or progress >= 1:
            measures = evaluate(averaged, tests)
            run.save(measures)
            save_parts(averaged, plain, run_folder, world.is_first)
            if board:
                show(board, run.step, measures, plain, tests[0], options.codec)
        if progress >= 1:
            return
        rate = recipe.learning_rate * rate_at(run.step, progress, recipe.warmup, recipe.schedule)
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = rate
        batch, keep = next(batches)
        batch, keep = batch.to(world.device), keep.to(world.device)
        autocast = torch.autocast(world.device.partition(":")[0], torch.bfloat16, enabled=is_mixed)
        for optimizer in (muon, adam):
            optimizer.zero_grad(set_to_none=True)
        losses = learn(model, whole, batch, keep, drawn.n_pairs, recipe, world, autocast, run.step)
        norm = settle(whole, world, 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
        run.step += 1
        follow(averaged, whole, min(0.995, 1 - 1 / (run.step / 4 + 1)))
        if run.step % options.log_every == 0:
            log(run, losses, rate, norm, board)


def log(run: SharedRun, losses: Losses, rate: float, norm: Tensor, board: Board | None) -> None:
    """One line of `steps.jsonl`, one for the terminal."""
    names = ("loss", "likelihood", "contrastive", "onset", "reading", "gradient_norm")
    values = losses.total, losses.codebooks.mean(), losses.contrastive, losses.onset, losses.reading, norm
    record = run.note(rate=rate, **{name: value.item() for name, value in zip(names, values, strict=True)})
    if board:
        board.numbers(run.step, "train", record)
    if run.is_first:
        parts = f"contrastive {record['contrastive']:.3f} onset {record['onset']:.3f}"
        speed = f"{record['steps_per_second']:.2f} steps/s"
        print(f"{run.step} {run.spent:.0f}s {record['likelihood']:.3f} {parts} {speed}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", type=Path, help="folder of python -m openvmas.train.decoder.examples pack")
    parser.add_argument("run", type=Path)
    given_pictures = parser.add_mutually_exclusive_group(required=True)
    given_pictures.add_argument("--bank", type=Path, help="pictures, from tools/build_montage.py bank")
    given_pictures.add_argument("--pools", type=Path, help="pairs looked at once, from openvmas.train.joint.pair_pool")
    parser.add_argument("--shards", type=Path, help="a set of openvmas data build: videos with their own music")
    parser.add_argument("--codes-of", default="mini", help="preset or folder whose codec made the codes [mini]")
    add_recipe(parser, JointRecipe, JointOptions)
    given = parser.parse_args(arguments)
    recipe, options = take_recipe(given, JointRecipe, "joint"), take(given, JointOptions, "joint", "run")
    torch.set_num_threads(options.threads)
    pictures: Pictures
    if given.pools:
        pictures = PairPool.load(given.pools / "train.npz"), PairPool.load(given.pools / "test.npz")
    else:
        pictures = split_bank(Bank.load(given.bank))
    found, real = read_packed(given.examples), None
    if given.shards:
        codec = CodecRunner(find_weights(given.codes_of), threads=1)
        real = ShardPairs(given.shards, codec.codebooks_sha256, recipe.fps)
    with joined() as world:
        train(found.music, found.held_out, pictures, given.run, recipe, options, found.n_pieces, world, real)


if __name__ == "__main__":
    start(main)
