"""Train the decoder on codes of music, each step conditioned on the music's own curves, grid and tags.

    python -m openvmas.train.model EXAMPLES RUN --time-limit 3600

Learns from music alone: at inference a picture's curves take the place of the music's. Time-boxed, resumable
(`RUN/last.pt`), the same on CPU and GPU.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from openvmas.generate.pattern import delay
from openvmas.model.decoder import DECODER_PRESETS, Decoder, DecoderConfig, load_decoder, save_decoder
from openvmas.train.crops import draw_ahead
from openvmas.train.examples import Examples, read_packed
from openvmas.train.loop import Run, add_recipe, follow, make_optimizers, rate_at, take_recipe


@dataclass(frozen=True)
class ModelRecipe:
    """Settings of a decoder run."""

    preset: str = "mini"
    batch: int = 8
    steps_per_crop: int = 576  # after the delay pattern
    first_weight: float = 1.6  # of the first codebook's loss; the last has 2 - first_weight
    steps: int = 4000
    learning_rate: float = 2e-3
    warmup: int = 60
    weight_decay: float = 0.05
    drop_events: float = 0.12
    drop_meaning: float = 0.12
    compile: int = 0  # 1: torch.compile, a sixth faster on this CPU after 90 s
    save_every: int = 100  # steps between measurements and checkpoints
    seed: int = 0
    precision: str = "bf16"


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
    time_limit: float,
    start_from: str | None = None,
    loaders: int = 1,
) -> None:
    """Train until the steps or the time run out; the learning rate follows whichever comes first.

    loaders: processes that draw batches (1: a thread).
    start_from: a decoder whose weights are a beginning; worth it after a new codec too, whose codes mean other sounds.
    """
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    decoder = (load_decoder(start_from).train() if start_from else Decoder(DECODER_PRESETS[recipe.preset])).to(device)
    averaged = copy.deepcopy(decoder)
    muon, adam = make_optimizers(decoder, [decoder.layers], recipe.learning_rate, recipe.weight_decay)
    generator = np.random.default_rng(99)
    tests = [draw_batch(held_out, generator, 8, recipe.steps_per_crop, decoder.config).to(device) for _ in range(4)]
    run = Run(run_folder, recipe.steps, time_limit, device, decoder=decoder, averaged=averaged, muon=muon, adam=adam)
    # The first codebooks carry what is heard as notes; the last ones are nearly noise.
    n_codebooks = decoder.config.n_codebooks
    weights = torch.linspace(recipe.first_weight, 2 - recipe.first_weight, n_codebooks, device=device)
    fast = torch.compile(decoder) if recipe.compile else decoder

    def draw(step: int) -> tuple[Batch, Tensor]:
        """A batch and which of its examples keep their events [0, B] and meaning [1, B]; by seed and step alone."""
        generator = np.random.default_rng((recipe.seed, step))
        batch = draw_batch(examples, generator, recipe.batch, recipe.steps_per_crop, decoder.config)
        shares = np.array([[recipe.drop_events], [recipe.drop_meaning]])
        return batch, torch.from_numpy((generator.random((2, recipe.batch)) >= shares).astype(np.float32))

    batches = draw_ahead(draw, run.step, loaders)
    while True:
        progress = run.progress
        if run.step % recipe.save_every == 0 or progress >= 1:
            run.save(evaluate(averaged, tests, recipe.precision))
            save_decoder(averaged, str(run_folder / "decoder.pt"))
        if progress >= 1:
            return
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = recipe.learning_rate * rate_at(run.step, progress, recipe.warmup)
        batch, keep = next(batches)
        batch, keep = batch.to(device), keep.to(device)
        losses = likelihood(fast, batch, keep[0], keep[1], recipe.precision)
        for optimizer in (muon, adam):
            optimizer.zero_grad(set_to_none=True)
        (losses * weights).mean().backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
        run.step += 1
        follow(averaged, decoder, min(0.995, 1 - 1 / (run.step / 4 + 1)))
        if run.step % 20 == 0:
            print(f"{run.step} {run.spent:.0f}s {losses.mean().item():.3f} first {losses[0].item():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", type=Path, help="folder of python -m openvmas.train.examples pack")
    parser.add_argument("run", type=Path)
    parser.add_argument("--time-limit", type=float, default=3600, help="seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start-from", help="begin with the weights of this decoder.pt")
    parser.add_argument("--loaders", type=int, default=1, help="processes that draw batches; 1: a thread")
    add_recipe(parser, ModelRecipe)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = take_recipe(arguments, ModelRecipe)
    found = read_packed(arguments.examples)
    limits = arguments.time_limit, arguments.start_from, arguments.loaders
    train(found.music, found.held_out, arguments.run, recipe, *limits)


if __name__ == "__main__":
    main()
