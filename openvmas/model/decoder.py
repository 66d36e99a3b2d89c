"""The decoder: a causal Transformer over delayed codes, conditioned at every step on what the picture does and means.

Attention is windowed, so cost grows linearly and a stream can run for ever: most layers see the last `narrow` steps,
every third sees the last `wide` ones (the pattern of Gemma 2, 2024). Rotary positions (Su et al. 2021), grouped-query
attention (Ainslie et al. 2023) so that the cache is small, RMS norms before each part and on queries and keys (their
gains would fold into the next matrix and are left out), SwiGLU. The condition is added before every layer with a gain
of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.condition import AXES, CURVES


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder; they travel inside its checkpoint."""

    n_codebooks: int = 4  # of the codec's: the others add little and are hard to predict (docs/LOG.md)
    codebook_size: int = 1024
    width: int = 448
    n_layers: int = 8
    n_heads: int = 4
    n_groups: int = 2  # heads of keys and values
    hidden: int = 1216
    narrow: int = 96  # steps that most layers see, themselves included
    wide: int = 384  # steps that every third layer sees
    n_curves: int = len(CURVES)
    n_axes: int = len(AXES)
    curve_kernel: int = 41  # steps: what the condition sees of past and future, +-0.4 s at 50 Hz

    @property
    def head_width(self) -> int:
        return self.width // self.n_heads

    @property
    def wide_layers(self) -> tuple[int, ...]:
        """Indices of the layers with the wide window."""
        return tuple(range(2, self.n_layers, 3))

    def window(self, layer: int) -> int:
        """Number of steps that a layer attends to, the current one included."""
        return self.wide if layer in self.wide_layers else self.narrow


DECODER_PRESETS = {
    "mini": DecoderConfig(),
    "base": DecoderConfig(  # about 300 M: the size of MusicGen small (Copet et al. 2023)
        width=1024, n_layers=24, n_heads=16, n_groups=4, hidden=3072, narrow=128, wide=768,
    ),
    "large": DecoderConfig(  # about 1.5 B: of MusicGen medium
        width=1536, n_layers=48, n_heads=24, n_groups=6, hidden=5632, narrow=256, wide=1536,
    ),
    "small": DecoderConfig(width=128, n_layers=4, hidden=384),  # for ablations, and to compare picture and music
    "debug": DecoderConfig(codebook_size=64, width=32, n_layers=4, n_heads=2, n_groups=1, hidden=64, narrow=8, wide=24),
}  # fmt: skip


class ConditionEncoder(nn.Module):
    """Curves [B, T, n_curves] and semantics [B, T, 2 * n_axes] → [B, T, D].

    Events and meaning can be dropped independently: `use_events`, `use_meaning` [B] of 0 or 1. A dropped kind is
    replaced by a learned vector, so that guidance can be given to each. Time left, time since and energy count as
    meaning: accents, beat grid and novelty are dropped with the events.
    """

    event_curves = ("accent", "beat_cos", "beat_sin", "bar_cos", "bar_sin", "has_grid", "novelty", "tempo")

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        is_event = torch.tensor([name in self.event_curves for name in CURVES], dtype=torch.float32)
        self.is_event: Tensor
        self.register_buffer("is_event", is_event)
        self.padding = config.curve_kernel // 2
        self.events_in = nn.Conv1d(config.n_curves, config.width, config.curve_kernel)
        self.form_in = nn.Linear(config.n_curves, config.width)
        self.meaning_in = nn.Linear(2 * config.n_axes, config.width)
        self.no_events = nn.Parameter(torch.zeros(config.width))
        self.no_meaning = nn.Parameter(torch.zeros(config.width))
        self.mix = nn.Linear(config.width, config.width)

    def forward(self, curves: Tensor, semantics: Tensor, use_events: Tensor, use_meaning: Tensor) -> Tensor:
        events = F.pad((curves * self.is_event).transpose(1, 2), (self.padding, self.padding))
        e = F.gelu(self.events_in(events).transpose(1, 2))
        m = F.gelu(self.meaning_in(semantics)) + F.gelu(self.form_in(curves * (1 - self.is_event)))
        use_e, use_m = use_events[:, None, None], use_meaning[:, None, None]
        x = use_e * e + (1 - use_e) * self.no_events + use_m * m + (1 - use_m) * self.no_meaning
        return self.mix(x) + x


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions; x [..., d], cosine and sine [..., d / 2]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1)


def normalize(x: Tensor) -> Tensor:
    """x scaled to a root mean square of 1 along the last dimension."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def attend(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal attention over the last `window` steps: q, k, v [B, H, S, d] → [B, H, S, d].

    Blocks of `window` queries against their own and the previous block, so that cost grows linearly with S.
    """
    length, width = q.shape[2:]
    n_blocks = (length + window - 1) // window  # not -(-n // m): ONNX rounds towards zero
    q, k, v = (F.pad(x, (0, 0, 0, n_blocks * window - length)).unflatten(2, (n_blocks, window)) for x in (q, k, v))
    keys, values = (torch.cat([F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], dim=3) for x in (k, v))
    age = torch.arange(window, device=q.device)[:, None] + window - torch.arange(2 * window, device=q.device)
    is_hidden = (age < 0) | (age >= window)
    first = torch.arange(n_blocks, device=q.device)[:, None, None] == 0
    is_hidden = is_hidden | (first & (torch.arange(2 * window, device=q.device) < window))
    scores = (q @ keys.transpose(-1, -2)) * width**-0.5 + is_hidden.to(q.dtype) * -1e9
    return (scores.softmax(-1).to(q.dtype) @ values).flatten(2, 3)[:, :, :length]


class Layer(nn.Module):
    """Attention and perceptron, both on normalised input and added back."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.n_heads, self.n_groups, self.head_width = config.n_heads, config.n_groups, config.head_width
        self.to_qkv = nn.Linear(config.width, (config.n_heads + 2 * config.n_groups) * config.head_width, bias=False)
        self.to_out = nn.Linear(config.width, config.width, bias=False)
        self.to_hidden = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.from_hidden = nn.Linear(config.hidden, config.width, bias=False)
        self.condition_gain = nn.Parameter(torch.full((config.width,), 0.3))

    def forward(self, x: Tensor, condition: Tensor, cosine: Tensor, sine: Tensor, window: int) -> Tensor:
        """x and condition [B, S, D], of all steps at once → [B, S, D]."""
        x = x + self.condition_gain * condition
        q, k, v = self.qkv(x, cosine, sine)
        repeat = self.n_heads // self.n_groups
        k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        return self.finish(x, attend(q.to(v.dtype), k.to(v.dtype), v, window))

    def qkv(self, x: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, S, D] → queries [B, H, S, d], keys and values [B, G, S, d]."""
        heads = self.to_qkv(normalize(x)).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        q, k, v = heads.split([self.n_heads, self.n_groups, self.n_groups], dim=1)
        return rotate(normalize(q), cosine, sine), rotate(normalize(k), cosine, sine), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """x [B, S, D] and what attention gave [B, H, S, d] → [B, S, D]."""
        x = x + self.to_out(attended.transpose(1, 2).flatten(2))
        gate, value = self.to_hidden(normalize(x)).chunk(2, dim=-1)
        return x + self.from_hidden(F.silu(gate) * value)


class Decoder(nn.Module):
    """Tokens [B, K, S] and condition → logits [B, K, S, V] of the token at each step given those before it."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.codec: dict[str, Any] | None = None  # whose codes it learned (train.codec.identity), if known
        self.condition = ConditionEncoder(config)
        # One table for all codebooks; each has codebook_size entries and the empty token.
        self.embedding = nn.Embedding(config.n_codebooks * (config.codebook_size + 1), config.width)
        nn.init.normal_(self.embedding.weight, std=0.3 / config.n_codebooks**0.5)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.heads = nn.Linear(config.width, config.n_codebooks * config.codebook_size, bias=False)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            nn.init.zeros_(layer.to_out.weight)
            nn.init.zeros_(layer.from_hidden.weight)
        nn.init.normal_(self.heads.weight, std=0.02)

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens [B, K, S] → [B, S, D], the sum over codebooks."""
        size = self.config.codebook_size + 1
        offsets = torch.arange(self.config.n_codebooks, device=tokens.device)[:, None] * size
        return self.embedding(tokens + offsets).sum(1)

    def positions(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of rotary angles at positions [...]: [..., head_width / 2] each."""
        half = self.config.head_width // 2
        frequency = 10_000.0 ** (-torch.arange(half, device=index.device, dtype=torch.float32) / half)
        angle = index[..., None].float() * frequency
        return angle.cos(), angle.sin()

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """tokens [B, K, S]: the input is shifted here, step s sees tokens before s; condition [B, S, D]."""
        return self.predict(self.hidden(tokens, condition))

    def predict(self, hidden: Tensor) -> Tensor:
        """Hidden states [B, S, D], from `hidden` → logits [B, K, S, V]."""
        logits = self.heads(normalize(hidden))
        return logits.unflatten(-1, (self.config.n_codebooks, -1)).transpose(1, 2)

    def hidden(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Hidden states after the last layer [B, S, D]; arguments as in `forward`."""
        empty = torch.full_like(tokens[..., :1], self.config.codebook_size)
        x = self.embed(torch.cat([empty, tokens[..., :-1]], dim=-1))
        index = torch.arange(x.shape[1], device=x.device)
        cosine, sine = self.positions(index)
        for i, layer in enumerate(self.layers):
            x = layer(x, condition, cosine, sine, self.config.window(i))
        return x


class CachedDecoder:
    """The decoder one step at a time, over a ring of the last keys and values of every layer.

    It computes what the exported graph does (`train.export.onnx_files`), for sampling while training and as the
    reference that the graph is tested against. n: sequences side by side.
    """

    def __init__(self, decoder: Decoder, n: int, device: torch.device | str = "cpu") -> None:
        config = decoder.config
        self.decoder, self.position, self.device = decoder, 0, device
        past = [config.window(layer) - 1 for layer in range(config.n_layers)]
        shape = n, config.n_groups
        self.keys = [torch.zeros(*shape, config.head_width, slots, device=device) for slots in past]
        self.values = [torch.zeros(*shape, slots, config.head_width, device=device) for slots in past]
        # By window: 0 where a slot of the ring holds a step, so large below it elsewhere that it is not attended to.
        self.masks = {slots: torch.full((slots,), -1e9, device=device) for slots in past}

    def step(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Logits [B, K, V] after the tokens [B, K] of the last step, under the condition [B, D] of this one."""
        config = self.decoder.config
        x = self.decoder.embed(tokens[..., None])
        cosine, sine = self.decoder.positions(torch.tensor(self.position, device=self.device))
        for layer, keys, values in zip(self.decoder.layers, self.keys, self.values, strict=True):
            assert isinstance(layer, Layer)
            n_slots = keys.shape[-1]
            x = x + layer.condition_gain * condition[:, None]
            q, k, v = layer.qkv(x, cosine, sine)
            # Queries of one group share their keys: [B, G, H / G, d]. Two sums of scores instead of a longer cache.
            q = q.reshape(-1, config.n_groups, config.n_heads // config.n_groups, config.head_width)
            q = q * config.head_width**-0.5
            scores = torch.cat([q @ keys + self.masks[n_slots], q @ k.transpose(-1, -2)], dim=-1).softmax(-1)
            attended = scores[..., :-1] @ values + scores[..., -1:] * v
            x = layer.finish(x, attended.reshape(-1, config.n_heads, 1, config.head_width))
            if n_slots:
                slot = self.position % n_slots
                keys[..., slot], values[..., slot, :] = k[:, :, 0], v[:, :, 0]
        for n_slots, mask in self.masks.items():
            mask[self.position % n_slots if n_slots else 0 :][:1] = 0
        self.position += 1
        return self.decoder.heads(normalize(x))[:, 0].unflatten(-1, (config.n_codebooks, -1))


def save_decoder(decoder: Decoder, path: str) -> None:
    """Weights, sizes and the codec whose codes they are for in one file."""
    torch.save({"config": asdict(decoder.config), "weights": decoder.state_dict(), "codec": decoder.codec}, path)


def load_decoder(path: str) -> Decoder:
    """Read what `save_decoder` wrote."""
    data = torch.load(path, map_location="cpu", weights_only=True)
    decoder = Decoder(DecoderConfig(**data["config"]))
    decoder.load_state_dict(data["weights"])
    decoder.codec = data.get("codec")  # checkpoints from before 0.6 do not say
    return decoder.eval()
