"""PANNs' Cnn14 (Kong et al. 2020, arXiv:1912.10211): 2,048 numbers and 527 AudioSet classes.

Weights: `Cnn14_mAP=0.431.pth` of qiuqiangkong/audioset_tagging_cnn (the code there is MIT, the weights CC BY 4.0). The
Fourier and mel matrices are part of the file and are used as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.hub.sound_windows import Adapter, load

SAMPLE_RATE, WINDOW, HOP, MELS = 32_000, 1024, 320, 64
WIDTHS = (64, 128, 256, 512, 1024, 2048)


class Spectrogram(nn.Module):
    """Waves [B, L] → powers [B, n_frames, WINDOW // 2 + 1], edges mirrored."""

    def __init__(self) -> None:
        super().__init__()
        parts = {f"conv_{part}": nn.Conv1d(1, WINDOW // 2 + 1, WINDOW, HOP, bias=False) for part in ("real", "imag")}
        self.stft = nn.ModuleDict(parts)

    def forward(self, wave: Tensor) -> Tensor:
        padded = F.pad(wave[:, None], (WINDOW // 2, WINDOW // 2), mode="reflect")
        return (self.stft["conv_real"](padded).square() + self.stft["conv_imag"](padded).square()).transpose(1, 2)


class LogMel(nn.Module):
    """Powers [B, n_frames, WINDOW // 2 + 1] → dB [B, n_frames, MELS]."""

    def __init__(self) -> None:
        super().__init__()
        self.melW = nn.Parameter(torch.zeros(WINDOW // 2 + 1, MELS))

    def forward(self, power: Tensor) -> Tensor:
        return 10 * torch.log10((power @ self.melW).clamp_min(1e-10))


class ConvBlock(nn.Module):
    """Two convolutions, then a mean over `pool` x `pool` fields: [B, n_in, T, M] → [B, n_out, T // pool, M // pool]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor, pool: int) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.avg_pool2d(F.relu(self.bn2(self.conv2(x))), pool)


class Cnn14(nn.Module):
    """Waves [B, L] at 32 kHz → embeddings [B, widths[-1]] and logits [B, n_classes]."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, n_classes: int = 527) -> None:
        super().__init__()
        self.n_blocks = len(widths)
        self.spectrogram_extractor, self.logmel_extractor = Spectrogram(), LogMel()
        self.bn0 = nn.BatchNorm2d(MELS)
        for i, (n_in, n_out) in enumerate(zip((1, *widths), widths, strict=False), 1):
            self.add_module(f"conv_block{i}", ConvBlock(n_in, n_out))
        self.fc1, self.fc_audioset = nn.Linear(widths[-1], widths[-1]), nn.Linear(widths[-1], n_classes)

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        x = self.logmel_extractor(self.spectrogram_extractor(wave))[:, None]
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for i in range(1, self.n_blocks + 1):
            x = self.get_submodule(f"conv_block{i}")(x, 1 if i == self.n_blocks else 2)
        x = x.mean(3)
        x = F.relu(self.fc1(x.amax(2) + x.mean(2)))
        return x, self.fc_audioset(x)


class Panns(Adapter):
    """10 s every 5 s, as long as AudioSet's clips; a shorter wave is taken as it is, padded to 1 s."""

    sample_rate = SAMPLE_RATE
    span, hop, shortest = 10.0, 5.0, 1.0

    @classmethod
    def open(cls, path: str | Path) -> Panns:
        return cls(load(Cnn14, path, "PANNs' Cnn14 (Cnn14_mAP=0.431.pth)"), batch=4)

    def forward_windows(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(windows.to(self.device))
