"""From exported files back to checkpoints, so that training goes on from the models that ship.

    openvmas train import mini OUT        # OUT/codec.pt and OUT/decoder.pt

Weights come back as they are used: rounded to 8 bits (docs/LOG.md says what that costs), codebooks to fp16. State that
only training has (moments of the optimiser, usage of codebook entries) begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from openvmas.codec.autoencoder import Codec, CodecConfig, save_codec
from openvmas.errors import ModelError
from openvmas.model.alignment import MusicEmbedding, Temperature, TimedEmbedding, TimedMusic
from openvmas.model.decoder import DECODER_PRESETS, Decoder, DecoderConfig, save_decoder
from openvmas.model.meaning import HeardEmbedding
from openvmas.model.video_encoder import VIDEO_PRESETS, VideoEncoder, VideoEncoderConfig
from openvmas.pretrained import Weights, find_weights
from openvmas.train.codec.identity import identify
from openvmas.train.export.onnx_files import PARTS, unpack_blocks


class Graph:
    """The constants of an ONNX file as float32 arrays, by the names that PyTorch gave them."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path)).graph
        self._values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self.nodes = list(graph.node)
        # Of parameters with the same values the exporter keeps one.
        twins = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in self._values]
        every = self._values | {node.output[0]: self._values[node.input[0]] for node in twins}
        self.named = {name: value.astype(np.float32) for name, value in every.items() if "::" not in name}

    def constant(self, name: str) -> np.ndarray:
        """A constant, unpacked if `train.export.export_model` packed it."""
        if name in self._values:
            return self._values[name]
        node = self._makers[name]
        inputs = [self.constant(part) for part in node.input]
        if node.op_type == "Cast":
            return inputs[0].astype(np.float32)
        if node.op_type == "Mul":
            return inputs[0] * inputs[1]
        if node.op_type == "Reshape":
            return inputs[0].reshape(inputs[1])
        raise ModelError(f"{name} is made by {node.op_type}, which no export of openvmas does; give one of its models.")

    def matrices(self) -> dict[str, np.ndarray]:
        """Weights of matrix products [out, in] by the module that owns them."""
        found = {}
        for node in self.nodes:
            if node.op_type == "MatMulNBits":
                found[node.input[1].removesuffix("_Q8")] = unpack_blocks(node, self._values)
            elif node.op_type == "MatMul" and (node.input[1] in self._values or node.input[1] in self._makers):
                try:
                    found[module_name(node.name)] = self.constant(node.input[1]).T
                except (KeyError, ModelError):
                    continue  # a product of two activations
        return found


def module_name(node: str) -> str:
    """`/leave/leave.2/MatMul` → `leave.2`; `/blocks.0/widen/MatMul` → `blocks.0.widen`."""
    parts: list[str] = []
    for part in node.strip("/").split("/")[:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def fill(module: nn.Module, named: dict[str, np.ndarray], matrices: dict[str, np.ndarray], prefix: str = "") -> None:
    """Put named constants and matrices into a module. prefix: of its names. Raises ModelError where one is missing."""
    for name, parameter in module.named_parameters():
        value = named.get(prefix + name)
        if value is None:
            value = matrices.get((prefix + name).removesuffix(".weight"))
        if value is None or value.shape != tuple(parameter.shape):
            raise ModelError(f"{name} is not in the file; give a model that this version of openvmas exported.")
        parameter.data.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def import_decoder(weights: Weights) -> Decoder:
    """The decoder with its condition encoder."""
    sizes = weights.sizes
    graph, condition = Graph(weights.file("decoder")), Graph(weights.file("condition"))
    matrices = graph.matrices()
    if not {"embedding", "gains"} <= graph.named.keys():
        raise ModelError(
            f"{weights.file('decoder')} is from a version before 0.4; give a model that this version exported."
        )
    events = condition.named["events_in.weight"]
    config = DecoderConfig(
        n_codebooks=sizes["n_codebooks"], codebook_size=sizes["codebook_size"], width=sizes["width"],
        n_layers=sizes["n_layers"], n_heads=sizes["width"] // sizes["head_width"], n_groups=sizes["n_groups"],
        hidden=matrices["from_hidden.0"].shape[1], narrow=sizes["narrow"], wide=sizes["wide"],
        n_curves=events.shape[1], n_axes=condition.matrices()["meaning_in"].shape[1] // 2, curve_kernel=events.shape[2],
    )  # fmt: skip
    named = {f"layers.{i}.condition_gain": gain for i, gain in enumerate(graph.named["gains"])}
    named["embedding.weight"] = graph.named["embedding"]
    for i in range(config.n_layers):
        for part in PARTS:
            matrices[f"layers.{i}.{part}"] = matrices[f"{part}.{i}"]
    decoder = Decoder(config)
    fill(decoder.condition, condition.named, condition.matrices())
    for part in ("embedding.", "layers.", "heads."):
        fill(getattr(decoder, part[:-1]), named, matrices, part)
    return decoder.eval()


def import_video_encoder(weights: Weights) -> VideoEncoder:
    """The video encoder, of features with one token a frame. Raises ModelError for a model without one."""
    sizes = weights.sizes.get("video")
    if sizes is None:
        raise ModelError(f"{weights.name} {weights.version} has no video encoder; give alignment, or a model with one.")
    graph, prefix = Graph(weights.file("video_encoder")), "encoder."
    named = {name.removeprefix(prefix): value for name, value in graph.named.items() if name.startswith(prefix)}
    matrices = {name.removeprefix(prefix): value for name, value in graph.matrices().items()}
    width, first = len(matrices["features_in"]), named["motion.first.weight"]
    like = next((config for config in VIDEO_PRESETS.values() if config.width == width), VideoEncoderConfig())
    config = replace(
        like, feature_width=sizes["feature_width"], fps=sizes["fps"], out_width=sizes["width"], width=width,
        n_layers=sum(name.endswith("to_qkv") for name in matrices), motion_width=len(first), n_curves=first.shape[1],
        motion_kernel=first.shape[2], n_globals=len(named["slots"]),
        embedding=len(named["stated.read.last.bias" if sizes.get("n_axes") else "to_embedding.bias"]),
        hidden=matrices["layers.0.from_hidden"].shape[1], is_gated="gate" in named, n_axes=sizes.get("n_axes", 0),
    )  # fmt: skip
    encoder = VideoEncoder(config)
    for name, parameter in encoder.pool.named_parameters(prefix="pool"):  # not in the graph: one token needs no choice
        named[name] = parameter.detach().numpy()
    fill(encoder, named, matrices)
    return encoder.eval()


def import_alignment(weights: Weights) -> dict[str, Any]:
    """The parts that compare picture and music, named as in `alignment.pt`, with a small decoder and the encoder.

    The decoder's own output has no part in the comparison and is not in the files: its `heads` begin anew. Raises
    ModelError for a model without an alignment.
    """
    sizes = weights.sizes.get("alignment")
    if sizes is None:
        raise ModelError(f"{weights.name} {weights.version} has no alignment; give alignment, or a model with one.")
    heard, seen = Graph(weights.file("music_embedding")), Graph(weights.file("video_encoder"))
    matrices = heard.matrices()
    table, events = heard.named["decoder.embedding.weight"], heard.named["decoder.condition.events_in.weight"]
    like = next((config for config in DECODER_PRESETS.values() if config.width == table.shape[1]), DecoderConfig())
    config = replace(
        like, n_codebooks=sizes["n_codebooks"], codebook_size=sizes["codebook_size"], width=table.shape[1],
        n_layers=sum(name.endswith("to_qkv") for name in matrices), hidden=matrices["layers.0.from_hidden"].shape[1],
        n_curves=events.shape[1], n_axes=matrices["condition.meaning_in"].shape[1] // 2, curve_kernel=events.shape[2],
    )  # fmt: skip
    decoder, width = Decoder(config), config.width
    for part in ("condition.", "embedding.", "layers."):
        prefix = f"decoder.{part}"
        named = {name.removeprefix(prefix): value for name, value in heard.named.items() if name.startswith(prefix)}
        own = {name.removeprefix(part): value for name, value in matrices.items() if name.startswith(part)}
        fill(getattr(decoder, part[:-1]), named, own)
    n_moments, inner = heard.named["timed.embed.read.weight"].shape[0], heard.named["timed.first.weight"].shape
    if "music.books" in heard.named:
        channels, read = len(heard.named["music.first.bias"]), len(heard.named["music.read.last.bias"])
        latent = heard.named["music.books"].shape[1]
        music = HeardEmbedding(width, read, config.n_codebooks, config.codebook_size, latent, channels)
    else:
        music = MusicEmbedding(width, len(heard.named["music.to_embedding.bias"]), len(matrices["music"]))
        heard.named["music.queries"] = matrices["music"]
    music_timed = TimedMusic(width, n_moments, inner[0], inner[2])
    fill(music, heard.named, matrices, "music.")
    matrices["timed.to_logit"] = matrices["to_logit"]
    fill(music_timed, heard.named, matrices, "timed.")
    video_timed = TimedEmbedding(seen.named["timed.read.weight"].shape[1], n_moments)
    fill(video_timed, seen.named, {}, "timed.")
    scales = {name: Temperature(sizes[name]) for name in ("temperature", "timed_temperature")}
    parts = {"music": music, "video_timed": video_timed, "music_timed": music_timed, **scales}
    return {"decoder": decoder, "video": import_video_encoder(weights), **parts}


def import_codec(weights: Weights) -> Codec:
    """Encoder, codebooks and decoder of the codec."""
    sizes = weights.sizes
    encoder, decoder = Graph(weights.file("codec_encoder")), Graph(weights.file("codec"))
    into, out = encoder.matrices(), decoder.matrices()
    n_blocks = [sum(name.endswith(".widen") for name in matrices) for matrices in (into, out)]
    with np.load(weights.file("codebooks")) as data:
        books = torch.from_numpy(data["codebooks"].astype(np.float32))
    config = CodecConfig(
        sample_rate=sizes["sample_rate"], hop_length=sizes["hop_length"], window_length=sizes["window_length"],
        encoder_width=len(into["enter"]), encoder_blocks=n_blocks[0], decoder_width=len(out["enter"]),
        decoder_blocks=n_blocks[1], head_width=len(out["leave.0"]) if "leave.0" in out else 0,
        latent_width=books.shape[2], n_codebooks=books.shape[0], codebook_size=books.shape[1],
        kernel_size=decoder.named["blocks.0.depthwise.weight"].shape[2],
        look_ahead=sizes["codec_look_ahead"] // n_blocks[1],
    )  # fmt: skip
    codec = Codec(config)
    fill(codec.encoder, encoder.named, into)
    fill(codec.decoder, decoder.named, out)
    codec.quantizer.codebooks.copy_(books)
    codec.quantizer.sums.copy_(books)
    codec.quantizer.is_ready.fill_(True)
    return codec.eval()


def import_files(model: Path, folder: Path) -> Iterator[str]:
    """Write codec.pt and decoder.pt of an exported model; yields a line about them. Raises ModelError."""
    weights = find_weights(str(model))
    folder.mkdir(parents=True, exist_ok=True)
    save_codec(import_codec(weights), str(folder / "codec.pt"))
    decoder = import_decoder(weights)
    decoder.codec = identify(model).as_dict()
    save_decoder(decoder, str(folder / "decoder.pt"))
    yield f"{folder}: codec.pt, decoder.pt"
