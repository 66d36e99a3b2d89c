"""How predictable a codec's codes are: cross-entropy of each level under a small Transformer, trained for fixed steps.

The same network, seed and number of steps for every codec, so that figures of two codecs compare; a larger model would
come lower with both. Levels are delayed by one step each (Copet et al. 2023, MusicGen), so that each level is predicted
from all steps before and from the lower levels of its own step.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, LAYERS, HEADS, CONTEXT = 192, 2, 4, 128
STEPS, BATCH, RATE, WARMUP = 400, 16, 2e-3, 40


@dataclass(frozen=True)
class Predictability:
    """nats: cross-entropy of each level on held-out codes; first_nats: after no training at all (log of the size)."""

    nats: list[float]
    size: int
    frame_rate: float
    seconds: float

    @property
    def bits_per_second(self) -> float:
        return sum(self.nats) / math.log(2) * self.frame_rate


def delay(codes: Tensor, filler: int) -> Tensor:
    """Codes [B, K, T] with level k moved k steps later: [B, K, T + K - 1]."""
    n_levels = codes.shape[1]
    rows = [F.pad(codes[:, k], (k, n_levels - 1 - k), value=filler) for k in range(n_levels)]
    return torch.stack(rows, dim=1)


class Predictor(nn.Module):
    """Delayed codes [B, K, S] → logits [B, K, S, V]; position s is predicted from positions before s."""

    def __init__(self, n_levels: int, size: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size + 1, WIDTH) for _ in range(n_levels))
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.ModuleList([layer, *(self._another() for _ in range(LAYERS - 1))])
        self.norm = nn.LayerNorm(WIDTH)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, size) for _ in range(n_levels))
        for table in [*self.tables, self.positions]:
            nn.init.normal_(table.weight, std=0.02)
        self.mask: Tensor
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    @staticmethod
    def _another() -> nn.Module:
        return nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)

    def forward(self, delayed: Tensor) -> Tensor:
        before = F.pad(delayed[:, :, :-1], (1, 0), value=self.tables[0].num_embeddings - 1)
        n = delayed.shape[2]
        x = sum((table(before[:, k]) for k, table in enumerate(self.tables)), self.positions.weight[:n])
        for layer in self.layers:
            x = layer(x, src_mask=self.mask[:n, :n], is_causal=True)
        x = self.norm(x)
        return torch.stack([head(x) for head in self.heads], dim=1)


def losses(model: Predictor, delayed: Tensor, filler: int, bf16: bool) -> Tensor:
    """Mean cross-entropy of each level, nats: [K]; positions that hold no code do not count."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(delayed)
    rows = [
        F.cross_entropy(logits[:, k].float().flatten(0, 1), delayed[:, k].flatten(), ignore_index=filler)
        for k in range(delayed.shape[1])
    ]
    return torch.stack(rows)


def has_bf16_units() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware (AMX); elsewhere bf16 is slower than fp32."""
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check and check())


def predictability(train: list[np.ndarray], held_out: list[np.ndarray], size: int, frame_rate: float) -> Predictability:
    """Train on codes [K, T] of some clips, measure on others; all clips of at least CONTEXT steps."""
    begun = time.perf_counter()
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    n_levels, bf16 = train[0].shape[0], has_bf16_units()
    model = Predictor(n_levels, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.05)
    codes = [torch.from_numpy(c.astype(np.int64)) for c in train]
    length = CONTEXT - n_levels + 1
    for step in range(STEPS):
        rate = RATE * min(1, (step + 1) / WARMUP) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / STEPS)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        clips = [codes[int(i)] for i in generator.integers(len(codes), size=BATCH)]
        starts = [int(generator.integers(clip.shape[1] - length + 1)) for clip in clips]
        batch = torch.stack([clip[:, s : s + length] for clip, s in zip(clips, starts, strict=True)])
        optimizer.zero_grad(set_to_none=True)
        losses(model, delay(batch, size), size, bf16).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    total, n_parts = torch.zeros(n_levels), 0
    with torch.no_grad():
        for clip in held_out:
            whole = torch.from_numpy(clip.astype(np.int64))
            parts = [whole[:, s : s + length] for s in range(0, whole.shape[1] - length + 1, length)]
            total += losses(model, delay(torch.stack(parts), size), size, False) * len(parts)
            n_parts += len(parts)
    return Predictability((total / n_parts).tolist(), size, frame_rate, time.perf_counter() - begun)
