"""Log mel spectra in Kaldi's manner, which ImageBind and PaSST were trained on (`torchaudio.compliance.kaldi`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from openvmas.music.dsp import mel_filterbank

FLOOR = float(np.finfo(np.float32).eps)


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
