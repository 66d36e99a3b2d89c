"""Train the codec on recorded music: continuous first, then quantised, then against adversaries.

    openvmas train codec MUSIC RUN --time-limit 3000

Waveform and phase first, upper bands by mel, their texture by adversaries. Time-boxed, resumable (`RUN/last.pt`), the
same on CPU and GPU. On CPUs with bf16 matrix units (AMX) the networks run in bf16, about ten times faster than fp32;
transforms and losses stay in fp32.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, CodecConfig, load_codec, save_codec
from openvmas.errors import InputError
from openvmas.settings import option
from openvmas.train.codec.augment import DeviceCrops, augment, gap, make_tones, read_changed
from openvmas.train.codec.corpus import SAMPLE_RATE, Crops, RandomCrops, open_crops
from openvmas.train.codec.losses import Discriminators, SpectralLoss
from openvmas.train.loop import Run, draw_ahead, lr_factor, make_optimizers, set_lr, update_ema

ADVERSARY_GROWS = 0.1  # share of the run over which adversaries come to their full weight
LATENTS_PER_ENTRY = 12  # of a codebook, that its first k-means sees


@dataclass(frozen=True)
class CodecRecipe:
    """Settings of a codec run that change what is learned."""

    preset: str = option("mini", "Sizes of the codec.", choices=tuple(CODEC_PRESETS))
    sizes: str = option(
        "", "Fields of CodecConfig that differ from the preset, e.g. decoder_width=512,latent_width=32."
    )
    batch: int = option(8, "Crops in a batch.", min=1)
    seconds: float = option(1.6, "Crop length in seconds.", min=0.1, max=60)
    steps: int = option(1_000_000, "Optimiser steps, if the time suffices.", min=1)
    continuous_steps: int = option(500, "Steps before latents are quantised.", min=0)
    optimizer: str = option("muon", "Optimiser of the matrices: muon or adamw.", choices=("muon", "adamw"))
    learning_rate: float = option(2e-3, "Peak learning rate.", min=0, max=1)
    warmup: int = option(100, "Steps over which the learning rate rises.", min=1)
    final_rate: float = option(0.02, "Learning rate at the end, as a share of its peak.", min=0, max=1)
    waveform_weight: float = option(20.0, "Weight of the L1 distance between waveforms.", min=0)
    complex_weight: float = option(4.0, "Weight of the distance between complex spectra.", min=0)
    mel_weight: float = option(2.0, "Weight of the distance between mel spectra at the start.", min=0)
    mel_weight_end: float = option(12.0, "Weight of the distance between mel spectra at the end.", min=0)
    convergence_weight: float = option(0.0, "Weight of spectral convergence.", min=0)
    drawn_scales: int = option(2, "Mel scales drawn for a step (0: all).", min=0)
    commitment_weight: float = option(0.25, "Weight of the commitment loss, from latents to their codes.", min=0)
    dropout: float = option(0.2, "Share of the batches that use fewer codebooks.", min=0, max=1)
    change_share: float = option(0.2, "Share of the crops with another speed and another equaliser.", min=0, max=1)
    mix_share: float = option(0.15, "Share of the crops that mix two tracks.", min=0, max=1)
    tone_share: float = option(0.1, "Share of the crops that are synthetic notes.", min=0, max=1)
    gap_share: float = option(0.08, "Share of the crops that are silent in part.", min=0, max=1)
    adversary_from: float = option(1.0, "Share of the run after which discriminators join.", min=0, max=1)
    adversary_share: float = option(
        0.5, "Norm of the adversarial gradient, relative to that of the other losses.", min=0
    )
    adversary_rate: float = option(3e-4, "Learning rate of the discriminators.", min=0, max=1)
    adversary_width: int = option(16, "Channels of the discriminators.", min=1)
    matching_weight: float = option(4.0, "Weight of feature matching, relative to the adversarial loss.", min=0)
    freeze_encoder: int = option(0, "1: keep encoder and codes, and train only the decoder.", min=0, max=1)
    kept_codebooks: int = option(
        0, "Codebooks that half of the batches are limited to with a frozen encoder (0: no limit).", min=0
    )
    average: float = option(0.99, "Decay of the moving average of the weights.", min=0, max=1)
    save_every: int = option(250, "Steps between measurements and checkpoints.", min=1)
    seed: int = option(0, "Seed of weights and batches.", min=0)
    precision: str = option(
        "bf16", "Precision of the networks; transforms and losses are in fp32.", choices=("bf16", "fp32")
    )

    def config(self) -> CodecConfig:
        """The sizes of the codec. Raises ValueError for an unknown name."""
        wanted = dict(item.split("=") for item in self.sizes.split(",") if item)
        types = {item.name: type(item.default) for item in fields(CodecConfig)}
        if unknown := set(wanted) - set(types):
            raise ValueError(f"a codec has no {', '.join(sorted(unknown))}; it has {', '.join(types)}.")
        return replace(CODEC_PRESETS[self.preset], **{name: types[name](value) for name, value in wanted.items()})


@dataclass(frozen=True)
class CodecOptions:
    """Settings of a codec run on a machine; only a start from other weights changes what is learned."""

    time_limit: float = option(3000.0, "Seconds of training after which the run ends.", min=0)
    threads: int = option(1, "CPU threads of the process.", min=1, max=1024)
    start_from: str | None = option(None, "Begin with the weights of this codec.pt.", metavar="PATH")
    clock: str = option("wall", "Clock of --time-limit: wall, or cpu for processor time.", choices=("wall", "cpu"))
    loaders: int = option(
        1, "Processes that draw batches; 1: a thread; 0: the GPU, where the waves then lie.", min=0, max=1024
    )
    adversaries_from: str | None = option(None, "Begin with the discriminators of this last.pt.", metavar="PATH")


RECIPE, OPTIONS = CodecRecipe, CodecOptions
LOG_EVERY = 50  # steps


def draw_batch(crops: RandomCrops, recipe: CodecRecipe, length: int, step: int) -> Tensor:
    """A batch [B, length] that depends on seed and step only, so that a resumed run sees the same data."""
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
    """Codec, discriminators, their optimisers, and one step of both."""

    def __init__(self, recipe: CodecRecipe, start_from: str | None = None, adversaries_from: str | None = None) -> None:
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
        # Muon is for the matrices inside blocks.
        blocks = [part for name, part in learned.named_modules() if name.endswith("blocks")]
        layers = blocks if recipe.optimizer == "muon" else []
        self.optimizers = make_optimizers(learned, layers, recipe.learning_rate, 0.01, fused=True)
        self.adversary_optimizer = torch.optim.AdamW(
            self.adversaries.parameters(), lr=recipe.adversary_rate, betas=(0.8, 0.99), fused=True
        )
        self.loss = SpectralLoss(SAMPLE_RATE, self.device)
        self.is_quantized = bool(self.codec.quantizer.is_ready)  # here too, because asking a GPU takes time

    def parts(self) -> dict[str, Any]:
        """The contents of a checkpoint."""
        found = self.optimizers
        optimizers = {f"optimizer_{i}": found[name] for i, name in enumerate(("adam", "muon")) if name in found}
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
        """Input of the decoder for a wave [B, L], and the commitment loss; quantised once the quantiser is ready."""
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
        recipe = self.recipe
        factor = lr_factor(step, progress, recipe.warmup, "cosine", recipe.final_rate)
        set_lr(self.optimizers, recipe.learning_rate * factor)
        quantized, commitment = self.latent(wave, step)
        with self.autocast():
            frames = self.codec.decoder(quantized)
        estimated = self.codec.synthesize(frames)
        decoded = estimated.detach().requires_grad_()  # losses up to here first, then once through the network
        terms = {**self.loss(wave, decoded, recipe.drawn_scales), "waveform": (wave - decoded).abs().mean()}
        (gradient,) = torch.autograd.grad(weighted_loss(terms, recipe, progress), decoded)
        if progress >= recipe.adversary_from:
            terms |= self.challenge(wave, decoded)
            (other,) = torch.autograd.grad(terms["adversary"] + recipe.matching_weight * terms["matching"], decoded)
            grown = min(1.0, (progress - recipe.adversary_from) / ADVERSARY_GROWS)  # they have to learn first
            gradient = gradient + recipe.adversary_share * grown * gradient.norm() / (other.norm() + 1e-9) * other
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if commitment.requires_grad:
            terms["commitment"] = commitment
            torch.autograd.backward(
                [estimated, commitment], [gradient, torch.full_like(commitment, recipe.commitment_weight)]
            )
        else:
            estimated.backward(gradient)
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        for optimizer in self.optimizers.values():
            optimizer.step()
        update_ema(self.averaged, self.codec, min(recipe.average, 1 - 1 / (step + 1)))
        return terms

    def challenge(self, wave: Tensor, decoded: Tensor) -> dict[str, Tensor]:
        """Train one discriminator, drawn at random, then evaluate it for the codec: both [B, L]."""
        member = int(torch.randint(len(self.adversaries.members), ()))
        with self.autocast():
            taught = self.adversaries.discriminator_loss(member, wave, decoded)
        self.adversary_optimizer.zero_grad(set_to_none=True)
        taught.backward()
        self.adversary_optimizer.step()
        with self.autocast():
            adversary, matching = self.adversaries.generator_loss(member, wave, decoded)
        return {"taught": taught.detach(), "adversary": adversary, "matching": matching}


def open_batches(
    folder: Path, recipe: CodecRecipe, length: int, step: int, loaders: int, device: str
) -> tuple[Iterator[Tensor], Iterator[Tensor]]:
    """Batches [B, length] from `step` on, and others that training never sees."""
    crops = open_crops(folder)
    if not loaders:
        if not isinstance(crops, Crops):
            raise InputError(f"--loaders 0 needs waves; make them from {folder} with openvmas train unpack.")
        shares = recipe.change_share, recipe.mix_share, recipe.tone_share, recipe.gap_share
        batches = DeviceCrops(crops, length, device, *shares).batches(recipe.batch)
        return batches, batches
    return (
        draw_ahead(lambda i: draw_batch(crops, recipe, length, i), step, loaders),
        (draw_batch(crops, recipe, length, recipe.steps + i) for i in itertools.count()),
    )


def run_training(folder: Path, run_folder: Path, recipe: CodecRecipe, options: CodecOptions) -> None:
    """Train until the steps or the time run out; the learning rate follows whichever comes first."""
    trainer = Trainer(recipe, options.start_from, options.adversaries_from)
    hop = trainer.codec.config.hop_length
    length = int(recipe.seconds * SAMPLE_RATE) // hop * hop
    clips = held_out_clips(folder, 24, 4.0).to(trainer.device)
    now = time.process_time if options.clock == "cpu" else time.time
    run = Run(run_folder, recipe.steps, options.time_limit, trainer.device, now, **trainer.parts())
    trainer.is_quantized = bool(trainer.codec.quantizer.is_ready)
    batches, unseen = open_batches(folder, recipe, length, run.step, options.loaders, trainer.device)
    if trainer.device == "cuda":
        trainer.capture(recipe.batch, length)

    def step(progress: float) -> dict[str, Tensor]:
        torch.manual_seed(recipe.seed * 1_000_003 + run.step)  # so that a resumed run draws the same
        if run.step >= recipe.continuous_steps and not trainer.is_quantized:
            trainer.start_quantizer(wave.to(trainer.device) for wave in unseen)
        return trainer.step(next(batches).to(trainer.device), run.step, progress)

    run.train(
        step, lambda: measure(trainer.averaged, clips, trainer.loss), recipe.save_every, LOG_EVERY,
        lambda: save_codec(trainer.averaged, str(run_folder / "codec.pt")),
    )  # fmt: skip


def weighted_loss(terms: dict[str, Tensor], recipe: CodecRecipe, progress: float) -> Tensor:
    """The sum of the terms with their weights; that of the mel term grows while training goes on."""
    mel_weight = recipe.mel_weight + (recipe.mel_weight_end - recipe.mel_weight) * progress
    return (
        recipe.waveform_weight * terms["waveform"]
        + recipe.complex_weight * terms["complex"]
        + mel_weight * terms["mel"]
        + recipe.convergence_weight * terms["convergence"]
    )


@torch.no_grad()
def measure(codec: Codec, clips: Tensor, loss: SpectralLoss) -> dict[str, float]:
    """SNR, level, mel distance and fine-spectrum correlation by band on held-out clips [N, L]."""
    codec.eval()
    latent = codec.encode_latent(clips)
    if codec.quantizer.is_ready:
        codes = codec.quantizer.encode(latent)
        estimated = codec.decode(codes)
        use = torch.stack([torch.bincount(c.flatten(), minlength=codec.config.codebook_size) for c in codes.unbind(1)])
        share = use / use.sum(1, keepdim=True)
        perplexity = torch.exp(-(share * (share + 1e-12).log()).sum(1)).mean().item()
    else:
        estimated, perplexity = codec.decode_latent(latent), 0.0
    codec.train()
    return {**compare(clips, estimated, loss), "perplexity": round(perplexity, 1)}


def compare(reference: Tensor, estimated: Tensor, loss: SpectralLoss) -> dict[str, float]:
    """SNR, level ratio, mel distance and correlation of the fine log spectrum by band; both [N, L] at 32 kHz."""
    noise = (reference - estimated).square().sum(1)
    result = {
        "snr_db": (10 * torch.log10(reference.square().sum(1) / (noise + 1e-9) + 1e-9)).mean().item(),
        "level": (estimated.square().mean(1) / reference.square().mean(1)).sqrt().median().item(),
        "mel": torch.stack([loss(a[None], b[None])["mel"] for a, b in zip(reference, estimated, strict=True)])
        .mean()
        .item(),
    }
    window = torch.hann_window(2048, device=reference.device)
    a, b = (
        (torch.stft(x, 2048, 512, window=window, return_complex=True).abs() + 1e-4).log()
        for x in (reference, estimated)
    )
    for low, high in ((0, 500), (500, 2000), (2000, 5000), (5000, 10000), (10000, 16000)):
        band = slice(low * 2048 // SAMPLE_RATE, high * 2048 // SAMPLE_RATE)
        x, y = a[:, band].flatten(1), b[:, band].flatten(1)
        x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
        cosine = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1) + 1e-9)
        result[f"corr_{low}_{high}"] = cosine.mean().item()
    return {k: round(v, 4) for k, v in result.items()}


def held_out_clips(folder: Path, n: int, seconds: float) -> Tensor:
    """Always the same clips of held-out tracks, louder than -50 dB: [n, L]."""
    crops = open_crops(folder, held_out=True)
    generator = np.random.default_rng(1234)
    clips: list[np.ndarray] = []
    while len(clips) < n:
        wave = crops.crop(generator, int(seconds * SAMPLE_RATE) // 640 * 640)
        if np.sqrt(np.mean(wave**2)) > 0.003:
            clips.append(wave)
    return torch.from_numpy(np.stack(clips))
