"""Correct the level of a trained codec band by band, by scaling the rows of its last layer.

    openvmas train calibrate MUSIC CODEC.pt OUT.pt

Losses that average over what cannot be known (phase above all) make a decoder too soft: the mean of uncertain spectra
is smaller than each of them. The gain of a band is the median over training crops of its energy in the original
against that in the reconstruction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from openvmas.codec.autoencoder import Codec, load_codec, save_codec
from openvmas.settings import option
from openvmas.train.codec.corpus import SAMPLE_RATE, open_crops

N_BANDS = 28
MAX_GAIN_DB = 4.0
N_FFT = 2048


def band_energies(wave: Tensor, edges: np.ndarray) -> Tensor:
    """Mean energy of each band [B, N] of waves [B, L]; edges in Hz, N + 1 of them."""
    spectrum = torch.stft(wave, N_FFT, N_FFT // 4, window=torch.hann_window(N_FFT), return_complex=True)
    power = spectrum.abs().square().mean(-1)
    bins = np.arange(power.shape[1]) * SAMPLE_RATE / N_FFT
    which = torch.from_numpy(np.clip(np.searchsorted(edges, bins, side="right") - 1, 0, len(edges) - 2))
    return torch.zeros(len(wave), len(edges) - 1).index_add_(1, which, power)


@torch.no_grad()
def find_gains(codec: Codec, waves: Tensor, n_codebooks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Centres of bands in Hz [N] and the gain in dB that each needs [N]: the mean over numbers of codebooks."""
    edges = np.concatenate([[0.0], np.geomspace(60, SAMPLE_RATE / 2, N_BANDS)])
    wanted = band_energies(waves, edges)
    is_audible = wanted > 1e-6 * wanted.sum(1, keepdim=True)  # bands 60 dB under the crop say nothing
    gains = []
    for n in n_codebooks:
        found = band_energies(codec.decode(codec.encode(waves, n)), edges)
        ratio = 10 * torch.log10((wanted + 1e-9) / (found + 1e-9))
        ratio[~is_audible] = float("nan")
        gains.append(torch.nanmedian(ratio, dim=0).values)
    gain = torch.nan_to_num(torch.stack(gains).mean(0)).clamp(-MAX_GAIN_DB, MAX_GAIN_DB).numpy()
    return (edges[:-1] + edges[1:]) / 2, gain


@torch.no_grad()
def apply_gains(codec: Codec, centres: np.ndarray, gains: np.ndarray) -> None:
    """Scale the rows of the last layer that make each bin, in place."""
    leave = codec.decoder.leave
    last = leave[-1] if isinstance(leave, nn.Sequential) else leave
    assert isinstance(last, nn.Linear)
    bins = np.arange(codec.config.window_length // 2 + 1) * SAMPLE_RATE / codec.config.window_length
    scale = torch.from_numpy(10 ** (np.interp(bins, centres, gains) / 20)).float().repeat_interleave(2)
    last.weight.mul_(scale[:, None])
    last.bias.mul_(scale)


@dataclass(frozen=True)
class CalibrateOptions:
    """Settings of a calibration."""

    crops: int = option(120, "Crops of 4 s that are measured.", min=1)
    rounds: int = option(2, "Times that gains are measured and applied.", min=1)


def calibrate(music: Path, codec_path: Path, output: Path, options: CalibrateOptions) -> Iterator[str]:
    """Measure gains on crops, apply them and save the codec; yields a line about each round."""
    torch.set_num_threads(1)
    codec = load_codec(str(codec_path))
    crops, generator = open_crops(music), np.random.default_rng(7)
    length = 4 * SAMPLE_RATE // codec.config.hop_length * codec.config.hop_length
    drawn = [crops.crop(generator, length) for _ in range(options.crops)]
    waves = torch.from_numpy(np.stack([wave for wave in drawn if np.sqrt(np.mean(wave**2)) > 0.003]))
    for _ in range(options.rounds):
        centres, gains = find_gains(codec, waves, (codec.config.n_codebooks, codec.config.n_codebooks // 2))
        yield "gains, dB: " + " ".join(f"{f:.0f} Hz {g:+.1f}" for f, g in zip(centres, gains, strict=True))
        apply_gains(codec, centres, gains)
    save_codec(codec, str(output))
