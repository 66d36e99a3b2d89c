"""Discriminators of the codec: complex spectra at several resolutions, as in EnCodec (Défossez et al. 2022) and DAC
(Kumar et al. 2023), with strides along frequency instead of separate networks per band so that a CPU can afford them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


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
