"""Train the codec on recorded music: continuous first, then quantised; waveform and phase first, upper bands by mel.

    python -m openvmas.train.codec WAVES RUN --time-limit 3000

One file, time-boxed, resumable (`RUN/last.pt`), the same on CPU and GPU. On CPUs with bf16 matrix units (AMX) the
network runs in bf16, about ten times faster than fp32; transforms and losses stay in fp32.
"""

from __future__ import annotations

import argparse
import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, load_codec, save_codec
from openvmas.train.corpus import SAMPLE_RATE, Crops
from openvmas.train.loop import Run, add_recipe, follow, take_recipe

SAVE_EVERY = 250  # steps between measurements and checkpoints


@dataclass(frozen=True)
class CodecRecipe:
    """Settings of a codec run."""

    preset: str = "mini"
    batch: int = 8
    seconds: float = 1.6
    steps: int = 6000
    continuous_steps: int = 600
    learning_rate: float = 1e-3
    warmup: int = 100
    waveform_weight: float = 20.0
    complex_weight: float = 4.0
    mel_weight: float = 2.0
    mel_weight_end: float = 8.0
    commitment_weight: float = 0.25
    dropout: float = 0.2
    freeze_encoder: int = 0  # 1: codes stay as they are and only the decoder learns
    kept_codebooks: int = 0  # with a frozen encoder: three batches of four have only so many codebooks (0: all)
    seed: int = 0
    precision: str = "bf16"


def mel_matrix(n_fft: int, n_mels: int, sample_rate: int) -> Tensor:
    """Triangular mel filters (Slaney's area normalisation left out): [n_fft // 2 + 1, n_mels]."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, n_mels + 2) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1)[:, None]
    up = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(up, down).clamp_min(0)


class SpectralLoss:
    """Multi-scale log-mel L1 and compressed complex STFT L1 (below `complex_limit` Hz) of reference and estimated."""

    mel_scales = ((4096, 160), (2048, 128), (1024, 80), (512, 40), (256, 20))
    complex_windows = (8192, 4096, 1024)
    complex_limit = 6000

    def __init__(self, sample_rate: int, device: str = "cpu") -> None:
        self.mels = {n: mel_matrix(n, m, sample_rate).to(device) for n, m in self.mel_scales}
        self.windows = {n: torch.hann_window(n, device=device) for n in {*self.mels, *self.complex_windows}}
        self.sample_rate = sample_rate

    def transform(self, wave: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Frames with three quarters overlap: real and imaginary parts [B, T, n / 2 + 1, 2], and squared magnitude.

        Sliced instead of `torch.stft`, whose backward pass took four times as long here.
        """
        hop = n // 4
        wave = F.pad(wave, (n // 2, n // 2 - wave.shape[-1] % hop))
        hops = wave.unflatten(-1, (-1, hop))
        n_frames = hops.shape[1] - 3
        window = self.windows[n]
        frames = torch.cat([hops[:, i : i + n_frames] for i in range(4)], dim=-1) * (window * (2 / window.sum()))
        parts = torch.view_as_real(torch.fft.rfft(frames))
        return parts, parts[..., 0].square() + parts[..., 1].square() + 1e-10

    def features(self, wave: Tensor) -> dict[str, list[Tensor]]:
        mel_features, complex_features = [], []
        for n in sorted(self.windows):
            parts, power = self.transform(wave, n)
            if n in self.mels:
                mel_features.append((power.sqrt() @ self.mels[n]).clamp_min(1e-5).log10())
            if n in self.complex_windows:
                top = self.complex_limit * n // self.sample_rate
                complex_features.append(parts[:, :, :top] * power[:, :, :top, None].sqrt().rsqrt())
        return {"mel": mel_features, "complex": complex_features}

    def __call__(self, reference: Tensor, estimated: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            wanted = self.features(reference)
        found = self.features(estimated)
        return {
            name: torch.stack([(a - b).abs().mean() for a, b in zip(wanted[name], found[name], strict=True)]).mean()
            for name in wanted
        }


def augment(wave: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Gain, polarity, and now and then a mix of two tracks."""
    if generator.random() < 0.15:
        wave = 0.7 * (wave + other * generator.uniform(0.3, 1))
    peak = float(np.abs(wave).max()) + 1e-4
    gain = min(10 ** generator.uniform(-0.5, 0.2), 0.99 / peak)
    return wave * gain * generator.choice([-1, 1])


def draw_batch(crops: Crops, recipe: CodecRecipe, length: int, step: int) -> Tensor:
    """The batch of a step depends on seed and step only, so that a resumed run sees the same data."""
    generator = np.random.default_rng((recipe.seed, step))
    waves = [
        augment(crops.crop(generator, length), crops.crop(generator, length), generator) for _ in range(recipe.batch)
    ]
    return torch.from_numpy(np.stack(waves).astype(np.float32))


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
    crops = Crops(folder, held_out=True)
    generator = np.random.default_rng(1234)
    clips: list[np.ndarray] = []
    while len(clips) < n:
        wave = crops.crop(generator, int(seconds * SAMPLE_RATE) // 640 * 640)
        if np.sqrt(np.mean(wave**2)) > 0.003:
            clips.append(wave)
    return torch.from_numpy(np.stack(clips))


def make_latent(codec: Codec, wave: Tensor, recipe: CodecRecipe) -> tuple[Tensor, Tensor]:
    """What the decoder gets for a wave [B, L], and the commitment loss; before the quantiser is ready, no codes."""
    commitment = torch.zeros((), device=wave.device)
    with torch.set_grad_enabled(not recipe.freeze_encoder):
        with torch.autocast(wave.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            latent = codec.encode_latent(wave).float()
        if recipe.freeze_encoder:
            few = recipe.kept_codebooks and float(torch.rand(())) < 0.75
            return codec.quantizer.decode(
                codec.quantizer.encode(latent, recipe.kept_codebooks if few else None)
            ), commitment
    if codec.quantizer.is_ready:
        return codec.quantizer(latent, recipe.dropout)
    return latent, commitment


def train(
    folder: Path, run_folder: Path, recipe: CodecRecipe, time_limit: float, start_from: str | None = None
) -> None:
    """Train until the steps or the time run out; the learning rate follows whichever comes first."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(recipe.seed)
    crops = Crops(folder)
    length = int(recipe.seconds * SAMPLE_RATE) // 640 * 640
    codec = (load_codec(start_from) if start_from else Codec(CODEC_PRESETS[recipe.preset])).to(device).train()
    averaged = copy.deepcopy(codec)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    loss = SpectralLoss(SAMPLE_RATE, device)
    clips = held_out_clips(folder, 24, 4.0).to(device)
    run = Run(run_folder, recipe.steps, time_limit, device, codec=codec, averaged=averaged, optimizer=optimizer)
    latents: list[Tensor] = []
    while True:
        progress = run.progress
        if run.step % SAVE_EVERY == 0 or progress >= 1:
            crops.refresh()
            run.save(measure(averaged, clips, loss))
            save_codec(averaged, str(run_folder / "codec.pt"))
        if progress >= 1:
            return
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, run.step, progress)
        torch.manual_seed(recipe.seed * 1_000_003 + run.step)  # so that a resumed run draws the same
        wave = draw_batch(crops, recipe, length, run.step).to(device)
        quantized, commitment = make_latent(codec, wave, recipe)
        if not codec.quantizer.is_ready and run.step >= recipe.continuous_steps:
            latents.append(quantized.detach().flatten(0, 1))
            if len(latents) == 20:
                codec.quantizer.initialize(torch.cat(latents))
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bf16"):
            frames = codec.decoder(quantized)
        estimated = codec.synthesize(frames)
        terms = {**loss(wave, estimated), "waveform": (wave - estimated).abs().mean(), "commitment": commitment}
        optimizer.zero_grad(set_to_none=True)
        weigh(terms, recipe, progress).backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        run.step += 1
        follow(averaged, codec, min(0.99, 1 - 1 / (run.step + 1)))
        if run.step % 50 == 0:
            values = " ".join(f"{k} {v.item():.4f}" for k, v in terms.items())
            print(f"{run.step} {run.spent:.0f}s {values}", flush=True)


def learning_rate(recipe: CodecRecipe, step: int, progress: float) -> float:
    """Warm-up, then half a cosine down to 2 %."""
    fall = 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
    return recipe.learning_rate * min(1, (step + 1) / recipe.warmup) * fall


def weigh(terms: dict[str, Tensor], recipe: CodecRecipe, progress: float) -> Tensor:
    """The loss; the mel term grows while training goes on."""
    mel_weight = recipe.mel_weight + (recipe.mel_weight_end - recipe.mel_weight) * progress
    return (
        recipe.waveform_weight * terms["waveform"]
        + recipe.complex_weight * terms["complex"]
        + mel_weight * terms["mel"]
        + recipe.commitment_weight * terms["commitment"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--time-limit", type=float, default=3000, help="seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start-from", help="begin with the weights of this codec.pt")
    add_recipe(parser, CodecRecipe)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = take_recipe(arguments, CodecRecipe)
    train(arguments.waves, arguments.run, recipe, arguments.time_limit, arguments.start_from)


if __name__ == "__main__":
    main()
