"""ONNX files: tracing of modules, weights as 8-bit integers and back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from openvmas.errors import ModelError

OPSET = 17
BLOCK = 64  # weights that share a scale; of 32, a step takes a seventh longer, of 128 it is no faster


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


def quantize(source: Path, target: Path, bits: int) -> None:
    """Weights of matrix products as integers of `bits` in blocks of BLOCK, used as such; everything else stays in fp32.

    For graphs that run one step at a time, where reading the weights takes the time.
    """
    import logging

    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(
        onnx.load(str(source)), bits=bits, block_size=BLOCK, is_symmetric=False, accuracy_level=4
    )
    quantizer.process()
    quantized: Any = quantizer.model
    quantized.save_model_to_file(str(target))


def compress(source: Path, target: Path, in_half: int | None = None) -> None:
    """Weights of matrix products as 8-bit integers in blocks of BLOCK rows with an fp16 scale each.

    The graph turns them into fp32 when it is opened, so it runs as fast and as exactly as with fp32 weights. For graphs
    that work on many steps at once. in_half: the product (-1: the last) whose weights are kept in fp16.
    """
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
        size = next(n for n in range(BLOCK, 0, -1) if n_rows % n == 0)
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


def unpack_blocks(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> np.ndarray:
    """Weights [out, in] of a MatMulNBits node, which `quantize` wrote. Raises ModelError if they are not of 8 bits."""
    sizes = {item.name: item.i for item in node.attribute}
    if sizes["bits"] != 8:
        raise ModelError(f"{node.name} has weights of {sizes['bits']} bits; only models with 8 can be unpacked.")
    packed, scales, zeros = (constants[name] for name in node.input[1:4])
    scales, zeros = (array.reshape(sizes["N"], -1, 1).astype(np.float32) for array in (scales, zeros))
    return ((packed.astype(np.float32) - zeros) * scales).reshape(sizes["N"], -1)[:, : sizes["K"]]
