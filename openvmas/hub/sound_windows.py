"""The base of adapters: sound cut into windows and given to a PyTorch network in batches.

`openvmas eval folder DIR --embedder clap:FOLDER` names an adapter and where its weights lie.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor, nn

from openvmas.hub.checkpoint_files import fill, read_file
from openvmas.hub.taggers import Embedder, Embeddings

State = dict[str, Tensor]


class Adapter(Embedder):
    """An embedder in PyTorch. A subclass sets its class values and `forward_windows`.

    span, hop: s, of windows. A wave shorter than a window is padded with silence to one, or only to `shortest` s if
    that is given. Where windows overlap by half, one more ends with the wave; else what is left over after the last is
    left out.
    """

    sample_rate: int
    span: float
    hop: float
    shortest: float | None = None
    classes: tuple[str, ...] = ()

    def __init__(self, network: nn.Module, device: str = "cpu", batch: int = 8) -> None:
        self.network: Any = network.eval().requires_grad_(False).to(device)
        self.device, self._batch = device, batch

    @classmethod
    def open(cls, path: str | Path) -> Adapter:
        """Load weights as they are published. Raises ModelError."""
        raise NotImplementedError

    def embed(self, wave: np.ndarray, sample_rate: int) -> Embeddings:
        """Embeddings of a mono wave [L] in [-1, 1] at sample_rate Hz, one per window."""
        if wave.ndim != 1:
            raise ValueError(f"a mono wave [L] is needed, not shape {wave.shape}")
        wave = np.ascontiguousarray(wave, dtype=np.float32)
        if sample_rate != self.sample_rate:
            wave = soxr.resample(wave, sample_rate, self.sample_rate)
        windows, starts = self.windows(wave)
        found = [self.forward_windows(part) for part in torch.from_numpy(windows).split(self._batch)]
        embeddings, logits = (torch.cat(parts).float().cpu().numpy() for parts in zip(*found, strict=True))
        return Embeddings(embeddings, logits, starts / self.sample_rate + self.span / 2, self.span)

    def windows(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """wave [L] → windows [P, span], P at least 1, and where they start: [P], samples."""
        size, hop = round(self.span * self.sample_rate), round(self.hop * self.sample_rate)
        if len(wave) < size:
            return self.lengthen(wave, size)[None], np.zeros(1, int)
        starts = np.arange(0, len(wave) - size + 1, hop)
        if 2 * hop <= size and starts[-1] != len(wave) - size:
            starts = np.append(starts, len(wave) - size)
        return np.lib.stride_tricks.sliding_window_view(wave, size)[starts].copy(), starts

    def lengthen(self, wave: np.ndarray, size: int) -> np.ndarray:
        """A wave that is shorter than a window, made as long as one, or at least `shortest`."""
        least = size if self.shortest is None else round(self.shortest * self.sample_rate)
        return np.pad(wave, (0, max(least - len(wave), 0)))

    def forward_windows(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """windows [B, span] → embeddings [B, D] and logits [B, n_classes] (n_classes is 0 if it knows no classes)."""
        raise NotImplementedError


def no_logits(embeddings: Tensor) -> Tensor:
    """Logits of a network that knows no classes: [B, 0]."""
    return embeddings.new_zeros(len(embeddings), 0)


def load(
    make: Callable[[], nn.Module], path: str | Path, name: str, ours: Callable[[State], State] = lambda state: state
) -> nn.Module:
    """A network with published weights. name: what the file should be; ours: the state dict as the network has it.

    Raises ModelError.
    """
    with torch.device("meta"):  # where making it costs nothing
        network = make()
    fill(network, ours(read_file(Path(path))), Path(path), name)
    return network
