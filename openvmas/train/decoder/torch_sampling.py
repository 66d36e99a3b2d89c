"""Sampling codes in PyTorch from a decoder as it trains: for sound in logs and for ablations (users: `generate`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from openvmas.generate.pattern import undelay
from openvmas.model.decoder import CachedDecoder, Decoder


@torch.no_grad()
def sample_codes(
    decoder: Decoder, cond: Tensor, uncond: Tensor | None = None, guidance: float = 3.0, temperature: float = 1.0,
    top_k: int = 0, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Codes [B, K, T] int64 under conditions [B, S, D], S = T + K - 1.

    uncond [B, S, D]: conditions of the other branch of guidance (Ho and Salimans 2022); without it there is none.
    top_k: sample from so many of the most likely codes (0: all).
    """
    config, (batch, n_steps) = decoder.config, cond.shape[:2]
    conditions = cond if uncond is None else torch.cat([cond, uncond])
    n, device = len(conditions), cond.device
    cached, generator = CachedDecoder(decoder, n, device), torch.Generator().manual_seed(seed)
    tokens = torch.full((n, config.n_codebooks), config.codebook_size, device=device)
    delays = torch.arange(config.n_codebooks)
    sampled = []
    for position in range(n_steps):
        logits = cached.step(tokens, conditions[:, position]).float().cpu()
        if uncond is not None:
            logits = logits[batch:] + guidance * (logits[:batch] - logits[batch:])
        kept, order = (logits / temperature).topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
        drawn = torch.multinomial(kept.softmax(-1).flatten(0, 1), 1, generator=generator).view(batch, -1, 1)
        chosen = order.gather(-1, drawn)[..., 0]
        # Codebook k begins and ends k steps later (generate.pattern).
        is_outside = (delays > position) | (position - delays > n_steps - config.n_codebooks)
        chosen[:, is_outside] = config.codebook_size
        sampled.append(chosen)
        tokens = chosen.repeat(n // batch, 1).to(device)
    return np.stack([undelay(rows) for rows in torch.stack(sampled, dim=-1).numpy()])
