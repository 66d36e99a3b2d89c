"""ImageBind (Girdhar et al. 2023, arXiv:2305.05665): sound and pictures in one space of 1,024 numbers.

Weights: `imagebind_huge.pth` of facebookresearch/ImageBind (CC BY-NC-SA 4.0: not for commercial use). Of its six towers
those for sound and pictures are built here (720 M of 1.2 B parameters). It encodes next to nothing of rhythm
(Diff-V2M): its similarity is semantic.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.hub.audio_transformer import Block, kaldi_fbank, kaldi_mel_bank
from openvmas.hub.sound_windows import Adapter, State, load, no_logits
from openvmas.hub.vision import Preparation

SAMPLE_RATE, MELS, FRAMES = 16_000, 128, 204
AUDIO_MEAN, AUDIO_STD = -4.268, 9.138
PICTURE_MEAN, PICTURE_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
GROUPS, TOWERS = ("modality_preprocessors", "modality_trunks", "modality_heads"), ("vision", "audio")


@dataclass(frozen=True)
class ImageBindSizes:
    """picture: side of a prepared picture, px; patch: of its patches."""

    out: int = 1024
    vision: tuple[int, int, int] = (1280, 32, 16)  # width, layers, heads
    audio: tuple[int, int, int] = (768, 12, 12)
    picture: int = 224
    patch: int = 14


class Stem(nn.Module):
    """Patches with places behind a class token. proj: the convolution; has_norm: a norm after it."""

    def __init__(self, proj: nn.Module, width: int, n_patches: int, has_norm: bool) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.rgbt_stem = nn.ModuleDict({"proj": proj})
        if has_norm:
            self.rgbt_stem["norm_layer"] = nn.LayerNorm(width)
        self.pos_embedding_helper = nn.ParameterDict({"pos_embed": torch.zeros(1, n_patches + 1, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.rgbt_stem["proj"](x).flatten(2).transpose(1, 2)
        if "norm_layer" in self.rgbt_stem:
            x = self.rgbt_stem["norm_layer"](x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        return x + self.pos_embedding_helper["pos_embed"]


class Trunk(nn.Module):
    def __init__(self, width: int, n_layers: int, n_heads: int, is_vision: bool) -> None:
        super().__init__()
        self.pre_transformer_layer = nn.Sequential(nn.LayerNorm(width, eps=1e-6) if is_vision else nn.Identity())
        self.blocks = nn.Sequential(*(Block(width, n_heads, not is_vision) for _ in range(n_layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.pre_transformer_layer(x))


class ImageBindNetwork(nn.Module):
    """Two towers, with the names of the published state dict."""

    def __init__(self, sizes: ImageBindSizes) -> None:
        super().__init__()
        widths = {"vision": sizes.vision[0], "audio": sizes.audio[0]}
        kernel = (2, sizes.patch, sizes.patch)
        # Published as the second of two layers; the first repeats a picture to make two frames of it.
        picture = nn.Sequential(nn.Identity(), nn.Conv3d(3, widths["vision"], kernel, kernel, bias=False))
        sound = nn.Conv2d(1, widths["audio"], 16, 10, bias=False)
        n_patches = (sizes.picture // sizes.patch) ** 2, ((MELS - 16) // 10 + 1) * ((FRAMES - 16) // 10 + 1)
        stems = {
            "vision": Stem(picture, widths["vision"], n_patches[0], False),
            "audio": Stem(sound, widths["audio"], n_patches[1], True),
        }
        self.modality_preprocessors = nn.ModuleDict(stems)
        trunks = {"vision": Trunk(*sizes.vision, True), "audio": Trunk(*sizes.audio, False)}
        self.modality_trunks = nn.ModuleDict(trunks)
        heads = {
            name: nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.Identity(), nn.Linear(width, sizes.out, bias=False))
            for name, width in widths.items()
        }
        self.modality_heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor, tower: str) -> Tensor:
        """Prepared pictures [B, 3, 2, H, W] or spectra [B, 1, 128, 204] → [B, out] of length 1."""
        x = self.modality_trunks[tower](self.modality_preprocessors[tower](x))
        return F.normalize(self.modality_heads[tower](x[:, 0]), dim=-1)


def imagebind_spectra(wave: Tensor) -> Tensor:
    """Waves [B, L] of about 2 s at 16 kHz → [B, 1, 128, 204]."""
    bank = kaldi_mel_bank(512, SAMPLE_RATE, MELS, 20.0, SAMPLE_RATE / 2)
    frames = kaldi_fbank(wave - wave.mean(-1, keepdim=True), bank, SAMPLE_RATE).transpose(1, 2)[..., :FRAMES]
    return ((F.pad(frames, (0, FRAMES - frames.shape[-1])) - AUDIO_MEAN) / AUDIO_STD)[:, None]


def two_towers(state: State) -> State:
    """The part of a state dict of all six towers that is for sound and pictures."""
    kept = tuple(f"{group}.{tower}." for tower in TOWERS for group in GROUPS)
    return {key: value for key, value in state.items() if key.startswith(kept)}


class ImageBind(Adapter):
    """Sound: 2 s every second. Pictures: one at a time, the middle of each."""

    sample_rate = SAMPLE_RATE
    span, hop = 2.0, 1.0

    @classmethod
    def open(cls, path: str | Path, sizes: ImageBindSizes | None = None) -> ImageBind:
        name = "ImageBind (imagebind_huge.pth)"
        return cls(load(lambda: ImageBindNetwork(sizes or ImageBindSizes()), path, name, two_towers), batch=4)

    def forward_windows(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network(imagebind_spectra(windows.to(self.device)), "audio")
        return found, no_logits(found)

    def embed_pictures(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings of length 1 of pictures [F, h, w, 3] uint8 RGB: [F, D]."""
        stem = self.network.modality_preprocessors["vision"]
        patch = stem.rgbt_stem["proj"][1].kernel_size[1]
        side = patch * round((stem.pos_embedding_helper["pos_embed"].shape[1] - 1) ** 0.5)
        prepare = Preparation(side, None, (side, side), "bicubic", PICTURE_MEAN, PICTURE_STD, 1 / 255)
        found = []
        for part in torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).split(self._batch):
            frames = prepare(part).to(self.device)[:, :, None].expand(-1, -1, 2, -1, -1)
            found.append(self.network(frames, "vision").cpu().numpy())
        return np.concatenate(found)

    def similarity(self, pictures: np.ndarray, wave: np.ndarray, sample_rate: int) -> float:
        """Cosine of the mean embeddings of pictures [F, h, w, 3] and a mono wave [L]: the ImageBind score, [-1, 1]."""
        seen, heard = self.embed_pictures(pictures).mean(0), self.embed(wave, sample_rate).embeddings.mean(0)
        return float(seen @ heard / (np.linalg.norm(seen) * np.linalg.norm(heard)))
