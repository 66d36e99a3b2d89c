"""The network of musicnn (Pons & Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio
tagging", ISC) as an ONNX graph, from the tensors of its TensorFlow checkpoint.

Two widths of timbral filters and three lengths of temporal filters see the log-mel patch; each keeps its maximum over
frequency. Three convolutions with residual sums follow; all features together are pooled over time (maximum and mean)
and go through a dense layer of 200, which is the embedding, to 50 tags.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
EPSILON = 1e-3  # of TensorFlow's batch normalisation
# fmt: off
CLASSES = {
    "MSD_musicnn": [
        "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock",
        "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow",
        "electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient",
        "acoustic", "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening",
        "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad",
        "House", "happy",
    ],
    "MTT_musicnn": [
        "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
        "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
        "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo",
        "man", "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
        "no voice", "weird", "country", "metal", "female voice", "choral",
    ],
}
# fmt: on


class Builder:
    """Nodes and tensors of a graph in the making."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def normalise(self, x: str, index: int, shape: tuple[int, ...]) -> str:
        """Batch normalisation with the stored moments, as one product and one sum; channels where `shape` has -1."""
        prefix = "batch_normalization" + (f"_{index}" if index else "")
        gamma, beta, mean, variance = (
            self.tensors[f"{prefix}/{part}"].astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        factor = self.constant(f"{prefix}.scale", scale.reshape(shape).astype(np.float32))
        offset = self.constant(f"{prefix}.offset", (beta - mean * scale).reshape(shape).astype(np.float32))
        return self.add("Add", [self.add("Mul", [x, factor], f"{prefix}.product"), offset], f"{prefix}.out")

    def convolve(self, x: str, index: int, pads: tuple[int, int, int, int]) -> str:
        """conv2d number `index` (kernel [height, width, in, out]) and ReLU on x [P, C, T, F]."""
        prefix = "conv2d" + (f"_{index}" if index else "")
        kernel = self.constant(f"{prefix}.kernel", self.tensors[f"{prefix}/kernel"].transpose(3, 2, 0, 1))
        bias = self.constant(f"{prefix}.bias", self.tensors[f"{prefix}/bias"])
        y = self.add("Conv", [x, kernel, bias], f"{prefix}.conv", pads=list(pads))
        return self.add("Relu", [y], f"{prefix}.out")

    def dense(self, x: str, index: int) -> str:
        prefix = "dense" + (f"_{index}" if index else "")
        kernel = self.constant(f"{prefix}.kernel", self.tensors[f"{prefix}/kernel"])
        bias = self.constant(f"{prefix}.bias", self.tensors[f"{prefix}/bias"])
        return self.add("Gemm", [x, kernel, bias], f"{prefix}.out")


def same_padding(size: int) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after, at stride 1: the odd one comes after."""
    return (size - 1) // 2, size // 2


def musicnn_graph(tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """`patches` [P, T, n_mels] to `embeddings` [P, n_units] and `logits` [P, n_classes].

    tensors: a checkpoint of a musicnn, by name. Names give the order in which the layers were made: conv2d 0 and 1 are
    timbral, 2 to 4 temporal, 5 to 7 the middle; batch normalisation 0 is the input's, then in the same order.
    Raises KeyError if a tensor is missing.
    """
    graph = Builder(tensors)
    channels = (1, -1, 1, 1)
    x = graph.add("Unsqueeze", ["patches", graph.constant("axis_1", np.array([1], np.int64))], "image")  # [P, 1, T, F]
    x = graph.normalise(x, 0, channels)
    front = []
    for index in range(5):
        height = tensors["conv2d" + (f"_{index}" if index else "") + "/kernel"].shape[0]
        before, after = (3, 3) if index < 2 else same_padding(height)
        y = graph.normalise(graph.convolve(x, index, (before, 0, after, 0)), index + 1, channels)
        # The maximum over all frequencies; ReduceMax takes its axes as an attribute up to opset 17.
        front.append(graph.add("ReduceMax", [y], f"front_{index}", axes=[3], keepdims=0))  # [P, C, T]
    features = graph.add("Concat", front, "front", axis=1)
    # The middle convolves over time with all features at once: [P, C, T] as an image of width 1 and C channels.
    last_axis = graph.constant("axis_3", np.array([3], np.int64))
    kept, total = [features], features
    for index in range(5, 8):
        prefix = f"conv2d_{index}"
        kernel = tensors[f"{prefix}/kernel"].transpose(0, 2, 1, 3)  # [7, C, 1, out] to [7, 1, C, out]
        graph.tensors = {**graph.tensors, f"{prefix}/kernel": kernel}
        image = graph.add("Unsqueeze", [total, last_axis], f"middle_{index}.in")
        y = graph.normalise(graph.convolve(image, index, (3, 0, 3, 0)), index + 1, channels)
        y = graph.add("Squeeze", [y, last_axis], f"middle_{index}.out")
        total = y if index == 5 else graph.add("Add", [y, total], f"middle_{index}.sum")
        kept.append(total)
    together = graph.add("Concat", kept, "features", axis=1)  # [P, C, T]
    # TensorFlow put maximum and mean of a channel beside each other before it flattened: max 0, mean 0, max 1, ...
    largest = graph.add("ReduceMax", [together], "largest", axes=[2], keepdims=1)
    mean = graph.add("ReduceMean", [together], "mean", axes=[2], keepdims=1)
    pooled = graph.add("Flatten", [graph.add("Concat", [largest, mean], "pairs", axis=2)], "pooled", axis=1)
    hidden = graph.add("Relu", [graph.dense(graph.normalise(pooled, 9, (1, -1)), 0)], "hidden")
    embeddings = graph.normalise(hidden, 10, (1, -1))
    logits = graph.dense(embeddings, 1)
    for node in graph.nodes:
        renamed = {embeddings: "embeddings", logits: "logits"}
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = renamed.get(name, name)
    n_units, n_classes = tensors["dense_1/kernel"].shape
    result = helper.make_model(
        helper.make_graph(
            graph.nodes, "musicnn",
            [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["P", "T", "F"])],
            [
                helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["P", n_units]),
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["P", n_classes]),
            ],
            [numpy_helper.from_array(values, name) for name, values in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )  # fmt: skip
    onnx.checker.check_model(result)
    return result
