"""PaSST-S (Koutini et al. 2022, arXiv:2110.05069): a ViT over mel patches, 768 numbers and 527 AudioSet classes.

Weights: `passt-s-f128-p16-s10-ap.476-swa.pt` of kkoutini/PaSST (Apache-2.0) or another of its files with the same
structure. Embedding: the mean of the class and the distillation token after the last norm, as in hear21passt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.hub.audio_transformer import Block, kaldi_mel_bank
from openvmas.hub.sound_windows import Adapter, State, load

SAMPLE_RATE, FFT, WINDOW, HOP, MELS = 32_000, 1024, 800, 320, 128
LOWEST, HIGHEST = 0.0, 15_000.0  # Hz
PATCH, STRIDE = 16, 10


@dataclass(frozen=True)
class PasstSizes:
    width: int = 768
    n_layers: int = 12
    n_heads: int = 12
    n_times: int = 99  # patches along time that have a place: 998 frames
    n_classes: int = 527


class PasstNetwork(nn.Module):
    """Spectra [B, 1, 128, n_frames] → embeddings [B, D] and logits [B, n_classes]."""

    def __init__(self, sizes: PasstSizes) -> None:
        super().__init__()
        width = sizes.width
        self.cls_token, self.dist_token = (nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, width))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, width, MELS // STRIDE, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, width, 1, sizes.n_times))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, PATCH, STRIDE)})
        self.blocks = nn.Sequential(*(Block(width, sizes.n_heads) for _ in range(sizes.n_layers)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sizes.n_classes))
        self.head_dist = nn.Linear(width, sizes.n_classes)  # used in training only

    def forward(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch_embed["proj"](spectra)
        x = x + self.time_new_pos_embed[..., : x.shape[-1]] + self.freq_new_pos_embed
        tokens = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        x = torch.cat([tokens.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        features = self.norm(self.blocks(x))[:, :2].mean(1)
        return features, self.head(features)


def passt_spectra(wave: Tensor) -> Tensor:
    """Waves [B, L] at 32 kHz → [B, 128, n_frames]: pre-emphasis, power in Kaldi's mel bands, logarithm, fixed scale."""
    wave = wave[:, 1:] - 0.97 * wave[:, :-1]
    window = torch.hann_window(WINDOW, periodic=False, device=wave.device)
    power = torch.stft(wave, FFT, HOP, WINDOW, window, return_complex=True).abs().square()
    bank = kaldi_mel_bank(FFT, SAMPLE_RATE, MELS, LOWEST, HIGHEST).to(wave.device)
    return ((bank.T @ power + 1e-5).log() + 4.5) / 5


def our_names(state: State) -> State:
    """A state dict as it is published, under the names of `audio_transformer.Block`."""
    renamed = (
        (".norm1.", ".norm_1."), (".norm2.", ".norm_2."), (".attn.proj.", ".attn.out_proj."),
        (".attn.qkv.weight", ".attn.in_proj_weight"), (".attn.qkv.bias", ".attn.in_proj_bias"),
    )  # fmt: skip
    found = {}
    for key, value in state.items():
        key = key.removeprefix("net.")  # of checkpoints of whole experiments
        for old, new in renamed:
            key = key.replace(old, new)
        found[key] = value
    return found


class Passt(Adapter):
    """10 s every 5 s; a shorter wave is taken as it is, padded to 1 s."""

    sample_rate = SAMPLE_RATE
    span, hop, shortest = 10.0, 5.0, 1.0

    @classmethod
    def open(cls, path: str | Path, sizes: PasstSizes | None = None) -> Passt:
        name = "PaSST-S (passt-s-f128-p16-s10-ap.476-swa.pt)"
        return cls(load(lambda: PasstNetwork(sizes or PasstSizes()), path, name, our_names), batch=4)

    def forward_windows(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        spectra = passt_spectra(windows.to(self.device))
        longest = (self.network.time_new_pos_embed.shape[-1] - 1) * STRIDE + PATCH + STRIDE - 1
        return self.network(F.pad(spectra, (0, min(0, longest - spectra.shape[-1])))[:, None])
