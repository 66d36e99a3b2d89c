"""Train the codec on recorded music: continuous first, then quantised, then against adversaries.

    python -m openvmas.train.codec.codec_trainer MUSIC RUN --time-limit 3000

Waveform and phase first, upper bands by mel, their texture by adversaries. Time-boxed, resumable (`RUN/last.pt`), the
same on CPU and GPU. On CPUs with bf16 matrix units (AMX) the networks run in bf16, about ten times faster than fp32;
transforms and losses stay in fp32.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, CodecConfig, load_codec, save_codec
from openvmas.errors import InputError
from openvmas.settings import option
from openvmas.train.codec.augment import augment, gap, make_tones, read_changed
from openvmas.train.codec.corpus import SAMPLE_RATE, Crops, RandomCrops
from openvmas.train.codec.crops import draw_ahead, open_crops
from openvmas.train.codec.device_crops import DeviceCrops
from openvmas.train.codec.discriminators import Discriminators
from openvmas.train.codec.held_out import held_out_clips, measure
from openvmas.train.codec.losses import SpectralLoss
from openvmas.train.loop import Run, add_recipe, follow, start, take, take_recipe
from openvmas.train.optim import BatchedMuon

ADVERSARY_GROWS = 0.1  # share of the run over which adversaries come to their full weight
LATENTS_PER_ENTRY = 12  # of a codebook, that its first k-means sees


@dataclass(frozen=True)
class CodecRecipe:
    """Settings of a codec run."""

    preset: str = option("mini", "Sizes of the codec.", choices=tuple(CODEC_PRESETS))
    sizes: str = option("", "Fields of CodecConfig that differ from the preset: decoder_width=512,latent_width=32")
    batch: int = option(8, "Crops in a batch.", min=1)
    seconds: float = option(1.6, "Of a crop.", min=0.1, max=60)
    steps: int = option(1_000_000, "Updates, if the time suffices.", min=1)
    continuous_steps: int = option(500, "Steps before there are codes.", min=0)
    optimizer: str = option("muon", "Of matrices: orthogonalised momentum, or adamw.", choices=("muon", "adamw"))
    learning_rate: float = option(2e-3, "At its highest.", min=0, max=1)
    warmup: int = option(100, "Steps over which the learning rate rises.", min=1)
    final_rate: float = option(0.02, "Of the learning rate, at the end.", min=0, max=1)
    waveform_weight: float = option(20.0, "Of the distance between waves.", min=0)
    complex_weight: float = option(4.0, "Of the distance between complex spectra.", min=0)
    mel_weight: float = option(2.0, "Of the distance between mel spectra, at the start.", min=0)
    mel_weight_end: float = option(12.0, "Of the same at the end.", min=0)
    convergence_weight: float = option(0.0, "Of spectral convergence.", min=0)
    drawn_scales: int = option(2, "Mel scales of a step (0: all).", min=0)
    commitment_weight: float = option(0.25, "Of latents to their codes.", min=0)
    dropout: float = option(0.2, "Share of the batches with fewer codebooks.", min=0, max=1)
    change_share: float = option(0.2, "Of the crops have another speed and another equaliser.", min=0, max=1)
    mix_share: float = option(0.15, "Of the crops are two at once.", min=0, max=1)
    tone_share: float = option(0.1, "Of the crops are made notes.", min=0, max=1)
    gap_share: float = option(0.08, "Of the crops are silent in part.", min=0, max=1)
    adversary_from: float = option(1.0, "Share of the run after which adversaries join.", min=0, max=1)
    adversary_share: float = option(0.5, "Length of their gradient against that of the other losses.", min=0)
    adversary_rate: float = option(3e-4, "Their learning rate.", min=0, max=1)
    adversary_width: int = option(16, "Their channels.", min=1)
    matching_weight: float = option(4.0, "Of feature matching against the adversaries' judgement.", min=0)
    freeze_encoder: int = option(0, "1: codes stay as they are and only the decoder learns.", min=0, max=1)
    kept_codebooks: int = option(
        0, "With a frozen encoder: half of the batches have only so many codebooks (0: all).", min=0
    )
    average: float = option(0.99, "Share that the averaged weights keep at a step.", min=0, max=1)
    save_every: int = option(250, "Steps between measurements and checkpoints.", min=1)
    seed: int = option(0, "Of weights and batches.", min=0)
    precision: str = option("bf16", "Of the networks; transforms and losses are in fp32.", choices=("bf16", "fp32"))

    def config(self) -> CodecConfig:
        """The codec's sizes. Raises ValueError for a name that is not one."""
        wanted = dict(item.split("=") for item in self.sizes.split(",") if item)
        types = {item.name: type(item.default) for item in fields(CodecConfig)}
        if unknown := set(wanted) - set(types):
            raise ValueError(f"a codec has no {', '.join(sorted(unknown))}; it has {', '.join(types)}.")
        return replace(CODEC_PRESETS[self.preset], **{name: types[name](value) for name, value in wanted.items()})


@dataclass(frozen=True)
class CodecOptions:
    """How a codec run goes on this machine; nothing of it but a start changes what is learned."""

    time_limit: float = option(3000.0, "Seconds of training after which it ends.", min=0)
    threads: int = option(1, "Of the process on a CPU.", min=1, max=1024)
    start_from: str | None = option(None, "Begin with the weights of this codec.pt.")
    clock: str = option("wall", "What --time-limit counts.", choices=("wall", "cpu"))
    loaders: int = option(1, "Processes that draw batches; 1: a thread; 0: the GPU, where waves lie.", min=0, max=1024)
    adversaries_from: str | None = option(None, "Begin with the adversaries of this last.pt.")


OPTIONS = CodecOptions


def draw_batch(crops: RandomCrops, recipe: CodecRecipe, length: int, step: int) -> Tensor:
    """The batch of a step depends on seed and step only, so that a resumed run sees the same data."""
    generator = np.random.default_rng((recipe.seed, step))

    def draw() -> np.ndarray:
        if generator.random() < recipe.tone_share:
            return make_tones(generator, length, SAMPLE_RATE)
        if generator.random() < recipe.change_share:
            return read_changed(crops.crop, generator, length, SAMPLE_RATE)
        return crops.crop(generator, length)

    waves = []
    for _ in range(recipe.batch):
        wave = augment(draw(), draw() if generator.random() < recipe.mix_share else None, generator)
        waves.append(gap(wave, generator, SAMPLE_RATE) if generator.random() < recipe.gap_share else wave)
    return torch.from_numpy(np.stack(waves).astype(np.float32))


class Trainer:
    """Codec, adversaries, their optimisers, and one step of both."""

    def __init__(self, recipe: CodecRecipe, start_from: str | None, adversaries_from: str | None = None) -> None:
        self.recipe = recipe
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(recipe.seed)
        torch.backends.cudnn.benchmark = True
        self.codec = (load_codec(start_from) if start_from else Codec(recipe.config())).to(self.device).train()
        self.averaged = copy.deepcopy(self.codec)
        self.adversaries = Discriminators(width=recipe.adversary_width).to(self.device)
        if adversaries_from:
            state = torch.load(adversaries_from, map_location=self.device, weights_only=True)
            self.adversaries.load_state_dict(state["adversaries"])
        learned = self.codec.decoder if recipe.freeze_encoder else self.codec
        self.optimizers = make_optimizers(learned, recipe)
        self.adversary_optimizer = torch.optim.AdamW(
            self.adversaries.parameters(), lr=recipe.adversary_rate, betas=(0.8, 0.99), fused=True
        )
        self.loss = SpectralLoss(SAMPLE_RATE, self.device)
        self.is_quantized = bool(self.codec.quantizer.is_ready)  # here too, because asking a GPU takes time

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        optimizers = {f"optimizer_{i}": optimizer for i, optimizer in enumerate(self.optimizers)}
        return {
            "codec": self.codec, "averaged": self.averaged, "adversaries": self.adversaries, **optimizers,
            "adversary_optimizer": self.adversary_optimizer,
        }  # fmt: skip

    def autocast(self) -> torch.autocast:
        is_cpu, is_bf16 = self.device == "cpu", self.recipe.precision == "bf16"
        return torch.autocast(self.device, torch.bfloat16, enabled=is_bf16, cache_enabled=is_cpu)  # graphs need it off

    def capture(self, n: int, length: int) -> None:
        """Record the networks as CUDA graphs for batches [n, length]: their many small launches take most of a step."""
        codec, steps = self.codec, length // self.codec.config.hop_length
        frames = torch.zeros(n, steps, codec.config.window_length + 2, device=self.device)
        latent = torch.zeros(n, steps, codec.config.latent_width, device=self.device)
        with self.autocast():
            if not self.recipe.freeze_encoder:
                torch.cuda.make_graphed_callables(codec.encoder, (frames,))
            torch.cuda.make_graphed_callables(codec.decoder, (latent.requires_grad_(not self.recipe.freeze_encoder),))

    def latent(self, wave: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """What the decoder gets for a wave [B, L], and the commitment loss; no codes before the quantiser is ready."""
        codec, recipe = self.codec, self.recipe
        nothing = torch.zeros((), device=wave.device)
        with torch.set_grad_enabled(not recipe.freeze_encoder), self.autocast():
            latent = codec.encode_latent(wave).float()
        if recipe.freeze_encoder:
            few = recipe.kept_codebooks and step % 2
            return codec.quantizer.decode(
                codec.quantizer.encode(latent, recipe.kept_codebooks if few else None)
            ), nothing
        if self.is_quantized:
            return codec.quantizer(latent, recipe.dropout)
        return latent, nothing

    @torch.no_grad()
    def start_quantizer(self, batches: Iterator[Tensor]) -> None:
        """Codebooks from the latents of batches [B, L]; the average gets them at the next step."""
        latents: list[Tensor] = []
        while sum(map(len, latents)) < LATENTS_PER_ENTRY * self.codec.config.codebook_size:
            with self.autocast():
                latents.append(self.codec.encode_latent(next(batches)).float().flatten(0, 1).clone())
        self.codec.quantizer.initialize(torch.cat(latents))
        self.is_quantized = True

    def step(self, wave: Tensor, step: int, progress: float) -> dict[str, Tensor]:
        """One update of everything from a batch [B, L]; returns the terms of the loss."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.recipe, step, progress) * group["factor"]
        quantized, commitment = self.latent(wave, step)
        with self.autocast():
            frames = self.codec.decoder(quantized)
        estimated = self.codec.synthesize(frames)
        heard = estimated.detach().requires_grad_()  # losses up to here first, then once through the network
        terms = {**self.loss(wave, heard, self.recipe.drawn_scales), "waveform": (wave - heard).abs().mean()}
        (gradient,) = torch.autograd.grad(weigh(terms, self.recipe, progress), heard)
        if progress >= self.recipe.adversary_from:
            terms |= self.challenge(wave, heard)
            (other,) = torch.autograd.grad(terms["adversary"] + self.recipe.matching_weight * terms["matching"], heard)
            grown = min(1.0, (progress - self.recipe.adversary_from) / ADVERSARY_GROWS)  # they have to learn first
            gradient = gradient + self.recipe.adversary_share * grown * gradient.norm() / (other.norm() + 1e-9) * other
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        if commitment.requires_grad:
            terms["commitment"] = commitment
            torch.autograd.backward(
                [estimated, commitment], [gradient, torch.full_like(commitment, self.recipe.commitment_weight)]
            )
        else:
            estimated.backward(gradient)
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        follow(self.averaged, self.codec, min(self.recipe.average, 1 - 1 / (step + 1)))
        return terms

    def challenge(self, wave: Tensor, heard: Tensor) -> dict[str, Tensor]:
        """Teach one adversary, drawn at random, then ask it: both [B, L]."""
        member = int(torch.randint(len(self.adversaries.members), ()))
        with self.autocast():
            taught = self.adversaries.discriminator_loss(member, wave, heard)
        self.adversary_optimizer.zero_grad(set_to_none=True)
        taught.backward()
        self.adversary_optimizer.step()
        with self.autocast():
            adversary, matching = self.adversaries.generator_loss(member, wave, heard)
        return {"taught": taught.detach(), "adversary": adversary, "matching": matching}


def open_batches(
    folder: Path, recipe: CodecRecipe, length: int, step: int, loaders: int, device: str
) -> tuple[Iterator[Tensor], Iterator[Tensor]]:
    """Batches [B, length] from `step` on, and others that training never sees."""
    crops = open_crops(folder)
    if not loaders:
        if not isinstance(crops, Crops):
            raise InputError(
                f"--loaders 0 needs waves; make them from {folder} with python -m openvmas.train.codec.unpack."
            )
        shares = recipe.change_share, recipe.mix_share, recipe.tone_share, recipe.gap_share
        batches = DeviceCrops(crops, length, device, *shares).batches(recipe.batch)
        return batches, batches
    return (
        draw_ahead(lambda i: draw_batch(crops, recipe, length, i), step, loaders),
        (draw_batch(crops, recipe, length, recipe.steps + i) for i in itertools.count()),
    )


def make_optimizers(module: torch.nn.Module, recipe: CodecRecipe) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon (Jordan 2024) for matrices inside blocks and AdamW for the rest."""
    matrices = [p for name, p in module.named_parameters() if p.ndim == 2 and "blocks" in name]
    if recipe.optimizer == "adamw":
        matrices = []
    chosen = {id(p) for p in matrices}
    rest = [p for p in module.parameters() if id(p) not in chosen]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    ]
    if matrices:
        made.append(BatchedMuon(matrices, lr=1.0, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["factor"] = 1.0
    return made


def train(
    folder: Path,
    run_folder: Path,
    recipe: CodecRecipe,
    time_limit: float,
    start_from: str | None = None,
    clock: str = "wall",
    loaders: int = 1,
    adversaries_from: str | None = None,
) -> None:
    """Train until the steps or the time run out; the learning rate follows whichever comes first."""
    trainer = Trainer(recipe, start_from, adversaries_from)
    hop = trainer.codec.config.hop_length
    length = int(recipe.seconds * SAMPLE_RATE) // hop * hop
    clips = held_out_clips(folder, 24, 4.0).to(trainer.device)
    now = time.process_time if clock == "cpu" else time.time
    run = Run(run_folder, recipe.steps, time_limit, trainer.device, now, **trainer.parts())
    trainer.is_quantized = bool(trainer.codec.quantizer.is_ready)
    batches, unseen = open_batches(folder, recipe, length, run.step, loaders, trainer.device)
    if trainer.device == "cuda":
        trainer.capture(recipe.batch, length)
    while True:
        progress = run.progress
        if run.step % recipe.save_every == 0 or progress >= 1:
            run.save(measure(trainer.averaged, clips, trainer.loss))
            save_codec(trainer.averaged, str(run_folder / "codec.pt"))
        if progress >= 1:
            return
        torch.manual_seed(recipe.seed * 1_000_003 + run.step)  # so that a resumed run draws the same
        if run.step >= recipe.continuous_steps and not trainer.is_quantized:
            trainer.start_quantizer(wave.to(trainer.device) for wave in unseen)
        wave = next(batches).to(trainer.device)
        terms = trainer.step(wave, run.step, progress)
        run.step += 1
        if run.step % 50 == 0:
            values = {name: value.item() for name, value in terms.items()}
            run.note(**values)
            print(f"{run.step} {run.spent:.0f}s {' '.join(f'{k} {v:.4f}' for k, v in values.items())}", flush=True)


def learning_rate(recipe: CodecRecipe, step: int, progress: float) -> float:
    """Warm-up, then half a cosine."""
    fall = recipe.final_rate + (1 - recipe.final_rate) * (1 + math.cos(math.pi * progress)) / 2
    return recipe.learning_rate * min(1, (step + 1) / recipe.warmup) * fall


def weigh(terms: dict[str, Tensor], recipe: CodecRecipe, progress: float) -> Tensor:
    """The loss; the mel term grows while training goes on."""
    mel_weight = recipe.mel_weight + (recipe.mel_weight_end - recipe.mel_weight) * progress
    return (
        recipe.waveform_weight * terms["waveform"]
        + recipe.complex_weight * terms["complex"]
        + mel_weight * terms["mel"]
        + recipe.convergence_weight * terms["convergence"]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path, help="folder of waves or parts, or a listing (train.crops.open_crops)")
    parser.add_argument("run", type=Path)
    add_recipe(parser, CodecRecipe, CodecOptions)
    given = parser.parse_args(arguments)
    recipe, options = take_recipe(given, CodecRecipe, "codec"), take(given, CodecOptions, "codec", "run")
    torch.set_num_threads(options.threads)
    limits = options.time_limit, options.start_from, options.clock, options.loaders, options.adversaries_from
    train(given.waves, given.run, recipe, *limits)


if __name__ == "__main__":
    start(main)
