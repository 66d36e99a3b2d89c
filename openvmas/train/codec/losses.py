"""Losses of the codec: multi-scale log-mel and compressed complex spectra, a few scales drawn for every step.

Discriminators judge complex spectra at several resolutions, as in EnCodec (Défossez et al. 2022) and DAC (Kumar et al.
2023), with strides along frequency instead of separate networks per band so that a CPU can afford them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from openvmas.music.dsp import mel_filterbank

OVERLAP = 4  # hops per window
FAINT = 1e-5  # magnitude of what is as good as silence


class Overlap(torch.autograd.Function):
    """Hops [B, H, hop] → overlapping frames [B, H - 3, 4 * hop]; its gradient adds the frames back onto the hops.

    Written out because the gradient of four slices fills four arrays of zeros first.
    """

    @staticmethod
    def forward(ctx: Any, hops: Tensor) -> Tensor:
        n_frames = hops.shape[1] - OVERLAP + 1
        return torch.cat([hops[:, i : i + n_frames] for i in range(OVERLAP)], dim=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        n_frames, hop = gradient.shape[1], gradient.shape[2] // OVERLAP
        total = gradient.new_zeros(gradient.shape[0], n_frames + OVERLAP - 1, hop)
        for i in range(OVERLAP):
            total[:, i : i + n_frames] += gradient[..., i * hop : (i + 1) * hop]
        return total


class SpectralLoss:
    """Multi-scale log-mel L1, compressed complex STFT L1 (below `complex_limit` Hz) and spectral convergence."""

    mel_scales = ((4096, 160), (2048, 128), (1024, 80), (512, 40), (256, 20))
    complex_windows = (8192, 4096, 2048, 1024)
    complex_limit = 6000

    def __init__(self, sample_rate: int, device: str = "cpu") -> None:
        self.mels = {
            n: torch.from_numpy(mel_filterbank(n, sample_rate, m, 0.0, sample_rate / 2)).to(device)
            for n, m in self.mel_scales
        }
        self.windows = {n: torch.hann_window(n, device=device) for n in {*self.mels, *self.complex_windows}}
        self.sample_rate = sample_rate

    def transform(self, wave: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Frames with three quarters overlap: real and imaginary parts [B, T, n / 2 + 1, 2], and squared magnitude.

        Sliced instead of `torch.stft`, whose backward pass took four times as long here.
        """
        hop = n // OVERLAP
        wave = F.pad(wave, (n // 2, n // 2 - wave.shape[-1] % hop))
        window = self.windows[n]
        frames = Overlap.apply(wave.unflatten(-1, (-1, hop))) * (window * (2 / window.sum()))  # type: ignore[no-untyped-call]
        parts = torch.view_as_real(torch.fft.rfft(frames))
        return parts, parts[..., 0].square() + parts[..., 1].square() + 1e-10

    def features(self, wave: Tensor, mels: Sequence[int], windows: Sequence[int]) -> dict[str, list[Tensor]]:
        """By name: log10 mel spectra [B, T, n_mels], compressed complex spectra [B, T, F, 2] and magnitudes [B, T, F].

        Each by rising window.
        """
        mel_features, complex_features, magnitudes = [], [], []
        for n in sorted({*mels, *windows}):
            parts, power = self.transform(wave, n)
            if n in mels:
                magnitude = power.sqrt()
                magnitudes.append(magnitude)
                mel_features.append((magnitude @ self.mels[n]).clamp_min(1e-5).log10())
            if n in windows:
                top = self.complex_limit * n // self.sample_rate
                complex_features.append(parts[:, :, :top] * power[:, :, :top, None] ** -0.25)
        return {"mel": mel_features, "complex": complex_features, "convergence": magnitudes}

    def __call__(self, reference: Tensor, estimated: Tensor, drawn: int = 0) -> dict[str, Tensor]:
        """Both [B, L]. drawn: so many mel scales, and half as many windows, at random (0: all of them)."""
        mels, windows = [n for n, _ in self.mel_scales], list(self.complex_windows)
        if drawn:
            mels = [mels[i] for i in torch.randperm(len(mels))[:drawn].tolist()]
            windows = [windows[i] for i in torch.randperm(len(windows))[: (drawn + 1) // 2].tolist()]
        with torch.no_grad():
            wanted = self.features(reference, mels, windows)
        found = self.features(estimated, mels, windows)
        return {
            name: torch.stack([distance(a, b) for a, b in zip(wanted[name], found[name], strict=True)]).mean()
            for name, distance in (("mel", F.l1_loss), ("complex", F.l1_loss), ("convergence", _relative))
        }


def _relative(a: Tensor, b: Tensor) -> Tensor:
    """Difference of magnitudes [B, T, F] by their norm in each example (Arik et al. 2019): what is loud decides.

    In the other terms a bare tone is all but silence, and silence is what they made of it.
    """
    return ((a - b).norm(dim=(1, 2)) / (a.norm(dim=(1, 2)) + FAINT * a[0].numel() ** 0.5)).mean()


class SpectrumDiscriminator(nn.Module):
    """Wave [B, L] → judgements [B, 1, T, F] and the activations of every layer.

    Sees real and imaginary parts, compressed to the power 0.5, and where in frequency it is, so that one set of filters
    can serve all bands.
    """

    def __init__(self, window_length: int, width: int = 32) -> None:
        super().__init__()
        self.window_length, self.hop_length = window_length, window_length // 4
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(window_length), persistent=False)
        # channels in and out, kernel, stride and dilation; time first
        plan = (
            (3, width, (3, 9), (1, 4), 1),
            (width, 2 * width, (3, 7), (1, 2), 1),
            (2 * width, 2 * width, (3, 5), (1, 2), 2),
            (2 * width, 2 * width, (3, 3), (1, 1), 4),
        )
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    n_in, n_out, kernel, stride, dilation=(dilation, 1),
                    padding=((kernel[0] - 1) // 2 * dilation, (kernel[1] - 1) // 2),
                )
            )
            for n_in, n_out, kernel, stride, dilation in plan
        )  # fmt: skip
        self.judge = weight_norm(nn.Conv2d(2 * width, 1, (3, 3), padding=1))

    def spectrum(self, wave: Tensor) -> Tensor:
        """[B, 3, T, F]: real part, imaginary part, position in frequency from -1 to 1."""
        with torch.autocast(wave.device.type, enabled=False):
            frames = wave.unfold(-1, self.window_length, self.hop_length)
            window = self.window / self.window.square().sum().sqrt()
            parts = torch.view_as_real(torch.fft.rfft(frames * window)[..., :-1])
            power = parts.square().sum(-1, keepdim=True) + 1e-6
            x = (parts * power**-0.25).permute(0, 3, 1, 2)
        place = torch.linspace(-1, 1, x.shape[-1], device=x.device).expand(x.shape[0], 1, *x.shape[2:])
        return torch.cat([x, place], dim=1).contiguous(memory_format=torch.channels_last)

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, activations = self.spectrum(wave), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            activations.append(x)
        return self.judge(x), activations


def same_level(reference: Tensor, estimated: Tensor) -> tuple[Tensor, Tensor]:
    """Both [B, L] by the factor that brings the reference to an RMS of 1, silence aside."""
    gain = 1 / reference.square().mean(1, keepdim=True).sqrt().clamp_min(1e-3)
    return reference * gain, estimated * gain


class Discriminators(nn.Module):
    """One `SpectrumDiscriminator` per resolution; a step uses one of them, drawn by the caller."""

    def __init__(self, window_lengths: tuple[int, ...] = (2048, 1024, 512), width: int = 32) -> None:
        super().__init__()
        self.members = nn.ModuleList(SpectrumDiscriminator(n, width) for n in window_lengths)

    def discriminator_loss(self, member: int, reference: Tensor, estimated: Tensor) -> Tensor:
        """Least squares (Mao et al. 2017): real is 1, made is 0."""
        reference, estimated = same_level(reference, estimated.detach())
        real, made = self.members[member](reference)[0], self.members[member](estimated)[0]
        return (1 - real.float()).square().mean() + made.float().square().mean()

    def generator_loss(self, member: int, reference: Tensor, estimated: Tensor) -> tuple[Tensor, Tensor]:
        """The adversarial loss of the codec, and feature matching: the relative L1 distance of the activations."""
        reference, estimated = same_level(reference, estimated)
        with torch.no_grad():
            wanted = self.members[member](reference)[1]
        judgement, found = self.members[member](estimated)
        matching = [
            (a.float() - b.float()).abs().mean() / (a.float().abs().mean() + 1e-3)
            for a, b in zip(wanted, found, strict=True)
        ]
        return (1 - judgement.float()).square().mean(), torch.stack(matching).mean()
