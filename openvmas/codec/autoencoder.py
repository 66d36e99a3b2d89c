"""The codec: long overlapping STFT frames in, one code vector per 20 ms, long overlapping frames out.

Like Vocos (Siuzdak 2023) all of the network works at the rate of the codes and an inverse STFT makes the samples, so
it is fast on a CPU; unlike Vocos it predicts real and imaginary parts, because phase has to be kept at low
frequencies. Blocks are ConvNeXt (Liu et al. 2022) with a bounded look-ahead of one step each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.codec.quantizer import ResidualQuantizer


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of a codec; they travel inside its checkpoint."""

    sample_rate: int = 32_000
    hop_length: int = 640
    window_length: int = 2560
    encoder_width: int = 320
    encoder_blocks: int = 6
    decoder_width: int = 384
    decoder_blocks: int = 8
    # Between the decoder's last block and its frames; a frame has 640 new samples, a block 384 values.
    head_width: int = 2048
    latent_width: int = 64
    n_codebooks: int = 8
    codebook_size: int = 1024
    kernel_size: int = 7
    look_ahead: int = 1  # steps that each block sees of the future

    @property
    def frame_rate(self) -> Fraction:
        """Codec steps per second."""
        return Fraction(self.sample_rate, self.hop_length)


CODEC_PRESETS = {
    "mini": CodecConfig(),
    "debug": CodecConfig(
        encoder_width=32, encoder_blocks=1, decoder_width=32, decoder_blocks=2, head_width=64, latent_width=16,
        codebook_size=64,
    ),
}  # fmt: skip


class Block(nn.Module):
    """ConvNeXt in time: depthwise convolution, then a two-layer perceptron per step. [B, T, D] → [B, T, D]."""

    def __init__(self, width: int, kernel_size: int, look_ahead: int) -> None:
        super().__init__()
        self.padding = (kernel_size - 1 - look_ahead, look_ahead)
        self.depthwise = nn.Conv1d(width, width, kernel_size, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(F.pad(x.transpose(1, 2), self.padding)).transpose(1, 2)
        return x + self.scale * self.narrow(F.gelu(self.widen(self.norm(y))))


class Trunk(nn.Module):
    """Linear in, blocks, norm, out. [B, T, n_in] → [B, T, n_out].

    head_width: hidden width of a two-layer way out; 0 for a linear one.
    """

    def __init__(self, n_in: int, width: int, n_blocks: int, n_out: int, config: CodecConfig, head_width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(n_in, width)
        self.blocks = nn.ModuleList(Block(width, config.kernel_size, config.look_ahead) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.leave: nn.Module = nn.Linear(width, n_out)
        if head_width:
            self.leave = nn.Sequential(nn.Linear(width, head_width), nn.GELU(), nn.Linear(head_width, n_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x))


class Codec(nn.Module):
    """Waveform [B, L] in [-1, 1] ↔ codes [B, K, T], T = L / hop_length."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        n_bins = config.window_length + 2  # real and imaginary parts of window_length / 2 + 1 bins
        self.encoder = Trunk(n_bins, config.encoder_width, config.encoder_blocks, config.latent_width, config, 0)
        self.quantizer = ResidualQuantizer(config.n_codebooks, config.codebook_size, config.latent_width)
        self.decoder = Trunk(
            config.latent_width, config.decoder_width, config.decoder_blocks, n_bins, config, config.head_width
        )
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(config.window_length).sqrt(), persistent=False)

    @property
    def margin(self) -> int:
        """Samples that a frame reaches beyond its own hop on each side."""
        return (self.config.window_length - self.config.hop_length) // 2

    def spectrum(self, wave: Tensor) -> Tensor:
        """Compressed complex frames, [B, T, window_length + 2]."""
        frames = F.pad(wave, (self.margin, self.margin)).unfold(-1, self.config.window_length, self.config.hop_length)
        spectrum = torch.fft.rfft(frames * self.window) / 16
        magnitude = spectrum.abs().clamp_min(1e-5)
        return torch.view_as_real(spectrum * magnitude**-0.6).flatten(-2)

    def encode_latent(self, wave: Tensor) -> Tensor:
        """Before the quantiser: [B, T, latent_width]."""
        return self.encoder(self.spectrum(wave)).float()

    def synthesize(self, frames: Tensor) -> Tensor:
        """Real and imaginary parts [B, T, window_length + 2] → wave [B, T * hop_length] by overlap-add."""
        spectrum = torch.view_as_complex(frames.float().unflatten(-1, (-1, 2)).contiguous())
        pieces = torch.fft.irfft(spectrum * 16, n=self.config.window_length) * self.window
        overlap = self.config.window_length // self.config.hop_length
        hops = pieces.unflatten(-1, (overlap, self.config.hop_length))
        n_steps = hops.shape[1]
        total = sum(F.pad(hops[:, :, i], (0, 0, i, overlap - 1 - i)) for i in range(overlap))
        assert isinstance(total, Tensor)
        wave = total.flatten(1) * (2 / overlap)  # squared sqrt-Hann windows add up to overlap / 2
        return wave[:, self.margin : self.margin + n_steps * self.config.hop_length]

    def decode_latent(self, latent: Tensor) -> Tensor:
        return self.synthesize(self.decoder(latent))

    def encode(self, wave: Tensor, n_codebooks: int | None = None) -> Tensor:
        """Codes [B, K, T] (int64)."""
        return self.quantizer.encode(self.encode_latent(wave), n_codebooks)

    def decode(self, codes: Tensor) -> Tensor:
        """Wave [B, T * hop_length]; fewer than all codebooks may be given."""
        return self.decode_latent(self.quantizer.decode(codes))


def save_codec(codec: Codec, path: str) -> None:
    """Weights and sizes in one file."""
    torch.save({"config": asdict(codec.config), "weights": codec.state_dict()}, path)


def load_codec(path: str) -> Codec:
    """Read what `save_codec` wrote."""
    data = torch.load(path, map_location="cpu", weights_only=True)
    codec = Codec(CodecConfig(**data["config"]))
    codec.load_state_dict(data["weights"])
    return codec.eval()
