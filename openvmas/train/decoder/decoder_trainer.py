"""Train the decoder on codes of music, each step conditioned on the music's own curves, grid and tags.

    openvmas train decoder EXAMPLES RUN --time-limit 3600

Learns from music alone: at inference a picture's curves take the place of the music's. Time-boxed, resumable
(`RUN/last.pt`), the same on CPU and GPU.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from openvmas.generate.pattern import delay
from openvmas.model.decoder import DECODER_PRESETS, Decoder, DecoderConfig, load_decoder, save_decoder
from openvmas.settings import option
from openvmas.train import loop
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.logs import Board
from openvmas.train.loop import RunOptions, SequenceRecipe


@dataclass(frozen=True)
class DecoderRecipe(SequenceRecipe):
    """Settings of a decoder run that change what is learned."""

    batch: int = option(8, "Crops in a batch.", min=1)
    learning_rate: float = option(2e-3, "Peak learning rate.", min=0, max=1)
    warmup: int = option(60, "Steps over which the learning rate rises.", min=1)
    compile: int = option(0, "1: use torch.compile, a sixth faster on a CPU after 90 s.", min=0, max=1)
    save_every: int = option(100, "Steps between measurements and checkpoints.", min=1)
    precision: str = option("bf16", "Precision of products; losses are in fp32.", choices=("bf16", "fp32"))


RECIPE, OPTIONS = DecoderRecipe, RunOptions


@dataclass(frozen=True)
class Batch:
    """tokens [B, K, S] after the delay pattern, with the empty token V where there is nothing; curves [B, S, C] and
    semantics [B, S, 2A] of the condition."""

    tokens: Tensor
    curves: Tensor
    semantics: Tensor

    def to(self, device: str) -> Self:
        return type(self)(**{name: value.to(device) for name, value in vars(self).items()})


def draw_batch(
    examples: Examples, generator: np.random.Generator, n: int, n_steps: int, config: DecoderConfig
) -> Batch:
    """n random crops whose delayed codes fill n_steps exactly."""
    n_codebooks, empty = config.n_codebooks, config.codebook_size
    length = n_steps - n_codebooks + 1
    tokens, curves, semantics = [], [], []
    for _ in range(n):
        codes, condition = examples.draw(generator, length)
        tokens.append(delay(codes[:n_codebooks], empty))
        for rows, encoded in ((curves, condition.encode_curves()), (semantics, condition.encode_semantics())):
            rows.append(np.pad(encoded, ((0, n_steps - length), (0, 0)), mode="edge"))
    return Batch(*(torch.from_numpy(np.stack(rows)) for rows in (tokens, curves, semantics)))


def draw_with_dropout(
    examples: Examples, recipe: DecoderRecipe, config: DecoderConfig, step: int
) -> tuple[Batch, Tensor]:
    """A batch and [2, B] of 0 or 1: which examples keep their events and their meaning; by seed and step alone."""
    generator = np.random.default_rng((recipe.seed, step))
    batch = draw_batch(examples, generator, recipe.batch, recipe.steps_per_crop, config)
    shares = np.array([[recipe.drop_events], [recipe.drop_meaning]])
    return batch, torch.from_numpy((generator.random((2, recipe.batch)) >= shares).astype(np.float32))


def likelihood(decoder: Any, batch: Batch, use_events: Tensor, use_meaning: Tensor, precision: str) -> Tensor:
    """Negative log-likelihood per codebook, nats: [K]."""
    device = batch.tokens.device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        condition = decoder.condition(batch.curves, batch.semantics, use_events, use_meaning)
        logits = decoder(batch.tokens, condition)
    empty = decoder.config.codebook_size
    losses = F.cross_entropy(
        logits.float().flatten(0, 2), batch.tokens.flatten(), ignore_index=empty, reduction="none"
    ).view_as(batch.tokens)
    return losses.sum((0, 2)) / (batch.tokens != empty).sum((0, 2))


@torch.no_grad()
def evaluate(decoder: Decoder, batches: list[Batch], precision: str) -> dict[str, float]:
    """Held-out likelihood with full condition, without events and without meaning, and of the first codebook alone."""
    result = {}
    decoder.eval()
    for name, events, meaning in (("full", 1.0, 1.0), ("no_events", 0.0, 1.0), ("no_meaning", 1.0, 0.0)):
        found = []
        for batch in batches:
            keep = [batch.curves.new_full((len(batch.tokens),), value) for value in (events, meaning)]
            found.append(likelihood(decoder, batch, keep[0], keep[1], precision))
        total = torch.stack(found).mean(0)
        result[name] = round(total.mean().item(), 4)
        result[f"{name}_first"] = round(total[0].item(), 4)
    decoder.train()
    return result


def train(examples: Examples, held_out: Examples, run_folder: Path, recipe: DecoderRecipe, options: RunOptions) -> None:
    """Train until the steps or the time run out; the learning rate follows whichever comes first.

    options.start_from helps after a new codec too, whose codes mean other sounds.
    """
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes, codec = DECODER_PRESETS[recipe.preset], examples.codec
    new = Decoder(codec.fit(sizes) if codec else sizes) if not options.start_from else None
    decoder = (new or load_decoder(str(options.start_from)).train()).to(device)
    if codec:
        codec.check_decoder(decoder, options.start_from or recipe.preset)
        decoder.codec = codec.as_dict()
    for music in (examples, held_out):
        music.check_codes(decoder.config.n_codebooks, decoder.config.codebook_size)
    averaged = copy.deepcopy(decoder)
    optimizers = loop.make_optimizers(decoder, [decoder.layers], recipe.learning_rate, recipe.weight_decay)
    generator = np.random.default_rng(99)
    tests = [draw_batch(held_out, generator, 8, recipe.steps_per_crop, decoder.config).to(device) for _ in range(4)]
    parts: dict[str, Any] = {"decoder": decoder, "averaged": averaged, **optimizers}
    run = loop.Run(run_folder, recipe.steps, options.time_limit, device, **parts)
    board = Board(run_folder, run.step) if options.tensorboard else None
    # The first codebooks carry what is heard as notes; the last ones are nearly noise.
    n_codebooks = decoder.config.n_codebooks
    weights = torch.linspace(recipe.first_weight, 2 - recipe.first_weight, n_codebooks, device=device)
    fast = torch.compile(decoder) if recipe.compile else decoder
    batches = loop.draw_ahead(partial(draw_with_dropout, examples, recipe, decoder.config), run.step, options.loaders)

    def step(progress: float) -> dict[str, float | Tensor]:
        rate = recipe.learning_rate * loop.lr_factor(run.step, progress, recipe.warmup, recipe.schedule)
        loop.set_lr(optimizers, rate)
        batch, keep = next(batches)
        batch, keep = batch.to(device), keep.to(device)
        losses = likelihood(fast, batch, keep[0], keep[1], recipe.precision)
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        (losses * weights).mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        loop.update_ema(averaged, decoder, loop.ema_decay(run.step + 1))
        return {"rate": rate, "likelihood": losses.mean(), "first": losses[0], "gradient_norm": norm}

    def write() -> None:
        save_decoder(averaged, str(run_folder / "decoder.pt"))
        if board:
            with torch.no_grad():
                batch = tests[0]
                everything = batch.curves.new_ones(len(batch.tokens))
                condition = averaged.condition(batch.curves, batch.semantics, everything, everything)[0]
            board.composed(run.step, averaged, condition, options.codec)

    measure = partial(evaluate, averaged, tests, recipe.precision)
    run.train(step, measure, recipe.save_every, options.log_every, write, board)


def run_training(data: Path, run_folder: Path, recipe: DecoderRecipe, options: RunOptions) -> None:
    """Train on a folder of `openvmas train examples pack`."""
    train(*read_packed(data), run_folder, recipe, options)
