"""Hiera, CLIP and SigLIP from a local folder as a frozen backbone, in place of the one that ships.

Hiera (Ryali et al. 2023, arXiv:2306.00989) is what VMAS looks with; CLIP (Radford et al. 2021), SigLIP (Zhai et al.
2023). Training and measuring only: what scores a video never loads PyTorch. Pictures are prepared here, as
`preprocessor_config.json` says, because the processors of `transformers` may want torchvision.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openvmas.errors import ModelError
from openvmas.media.video import FrameRequest, probe, read_frames

if TYPE_CHECKING:
    from torch import Tensor  # loaded where it computes: `hub.eyes` prepares pictures without it

CLASSES = {
    "hiera": "HieraModel",
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
}
RESAMPLING = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class Preparation:
    """Preprocessing of pictures. shortest or size: of the resized picture; crop: (height, width) from its middle."""

    shortest: int | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    resampling: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that a picture is resized to."""
        if self.size:
            return self.size
        if not self.shortest:
            return height, width
        short, long = min(height, width), max(height, width)
        other = int(self.shortest * long / short)
        return (self.shortest, other) if height <= width else (other, self.shortest)

    def cut(self, pictures: np.ndarray) -> np.ndarray:
        """Crop and scale resized pictures: [F, h, w, 3] uint8 → [F, 3, H, W] float32."""
        if self.crop:
            (h, w), (height, width) = pictures.shape[1:3], self.crop
            missing = max(height - h, 0), max(width - w, 0)
            sides = [(gap // 2, -(-gap // 2)) for gap in missing]
            pictures = np.pad(pictures, ((0, 0), *sides, (0, 0)))
            top, left = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
            pictures = pictures[:, top : top + height, left : left + width]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        scaled = (pictures.astype(np.float32) * np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def __call__(self, pictures: Tensor) -> Tensor:
        """pictures [F, 3, h, w] uint8 → [F, 3, H, W] float32."""
        import torch
        from torch.nn.functional import interpolate

        target = self.resized(pictures.shape[2], pictures.shape[3])
        smooth = self.resampling != "nearest-exact"
        # Across, then down, rounded to 8 bits each time: so Pillow does it, with which the models were trained.
        for size in ((pictures.shape[2], target[1]), target):
            if size != tuple(pictures.shape[2:]):
                resized = interpolate(pictures.float(), size, mode=self.resampling, antialias=smooth)
                pictures = resized.round().clamp(0, 255).byte()
        return torch.from_numpy(self.cut(pictures.permute(0, 2, 3, 1).numpy()))


def read_preparation(folder: Path) -> Preparation:
    """From `preprocessor_config.json` of a folder. Raises ModelError."""
    path = folder / "preprocessor_config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = found.get("image_processor", found)
        # What a setting defaults to differs from model to model, so nothing is assumed: saved folders hold them all.
        size = found["size"] if found.get("do_resize", True) else {}
        size = {"shortest_edge": size} if isinstance(size, int) else size
        crop = found["crop_size"] if found.get("do_center_crop", False) else {}
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        normalizes = found.get("do_normalize", True)
        return Preparation(
            shortest=size.get("shortest_edge"),
            size=(size["height"], size["width"]) if "height" in size else None,
            crop=(crop["height"], crop["width"]) if crop else None,
            resampling=RESAMPLING[int(found.get("resample", 2))],
            mean=tuple(found["image_mean"]) if normalizes else (0.0,) * 3,
            std=tuple(found["image_std"]) if normalizes else (1.0,) * 3,
            scale=float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1.0,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} does not say how to prepare pictures; download the whole folder again.") from error


class HubBackbone:
    """A frozen vision model.

    n_pooled: tokens per picture, P. 1: the model's own summary of the picture (CLIP's class token, SigLIP's attention
    pooling, Hiera's normalised mean). 4, 9, ...: means of its patches over a grid of 2 x 2, 3 x 3, ... fields, row by
    row. width: of a token, W. Raises ModelError if the folder cannot be used.
    """

    def __init__(self, folder: str | Path, n_pooled: int = 1, device: str = "cpu") -> None:
        from openvmas.hub.checkpoint_files import load_pretrained, read_config

        folder, side = Path(folder), math.isqrt(max(n_pooled, 0))
        if n_pooled < 1 or side * side != n_pooled:
            raise ValueError(f"n_pooled must be 1, 4, 9, ..., not {n_pooled}")
        self.kind = str(read_config(folder, tuple(CLASSES))["model_type"])
        self.prepare = read_preparation(folder)
        self.model = load_pretrained(folder, CLASSES).to(device)
        self.n_pooled, self.device = n_pooled, device
        config = self.model.config
        self.width = int(config.hidden_size)

    def see(self, pictures: np.ndarray, batch: int = 8) -> np.ndarray:
        """Look at pictures: [F, h, w, 3] uint8 RGB → features [F, P, W] float32."""
        if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
            raise ValueError(f"pictures must be [F, h, w, 3] uint8, not {pictures.shape} {pictures.dtype}")
        import torch

        features = np.zeros((len(pictures), self.n_pooled, self.width), np.float32)
        for start in range(0, len(pictures), batch):
            part = torch.from_numpy(np.ascontiguousarray(pictures[start : start + batch])).permute(0, 3, 1, 2)
            with torch.no_grad():
                features[start : start + batch] = self._features(self.prepare(part).to(self.device)).cpu().numpy()
        return features

    def _features(self, pixels: Tensor) -> Tensor:
        """Prepared pictures [F, 3, H, W] → [F, P, W]."""
        is_hiera = self.kind == "hiera"
        found = self.model(pixels, output_hidden_states=is_hiera)
        if self.n_pooled == 1:
            return found.pooler_output[:, None]
        if is_hiera:  # its last hidden state may be in the order of mask units; this one is in that of the picture
            grid = found.reshaped_hidden_states[-1].permute(0, 3, 1, 2)
        else:
            patches = found.last_hidden_state[:, 1 if self.kind.startswith("clip") else 0 :].transpose(1, 2)
            patch = self.model.config.patch_size
            grid = patches.unflatten(2, (pixels.shape[2] // patch, pixels.shape[3] // patch))
        from torch.nn.functional import adaptive_avg_pool2d

        return adaptive_avg_pool2d(grid, math.isqrt(self.n_pooled)).flatten(2).transpose(1, 2)

    def watch(self, path: str | Path, fps: Fraction) -> tuple[np.ndarray, np.ndarray]:
        """Times [F], s, and features [F, P, W] of a video's frames at fps: what `VideoEncoder` takes.

        Frames are scaled by the video reader to the size that the model wants, so that few pixels pass through memory.
        """
        info = probe(path)
        height, width = self.prepare.resized(info.height, info.width)
        request = FrameRequest(fps, (width, height))
        chunks = [(chunk.times, self.see(chunk.frames)) for chunk in read_frames(path, [request], info=info, chunk=32)]
        times, features = zip(*chunks, strict=True)
        return np.concatenate(times), np.concatenate(features)
