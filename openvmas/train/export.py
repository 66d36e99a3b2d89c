"""From checkpoints to the files that score videos: three ONNX graphs and a manifest.

    python -m openvmas.train.export CODEC.pt DECODER.pt OUT --name mini --version 0.1

`condition.onnx` (curves and meaning → one vector per step), `decoder.onnx` (one step; weights in 8-bit blocks),
`codec.onnx` (codes → spectrum frames; the inverse STFT is done in NumPy).
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
from openvmas.model.decoder import Decoder, DecoderStep, load_decoder
from openvmas.pretrained import write_manifest

OPSET = 17
LICENCE = "CC-BY-SA-4.0"


class CodecFrames(nn.Module):
    """codes [1, K, T] → real and imaginary parts of the frames [1, T, window_length + 2]."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, codes: Tensor) -> Tensor:
        return self.codec.decoder(self.codec.quantizer.decode(codes))


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
    """Weights of matrix products in blocks of `bits`; everything else stays in fp32."""
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
    codes = torch.zeros(1, config.n_codebooks, 50, dtype=torch.long)
    export_graph(CodecFrames(codec), {"codes": codes}, ["frames"], {"codes": {2: "steps"}, "frames": {1: "steps"}}, raw)
    quantize(raw, folder / "codec.onnx", 8)
    halve_tables(folder / "codec.onnx")
    raw.unlink()
    frame, n_blocks = codec.config, codec.config.decoder_blocks
    sizes = {
        "sample_rate": frame.sample_rate,
        "hop_length": frame.hop_length,
        "window_length": frame.window_length,
        "codec_look_ahead": frame.look_ahead * n_blocks,
        "codec_history": (frame.kernel_size - 1 - frame.look_ahead) * n_blocks,
        "wide_layers": list(config.wide_layers),
        "head_width": config.head_width,
    }
    kept = ("n_codebooks", "codebook_size", "n_layers", "narrow", "wide", "n_groups", "width")
    sizes.update({name: getattr(config, name) for name in kept})
    files = {"decoder": "decoder.onnx", "condition": "condition.onnx", "codec": "codec.onnx"}
    return write_manifest(folder, name=name, version=version, licence=LICENCE, files=files, sizes=sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec")
    parser.add_argument("decoder")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="mini")
    parser.add_argument("--version", default="0.1")
    parser.add_argument("--bits", type=int, default=8)
    arguments = parser.parse_args()
    codec, decoder = load_codec(arguments.codec), load_decoder(arguments.decoder)
    print(export(codec, decoder, arguments.folder, arguments.name, arguments.version, arguments.bits))


if __name__ == "__main__":
    main()
