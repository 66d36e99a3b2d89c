"""From a joint run's checkpoints to ONNX: what a picture tells the decoder, and how picture and music are compared.

`video_encoder.onnx` (features and curves of a span → one vector per codec step, an embedding, and one vector per
moment) and `music_embedding.onnx` (tokens of a span → the last two of the music, by a decoder that is told nothing).
Both are for spans about as long as a clip in training; `generate.picture_encoder` and `generate.similarity` cut
longer ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openvmas.errors import ModelError
from openvmas.model.alignment import MusicEmbedding, Temperature, TimedEmbedding, TimedMusic, unconditioned_hidden
from openvmas.model.decoder import Decoder, load_decoder
from openvmas.model.video_encoder import VideoEncoder, load_video_encoder
from openvmas.pretrained import find_weights, hash_file
from openvmas.train.export.onnx_files import compress, export_graph

VIDEO_FILES = {"video_encoder": "video_encoder.onnx"}
JOINT_FILES = {**VIDEO_FILES, "music_embedding": "music_embedding.onnx"}
MOMENTS = {1: "moments"}
SPAN = 576  # codec steps of a clip in training (JointRecipe.steps_per_crop)


def moments_of(timed: TimedEmbedding, states: Tensor) -> Tensor:
    """What `TimedEmbedding` makes one long vector of: states [B, S, D] → [B, S // EVERY, E]."""
    return timed.read(states.transpose(1, 2)).transpose(1, 2)


class VideoSide(nn.Module):
    """features [1, F, W], curves [1, T, C] → steps [1, T, D], embedding [1, E], moments [1, T // EVERY, E']."""

    def __init__(self, encoder: VideoEncoder, timed: TimedEmbedding) -> None:
        super().__init__()
        self.encoder, self.timed = encoder, timed

    def forward(self, features: Tensor, curves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.encoder(features, curves)
        return seen.steps, seen.embedding, moments_of(self.timed, seen.motion)


class MusicSide(nn.Module):
    """tokens [1, K, S] after the delay pattern → embedding [1, E], moments [1, S // EVERY, E']."""

    def __init__(self, decoder: Decoder, music: MusicEmbedding, timed: TimedMusic) -> None:
        super().__init__()
        self.decoder, self.music, self.timed = decoder, music, timed

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        hidden = unconditioned_hidden(self.decoder, tokens)
        onsets = self.timed.read(hidden).sigmoid()
        return self.music(hidden), moments_of(self.timed.embed, onsets[..., None])


def load_sides(run: Path) -> tuple[VideoSide, MusicSide, dict[str, float]]:
    """Both sides of a joint run, and the inverse temperatures of their comparisons."""
    for name in ("decoder.pt", "video_encoder.pt", "alignment.pt"):
        if not (run / name).is_file():
            raise ModelError(f"{run} has no {name}; give the folder of a finished run of joint training.")
    decoder, encoder = load_decoder(str(run / "decoder.pt")), load_video_encoder(str(run / "video_encoder.pt"))
    parts = torch.load(run / "alignment.pt", map_location="cpu", weights_only=True)
    n, width = parts["video_timed"]["read.weight"].shape[:2]
    video_timed = TimedEmbedding(width, n)
    inner, width, kernel = parts["music_timed"]["first.weight"].shape
    music, music_timed = MusicEmbedding(**parts["config"]), TimedMusic(width, n, inner, kernel)
    scales = {"temperature": Temperature(), "timed_temperature": Temperature()}
    modules = {"music": music, "video_timed": video_timed, "music_timed": music_timed, **scales}
    for name, module in modules.items():
        module.load_state_dict(parts[name])
    video, heard = VideoSide(encoder, video_timed).eval(), MusicSide(decoder, music, music_timed).eval()
    return video, heard, {name: round(scale().item(), 4) for name, scale in scales.items()}


def export_sides(run: Path, folder: Path, codes_of: Path, span: int = SPAN, bits: int = 8) -> dict[str, Any]:
    """Write JOINT_FILES; returns what the manifest says about them.

    codes_of: the codebooks of the codec whose codes the run's decoder read. span: steps of a clip in training.
    bits: 32 keeps fp32.
    """
    video, music, scales = load_sides(run)
    sizes, n_steps = export_video(video, folder, span, bits), 96
    tokens = torch.zeros(1, music.decoder.config.n_codebooks, n_steps, dtype=torch.long)
    export_graph(
        music, {"tokens": tokens}, ["embedding", "moments"], {"tokens": {2: "steps"}, "moments": MOMENTS},
        folder / JOINT_FILES["music_embedding"],
    )  # fmt: skip
    if bits < 32:
        compress(folder / JOINT_FILES["music_embedding"], folder / JOINT_FILES["music_embedding"])
    return {
        **sizes,
        "alignment": {
            **scales,
            "n_codebooks": music.decoder.config.n_codebooks,
            "codebook_size": music.decoder.config.codebook_size,
            "codebooks_sha256": hash_file(codes_of),
        },
    }


def export_video(video: VideoSide, folder: Path, span: int = SPAN, bits: int = 8) -> dict[str, Any]:
    """Write VIDEO_FILES; returns what the manifest says about them. span, bits: as for `export_sides`."""
    config, path = video.encoder.config, folder / VIDEO_FILES["video_encoder"]
    n_frames = max(round(span * config.fps / 50), 2)
    export_graph(
        video,
        {"features": torch.zeros(1, n_frames, config.feature_width), "curves": torch.zeros(1, span, config.n_curves)},
        ["steps", "embedding", "moments"],
        {"features": {1: "frames"}, "curves": {1: "steps"}, "steps": {1: "steps"}, "moments": MOMENTS},
        path,
    )
    if bits < 32:
        compress(path, path)
    return {
        "video": {"fps": config.fps, "feature_width": config.feature_width, "width": config.out_width, "span": span}
    }


def codebooks_of(name_or_path: str | Path) -> Path:
    """The codebooks of a model."""
    return find_weights(name_or_path).file("codebooks")
