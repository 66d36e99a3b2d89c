"""From checkpoints to the files that score videos and encode sound: ONNX graphs, codebooks and a manifest.

    python -m openvmas.train.export CODEC.pt DECODER.pt OUT --name mini --version 0.1
    python -m openvmas.train.export CODEC.pt - OUT      # only the codec's files, into a folder that holds a model

`condition.onnx` (curves and meaning → one vector per step), `decoder.onnx` (one step; weights in 8-bit blocks),
`codec.onnx` (latents → spectrum frames), `codec_encoder.onnx` (compressed spectrum frames →
latents) and `codebooks.npz`. STFT, inverse STFT and quantisation are done in NumPy.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openvmas.codec.autoencoder import Codec, load_codec
from openvmas.errors import ModelError
from openvmas.model.decoder import Decoder, DecoderStep, load_decoder
from openvmas.pretrained import find_weights, write_manifest

OPSET = 17
LICENCE = "CC-BY-SA-4.0"
CODEC_BLOCK = 64  # weights that share a scale in the codec's graphs
CODEC_FILES = {"codec": "codec.onnx", "codec_encoder": "codec_encoder.onnx", "codebooks": "codebooks.npz"}


def export_graph(
    module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], dynamic: dict[str, dict[int, str]], path: Path
) -> None:
    """Trace a module into an ONNX file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), tuple(inputs.values()), str(path), input_names=list(inputs), output_names=outputs,
            dynamic_axes=dynamic, opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def step_inputs(decoder: Decoder, n: int = 2) -> dict[str, Tensor]:
    """Example inputs of `DecoderStep` with empty caches for a batch of n."""
    config = decoder.config
    cosine, sine = decoder.positions(torch.tensor(0))
    inputs = {
        "tokens": torch.full((n, config.n_codebooks), config.codebook_size),
        "condition": torch.zeros(n, config.width),
        "cosine": cosine,
        "sine": sine,
    }
    n_wide = len(config.wide_layers)
    for name, count, window in (("narrow", config.n_layers - n_wide, config.narrow), ("wide", n_wide, config.wide)):
        shape = (count, n, config.n_groups)
        inputs[f"{name}_keys"] = torch.zeros(*shape, config.head_width, window - 1)
        inputs[f"{name}_values"] = torch.zeros(*shape, window - 1, config.head_width)
        inputs[f"{name}_mask"] = torch.full((window - 1,), -1e9)
    return inputs


def quantize(source: Path, target: Path, bits: int, block: int = 32) -> None:
    """Weights of matrix products in blocks of `bits`, used as such; everything else stays in fp32.

    For graphs that run one step at a time, where reading the weights takes the time.
    """
    import logging

    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(
        onnx.load(str(source)), bits=bits, block_size=block, is_symmetric=False, accuracy_level=4
    )
    quantizer.process()
    quantized: Any = quantizer.model
    quantized.save_model_to_file(str(target))


def compress(source: Path, target: Path, in_half: int | None = None) -> None:
    """Weights of matrix products as 8-bit integers in blocks of CODEC_BLOCK rows with an fp16 scale each.

    The graph turns them into fp32 when it is opened, so it runs as fast and as exactly as with fp32 weights. For graphs
    that work on many steps at once. in_half: the product (-1: the last) whose weights are kept in fp16.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(source))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    added = []
    for i, node in enumerate(products):
        tensor = weights[node.input[1]]
        values, name = numpy_helper.to_array(tensor), tensor.name
        model.graph.initializer.remove(tensor)
        if in_half is not None and i == in_half % len(products):
            model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            added.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
            continue
        n_rows, n_columns = values.shape
        size = next(n for n in range(CODEC_BLOCK, 0, -1) if n_rows % n == 0)
        blocks = values.reshape(-1, size, n_columns)
        scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127 + 1e-7).astype(np.float16)
        whole = np.round(blocks / scale.astype(np.float32)).clip(-127, 127).astype(np.int8)
        for kind, array in (("whole", whole), ("scale", scale), ("shape", np.array(values.shape))):
            model.graph.initializer.append(numpy_helper.from_array(array, f"{name}_{kind}"))
        for kind in ("whole", "scale"):
            added.append(helper.make_node("Cast", [f"{name}_{kind}"], [f"{name}_{kind}_32"], to=TensorProto.FLOAT))
        added.append(helper.make_node("Mul", [f"{name}_whole_32", f"{name}_scale_32"], [f"{name}_blocks"]))
        added.append(helper.make_node("Reshape", [f"{name}_blocks", f"{name}_shape"], [name]))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*added, *nodes])
    onnx.save(model, str(target))


def halve_tables(path: Path) -> None:
    """Store tables that are only looked up (embeddings, codebooks) as fp16 with a cast behind the look-up."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    elsewhere = {name for node in model.graph.node if node.op_type != "Gather" for name in node.input}
    tables = {t.name: t for t in model.graph.initializer if len(t.dims) == 2 and t.name not in elsewhere}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        table = tables[node.input[0]]
        if table.data_type == TensorProto.FLOAT:
            table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table).astype(np.float16), table.name))
        out = node.output[0]
        node.output[0] = f"{out}_half"
        nodes.append(helper.make_node("Cast", [f"{out}_half"], [out], to=TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(path))


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


def export(codec: Codec, decoder: Decoder, folder: Path, name: str, version: str, bits: int = 8) -> Path:
    """Write all files of a model; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    config = decoder.config
    raw = folder / "raw.onnx"
    inputs = step_inputs(decoder)
    batch = {key: {1: "n"} for key in inputs if key.endswith(("keys", "values"))}
    export_graph(
        DecoderStep(decoder), inputs, ["logits", "new_keys", "new_values"],
        {**batch, "tokens": {0: "n"}, "condition": {0: "n"}, "logits": {0: "n"}, "new_keys": {1: "n"},
         "new_values": {1: "n"}}, raw,
    )  # fmt: skip
    quantize(raw, folder / "decoder.onnx", bits)
    halve_tables(folder / "decoder.onnx")
    steps = {1: "steps"}
    export_graph(
        decoder.condition,
        {
            "curves": torch.zeros(1, 100, config.n_curves), "semantics": torch.zeros(1, 100, 2 * config.n_axes),
            "use_events": torch.ones(1), "use_meaning": torch.ones(1),
        },
        ["condition"], {"curves": steps, "semantics": steps, "condition": steps}, folder / "condition.onnx",
    )  # fmt: skip
    sizes: dict[str, Any] = export_codec(codec, folder)
    sizes.update(wide_layers=list(config.wide_layers), head_width=config.head_width)
    kept = ("n_codebooks", "codebook_size", "n_layers", "narrow", "wide", "n_groups", "width")
    sizes.update({name: getattr(config, name) for name in kept})
    files = {"decoder": "decoder.onnx", "condition": "condition.onnx", **CODEC_FILES}
    return write_manifest(folder, name=name, version=version, licence=LICENCE, files=files, sizes=sizes)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec")
    parser.add_argument("decoder", help="DECODER.pt, or - to write only the codec's files into a folder with a model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="mini")
    parser.add_argument("--version", help="0.1, or with - the version that is there, if left out")
    parser.add_argument("--bits", type=int, default=8)
    arguments = parser.parse_args()
    codec = load_codec(arguments.codec)
    if arguments.decoder == "-":
        print(replace_codec(codec, arguments.folder, arguments.version))
        return
    decoder, version = load_decoder(arguments.decoder), arguments.version or "0.1"
    print(export(codec, decoder, arguments.folder, arguments.name, version, arguments.bits))


if __name__ == "__main__":
    main()
