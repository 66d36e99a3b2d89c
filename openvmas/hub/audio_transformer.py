"""Parts that PaSST and ImageBind have in common: the transformer block (ViT, Dosovitskiy et al. 2021), with ImageBind's
names, and log mel spectra in Kaldi's manner, which both were trained on (`torchaudio.compliance.kaldi`).
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn

from openvmas.music.dsp import mel_filterbank

FLOOR = float(np.finfo(np.float32).eps)


class Block(nn.Module):
    """[B, N, D] → [B, N, D]. has_bias_kv: one more key and value, learned, beside those of the tokens."""

    def __init__(self, width: int, n_heads: int, has_bias_kv: bool = False) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.MultiheadAttention(width, n_heads, add_bias_kv=has_bias_kv, batch_first=True)
        wide = 4 * width
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            fc1=nn.Linear(width, wide), act=nn.GELU(), fc2=nn.Linear(wide, width)
        )
        self.mlp = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))


def kaldi_mel_bank(n_fft: int, sample_rate: int, n_mels: int, lowest: float, highest: float) -> Tensor:
    """Triangles that are straight on the mel scale: [n_fft // 2 + 1, n_mels]; the last bin is in none. Hz."""
    return torch.from_numpy(mel_filterbank(n_fft, sample_rate, n_mels, lowest, highest, "kaldi"))


def kaldi_fbank(wave: Tensor, bank: Tensor, sample_rate: int = 16_000) -> Tensor:
    """Log mel powers of waves [B, L], 25 ms every 10 ms, nothing beyond the ends: [B, n_frames, n_mels].

    Of every frame the mean is taken away, then pre-emphasis 0.97 and a symmetric Hann window.
    """
    size, hop, n_fft = sample_rate // 40, sample_rate // 100, 2 * (len(bank) - 1)
    frames = wave.unfold(-1, size, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    frames = frames - 0.97 * torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    window = torch.hann_window(size, periodic=False, device=wave.device)
    power = torch.fft.rfft(frames * window, n_fft).abs().square()
    return (power @ bank.to(wave.device)).clamp_min(FLOOR).log()
