"""The delay pattern of MusicGen (Copet et al. 2023): codebook k is written k steps after codebook 0.

codes [K, T] on the time grid ↔ tokens [K, S] with S = T + K - 1; cells outside the piece hold the empty token V.
"""

from __future__ import annotations

import numpy as np


def delay(codes: np.ndarray, empty: int) -> np.ndarray:
    """codes [..., K, T] → tokens [..., K, T + K - 1]."""
    n_codebooks, n_steps = codes.shape[-2:]
    tokens = np.full((*codes.shape[:-1], n_steps + n_codebooks - 1), empty, codes.dtype)
    for k in range(n_codebooks):
        tokens[..., k, k : k + n_steps] = codes[..., k, :]
    return tokens


def undelay(tokens: np.ndarray) -> np.ndarray:
    """tokens [..., K, S] → codes [..., K, S - K + 1]."""
    n_codebooks, n_steps = tokens.shape[-2:]
    length = n_steps - n_codebooks + 1
    return np.stack([tokens[..., k, k : k + length] for k in range(n_codebooks)], axis=-2)
