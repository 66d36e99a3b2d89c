"""Log mel spectra in Kaldi's manner, which ImageBind and PaSST were trained on (`torchaudio.compliance.kaldi`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FLOOR = float(np.finfo(np.float32).eps)


def kaldi_mel_bank(n_fft: int, sample_rate: int, n_mels: int, lowest: float, highest: float) -> Tensor:
    """Triangles that are straight on the mel scale: [n_fft // 2 + 1, n_mels]; the last bin is in none. Hz."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)

    bins = mel(np.arange(n_fft // 2) * sample_rate / n_fft)[:, None]
    edges = np.linspace(mel(lowest), mel(highest), n_mels + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    return torch.from_numpy(np.pad(weights, ((0, 1), (0, 0))).astype(np.float32))


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
