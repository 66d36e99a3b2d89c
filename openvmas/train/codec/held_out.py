"""Measures of a codec on held-out music, while it is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openvmas.codec.autoencoder import Codec
from openvmas.train.codec.corpus import SAMPLE_RATE
from openvmas.train.codec.crops import open_crops
from openvmas.train.codec.losses import SpectralLoss


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
