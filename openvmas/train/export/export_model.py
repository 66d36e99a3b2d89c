"""From checkpoints to the files that score videos and encode sound: ONNX graphs, codebooks and a manifest.

    python -m openvmas.train.export.export_model CODEC.pt DECODER.pt OUT --name mini --version 0.1
    python -m openvmas.train.export.export_model CODEC.pt RUN/decoder.pt OUT --joint RUN    # with video encoder and
    alignment
    python -m openvmas.train.export.export_model - - OUT --joint RUN --name alignment       # only those, for codes of
    mini
    python -m openvmas.train.export.export_model CODEC.pt - OUT      # only the codec's files, into a folder that
    holds a model
    python -m openvmas.train.export.export_model - RUN/decoder.pt OUT --joint RUN     # the others, into a folder that
    holds a model

`condition.onnx` (curves and meaning → one vector per step), `decoder.onnx` (one step; weights in 8-bit blocks),
`codec.onnx` (latents → spectrum frames), `codec_encoder.onnx` (compressed spectrum frames →
latents) and `codebooks.npz`. STFT, inverse STFT and quantisation are done in NumPy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from openvmas.codec.autoencoder import Codec, load_codec
from openvmas.errors import ModelError
from openvmas.model.decoder import Decoder, DecoderConfig, load_decoder
from openvmas.pretrained import find_weights, write_manifest
from openvmas.train.export.export_alignment import (
    JOINT_FILES,
    SPAN,
    VIDEO_FILES,
    codebooks_of,
    export_sides,
    export_video,
    load_sides,
)
from openvmas.train.export.onnx_files import compress, export_graph, quantize
from openvmas.train.export.step_graph import PARTS, StepGraph, plain_products

UNSTATED = "unstated"  # licence of weights of which nobody has said it
DECODER_FILES = {"decoder": "decoder.onnx", "condition": "condition.onnx"}
CODEC_FILES = {"codec": "codec.onnx", "codec_encoder": "codec_encoder.onnx", "codebooks": "codebooks.npz"}


def measure_reach(trunk: nn.Module, n_in: int, n_steps: int = 512) -> tuple[int, int]:
    """How many steps before and after its own one an output of `trunk` ([1, T, n_in] → [1, T, D]) depends on.

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


def decoder_sizes(config: DecoderConfig) -> dict[str, Any]:
    """What the engine needs to know of a decoder."""
    names = ("n_codebooks", "codebook_size", "n_layers", "narrow", "wide", "n_groups", "width", "head_width")
    return {"wide_layers": list(config.wide_layers), **{name: getattr(config, name) for name in names}}


def export_step(decoder: Decoder, path: Path, bits: int = 8) -> None:
    """Write one step of the decoder; bits: of the weights, 32 for fp32 (embeddings are then fp32, too, else fp16)."""
    import onnx

    state = {name: value.detach().numpy() for name, value in decoder.state_dict().items()}
    n_layers = decoder.config.n_layers
    weights = {f"{part}.{i}": state[f"layers.{i}.{part}.weight"].T for i in range(n_layers) for part in PARTS}
    weights["heads"] = state["heads.weight"].T
    gains = np.stack([state[f"layers.{i}.condition_gain"] for i in range(n_layers)])
    table = state["embedding.weight"].astype(np.float16 if bits < 32 else np.float32)
    model = StepGraph(decoder_sizes(decoder.config), gains, table, plain_products(weights)).model()
    onnx.save(model, str(path))
    if bits < 32:
        quantize(path, path, bits)


def export(
    codec: Codec, decoder: Decoder, folder: Path, name: str, version: str, bits: int = 8, run: Path | None = None,
    span: int = SPAN, licence: str = UNSTATED,
) -> Path:  # fmt: skip
    """Write all files of a model; returns the manifest's path.

    bits: of the decoder's weights, 32 for fp32. run: of the joint training that the decoder comes from, whose video
    encoder and alignment are written, too; span: steps of its clips. licence: of the weights, by the music that they
    learned from; every sidecar repeats it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {**export_codec(codec, folder), **export_decoder(decoder, folder, bits)}
    files = {**DECODER_FILES, **CODEC_FILES}
    if run is not None:
        sizes |= export_sides(run, folder, folder / CODEC_FILES["codebooks"], span, bits)
        files |= JOINT_FILES
    return write_manifest(folder, name=name, version=version, licence=licence, files=files, sizes=sizes)


def export_decoder(decoder: Decoder, folder: Path, bits: int = 8) -> dict[str, Any]:
    """Write DECODER_FILES; returns what the manifest says about them."""
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


def export_alignment(
    run: Path, folder: Path, name: str, version: str, codes_of: str, span: int = SPAN, licence: str = UNSTATED
) -> Path:
    """Write only what compares picture and music; returns the manifest's path. codes_of: whose codes the run read."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = export_sides(run, folder, codebooks_of(codes_of), span)
    return write_manifest(folder, name=name, version=version, licence=licence, files=JOINT_FILES, sizes=sizes)


def replace_codec(codec: Codec, folder: Path, version: str | None = None) -> Path:
    """Write the codec's files again into a folder with a model and leave decoder and condition as they are.

    version: of the model from now on (the old one if None). Returns the manifest's path. Raises ModelError where the
    model's decoder could not drive this codec.
    """
    weights = find_weights(folder)
    config, sizes = codec.config, weights.sizes
    for name in ("sample_rate", "hop_length", "codebook_size"):
        if sizes[name] != getattr(config, name):
            raise ModelError(
                f"the decoder in {folder} was trained for {name} {sizes[name]}, but this codec has "
                f"{getattr(config, name)}; train a decoder on this codec's codes and export both."
            )
    if "codebooks" in weights.files:
        with np.load(weights.file("codebooks")) as data:
            before = data["codebooks"][: sizes["n_codebooks"]]
        if not np.array_equal(before, codec.quantizer.codebooks[: len(before)].detach().numpy().astype(np.float16)):
            raise ModelError(
                f"the decoder in {folder} was trained for other codebooks; train one on this codec's codes and export "
                "both."
            )
    sizes = {**sizes, **export_codec(codec, folder)}
    files = {**{role: path.name for role, path in weights.files.items()}, **CODEC_FILES}
    return write_manifest(
        folder, name=weights.name, version=version or weights.version, licence=weights.licence, files=files, sizes=sizes
    )


def replace_decoder(
    decoder: Decoder, folder: Path, version: str | None = None, bits: int = 8, run: Path | None = None, span: int = SPAN
) -> Path:  # fmt: skip
    """Write the decoder's files again into a folder with a model and leave its codec as it is.

    version: of the model from now on (the old one if None). run: of the joint training that the decoder comes from,
    whose video encoder is written, too; pictures and music are compared by weights of their own (`export_alignment`).
    Returns the manifest's path. Raises ModelError where the decoder was trained for codes of another size.
    """
    weights, sizes = find_weights(folder), decoder_sizes(decoder.config)
    for name in ("n_codebooks", "codebook_size"):
        if weights.sizes[name] != sizes[name]:
            raise ModelError(
                f"the codec in {folder} has {name} {weights.sizes[name]}, but this decoder was trained for "
                f"{sizes[name]}; export both."
            )
    sizes = {name: value for name, value in weights.sizes.items() if name not in ("video", "alignment")}
    for role in JOINT_FILES.keys() & weights.files.keys():
        weights.files[role].unlink()
    files = {role: path.name for role, path in weights.files.items() if role not in JOINT_FILES}
    sizes |= export_decoder(decoder, folder, bits)
    if run is not None:
        video, _, _ = load_sides(run)
        sizes |= export_video(video, folder, span, bits)
        files |= VIDEO_FILES
    return write_manifest(
        folder, name=weights.name, version=version or weights.version, licence=weights.licence, files=files, sizes=sizes
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec", help="CODEC.pt, or - to leave that of a model in FOLDER as it is")
    parser.add_argument("decoder", help="DECODER.pt, or - to leave it; with - - only the alignment is written")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="mini")
    parser.add_argument("--version", help="0.1, or with - the version that is there, if left out")
    parser.add_argument("--bits", type=int, default=8, help="of the decoder's weights; 32 is fp32")
    parser.add_argument("--joint", type=Path, metavar="RUN", help="also its video_encoder.pt and alignment.pt")
    parser.add_argument("--codes-of", default="mini", metavar="MODEL", help="with CODEC -: model whose codes RUN read")
    parser.add_argument("--span", type=int, default=SPAN, help="steps of a clip in RUN (its steps_per_crop)")
    parser.add_argument("--licence", default=UNSTATED, help="of the weights, e.g. CC-BY-4.0; every sidecar repeats it")
    arguments = parser.parse_args()
    name, version, run = arguments.name, arguments.version, arguments.joint
    span, licence = arguments.span, arguments.licence
    if arguments.codec == arguments.decoder == "-":
        if run is None:
            parser.error("with - - give --joint RUN")
        print(export_alignment(run, arguments.folder, name, version or "0.1", arguments.codes_of, span, licence))
        return
    if arguments.codec == "-":
        print(replace_decoder(load_decoder(arguments.decoder), arguments.folder, version, arguments.bits, run, span))
        return
    codec = load_codec(arguments.codec)
    if arguments.decoder == "-":
        print(replace_codec(codec, arguments.folder, version))
        return
    decoder = load_decoder(arguments.decoder)
    print(export(codec, decoder, arguments.folder, name, version or "0.1", arguments.bits, run, span, licence))


if __name__ == "__main__":
    main()
