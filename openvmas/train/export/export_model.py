"""From checkpoints to the files that score videos and encode sound: ONNX graphs, codebooks and a manifest.

    openvmas train export CODEC.pt DECODER.pt OUT --name mini --version 0.1
    openvmas train export CODEC.pt RUN/decoder.pt OUT --joint RUN    # with video encoder and alignment
    openvmas train export - - OUT --joint RUN --name alignment       # only those, for codes of mini
    openvmas train export CODEC.pt - OUT                # only the codec's files, into a folder that holds a model
    openvmas train export - RUN/decoder.pt OUT --joint RUN     # the others, into a folder that holds a model
    openvmas train export mini - OUT --joint RUN        # mini, and the encoder of a run that froze its decoder

`condition.onnx` (curves and meaning → one vector per step), `decoder.onnx` (one step; weights in 8-bit blocks),
`codec.onnx` (latents → spectrum frames), `codec_encoder.onnx` (compressed spectrum frames → latents) and
`codebooks.npz`. STFT, inverse STFT and quantisation are done in NumPy. Of a joint run also `video_encoder.onnx`
(features and curves of a span → one vector per codec step, an embedding, and one vector per moment) and
`music_embedding.onnx` (tokens of a span → the last two of the music, by a decoder without a condition). Both are for
spans about as long as a clip in training; `generate.picture_encoder` and `generate.similarity` cut longer ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from openvmas.codec.autoencoder import Codec, load_codec
from openvmas.codec.stream import read_codebooks
from openvmas.errors import ModelError, OptionError
from openvmas.hub.musicgen import MusicGenDecoder, open_decoder
from openvmas.model.alignment import MusicEmbedding, Temperature, TimedEmbedding, TimedMusic, unconditioned_hidden
from openvmas.model.decoder import Decoder, DecoderConfig, load_decoder
from openvmas.model.meaning import HeardEmbedding
from openvmas.model.video_encoder import VideoEncoder, load_video_encoder
from openvmas.pretrained import Weights, find_weights, hash_file, write_manifest
from openvmas.settings import option
from openvmas.train.codec.identity import CodecIdentity, hash_codebooks
from openvmas.train.export.onnx_files import PARTS, StepGraph, compress, export_graph, quantize

UNSTATED = "unstated"  # licence of weights of which nobody has said it
DECODER_FILES = {"decoder": "decoder.onnx", "condition": "condition.onnx"}
CODEC_SIZES = (
    "sample_rate", "hop_length", "window_length", "codebook_size", "codec_codebooks", "codec_look_ahead",
    "codec_history", "encoder_look_ahead", "encoder_history",
)  # fmt: skip
CODEC_FILES = {"codec": "codec.onnx", "codec_encoder": "codec_encoder.onnx", "codebooks": "codebooks.npz"}
VIDEO_FILES = {"video_encoder": "video_encoder.onnx"}
JOINT_FILES = {**VIDEO_FILES, "music_embedding": "music_embedding.onnx"}
MOMENTS = {1: "moments"}
SPAN = 576  # codec steps of a clip in training (JointRecipe.steps_per_crop)


@dataclass(frozen=True)
class ExportOptions:
    """Settings of an export."""

    name: str = option("mini", "Name of the model.")
    version: str | None = option(None, "Version of the model; 0.1, or that of the model in FOLDER if left out.")
    bits: int = option(8, "Bits of the decoder's weights; 32 is fp32.")
    joint: str | None = option(None, "Also export video_encoder.pt and alignment.pt of this run.", metavar="RUN")
    codes_of: str = option("mini", "Model whose codes the run read; with - as CODEC.pt.", metavar="MODEL")
    span: int = option(SPAN, "Steps of a clip in the run (its steps_per_crop).", min=16)
    licence: str = option(UNSTATED, "Licence of the weights, e.g. CC-BY-4.0; every sidecar repeats it.")


def measure_reach(trunk: nn.Module, n_in: int, n_steps: int = 512) -> tuple[int, int]:
    """Numbers of steps before and after its own that an output of `trunk` ([1, T, n_in] → [1, T, D]) depends on.

    Measured from gradients, so it holds whatever the trunk is made of. Raises ValueError where it is unbounded.
    """
    middle = n_steps // 2
    x = torch.randn(1, n_steps, n_in, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(trunk(x)[0, middle].sum(), x)
    seen = gradient[0].abs().sum(1).nonzero()[:, 0]
    first, last = int(seen[0]), int(seen[-1])
    if first == 0 or last == n_steps - 1:
        raise ValueError(f"a step of the codec sees more than {middle} steps around it; it cannot be run in chunks")
    return middle - first, last - middle


def export_codec(codec: Codec, folder: Path) -> dict[str, int]:
    """Write the codec's files (see CODEC_FILES); returns its sizes for the manifest."""
    config = codec.config
    steps, raw = {1: "steps"}, folder / "raw.onnx"
    latents = torch.zeros(1, 50, config.latent_width)
    export_graph(codec.decoder, {"latents": latents}, ["frames"], {"latents": steps, "frames": steps}, raw)
    # Rounding in the product before the last, which widens what blocks made, is a noise floor (docs/LOG.md).
    compress(raw, folder / CODEC_FILES["codec"], in_half=-2)
    n_bins = config.window_length + 2
    export_graph(
        codec.encoder, {"frames": torch.zeros(1, 50, n_bins)}, ["latents"], {"frames": steps, "latents": steps}, raw
    )
    compress(raw, folder / CODEC_FILES["codec_encoder"])
    raw.unlink()
    # In fp16: what is left over for the next level is what the decoder will really miss.
    books = codec.quantizer.codebooks.detach().numpy().astype(np.float16)
    np.savez(folder / CODEC_FILES["codebooks"], codebooks=books)
    history, look_ahead = measure_reach(codec.decoder, config.latent_width)
    encoder_history, encoder_look_ahead = measure_reach(codec.encoder, n_bins)
    return {
        "sample_rate": config.sample_rate,
        "hop_length": config.hop_length,
        "window_length": config.window_length,
        "codebook_size": config.codebook_size,
        "codec_codebooks": config.n_codebooks,  # n_codebooks is how many of them the decoder writes
        "codec_look_ahead": look_ahead,
        "codec_history": history,
        "encoder_look_ahead": encoder_look_ahead,
        "encoder_history": encoder_history,
    }


def copy_codec(weights: Weights, folder: Path) -> dict[str, Any]:
    """Copy the codec of an exported model as it is; returns its sizes for the manifest. Raises ModelError."""
    for role, name in CODEC_FILES.items():
        shutil.copyfile(weights.file(role), folder / name)
    return {name: weights.sizes[name] for name in CODEC_SIZES}


def decoder_sizes(config: DecoderConfig) -> dict[str, Any]:
    """Sizes of a decoder for the manifest."""
    names = ("n_codebooks", "codebook_size", "n_layers", "narrow", "wide", "n_groups", "width", "head_width")
    return {"wide_layers": list(config.wide_layers), **{name: getattr(config, name) for name in names}}


def export_step(decoder: Decoder, path: Path, bits: int) -> None:
    """Write one step of the decoder; bits: of the weights, 32 for fp32 (embeddings are then fp32, too, else fp16)."""
    state = {name: value.detach().numpy() for name, value in decoder.state_dict().items()}
    n_layers = decoder.config.n_layers
    weights = {f"{part}.{i}": state[f"layers.{i}.{part}.weight"].T for i in range(n_layers) for part in PARTS}
    weights["heads"] = state["heads.weight"].T
    gains = np.stack([state[f"layers.{i}.condition_gain"] for i in range(n_layers)])
    table = state["embedding.weight"].astype(np.float16 if bits < 32 else np.float32)
    model = StepGraph(decoder_sizes(decoder.config), gains, table, weights).model()
    onnx.save(model, str(path))
    if bits < 32:
        quantize(path, path, bits)


def export(codec: Codec | Weights | None, decoder: Decoder | None, folder: Path, options: ExportOptions) -> Path:
    """Write the files of a model; returns the manifest's path.

    codec: a network, or an exported model whose codec is copied. With only a codec or only a decoder, the folder must
    hold a model, of which the rest and the name stay as they are. A decoder of a joint run (`options.joint`) brings the
    video encoder along; pictures and music are compared by the alignment of both together, or by weights of their own,
    which are written where there is neither codec nor decoder. A run that froze the decoder of an exported model is
    given with that model as the codec and no decoder: all of the model is copied as it is, and the encoder joins it.
    Raises ModelError where the parts do not fit, OptionError where there is nothing to write.
    """
    run = Path(options.joint) if options.joint else None
    if not (codec or decoder or run):
        raise OptionError("without codec and decoder there is nothing to export; with - - give --joint RUN.")
    if run and decoder is None and isinstance(codec, Weights):
        return add_video(codec, run, folder, options)
    model = find_weights(folder) if (codec is None) != (decoder is None) else None
    files: dict[str, str] = {}
    sizes: dict[str, Any] = {}
    check_language(codec or model, decoder)
    if model:
        check_fit(model, codec, decoder)
        files, sizes = {role: path.name for role, path in model.files.items()}, dict(model.sizes)
    folder.mkdir(parents=True, exist_ok=True)
    if codec:
        sizes |= copy_codec(codec, folder) if isinstance(codec, Weights) else export_codec(codec, folder)
        files |= CODEC_FILES
    if decoder:
        for role in JOINT_FILES.keys() & files.keys():
            (folder / files.pop(role)).unlink()
        sizes = {name: value for name, value in sizes.items() if name not in ("video", "alignment")}
        sizes |= export_decoder(decoder, folder, options.bits)
        files |= DECODER_FILES
    if run and decoder and model:
        sizes |= export_video(load_sides(run)[0], folder, options.span, options.bits)
        files |= VIDEO_FILES
    elif run and not model:
        codes_of = folder / CODEC_FILES["codebooks"] if codec else None
        codes_of = codes_of or find_weights(options.codes_of).file("codebooks")
        sizes |= export_sides(run, folder, codes_of, options.span, options.bits)
        files |= JOINT_FILES
    version = options.version or (model.version if model else "0.1")
    name, licence = (model.name, model.licence) if model else (options.name, options.licence)
    return write_manifest(folder, name=name, version=version, licence=licence, files=files, sizes=sizes)


def add_video(model: Weights, run: Path, folder: Path, options: ExportOptions) -> Path:
    """Copy a model and add the video encoder of a run that froze its decoder; returns the manifest's path.

    Raises ModelError where the run's decoder is another.
    """
    from openvmas.train.export.import_onnx import import_decoder

    frozen, trained = import_decoder(model).state_dict(), load_decoder(str(run / "decoder.pt")).state_dict()
    if frozen.keys() != trained.keys() or not all(torch.equal(frozen[name], trained[name]) for name in frozen):
        raise ModelError(
            f"{run} has another decoder than {model.name} {model.version}; give {run / 'decoder.pt'} in place of -."
        )
    video = load_sides(run)[0]
    folder.mkdir(parents=True, exist_ok=True)
    files = {role: path.name for role, path in model.files.items() if role not in JOINT_FILES}
    for role, name in files.items():
        if model.file(role).resolve() != (folder / name).resolve():
            shutil.copyfile(model.file(role), folder / name)
    sizes = {name: value for name, value in model.sizes.items() if name not in ("video", "alignment")}
    sizes |= export_video(video, folder, options.span, options.bits)
    return write_manifest(
        folder, name=options.name, version=options.version or model.version, licence=model.licence,
        files=files | VIDEO_FILES, sizes=sizes,
    )  # fmt: skip


def check_language(codec: Codec | Weights | None, decoder: Decoder | None) -> None:
    """Raises ModelError where the codec is not the one whose codes the decoder learned, if it says which that is."""
    known = CodecIdentity.read(decoder.codec) if decoder else None
    if codec is None or known is None:
        return
    if isinstance(codec, Weights):
        name, sha256 = f"{codec.name} {codec.version}", hash_file(codec.file("codebooks"))
    else:
        name, sha256 = "the one given", hash_codebooks(codec.quantizer.codebooks.detach().numpy())
    if sha256 != known.sha256:
        raise ModelError(
            f"this decoder learned codes of the codec {known.name} ({known.sha256[:8]}), but the codec here is {name} "
            f"({sha256[:8]}); export it with the codec of its examples."
        )


def check_fit(model: Weights, codec: Codec | Weights | None, decoder: Decoder | None) -> None:
    """Raises ModelError where a codec or decoder cannot take the place of a model's own."""
    sizes, folder = model.sizes, model.folder
    if decoder:
        for name in ("n_codebooks", "codebook_size"):
            if sizes[name] != getattr(decoder.config, name):
                raise ModelError(
                    f"the codec in {folder} has {name} {sizes[name]}, but this decoder was trained for "
                    f"{getattr(decoder.config, name)}; export both."
                )
    if codec:
        is_copied = isinstance(codec, Weights)
        for name in ("sample_rate", "hop_length", "codebook_size"):
            has = codec.sizes[name] if is_copied else getattr(codec.config, name)
            if sizes[name] != has:
                raise ModelError(
                    f"the decoder in {folder} was trained for {name} {sizes[name]}, but this codec has "
                    f"{has}; train a decoder on this codec's codes and export both."
                )
        if "codebooks" in model.files:
            before = read_codebooks(model)[: sizes["n_codebooks"]]
            books = read_codebooks(codec) if is_copied else codec.quantizer.codebooks.detach().half().float().numpy()
            if not np.array_equal(before, books[: len(before)]):
                raise ModelError(
                    f"the decoder in {folder} was trained for other codebooks; train one on this codec's codes and "
                    "export both."
                )


def export_decoder(decoder: Decoder, folder: Path, bits: int) -> dict[str, Any]:
    """Write DECODER_FILES; returns their sizes for the manifest."""
    config, steps = decoder.config, {1: "steps"}
    export_step(decoder, folder / DECODER_FILES["decoder"], bits)
    export_graph(
        decoder.condition,
        {
            "curves": torch.zeros(1, 100, config.n_curves), "semantics": torch.zeros(1, 100, 2 * config.n_axes),
            "use_events": torch.ones(1), "use_meaning": torch.ones(1),
        },
        ["condition"], {"curves": steps, "semantics": steps, "condition": steps}, folder / DECODER_FILES["condition"],
    )  # fmt: skip
    return decoder_sizes(config)


def moments_of(timed: TimedEmbedding, states: Tensor) -> Tensor:
    """The vectors of moments that `TimedEmbedding` concatenates: states [B, S, D] → [B, S // EVERY, E]."""
    return timed.read(states.transpose(1, 2)).transpose(1, 2)


class VideoSide(nn.Module):
    """features [1, F, W], curves [1, T, C] → steps [1, T, D], embedding [1, E], moments [1, T // EVERY, E'].

    An encoder that reads stated axes takes axes [1, F, A] as well.
    """

    def __init__(self, encoder: VideoEncoder, timed: TimedEmbedding) -> None:
        super().__init__()
        self.encoder, self.timed = encoder, timed

    def forward(self, features: Tensor, curves: Tensor, axes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.encoder(features, curves, axes=axes)
        return seen.steps, seen.embedding, moments_of(self.timed, seen.motion)


class MusicSide(nn.Module):
    """tokens [1, K, S] after the delay pattern → embedding [1, E], moments [1, S // EVERY, E']."""

    def __init__(self, decoder: Decoder, music: MusicEmbedding | HeardEmbedding, timed: TimedMusic) -> None:
        super().__init__()
        self.decoder, self.music, self.timed = decoder, music, timed

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        hidden = unconditioned_hidden(self.decoder, tokens)
        onsets = self.timed.read(hidden).sigmoid()
        is_taught = isinstance(self.music, HeardEmbedding)
        embedding = self.music(tokens, hidden) if is_taught else self.music(hidden)
        return embedding, moments_of(self.timed.embed, onsets[..., None])


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
    kind = HeardEmbedding if "channels" in parts["config"] else MusicEmbedding
    music, music_timed = kind(**parts["config"]), TimedMusic(width, n, inner, kernel)
    scales = {"temperature": Temperature(), "timed_temperature": Temperature()}
    modules = {"music": music, "video_timed": video_timed, "music_timed": music_timed, **scales}
    for name, module in modules.items():
        module.load_state_dict(parts[name])
    sides = VideoSide(encoder, video_timed).eval(), MusicSide(decoder, music, music_timed).eval()
    return *sides, {name: round(scale().item(), 4) for name, scale in scales.items()}


def export_sides(run: Path, folder: Path, codes_of: Path, span: int, bits: int) -> dict[str, Any]:
    """Write JOINT_FILES; returns their sizes for the manifest.

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


def export_video(video: VideoSide, folder: Path, span: int, bits: int) -> dict[str, Any]:
    """Write VIDEO_FILES; returns their sizes for the manifest. span, bits: as for `export_sides`."""
    config, path = video.encoder.config, folder / VIDEO_FILES["video_encoder"]
    n_frames = max(round(span * config.fps / 50), 2)
    inputs = {
        "features": torch.zeros(1, n_frames, config.feature_width), "curves": torch.zeros(1, span, config.n_curves)
    }  # fmt: skip
    lengths = {"features": {1: "frames"}, "curves": {1: "steps"}, "steps": {1: "steps"}, "moments": MOMENTS}
    sizes = {"fps": config.fps, "feature_width": config.feature_width, "width": config.out_width, "span": span}
    if config.n_axes:
        inputs["axes"], lengths["axes"] = torch.zeros(1, n_frames, config.n_axes), {1: "frames"}
        sizes["n_axes"] = config.n_axes
    export_graph(video, inputs, ["steps", "embedding", "moments"], lengths, path)
    if bits < 32:
        compress(path, path)
    return {"video": sizes}


def export_files(codec: Path, decoder: Path, folder: Path, options: ExportOptions) -> Iterator[str]:
    """Export checkpoints, copy a preset's codec, and keep what "-" stands for; yields the manifest's path.

    Raises ModelError, OptionError.
    """
    made: Codec | Weights | None = None
    if str(codec) != "-":
        made = load_codec(str(codec)) if codec.suffix == ".pt" else find_weights(codec)
    yield str(export(made, None if str(decoder) == "-" else open_own(decoder), folder, options))


def open_own(path: Path) -> Decoder:
    """The decoder of a checkpoint. Raises ModelError for one of MusicGen's architecture, which is not exported."""
    if path.is_dir() or isinstance(found := open_decoder(path), MusicGenDecoder):
        raise ModelError(
            f"{path} is a decoder of MusicGen's architecture, which is not exported: scoring runs our own decoder "
            "alone; compare it by `openvmas eval run --systems musicgen:folder=DIR`, or train a decoder of a preset."
        )
    return found
