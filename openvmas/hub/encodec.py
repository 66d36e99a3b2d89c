"""EnCodec at 32 kHz (Défossez et al. 2022; the codec of MusicGen) from a local folder, behind our codec's interface.

Its 640 samples per step at 32 kHz are our own codec's 50 steps a second, so conditions and plans fit as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.errors import ModelError
from openvmas.hub.checkpoint_files import load_pretrained

CLASSES = {"encodec": "EncodecModel", "musicgen": "MusicgenForConditionalGeneration"}


@dataclass(frozen=True)
class EncodecSizes:
    """Sizes of a codec under the names of `CodecConfig`."""

    sample_rate: int
    hop_length: int
    n_codebooks: int
    codebook_size: int

    @property
    def frame_rate(self) -> Fraction:
        """Codec steps per second."""
        return Fraction(self.sample_rate, self.hop_length)


class Encodec(nn.Module):
    """Waveform [B, L] in [-1, 1] ↔ codes [B, K, T], T = ceil(L / hop_length)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        if config.audio_channels != 1 or config.normalize or config.chunk_length_s is not None:
            raise ModelError("this EnCodec is stereo or works in chunks; give the mono one of MusicGen, encodec_32khz.")
        self.model = model
        n_codebooks = len(model.quantizer.layers)
        self.config = EncodecSizes(config.sampling_rate, config.hop_length, n_codebooks, config.codebook_size)

    @torch.no_grad()
    def encode(self, wave: Tensor, n_codebooks: int | None = None) -> Tensor:
        """Codes [B, K, T] (int64)."""
        residual, codes = self.model.encoder(wave[:, None]), []
        for level in self.model.quantizer.layers[: n_codebooks or self.config.n_codebooks]:
            codes.append(level.encode(residual))
            residual = residual - level.decode(codes[-1])
        return torch.stack(codes, dim=1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Wave [B, T * hop_length]; fewer than all codebooks may be given."""
        wave = self.model.decoder(self.model.quantizer.decode(codes.transpose(0, 1)))[:, 0]
        missing = codes.shape[-1] * self.config.hop_length - wave.shape[-1]
        return F.pad(wave, (0, max(missing, 0)))


def load_encodec(folder: str | Path) -> Encodec:
    """EnCodec of a folder of its own or inside one of MusicGen. Raises ModelError."""
    model = load_pretrained(Path(folder), CLASSES)
    return Encodec(getattr(model, "audio_encoder", model)).eval()
