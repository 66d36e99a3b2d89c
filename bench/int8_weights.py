"""Cost of 8-bit weights: the likelihood of music under the shipped graph against the same graph with fp32 weights.

    python bench/int8_weights.py SOUND... [--model mini] [--seconds 20]

Each file is encoded with the model's own codec, and the decoder reads its codes without a condition. Where the weights
that were trained are not at hand, the fp32 graph has those that the 8-bit blocks stand for: computing with 8-bit
activations is then compared against computing with fp32, without the rounding of the weights (a test of a small model
has both).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from openvmas.codec.runtime import CodecRunner
from openvmas.generate.batch_decoder import Engine, delay_template, log_likelihood
from openvmas.media.audio import read_audio_blocks
from openvmas.pretrained import find_weights, open_graph, run
from openvmas.train.export.onnx_files import OPSET, unpack_blocks


def expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with plain products of fp32 weights in place of 8-bit blocks."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    for i, node in enumerate(model.graph.node):
        if node.op_type != "MatMulNBits":
            continue
        weight, name = unpack_blocks(node, constants), node.input[1]
        for old in node.input[1:4]:
            model.graph.initializer.remove(tensors[old])
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight.T), name))
        model.graph.node[i].CopyFrom(helper.make_node("MatMul", [node.input[0], name], node.output, node.name))
    assert any(item.version == OPSET for item in model.opset_import)
    return model


def negative_log_likelihood(engine: Engine, codes: np.ndarray, condition: np.ndarray) -> float:
    """Negative log-likelihood of codes [K, T] under a condition [T, D], nats per code."""
    empty = engine.sizes["codebook_size"]
    tokens = delay_template(codes, empty).astype(np.int64)
    state, last, total = engine.start(1), np.full((1, len(codes)), empty), 0.0
    for step in range(tokens.shape[1]):
        logits = engine.step(state, last, condition[min(step, len(condition) - 1)][None])
        last = tokens[None, :, step]
        total -= float(log_likelihood(logits, last).sum())
    return total / codes.size


def null_condition(engine: Engine, n_steps: int) -> np.ndarray:
    """The condition [n_steps, D] of unconditional sampling."""
    graph = open_graph(engine.weights.file("condition"), 1)
    shapes = {item.name: item.shape for item in graph.get_inputs()}
    inputs = {name: np.zeros((1, n_steps, shapes[name][2]), np.float32) for name in ("curves", "semantics")}
    inputs |= {name: np.zeros(1, np.float32) for name in ("use_events", "use_meaning")}
    return run(graph, inputs)[0][0]


def main() -> None:
    """Print the likelihood of sounds under fp32 and 8-bit weights, for each and on average."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", nargs="+", type=Path)
    parser.add_argument("--model", default="mini", help="Preset or folder of exported weights.")
    parser.add_argument("--seconds", type=float, default=20.0, help="Length of what is read of each file.")
    options = parser.parse_args()
    weights = find_weights(options.model)
    runner, rounded, exact = CodecRunner(weights), Engine(weights), Engine(weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoder.onnx"
        onnx.save(expand(onnx.load(str(weights.file("decoder")))), str(path))
        exact.use_decoder(path)
    losses = []
    for sound in options.sounds:
        blocks = (block[0] for block in read_audio_blocks(sound, runner.sample_rate, 1))
        codes = np.concatenate(list(runner.encode_blocks(blocks, weights.sizes["n_codebooks"])), axis=1)
        codes = codes[:, : round(options.seconds * exact.frame_rate)]
        condition = null_condition(exact, codes.shape[1])
        pair = [negative_log_likelihood(engine, codes, condition) for engine in (exact, rounded)]
        losses.append(pair)
        print(f"{sound.name}: fp32 {pair[0]:.4f}, 8-bit {pair[1]:.4f} nats per code")
    exact_mean, rounded_mean = np.mean(losses, axis=0)
    print(f"mean: fp32 {exact_mean:.4f}, 8-bit {rounded_mean:.4f}, {100 * (rounded_mean / exact_mean - 1):+.2f} %")


if __name__ == "__main__":
    main()
