"""Train the codec on recorded music: continuous first, then quantised, then against adversaries.

    python -m openvmas.train.codec MUSIC RUN --time-limit 3000

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
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, CodecConfig, load_codec, save_codec
from openvmas.errors import InputError
from openvmas.train.augment import augment, gap, make_tones, read_changed
from openvmas.train.corpus import SAMPLE_RATE, Crops, RandomCrops
from openvmas.train.crops import draw_ahead, open_crops
from openvmas.train.device_crops import DeviceCrops
from openvmas.train.discriminators import Discriminators
from openvmas.train.held_out import held_out_clips, measure
from openvmas.train.loop import Run, add_recipe, follow, take_recipe
from openvmas.train.losses import SpectralLoss
from openvmas.train.muon import BatchedMuon

ADVERSARY_GROWS = 0.1  # share of the run over which adversaries come to their full weight
LATENTS_PER_ENTRY = 12  # of a codebook, that its first k-means sees


@dataclass(frozen=True)
class CodecRecipe:
    """Settings of a codec run."""

    preset: str = "mini"
    sizes: str = ""  # fields of CodecConfig that differ from the preset: "decoder_width=512,latent_width=32"
    batch: int = 8
    seconds: float = 1.6
    steps: int = 1_000_000
    continuous_steps: int = 500
    optimizer: str = "muon"  # matrices by orthogonalised momentum; or adamw
    learning_rate: float = 2e-3
    warmup: int = 100
    final_rate: float = 0.02  # of the learning rate, at the end
    waveform_weight: float = 20.0
    complex_weight: float = 4.0
    mel_weight: float = 2.0
    mel_weight_end: float = 12.0
    convergence_weight: float = 0.0
    drawn_scales: int = 2  # mel scales of a step (0: all)
    commitment_weight: float = 0.25
    dropout: float = 0.2
    change_share: float = 0.2  # of the crops have another speed and another equaliser
    mix_share: float = 0.15
    tone_share: float = 0.1  # of the crops are made notes
    gap_share: float = 0.08  # of the crops are silent in part
    adversary_from: float = 1.0  # share of the run after which adversaries join
    adversary_share: float = 0.5  # length of their gradient against that of the other losses
    adversary_rate: float = 3e-4
    adversary_width: int = 16
    matching_weight: float = 4.0  # of feature matching against the adversaries' judgement
    freeze_encoder: int = 0  # 1: codes stay as they are and only the decoder learns
    kept_codebooks: int = 0  # with a frozen encoder: half of the batches have only so many codebooks (0: all)
    average: float = 0.99  # share that the averaged weights keep at a step
    save_every: int = 250  # steps between measurements and checkpoints
    seed: int = 0
    precision: str = "bf16"

    def config(self) -> CodecConfig:
        """The codec's sizes. Raises ValueError for a name that is not one."""
        wanted = dict(item.split("=") for item in self.sizes.split(",") if item)
        types = {item.name: type(item.default) for item in fields(CodecConfig)}
        if unknown := set(wanted) - set(types):
            raise ValueError(f"a codec has no {', '.join(sorted(unknown))}; it has {', '.join(types)}.")
        return replace(CODEC_PRESETS[self.preset], **{name: types[name](value) for name, value in wanted.items()})


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

    def parts(self) -> dict[str, object]:
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
            raise InputError(f"--loaders 0 needs waves; make them from {folder} with python -m openvmas.train.unpack.")
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
            values = " ".join(f"{k} {v.item():.4f}" for k, v in terms.items())
            print(f"{run.step} {run.spent:.0f}s {values}", flush=True)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path, help="folder of waves or parts, or a listing (train.crops.open_crops)")
    parser.add_argument("run", type=Path)
    parser.add_argument("--time-limit", type=float, default=3000, help="seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start-from", help="begin with the weights of this codec.pt")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what --time-limit counts")
    parser.add_argument(
        "--loaders", type=int, default=1, help="processes that draw batches; 1: a thread; 0: the GPU, where waves lie"
    )
    parser.add_argument("--adversaries-from", help="begin with the adversaries of this last.pt")
    add_recipe(parser, CodecRecipe)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = take_recipe(arguments, CodecRecipe)
    limits = arguments.time_limit, arguments.start_from, arguments.clock, arguments.loaders, arguments.adversaries_from
    train(arguments.waves, arguments.run, recipe, *limits)


if __name__ == "__main__":
    main()
