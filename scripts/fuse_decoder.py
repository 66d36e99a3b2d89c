"""Write a model's decoder graph again as `openvmas.train.step_graph` makes it, for models exported up to 0.3.

    python scripts/fuse_decoder.py FOLDER [--version 0.4]

The 8-bit weights, their scales and the embeddings stay as they are, bit for bit; only the nodes between them change.
Replaces `decoder.onnx` and the manifest of FOLDER. Changes nothing where it was done before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from openvmas.pretrained import find_weights, write_manifest
from openvmas.train.step_graph import PARTS, StepGraph


def fuse(source: onnx.ModelProto, sizes: dict) -> onnx.ModelProto:
    """The same decoder with fewer nodes."""
    tensors = {tensor.name: tensor for tensor in source.graph.initializer}
    products = [node for node in source.graph.node if node.op_type == "MatMulNBits"]
    n_layers = sizes["n_layers"]
    names = [f"{part}.{layer}" for layer in range(n_layers) for part in PARTS] + ["heads"]
    by_name = dict(zip(names, products, strict=True))  # a traced graph is in the order of the computation
    gains = [numpy_helper.to_array(tensors[f"decoder.layers.{i}.condition_gain"]) for i in range(n_layers)]

    def multiply(graph: StepGraph, name: str, x: str) -> str:
        old, inputs = by_name[name], [x]
        for kind in old.input[1:]:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(tensors[kind])
            tensor.name = f"{name}_{kind.split('_', 2)[-1]}"  # such as onnx::MatMul_1521_zero_points
            graph.constants[tensor.name] = tensor
            inputs.append(tensor.name)
        product = graph.own("MatMulNBits", *inputs)
        graph.nodes[-1].attribute.extend(old.attribute)
        return product

    table = numpy_helper.to_array(tensors["decoder.embedding.weight"])
    return StepGraph(sizes, np.stack(gains), table, multiply).model()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--version", help="of the model from now on; as it was if left out")
    arguments = parser.parse_args()
    weights = find_weights(arguments.folder)
    source = onnx.load(str(weights.file("decoder")))
    if any(item.name == "keys_0" for item in source.graph.input):
        print(f"{weights.file('decoder')} is written so already.")
        return
    onnx.save(fuse(source, weights.sizes), str(weights.file("decoder")))
    path = write_manifest(
        weights.folder, name=weights.name, version=arguments.version or weights.version, licence=weights.licence,
        files={role: file.name for role, file in weights.files.items()}, sizes=weights.sizes,
    )  # fmt: skip
    print(path)


if __name__ == "__main__":
    main()
