"""The meaning half of the alignment: what is stated of a picture, and what is heard in codes, as embeddings.

An encoder that reads features alone learns the pictures of training by heart and finds no others (docs/LOG.md). So the
picture comes with axes that were learned from labels, and the music side is first taught a tagger's axes; what both
then learn from pairs is a small network on the averages of a clip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.model.decoder import normalize


class Standardized(nn.Module):
    """Inputs [B, N] in standard deviations over the training material, which are measured once and then stay."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(n), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(n), requires_grad=False)

    @torch.no_grad()
    def measure(self, inputs: Tensor) -> None:
        """Take centre and scale from inputs [N, n]; what hardly varies is not blown up."""
        self.centre.copy_(inputs.mean(0))
        self.scale.copy_(inputs.std(0) + 0.1 * inputs.std(0).mean())

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.centre) / self.scale


class Reading(nn.Module):
    """Standardized inputs [B, N] → an embedding [B, E] of length 1: a linear layer and a small perceptron, added."""

    def __init__(self, n: int, embedding: int, hidden: int = 96, share: float = 0.3) -> None:
        super().__init__()
        self.inputs, self.dropout = Standardized(n), nn.Dropout(share)
        self.straight, self.first, self.last = (
            nn.Linear(n, embedding),
            nn.Linear(n, hidden),
            nn.Linear(hidden, embedding),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.dropout(self.inputs(inputs))
        found = self.straight(x) + self.last(self.dropout(F.gelu(self.first(x))))
        return F.normalize(found.float(), dim=-1)


class StatedEmbedding(nn.Module):
    """Axes that are stated of frames, and their features in short, averaged over a clip → an embedding [B, E].

    `short` holds principal directions of the training pictures' features and stays as it is.
    """

    def __init__(self, feature_width: int, n_axes: int, embedding: int, n_short: int = 48) -> None:
        super().__init__()
        self.short = nn.Linear(feature_width, n_short, bias=False).requires_grad_(False)
        self.read = Reading(n_axes + n_short, embedding)

    def gather(self, features: Tensor, axes: Tensor) -> Tensor:
        """Inputs [..., n_axes + n_short] of frames: features [..., W] and axes [..., n_axes]."""
        return torch.cat([axes, self.short(features.clamp_min(0).sqrt())], dim=-1)

    def forward(self, features: Tensor, axes: Tensor, valid: Tensor) -> Tensor:
        """features [B, F, W], axes [B, F, n_axes] and which frames are valid [B, F] → [B, E]."""
        share = valid[..., None].to(features.dtype)
        return self.read((self.gather(features, axes) * share).sum(1) / share.sum(1).clamp_min(1))


class HeardEmbedding(nn.Module):
    """Tokens of a clip with their unconditional states → an embedding [B, E] of length 1.

    The codec's latents say what sounds, the states what it belongs to. Two convolutions read both, taught by a tagger's
    axes; averages and spreads of them and of what they read are embedded.
    """

    def __init__(
        self, width: int, embedding: int, n_codebooks: int = 4, codebook_size: int = 1024, latent: int = 64,
        channels: int = 96,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sizes = {
            "width": width, "embedding": embedding, "n_codebooks": n_codebooks, "codebook_size": codebook_size,
            "latent": latent, "channels": channels,
        }  # fmt: skip
        rows = n_codebooks * (codebook_size + 1)
        self.books = nn.Parameter(torch.zeros(rows, latent), requires_grad=False)  # a last row of zeros for no code
        self.first = nn.Conv1d(width + latent, channels, 3, 2, padding=1)
        self.second = nn.Conv1d(channels, channels, 3, 2, padding=1)
        self.read = Reading(2 * (width + latent + channels), embedding)

    @torch.no_grad()
    def set_books(self, codebooks: Tensor) -> None:
        """Take the codec's codebooks [K, V, latent], scaled to a standard deviation of 1 for their sum."""
        n, size = self.sizes["n_codebooks"], self.sizes["codebook_size"]
        scale = codebooks[:n].var(1).sum(0).mean().sqrt()
        self.books.view(n, size + 1, -1)[:, :size] = codebooks[:n] / scale

    def latents(self, tokens: Tensor) -> Tensor:
        """Latents [B, S - K + 1, latent] of tokens [B, K, S] after the delay pattern."""
        n, size = self.sizes["n_codebooks"], self.sizes["codebook_size"]
        length = tokens.shape[2] - n + 1
        rows = torch.stack([tokens[:, k, k : k + length] + k * (size + 1) for k in range(n)], dim=2)
        return self.books[rows].sum(2)

    def frames(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Inputs of the convolutions, 25 a second: [B, width + latent, (S - K + 1) // 2]."""
        latents = self.latents(tokens)
        both = torch.cat([normalize(hidden[:, : latents.shape[1]]).float(), latents], dim=-1)
        return F.avg_pool1d(both.transpose(1, 2), 2)

    def gather(self, frames: Tensor) -> Tensor:
        """Averages and spreads [B, 2 * (width + latent + channels)] of `frames` and of what is read in them."""
        read = F.gelu(normalize(self.first(frames).transpose(1, 2)))
        read = F.gelu(normalize(self.second(read.transpose(1, 2)).transpose(1, 2)))
        parts = [frames.transpose(1, 2), read]
        averages = [part.mean(1) for part in parts]
        spreads = [
            ((part - mean[:, None]).square().mean(1) + 1e-4).sqrt() for part, mean in zip(parts, averages, strict=True)
        ]
        return torch.cat([*averages, *spreads], dim=-1)

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """tokens [B, K, S], delayed; hidden [B, S, width] of `alignment.unconditioned_hidden`."""
        return self.read(self.gather(self.frames(tokens, hidden)))
