"""Residual vector quantisation (Zeghidour et al. 2021, SoundStream) with moving-average codebooks.

Every level quantises what the levels before it left over. Codebooks start from real latents, follow them by an
exponential moving average (van den Oord et al. 2017, appendix A.1), and entries that nobody uses are put back onto
data (Dhariwal et al. 2020, Jukebox), because gradient-trained codebooks filled too slowly here.
"""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualQuantizer(nn.Module):
    """[B, T, D] → codes [B, K, T] and back."""

    def __init__(self, n_codebooks: int, codebook_size: int, width: int, decay: float = 0.99) -> None:
        super().__init__()
        self.n_codebooks, self.codebook_size, self.decay = n_codebooks, codebook_size, decay
        self.codebooks: Tensor
        self.use: Tensor
        self.sums: Tensor
        self.is_ready: Tensor
        self.register_buffer("codebooks", torch.zeros(n_codebooks, codebook_size, width))
        self.register_buffer("use", torch.ones(n_codebooks, codebook_size))
        self.register_buffer("sums", torch.zeros(n_codebooks, codebook_size, width))
        self.register_buffer("is_ready", torch.tensor(False))

    def nearest(self, x: Tensor, level: int) -> Tensor:
        """Index of the nearest entry: [N, D] → [N]."""
        book = self.codebooks[level]
        return (x @ book.T - 0.5 * book.square().sum(1)).argmax(1)

    @torch.no_grad()
    def initialize(self, latents: Tensor, n_rounds: int = 12) -> None:
        """Level by level, k-means on latents [N, D] (N of at least 4 x codebook_size is sensible)."""
        residual = latents.float()
        for level in range(self.n_codebooks):
            chosen = torch.randperm(len(residual))[: self.codebook_size]
            self.codebooks[level] = residual[chosen]
            for _ in range(n_rounds):
                index = self.nearest(residual, level)
                count, total = self._tally(residual, index)
                filled = count > 0
                self.codebooks[level, filled] = total[filled] / count[filled, None]
                lost = (~filled).nonzero()[:, 0]
                self.codebooks[level, lost] = residual[torch.randint(len(residual), (len(lost),))]
            index = self.nearest(residual, level)
            self.use[level] = 1
            self.sums[level] = self.codebooks[level]
            residual = residual - self.codebooks[level][index]
        self.is_ready.fill_(True)

    def _tally(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        count = torch.bincount(index, minlength=self.codebook_size).to(x.dtype)
        total = torch.zeros(self.codebook_size, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, index, x)
        return count, total

    @torch.no_grad()
    def _update_ema(self, x: Tensor, index: Tensor, level: int) -> None:
        count, total = self._tally(x, index)
        self.use[level].mul_(self.decay).add_(count * self.codebook_size / len(x), alpha=1 - self.decay)
        self.sums[level].mul_(self.decay).add_(total * self.codebook_size / len(x), alpha=1 - self.decay)
        # Written without a look at the values, for which a GPU would have to wait.
        is_dead = self.use[level] < 0.1
        fresh = x[torch.randint(len(x), is_dead.shape, device=x.device)]
        self.use[level] = torch.where(is_dead, 1.0, self.use[level])
        self.sums[level] = torch.where(is_dead[:, None], fresh, self.sums[level])
        self.codebooks[level] = self.sums[level] / self.use[level].clamp_min(1e-3)[:, None]

    def forward(self, latent: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Training: quantised latent with straight-through gradient [B, T, D], and the commitment loss.

        dropout: the share of examples for which only a random number of first levels is kept.
        """
        flat, n = latent.detach().flatten(0, 1), latent.shape[0]
        is_short = torch.rand(n, device=latent.device) < dropout
        n_levels = torch.where(
            is_short, torch.randint(1, self.n_codebooks, (n,), device=latent.device), self.n_codebooks
        )
        n_levels = n_levels.repeat_interleave(latent.shape[1])[:, None]
        residual, total = flat, torch.zeros_like(flat)
        for level in range(self.n_codebooks):  # dropped levels learn all the same
            index = self.nearest(residual, level)
            entries = self.codebooks[level][index]
            total = total + entries * (n_levels > level)
            if self.training:
                self._update_ema(residual, index, level)
            residual = residual - entries
        quantized = total.view_as(latent)
        return latent + (quantized - latent).detach(), F.mse_loss(latent, quantized)

    @torch.no_grad()
    def encode(self, latent: Tensor, n_codebooks: int | None = None) -> Tensor:
        """Codes [B, K, T] of a latent [B, T, D], by the first n_codebooks levels or all."""
        residual = latent.flatten(0, 1)
        codes = []
        for level in range(n_codebooks or self.n_codebooks):
            index = self.nearest(residual, level)
            residual = residual - self.codebooks[level][index]
            codes.append(index.view(latent.shape[:2]))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """The latent [B, T, D] that codes [B, K, T] stand for."""
        return torch.stack([self.codebooks[k][codes[:, k]] for k in range(codes.shape[1])]).sum(0)
