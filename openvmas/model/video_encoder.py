"""The video encoder: frame features (a few a second) and event curves (50 a second) → a condition per codec step.

Two rates go in. Features of single frames are pooled to one token each and meet in windows of time; a few global
tokens read every frame and are read by every window (Longformer, Beltagy et al. 2020; ETC, Ainslie et al. 2020), so
cost is linear in the number of frames. Rotary angles are taken from seconds (Su et al. 2021), so that the weights mean
the same at any length. Motion curves go through a narrow convolution. Out come a condition for every codec step, added
to the decoder's, and one embedding of the whole. `kind` chooses simpler encoders with the same interface, to compare.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.model.decoder import normalize, rotate
from openvmas.model.meaning import StatedEmbedding
from openvmas.settings import CONTROL_RATE

KINDS = ("encoder", "joint", "linear", "mean")
PICTURE_CURVES = ("accents", "energy", "novelty", "motion")
SHORTEST, LONGEST = 0.5, 64.0  # s: periods of the rotary angles


@dataclass(frozen=True)
class VideoEncoderConfig:
    """Sizes of a video encoder; they travel inside its checkpoint.

    kind: "encoder"; for comparison "joint" (attention over all tokens of all frames), "linear" (each frame alone) and
    "mean" (average of all frames).
    """

    kind: str = "encoder"
    feature_width: int = 1280
    n_pooled: int = 1  # tokens per frame that come in, P
    n_curves: int = len(PICTURE_CURVES)
    fps: float = 2.0  # frames per second of the features
    curve_rate: float = 50.0  # values per second of the curves
    width: int = 192
    n_layers: int = 4
    n_heads: int = 4
    hidden: int = 512
    window: int = 8  # frames that a frame sees to each side
    n_globals: int = 8
    motion_width: int = 32
    motion_kernel: int = 25  # steps; three in a row see +-0.7 s
    out_width: int = 448  # of the decoder
    embedding: int = 128
    is_gated: bool = False  # whether `steps` begin at zero, with a learned gain for every channel
    n_axes: int = 0  # axes that are stated of every frame, from which the embedding is made then


VIDEO_PRESETS = {
    "mini": VideoEncoderConfig(),
    "base": VideoEncoderConfig(
        width=512, n_layers=6, n_heads=8, hidden=1408, n_globals=16, motion_width=64, out_width=1024, embedding=256,
    ),
    "large": VideoEncoderConfig(
        width=768, n_layers=8, n_heads=12, hidden=2048, n_globals=16, motion_width=96, out_width=1536, embedding=512,
    ),
    "small": VideoEncoderConfig(width=96, n_layers=2, hidden=256, out_width=128, embedding=64),
    "debug": VideoEncoderConfig(
        feature_width=16, width=32, n_layers=2, n_heads=2, hidden=48, window=3, n_globals=2, motion_width=8,
        motion_kernel=5, out_width=32, embedding=16,
    ),
}  # fmt: skip


class Encoded(NamedTuple):
    """Output of a video encoder.

    steps [B, T, out_width] at CONTROL_RATE; embedding [B, E] of length 1; motion [B, T, motion_width]: states of the
    curves alone, for timed embeddings.
    """

    steps: Tensor
    embedding: Tensor
    motion: Tensor


class MotionBranch(nn.Module):
    """Curves [B, M, C] at curve_rate → states [B, T, motion_width] at CONTROL_RATE, over the same span."""

    def __init__(self, config: VideoEncoderConfig) -> None:
        super().__init__()
        width, kernel = config.motion_width, config.motion_kernel
        self.stretch = float(CONTROL_RATE) / config.curve_rate
        self.first = nn.Conv1d(config.n_curves, width, kernel, padding=kernel // 2)
        self.deep = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width) for _ in range(2))
        self.mix = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(2))

    def forward(self, curves: Tensor) -> Tensor:
        if self.stretch != 1:
            n_steps = round(curves.shape[1] * self.stretch)
            places = torch.arange(n_steps, device=curves.device) / self.stretch
            curves = read_at(curves, places.expand(len(curves), -1), curves.new_full((len(curves),), curves.shape[1]))
        x = F.gelu(self.first(curves.transpose(1, 2)))
        for deep, mix in zip(self.deep, self.mix, strict=True):
            x = x + mix(F.gelu(deep(x)))
        return x.transpose(1, 2)


def read_at(values: Tensor, places: Tensor, counts: Tensor) -> Tensor:
    """Linear interpolation: values [B, F, D] at fractional indices places [B, T] → [B, T, D].

    counts [B]: how many values are valid; beyond the first and last valid one those two go on.
    """
    places = torch.minimum(places, (counts[:, None] - 1).to(places.dtype)).clamp_min(0)
    low = places.floor().long()
    high = torch.minimum(low + 1, (counts[:, None] - 1).long().clamp_min(0))
    rows = torch.arange(len(values), device=values.device)[:, None]
    share = (places - low).to(values.dtype)[..., None]
    return torch.lerp(values[rows, low], values[rows, high], share)


def mean_around(states: Tensor, n_frames: int, fps: float) -> Tensor:
    """Mean of states [B, T, d] (CONTROL_RATE) over half a frame before and after each frame: [B, n_frames, d]."""
    length = states.shape[1]
    total = F.pad(states.float().cumsum(1), (0, 0, 1, 0))
    frames = torch.arange(n_frames, device=states.device)
    step = float(CONTROL_RATE) / fps
    low = ((frames - 0.5) * step).round().long().clamp(0, length - 1)
    high = torch.maximum(((frames + 0.5) * step).round().long().clamp(0, length), low + 1)
    return ((total[:, high] - total[:, low]) / (high - low)[:, None]).to(states.dtype)


class FramePool(nn.Module):
    """P tokens of a frame → one: each group of channels is averaged with learned weights. [B, F, P, W] → [B, F, W]."""

    def __init__(self, width: int, n_groups: int = 4) -> None:
        super().__init__()
        self.n_groups = n_groups
        self.to_weights = nn.Linear(width, n_groups)
        nn.init.zeros_(self.to_weights.weight)

    def forward(self, features: Tensor) -> Tensor:
        if features.shape[2] == 1:
            return features[:, :, 0]
        weights = self.to_weights(features).softmax(2)
        return (features.unflatten(-1, (self.n_groups, -1)) * weights[..., None]).sum(2).flatten(2)


class TimeLayer(nn.Module):
    """Pre-norm attention and SwiGLU over G global tokens and N tokens with times.

    window None: every token sees all (then G may be 0). Else N tokens see `window` neighbours to each side and the
    globals, and the globals see all.
    """

    def __init__(self, config: VideoEncoderConfig, window: int | None) -> None:
        super().__init__()
        self.n_heads, self.head_width, self.window = config.n_heads, config.width // config.n_heads, window
        self.to_qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.to_out = nn.Linear(config.width, config.width, bias=False)
        self.to_hidden = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.from_hidden = nn.Linear(config.hidden, config.width, bias=False)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.from_hidden.weight)

    def forward(self, x: Tensor, n_globals: int, angles: tuple[Tensor, Tensor], valid: Tensor) -> Tensor:
        """x [B, G + N, width]; angles: cosine and sine [N, head_width / 2]; valid [B, N] bool."""
        q, k, v = self.to_qkv(normalize(x)).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = normalize(q), normalize(k)
        q_time, k_time = (rotate(part[:, :, n_globals:], *angles).to(v.dtype) for part in (q, k))
        v_time = v[:, :, n_globals:]
        if self.window is None:
            attended = F.scaled_dot_product_attention(q_time, k_time, v_time, attn_mask=valid[:, None, None])
        else:
            shared_k, shared_v = k[:, :, :n_globals], v[:, :, :n_globals]
            near = attend_near(q_time, k_time, v_time, shared_k.to(v.dtype), shared_v, valid, self.window)
            # The globals ask what there is, not when: their keys carry no angle.
            seen = F.pad(valid, (n_globals, 0), value=True)[:, None, None]
            scores = (q[:, :, :n_globals] @ k.transpose(-1, -2)) * self.head_width**-0.5
            scores = scores + (~seen).to(scores.dtype) * -1e9
            attended = torch.cat([scores.softmax(-1).to(v.dtype) @ v, near], dim=2)
        x = x + self.to_out(attended.transpose(1, 2).flatten(2))
        gate, value = self.to_hidden(normalize(x)).chunk(2, dim=-1)
        return x + self.from_hidden(F.silu(gate) * value)


def attend_near(
    q: Tensor, k: Tensor, v: Tensor, shared_k: Tensor, shared_v: Tensor, valid: Tensor, window: int
) -> Tensor:
    """Attention of each of N tokens over those at most `window` away and over G shared ones.

    q, k, v [B, H, N, d]; shared_k, shared_v [B, H, G, d]; valid [B, N] bool: which may be seen → [B, H, N, d].
    Blocks of `window` queries against three blocks of keys, so that cost grows linearly with N.
    """
    length, width = q.shape[2:]
    n_blocks = (length + window - 1) // window  # not -(-n // m): ONNX rounds towards zero
    room = n_blocks * window - length
    q = F.pad(q, (0, 0, 0, room)).unflatten(2, (n_blocks, window))
    keys, values = (
        torch.cat([blocks[:, :, :-2], blocks[:, :, 1:-1], blocks[:, :, 2:]], dim=3)
        for blocks in (F.pad(x, (0, 0, window, room + window)).unflatten(2, (n_blocks + 2, window)) for x in (k, v))
    )
    lit = F.pad(valid, (window, room + window)).unflatten(1, (n_blocks + 2, window))
    seen = torch.cat([lit[:, :-2], lit[:, 1:-1], lit[:, 2:]], dim=2)[:, None, :, None]
    index = torch.arange(3 * window, device=q.device)
    distance = (index - window - index[:window, None]).abs()
    is_hidden = ~seen | (distance > window)
    near = q @ keys.transpose(-1, -2) * width**-0.5 + is_hidden.to(q.dtype) * -1e9
    shared = q @ shared_k.transpose(-1, -2)[:, :, None] * width**-0.5
    weights = torch.cat([near, shared], dim=-1).softmax(-1).to(q.dtype)
    attended = weights[..., : 3 * window] @ values + weights[..., 3 * window :] @ shared_v[:, :, None]
    return attended.flatten(2, 3)[:, :, :length]


def angles_at(times: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [N, head_width / 2] of rotary angles at times [N], s."""
    half = head_width // 2
    share = torch.arange(half, device=times.device, dtype=torch.float32) / max(half - 1, 1)
    angle = times[:, None].float() * (2 * torch.pi / SHORTEST) * (SHORTEST / LONGEST) ** share
    return angle.cos(), angle.sin()


class VideoEncoder(nn.Module):
    """Features of frames and motion curves → `Encoded`."""

    def __init__(self, config: VideoEncoderConfig) -> None:
        super().__init__()
        if config.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {config.kind}")
        self.config = config
        self.motion = MotionBranch(config)
        self.pool = FramePool(config.feature_width)
        self.features_in = nn.Linear(config.feature_width, config.width)
        self.motion_in = nn.Linear(config.motion_width, config.width)
        self.no_features = nn.Parameter(torch.zeros(config.width))
        is_deep = config.kind in ("encoder", "joint")
        window = config.window if config.kind == "encoder" else None
        self.layers = nn.ModuleList(TimeLayer(config, window) for _ in range(config.n_layers * is_deep))
        n_slots = {"encoder": config.n_globals, "joint": config.n_pooled}.get(config.kind, 0)
        self.slots = nn.Parameter(torch.randn(n_slots, config.width) * 0.5)  # the globals, or the places in a frame
        self.frames_out = nn.Linear(config.width, config.out_width)
        self.motion_out = nn.Linear(config.motion_width, config.out_width)
        if config.n_axes:
            self.stated = StatedEmbedding(config.feature_width, config.n_axes, config.embedding)
        else:
            self.to_embedding = nn.Linear(config.width, config.embedding)
        # A zero gain leaves a trained decoder as it is until there is something to add (ReZero, Bachlechner 2020).
        self.gate = nn.Parameter(torch.zeros(config.out_width)) if config.is_gated else None

    def shut_out_motion(self) -> None:
        """Let steps and embedding depend on features alone, for good; states of the curves are told as before."""
        for layer in (self.motion_in, self.motion_out):
            for parameter in layer.requires_grad_(False).parameters():
                parameter.zero_()

    def forward(
        self, features: Tensor, curves: Tensor, n_frames: Tensor | None = None, has_features: Tensor | None = None,
        axes: Tensor | None = None,
    ) -> Encoded:  # fmt: skip
        """features [B, F, W] or [B, F, P, W] at fps; curves [B, M, C] at curve_rate, of the same span.

        n_frames [B]: how many frames are valid (default F). has_features [B] of 0 or 1 (default 1): 0 where there are
        only curves, as for music without a picture. axes [B, F, n_axes]: stated of the frames (default neutral).
        """
        if features.ndim == 3:
            features = features[:, :, None]
        batch, count = features.shape[:2]
        if n_frames is None:
            n_frames = torch.full((batch,), count, device=features.device)
        if has_features is None:
            has_features = features.new_ones(batch)
        motion = self.motion(curves)
        moved = self.motion_in(mean_around(motion, count, self.config.fps))
        valid = torch.arange(count, device=features.device) < n_frames[:, None]
        x, summary = self.mix(features, moved, valid, has_features)
        places = torch.arange(motion.shape[1], device=features.device) * (self.config.fps / float(CONTROL_RATE))
        steps = read_at(self.frames_out(normalize(x)), places.expand(batch, -1), n_frames) + self.motion_out(motion)
        if self.gate is not None:
            steps = self.gate * steps
        if self.config.n_axes:
            if axes is None:
                axes = features.new_zeros(batch, count, self.config.n_axes)
            embedding = self.stated(features.mean(2), axes, valid)
        else:
            embedding = F.normalize(self.to_embedding(normalize(summary)).float(), dim=-1)
        return Encoded(steps, embedding, motion)

    def mix(self, features: Tensor, moved: Tensor, valid: Tensor, has_features: Tensor) -> tuple[Tensor, Tensor]:
        """features [B, F, P, W], moved [B, F, width], valid [B, F] → frames [B, F, width] and summary [B, width]."""
        config = self.config
        has = has_features[:, None, None]
        times = torch.arange(valid.shape[1], device=valid.device) / config.fps
        if config.kind == "joint":
            frames_in = self.features_in(features) * has[..., None] + (1 - has[..., None]) * self.no_features
            n_tokens = features.shape[2]
            x = (frames_in + moved[:, :, None] + self.slots[:n_tokens]).float().flatten(1, 2)
            angles = angles_at(times.repeat_interleave(n_tokens), config.width // config.n_heads)
            for layer in self.layers:
                x = layer(x, 0, angles, valid.repeat_interleave(n_tokens, dim=1))
            x = x.unflatten(1, (-1, n_tokens)).mean(2)
            return x, mean_of(x, valid)
        # What layers add to stays in fp32, whatever autocast does inside them.
        x = (self.features_in(self.pool(features)) * has + (1 - has) * self.no_features + moved).float()
        if config.kind == "encoder":
            angles = angles_at(times, config.width // config.n_heads)
            x = torch.cat([self.slots.expand(len(x), -1, -1), x], dim=1)
            for layer in self.layers:
                x = layer(x, config.n_globals, angles, valid)
            return x[:, config.n_globals :], normalize(x[:, : config.n_globals]).mean(1)
        if config.kind == "mean":
            x = mean_of(x, valid)[:, None].expand_as(x)
        return x, mean_of(F.gelu(x), valid)


def mean_of(x: Tensor, valid: Tensor) -> Tensor:
    """Mean of x [B, F, d] over valid [B, F]: [B, d]."""
    weight = valid[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp_min(1)


def save_video_encoder(encoder: VideoEncoder, path: str) -> None:
    """Weights and sizes in one file."""
    torch.save({"config": asdict(encoder.config), "weights": encoder.state_dict()}, path)


def load_video_encoder(path: str) -> VideoEncoder:
    """Read what `save_video_encoder` wrote."""
    data = torch.load(path, map_location="cpu", weights_only=True)
    encoder = VideoEncoder(VideoEncoderConfig(**data["config"]))
    encoder.load_state_dict(data["weights"])
    return encoder.eval()
