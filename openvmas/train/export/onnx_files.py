"""ONNX files: tracing of modules, weights as 8-bit integers and back, and the decoder's step, written node by node.

Tracing the decoder's step gives about 800 small nodes, and on a processor each costs more than what it computes. In
`StepGraph` norms, rotary positions and activations are one node each (operators of ONNX Runtime), shapes are constants,
and every layer's cache is an input of its own, so that nothing of it is copied.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
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
EPSILON = 1e-6  # of model.decoder.normalize
PARTS = ("to_qkv", "to_out", "to_hidden", "from_hidden")  # matrices of a layer, in the order of the computation


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
    """Weights of matrix products as 8-bit integers in blocks of BLOCK rows with an fp16 scale each, tables in fp16.

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
    nodes = [part for node in model.graph.node for part in halved(model, node)]
    del model.graph.node[:]
    model.graph.node.extend([*added, *nodes])
    onnx.save(model, str(target))


def halved(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The node, or, where it looks rows up in a table of fp32 numbers, a look-up in fp16 and a cast of the rows."""
    is_real = (TensorProto.FLOAT, TensorProto.FLOAT16)
    tables = {t.name: t for t in model.graph.initializer if len(t.dims) == 2 and t.data_type in is_real}
    if node.op_type != "Gather" or node.input[0] not in tables:
        return [node]
    table = tables[node.input[0]]
    if table.data_type == TensorProto.FLOAT:
        table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table).astype(np.float16), table.name))
    found = node.output[0]
    node.output[0] = f"{found}_half"
    return [node, helper.make_node("Cast", [node.output[0]], [found], to=TensorProto.FLOAT)]


def unpack_blocks(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> np.ndarray:
    """Weights [out, in] of a MatMulNBits node, which `quantize` wrote. Raises ModelError if they are not of 8 bits."""
    sizes = {item.name: item.i for item in node.attribute}
    if sizes["bits"] != 8:
        raise ModelError(f"{node.name} has weights of {sizes['bits']} bits; only models with 8 can be unpacked.")
    packed, scales, zeros = (constants[name] for name in node.input[1:4])
    scales, zeros = (array.reshape(sizes["N"], -1, 1).astype(np.float32) for array in (scales, zeros))
    return ((packed.astype(np.float32) - zeros) * scales).reshape(sizes["N"], -1)[:, : sizes["K"]]


class StepGraph:
    """A graph under construction. weights: fp32 matrices [D_in, D_out] by name, PART.LAYER and heads.

    sizes: n_codebooks, codebook_size, width, n_layers, n_groups, head_width, narrow, wide and wide_layers.
    gains: [n_layers, D] of the condition; table: embedding [K * (V + 1), D], fp16 or fp32.
    Inputs: tokens [n, K] int64, condition [n, 1, D], cosine and sine [1, d / 2], narrow_mask and wide_mask [W - 1],
    and for each layer keys_I [n, G, 1, d, W - 1] and values_I [n, G, 1, W - 1, d]: the last steps in any order (a
    ring), with a mask of 0 where a slot may be seen and -1e9 elsewhere.
    Outputs: logits [n, 1, K * V], and new_keys and new_values [n, G, 1, n_layers, d] for the caller to write there.
    """

    def __init__(
        self, sizes: dict[str, Any], gains: np.ndarray, table: np.ndarray, weights: dict[str, np.ndarray]
    ) -> None:
        self.sizes, self._weights = sizes, weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._count = 0
        self.width, self.head_width, self.n_groups = sizes["width"], sizes["head_width"], sizes["n_groups"]
        self.n_heads = self.width // self.head_width
        self._ones = self.constant("ones", np.ones(self.width, np.float32))
        # Queries and keys share the scale of their product, which then is a plain one.
        self._root = self.constant("root", np.full(self.head_width, self.head_width**-0.25, np.float32))
        self._build(gains.astype(np.float32), table)

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        """A shape or a list of sizes."""
        return self.constant("_".join(["ints", *map(str, values)]), np.array(values, np.int64))

    def node(
        self, kind: str, *inputs: str, n: int = 1, name: str | None = None, domain: str = "", **options: Any
    ) -> Any:
        """Add a node; returns the name of its output, or a list where there are n > 1."""
        self._count += 1
        outputs = [name or f"{kind}_{self._count}"] if n == 1 else [f"{kind}_{self._count}_{i}" for i in range(n)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, f"{kind}_{self._count}", domain=domain, **options))
        return outputs[0] if n == 1 else outputs

    def own(self, kind: str, *inputs: str, **options: Any) -> Any:
        """Add a node of ONNX Runtime's own operators."""
        return self.node(kind, *inputs, domain="com.microsoft", **options)

    def multiply(self, name: str, x: str) -> str:
        """Add the product of x with the named weights, which the 8-bit quantiser recognises."""
        return self.node("MatMul", x, self.constant(name, np.ascontiguousarray(self._weights[name], np.float32)))

    def add_and_normalize(self, x: str, more: str) -> tuple[str, str]:
        """normalize(x + more), and x + more."""
        outputs = self.own("SkipSimplifiedLayerNormalization", x, more, self._ones, n=4, epsilon=EPSILON)
        self.nodes[-1].output[1] = self.nodes[-1].output[2] = ""
        return outputs[0], outputs[3]

    def _build(self, gains: np.ndarray, table: np.ndarray) -> None:
        sizes, n_layers = self.sizes, self.sizes["n_layers"]
        n_entries = sizes["codebook_size"] + 1
        offsets = self.constant("offsets", np.arange(sizes["n_codebooks"], dtype=np.int64) * n_entries)
        x = self.node("Gather", self.constant("embedding", table), self.node("Add", "tokens", offsets))
        if table.dtype == np.float16:
            x = self.node("Cast", x, to=TensorProto.FLOAT)
        x = self.node("ReduceSum", x, self.ints(1), keepdims=1)
        added = self.node("Mul", "condition", self.constant("gains", gains))
        added = self.node("Split", added, self.ints(*[1] * n_layers), n=n_layers, axis=1) if n_layers > 1 else [added]
        keys, values = [], []
        for layer in range(n_layers):
            h, x = self.add_and_normalize(x, added[layer])
            attended, key, value = self._attend(h, layer)
            keys.append(key)
            values.append(value)
            h, x = self.add_and_normalize(x, self.multiply(f"to_out.{layer}", attended))
            hidden = self.multiply(f"to_hidden.{layer}", h)
            gate, value = self.node("Split", hidden, n=2, axis=2)
            h = self.node("Mul", self.own("QuickGelu", gate, alpha=1.0), value)
            x = self.node("Add", x, self.multiply(f"from_hidden.{layer}", h))
        last = self.node("SimplifiedLayerNormalization", x, self._ones, axis=-1, epsilon=EPSILON)
        self.node("Identity", self.multiply("heads", last), name="logits")
        self.node("Concat", *keys, axis=3, name="new_keys")
        self.node("Concat", *values, axis=3, name="new_values")

    def _attend(self, h: str, layer: int) -> tuple[str, str, str]:
        """The output of attention [n, 1, D], the new key and the new value [n, G, 1, d]."""
        n_heads, n_groups, d = self.n_heads, self.n_groups, self.head_width
        kind = "wide" if layer in self.sizes["wide_layers"] else "narrow"
        turned = (n_heads + n_groups) * d
        qk, v = self.node("Split", self.multiply(f"to_qkv.{layer}", h), self.ints(turned, n_groups * d), n=2, axis=2)
        qk = self.node("Reshape", qk, self.ints(0, n_heads + n_groups, 1, d))
        qk = self.node("SimplifiedLayerNormalization", qk, self._root, axis=-1, epsilon=EPSILON)
        qk = self.own("RotaryEmbedding", qk, self.ints(0), "cosine", "sine")
        q, k = self.node("Split", qk, self.ints(n_heads, n_groups), n=2, axis=1)
        # One query at a time: products with a single row read the cache as it lies, others pack it first.
        q = self.node("Reshape", q, self.ints(0, n_groups, n_heads // n_groups, 1, d))
        k, v = (self.node("Reshape", x, self.ints(0, n_groups, 1, 1, d)) for x in (k, v))
        old = self.node("Add", self.node("MatMul", q, f"keys_{layer}"), f"{kind}_mask")
        new = self.own("FusedMatMul", q, k, transB=1)
        weights = self.node("Softmax", self.node("Concat", old, new, axis=4), axis=-1)
        old, new = self.node("Split", weights, self.ints(self.sizes[kind] - 1, 1), n=2, axis=4)
        both = self.node("Add", self.node("MatMul", old, f"values_{layer}"), self.node("Mul", new, v))
        return self.node("Reshape", both, self.ints(0, 1, self.width)), k, v

    def model(self) -> onnx.ModelProto:
        """The finished graph."""
        sizes, d, g, real = self.sizes, self.head_width, self.n_groups, TensorProto.FLOAT
        inputs: list[tuple[str, int, Sequence[int | str]]] = [
            ("tokens", TensorProto.INT64, ["n", sizes["n_codebooks"]]), ("condition", real, ["n", 1, self.width]),
            ("cosine", real, [1, d // 2]), ("sine", real, [1, d // 2]),
            ("narrow_mask", real, [sizes["narrow"] - 1]), ("wide_mask", real, [sizes["wide"] - 1]),
        ]  # fmt: skip
        for layer in range(sizes["n_layers"]):
            past = sizes["wide" if layer in sizes["wide_layers"] else "narrow"] - 1
            inputs += [(f"keys_{layer}", real, ["n", g, 1, d, past]), (f"values_{layer}", real, ["n", g, 1, past, d])]
        new = ["n", g, 1, sizes["n_layers"], d]
        outputs = [
            ("logits", ["n", 1, sizes["n_codebooks"] * sizes["codebook_size"]]),
            ("new_keys", new),
            ("new_values", new),
        ]
        graph = helper.make_graph(
            self.nodes, "decoder_step", [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(name, real, shape) for name, shape in outputs],
            list(self.constants.values()),
        )  # fmt: skip
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="openvmas")
        model.ir_version = 8  # of opset 17
        return model
