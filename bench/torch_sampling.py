"""Writing codes in PyTorch with a decoder as it trains: for samples in logs and for ablations (users: `generate`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from openvmas.generate.pattern import undelay
from openvmas.model.decoder import Decoder, DecoderStep


@torch.no_grad()
def write_codes(
    decoder: Decoder, told: Tensor, untold: Tensor | None = None, guidance: float = 3.0, temperature: float = 1.0,
    top_k: int = 100, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Codes [B, K, T] int64 for conditions told [B, S, D], S = T + K - 1.

    untold [B, S, D]: the condition of the other branch of guidance (Ho and Salimans 2022); without it there is none.
    top_k: sampled from so many of the most likely codes (1: always the most likely).
    """
    config, batch = decoder.config, len(told)
    conditions = told if untold is None else torch.cat([told, untold])
    n = len(conditions)
    step = DecoderStep(decoder)
    n_wide = len(config.wide_layers)
    rings = []
    for count, window in ((config.n_layers - n_wide, config.narrow), (n_wide, config.wide)):
        shape = (count, n, config.n_groups)
        keys = told.new_zeros(*shape, config.head_width, window - 1)
        values = told.new_zeros(*shape, window - 1, config.head_width)
        rings.append((keys, values, told.new_full((window - 1,), -1e9)))
    is_wide = torch.tensor([i in config.wide_layers for i in range(config.n_layers)])
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.full((n, config.n_codebooks), config.codebook_size)
    written = []
    for position in range(told.shape[1]):
        cosine, sine = decoder.positions(torch.tensor(position))
        caches = [part for ring in rings for part in ring]
        logits, keys, values = step(tokens, conditions[:, position], cosine, sine, *caches)
        for which, (old_keys, old_values, mask) in zip((~is_wide, is_wide), rings, strict=True):
            if not len(mask):
                continue
            slot = position % len(mask)
            old_keys[..., slot], old_values[..., slot, :], mask[slot] = keys[which], values[which], 0
        logits = logits.float()
        if untold is not None:
            logits = logits[batch:] + guidance * (logits[:batch] - logits[batch:])
        kept, order = (logits / temperature).topk(min(top_k, logits.shape[-1]), dim=-1)
        drawn = torch.multinomial(kept.softmax(-1).flatten(0, 1), 1, generator=generator).view(batch, -1, 1)
        chosen = order.gather(-1, drawn)[..., 0]
        # Codebook k begins k steps later (generate.pattern).
        chosen[:, torch.arange(config.n_codebooks) > position] = config.codebook_size
        written.append(chosen)
        tokens = chosen.repeat(n // batch, 1)
    every = torch.stack(written, dim=-1).numpy()
    return np.stack([undelay(rows) for rows in every])
