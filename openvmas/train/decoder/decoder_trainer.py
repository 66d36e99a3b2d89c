"""Train the decoder on codes of music, each step conditioned on the music's own curves, grid and tags.

    python -m openvmas.train.decoder.decoder_trainer EXAMPLES RUN --time-limit 3600

Learns from music alone: at inference a picture's curves take the place of the music's. Time-boxed, resumable
(`RUN/last.pt`), the same on CPU and GPU.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from openvmas.generate.pattern import delay
from openvmas.model.decoder import DECODER_PRESETS, Decoder, DecoderConfig, load_decoder, save_decoder
from openvmas.settings import option
from openvmas.train.codec.crops import draw_ahead
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.logs import Board
from openvmas.train.loop import (
    SCHEDULES,
    Run,
    RunOptions,
    add_recipe,
    follow,
    make_optimizers,
    rate_at,
    start,
    take,
    take_recipe,
)


@dataclass(frozen=True)
class ModelRecipe:
    """Settings of a decoder run."""

    preset: str = option("mini", "Sizes of the decoder.", choices=tuple(DECODER_PRESETS))
    batch: int = option(8, "Crops in a batch.", min=1)
    steps_per_crop: int = option(576, "Steps of a crop after the delay pattern, 50 a second.", min=16)
    first_weight: float = option(1.6, "Of the first codebook's loss; the last has 2 - first_weight.", min=0, max=2)
    steps: int = option(4000, "Updates, if the time suffices.", min=1)
    learning_rate: float = option(2e-3, "At its highest.", min=0, max=1)
    warmup: int = option(60, "Steps over which the learning rate rises.", min=1)
    schedule: str = option("hold", "How the learning rate falls (train.loop.rate_at).", choices=SCHEDULES)
    weight_decay: float = option(0.05, "Of matrices inside layers.", min=0, max=1)
    drop_events: float = option(0.12, "Share of the crops whose events are not told.", min=0, max=1)
    drop_meaning: float = option(0.12, "Share of the crops whose meaning is not told.", min=0, max=1)
    compile: int = option(0, "1: torch.compile, a sixth faster on this CPU after 90 s.", min=0, max=1)
    save_every: int = option(100, "Steps between measurements and checkpoints.", min=1)
    seed: int = option(0, "Of weights and batches.", min=0)
    precision: str = option("bf16", "Of products; losses are in fp32.", choices=("bf16", "fp32"))


OPTIONS = RunOptions


@dataclass(frozen=True)
class Batch:
    """tokens [B, K, S] with the empty token V where there is nothing; curves [B, S, C]; semantics [B, S, 2A]."""

    tokens: Tensor
    curves: Tensor
    semantics: Tensor

    def to(self, device: str) -> Batch:
        return Batch(self.tokens.to(device), self.curves.to(device), self.semantics.to(device))


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


def draw_told(examples: Examples, recipe: ModelRecipe, config: DecoderConfig, step: int) -> tuple[Batch, Tensor]:
    """A batch and which of its examples keep their events [0, B] and meaning [1, B]; by seed and step alone."""
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
def told(decoder: Decoder, batch: Batch) -> Tensor:
    """The decoder's condition [B, S, D] when it is told everything."""
    everything = batch.curves.new_ones(len(batch.tokens))
    return decoder.condition(batch.curves, batch.semantics, everything, everything)


@torch.no_grad()
def evaluate(decoder: Decoder, batches: list[Batch], precision: str) -> dict[str, float]:
    """Held-out likelihood with everything, without events, without meaning, and of the first codebook alone."""
    result = {}
    decoder.eval()
    for name, events, meaning in (("full", 1.0, 1.0), ("no_events", 0.0, 1.0), ("no_meaning", 1.0, 0.0)):
        total = torch.stack(
            [
                likelihood(
                    decoder,
                    b,
                    b.curves.new_full((len(b.tokens),), events),
                    b.curves.new_full((len(b.tokens),), meaning),
                    precision,
                )
                for b in batches
            ]
        ).mean(0)
        result[name] = round(total.mean().item(), 4)
        result[f"{name}_first"] = round(total[0].item(), 4)
    decoder.train()
    return result


def train(
    examples: Examples,
    held_out: Examples,
    run_folder: Path,
    recipe: ModelRecipe,
    options: RunOptions,
) -> None:
    """Train until the steps or the time run out; the learning rate follows whichever comes first.

    options.start_from is worth it after a new codec too, whose codes mean other sounds.
    """
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    decoder = (
        load_decoder(options.start_from).train() if options.start_from else Decoder(DECODER_PRESETS[recipe.preset])
    ).to(device)
    averaged = copy.deepcopy(decoder)
    muon, adam = make_optimizers(decoder, [decoder.layers], recipe.learning_rate, recipe.weight_decay)
    generator = np.random.default_rng(99)
    tests = [draw_batch(held_out, generator, 8, recipe.steps_per_crop, decoder.config).to(device) for _ in range(4)]
    parts = {"decoder": decoder, "averaged": averaged, "muon": muon, "adam": adam}
    run = Run(run_folder, recipe.steps, options.time_limit, device, **parts)
    board = Board(run_folder, run.step) if options.tensorboard else None
    # The first codebooks carry what is heard as notes; the last ones are nearly noise.
    n_codebooks = decoder.config.n_codebooks
    weights = torch.linspace(recipe.first_weight, 2 - recipe.first_weight, n_codebooks, device=device)
    fast = torch.compile(decoder) if recipe.compile else decoder

    batches = draw_ahead(partial(draw_told, examples, recipe, decoder.config), run.step, options.loaders)
    while True:
        progress = run.progress
        if run.step % recipe.save_every == 0 or progress >= 1:
            measures = evaluate(averaged, tests, recipe.precision)
            run.save(measures)
            save_decoder(averaged, str(run_folder / "decoder.pt"))
            if board:
                board.numbers(run.step, "held_out", measures)
                board.written(run.step, averaged, told(averaged, tests[0])[0], options.codec)
        if progress >= 1:
            return
        rate = recipe.learning_rate * rate_at(run.step, progress, recipe.warmup, recipe.schedule)
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = rate
        batch, keep = next(batches)
        batch, keep = batch.to(device), keep.to(device)
        losses = likelihood(fast, batch, keep[0], keep[1], recipe.precision)
        for optimizer in (muon, adam):
            optimizer.zero_grad(set_to_none=True)
        (losses * weights).mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
        run.step += 1
        follow(averaged, decoder, min(0.995, 1 - 1 / (run.step / 4 + 1)))
        if run.step % options.log_every == 0:
            found = {"likelihood": losses.mean().item(), "first": losses[0].item(), "gradient_norm": norm.item()}
            record = run.note(rate=rate, **found)
            print(f"{run.step} {run.spent:.0f}s {found['likelihood']:.3f} first {found['first']:.3f}", flush=True)
            if board:
                board.numbers(run.step, "train", record)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", type=Path, help="folder of python -m openvmas.train.decoder.examples pack")
    parser.add_argument("run", type=Path)
    add_recipe(parser, ModelRecipe, RunOptions)
    given = parser.parse_args(arguments)
    recipe, options = take_recipe(given, ModelRecipe, "model"), take(given, RunOptions, "model", "run")
    torch.set_num_threads(options.threads)
    found = read_packed(given.examples)
    train(found.music, found.held_out, given.run, recipe, options)


if __name__ == "__main__":
    start(main)
