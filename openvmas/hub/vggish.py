"""VGGish (Hershey et al. 2017, arXiv:1609.09430): the embedding that Fréchet audio distance was first defined on.

Weights: the state dict of harritaylor/torchvggish (Apache-2.0, converted from Google's). The embeddings are those
before the PCA and the rounding to 8 bits of YouTube-8M, as Kilgour et al. (2019) use them.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from openvmas.hub.sound_windows import Adapter, State, load, no_logits
from openvmas.hub.taggers import HOP, MELS, PATCH, WINDOW, log_mel

CHANNELS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)  # of convolutions; 0: halve both sides
LOG_OFFSET = 0.01


class VggishNetwork(nn.Module):
    """Patches [B, 1, 96, 64] of log mel magnitudes → [B, 128]."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS, hidden: int = 4096, n_out: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in, shrink = 1, 1
        for n in channels:
            layers += [nn.Conv2d(n_in, n, 3, padding=1), nn.ReLU()] if n else [nn.MaxPool2d(2)]
            n_in, shrink = n or n_in, shrink if n else 2 * shrink
        self.features = nn.Sequential(*layers)
        n_flat = n_in * (PATCH // shrink) * (MELS // shrink)
        widths = (n_flat, hidden, hidden, n_out)
        dense = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        self.embeddings = nn.Sequential(*dense)

    def forward(self, patches: Tensor) -> Tensor:
        # Channels last before flattening: the dense layers come from TensorFlow.
        return self.embeddings(self.features(patches).permute(0, 2, 3, 1).flatten(1))


def without_pca(state: State) -> State:
    """A state dict as it is published, without what comes after the network."""
    return {key: value for key, value in state.items() if not key.startswith("pproc.")}


class Vggish(Adapter):
    """0.96 s every 0.96 s, 128 numbers, at 16 kHz."""

    sample_rate = 16_000
    span = ((PATCH - 1) * HOP + WINDOW) / 16_000
    hop = PATCH * HOP / 16_000

    @classmethod
    def open(cls, path: str | Path) -> Vggish:
        return cls(load(VggishNetwork, path, "VGGish (vggish-10086976.pth of torchvggish)", without_pca), batch=32)

    def forward_windows(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        patches = np.stack([log_mel(window, LOG_OFFSET) for window in windows.numpy()])
        found = self.network(torch.from_numpy(patches)[:, None].to(self.device))
        return found, no_logits(found)
