"""Devices that networks run on: the processor, or a graphics card by way of onnxruntime-gpu.

One process uses one device, as it uses one number of threads: OPENVMAS_DEVICE of the environment says which, and
`--device` sets it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from openvmas.errors import ModelError, OptionError

VARIABLE = "OPENVMAS_DEVICE"
CPU, CUDA = "cpu", "cuda"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider"}
# Sums over long rows and exponents lose their small parts in 16 bits.
KEPT_WIDE = ("ReduceMean", "ReduceSum", "Softmax", "LayerNormalization", "Pow", "Exp", "Log", "CumSum", "TopK", "Range")


def use_device(name: str) -> None:
    """Let this process, and those that it starts, use a device from now on. Raises OptionError if it cannot be had."""
    check_device(name)
    os.environ[VARIABLE] = name


def the_device() -> str:
    """The device of this process. Raises OptionError for a name that is none."""
    name = os.environ.get(VARIABLE) or CPU
    if name not in PROVIDERS:
        raise OptionError(f"{VARIABLE} is {name!r}; set it to cpu or cuda, or unset it.")
    return name


def check_device(name: str) -> None:
    """Raises OptionError if this ONNX Runtime offers no such device."""
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    if PROVIDERS[name] not in offered:
        raise OptionError(
            f"--device {name} needs onnxruntime-gpu, but the ONNX Runtime here offers only {', '.join(offered)}; run: "
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu, or leave out --device."
        )


def open_session(path: str | os.PathLike[str], options: Any, device: str, is_half: bool = True) -> Any:
    """A graph as a session on a device; on a card in half precision where the graph allows that.

    Inputs and outputs stay float32. Raises OptionError, and ModelError where the card cannot be used after all.
    """
    import onnxruntime

    check_device(device)
    wanted = PROVIDERS[device]
    if device == CPU:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=[wanted])
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA's libraries where pip put them
    providers = [(wanted, {"use_tf32": "1"}), PROVIDERS[CPU]]
    session = None
    if is_half and (graph := halve(Path(path))) is not None:
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # whatever ONNX Runtime raises for an operator that has no such kernel
            if type(error).__module__.partition(".")[0] != "onnxruntime":
                raise
    session = session or onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
    if session.get_providers()[0] != wanted:
        raise ModelError(
            "onnxruntime-gpu is installed, but the card cannot be used; see that driver and CUDA fit it "
            "(python -c 'import onnxruntime; onnxruntime.print_debug_info()'), or leave out --device."
        )
    return session


def halve(path: Path) -> bytes | None:
    """A graph whose weights and sums are float16 between float32 inputs and outputs; None where it allows none.

    Needs the package onnx (extra `train`); graphs of 8-bit integers stay as they are.
    """
    try:
        import importlib

        onnx: Any = importlib.import_module("onnx")
        float16: Any = importlib.import_module("onnxruntime.transformers.float16")
    except ImportError:
        return None
    model = onnx.load(os.fspath(path))
    kinds = {node.op_type for node in model.graph.node}
    if kinds & {"MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear", "MatMulNBits", "QLinearMatMul"}:
        return None
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *KEPT_WIDE]
    return float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked).SerializeToString()
