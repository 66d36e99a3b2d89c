"""Is stereo worth its bits? A mono and a mid-side codec of the same size and rate, trained for the same time.

    python bench/stereo.py LISTING.csv PACKAGES --out DIR [--seconds 900]

Both are `openvmas.codec` at the preset "mini" with codes of 4 kbps. The stereo one gets the spectra of mid and side at
its entrance and writes both; its loss is on left and right. Measured on held-out clips: the mel distance of the mid
channel (what a mono codec is for), and of left and right, where the mono codec's output stands in both.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, CodecConfig, Trunk
from openvmas.train.codec.codec_trainer import CodecRecipe, compare, weighted_loss
from openvmas.train.codec.corpus import SAMPLE_RATE, RandomCrops, open_crops
from openvmas.train.codec.losses import SpectralLoss
from openvmas.train.loop import draw_ahead, lr_factor, make_optimizers, set_lr

BATCH, LENGTH = 8, 51_200
CLIPS, CLIP_LENGTH = 24, 128_000
CONTINUOUS_STEPS = 150


class StereoCodec(Codec):
    """[B, 2, L] left and right ↔ codes [B, K, T]: mid and side side by side in every frame."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        n_bins = 2 * (config.window_length + 2)
        self.encoder = Trunk(n_bins, config.encoder_width, config.encoder_blocks, config.latent_width, config, 0)
        self.decoder = Trunk(
            config.latent_width, config.decoder_width, config.decoder_blocks, n_bins, config, config.head_width
        )

    def encode_latent(self, wave: Tensor) -> Tensor:
        mid, side = (wave[:, 0] + wave[:, 1]) / 2, (wave[:, 0] - wave[:, 1]) / 2
        return self.encoder(torch.cat([self.spectrum(mid), self.spectrum(side)], dim=-1)).float()

    def synthesize(self, frames: Tensor) -> Tensor:
        mid, side = (super(StereoCodec, self).synthesize(half) for half in frames.chunk(2, dim=-1))
        return torch.stack([mid + side, mid - side], dim=1)


def draw(crops: RandomCrops, step: int, n: int, length: int) -> Tensor:
    """[n, 2, length]"""
    generator = np.random.default_rng((7, step))
    return torch.from_numpy(np.stack([crops.crop(generator, length) for _ in range(n)]))


def as_rows(wave: Tensor) -> Tensor:
    """What the loss hears: [B, L] as it is, left and right of [B, 2, L] as [2B, L]."""
    return wave.flatten(0, -2)


def train(codec: Codec, crops: RandomCrops, seconds: float) -> int:
    """Train for so many seconds of processor time; returns the number of steps."""
    recipe = CodecRecipe(learning_rate=2e-3)
    blocks = [part for name, part in codec.named_modules() if name.endswith("blocks")]
    optimizers = make_optimizers(codec, blocks, recipe.learning_rate, 0.01, fused=True)
    loss = SpectralLoss(SAMPLE_RATE)
    batches = draw_ahead(lambda step: draw(crops, step, BATCH, LENGTH), 0)
    began, step = time.process_time(), 0
    while (progress := (time.process_time() - began) / seconds) < 1:
        wave = next(batches)
        if not isinstance(codec, StereoCodec):
            wave = wave.mean(1)
        torch.manual_seed(step)
        factor = lr_factor(step, progress, recipe.warmup, "cosine", recipe.final_rate)
        set_lr(optimizers, recipe.learning_rate * factor)
        with torch.autocast("cpu", torch.bfloat16):
            latent = codec.encode_latent(wave)
        if step == CONTINUOUS_STEPS:
            with torch.no_grad():
                waves = (next(batches) for _ in range(20))
                seen = [codec.encode_latent(x if wave.ndim == 3 else x.mean(1)).flatten(0, 1) for x in waves]
            codec.quantizer.initialize(torch.cat(seen))
        commitment = torch.zeros(())
        if codec.quantizer.is_ready:
            latent, commitment = codec.quantizer(latent, recipe.dropout)
        with torch.autocast("cpu", torch.bfloat16):
            frames = codec.decoder(latent)
        wanted, heard = as_rows(wave), as_rows(codec.synthesize(frames))
        terms = {**loss(wanted, heard, recipe.drawn_scales), "waveform": (wanted - heard).abs().mean()}
        total = weighted_loss(terms, recipe, progress) + recipe.commitment_weight * commitment
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        step += 1
        if step % 50 == 0:
            print(
                step, round(time.process_time() - began), {k: round(v.item(), 3) for k, v in terms.items()}, flush=True
            )
    return step


@torch.no_grad()
def measure(codec: Codec, clips: Tensor) -> dict[str, float]:
    """Mel distance and SNR of the mid channel and of left and right; clips [N, 2, L]."""
    codec.eval()
    is_stereo, loss = isinstance(codec, StereoCodec), SpectralLoss(SAMPLE_RATE)
    heard = torch.cat([codec.decode(codec.encode(clip[None] if is_stereo else clip.mean(0)[None])) for clip in clips])
    both = heard if is_stereo else heard[:, None].expand(-1, 2, -1)
    mid, sides = compare(clips.mean(1), both.mean(1), loss), compare(as_rows(clips), as_rows(both), loss)
    kept = ("mel", "snr_db", "corr_0_500", "corr_500_2000", "corr_2000_5000")
    return {**{f"mid {k}": mid[k] for k in kept}, **{f"left, right {k}": sides[k] for k in kept[:2]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listing", type=Path)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=900, help="of processor time, for each codec")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    crops, held_out = (
        open_crops(arguments.listing, held, channels=2, root=arguments.packages) for held in (False, True)
    )
    clips = draw(held_out, 0, CLIPS, CLIP_LENGTH)
    for name, kind in (("mono", Codec), ("stereo", StereoCodec)):
        torch.manual_seed(0)
        codec = kind(CODEC_PRESETS["mini"]).train()
        steps = train(codec, crops, arguments.seconds)
        record = {"codec": name, "steps": steps, **measure(codec, clips)}
        with (arguments.out / "stereo.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
